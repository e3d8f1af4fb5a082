//! Empty files made ahead, so that the name of a file outlives a power cut before its first byte comes: one sync of a folder for
//! a handful of instances instead of one for each.

use super::{Inner, SpoolError, folder_of, name, sync_dir};
use std::fs::{self, File, OpenOptions};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// So many are made at once, in one folder.
const HANDFUL: usize = 16;

/// A file that is there, empty, and whose name is durable.
#[derive(Debug)]
pub(super) struct Spare {
    pub name: String,
    pub file: File,
}

/// Those that wait to be written.
#[derive(Debug, Default)]
pub(super) struct Spares(Mutex<Vec<Spare>>);

impl Spares {
    /// One of them; where there is none, a handful is made first.
    pub(super) fn take(&self, spool: &Inner) -> Result<Spare, SpoolError> {
        if let Some(spare) = self.lock().pop() {
            return Ok(spare);
        }
        let mut made = make(spool)?;
        let one = made.pop().ok_or_else(|| SpoolError::Name(String::new()))?;
        self.lock().append(&mut made);
        Ok(one)
    }

    /// Whether a file is one of them.
    pub(super) fn has(&self, name: &str) -> bool {
        self.lock().iter().any(|spare| spare.name == name)
    }

    /// Removes them. What stays is swept at the next start.
    pub(super) fn clear(&self, spool: &Inner) {
        for spare in self.lock().drain(..) {
            remove(spool, &spare);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Spare>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn make(spool: &Inner) -> Result<Vec<Spare>, SpoolError> {
    let names = name::handful(HANDFUL);
    let mut made = Vec::with_capacity(names.len());
    let done = names.into_iter().try_for_each(|name| {
        let path = spool.path(&name)?;
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path);
        made.push(Spare { name, file: file.map_err(|e| spool.refused(0, "create", e))? });
        Ok(())
    });
    let first = made.first().map(|spare| spool.path(&spare.name)).transpose()?;
    match done.and_then(|()| first.map_or(Ok(()), |path| sync_dir(folder_of(&path)))) {
        Ok(()) => Ok(made),
        Err(e) => {
            made.iter().for_each(|spare| remove(spool, spare));
            Err(e)
        }
    }
}

fn remove(spool: &Inner, spare: &Spare) {
    let Ok(path) = spool.path(&spare.name) else { return };
    if let Err(error) = fs::remove_file(&path) {
        tracing::warn!(path = %path.display(), %error, "an empty file stays until the next start");
    }
}

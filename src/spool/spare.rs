//! Empty files made ahead, so that the name of a file outlives a power cut before its first byte comes: one sync of a folder for
//! a handful of instances instead of one for each.

use super::{Inner, SpoolError, name, sync_dir};
use std::fs::{self, File};
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
    /// One of them; where there is none, a handful is made first. `min_free` is for the error alone.
    pub(super) fn take(&self, spool: &Inner, min_free: u64) -> Result<Spare, SpoolError> {
        loop {
            if let Some(spare) = self.lock().pop() {
                return Ok(spare);
            }
            let made = make(spool, min_free)?;
            self.lock().extend(made);
        }
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

/// A handful, all of it or nothing.
fn make(spool: &Inner, min_free: u64) -> Result<Vec<Spare>, SpoolError> {
    let mut made = Vec::with_capacity(HANDFUL);
    match fill(spool, min_free, &mut made) {
        Ok(()) => Ok(made),
        Err(error) => {
            made.iter().for_each(|spare| remove(spool, spare));
            Err(error)
        }
    }
}

fn fill(spool: &Inner, min_free: u64, made: &mut Vec<Spare>) -> Result<(), SpoolError> {
    let (folder, names) = name::handful(HANDFUL);
    for name in names {
        let file = File::create_new(spool.path(&name)?).map_err(|e| spool.refused(min_free, "create", e))?;
        made.push(Spare { name, file });
    }
    sync_dir(&spool.root.join(folder))
}

fn remove(spool: &Inner, spare: &Spare) {
    let Ok(path) = spool.path(&spare.name) else { return };
    if let Err(error) = fs::remove_file(&path) {
        tracing::warn!(path = %path.display(), %error, "an empty file stays until the next start");
    }
}

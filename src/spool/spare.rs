//! Empty files made ahead, so that the name of a file outlives a power cut before its first byte comes: one sync of a folder for
//! a handful of instances instead of one for each. They are made beside the associations, which find them ready.

use super::root::Root;
use super::{SpoolError, name, sync_dir};
use std::fs::{self, File};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// So many are made at once, in one folder.
const HANDFUL: usize = 16;
/// When fewer are left, the next handful is made.
const FEW: usize = HANDFUL / 2;

/// A file that is there, empty, and whose name is durable.
#[derive(Debug)]
pub(super) struct Spare {
    pub name: String,
    pub file: File,
}

/// Those that wait to be written.
#[derive(Debug, Default)]
pub(super) struct Spares {
    ready: Arc<Mutex<Vec<Spare>>>,
    /// Makes the next handful.
    maker: Mutex<Option<JoinHandle<()>>>,
}

impl Spares {
    /// One of them; where there is none, a handful is made first. `min_free` is for the error alone.
    pub fn take(&self, root: &Root, min_free: u64) -> Result<Spare, SpoolError> {
        loop {
            let (spare, left) = {
                let mut ready = lock(&self.ready);
                (ready.pop(), ready.len())
            };
            if let Some(spare) = spare {
                if left < FEW {
                    self.make_ahead(root, min_free);
                }
                return Ok(spare);
            }
            let made = make(root, min_free)?;
            lock(&self.ready).extend(made);
        }
    }

    /// Makes a handful on a thread, unless one is being made. Where it fails, whoever finds none tries again and tells why.
    fn make_ahead(&self, root: &Root, min_free: u64) {
        let Ok(mut maker) = self.maker.try_lock() else { return };
        if maker.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return;
        }
        let (ready, root) = (self.ready.clone(), root.clone());
        let make = move || {
            if let Ok(made) = make(&root, min_free) {
                lock(&ready).extend(made);
            }
        };
        *maker = std::thread::Builder::new().name("spares".into()).spawn(make).ok();
    }

    /// Whether a file is one of them.
    pub fn has(&self, name: &str) -> bool {
        lock(&self.ready).iter().any(|spare| spare.name == name)
    }

    /// Removes them, once none are being made. What stays is swept at the next start.
    pub fn clear(&self, root: &Root) {
        if let Some(maker) = lock(&self.maker).take()
            && maker.join().is_err()
        {
            tracing::warn!("the thread that makes files ahead panicked");
        }
        for spare in lock(&self.ready).drain(..) {
            remove(root, &spare);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A handful, all of it or nothing.
fn make(root: &Root, min_free: u64) -> Result<Vec<Spare>, SpoolError> {
    let mut made = Vec::with_capacity(HANDFUL);
    match fill(root, min_free, &mut made) {
        Ok(()) => Ok(made),
        Err(error) => {
            made.iter().for_each(|spare| remove(root, spare));
            Err(error)
        }
    }
}

fn fill(root: &Root, min_free: u64, made: &mut Vec<Spare>) -> Result<(), SpoolError> {
    let (folder, names) = name::handful(HANDFUL);
    for name in names {
        let file = File::create_new(root.path(&name)?).map_err(|e| root.refused(min_free, "create", e))?;
        made.push(Spare { name, file });
    }
    sync_dir(&root.join(folder))
}

fn remove(root: &Root, spare: &Spare) {
    let Ok(path) = root.path(&spare.name) else { return };
    if let Err(error) = fs::remove_file(&path) {
        tracing::warn!(path = %path.display(), %error, "an empty file stays until the next start");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(folder: &std::path::Path) -> usize {
        fs::read_dir(folder).unwrap().map(|bucket| fs::read_dir(bucket.unwrap().path()).unwrap().count()).sum()
    }

    #[test]
    fn the_next_handful_is_made_while_some_are_left_and_none_stays_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        (0..=255).for_each(|n| fs::create_dir(folder.path().join(format!("{n:02x}"))).unwrap());
        let (root, spares) = (Root::new(folder.path().to_owned()), Spares::default());
        let mut taken: Vec<Spare> = (0..=HANDFUL - FEW).map(|_| spares.take(&root, 0).unwrap()).collect();
        lock(&spares.maker).take().expect("a thread makes more").join().unwrap();
        assert_eq!(lock(&spares.ready).len(), FEW - 1 + HANDFUL);
        // To its end while the next thread is at work.
        taken.extend((0..HANDFUL).map(|_| spares.take(&root, 0).unwrap()));
        assert!(taken.iter().all(|spare| !spares.has(&spare.name)));
        spares.clear(&root);
        assert_eq!(files(folder.path()), taken.len(), "those in use alone");
        let names: std::collections::HashSet<_> = taken.iter().map(|spare| &spare.name).collect();
        assert_eq!(names.len(), taken.len());
    }
}

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
    shelf: Arc<Mutex<Shelf>>,
    /// Makes the next handful.
    maker: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Shelf {
    ready: Vec<Spare>,
    /// Names of those that are being made: some are there already, and in use by nobody.
    making: Vec<String>,
}

impl Spares {
    /// One of them; where there is none, a handful is made first. `min_free` is for the error alone.
    pub fn take(&self, root: &Root, min_free: u64) -> Result<Spare, SpoolError> {
        loop {
            let (spare, left) = {
                let ready = &mut lock(&self.shelf).ready;
                (ready.pop(), ready.len())
            };
            if let Some(spare) = spare {
                if left < FEW {
                    self.make_ahead(root, min_free);
                }
                return Ok(spare);
            }
            make(&self.shelf, root, min_free)?;
        }
    }

    /// Makes a handful on a thread, unless one is being made. Where it fails, whoever finds none tries again and tells why.
    fn make_ahead(&self, root: &Root, min_free: u64) {
        let Ok(mut maker) = self.maker.try_lock() else { return };
        if maker.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return;
        }
        let (shelf, root) = (self.shelf.clone(), root.clone());
        let make = move || {
            let _ = make(&shelf, &root, min_free);
        };
        *maker = std::thread::Builder::new().name("spares".into()).spawn(make).ok();
    }

    /// Whether a file is one of them.
    pub fn has(&self, name: &str) -> bool {
        let shelf = lock(&self.shelf);
        shelf.making.iter().chain(shelf.ready.iter().map(|spare| &spare.name)).any(|spare| spare == name)
    }

    /// Removes them, once none are being made. What stays is swept at the next start.
    pub fn clear(&self, root: &Root) {
        if let Some(maker) = lock(&self.maker).take()
            && maker.join().is_err()
        {
            tracing::warn!("the thread that makes files ahead panicked");
        }
        for spare in lock(&self.shelf).ready.drain(..) {
            remove(root, &spare);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lays a handful on the shelf, all of it or nothing. Their names stand there before the first file does.
fn make(shelf: &Mutex<Shelf>, root: &Root, min_free: u64) -> Result<(), SpoolError> {
    let (folder, names) = name::handful(HANDFUL);
    lock(shelf).making.extend_from_slice(&names);
    let mut made = Vec::with_capacity(HANDFUL);
    let filled = fill(root, min_free, &folder, &names, &mut made);
    if filled.is_err() {
        made.drain(..).for_each(|spare| remove(root, &spare));
    }
    let mut shelf = lock(shelf);
    shelf.making.retain(|name| !names.contains(name));
    shelf.ready.append(&mut made);
    filled
}

fn fill(root: &Root, min_free: u64, folder: &str, names: &[String], made: &mut Vec<Spare>) -> Result<(), SpoolError> {
    for name in names {
        let file = File::create_new(root.path(name)?).map_err(|e| root.refused(min_free, "create", e))?;
        made.push(Spare { name: name.clone(), file });
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

    fn files(folder: &std::path::Path) -> impl Iterator<Item = String> {
        let files = fs::read_dir(folder).unwrap().flat_map(|bucket| fs::read_dir(bucket.unwrap().path()).unwrap());
        files.map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
    }

    #[test]
    fn the_next_handful_is_made_while_some_are_left_and_none_stays_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        (0..=255).for_each(|n| fs::create_dir(folder.path().join(format!("{n:02x}"))).unwrap());
        let (root, spares) = (Root::new(folder.path().to_owned()), Spares::default());
        let mut taken: Vec<Spare> = (0..=HANDFUL - FEW).map(|_| spares.take(&root, 0).unwrap()).collect();
        lock(&spares.maker).take().expect("a thread makes more").join().unwrap();
        assert_eq!(lock(&spares.shelf).ready.len(), FEW - 1 + HANDFUL);
        // To its end while the next thread is at work.
        taken.extend((0..HANDFUL).map(|_| spares.take(&root, 0).unwrap()));
        assert!(taken.iter().all(|spare| !spares.has(&spare.name)));
        spares.clear(&root);
        assert_eq!(files(folder.path()).count(), taken.len(), "those in use alone");
        let names: std::collections::HashSet<_> = taken.iter().map(|spare| &spare.name).collect();
        assert_eq!(names.len(), taken.len());
    }

    #[test]
    fn files_in_the_making_are_in_use_by_nobody() {
        let folder = tempfile::tempdir().unwrap();
        (0..=255).for_each(|n| fs::create_dir(folder.path().join(format!("{n:02x}"))).unwrap());
        let (root, spares) = (Root::new(folder.path().to_owned()), Spares::default());
        for taken in 1..=10 * HANDFUL {
            spares.take(&root, 0).unwrap();
            // The next handful is at any stage now.
            assert_eq!(files(folder.path()).filter(|name| !spares.has(name)).count(), taken);
        }
        spares.clear(&root);
    }
}

//! Images that were being read when the process ended.
//!
//! A panic in a decoder is caught; a stack overflow, a failed allocation or the kernel's out-of-memory killer is not, and after the
//! restart the oldest image is taken first: the same one, for ever. So a small file says which images are being read, and how often
//! that was begun. It needs no sync: it is to survive the process, not the power.
//!
//! One file that is written over, since making and removing one for each image costs a file system more than reading the image does.

use crate::ledger::InstanceId;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// An image is given up when the process ended so often while it was read.
pub const TRIES: u32 = 2;

/// Behind the last line; what an earlier, longer text left is not read.
const END: &str = "end";

/// That file. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Suspects(Arc<Mutex<Notes>>);

#[derive(Debug)]
struct Notes {
    file: File,
    /// How often each image was begun.
    begun: BTreeMap<InstanceId, u32>,
}

impl Suspects {
    /// Opens or creates the file `looking` in the state folder.
    ///
    /// # Errors
    /// It cannot be created or read.
    pub fn open(state_dir: &Path) -> io::Result<Suspects> {
        let path = state_dir.join("looking");
        if path.is_dir() {
            // Until November 2026 there was a folder with a file for each image.
            std::fs::remove_dir_all(&path)?;
        }
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
        let begun = read(&String::from_utf8_lossy(&std::fs::read(&path)?));
        Ok(Suspects(Arc::new(Mutex::new(Notes { file, begun }))))
    }

    /// An image is about to be read; tells how often the process has ended while it was.
    ///
    /// A file that cannot be written (a full disk) is no reason not to look: then nothing is counted.
    pub fn begin(&self, id: InstanceId) -> u32 {
        self.change(|begun| {
            let tries = begun.entry(id).or_default();
            *tries += 1;
            *tries - 1
        })
    }

    /// It was read, or given up.
    pub fn end(&self, id: InstanceId) {
        self.change(|begun| begun.remove(&id));
    }

    fn change<T>(&self, change: impl FnOnce(&mut BTreeMap<InstanceId, u32>) -> T) -> T {
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut notes.begun);
        let mut text: String = notes.begun.iter().map(|(id, tries)| format!("{id} {tries}\n")).collect();
        text.push_str(END);
        // At once: a process that is killed has written all of it or nothing.
        if let Err(error) = notes.file.write_all_at(text.as_bytes(), 0) {
            tracing::debug!(%error, "cannot note which images are being read");
        }
        result
    }
}

/// Nothing of a text that does not come to its end.
fn read(text: &str) -> BTreeMap<InstanceId, u32> {
    let mut begun = BTreeMap::new();
    for line in text.lines() {
        if line.starts_with(END) {
            return begun;
        }
        let Some((Ok(id), Ok(tries))) = line.split_once(' ').map(|(id, tries)| (id.parse(), tries.parse())) else {
            break;
        };
        begun.insert(id, tries);
    }
    BTreeMap::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_that_ends_the_process_is_counted_over_restarts_and_forgotten_once_read() {
        let folder = tempfile::tempdir().unwrap();
        for tries in 0..3 {
            // Each round is a process that ended before `end`.
            assert_eq!(Suspects::open(folder.path()).unwrap().begin(7), tries);
        }
        let suspects = Suspects::open(folder.path()).unwrap();
        assert_eq!(suspects.begin(8), 0, "another image is not blamed");
        suspects.end(7);
        assert_eq!(suspects.begin(7), 0);
        suspects.end(9); // never begun: no error
    }

    #[test]
    fn a_shorter_text_hides_what_a_longer_one_left() {
        let folder = tempfile::tempdir().unwrap();
        let suspects = Suspects::open(folder.path()).unwrap();
        (1000..1020).for_each(|id| assert_eq!(suspects.begin(id), 0));
        (1001..1020).for_each(|id| suspects.end(id));
        let again = Suspects::open(folder.path()).unwrap();
        assert_eq!([1000, 1001, 1019].map(|id| again.begin(id)), [1, 0, 0]);
    }

    #[test]
    fn a_text_that_is_none_blames_nobody() {
        assert_eq!(read("3 1\n4 2\nend\n9 9\nend"), BTreeMap::from([(3, 1), (4, 2)]));
        for text in ["", "3 1\n", "3\nend", "x 1\nend", "3 1 2\nend", "\0\0\0"] {
            assert!(read(text).is_empty(), "{text:?}");
        }
    }

    #[test]
    fn the_folder_of_earlier_versions_gives_way() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("looking")).unwrap();
        std::fs::write(folder.path().join("looking/5"), "1").unwrap();
        assert_eq!(Suspects::open(folder.path()).unwrap().begin(5), 0);
    }
}

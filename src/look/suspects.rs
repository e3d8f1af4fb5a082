//! Images that were being read when the process ended.
//!
//! A panic in a decoder is caught; a stack overflow, a failed allocation or the kernel's out-of-memory killer is not, and after the
//! restart the oldest image is taken first: the same one, for ever. So a small file stands for each image while it is read, and counts
//! the tries. The files need no sync: they are to survive the process, not the power.

use crate::ledger::InstanceId;
use std::io;
use std::path::{Path, PathBuf};

/// An image is given up when the process ended so often while it was read.
pub const TRIES: u32 = 2;

/// The folder of those files.
#[derive(Clone, Debug)]
pub struct Suspects(PathBuf);

impl Suspects {
    /// Opens or creates the folder `looking` in the state folder.
    ///
    /// # Errors
    /// It cannot be created.
    pub fn open(state_dir: &Path) -> io::Result<Suspects> {
        let folder = state_dir.join("looking");
        std::fs::create_dir_all(&folder)?;
        Ok(Suspects(folder))
    }

    /// An image is about to be read; tells how often the process has ended while it was.
    ///
    /// A folder that cannot be written (a full disk) is no reason not to look: then nothing is counted.
    pub fn begin(&self, id: InstanceId) -> u32 {
        let file = self.file(id);
        let before = std::fs::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        if let Err(error) = std::fs::write(&file, (before + 1).to_string()) {
            tracing::debug!(%error, file = %file.display(), "cannot note that an image is being read");
        }
        before
    }

    /// It was read, or given up.
    pub fn end(&self, id: InstanceId) {
        if let Err(error) = std::fs::remove_file(self.file(id))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::debug!(%error, instance = id, "cannot remove the note that an image is being read");
        }
    }

    fn file(&self, id: InstanceId) -> PathBuf {
        self.0.join(id.to_string())
    }
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
}

//! Where the spool lies: the paths in it, and the room on its disk.

use super::{SpoolError, name};
use std::io;
use std::path::{Path, PathBuf};

/// The folder `spool/`.
#[derive(Clone, Debug)]
pub(super) struct Root(PathBuf);

impl Root {
    pub fn new(path: PathBuf) -> Root {
        Root(path)
    }

    /// What has this path in it.
    pub fn join(&self, path: impl AsRef<Path>) -> PathBuf {
        self.0.join(path)
    }

    /// Free bytes for us.
    pub fn free(&self) -> Result<u64, SpoolError> {
        let stat =
            rustix::fs::statvfs(&self.0).map_err(|e| SpoolError::io("ask for the free space of", &self.0)(e.into()))?;
        // What is kept for root is not ours: f_bavail, not f_bfree.
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// An error where less is free.
    pub fn check_free(&self, wanted: u64) -> Result<(), SpoolError> {
        let free = self.free()?;
        if free < wanted { Err(SpoolError::Full { free, wanted, path: self.0.clone() }) } else { Ok(()) }
    }

    /// Where a file of this name lies; an error for what is no name of ours.
    pub fn path(&self, name: &str) -> Result<PathBuf, SpoolError> {
        let bucket = name::bucket(name).ok_or_else(|| SpoolError::Name(name.chars().take(64).collect()))?;
        Ok(self.0.join(bucket).join(format!("{name}.dcm")))
    }

    /// A disk (or quota) that is full, or another error.
    pub fn refused(&self, wanted: u64, action: &'static str, source: io::Error) -> SpoolError {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                SpoolError::Full { free: self.free().unwrap_or(0), wanted, path: self.0.clone() }
            }
            _ => SpoolError::Io { action, path: self.0.clone(), source },
        }
    }
}

//! Durable files: write, sync, rename, sync the directory. Names are our own, never a peer's.

use std::path::{Path, PathBuf};

/// Why the spool could not do it.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The disk has less room than `min_free_disk`.
    #[error("only {free} bytes are free in {path}: limits.min_free_disk asks for {wanted}; free some space or raise the limit of the disk")]
    Full {
        /// Free bytes.
        free: u64,
        /// Bytes that must stay free.
        wanted: u64,
        /// The spool.
        path: PathBuf,
    },
}

/// The spool: a folder of received DICOM files.
#[derive(Clone, Debug)]
pub struct Spool {}

/// A file that is being received; removed when dropped without [`Incoming::commit`].
#[derive(Debug)]
pub struct Incoming {}

/// A durable file.
#[derive(Clone, Debug)]
pub struct Spooled {
    /// Name in the spool, for [`Spool::open_file`].
    pub name: String,
    /// Size, bytes.
    pub size: u64,
}

#[allow(unused_variables, missing_docs)]
impl Spool {
    /// Opens or creates the spool below `dir`, takes its lock (one daemon per state folder).
    pub fn open(dir: &Path) -> Result<Spool, SpoolError> {
        todo!()
    }
    /// Free bytes for us on the file system of the spool.
    pub fn free(&self) -> Result<u64, SpoolError> {
        todo!()
    }
    /// A new temporary file for an instance; fails with [`SpoolError::Full`] when less than `min_free` is free.
    pub async fn begin(&self, min_free: u64) -> Result<Incoming, SpoolError> {
        todo!()
    }
    /// The path of a spooled file (for reading; the name is one of ours and checked).
    pub fn path(&self, name: &str) -> Result<PathBuf, SpoolError> {
        todo!()
    }
    /// Opens a spooled file for reading.
    pub fn open_file(&self, name: &str) -> Result<std::fs::File, SpoolError> {
        todo!()
    }
    /// Removes a spooled file; one that is gone already is no error.
    pub fn remove(&self, name: &str) -> Result<(), SpoolError> {
        todo!()
    }
    /// Deletes temporary files of an earlier run; returns how many.
    pub fn sweep(&self) -> Result<usize, SpoolError> {
        todo!()
    }
    /// Names of all spooled files.
    pub fn scan(&self) -> Result<Vec<String>, SpoolError> {
        todo!()
    }
    /// Moves a file that cannot be adopted into `quarantine/`, so that nothing is deleted that nobody understands.
    pub fn quarantine(&self, name: &str) -> Result<PathBuf, SpoolError> {
        todo!()
    }
}

#[allow(unused_variables, missing_docs)]
impl Incoming {
    /// Appends bytes. Checks free space every 16 MiB.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), SpoolError> {
        todo!()
    }
    /// Bytes so far.
    pub fn len(&self) -> u64 {
        todo!()
    }
    /// Nothing written yet.
    pub fn is_empty(&self) -> bool {
        todo!()
    }
    /// Flushes, then runs `inspect` on the file read from its start (off the async threads) before it is made durable.
    pub async fn inspect<T: Send + 'static>(&mut self, inspect: impl FnOnce(&mut std::fs::File) -> T + Send + 'static) -> Result<T, SpoolError> {
        todo!()
    }
    /// Sync, rename, directory sync.
    pub async fn commit(self) -> Result<Spooled, SpoolError> {
        todo!()
    }
}

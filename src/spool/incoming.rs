//! One file being received.

use super::{Inner, SpoolError, Spooled, folder_of, name, sync_dir};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::num::NonZeroU64;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::task::{JoinHandle, spawn_blocking};

/// Bytes that gather before they are written. One such buffer fills from the network while another goes to the disk, so
/// an instance of any size takes twice this.
const BUFFER: usize = 256 * 1024;
/// The system is told to begin to write after so many bytes: the sync at the end then finds little left to do. A sync of 15 MB
/// that nobody has begun takes as long as half its reception.
const EARLY: u64 = 1024 * 1024;
/// Free space is asked for again after so many bytes.
const CHECK: u64 = 16 * 1024 * 1024;

/// A file that is being received; removed when dropped without [`Incoming::commit`].
///
/// After an error, or when a call was abandoned half way (a timeout around [`Incoming::write`]), what it holds is not to be
/// trusted: drop it.
#[derive(Debug)]
pub struct Incoming {
    spool: Arc<Inner>,
    name: String,
    file: Arc<File>,
    /// Goes to the disk next.
    buffer: Vec<u8>,
    /// On its way to the disk; comes back empty.
    writing: Option<JoinHandle<Result<Vec<u8>, SpoolError>>>,
    len: u64,
    /// So many of them are on their way from the page cache to the disk.
    early: u64,
    /// Length at which free space is asked for again.
    check_at: u64,
    min_free: u64,
    /// Its temporary file is still there.
    open: bool,
}

impl Incoming {
    pub(super) async fn begin(spool: Arc<Inner>, min_free: u64) -> Result<Incoming, SpoolError> {
        blocking(move || {
            spool.check_free(min_free)?;
            let name = name::new();
            let path = spool.part(&name);
            let file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(&path)
                .map_err(|e| refused(&spool, min_free, "create", e))?;
            Ok(Incoming {
                spool,
                name,
                file: Arc::new(file),
                buffer: Vec::with_capacity(BUFFER),
                writing: None,
                len: 0,
                early: 0,
                check_at: CHECK,
                min_free,
                open: true,
            })
        })
        .await
    }

    /// Appends bytes. Checks free space every 16 MiB.
    pub async fn write(&mut self, mut bytes: &[u8]) -> Result<(), SpoolError> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(BUFFER.saturating_sub(self.buffer.len())));
            self.buffer.extend_from_slice(now);
            self.len += now.len() as u64;
            bytes = later;
            if self.buffer.len() >= BUFFER {
                self.flush().await?;
            }
        }
        Ok(())
    }

    /// Bytes so far.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Nothing written yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Sends the full buffer on its way, once the one before has arrived.
    async fn flush(&mut self) -> Result<(), SpoolError> {
        let spare = self.written().await?;
        let mut bytes = std::mem::replace(&mut self.buffer, spare);
        let (spool, file, min_free) = (self.spool.clone(), self.file.clone(), self.min_free);
        let check = self.len >= self.check_at;
        if check {
            self.check_at = self.len.saturating_add(CHECK);
        }
        let early = (self.len - self.early >= EARLY).then(|| std::mem::replace(&mut self.early, self.len)..self.len);
        self.writing = Some(spawn_blocking(move || {
            if check {
                spool.check_free(min_free)?;
            }
            (&*file).write_all(&bytes).map_err(|e| refused(&spool, min_free, "write", e))?;
            if let Some(early) = early {
                begin_to_write(&file, early);
            }
            bytes.clear();
            Ok(bytes)
        }));
        Ok(())
    }

    /// Waits for the write that is on its way; gives its buffer back.
    async fn written(&mut self) -> Result<Vec<u8>, SpoolError> {
        let Some(writing) = self.writing.as_mut() else { return Ok(Vec::with_capacity(BUFFER)) };
        let result = writing.await;
        self.writing = None;
        result.map_err(|e| SpoolError::Io {
            action: "write",
            path: self.spool.part(&self.name),
            source: io::Error::other(e),
        })?
    }

    /// Everything written so far is in the file.
    async fn settle(&mut self) -> Result<(), SpoolError> {
        if !self.buffer.is_empty() {
            self.flush().await?;
        }
        self.written().await.map(drop)
    }

    /// Flushes, then runs `inspect` on the file read from its start (off the async threads) before it is made durable.
    /// The file may grow further afterwards.
    pub async fn inspect<T: Send + 'static>(
        &mut self,
        inspect: impl FnOnce(&mut File) -> T + Send + 'static,
    ) -> Result<T, SpoolError> {
        self.settle().await?;
        let path = self.spool.part(&self.name);
        blocking(move || {
            // Opened anew: its own position, and no way to write.
            let mut file = File::open(&path).map_err(SpoolError::io("open", &path))?;
            Ok(inspect(&mut file))
        })
        .await
    }

    /// Sync, rename, directory sync. When it returns, the file outlives a power cut. When it fails, there is no file. Wait
    /// for it to the end: given up half way it may still leave a file, which the next start adopts.
    pub async fn commit(mut self) -> Result<Spooled, SpoolError> {
        self.settle().await?;
        blocking(move || self.make_durable()).await
    }

    fn make_durable(mut self) -> Result<Spooled, SpoolError> {
        let (from, to) = (self.spool.part(&self.name), self.spool.path(&self.name)?);
        self.file.sync_all().map_err(|e| refused(&self.spool, self.min_free, "sync", e))?;
        fs::rename(&from, &to).map_err(|e| refused(&self.spool, self.min_free, "rename", e))?;
        self.open = false;
        // First where it is now: a crash in between leaves it in both places, never in none. Where it was as well: the sweep of a
        // name that came back would take the file with it on a file system that renames in two steps. One with a journal has
        // nothing left to do then.
        if let Err(e) = sync_dir(folder_of(&to)).and_then(|()| sync_dir(folder_of(&from))) {
            // Nobody was told that it is stored, so it goes.
            let _ = fs::remove_file(&to);
            return Err(e);
        }
        Ok(Spooled { name: self.name.clone(), size: self.len })
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if self.open {
            let path = self.spool.part(&self.name);
            if let Err(error) = fs::remove_file(&path) {
                tracing::warn!(path = %path.display(), %error, "a temporary file stays until the next start");
            }
        }
    }
}

/// Starts the way of these bytes to the disk and does not wait for its end. Linux does so when told that a range is not needed,
/// and what is on its way stays in the page cache, where the reader of the image finds it. A system that does nothing of this
/// costs time at the sync and no more, as does an error.
fn begin_to_write(file: &File, bytes: Range<u64>) {
    let length = NonZeroU64::new(bytes.end - bytes.start);
    let _ = rustix::fs::fadvise(file, bytes.start, length, rustix::fs::Advice::DontNeed);
}

/// A disk (or quota) that is full, or another error.
fn refused(spool: &Inner, wanted: u64, action: &'static str, source: io::Error) -> SpoolError {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            SpoolError::Full { free: spool.free().unwrap_or(0), wanted, path: spool.root.clone() }
        }
        _ => SpoolError::Io { action, path: spool.root.clone(), source },
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SpoolError> + Send + 'static,
) -> Result<T, SpoolError> {
    let gave_up =
        |e| SpoolError::Io { action: "work in", path: PathBuf::from("the spool"), source: io::Error::other(e) };
    spawn_blocking(work).await.map_err(gave_up)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::Spool;

    #[tokio::test]
    async fn a_disk_that_fills_up_while_an_instance_grows_is_told_and_leaves_no_trace() {
        let state = tempfile::tempdir().unwrap();
        let spool = Spool::open(state.path()).unwrap();
        let mut incoming = spool.begin(0).await.unwrap();
        incoming.min_free = u64::MAX; // as if the disk were filling up
        let piece = vec![7; 1 << 20];
        let mut result = Ok(());
        while result.is_ok() && incoming.len() < 64 << 20 {
            result = incoming.write(&piece).await;
        }
        assert!(matches!(result, Err(SpoolError::Full { .. })), "{result:?}");
        // Asked for at 16 MiB, heard of when the next buffer is handed over.
        assert!((CHECK..CHECK + 3 * (1 << 20)).contains(&incoming.len()), "{}", incoming.len());
        let part = incoming.spool.part(&incoming.name);
        assert!(part.exists());
        drop(incoming);
        assert!(!part.exists());
    }

    #[tokio::test]
    async fn a_full_disk_at_the_last_buffer_fails_the_commit_and_leaves_no_trace() {
        let state = tempfile::tempdir().unwrap();
        let spool = Spool::open(state.path()).unwrap();
        let mut incoming = spool.begin(0).await.unwrap();
        incoming.write(b"the last").await.unwrap();
        (incoming.min_free, incoming.check_at) = (u64::MAX, 0);
        let part = incoming.spool.part(&incoming.name);
        assert!(matches!(incoming.commit().await, Err(SpoolError::Full { .. })));
        assert!(!part.exists());
        assert!(spool.scan().unwrap().is_empty());
    }
}

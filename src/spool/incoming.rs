//! One file being received. Everything here blocks: an association has a thread of its own.

use super::seal::{self, Note};
use super::{Inner, SpoolError, Spooled};
use std::fs::{self, File};
use std::io::{self, IoSlice, Write};
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Instant;

/// What comes in smaller pieces gathers up to so many bytes; larger ones go straight to the page cache.
const GATHER: usize = 120 * 1024;
/// Writes end where a page does: a page that is written to twice may be on its way to the disk in between, and is waited for.
const PAGE: u64 = 4096;
/// The system is told to begin to write after so many bytes: the sync at the end then finds little left to do. A sync of 15 MB
/// that nobody has begun takes as long as half its reception.
const EARLY: u64 = 512 * 1024;
/// Free space is asked for again after so many bytes.
const CHECK: u64 = 16 * 1024 * 1024;

/// A file that is being received; removed when dropped without [`Incoming::commit`]. After an error, drop it.
#[derive(Debug)]
pub struct Incoming {
    spool: Arc<Inner>,
    name: String,
    file: File,
    /// Comes next; less than [`GATHER`].
    buffer: Vec<u8>,
    /// Of what stands behind the preamble.
    sum: crc32fast::Hasher,
    len: u64,
    /// So many of them are on their way from the page cache to the disk.
    early: u64,
    /// Length at which free space is asked for again.
    check_at: u64,
    min_free: u64,
    /// It is not yet whole.
    open: bool,
}

impl Incoming {
    pub(super) fn begin(spool: Arc<Inner>, min_free: u64) -> Result<Incoming, SpoolError> {
        spool.root.check_free(min_free)?;
        let spare = spool.spares.take(&spool.root, min_free)?;
        let incoming = Incoming {
            spool,
            name: spare.name,
            file: spare.file,
            buffer: Vec::with_capacity(GATHER),
            sum: crc32fast::Hasher::new(),
            len: seal::PREAMBLE as u64,
            early: 0,
            check_at: CHECK,
            min_free,
            open: true,
        };
        let begun = (&incoming.file).write_all(&seal::begun());
        begun.map_err(|e| incoming.spool.root.refused(min_free, "write", e))?;
        Ok(incoming)
    }

    /// Appends bytes; the first come behind the preamble. Checks free space every 16 MiB.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), SpoolError> {
        if self.len >= self.check_at {
            self.spool.root.check_free(self.min_free)?;
            self.check_at = self.len.saturating_add(CHECK);
        }
        self.sum.update(bytes);
        self.len += bytes.len() as u64;
        if self.buffer.len() + bytes.len() < GATHER {
            self.buffer.extend_from_slice(bytes);
            return Ok(());
        }
        // What lies beyond the last whole page is kept; what was kept before is shorter than a page, or the piece is large.
        let beyond = ((self.len % PAGE) as usize).min(bytes.len());
        let (now, later) = bytes.split_at(bytes.len() - beyond);
        write_both(&self.file, &self.buffer, now).map_err(|e| self.spool.root.refused(self.min_free, "write", e))?;
        self.buffer.clear();
        self.buffer.extend_from_slice(later);
        let written = self.len - beyond as u64;
        if written.saturating_sub(self.early) >= EARLY {
            begin_to_write(&self.file, self.early..written);
            self.early = written;
        }
        Ok(())
    }

    /// Bytes so far, with the preamble's 128.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Nothing stands behind the preamble yet.
    pub fn is_empty(&self) -> bool {
        self.len == seal::PREAMBLE as u64
    }

    /// Seals and syncs the file. When it returns, the file outlives a power cut. When it fails, there is no file.
    pub fn commit(self, note: &Note) -> Result<Spooled, SpoolError> {
        let Ok((spooled, ())) = self.commit_if(note, |_| Ok::<(), std::convert::Infallible>(()))?;
        Ok(spooled)
    }

    /// As [`Incoming::commit`], once `inspect` has found the file good, which it reads from its start. What it refuses leaves
    /// nothing behind.
    ///
    /// # Errors
    /// Outside the spool's, inside the refusal.
    pub fn commit_if<T, E>(
        mut self,
        note: &Note,
        inspect: impl FnOnce(&mut File) -> Result<T, E>,
    ) -> Result<Result<(Spooled, T), E>, SpoolError> {
        let refused = |action, e| self.spool.root.refused(self.min_free, action, e);
        write_both(&self.file, &self.buffer, &[]).map_err(|e| refused("write", e))?;
        // Opened anew: its own position, and no way to write.
        let path = self.spool.root.path(&self.name)?;
        let mut file = File::open(&path).map_err(SpoolError::io("open", &path))?;
        let found = match inspect(&mut file) {
            Ok(found) => found,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let begun = Instant::now();
        let seal = seal::whole(self.len, self.sum.clone().finalize(), note);
        self.file.write_all_at(&seal, 0).map_err(|e| refused("write", e))?;
        self.file.sync_data().map_err(|e| refused("sync", e))?;
        self.open = false;
        let sync_ms = begun.elapsed().as_secs_f32() * 1000.0;
        Ok(Ok((Spooled { name: self.name.clone(), size: self.len, sync_ms }, found)))
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if self.open
            && let Ok(path) = self.spool.root.path(&self.name)
            && let Err(error) = fs::remove_file(&path)
        {
            tracing::warn!(path = %path.display(), %error, "an unfinished file stays until the next start");
        }
    }
}

/// Writes one piece behind the other, at once where the system does.
fn write_both(mut file: &File, first: &[u8], second: &[u8]) -> io::Result<()> {
    let written = loop {
        match file.write_vectored(&[IoSlice::new(first), IoSlice::new(second)]) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            done => break done?,
        }
    };
    file.write_all(first.get(written..).unwrap_or_default())?;
    file.write_all(second.get(written.saturating_sub(first.len())..).unwrap_or_default())
}

/// Starts the way of these bytes to the disk and does not wait for its end. Linux does so when told that a range is not needed,
/// and what is on its way stays in the page cache, where the reader of the image finds it. A system that does nothing of this
/// costs time at the sync and no more, as does an error.
fn begin_to_write(file: &File, bytes: Range<u64>) {
    let length = NonZeroU64::new(bytes.end - bytes.start);
    let _ = rustix::fs::fadvise(file, bytes.start, length, rustix::fs::Advice::DontNeed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::Spool;

    #[test]
    fn a_disk_that_fills_up_while_an_instance_grows_is_told_and_leaves_no_trace() {
        let state = tempfile::tempdir().unwrap();
        let spool = Spool::open(state.path()).unwrap();
        let mut incoming = spool.begin(0).unwrap();
        incoming.min_free = u64::MAX; // as if the disk were filling up
        let piece = vec![7; 1 << 20];
        let mut result = Ok(());
        while result.is_ok() && incoming.len() < 64 << 20 {
            result = incoming.write(&piece);
        }
        assert!(matches!(result, Err(SpoolError::Full { .. })), "{result:?}");
        assert!((CHECK..CHECK + (1 << 20)).contains(&incoming.len()), "{}", incoming.len());
        let path = spool.path(&incoming.name).unwrap();
        assert!(path.exists());
        drop(incoming);
        assert!(!path.exists());
    }
}

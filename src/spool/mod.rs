//! Durable files, each made so by one sync. Names are our own, never a peer's.
//!
//! ```text
//! <state>/spool/
//!   lock                      held by the one daemon of this state folder; holds its process number
//!   7f/<name>.dcm             an instance; the folder is the first two digits of the random part
//!   quarantine/<name>.dcm     nobody understands it; kept for an administrator
//! ```
//! A name is 12 hex digits of the time in milliseconds, a hyphen, 16 random hex digits: `0193f5a2c7d1-7f3a09c4d5e6f708`.
//! A file is a DICOM file (PS3.10): preamble, file meta group, data set as it came.
//!
//! What holds at every moment, also after a power cut: before the first byte comes, the file's name is durable ([`spare`]); when
//! [`Incoming::commit`] returns, so are its bytes and, in its preamble, the seal that says so ([`seal`]). A crash leaves one of
//! three: a file without a whole seal (never acknowledged: swept), a sealed one without a row in the ledger (adopted at start,
//! with what the row had said), one with its row. A file has one name from its first byte on: to rename it when it is whole
//! would take two more syncs, of the folder it leaves and of the one it comes to.
//!
//! There is no trait here: the methods of [`Spool`] and [`Incoming`] are the seam. A spool in an object store is a second
//! struct with the same methods (put once it is whole, delete), chosen where the daemon is wired.

mod incoming;
mod name;
mod root;
mod seal;
mod spare;

pub use incoming::Incoming;
pub use seal::{Note, PREAMBLE};

use root::Root;
use seal::Seal;
use spare::Spares;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes read at a time.
const READ: usize = 256 * 1024;

/// Why the spool could not do it.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The disk has less room than `min_free_disk`, or none at all. A receiver answers A700.
    #[error(
        "only {free} bytes are free in {path}: limits.min_free_disk asks for {wanted}; free some space, or lower the limit"
    )]
    Full {
        /// Free bytes.
        free: u64,
        /// Bytes that must stay free.
        wanted: u64,
        /// The spool.
        path: PathBuf,
    },
    /// Another daemon has the state folder.
    #[error("{path} is in use by another radroute (process {process}): each needs a node.state_dir of its own")]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// What the other wrote into it.
        process: String,
    },
    /// A name that is none of ours.
    #[error("{0:?} is no name of a spooled file")]
    Name(String),
    /// The system said no.
    #[error("cannot {action} {path}: {source}; check the disk and the rights of node.state_dir")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl SpoolError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SpoolError {
        move |source| SpoolError::Io { action, path: path.to_owned(), source }
    }
}

/// The spool: a folder of received DICOM files. Cheap to clone; the lock goes with the last clone.
#[derive(Clone, Debug)]
pub struct Spool {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: Root,
    spares: Spares,
    _lock: File,
}

/// What a file in the spool is, without the ledger.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// Empty, or begun and not finished: nobody was told that it is stored.
    Unfinished,
    /// To the bit what was received.
    Whole(Note),
    /// Sealed, but not what was sealed: its disk failed, or a power cut came before it was acknowledged.
    Torn,
    /// It has no seal of ours.
    Foreign,
}

/// A durable file.
#[derive(Clone, Debug)]
pub struct Spooled {
    /// Name in the spool, for [`Spool::open_file`].
    pub name: String,
    /// Size, bytes.
    pub size: u64,
    /// How long it took to be made durable, milliseconds.
    pub sync_ms: f32,
}

impl Spool {
    /// Opens or creates the spool below `dir` (`node.state_dir`), takes its lock (one daemon per state folder).
    ///
    /// # Errors
    /// [`SpoolError::Locked`] while another process has it; [`SpoolError::Io`] where folders cannot be made.
    pub fn open(dir: &Path) -> Result<Spool, SpoolError> {
        let root = dir.join("spool");
        let made = !dir.exists();
        let buckets = (0..=255u8).map(|n| root.join(format!("{n:02x}")));
        for folder in std::iter::once(root.join("quarantine")).chain(buckets) {
            fs::create_dir_all(&folder).map_err(SpoolError::io("create", &folder))?;
        }
        let lock = take_lock(&root.join("lock"))?;
        // The folders that were made must outlive a power cut as the files in them do.
        for folder in [&root, dir] {
            sync_dir(folder)?;
        }
        if made {
            sync_dir(folder_of(dir))?;
        }
        Ok(Spool { inner: Arc::new(Inner { root: Root::new(root), spares: Spares::default(), _lock: lock }) })
    }

    /// Free bytes for us on the file system of the spool.
    pub fn free(&self) -> Result<u64, SpoolError> {
        self.inner.root.free()
    }

    /// A new file for an instance; fails with [`SpoolError::Full`] when less than `min_free` bytes are free, now or later as
    /// it grows.
    pub fn begin(&self, min_free: u64) -> Result<Incoming, SpoolError> {
        Incoming::begin(self.inner.clone(), min_free)
    }

    /// The path of a spooled file (for reading; the name is one of ours and checked).
    pub fn path(&self, name: &str) -> Result<PathBuf, SpoolError> {
        self.inner.root.path(name)
    }

    /// Opens a spooled file for reading.
    pub fn open_file(&self, name: &str) -> Result<File, SpoolError> {
        let path = self.path(name)?;
        File::open(&path).map_err(SpoolError::io("open", &path))
    }

    /// Removes a spooled file for good; one that is gone already is no error. Blocks for a directory sync: a file that a
    /// power cut brought back would be adopted and delivered once more.
    pub fn remove(&self, name: &str) -> Result<(), SpoolError> {
        match self.remove_all(vec![name.to_owned()]).1.pop() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// As [`Spool::remove`] for many files: a folder that several of them lie in is synced once. Returns the names of those
    /// that are gone for good, and why the others are not.
    pub fn remove_all(&self, names: Vec<String>) -> (Vec<String>, Vec<SpoolError>) {
        let (mut gone, mut errors) = (Vec::with_capacity(names.len()), Vec::new());
        let mut unsynced: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
        for name in names {
            let removed = self.path(&name).and_then(|path| match fs::remove_file(&path) {
                Ok(()) => Ok(Some(folder_of(&path).to_owned())),
                Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(e) => Err(SpoolError::io("remove", &path)(e)),
            });
            match removed {
                Ok(Some(folder)) => unsynced.entry(folder).or_default().push(name),
                Ok(None) => gone.push(name),
                Err(error) => errors.push(error),
            }
        }
        for (folder, names) in unsynced {
            match sync_dir(&folder) {
                Ok(()) => gone.extend(names),
                Err(error) => errors.push(error),
            }
        }
        (gone, errors)
    }

    /// Names of all files, in whatever condition, but for those made ahead and not yet in use. What does not carry one of our
    /// names in its place is left out, with a line in the log.
    pub fn scan(&self) -> Result<Vec<String>, SpoolError> {
        let mut names = Vec::new();
        for bucket in 0..=255u8 {
            for (path, file) in entries(&self.inner.root.join(format!("{bucket:02x}")))? {
                match file.strip_suffix(".dcm") {
                    Some(name) if self.path(name).is_ok_and(|p| p == path) => {
                        if !self.inner.spares.has(name) {
                            names.push(name.to_owned());
                        }
                    }
                    _ => tracing::warn!(path = %path.display(), "a file in the spool is none of ours: left alone"),
                }
            }
        }
        Ok(names)
    }

    /// What a file is that the ledger does not know. Reads it to its end, and knows nothing of what is being received: only
    /// at start.
    pub fn condition(&self, name: &str) -> Result<Condition, SpoolError> {
        let path = self.path(name)?;
        let io = |e| SpoolError::io("read", &path)(e);
        let mut file = BufReader::with_capacity(READ, self.open_file(name)?);
        let len = file.get_ref().metadata().map_err(io)?.len();
        if len == 0 {
            return Ok(Condition::Unfinished);
        }
        let mut preamble = [0; seal::PREAMBLE];
        match file.read_exact(&mut preamble) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(Condition::Foreign),
            read => read.map_err(io)?,
        }
        let (sealed, sum, note) = match seal::read(&preamble) {
            Seal::Begun => return Ok(Condition::Unfinished),
            Seal::Unknown => return Ok(Condition::Foreign),
            Seal::Whole { len, sum, note } => (len, sum, note),
        };
        let mut found = crc32fast::Hasher::new();
        loop {
            let bytes = file.fill_buf().map_err(io)?;
            if bytes.is_empty() {
                break;
            }
            found.update(bytes);
            let read = bytes.len();
            file.consume(read);
        }
        Ok(if len == sealed && found.finalize() == sum { Condition::Whole(note) } else { Condition::Torn })
    }

    /// Moves a file that cannot be adopted into `quarantine/`, so that nothing is deleted that nobody understands.
    pub fn quarantine(&self, name: &str) -> Result<PathBuf, SpoolError> {
        let path = self.path(name)?;
        let to = self.inner.root.join("quarantine").join(format!("{name}.dcm"));
        fs::rename(&path, &to).map_err(SpoolError::io("move to quarantine", &path))?;
        sync_dir(folder_of(&to))?;
        sync_dir(folder_of(&path))?;
        Ok(to)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.spares.clear(&self.root);
    }
}

fn take_lock(path: &Path) -> Result<File, SpoolError> {
    let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
    let mut lock = open.map_err(SpoolError::io("open", path))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut process = String::new();
            let _ = (&mut lock).take(20).read_to_string(&mut process); // only for the message
            return Err(SpoolError::Locked { path: path.to_owned(), process: process.trim().to_owned() });
        }
        Err(TryLockError::Error(e)) => return Err(SpoolError::io("lock", path)(e)),
    }
    lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id())).map_err(SpoolError::io("write", path))?;
    Ok(lock)
}

/// Paths and names of a folder; names that are no Unicode are none of ours, and left out.
fn entries(folder: &Path) -> Result<Vec<(PathBuf, String)>, SpoolError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(SpoolError::io("read", folder))? {
        let entry = entry.map_err(SpoolError::io("read", folder))?;
        if let Ok(name) = entry.file_name().into_string() {
            found.push((entry.path(), name));
        }
    }
    Ok(found)
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

fn sync_dir(folder: &Path) -> Result<(), SpoolError> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    File::open(folder).and_then(|d| d.sync_all()).map_err(SpoolError::io("sync", folder))
}

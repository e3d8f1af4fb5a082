//! Why the ledger could not do it, in words for an administrator.

use rusqlite::ErrorCode;
use std::path::PathBuf;

/// Why the ledger could not do it. Cloneable, since one failed commit is the answer to every caller in it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LedgerError {
    /// The writer thread is gone: the daemon is stopping or has failed.
    #[error("the ledger is closed")]
    Closed,
    /// No room on its disk: a receiver answers A700.
    #[error("no room left on the disk of the ledger (node.state_dir): free some space; nothing was entered")]
    Full,
    /// The disk failed: a receiver answers A700.
    #[error(
        "the disk of the ledger (node.state_dir) failed: {0}; look at the kernel's log for the disk, and at the rights of the folder"
    )]
    Io(String),
    /// Another process held the ledger locked for too long.
    #[error("the ledger is locked by another process ({0}): is a backup or an sqlite3 shell holding it? Try again")]
    Busy(String),
    /// The file is damaged, or none of ours.
    #[error(
        "the ledger is damaged or no ledger of radroute ({0}): stop radroute, keep a copy of node.state_dir, then restore a backup or try `sqlite3 ledger.sqlite .recover`"
    )]
    Damaged(String),
    /// Written by a newer radroute.
    #[error(
        "the ledger {path} has schema {found}, this radroute knows up to {known}: run the newer radroute that wrote it, or restore the backup from before the upgrade"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// Written by an older radroute, and only `serve` migrates.
    #[error(
        "the ledger {path} has schema {found}, this radroute needs {known}: start `radroute serve` of this version once, it brings the ledger up to date"
    )]
    Older {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// There is no ledger.
    #[error("there is no ledger at {0}: is node.state_dir right, and has `radroute serve` run with it?")]
    Missing(PathBuf),
    /// It cannot be opened or created.
    #[error(
        "the ledger {path} cannot be opened: {why}; check that node.state_dir exists and that radroute may write there"
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
    /// A row that a caller names does not exist.
    #[error("the ledger knows no {0}")]
    Unknown(String),
    /// Anything else that SQLite says: a mistake of ours.
    #[error("the ledger refused: {0}; this is a mistake in radroute, please report it")]
    Refused(String),
}

impl LedgerError {
    /// It may pass by itself or by the administrator's hand: a receiver answers A700, the sender tries again.
    pub fn is_out_of_resources(&self) -> bool {
        matches!(self, LedgerError::Full | LedgerError::Io(_) | LedgerError::Busy(_) | LedgerError::Closed)
    }
}

impl From<rusqlite::Error> for LedgerError {
    fn from(e: rusqlite::Error) -> Self {
        let said = e.to_string();
        match e.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => LedgerError::Full,
            Some(
                ErrorCode::SystemIoFailure
                | ErrorCode::CannotOpen
                | ErrorCode::ReadOnly
                | ErrorCode::PermissionDenied
                | ErrorCode::OutOfMemory
                | ErrorCode::NoLargeFileSupport,
            ) => LedgerError::Io(said),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => LedgerError::Busy(said),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => LedgerError::Damaged(said),
            _ => LedgerError::Refused(said),
        }
    }
}

impl From<serde_json::Error> for LedgerError {
    fn from(e: serde_json::Error) -> Self {
        LedgerError::Damaged(format!("a value in a row cannot be read: {e}"))
    }
}

//! What keeps spool and ledger of one mind: reconciliation at start, retention while running.

use crate::config::Config;
use crate::dataset::{DatasetError, Facts, file_meta};
use crate::ledger::{Event, Ledger, LedgerError, NewInstance, Source, now};
use crate::spool::{Condition, Note, Spool, SpoolError};
use std::collections::HashSet;
use std::io::{BufReader, Seek, SeekFrom};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{info, warn};

/// So many rows without a single file are not a loss but a disk that is not mounted.
const SUSPICIOUS: usize = 10;
/// How many files retention removes in a round, of which each folder is synced once.
const REMOVE_AT_ONCE: usize = 500;
/// How many rows are given up in one transaction: what is received meanwhile waits for no more.
const GIVE_UP_AT_ONCE: usize = 50;
/// How often retention looks, at the least and (for a retention that is as short) at the most.
const EVERY: Duration = Duration::from_secs(30);
const AT_MOST_EVERY: Duration = Duration::from_secs(1);

/// Why spool and ledger cannot be reconciled.
#[derive(Debug, thiserror::Error)]
pub enum UpkeepError {
    /// See [`SpoolError`].
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// See [`LedgerError`].
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The ledger knows many files, and there is none.
    #[error(
        "the spool is empty, but the ledger knows {rows} files in it: is its disk mounted? If they are really gone, start once with \
         --accept-missing: their deliveries become dead letters"
    )]
    Empty {
        /// How many.
        rows: usize,
    },
    /// An orphan cannot be read from the disk now.
    #[error("spool file {name} has no ledger row and cannot be read: {reason}; mend the disk, or move the file away")]
    Orphan {
        /// Its name.
        name: String,
        /// What the system said.
        reason: String,
    },
}

/// What reconciliation found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// Files of broken-off receptions, and empty ones, removed: they were never answered 0000.
    pub swept: usize,
    /// Whole files without a row, adopted: the crash came between the sync of the file and that of the row.
    pub adopted: usize,
    /// Files without a row that are torn or cannot be read, moved to quarantine.
    pub quarantined: usize,
    /// Rows without their file.
    pub missing: usize,
}

/// Brings spool and ledger together after a crash. Run before anything is received.
///
/// # Errors
/// [`UpkeepError::Empty`] unless `accept_missing`; the disk or the ledger fails.
pub async fn reconcile(
    spool: &Spool,
    ledger: &Ledger,
    config: &Config,
    accept_missing: bool,
) -> Result<Reconciled, UpkeepError> {
    let mut found = Reconciled::default();
    unlink(spool, ledger, ledger.to_unlink().await?).await?;
    let given_up: HashSet<String> = ledger.to_unlink().await?.into_iter().collect();
    let rows = ledger.spool_names().await?;
    let files: HashSet<String> = spool.scan()?.into_iter().collect();
    let lost: Vec<_> = rows.iter().filter(|(_, name)| !files.contains(name)).map(|(id, _)| *id).collect();
    if lost.len() == rows.len() && rows.len() >= SUSPICIOUS && !accept_missing {
        return Err(UpkeepError::Empty { rows: rows.len() });
    }
    found.missing = lost.len();
    for some in lost.chunks(REMOVE_AT_ONCE) {
        // Side by side: the ledger commits them together.
        let mut calls = JoinSet::new();
        for id in some.iter().copied() {
            let ledger = ledger.clone();
            calls.spawn(async move { ledger.missing(id, now()).await });
        }
        for done in calls.join_all().await {
            done?;
        }
    }
    let known: HashSet<&String> = rows.iter().map(|(_, name)| name).chain(&given_up).collect();
    let mut unfinished = Vec::new();
    for name in files.iter().filter(|name| !known.contains(name)) {
        match adopt(spool, name, config) {
            Ok(None) => unfinished.push(name.clone()),
            Ok(Some(new)) => {
                ledger.received(new).await?;
                found.adopted += 1;
            }
            Err(Orphan::Disk(reason)) => return Err(UpkeepError::Orphan { name: name.clone(), reason }),
            Err(Orphan::Broken(reason)) => {
                let to = spool.quarantine(name)?;
                let detail = serde_json::json!({ "file": to, "reason": reason });
                ledger.event(Event::new("quarantined", detail)).await?;
                found.quarantined += 1;
            }
        }
    }
    found.swept = unfinished.len();
    if let Some(error) = spool.remove_all(unfinished).1.pop() {
        return Err(error.into());
    }
    if found != Reconciled::default() {
        info!(?found, "spool and ledger reconciled");
    }
    Ok(found)
}

/// Why an orphan cannot be adopted.
enum Orphan {
    /// The disk failed: the file may be sound.
    Disk(String),
    /// It is no object that we would have answered 0000 for.
    Broken(String),
}

impl From<DatasetError> for Orphan {
    fn from(error: DatasetError) -> Orphan {
        if error.is_io() { Orphan::Disk(error.to_string()) } else { Orphan::Broken(error.to_string()) }
    }
}

impl From<std::io::Error> for Orphan {
    fn from(error: std::io::Error) -> Orphan {
        Orphan::Disk(error.to_string())
    }
}

impl From<SpoolError> for Orphan {
    fn from(error: SpoolError) -> Orphan {
        Orphan::Disk(error.to_string())
    }
}

/// Reads what the ledger needs from an orphan: its seal says what the row had said of its reception, the file meta group who sent
/// it. `None`: it was never finished.
fn adopt(spool: &Spool, name: &str, config: &Config) -> Result<Option<NewInstance>, Orphan> {
    let note = match spool.condition(name)? {
        Condition::Unfinished => return Ok(None),
        Condition::Torn => return Err(Orphan::Broken("its bytes are not those that were sealed".into())),
        Condition::Whole(note) => note,
        // Of an earlier version, or put there by hand.
        Condition::Foreign => Note { received_at: now(), association: "adopted".into(), ..Note::default() },
    };
    let file = spool.open_file(name)?;
    let size = file.metadata()?.len();
    let mut reader = BufReader::new(file);
    let (meta, dataset_offset) = file_meta::read_file_meta(&mut reader)?;
    reader.seek(SeekFrom::Start(dataset_offset))?;
    let length = size.saturating_sub(dataset_offset);
    let facts = Facts::read(&mut reader, length, &meta.transfer_syntax_uid)?;
    Ok(Some(NewInstance {
        spool_name: name.to_owned(),
        file_size: size,
        dataset_offset,
        facts,
        source: Source {
            calling_ae: meta.sending_ae,
            called_ae: meta.receiving_ae,
            peer: note.peer,
            association: note.association,
        },
        received_at: note.received_at,
        receive_ms: note.receive_ms,
        sync_ms: 0.0,
        settle: config.classify.settle.as_millis() as i64,
        settle_max: config.classify.settle_max.as_millis() as i64,
        adopted: true,
    }))
}

/// Removes what every destination has had for longer than `retention.delivered`, until `stop` is rung.
pub async fn retain(
    config: watch::Receiver<Arc<Config>>,
    spool: Spool,
    ledger: Ledger,
    mut stop: watch::Receiver<bool>,
) {
    while !*stop.borrow() {
        let (keep, settle_max) = {
            let config = config.borrow();
            (config.retention.delivered, config.classify.settle_max.as_millis() as i64)
        };
        if let Err(error) = ledger.clock_went_back(now(), settle_max).await {
            warn!(%error, "cannot look for series that wait for a time far ahead");
        }
        let begun = Instant::now();
        let more = match remove_expired(&spool, &ledger, now() - keep.as_millis() as i64).await {
            Ok(removed) => removed == REMOVE_AT_ONCE,
            Err(error) => {
                warn!(%error, "retention could not remove files; trying again");
                false
            }
        };
        // As long a rest as the round took: at least half of the disk and of the ledger is for what is received.
        let rest = if more { begun.elapsed() } else { keep.clamp(AT_MOST_EVERY, EVERY) };
        tokio::select! {
            () = async { drop(stop.wait_for(|stop| *stop).await) } => {}
            () = tokio::time::sleep(rest) => {}
        }
    }
}

/// One round of retention; returns how many instances were given up.
///
/// The rows are told first, in one transaction with a list of what is to be unlinked: so a late series of the study that comes in
/// between finds the file gone instead of losing it, and a crash leaves names on the list and no orphans. A file that cannot be
/// unlinked stays on the list and holds nothing up.
///
/// # Errors
/// The ledger fails.
pub async fn remove_expired(spool: &Spool, ledger: &Ledger, before: i64) -> Result<usize, UpkeepError> {
    let rows = ledger.expired(before, REMOVE_AT_ONCE).await?;
    for some in rows.chunks(GIVE_UP_AT_ONCE) {
        ledger.remove(some.iter().map(|r| r.id).collect(), now()).await?;
    }
    let names = ledger.to_unlink().await?;
    if !names.is_empty() {
        unlink(spool, ledger, names).await?;
    }
    Ok(rows.len())
}

/// Unlinks files that were given up, and strikes those that are gone off the list.
async fn unlink(spool: &Spool, ledger: &Ledger, names: Vec<String>) -> Result<(), UpkeepError> {
    let spool = spool.clone();
    let removed = tokio::task::spawn_blocking(move || spool.remove_all(names)).await;
    if let Ok((gone, errors)) = removed {
        for error in errors {
            warn!(%error, "a file that retention gave up cannot be removed; trying again");
        }
        for some in gone.chunks(GIVE_UP_AT_ONCE) {
            ledger.unlinked(some.to_vec()).await?;
        }
    }
    Ok(())
}

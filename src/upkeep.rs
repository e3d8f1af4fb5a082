//! What keeps spool and ledger of one mind: reconciliation at start, retention while running.

use crate::config::Config;
use crate::dataset::{Facts, file_meta};
use crate::ledger::{Event, Ledger, LedgerError, NewInstance, Source, now};
use crate::spool::{Spool, SpoolError};
use std::collections::HashSet;
use std::io::{BufReader, Seek, SeekFrom};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tracing::{info, warn};

/// How many files retention removes before it lets others write.
const REMOVE_AT_ONCE: usize = 500;
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
}

/// What reconciliation found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// Temporary files of broken-off receptions, removed: they were never answered 0000.
    pub swept: usize,
    /// Complete files without a row, adopted: the crash came between rename and commit.
    pub adopted: usize,
    /// Files without a row that cannot be read, moved to quarantine.
    pub quarantined: usize,
    /// Rows without their file.
    pub missing: usize,
}

/// Brings spool and ledger together after a crash. Run before anything is received.
pub async fn reconcile(spool: &Spool, ledger: &Ledger, config: &Config) -> Result<Reconciled, UpkeepError> {
    let mut found = Reconciled { swept: spool.sweep()?, ..Reconciled::default() };
    let rows = ledger.spool_names().await?;
    let files: HashSet<String> = spool.scan()?.into_iter().collect();
    for (id, name) in &rows {
        if !files.contains(name) {
            ledger.missing(*id, now()).await?;
            found.missing += 1;
        }
    }
    let known: HashSet<&String> = rows.iter().map(|(_, name)| name).collect();
    for name in files.iter().filter(|name| !known.contains(name)) {
        match adopt(spool, name, config) {
            Ok(new) => {
                ledger.received(new).await?;
                found.adopted += 1;
            }
            Err(reason) => {
                let to = spool.quarantine(name)?;
                warn!(file = %to.display(), reason, "a spool file without a ledger row cannot be read: moved to quarantine");
                let detail = serde_json::json!({ "file": to, "reason": reason });
                ledger.event(Event::new("quarantined", detail)).await?;
                found.quarantined += 1;
            }
        }
    }
    if found != Reconciled::default() {
        info!(?found, "spool and ledger reconciled");
    }
    Ok(found)
}

/// Reads what the ledger needs from an orphan; its source stands in the file meta group.
fn adopt(spool: &Spool, name: &str, config: &Config) -> Result<NewInstance, String> {
    let file = spool.open_file(name).map_err(|e| e.to_string())?;
    let size = file.metadata().map_err(|e| e.to_string())?.len();
    let mut reader = BufReader::new(file);
    let (meta, dataset_offset) = file_meta::read_file_meta(&mut reader).map_err(|e| e.to_string())?;
    reader.seek(SeekFrom::Start(dataset_offset)).map_err(|e| e.to_string())?;
    let length = size.saturating_sub(dataset_offset);
    let facts = Facts::read(&mut reader, length, &meta.transfer_syntax_uid).map_err(|e| e.to_string())?;
    Ok(NewInstance {
        spool_name: name.to_owned(),
        file_size: size,
        dataset_offset,
        facts,
        source: Source {
            calling_ae: meta.sending_ae,
            called_ae: meta.receiving_ae,
            peer: None,
            association: "adopted".into(),
        },
        received_at: now(),
        receive_ms: 0.0,
        sync_ms: 0.0,
        settle: config.classify.settle.as_millis() as i64,
        settle_max: config.classify.settle_max.as_millis() as i64,
        adopted: true,
    })
}

/// Removes what every destination has had for longer than `retention.delivered`, until `stop` is rung.
pub async fn retain(
    config: watch::Receiver<Arc<Config>>,
    spool: Spool,
    ledger: Ledger,
    mut stop: watch::Receiver<bool>,
) {
    while !*stop.borrow() {
        let keep = config.borrow().retention.delivered;
        let more = match remove_expired(&spool, &ledger, now() - keep.as_millis() as i64).await {
            Ok(removed) => removed == REMOVE_AT_ONCE,
            Err(error) => {
                warn!(%error, "retention could not remove files; trying again");
                false
            }
        };
        if !more {
            tokio::select! {
                _ = stop.changed() => {}
                () = tokio::time::sleep(keep.clamp(AT_MOST_EVERY, EVERY)) => {}
            }
        }
    }
}

/// One round of retention; returns how many instances were removed.
pub async fn remove_expired(spool: &Spool, ledger: &Ledger, before: i64) -> Result<usize, UpkeepError> {
    let rows = ledger.expired(before, REMOVE_AT_ONCE).await?;
    if rows.is_empty() {
        return Ok(0);
    }
    let (spool, names) = (spool.clone(), rows.iter().map(|r| r.spool_name.clone()).collect::<Vec<_>>());
    // Rows first say that the file is gone, then it goes: a crash between leaves an orphan, which would be delivered again.
    // So the other way about: files first; reconciliation knows that a missing file whose deliveries have ended was removed.
    let gone = tokio::task::spawn_blocking(move || names.iter().try_for_each(|name| spool.remove(name))).await;
    match gone {
        Ok(result) => result?,
        Err(_) => return Ok(0),
    }
    let count = rows.len();
    ledger.removed(rows.into_iter().map(|r| r.id).collect(), now()).await?;
    Ok(count)
}

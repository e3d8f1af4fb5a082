//! The embedded ledger: what came, what was seen, what was decided, where it went. SQLite, WAL, synchronous FULL,
//! one writer thread that commits the work of many callers together (group commit).

pub mod types;

pub use types::*;

use crate::dataset::Overlay;
use crate::verdict::Look;
use std::path::Path;

/// Why the ledger could not do it.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The writer thread is gone: the daemon is stopping or has failed.
    #[error("the ledger is closed")]
    Closed,
}

/// Handle to the ledger; cheap to clone. Every `async` call returns after its transaction is durable.
#[derive(Clone)]
pub struct Ledger {}

#[allow(unused_variables, missing_docs)]
impl Ledger {
    /// Opens or creates the ledger in `path` (a file), migrates its schema, starts the writer thread.
    pub fn open(path: &Path) -> Result<Ledger, LedgerError> {
        todo!()
    }
    /// Waits for what was submitted, checkpoints and closes.
    pub async fn close(&self) -> Result<(), LedgerError> {
        todo!()
    }

    // ── receive ──
    /// Instance row, series row (its `due_at` moved to `now + settle`, at most first undecided + `settle_max`) and a `received` event.
    pub async fn received(&self, new: NewInstance) -> Result<InstanceId, LedgerError> {
        todo!()
    }
    /// The association was released: series with undecided instances that it brought are due now.
    pub async fn released(&self, association: &str, now: Millis) -> Result<(), LedgerError> {
        todo!()
    }

    // ── look ──
    /// Up to `limit` instances not yet looked at, oldest first, without those in `busy`.
    pub async fn unlooked(&self, limit: usize, busy: &[InstanceId]) -> Result<Vec<InstanceRow>, LedgerError> {
        todo!()
    }
    /// What looking gave, with a `looked` event.
    pub async fn looked(&self, id: InstanceId, look: Look, now: Millis) -> Result<(), LedgerError> {
        todo!()
    }

    // ── decide ──
    /// Series that are due at `now` and whose undecided instances have all been looked at.
    pub async fn due_series(&self, now: Millis, limit: usize) -> Result<Vec<SeriesJob>, LedgerError> {
        todo!()
    }
    /// When the next series will be due, if any waits for time alone (looked at, not decided).
    pub async fn next_series_due(&self) -> Result<Option<Millis>, LedgerError> {
        todo!()
    }
    /// Series verdict, overlays, deliveries (also those added to earlier series of the study), events; one transaction.
    /// A (instance, destination) pair that exists already is left alone.
    pub async fn decided(&self, decision: Decision) -> Result<(), LedgerError> {
        todo!()
    }

    // ── deliver ──
    /// Up to `limit` deliveries to `destination` that are due at `now`, oldest first, without those in `busy`.
    pub async fn due_deliveries(&self, destination: &str, now: Millis, limit: usize, busy: &[DeliveryId]) -> Result<Vec<DeliveryJob>, LedgerError> {
        todo!()
    }
    /// When the next delivery to `destination` is due.
    pub async fn next_delivery_due(&self, destination: &str) -> Result<Option<Millis>, LedgerError> {
        todo!()
    }
    /// The outcome of attempts, with their events; one transaction.
    pub async fn attempted(&self, outcomes: Vec<Attempt>) -> Result<(), LedgerError> {
        todo!()
    }

    // ── retention and reconciliation ──
    /// Instances whose deliveries have all ended well (delivered or dropped by an administrator; at least one) before `before`.
    pub async fn expired(&self, before: Millis, limit: usize) -> Result<Vec<InstanceRow>, LedgerError> {
        todo!()
    }
    /// Their spool files are gone; with a `removed` event each.
    pub async fn removed(&self, ids: Vec<InstanceId>, now: Millis) -> Result<(), LedgerError> {
        todo!()
    }
    /// Names of all spool files that rows still need (not removed, not missing).
    pub async fn spool_names(&self) -> Result<Vec<(InstanceId, String)>, LedgerError> {
        todo!()
    }
    /// The spool file of a row is missing: the row is marked, its open deliveries become dead, with a `missing` event.
    pub async fn missing(&self, id: InstanceId, now: Millis) -> Result<(), LedgerError> {
        todo!()
    }

    // ── told ──
    /// Appends an event that belongs to no other call (association, rejected, reload, …).
    pub async fn event(&self, event: Event) -> Result<(), LedgerError> {
        todo!()
    }
    /// The life of an instance, a series or a study: all its events, oldest first.
    pub async fn events_of(&self, uid: &str) -> Result<Vec<Event>, LedgerError> {
        todo!()
    }
    /// The instances of a SOP Instance, Series or Study Instance UID, with verdict, overlay and deliveries.
    pub async fn instances_of(&self, uid: &str) -> Result<Vec<InstanceLife>, LedgerError> {
        todo!()
    }
    /// The queue: deliveries that are not ended, and dead letters.
    pub async fn queue(&self, destination: Option<&str>) -> Result<Vec<QueueRow>, LedgerError> {
        todo!()
    }
    /// Makes open deliveries and dead letters due now. Returns how many.
    pub async fn queue_retry(&self, destination: Option<&str>, now: Millis) -> Result<u64, LedgerError> {
        todo!()
    }
    /// Gives up open deliveries and dead letters, on the administrator's word. Returns how many.
    pub async fn queue_drop(&self, destination: Option<&str>, now: Millis) -> Result<u64, LedgerError> {
        todo!()
    }
    /// What an overlay of an instance is (`None`: it leaves as it came).
    pub async fn overlay(&self, id: InstanceId) -> Result<Option<Overlay>, LedgerError> {
        todo!()
    }
}

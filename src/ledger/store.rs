//! What a database must be able to do for the ledger: the seam for a second implementation (PostgreSQL).

use super::writer::Durable;
use super::{
    Attempt, Decision, DeliveryId, DeliveryJob, Event, InstanceId, InstanceLife, InstanceRow, LedgerError, Millis,
    NewInstance, QueueRow, SeriesJob, Waiting,
};
use crate::dataset::Overlay;
use crate::verdict::Look;

/// What came of an operation of the store.
pub type Stored<T> = Result<T, LedgerError>;

/// One connection to the database: transactions, and the operations within one. All of it is synchronous: the writer
/// thread and the readers' blocking threads call it. The operations mean what the methods of [`super::Ledger`] of the
/// same name say.
pub trait Store: Send {
    /// Begins a transaction that writes; `durable` says what its commit must be.
    fn begin_write(&mut self, durable: Durable) -> Stored<()>;
    /// Begins a transaction that reads one consistent state.
    fn begin_read(&mut self) -> Stored<()>;
    /// Commits: makes the transaction durable, with all before it, or leaves that to the next one that is.
    fn commit(&mut self) -> Stored<()>;
    /// Gives the transaction up, if one is open.
    fn rollback(&mut self);
    /// Whether a transaction is open: a full disk may have ended it.
    fn in_transaction(&self) -> bool;
    /// Begins a step that can be undone alone.
    fn savepoint(&mut self) -> Stored<()>;
    /// Keeps the step.
    fn keep(&mut self) -> Stored<()>;
    /// Undoes the step.
    fn undo(&mut self) -> Stored<()>;
    /// Whatever tidies the database before it is closed.
    fn checkpoint(&mut self) -> Stored<()>;

    /// Enters an instance.
    fn received(&self, new: &NewInstance) -> Stored<InstanceId>;
    /// Series of an association are due now.
    fn released(&self, association: &str, now: Millis) -> Stored<()>;
    /// Instances to look at.
    fn unlooked(&self, limit: usize, busy: &[InstanceId]) -> Stored<Vec<InstanceRow>>;
    /// Enters what looking gave.
    fn looked(&self, id: InstanceId, look: &Look, now: Millis) -> Stored<()>;
    /// Series to decide.
    fn due_series(&self, now: Millis, limit: usize) -> Stored<Vec<SeriesJob>>;
    /// When the next series is due.
    fn next_series_due(&self) -> Stored<Option<Millis>>;
    /// Series that are due later than `settle_max` from `now` are due now; how many.
    fn clock_went_back(&self, now: Millis, settle_max: Millis) -> Stored<u64>;
    /// Enters a decision.
    fn decided(&self, decision: &Decision) -> Stored<()>;
    /// Deliveries to attempt.
    fn due_deliveries(
        &self,
        destination: &str,
        now: Millis,
        limit: usize,
        busy: &[DeliveryId],
    ) -> Stored<Vec<DeliveryJob>>;
    /// When the next delivery is due.
    fn next_delivery_due(&self, destination: &str) -> Stored<Option<Millis>>;
    /// Destinations of queued deliveries.
    fn queued_destinations(&self) -> Stored<Vec<String>>;
    /// Makes up to `limit` deliveries that are due after `latest` due now; how many.
    fn bring_forward(&self, destination: &str, now: Millis, latest: Millis, limit: usize) -> Stored<u64>;
    /// Up to `limit` queued deliveries that were entered at `before` or earlier.
    fn too_old(&self, destination: &str, before: Millis, limit: usize, busy: &[DeliveryId]) -> Stored<Vec<DeliveryId>>;
    /// Queued deliveries become dead letters without an attempt; how many.
    fn give_up(&self, ids: &[DeliveryId], why: &str, now: Millis) -> Stored<u64>;
    /// Enters attempts.
    fn attempted(&self, outcomes: &[Attempt]) -> Stored<()>;
    /// Instances whose files may go.
    fn expired(&self, before: Millis, limit: usize) -> Stored<Vec<InstanceRow>>;
    /// Files that may go are given up; their names.
    fn remove(&self, ids: &[InstanceId], now: Millis) -> Stored<Vec<String>>;
    /// Names of files that were given up and are not unlinked yet.
    fn to_unlink(&self) -> Stored<Vec<String>>;
    /// They are unlinked.
    fn unlinked(&self, names: &[String]) -> Stored<()>;
    /// Files that rows need.
    fn spool_names(&self) -> Stored<Vec<(InstanceId, String)>>;
    /// A file is gone as it should not.
    fn missing(&self, id: InstanceId, now: Millis) -> Stored<()>;
    /// Events that have become durable since the last call, by whichever process, oldest first; the first call gives none. For
    /// the log, which must never tell another story than the ledger.
    fn news(&mut self) -> Stored<Vec<Event>>;
    /// Enters an event.
    fn event(&self, event: &Event) -> Stored<()>;
    /// Events of an instance, a series or a study.
    fn events_of(&self, uid: &str) -> Stored<Vec<Event>>;
    /// Instances of an instance, a series or a study.
    fn instances_of(&self, uid: &str) -> Stored<Vec<InstanceLife>>;
    /// Deliveries that are open or dead.
    fn queue(&self, destination: Option<&str>) -> Stored<Vec<QueueRow>>;
    /// Makes up to `limit` deliveries behind row `after` due now; how many, and the last row.
    fn queue_retry(
        &self,
        destination: Option<&str>,
        now: Millis,
        after: DeliveryId,
        limit: usize,
    ) -> Stored<(u64, Option<DeliveryId>)>;
    /// Gives up to `limit` deliveries behind row `after` up; how many, and the last row.
    fn queue_drop(
        &self,
        destination: Option<&str>,
        now: Millis,
        after: DeliveryId,
        limit: usize,
    ) -> Stored<(u64, Option<DeliveryId>)>;
    /// Counts what waits.
    fn waiting(&self) -> Stored<Waiting>;
    /// The overlay of an instance.
    fn overlay(&self, id: InstanceId) -> Stored<Option<Overlay>>;
}

//! The embedded ledger: what came, what was seen, what was decided, where it went. SQLite, WAL, one writer thread that commits
//! the work of many callers together (group commit).
//!
//! ```text
//!  callers ──submit──▶ writer thread ──one transaction, one sync──▶ ledger.sqlite
//!     ▲                    │ answers after the commit                   │
//!     └────────────────────┘            a few reading connections ◀─────┘
//! ```
//! [`store::Store`] is what a database must be able to do; [`sqlite`] is the one there is. Open work is found by partial
//! indices that hold open work alone (`schema.sql`), so a pick costs the same with fifty million rows as with fifty.
//! `schema.rs` brings an older file up to date; `receive`, `decide`, `deliver`, `retain` and `audit` hold the SQL.

pub mod store;
pub mod types;

mod audit;
mod decide;
mod deliver;
mod error;
mod readers;
mod receive;
mod retain;
mod rows;
mod schema;
mod sqlite;
mod stages;
#[cfg(test)]
mod tests;
mod writer;

pub use error::LedgerError;
pub use sqlite::{Access, SqliteStore};
pub use types::*;

use crate::dataset::Overlay;
use crate::verdict::Look;
use readers::Readers;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use store::{Store, Stored};
pub use writer::Tell;
use writer::Writer;

/// The ledger's file in the state folder.
pub const FILE: &str = "ledger.sqlite";

/// Deliveries that the administrator's hand moves in one transaction: the daemon's writes go in between.
const HANDFUL: usize = 2000;

/// Handle to the ledger; cheap to clone. Every `async` call that writes returns after its transaction is committed, which outlives
/// the process, and synced, which outlives the machine; but [`Ledger::looked`], [`Ledger::released`], [`Ledger::clock_went_back`],
/// [`Ledger::bring_forward`] and [`Ledger::unlinked`] are synced with the next of the others: after a power cut they are done again.
#[derive(Clone)]
pub struct Ledger {
    writer: Writer,
    readers: Readers,
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ledger")
    }
}

impl Ledger {
    /// Opens or creates the ledger in `path` (a file), migrates its schema, starts the writer thread.
    pub fn open(path: &Path) -> Result<Ledger, LedgerError> {
        Ledger::with(path, Access::Create, Arc::new(|_| ()))
    }

    /// As [`Ledger::open`]; `tell` hears of every event once it is durable, whichever process entered it, so that a log never tells
    /// another story than the ledger.
    pub fn open_telling(path: &Path, tell: Tell) -> Result<Ledger, LedgerError> {
        Ledger::with(path, Access::Create, tell)
    }

    /// Opens the ledger for a command beside the daemon: it must exist and have this version's schema.
    pub fn open_existing(path: &Path) -> Result<Ledger, LedgerError> {
        Ledger::with(path, Access::Existing, Arc::new(|_| ()))
    }

    fn with(path: &Path, access: Access, tell: Tell) -> Result<Ledger, LedgerError> {
        let store = SqliteStore::open(path, access)?;
        let path: PathBuf = path.to_owned();
        let why = |e: std::io::Error| LedgerError::Open { path: path.clone(), why: e.to_string() };
        let writer = Writer::start(Box::new(store), tell).map_err(why)?;
        let readers = Readers::new(move || Ok(Box::new(SqliteStore::open(&path, Access::Read)?) as Box<dyn Store>));
        Ok(Ledger { writer, readers })
    }

    /// Waits for what was submitted, checkpoints and closes.
    pub async fn close(&self) -> Result<(), LedgerError> {
        self.readers.close();
        self.writer.close().await
    }

    /// Transactions committed since it was opened: with many callers, far fewer than calls.
    pub fn commits(&self) -> u64 {
        self.writer.commits()
    }

    /// Those of them that were synced.
    pub fn syncs(&self) -> u64 {
        self.writer.syncs()
    }

    /// The writer thread has ended: nothing can be written any more.
    pub fn is_closed(&self) -> bool {
        self.writer.is_closed()
    }

    /// Returns once the writer thread has answered: the daemon's sign of life.
    pub async fn ping(&self) -> Result<(), LedgerError> {
        self.writer.submit(|_| Ok(())).await
    }

    async fn read<T: Send + 'static>(&self, read: impl FnOnce(&dyn Store) -> Stored<T> + Send + 'static) -> Stored<T> {
        self.readers.read(read).await
    }

    // ── receive ──
    /// Instance row, series row (its `due_at` moved to `received_at + settle`, at most first undecided + `settle_max`) and a
    /// `received` (or `adopted`) event. Not synced: the spooled file is, and says all that a start needs to enter it again.
    pub async fn received(&self, new: NewInstance) -> Result<InstanceId, LedgerError> {
        self.writer.submit_repeatable(move |s| s.received(&new)).await
    }
    /// As [`Ledger::received`] of what is never to be looked at, and why, with its `looked` event: in one transaction, where many
    /// slices of a CT come.
    pub async fn received_exempt(&self, new: NewInstance, reason: String) -> Result<InstanceId, LedgerError> {
        let entered = move |s: &dyn Store| {
            let id = s.received(&new)?;
            s.looked(id, &Look::Exempt { reason }, new.received_at)?;
            Ok(id)
        };
        self.writer.submit_repeatable(entered).await
    }
    /// The association was released: series with undecided instances that it brought are due now (after a power cut: in their time).
    pub async fn released(&self, association: &str, now: Millis) -> Result<(), LedgerError> {
        let association = association.to_owned();
        self.writer.submit_repeatable(move |s| s.released(&association, now)).await
    }

    // ── look ──
    /// Up to `limit` instances not yet looked at, oldest first, without those in `busy`.
    pub async fn unlooked(&self, limit: usize, busy: &[InstanceId]) -> Result<Vec<InstanceRow>, LedgerError> {
        let busy = busy.to_owned();
        self.read(move |s| s.unlooked(limit, &busy)).await
    }
    /// What looking gave, with a `looked` event. The first result stands if it is told twice.
    pub async fn looked(&self, id: InstanceId, look: Look, now: Millis) -> Result<(), LedgerError> {
        self.writer.submit_repeatable(move |s| s.looked(id, &look, now)).await
    }

    // ── decide ──
    /// Series that are due at `now` and whose undecided instances have all been looked at.
    pub async fn due_series(&self, now: Millis, limit: usize) -> Result<Vec<SeriesJob>, LedgerError> {
        self.read(move |s| s.due_series(now, limit)).await
    }
    /// When the next series will be due, if any waits for time alone (looked at, not decided).
    pub async fn next_series_due(&self) -> Result<Option<Millis>, LedgerError> {
        self.read(|s| s.next_series_due()).await
    }
    /// [`Ledger::due_series`], and how long to wait where there are none ([`Ledger::next_series_due`]; `None` where nothing
    /// waits), of one state of the ledger: every instance that comes asks for both.
    pub async fn series_to_decide(
        &self,
        now: Millis,
        limit: usize,
    ) -> Result<(Vec<SeriesJob>, Option<Duration>), LedgerError> {
        self.read(move |s| {
            let jobs = s.due_series(now, limit)?;
            let next = if jobs.is_empty() { s.next_series_due()? } else { Some(now) };
            let wait = |due: Millis| Duration::from_millis(u64::try_from(due.saturating_sub(now)).unwrap_or(0));
            Ok((jobs, next.map(wait)))
        })
        .await
    }
    /// The clock may have been set back: series that are due later than `settle_max` from `now`, which nothing received now
    /// could be, are due now. Returns how many. To be called now and then.
    pub async fn clock_went_back(&self, now: Millis, settle_max: Millis) -> Result<u64, LedgerError> {
        self.writer.submit_repeatable(move |s| s.clock_went_back(now, settle_max)).await
    }
    /// Series verdict, overlays, deliveries (also those added to earlier series of the study), events; one transaction.
    /// A (instance, destination) pair that exists already is left alone.
    pub async fn decided(&self, decision: Decision) -> Result<(), LedgerError> {
        self.writer.submit(move |s| s.decided(&decision)).await
    }

    // ── deliver ──
    /// Up to `limit` deliveries to `destination` that are due at `now`, oldest first, without those in `busy`.
    pub async fn due_deliveries(
        &self,
        destination: &str,
        now: Millis,
        limit: usize,
        busy: &[DeliveryId],
    ) -> Result<Vec<DeliveryJob>, LedgerError> {
        let (destination, busy) = (destination.to_owned(), busy.to_owned());
        self.read(move |s| s.due_deliveries(&destination, now, limit, &busy)).await
    }
    /// When the next delivery to `destination` is due.
    pub async fn next_delivery_due(&self, destination: &str) -> Result<Option<Millis>, LedgerError> {
        let destination = destination.to_owned();
        self.read(move |s| s.next_delivery_due(&destination)).await
    }
    /// The destinations for which deliveries are queued, configured or not. Costs one look-up for each of them.
    pub async fn queued_destinations(&self) -> Result<Vec<String>, LedgerError> {
        self.read(|s| s.queued_destinations()).await
    }
    /// The clock may have been set back: deliveries to `destination` that are due after `latest`, the latest that its
    /// settings allow, are due now. Returns how many.
    pub async fn bring_forward(&self, destination: &str, now: Millis, latest: Millis) -> Result<u64, LedgerError> {
        let mut count = 0;
        loop {
            let destination = destination.to_owned();
            let some = self
                .writer
                .submit_repeatable(move |s| s.bring_forward(&destination, now, latest.max(now), HANDFUL))
                .await?;
            count += some;
            if some < HANDFUL as u64 {
                return Ok(count);
            }
        }
    }
    /// Deliveries to `destination` that were queued at `before` or earlier, but those in `busy`, become dead letters because
    /// of `why`; no attempt is counted. Returns how many. One look at the destination's queue for each handful.
    pub async fn give_up_old(
        &self,
        destination: &str,
        before: Millis,
        busy: &[DeliveryId],
        why: &str,
        now: Millis,
    ) -> Result<u64, LedgerError> {
        let mut count = 0;
        loop {
            let (name, busy, why) = (destination.to_owned(), busy.to_owned(), why.to_owned());
            let old = self.read(move |s| s.too_old(&name, before, HANDFUL, &busy)).await?;
            if old.is_empty() {
                return Ok(count);
            }
            count += self.writer.submit(move |s| s.give_up(&old, &why, now)).await?;
        }
    }
    /// The outcome of attempts, with their events; one transaction.
    pub async fn attempted(&self, outcomes: Vec<Attempt>) -> Result<(), LedgerError> {
        self.writer.submit(move |s| s.attempted(&outcomes)).await
    }

    // ── retention and reconciliation ──
    /// Instances whose deliveries have all ended well (delivered or dropped by an administrator; at least one) before `before`.
    pub async fn expired(&self, before: Millis, limit: usize) -> Result<Vec<InstanceRow>, LedgerError> {
        self.read(move |s| s.expired(before, limit)).await
    }
    /// Gives the files of these instances up, with a `removed` event each; those that are needed again since they were picked stay.
    /// Returns the names to unlink: from now on no row needs them, and [`Ledger::to_unlink`] knows them until [`Ledger::unlinked`].
    pub async fn remove(&self, ids: Vec<InstanceId>, now: Millis) -> Result<Vec<String>, LedgerError> {
        self.writer.submit(move |s| s.remove(&ids, now)).await
    }
    /// Names of files that were given up and may still be there.
    pub async fn to_unlink(&self) -> Result<Vec<String>, LedgerError> {
        self.read(|s| s.to_unlink()).await
    }
    /// These files are gone.
    pub async fn unlinked(&self, names: Vec<String>) -> Result<(), LedgerError> {
        self.writer.submit_repeatable(move |s| s.unlinked(&names)).await
    }
    /// Names of all spool files that rows still need (not removed, not missing).
    pub async fn spool_names(&self) -> Result<Vec<(InstanceId, String)>, LedgerError> {
        self.read(|s| s.spool_names()).await
    }
    /// The spool file of a row is missing: the row is marked, its open deliveries become dead, with a `missing` event
    /// (`removed`, if all its deliveries had ended well).
    pub async fn missing(&self, id: InstanceId, now: Millis) -> Result<(), LedgerError> {
        self.writer.submit(move |s| s.missing(id, now)).await
    }

    // ── told ──
    /// Appends an event that belongs to no other call (association, rejected, reload, …).
    pub async fn event(&self, event: Event) -> Result<(), LedgerError> {
        self.writer.submit(move |s| s.event(&event)).await
    }
    /// The life of an instance, a series or a study: all its events, oldest first; for an instance, the verdicts of its series too.
    pub async fn events_of(&self, uid: &str) -> Result<Vec<Event>, LedgerError> {
        let uid = uid.to_owned();
        self.read(move |s| s.events_of(&uid)).await
    }
    /// The instances of a SOP Instance, Series or Study Instance UID, with verdict, overlay and deliveries.
    pub async fn instances_of(&self, uid: &str) -> Result<Vec<InstanceLife>, LedgerError> {
        let uid = uid.to_owned();
        self.read(move |s| s.instances_of(&uid)).await
    }
    /// The queue: deliveries that are not ended, and dead letters.
    pub async fn queue(&self, destination: Option<&str>) -> Result<Vec<QueueRow>, LedgerError> {
        let destination = destination.map(str::to_owned);
        self.read(move |s| s.queue(destination.as_deref())).await
    }
    /// Makes open deliveries and dead letters due now. Returns how many. A dead letter begins a new `max_age`; one whose
    /// file is gone stays dead.
    pub async fn queue_retry(&self, destination: Option<&str>, now: Millis) -> Result<u64, LedgerError> {
        self.in_handfuls(destination, move |s, destination, after| s.queue_retry(destination, now, after, HANDFUL))
            .await
    }
    /// Gives up open deliveries and dead letters, on the administrator's word. Returns how many.
    pub async fn queue_drop(&self, destination: Option<&str>, now: Millis) -> Result<u64, LedgerError> {
        self.in_handfuls(destination, move |s, destination, after| s.queue_drop(destination, now, after, HANDFUL)).await
    }
    /// What waits, for the figures: counted by index alone.
    pub async fn waiting(&self) -> Result<Waiting, LedgerError> {
        self.read(|s| s.waiting()).await
    }
    /// What an overlay of an instance is (`None`: it leaves as it came).
    pub async fn overlay(&self, id: InstanceId) -> Result<Option<Overlay>, LedgerError> {
        self.read(move |s| s.overlay(id)).await
    }

    async fn in_handfuls<F>(&self, destination: Option<&str>, act: F) -> Result<u64, LedgerError>
    where
        F: Fn(&dyn Store, Option<&str>, DeliveryId) -> Stored<(u64, Option<DeliveryId>)> + Copy + Send + 'static,
    {
        let (mut count, mut after) = (0, 0);
        loop {
            let destination = destination.map(str::to_owned);
            let (some, last) = self.writer.submit(move |s| act(s, destination.as_deref(), after)).await?;
            count += some;
            match last {
                Some(last) => after = last,
                None => return Ok(count),
            }
        }
    }
}

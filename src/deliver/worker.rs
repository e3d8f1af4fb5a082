//! One association at a time to a destination, as long as something waits for it.
//!
//! **At most one extra delivery for a kill**, or as many as the window that a destination grants. From its last PDU until its outcome
//! is durable in the ledger, a delivery could be repeated by a crash. An association lets its next instance begin meanwhile, yet
//! holds that one's last PDU back until the outcome before is durable (of a window: until fewer than the window are in doubt);
//! and the associations of a destination share this, so that all together have no more in doubt than one alone may. Only where a
//! destination takes longer than [`PATIENCE`] for a response, each association counts for itself.

use super::association::{Association, AssociationError, Peer};
use super::backoff::{self, Circuit};
use super::contexts::{self, Need};
use super::feed::{Feed, Idle, Next};
use super::report::Report;
use super::sender::Item;
use super::session;
use crate::config;
use crate::ledger::{self, DeliveryId, DeliveryJob, Ledger, LedgerError, Millis, Outcome};
use crate::spool::Spool;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinHandle;

/// Between attempts to write an outcome into a ledger that fails.
const UNWRITTEN: Duration = Duration::from_secs(1);
/// How long an instance that is all sent but its last PDU waits for its turn. An archive that takes longer than this for
/// one response must not hold up its other associations for ever.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// How long no further association is tried after the destination has refused one beside one that works.
const ENOUGH: Millis = 30_000;

/// An instance that failed with its destination is tried later than the destination, so that another one is the probe:
/// one that makes a destination fail must not hold up the others for ever.
pub(super) const AFTER_OTHERS: Millis = 1_000;

/// What an instance in doubt holds until its outcome is durable.
pub(super) type Permits = Vec<OwnedSemaphorePermit>;

/// All that the associations to a destination share.
pub struct Line {
    /// As configured.
    pub destination: config::Destination,
    /// The same, as an association needs it.
    pub peer: Peer,
    /// Where outcomes go.
    pub ledger: Ledger,
    /// Where instances are.
    pub spool: Spool,
    /// What waits.
    pub feed: Arc<Feed>,
    /// Whether the destination is to be left alone.
    pub circuit: Mutex<Circuit>,
    /// No further association beside a working one before this.
    pub extra_after: AtomicI64,
    /// Associations that stand.
    pub standing: AtomicUsize,
    /// The ledger has more that is due than the feed holds.
    pub more: AtomicBool,
    /// What is too old is on its way out of the queue, so many times over.
    pub expiring: AtomicUsize,
    /// Shares of doubt: as many as the window that is wanted. Without a window an instance takes all of them.
    pub doubt: Arc<Semaphore>,
    /// Wakes the queue.
    pub wake: Notify,
    /// Set when it is time to stop.
    pub stop: watch::Receiver<bool>,
}

impl Line {
    /// The circuit.
    pub fn circuit(&self) -> MutexGuard<'_, Circuit> {
        self.circuit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The destination has refused a further association a short time ago (or will have, before the clock was set back).
    pub(super) fn enough(&self, now: Millis) -> bool {
        (1..=ENOUGH).contains(&self.extra_after.load(Ordering::Relaxed).saturating_sub(now))
    }

    pub(super) fn item(&self, job: &DeliveryJob) -> Result<Item, crate::spool::SpoolError> {
        let facts = &job.instance.facts;
        Ok(Item {
            path: self.spool.path(&job.instance.spool_name)?,
            offset: job.instance.dataset_offset,
            length: job.instance.file_size.saturating_sub(job.instance.dataset_offset),
            need: Need::new(&facts.sop_class_uid, &facts.transfer_syntax_uid),
            sop_instance: facts.sop_instance_uid.clone(),
            overlay: if self.destination.as_received { None } else { job.overlay.clone() },
            may_decode: true,
        })
    }

    /// The destination failed as a whole, which `job` found out. Returns when `job` may be tried again; `None`: others had
    /// found out before, so that it was not tried at all.
    pub(super) fn failed(&self, job: &DeliveryJob) -> Option<Millis> {
        let now = ledger::now();
        let mut circuit = self.circuit();
        if circuit.open(now) {
            return None;
        }
        Some(circuit.failed(&self.destination.retry, job.id, now, rand::random()))
    }

    /// Gives what waits back to the ledger; whatever is too old, here or in the ledger alone, becomes a dead letter now that
    /// the destination has failed again.
    pub(super) fn stand_back(self: &Arc<Line>, records: &mut Vec<JoinHandle<()>>, why: &str) {
        self.feed.clear();
        let now = ledger::now();
        let Some(max_age) = self.max_age() else { return };
        let (ledger, name, busy) = (self.ledger.clone(), self.destination.name.clone(), self.feed.busy());
        let why = too_old_because(why);
        let expiring = Counted::new(self.clone(), |line| &line.expiring);
        records.push(tokio::spawn(async move {
            let _expiring = expiring;
            match ledger.give_up_old(&name, now.saturating_sub(max_age), &busy, &why, now).await {
                Ok(0) => {}
                Ok(dead) => tracing::warn!(destination = name, dead, "given up after retry.max_age"),
                // the next failure comes to it again
                Err(error) => {
                    tracing::error!(destination = name, %error, "cannot give up what is older than retry.max_age")
                }
            }
        }));
    }

    fn max_age(&self) -> Option<Millis> {
        self.destination.retry.max_age.map(|age| Millis::try_from(age.as_millis()).unwrap_or(Millis::MAX))
    }

    fn too_old(&self, job: &DeliveryJob, now: Millis) -> bool {
        self.max_age().is_some_and(|most| now.saturating_sub(job.queued_at) >= most)
    }

    /// Tells the log and the ledger. A retry of what is too old is a dead letter. The permits are given back when the outcome
    /// is durable.
    pub(super) fn record(&self, job: &DeliveryJob, mut report: Report, permits: Permits) -> JoinHandle<()> {
        let now = ledger::now();
        // a dead letter keeps its own reason
        if let Outcome::Retry(_) = report.outcome
            && self.too_old(job, now)
        {
            report.outcome = Outcome::Dead;
            report.detail = too_old_because(&report.detail);
        }
        let attempt = report.attempt(job.id, &self.peer, now);
        let (ledger, feed, id) = (self.ledger.clone(), self.feed.clone(), job.id);
        tokio::spawn(async move {
            // Until it is written it stays busy: this process must not send it again.
            while let Err(error) = ledger.attempted(vec![attempt.clone()]).await {
                tracing::error!(delivery = id, %error, "the outcome of a delivery is not in the ledger yet");
                if matches!(error, LedgerError::Closed) {
                    return;
                }
                tokio::time::sleep(UNWRITTEN).await;
            }
            feed.done(id);
            drop(permits);
        })
    }

    /// Tells the log and the ledger that the file is not there.
    pub(super) fn missing(&self, job: &DeliveryJob) -> JoinHandle<()> {
        tracing::error!(
            sop_instance = job.instance.facts.sop_instance_uid,
            destination = self.destination.name,
            spool_name = job.instance.spool_name,
            "dead: the file is not in the spool"
        );
        let (ledger, feed, id, instance) = (self.ledger.clone(), self.feed.clone(), job.id, job.instance.id);
        tokio::spawn(async move {
            // as for an outcome: until it is written the delivery stays busy
            while let Err(error) = ledger.missing(instance, ledger::now()).await {
                tracing::error!(delivery = id, %error, "the ledger does not know yet that a file is missing");
                if matches!(error, LedgerError::Closed) {
                    return;
                }
                tokio::time::sleep(UNWRITTEN).await;
            }
            feed.done(id);
        })
    }

    /// The wait of one instance after an attempt that counted.
    pub(super) fn next_at(&self, job: &DeliveryJob) -> Millis {
        backoff::next_at(&self.destination.retry, job.attempts.saturating_add(1), ledger::now(), rand::random())
    }
}

fn too_old_because(why: &str) -> String {
    format!("given up after retry.max_age: {why}")
}

/// Returns when it is time to stop.
pub async fn stopped(stop: &mut watch::Receiver<bool>) {
    // an error means that whoever could say so is gone
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Associates and sends until nothing waits any longer, the destination fails or it is time to stop.
pub async fn run(line: Arc<Line>, idle: Idle) {
    let mut worker = Worker { line: line.clone(), stop: line.stop.clone(), records: Vec::new(), again: Vec::new() };
    let mut idle = Some(idle);
    while !*worker.stop.borrow() && !line.circuit().open(ledger::now()) {
        let Next::Job(job) = line.feed.next(|_| true) else { break };
        idle = None;
        if !worker.associate(*job).await {
            break;
        }
    }
    drop(idle);
    worker.recorded().await;
}

/// A worker, from one association to the next.
pub(super) struct Worker {
    pub(super) line: Arc<Line>,
    pub(super) stop: watch::Receiver<bool>,
    /// Outcomes on their way into the ledger.
    pub(super) records: Vec<JoinHandle<()>>,
    /// Tried again at once because their association had gone stale: once is enough.
    pub(super) again: Vec<DeliveryId>,
}

/// Counts one more in a counter of the line, until it is dropped.
struct Counted(Arc<Line>, fn(&Line) -> &AtomicUsize);

impl Counted {
    fn new(line: Arc<Line>, counter: fn(&Line) -> &AtomicUsize) -> Counted {
        counter(&line).fetch_add(1, Ordering::Relaxed);
        Counted(line, counter)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        (self.1)(&self.0).fetch_sub(1, Ordering::Relaxed);
    }
}

impl Worker {
    /// Everything told so far is durable.
    async fn recorded(&mut self) {
        for record in self.records.drain(..) {
            let _ = record.await;
        }
    }

    /// One association, beginning with `job`. Returns whether another may follow.
    async fn associate(&mut self, job: DeliveryJob) -> bool {
        let line = self.line.clone();
        let proposed = contexts::propose(&line.feed.needs(&job), true);
        let association = tokio::select! {
            association = Association::request(&line.peer, &proposed) => association,
            () = stopped(&mut self.stop) => {
                line.feed.put_back(job);
                return false;
            }
        };
        match association {
            Ok(association) => {
                let _standing = Counted::new(line, |line| &line.standing);
                session::run(self, association, job).await
            }
            Err(error) => {
                self.unreachable(job, error);
                false
            }
        }
    }

    fn unreachable(&mut self, job: DeliveryJob, error: AssociationError) {
        let line = &self.line;
        if line.standing.load(Ordering::Relaxed) > 0 {
            tracing::info!(destination = line.destination.name, %error, "no further association beside those that stand");
            line.extra_after.store(ledger::now() + ENOUGH, Ordering::Relaxed);
            line.feed.put_back(job);
            return;
        }
        match line.failed(&job) {
            Some(until) => {
                let report = Report::failure(Outcome::Retry(until), error.to_string());
                self.records.push(line.record(&job, report, Permits::new()));
            }
            None => line.feed.done(job.id),
        }
        line.stand_back(&mut self.records, &error.to_string());
    }
}

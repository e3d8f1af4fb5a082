//! Stage **decide**: a series settles → verdict → overlays → destinations, in one ledger transaction.
//!
//! In one round only one series of a study is decided: what a study chose is known to the next series only once it is in the
//! ledger. A series that cannot be decided now waits its turn and does not stand in the way of the others ([`pauses`]).

mod decision;
mod pauses;
#[cfg(test)]
mod tests;

use crate::config::Config;
use crate::ledger::{Ledger, LedgerError, SeriesJob, now};
use crate::spool::Spool;
use crate::verdict::Threshold;
use pauses::Pauses;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tracing::warn;

/// How long the stage sleeps when nothing wakes it.
const POLL: Duration = Duration::from_secs(1);
/// How long it sleeps at least while series wait for another try: they are due all the time.
const BREATH: Duration = Duration::from_millis(100);
/// The ledger is asked no sooner than this after the last time: a sender of small images rings for each of them.
const LULL: Duration = Duration::from_millis(10);
/// Series asked for at once.
const BATCH: usize = 16;

/// The stage with what it needs.
pub struct DecideStage {
    /// Settings in force.
    pub config: watch::Receiver<Arc<Config>>,
    /// Where work comes from and results go to.
    pub ledger: Ledger,
    /// Where the headers are read from.
    pub spool: Spool,
    /// Of the five regions, by term.
    pub thresholds: BTreeMap<String, Threshold>,
    /// First 16 hex digits of the SHA-256 of the weights, and ` int8` where that is the arithmetic.
    pub model: String,
    /// Rung when an instance has been looked at, and when an association ends.
    pub looked: Arc<Notify>,
    /// Rung by us when there is something to deliver.
    pub decided: Arc<Notify>,
}

impl DecideStage {
    /// Runs until `stop` is rung.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut pauses = Pauses::default();
        while !*stop.borrow() {
            let asked = tokio::time::Instant::now();
            // Those that wait stand in front: they are not to fill the batch.
            let (jobs, wait) = match self.ledger.series_to_decide(now(), BATCH + pauses.waiting()).await {
                Ok((jobs, wait)) => (turn(jobs, &pauses), wait),
                Err(error) => {
                    warn!(%error, "cannot ask the ledger for series to decide; trying again");
                    tokio::time::sleep(POLL).await;
                    continue;
                }
            };
            let busy = !jobs.is_empty();
            self.settle(jobs, &mut pauses).await;
            if !busy {
                let least = if pauses.waiting() > 0 { BREATH } else { Duration::ZERO };
                let wait = wait.map_or(POLL, |wait| wait.min(POLL)).max(least);
                tokio::select! {
                    () = self.looked.notified() => {}
                    _ = stop.changed() => {}
                    () = tokio::time::sleep(wait) => {}
                }
                tokio::time::sleep_until(asked + LULL).await;
            }
        }
    }

    /// Decides these series or puts them off. Side by side, so that the ledger commits them together.
    async fn settle(&self, jobs: Vec<SeriesJob>, pauses: &mut Pauses) {
        let config = self.config.borrow().clone();
        let mut tasks = JoinSet::new();
        for job in jobs {
            let key = pauses::key(&job);
            let (thresholds, model, spool) = (self.thresholds.clone(), self.model.clone(), self.spool.clone());
            let (config, given_up, ledger) = (config.clone(), pauses.given_up(&key), self.ledger.clone());
            tasks.spawn(async move {
                // Headers are read from disk: off the async threads.
                let decide = move || decision::decide(&job, &config, &thresholds, &model, &spool, given_up.as_deref());
                let end = match tokio::task::spawn_blocking(decide).await {
                    Ok(Ok(decision)) => ledger.decided(decision).await.map_err(Failure::Ledger),
                    Ok(Err(error)) => Err(Failure::Series(error)),
                    Err(_) => Err(Failure::Series("deciding panicked".into())),
                };
                (key, end)
            });
        }
        while let Some(ended) = tasks.join_next().await {
            let Ok((key, end)) = ended else { continue };
            let Err(failure) = end else {
                pauses.done(&key);
                self.decided.notify_one();
                continue;
            };
            let error = match failure {
                Failure::Series(error) => {
                    pauses.failed(&key, &error, Instant::now());
                    error
                }
                Failure::Ledger(error) => {
                    pauses.put_off(&key, POLL, Instant::now());
                    error.to_string()
                }
            };
            let (_, series_instance_uid) = key;
            warn!(series_instance_uid, error, "the series cannot be decided now; trying again");
        }
    }
}

/// Why a series is not decided.
enum Failure {
    /// It cannot be now, by itself.
    Series(String),
    /// No fault of the series: not counted against it.
    Ledger(LedgerError),
}

/// The series whose turn it is: of each study the first that does not wait.
fn turn(jobs: Vec<SeriesJob>, pauses: &Pauses) -> Vec<SeriesJob> {
    let (mut studies, now) = (HashSet::new(), Instant::now());
    jobs.into_iter()
        .filter(|job| !pauses.waits(&pauses::key(job), now) && studies.insert(job.study_instance_uid.clone()))
        .collect()
}

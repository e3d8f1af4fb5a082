//! One queue per destination, and the supervisor that starts, changes and stops them as the configuration says.

use super::association::Peer;
use super::backoff::{self, Circuit};
use super::feed::MOST;
use super::worker::{self, AFTER_OTHERS, Line, stopped};
use crate::config::Config;
use crate::ledger::{self, DeliveryId, Ledger, LedgerError, Millis};
use crate::spool::Spool;
use crate::thread::alone;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::MissedTickBehavior;

/// The ledger is asked at least this often: another process may have made deliveries due (`radroute queue retry`).
const POLL: Duration = Duration::from_secs(1);

/// How often it is looked whether a queue has died.
const LOOK: Duration = Duration::from_secs(5);

/// How often it is looked whether the clock has been set back.
const CLOCK: Duration = Duration::from_secs(60);

/// The deliver stage.
pub struct Deliver {
    config: watch::Receiver<Arc<Config>>,
    ledger: Ledger,
    spool: Spool,
    notify: Arc<Notify>,
}

/// A destination that is served.
struct Served {
    /// The settings it was started with, to see whether they have changed.
    settings: String,
    line: Arc<Line>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Deliver {
    /// `notify` says that deliveries were entered; `config` brings a new configuration on reload.
    pub fn new(config: watch::Receiver<Arc<Config>>, ledger: Ledger, spool: Spool, notify: Arc<Notify>) -> Deliver {
        Deliver { config, ledger, spool, notify }
    }

    /// Delivers until `shutdown` becomes true (or its sender is dropped); then finishes what is on the wire, for at most
    /// `limits.drain`, and returns when every outcome is durable.
    pub async fn run(mut self, mut shutdown: watch::Receiver<bool>) {
        let mut served: HashMap<String, Served> = HashMap::new();
        // queues that have been told to stop and may still have an instance on the wire
        let mut leaving: HashMap<String, JoinHandle<()>> = HashMap::new();
        // made once: with traffic, one that is made anew for each turn would never come to its end
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut changed = true;
        loop {
            let config = self.config.borrow_and_update().clone();
            self.apply(&config, &mut served, &mut leaving).await;
            if std::mem::take(&mut changed) {
                self.tell_unserved(&config).await;
            }
            let reload = loop {
                tokio::select! {
                    () = stopped(&mut shutdown) => break false,
                    reload = self.config.changed() => match reload {
                        Ok(()) => {
                            changed = true;
                            break true;
                        }
                        // there will be no other configuration
                        Err(_) => { stopped(&mut shutdown).await; break false }
                    },
                    () = self.notify.notified() => served.values().for_each(|one| one.line.wake.notify_one()),
                    _ = look.tick() => {
                        if served.values().any(|one| one.task.is_finished()) { break true; }
                    }
                }
            };
            if !reload {
                break;
            }
        }
        for one in served.values() {
            let _ = one.stop.send(true);
        }
        for task in served.into_values().map(|one| one.task).chain(leaving.into_values()) {
            let _ = task.await;
        }
    }

    /// Deliveries that wait for a destination that is not configured, since this start or an earlier one: nobody sends them.
    async fn tell_unserved(&self, config: &Config) {
        match self.ledger.queued_destinations().await {
            Ok(names) => {
                for name in names.iter().filter(|name| config.destination.iter().all(|one| one.name != **name)) {
                    tracing::warn!(
                        destination = name,
                        "not configured: its deliveries stay queued (radroute queue list, radroute queue drop)"
                    );
                }
            }
            Err(error) => tracing::error!(%error, "cannot read the queues from the ledger"),
        }
    }

    async fn apply(
        &self,
        config: &Config,
        served: &mut HashMap<String, Served>,
        leaving: &mut HashMap<String, JoinHandle<()>>,
    ) {
        let settings = |destination| format!("{destination:?} {:?} {:?}", config.node.ae_title, config.limits.drain);
        let wanted: HashMap<&str, String> =
            config.destination.iter().map(|one| (one.name.as_str(), settings(one))).collect();
        let stale: Vec<String> = served
            .iter()
            .filter(|(name, one)| wanted.get(name.as_str()) != Some(&one.settings) || one.task.is_finished())
            .map(|(name, _)| name.clone())
            .collect();
        for name in stale {
            let Some(one) = served.remove(&name) else { continue };
            if one.task.is_finished() && !*one.stop.borrow() {
                tracing::error!(destination = name, "its queue has failed and is started again");
            }
            let _ = one.stop.send(true);
            leaving.insert(name, one.task);
        }
        for destination in &config.destination {
            if served.contains_key(&destination.name) {
                continue;
            }
            let (stop, stop_rx) = watch::channel(false);
            let line = Arc::new(Line {
                peer: Peer {
                    called_ae: destination.ae_title.clone(),
                    calling_ae: destination.calling_ae_title.clone().unwrap_or_else(|| config.node.ae_title.clone()),
                    address: destination.address.clone(),
                    timeout: destination.timeout,
                    window: destination.max_outstanding.max(1),
                },
                destination: destination.clone(),
                ledger: self.ledger.clone(),
                spool: self.spool.clone(),
                feed: Arc::default(),
                circuit: Mutex::new(Circuit::default()),
                extra_after: AtomicI64::new(0),
                standing: AtomicUsize::new(0),
                expiring: AtomicUsize::new(0),
                more: AtomicBool::new(false),
                doubt: Arc::new(Semaphore::new(usize::from(destination.max_outstanding.max(1)))),
                wake: Notify::new(),
                stop: stop_rx,
            });
            let (before, queue, drain) = (leaving.remove(&destination.name), line.clone(), config.limits.drain);
            let task = tokio::spawn(async move {
                // never two queues for one destination: an instance on the wire would be sent twice
                if let Some(before) = before {
                    let _ = before.await;
                }
                serve(queue, drain).await;
            });
            let settings = settings(destination);
            served.insert(destination.name.clone(), Served { settings, line, stop, task });
        }
    }
}

/// The queue of one destination.
async fn serve(line: Arc<Line>, drain: Duration) {
    let mut workers: JoinSet<()> = JoinSet::new();
    let mut stop = line.stop.clone();
    let mut oldest = None;
    let mut clock = tokio::time::interval(CLOCK);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let wait = match work(&line, &mut workers, &mut oldest).await {
            Ok(wait) => wait,
            Err(error) => {
                tracing::error!(destination = line.destination.name, %error, "cannot read the queue from the ledger");
                POLL
            }
        };
        tokio::select! {
            () = stopped(&mut stop) => break,
            _ = clock.tick() => bring_forward(&line).await,
            () = line.wake.notified() => {}
            ended = workers.join_next(), if !workers.is_empty() => {
                if let Some(Err(error)) = ended {
                    // its delivery counts as busy: the supervisor starts the queue anew, which forgets that
                    tracing::error!(destination = line.destination.name, %error, "an association failed inside");
                    break;
                }
            }
            () = tokio::time::sleep(wait) => {}
        }
    }
    let finished = async { while workers.join_next().await.is_some() {} };
    if tokio::time::timeout(drain, finished).await.is_err() {
        tracing::warn!(
            destination = line.destination.name,
            "limits.drain is over: what is on the wire is cut off and stays queued"
        );
        workers.shutdown().await;
    }
}

/// What is due later than any attempt of now could make it was entered before the clock was set back: it is due now.
async fn bring_forward(line: &Line) {
    let (name, now) = (line.destination.name.as_str(), ledger::now());
    let latest = now.saturating_add(backoff::longest(&line.destination.retry)).saturating_add(2 * AFTER_OTHERS);
    match line.ledger.bring_forward(name, now, latest).await {
        Ok(0) => {}
        Ok(deliveries) => {
            tracing::warn!(
                destination = name,
                deliveries,
                "the clock was set back: what waited for a later time is due"
            );
        }
        Err(error) => tracing::error!(destination = name, %error, "cannot look for deliveries that wait too long"),
    }
}

/// Fills the feed and starts associations; returns for how long there is nothing else to do. `oldest` is what was due first
/// when the destination was left alone.
async fn work(
    line: &Arc<Line>,
    workers: &mut JoinSet<()>,
    oldest: &mut Option<Millis>,
) -> Result<Duration, LedgerError> {
    let name = line.destination.name.as_str();
    let now = ledger::now();
    let (open, until, probe) = {
        let circuit = line.circuit();
        (circuit.open(now), circuit.until(), circuit.probe())
    };
    if open {
        if !retried(line, now, probe, oldest).await? {
            return Ok(POLL.min(until_then(until, now)));
        }
        line.circuit().try_now();
    }
    *oldest = None;
    let waiting = line.feed.waiting();
    if waiting < MOST / 2 {
        let wanted = MOST - waiting;
        let jobs = line.ledger.due_deliveries(name, now, wanted, &line.feed.busy()).await?;
        line.more.store(jobs.len() == wanted, Ordering::Relaxed);
        line.feed.add(jobs);
    }
    let most = if line.circuit().probing() || line.enough(now) { 1 } else { line.destination.max_associations.max(1) };
    while workers.len() < most && line.feed.waiting() > line.feed.idle() {
        let worker = alone("delivery", worker::run(line.clone(), line.feed.idling()));
        workers.spawn(async {
            if let Err(error) = worker.await {
                tracing::error!(%error, "the system gives no thread for an association: tried again in a while");
            }
        });
    }
    if line.feed.waiting() > 0 {
        return Ok(POLL);
    }
    let next = line.ledger.next_delivery_due(name).await?;
    Ok(next.filter(|&at| at > now).map_or(POLL, |at| POLL.min(until_then(at, now))))
}

/// Whether somebody said `radroute queue retry` while the destination is left alone: its probe is due before its time, or
/// all that waited is due later than it was.
async fn retried(
    line: &Line,
    now: Millis,
    probe: Option<DeliveryId>,
    oldest: &mut Option<Millis>,
) -> Result<bool, LedgerError> {
    let name = line.destination.name.as_str();
    if !line.feed.busy().is_empty() || line.expiring.load(Ordering::Relaxed) > 0 {
        // outcomes are still on their way into the ledger: the queue moves by itself
        return Ok(false);
    }
    let next = line.ledger.next_delivery_due(name).await?.unwrap_or(Millis::MAX);
    if next > *oldest.get_or_insert(next) {
        return Ok(true);
    }
    Ok(line.ledger.due_deliveries(name, now, MOST, &[]).await?.iter().any(|job| Some(job.id) == probe))
}

fn until_then(at: Millis, now: Millis) -> Duration {
    // a moment more, since both are whole milliseconds
    Duration::from_millis(u64::try_from(at.saturating_sub(now)).unwrap_or(0).saturating_add(1))
}

//! What waits for one destination, shared by its associations.

use super::contexts::Need;
use crate::ledger::{DeliveryId, DeliveryJob};
use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// How many deliveries are held in memory for a destination; the ledger holds the others.
pub const MOST: usize = 64;

/// How many pairs of SOP class and transfer syntax are remembered, to be proposed again.
const REMEMBERED: usize = 32;

/// Deliveries that are due, oldest first.
#[derive(Debug, Default)]
pub struct Feed {
    inner: Mutex<Inner>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: VecDeque<DeliveryJob>,
    /// Waiting here, on an association, or with an outcome that is not yet durable.
    busy: HashSet<DeliveryId>,
    recent: VecDeque<Need>,
    /// Associations that have nothing to do.
    idle: usize,
}

/// What [`Feed::next`] found.
#[derive(Debug)]
pub enum Next {
    /// This one is next.
    Job(Box<DeliveryJob>),
    /// The next one needs another association.
    Other,
    /// Nothing waits.
    Nothing,
}

/// What an instance needs of an association.
pub fn need(job: &DeliveryJob) -> Need {
    Need::new(&job.instance.facts.sop_class_uid, &job.instance.facts.transfer_syntax_uid)
}

impl Feed {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds what the ledger gave.
    pub fn add(&self, jobs: Vec<DeliveryJob>) {
        if jobs.is_empty() {
            return;
        }
        let mut inner = self.lock();
        for job in jobs {
            if inner.busy.insert(job.id) {
                let need = need(&job);
                inner.recent.retain(|known| *known != need);
                inner.recent.push_front(need);
                inner.recent.truncate(REMEMBERED);
                inner.waiting.push_back(job);
            }
        }
        drop(inner);
        self.arrived.notify_waiters();
    }

    /// The next delivery, if `fits` says that this association takes it.
    pub fn next(&self, fits: impl Fn(&Need) -> bool) -> Next {
        let mut inner = self.lock();
        match inner.waiting.front() {
            None => Next::Nothing,
            Some(job) if !fits(&need(job)) => Next::Other,
            Some(_) => inner.waiting.pop_front().map_or(Next::Nothing, |job| Next::Job(Box::new(job))),
        }
    }

    /// Returns when something has been added since it was made; make it before asking [`Feed::next`].
    pub fn arrived(&self) -> tokio::sync::futures::Notified<'_> {
        self.arrived.notified()
    }

    /// It was not tried: it is the next one again.
    pub fn put_back(&self, job: DeliveryJob) {
        self.lock().waiting.push_front(job);
        self.arrived.notify_waiters();
    }

    /// Its outcome is in the ledger.
    pub fn done(&self, id: DeliveryId) {
        self.lock().busy.remove(&id);
    }

    /// Takes out what waits here, for the ledger to give again later.
    pub fn clear(&self) -> Vec<DeliveryJob> {
        let mut inner = self.lock();
        let jobs: Vec<DeliveryJob> = std::mem::take(&mut inner.waiting).into();
        for job in &jobs {
            inner.busy.remove(&job.id);
        }
        jobs
    }

    /// What to propose for an association that begins with `first`: it, then what waits, then what was seen of late.
    pub fn needs(&self, first: &DeliveryJob) -> Vec<Need> {
        let inner = self.lock();
        let mut needs = vec![need(first)];
        needs.extend(inner.waiting.iter().map(need));
        needs.extend(inner.recent.iter().cloned());
        needs
    }

    /// What the ledger is not to give again.
    pub fn busy(&self) -> Vec<DeliveryId> {
        self.lock().busy.iter().copied().collect()
    }

    /// How many wait here.
    pub fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    /// How many associations have nothing to do.
    pub fn idle(&self) -> usize {
        self.lock().idle
    }

    /// An association with nothing to do, until the value is dropped.
    pub fn idling(self: &Arc<Feed>) -> Idle {
        self.lock().idle += 1;
        Idle(self.clone())
    }
}

/// See [`Feed::idling`].
#[derive(Debug)]
pub struct Idle(Arc<Feed>);

impl Drop for Idle {
    fn drop(&mut self) {
        let mut inner = self.0.lock();
        inner.idle = inner.idle.saturating_sub(1);
    }
}

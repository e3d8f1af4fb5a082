//! The writer thread: the work of many callers, one transaction, one sync (group commit).
//!
//! Callers submit operations over a bounded channel and wait. The writer takes what waits, runs each operation as a step of
//! one transaction that can be undone alone, commits once, and only then answers. While it commits, the next batch gathers:
//! the more callers, the more share a sync, and a single caller waits for nobody.

use super::store::{Store, Stored};
use super::{Event, LedgerError};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{mpsc, oneshot};

/// Operations that may wait; beyond, callers wait to submit.
const WAITING: usize = 1024;
/// Operations in one transaction.
const BATCH: usize = 256;

/// Gives a caller its answer, once it is known what became of the commit.
type Answer = Box<dyn FnOnce(Stored<()>) + Send>;
/// Runs an operation, or hears why it cannot be run: the error, if it failed, and how to answer.
type Operation = Box<dyn FnOnce(Stored<&dyn Store>) -> (Option<LedgerError>, Answer) + Send>;

/// Hears of events: in the daemon, the log and the figures.
pub type Tell = Arc<dyn Fn(&Event) + Send + Sync>;

/// When an operation must outlive a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durable {
    /// Before its caller is answered: the commit is synced.
    Now,
    /// With the next commit that is synced. For what a start does again where it is missing, and for nothing else.
    Later,
}

enum Message {
    Run(Operation, Durable),
    Close(oneshot::Sender<Stored<()>>),
}

/// The callers' end of the writer thread.
#[derive(Clone)]
pub struct Writer {
    messages: mpsc::Sender<Message>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    commits: AtomicU64,
    syncs: AtomicU64,
}

impl Writer {
    /// Starts the thread; it ends on [`Writer::close`], or when the last handle is gone. `tell` hears of every event once it
    /// is durable.
    pub fn start(store: Box<dyn Store>, tell: Tell) -> std::io::Result<Writer> {
        let (messages, inbox) = mpsc::channel(WAITING);
        let counts = Arc::new(Counts::default());
        let counted = counts.clone();
        std::thread::Builder::new().name("ledger".into()).spawn(move || run(store, inbox, &counted, &*tell))?;
        Ok(Writer { messages, counts })
    }

    /// Runs an operation; returns when it is durable. Once submitted it runs, even if the caller stops waiting.
    pub async fn submit<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&dyn Store) -> Stored<T> + Send + 'static,
    ) -> Stored<T> {
        self.submit_as(Durable::Now, operation).await
    }

    /// As [`Writer::submit`] for what a start does again where a power cut took it: returns when it is committed, which a kill does
    /// not undo, and costs no sync of its own.
    pub async fn submit_repeatable<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&dyn Store) -> Stored<T> + Send + 'static,
    ) -> Stored<T> {
        self.submit_as(Durable::Later, operation).await
    }

    async fn submit_as<T: Send + 'static>(
        &self,
        durable: Durable,
        operation: impl FnOnce(&dyn Store) -> Stored<T> + Send + 'static,
    ) -> Stored<T> {
        let (answer, answered) = oneshot::channel();
        let run: Operation = Box::new(move |store| {
            let result = store.and_then(operation);
            let failed = result.as_ref().err().cloned();
            let answer: Answer = Box::new(move |committed| {
                // A caller that has gone does not want it: then there is nobody to tell.
                let _ = answer.send(result.and_then(|value| committed.map(|()| value)));
            });
            (failed, answer)
        });
        self.messages.send(Message::Run(run, durable)).await.map_err(|_| LedgerError::Closed)?;
        answered.await.map_err(|_| LedgerError::Closed)?
    }

    /// Waits for what was submitted before, checkpoints, ends the thread.
    pub async fn close(&self) -> Stored<()> {
        let (answer, answered) = oneshot::channel();
        if self.messages.send(Message::Close(answer)).await.is_err() {
            return Ok(()); // closed before
        }
        answered.await.unwrap_or(Ok(()))
    }

    /// The thread has ended.
    pub fn is_closed(&self) -> bool {
        self.messages.is_closed()
    }

    /// Transactions committed so far.
    pub fn commits(&self) -> u64 {
        self.counts.commits.load(Ordering::Relaxed)
    }

    /// Those of them that were synced.
    pub fn syncs(&self) -> u64 {
        self.counts.syncs.load(Ordering::Relaxed)
    }
}

fn run(mut store: Box<dyn Store>, mut inbox: mpsc::Receiver<Message>, counts: &Counts, tell: &dyn Fn(&Event)) {
    news(store.as_mut(), tell);
    while let Some(message) = inbox.blocking_recv() {
        let mut closing = None;
        let mut batch = Vec::new();
        let mut durable = Durable::Later;
        let mut next = Some(message);
        while let Some(message) = next {
            match message {
                Message::Run(operation, wanted) => {
                    batch.push(operation);
                    if wanted == Durable::Now {
                        durable = wanted;
                    }
                }
                Message::Close(answer) => {
                    closing = Some(answer);
                    break;
                }
            }
            next = if batch.len() < BATCH { inbox.try_recv().ok() } else { None };
        }
        write(store.as_mut(), batch, durable, counts, tell);
        if let Some(answer) = closing {
            let done = store.checkpoint();
            drop(store);
            let _ = answer.send(done);
            return;
        }
    }
    if let Err(error) = store.checkpoint() {
        tracing::warn!(%error, "the ledger was not checkpointed at its end; the next start does it");
    }
}

/// One transaction, or more where a failing disk ended one in between. One operation that must be durable makes all of them so.
fn write(store: &mut dyn Store, batch: Vec<Operation>, durable: Durable, counts: &Counts, tell: &dyn Fn(&Event)) {
    let mut done: Vec<Answer> = Vec::with_capacity(batch.len());
    let mut changed = false;
    for operation in batch {
        let begun = if store.in_transaction() { Ok(()) } else { store.begin_write(durable) };
        let ready = begun.and_then(|()| store.savepoint());
        let (error, answer) = operation(ready.map(|()| &*store));
        let Some(error) = error else {
            match store.keep() {
                Ok(()) => {
                    changed = true;
                    done.push(answer);
                }
                Err(error) => {
                    store.rollback();
                    fail(std::mem::take(&mut done), &error);
                    answer(Err(error));
                }
            }
            continue;
        };
        let lost = !store.in_transaction() || store.undo().is_err();
        answer(Err(error.clone()));
        if lost {
            // SQLite ends the whole transaction on some errors (a full disk): what it held is not durable.
            store.rollback();
            fail(std::mem::take(&mut done), &error);
        }
    }
    if !store.in_transaction() {
        return;
    }
    if !changed {
        return store.rollback();
    }
    match store.commit() {
        Ok(()) => {
            counts.commits.fetch_add(1, Ordering::Relaxed);
            counts.syncs.fetch_add(u64::from(durable == Durable::Now), Ordering::Relaxed);
            done.into_iter().for_each(|answer| answer(Ok(())));
            news(store, tell);
        }
        Err(error) => {
            store.rollback();
            tracing::error!(%error, operations = done.len(), "the ledger could not commit");
            fail(done, &error);
        }
    }
}

/// Tells what has become durable.
fn news(store: &mut dyn Store, tell: &dyn Fn(&Event)) {
    match store.news() {
        Ok(events) => events.iter().for_each(tell),
        Err(error) => tracing::error!(%error, "events are in the ledger, but the log could not be told"),
    }
}

fn fail(answers: Vec<Answer>, error: &LedgerError) {
    answers.into_iter().for_each(|answer| answer(Err(error.clone())));
}

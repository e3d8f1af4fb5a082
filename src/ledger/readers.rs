//! Reading: a few connections of their own, used on blocking threads, so that a reader waits neither for the writer nor on
//! an async thread.

use super::LedgerError;
use super::store::{Store, Stored};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Semaphore;

/// Reads at the same time.
const READERS: usize = 4;

/// Opens one more connection for reading.
type Open = Box<dyn Fn() -> Stored<Box<dyn Store>> + Send + Sync>;

/// The pool of connections.
#[derive(Clone)]
pub struct Readers {
    inner: Arc<Inner>,
}

struct Inner {
    open: Open,
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Box<dyn Store>>>,
}

impl Readers {
    /// A pool that opens its connections as they are needed.
    pub fn new(open: impl Fn() -> Stored<Box<dyn Store>> + Send + Sync + 'static) -> Readers {
        Readers {
            inner: Arc::new(Inner {
                open: Box::new(open),
                permits: Arc::new(Semaphore::new(READERS)),
                idle: Mutex::default(),
            }),
        }
    }

    /// Runs `read` on one consistent state of the ledger: everything committed before the call is in it.
    pub async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn Store) -> Stored<T> + Send + 'static,
    ) -> Stored<T> {
        let permit = self.inner.permits.clone().acquire_owned().await.map_err(|_| LedgerError::Closed)?;
        let inner = self.inner.clone();
        let task = tokio::task::spawn_blocking(move || {
            let _permit = permit; // until the read has ended, even if the caller no longer waits
            let idle = inner.idle().pop();
            let mut store = match idle {
                Some(store) => store,
                None => (inner.open)()?,
            };
            store.begin_read()?;
            let result = read(store.as_ref());
            store.rollback(); // nothing was written: this only lets go of the state
            if !inner.permits.is_closed() {
                inner.idle().push(store);
            }
            result
        });
        task.await.map_err(|_| LedgerError::Closed)?
    }

    /// No more reads; connections are closed.
    pub fn close(&self) {
        self.inner.permits.close();
        self.inner.idle().clear();
    }
}

impl Inner {
    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Box<dyn Store>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

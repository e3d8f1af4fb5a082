//! A thread for what may wait for a disk: associations, in both directions.

use std::io;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// Runs a future on a new thread to its end. Dropped before, it drops the future at its next await.
///
/// What the future calls may block: nobody else waits for it. Timers and sockets are those of the runtime that this is called on.
///
/// # Errors
/// The system gives no more threads: the future has not run.
pub async fn alone(name: &str, future: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
    let runtime = Handle::current();
    let (mut done, ended) = oneshot::channel::<()>();
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                () = future => {}
                () = done.closed() => {}
            }
        });
    })?;
    // an error is its end, too
    let _ = ended.await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    #[tokio::test]
    async fn who_blocks_makes_nobody_wait() {
        let (go, gone) = std::sync::mpsc::channel();
        let blocked = alone("blocked", async move { gone.recv().unwrap() });
        // On the one thread of this runtime: would be never if that were blocked.
        let other = async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            go.send(()).unwrap();
        };
        let (done, ()) = tokio::join!(blocked, other);
        done.unwrap();
    }

    #[tokio::test]
    async fn dropped_it_drops_what_it_runs() {
        struct Told(Arc<AtomicBool>);
        impl Drop for Told {
            fn drop(&mut self) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        let dropped = Arc::new(AtomicBool::new(false));
        let told = Told(dropped.clone());
        let task = tokio::spawn(alone("waiting", async move {
            let _told = told;
            std::future::pending::<()>().await;
        }));
        tokio::task::yield_now().await;
        task.abort();
        let _ = task.await;
        while !dropped.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

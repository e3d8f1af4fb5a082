//! Decoded pixels share a budget: a few images of normal size are decoded side by side, huge ones one after another.
//!
//! A compressed image of some kilobytes may unfold to hundreds of megabytes, so the number of images in flight bounds nothing.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Bytes that all decoders together may hold; one image that needs more waits until it is alone.
const BUDGET: u64 = 1 << 30;

static USED: Mutex<u64> = Mutex::new(0);
static FREED: Condvar = Condvar::new();

/// A share of the budget, given back when dropped.
#[derive(Debug)]
pub(super) struct Share(u64);

/// Waits until there is room for so many bytes. Blocks: not for async threads.
pub(super) fn share(bytes: u64) -> Share {
    let wanted = bytes.min(BUDGET);
    let mut used = lock();
    while *used + wanted > BUDGET {
        used = FREED.wait(used).unwrap_or_else(PoisonError::into_inner);
    }
    *used += wanted;
    Share(wanted)
}

impl Drop for Share {
    fn drop(&mut self) {
        *lock() -= self.0;
        FREED.notify_all();
    }
}

fn lock() -> MutexGuard<'static, u64> {
    // The number is right whatever happened to the thread that held it: it is changed in one step.
    USED.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn images_that_need_all_of_it_come_one_after_another() {
        static INSIDE: AtomicU32 = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let share = share(u64::MAX);
                        assert_eq!(INSIDE.fetch_add(1, Ordering::SeqCst), 0, "two at once");
                        std::thread::yield_now();
                        INSIDE.fetch_sub(1, Ordering::SeqCst);
                        drop(share);
                    }
                });
            }
        });
    }
}

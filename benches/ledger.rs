//! The ledger's writer: instances entered by so many callers at once, each of which waits until its row is durable. On a
//! disk a call costs a sync that callers share; in memory it costs what SQLite and we take.

mod support;

use divan::Bencher;
use divan::counter::ItemsCount;
use radroute::ledger::{FILE, Ledger, now};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

fn main() {
    divan::main();
}

/// Instances in one sample.
const ROWS: u64 = 400;

#[divan::bench(args = [1, 4, 16], sample_count = 12)]
fn received_on_disk(bencher: Bencher, callers: u64) {
    received(bencher, callers, "disk");
}

#[divan::bench(args = [1, 4, 16], sample_count = 12)]
fn received_in_memory(bencher: Bencher, callers: u64) {
    received(bencher, callers, "memory");
}

fn received(bencher: Bencher, callers: u64, medium: &str) {
    let folder = support::folder(medium);
    let runtime = Runtime::new().expect("a runtime");
    let ledger = runtime.block_on(async { Ledger::open(&folder.path().join(FILE)) }).expect("a ledger");
    let next = Arc::new(AtomicU64::new(0));
    bencher.counter(ItemsCount::new(ROWS)).bench_local(|| {
        runtime.block_on(async {
            let mut calls = JoinSet::new();
            for caller in 0..callers {
                let (ledger, next) = (ledger.clone(), next.clone());
                calls.spawn(async move {
                    for _ in 0..ROWS / callers {
                        let n = next.fetch_add(1, Ordering::Relaxed);
                        let new = support::instance(n, &format!("association {caller}"), now());
                        ledger.received(new).await.expect("the row is entered");
                    }
                });
            }
            calls.join_all().await
        })
    });
    runtime.block_on(ledger.close()).expect("the ledger closes");
}

//! Retention beside reception: a spool of so many delivered files is emptied while four associations go on receiving. What a
//! receipt takes (spool, sync, ledger) before, meanwhile and afterwards.
//!
//! ```text
//! cargo bench --bench retention                                                20 thousand files
//! cargo bench --bench retention -- --files 1000000 --folder /data/tmp          some 8 GB there
//! ```

mod support;

use clap::Parser;
use radroute::config::Config;
use radroute::ledger::{FILE, Ledger, LedgerError, now};
use radroute::spool::{Note, Spool};
use radroute::upkeep;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use support::archive::{self, Failure, INSTANCES, Template};
use tokio::sync::watch;
use tokio::task::JoinSet;

#[derive(Parser)]
struct Args {
    /// Delivered files in the spool
    #[arg(long, default_value_t = 20_000)]
    files: u64,
    /// Bytes of each that is received meanwhile
    #[arg(long, default_value_t = 2_100_000)]
    size: usize,
    /// Received in a second, by four associations together
    #[arg(long, default_value_t = 20)]
    rate: u64,
    /// Where the spool is made
    #[arg(long)]
    folder: Option<PathBuf>,
    /// cargo bench says so
    #[arg(long, hide = true)]
    bench: bool,
}

/// Associations that receive.
const SENDERS: u64 = 4;
/// How long reception is measured by itself.
const ALONE: Duration = Duration::from_secs(10);
/// Bytes of a delivered file: the file system's work does not depend on it.
const SMALL: usize = 1000;

fn main() -> Result<(), Failure> {
    let args = Args::parse();
    support::run(args.folder.clone().as_deref(), |folder| measure(args, folder))
}

async fn measure(args: Args, folder: PathBuf) -> Result<(), Failure> {
    let spool = Spool::open(&folder)?;
    fill(args.files, &folder, &spool).await?;
    let ledger = Ledger::open(&folder.join(FILE))?;

    let before = Reception::start(&args, &spool, &ledger, 0);
    tokio::time::sleep(ALONE).await;
    let before = before.stop().await?;

    let (stop, stopped) = watch::channel(false);
    let (_config, config) = watch::channel(Arc::new(configuration()?));
    let beside = Reception::start(&args, &spool, &ledger, 1 << 32);
    let begun = Instant::now();
    let retention = tokio::spawn(upkeep::retain(config, spool.clone(), ledger.clone(), stopped));
    while !ledger.expired(i64::MAX, 1).await?.is_empty() || !ledger.to_unlink().await?.is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let seconds = begun.elapsed().as_secs_f64();
    let beside = beside.stop().await?;
    stop.send(true)?;
    retention.await?;
    let after = Reception::start(&args, &spool, &ledger, 2 << 32);
    tokio::time::sleep(ALONE).await;
    let after = after.stop().await?;
    ledger.close().await?;

    println!("{} files removed in {seconds:.1} s: {:.0} a second\n", args.files, args.files as f64 / seconds);
    println!("| ms for a receipt of {} bytes | receipts | median | 95 % | 99 % | 99.9 % | longest |", args.size);
    println!("|---|---:|---:|---:|---:|---:|---:|");
    for (name, mut all) in [("before", before), ("beside retention", beside), ("afterwards", after)] {
        all.sort_by(f64::total_cmp);
        let at = |part: f64| all[((all.len() - 1) as f64 * part) as usize];
        let cells = [0.5, 0.95, 0.99, 0.999, 1.0].map(|part| format!("{:.1}", at(part)));
        println!("| {name} | {} | {} |", all.len(), cells.join(" | "));
    }
    Ok(())
}

/// A spool of delivered files, with their rows.
async fn fill(files: u64, folder: &Path, spool: &Spool) -> Result<(), Failure> {
    let (path, at) = (folder.join(FILE), now());
    archive::first(&path, at, true).await?;
    Template::read(&path, at)?.copy(&path, 1..files.div_ceil(INSTANCES))?;
    for n in 0..files.next_multiple_of(INSTANCES) {
        std::fs::write(spool.path(&archive::spool_name(n, at))?, [7; SMALL])?;
    }
    rustix::fs::sync(); // what is still to be written would be written meanwhile
    Ok(())
}

/// What was delivered at all may go.
fn configuration() -> Result<Config, Failure> {
    let text = "[node]\nae_title = \"R\"\nstate_dir = \"state\"\n[routing]\ndefault = [\"a\"]\n[retention]\ndelivered = \"0s\"\n\
                [[destination]]\nname = \"a\"\nae_title = \"A\"\naddress = \"127.0.0.1:1\"\n";
    Ok(Config::parse(text).map_err(|problems| format!("{problems:?}"))?.config)
}

/// Associations that receive at a steady rate; each receipt is timed from its first byte to its row.
struct Reception {
    stop: Arc<AtomicBool>,
    senders: JoinSet<Result<Vec<f64>, Failure>>,
}

impl Reception {
    fn start(args: &Args, spool: &Spool, ledger: &Ledger, first: u64) -> Reception {
        let stop = Arc::new(AtomicBool::new(false));
        let next = Arc::new(AtomicU64::new((1 << 40) + first));
        let mut senders = JoinSet::new();
        for sender in 0..SENDERS {
            let (spool, ledger, stop, next) = (spool.clone(), ledger.clone(), stop.clone(), next.clone());
            let bytes = vec![7; args.size];
            let beat = Duration::from_secs(1) / args.rate.max(1) as u32;
            senders.spawn(async move {
                // One after the other, not all at once.
                let first = tokio::time::Instant::now() + beat * sender as u32;
                let mut beat = tokio::time::interval_at(first, beat * SENDERS as u32);
                let mut all = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    beat.tick().await;
                    let begun = Instant::now();
                    let spooled = tokio::task::block_in_place(|| {
                        let mut incoming = spool.begin(0)?;
                        incoming.write(&bytes)?;
                        incoming.commit(&Note::default())
                    })?;
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    let mut new = support::instance(n, &format!("association {sender}"), now());
                    new.spool_name = spooled.name;
                    ledger.received(new).await.map_err(|e: LedgerError| e.to_string())?;
                    all.push(begun.elapsed().as_secs_f64() * 1e3);
                }
                Ok(all)
            });
        }
        Reception { stop, senders }
    }

    /// Milliseconds of each receipt.
    async fn stop(mut self) -> Result<Vec<f64>, Failure> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        while let Some(one) = self.senders.join_next().await {
            all.extend(one??);
        }
        Ok(all)
    }
}

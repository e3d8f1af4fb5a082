//! What is asked of the ledger, timed.

use crate::support::archive::{Failure, INSTANCES, TABLES};
use crate::support::{instance, life, mixed, uid};
use radroute::ledger::{Ledger, now};
use rusqlite::Connection;
use rustix::fs::{Advice, fadvise};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use tokio::task::JoinSet;

/// The steps in the order of the table: microseconds each, of one instance or one call.
pub const STEPS: [&str; 11] = [
    "receive, one caller",
    "receive, four callers",
    "pick to look at",
    "looked",
    "pick to decide",
    "decided",
    "pick to deliver",
    "delivered",
    "pick to remove",
    "audit UID, in memory",
    "audit UID, from the disk",
];
/// Instances entered in a round, by one caller and by four; the log is checkpointed several times meanwhile.
const ROUND: u64 = 3_000;
/// The median of so many rounds counts; one more goes before, to warm up.
const ROUNDS: usize = 3;
/// Picks in a round, each for itself.
const PICKS: usize = 50;
/// UIDs audited in a round.
const AUDITS: u64 = 60;

/// One size of the ledger.
#[derive(Serialize, Deserialize)]
pub struct Point {
    pub rows: u64,
    pub studies: u64,
    pub bytes: u64,
    /// By [`STEPS`].
    pub micros: Vec<f64>,
}

/// Measures a ledger with so many studies in its past; `measured` counts the instances that measuring enters.
pub async fn point(path: &Path, studies: u64, measured: &mut u64) -> Result<Point, Failure> {
    let ledger = Ledger::open(path)?;
    let past = studies * INSTANCES;
    let mut rounds = Vec::new();
    for round in 0..=ROUNDS as u64 {
        // Numbers that no study of the past has.
        let first = (1 << 40) + *measured;
        *measured += 2 * ROUND;
        let mut micros = lived(&ledger, first).await?;
        let draws = round * AUDITS..(round + 1) * AUDITS;
        micros.push(audited(&ledger, past, draws, || Ok(())).await?);
        rounds.push(micros);
    }
    let mut micros: Vec<f64> =
        (0..STEPS.len() - 1).map(|step| median(rounds[1..].iter().map(|r| r[step]).collect())).collect();
    // Last, since what the page cache forgets here would be missed by everything else.
    let file = File::open(path)?;
    file.sync_all()?; // what is not on the disk is not forgotten
    let forget = || Ok(fadvise(&file, 0, None, Advice::DontNeed)?);
    micros.push(audited(&ledger, past, 1000..1000 + AUDITS, forget).await?);
    ledger.close().await?;
    Ok(Point { rows: rows(path)?, studies, bytes: path.metadata()?.len(), micros })
}

/// Rows of all tables; no row of these is ever deleted.
fn rows(path: &Path) -> Result<u64, Failure> {
    let connection = Connection::open(path)?;
    let last = |table| connection.query_row(&format!("SELECT max(id) FROM {table}"), [], |r| r.get::<_, i64>(0));
    Ok(TABLES.into_iter().map(last).sum::<Result<i64, _>>()? as u64)
}

/// Whole lives, from receipt to delivery; what is delivered stays in the spool of nobody.
async fn lived(ledger: &Ledger, first: u64) -> Result<Vec<f64>, Failure> {
    let mut micros = Vec::new();
    for (callers, first) in [(1, first), (4, first + ROUND)] {
        let begun = Instant::now();
        each(callers, first..first + ROUND, |n| {
            let ledger = ledger.clone();
            async move { ledger.received(instance(n, &format!("association {}", n / 100), now())).await.map(drop) }
        })
        .await?;
        micros.push(micros_each(begun, ROUND));
    }
    micros.push(picked(|| ledger.unlooked(8, &[])).await?);
    let open = ledger.unlooked(2 * ROUND as usize, &[]).await?;
    let begun = Instant::now();
    let ids: Arc<Vec<i64>> = Arc::new(open.iter().map(|row| row.id).collect());
    each(4, 0..ids.len() as u64, |n| {
        let (ledger, id) = (ledger.clone(), ids[n as usize]);
        async move { ledger.looked(id, life::look(), now()).await }
    })
    .await?;
    micros.push(micros_each(begun, 2 * ROUND));

    micros.push(picked(|| ledger.due_series(i64::MAX, 1)).await?);
    let begun = Instant::now();
    loop {
        let due = ledger.due_series(i64::MAX, 64).await?;
        if due.is_empty() {
            break;
        }
        for job in &due {
            ledger.decided(life::decision(job)).await?;
        }
    }
    micros.push(micros_each(begun, 2 * ROUND));

    micros.push(picked(|| ledger.due_deliveries(life::ARCHIVE, i64::MAX, 8, &[])).await?);
    let begun = Instant::now();
    loop {
        let queued = ledger.due_deliveries(life::ARCHIVE, i64::MAX, 64, &[]).await?;
        if queued.is_empty() {
            break;
        }
        ledger.attempted(queued.iter().map(life::delivered).collect()).await?;
    }
    micros.push(micros_each(begun, 2 * ROUND));

    micros.push(picked(|| ledger.expired(i64::MAX, 8)).await?);
    loop {
        let old = ledger.expired(i64::MAX, 500).await?;
        if old.is_empty() {
            return Ok(micros);
        }
        let names = ledger.remove(old.iter().map(|row| row.id).collect(), now()).await?;
        ledger.unlinked(names).await?;
    }
}

/// Audits of instances of the past, drawn at random. Each is asked twice with `before` in front, and the second answer counts.
async fn audited(
    ledger: &Ledger,
    past: u64,
    draws: std::ops::Range<u64>,
    before: impl Fn() -> Result<(), Failure>,
) -> Result<f64, Failure> {
    let mut all = Vec::new();
    for draw in draws {
        let n = mixed(draw) % past;
        for second in [false, true] {
            before()?;
            let begun = Instant::now();
            let (instances, events) = (ledger.instances_of(&uid(3, n)).await?, ledger.events_of(&uid(3, n)).await?);
            if second {
                all.push(micros_each(begun, 1));
            }
            if instances.len() != 1 || events.len() < 6 {
                return Err(format!("instance {n}: {} instances, {} events", instances.len(), events.len()).into());
            }
        }
    }
    Ok(median(all))
}

/// Runs `act` on each number, by so many callers side by side, each one after the other.
async fn each<F, R>(callers: u64, numbers: std::ops::Range<u64>, act: F) -> Result<(), Failure>
where
    F: Fn(u64) -> R,
    R: Future<Output = Result<(), radroute::ledger::LedgerError>> + Send + 'static,
{
    let mut running = JoinSet::new();
    for n in numbers {
        if running.len() as u64 >= callers
            && let Some(done) = running.join_next().await
        {
            done??;
        }
        running.spawn(act(n));
    }
    while let Some(done) = running.join_next().await {
        done??;
    }
    Ok(())
}

/// The median time of a pick.
async fn picked<T, R>(pick: impl Fn() -> R) -> Result<f64, Failure>
where
    R: Future<Output = Result<Vec<T>, radroute::ledger::LedgerError>>,
{
    let mut all = Vec::new();
    for _ in 0..PICKS {
        let begun = Instant::now();
        if pick().await?.is_empty() {
            return Err("there is nothing to pick".into());
        }
        all.push(micros_each(begun, 1));
    }
    Ok(median(all))
}

fn micros_each(begun: Instant, count: u64) -> f64 {
    begun.elapsed().as_secs_f64() * 1e6 / count as f64
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

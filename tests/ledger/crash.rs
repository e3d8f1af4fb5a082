//! Killed at any moment: what was acknowledged is there, and the counts of open work agree with the rows.

use crate::*;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const LEDGER: &str = "RADROUTE_TEST_CRASH_LEDGER";

/// Not a test of its own: what the killed child runs. It prints each instance once it is acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_writes_until_it_is_killed() {
    let Ok(path) = std::env::var(LEDGER) else { return };
    let ledger = Ledger::open(Path::new(&path)).unwrap();
    let begun = ledger.commits();
    assert_eq!(begun, 0);
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..8 {
        let ledger = ledger.clone();
        callers.spawn(async move {
            for n in 0.. {
                let uid = format!("{}.{caller}.{n}", std::process::id());
                let id = ledger.received(new(&uid, n)).await.unwrap();
                // One write call: a kill does not leave half a line that reads as another UID.
                std::io::stderr().write_all(format!("+{uid}\n").as_bytes()).unwrap();
                if n % 2 == 0 {
                    ledger.looked(id, scored(), n).await.unwrap();
                    std::io::stderr().write_all(format!("looked {uid}\n").as_bytes()).unwrap();
                }
            }
        });
    }
    callers.join_all().await;
}

#[test]
fn everything_acknowledged_is_there_after_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    let (mut received, mut looked) = (BTreeSet::new(), BTreeSet::new());
    for round in 1..=4u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::child_writes_until_it_is_killed", "--nocapture"])
            .env(LEDGER, &path)
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let told = BufReader::new(child.stderr.take().unwrap());
        let mut first = 0;
        let mut lines = told.lines();
        // Once it is writing, some moment later: not the same one in each round.
        while first < 20 * round {
            take(&lines.next().unwrap().unwrap(), &mut received, &mut looked);
            first += 1;
        }
        let process = child.id();
        let killer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(17 * round));
            child.kill().unwrap();
            child.wait().unwrap();
        });
        for line in lines {
            take(&line.unwrap(), &mut received, &mut looked);
        }
        killer.join().unwrap();
        assert!(received.iter().any(|uid| uid.starts_with(&format!("{process}."))));

        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let ledger = Ledger::open(&path).unwrap();
            assert_consistent(&path);
            for uid in &received {
                assert_eq!(ledger.instances_of(uid).await.unwrap().len(), 1, "round {round}: {uid} was acknowledged");
            }
            for uid in &looked {
                assert!(
                    ledger.instances_of(uid).await.unwrap()[0].row.look.is_some(),
                    "round {round}: {uid} was looked at"
                );
            }
            ledger.close().await.unwrap();
        });
    }
    assert!(received.len() > 100 && !looked.is_empty());
}

fn take(line: &str, received: &mut BTreeSet<String>, looked: &mut BTreeSet<String>) {
    if let Some(uid) = line.strip_prefix('+') {
        received.insert(uid.to_owned());
    } else if let Some(uid) = line.strip_prefix("looked ") {
        looked.insert(uid.to_owned());
    }
}

#[tokio::test]
async fn a_copy_of_the_files_taken_between_calls_has_everything_acknowledged_before() {
    let b = bench();
    let copies = tempfile::tempdir().unwrap();
    for n in 0..12 {
        let id = b.routed(&format!("{n}.1.1"), n * 1000, &["archive"]).await;
        if n % 3 == 0 {
            let delivery = b.due("archive", Millis::MAX).await.remove(0);
            b.ledger.attempted(vec![attempt(delivery.id, Outcome::Delivered, n * 1000 + 5)]).await.unwrap();
        }
        if n % 4 != 3 {
            continue;
        }
        // As a power cut would leave them: no close, no checkpoint, no shared memory file.
        let copy = copies.path().join(format!("{n}.sqlite"));
        std::fs::copy(&b.path, &copy).unwrap();
        std::fs::copy(b.path.with_extension("sqlite-wal"), copy.with_extension("sqlite-wal")).unwrap();
        let ledger = Ledger::open(&copy).unwrap();
        assert_consistent(&copy);
        for done in 0..=n {
            assert_eq!(ledger.instances_of(&format!("{done}.1.1")).await.unwrap().len(), 1);
        }
        assert_eq!(ledger.overlay(id).await.unwrap(), Some(overlay()));
        assert_eq!(ledger.queue(None).await.unwrap().len() as i64, (n + 1) - (n / 3 + 1));
        ledger.close().await.unwrap();
    }
}

/// What a power cut leaves when it takes everything behind `synced` bytes of the log.
fn cut(b: &Bench, to: &Path, synced: u64) {
    std::fs::copy(&b.path, to).unwrap();
    let log = to.with_extension("sqlite-wal");
    std::fs::copy(b.path.with_extension("sqlite-wal"), &log).unwrap();
    std::fs::OpenOptions::new().write(true).open(&log).unwrap().set_len(synced).unwrap();
}

#[tokio::test]
async fn a_power_cut_takes_only_what_is_done_again() {
    let b = bench();
    let length = || std::fs::metadata(b.path.with_extension("sqlite-wal")).unwrap().len();
    let id = b.ledger.received(new("1.1.1", 1000)).await.unwrap();
    let (synced, syncs) = (length(), b.ledger.syncs());
    // The receipt too is only in the log: that a start takes it from the spool is tested in tests/upkeep.rs.
    b.ledger.looked(id, scored(), 1001).await.unwrap();
    b.ledger.released("a1", 1002).await.unwrap();
    assert!(length() > synced, "both are in the log");
    assert_eq!(b.ledger.syncs(), syncs, "and neither cost a sync");
    assert_eq!(b.job(1002).await.undecided.len(), 1);

    let copies = tempfile::tempdir().unwrap();
    let copy = copies.path().join("cut.sqlite");
    // In the middle of what was not synced, too: a torn commit is none.
    for left in [synced, (synced + length()) / 2] {
        cut(&b, &copy, left);
        let ledger = Ledger::open(&copy).unwrap();
        assert_consistent(&copy);
        let again = ledger.unlooked(10, &[]).await.unwrap();
        assert_eq!(again.iter().map(|row| row.id).collect::<Vec<_>>(), [id], "looked at again");
        ledger.looked(id, scored(), 9000).await.unwrap();
        assert!(ledger.due_series(1002, 10).await.unwrap().is_empty(), "the release is forgotten");
        assert_eq!(ledger.due_series(3000, 10).await.unwrap().len(), 1, "and the series settles by time");
        ledger.close().await.unwrap();
    }
}

#[tokio::test]
async fn what_cannot_be_done_again_is_synced_and_takes_the_rest_along() {
    let b = bench();
    let mut syncs = 0;
    let mut synced = |what: &str| {
        let before = std::mem::replace(&mut syncs, b.ledger.syncs());
        assert_eq!(syncs, before + 1, "{what}");
    };
    let id = b.seen("1.1.1", 1000).await;
    assert_eq!(b.ledger.syncs(), 0, "a receipt: its file is synced, and says what the row does");
    let decided = decision(&b.job(Millis::MAX).await, &["archive", "copy", "gone"], 1002);
    b.ledger.decided(decided).await.unwrap();
    synced("a verdict with its overlays and deliveries: nothing is sent that a start could decide otherwise");
    let sent = b.due("archive", Millis::MAX).await.remove(0).id;
    b.ledger.attempted(vec![attempt(sent, Outcome::Delivered, 1003)]).await.unwrap();
    synced("a delivery");
    let refused = b.due("copy", Millis::MAX).await.remove(0).id;
    b.ledger.attempted(vec![attempt(refused, Outcome::Dead, 1003)]).await.unwrap();
    synced("a dead letter");
    b.ledger.give_up_old("gone", 1500, &[], "too old", 1600).await.unwrap();
    synced("a delivery that was given up");
    b.ledger.queue_retry(Some("copy"), 1700).await.unwrap();
    b.ledger.queue_drop(None, 1800).await.unwrap();
    b.ledger.event(Event::new("reloaded", serde_json::Value::Null)).await.unwrap();
    assert!(b.ledger.syncs() >= syncs + 3, "the administrator's hand");
    syncs = b.ledger.syncs();
    assert_eq!(b.ledger.remove(vec![id], 1900).await.unwrap().len(), 1);
    assert_eq!(b.ledger.syncs(), syncs + 1, "a file that is given up");
    b.ledger.unlinked(vec![new("1.1.1", 1000).spool_name]).await.unwrap();
    assert_eq!(b.ledger.syncs(), syncs + 1, "that it is unlinked is found out again");
}

/// SQLite finds no damage, and the counts on the series agree with the instances.
fn assert_consistent(path: &Path) {
    let c = rusqlite::Connection::open(path).unwrap();
    let text = |sql: &str| c.query_row(sql, [], |r| r.get::<_, String>(0)).unwrap();
    assert_eq!(text("PRAGMA integrity_check"), "ok");
    let number = |sql: &str| c.query_row(sql, [], |r| r.get::<_, i64>(0)).unwrap();
    assert_eq!(number("SELECT count(*) FROM pragma_foreign_key_check"), 0);
    let wrong = "SELECT count(*) FROM series s WHERE \
        undecided != (SELECT count(*) FROM instance WHERE series_id = s.id AND decided = 0 AND present = 1) OR \
        unlooked != (SELECT count(*) FROM instance WHERE series_id = s.id AND look IS NULL AND present = 1)";
    assert_eq!(number(wrong), 0);
}

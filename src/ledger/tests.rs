//! What cannot be seen from outside: query plans, and the writer thread when the database fails.

use super::sqlite::{Access, SqliteStore};
use super::store::Store;
use super::writer::{Durable, Writer};
use super::{LedgerError, NewInstance, Source, audit, decide, deliver, receive, retain};
use crate::dataset::Facts;
use rusqlite::Connection;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

fn store() -> (SqliteStore, PathBuf, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(super::FILE);
    (SqliteStore::open(&path, Access::Create).unwrap(), path, folder)
}

fn new(n: i64, sop_instance_uid: &str) -> NewInstance {
    NewInstance {
        spool_name: format!("name {n}"),
        file_size: 1,
        dataset_offset: 1,
        facts: Facts {
            sop_instance_uid: sop_instance_uid.into(),
            study_description: "x".repeat(2000),
            ..Facts::default()
        },
        source: Source { calling_ae: "A".into(), called_ae: "B".into(), peer: None, association: "1".into() },
        received_at: n,
        receive_ms: 0.0,
        sync_ms: 0.0,
        settle: 1,
        settle_max: 1,
        adopted: false,
    }
}

#[test]
fn sqlite_syncs_a_commit_unless_it_was_told_not_to() {
    let (mut store, _, _folder) = store();
    for (durable, synchronous) in [(Durable::Now, 2), (Durable::Later, 1), (Durable::Later, 1), (Durable::Now, 2)] {
        store.begin_write(durable).unwrap();
        let set: i64 = store.connection.pragma_query_value(None, "synchronous", |r| r.get(0)).unwrap();
        assert_eq!(set, synchronous, "{durable:?}");
        store.commit().unwrap();
    }
}

fn plan(c: &Connection, sql: &str) -> Vec<String> {
    let mut statement = c.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let parameters = statement.parameter_count();
    let rows = statement.query_map(rusqlite::params_from_iter(vec![1; parameters]), |r| r.get("detail")).unwrap();
    rows.map(Result::unwrap).collect()
}

#[test]
fn every_pick_and_every_audit_is_an_index_look_up() {
    let (store, _, _folder) = store();
    // The index that must lead, or none where rows are found by several.
    let queries = [
        (receive::unlooked_sql(), "instance_unlooked"),
        (receive::RELEASED.to_owned(), "instance_undecided_source"),
        (decide::DUE_SERIES.to_owned(), "series_due"),
        (decide::NEXT_SERIES.to_owned(), "series_due"),
        (decide::undecided_sql(), "instance_undecided"),
        (decide::study_instances_sql(), "instance_series"),
        (deliver::due_sql(), "delivery_due"),
        (deliver::NEXT_DELIVERY.to_owned(), "delivery_due"),
        (deliver::QUEUED_DESTINATIONS.to_owned(), "delivery_due"),
        (deliver::TOO_LATE.to_owned(), "delivery_due"),
        (deliver::TOO_OLD.to_owned(), "delivery_due"),
        (decide::SERIES_TOO_LATE.to_owned(), "series_due"),
        (deliver::QUEUE.to_owned(), "delivery_open"),
        (deliver::OPEN.to_owned(), "delivery_open"),
        (retain::expired_sql(), "instance_ended"),
        (retain::SPOOL_NAMES.to_owned(), "instance_spool"),
        (audit::events_sql(), "event_instance"),
        (audit::events_sql(), "event_series"),
        (audit::events_sql(), "event_sop_uid"),
        (audit::events_sql(), "event_series_uid"),
        (audit::events_sql(), "event_study_uid"),
        (audit::instances_sql(), "instance_sop"),
        (audit::instances_sql(), "series_uid"),
        (audit::DELIVERIES.to_owned(), "sqlite_autoindex_delivery_1"),
    ];
    // Partial indices that hold open work alone (or, for the spool, what is in it) may be read from end to end.
    let open_work = ["instance_unlooked", "series_due", "delivery_open", "instance_spool"];
    for (sql, index) in queries {
        let plan = plan(&store.connection, &sql);
        assert!(plan.iter().any(|step| step.contains(index)), "{sql}\n{plan:#?} does not use {index}");
        for step in &plan {
            let result_of_ours =
                ["SCAN hit", "SCAN h", "SCAN told", "SCAN (subquery", "SCAN name", "SCAN CONSTANT ROW"]
                    .iter()
                    .any(|s| step.starts_with(s));
            let scans = step.starts_with("SCAN") && !result_of_ours;
            assert!(!scans || open_work.iter().any(|i| step.contains(&format!("INDEX {i}"))), "{sql}\nscans: {step}");
        }
    }
}

#[test]
fn what_waits_is_counted_in_indices_of_open_work_alone() {
    let (store, _, _folder) = store();
    for (sql, index) in audit::WAITING.iter().zip(["instance_unlooked", "instance_undecided", "delivery_due"]) {
        // One walk of the index and no sorting. Such a count reads no row: what its index leaves out is nothing to it.
        let plan = plan(&store.connection, sql);
        assert!(matches!(&plan[..], [walk] if walk.ends_with(&format!("INDEX {index}"))), "{sql}\n{plan:#?}");
    }
}

#[test]
fn picks_that_are_limited_come_in_index_order_without_sorting_all_open_work() {
    let (store, _, _folder) = store();
    let limited = [
        receive::unlooked_sql(),
        decide::DUE_SERIES.to_owned(),
        deliver::due_sql(),
        deliver::OPEN.to_owned(),
        retain::expired_sql(),
    ];
    for sql in limited {
        let plan = plan(&store.connection, &sql);
        assert!(plan.iter().all(|step| !step.contains("TEMP B-TREE")), "{sql}\n{plan:#?}");
    }
}

#[tokio::test]
async fn a_full_disk_fails_the_call_and_the_writer_goes_on_when_there_is_room() {
    let (store, path, _folder) = store();
    let pages: i64 = store.connection.pragma_query_value(None, "page_count", |r| r.get(0)).unwrap();
    store.connection.pragma_update(None, "max_page_count", pages + 12).unwrap();
    let writer = Writer::start(Box::new(store), Arc::new(|_| ())).unwrap();
    let (mut entered, mut refused) = (Vec::new(), 0);
    for n in 0..60 {
        match writer.submit(move |s| s.received(&new(n, &n.to_string()))).await {
            Ok(_) => entered.push(n),
            Err(e) => {
                assert!(matches!(e, LedgerError::Full), "{e}");
                assert!(e.is_out_of_resources());
                refused += 1;
            }
        }
    }
    assert!(!entered.is_empty() && refused > 0, "{entered:?}, {refused} refused");
    // What needs no room still works: the thread has survived.
    writer.submit(|s| s.released("1", 0)).await.unwrap();
    writer.close().await.unwrap();
    let store = SqliteStore::open(&path, Access::Create).unwrap();
    let rows = store.unlooked(100, &[]).unwrap();
    assert_eq!(
        rows.iter().map(|r| r.received_at).collect::<Vec<_>>(),
        entered,
        "what was acknowledged, and nothing else"
    );
    store.received(&new(100, "100")).unwrap();
}

#[tokio::test]
async fn a_commit_that_fails_is_the_answer_to_all_in_it_and_leaves_nothing() {
    let (store, path, _folder) = store();
    // Fails at COMMIT, not before: a deferred constraint.
    store
        .connection
        .execute_batch(
            "CREATE TABLE broken (study INTEGER REFERENCES study (id) DEFERRABLE INITIALLY DEFERRED);
             CREATE TRIGGER breaks AFTER INSERT ON instance WHEN NEW.sop_instance_uid = 'bad' BEGIN INSERT INTO broken VALUES (-1); END;",
        )
        .unwrap();
    let writer = Writer::start(Box::new(store), Arc::new(|_| ())).unwrap();
    // Hold the thread until all three wait, so that they share a transaction.
    let (hold, held) = std::sync::mpsc::channel::<()>();
    let (start, started) = tokio::sync::oneshot::channel();
    let holding = {
        let writer = writer.clone();
        let hold = move |_: &dyn Store| Ok((start.send(()), held.recv()));
        tokio::spawn(async move { writer.submit(hold).await })
    };
    started.await.unwrap();
    let mut calls = tokio::task::JoinSet::new();
    for (n, uid) in [(1, "1"), (2, "bad"), (3, "3")] {
        let writer = writer.clone();
        calls.spawn(async move { writer.submit(move |s| s.received(&new(n, uid))).await });
    }
    tokio::task::yield_now().await;
    hold.send(()).unwrap();
    holding.await.unwrap().unwrap().1.unwrap();
    let results = calls.join_all().await;
    assert!(results.iter().all(|r| r.is_err()), "{results:?}");
    writer.submit(|s| s.received(&new(4, "4"))).await.unwrap();
    writer.close().await.unwrap();
    let rows = SqliteStore::open(&path, Access::Create).unwrap().unlooked(10, &[]).unwrap();
    assert_eq!(rows.iter().map(|r| &*r.facts.sop_instance_uid).collect::<Vec<_>>(), ["4"]);
}

#[tokio::test]
async fn a_lock_held_by_another_process_is_told_and_passes() {
    let (store, path, _folder) = store();
    store.connection.busy_timeout(Duration::from_millis(1)).unwrap();
    let writer = Writer::start(Box::new(store), Arc::new(|_| ())).unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let e = writer.submit(|s| s.received(&new(1, "1"))).await.unwrap_err();
    assert!(matches!(e, LedgerError::Busy(_)) && e.is_out_of_resources(), "{e}");
    other.execute_batch("ROLLBACK").unwrap();
    writer.submit(|s| s.received(&new(1, "1"))).await.unwrap();
}

#[tokio::test]
async fn an_operation_whose_caller_has_gone_still_runs() {
    let (store, path, _folder) = store();
    let writer = Writer::start(Box::new(store), Arc::new(|_| ())).unwrap();
    let call = writer.submit(|s| s.received(&new(1, "1")));
    // Polled once: submitted, then abandoned (unless the writer was quicker than that).
    let _ = tokio::time::timeout(Duration::ZERO, call).await;
    writer.close().await.unwrap();
    assert_eq!(SqliteStore::open(&path, Access::Create).unwrap().unlooked(10, &[]).unwrap().len(), 1);
}

static TOLD: std::sync::Mutex<Vec<String>> = std::sync::Mutex::new(Vec::new());

#[tokio::test]
async fn the_log_is_told_every_event_once_and_only_what_is_in_the_ledger() {
    let (store, path, _folder) = store();
    let tell = |event: &super::Event| TOLD.lock().unwrap().push(event.sop_instance_uid.clone());
    store.received(&new(0, "before")).unwrap();
    let writer = Writer::start(Box::new(store), Arc::new(tell)).unwrap();
    for n in 1..4 {
        writer.submit(move |s| s.received(&new(n, &n.to_string()))).await.unwrap();
    }
    // The spool name of a row that is there already: refused, and undone.
    assert!(writer.submit(|s| s.received(&new(1, "twice"))).await.is_err());
    // Another process, such as `radroute queue drop`, enters what the next commit tells.
    let beside = SqliteStore::open(&path, Access::Existing).unwrap();
    beside.received(&new(8, "beside")).unwrap();
    writer.submit(|s| s.received(&new(9, "9"))).await.unwrap();
    writer.close().await.unwrap();
    assert_eq!(*TOLD.lock().unwrap(), ["1", "2", "3", "beside", "9"]);
}

//! What goes in comes back, also after closing; one bad call does not hurt the others; events are told.

use crate::*;

#[tokio::test]
async fn what_was_acknowledged_is_there_after_reopening() {
    let b = bench();
    let id = b.routed("1.1.1", 1000, &["archive", "teaching"]).await;
    b.ledger.close().await.unwrap();
    assert!(matches!(b.ledger.received(new("1.1.2", 1)).await, Err(LedgerError::Closed)));
    assert!(matches!(b.ledger.events_of("1").await, Err(LedgerError::Closed)));
    b.ledger.close().await.unwrap();

    let ledger = Ledger::open(&b.path).unwrap();
    let life = &ledger.instances_of("1.1.1").await.unwrap()[0];
    let asked = new("1.1.1", 1000);
    assert_eq!((life.row.id, &life.row.facts, &life.row.source), (id, &asked.facts, &asked.source));
    assert_eq!((life.row.file_size, life.row.dataset_offset, life.row.received_at), (1000, 132, 1000));
    assert_eq!((&life.row.look, &life.verdict, &life.overlay), (&Some(scored()), &Some(verdict()), &Some(overlay())));
    assert!(life.row.decided && life.row.present);
    assert_eq!(
        life.deliveries.iter().map(|d| (&*d.destination, d.state)).collect::<Vec<_>>(),
        [("archive", DeliveryState::Queued), ("teaching", DeliveryState::Queued)]
    );
    assert_eq!(ledger.overlay(id).await.unwrap(), Some(overlay()));
    assert_eq!(ledger.overlay(id + 99).await.unwrap(), None);
    assert_eq!(ledger.spool_names().await.unwrap(), [(id, asked.spool_name)]);
}

#[tokio::test]
async fn many_callers_share_a_commit() {
    let b = bench();
    // Another process holds the lock until all calls wait.
    let other = rusqlite::Connection::open(&b.path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..200 {
        let ledger = b.ledger.clone();
        calls.spawn(async move { ledger.received(new(&format!("1.1.{n}"), n)).await.unwrap() });
    }
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    other.execute_batch("ROLLBACK").unwrap();
    let mut ids = calls.join_all().await;
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 200);
    assert!(b.ledger.commits() <= 3, "{} commits for 200 calls", b.ledger.commits());
    assert_eq!(b.ledger.unlooked(1000, &[]).await.unwrap().len(), 200);
}

#[tokio::test]
async fn what_is_exempt_is_entered_and_looked_at_in_one_commit() {
    let b = bench();
    let begun = b.ledger.commits();
    b.ledger.received_exempt(new("1.1.1", 1000), "SOP class 1.2 is no radiograph".into()).await.unwrap();
    assert_eq!(b.ledger.commits() - begun, 1);
    assert_eq!(b.kinds("1.1.1").await, ["received", "looked"]);
    assert!(b.ledger.unlooked(10, &[]).await.unwrap().is_empty());
    let jobs = b.ledger.due_series(3000, 10).await.unwrap();
    assert_eq!(jobs.len(), 1, "nothing keeps its series from being decided");
    // All of it or nothing: the same spool file again.
    assert!(b.ledger.received_exempt(new("1.1.1", 1000), "again".into()).await.is_err());
    assert_eq!(b.kinds("1.1.1").await, ["received", "looked"]);
}

#[tokio::test]
async fn a_call_that_fails_does_not_fail_those_beside_it() {
    let b = bench();
    b.ledger.received(new("1.1.0", 5)).await.unwrap();
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..60 {
        let ledger = b.ledger.clone();
        calls.spawn(async move {
            match n % 3 {
                0 => ledger.received(new("1.1.0", 5)).await.is_err(), // the same spool file twice
                1 => matches!(ledger.looked(4711, scored(), 1).await, Err(LedgerError::Unknown(_))),
                _ => ledger.received(new(&format!("1.1.{n}"), n)).await.is_ok(),
            }
        });
    }
    assert!(calls.join_all().await.into_iter().all(|as_expected| as_expected));
    assert_eq!(b.ledger.unlooked(1000, &[]).await.unwrap().len(), 21);
    assert_eq!(b.kinds("1.1.0").await, ["received"]);
}

#[tokio::test]
async fn instances_to_look_at_come_oldest_first_without_those_in_flight() {
    let b = bench();
    let mut ids = Vec::new();
    for (uid, at) in [("1.1.1", 300), ("2.1.1", 100), ("3.1.1", 200)] {
        ids.push(b.ledger.received(new(uid, at)).await.unwrap());
    }
    let order = |rows: Vec<InstanceRow>| rows.into_iter().map(|r| r.id).collect::<Vec<_>>();
    assert_eq!(order(b.ledger.unlooked(10, &[]).await.unwrap()), [ids[1], ids[2], ids[0]]);
    assert_eq!(order(b.ledger.unlooked(1, &[ids[1]]).await.unwrap()), [ids[2]]);
    b.ledger.looked(ids[1], Look::Undecodable { reason: "truncated".into() }, 400).await.unwrap();
    b.ledger.looked(ids[1], scored(), 500).await.unwrap();
    assert_eq!(order(b.ledger.unlooked(10, &[]).await.unwrap()), [ids[2], ids[0]]);
    let kept = b.ledger.instances_of("2.1.1").await.unwrap().remove(0).row.look;
    assert_eq!(kept, Some(Look::Undecodable { reason: "truncated".into() }), "the first result stands");
    assert_eq!(b.kinds("2.1.1").await, ["received", "looked"]);
}

#[tokio::test]
async fn the_life_of_an_instance_a_series_and_a_study_is_told_in_order() {
    let b = bench();
    b.routed("1.1.1", 1000, &["archive"]).await;
    b.routed("1.2.1", 2000, &["archive"]).await;
    b.routed("9.9.1", 3000, &["archive"]).await;
    let job = b.due("archive", 9000).await.remove(0);
    b.ledger.attempted(vec![attempt(job.id, Outcome::Retry(9500), 9000)]).await.unwrap();
    b.ledger.attempted(vec![attempt(job.id, Outcome::Delivered, 9500)]).await.unwrap();

    let life = ["received", "looked", "verdict", "correction", "routed", "retry", "delivered"];
    assert_eq!(b.kinds("1.1.1").await, life);
    assert_eq!(b.kinds("1.1").await, life);
    assert_eq!(b.kinds("1").await.len(), life.len() + 5);
    assert!(b.kinds("no such").await.is_empty());
    assert!(b.kinds("").await.is_empty());

    let events = b.ledger.events_of("1.1.1").await.unwrap();
    let told = |kind: &str| events.iter().find(|e| e.kind == kind).unwrap();
    let received = told("received");
    assert_eq!(
        (&*received.sop_instance_uid, &*received.series_instance_uid, &*received.study_instance_uid),
        ("1.1.1", "1.1", "1")
    );
    assert_eq!((received.at, received.source.clone()), (1000, Some(source("a1"))));
    assert_eq!(received.detail["receive_ms"], 12.5);
    assert_eq!(told("looked").detail["model"], "0123456789abcdef");
    assert_eq!(told("looked").detail["scores"]["KNEE"], 0.98);
    assert_eq!(told("verdict").detail["kind"], "corrected");
    assert_eq!(told("verdict").series_instance_uid, "1.1");
    assert_eq!(told("correction").detail["changes"]["0018,0015"], serde_json::json!({ "old": "HAND", "new": "KNEE" }));
    assert_eq!(told("routed").detail, serde_json::json!({ "routes": ["limbs"], "destinations": ["archive"] }));
    assert_eq!(told("retry").detail["status"], "A700");
    assert_eq!(told("retry").detail["next_at"], 9500);
    assert_eq!(told("delivered").detail["attempt"], 2);
    assert_eq!(told("delivered").detail["send_ms"], 7.0);
    let stages = &told("delivered").detail["stages"];
    let waited = (told("delivered").at - received.at) as f64 - 1.5 - 2.0 - 9.0 - 7.0;
    let expected =
        [("receive", 12.5), ("sync", 1.5), ("wait", waited), ("decode", 2.0), ("classify", 9.0), ("send", 7.0)];
    assert_eq!(stages.as_object().unwrap().len(), expected.len());
    for (stage, ms) in expected {
        assert_eq!(stages[format!("{stage}_ms")], ms, "{stage}");
    }
    assert!(told("retry").detail["stages"].is_null(), "told once, when it has arrived");
}

#[tokio::test]
async fn events_of_what_has_no_row_are_found_by_any_uid_and_keep_every_text() {
    let b = bench();
    let hostile = "1.2'; DROP TABLE event; --";
    let event = Event {
        at: 5,
        kind: "refused".into(),
        sop_instance_uid: hostile.into(),
        series_instance_uid: String::new(),
        study_instance_uid: "7".into(),
        source: Some(source("a2")),
        detail: serde_json::json!({ "status": "A700", "text": "\u{0}\n\"" }),
    };
    b.ledger.event(event.clone()).await.unwrap();
    b.ledger
        .event(Event {
            kind: "association".into(),
            sop_instance_uid: String::new(),
            study_instance_uid: String::new(),
            ..event.clone()
        })
        .await
        .unwrap();
    for uid in [hostile, "7"] {
        let found = b.ledger.events_of(uid).await.unwrap();
        assert_eq!(serde_json::json!(found), serde_json::json!([event]), "{uid}");
    }
    assert!(b.ledger.instances_of(hostile).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_instance_received_twice_has_two_lives_under_one_uid() {
    let b = bench();
    b.routed("1.1.1", 1000, &["archive"]).await;
    b.routed("1.1.1", 2000, &["archive"]).await;
    assert_eq!(b.ledger.instances_of("1.1.1").await.unwrap().len(), 2);
    assert_eq!(b.due("archive", 9000).await.len(), 2);
}

#[test]
fn a_ledger_that_is_missing_or_not_ours_is_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    let e = Ledger::open_existing(&path).err().unwrap();
    assert!(matches!(e, LedgerError::Missing(_)) && e.to_string().contains("radroute serve"));
    assert!(!path.exists(), "a look does not create one");
    std::fs::write(&path, vec![0x55; 8192]).unwrap();
    let e = Ledger::open(&path).err().unwrap();
    assert!(matches!(e, LedgerError::Damaged(_)) && e.to_string().contains("restore a backup"), "{e}");
}

//! The queue of a destination, the administrator's hand on it, retention and reconciliation.

use crate::*;

fn ids(jobs: &[DeliveryJob]) -> Vec<DeliveryId> {
    jobs.iter().map(|j| j.id).collect()
}

#[tokio::test]
async fn deliveries_come_when_due_oldest_first_and_without_those_in_flight() {
    let b = bench();
    for (uid, at) in [("1.1.1", 1000), ("2.1.1", 2000), ("3.1.1", 3000)] {
        b.routed(uid, at, &["archive"]).await;
    }
    let all = ids(&b.due("archive", 9000).await);
    assert_eq!(all.len(), 3);
    assert_eq!(b.ledger.next_delivery_due("archive").await.unwrap(), Some(1002));
    assert_eq!(ids(&b.ledger.due_deliveries("archive", 9000, 1, &[all[0]]).await.unwrap()), [all[1]]);
    assert_eq!(ids(&b.due("archive", 2500).await), all[..2]);
    assert!(b.due("teaching", 9000).await.is_empty());
    assert_eq!(b.ledger.next_delivery_due("teaching").await.unwrap(), None);

    b.ledger
        .attempted(vec![
            attempt(all[0], Outcome::Retry(20_000), 9000),
            attempt(all[1], Outcome::Delivered, 9000),
            attempt(all[2], Outcome::Dead, 9000),
        ])
        .await
        .unwrap();
    assert!(b.due("archive", 19_999).await.is_empty());
    assert_eq!(b.ledger.next_delivery_due("archive").await.unwrap(), Some(20_000));
    let again = b.due("archive", 20_000).await;
    assert_eq!((again[0].id, again[0].attempts, again[0].queued_at), (all[0], 1, 1002));
}

#[tokio::test]
async fn the_queue_lists_open_deliveries_and_dead_letters_of_one_or_all_destinations() {
    let b = bench();
    b.routed("1.1.1", 1000, &["archive", "teaching"]).await;
    b.routed("2.1.1", 2000, &["archive"]).await;
    let archive = ids(&b.due("archive", 9000).await);
    b.ledger
        .attempted(vec![attempt(archive[0], Outcome::Dead, 9000), attempt(archive[1], Outcome::Delivered, 9000)])
        .await
        .unwrap();
    let all = b.ledger.queue(None).await.unwrap();
    let short: Vec<_> = all.iter().map(|r| (&*r.destination, &*r.sop_instance_uid, r.state, &*r.last_error)).collect();
    assert_eq!(
        short,
        [("archive", "1.1.1", DeliveryState::Dead, "said"), ("teaching", "1.1.1", DeliveryState::Queued, "")]
    );
    assert_eq!((&*all[0].series_instance_uid, &*all[0].study_instance_uid), ("1.1", "1"));
    assert_eq!(b.ledger.queue(Some("teaching")).await.unwrap().len(), 1);
    assert!(b.ledger.queue(Some("nowhere' OR 1=1")).await.unwrap().is_empty());
}

#[tokio::test]
async fn retry_makes_waiting_and_dead_letters_due_and_gives_a_dead_letter_a_new_age() {
    let b = bench();
    for uid in ["1.1.1", "2.1.1", "3.1.1"] {
        b.routed(uid, 1000, &["archive"]).await;
    }
    b.routed("4.1.1", 1000, &["teaching"]).await;
    let a = ids(&b.due("archive", 9000).await);
    let outcomes = [Outcome::Dead, Outcome::Retry(99_000), Outcome::Delivered];
    b.ledger.attempted(a.iter().zip(outcomes).map(|(id, o)| attempt(*id, o, 9000)).collect()).await.unwrap();
    assert_eq!(b.ledger.queue_retry(Some("archive"), 50_000).await.unwrap(), 2);
    let due = b.due("archive", 50_000).await;
    assert_eq!(due.iter().map(|d| (d.id, d.queued_at)).collect::<Vec<_>>(), [(a[0], 50_000), (a[1], 1002)]);
    assert_eq!(b.kinds("1.1.1").await.last().unwrap(), "requeued");
    assert_eq!(b.ledger.queue_retry(None, 60_000).await.unwrap(), 3);
}

#[tokio::test]
async fn a_long_queue_is_moved_in_handfuls_and_counted_once() {
    let b = bench();
    b.long_queue(4100).await;
    assert_eq!(b.ledger.queue_retry(None, 10_000).await.unwrap(), 4100);
    assert_eq!(b.ledger.queue_drop(Some("archive"), 11_000).await.unwrap(), 4100);
    assert!(b.ledger.queue(None).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_was_dropped_ends_and_an_answer_on_its_way_does_not_bring_it_back() {
    let b = bench();
    b.routed("1.1.1", 1000, &["archive"]).await;
    b.routed("2.1.1", 1000, &["archive"]).await;
    let a = ids(&b.due("archive", 9000).await);
    assert_eq!(b.ledger.queue_drop(None, 10_000).await.unwrap(), 2);
    assert_eq!(b.ledger.queue_drop(None, 10_000).await.unwrap(), 0);
    b.ledger
        .attempted(vec![attempt(a[0], Outcome::Retry(11_000), 10_500), attempt(a[1], Outcome::Delivered, 10_500)])
        .await
        .unwrap();
    assert!(b.due("archive", Millis::MAX).await.is_empty());
    let state = |lives: Vec<InstanceLife>| lives[0].deliveries[0].state;
    assert_eq!(state(b.ledger.instances_of("1.1.1").await.unwrap()), DeliveryState::Dropped);
    assert_eq!(state(b.ledger.instances_of("2.1.1").await.unwrap()), DeliveryState::Delivered, "the truth wins");
    assert_eq!(b.kinds("2.1.1").await[5..], ["dropped", "delivered"]);
}

#[tokio::test]
async fn only_an_instance_whose_deliveries_have_all_ended_well_expires() {
    let b = bench();
    let id = b.routed("1.1.1", 1000, &["archive", "teaching"]).await;
    b.routed("2.1.1", 1000, &[]).await; // goes nowhere: kept
    b.seen("3.1.1", 1000).await; // undecided: kept
    let (archive, teaching) = (ids(&b.due("archive", 9000).await), ids(&b.due("teaching", 9000).await));
    b.ledger.attempted(vec![attempt(archive[0], Outcome::Delivered, 9000)]).await.unwrap();
    assert!(b.ledger.expired(Millis::MAX, 10).await.unwrap().is_empty(), "one is open");
    b.ledger.attempted(vec![attempt(teaching[0], Outcome::Dead, 9500)]).await.unwrap();
    assert!(b.ledger.expired(Millis::MAX, 10).await.unwrap().is_empty(), "one is dead");
    b.ledger.queue_drop(Some("teaching"), 12_000).await.unwrap();
    assert!(b.ledger.expired(12_000, 10).await.unwrap().is_empty(), "the last ended at 12 s");
    let expired = b.ledger.expired(12_001, 10).await.unwrap();
    assert_eq!(expired.iter().map(|i| i.id).collect::<Vec<_>>(), [id]);

    b.ledger.remove(vec![id], 13_000).await.unwrap();
    b.ledger.remove(vec![id], 13_500).await.unwrap();
    assert!(b.ledger.expired(Millis::MAX, 10).await.unwrap().is_empty());
    assert!(b.ledger.spool_names().await.unwrap().iter().all(|(i, _)| *i != id));
    assert_eq!(b.kinds("1.1.1").await.iter().filter(|k| *k == "removed").count(), 1);
    assert!(!b.ledger.instances_of("1.1.1").await.unwrap()[0].row.present);
}

#[tokio::test]
async fn a_missing_file_is_told_makes_dead_letters_and_holds_nobody_up() {
    let b = bench();
    let queued = b.routed("1.1.1", 1000, &["archive"]).await;
    let unlooked = b.ledger.received(new("2.1.1", 2000)).await.unwrap();
    b.seen("2.1.2", 2000).await;
    for id in [queued, unlooked] {
        b.ledger.missing(id, 5000).await.unwrap();
        b.ledger.missing(id, 5000).await.unwrap();
    }
    assert!(b.due("archive", Millis::MAX).await.is_empty());
    assert_eq!(b.ledger.queue(None).await.unwrap()[0].state, DeliveryState::Dead);
    assert_eq!(b.ledger.queue_retry(None, 6000).await.unwrap(), 0, "there is nothing to send");
    assert_eq!(b.kinds("1.1.1").await.last().unwrap(), "missing");
    assert!(b.ledger.unlooked(10, &[]).await.unwrap().is_empty());
    assert_eq!(b.job(Millis::MAX).await.undecided.len(), 1, "the series goes on without it");
    // A result that comes after all is kept, and does no harm to the count.
    b.ledger.looked(unlooked, scored(), 7000).await.unwrap();
    assert_eq!(b.job(Millis::MAX).await.undecided.len(), 1);
}

#[tokio::test]
async fn a_file_that_retention_removed_before_the_kill_is_no_loss() {
    let b = bench();
    let id = b.routed("1.1.1", 1000, &["archive"]).await;
    let delivery = b.due("archive", 9000).await.remove(0);
    b.ledger.attempted(vec![attempt(delivery.id, Outcome::Delivered, 9000)]).await.unwrap();
    b.ledger.missing(id, 10_000).await.unwrap();
    assert_eq!(b.kinds("1.1.1").await.last().unwrap(), "removed");
}

#[tokio::test]
async fn a_series_whose_only_instance_went_missing_is_not_due() {
    let b = bench();
    let id = b.seen("1.1.1", 1000).await;
    let job = b.job(Millis::MAX).await;
    b.ledger.missing(id, 2000).await.unwrap();
    assert!(b.ledger.due_series(Millis::MAX, 10).await.unwrap().is_empty());
    // Decided from a job taken before: nothing is queued for what is not there.
    b.ledger.decided(decision(&job, &["archive"], 3000)).await.unwrap();
    assert!(b.due("archive", Millis::MAX).await.is_empty());
    assert_eq!(b.ledger.next_series_due().await.unwrap(), None);
}

#[tokio::test]
async fn the_destinations_of_what_is_queued_are_known_whatever_is_configured() {
    let b = bench();
    assert!(b.ledger.queued_destinations().await.unwrap().is_empty());
    for (n, destination) in ["b", "a", "b", "c", "ended"].into_iter().enumerate() {
        b.routed(&format!("{}.1.1", n + 1), 1000, &[destination]).await;
    }
    let ended = ids(&b.due("ended", Millis::MAX).await);
    b.ledger.attempted(vec![attempt(ended[0], Outcome::Dead, 9000)]).await.unwrap();
    assert_eq!(b.ledger.queued_destinations().await.unwrap(), ["a", "b", "c"]);
}

#[tokio::test]
async fn a_clock_set_back_does_not_leave_deliveries_for_a_time_far_away() {
    let b = bench();
    for uid in ["1.1.1", "2.1.1"] {
        b.routed(uid, 9_000_000, &["archive"]).await;
    }
    b.routed("3.1.1", 9_000_000, &["teaching"]).await;
    let far = b.due("archive", Millis::MAX).await;
    b.ledger.attempted(vec![attempt(far[0].id, Outcome::Retry(50_500), 50_000)]).await.unwrap();
    assert_eq!(b.ledger.bring_forward("archive", 50_000, 51_000).await.unwrap(), 1, "the other may wait");
    assert_eq!(ids(&b.due("archive", 50_000).await), [far[1].id]);
    assert_eq!(b.ledger.bring_forward("archive", 50_000, 51_000).await.unwrap(), 0);
    assert_eq!(b.ledger.next_delivery_due("teaching").await.unwrap(), Some(9_000_002));
}

#[tokio::test]
async fn what_is_too_old_is_given_up_all_at_once_and_no_attempt_is_counted() {
    let b = bench();
    b.long_queue(2100).await;
    b.routed("1.2.1", 9000, &["archive"]).await;
    b.routed("1.3.1", 1000, &["teaching"]).await;
    let busy = b.due("archive", 1002).await[0].id;
    assert_eq!(b.ledger.give_up_old("archive", 1002, &[busy], "given up", 9500).await.unwrap(), 2099);
    let queue = b.ledger.queue(Some("archive")).await.unwrap();
    let open: Vec<_> = queue.iter().filter(|row| row.state == DeliveryState::Queued).map(|row| row.id).collect();
    assert_eq!((open.len(), open[0]), (2, busy));
    let dead = queue.iter().find(|row| row.state == DeliveryState::Dead).unwrap();
    assert_eq!((dead.attempts, &*dead.last_error), (0, "given up"));
    let event = b.ledger.events_of(&dead.sop_instance_uid).await.unwrap().pop().unwrap();
    assert_eq!((&*event.kind, event.at, &event.detail["detail"]), ("dead", 9500, &serde_json::json!("given up")));
    assert_eq!(b.ledger.queue(Some("teaching")).await.unwrap()[0].state, DeliveryState::Queued);
}

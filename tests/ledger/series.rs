//! Settling, deciding, latecomers, and what a study's series share.

use crate::*;

enum Step {
    /// Received at, looked at at once.
    Seen(&'static str, Millis),
    /// Received at, not looked at.
    Came(&'static str, Millis),
    /// The association "a1" released at.
    Released(Millis),
}
use Step::*;

#[tokio::test]
async fn a_series_is_due_when_released_or_quiet_or_open_for_too_long_and_not_before_it_was_looked_at() {
    // settle 2 s, settle_max 60 s
    let cases: [(&str, &[Step], Option<Millis>); 9] = [
        ("quiet", &[Seen("1.1.1", 10_000)], Some(12_000)),
        ("each receipt moves it", &[Seen("1.1.1", 10_000), Seen("1.1.2", 11_500)], Some(13_500)),
        ("at most settle_max after the first", &[Seen("1.1.1", 10_000), Seen("1.1.2", 69_000)], Some(70_000)),
        ("released", &[Seen("1.1.1", 10_000), Released(10_300)], Some(10_300)),
        ("released later than quiet", &[Seen("1.1.1", 10_000), Released(15_000)], Some(12_000)),
        ("looking is behind", &[Seen("1.1.1", 10_000), Came("1.1.2", 10_100), Released(10_300)], None),
        (
            "reopened by another association's instance",
            &[Seen("1.1.1", 10_000), Released(10_300), Seen("1.1.2", 11_000)],
            Some(13_000),
        ),
        ("clock went back", &[Seen("1.1.1", 10_000), Seen("1.1.2", 9_000)], Some(11_000)),
        ("nothing", &[Released(10_000)], None),
    ];
    for (name, steps, due) in cases {
        let b = bench();
        for step in steps {
            match *step {
                Seen(uid, at) => drop(b.seen(uid, at).await),
                Came(uid, at) => drop(b.ledger.received(new(uid, at)).await.unwrap()),
                Released(at) => b.ledger.released("a1", at).await.unwrap(),
            }
        }
        assert_eq!(b.ledger.next_series_due().await.unwrap(), due, "{name}");
        let due = due.unwrap_or(Millis::MAX);
        assert!(b.ledger.due_series(due - 1, 10).await.unwrap().is_empty(), "{name}: too early");
        let (jobs, wait) = b.ledger.series_to_decide(due - 1, 10).await.unwrap();
        assert!(jobs.is_empty(), "{name}");
        assert_eq!(
            wait,
            (due != Millis::MAX).then_some(std::time::Duration::from_millis(1)),
            "{name}: both of one state"
        );
        let expected = usize::from(due != Millis::MAX);
        assert_eq!(b.ledger.due_series(due, 10).await.unwrap().len(), expected, "{name}");
    }
}

#[tokio::test]
async fn releasing_makes_only_the_series_of_that_association_due() {
    let b = bench();
    b.seen("1.1.1", 1000).await;
    let mut other = new("2.1.1", 1000);
    other.source = source("a2");
    let id = b.ledger.received(other).await.unwrap();
    b.ledger.looked(id, scored(), 1001).await.unwrap();
    b.ledger.released("a2", 1100).await.unwrap();
    assert_eq!(b.job(1100).await.series_instance_uid, "2.1");
    b.ledger.released("nobody", 1100).await.unwrap();
    assert_eq!(b.ledger.due_series(1100, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_job_has_all_that_deciding_needs_and_a_decided_series_is_no_longer_due() {
    let b = bench();
    let (one, two) = (b.seen("1.1.1", 1000).await, b.seen("1.1.2", 1100).await);
    let job = b.job(9000).await;
    assert_eq!((&*job.series_instance_uid, &*job.study_instance_uid, &job.verdict), ("1.1", "1", &None));
    assert_eq!(job.undecided.iter().map(|i| i.id).collect::<Vec<_>>(), [one, two]);
    assert!(job.undecided.iter().all(|i| i.look == Some(scored()) && !i.decided));
    assert!(job.study_chosen.is_empty() && job.series_chosen.is_empty() && job.study_instances.is_empty());
    b.ledger.decided(decision(&job, &["archive"], 9000)).await.unwrap();
    assert!(b.ledger.due_series(Millis::MAX, 10).await.unwrap().is_empty());
    assert_eq!(b.ledger.next_series_due().await.unwrap(), None);
    let due = b.due("archive", 9000).await;
    assert_eq!(due.iter().map(|d| d.instance.id).collect::<Vec<_>>(), [one, two]);
    assert!(due.iter().all(|d| d.overlay == Some(overlay()) && d.attempts == 0 && d.queued_at == 9000));
}

#[tokio::test]
async fn a_latecomer_brings_the_series_back_with_its_verdict() {
    let b = bench();
    b.routed("1.1.1", 1000, &["archive"]).await;
    let late = b.seen("1.1.2", 100_000).await;
    assert_eq!(b.ledger.next_series_due().await.unwrap(), Some(102_000), "counts from its own receipt");
    let job = b.job(102_000).await;
    assert_eq!(job.verdict, Some(verdict()));
    assert_eq!(job.undecided.iter().map(|i| i.id).collect::<Vec<_>>(), [late]);
    assert_eq!(job.series_chosen, ["archive"]);
    assert_eq!(job.study_instances.len(), 1);
    b.ledger.decided(decision(&job, &["archive"], 102_000)).await.unwrap();
    let verdicts: Vec<_> =
        b.ledger.events_of("1.1").await.unwrap().into_iter().filter(|e| e.kind == "verdict").collect();
    assert_eq!(verdicts.iter().map(|e| e.detail["inherited"].clone()).collect::<Vec<_>>(), [false, true]);
}

#[tokio::test]
async fn what_comes_while_the_series_is_being_decided_waits_for_its_own_turn() {
    let b = bench();
    b.seen("1.1.1", 1000).await;
    let job = b.job(9000).await;
    let meanwhile = b.seen("1.1.2", 9500).await;
    b.ledger.decided(decision(&job, &["archive"], 9600)).await.unwrap();
    assert_eq!(b.ledger.next_series_due().await.unwrap(), Some(11_500));
    let job = b.job(11_500).await;
    assert_eq!(job.undecided.iter().map(|i| i.id).collect::<Vec<_>>(), [meanwhile]);
    // Its longest wait counts from its own receipt, not from that of the first.
    b.seen("1.1.3", 68_000).await;
    assert_eq!(b.ledger.next_series_due().await.unwrap(), Some(69_500));
}

#[tokio::test]
async fn a_late_series_sees_the_study_and_brings_the_earlier_instances_along() {
    let b = bench();
    let first = b.routed("1.1.1", 1000, &["archive"]).await;
    let delivery = b.due("archive", 9000).await.remove(0);
    b.ledger.attempted(vec![attempt(delivery.id, Outcome::Delivered, 9000)]).await.unwrap();
    assert_eq!(b.ledger.expired(9001, 10).await.unwrap().len(), 1);

    b.seen("1.2.1", 10_000).await;
    let job = b.job(20_000).await;
    assert_eq!((&job.study_chosen, &job.series_chosen), (&vec!["archive".to_owned()], &vec![]));
    assert_eq!(job.study_instances.len(), 1);
    assert_eq!((job.study_instances[0].0.id, &job.study_instances[0].1), (first, &vec!["archive".to_owned()]));
    let mut decision = decision(&job, &["teaching"], 20_000);
    decision.added = vec![(first, vec!["archive".into(), "teaching".into()])];
    b.ledger.decided(decision).await.unwrap();

    assert_eq!(b.due("archive", 30_000).await.len(), 0, "delivered stays delivered");
    assert_eq!(b.due("teaching", 30_000).await.iter().map(|d| d.instance.id).collect::<Vec<_>>().len(), 2);
    assert!(b.ledger.expired(Millis::MAX, 10).await.unwrap().is_empty(), "its file is needed again");
    let routed = b.ledger.events_of("1.1.1").await.unwrap().into_iter().rfind(|e| e.kind == "routed").unwrap();
    assert_eq!(routed.detail["destinations"], serde_json::json!(["teaching"]));

    b.seen("1.3.1", 30_000).await;
    assert_eq!(b.job(Millis::MAX).await.study_chosen, ["archive", "teaching"]);
}

#[tokio::test]
async fn objects_without_series_or_study_share_nothing() {
    let b = bench();
    for sop in ["5.1", "5.2"] {
        let mut one = new(sop, 1000);
        one.facts.series_instance_uid.clear();
        one.facts.study_instance_uid.clear();
        let id = b.ledger.received(one).await.unwrap();
        b.ledger.looked(id, scored(), 1001).await.unwrap();
    }
    let jobs = b.ledger.due_series(Millis::MAX, 10).await.unwrap();
    assert_eq!(jobs.iter().map(|j| &*j.series_instance_uid).collect::<Vec<_>>(), ["5.1", "5.2"]);
    b.ledger.decided(decision(&jobs[0], &["archive"], 9000)).await.unwrap();
    let job = b.job(Millis::MAX).await;
    assert!(job.study_chosen.is_empty() && job.study_instances.is_empty());
}

#[tokio::test]
async fn one_series_uid_in_two_studies_is_two_series() {
    let b = bench();
    b.seen("1.1.1", 1000).await;
    let mut other = new("1.1.2", 1000);
    other.facts.study_instance_uid = "2".into();
    let id = b.ledger.received(other).await.unwrap();
    b.ledger.looked(id, scored(), 1001).await.unwrap();
    let jobs = b.ledger.due_series(Millis::MAX, 10).await.unwrap();
    assert_eq!(
        jobs.iter().map(|j| (&*j.study_instance_uid, j.undecided.len())).collect::<Vec<_>>(),
        [("1", 1), ("2", 1)]
    );
}

#[tokio::test]
async fn a_decision_told_twice_changes_neither_overlay_nor_queue() {
    let b = bench();
    b.seen("1.1.1", 1000).await;
    let mut twice = decision(&b.job(9000).await, &["archive"], 9000);
    b.ledger.decided(twice.clone()).await.unwrap();
    let delivery = b.due("archive", 9000).await.remove(0);
    b.ledger.attempted(vec![attempt(delivery.id, Outcome::Delivered, 9100)]).await.unwrap();
    twice.instances[0].overlay = None;
    b.ledger.decided(twice).await.unwrap();
    assert!(b.due("archive", Millis::MAX).await.is_empty());
    assert_eq!(b.ledger.overlay(delivery.instance.id).await.unwrap(), Some(overlay()));
    assert_eq!(b.kinds("1.1.1").await.iter().filter(|k| *k == "routed").count(), 1);
}

#[tokio::test]
async fn a_decision_for_an_instance_of_another_series_enters_nothing() {
    let b = bench();
    b.seen("1.1.1", 1000).await;
    let stranger = b.ledger.received(new("2.1.1", 1000)).await.unwrap();
    let mut wrong = decision(&b.job(9000).await, &["archive"], 9000);
    wrong.instances.push(DecidedInstance { id: stranger, ..wrong.instances[0].clone() });
    assert!(matches!(b.ledger.decided(wrong).await, Err(LedgerError::Unknown(_))));
    assert!(b.due("archive", Millis::MAX).await.is_empty());
    assert_eq!(b.kinds("1").await, ["received", "looked"]);
}

#[tokio::test]
async fn an_untouched_instance_says_why() {
    let b = bench();
    b.seen("1.1.1", 1000).await;
    let mut signed = decision(&b.job(9000).await, &["archive"], 9000);
    signed.instances[0].overlay = None;
    signed.instances[0].untouched = Some("signed".into());
    b.ledger.decided(signed).await.unwrap();
    assert_eq!(b.kinds("1.1.1").await, ["received", "looked", "verdict", "untouched", "routed"]);
    assert_eq!(b.due("archive", 9000).await[0].overlay, None);
}

#[tokio::test]
async fn what_gets_no_destination_is_told_as_such() {
    let b = bench();
    b.routed("1.1.1", 1000, &[]).await;
    let told = b.ledger.events_of("1.1.1").await.unwrap().pop().unwrap();
    assert_eq!(told.kind, "unrouted");
    assert_eq!(told.detail["destinations"], serde_json::json!([]));
}

#[tokio::test]
async fn a_clock_set_back_does_not_keep_a_series_open() {
    let b = bench();
    b.seen("1.1.1", 9_000_000).await;
    b.seen("2.1.1", 50_000).await;
    assert_eq!(b.ledger.clock_went_back(50_000, 60_000).await.unwrap(), 1);
    assert_eq!(b.job(50_000).await.series_instance_uid, "1.1");
    assert_eq!(b.ledger.clock_went_back(50_000, 60_000).await.unwrap(), 0);
}

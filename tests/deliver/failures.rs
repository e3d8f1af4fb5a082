//! Destinations that refuse, fail, hang or are not there: nothing lost, nothing held up, everything told.

use crate::node::*;
use crate::receivers::{self, answering, free_port, storescp};
use radroute::ledger::{self, DeliveryState};

/// A700 is tried again, C000 is a dead letter, B000 is delivered.
#[tokio::test]
async fn statuses_decide() {
    if !receivers::pynetdicom() {
        return;
    }
    let archive = answering(None, "A700,0110,0000,C000,A900,B000,0000", &[]);
    let node = Node::start(config(&[destination("archive", archive.port, "max_associations = 1")]));
    let samples: Vec<Sample> = (1..=5).map(|number| radiograph(number, 12)).collect();
    // one after the other, so that each gets the answers meant for it
    let mut ends = Vec::new();
    for sample in &samples {
        node.put(sample, None, &["archive"]).await;
        ends.push(node.until(sample, "archive", |life| life.state != DeliveryState::Queued).await);
    }
    use DeliveryState::{Dead, Delivered};
    let seen: Vec<_> = ends.iter().map(|life| (life.state, life.attempts)).collect();
    assert_eq!(seen, [(Delivered, 3), (Dead, 1), (Dead, 1), (Delivered, 1), (Delivered, 1)]);
    assert!(ends[3].detail.contains("coerced"), "{}", ends[3].detail);
    let statuses: Vec<String> = archive.log().into_iter().map(|(_, status)| status).collect();
    assert_eq!(statuses, ["A700", "0110", "0000", "C000", "A900", "B000", "0000"]);
    let kinds = node.kinds(&samples[0]).await;
    assert_eq!(kinds.iter().filter(|kind| *kind == "retry").count(), 2, "{kinds:?}");
    assert_eq!(kinds.last().map(String::as_str), Some("delivered"));
    assert!(node.kinds(&samples[1]).await.contains(&"dead".to_owned()));
    node.stop().await;
}

/// Down, then up: all arrive, each once; while it is down one is tried and the others wait, uncounted.
#[tokio::test]
async fn a_destination_that_is_down_gets_everything_when_it_is_back() {
    if !receivers::pynetdicom() {
        return;
    }
    let port = free_port();
    let node =
        Node::start(config(&[destination("archive", port, "[destination.retry]\nfirst = \"2s\"\nmost = \"2s\"\n")]));
    let samples: Vec<Sample> = (0..20).map(|number| radiograph(number, 12)).collect();
    for sample in &samples {
        node.put(sample, None, &["archive"]).await;
    }
    let mut attempts = 0;
    while attempts == 0 {
        attempts = 0;
        for sample in &samples {
            attempts += node.delivery(sample, "archive").await.attempts;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(attempts, 1, "one probe, not a try of each");
    let archive = answering(Some(port), "0000", &[]);
    for sample in &samples {
        node.state(sample, "archive", DeliveryState::Delivered).await;
        assert!(Sample::open(&archive.file(&sample.uid).unwrap()).data_set() == sample.data_set());
    }
    assert_eq!(archive.log().len(), samples.len());
    node.stop().await;
}

/// A destination that never answers does not hold up another one.
#[tokio::test]
async fn a_hanging_destination_delays_nobody() {
    if !receivers::pynetdicom() {
        return;
    }
    let (slow, fast) = (answering(None, "0000", &["--sleep", "3600"]), answering(None, "0000", &[]));
    let node = Node::start(config(&[destination("slow", slow.port, ""), destination("fast", fast.port, "")]));
    let samples: Vec<Sample> = (0..30).map(|number| radiograph(number, 12)).collect();
    for sample in &samples {
        node.put(sample, None, &["slow", "fast"]).await;
    }
    for sample in &samples {
        node.state(sample, "fast", DeliveryState::Delivered).await;
    }
    for sample in &samples {
        assert_eq!(node.delivery(sample, "slow").await.state, DeliveryState::Queued);
    }
    // the one that hangs is given up in time and told of
    let mut told = String::new();
    while told.is_empty() {
        for sample in &samples {
            let life = node.delivery(sample, "slow").await;
            if life.attempts > 0 {
                told = life.detail;
            }
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(told.contains("no progress"), "{told}");
    drop(slow);
    node.stop().await;
}

/// Aborts in the middle: the instance is tried again, and arrives at the next one that works.
#[tokio::test]
async fn aborted_associations_lose_nothing() {
    if !receivers::dcmtk() {
        return;
    }
    for how in ["--abort-during", "--abort-after", "--refuse"] {
        let broken = storescp(None, &["+xa", how]);
        let port = broken.port;
        let node = Node::start(config(&[destination("archive", port, "")]));
        let samples: Vec<Sample> = (0..5).map(|number| radiograph(number, 12)).collect();
        for sample in &samples {
            node.put(sample, None, &["archive"]).await;
        }
        let told = node.until(&samples[0], "archive", |life| life.attempts >= 1).await;
        let words = if how == "--refuse" { "rejected" } else { "abort" };
        assert!(told.detail.contains(words) || told.detail.contains("closed"), "{how}: {}", told.detail);
        assert_eq!(told.state, DeliveryState::Queued);
        drop(broken);
        let archive = storescp(Some(port), &["+xa"]);
        for sample in &samples {
            node.state(sample, "archive", DeliveryState::Delivered).await;
            assert!(Sample::open(&archive.file(&sample.uid).unwrap()).data_set() == sample.data_set());
        }
        node.stop().await;
    }
}

/// A destination that takes one association where two are allowed: no failure, no attempt wasted.
#[tokio::test]
async fn fewer_associations_than_allowed_will_do() {
    if !receivers::pynetdicom() {
        return;
    }
    let archive = answering(None, "0000", &["--limit", "1", "--sleep", "0.05"]);
    let node = Node::start(config(&[destination("archive", archive.port, "max_associations = 4")]));
    let first = radiograph(1000, 12);
    node.put(&first, None, &["archive"]).await;
    node.state(&first, "archive", DeliveryState::Delivered).await;
    let samples: Vec<Sample> = (0..12).map(|number| radiograph(number, 12)).collect();
    for sample in &samples {
        node.put(sample, None, &["archive"]).await;
    }
    for sample in &samples {
        assert_eq!(node.state(sample, "archive", DeliveryState::Delivered).await.attempts, 1);
    }
    assert_eq!(archive.log().len(), 13);
    node.stop().await;
}

/// `max_age` ends what waits, and is not the reason of what the destination has refused for good.
#[tokio::test]
async fn a_dead_letter_keeps_its_own_reason() {
    if !receivers::pynetdicom() {
        return;
    }
    let archive = answering(None, "C000", &[]);
    let more = "[destination.retry]\nfirst = \"100ms\"\nmost = \"100ms\"\nmax_age = \"1ms\"\n";
    let node = Node::start(config(&[destination("archive", archive.port, more)]));
    let sample = radiograph(1, 12);
    node.put(&sample, None, &["archive"]).await;
    let life = node.state(&sample, "archive", DeliveryState::Dead).await;
    assert!(life.detail.contains("C000") && !life.detail.contains("max_age"), "{}", life.detail);
    node.stop().await;
}

/// `max_age` ends it, for all that wait, and counts no attempt of what was not tried.
#[tokio::test]
async fn too_old_is_a_dead_letter() {
    let more = "[destination.retry]\nfirst = \"100ms\"\nmost = \"100ms\"\nmax_age = \"1s\"\n";
    let node = Node::start(config(&[destination("archive", free_port(), more)]));
    // more than are held in memory
    let samples: Vec<Sample> = (0..100).map(|number| radiograph(number, 12)).collect();
    for sample in &samples {
        node.put(sample, None, &["archive"]).await;
    }
    let mut untried = 0;
    for sample in &samples {
        let life = node.state(sample, "archive", DeliveryState::Dead).await;
        assert!(life.detail.contains("max_age") && life.detail.contains("connect"), "{}", life.detail);
        untried += usize::from(life.attempts == 0);
    }
    assert!(untried > 50, "{untried} of 100 without an attempt");
    node.stop().await;
}

/// The file of an instance is gone: told, and a dead letter; the next one is not held up.
#[tokio::test]
async fn a_missing_file_is_told() {
    if !receivers::pynetdicom() {
        return;
    }
    let port = free_port();
    let node = Node::start(config(&[destination("archive", port, "max_associations = 1")]));
    let (gone, there) = (radiograph(1, 12), radiograph(2, 12));
    node.put(&gone, None, &["archive"]).await;
    node.put(&there, None, &["archive"]).await;
    let row = node.ledger.instances_of(&gone.uid).await.unwrap().remove(0).row;
    node.spool.remove(&row.spool_name).unwrap();
    let archive = answering(Some(port), "0000", &[]);
    node.state(&gone, "archive", DeliveryState::Dead).await;
    assert!(node.kinds(&gone).await.contains(&"missing".to_owned()));
    node.state(&there, "archive", DeliveryState::Delivered).await;
    assert_eq!(archive.log().len(), 1);
    node.stop().await;
}

/// A file that has become shorter never arrives as a shorter data set.
#[tokio::test]
async fn a_truncated_file_is_a_dead_letter() {
    if !receivers::pynetdicom() {
        return;
    }
    let port = free_port();
    let node = Node::start(config(&[destination("archive", port, "max_associations = 1")]));
    let (cut, whole) = (radiograph(1, 12), radiograph(2, 12));
    node.put(&cut, None, &["archive"]).await;
    node.put(&whole, None, &["archive"]).await;
    let row = node.ledger.instances_of(&cut.uid).await.unwrap().remove(0).row;
    let path = node.spool.path(&row.spool_name).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(row.file_size - 100).unwrap();
    let archive = answering(Some(port), "0000", &[]);
    let life = node.state(&cut, "archive", DeliveryState::Dead).await;
    assert!(life.detail.contains("damaged"), "{}", life.detail);
    node.state(&whole, "archive", DeliveryState::Delivered).await;
    assert_eq!(archive.received(), 1);
    node.stop().await;
}

/// `radroute queue retry`, from another process, wakes a destination that is being left alone for an hour.
#[tokio::test]
async fn an_administrators_retry_is_seen() {
    if !receivers::pynetdicom() {
        return;
    }
    let port = free_port();
    let node =
        Node::start(config(&[destination("archive", port, "[destination.retry]\nfirst = \"1h\"\nmost = \"1h\"\n")]));
    let samples: Vec<Sample> = (0..3).map(|number| radiograph(number, 12)).collect();
    for sample in &samples {
        node.put(sample, None, &["archive"]).await;
    }
    let mut attempts = 0;
    while attempts == 0 {
        for sample in &samples {
            attempts += node.delivery(sample, "archive").await.attempts;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let archive = answering(Some(port), "0000", &[]);
    assert_eq!(node.ledger.queue_retry(Some("archive"), ledger::now()).await.unwrap(), 3);
    for sample in &samples {
        node.state(sample, "archive", DeliveryState::Delivered).await;
    }
    assert_eq!(archive.log().len(), 3);
    node.stop().await;
}

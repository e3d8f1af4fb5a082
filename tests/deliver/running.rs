//! A running stage: associations kept, reload, stop and start again.

use crate::node::*;
use crate::receivers::{self, answering, free_port, storescp};
use radroute::ledger::DeliveryState;

/// What waits goes on one association, and what comes soon after it.
#[tokio::test]
async fn an_association_is_kept() {
    if !receivers::dcmtk() {
        return;
    }
    let archive = storescp(None, &["+xa"]);
    let before = archive.associations();
    let node = Node::start(config(&[destination("archive", archive.port, "max_associations = 1")]));
    for number in 0..10 {
        let sample = radiograph(number, 12);
        node.put(&sample, None, &["archive"]).await;
        if number % 3 == 0 {
            node.state(&sample, "archive", DeliveryState::Delivered).await;
        }
    }
    let last = radiograph(10, 12);
    node.put(&last, None, &["archive"]).await;
    node.state(&last, "archive", DeliveryState::Delivered).await;
    assert_eq!(archive.associations() - before, 1);
    // another transfer syntax needs another one, after the first has been released
    let other = radiograph(11, 12).through("dcmcjpeg", &["+e1"]);
    node.put(&other, None, &["archive"]).await;
    node.state(&other, "archive", DeliveryState::Delivered).await;
    node.stop().await;
    assert_eq!(archive.associations() - before, 2);
    assert!(!archive.said().contains("Abort"), "{}", archive.said());
}

/// A changed destination takes over what waits; a removed one keeps it.
#[tokio::test]
async fn reload() {
    if !receivers::pynetdicom() {
        return;
    }
    let archive = answering(None, "0000", &[]);
    let dead = free_port();
    let node = Node::start(config(&[destination("one", dead, ""), destination("two", dead, "")]));
    let sample = radiograph(1, 12);
    node.put(&sample, None, &["one", "two"]).await;
    for name in ["one", "two"] {
        node.until(&sample, name, |life| life.attempts >= 1).await;
    }
    node.config.send(config(&[destination("one", archive.port, "")])).unwrap();
    node.state(&sample, "one", DeliveryState::Delivered).await;
    assert_eq!(node.delivery(&sample, "two").await.state, DeliveryState::Queued);
    assert_eq!(node.ledger.queue(Some("two")).await.unwrap().len(), 1);
    node.config.send(config(&[destination("one", archive.port, ""), destination("two", archive.port, "")])).unwrap();
    node.state(&sample, "two", DeliveryState::Delivered).await;
    assert_eq!(archive.log().len(), 2);
    node.stop().await;
}

/// Stopped in the middle of a queue and started again: everything arrives, each exactly once.
#[tokio::test]
async fn stop_and_start_repeat_nothing() {
    if !receivers::pynetdicom() {
        return;
    }
    let archive = answering(None, "0000", &["--sleep", "0.02"]);
    let settings = || config(&[destination("archive", archive.port, "max_associations = 3")]);
    let mut node = Node::start(settings());
    let samples: Vec<Sample> = (0..40).map(|number| radiograph(number, 12)).collect();
    for sample in &samples {
        node.put(sample, None, &["archive"]).await;
    }
    node.state(&samples[5], "archive", DeliveryState::Delivered).await;
    node = node.restart(settings()).await;
    node.state(&samples[20], "archive", DeliveryState::Delivered).await;
    node = node.restart(settings()).await;
    for sample in &samples {
        assert_eq!(node.state(sample, "archive", DeliveryState::Delivered).await.attempts, 1);
    }
    let mut log: Vec<String> = archive.log().into_iter().map(|(uid, _)| uid).collect();
    assert_eq!(log.len(), samples.len());
    log.sort();
    log.dedup();
    assert_eq!(log.len(), samples.len());
    node.stop().await;
}

/// A stop does not wait for a destination that hangs longer than `limits.drain`; what was on the wire goes out after the next
/// start.
#[tokio::test]
async fn a_stop_is_bounded() {
    if !receivers::pynetdicom() {
        return;
    }
    let hanging = answering(None, "0000", &["--sleep", "3600"]);
    let port = hanging.port;
    let patient = |port| {
        let text = destination("archive", port, "").replace("\"5s\"", "\"1h\"");
        let config = config(&[text]);
        std::sync::Arc::new(radroute::config::Config {
            limits: radroute::config::Limits { drain: std::time::Duration::from_millis(300), ..config.limits.clone() },
            ..(*config).clone()
        })
    };
    let node = Node::start(patient(port));
    let sample = radiograph(1, 12);
    node.put(&sample, None, &["archive"]).await;
    while hanging.log().is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let stopped = node.restart(patient(free_port()));
    let node = tokio::time::timeout(std::time::Duration::from_secs(60), stopped).await.expect("stopped");
    assert_eq!(node.delivery(&sample, "archive").await.state, DeliveryState::Queued);
    let archive = answering(None, "0000", &[]);
    node.config.send(patient(archive.port)).unwrap();
    node.state(&sample, "archive", DeliveryState::Delivered).await;
    node.stop().await;
}

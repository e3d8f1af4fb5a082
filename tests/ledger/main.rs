//! The ledger from outside: durability, settling, the study's bookkeeping, the queue, crashes.

mod basics;
mod crash;
mod queue;
mod series;

use radroute::dataset::{Edit, Facts, Overlay};
use radroute::ledger::*;
use radroute::verdict::{Kind, Look, Verdict};
use std::collections::BTreeMap;
use std::path::PathBuf;
use tempfile::TempDir;

/// A ledger in a folder of its own.
pub struct Bench {
    pub ledger: Ledger,
    pub path: PathBuf,
    pub _folder: TempDir,
}

pub fn bench() -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    Bench { ledger: Ledger::open(&path).unwrap(), path, _folder: folder }
}

pub fn source(association: &str) -> Source {
    let peer = Some("10.1.2.3".parse().unwrap());
    Source { calling_ae: "XRAY1".into(), called_ae: "RADROUTE".into(), peer, association: association.into() }
}

/// An instance "study.series.number" that came at `at`.
pub fn new(uid: &str, at: Millis) -> NewInstance {
    let mut parts = uid.rsplitn(2, '.');
    parts.next();
    let series = parts.next().unwrap_or(uid);
    let study = series.rsplit_once('.').map_or(series, |(study, _)| study);
    NewInstance {
        spool_name: format!("name of {uid} at {at}"),
        file_size: 1000,
        dataset_offset: 132,
        facts: Facts {
            sop_class_uid: "1.2.840.10008.5.1.4.1.1.1.1".into(),
            sop_instance_uid: uid.into(),
            series_instance_uid: series.into(),
            study_instance_uid: study.into(),
            body_part_examined: "HAND".into(),
            number_of_frames: 1,
            ..Facts::default()
        },
        source: source("a1"),
        received_at: at,
        receive_ms: 12.5,
        sync_ms: 1.5,
        settle: 2_000,
        settle_max: 60_000,
        adopted: false,
    }
}

pub fn scored() -> Look {
    let scores = BTreeMap::from([("KNEE".to_owned(), 0.98), ("HAND".to_owned(), 0.01)]);
    Look::Scored { scores, model: "0123456789abcdef".into(), decode_ms: 2.0, classify_ms: 9.0 }
}

pub fn verdict() -> Verdict {
    let knee = radroute::anatomy::Region::from_term("KNEE");
    Verdict {
        kind: Kind::Corrected,
        region: knee,
        write: knee,
        reason: "the tag says HAND, the image shows KNEE".into(),
    }
}

pub fn overlay() -> Overlay {
    Overlay {
        edits: vec![Edit { offset: 10, remove: 4, insert: b"KNEE".to_vec() }],
        changes: BTreeMap::from([("0018,0015".to_owned(), ("HAND".to_owned(), "KNEE".to_owned()))]),
    }
}

/// The decision for a job: every undecided instance goes to `destinations`.
pub fn decision(job: &SeriesJob, destinations: &[&str], now: Millis) -> Decision {
    let destinations: Vec<String> = destinations.iter().map(|d| d.to_string()).collect();
    let instances = job.undecided.iter().map(|i| DecidedInstance {
        id: i.id,
        overlay: Some(overlay()),
        untouched: None,
        destinations: destinations.clone(),
        routes: vec!["limbs".into()],
    });
    Decision {
        series_instance_uid: job.series_instance_uid.clone(),
        study_instance_uid: job.study_instance_uid.clone(),
        verdict: verdict(),
        evidence: serde_json::Value::Null,
        chosen: destinations.clone(),
        instances: instances.collect(),
        added: Vec::new(),
        now,
    }
}

pub fn attempt(id: DeliveryId, outcome: Outcome, now: Millis) -> Attempt {
    let status = match outcome {
        Outcome::Delivered => Some(0),
        Outcome::Retry(_) => Some(0xA700),
        Outcome::Dead => Some(0xC000),
    };
    Attempt {
        id,
        outcome,
        status,
        detail: "said".into(),
        peer: String::new(),
        transfer_syntax_uid: "1.2.840.10008.1.2.1".into(),
        bytes: 0,
        corrected: false,
        send_ms: 7.0,
        now,
    }
}

impl Bench {
    /// Received and looked at.
    pub async fn seen(&self, uid: &str, at: Millis) -> InstanceId {
        let id = self.ledger.received(new(uid, at)).await.unwrap();
        self.ledger.looked(id, scored(), at + 1).await.unwrap();
        id
    }

    /// Received, looked at and decided.
    pub async fn routed(&self, uid: &str, at: Millis, destinations: &[&str]) -> InstanceId {
        let id = self.seen(uid, at).await;
        for job in self.ledger.due_series(Millis::MAX, 10).await.unwrap() {
            self.ledger.decided(decision(&job, destinations, at + 2)).await.unwrap();
        }
        id
    }

    /// That many deliveries to `archive`, queued at 1002.
    pub async fn long_queue(&self, count: i64) {
        let mut calls = tokio::task::JoinSet::new();
        for n in 0..count {
            let ledger = self.ledger.clone();
            calls.spawn(async move {
                let id = ledger.received(new(&format!("1.1.{n}"), n)).await.unwrap();
                ledger.looked(id, scored(), n).await.unwrap();
            });
        }
        calls.join_all().await;
        self.ledger.decided(decision(&self.job(Millis::MAX).await, &["archive"], 1002)).await.unwrap();
    }

    /// The only due series.
    pub async fn job(&self, now: Millis) -> SeriesJob {
        let mut jobs = self.ledger.due_series(now, 10).await.unwrap();
        assert_eq!(jobs.len(), 1, "{jobs:?}");
        jobs.remove(0)
    }

    pub async fn due(&self, destination: &str, now: Millis) -> Vec<DeliveryJob> {
        self.ledger.due_deliveries(destination, now, 100, &[]).await.unwrap()
    }

    pub async fn kinds(&self, uid: &str) -> Vec<String> {
        self.ledger.events_of(uid).await.unwrap().into_iter().map(|e| e.kind).collect()
    }
}

//! The life of instances in the ledger, as the stages lead it: looked at, decided, delivered to one archive.
#![allow(dead_code)]

use radroute::anatomy::Region;
use radroute::dataset::{Edit, Overlay};
use radroute::ledger::{Attempt, DecidedInstance, Decision, DeliveryJob, Ledger, LedgerError, Outcome, SeriesJob, now};
use radroute::verdict::{Kind, Look, Verdict};
use std::collections::BTreeMap;

/// The only destination.
pub const ARCHIVE: &str = "archive";

/// As many scores as the shipped weights have heads.
pub fn look() -> Look {
    let scores = (0..23).map(|head| (format!("REGION{head}"), 0.0123 * head as f32)).collect();
    Look::Scored { scores, model: "0123456789abcdef".into(), decode_ms: 12.5, classify_ms: 31.25 }
}

/// A series whose tag is corrected.
pub fn decision(job: &SeriesJob) -> Decision {
    let overlay = Overlay {
        edits: vec![
            Edit { offset: 410, remove: 4, insert: b"KNEE".to_vec() },
            Edit { offset: 1022, remove: 0, insert: vec![b' '; 620] },
        ],
        changes: BTreeMap::from([("0018,0015".to_owned(), ("HAND".to_owned(), "KNEE".to_owned()))]),
    };
    let instance = |id| DecidedInstance {
        id,
        overlay: Some(overlay.clone()),
        untouched: None,
        destinations: vec![ARCHIVE.into()],
        routes: vec!["everything".into()],
    };
    Decision {
        series_instance_uid: job.series_instance_uid.clone(),
        study_instance_uid: job.study_instance_uid.clone(),
        verdict: Verdict {
            kind: Kind::Corrected,
            region: Some(Region::Knee),
            write: Some(Region::Knee),
            reason: "the tag says HAND, the image shows KNEE".into(),
        },
        evidence: serde_json::json!({ "scores": job.undecided.first().map(|i| &i.look), "mode": "correct" }),
        chosen: vec![ARCHIVE.into()],
        instances: job.undecided.iter().map(|i| instance(i.id)).collect(),
        added: Vec::new(),
        now: now(),
    }
}

/// It has arrived.
pub fn delivered(job: &DeliveryJob) -> Attempt {
    Attempt {
        id: job.id,
        outcome: Outcome::Delivered,
        status: Some(0),
        detail: "success".into(),
        peer: "RADROUTE→ARCHIVE@10.1.2.9:104".into(),
        transfer_syntax_uid: job.instance.facts.transfer_syntax_uid.clone(),
        bytes: job.instance.file_size,
        corrected: true,
        send_ms: 23.5,
        now: now(),
    }
}

/// Looks at, decides and delivers whatever is open.
pub async fn finish(ledger: &Ledger) -> Result<(), LedgerError> {
    loop {
        let open = ledger.unlooked(256, &[]).await?;
        for row in &open {
            ledger.looked(row.id, look(), now()).await?;
        }
        let due = ledger.due_series(i64::MAX, 64).await?;
        for job in &due {
            ledger.decided(decision(job)).await?;
        }
        let queued = ledger.due_deliveries(ARCHIVE, i64::MAX, 256, &[]).await?;
        ledger.attempted(queued.iter().map(delivered).collect()).await?;
        if open.is_empty() && due.is_empty() && queued.is_empty() {
            return Ok(());
        }
    }
}

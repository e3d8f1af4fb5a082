//! What is told of connections that came to nothing: one log line and one event each.

use super::association::{End, Setting};
use super::deposit::Deposit;
use super::wire::WireError;
use crate::dimse::negotiate::Refused;
use crate::ledger::{Event, Source, now};
use serde_json::json;

/// An event without UIDs.
pub(super) fn event(kind: &str, source: Option<Source>, detail: serde_json::Value) -> Event {
    Event {
        at: now(),
        kind: kind.to_owned(),
        sop_instance_uid: String::new(),
        series_instance_uid: String::new(),
        study_instance_uid: String::new(),
        source,
        detail,
    }
}

/// An association request that was refused.
pub(super) async fn tell_rejected<D: Deposit>(setting: &Setting<D>, source: &Source, refused: &Refused) {
    let (Refused::Reject { why, .. } | Refused::Abort { why, .. }) = refused;
    let answer = match refused {
        Refused::Reject { answer, .. } => format!("{:?}: {}", answer.result, answer.source),
        Refused::Abort { reason, .. } => format!("abort: {reason}"),
    };
    let kind = if matches!(refused, Refused::Reject { .. }) { "rejected" } else { "aborted" };
    tracing::warn!(
        association = setting.id,
        peer = %setting.peer,
        calling_ae = source.calling_ae,
        called_ae = source.called_ae,
        answer,
        why,
        "{kind}"
    );
    setting.deposit.tell(event(kind, Some(source.clone()), json!({ "answer": answer, "why": why }))).await;
}

/// A connection that ended before it asked for an association.
pub(super) async fn tell_unassociated<D: Deposit>(setting: &Setting<D>, end: &End) {
    let (outcome, why) = (end.outcome(), end.why());
    if let End::Closed(WireError::Closed) | End::Stopped = end {
        // load balancers and monitors look in like this
        tracing::debug!(association = setting.id, peer = %setting.peer, why, "no association");
        return;
    }
    tracing::warn!(association = setting.id, peer = %setting.peer, outcome, why, "no association");
    let source = Source {
        calling_ae: String::new(),
        called_ae: String::new(),
        peer: Some(setting.peer.to_canonical()),
        association: setting.id.clone(),
    };
    setting.deposit.tell(event("aborted", Some(source), json!({ "outcome": outcome, "why": why }))).await;
}

//! What is told of connections that came to nothing: one event each, and so one log line.

use super::association::{End, Setting};
use super::deposit::Deposit;
use super::wire::WireError;
use crate::dimse::negotiate::Refused;
use crate::ledger::{Event, Source};
use serde_json::json;

/// An event without UIDs.
pub(super) fn event(kind: &str, source: Option<Source>, detail: serde_json::Value) -> Event {
    Event { source, ..Event::new(kind, detail) }
}

/// An association request that was refused.
pub(super) async fn tell_rejected<D: Deposit>(setting: &Setting<D>, source: &Source, refused: &Refused) {
    let (Refused::Reject { why, .. } | Refused::Abort { why, .. }) = refused;
    let answer = match refused {
        Refused::Reject { answer, .. } => format!("{:?}: {}", answer.result, answer.source),
        Refused::Abort { reason, .. } => format!("abort: {reason}"),
    };
    let kind = if matches!(refused, Refused::Reject { .. }) { "rejected" } else { "aborted" };
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
    let source = Source {
        calling_ae: String::new(),
        called_ae: String::new(),
        peer: Some(setting.peer.to_canonical()),
        association: setting.id.clone(),
    };
    setting.deposit.tell(event("aborted", Some(source), json!({ "outcome": outcome, "why": why }))).await;
}

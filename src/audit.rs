//! Ledger events → log records: one line for each event row, told when the row is durable, so that the log and the ledger
//! never tell two stories.

use crate::ledger::Event;
use tracing::{error, info, warn};

/// How loud an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// All is well.
    Info,
    /// Somebody may want to look.
    Warn,
    /// Somebody must look.
    Error,
}

/// The weight of an event, by its kind.
pub fn weight(kind: &str) -> Weight {
    match kind {
        "dead" | "missing" | "unrouted" | "unroutable" | "quarantined" => Weight::Error,
        "retry" | "refused" | "rejected" | "aborted" | "dropped" | "adopted" | "untouched" => Weight::Warn,
        _ => Weight::Info,
    }
}

/// Writes the log line of an event. No patient data: an event holds none beyond UIDs.
pub fn tell(event: &Event) {
    let Event { kind, detail, .. } = event;
    // A field that has nothing to say is left out.
    let said = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let (sop_instance_uid, series_instance_uid, study_instance_uid) =
        (said(&event.sop_instance_uid), said(&event.series_instance_uid), said(&event.study_instance_uid));
    let source = event.source.as_ref();
    let calling_ae = source.and_then(|s| said(&s.calling_ae));
    let called_ae = source.and_then(|s| said(&s.called_ae));
    let peer = source.and_then(|s| s.peer).map(|p| p.to_string());
    let association = source.and_then(|s| said(&s.association));
    let detail = (!detail.is_null()).then(|| tracing::field::display(detail));
    macro_rules! line {
        ($level:ident) => {
            $level!(
                event = kind,
                sop_instance_uid,
                series_instance_uid,
                study_instance_uid,
                calling_ae,
                called_ae,
                peer,
                association,
                detail,
                "{kind}"
            )
        };
    }
    match weight(kind) {
        Weight::Info => line!(info),
        Weight::Warn => line!(warn),
        Weight::Error => line!(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_costs_an_image_is_an_error_and_what_goes_well_is_not() {
        assert_eq!(weight("dead"), Weight::Error);
        assert_eq!(weight("missing"), Weight::Error);
        assert_eq!(weight("retry"), Weight::Warn);
        assert_eq!(weight("delivered"), Weight::Info);
    }
}

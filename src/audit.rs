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
        "dead" | "missing" | "unrouted" | "quarantined" => Weight::Error,
        "retry" | "refused" | "rejected" | "aborted" | "dropped" | "adopted" | "untouched" => Weight::Warn,
        _ => Weight::Info,
    }
}

/// Writes the log line of an event. No patient data: an event holds none beyond UIDs.
pub fn tell(event: &Event) {
    let Event { kind, sop_instance_uid, series_instance_uid, study_instance_uid, source, detail, .. } = event;
    let calling_ae = source.as_ref().map_or("", |s| s.calling_ae.as_str());
    let called_ae = source.as_ref().map_or("", |s| s.called_ae.as_str());
    let peer = source.as_ref().and_then(|s| s.peer).map(|p| p.to_string()).unwrap_or_default();
    let association = source.as_ref().map_or("", |s| s.association.as_str());
    macro_rules! line {
        ($level:ident) => {
            $level!(
                event = %kind,
                sop_instance_uid,
                series_instance_uid,
                study_instance_uid,
                calling_ae,
                called_ae,
                peer,
                association,
                detail = %detail,
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

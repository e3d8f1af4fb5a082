//! How an attempt is told: one line in the log, one row in the ledger. UIDs, never patient data.

use super::association::Peer;
use super::sender::Answer;
use crate::dimse::outcome::{Fate, Meaning};
use crate::ledger::{Attempt, DeliveryId, DeliveryJob, Millis, Outcome};

/// What is told of an attempt.
#[derive(Clone, Debug)]
pub struct Report {
    /// How it ended.
    pub outcome: Outcome,
    /// C-STORE status.
    pub status: Option<u16>,
    /// Stored, but the destination had something to say.
    pub warning: bool,
    /// In plain words.
    pub detail: String,
    /// In which it went out, or would have.
    pub transfer_syntax: String,
    /// Bytes of the data set that went out.
    pub bytes: u64,
    /// Opening the file to the response, milliseconds.
    pub send_ms: f32,
    /// With an overlay.
    pub corrected: bool,
}

impl Report {
    /// An attempt without a response.
    pub fn failure(outcome: Outcome, detail: String) -> Report {
        Report {
            outcome,
            status: None,
            warning: false,
            detail,
            transfer_syntax: String::new(),
            bytes: 0,
            send_ms: 0.0,
            corrected: false,
        }
    }

    /// There was a response. The outcome of what is to be tried again is the caller's to set: it needs a time.
    ///
    /// The destination's own comment is told for failures alone: with a warning it tends to quote what was coerced, and
    /// that may be a patient's name.
    pub fn answered(&mut self, answer: &Answer, meaning: Meaning) {
        self.status = Some(answer.status);
        self.transfer_syntax.clone_from(&answer.transfer_syntax);
        self.bytes = answer.bytes;
        self.warning = meaning.fate == Fate::Warned;
        self.detail = meaning.words.to_owned();
        self.outcome = match meaning.fate {
            Fate::Delivered | Fate::Warned => Outcome::Delivered,
            Fate::Retry | Fate::Spare | Fate::Dead => Outcome::Dead,
        };
        if self.outcome != Outcome::Delivered
            && let Some(comment) = &answer.comment
        {
            self.detail.push_str(&format!(" (\"{comment}\")"));
        }
    }

    /// For the ledger.
    pub fn attempt(self, id: DeliveryId, now: Millis) -> Attempt {
        Attempt {
            id,
            outcome: self.outcome,
            status: self.status,
            detail: self.detail,
            transfer_syntax_uid: self.transfer_syntax,
            send_ms: self.send_ms,
            now,
        }
    }
}

/// One line.
pub fn log(destination: &str, peer: &Peer, job: &DeliveryJob, report: &Report) {
    let facts = &job.instance.facts;
    let status = report.status.map(|status| format!("{status:04X}")).unwrap_or_default();
    macro_rules! tell {
        ($level:ident, $next_at:expr, $message:literal) => {
            tracing::$level!(
                sop_instance = facts.sop_instance_uid,
                series = facts.series_instance_uid,
                study = facts.study_instance_uid,
                destination,
                called_ae = peer.called_ae,
                calling_ae = peer.calling_ae,
                address = peer.address,
                status,
                attempts = job.attempts.saturating_add(1),
                next_at = $next_at,
                transfer_syntax = report.transfer_syntax,
                corrected = report.corrected,
                bytes = report.bytes,
                send_ms = report.send_ms,
                detail = report.detail,
                $message
            )
        };
    }
    match report.outcome {
        Outcome::Delivered if report.warning => tell!(warn, None::<Millis>, "delivered"),
        Outcome::Delivered => tell!(info, None::<Millis>, "delivered"),
        Outcome::Retry(next_at) => tell!(warn, Some(next_at), "retry"),
        Outcome::Dead => tell!(error, None::<Millis>, "dead"),
    }
}

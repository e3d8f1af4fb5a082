//! How an attempt is told: one row in the ledger, and so one line in the log. UIDs, never patient data.

use super::association::Peer;
use super::sender::Answer;
use crate::dimse::outcome::{Fate, Meaning};
use crate::ledger::{Attempt, DeliveryId, Millis, Outcome};

/// What is told of an attempt.
#[derive(Clone, Debug)]
pub struct Report {
    /// How it ended.
    pub outcome: Outcome,
    /// C-STORE status.
    pub status: Option<u16>,
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
        self.detail = match answer.status {
            0x0000 => meaning.words.to_owned(),
            status => format!("{status:04X} {}", meaning.words),
        };
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
    pub fn attempt(self, id: DeliveryId, peer: &Peer, now: Millis) -> Attempt {
        Attempt {
            id,
            outcome: self.outcome,
            status: self.status,
            detail: self.detail,
            peer: format!("{}→{}@{}", peer.calling_ae, peer.called_ae, peer.address),
            transfer_syntax_uid: self.transfer_syntax,
            bytes: self.bytes,
            corrected: self.corrected,
            send_ms: self.send_ms,
            now,
        }
    }
}

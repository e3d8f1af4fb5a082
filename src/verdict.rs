//! Scores of a series → one verdict. Pure.

use crate::anatomy::Region;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What looking at one instance gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "look", rename_all = "snake_case")]
pub enum Look {
    /// The network ran.
    Scored {
        /// Calibrated probability (0..=1) of each head, by name: the five regions first of all, and any further heads of
        /// the model ("FOOT", "CHEST", …).
        scores: BTreeMap<String, f32>,
        /// First 16 hex digits of the SHA-256 of the weights.
        model: String,
        /// Reading and decoding, milliseconds.
        decode_ms: f32,
        /// The network, milliseconds (its batch, divided by the images in it).
        classify_ms: f32,
    },
    /// A radiograph whose pixels could not be read.
    Undecodable {
        /// Why, for the audit; no patient data.
        reason: String,
    },
    /// Not looked at: not a radiograph, signed, colour, several frames, excluded by rule.
    Exempt {
        /// Why.
        reason: String,
    },
}

/// The kinds of verdict (see ARCHITECTURE.md for when each is given).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The tag was already right.
    Confirmed,
    /// The tag named another region, or one too general to be of use.
    Corrected,
    /// The tag was absent or empty.
    Filled,
    /// Same region in a non-standard spelling or another language.
    Synonym,
    /// The tag names the region next door: left alone.
    Neighbour,
    /// The network was not sure.
    Abstained,
    /// None of the regions.
    Outside,
    /// Confident instances of one series disagree.
    Conflict,
    /// No instance of the series could be decoded.
    Undecodable,
    /// Not a radiograph, signed, or excluded by rule.
    Exempt,
}

/// The verdict of a series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Which kind.
    pub kind: Kind,
    /// What the network saw, where it was sure; also set for `Neighbour` and `Synonym`.
    pub region: Option<Region>,
    /// The region to write to every instance of the series, if anything is to be written in the mode in force.
    pub write: Option<Region>,
    /// One sentence for the audit: why.
    pub reason: String,
}

//! Body regions, their DICOM terms (PS3.16 Annex L), codes, synonyms and neighbours: one table for everything.

use serde::{Deserialize, Serialize};

/// A region that the network has a one-vs-rest output for and that may correct a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Region {
    /// SHOULDER, SCT 16982005
    Shoulder,
    /// ELBOW, SCT 16953009
    Elbow,
    /// HAND, SCT 85562004
    Hand,
    /// PELVIS, SCT 816092008
    Pelvis,
    /// KNEE, SCT 72696002
    Knee,
}

impl Region {
    /// All regions, in the order of the network's outputs.
    pub const ALL: [Region; 5] = [Region::Shoulder, Region::Elbow, Region::Hand, Region::Pelvis, Region::Knee];

    /// The defined term for BodyPartExamined (0018,0015).
    pub fn term(self) -> &'static str {
        match self {
            Region::Shoulder => "SHOULDER",
            Region::Elbow => "ELBOW",
            Region::Hand => "HAND",
            Region::Pelvis => "PELVIS",
            Region::Knee => "KNEE",
        }
    }

    /// The region of a defined term, exactly as written there.
    pub fn from_term(term: &str) -> Option<Region> {
        Region::ALL.into_iter().find(|r| r.term() == term)
    }
}

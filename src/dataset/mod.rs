//! The bytes of a data set, read without building it: a bounded walk, the facts of the header, and splicing an overlay.

pub(crate) mod encode;
mod encoding;
mod error;
mod facts;
pub mod file_meta;
mod source;
pub mod splice;
pub(crate) mod text;
pub mod walk;

pub use encoding::{Encoding, Form};
pub use error::DatasetError;
pub(crate) use facts::anatomic_region;

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A code triplet (PS3.3 8.8).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Code {
    /// Code Value (0008,0100).
    pub value: String,
    /// Coding Scheme Designator (0008,0102).
    pub scheme: String,
}

/// What routes, verdicts and the ledger ask about an instance, read from its header. No patient module attribute.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// (0008,0016)
    pub sop_class_uid: String,
    /// (0008,0018)
    pub sop_instance_uid: String,
    /// (0020,000D); empty when the object has none.
    pub study_instance_uid: String,
    /// (0020,000E); empty when the object has none.
    pub series_instance_uid: String,
    /// As negotiated and as written to the file meta group.
    pub transfer_syntax_uid: String,
    /// (0008,0060)
    pub modality: String,
    /// (0008,1010), decoded with the object's character set, trimmed.
    pub station_name: String,
    /// (0008,0080), likewise.
    pub institution_name: String,
    /// (0008,1030), likewise.
    pub study_description: String,
    /// (0018,0015), trimmed; empty when absent or empty.
    pub body_part_examined: String,
    /// First item of (0008,2218); with an empty value where an item is there and its code cannot be read.
    pub anatomic_region: Option<Code>,
    /// A digital signature or MAC parameters are present: (FFFA,FFFA) or (4FFE,0001).
    pub signed: bool,
    /// (0028,0002); 0 when absent.
    pub samples_per_pixel: u16,
    /// (0028,0008); 1 when absent.
    pub number_of_frames: u32,
}

/// Places in a data set where bytes are replaced as it leaves; every other byte stays as it came.
///
/// Offsets count from the first byte of the data set (after the file meta group), for a deflated data set from the first
/// *inflated* byte. Edits are sorted and do not overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overlay {
    /// The edits.
    pub edits: Vec<Edit>,
    /// What the overlay changes, for the audit: tag ("0018,0015") → (old, new) as text.
    pub changes: BTreeMap<String, (String, String)>,
}

/// One edit of an [`Overlay`]: at `offset`, `remove` bytes give way to `insert`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edit {
    /// Where, in bytes from the start of the data set.
    pub offset: u64,
    /// How many bytes of the original are left out.
    pub remove: u64,
    /// What is written there.
    pub insert: Vec<u8>,
}

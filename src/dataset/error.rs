//! What can be wrong with the bytes of an object.

use dicom_core::Tag;
use std::io;

/// Why a data set or a file meta group cannot be read. Offsets count from the first (inflated) byte of the data set.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// Our side: the disk, not the object.
    #[error("the object cannot be read back from the disk: {0}")]
    Io(#[from] io::Error),
    /// The bytes end before the object does.
    #[error("the data set ends inside {tag} (at byte {at}): the object was cut off or its lengths are wrong")]
    Truncated {
        /// The last element begun; (0000,0000) when not even a header is whole.
        tag: Tag,
        /// Where the element begins.
        at: u64,
    },
    /// A length says more than there is.
    #[error("{tag} at byte {at} claims {length} bytes where at most {left} are left")]
    Length {
        /// The element or item.
        tag: Tag,
        /// Where its header begins.
        at: u64,
        /// What its length field says.
        length: u64,
        /// What is left of the innermost sequence, item or data set around it.
        left: u64,
    },
    /// An undefined length where PS3.5 7.1.1 allows none.
    #[error("{tag} at byte {at} has an undefined length, which its value representation {vr} does not allow")]
    UndefinedLength {
        /// The element.
        tag: Tag,
        /// Where its header begins.
        at: u64,
        /// Its value representation as text.
        vr: String,
    },
    /// Two bytes that are no value representation, or one unknown and not encoded as PS3.5 7.1.2 asks.
    #[error("{tag} at byte {at} has the value representation {vr}, which is unknown or wrongly encoded")]
    Vr {
        /// The element.
        tag: Tag,
        /// Where its header begins.
        at: u64,
        /// The two bytes as text.
        vr: String,
    },
    /// An item or delimiter where none may be, or something else where one must be.
    #[error("{tag} at byte {at} is out of place: items and delimiters do not match")]
    Structure {
        /// What was found.
        tag: Tag,
        /// Where.
        at: u64,
    },
    /// Command or file meta elements in a data set (PS3.5 7.1: groups 0000 and 0002 are not part of it).
    #[error("{tag} at byte {at} does not belong in a data set")]
    ForeignGroup {
        /// The element.
        tag: Tag,
        /// Where.
        at: u64,
    },
    /// Sequences within sequences beyond [`super::walk::MAX_DEPTH`].
    #[error("sequences are nested more than {most} deep at byte {at}")]
    Depth {
        /// The limit.
        most: usize,
        /// Where.
        at: u64,
    },
    /// The deflated stream is broken.
    #[error("the deflated data set cannot be inflated: {0}")]
    Inflate(String),
    /// The deflated stream grows beyond the limit.
    #[error("the deflated data set inflates to more than {most} bytes")]
    TooLarge {
        /// The limit.
        most: u64,
    },
    /// Not a DICOM file, or its file meta group is broken.
    #[error("not a readable DICOM file: {0}")]
    FileMeta(&'static str),
}

impl DatasetError {
    /// The disk failed, not the object: worth another try.
    pub fn is_io(&self) -> bool {
        matches!(self, DatasetError::Io(_))
    }
}

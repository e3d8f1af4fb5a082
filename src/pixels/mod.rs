//! A DICOM file, PNG or JPEG → one grey plane as displayed, at about the size that the network needs.

use crate::preprocess::Plane;
use std::path::Path;

/// Why there is no plane.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum PixelsError {
    /// The object is no single-frame grey image: it is not looked at.
    #[error("{0}")]
    Unsuitable(String),
    /// It should be readable and is not.
    #[error("{0}")]
    Undecodable(String),
}

/// Reads a DICOM file: modality LUT, VOI, polarity; the plane's longer side is at least `wanted` (or as it is, if smaller).
#[allow(unused_variables)]
pub fn read_dicom(path: &Path, wanted: usize) -> Result<Plane, PixelsError> {
    todo!()
}

/// Reads a DICOM, PNG or JPEG file by its content.
#[allow(unused_variables)]
pub fn read_any(path: &Path, wanted: usize) -> Result<Plane, PixelsError> {
    todo!()
}

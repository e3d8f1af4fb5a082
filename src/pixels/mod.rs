//! A DICOM file, PNG or JPEG → one grey plane as displayed, at about the size that the network needs.
//!
//! ```text
//! budget     how much of all that may be in memory at once
//! header     the attributes of the Image Pixel module, LUTs and window; where the pixels are (never believing a length)
//! decode     encapsulated pixels → stored values: rle, jpeg, codecs (other people's), codestream (what a codestream claims)
//! layout     how stored values lie in their bytes; which are padding
//! stored     stored values → mask, sign, padding, modality LUT → box average, row by row
//! display    VOI LUT, window or percentiles, polarity → Plane
//! picture    PNG and JPEG files
//! probe      an image to measure with, in many transfer syntaxes
//! ```
//!
//! The order is that of PS3.4 N.2 (modality, VOI, presentation), with the averaging in between: a plane of some hundred
//! pixels is all that is ever held in floats. Memory is bounded by [`MAX_PIXELS`] for an image,
//! and for all that are being decoded by a budget of 1 GiB, whatever the files say.

mod budget;
mod codecs;
mod codestream;
mod decode;
mod display;
mod header;
pub mod jpeg;
mod layout;
mod lut;
mod picture;
pub mod probe;
mod rle;
mod stored;

use crate::preprocess::Plane;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

/// No image of more pixels is looked at. The largest radiographs (two feet stitched at 0.1 mm) have some 70 million.
pub const MAX_PIXELS: u64 = 120_000_000;

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
    /// It is no image of a kind that is read here.
    #[error("neither DICOM nor PNG nor JPEG")]
    Foreign,
}

impl From<io::Error> for PixelsError {
    fn from(e: io::Error) -> PixelsError {
        PixelsError::Undecodable(match e.kind() {
            // Of a decoder that is read from.
            io::ErrorKind::InvalidData => e.to_string(),
            io::ErrorKind::UnexpectedEof => "the file ends before its pixels do".into(),
            _ => format!("the file cannot be read: {e}"),
        })
    }
}

fn undecodable(reason: impl Into<String>) -> PixelsError {
    PixelsError::Undecodable(reason.into())
}

/// Reads a DICOM file: modality LUT, VOI, polarity; the plane's longer side is at least `wanted` (or as it is, if smaller).
///
/// Values of the plane are 0 (black) to 1 (white). Padding is black.
///
/// # Errors
/// [`PixelsError::Unsuitable`] for colour, several frames and objects without pixels, else [`PixelsError::Undecodable`]. The
/// reasons hold nothing of the patient.
pub fn read_dicom(path: &Path, wanted: usize) -> Result<Plane, PixelsError> {
    let mut file = File::open(path)?;
    let image = header::read(&mut file)?;
    plane(file, image, wanted)
}

/// Reads a DICOM, PNG or JPEG file by its content.
///
/// # Errors
/// As [`read_dicom`]; a file that is none of the three is [`PixelsError::Foreign`].
pub fn read_any(path: &Path, wanted: usize) -> Result<Plane, PixelsError> {
    let mut file = File::open(path)?;
    let mut start = Vec::with_capacity(132);
    (&mut file).take(132).read_to_end(&mut start)?;
    file.rewind()?;
    if start.get(128..132) == Some(b"DICM") {
        let image = header::read(&mut file)?;
        return plane(file, image, wanted);
    }
    if start.starts_with(b"\x89PNG\r\n\x1A\n") || start.starts_with(&[0xFF, 0xD8, 0xFF]) {
        return picture::read(BufReader::new(file), wanted);
    }
    if header::looks_bare(&start) {
        let image = header::read_bare(&mut file, &start)?;
        return plane(file, image, wanted);
    }
    Err(PixelsError::Foreign)
}

/// From the header to the plane.
fn plane(mut file: File, image: header::Image, wanted: usize) -> Result<Plane, PixelsError> {
    use header::Source;
    let header::Image { columns, rows, layout, padding, modality, voi, inverse, source, .. } = &image;
    let average = |pixels: &mut dyn Read, columns: usize, rows: usize, layout: &layout::Layout| {
        stored::reduce(pixels, columns, rows, layout, *padding, modality, wanted)
    };
    let reduced = match source {
        Source::File { offset, swapped } => {
            file.seek(SeekFrom::Start(*offset))?;
            if *swapped {
                let mut bytes = vec![0; (columns * rows).next_multiple_of(2)];
                file.read_exact(&mut bytes)?;
                bytes.chunks_exact_mut(2).for_each(|pair| pair.swap(0, 1));
                average(&mut bytes.as_slice(), *columns, *rows, layout)?
            } else {
                average(&mut file, *columns, *rows, layout)?
            }
        }
        Source::Memory(bytes) => average(&mut bytes.as_slice(), *columns, *rows, layout)?,
        Source::Fragments { offset, length } => {
            let _share = budget::share(decode::most_bytes(&image));
            let encoded = decode::fragments(&mut file, *offset, *length, &image)?;
            let mut raw = decode::decode(encoded, &image, wanted)?;
            average(&mut raw.samples, raw.columns, raw.rows, &raw.layout)?
        }
    };
    display::display(reduced, voi, *inverse)
}

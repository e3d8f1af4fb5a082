//! Encapsulated pixel data (PS3.5 A.4): the frame's bytes, and which decoder gets them. A decoder is watched.

use super::codestream::{self, Claim};
use super::header::Image;
use super::jpeg::{JpegError, lossless, sequential};
use super::layout::Layout;
use super::lut::Modality;
use super::stored::factor;
use super::{PixelsError, codecs, rle, undecodable};
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// JPEG XL: lossless, recompressed JPEG, any.
const JPEG_XL: [&str; 3] = ["1.2.840.10008.1.2.4.110", "1.2.840.10008.1.2.4.111", "1.2.840.10008.1.2.4.112"];

/// Stored values as a codec gives them.
pub(super) struct Raw {
    pub columns: usize,
    pub rows: usize,
    pub layout: Layout,
    /// Row by row: all of them at once, or as they are decoded.
    pub samples: Box<dyn Read>,
}

pub(super) fn whole(bytes: Vec<u8>) -> Box<dyn Read> {
    Box::new(Cursor::new(bytes))
}

/// What decoding an image may hold at the worst, in bytes: JPEG 2000 samples of 32 bits, twice, and the bytes that come out.
pub(super) fn most_bytes(image: &Image) -> u64 {
    let per_pixel = if JPEG_XL.contains(&image.syntax.as_str()) { codecs::JPEG_XL_PER_PIXEL } else { 12 };
    (image.columns * image.rows * per_pixel) as u64
}

/// The fragments of the only frame, put together. Compressed pixels larger than plain ones are not believed.
pub(super) fn fragments(
    file: &mut (impl Read + Seek),
    offset: u64,
    length: u64,
    image: &Image,
) -> Result<Vec<u8>, PixelsError> {
    let plain = (image.columns * image.rows * image.layout.bytes) as u64;
    let most = 2 * plain + (1 << 20);
    file.seek(SeekFrom::Start(offset))?;
    let (mut left, mut items, mut frame) = (length, 0u32, Vec::new());
    while left >= 8 {
        let mut header = [0; 8];
        file.read_exact(&mut header)?;
        left -= 8;
        let [a, b, c, d, length @ ..] = header;
        let length = u64::from(u32::from_le_bytes(length));
        match [a, b, c, d] {
            [0xFE, 0xFF, 0x00, 0xE0] if length <= left => {}
            [0xFE, 0xFF, 0xDD, 0xE0] => break,
            _ => return Err(undecodable("the fragments of its pixels are broken")),
        }
        left -= length;
        items += 1;
        if items == 1 {
            // The Basic Offset Table: of one frame it says nothing.
            file.seek_relative(i64::try_from(length).unwrap_or(i64::MAX))?;
            continue;
        }
        if frame.len() as u64 + length > most {
            return Err(undecodable("its compressed pixels are larger than plain ones would be"));
        }
        let begin = frame.len();
        frame.resize(begin + length as usize, 0);
        file.read_exact(&mut frame[begin..])?;
    }
    if frame.is_empty() {
        return Err(undecodable("its pixels have no fragments"));
    }
    Ok(frame)
}

/// Decodes the frame of an image. JPEG 2000 is decoded no finer than `wanted` asks for.
pub(super) fn decode(frame: Vec<u8>, image: &Image, wanted: usize) -> Result<Raw, PixelsError> {
    let syntax = image.syntax.as_str();
    let (columns, rows) = (image.columns, image.rows);
    let raw = |bytes| Raw { columns, rows, layout: image.layout, samples: whole(bytes) };
    let claimed = |claim: Option<Claim>| checked(claim, image);
    match syntax {
        // Encapsulated Uncompressed Explicit VR Little Endian.
        "1.2.840.10008.1.2.1.98" => Ok(raw(frame)),
        "1.2.840.10008.1.2.5" => rle::decode(&frame, columns * rows, image.layout.bytes)
            .map(raw)
            .ok_or_else(|| undecodable("its RLE segments are broken or too short")),
        // JPEG 2000 and High-Throughput JPEG 2000.
        "1.2.840.10008.1.2.4.90"
        | "1.2.840.10008.1.2.4.91"
        | "1.2.840.10008.1.2.4.201"
        | "1.2.840.10008.1.2.4.202"
        | "1.2.840.10008.1.2.4.203" => {
            let claim = claimed(codestream::jpeg2000(&frame))?;
            codecs::jpeg2000(&frame, claim, image, wanted)
        }
        // Deflated Image Frame Compression: the plain frame is read as it is inflated.
        "1.2.840.10008.1.2.8.1" => {
            let samples = Box::new(flate2::read::DeflateDecoder::new(Cursor::new(frame)));
            Ok(Raw { columns, rows, layout: image.layout, samples })
        }
        "1.2.840.10008.1.2.4.57" | "1.2.840.10008.1.2.4.70" => {
            let claim = claimed(codestream::jpeg(&frame))?;
            by_lines(frame, claim, image)
        }
        "1.2.840.10008.1.2.4.50" | "1.2.840.10008.1.2.4.51" => {
            let claim = claimed(codestream::jpeg(&frame))?;
            match claim.precision {
                // The library reads no others.
                ..=8 => codecs::registered(frame, claim, image),
                _ => by_blocks(frame, claim, image, wanted),
            }
        }
        "1.2.840.10008.1.2.4.80" | "1.2.840.10008.1.2.4.81" => {
            let claim = claimed(codestream::jpeg(&frame))?;
            codecs::jpeg_ls(frame, claim, image)
        }
        _ if JPEG_XL.contains(&syntax) => codecs::jpeg_xl(&frame, image),
        _ => Err(undecodable("pixels of this transfer syntax are not read")),
    }
}

/// The codestream's own idea of the image is that of the data set.
pub(super) fn checked(claim: Option<Claim>, image: &Image) -> Result<Claim, PixelsError> {
    let claim = claim.ok_or_else(|| undecodable("the head of its codestream is broken"))?;
    if (claim.columns as usize, claim.rows as usize) != (image.columns, image.rows) {
        let (c, r) = (claim.columns, claim.rows);
        let what = format!("its codestream holds {c} × {r} pixels, its header says {} × {}", image.columns, image.rows);
        return Err(undecodable(what));
    }
    if claim.components != 1 || !(1..=16).contains(&claim.precision) {
        let what = format!("its codestream has {} components of {} bits", claim.components, claim.precision);
        return Err(undecodable(what));
    }
    Ok(claim)
}

/// How decoded samples of so many bits lie: they are values, unless they are whole samples as allocated.
pub(super) fn decoded_layout(image: &Image, claim: Claim) -> Layout {
    let declared = image.layout;
    let bytes = if claim.precision <= 8 { 1 } else { 2 };
    let whole = declared.shift > 0 && u32::from(claim.precision) > declared.stored;
    let shift = if whole && bytes == declared.bytes { declared.shift } else { 0 };
    Layout { bytes, stored: declared.stored.min(8 * bytes as u32), shift, big: false, ..declared }
}

/// Runs a decoder that may panic on hostile input.
pub(super) fn watched<T>(decoder: impl FnOnce() -> Result<T, String>) -> Result<T, PixelsError> {
    match catch_unwind(AssertUnwindSafe(decoder)) {
        Ok(result) => result.map_err(|e| undecodable(format!("its pixels cannot be decompressed: {e}"))),
        Err(_) => Err(undecodable("its pixels cannot be decompressed: the decoder gave up")),
    }
}

/// JPEG Lossless by our decoder, in whatever other form by the library's.
fn by_lines(frame: Vec<u8>, claim: Claim, image: &Image) -> Result<Raw, PixelsError> {
    let layout = decoded_layout(image, claim);
    let (columns, rows) = (image.columns, image.rows);
    if let Err(JpegError::Other(_)) = lossless::form(&frame) {
        return codecs::registered(frame, claim, image);
    }
    let decoder = lossless::Decoder::new(frame, columns, rows).map_err(|error| undecodable(error.to_string()))?;
    Ok(Raw { columns, rows, layout, samples: Box::new(decoder) })
}

/// JPEG of 12 bits by our decoder, no finer than `wanted` asks for. Smaller blocks are averages of samples: not of what a LUT makes of
/// them, nor of signed values, whose samples jump where those pass through 0; and padding would be among them.
fn by_blocks(frame: Vec<u8>, claim: Claim, image: &Image, wanted: usize) -> Result<Raw, PixelsError> {
    let layout = decoded_layout(image, claim);
    let plain = matches!(image.modality, Modality::Linear { .. }) && layout.sign() == 0 && image.padding.is_none();
    let halvings = if plain { factor(image.columns, image.rows, wanted).ilog2() } else { 0 };
    let decoder = sequential::Decoder::new(frame, image.columns, image.rows, halvings)
        .map_err(|error| undecodable(error.to_string()))?;
    let (columns, rows) = decoder.size();
    Ok(Raw { columns, rows, layout, samples: Box::new(decoder) })
}

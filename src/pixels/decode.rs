//! Encapsulated pixel data (PS3.5 A.4) → stored values, by the codecs of dicom-rs and OpenJPEG, watched.

use super::codestream::{self, Claim};
use super::header::Image;
use super::jpeg_lossless::{self, Decoder, LosslessError};
use super::lut::Modality;
use super::stored::{Layout, factor};
use super::{PixelsError, rle, undecodable};
use dicom_encoding::TransferSyntaxIndex;
use dicom_encoding::adapters::{PixelDataObject, RawPixelData};
use dicom_encoding::transfer_syntax::Codec;
use dicom_transfer_syntax_registry::TransferSyntaxRegistry;
use std::borrow::Cow;
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Stored values as a codec gives them.
pub(super) struct Raw {
    pub columns: usize,
    pub rows: usize,
    pub layout: Layout,
    /// Row by row: all of them at once, or as they are decoded.
    pub samples: Box<dyn Read>,
}

fn whole(bytes: Vec<u8>) -> Box<dyn Read> {
    Box::new(Cursor::new(bytes))
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
            jpeg2000(&frame, claim, image, wanted)
        }
        "1.2.840.10008.1.2.4.80" | "1.2.840.10008.1.2.4.81" if !cfg!(feature = "charls") => {
            Err(undecodable("JPEG-LS is read only by a build with the cargo feature `charls`"))
        }
        "1.2.840.10008.1.2.4.57" | "1.2.840.10008.1.2.4.70" => {
            let claim = claimed(codestream::jpeg(&frame))?;
            lossless(frame, claim, image)
        }
        "1.2.840.10008.1.2.4.50" | "1.2.840.10008.1.2.4.51" | "1.2.840.10008.1.2.4.80" | "1.2.840.10008.1.2.4.81" => {
            let claim = claimed(codestream::jpeg(&frame))?;
            registered(frame, claim, image)
        }
        _ => Err(undecodable("pixels of this transfer syntax are not read")),
    }
}

/// The codestream's own idea of the image is that of the data set.
fn checked(claim: Option<Claim>, image: &Image) -> Result<Claim, PixelsError> {
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
fn decoded_layout(image: &Image, claim: Claim) -> Layout {
    let declared = image.layout;
    let bytes = if claim.precision <= 8 { 1 } else { 2 };
    let whole = declared.shift > 0 && u32::from(claim.precision) > declared.stored;
    let shift = if whole && bytes == declared.bytes { declared.shift } else { 0 };
    Layout { bytes, stored: declared.stored.min(8 * bytes as u32), shift, big: false, ..declared }
}

/// Runs a decoder that may panic on hostile input.
fn watched<T>(decoder: impl FnOnce() -> Result<T, String>) -> Result<T, PixelsError> {
    match catch_unwind(AssertUnwindSafe(decoder)) {
        Ok(result) => result.map_err(|e| undecodable(format!("its pixels cannot be decompressed: {e}"))),
        Err(_) => Err(undecodable("its pixels cannot be decompressed: the decoder gave up")),
    }
}

fn jpeg2000(frame: &[u8], claim: Claim, image: &Image, wanted: usize) -> Result<Raw, PixelsError> {
    // A lower resolution of the wavelet transform is an average already, and costs a fraction. It mixes padding in.
    let halvings = factor(image.columns, image.rows, wanted).ilog2().min(claim.levels.into());
    let plain = image.padding.is_none() && matches!(image.modality, Modality::Linear { .. });
    let reduce = if plain { halvings } else { 0 };
    let layout = decoded_layout(image, claim);
    let decode = |reduce: u32| {
        watched(|| {
            let parameters = jpeg2k::DecodeParameters::new().reduce(reduce).strict(true);
            let decoded = jpeg2k::Image::from_bytes_with(frame, parameters).map_err(|e| e.to_string())?;
            let component = decoded.components().first().ok_or("no component")?;
            let (columns, rows) = (component.width() as usize, component.height() as usize);
            let samples = component.data();
            if samples.len() != columns * rows {
                return Err("its size is not what it says".into());
            }
            let bytes = match layout.bytes {
                1 => samples.iter().map(|&v| v as u8).collect(),
                _ => samples.iter().flat_map(|&v| (v as u16).to_le_bytes()).collect(),
            };
            Ok(Raw { columns, rows, layout, samples: whole(bytes) })
        })
    };
    let raw = match decode(reduce) {
        // Tiles may have fewer levels than the main header says.
        Err(_) if reduce > 0 => decode(0)?,
        other => other?,
    };
    let halved = |n: usize| n.div_ceil(1 << reduce);
    let sizes = [(image.columns, image.rows), (halved(image.columns), halved(image.rows))];
    if !sizes.contains(&(raw.columns, raw.rows)) {
        return Err(undecodable("its codestream holds another size than its head says"));
    }
    Ok(raw)
}

/// JPEG Lossless by our decoder, in whatever other form by the library's.
fn lossless(frame: Vec<u8>, claim: Claim, image: &Image) -> Result<Raw, PixelsError> {
    let layout = decoded_layout(image, claim);
    let (columns, rows) = (image.columns, image.rows);
    if let Err(LosslessError::Other(_)) = jpeg_lossless::form(&frame) {
        return registered(frame, claim, image);
    }
    let decoder = Decoder::new(frame, columns, rows).map_err(|error| undecodable(error.to_string()))?;
    Ok(Raw { columns, rows, layout, samples: Box::new(decoder) })
}

/// By a codec of the registry.
fn registered(frame: Vec<u8>, claim: Claim, image: &Image) -> Result<Raw, PixelsError> {
    let layout = decoded_layout(image, claim);
    let (columns, rows) = (image.columns, image.rows);
    let frame = Frame { image, layout, bytes: frame };
    let bytes = watched(|| {
        let syntax = TransferSyntaxRegistry.get(&image.syntax).ok_or("an unknown transfer syntax")?;
        let Codec::EncapsulatedPixelData(Some(reader), _) = syntax.codec() else {
            return Err("no decoder for its transfer syntax".to_owned());
        };
        let mut bytes = Vec::new();
        reader.decode_frame(&frame, 0, &mut bytes).map_err(|e| e.to_string())?;
        Ok(bytes)
    })?;
    if bytes.len() != columns * rows * layout.bytes {
        return Err(undecodable("its decompressed pixels are not as many as Rows and Columns ask for"));
    }
    Ok(Raw { columns, rows, layout, samples: whole(bytes) })
}

/// One frame in one fragment, as the codecs of dicom-rs want to see it.
struct Frame<'a> {
    image: &'a Image,
    layout: Layout,
    bytes: Vec<u8>,
}

impl PixelDataObject for Frame<'_> {
    fn transfer_syntax_uid(&self) -> &str {
        &self.image.syntax
    }
    fn rows(&self) -> Option<u16> {
        u16::try_from(self.image.rows).ok()
    }
    fn cols(&self) -> Option<u16> {
        u16::try_from(self.image.columns).ok()
    }
    fn samples_per_pixel(&self) -> Option<u16> {
        Some(1)
    }
    fn bits_allocated(&self) -> Option<u16> {
        Some(8 * self.layout.bytes as u16)
    }
    fn bits_stored(&self) -> Option<u16> {
        u16::try_from(self.layout.stored).ok()
    }
    fn photometric_interpretation(&self) -> Option<&str> {
        Some("MONOCHROME2")
    }
    fn number_of_frames(&self) -> Option<u32> {
        Some(1)
    }
    fn number_of_fragments(&self) -> Option<u32> {
        Some(1)
    }
    fn fragment(&self, fragment: usize) -> Option<Cow<'_, [u8]>> {
        (fragment == 0).then_some(Cow::Borrowed(self.bytes.as_slice()))
    }
    fn offset_table(&self) -> Option<Cow<'_, [u32]>> {
        Some(Cow::Borrowed(&[]))
    }
    fn raw_pixel_data(&self) -> Option<RawPixelData> {
        let fragments = std::iter::once(self.bytes.clone()).collect();
        Some(RawPixelData { fragments, offset_table: Default::default() })
    }
}

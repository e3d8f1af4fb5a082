//! Other people's decoders, watched: OpenJPEG in Rust, JPEG-LS, JPEG XL, and the registry of dicom-rs.

use super::codestream::Claim;
use super::decode::{Raw, checked, decoded_layout, watched, whole};
use super::header::Image;
use super::layout::{Layout, Padded};
use super::lut::Modality;
use super::stored::factor;
use super::{PixelsError, undecodable};
use dicom_encoding::TransferSyntaxIndex;
use dicom_encoding::adapters::{PixelDataObject, RawPixelData};
use dicom_encoding::transfer_syntax::Codec;
use dicom_transfer_syntax_registry::TransferSyntaxRegistry;
use jxl_oxide::{AllocTracker, JxlImage, JxlThreadPool, PixelFormat};
use std::borrow::Cow;

/// Bytes a pixel that the decoder of JPEG XL may take: channels in 32 bits, filtered and blended, and what comes out.
pub(super) const JPEG_XL_PER_PIXEL: usize = 24;

/// Samples as bytes of a layout.
fn raw(words: &[u16], columns: usize, rows: usize, layout: Layout) -> Raw {
    let bytes = match layout.bytes {
        1 => words.iter().map(|&v| v as u8).collect(),
        _ => words.iter().flat_map(|v| v.to_le_bytes()).collect(),
    };
    Raw { columns, rows, layout, samples: whole(bytes) }
}

/// JPEG 2000 and High-Throughput JPEG 2000, by OpenJPEG in Rust, no finer than `wanted` asks for.
pub(super) fn jpeg2000(frame: &[u8], claim: Claim, image: &Image, wanted: usize) -> Result<Raw, PixelsError> {
    // A lower resolution of the wavelet transform is an average already, and costs a fraction. It may be no average of a LUT's
    // outputs.
    let halvings = factor(image.columns, image.rows, wanted).ilog2().min(claim.levels.into());
    let reduce = if matches!(image.modality, Modality::Linear { .. }) { halvings } else { 0 };
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
            let mut words: Vec<u16> = samples.iter().map(|&v| v as u16).collect();
            if let Some(padded) = image.padding.and_then(|p| Padded::new(p, &layout)).filter(|_| reduce > 0) {
                words = widened(&words, columns, |word| padded.test(word, layout.key(word)));
            }
            Ok(raw(&words, columns, rows, layout))
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

/// Padding spread over what the wavelet may have mixed it into: two samples around, at a lower resolution.
fn widened(words: &[u16], columns: usize, padded: impl Fn(u16) -> bool) -> Vec<u16> {
    let mut wide = words.to_vec();
    let rows = words.len() / columns.max(1);
    for (i, &word) in words.iter().enumerate().filter(|(_, word)| padded(**word)) {
        let (x, y) = (i % columns, i / columns);
        for row in y.saturating_sub(2)..(y + 3).min(rows) {
            wide[row * columns + x.saturating_sub(2)..row * columns + (x + 3).min(columns)].fill(word);
        }
    }
    wide
}

/// JPEG-LS, lossless and near-lossless: by CharLS where it is built in, which is faster.
pub(super) fn jpeg_ls(frame: Vec<u8>, claim: Claim, image: &Image) -> Result<Raw, PixelsError> {
    if cfg!(feature = "charls") {
        return registered(frame, claim, image);
    }
    let frame = without_fill(frame);
    let (words, columns, rows) =
        watched(|| jpegls::decode(&frame, claim.columns, claim.rows).map_err(|e| e.to_string()))?;
    if (columns, rows) != (claim.columns, claim.rows) || words.len() != image.columns * image.rows {
        return Err(undecodable("its codestream holds another size than its head says"));
    }
    Ok(raw(&words, image.columns, image.rows, decoded_layout(image, claim)))
}

/// Takes fill bytes before the end out (ITU-T T.81 B.1.1.2), which the decoder does not expect: CharLS writes one where it makes a
/// length even.
fn without_fill(mut frame: Vec<u8>) -> Vec<u8> {
    while let Some(at) = frame.windows(3).rposition(|w| w == [0xFF, 0xFF, 0xD9]) {
        frame.remove(at);
    }
    frame
}

/// JPEG XL. What the stream claims is compared with the data set before anything of that size is made.
pub(super) fn jpeg_xl(frame: &[u8], image: &Image) -> Result<Raw, PixelsError> {
    let limit = AllocTracker::with_limit(image.columns * image.rows * JPEG_XL_PER_PIXEL + (16 << 20));
    let picture = watched(|| {
        let builder = JxlImage::builder().pool(JxlThreadPool::none()).alloc_tracker(limit);
        builder.read(frame).map_err(|e| e.to_string())
    })?;
    let bits = picture.image_header().metadata.bit_depth.bits_per_sample();
    let components = if picture.pixel_format() == PixelFormat::Gray { 1 } else { 3 };
    let precision = u8::try_from(bits).unwrap_or(u8::MAX);
    let claim = Claim { columns: picture.width(), rows: picture.height(), components, precision, levels: 0 };
    let claim = checked(Some(claim), image)?;
    let top = f32::from(u16::MAX >> (16 - bits));
    let words = watched(|| {
        let frame = picture.render_frame(0).map_err(|e| e.to_string())?.image_all_channels();
        if (frame.width(), frame.height(), frame.channels()) != (image.columns, image.rows, 1) {
            return Err("its size is not what it says".to_owned());
        }
        Ok(frame.buf().iter().map(|v| (v * top).round().clamp(0.0, top) as u16).collect::<Vec<u16>>())
    })?;
    Ok(raw(&words, image.columns, image.rows, decoded_layout(image, claim)))
}

/// By a codec of the registry: JPEG Baseline and Extended, and what our decoder of JPEG Lossless leaves.
pub(super) fn registered(frame: Vec<u8>, claim: Claim, image: &Image) -> Result<Raw, PixelsError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fill_bytes_before_the_end_are_taken_out() {
        assert_eq!(without_fill(vec![1, 0xFF, 0xFF, 0xFF, 0xD9, 0]), [1, 0xFF, 0xD9, 0]);
        assert_eq!(without_fill(vec![1, 0xFF, 0xD9]), [1, 0xFF, 0xD9]);
        assert!(without_fill(vec![]).is_empty());
    }

    #[test]
    fn padding_is_widened_by_two_samples_and_stays_in_the_image() {
        let mut words = vec![7; 7 * 6];
        words[0] = 0;
        words[4 * 7 + 5] = 0;
        let wide = widened(&words, 7, |word| word == 0);
        for (i, word) in wide.iter().enumerate() {
            let (x, y) = (i % 7, i / 7);
            assert_eq!(*word == 0, (x < 3 && y < 3) || (x >= 3 && y >= 2), "{x} {y}");
        }
    }
}

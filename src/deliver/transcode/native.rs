//! Compressed pixel data → native pixel data, by dicom-rs' codecs, but for JPEG of 12 bits. Before a codec gets a frame, the frame's own header is
//! compared with the image attributes: the codecs fill up with zeros, cut off or panic where those disagree.

use super::{MOST_DECODED, TranscodeError, cannot};
use crate::pixels::jpeg::sequential;
use dicom_encoding::adapters::{PixelDataObject, RawPixelData};
use dicom_encoding::transfer_syntax::TransferSyntaxIndex;
use dicom_transfer_syntax_registry::TransferSyntaxRegistry;
use std::borrow::Cow;
use std::io::Read;

/// Attributes of the Image Pixel module (PS3.3 C.7.6.3) as far as decoding asks for them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// (0028,0002)
    pub samples: u16,
    /// (0028,0004)
    pub photometric: String,
    /// (0028,0008)
    pub frames: u32,
    /// (0028,0010)
    pub rows: u16,
    /// (0028,0011)
    pub columns: u16,
    /// (0028,0100)
    pub bits_allocated: u16,
    /// (0028,0101)
    pub bits_stored: u16,
    /// (0028,0103) is 1; decides between US and SS, too.
    pub signed: bool,
}

const RLE: &str = "1.2.840.10008.1.2.5";
const JPEG: [&str; 4] =
    ["1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"];
/// Of them those whose samples come from cosines: 8 or 12 bits.
const JPEG_BY_COSINES: [&str; 2] = [JPEG[0], JPEG[1]];
const JPEG_LS: [&str; 2] = ["1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"];
const JPEG_2000: [&str; 2] = ["1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"];
const UNCOMPRESSED: [&str; 4] =
    ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"];

/// Transfer syntaxes that are read here; what else there is (video, JPIP, private ones) is left alone.
pub fn known(transfer_syntax: &str) -> bool {
    transfer_syntax == RLE
        || [&JPEG[..], &JPEG_LS, &JPEG_2000, &UNCOMPRESSED].iter().any(|list| list.contains(&transfer_syntax))
}

/// Decodes all frames: little endian, colour by pixel. `offsets` is the Basic Offset Table, which may be empty.
///
/// # Errors
/// [`TranscodeError::Cannot`] for whatever is not certain to come out right.
pub fn decode(codec: &str, image: &Image, offsets: &[u8], fragments: &[&[u8]]) -> Result<Vec<u8>, TranscodeError> {
    let reader = TransferSyntaxRegistry
        .get(codec)
        .and_then(|known| known.pixel_data_reader())
        .ok_or_else(|| cannot("this build has no decoder for it"))?;
    if !matches!(image.bits_allocated, 8 | 16) {
        return Err(cannot(format!("Bits Allocated is {}; 8 and 16 can be decoded", image.bits_allocated)));
    }
    // How a colour JPEG is stored is said in up to three places that contradict each other. RLE has no such choice.
    if image.samples != 1 && !(codec == RLE && image.samples == 3) {
        return Err(cannot("compressed colour is not decoded, since its colours cannot be warranted"));
    }
    let frame_bytes = u64::from(image.rows)
        * u64::from(image.columns)
        * u64::from(image.samples)
        * u64::from(image.bits_allocated / 8);
    let total = frame_bytes.saturating_mul(u64::from(image.frames));
    if total == 0 || total > MOST_DECODED {
        return Err(cannot(format!("decoded it has {total} bytes; 1 to {MOST_DECODED} are decoded in memory")));
    }
    let mut decoded = Vec::new();
    for data in frames(image.frames, offsets, fragments)? {
        let frame = Frame { codec, image, data: &data, bits_allocated: check(codec, image, &data)? };
        let before = decoded.len();
        let done = if JPEG_BY_COSINES.contains(&codec) && frame.bits_allocated == 16 {
            twelve_bits(&data, image, &mut decoded)
        } else {
            reader.decode_frame(&frame, 0, &mut decoded).map_err(|e| e.to_string())
        };
        done.map_err(|why| cannot(format!("its pixel data cannot be decoded: {why}")))?;
        if frame.bits_allocated == 8 && image.bits_allocated == 16 {
            let wide: Vec<u8> = decoded[before..].iter().flat_map(|&sample| [sample, 0]).collect();
            decoded.truncate(before);
            decoded.extend(wide);
        }
        if (decoded.len() - before) as u64 != frame_bytes {
            return Err(cannot("its pixel data do not fit its rows and columns"));
        }
    }
    Ok(decoded)
}

/// JPEG Extended of 12 bits, which dicom-rs' codec does not read, by the decoder that looks at such images.
fn twelve_bits(data: &[u8], image: &Image, decoded: &mut Vec<u8>) -> Result<(), String> {
    let (columns, rows) = (usize::from(image.columns), usize::from(image.rows));
    let mut decoder = sequential::Decoder::new(data.to_vec(), columns, rows, 0).map_err(|e| e.to_string())?;
    decoder.read_to_end(decoded).map(drop).map_err(|e| e.to_string())
}

/// Sorts fragments into frames (PS3.5 A.4).
fn frames<'a>(frames: u32, offsets: &[u8], fragments: &[&'a [u8]]) -> Result<Vec<Cow<'a, [u8]>>, TranscodeError> {
    let count = frames as usize;
    if fragments.len() == count {
        return Ok(fragments.iter().map(|fragment| Cow::Borrowed(*fragment)).collect());
    }
    if count == 1 && !fragments.is_empty() {
        return Ok(vec![Cow::Owned(fragments.concat())]);
    }
    if offsets.len() != count.saturating_mul(4) {
        return Err(cannot("its fragments cannot be told apart into frames"));
    }
    // where each fragment's item begins, counted from the first one
    let mut at = 0u64;
    let mut starts = Vec::with_capacity(fragments.len());
    for fragment in fragments {
        starts.push(at);
        at += fragment.len() as u64 + 8;
    }
    let begins: Option<Vec<usize>> = offsets
        .chunks_exact(4)
        .map(|o| starts.iter().position(|&start| start == u64::from(u32::from_le_bytes([o[0], o[1], o[2], o[3]]))))
        .collect();
    let begins = begins
        .filter(|begins| begins.first() == Some(&0) && begins.is_sorted_by(|a, b| a < b))
        .ok_or_else(|| cannot("its Basic Offset Table does not fit its fragments"))?;
    let ends = begins.iter().skip(1).copied().chain([fragments.len()]);
    Ok(begins.iter().zip(ends).map(|(&begin, end)| Cow::Owned(fragments[begin..end].concat())).collect())
}

/// Compares a frame's own header with the image; returns the bits per sample that its decoder gives, 8 or 16.
fn check(codec: &str, image: &Image, data: &[u8]) -> Result<u16, TranscodeError> {
    let same = |rows: u32, columns: u32, samples: u16, precision: u16| {
        if (rows, columns, samples) != (image.rows.into(), image.columns.into(), image.samples) {
            return Err(cannot(format!(
                "its pixel data say {rows} rows, {columns} columns, {samples} samples, its attributes {}, {}, {}",
                image.rows, image.columns, image.samples
            )));
        }
        if precision > image.bits_allocated {
            return Err(cannot(format!(
                "its pixel data have {precision} bits, Bits Allocated is {}",
                image.bits_allocated
            )));
        }
        Ok(())
    };
    if codec == RLE {
        // PS3.5 G.3: the number of segments, and their offsets, in 64 bytes
        let segments = data.first_chunk::<4>().map(|n| u32::from_le_bytes(*n));
        if data.len() < 64 || segments != Some(u32::from(image.samples) * u32::from(image.bits_allocated / 8)) {
            return Err(cannot("its RLE header does not fit its samples and Bits Allocated"));
        }
        Ok(image.bits_allocated)
    } else if JPEG.contains(&codec) {
        let (precision, rows, columns, samples) =
            start_of_frame(data).ok_or_else(|| cannot("its JPEG data have no frame header"))?;
        same(rows.into(), columns.into(), samples.into(), precision.into())?;
        Ok(if precision <= 8 { 8 } else { 16 })
    } else if JPEG_2000.contains(&codec) {
        let (precision, signed, rows, columns, samples) =
            size_segment(data).ok_or_else(|| cannot("its JPEG 2000 data have no SIZ segment"))?;
        same(rows, columns, samples, precision)?;
        // its values are written as they come out, and read by Pixel Representation
        if signed != image.signed {
            return Err(cannot("its JPEG 2000 data and Pixel Representation disagree about the sign"));
        }
        Ok(image.bits_allocated)
    } else {
        Ok(image.bits_allocated)
    }
}

/// Precision, lines, samples a line, components of a JPEG frame header (ITU-T T.81 B.2.2).
fn start_of_frame(data: &[u8]) -> Option<(u8, u16, u16, u8)> {
    let mut rest = data.strip_prefix(&[0xFF, 0xD8])?;
    loop {
        let [0xFF, marker, after @ ..] = rest else { return None };
        match marker {
            0xFF => rest = &rest[1..],
            // all frame headers but DHT (C4), JPG (C8) and DAC (CC)
            0xC0..=0xCF if ![0xC4, 0xC8, 0xCC].contains(marker) => {
                let [_, _, precision, y0, y1, x0, x1, components, ..] = after else { return None };
                return Some((*precision, u16::from_be_bytes([*y0, *y1]), u16::from_be_bytes([*x0, *x1]), *components));
            }
            // scan, end: too late
            0xDA | 0xD9 => return None,
            _ => {
                let length = usize::from(u16::from_be_bytes(*after.first_chunk()?));
                rest = after.get(length.max(2)..)?;
            }
        }
    }
}

/// Precision and sign of the first component, rows, columns, components of a JPEG 2000 codestream (ITU-T T.800 A.5.1), also within a
/// JP2 file, which the standard forbids and some write.
fn size_segment(data: &[u8]) -> Option<(u16, bool, u32, u32, u16)> {
    let at = data.windows(4).take(4096).position(|w| w == [0xFF, 0x4F, 0xFF, 0x51])?;
    let siz = data.get(at + 4..)?;
    let u32_at = |at: usize| Some(u32::from_be_bytes(*siz.get(at..)?.first_chunk()?));
    let u16_at = |at: usize| Some(u16::from_be_bytes(*siz.get(at..)?.first_chunk()?));
    let columns = u32_at(4)?.checked_sub(u32_at(12)?)?;
    let rows = u32_at(8)?.checked_sub(u32_at(16)?)?;
    let components = u16_at(36)?;
    // Ssiz: bit 7 is the sign, the others the depth less one; then XRsiz and YRsiz: 1 is no subsampling
    let [depth, 1, 1, ..] = siz.get(38..)? else { return None };
    Some((u16::from(depth & 0x7F) + 1, depth & 0x80 != 0, rows, columns, components))
}

/// One frame as a codec sees it.
struct Frame<'a> {
    codec: &'a str,
    image: &'a Image,
    data: &'a [u8],
    bits_allocated: u16,
}

impl PixelDataObject for Frame<'_> {
    fn transfer_syntax_uid(&self) -> &str {
        self.codec
    }
    fn rows(&self) -> Option<u16> {
        Some(self.image.rows)
    }
    fn cols(&self) -> Option<u16> {
        Some(self.image.columns)
    }
    fn samples_per_pixel(&self) -> Option<u16> {
        Some(self.image.samples)
    }
    fn bits_allocated(&self) -> Option<u16> {
        Some(self.bits_allocated)
    }
    fn bits_stored(&self) -> Option<u16> {
        Some(self.image.bits_stored.min(self.bits_allocated))
    }
    fn photometric_interpretation(&self) -> Option<&str> {
        Some(&self.image.photometric)
    }
    fn number_of_frames(&self) -> Option<u32> {
        Some(1)
    }
    fn number_of_fragments(&self) -> Option<u32> {
        Some(1)
    }
    fn fragment(&self, fragment: usize) -> Option<Cow<'_, [u8]>> {
        (fragment == 0).then_some(Cow::Borrowed(self.data))
    }
    fn offset_table(&self) -> Option<Cow<'_, [u32]>> {
        Some(Cow::Borrowed(&[]))
    }
    fn raw_pixel_data(&self) -> Option<RawPixelData> {
        Some(RawPixelData { fragments: vec![self.data.to_vec()].into(), offset_table: Vec::new().into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn image() -> Image {
        Image {
            samples: 1,
            photometric: "MONOCHROME2".into(),
            frames: 1,
            rows: 2,
            columns: 3,
            bits_allocated: 16,
            bits_stored: 12,
            signed: false,
        }
    }

    /// Two segments, high bytes first: literal runs of six.
    fn rle() -> Vec<u8> {
        let mut data = vec![0; 64];
        data[0] = 2;
        data[4] = 64;
        data[8] = 72;
        data.extend([5, 1, 2, 3, 4, 5, 6, 0]);
        data.extend([5, 11, 12, 13, 14, 15, 16, 0]);
        data
    }

    #[test]
    fn rle_comes_out_little_endian() {
        let decoded = decode(RLE, &image(), &[], &[&rle()]).unwrap();
        assert_eq!(decoded, [11, 1, 12, 2, 13, 3, 14, 4, 15, 5, 16, 6]);
    }

    #[test]
    fn what_is_not_certain_is_refused() {
        let data = rle();
        let fails = |change: &dyn Fn(&mut Image)| {
            let mut image = image();
            change(&mut image);
            decode(RLE, &image, &[], &[&data]).is_err()
        };
        assert!(!fails(&|_| {}));
        assert!(fails(&|i| i.bits_allocated = 8));
        assert!(fails(&|i| i.bits_allocated = 32));
        assert!(fails(&|i| i.samples = 2));
        assert!(fails(&|i| i.rows = 0));
        assert!(fails(&|i| (i.rows, i.columns, i.frames) = (u16::MAX, u16::MAX, u32::MAX)));
        assert!(fails(&|i| i.frames = 3));
        assert!(decode("1.2.840.10008.1.2.4.50", &Image { samples: 3, ..image() }, &[], &[&data]).is_err());
    }

    #[test]
    fn fragments_become_frames() {
        let [a, b, c] = [&b"aa"[..], b"bb", b"cccc"];
        assert_eq!(frames(3, &[], &[a, b, c]).unwrap(), [a, b, c]);
        assert_eq!(frames(1, &[], &[a, b]).unwrap(), [&b"aabb"[..]]);
        // the second frame begins with the third fragment: 2 × (8 + 2) bytes on
        assert_eq!(frames(2, &[0, 0, 0, 0, 20, 0, 0, 0], &[a, b, c]).unwrap(), [&b"aabb"[..], b"cccc"]);
        assert!(frames(2, &[], &[a, b, c]).is_err());
        assert!(frames(2, &[0, 0, 0, 0, 19, 0, 0, 0], &[a, b, c]).is_err());
        assert!(frames(2, &[20, 0, 0, 0, 0, 0, 0, 0], &[a, b, c]).is_err());
        assert!(frames(1, &[], &[]).is_err());
    }

    #[test]
    fn frame_headers() {
        let jpeg = [0xFF, 0xD8, 0xFF, 0xE0, 0, 4, 9, 9, 0xFF, 0xC3, 0, 11, 12, 0x0B, 0xB8, 0x09, 0xC4, 1, 1, 0x11, 0];
        assert_eq!(start_of_frame(&jpeg), Some((12, 3000, 2500, 1)));
        let mut siz = vec![0xFF, 0x4F, 0xFF, 0x51, 0, 41, 0, 0];
        for n in [2500u32, 3000, 0, 0, 2500, 3000, 0, 0] {
            siz.extend(n.to_be_bytes());
        }
        siz.extend([0, 1, 11, 1, 1]);
        assert_eq!(size_segment(&siz), Some((12, false, 3000, 2500, 1)));
        let image = Image { rows: 3000, columns: 2500, ..image() };
        let signed = Image { signed: true, ..image.clone() };
        let fits = |image: &Image, siz: &[u8]| check(JPEG_2000[0], image, siz).is_ok();
        assert!(fits(&image, &siz) && !fits(&signed, &siz));
        *siz.iter_mut().rev().nth(2).unwrap() |= 0x80;
        assert_eq!(size_segment(&siz), Some((12, true, 3000, 2500, 1)));
        assert!(!fits(&image, &siz) && fits(&signed, &siz));
    }

    proptest! {
        #[test]
        fn headers_of_anything(data in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = (start_of_frame(&data), size_segment(&data));
            let _ = start_of_frame(&[&[0xFF, 0xD8, 0xFF, 0xE0][..], &data].concat());
            let _ = size_segment(&[&[0xFF, 0x4F, 0xFF, 0x51][..], &data].concat());
        }
    }
}

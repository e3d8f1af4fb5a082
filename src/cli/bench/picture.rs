//! A radiograph that never was, as a DICOM file in the transfer syntaxes that are simple to write. Pure.

use super::jpeg_lossless;
use crate::dataset::Form;
use crate::dataset::file_meta::{FileMeta, write_file_meta};
use dicom_dictionary_std::uids;
use flate2::Compression;
use flate2::write::DeflateEncoder;
use image::codecs::jpeg::JpegEncoder;
use std::io::Write;

/// Bits of a pixel; they lie in 16, but for JPEG Baseline.
const BITS: u16 = 12;

/// Grey values, row-major, of a limb-like brightness and the grain of a detector, which is what compressed sizes depend on.
pub(super) struct Picture {
    pub columns: u16,
    pub rows: u16,
    values: Vec<u16>,
}

impl Picture {
    pub fn new(columns: u16, rows: u16) -> Picture {
        let mut grain = 0x9E37_79B9_7F4A_7C15_u64;
        let mut values = Vec::with_capacity(usize::from(columns) * usize::from(rows));
        for y in 0..rows {
            let down = f32::from(y) / f32::from(rows) * 2.0 - 1.0;
            for x in 0..columns {
                let across = f32::from(x) / f32::from(columns) * 2.0 - 1.0;
                // xorshift; four of its bytes add up to something like a bell.
                grain ^= grain << 13;
                grain ^= grain >> 7;
                grain ^= grain << 17;
                let noise: u32 = grain.to_le_bytes()[..4].iter().map(|b| u32::from(*b)).sum();
                let body = (1.0 - across * across * 2.0).max(0.0) * (1.0 - 0.4 * down * down);
                values.push((200.0 + 3200.0 * body) as u16 + (noise / 24) as u16);
            }
        }
        Picture { columns, rows, values }
    }

    /// The whole file; `None` for a transfer syntax that is not written here.
    pub fn file(&self, syntax: &str) -> Option<Vec<u8>> {
        let form = Form { explicit: syntax != uids::IMPLICIT_VR_LITTLE_ENDIAN, big: false };
        let plain = || self.values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        let mut bits = (16, BITS);
        let mut encapsulated = true;
        let pixels = match syntax {
            uids::IMPLICIT_VR_LITTLE_ENDIAN
            | uids::EXPLICIT_VR_LITTLE_ENDIAN
            | uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN => {
                encapsulated = false;
                plain()
            }
            uids::RLE_LOSSLESS => fragment(rle(&self.values)),
            uids::JPEG_LOSSLESS | uids::JPEG_LOSSLESS_SV1 => {
                fragment(jpeg_lossless::encode(&self.values, self.columns, self.rows, BITS as u8))
            }
            uids::JPEG_BASELINE8_BIT => {
                bits = (8, 8);
                let bytes: Vec<u8> = self.values.iter().map(|v| (v >> (BITS - 8)) as u8).collect();
                let mut jpeg = Vec::new();
                let mut encoder = JpegEncoder::new_with_quality(&mut jpeg, 90);
                let (columns, rows) = (self.columns.into(), self.rows.into());
                encoder.encode(&bytes, columns, rows, image::ExtendedColorType::L8).ok()?;
                fragment(jpeg)
            }
            _ => return None,
        };
        let dataset = self.dataset(form, bits, encapsulated, &pixels);
        let meta = FileMeta {
            sop_class_uid: uids::DIGITAL_X_RAY_IMAGE_STORAGE_FOR_PRESENTATION.into(),
            sop_instance_uid: "2.25.1".into(),
            transfer_syntax_uid: syntax.into(),
            ..FileMeta::default()
        };
        let mut file = write_file_meta(&meta);
        if syntax == uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN {
            let mut deflate = DeflateEncoder::new(&mut file, Compression::fast());
            deflate.write_all(&dataset).ok()?;
            deflate.finish().ok()?;
        } else {
            file.extend_from_slice(&dataset);
        }
        Some(file)
    }

    fn dataset(&self, form: Form, (allocated, stored): (u16, u16), encapsulated: bool, pixels: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(pixels.len() + 1024);
        let text: [(u32, &[u8; 2], &str); 5] = [
            (0x0008_0016, b"UI", uids::DIGITAL_X_RAY_IMAGE_STORAGE_FOR_PRESENTATION),
            (0x0008_0018, b"UI", "2.25.1"),
            (0x0008_0060, b"CS", "DX"),
            (0x0020_000D, b"UI", "2.25.3"),
            (0x0020_000E, b"UI", "2.25.2"),
        ];
        for (tag, vr, value) in text {
            let mut bytes = value.as_bytes().to_vec();
            bytes.resize(value.len().next_multiple_of(2), if vr == b"UI" { 0 } else { b' ' });
            element(&mut out, form, tag, vr, &bytes);
        }
        let number = |out: &mut Vec<u8>, tag, n: u16| element(out, form, tag, b"US", &n.to_le_bytes());
        number(&mut out, 0x0028_0002, 1);
        element(&mut out, form, 0x0028_0004, b"CS", b"MONOCHROME2 ");
        let rest = [(0x10, self.rows), (0x11, self.columns), (0x100, allocated), (0x101, stored), (0x102, stored - 1)];
        for (low, n) in rest.into_iter().chain([(0x103, 0)]) {
            number(&mut out, 0x0028_0000 | low, n);
        }
        // Compressed pixels are of undefined length, in OB (PS3.5 A.4).
        if encapsulated {
            out.extend_from_slice(b"\xE0\x7F\x10\0OB\0\0\xFF\xFF\xFF\xFF");
            out.extend_from_slice(pixels);
        } else {
            element(&mut out, form, 0x7FE0_0010, b"OW", pixels);
        }
        out
    }
}

fn element(out: &mut Vec<u8>, form: Form, tag: u32, vr: &[u8; 2], value: &[u8]) {
    out.extend_from_slice(&((tag >> 16) as u16).to_le_bytes());
    out.extend_from_slice(&(tag as u16).to_le_bytes());
    let length = value.len() as u32;
    match (form.explicit, vr) {
        (false, _) => out.extend_from_slice(&length.to_le_bytes()),
        (true, b"OW") => {
            out.extend_from_slice(b"OW\0\0");
            out.extend_from_slice(&length.to_le_bytes());
        }
        (true, _) => {
            out.extend_from_slice(vr);
            out.extend_from_slice(&(length as u16).to_le_bytes());
        }
    }
    out.extend_from_slice(value);
}

/// An empty offset table, one fragment, the end.
fn fragment(mut frame: Vec<u8>) -> Vec<u8> {
    frame.resize(frame.len().next_multiple_of(2), 0);
    let mut out = b"\xFE\xFF\0\xE0\0\0\0\0\xFE\xFF\0\xE0".to_vec();
    out.extend_from_slice(&(frame.len() as u32).to_le_bytes());
    out.append(&mut frame);
    out.extend_from_slice(b"\xFE\xFF\xDD\xE0\0\0\0\0");
    out
}

/// RLE Lossless (PS3.5 Annex G): two segments, the high bytes first. Runs across rows are allowed here, since no reader minds.
fn rle(values: &[u16]) -> Vec<u8> {
    let pack = |byte: fn(u16) -> u8| {
        let bytes: Vec<u8> = values.iter().map(|v| byte(*v)).collect();
        let mut out = Vec::new();
        let mut literal: Vec<u8> = Vec::new();
        let close = |literal: &mut Vec<u8>, out: &mut Vec<u8>| {
            if !literal.is_empty() {
                out.push(literal.len() as u8 - 1);
                out.append(literal);
            }
        };
        for same in bytes.chunk_by(|a, b| a == b) {
            for run in same.chunks(128) {
                if run.len() > 2 {
                    close(&mut literal, &mut out);
                    out.extend_from_slice(&[(257 - run.len()) as u8, run[0]]);
                    continue;
                }
                for &b in run {
                    literal.push(b);
                    if literal.len() == 128 {
                        close(&mut literal, &mut out);
                    }
                }
            }
        }
        close(&mut literal, &mut out);
        out.resize(out.len().next_multiple_of(2), 0);
        out
    };
    let (mut high, mut low) = (pack(|v| (v >> 8) as u8), pack(|v| v as u8));
    let mut out = [2u32, 64, 64 + high.len() as u32].iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>();
    out.resize(64, 0);
    out.append(&mut high);
    out.append(&mut low);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pixels::read_dicom;

    #[test]
    fn in_every_syntax_the_file_reads_as_the_same_picture() {
        let folder = tempfile::tempdir().unwrap();
        let picture = Picture::new(130, 97);
        let read = |syntax: &str| {
            let path = folder.path().join(syntax);
            std::fs::write(&path, picture.file(syntax).unwrap()).unwrap();
            read_dicom(&path, usize::MAX).unwrap()
        };
        let plain = read(uids::EXPLICIT_VR_LITTLE_ENDIAN);
        assert_eq!((plain.width, plain.height), (130, 97));
        for syntax in [
            uids::IMPLICIT_VR_LITTLE_ENDIAN,
            uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
            uids::RLE_LOSSLESS,
            uids::JPEG_LOSSLESS,
            uids::JPEG_LOSSLESS_SV1,
        ] {
            assert!(read(syntax) == plain, "{syntax}");
        }
        let lossy = read(uids::JPEG_BASELINE8_BIT);
        let most = lossy.data.iter().zip(&plain.data).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(most < 0.1, "{most}");
        assert!(picture.file(uids::JPEG2000).is_none());
    }
}

//! The facts of a header, read on a walk over the whole data set.

use super::encoding::Form;
use super::text::{charset, decode, trim_uid};
use super::walk::{Element, MAX_INFLATED, Value, first_item, walk};
use super::{Code, DatasetError, Encoding, Facts};
use dicom_core::Tag;
use std::io::{Read, Seek};

/// No string is kept longer.
const TEXT: usize = 1024;
/// The first item of Anatomic Region Sequence begins with its code: this much of it is plenty.
const SEQUENCE: usize = 8192;

impl Facts {
    /// Reads the facts of the data set of `dataset_len` bytes that begins where `reader` stands, and checks every length in
    /// it to its end: what is truncated or lies is an error.
    ///
    /// # Errors
    /// As [`walk`].
    pub fn read(
        reader: &mut (impl Read + Seek),
        dataset_len: u64,
        transfer_syntax_uid: &str,
    ) -> Result<Facts, DatasetError> {
        Facts::read_bounded(reader, dataset_len, transfer_syntax_uid, MAX_INFLATED)
    }

    /// As [`Facts::read`]; a deflated data set that inflates to more than `max_inflated` bytes is an error.
    ///
    /// # Errors
    /// As [`walk`].
    pub fn read_bounded(
        reader: &mut (impl Read + Seek),
        dataset_len: u64,
        transfer_syntax_uid: &str,
        max_inflated: u64,
    ) -> Result<Facts, DatasetError> {
        let encoding = Encoding::of(transfer_syntax_uid);
        let mut raw = Raw::default();
        walk(reader, dataset_len, encoding, max_inflated, wants, |e, v| raw.take(e, v, encoding.form))?;
        Ok(raw.into_facts(transfer_syntax_uid))
    }
}

fn wants(tag: Tag) -> usize {
    match tag {
        Tag(0x0008, 0x2218) => SEQUENCE,
        Tag(0x0008, 0x0005 | 0x0016 | 0x0018 | 0x0060 | 0x0080 | 0x1010 | 0x1030)
        | Tag(0x0018, 0x0015)
        | Tag(0x0020, 0x000D | 0x000E)
        | Tag(0x0028, 0x0002 | 0x0008) => TEXT,
        _ => 0,
    }
}

/// Undecoded: the character set may come later than its text in a data set out of order.
#[derive(Default)]
struct Raw {
    facts: Facts,
    charset: Vec<u8>,
    body_part_examined: Vec<u8>,
    station_name: Vec<u8>,
    institution_name: Vec<u8>,
    study_description: Vec<u8>,
    frames: Option<u32>,
}

impl Raw {
    fn take(&mut self, e: &Element, v: Option<Value<'_>>, form: Form) {
        let f = &mut self.facts;
        // Their presence is enough, whatever is in them.
        f.signed |= matches!(e.tag, Tag(0xFFFA, 0xFFFA) | Tag(0x4FFE, 0x0001));
        let Some(Value { bytes, .. }) = v else { return };
        match e.tag {
            Tag(0x0008, 0x0005) => self.charset = bytes.to_vec(),
            Tag(0x0008, 0x0016) => f.sop_class_uid = trim_uid(bytes),
            Tag(0x0008, 0x0018) => f.sop_instance_uid = trim_uid(bytes),
            Tag(0x0008, 0x0060) => f.modality = trim_uid(bytes),
            Tag(0x0008, 0x0080) => self.institution_name = bytes.to_vec(),
            Tag(0x0008, 0x1010) => self.station_name = bytes.to_vec(),
            Tag(0x0008, 0x1030) => self.study_description = bytes.to_vec(),
            Tag(0x0008, 0x2218) => {
                let form = if e.vr == Some(*b"UN") { Form::IMPLICIT } else { form };
                f.anatomic_region = anatomic_region(e, bytes, form);
            }
            // CS has no letters beyond ASCII, but people write MÃO and HÜFTE there all the same.
            Tag(0x0018, 0x0015) => self.body_part_examined = bytes.to_vec(),
            Tag(0x0020, 0x000D) => f.study_instance_uid = trim_uid(bytes),
            Tag(0x0020, 0x000E) => f.series_instance_uid = trim_uid(bytes),
            Tag(0x0028, 0x0002) => {
                if let [a, b] = *bytes {
                    f.samples_per_pixel = form.u16([a, b]);
                }
            }
            Tag(0x0028, 0x0008) => self.frames = trim_uid(bytes).parse().ok(),
            _ => {}
        }
    }

    fn into_facts(self, transfer_syntax_uid: &str) -> Facts {
        let charset = charset(&self.charset);
        let text = |bytes: &[u8]| decode(bytes, charset.as_ref());
        Facts {
            transfer_syntax_uid: trim_uid(transfer_syntax_uid.as_bytes()),
            body_part_examined: text(&self.body_part_examined),
            station_name: text(&self.station_name),
            institution_name: text(&self.institution_name),
            study_description: text(&self.study_description),
            number_of_frames: self.frames.unwrap_or(1),
            ..self.facts
        }
    }
}

/// What Anatomic Region Sequence, with this value, says: Code Value and Coding Scheme Designator of its first item. The code
/// is empty where there is an item and no code that can be read (Long Code Value, URN Code Value); `None`: there is no item.
pub(crate) fn anatomic_region(element: &Element, value: &[u8], form: Form) -> Option<Code> {
    // Of undefined length, the delimiter counts.
    if element.value_len == if element.undefined { 8 } else { 0 } {
        return None;
    }
    let (mut code, mut scheme) = (String::new(), String::new());
    first_item(value, form, |tag, bytes| match tag {
        Tag(0x0008, 0x0100) => code = trim_uid(bytes),
        Tag(0x0008, 0x0102) => scheme = trim_uid(bytes),
        _ => {}
    });
    Some(Code { value: code, scheme })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn el(tag: (u16, u16), vr: &str, value: &[u8]) -> Vec<u8> {
        let mut b = [tag.0.to_le_bytes(), tag.1.to_le_bytes()].concat();
        b.extend_from_slice(vr.as_bytes());
        if vr == "SQ" || vr == "OW" {
            b.extend_from_slice(&[0, 0]);
            b.extend_from_slice(&(value.len() as u32).to_le_bytes());
        } else {
            b.extend_from_slice(&(value.len() as u16).to_le_bytes());
        }
        b.extend_from_slice(value);
        b
    }

    fn sample() -> Vec<u8> {
        let code = [el((8, 0x100), "SH", b"T-D8700 "), el((8, 0x102), "SH", b"SRT ")].concat();
        let mut item = b"\xFE\xFF\x00\xE0".to_vec();
        item.extend_from_slice(&(code.len() as u32).to_le_bytes());
        item.extend_from_slice(&code);
        [
            el((8, 5), "CS", b"ISO_IR 100"),
            el((8, 0x16), "UI", b"1.2.840.10008.5.1.4.1.1.1\0"),
            el((8, 0x18), "UI", b"2.25.1\0\0"),
            el((8, 0x60), "CS", b"CR"),
            el((8, 0x80), "LO", b"Klinik M\xFCnchen\n "),
            el((8, 0x2218), "SQ", &item),
            el((0x18, 0x15), "CS", b"HAND "),
            el((0x20, 0xD), "UI", b"2.25.2\0\0"),
            el((0x28, 2), "US", &[1, 0]),
            el((0x7FE0, 0x10), "OW", &[0; 100]),
        ]
        .concat()
    }

    #[test]
    fn reads_what_routes_and_verdicts_ask_for() {
        let b = sample();
        let f = Facts::read(&mut Cursor::new(&b), b.len() as u64, "1.2.840.10008.1.2.1").unwrap();
        assert_eq!(f.sop_instance_uid, "2.25.1");
        assert_eq!(f.institution_name, "Klinik München");
        assert_eq!(f.body_part_examined, "HAND");
        assert_eq!(f.anatomic_region, Some(Code { value: "T-D8700".into(), scheme: "SRT".into() }));
        let german = [&b[..], &el((0x7FE1, 0x10), "LO", b"")].concat();
        let at = german.windows(5).position(|w| w == b"HAND ").unwrap();
        let german = [&german[..at], b"H\xDCFT ", &german[at + 5..]].concat();
        let g = Facts::read(&mut Cursor::new(&german), german.len() as u64, "1.2.840.10008.1.2.1").unwrap();
        assert_eq!(g.body_part_examined, "HÜFT", "in the character set of the object");
        assert_eq!((f.samples_per_pixel, f.number_of_frames, f.signed), (1, 1, false));
        assert_eq!(f.series_instance_uid, "");
    }

    #[test]
    fn an_anatomic_region_without_a_short_code_is_there_nevertheless() {
        let region = |value: &[u8]| {
            let b = [el((8, 0x18), "UI", b"2.25.1\0\0"), el((8, 0x2218), "SQ", value)].concat();
            Facts::read(&mut Cursor::new(&b), b.len() as u64, "1.2.840.10008.1.2.1").unwrap().anatomic_region
        };
        let item =
            |content: &[u8]| [b"\xFE\xFF\x00\xE0".as_slice(), &(content.len() as u32).to_le_bytes(), content].concat();
        let unreadable = Some(Code { value: String::new(), scheme: String::new() });
        assert_eq!(region(&[]), None);
        assert_eq!(region(&item(&[])), unreadable);
        assert_eq!(region(&item(&el((8, 0x120), "UI", b"2.25.9\0\0"))), unreadable);
        assert_eq!(
            region(&item(&el((8, 0x102), "SH", b"SCT "))),
            Some(Code { value: String::new(), scheme: "SCT".into() })
        );
    }

    #[test]
    fn cut_anywhere_inside_an_element_it_is_an_error() {
        let b = sample();
        let mut whole = 0;
        for cut in 1..b.len() {
            let len = cut as u64;
            whole += usize::from(Facts::read(&mut Cursor::new(&b[..cut]), len, "1.2.840.10008.1.2.1").is_ok());
            // The same with a file that is shorter than it was said to be.
            assert!(Facts::read(&mut Cursor::new(&b[..cut]), b.len() as u64, "1.2.840.10008.1.2.1").is_err());
        }
        assert_eq!(whole, 9, "only at the nine places between elements");
    }

    #[test]
    fn a_signature_is_seen_and_deflated_is_read() {
        use std::io::Write;
        let b = [sample(), el((0xFFFA, 0xFFFA), "SQ", b"")].concat();
        let mut e = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
        e.write_all(&b).unwrap();
        let packed = e.finish().unwrap();
        let ts = "1.2.840.10008.1.2.1.99";
        let f = Facts::read(&mut Cursor::new(&packed), packed.len() as u64, ts).unwrap();
        assert!(f.signed);
        assert_eq!(f.body_part_examined, "HAND");
        assert!(Facts::read(&mut Cursor::new(&packed), packed.len() as u64 - 2, ts).is_err());
        assert!(Facts::read_bounded(&mut Cursor::new(&packed), packed.len() as u64, ts, 100).is_err());
    }
}

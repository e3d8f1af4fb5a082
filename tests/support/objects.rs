//! DICOM objects for the tests: built from nothing, read, changed and written, one top-level element at a time.
//!
//! Deliberately shares no code with radroute: it is the second opinion about every byte.
#![allow(dead_code)]

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

pub const IMPLICIT: &str = "1.2.840.10008.1.2";
pub const EXPLICIT: &str = "1.2.840.10008.1.2.1";
pub const DEFLATED: &str = "1.2.840.10008.1.2.1.99";
pub const BIG_ENDIAN: &str = "1.2.840.10008.1.2.2";

pub const CR: &str = "1.2.840.10008.5.1.4.1.1.1";
pub const CT: &str = "1.2.840.10008.5.1.4.1.1.2";
pub const VERIFICATION: &str = "1.2.840.10008.1.1";

pub const SOP_CLASS: u32 = 0x0008_0016;
pub const SOP_INSTANCE: u32 = 0x0008_0018;
pub const ANATOMIC_REGION: u32 = 0x0008_2218;
pub const BODY_PART: u32 = 0x0018_0015;
pub const CONTRIBUTING_EQUIPMENT: u32 = 0x0018_A001;
pub const STUDY: u32 = 0x0020_000D;
pub const SERIES: u32 = 0x0020_000E;
pub const ORIGINAL_ATTRIBUTES: u32 = 0x0400_0561;

/// What must be found in no log line, event or ledger row.
pub const PATIENT: [&str; 3] = ["Zzyzx^Quirin", "PID-47110815", "19010203"];

/// A data set: top-level elements in order, each with its bytes as they stand, header included.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    pub transfer_syntax: String,
    pub elements: Vec<(u32, Vec<u8>)>,
}

impl Object {
    /// A small valid CR or CT image: `pixels` 16-bit values a side.
    pub fn image(sop_class: &str, uid: &str, series: &str, study: &str, side: u16) -> Object {
        let modality = if sop_class == CT { "CT" } else { "CR" };
        let mut object = Object { transfer_syntax: EXPLICIT.into(), elements: Vec::new() };
        object.set_text(SOP_CLASS, "UI", sop_class);
        object.set_text(SOP_INSTANCE, "UI", uid);
        object.set_text(0x0008_0020, "DA", "20260102");
        object.set_text(0x0008_0030, "TM", "101112");
        object.set_text(0x0008_0050, "SH", "");
        object.set_text(0x0008_0060, "CS", modality);
        object.set_text(0x0008_0070, "LO", "Test");
        object.set_text(0x0008_0090, "PN", "");
        object.set_text(0x0010_0010, "PN", PATIENT[0]);
        object.set_text(0x0010_0020, "LO", PATIENT[1]);
        object.set_text(0x0010_0030, "DA", PATIENT[2]);
        object.set_text(0x0010_0040, "CS", "O");
        object.set_text(STUDY, "UI", study);
        object.set_text(SERIES, "UI", series);
        object.set_text(0x0020_0010, "SH", "1");
        object.set_text(0x0020_0011, "IS", "1");
        object.set_text(0x0020_0013, "IS", "1");
        for (tag, value) in [
            (0x0028_0002, 1),
            (0x0028_0010, side),
            (0x0028_0011, side),
            (0x0028_0100, 16),
            (0x0028_0101, 12),
            (0x0028_0102, 11),
            (0x0028_0103, 0),
        ] {
            object.set(tag, "US", &u16::to_le_bytes(value));
        }
        object.set_text(0x0028_0004, "CS", "MONOCHROME2");
        let pixels: Vec<u8> =
            (0..usize::from(side) * usize::from(side)).flat_map(|i| ((i * 7 % 4096) as u16).to_le_bytes()).collect();
        object.set(0x7FE0_0010, "OW", &pixels);
        object
    }

    /// The `n`th small CT of a test: passes through untouched and unlooked at, which keeps tests of the way itself fast.
    pub fn slice(test: u32, n: u32) -> Object {
        Object::image(CT, &uid(test, 3, n), &uid(test, 2, 1), &uid(test, 1, 1), 8)
    }

    /// Reads a DICOM file.
    pub fn read(path: &Path) -> Object {
        let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Object::parse_file(&bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    /// Parses a whole file: preamble, meta group, data set.
    pub fn parse_file(bytes: &[u8]) -> Result<Object, String> {
        if bytes.get(128..132) != Some(b"DICM") {
            return Err("no DICM prefix".into());
        }
        let mut at = 132;
        let mut transfer_syntax = String::new();
        while bytes.get(at..at + 2) == Some(&[2, 0]) {
            let end = element_end(bytes, at, Encoding::EXPLICIT)?;
            if bytes[at..at + 4] == [2, 0, 0x10, 0] {
                transfer_syntax = text(&bytes[at + 8..end]);
            }
            at = end;
        }
        Object::parse(&bytes[at..], &transfer_syntax)
    }

    /// Parses a data set as it stands on the wire.
    pub fn parse(bytes: &[u8], transfer_syntax: &str) -> Result<Object, String> {
        let mut inflated = Vec::new();
        let bytes = if transfer_syntax == DEFLATED {
            flate2::read::DeflateDecoder::new(bytes).read_to_end(&mut inflated).map_err(|e| e.to_string())?;
            &inflated
        } else {
            bytes
        };
        let encoding = Encoding::of(transfer_syntax);
        let (mut at, mut elements) = (0, Vec::new());
        while at < bytes.len() {
            let end = element_end(bytes, at, encoding)?;
            elements.push((encoding.tag(bytes, at)?, bytes[at..end].to_vec()));
            at = end;
        }
        Ok(Object { transfer_syntax: transfer_syntax.into(), elements })
    }

    /// The data set as it stands on the wire.
    pub fn dataset(&self) -> Vec<u8> {
        let plain: Vec<u8> = self.elements.iter().flat_map(|(_, raw)| raw.iter().copied()).collect();
        if self.transfer_syntax != DEFLATED {
            return plain;
        }
        let mut deflate = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
        deflate.write_all(&plain).unwrap();
        let mut out = deflate.finish().unwrap();
        if out.len() % 2 == 1 {
            out.push(0);
        }
        out
    }

    /// Writes a DICOM file.
    pub fn write(&self, path: &Path) -> PathBuf {
        let mut meta = Vec::new();
        meta.extend(explicit(0x0002_0001, "OB", &[0, 1]));
        meta.extend(explicit(0x0002_0002, "UI", &even(self.text(SOP_CLASS).as_bytes(), 0)));
        meta.extend(explicit(0x0002_0003, "UI", &even(self.text(SOP_INSTANCE).as_bytes(), 0)));
        meta.extend(explicit(0x0002_0010, "UI", &even(self.transfer_syntax.as_bytes(), 0)));
        meta.extend(explicit(0x0002_0012, "UI", &even(b"1.2.826.0.1.3680043.10.1", 0)));
        let mut file = vec![0; 128];
        file.extend(b"DICM");
        file.extend(explicit(0x0002_0000, "UL", &(meta.len() as u32).to_le_bytes()));
        file.extend(meta);
        file.extend(self.dataset());
        std::fs::write(path, file).unwrap();
        path.to_owned()
    }

    /// The raw bytes of a top-level element.
    pub fn raw(&self, tag: u32) -> Option<&[u8]> {
        self.elements.iter().find(|(t, _)| *t == tag).map(|(_, raw)| raw.as_slice())
    }

    /// The text of a top-level element without padding; empty if absent.
    pub fn text(&self, tag: u32) -> String {
        let Some(raw) = self.raw(tag) else { return String::new() };
        let encoding = Encoding::of(&self.transfer_syntax);
        text(&raw[encoding.header(raw, 0).unwrap().value..])
    }

    pub fn uid(&self) -> String {
        self.text(SOP_INSTANCE)
    }

    /// The items of a top-level sequence; none if absent.
    pub fn items(&self, tag: u32) -> Vec<Object> {
        let Some(raw) = self.raw(tag) else { return Vec::new() };
        let encoding = Encoding::of(&self.transfer_syntax);
        let mut at = encoding.header(raw, 0).unwrap().value;
        let mut items = Vec::new();
        while at < raw.len() && encoding.tag(raw, at).unwrap() == 0xFFFE_E000 {
            let end = element_end(raw, at, encoding).unwrap();
            let delimiter = if encoding.header(raw, at).unwrap().length == u32::MAX { 8 } else { 0 };
            let plain = if self.transfer_syntax == DEFLATED { EXPLICIT } else { &self.transfer_syntax };
            items.push(Object::parse(&raw[at + 8..end - delimiter], plain).unwrap());
            at = end;
        }
        items
    }

    /// The elements with sequences taken apart, for peers that write sequences of undefined length anew with their length.
    pub fn taken_apart(&self) -> Vec<(u32, Vec<u8>)> {
        let explicit = self.transfer_syntax != IMPLICIT;
        let apart = |(tag, raw): &(u32, Vec<u8>)| {
            if !(explicit && raw.get(4..6) == Some(b"SQ")) {
                return vec![(*tag, raw.clone())];
            }
            let items = self.items(*tag);
            let mut out = vec![(*tag, (items.len() as u32).to_be_bytes().to_vec())];
            out.extend(items.iter().flat_map(Object::taken_apart));
            out
        };
        self.elements.iter().flat_map(apart).collect()
    }

    /// Replaces or inserts a top-level element, in the object's encoding.
    pub fn set(&mut self, tag: u32, vr: &str, value: &[u8]) {
        let raw = Encoding::of(&self.transfer_syntax).element(tag, vr, value);
        match self.elements.iter().position(|(t, _)| *t >= tag) {
            Some(i) if self.elements[i].0 == tag => self.elements[i].1 = raw,
            Some(i) => self.elements.insert(i, (tag, raw)),
            None => self.elements.push((tag, raw)),
        }
    }

    /// The same for text, padded.
    pub fn set_text(&mut self, tag: u32, vr: &str, value: &str) {
        self.set(tag, vr, &even(value.as_bytes(), if vr == "UI" { 0 } else { b' ' }));
    }

    pub fn remove(&mut self, tag: u32) {
        self.elements.retain(|(t, _)| *t != tag);
    }

    /// The same object under other identifiers, with the given tag (`None`: without).
    pub fn as_other(&self, uid: &str, series: &str, study: &str, body_part: Option<&str>) -> Object {
        let mut other = self.clone();
        other.set_text(SOP_INSTANCE, "UI", uid);
        other.set_text(SERIES, "UI", series);
        other.set_text(STUDY, "UI", study);
        match body_part {
            Some(term) => other.set_text(BODY_PART, "CS", term),
            None => other.remove(BODY_PART),
        }
        other
    }

    /// What is left when the elements that a correction may touch are taken out (and their group lengths).
    pub fn rest(&self) -> Vec<(u32, Vec<u8>)> {
        const TOUCHED: [u32; 4] = [ANATOMIC_REGION, BODY_PART, CONTRIBUTING_EQUIPMENT, ORIGINAL_ATTRIBUTES];
        const LENGTHS: [u32; 3] = [0x0008_0000, 0x0018_0000, 0x0400_0000];
        self.elements.iter().filter(|(tag, _)| !TOUCHED.contains(tag) && !LENGTHS.contains(tag)).cloned().collect()
    }
}

/// A UID of ours: unique by test, kind and number.
pub fn uid(test: u32, kind: u32, n: u32) -> String {
    format!("1.2.826.0.1.3680043.8.498.{test}.{kind}.{n}")
}

/// One element in Explicit VR Little Endian.
pub fn explicit(tag: u32, vr: &str, value: &[u8]) -> Vec<u8> {
    Encoding::EXPLICIT.element(tag, vr, value)
}

/// Padded to even length.
pub fn even(bytes: &[u8], pad: u8) -> Vec<u8> {
    let mut out = bytes.to_vec();
    if out.len() % 2 == 1 {
        out.push(pad);
    }
    out
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).trim_end_matches(['\0', ' ']).to_string()
}

#[derive(Clone, Copy)]
struct Encoding {
    explicit: bool,
    big: bool,
}

struct Header {
    value: usize,
    length: u32,
}

impl Encoding {
    const EXPLICIT: Encoding = Encoding { explicit: true, big: false };

    fn of(transfer_syntax: &str) -> Encoding {
        Encoding { explicit: transfer_syntax != IMPLICIT, big: transfer_syntax == BIG_ENDIAN }
    }

    fn u16(self, bytes: &[u8], at: usize) -> Result<u16, String> {
        let two: [u8; 2] = bytes.get(at..at + 2).ok_or("the data set ends within a header")?.try_into().unwrap();
        Ok(if self.big { u16::from_be_bytes(two) } else { u16::from_le_bytes(two) })
    }

    fn u32(self, bytes: &[u8], at: usize) -> Result<u32, String> {
        let (first, second) = (u32::from(self.u16(bytes, at)?), u32::from(self.u16(bytes, at + 2)?));
        Ok(if self.big { first << 16 | second } else { second << 16 | first })
    }

    fn tag(self, bytes: &[u8], at: usize) -> Result<u32, String> {
        Ok(u32::from(self.u16(bytes, at)?) << 16 | u32::from(self.u16(bytes, at + 2)?))
    }

    fn header(self, bytes: &[u8], at: usize) -> Result<Header, String> {
        if !self.explicit || self.tag(bytes, at)? >> 16 == 0xFFFE {
            return Ok(Header { value: at + 8, length: self.u32(bytes, at + 4)? });
        }
        if long(bytes.get(at + 4..at + 6).ok_or("the data set ends within a VR")?) {
            return Ok(Header { value: at + 12, length: self.u32(bytes, at + 8)? });
        }
        Ok(Header { value: at + 8, length: u32::from(self.u16(bytes, at + 6)?) })
    }

    fn element(self, tag: u32, vr: &str, value: &[u8]) -> Vec<u8> {
        let two = |n: u32| if self.big { (n as u16).to_be_bytes() } else { (n as u16).to_le_bytes() };
        let four = |n: u32| if self.big { n.to_be_bytes() } else { n.to_le_bytes() };
        let mut out = [two(tag >> 16), two(tag & 0xFFFF)].concat();
        let length = value.len() as u32;
        if !self.explicit {
            out.extend(four(length));
        } else {
            out.extend(vr.as_bytes());
            if long(vr.as_bytes()) {
                out.extend([0, 0]);
                out.extend(four(length));
            } else {
                out.extend(two(length));
            }
        }
        out.extend(value);
        out
    }
}

fn long(vr: &[u8]) -> bool {
    matches!(vr, b"OB" | b"OW" | b"OF" | b"OD" | b"OL" | b"OV" | b"SQ" | b"UN" | b"UT" | b"UC" | b"UR" | b"SV" | b"UV")
}

/// Where the element at `at` ends; items and delimiters count as elements.
fn element_end(bytes: &[u8], at: usize, encoding: Encoding) -> Result<usize, String> {
    const UNDEFINED: u32 = u32::MAX;
    let header = encoding.header(bytes, at)?;
    if header.length != UNDEFINED {
        let end = header.value + header.length as usize;
        return if end <= bytes.len() {
            Ok(end)
        } else {
            Err(format!("the element at {at} claims more than there is"))
        };
    }
    // A sequence in UN of undefined length is encoded in Implicit VR (PS3.5 6.2.2).
    let un = encoding.explicit && bytes.get(at + 4..at + 6) == Some(b"UN");
    let inner = Encoding { explicit: encoding.explicit && !un, ..encoding };
    let mut at = header.value;
    loop {
        match inner.tag(bytes, at)? {
            0xFFFE_E0DD | 0xFFFE_E00D => return Ok(at + 8),
            _ => at = element_end(bytes, at, inner)?,
        }
    }
}

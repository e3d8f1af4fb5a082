//! Tiny DICOM objects, made by code.

use radroute::dataset::file_meta::{FileMeta, write_file_meta};
use std::io::Write;

pub const CR: &str = "1.2.840.10008.5.1.4.1.1.1";
pub const DX: &str = "1.2.840.10008.5.1.4.1.1.1.1";
pub const IMPLICIT: &str = "1.2.840.10008.1.2";
pub const EXPLICIT: &str = "1.2.840.10008.1.2.1";
pub const DEFLATED: &str = "1.2.840.10008.1.2.1.99";
pub const BIG_ENDIAN: &str = "1.2.840.10008.1.2.2";
pub const JPEG_LOSSLESS: &str = "1.2.840.10008.1.2.4.70";

/// A CR image.
#[derive(Clone, Debug)]
pub struct Object {
    pub sop_class: String,
    pub sop_instance: String,
    pub series: String,
    pub study: String,
    pub transfer_syntax: String,
    pub rows: u16,
    pub columns: u16,
}

/// An object with a UID of its own: `number` makes it.
pub fn object(number: u32) -> Object {
    Object {
        sop_class: CR.into(),
        sop_instance: format!("1.2.826.0.1.3680043.10.999.{number}.3"),
        series: "1.2.826.0.1.3680043.10.999.1.2".into(),
        study: "1.2.826.0.1.3680043.10.999.1.1".into(),
        transfer_syntax: EXPLICIT.into(),
        rows: 8,
        columns: 8,
    }
}

impl Object {
    pub fn syntax(mut self, transfer_syntax: &str) -> Object {
        self.transfer_syntax = transfer_syntax.into();
        self
    }

    pub fn size(mut self, rows: u16, columns: u16) -> Object {
        (self.rows, self.columns) = (rows, columns);
        self
    }

    /// The data set as its transfer syntax has it.
    pub fn data_set(&self) -> Vec<u8> {
        let big = self.transfer_syntax == BIG_ENDIAN;
        let mut out = DataSet { bytes: Vec::new(), explicit: self.transfer_syntax != IMPLICIT, big };
        out.text(0x0008, 0x0016, b"UI", &self.sop_class);
        out.text(0x0008, 0x0018, b"UI", &self.sop_instance);
        out.text(0x0008, 0x0060, b"CS", "CR");
        out.text(0x0010, 0x0010, b"PN", "Test^Object");
        out.text(0x0010, 0x0020, b"LO", "T1");
        out.text(0x0018, 0x0015, b"CS", "CHEST");
        out.text(0x0020, 0x000D, b"UI", &self.study);
        out.text(0x0020, 0x000E, b"UI", &self.series);
        out.us(0x0028, 0x0002, 1);
        out.text(0x0028, 0x0004, b"CS", "MONOCHROME2");
        out.us(0x0028, 0x0010, self.rows);
        out.us(0x0028, 0x0011, self.columns);
        out.us(0x0028, 0x0100, 16);
        out.us(0x0028, 0x0101, 12);
        out.us(0x0028, 0x0102, 11);
        out.us(0x0028, 0x0103, 0);
        if self.transfer_syntax == JPEG_LOSSLESS {
            out.encapsulated(&[0xFF, 0xD8, 0xFF, 0xD9]);
        } else {
            let pixels = (0..u32::from(self.rows) * u32::from(self.columns)).map(|n| (n % 4096) as u16);
            let pixels: Vec<u8> = pixels.flat_map(|p| if big { p.to_be_bytes() } else { p.to_le_bytes() }).collect();
            out.element(0x7FE0, 0x0010, b"OW", &pixels);
        }
        if self.transfer_syntax == DEFLATED {
            let mut deflate = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
            deflate.write_all(&out.bytes).unwrap();
            let mut bytes = deflate.finish().unwrap();
            if bytes.len() % 2 == 1 {
                bytes.push(0);
            }
            return bytes;
        }
        out.bytes
    }

    /// The whole file.
    pub fn file(&self) -> Vec<u8> {
        let mut file = write_file_meta(&FileMeta {
            sop_class_uid: self.sop_class.clone(),
            sop_instance_uid: self.sop_instance.clone(),
            transfer_syntax_uid: self.transfer_syntax.clone(),
            ..FileMeta::default()
        });
        file.extend(self.data_set());
        file
    }
}

pub struct DataSet {
    pub bytes: Vec<u8>,
    pub explicit: bool,
    pub big: bool,
}

impl DataSet {
    fn put16(&mut self, v: u16) {
        self.bytes.extend(if self.big { v.to_be_bytes() } else { v.to_le_bytes() });
    }

    fn put32(&mut self, v: u32) {
        self.bytes.extend(if self.big { v.to_be_bytes() } else { v.to_le_bytes() });
    }

    pub fn header(&mut self, group: u16, element: u16, vr: &[u8; 2], length: u32) {
        self.put16(group);
        self.put16(element);
        if !self.explicit {
            return self.put32(length);
        }
        self.bytes.extend(vr);
        if matches!(vr, b"OB" | b"OW" | b"SQ" | b"UN") {
            self.put16(0);
            self.put32(length);
        } else {
            self.put16(length as u16);
        }
    }

    pub fn element(&mut self, group: u16, element: u16, vr: &[u8; 2], value: &[u8]) {
        self.header(group, element, vr, value.len() as u32);
        self.bytes.extend(value);
    }

    fn text(&mut self, group: u16, element: u16, vr: &[u8; 2], value: &str) {
        let mut value = value.as_bytes().to_vec();
        if value.len() % 2 == 1 {
            value.push(if vr == b"UI" { 0 } else { b' ' });
        }
        self.element(group, element, vr, &value);
    }

    fn us(&mut self, group: u16, element: u16, value: u16) {
        let value = if self.big { value.to_be_bytes() } else { value.to_le_bytes() };
        self.element(group, element, b"US", &value);
    }

    fn encapsulated(&mut self, fragment: &[u8]) {
        self.header(0x7FE0, 0x0010, b"OB", u32::MAX);
        self.bytes.extend([0xFE, 0xFF, 0x00, 0xE0, 0, 0, 0, 0]);
        self.bytes.extend([0xFE, 0xFF, 0x00, 0xE0]);
        self.put32(fragment.len() as u32);
        self.bytes.extend(fragment);
        self.bytes.extend([0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0]);
    }
}

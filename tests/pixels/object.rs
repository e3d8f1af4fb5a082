//! Objects made element by element, files of them, and dcmtk's tools.

use radroute::pixels::{PixelsError, read_dicom};
use radroute::preprocess::Plane;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

pub const EXPLICIT: &str = "1.2.840.10008.1.2.1";
pub const BIG: &str = "1.2.840.10008.1.2.2";
pub const RLE: &str = "1.2.840.10008.1.2.5";
pub const BASELINE: &str = "1.2.840.10008.1.2.4.50";
pub const LOSSLESS: &str = "1.2.840.10008.1.2.4.70";
pub const JPEG_LS: &str = "1.2.840.10008.1.2.4.80";
pub const JPEG_2000: &str = "1.2.840.10008.1.2.4.90";
pub const CR: &str = "1.2.840.10008.5.1.4.1.1.1";
pub const FOR_PROCESSING: &str = "1.2.840.10008.5.1.4.1.1.1.1.1";

/// An element: tag, VR, value.
pub type Element = (u32, &'static str, Vec<u8>);

/// A small object: what is set last for a tag counts.
#[derive(Clone)]
pub struct Object {
    pub syntax: &'static str,
    pub elements: Vec<Element>,
}

impl Object {
    /// A grey image of 16 bits allocated, unsigned, MONOCHROME2.
    pub fn new(columns: u16, rows: u16, stored: u16, values: &[u16]) -> Object {
        let mut o = Object { syntax: EXPLICIT, elements: Vec::new() };
        o.text(0x0008_0016, "UI", CR).text(0x0008_0018, "UI", "2.25.1").text(0x0028_0004, "CS", "MONOCHROME2");
        o.us(0x0028_0002, &[1]).us(0x0028_0010, &[rows]).us(0x0028_0011, &[columns]);
        o.us(0x0028_0100, &[16]).us(0x0028_0101, &[stored]).us(0x0028_0102, &[stored - 1]).us(0x0028_0103, &[0]);
        o.set(0x7FE0_0010, "OW", values.iter().flat_map(|v| v.to_le_bytes()).collect());
        o
    }

    /// The same with 8 bits.
    pub fn bytes(columns: u16, rows: u16, values: &[u8]) -> Object {
        let mut o = Object::new(columns, rows, 8, &[]);
        o.us(0x0028_0100, &[8]).set(0x7FE0_0010, "OB", values.to_vec());
        o
    }

    pub fn set(&mut self, tag: u32, vr: &'static str, value: Vec<u8>) -> &mut Object {
        self.remove(tag);
        self.elements.push((tag, vr, value));
        self
    }

    pub fn remove(&mut self, tag: u32) -> &mut Object {
        self.elements.retain(|e| e.0 != tag);
        self
    }

    pub fn us(&mut self, tag: u32, values: &[u16]) -> &mut Object {
        let big = self.syntax == BIG;
        let bytes = values.iter().flat_map(|v| if big { v.to_be_bytes() } else { v.to_le_bytes() }).collect();
        self.set(tag, "US", bytes)
    }

    pub fn text(&mut self, tag: u32, vr: &'static str, text: &str) -> &mut Object {
        let mut bytes = text.as_bytes().to_vec();
        if bytes.len() % 2 == 1 {
            bytes.push(if vr == "UI" { 0 } else { b' ' });
        }
        self.set(tag, vr, bytes)
    }

    pub fn window(&mut self, center: &str, width: &str) -> &mut Object {
        self.text(0x0028_1050, "DS", center).text(0x0028_1051, "DS", width)
    }

    /// A sequence with one LUT.
    pub fn lut(&mut self, tag: u32, descriptor: [u16; 3], data: &[u16]) -> &mut Object {
        let mut item = Object { syntax: self.syntax, elements: Vec::new() };
        item.us(0x0028_3002, &descriptor);
        item.set(0x0028_3006, "OW", data.iter().flat_map(|v| v.to_le_bytes()).collect());
        let content = item.data_set();
        let mut value = vec![0xFE, 0xFF, 0x00, 0xE0];
        value.extend((content.len() as u32).to_le_bytes());
        value.extend(content);
        self.set(tag, "SQ", value)
    }

    /// Encapsulated pixels: an empty offset table and these fragments.
    pub fn fragments(&mut self, syntax: &'static str, fragments: &[&[u8]]) -> &mut Object {
        self.syntax = syntax;
        let mut value = vec![0xFE, 0xFF, 0x00, 0xE0, 0, 0, 0, 0];
        for f in fragments {
            value.extend([0xFE, 0xFF, 0x00, 0xE0]);
            value.extend((f.len() as u32).to_le_bytes());
            value.extend(*f);
        }
        value.extend([0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0]);
        self.set(0x7FE0_0010, "fragments", value)
    }

    pub fn data_set(&self) -> Vec<u8> {
        let big = self.syntax == BIG;
        let u16_of = |v: u16| if big { v.to_be_bytes() } else { v.to_le_bytes() };
        let u32_of = |v: u32| if big { v.to_be_bytes() } else { v.to_le_bytes() };
        let mut elements = self.elements.clone();
        elements.sort_by_key(|e| e.0);
        let mut out = Vec::new();
        for (tag, vr, value) in elements {
            out.extend(u16_of((tag >> 16) as u16));
            out.extend(u16_of(tag as u16));
            match vr {
                "fragments" => out.extend(b"OB\0\0\xFF\xFF\xFF\xFF"),
                "OB" | "OW" | "SQ" => {
                    out.extend(vr.as_bytes());
                    out.extend([0, 0]);
                    out.extend(u32_of(value.len() as u32));
                }
                _ => {
                    out.extend(vr.as_bytes());
                    out.extend(u16_of(value.len() as u16));
                }
            }
            out.extend(value);
        }
        out
    }

    pub fn file(&self) -> Vec<u8> {
        let mut meta = Object { syntax: EXPLICIT, elements: Vec::new() };
        meta.set(0x0002_0001, "OB", vec![0, 1]).text(0x0002_0002, "UI", CR).text(0x0002_0003, "UI", "2.25.1");
        meta.text(0x0002_0010, "UI", self.syntax).text(0x0002_0012, "UI", "2.25.2");
        let meta = meta.data_set();
        let mut out = vec![0; 128];
        out.extend(b"DICM\x02\0\0\0UL\x04\0");
        out.extend((meta.len() as u32).to_le_bytes());
        out.extend(meta);
        out.extend(self.data_set());
        out
    }
}

pub struct Bench {
    pub dir: TempDir,
}

impl Bench {
    pub fn new() -> Bench {
        Bench { dir: tempfile::tempdir().unwrap() }
    }

    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// Runs a tool of dcmtk from one file to another. `None`, and a message, when it is not installed.
    pub fn dcmtk(&self, tool: &str, options: &[&str], from: &Path, to: &str) -> Option<PathBuf> {
        let to = self.dir.path().join(to);
        let run = Command::new(tool).args(options).arg(from).arg(&to).stdin(Stdio::null()).output();
        match run {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                eprintln!("SKIPPED: dcmtk's {tool} is not installed");
                None
            }
            Err(e) => panic!("{tool}: {e}"),
            Ok(output) => {
                assert!(output.status.success(), "{tool} {options:?}: {}", String::from_utf8_lossy(&output.stderr));
                Some(to)
            }
        }
    }
}

pub fn plane_of(object: &Object, wanted: usize) -> Result<Plane, PixelsError> {
    read_dicom(&Bench::new().write("x.dcm", &object.file()), wanted)
}

/// The plane of an object, one value a pixel.
pub fn shown(object: &Object) -> Vec<f32> {
    plane_of(object, usize::MAX).unwrap().data
}

pub fn undecodable(object: &Object) -> String {
    match plane_of(object, 8) {
        Err(PixelsError::Undecodable(why)) => why,
        other => panic!("{other:?}"),
    }
}

pub fn unsuitable(object: &Object) -> String {
    match plane_of(object, 8) {
        Err(PixelsError::Unsuitable(why)) => why,
        other => panic!("{other:?}"),
    }
}

/// A smooth picture with an edge and some noise, values below 2^bits.
pub fn scene(columns: u16, rows: u16, bits: u16) -> Vec<u16> {
    let mut noise = 1u32;
    let mut out = Vec::new();
    for y in 0..u32::from(rows) {
        for x in 0..u32::from(columns) {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let v = x * 3000 / u32::from(columns) + if y > u32::from(rows) / 2 { 900 } else { 0 } + (noise >> 27);
            out.push((v * ((1 << bits) - 1) / 4000) as u16);
        }
    }
    out
}

pub fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}

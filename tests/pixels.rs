//! Whole files through `pixels`: every transfer syntax, every rule of display, and files that lie.
//!
//! What dcmtk's tools make or decode is the reference. Without them those tests say so and pass.

use radroute::pixels::{PixelsError, read_any, read_dicom};
use radroute::preprocess::Plane;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

const EXPLICIT: &str = "1.2.840.10008.1.2.1";
const BIG: &str = "1.2.840.10008.1.2.2";
const RLE: &str = "1.2.840.10008.1.2.5";
const BASELINE: &str = "1.2.840.10008.1.2.4.50";
const LOSSLESS: &str = "1.2.840.10008.1.2.4.70";
const JPEG_2000: &str = "1.2.840.10008.1.2.4.90";
const CR: &str = "1.2.840.10008.5.1.4.1.1.1";
const FOR_PROCESSING: &str = "1.2.840.10008.5.1.4.1.1.1.1.1";

/// An element: tag, VR, value.
type Element = (u32, &'static str, Vec<u8>);

/// A small object: what is set last for a tag counts.
#[derive(Clone)]
struct Object {
    syntax: &'static str,
    elements: Vec<Element>,
}

impl Object {
    /// A grey image of 16 bits allocated, unsigned, MONOCHROME2.
    fn new(columns: u16, rows: u16, stored: u16, values: &[u16]) -> Object {
        let mut o = Object { syntax: EXPLICIT, elements: Vec::new() };
        o.text(0x0008_0016, "UI", CR).text(0x0008_0018, "UI", "2.25.1").text(0x0028_0004, "CS", "MONOCHROME2");
        o.us(0x0028_0002, &[1]).us(0x0028_0010, &[rows]).us(0x0028_0011, &[columns]);
        o.us(0x0028_0100, &[16]).us(0x0028_0101, &[stored]).us(0x0028_0102, &[stored - 1]).us(0x0028_0103, &[0]);
        o.set(0x7FE0_0010, "OW", values.iter().flat_map(|v| v.to_le_bytes()).collect());
        o
    }

    /// The same with 8 bits.
    fn bytes(columns: u16, rows: u16, values: &[u8]) -> Object {
        let mut o = Object::new(columns, rows, 8, &[]);
        o.us(0x0028_0100, &[8]).set(0x7FE0_0010, "OB", values.to_vec());
        o
    }

    fn set(&mut self, tag: u32, vr: &'static str, value: Vec<u8>) -> &mut Object {
        self.remove(tag);
        self.elements.push((tag, vr, value));
        self
    }

    fn remove(&mut self, tag: u32) -> &mut Object {
        self.elements.retain(|e| e.0 != tag);
        self
    }

    fn us(&mut self, tag: u32, values: &[u16]) -> &mut Object {
        let big = self.syntax == BIG;
        let bytes = values.iter().flat_map(|v| if big { v.to_be_bytes() } else { v.to_le_bytes() }).collect();
        self.set(tag, "US", bytes)
    }

    fn text(&mut self, tag: u32, vr: &'static str, text: &str) -> &mut Object {
        let mut bytes = text.as_bytes().to_vec();
        if bytes.len() % 2 == 1 {
            bytes.push(if vr == "UI" { 0 } else { b' ' });
        }
        self.set(tag, vr, bytes)
    }

    fn window(&mut self, center: &str, width: &str) -> &mut Object {
        self.text(0x0028_1050, "DS", center).text(0x0028_1051, "DS", width)
    }

    /// A sequence with one LUT.
    fn lut(&mut self, tag: u32, descriptor: [u16; 3], data: &[u16]) -> &mut Object {
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
    fn fragments(&mut self, syntax: &'static str, fragments: &[&[u8]]) -> &mut Object {
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

    fn data_set(&self) -> Vec<u8> {
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

    fn file(&self) -> Vec<u8> {
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

struct Bench {
    dir: TempDir,
}

impl Bench {
    fn new() -> Bench {
        Bench { dir: tempfile::tempdir().unwrap() }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// Runs a tool of dcmtk from one file to another. `None`, and a message, when it is not installed.
    fn dcmtk(&self, tool: &str, options: &[&str], from: &Path, to: &str) -> Option<PathBuf> {
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

fn plane_of(object: &Object, wanted: usize) -> Result<Plane, PixelsError> {
    read_dicom(&Bench::new().write("x.dcm", &object.file()), wanted)
}

/// The plane of an object, one value a pixel.
fn shown(object: &Object) -> Vec<f32> {
    plane_of(object, usize::MAX).unwrap().data
}

fn undecodable(object: &Object) -> String {
    match plane_of(object, 8) {
        Err(PixelsError::Undecodable(why)) => why,
        other => panic!("{other:?}"),
    }
}

fn unsuitable(object: &Object) -> String {
    match plane_of(object, 8) {
        Err(PixelsError::Unsuitable(why)) => why,
        other => panic!("{other:?}"),
    }
}

/// A smooth picture with an edge and some noise, values below 2^bits.
fn scene(columns: u16, rows: u16, bits: u16) -> Vec<u16> {
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

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}

/// file, transfer syntax, MONOCHROME1
fn manifest() -> Vec<(PathBuf, String, bool)> {
    let text = std::fs::read_to_string(samples().join("samples.tsv")).unwrap();
    let rows = text.lines().skip(1).map(|line| {
        let cells: Vec<&str> = line.split('\t').collect();
        (samples().join(cells[0]), cells[2].to_owned(), cells[3] == "MONOCHROME1")
    });
    rows.collect()
}

// ---------------------------------------------------------------------------------------------- samples and dcmtk

#[test]
fn every_sample_reads_as_dcmtk_decodes_it() {
    let bench = Bench::new();
    let mut compared = 0;
    for (path, syntax, _) in manifest() {
        let ours = read_dicom(&path, usize::MAX).unwrap();
        let tool = match syntax.as_str() {
            JPEG_2000 => continue,
            RLE => "dcmdrle",
            BASELINE | LOSSLESS => "dcmdjpeg",
            _ => "dcmconv",
        };
        let Some(plain) = bench.dcmtk(tool, &["+te"], &path, "plain.dcm") else { return };
        let theirs = read_dicom(&plain, usize::MAX).unwrap();
        assert_eq!((ours.width, ours.height), (theirs.width, theirs.height), "{path:?}");
        // Two decoders of lossy JPEG may round differently.
        let most = if syntax == BASELINE { 1.01 / 255.0 } else { 0.0 };
        for (a, b) in ours.data.iter().zip(&theirs.data) {
            assert!((a - b).abs() <= most, "{path:?}: {a} {b}");
        }
        compared += 1;
    }
    assert_eq!(compared, 14);
}

#[test]
fn the_samples_are_bright_where_bones_are() {
    // All pictures have dark borders: with the wrong polarity they would be bright. The corners say so.
    for (path, _, monochrome1) in manifest() {
        let plane = read_dicom(&path, 224).unwrap();
        assert!(plane.width.max(plane.height) >= 224 && plane.data.len() == plane.width * plane.height);
        assert!(plane.data.iter().all(|v| (0.0..=1.0).contains(v)), "{path:?}");
        let middle = plane.data[plane.height / 2 * plane.width + plane.width / 2];
        let corners = [0, plane.width - 1, plane.data.len() - plane.width, plane.data.len() - 1];
        let darkest = corners.iter().map(|&i| plane.data[i]).fold(1.0, f32::min);
        assert!(darkest < middle, "{path:?} MONOCHROME1: {monochrome1}: {darkest} {middle}");
    }
}

#[test]
fn jpeg_2000_is_lossless_and_its_lower_resolutions_are_averages() {
    let path = samples().join("knee-1.dcm");
    let plane = read_dicom(&path, usize::MAX).unwrap();
    assert_eq!((plane.width, plane.height), (323, 400));
    // Its stored values are 256 + 10 · grey + noise from 0 to 3, and its window is c = 1536, w = 2560.
    for y in &plane.data {
        let stored = (f64::from(*y) - 0.5) * 2559.0 + 1535.5;
        assert!((stored - stored.round()).abs() < 0.01, "{stored}");
        assert!((stored.round() as i64 - 256) % 10 < 4, "{stored}");
    }
    // Four to one: by the wavelet, and by averaging what was decoded in full.
    let low = read_dicom(&path, 100).unwrap();
    assert_eq!((low.width, low.height), (81, 100));
    let mut worst = 0f32;
    for y in 0..100 {
        for x in 0..80 {
            let cell = (0..16).map(|i| plane.data[(4 * y + i / 4) * 323 + 4 * x + i % 4]).sum::<f32>() / 16.0;
            worst = worst.max((cell - low.data[y * 81 + x]).abs());
        }
    }
    assert!(worst < 0.15, "{worst}");
}

/// One image as dcmtk writes it in every lossless transfer syntax: not one value may differ.
fn same_in_all_syntaxes(object: &Object) {
    let bench = Bench::new();
    let plain = bench.write("plain.dcm", &object.file());
    for wanted in [usize::MAX, 64] {
        let expected = read_dicom(&plain, wanted).unwrap();
        for (tool, option) in [
            ("dcmconv", "+ti"),
            ("dcmconv", "+tb"),
            ("dcmconv", "+td"),
            ("dcmcrle", "+te"),
            ("dcmcjpeg", "+e1"),
            ("dcmcjpeg", "+el"),
        ] {
            let options: &[&str] = if tool == "dcmcrle" { &[] } else { &[option] };
            let Some(other) = bench.dcmtk(tool, options, &plain, "other.dcm") else { return };
            assert!(read_dicom(&other, wanted).unwrap() == expected, "{tool} {option} {wanted}");
        }
    }
}

#[test]
fn twelve_bits_are_the_same_in_all_lossless_syntaxes() {
    let mut o = Object::new(151, 133, 12, &scene(151, 133, 12));
    same_in_all_syntaxes(o.window("2000", "3000"));
}

#[test]
fn sixteen_signed_bits_are_the_same_in_all_lossless_syntaxes() {
    let values: Vec<u16> = scene(140, 150, 16).iter().map(|v| v.wrapping_sub(30_000)).collect();
    let mut o = Object::new(140, 150, 16, &values);
    same_in_all_syntaxes(o.us(0x0028_0103, &[1]).window("0", "60000"));
}

#[test]
fn eight_bits_are_the_same_in_all_lossless_syntaxes() {
    let values: Vec<u8> = scene(131, 142, 8).iter().map(|&v| v as u8).collect();
    let mut o = Object::bytes(131, 142, &values);
    same_in_all_syntaxes(o.text(0x0028_0004, "CS", "MONOCHROME1"));
}

#[test]
fn a_voi_lut_is_the_same_in_all_lossless_syntaxes() {
    let curve: Vec<u16> = (0..4096u32).map(|i| (i * i / 4096) as u16).collect();
    let mut o = Object::new(100, 90, 12, &scene(100, 90, 12));
    same_in_all_syntaxes(o.lut(0x0028_3010, [4096, 0, 12], &curve));
}

#[test]
fn baseline_jpeg_is_close() {
    let values: Vec<u8> = scene(160, 120, 8).iter().map(|&v| v as u8).collect();
    let mut o = Object::bytes(160, 120, &values);
    o.window("128", "256");
    let bench = Bench::new();
    let plain = bench.write("plain.dcm", &o.file());
    let Some(jpeg) = bench.dcmtk("dcmcjpeg", &["+eb", "+q", "95"], &plain, "jpeg.dcm") else { return };
    let (a, b) = (read_dicom(&plain, 40).unwrap(), read_dicom(&jpeg, 40).unwrap());
    assert!(a.data.iter().zip(&b.data).all(|(a, b)| (a - b).abs() < 0.03));
}

#[test]
fn jpeg_ls_is_read_or_names_the_feature() {
    let bench = Bench::new();
    let plain = bench.write("plain.dcm", &Object::new(100, 80, 12, &scene(100, 80, 12)).file());
    let Some(packed) = bench.dcmtk("dcmcjpls", &["+el"], &plain, "ls.dcm") else { return };
    match read_dicom(&packed, 100) {
        Ok(plane) => assert_eq!(plane, read_dicom(&plain, 100).unwrap()),
        Err(e) => assert!(!cfg!(feature = "charls") && e.to_string().contains("`charls`"), "{e}"),
    }
}

// ------------------------------------------------------------------------------------------------ rules of display

#[test]
fn monochrome1_is_monochrome2_turned_round() {
    let values = [0, 100, 2000, 4095];
    let turned = values.map(|v| 4095 - v);
    let two = shown(Object::new(2, 2, 12, &values).window("2048", "4096"));
    assert_eq!(two, [0.0, 100.0 / 4095.0, 2000.0 / 4095.0, 1.0]);
    let mut one = Object::new(2, 2, 12, &turned);
    one.window("2048", "4096").text(0x0028_0004, "CS", "MONOCHROME1");
    let near = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6);
    assert!(near(&shown(&one), &two));
    // INVERSE belongs to MONOCHROME1 and does not turn it back; beside MONOCHROME2 it turns the image.
    assert!(near(&shown(one.text(0x2050_0020, "CS", "INVERSE")), &two));
    assert!(near(&shown(one.text(0x0028_0004, "CS", "MONOCHROME2")), &two));
}

#[test]
fn signed_values_are_unsigned_ones_moved() {
    let unsigned = shown(Object::new(3, 1, 12, &[0, 2048, 4095]).window("2048", "4096"));
    let mut o = Object::new(3, 1, 12, &[0xF800, 0x0000, 0x07FF]);
    assert_eq!(shown(o.us(0x0028_0103, &[1]).window("0", "4096")), unsigned);
    // And a rescale moves them back.
    assert_eq!(shown(o.window("2048", "4096").text(0x0028_1052, "DS", "2048").text(0x0028_1053, "DS", "1")), unsigned);
}

#[test]
fn bytes_in_big_endian_words_are_swapped_and_others_not() {
    let mut o = Object::bytes(3, 2, &[10, 20, 30, 40, 50, 60]);
    let expected = shown(o.window("128", "256"));
    let rebuild = |vr, bytes: &[u8]| {
        let mut big = Object { syntax: BIG, elements: Vec::new() };
        big.text(0x0028_0004, "CS", "MONOCHROME2").window("128", "256").us(0x0028_0010, &[2]).us(0x0028_0011, &[3]);
        big.us(0x0028_0100, &[8]).set(0x7FE0_0010, vr, bytes.to_vec());
        big
    };
    assert_eq!(shown(&rebuild("OB", &[10, 20, 30, 40, 50, 60])), expected);
    assert_eq!(shown(&rebuild("OW", &[20, 10, 40, 30, 60, 50])), expected);
}

#[test]
fn the_first_of_several_windows_and_its_function_count() {
    let mut o = Object::new(3, 1, 12, &[0, 1024, 4096 - 1]);
    o.window("1024\\9", "2048\\1").text(0x0028_1056, "CS", "LINEAR_EXACT");
    assert_eq!(shown(&o), [0.0, 0.5, 1.0]);
    let sigmoid = shown(o.text(0x0028_1056, "CS", "SIGMOID"));
    assert!((sigmoid[0] - 0.119_202_92).abs() < 1e-6, "1 / (1 + e^2), not {}", sigmoid[0]);
}

#[test]
fn a_voi_lut_is_preferred_to_a_window_and_a_broken_one_is_not() {
    let mut o = Object::new(3, 1, 8, &[0, 1, 2]);
    o.window("1", "3").lut(0x0028_3010, [3, 0, 8], &[0, 51, 255]);
    assert_eq!(shown(&o), [0.0, 0.2, 1.0]);
    assert_eq!(shown(o.lut(0x0028_3010, [300, 0, 8], &[0, 51, 255])), [0.25, 0.75, 1.0]);
}

#[test]
fn a_modality_lut_comes_before_the_window_and_a_broken_one_is_refused() {
    let mut o = Object::new(3, 1, 8, &[5, 6, 7]);
    o.text(0x0028_1056, "CS", "LINEAR_EXACT").window("500", "1000").lut(0x0028_3000, [3, 5, 10], &[900, 500, 100]);
    assert_eq!(shown(&o), [0.9, 0.5, 0.1]);
    assert!(undecodable(o.lut(0x0028_3000, [300, 5, 10], &[1])).contains("Modality LUT"));
    // An empty sequence is none.
    o.set(0x0028_3000, "SQ", vec![]).window("6", "4");
    assert_eq!(shown(&o), [0.25, 0.5, 0.75]);
}

#[test]
fn raw_detector_data_are_spread_by_percentiles_and_never_turned_by_the_intensity_sign() {
    let mut o = Object::new(3, 1, 14, &[1000, 1500, 2000]);
    o.text(0x0008_0016, "UI", FOR_PROCESSING).window("1200", "800").text(0x0028_1040, "CS", "LIN");
    o.set(0x0028_1041, "SS", 1i16.to_le_bytes().to_vec());
    assert_eq!(shown(&o), [0.0, 0.5, 1.0]);
}

#[test]
fn padding_is_black_and_moves_no_percentile() {
    let mut o = Object::new(5, 1, 12, &[4095, 100, 200, 300, 4000]);
    o.us(0x0028_0120, &[4095]).us(0x0028_0121, &[4000]);
    assert_eq!(shown(&o), [0.0, 0.0, 0.5, 1.0, 0.0]);
    assert_eq!(shown(o.text(0x0028_0004, "CS", "MONOCHROME1")), [0.0, 1.0, 0.5, 0.0, 0.0]);
}

#[test]
fn bits_above_high_bit_are_no_part_of_the_image() {
    let mut o = Object::new(2, 1, 12, &[0xF064, 0x00C8]);
    assert_eq!(shown(o.window("200", "400")), [100.0 / 399.0, 200.0 / 399.0]);
}

// ------------------------------------------------------------------------------------------------------ files that lie

#[test]
fn colour_several_frames_and_no_pixels_are_unsuitable() {
    let base = Object::new(2, 2, 12, &[1, 2, 3, 4]);
    assert!(unsuitable(base.clone().us(0x0028_0002, &[3])).contains("3 samples"));
    assert!(unsuitable(base.clone().text(0x0028_0004, "CS", "PALETTE COLOR")).contains("Photometric"));
    assert!(unsuitable(base.clone().text(0x0028_0008, "IS", "12")).contains("12 frames"));
    assert!(unsuitable(base.clone().remove(0x7FE0_0010)).contains("no pixel data"));
}

#[test]
fn impossible_sizes_are_refused_before_anything_is_reserved() {
    let base = Object::new(2, 2, 12, &[1, 2, 3, 4]);
    assert!(undecodable(base.clone().us(0x0028_0010, &[0xFFFF]).us(0x0028_0011, &[0xFFFF])).contains("65535 × 65535"));
    assert!(undecodable(base.clone().us(0x0028_0010, &[0])).contains("2 × 0"));
    assert!(undecodable(base.clone().remove(0x0028_0010)).contains("missing"));
    assert!(undecodable(base.clone().us(0x0028_0010, &[9000]).us(0x0028_0011, &[9000])).contains("8 bytes"));
    assert!(undecodable(base.clone().us(0x0028_0100, &[32])).contains("32 bits"));
    assert!(undecodable(base.clone().us(0x0028_0101, &[20])).contains("contradict"));
    assert!(undecodable(base.clone().remove(0x0028_0004)).contains("Photometric"));
}

#[test]
fn a_file_cut_anywhere_is_an_error() {
    let bench = Bench::new();
    let whole = Object::new(4, 4, 12, &scene(4, 4, 12)).file();
    for cut in 0..whole.len() {
        let path = bench.write("cut.dcm", &whole[..cut]);
        assert!(matches!(read_dicom(&path, 8), Err(PixelsError::Undecodable(_) | PixelsError::Unsuitable(_))), "{cut}");
        assert!(read_any(&path, 8).is_err(), "{cut}");
    }
}

#[test]
fn an_element_that_claims_two_gigabytes_costs_nothing() {
    let mut file = Object::new(2, 2, 12, &[1, 2, 3, 4]).file();
    let length = file.len() - 12;
    file[length..length + 4].copy_from_slice(&0x7FFF_FFFEu32.to_le_bytes());
    let why = read_dicom(&Bench::new().write("x.dcm", &file), 8).unwrap_err().to_string();
    assert!(why.contains("claims 2147483646 bytes"), "{why}");
}

#[test]
fn fragments_that_are_missing_empty_or_misplaced_are_refused() {
    let base = Object::bytes(4, 4, &[0; 16]);
    for syntax in [RLE, BASELINE, LOSSLESS, JPEG_2000] {
        assert!(undecodable(base.clone().fragments(syntax, &[])).contains("no fragments"));
        assert!(undecodable(base.clone().fragments(syntax, &[b""])).contains("no fragments"));
        assert!(plane_of(base.clone().fragments(syntax, &[b"12"]), 8).is_err());
        let mut native = base.clone();
        native.syntax = syntax;
        assert!(undecodable(&native).contains("without fragments"));
    }
    assert!(undecodable(base.clone().fragments(EXPLICIT, &[b"12"])).contains("uncompressed"));
    assert!(undecodable(base.clone().fragments("1.2.840.10008.1.2.4.110", &[b"12"])).contains("not read"));
}

#[test]
fn a_codestream_of_another_size_never_reaches_the_decoder() {
    let mut jpeg = vec![0xFF, 0xD8, 0xFF, 0xC0, 0, 11, 8];
    jpeg.extend([0xFF, 0xFF, 0xFF, 0xFF, 1, 1, 0x11, 0, 0]);
    let base = Object::bytes(4, 4, &[0; 16]);
    assert!(undecodable(base.clone().fragments(BASELINE, &[&jpeg])).contains("65535 × 65535"));
    let mut j2k = vec![0xFF, 0x4F, 0xFF, 0x51, 0, 41, 0, 0];
    [1u32 << 31, 1 << 31, 0, 0, 1 << 31, 1 << 31, 0, 0].iter().for_each(|v| j2k.extend(v.to_be_bytes()));
    j2k.extend([0, 1, 7, 1, 1, 0]);
    assert!(undecodable(base.clone().fragments(JPEG_2000, &[&j2k])).contains("2147483648"));
}

#[test]
fn runs_that_would_unpack_to_gigabytes_fill_only_the_image() {
    let mut rle = vec![1, 0, 0, 0, 64, 0, 0, 0];
    rle.resize(64, 0);
    // Eight bytes, then 100000 runs of 128 bytes, for an image of 16.
    rle.extend([249, 50]);
    rle.extend([129, 200].repeat(100_000));
    let mut o = Object::bytes(4, 4, &[0; 16]);
    let plane = shown(o.window("128", "256").fragments(RLE, &[&rle]));
    assert_eq!((plane[..8].to_vec(), plane[8..].to_vec()), (vec![50.0 / 255.0; 8], vec![200.0 / 255.0; 8]));
    // And a table of four thousand million segments is not read.
    rle[..4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(undecodable(o.fragments(RLE, &[&rle])).contains("RLE"));
}

#[test]
fn a_frame_may_come_in_several_fragments() {
    let bytes = std::fs::read(samples().join("elbow-2.dcm")).unwrap();
    let at = bytes.windows(4).rposition(|w| w == [0xFF, 0xD8, 0xFF, 0xC3] || w == [0xFF, 0xD8, 0xFF, 0xE0]).unwrap();
    let frame = &bytes[at..bytes.len() - 8];
    let plane = read_dicom(&samples().join("elbow-2.dcm"), 100).unwrap();
    let mut o = Object::new(220, 400, 12, &[]);
    o.text(0x0028_0004, "CS", "MONOCHROME1").window("1536", "2560");
    let whole = plane_of(o.fragments(LOSSLESS, &[frame]), 100).unwrap();
    assert!(whole == plane);
    let pieces: Vec<&[u8]> = frame.chunks(10_000).collect();
    assert!(plane_of(o.fragments(LOSSLESS, &pieces), 100).unwrap() == plane);
}

#[test]
fn half_a_codestream_is_no_image() {
    let bench = Bench::new();
    for name in ["hand-1.dcm", "pelvis-2.dcm", "elbow-2.dcm", "knee-1.dcm"] {
        let bytes = std::fs::read(samples().join(name)).unwrap();
        // The last fragment: cut it, and mend its length.
        let pixels = bytes.windows(8).rposition(|w| w == b"\xE0\x7F\x10\0OB\0\0").unwrap();
        let table = u32::from_le_bytes(bytes[pixels + 16..pixels + 20].try_into().unwrap()) as usize;
        let item = pixels + 20 + table;
        for keep in [100, ((bytes.len() - item) / 2) & !1] {
            let mut cut = bytes[..item + 8 + keep].to_vec();
            cut[item + 4..item + 8].copy_from_slice(&(keep as u32).to_le_bytes());
            cut.extend([0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0]);
            match read_dicom(&bench.write("cut.dcm", &cut), 100) {
                Err(PixelsError::Undecodable(_)) => {}
                other => panic!("{name} {keep}: {:?}", other.map(|p| p.data.len())),
            }
        }
    }
}

#[test]
fn flipped_bytes_never_panic_nor_leave_the_range() {
    let bench = Bench::new();
    let mut state = 12_345u64;
    let mut random = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for name in ["hand-1.dcm", "elbow-2.dcm", "knee-1.dcm", "pelvis-2.dcm", "shoulder-1.dcm"] {
        let whole = std::fs::read(samples().join(name)).unwrap();
        for _ in 0..40 {
            let mut bytes = whole.clone();
            for _ in 0..1 + random(20) {
                let at = random(bytes.len());
                bytes[at] = random(256) as u8;
            }
            if random(4) == 0 {
                bytes.truncate(random(bytes.len()));
            }
            match read_dicom(&bench.write("flipped.dcm", &bytes), 100) {
                Ok(plane) => {
                    assert_eq!(plane.data.len(), plane.width * plane.height);
                    assert!(plane.data.iter().all(|v| (0.0..=1.0).contains(v)), "{name}");
                }
                Err(e) => assert!(!e.to_string().is_empty()),
            }
        }
    }
}

// ------------------------------------------------------------------------------------------------------------ read_any

#[test]
fn any_file_is_read_by_its_content() {
    let bench = Bench::new();
    let object = {
        let mut o = Object::bytes(3, 2, &[0, 51, 102, 153, 204, 255]);
        o.window("128", "256").clone()
    };
    let expected = shown(&object);
    let at = |path: &Path| read_any(path, 100).unwrap().data;
    assert_eq!(at(&bench.write("dicom.png", &object.file())), expected);
    assert_eq!(at(&bench.write("bare", &object.data_set())), expected);

    let grey = image::GrayImage::from_raw(3, 2, vec![0, 51, 102, 153, 204, 255]).unwrap();
    let path = bench.write("x", b"");
    grey.save_with_format(&path, image::ImageFormat::Png).unwrap();
    let near = |a: &[f32], b: &[f32]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 0.004);
    assert!(near(&at(&path), &expected));

    let deep: Vec<u16> = [0, 51, 102, 153, 204, 255u16].iter().map(|v| v * 257).collect();
    image::ImageBuffer::<image::Luma<u16>, _>::from_raw(3, 2, deep)
        .unwrap()
        .save_with_format(&path, image::ImageFormat::Png)
        .unwrap();
    assert!(near(&at(&path), &expected));

    // Luminance: green counts most, blue least.
    let colours = image::RgbImage::from_raw(3, 1, vec![255, 0, 0, 0, 255, 0, 0, 0, 255]).unwrap();
    colours.save_with_format(&path, image::ImageFormat::Png).unwrap();
    let y = at(&path);
    assert!(y[1] > y[0] && y[0] > y[2] && y[2] > 0.0, "{y:?}");

    let flat = image::GrayImage::from_pixel(40, 30, image::Luma([128]));
    flat.save_with_format(&path, image::ImageFormat::Jpeg).unwrap();
    let plane = read_any(&path, 10).unwrap();
    assert_eq!((plane.width, plane.height), (10, 8));
    assert!(plane.data.iter().all(|v| (v - 128.0 / 255.0).abs() < 0.01));
}

#[test]
fn what_is_nothing_known_is_an_error() {
    let bench = Bench::new();
    for bytes in [&b""[..], b"hello", &[0; 500], b"\x89PNG\r\n\x1A\n", &[0xFF, 0xD8, 0xFF], b"\x08\0\x16\0UI\x02\0zz"] {
        assert!(read_any(&bench.write("x", bytes), 100).is_err(), "{bytes:?}");
    }
    assert!(read_any(&bench.dir.path().join("none"), 100).is_err());
    assert!(read_any(bench.dir.path(), 100).is_err());
}

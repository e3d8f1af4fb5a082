//! Files that lie, are cut off or are damaged.

use super::object::*;
use radroute::pixels::probe::Picture;
use radroute::pixels::{PixelsError, read_any, read_dicom};

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
    assert!(undecodable(base.clone().fragments("1.2.840.10008.1.2.4.100", &[b"12"])).contains("not read"));
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
    let samples = ["hand-1.dcm", "elbow-2.dcm", "knee-1.dcm", "pelvis-2.dcm", "shoulder-1.dcm"];
    let mut files: Vec<(&str, Vec<u8>)> =
        samples.iter().map(|name| (*name, std::fs::read(super::object::samples().join(name)).unwrap())).collect();
    let picture = Picture::new(90, 70);
    let syntaxes = [LOSSLESS, "1.2.840.10008.1.2.4.57", RLE, JPEG_LS];
    files.extend(syntaxes.map(|syntax| (syntax, picture.file(syntax).unwrap())));
    for (name, whole) in files {
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

//! The samples, and one image in every transfer syntax: what dcmtk's tools make or decode is the reference.

use super::object::*;
use radroute::pixels::read_dicom;
use std::path::PathBuf;

/// file, transfer syntax, MONOCHROME1
fn manifest() -> Vec<(PathBuf, String, bool)> {
    let text = std::fs::read_to_string(samples().join("samples.tsv")).unwrap();
    let rows = text.lines().skip(1).map(|line| {
        let cells: Vec<&str> = line.split('\t').collect();
        (samples().join(cells[0]), cells[2].to_owned(), cells[3] == "MONOCHROME1")
    });
    rows.collect()
}

#[test]
fn the_samples_are_what_their_manifest_says() {
    use dicom_dictionary_std::tags;
    let text = std::fs::read_to_string(samples().join("samples.tsv")).unwrap();
    let mut listed = Vec::new();
    for cells in text.lines().skip(1).map(|line| line.split('\t').collect::<Vec<_>>()) {
        let path = samples().join(cells[0]);
        assert!(std::fs::metadata(&path).unwrap().len() < 300_000, "{path:?}");
        let object = dicom_object::open_file(&path).unwrap();
        let value = |tag| object.element_opt(tag).unwrap().map(|e| e.to_str().unwrap().trim().to_owned());
        assert_eq!(object.meta().transfer_syntax(), cells[2]);
        assert_eq!(value(tags::PHOTOMETRIC_INTERPRETATION).unwrap(), cells[3]);
        match cells[4] {
            "(absent)" => assert_eq!(value(tags::BODY_PART_EXAMINED), None),
            "(empty)" => assert_eq!(value(tags::BODY_PART_EXAMINED).unwrap(), ""),
            term => assert_eq!(value(tags::BODY_PART_EXAMINED).unwrap(), term),
        }
        // Neither 0 to 499, the training pictures of the regions, nor 0 to 149, those outside; nor what came later.
        let index: u32 = cells[6].parse().unwrap();
        let region = ["SHOULDER", "ELBOW", "HAND", "PELVIS", "KNEE"].contains(&cells[1]);
        assert!((if region { 500 } else { 150 }..1000).contains(&index), "{path:?}");
        listed.push(cells[0].to_owned());
    }
    let mut there: Vec<String> = std::fs::read_dir(samples())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".dcm"))
        .collect();
    listed.sort();
    there.sort();
    assert_eq!(listed, there);
}

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

#[test]
fn a_lower_resolution_of_jpeg_2000_gives_the_same_verdict() {
    use radroute::config::{DeviceChoice, PrecisionChoice};
    use radroute::model::Classifier;
    use radroute::preprocess::Plane;
    let weights = samples().join("../../weights/radroute.safetensors");
    let classifier = Classifier::load(&weights, DeviceChoice::Cpu, PrecisionChoice::Auto).unwrap();
    let path = samples().join("knee-1.dcm");
    let whole = read_dicom(&path, usize::MAX).unwrap();
    // Half as wide: by the wavelet, and by averages of two by two.
    let half = read_dicom(&path, 200).unwrap();
    let (width, height) = (whole.width.div_ceil(2), whole.height.div_ceil(2));
    assert_eq!((half.width, half.height), (width, height));
    let cell = |i: usize| {
        let at = |x: usize, y: usize| whole.data[y.min(whole.height - 1) * whole.width + x.min(whole.width - 1)];
        let (x, y) = (2 * (i % width), 2 * (i / width));
        (at(x, y) + at(x + 1, y) + at(x, y + 1) + at(x + 1, y + 1)) / 4.0
    };
    let averaged = Plane { width, height, data: (0..width * height).map(cell).collect() };
    let inputs = [&whole, &half, &averaged].map(|plane| classifier.input(plane));
    let scores = classifier.scores(&inputs).unwrap();
    for other in &scores[1..] {
        for (head, p) in &scores[0] {
            assert!((p - other[head]).abs() < 0.05, "{head}: {p} {}", other[head]);
        }
    }
}

/// One image as dcmtk writes it in every lossless transfer syntax: not one value may differ.
fn same_in_all_syntaxes(object: &Object) {
    let bench = Bench::new();
    let plain = bench.write("plain.dcm", &object.file());
    for wanted in [usize::MAX, 64] {
        let expected = read_dicom(&plain, wanted).unwrap();
        let mut ways: Vec<(&str, Vec<String>)> = vec![("dcmcrle", vec![])];
        ways.extend(["+ti", "+tb", "+td"].map(|option| ("dcmconv", vec![option.to_owned()])));
        ways.push(("dcmcjpeg", vec!["+e1".into()]));
        // Every predictor of JPEG Lossless.
        ways.extend((1..=7).map(|n| ("dcmcjpeg", vec!["+el".into(), "+sv".into(), n.to_string()])));
        for (tool, options) in ways {
            let options: Vec<&str> = options.iter().map(String::as_str).collect();
            let Some(other) = bench.dcmtk(tool, &options, &plain, "other.dcm") else { return };
            assert!(read_dicom(&other, wanted).unwrap() == expected, "{tool} {options:?} {wanted}");
        }
    }
}

#[test]
fn a_point_transform_of_jpeg_lossless_is_undone_as_dcmtk_does() {
    let mut o = Object::new(151, 133, 12, &scene(151, 133, 12));
    o.window("2000", "3000");
    let bench = Bench::new();
    let plain = bench.write("plain.dcm", &o.file());
    for (predictor, shift) in [("1", "2"), ("6", "3")] {
        let options = ["+el", "+sv", predictor, "+pt", shift];
        let Some(packed) = bench.dcmtk("dcmcjpeg", &options, &plain, "packed.dcm") else { return };
        let Some(theirs) = bench.dcmtk("dcmdjpeg", &["+te"], &packed, "theirs.dcm") else { return };
        let ours = read_dicom(&packed, usize::MAX).unwrap();
        assert!(ours == read_dicom(&theirs, usize::MAX).unwrap(), "{options:?}");
        assert!(ours != read_dicom(&plain, usize::MAX).unwrap(), "the low bits are gone");
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
fn jpeg_of_twelve_bits_is_what_dcmtk_decodes() {
    let bench = Bench::new();
    for (columns, rows, signed) in [(160, 120, false), (160, 120, true), (451, 333, false)] {
        let values: Vec<u16> =
            scene(columns, rows, 12).iter().map(|v| v.wrapping_sub(if signed { 2048 } else { 0 })).collect();
        let mut o = Object::new(columns, rows, 12, &values);
        o.window(if signed { "0" } else { "2048" }, "4096").us(0x0028_0103, &[u16::from(signed)]);
        let plain = bench.write("plain.dcm", &o.file());
        for quality in ["60", "95"] {
            let options = ["+ee", "+bt", "+q", quality];
            let Some(packed) = bench.dcmtk("dcmcjpeg", &options, &plain, "packed.dcm") else { return };
            let syntax = dicom_object::open_file(&packed).unwrap().meta().transfer_syntax().to_owned();
            assert_eq!(syntax.trim_end_matches('\0'), "1.2.840.10008.1.2.4.51");
            let Some(theirs) = bench.dcmtk("dcmdjpeg", &["+te"], &packed, "theirs.dcm") else { return };
            // Two decoders of lossy JPEG may round differently; and a lower resolution is no average to the last digit.
            for (wanted, most) in [(usize::MAX, 1.01 / 4095.0), (150, 0.03), (75, 0.03), (40, 0.03), (20, 0.03)] {
                let (ours, theirs) = (read_dicom(&packed, wanted).unwrap(), read_dicom(&theirs, wanted).unwrap());
                assert!(ours.width.max(ours.height) >= wanted.min(columns.into()), "{wanted}");
                if wanted == usize::MAX {
                    assert!(ours != read_dicom(&plain, wanted).unwrap(), "it is lossy");
                }
                if (ours.width, ours.height) != (theirs.width, theirs.height) {
                    // Averages of eight and then of the rest, or of all at once: cells of another size.
                    continue;
                }
                let far = ours.data.iter().zip(&theirs.data).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(far <= most, "{columns} {quality} {wanted}: {far}");
            }
        }
    }
}

#[test]
fn jpeg_of_eight_bits_by_blocks_is_what_the_library_decodes() {
    use radroute::pixels::jpeg::sequential::Decoder;
    use std::io::Read;
    let mut compared = 0;
    for (path, ..) in manifest().into_iter().filter(|(_, syntax, _)| syntax == BASELINE) {
        let object = dicom_object::open_file(&path).unwrap();
        let pixels = object.element(dicom_dictionary_std::tags::PIXEL_DATA).unwrap();
        let stream = pixels.fragments().unwrap().concat();
        let theirs = image::load_from_memory_with_format(&stream, image::ImageFormat::Jpeg).unwrap().into_luma8();
        let (columns, rows) = (theirs.width() as usize, theirs.height() as usize);
        let mut ours = Vec::new();
        Decoder::new(stream, columns, rows, 0).unwrap().read_to_end(&mut ours).unwrap();
        assert_eq!(ours.len(), theirs.len());
        assert!(ours.iter().zip(theirs.as_raw()).all(|(a, b)| a.abs_diff(*b) <= 1), "{path:?}");
        compared += 1;
    }
    assert!(compared > 0);
}

#[test]
fn jpeg_ls_is_lossless_and_near_lossless_is_near() {
    let bench = Bench::new();
    // Of several sizes: CharLS puts a fill byte into streams of an odd length.
    for (bits, columns) in [8, 12, 16].into_iter().flat_map(|bits| (100..105).map(move |columns| (bits, columns))) {
        let mut o = Object::new(columns, 80, bits, &scene(columns, 80, bits));
        let top = 1u32 << bits;
        o.window(&(top / 2).to_string(), &top.to_string());
        let plain = bench.write("plain.dcm", &o.file());
        let expected = read_dicom(&plain, 100).unwrap();
        let Some(packed) = bench.dcmtk("dcmcjpls", &["+el"], &plain, "ls.dcm") else { return };
        assert!(read_dicom(&packed, 100).unwrap() == expected, "{bits}");
        let Some(packed) = bench.dcmtk("dcmcjpls", &["+en", "+md", "3"], &plain, "near.dcm") else { return };
        let near = read_dicom(&packed, 100).unwrap();
        let most = 3.01 / (top - 1) as f32;
        assert!(near.data.iter().zip(&expected.data).all(|(a, b)| (a - b).abs() <= most), "{bits}");
    }
}

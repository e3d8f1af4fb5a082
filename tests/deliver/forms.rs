//! What arrives is what was to leave, byte for byte; and where the destination refuses its transfer syntax, the same in
//! another form.

use crate::node::*;
use crate::receivers::{self, answering, storescp};
use dicom_object::{DefaultDicomObject, open_file};
use radroute::ledger::DeliveryState;
use std::path::Path;
use std::process::Command;

/// As it came, in every transfer syntax, with and without a correction, on one association.
#[tokio::test]
async fn every_transfer_syntax_arrives_byte_for_byte() {
    if !receivers::dcmtk() {
        return;
    }
    let archive = storescp(None, &["+xa"]);
    let node = Node::start(config(&[destination("archive", archive.port, "max_associations = 1")]));
    let mut samples = Vec::new();
    for (number, (tool, options)) in [
        ("dcmconv", ["+te"]),
        ("dcmconv", ["+ti"]),
        ("dcmconv", ["+tb"]),
        ("dcmconv", ["+td"]),
        ("dcmcjpeg", ["+e1"]),
        ("dcmcrle", ["+un"]),
    ]
    .into_iter()
    .enumerate()
    {
        for corrected in [false, true] {
            let sample = radiograph(2 * number as u32 + u32::from(corrected), 12).through(tool, &options);
            node.put(&sample, corrected.then(|| sample.overlay()), &["archive"]).await;
            samples.push((sample, corrected));
        }
    }
    for (sample, corrected) in &samples {
        let life = node.state(sample, "archive", DeliveryState::Delivered).await;
        assert_eq!(life.attempts, 1);
        let arrived = Sample::open(&archive.file(&sample.uid).unwrap());
        assert_eq!(arrived.transfer_syntax, sample.transfer_syntax);
        let mut expected = if *corrected { sample.corrected() } else { sample.data_set().to_vec() };
        if sample.transfer_syntax == DEFLATED && expected.len() % 2 == 1 {
            // PS3.5 A.5; dcmconv leaves it out of its files
            expected.push(0);
        }
        assert!(arrived.data_set() == expected, "{} corrected: {corrected}", sample.transfer_syntax);
    }
    let syntaxes: std::collections::BTreeSet<_> = samples.iter().map(|(s, _)| s.transfer_syntax.clone()).collect();
    assert_eq!(syntaxes.len(), 6, "{syntaxes:?}");
    node.stop().await;
}

/// `as_received` keeps the correction away from a destination.
#[tokio::test]
async fn as_received_leaves_the_correction_out() {
    if !receivers::dcmtk() {
        return;
    }
    let (one, two) = (storescp(None, &["+xa"]), storescp(None, &["+xa"]));
    let node =
        Node::start(config(&[destination("one", one.port, "as_received = true"), destination("two", two.port, "")]));
    let sample = radiograph(1, 12);
    node.put(&sample, Some(sample.overlay()), &["one", "two"]).await;
    for name in ["one", "two"] {
        node.state(&sample, name, DeliveryState::Delivered).await;
    }
    assert!(Sample::open(&one.file(&sample.uid).unwrap()).data_set() == sample.data_set());
    assert!(Sample::open(&two.file(&sample.uid).unwrap()).data_set() == sample.corrected());
    node.stop().await;
}

/// A data set that is larger than a chunk, and one PDU exactly.
#[tokio::test]
async fn large_and_awkward_sizes() {
    if !receivers::dcmtk() {
        return;
    }
    let archive = storescp(None, &["+xa", "-pdu", "4096"]);
    let node = Node::start(config(&[destination("archive", archive.port, "")]));
    let mut samples = Vec::new();
    // Data Set Trailing Padding (FFFC,FFFC) brings the data set to the size wanted
    for (number, size) in [4090usize * 9, 4090 * 9 + 2, 4090 * 9 - 2, 4090 * 64, 3_000_000].into_iter().enumerate() {
        let mut sample = radiograph(number as u32, 12);
        let padding = size - sample.data_set().len() - 12;
        sample.file.extend([0xFC, 0xFF, 0xFC, 0xFF, b'O', b'B', 0, 0]);
        sample.file.extend((padding as u32).to_le_bytes());
        sample.file.extend((0..padding).map(|i| (i % 253) as u8));
        assert_eq!(sample.data_set().len(), size);
        node.put(&sample, None, &["archive"]).await;
        samples.push(sample);
    }
    for sample in &samples {
        node.state(sample, "archive", DeliveryState::Delivered).await;
        let arrived = Sample::open(&archive.file(&sample.uid).unwrap());
        assert!(arrived.data_set() == sample.data_set(), "{}", sample.data_set().len());
    }
    node.stop().await;
}

fn pixels(object: &DefaultDicomObject) -> Vec<u8> {
    object.element(dicom_dictionary_std::tags::PIXEL_DATA).unwrap().to_bytes().unwrap().into_owned()
}

/// What dcmdump says of a data set, without what a change of form changes: lengths, offsets, delimiters.
fn dump(path: &Path) -> Vec<String> {
    let out = Command::new("/usr/bin/dcmdump").args(["-q", "+L", "-Un", "+E"]).arg(path).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    text.lines()
        .filter(|line| line.trim_start().starts_with('(') && !line.starts_with("(0002,"))
        .filter(|line| !line.contains("(fffe,e0"))
        .map(|line| line.split('#').next().unwrap().replace("explicit length", "undefined length").trim().to_owned())
        .collect()
}

/// JPEG Lossless and RLE, 12 and 8 bits, to a destination that takes uncompressed alone: the same pixels as dcmtk decodes, and
/// every other element as it was.
#[tokio::test]
async fn refused_compression_is_decoded_losslessly() {
    if !receivers::dcmtk() {
        return;
    }
    for (option, expected_syntax, convert) in [("+xe", EXPLICIT, "+te"), ("+xi", IMPLICIT, "+ti")] {
        let archive = storescp(None, &[option]);
        let node = Node::start(config(&[destination("archive", archive.port, "")]));
        let cases = [
            ("dcmcjpeg", "+e1", "dcmdjpeg", 12),
            ("dcmcjpeg", "+e1", "dcmdjpeg", 8),
            ("dcmcjpeg", "+el", "dcmdjpeg", 12),
            ("dcmcrle", "+un", "dcmdrle", 12),
            ("dcmcrle", "+un", "dcmdrle", 8),
        ];
        for (number, (encode, how, decode, bits)) in cases.into_iter().enumerate() {
            let original = radiograph(number as u32, bits);
            let sample = original.through(encode, &[how]);
            node.put(&sample, Some(sample.overlay()), &["archive"]).await;
            let life = node.state(&sample, "archive", DeliveryState::Delivered).await;
            assert_eq!(life.attempts, 1);
            let path = archive.file(&sample.uid).unwrap();
            let arrived = open_file(&path).unwrap();
            assert_eq!(arrived.meta().transfer_syntax(), expected_syntax);
            let by_dcmtk = sample.through(decode, &[]);
            let folder = tempfile::tempdir().unwrap();
            let theirs = folder.path().join("theirs");
            std::fs::write(&theirs, &by_dcmtk.through("dcmconv", &[convert]).file).unwrap();
            assert!(pixels(&arrived) == pixels(&open_file(&theirs).unwrap()), "{encode} {how} {bits}");
            assert!(pixels(&arrived)[..61 * 47] == original_pixels(&original)[..61 * 47], "{encode} {how} {bits}");
            let expected: Vec<String> = dump(&theirs)
                .into_iter()
                .map(|line| if line.starts_with("(0018,0015)") { line.replace("HAND", "KNEE") } else { line })
                .collect();
            let same = |line: &String| !line.starts_with("(7fe0,0010)");
            let ours: Vec<String> = dump(&path).into_iter().filter(same).collect();
            assert_eq!(ours, expected.into_iter().filter(same).collect::<Vec<_>>(), "{encode} {how} {bits} {option}");
        }
        node.stop().await;
    }
}

/// JPEG Extended of 12 bits is lossy: each sample as dcmtk decodes it, but for one by which decoders may differ (ITU-T T.83).
#[tokio::test]
async fn twelve_bits_by_cosines_are_decoded() {
    if !receivers::dcmtk() {
        return;
    }
    let archive = storescp(None, &["+xe"]);
    let node = Node::start(config(&[destination("archive", archive.port, "")]));
    let sample = radiograph(1, 12).through("dcmcjpeg", &["+ee", "+q", "90"]);
    assert_eq!(sample.transfer_syntax, "1.2.840.10008.1.2.4.51");
    node.put(&sample, None, &["archive"]).await;
    node.state(&sample, "archive", DeliveryState::Delivered).await;
    let arrived = open_file(archive.file(&sample.uid).unwrap()).unwrap();
    assert_eq!(arrived.meta().transfer_syntax(), EXPLICIT);
    let (found, wanted) = (pixels(&arrived), original_pixels(&sample.through("dcmdjpeg", &[])));
    let samples = |bytes: &[u8]| bytes.as_chunks::<2>().0.iter().map(|b| u16::from_le_bytes(*b)).collect::<Vec<_>>();
    let (found, wanted) = (samples(&found), samples(&wanted));
    assert_eq!(found.len(), wanted.len());
    assert!(wanted.iter().any(|&v| v > 255), "the image says nothing of 12 bits");
    assert!(found.iter().zip(&wanted).all(|(a, b)| a.abs_diff(*b) <= 1));
    node.stop().await;
}

fn original_pixels(sample: &Sample) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("original");
    std::fs::write(&path, &sample.file).unwrap();
    pixels(&open_file(&path).unwrap())
}

/// Uncompressed to uncompressed: the other VR form, from big endian, from deflated.
#[tokio::test]
async fn refused_encodings_are_recoded() {
    if !receivers::dcmtk() {
        return;
    }
    // storescp would take Explicit VR Big Endian with +xe, too: pynetdicom takes what it is told alone
    if !receivers::pynetdicom() {
        return;
    }
    for (syntax, convert) in [(EXPLICIT, "+te"), (IMPLICIT, "+ti")] {
        let archive = answering(None, "0000", &["--syntaxes", syntax]);
        let node = Node::start(config(&[destination("archive", archive.port, "")]));
        for (number, from) in ["+te", "+ti", "+tb", "+td"].into_iter().enumerate() {
            // undefined and defined lengths
            for (shift, lengths) in ["+e", "-e"].into_iter().enumerate() {
                let sample = radiograph((2 * number + shift) as u32, 12).through("dcmconv", &[from, lengths]);
                node.put(&sample, None, &["archive"]).await;
                node.state(&sample, "archive", DeliveryState::Delivered).await;
                let path = archive.file(&sample.uid).unwrap();
                assert_eq!(Sample::open(&path).transfer_syntax, syntax);
                let folder = tempfile::tempdir().unwrap();
                let theirs = folder.path().join("theirs");
                std::fs::write(&theirs, &sample.through("dcmconv", &[convert, lengths]).file).unwrap();
                assert_eq!(dump(&path), dump(&theirs), "{from} {lengths} to {syntax}");
                assert_eq!(pixels(&open_file(&path).unwrap()), pixels(&open_file(&theirs).unwrap()));
            }
        }
        node.stop().await;
    }
}

/// Neither its own nor an uncompressed transfer syntax: a dead letter that names them. The others go on.
#[tokio::test]
async fn what_no_form_fits_is_a_dead_letter_that_says_so() {
    if !(receivers::dcmtk() && receivers::pynetdicom()) {
        return;
    }
    let archive = answering(None, "0000", &["--syntaxes", JPEG_LOSSLESS]);
    let node = Node::start(config(&[destination("archive", archive.port, "")]));
    let plain = radiograph(1, 12);
    let rle = radiograph(2, 12).through("dcmcrle", &[]);
    let lossless = radiograph(3, 12).through("dcmcjpeg", &["+e1"]);
    for sample in [&plain, &rle, &lossless] {
        node.put(sample, None, &["archive"]).await;
    }
    node.state(&lossless, "archive", DeliveryState::Delivered).await;
    for (sample, syntax) in [(&plain, EXPLICIT), (&rle, RLE)] {
        let life = node.state(sample, "archive", DeliveryState::Dead).await;
        assert!(life.detail.contains(syntax) && life.detail.contains("transfer syntax"), "{}", life.detail);
    }
    node.stop().await;
}

/// A SOP class that the destination does not know.
#[tokio::test]
async fn a_refused_sop_class_is_a_dead_letter_that_says_so() {
    if !receivers::pynetdicom() {
        return;
    }
    let archive = answering(None, "0000", &["--classes", "1.2.840.10008.5.1.4.1.1.2"]);
    let node = Node::start(config(&[destination("archive", archive.port, "")]));
    let sample = radiograph(1, 12);
    node.put(&sample, None, &["archive"]).await;
    let life = node.state(&sample, "archive", DeliveryState::Dead).await;
    assert!(life.detail.contains("SOP class") && life.detail.contains(DX), "{}", life.detail);
    node.stop().await;
}

/// A broken compressed image goes to who takes it as it is, and is a dead letter for who does not.
#[tokio::test]
async fn a_broken_image_is_forwarded_or_a_dead_letter() {
    if !receivers::dcmtk() {
        return;
    }
    let (any, plain) = (storescp(None, &["+xa"]), storescp(None, &["+xe"]));
    let node = Node::start(config(&[destination("any", any.port, ""), destination("plain", plain.port, "")]));
    for (number, tool) in ["dcmcjpeg", "dcmcrle"].into_iter().enumerate() {
        let mut sample = radiograph(number as u32, 12).through(tool, &[]);
        // into the header of the first fragment
        let at = sample.file.windows(4).position(|w| w == [0xFE, 0xFF, 0x00, 0xE0]).unwrap();
        let second = at + 8 + u32::from_le_bytes(sample.file[at + 4..at + 8].try_into().unwrap()) as usize;
        sample.file[second + 8..second + 24].fill(0x5A);
        node.put(&sample, None, &["any", "plain"]).await;
        node.state(&sample, "any", DeliveryState::Delivered).await;
        assert!(Sample::open(&any.file(&sample.uid).unwrap()).data_set() == sample.data_set());
        let life = node.state(&sample, "plain", DeliveryState::Dead).await;
        assert!(life.detail.contains("decoded"), "{}", life.detail);
    }
    node.stop().await;
}

/// Orthanc takes everything, compressed and corrected.
#[tokio::test]
async fn orthanc_stores_it() {
    if !receivers::dcmtk() {
        return;
    }
    let Some((archive, http)) = receivers::orthanc() else { return };
    let node = Node::start(config(&[destination("archive", archive.port, "")]));
    let samples =
        [radiograph(1, 12), radiograph(2, 12).through("dcmcjpeg", &["+e1"]), radiograph(3, 8).through("dcmcrle", &[])];
    for sample in &samples {
        node.put(sample, Some(sample.overlay()), &["archive"]).await;
    }
    for sample in &samples {
        node.state(sample, "archive", DeliveryState::Delivered).await;
    }
    let ids: Vec<String> = serde_json::from_slice(&receivers::get(http, "/instances")).unwrap();
    assert_eq!(ids.len(), samples.len());
    let folder = tempfile::tempdir().unwrap();
    for id in ids {
        let stored = Sample::read(receivers::get(http, &format!("/instances/{id}/file")));
        let sample = samples.iter().find(|sample| sample.uid == stored.uid).unwrap();
        assert_eq!(stored.transfer_syntax, sample.transfer_syntax);
        let (theirs, ours) = (folder.path().join("theirs"), folder.path().join("ours"));
        std::fs::write(&theirs, &stored.file).unwrap();
        std::fs::write(&ours, [&sample.file[..sample.offset], &sample.corrected()].concat()).unwrap();
        assert_eq!(dump(&theirs), dump(&ours));
        assert!(dump(&ours).iter().any(|line| line.starts_with("(0018,0015)") && line.contains("KNEE")));
    }
    node.stop().await;
}

/// JPEG 2000 Lossless comes out as another decoder (OpenJPEG, by way of pydicom) gives it; JPEG baseline as near to dcmtk's
/// decoder as two inverse transforms are.
#[tokio::test]
async fn jpeg_2000_and_baseline() {
    if !receivers::dcmtk() {
        return;
    }
    let archive = storescp(None, &["+xe"]);
    let node = Node::start(config(&[destination("archive", archive.port, "")]));
    let baseline = radiograph(1, 8).through("dcmcjpeg", &["+eb", "+q", "95"]);
    let lossless = Sample::open(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/knee-1.dcm")));
    assert_eq!(lossless.transfer_syntax, "1.2.840.10008.1.2.4.90");
    for sample in [&baseline, &lossless] {
        node.put(sample, None, &["archive"]).await;
        node.state(sample, "archive", DeliveryState::Delivered).await;
    }
    let ours = pixels(&open_file(archive.file(&baseline.uid).unwrap()).unwrap());
    let theirs = original_pixels(&baseline.through("dcmdjpeg", &[]));
    assert_eq!(ours.len(), theirs.len());
    let off = ours.iter().zip(&theirs).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
    assert!(off <= 2, "{off}");
    let arrived = open_file(archive.file(&lossless.uid).unwrap()).unwrap();
    assert_eq!(arrived.meta().transfer_syntax(), EXPLICIT);
    let values: Vec<u64> = pixels(&arrived).chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]]).into()).collect();
    assert_eq!(values.len(), 400 * 323);
    assert_eq!(values[..3], [258, 268, 259]);
    assert_eq!(values[200 * 323 + 160..][..4], [2589, 2597, 2567, 2576]);
    // depends on every value and on its place
    assert_eq!(values.iter().zip((1..=251).cycle()).map(|(value, weight)| value * weight).sum::<u64>(), 31_589_408_595);
    node.stop().await;
}

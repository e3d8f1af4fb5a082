//! dcmtk's dcmdump and dicom3tools' dciodvfy find no new fault in what leaves. Skipped, with a line that says so, where the
//! tools are not installed.

use super::generate::Set;
use super::model::*;
use super::{correction, plan, spliced};
use dicom_core::Tag;
use radroute::anatomy::Region;
use radroute::dataset::file_meta::{FileMeta, write_file_meta};
use std::collections::BTreeSet;
use std::process::Command;

const CR: &str = "1.2.840.10008.5.1.4.1.1.1";
const DX: &str = "1.2.840.10008.5.1.4.1.1.1.1";

/// A small radiograph of the given SOP class, with whatever else is in `more`.
fn radiograph(sop_class: &str, more: Vec<El>) -> Set {
    let text = |g, e, vr, v: &str| {
        let pad = if vr == "UI" && v.len() % 2 == 1 { format!("{v}\0") } else { even(v) };
        el((g, e), vr, pad)
    };
    let mut all = vec![
        text(0x0008, 0x0008, "CS", "ORIGINAL\\PRIMARY"),
        text(0x0008, 0x0016, "UI", sop_class),
        text(0x0008, 0x0018, "UI", "2.25.1"),
        text(0x0008, 0x0020, "DA", "20260101"),
        text(0x0008, 0x0030, "TM", "101010"),
        text(0x0008, 0x0050, "SH", ""),
        text(0x0008, 0x0060, "CS", if sop_class == DX { "DX" } else { "CR" }),
        text(0x0008, 0x0068, "CS", "FOR PRESENTATION"),
        text(0x0008, 0x0070, "LO", "Maker"),
        text(0x0008, 0x0090, "PN", ""),
        text(0x0010, 0x0010, "PN", ""),
        text(0x0010, 0x0020, "LO", "1"),
        text(0x0010, 0x0030, "DA", ""),
        text(0x0010, 0x0040, "CS", ""),
        text(0x0018, 0x5101, "CS", "AP"),
        text(0x0020, 0x000D, "UI", "2.25.2"),
        text(0x0020, 0x000E, "UI", "2.25.3"),
        text(0x0020, 0x0010, "SH", "1"),
        text(0x0020, 0x0011, "IS", "1"),
        text(0x0020, 0x0013, "IS", "1"),
        text(0x0020, 0x0020, "CS", "L\\F"),
        text(0x0020, 0x0062, "CS", "L"),
        text(0x0028, 0x0004, "CS", "MONOCHROME2"),
        text(0x0028, 0x0301, "CS", "NO"),
    ];
    for (e, v) in [(2, 1u16), (0x10, 2), (0x11, 2), (0x100, 16), (0x101, 12), (0x102, 11), (0x103, 0)] {
        all.push(el((0x0028, e), "US", v.to_le_bytes()));
    }
    all.push(el((0x7FE0, 0x0010), "OW", [0; 8]));
    all.extend(more);
    all.sort_by_key(|e| e.tag);
    Set { elements: all, counted: vec![], to_end: false }
}

/// What a tool complains of, one line each; `None` where it is not installed.
fn complaints(tool: &str, args: &[&str], file: &[u8]) -> Option<BTreeSet<String>> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("object.dcm");
    std::fs::write(&path, file).unwrap();
    let out = match Command::new(tool).args(args).arg(&path).output() {
        Ok(out) => out,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("skipped: {tool} is not installed");
            return None;
        }
        Err(e) => panic!("{tool}: {e}"),
    };
    let said = [out.stdout, out.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let bad = |l: &&str| ["Error", "Warning", "E: ", "W: "].iter().any(|w| l.starts_with(w));
    let mut lines: BTreeSet<String> = said.lines().filter(bad).map(str::to_owned).collect();
    if !out.status.success() && tool == "dcmdump" {
        lines.insert(format!("{tool} ended with {}", out.status));
    }
    Some(lines)
}

fn file(sop_class: &str, ts: &str, data_set: &[u8]) -> Vec<u8> {
    let meta = FileMeta {
        sop_class_uid: sop_class.into(),
        sop_instance_uid: "2.25.1".into(),
        transfer_syntax_uid: ts.into(),
        source_ae: "RADROUTE".into(),
        ..FileMeta::default()
    };
    [write_file_meta(&meta), data_set.to_vec()].concat()
}

#[test]
fn corrected_objects_give_no_new_complaint() {
    let knee = || Item { undefined: true, ..coded("72696002", "SCT", "Knee") };
    let before = |undefined| {
        let previous = seq((0x0400, 0x0550), false, vec![item(vec![el((0x0010, 0x0010), "PN", "A^B ")])]);
        let one = item(vec![
            previous,
            el((0x0400, 0x0562), "DT", "20250101101010"),
            el((0x0400, 0x0563), "LO", "OTHER "),
            el((0x0400, 0x0564), "LO", ""),
            el((0x0400, 0x0565), "CS", "COERCE"),
        ]);
        seq((0x0400, 0x0561), undefined, vec![one])
    };
    let part = |v: &str| el((0x0018, 0x0015), "CS", v);
    let region = |u| seq((0x0008, 0x2218), u, vec![knee()]);
    let cases = [
        (CR, vec![]),
        (CR, vec![part("KNEE")]),
        (CR, vec![part("knee, left")]),
        (DX, vec![part("KNEE"), region(false), before(true)]),
        (DX, vec![region(true), before(false)]),
    ];
    for (sop_class, more) in cases {
        for ts in [IMPLICIT, EXPLICIT, DEFLATED] {
            let set = Set { counted: vec![0x0008, 0x0018, 0x0400], ..radiograph(sop_class, more.clone()) };
            let came = join(&set.encode(ts), ts);
            let overlay = plan(&came, ts, &correction(Region::Hand)).unwrap().unwrap();
            let left = spliced(&came, ts, &overlay);
            for (tool, args) in [("dcmdump", &["-v", "+E"][..]), ("dciodvfy", &[]), ("dciodvfy", &["-new"])] {
                // dicom3tools do not inflate.
                let flat = tool == "dciodvfy" && ts == DEFLATED;
                let wrap =
                    |b: &[u8]| if flat { file(sop_class, EXPLICIT, &inflate(b)) } else { file(sop_class, ts, b) };
                let Some(old) = complaints(tool, args, &wrap(&came)) else { continue };
                let Some(new) = complaints(tool, args, &wrap(&left)) else { continue };
                let fresh: Vec<_> = new.difference(&old).collect();
                assert!(fresh.is_empty(), "{tool} {args:?} of {sop_class} in {ts}: {fresh:#?}");
            }
        }
    }
}

#[test]
fn the_tools_do_see_what_is_wrong() {
    // Else the test above could not fail: an Original Attributes item without what it must have.
    let empty = radiograph(CR, vec![seq((0x0400, 0x0561), false, vec![item(vec![])])]);
    let bytes = file(CR, EXPLICIT, &join(&empty.encode(EXPLICIT), EXPLICIT));
    let Some(said) = complaints("dciodvfy", &[], &bytes) else { return };
    assert!(said.iter().any(|l| l.contains("ModifyingSystem")), "{said:#?}");
    let mut cut = bytes.clone();
    cut.truncate(bytes.len() - 4);
    if let Some(said) = complaints("dcmdump", &["-v"], &cut) {
        assert!(!said.is_empty());
    }
}

#[test]
fn dcmdump_shows_the_words() {
    let set = radiograph(CR, vec![]);
    let came = join(&set.encode(BIG), BIG);
    let o = plan(&came, BIG, &correction(Region::Pelvis)).unwrap().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("object.dcm");
    std::fs::write(&path, file(CR, BIG, &spliced(&came, BIG, &o))).unwrap();
    let Ok(out) = Command::new("dcmdump").arg(&path).output() else {
        eprintln!("skipped: dcmdump is not installed");
        return;
    };
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    for (tag, word) in
        [(Tag(0x0018, 0x0015), "[PELVIS]"), (Tag(0x0040, 0xA170), ""), (Tag(0x0400, 0x0565), "[CORRECT]")]
    {
        let name = format!("({:04x},{:04x})", tag.0, tag.1);
        assert!(said.lines().any(|l| l.contains(&name) && l.contains(word)), "{name} {word} in\n{said}");
    }
}

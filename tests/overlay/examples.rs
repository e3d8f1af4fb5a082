//! One by one: what is written, when nothing is, and when it is refused.

use super::generate::Set;
use super::memory::largest;
use super::model::*;
use super::{correction, plain, plan, spliced};
use dicom_object::InMemDicomObject;
use dicom_transfer_syntax_registry::{TransferSyntaxIndex, TransferSyntaxRegistry};
use radroute::anatomy::Region;
use radroute::correct::{Correction, NotEditable, overlay};
use std::io::{Cursor, Read, Seek, SeekFrom};

fn bytes(elements: Vec<El>) -> Vec<u8> {
    join(&Set { elements, counted: vec![], to_end: false }.encode(EXPLICIT), EXPLICIT)
}

fn uids() -> Vec<El> {
    vec![el((0x0008, 0x0016), "UI", "1.2.840.10008.5.1.4.1.1.1\0"), el((0x0008, 0x0018), "UI", "2.25.1\0\0")]
}

fn with(more: impl IntoIterator<Item = El>) -> Vec<u8> {
    let mut all = uids();
    all.extend(more);
    all.sort_by_key(|e| e.tag);
    bytes(all)
}

fn part(value: &str) -> El {
    el((0x0018, 0x0015), "CS", value)
}

fn corrected(bytes: &[u8]) -> InMemDicomObject {
    let o = plan(bytes, EXPLICIT, &correction(Region::Hand)).unwrap().expect("something to write");
    let out = spliced(bytes, EXPLICIT, &o);
    InMemDicomObject::read_dataset_with_ts(&out[..], TransferSyntaxRegistry.get(EXPLICIT).unwrap()).unwrap()
}

fn modified(o: &InMemDicomObject) -> &InMemDicomObject {
    let original = o.element_by_name("OriginalAttributesSequence").unwrap().items().unwrap().last().unwrap();
    &original.element_by_name("ModifiedAttributesSequence").unwrap().items().unwrap()[0]
}

fn text(o: &InMemDicomObject, name: &str) -> String {
    o.element_by_name(name).unwrap().to_str().unwrap().into_owned()
}

#[test]
fn says_who_changed_what_and_what_was_there() {
    let o = corrected(&with([part("KNEE")]));
    assert_eq!(text(&o, "BodyPartExamined"), "HAND");
    let region = &o.element_by_name("AnatomicRegionSequence").unwrap().items().unwrap()[0];
    assert_eq!((text(region, "CodeValue"), text(region, "CodingSchemeDesignator")), ("85562004".into(), "SCT".into()));
    assert_eq!(text(modified(&o), "BodyPartExamined"), "KNEE");
    assert!(modified(&o).element_by_name("AnatomicRegionSequence").unwrap().items().unwrap().is_empty());
    let original = &o.element_by_name("OriginalAttributesSequence").unwrap().items().unwrap()[0];
    assert_eq!(text(original, "AttributeModificationDateTime"), "20261123101500.000000+0000");
    assert_eq!(text(original, "SourceOfPreviousValues"), "XRAY1");
    assert_eq!(text(original, "ModifyingSystem"), "RADROUTE");
    assert_eq!(text(original, "ReasonForTheAttributeModification"), "CORRECT");
    let equipment = &o.element_by_name("ContributingEquipmentSequence").unwrap().items().unwrap()[0];
    assert_eq!(text(equipment, "Manufacturer"), "radroute");
    assert_eq!(text(equipment, "StationName"), "RADROUTE");
    assert_eq!(text(equipment, "SoftwareVersions"), "0.1.0");
    assert_eq!(text(equipment, "ContributionDateTime"), "20261123101500.000000+0000");
    assert_eq!(text(equipment, "ContributionDescription"), "Body part named by classifier 0123456789abcdef");
    assert_eq!(text(&o, "SOPInstanceUID"), "2.25.1");
}

#[test]
fn the_audit_is_told() {
    let b = with([part("Knie "), seq((0x0008, 0x2218), true, vec![coded("T-D9200", "SRT", "Knee")])]);
    let changes = plan(&b, EXPLICIT, &correction(Region::Hand)).unwrap().unwrap().changes;
    assert_eq!(changes["0018,0015"], ("Knie".into(), "HAND".into()));
    assert_eq!(changes["0008,2218"].0, "SRT T-D9200");
    assert!(changes["0008,2218"].1.starts_with("SCT 85562004"));
    assert_eq!(changes.len(), 2);
    let latin = el((0x0008, 0x0005), "CS", "ISO_IR 100");
    let b = with([latin, el((0x0018, 0x0015), "CS", b"H\xDCFTE ")]);
    let changes = plan(&b, EXPLICIT, &correction(Region::Hand)).unwrap().unwrap().changes;
    assert_eq!(changes["0018,0015"].0, "HÜFTE");
}

#[test]
fn absent_and_empty_are_recorded_as_empty() {
    for b in [with([]), with([part("")])] {
        assert_eq!(text(modified(&corrected(&b)), "BodyPartExamined"), "");
    }
}

#[test]
fn a_value_that_breaks_its_representation_is_kept_as_bytes() {
    for raw in ["hand, left", "KNEE\\HAND ", "LEFT LOWER EXTREMITY", "ARM\0"] {
        let o = corrected(&with([part(raw)]));
        assert_eq!(text(modified(&o), "BodyPartExamined"), "", "{raw}");
        let original = &o.element_by_name("OriginalAttributesSequence").unwrap().items().unwrap()[0];
        let kept = &original.element_by_name("NonconformingModifiedAttributesSequence").unwrap().items().unwrap()[0];
        assert_eq!(
            &*kept.element_by_name("NonconformingDataElementValue").unwrap().to_bytes().unwrap(),
            raw.as_bytes()
        );
        let selector = kept.element_by_name("SelectorAttribute").unwrap().value().to_tag().unwrap();
        assert_eq!(selector, dicom_core::Tag(0x0018, 0x0015));
    }
    // Odd, but what it says conforms.
    let o = corrected(&with([part("HIP")]));
    assert_eq!(text(modified(&o), "BodyPartExamined"), "HIP");
}

#[test]
fn what_is_right_is_let_be() {
    let hand = |scheme, value| seq((0x0008, 0x2218), false, vec![coded(value, scheme, "Hand")]);
    let right = [
        with([part("HAND")]),
        with([part(" HAND ")]),
        with([part("HAND"), hand("SCT", "85562004")]),
        with([part("HAND"), hand("SRT", "T-D8700")]),
        with([part("HAND"), seq((0x0008, 0x2218), true, vec![])]),
    ];
    for b in right {
        assert_eq!(plan(&b, EXPLICIT, &correction(Region::Hand)).unwrap(), None);
    }
    // The tag names it, and only the tag was judged: another code beside it stays.
    for code in [hand("SCT", "7569003"), seq((0x0008, 0x2218), false, vec![item(vec![])])] {
        let b = with([part("HAND"), code.clone()]);
        assert_eq!(plan(&b, EXPLICIT, &correction(Region::Hand)).unwrap(), None);
        let b = with([part("MANO"), code]);
        let changes = plan(&b, EXPLICIT, &correction(Region::Hand)).unwrap().unwrap().changes;
        assert_eq!(changes.keys().collect::<Vec<_>>(), ["0018,0015"]);
    }
    // The code is right in an older scheme: it stays, byte by byte.
    let b = with([part("KNEE"), hand("SRT", "T-D8700")]);
    let changes = plan(&b, EXPLICIT, &correction(Region::Hand)).unwrap().unwrap().changes;
    assert_eq!(changes.keys().collect::<Vec<_>>(), ["0018,0015"]);
}

#[test]
fn filling_writes_only_where_nothing_is_said() {
    let fill = Correction { only_if_empty: true, ..correction(Region::Hand) };
    let knee = || seq((0x0008, 0x2218), false, vec![coded("72696002", "SCT", "Knee")]);
    let hand = || seq((0x0008, 0x2218), false, vec![coded("85562004", "SCT", "Hand")]);
    for b in [with([part("KNEE")]), with([part("EXTREMITY ")]), with([part("KNEE"), knee()])] {
        assert_eq!(plan(&b, EXPLICIT, &fill).unwrap(), None);
    }
    let unreadable = || seq((0x0008, 0x2218), false, vec![item(vec![])]);
    for b in [with([knee()]), with([part(""), knee()]), with([part(""), unreadable()])] {
        assert!(matches!(plan(&b, EXPLICIT, &fill).unwrap_err(), NotEditable::Contradicted));
    }
    // Taken as one by the site, it contradicts nothing, and stays.
    let same = Correction { same: vec!["KNEE".into()], ..fill.clone() };
    let changes = plan(&with([knee()]), EXPLICIT, &same).unwrap().unwrap().changes;
    assert_eq!(changes.keys().collect::<Vec<_>>(), ["0018,0015"]);
    for b in [with([]), with([part("")]), with([part("  ")]), with([part("\0\0"), hand()])] {
        assert!(plan(&b, EXPLICIT, &fill).unwrap().unwrap().changes.contains_key("0018,0015"));
    }
}

#[test]
fn what_cannot_be_edited_safely_is_refused() {
    let refused = |b: &[u8]| plan(b, EXPLICIT, &correction(Region::Hand)).unwrap_err();
    assert!(matches!(refused(&with([seq((0xFFFA, 0xFFFA), false, vec![])])), NotEditable::Signed));
    assert!(matches!(refused(&with([seq((0x4FFE, 0x0001), false, vec![])])), NotEditable::Signed));
    let disorder = bytes(vec![part("KNEE"), el((0x0008, 0x0060), "CS", "DX")]);
    assert!(matches!(refused(&disorder), NotEditable::OutOfOrder(_)));
    assert!(matches!(refused(&bytes(vec![part("KNEE"), part("FOOT")])), NotEditable::Doubled(_)));
    for tag in [(0x0008, 0x2218), (0x0018, 0x0015), (0x0018, 0xA001), (0x0400, 0x0561)] {
        assert!(matches!(refused(&with([el(tag, "UN", [0; 4])])), NotEditable::Representation { .. }), "{tag:?}");
    }
    let large = part("").tag;
    let large = El { tag: large, vr: *b"UT", val: Val::Bytes(vec![b'X'; 40_000]) };
    assert!(matches!(refused(&with([large])), NotEditable::TooLarge(_)));
    assert!(matches!(refused(&with([el((0x0018, 0x0000), "UL", [0; 8])])), NotEditable::GroupLength(_)));
    let cut = with([part("KNEE")]);
    assert!(matches!(refused(&cut[..cut.len() - 1]), NotEditable::Broken(_)));
    // Signed, but there is nothing to write: no reason to complain.
    let b = with([part("HAND"), seq((0xFFFA, 0xFFFA), false, vec![])]);
    assert_eq!(plan(&b, EXPLICIT, &correction(Region::Hand)).unwrap(), None);
}

#[test]
fn a_wrong_group_length_is_put_right_where_the_group_changes() {
    let mut all = uids();
    all.insert(0, el((0x0008, 0x0000), "UL", 9999u32.to_le_bytes()));
    all.push(el((0x0010, 0x0000), "UL", 8888u32.to_le_bytes()));
    all.push(el((0x0010, 0x0010), "PN", "A^B "));
    let b = bytes(all);
    let out = spliced(&b, EXPLICIT, &plan(&b, EXPLICIT, &correction(Region::Hand)).unwrap().unwrap());
    let size = out.windows(4).position(|w| w == [0x10, 0, 0, 0]).unwrap() - 12;
    assert_eq!(out[8..12], (size as u32).to_le_bytes());
    assert_eq!(out[size + 12 + 8..size + 12 + 12], 8888u32.to_le_bytes(), "a group that does not change keeps its own");
}

#[test]
fn hostile_words_of_ours_stay_ascii_and_in_bounds() {
    let what = Correction {
        station: "RÖNTGEN\\1 with a very long name that goes on and on and on and on and on and on".into(),
        description: "x".repeat(100_000),
        source_of_previous_values: String::new(),
        ..correction(Region::Pelvis)
    };
    let b = with([]);
    let out = spliced(&b, EXPLICIT, &plan(&b, EXPLICIT, &what).unwrap().unwrap());
    let o = InMemDicomObject::read_dataset_with_ts(&out[..], TransferSyntaxRegistry.get(EXPLICIT).unwrap()).unwrap();
    let equipment = &o.element_by_name("ContributingEquipmentSequence").unwrap().items().unwrap()[0];
    assert_eq!(text(equipment, "StationName"), "R?NTGEN?1 with a");
    assert_eq!(text(equipment, "ContributionDescription").len(), 1024);
}

/// A file of zeros behind a header, that counts what is read of it.
struct Sparse {
    head: Vec<u8>,
    len: u64,
    pos: u64,
    read: u64,
}

impl Read for Sparse {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let n = buf.len().min((self.len - self.pos.min(self.len)) as usize);
        for (i, b) in buf[..n].iter_mut().enumerate() {
            *b = self.head.get(self.pos as usize + i).copied().unwrap_or(0);
        }
        self.pos += n as u64;
        self.read += n as u64;
        Ok(n)
    }
}

impl Seek for Sparse {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        let to = match to {
            SeekFrom::Start(n) => Some(n),
            SeekFrom::Current(n) => self.pos.checked_add_signed(n),
            SeekFrom::End(n) => self.len.checked_add_signed(n),
        };
        self.pos = to.ok_or(std::io::ErrorKind::InvalidInput)?;
        Ok(self.pos)
    }
}

#[test]
fn planning_for_a_large_image_reads_its_header_only() {
    let mut head = with([part("KNEE")]);
    head.extend_from_slice(b"\xE0\x7F\x10\x00OW\0\0");
    head.extend_from_slice(&15_000_000u32.to_le_bytes());
    let len = head.len() as u64 + 15_000_000;
    let mut file = Sparse { head, len, pos: 0, read: 0 };
    let (o, most) = largest(|| overlay(&mut file, len, EXPLICIT, &correction(Region::Hand)).unwrap().unwrap());
    assert_eq!(o.changes["0018,0015"].1, "HAND");
    assert!(file.read < 16_384, "{} bytes were read", file.read);
    assert!(most < 65_536, "{most} bytes at once");
}

#[test]
fn a_deflated_data_set_is_edited_inside() {
    let flat = with([part("KNEE")]);
    let packed = deflate(&flat);
    let o = plan(&packed, DEFLATED, &correction(Region::Hand)).unwrap().unwrap();
    assert_eq!(
        o,
        plan(&flat, EXPLICIT, &correction(Region::Hand)).unwrap().unwrap(),
        "offsets are those of the inflated"
    );
    let out = spliced(&packed, DEFLATED, &o);
    assert_eq!(plain(&out, DEFLATED), spliced(&flat, EXPLICIT, &o));
    assert!(overlay(Cursor::new(&packed[..9]), 9, DEFLATED, &correction(Region::Hand)).is_err());
}

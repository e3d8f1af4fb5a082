//! On random data sets.

use super::generate::{Set, Style, set};
use super::memory::largest;
use super::model::*;
use super::{correction, plain, plan, spliced};
use dicom_core::Tag;
use dicom_core::header::Header;
use proptest::prelude::*;
use radroute::anatomy::Region;
use radroute::dataset::file_meta::{FileMeta, write_file_meta};
use radroute::dataset::walk::{Element, MAX_INFLATED, Summary, walk};
use radroute::dataset::{DatasetError, Encoding, Facts};
use std::io::Cursor;

const OURS: [Tag; 4] = [Tag(0x0008, 0x2218), Tag(0x0018, 0x0015), Tag(0x0018, 0xA001), Tag(0x0400, 0x0561)];

fn elements(bytes: &[u8], ts: &str) -> Result<(Vec<Element>, Summary), DatasetError> {
    let mut seen = Vec::new();
    let all = |_| 0;
    let s = walk(Cursor::new(bytes), bytes.len() as u64, Encoding::of(ts), MAX_INFLATED, all, |e, _| seen.push(*e))?;
    Ok((seen, s))
}

/// Top-level elements with their bytes, as the walk tells them.
fn taken_apart(bytes: &[u8], ts: &str) -> Vec<(Tag, Vec<u8>)> {
    let (seen, s) = elements(bytes, ts).unwrap();
    assert_eq!(s.irregular, None);
    let flat = plain(bytes, ts);
    assert_eq!(s.length, flat.len() as u64);
    seen.iter().map(|e| (e.tag, flat[e.offset as usize..e.end() as usize].to_vec())).collect()
}

fn of(set: &[(Tag, Vec<u8>)], tag: Tag) -> Option<&[u8]> {
    set.iter().find(|(t, _)| *t == tag).map(|(_, b)| &b[..])
}

fn n32(bytes: &[u8], ts: &str) -> u32 {
    let b = bytes.try_into().unwrap();
    if ts == BIG { u32::from_be_bytes(b) } else { u32::from_le_bytes(b) }
}

/// Where the value of a sequence begins, what its items are, without its delimiter.
fn items_of<'a>(element: &'a [u8], ts: &str) -> (bool, &'a [u8]) {
    let start = if ts == IMPLICIT { 8 } else { 12 };
    let undefined = element[start - 4..start] == [0xFF; 4];
    let end = if undefined { element.len() - 8 } else { element.len() };
    if !undefined {
        assert_eq!(n32(&element[start - 4..start], ts) as usize, element.len() - start, "the length of the sequence");
    }
    (undefined, &element[start..end])
}

fn contains(outer: &[u8], inner: &[u8]) -> bool {
    inner.is_empty() || outer.windows(inner.len()).any(|w| w == inner)
}

fn check(set: &Set, ts: &str, region: Region) {
    let before = set.encode(ts);
    let bytes = join(&before, ts);
    assert_eq!(taken_apart(&bytes, ts), before, "the walk visits what is there");

    let what = correction(region);
    let Some(o) = plan(&bytes, ts, &what).unwrap() else {
        // Only where it says so already.
        let part = of(&before, OURS[1]).expect("a body part");
        assert!(String::from_utf8_lossy(part).trim_end_matches(['\0', ' ']).ends_with(region.term()));
        return;
    };
    let out = spliced(&bytes, ts, &o);
    let after = taken_apart(&out, ts);

    // Every other byte, in order.
    let counts = |t: Tag| matches!(t, Tag(0x0008 | 0x0018 | 0x0400, 0) | Tag(0x0008, 0x0001));
    let others = |s: &[(Tag, Vec<u8>)]| -> Vec<(Tag, Vec<u8>)> {
        s.iter().filter(|(t, _)| !OURS.contains(t) && !counts(*t)).cloned().collect()
    };
    assert_eq!(others(&after), others(&before));
    for (i, (tag, b)) in after.iter().enumerate() {
        if tag.1 == 0 {
            let size: usize = after.iter().filter(|(t, _)| t.0 == tag.0 && t.1 != 0).map(|(_, b)| b.len()).sum();
            assert_eq!(n32(&b[b.len() - 4..], ts) as usize, size, "the length of group {:04X}", tag.0);
        }
        if *tag == Tag(8, 1) {
            let size: usize = after[i + 1..].iter().map(|(_, b)| b.len()).sum();
            assert_eq!(n32(&b[b.len() - 4..], ts) as usize, size, "length to end");
        }
    }
    assert_eq!(after.iter().filter(|(t, _)| counts(*t)).count(), before.iter().filter(|(t, _)| counts(*t)).count());

    // Existing items first and verbatim, one more behind them.
    for tag in [OURS[2], OURS[3]] {
        let (undefined, new) = items_of(of(&after, tag).unwrap(), ts);
        if let Some(old) = of(&before, tag) {
            let (was_undefined, old) = items_of(old, ts);
            assert_eq!(undefined, was_undefined);
            assert!(new.starts_with(old) && new.len() > old.len());
        }
    }
    let part = of(&after, OURS[1]).unwrap();
    assert!(part.ends_with(even(region.term()).as_bytes()));
    // What was said before is kept, byte by byte.
    let original = of(&after, OURS[3]).unwrap();
    if let Some(old) = of(&before, OURS[0])
        && of(&after, OURS[0]).unwrap() != old
    {
        assert!(contains(original, old));
    }
    if let Some(old) = of(&before, OURS[1])
        && part != old
    {
        assert!(contains(original, &old[8..]));
    }
    assert_eq!(plan(&out, ts, &what).unwrap(), None, "corrected once is corrected");
    assert_eq!(spliced(&bytes, ts, &o), out, "a retry sends the same bytes");
}

/// dicom-object reads the result and sees what was written.
fn readable(set: &Set, ts: &str) {
    let bytes = join(&set.encode(ts), ts);
    let Some(o) = plan(&bytes, ts, &correction(Region::Knee)).unwrap() else { return };
    let meta = FileMeta {
        sop_class_uid: "1.2.840.10008.5.1.4.1.1.1".into(),
        sop_instance_uid: "2.25.1".into(),
        transfer_syntax_uid: ts.into(),
        ..FileMeta::default()
    };
    let mut file = write_file_meta(&meta);
    file.extend_from_slice(&spliced(&bytes, ts, &o));
    let object = dicom_object::from_reader(&file[..]).unwrap();
    assert_eq!(object.element(OURS[1]).unwrap().to_str().unwrap(), "KNEE");
    let text = |o: &dicom_object::InMemDicomObject, t| o.element(t).unwrap().to_str().unwrap().into_owned();
    let last = |t| object.element(t).unwrap().items().unwrap().last().unwrap();
    let was = last(OURS[3]);
    assert_eq!(text(was, Tag(0x0400, 0x0563)), "RADROUTE");
    assert_eq!(text(was, Tag(0x0400, 0x0564)), "XRAY1");
    assert_eq!(text(was, Tag(0x0400, 0x0565)), "CORRECT");
    let modified = was.element(Tag(0x0400, 0x0550)).unwrap().items().unwrap();
    assert_eq!(modified.len(), 1);
    assert_eq!(modified[0].element(OURS[1]).is_ok(), o.changes.contains_key("0018,0015"));
    assert_eq!(modified[0].element(OURS[0]).is_ok(), o.changes.contains_key("0008,2218"));
    let purpose = last(OURS[2]).element(Tag(0x0040, 0xA170)).unwrap().items().unwrap();
    assert_eq!(text(&purpose[0], Tag(0x0008, 0x0100)), "109103");
    let region = &object.element(OURS[0]).unwrap().items().unwrap()[0];
    assert_eq!(text(region, Tag(0x0008, 0x0100)), "72696002");
    assert!(object.into_iter().map(|e| e.tag()).is_sorted());
}

fn damaged(mut bytes: Vec<u8>, hits: &[(prop::sample::Index, u8)], cut: Option<prop::sample::Index>) -> Vec<u8> {
    if bytes.is_empty() {
        return bytes;
    }
    for (at, b) in hits {
        let i = at.index(bytes.len());
        bytes[i] = *b;
    }
    if let Some(cut) = cut {
        bytes.truncate(cut.index(bytes.len()));
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_other_byte_leaves_as_it_came(s in set(Style::Wild), ts in prop::sample::select(ALL.to_vec()), hand in any::<bool>()) {
        check(&s, ts, if hand { Region::Hand } else { Region::Knee });
    }

    #[test]
    fn dicom_object_reads_what_leaves(s in set(Style::Tame), ts in prop::sample::select(vec![IMPLICIT, EXPLICIT, BIG, DEFLATED])) {
        readable(&s, ts);
    }

    #[test]
    fn damage_never_panics_and_no_claimed_length_is_allocated(
        s in set(Style::Wild), ts in prop::sample::select(ALL.to_vec()),
        hits in prop::collection::vec((any::<prop::sample::Index>(), prop_oneof![any::<u8>(), Just(0xFF), Just(0x7F), Just(0)]), 0..6),
        cut in prop::option::weighted(0.3, any::<prop::sample::Index>()), packed in any::<bool>(),
    ) {
        // A deflated data set is damaged before or after it is deflated.
        let bytes = if ts == DEFLATED && !packed {
            deflate(&damaged(join(&s.encode(EXPLICIT), EXPLICIT), &hits, cut))
        } else {
            damaged(join(&s.encode(ts), ts), &hits, cut)
        };
        let what = correction(Region::Elbow);
        let ((facts, planned), most) = largest(|| {
            let facts = Facts::read(&mut Cursor::new(&bytes), bytes.len() as u64, ts);
            (facts, plan(&bytes, ts, &what))
        });
        prop_assert!(most < 1 << 20, "an allocation of {most} bytes");
        if let Ok(Some(o)) = planned {
            prop_assert!(facts.is_ok());
            let out = spliced(&bytes, ts, &o);
            prop_assert_eq!(elements(&out, ts).unwrap().1.irregular, None);
            prop_assert_eq!(plan(&out, ts, &what).unwrap(), None);
        }
    }
}

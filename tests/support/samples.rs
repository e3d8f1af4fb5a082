//! The sample radiographs of `tests/data` and what should become of them.
#![allow(dead_code)]

use super::daemon::root;
use super::objects::{ANATOMIC_REGION, BODY_PART, CONTRIBUTING_EQUIPMENT, ORIGINAL_ATTRIBUTES, Object};
use std::path::PathBuf;

/// One line of `samples.tsv`.
#[derive(Clone, Debug)]
pub struct Sample {
    pub name: String,
    pub path: PathBuf,
    /// What the picture shows.
    pub region: String,
    pub object: Object,
}

const REGIONS: [(&str, &str); 5] = [
    ("SHOULDER", "16982005"),
    ("ELBOW", "16953009"),
    ("HAND", "85562004"),
    ("PELVIS", "816092008"),
    ("KNEE", "72696002"),
];

/// All samples.
pub fn samples() -> Vec<Sample> {
    let folder = root().join("tests/data");
    let table = std::fs::read_to_string(folder.join("samples.tsv")).unwrap();
    let samples: Vec<Sample> = table
        .lines()
        .skip(1)
        .map(|line| {
            let fields: Vec<&str> = line.split('\t').collect();
            let path = folder.join(fields[0]);
            Sample { name: fields[0].into(), region: fields[1].into(), object: Object::read(&path), path }
        })
        .collect();
    assert!(samples.len() >= 15, "the samples are there");
    samples
}

/// The sample of that name, without `.dcm`.
pub fn sample(name: &str) -> Sample {
    samples().into_iter().find(|s| s.name == format!("{name}.dcm")).unwrap_or_else(|| panic!("no sample {name}"))
}

impl Sample {
    /// BodyPartExamined with which it should arrive in the mode `correct`: the region's term where the tag was absent, empty,
    /// another region or too general; as it came where it was right, a synonym or the region next door, and outside the five.
    pub fn expected(&self) -> String {
        let tag = self.object.text(BODY_PART);
        let kept = !REGIONS.iter().any(|(r, _)| *r == self.region)
            || ["MANO", "HIP"].contains(&tag.as_str())
            || tag == self.region;
        if kept { tag } else { self.region.clone() }
    }
}

/// What left is what came, and where the tag changed the object says so itself (PS3.3 C.12.1.1.9).
pub fn judge(name: &str, came: &Object, left: &Object, expected: &str) {
    assert_eq!(left.transfer_syntax, came.transfer_syntax, "{name}: transfer syntax");
    assert_eq!(left.text(BODY_PART), expected, "{name}: Body Part Examined");
    assert!(left.rest() == came.rest(), "{name}: something else than the correction differs");
    if came.text(BODY_PART) == expected {
        assert_eq!(left, came, "{name}: not corrected, so identical");
        return;
    }
    let code = REGIONS.iter().find(|(r, _)| *r == expected).expect("a region").1;
    let region = left.items(ANATOMIC_REGION);
    assert_eq!(region.len(), 1, "{name}: one Anatomic Region item");
    assert_eq!((region[0].text(0x0008_0100).as_str(), region[0].text(0x0008_0102).as_str()), (code, "SCT"), "{name}");

    let (before, after) = (came.items(ORIGINAL_ATTRIBUTES), left.items(ORIGINAL_ATTRIBUTES));
    assert!(after.starts_with(&before), "{name}: earlier Original Attributes are kept");
    let added = &after[before.len()..];
    assert!((1..=2).contains(&added.len()), "{name}: {} Original Attributes items added", added.len());
    assert!(
        added.iter().all(|i| i.text(0x0400_0565) == "CORRECT"
            && !i.text(0x0400_0562).is_empty()
            && !i.text(0x0400_0563).is_empty()),
        "{name}"
    );
    let previous: Vec<Object> = added.iter().flat_map(|i| i.items(0x0400_0550)).collect();
    let tag = previous
        .iter()
        .find(|p| p.raw(BODY_PART).is_some())
        .unwrap_or_else(|| panic!("{name}: the previous tag is not kept"));
    assert_eq!(tag.text(BODY_PART), came.text(BODY_PART), "{name}: the previous value");

    let (before, after) = (came.items(CONTRIBUTING_EQUIPMENT), left.items(CONTRIBUTING_EQUIPMENT));
    assert!(
        after.starts_with(&before) && after.len() == before.len() + 1,
        "{name}: one Contributing Equipment item added"
    );
    let purpose = after[before.len()].items(0x0040_A170);
    assert_eq!(purpose.first().map(|p| p.text(0x0008_0100)).as_deref(), Some("109103"), "{name}");
    for length in [0x0008_0000, 0x0018_0000, 0x0400_0000] {
        group_length(name, left, length);
    }
}

/// A group length element, where there is one, says how many bytes of its group follow.
fn group_length(name: &str, object: &Object, tag: u32) {
    let Some(raw) = object.raw(tag) else { return };
    let four: [u8; 4] = raw[raw.len() - 4..].try_into().unwrap();
    let said = if object.transfer_syntax == super::objects::BIG_ENDIAN {
        u32::from_be_bytes(four)
    } else {
        u32::from_le_bytes(four)
    };
    let group = object
        .elements
        .iter()
        .filter(|(t, _)| t >> 16 == tag >> 16 && *t != tag)
        .map(|(_, raw)| raw.len())
        .sum::<usize>();
    assert_eq!(said as usize, group, "{name}: group length {tag:08X}");
}

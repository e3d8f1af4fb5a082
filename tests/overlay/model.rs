//! A data set as a tree, written in any encoding: an encoder of its own, so that the tests do not believe the code they test.

use dicom_core::Tag;
use std::io::Write;

pub const IMPLICIT: &str = "1.2.840.10008.1.2";
pub const EXPLICIT: &str = "1.2.840.10008.1.2.1";
pub const DEFLATED: &str = "1.2.840.10008.1.2.1.99";
pub const BIG: &str = "1.2.840.10008.1.2.2";
pub const JPEG: &str = "1.2.840.10008.1.2.4.50";
pub const ALL: [&str; 5] = [IMPLICIT, EXPLICIT, DEFLATED, BIG, JPEG];

#[derive(Clone, Debug)]
pub struct El {
    pub tag: Tag,
    pub vr: [u8; 2],
    pub val: Val,
}

#[derive(Clone, Debug)]
pub enum Val {
    Bytes(Vec<u8>),
    /// Items, and whether the length is undefined. With VR UN and undefined: implicit VR little endian inside.
    Items(Vec<Item>, bool),
    Fragments(Vec<Vec<u8>>),
}

#[derive(Clone, Debug)]
pub struct Item {
    pub elements: Vec<El>,
    pub undefined: bool,
}

pub fn el(tag: (u16, u16), vr: &str, value: impl AsRef<[u8]>) -> El {
    El { tag: Tag(tag.0, tag.1), vr: vr.as_bytes().try_into().unwrap(), val: Val::Bytes(value.as_ref().to_vec()) }
}

pub fn seq(tag: (u16, u16), undefined: bool, items: Vec<Item>) -> El {
    El { tag: Tag(tag.0, tag.1), vr: *b"SQ", val: Val::Items(items, undefined) }
}

pub fn item(elements: Vec<El>) -> Item {
    Item { elements, undefined: false }
}

/// An item of Anatomic Region Sequence.
pub fn coded(value: &str, scheme: &str, meaning: &str) -> Item {
    item(vec![
        el((0x0008, 0x0100), "SH", even(value)),
        el((0x0008, 0x0102), "SH", even(scheme)),
        el((0x0008, 0x0104), "LO", even(meaning)),
    ])
}

pub fn even(text: &str) -> String {
    if text.len() % 2 == 1 { format!("{text} ") } else { text.into() }
}

#[derive(Clone, Copy)]
struct How {
    explicit: bool,
    big: bool,
}

fn how(ts: &str) -> How {
    How { explicit: ts != IMPLICIT, big: ts == BIG }
}

impl How {
    fn n16(self, n: u16) -> [u8; 2] {
        if self.big { n.to_be_bytes() } else { n.to_le_bytes() }
    }
    fn n32(self, n: u32) -> [u8; 4] {
        if self.big { n.to_be_bytes() } else { n.to_le_bytes() }
    }
    fn tag(self, t: Tag) -> Vec<u8> {
        [self.n16(t.0), self.n16(t.1)].concat()
    }

    fn header(self, tag: Tag, vr: [u8; 2], length: u32) -> Vec<u8> {
        let mut b = self.tag(tag);
        if self.explicit && tag.0 != 0xFFFE {
            b.extend_from_slice(&vr);
            let short = "AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US";
            if short.split(' ').any(|s| s.as_bytes() == vr) {
                b.extend_from_slice(&self.n16(u16::try_from(length).unwrap()));
                return b;
            }
            b.extend_from_slice(&[0, 0]);
        }
        b.extend_from_slice(&self.n32(length));
        b
    }

    fn element(self, e: &El) -> Vec<u8> {
        let inside = if e.vr == *b"UN" { How { explicit: false, big: false } } else { self };
        let (body, undefined) = match &e.val {
            Val::Bytes(v) => (v.clone(), false),
            Val::Items(items, undefined) => {
                (items.iter().flat_map(|i| inside.item(&i.elements, i.undefined)).collect(), *undefined)
            }
            Val::Fragments(f) => {
                let one = |f: &Vec<u8>| [self.header(Tag(0xFFFE, 0xE000), [0; 2], f.len() as u32), f.clone()].concat();
                (f.iter().flat_map(one).collect::<Vec<u8>>(), true)
            }
        };
        let mut b = self.header(e.tag, e.vr, if undefined { u32::MAX } else { body.len() as u32 });
        b.extend_from_slice(&body);
        if undefined {
            b.extend_from_slice(&inside.header(Tag(0xFFFE, 0xE0DD), [0; 2], 0));
        }
        b
    }

    fn item(self, elements: &[El], undefined: bool) -> Vec<u8> {
        let body: Vec<u8> = elements.iter().flat_map(|e| self.element(e)).collect();
        let mut b = self.header(Tag(0xFFFE, 0xE000), [0; 2], if undefined { u32::MAX } else { body.len() as u32 });
        b.extend_from_slice(&body);
        if undefined {
            b.extend_from_slice(&self.header(Tag(0xFFFE, 0xE00D), [0; 2], 0));
        }
        b
    }
}

/// Every element as it is encoded, in the order given.
pub fn encode(elements: &[El], ts: &str) -> Vec<(Tag, Vec<u8>)> {
    elements.iter().map(|e| (e.tag, how(ts).element(e))).collect()
}

/// With a right group length before every group that `counted` names, and Length to End if asked for.
pub fn with_lengths(mut set: Vec<(Tag, Vec<u8>)>, counted: &[u16], to_end: bool, ts: &str) -> Vec<(Tag, Vec<u8>)> {
    let h = how(ts);
    if to_end {
        let bytes = [h.header(Tag(8, 1), *b"UL", 4), vec![0; 4]].concat();
        set.insert(0, (Tag(8, 1), bytes));
    }
    for &g in counted {
        let size: usize = set.iter().filter(|(t, _)| t.0 == g).map(|(_, b)| b.len()).sum();
        if let Some(at) = set.iter().position(|(t, _)| t.0 == g) {
            set.insert(at, (Tag(g, 0), [h.header(Tag(g, 0), *b"UL", 4), h.n32(size as u32).to_vec()].concat()));
        }
    }
    if let Some(at) = set.iter().position(|(t, _)| *t == Tag(8, 1)) {
        let after: usize = set[at + 1..].iter().map(|(_, b)| b.len()).sum();
        let n = set[at].1.len();
        set[at].1[n - 4..].copy_from_slice(&h.n32(after as u32));
    }
    set
}

/// The bytes on the wire.
pub fn join(set: &[(Tag, Vec<u8>)], ts: &str) -> Vec<u8> {
    let bytes: Vec<u8> = set.iter().flat_map(|(_, b)| b.iter().copied()).collect();
    if ts == DEFLATED { deflate(&bytes) } else { bytes }
}

pub fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut e = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    e.write_all(bytes).unwrap();
    let mut packed = e.finish().unwrap();
    if packed.len() % 2 == 1 {
        packed.push(0);
    }
    packed
}

pub fn inflate(bytes: &[u8]) -> Vec<u8> {
    use std::io::Read;
    let mut out = Vec::new();
    flate2::read::DeflateDecoder::new(bytes).read_to_end(&mut out).unwrap();
    out
}

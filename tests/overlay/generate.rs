//! Random data sets.

use super::model::*;
use dicom_core::Tag;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// How odd a data set may be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Whatever can be walked: odd lengths, unknown VRs, UN with items, wild bytes.
    Wild,
    /// What every toolkit reads.
    Tame,
}

#[derive(Clone, Debug)]
pub struct Set {
    pub elements: Vec<El>,
    pub counted: Vec<u16>,
    pub to_end: bool,
}

impl Set {
    pub fn encode(&self, ts: &str) -> Vec<(Tag, Vec<u8>)> {
        with_lengths(encode(&self.elements, ts), &self.counted, self.to_end, ts)
    }
}

const TEXTS: [((u16, u16), &str); 12] = [
    ((0x0008, 0x0005), "CS"),
    ((0x0008, 0x0016), "UI"),
    ((0x0008, 0x0018), "UI"),
    ((0x0008, 0x0060), "CS"),
    ((0x0008, 0x1030), "LO"),
    ((0x0008, 0x103E), "LO"),
    ((0x0010, 0x0010), "PN"),
    ((0x0018, 0x1000), "LO"),
    ((0x0018, 0x1400), "LO"),
    ((0x0020, 0x000D), "UI"),
    ((0x0020, 0x4000), "LT"),
    ((0x4008, 0x0300), "ST"),
];
const SEQUENCES: [(u16, u16); 4] = [(0x0008, 0x1140), (0x0018, 0x9346), (0x0040, 0xA730), (0x0054, 0x0220)];

fn bytes(style: Style) -> BoxedStrategy<Vec<u8>> {
    match style {
        Style::Wild => prop::collection::vec(any::<u8>(), 0..40).boxed(),
        Style::Tame => "[A-Z0-9]{0,16}".prop_map(|s| even(&s).into_bytes()).boxed(),
    }
}

fn leaf(style: Style) -> BoxedStrategy<El> {
    let known =
        (0..TEXTS.len(), bytes(style)).prop_map(|(i, v)| El { tag: TEXTS[i].0.into(), ..el((0, 0), TEXTS[i].1, v) });
    let number = any::<u16>().prop_map(|n| el((0x0028, 0x0010), "US", n.to_le_bytes()));
    let vrs: &[&str] = match style {
        Style::Wild => &["LO", "OB", "OW", "UN", "ZZ", "XQ", "UT", "DS", "UI", "OV", "UL"],
        Style::Tame => &["LO", "OB", "UT", "SH"],
    };
    let private = (0..4u16, 0x1000..0x1008u16, 0..vrs.len(), bytes(style))
        .prop_map(move |(g, e, vr, v)| el(([0x0009, 0x0019, 0x0401, 0x7FE1][g as usize], e), vrs[vr], v));
    prop_oneof![4 => known, 1 => number, 3 => private].boxed()
}

fn sorted(elements: Vec<El>) -> Vec<El> {
    elements.into_iter().map(|e| (e.tag, e)).collect::<BTreeMap<_, _>>().into_values().collect()
}

fn items(inner: impl Strategy<Value = El> + 'static) -> impl Strategy<Value = Vec<Item>> {
    let one = (prop::collection::vec(inner, 0..4), any::<bool>())
        .prop_map(|(e, undefined)| Item { elements: sorted(e), undefined });
    prop::collection::vec(one, 0..3)
}

fn element(style: Style) -> BoxedStrategy<El> {
    leaf(style)
        .prop_recursive(4, 40, 6, move |inner| {
            let standard = (0..SEQUENCES.len(), any::<bool>(), items(inner.clone()))
                .prop_map(|(i, undefined, items)| seq(SEQUENCES[i], undefined, items));
            let private = (any::<bool>(), items(inner.clone())).prop_map(|(u, items)| seq((0x0009, 0x1020), u, items));
            let unknown =
                items(inner.clone()).prop_map(|items| El { vr: *b"UN", ..seq((0x0019, 0x1030), true, items) });
            match style {
                Style::Wild => prop_oneof![inner, standard, private, unknown].boxed(),
                Style::Tame => prop_oneof![inner, standard].boxed(),
            }
        })
        .boxed()
}

fn region_items() -> impl Strategy<Value = Vec<Item>> {
    prop_oneof![
        Just(vec![]),
        Just(vec![coded("85562004", "SCT", "Hand")]),
        Just(vec![coded("T-D8700", "SRT", "Hand")]),
        Just(vec![coded("72696002", "SCT", "Knee")]),
        Just(vec![coded("X1", "99LOCAL", "G\u{e4}ste"), coded("85562004", "SCT", "Hand")]),
        Just(vec![Item { undefined: true, ..coded("816092008", "SCT", "Pelvis") }]),
        Just(vec![item(vec![])]),
    ]
}

fn body_part() -> impl Strategy<Value = Vec<u8>> {
    let values: [&[u8]; 11] = [
        b"",
        b"  ",
        b"HAND",
        b"KNEE",
        b"ELBOW ",
        b"hand",
        b"HIP",
        b"A\\B ",
        b"\xC4RM",
        b"ARM\0",
        b"LEFT LOWER EXTREMITY, TWO VIEWS ",
    ];
    prop::sample::select(values.to_vec()).prop_map(<[u8]>::to_vec)
}

/// A data set in which a correction has everything to meet.
pub fn set(style: Style) -> impl Strategy<Value = Set> {
    let rest = prop::collection::vec(element(style), 0..12);
    let ours = (
        prop::option::of((any::<bool>(), region_items())),
        prop::option::of(body_part()),
        prop::option::of((any::<bool>(), items(leaf(style)))),
        prop::option::of((any::<bool>(), items(leaf(style)))),
    );
    let pixels = prop::option::of(prop_oneof![
        prop::collection::vec(any::<u8>(), 0..50).prop_map(|v| (v.len() % 2 == 0).then_some(Val::Bytes(v))),
        prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 1..4).prop_map(|f| Some(Val::Fragments(f))),
    ]);
    let counted =
        prop::collection::vec(prop::sample::select(vec![0x0008u16, 0x0010, 0x0018, 0x0020, 0x0400, 0x0009]), 0..4);
    (rest, ours, pixels, counted, prop::bool::weighted(0.2)).prop_map(
        move |(mut all, (region, part, equipment, original), pixels, mut counted, to_end)| {
            all.extend(region.map(|(u, i)| seq((0x0008, 0x2218), u, i)));
            all.extend(part.map(|v| el((0x0018, 0x0015), "CS", v)));
            all.extend(equipment.map(|(u, i)| seq((0x0018, 0xA001), u, i)));
            all.extend(original.map(|(u, i)| seq((0x0400, 0x0561), u, i)));
            let vr = |v: &Val| if matches!(v, Val::Fragments(_)) { *b"OB" } else { *b"OW" };
            if style == Style::Wild {
                all.extend(pixels.flatten().map(|val| El { tag: Tag(0x7FE0, 0x0010), vr: vr(&val), val }));
            }
            counted.sort_unstable();
            counted.dedup();
            Set { elements: sorted(all), counted, to_end }
        },
    )
}

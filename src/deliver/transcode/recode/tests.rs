//! Recoding against an independent writer, and on hostile bytes.

use super::*;
use proptest::prelude::*;

const LITTLE: Form = Form { explicit: true, big: false };
const BIG: Form = Form { explicit: true, big: true };

/// Elements that hold one thing each: a tag, a VR, bytes; or items.
#[derive(Clone, Debug)]
enum El {
    Value(Tag, [u8; 2], Vec<u8>),
    Items(Tag, bool, Vec<Vec<El>>),
}

/// Writes elements in a form, by another way than the code under test: no patching, lengths from the parts.
fn write(elements: &[El], form: Form) -> Vec<u8> {
    let mut out = Vec::new();
    for element in elements {
        let (tag, vr, value, undefined) = match element {
            El::Value(tag, vr, value) => {
                let unit = match vr {
                    b"US" | b"OW" | b"AT" => 2,
                    b"UL" => 4,
                    b"FD" => 8,
                    _ => 1,
                };
                let mut value = value.clone();
                if form.big {
                    value.chunks_exact_mut(unit).for_each(<[u8]>::reverse);
                }
                (*tag, *vr, value, false)
            }
            El::Items(tag, undefined, items) => {
                let mut value = Vec::new();
                for item in items {
                    let content = write(item, form);
                    value.extend(tag_bytes(ITEM, form));
                    value.extend(form.put_u32(if *undefined { UNDEFINED } else { content.len() as u32 }));
                    value.extend(content);
                    if *undefined {
                        value.extend(tag_bytes(ITEM_END, form));
                        value.extend([0; 4]);
                    }
                }
                if *undefined {
                    value.extend(tag_bytes(SEQUENCE_END, form));
                    value.extend([0; 4]);
                }
                (*tag, *b"SQ", value, *undefined)
            }
        };
        out.extend(tag_bytes(tag, form));
        let length = if undefined { UNDEFINED } else { value.len() as u32 };
        if !form.explicit {
            out.extend(form.put_u32(length));
        } else if long(vr) {
            out.extend(vr);
            out.extend([0, 0]);
            out.extend(form.put_u32(length));
        } else {
            out.extend(vr);
            out.extend(form.put_u16(length as u16));
        }
        out.extend(value);
    }
    out
}

fn tag_bytes(tag: Tag, form: Form) -> [u8; 4] {
    let ([a, b], [c, d]) = (form.put_u16(tag.0), form.put_u16(tag.1));
    [a, b, c, d]
}

/// Tags whose VR the dictionary knows, so that implicit VR comes back as what it was.
fn value() -> impl Strategy<Value = El> {
    let bytes = |unit: usize| {
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(move |mut bytes| {
            bytes.truncate(bytes.len() / 8 * 8 / unit * unit);
            bytes
        })
    };
    prop_oneof![
        bytes(2).prop_map(|v| El::Value(Tag(0x0008, 0x0080), *b"LO", v)),
        bytes(2).prop_map(|v| El::Value(Tag(0x0028, 0x0010), *b"US", v)),
        bytes(8).prop_map(|v| El::Value(Tag(0x0018, 0x9328), *b"FD", v)),
        bytes(4).prop_map(|v| El::Value(Tag(0x0028, 0x0009), *b"AT", v)),
        bytes(4).prop_map(|v| El::Value(Tag(0x0018, 0x6018), *b"UL", v)),
        bytes(2).prop_map(|v| El::Value(Tag(0x0040, 0xA730 + 0x10), *b"UN", v)),
        bytes(2).prop_map(|v| El::Value(Tag(0x0009, 0x0010), *b"LO", v)),
        bytes(2).prop_map(|v| El::Value(Tag(0x0009, 0x1001), *b"UN", v)),
        bytes(2).prop_map(|v| El::Value(Tag(0x0028, 0x1201), *b"OW", v)),
    ]
}

fn elements() -> impl Strategy<Value = Vec<El>> {
    let leaf = proptest::collection::vec(value(), 0..5);
    leaf.prop_recursive(3, 24, 3, |inner| {
        let items = (any::<bool>(), proptest::collection::vec(inner, 0..3));
        proptest::collection::vec(
            prop_oneof![value(), items.prop_map(|(undefined, items)| El::Items(Tag(0x0008, 0x2218), undefined, items))],
            0..5,
        )
    })
}

proptest! {
    #[test]
    fn every_form_from_every_form(elements in elements()) {
        // the unknown element of group 0040 is there on purpose: nobody may swap what is not known
        for from in [LITTLE, BIG, Form::IMPLICIT] {
            let data = write(&elements, from);
            for explicit in [true, false] {
                let to = if explicit { LITTLE } else { Form::IMPLICIT };
                prop_assert_eq!(recode(&data, from, explicit, None).unwrap(), write(&elements, to));
            }
        }
    }

    #[test]
    fn no_bytes_make_it_panic(elements in elements(), from in 0usize..3, at: prop::sample::Index, with: [u8; 4], cut: prop::sample::Index) {
        let from = [LITTLE, BIG, Form::IMPLICIT][from];
        let mut data = write(&elements, from);
        if data.len() > 4 {
            let at = at.index(data.len() - 4);
            data[at..at + 4].copy_from_slice(&with);
            data.truncate(cut.index(data.len()) + 1);
        }
        for codec in [None, Some("1.2.840.10008.1.2.5")] {
            if let Ok(out) = recode(&data, from, true, codec) {
                prop_assert!(out.len() <= 2 * data.len());
            }
        }
    }
}

#[test]
fn group_lengths_go() {
    let with = [
        El::Value(Tag(0x0008, 0x0000), *b"UL", vec![9, 0, 0, 0]),
        El::Value(Tag(0x0008, 0x0080), *b"LO", b"Z\xFCrich".to_vec()),
    ];
    assert_eq!(recode(&write(&with, LITTLE), LITTLE, false, None).unwrap(), write(&with[1..], Form::IMPLICIT));
}

#[test]
fn too_long_for_its_vr_goes_as_unknown() {
    let long = vec![b'1'; 70_000];
    let implicit = write(&[El::Value(Tag(0x0028, 0x0030), *b"DS", long.clone())], Form::IMPLICIT);
    let expected = write(&[El::Value(Tag(0x0028, 0x0030), *b"UN", long)], LITTLE);
    assert_eq!(recode(&implicit, Form::IMPLICIT, true, None).unwrap(), expected);
}

#[test]
fn unknown_of_undefined_length_stays_implicit_inside() {
    // (0009,1010) UN, undefined: one item with an implicit VR element
    let inside = write(&[El::Value(Tag(0x0008, 0x0080), *b"LO", b"ab".to_vec())], Form::IMPLICIT);
    let mut data = vec![9, 0, 0x10, 0x10, b'U', b'N', 0, 0, 0xFF, 0xFF, 0xFF, 0xFF];
    data.extend(tag_bytes(ITEM, LITTLE));
    data.extend((inside.len() as u32).to_le_bytes());
    data.extend(&inside);
    data.extend(tag_bytes(SEQUENCE_END, LITTLE));
    data.extend([0; 4]);
    assert_eq!(recode(&data, LITTLE, true, None).unwrap(), data);
    let mut implicit = data[..4].to_vec();
    implicit.extend(&data[8..]);
    assert_eq!(recode(&data, LITTLE, false, None).unwrap(), implicit);
    assert_eq!(recode(&implicit, Form::IMPLICIT, true, None).unwrap(), data);
}

#[test]
fn nesting_is_bounded() {
    let mut elements = vec![];
    for _ in 0..MAX_DEPTH + 2 {
        elements = vec![El::Items(Tag(0x0008, 0x2218), false, vec![elements])];
    }
    assert!(recode(&write(&elements, LITTLE), LITTLE, true, None).is_err());
}

#[test]
fn native_pixel_data_in_an_encapsulated_transfer_syntax_do_not_leave() {
    let elements =
        [El::Value(Tag(0x0028, 0x0002), *b"US", vec![1, 0]), El::Value(PIXEL_DATA, *b"OW", vec![1, 2, 3, 4])];
    let data = write(&elements, LITTLE);
    for explicit in [true, false] {
        let error = recode(&data, LITTLE, explicit, Some("1.2.840.10008.1.2.5")).unwrap_err();
        assert!(error.to_string().contains("not encapsulated"), "{error}");
        assert!(recode(&data, LITTLE, explicit, None).is_ok());
    }
}

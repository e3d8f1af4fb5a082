//! The decoder against an encoder that follows the standard's formulas one sample at a time; tests/pixels has other people's.

use super::super::write::{Writer, category, codes};
use super::*;
use JpegError::Other;
use proptest::prelude::*;

/// How a stream is to be written.
#[derive(Clone, Copy, Debug)]
struct Form {
    columns: usize,
    rows: usize,
    precision: u32,
    transform: u32,
    predictor: u8,
    /// Lines between restarts; 0: none.
    interval: usize,
    /// Code lengths: all of 5 bits, or from 1 to 16.
    uneven: bool,
}

/// Codes of each length, for the 17 categories.
fn counts(uneven: bool) -> [u8; 16] {
    match uneven {
        // The first of 1 bit, then one a length, the last three of 16.
        true => [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2],
        false => [0, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    }
}

fn encode(values: &[u16], form: Form) -> Vec<u8> {
    let Form { columns, rows, precision, transform, predictor, interval, uneven } = form;
    let mut out = vec![0xFF, 0xD8, 0xFF, 0xE0, 0, 4, 1, 2, 0xFF, 0xC3, 0, 11, precision as u8];
    out.extend((rows as u16).to_be_bytes());
    out.extend((columns as u16).to_be_bytes());
    out.extend([1, 1, 0x11, 0, 0xFF, 0xC4, 0, 36, 2]);
    out.extend(counts(uneven));
    out.extend(0..17u8);
    if interval > 0 {
        out.extend([0xFF, 0xDD, 0, 4]);
        out.extend(((interval * columns) as u16).to_be_bytes());
    }
    out.extend([0xFF, 0xDA, 0, 8, 1, 1, 0x20, predictor, 0, transform as u8]);
    let codes = codes(&counts(uneven));
    let at = |x: usize, y: usize| i32::from(values[y * columns + x] >> transform);
    let mut bits = Writer::new(out);
    for y in 0..rows {
        let fresh = y == 0 || interval > 0 && y % interval == 0;
        if fresh && y > 0 {
            bits.pad();
            bits.out.extend([0xFF, 0xD0 + ((y / interval - 1) % 8) as u8]);
        }
        for x in 0..columns {
            let predicted = match (fresh, x, predictor) {
                (true, 0, _) => 1 << (precision - transform - 1),
                (true, ..) => at(x - 1, y),
                (_, 0, _) => at(0, y - 1),
                (_, _, 1) => at(x - 1, y),
                (_, _, 2) => at(x, y - 1),
                (_, _, 3) => at(x - 1, y - 1),
                (_, _, 4) => at(x - 1, y) + at(x, y - 1) - at(x - 1, y - 1),
                (_, _, 5) => at(x - 1, y) + ((at(x, y - 1) - at(x - 1, y - 1)) >> 1),
                (_, _, 6) => at(x, y - 1) + ((at(x - 1, y) - at(x - 1, y - 1)) >> 1),
                _ => (at(x - 1, y) + at(x, y - 1)) >> 1,
            };
            // Modulo 2¹⁶, −32767 to 32768.
            let difference = match i32::from((at(x, y) - predicted) as i16) {
                -32_768 => 32_768,
                d => d,
            };
            bits.number(codes[category(difference) as usize], difference);
        }
    }
    bits.finish()
}

fn decode(stream: Vec<u8>, form: Form) -> Result<Vec<u16>, JpegError> {
    let mut decoder = Decoder::new(stream, form.columns, form.rows)?;
    let mut values = Vec::new();
    while let Some(line) = decoder.next_line() {
        values.extend(line?.iter().map(|v| v << form.transform));
    }
    Ok(values)
}

fn forms() -> impl Strategy<Value = (Form, Vec<u16>)> {
    let sizes = (1usize..40, 1usize..30, 2u32..=16, 0u32..4, 1u8..=7, 0usize..6, any::<bool>(), any::<bool>());
    sizes.prop_flat_map(|(columns, rows, precision, transform, predictor, interval, uneven, smooth)| {
        let transform = transform.min(precision - 1);
        let form = Form { columns, rows, precision, transform, predictor, interval, uneven };
        let top = ((1u32 << precision) - 1) as u16;
        prop::collection::vec(any::<u16>(), columns * rows).prop_map(move |noise| {
            let value = |(i, v): (usize, u16)| if smooth { (i as u16).wrapping_mul(3).wrapping_add(v % 4) } else { v };
            let kept = |v: u16| (v & top) >> transform << transform;
            (form, noise.into_iter().enumerate().map(value).map(kept).collect())
        })
    })
}

proptest! {
    #[test]
    fn what_was_encoded_comes_back((form, values) in forms()) {
        prop_assert_eq!(decode(encode(&values, form), form).unwrap(), values);
    }

    #[test]
    fn a_stream_cut_short_or_changed_is_an_error_or_an_image((form, values) in forms(), at in any::<prop::sample::Index>(), bit in 0u8..8, cut in any::<bool>()) {
        let mut stream = encode(&values, form);
        let at = at.index(stream.len());
        match cut {
            true => stream.truncate(at),
            false => stream[at] ^= 1 << bit,
        }
        if let Ok(got) = decode(stream, form) {
            prop_assert_eq!(got.len(), values.len());
        }
    }

    #[test]
    fn noise_is_no_stream(noise in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = Decoder::new(noise, 16, 16);
    }
}

const PLAIN: Form = Form { columns: 7, rows: 5, precision: 12, transform: 0, predictor: 1, interval: 0, uneven: false };

fn values() -> Vec<u16> {
    (0..35).map(|i| (i * 401 % 4096) as u16).collect()
}

#[test]
fn every_cut_before_the_last_sample_is_told() {
    let stream = encode(&values(), PLAIN);
    for length in 0..stream.len() - 3 {
        assert!(decode(stream[..length].to_vec(), PLAIN).is_err(), "{length}");
    }
}

#[test]
fn bytes_are_read_line_by_line_in_little_endian() {
    let mut bytes = Vec::new();
    Decoder::new(encode(&values(), PLAIN), 7, 5).unwrap().read_to_end(&mut bytes).unwrap();
    assert!(bytes.iter().copied().eq(values().iter().flat_map(|v| v.to_le_bytes())));
    let narrow = Form { precision: 8, ..PLAIN };
    let small: Vec<u16> = values().iter().map(|v| v % 256).collect();
    bytes.clear();
    Decoder::new(encode(&small, narrow), 7, 5).unwrap().read_to_end(&mut bytes).unwrap();
    assert!(bytes.iter().map(|&b| u16::from(b)).eq(small));
}

#[test]
fn what_is_of_another_form_is_told_from_what_is_broken() {
    let stream = encode(&values(), PLAIN);
    let changed = |change: &[(usize, u8)]| {
        let mut stream = stream.clone();
        change.iter().for_each(|&(at, byte)| stream[at] = byte);
        (form(&stream), Decoder::new(stream, 7, 5).err())
    };
    // The frame header begins at 8: marker, length, precision (12), rows, columns, components (17).
    let other = |change: &[(usize, u8)]| matches!(changed(change), (Err(Other(_)), Some(Other(_))));
    let broken = |change: &[(usize, u8)]| matches!(changed(change), (_, Some(Broken(_))));
    assert!(other(&[(9, 0xC1)]) && other(&[(17, 3)]) && other(&[(13, 0), (14, 0)]));
    assert!(broken(&[(14, 6)]) && broken(&[(16, 8)]), "another size");
    assert!(broken(&[(12, 1)]) && broken(&[(12, 17)]), "bits");
    // The scan header ends the stream's head: predictor, 0, point transform.
    let scan = stream.windows(2).position(|w| w == [0xFF, 0xDA]).unwrap();
    assert!(broken(&[(scan + 7, 0)]) && broken(&[(scan + 7, 8)]), "predictor");
    assert!(broken(&[(scan + 9, 12)]), "point transform");
    assert!(broken(&[(scan + 6, 0x00)]) && broken(&[(scan + 6, 0x70)]), "a table that is not there");
    assert!(broken(&[(0, 0)]));
}

#[test]
fn a_broken_table_is_told_whether_the_scan_asks_for_it_or_not() {
    let stream = encode(&values(), PLAIN);
    let with = |destination: u8, counts: [u8; 16], categories: &[u8]| {
        let mut table = vec![0xFF, 0xC4, 0, (19 + categories.len()) as u8, destination];
        table.extend(counts);
        table.extend(categories);
        let scan = stream.windows(2).position(|w| w == [0xFF, 0xDA]).unwrap();
        let stream = [&stream[..scan], &table[..], &stream[scan..]].concat();
        decode(stream, PLAIN)
    };
    let one = |length: usize, count: u8| std::array::from_fn(|i| if i + 1 == length { count } else { 0 });
    assert_eq!(with(1, one(1, 2), &[0, 1]).unwrap(), values(), "another table, complete");
    assert!(with(1, one(1, 3), &[0, 1, 2]).is_err(), "three codes of one bit");
    assert!(with(1, one(2, 1), &[17]).is_err(), "a category that is none");
    let mut behind = one(1, 2);
    behind[4] = 1;
    assert!(with(1, behind, &[0, 1, 2]).is_err(), "a code behind the last");
    assert!(with(4, one(1, 2), &[0, 1]).is_err(), "a fifth destination");
}

#[test]
fn restarts_within_a_line_and_too_many_of_them_are_broken() {
    let form = Form { interval: 1, ..PLAIN };
    let mut stream = encode(&values(), form);
    let dri = stream.windows(2).position(|w| w == [0xFF, 0xDD]).unwrap();
    stream[dri + 5] = 6;
    assert_eq!(decode(stream.clone(), form).unwrap_err(), Broken("it restarts within a line"));
    stream[dri + 5] = 14;
    assert!(decode(stream, form).is_err());
}

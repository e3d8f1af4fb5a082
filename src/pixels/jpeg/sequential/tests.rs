//! The decoder against an encoder that follows the standard's formulas; tests/pixels has other people's.

use super::super::write::{Writer, category, codes};
use super::*;
use proptest::prelude::*;
use std::collections::HashMap;
use std::f64::consts::{FRAC_1_SQRT_2, PI};

/// How a stream is to be written, and read.
#[derive(Clone, Copy, Debug)]
struct Form {
    columns: usize,
    rows: usize,
    precision: u32,
    /// Blocks between restarts; 0: none.
    interval: usize,
    /// Quantisation steps of 16 bits.
    deep: bool,
    /// Code lengths: as few bits as there are codes, or from 1 to 16.
    uneven: bool,
    halvings: u32,
}

const PLAIN: Form = Form { columns: 21, rows: 18, precision: 12, interval: 0, deep: false, uneven: false, halvings: 0 };

impl Form {
    fn across(&self) -> usize {
        self.columns.div_ceil(8)
    }

    fn step(&self, k: usize) -> i32 {
        if self.deep { 256 + 3 * k as i32 } else { 1 + k as i32 / 2 }
    }
}

/// Codes of each length and what they stand for: class 0, then class 1.
fn tables(uneven: bool) -> [(Vec<u8>, Vec<u8>); 2] {
    let mut runs = vec![0x00, 0x01, 0xF0];
    runs.extend((0..16u8).flat_map(|run| (1..16u8).map(move |size| run << 4 | size)).filter(|s| *s != 0x01));
    let count = runs.len() as u8;
    let at = |lengths: &[(usize, u8)]| {
        let mut counts = vec![0; 16];
        lengths.iter().for_each(|&(length, n)| counts[length - 1] = n);
        counts
    };
    match uneven {
        true => [
            (vec![1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1], (0..16).collect()),
            (at(&[(1, 1), (2, 1), (16, count - 2)]), runs),
        ],
        false => [(at(&[(5, 17)]), (0..17).collect()), (at(&[(9, count)]), runs)],
    }
}

/// Code and length by symbol.
fn by_symbol((counts, symbols): &(Vec<u8>, Vec<u8>)) -> HashMap<u8, (u32, u32)> {
    symbols.iter().copied().zip(codes(counts)).collect()
}

fn cosine(x: usize, u: usize, side: usize) -> f64 {
    let scale = if u == 0 { FRAC_1_SQRT_2 } else { 1.0 };
    scale * ((2 * x + 1) as f64 * u as f64 * PI / (2 * side) as f64).cos()
}

/// The quantised coefficients of every block, row by row (A.3.3, A.3.4); the last samples are repeated beyond the edges.
fn blocks(values: &[u16], form: Form) -> Vec<[i32; 64]> {
    let middle = f64::from(1u32 << (form.precision - 1));
    let at =
        |x: usize, y: usize| f64::from(values[y.min(form.rows - 1) * form.columns + x.min(form.columns - 1)]) - middle;
    let block = |i: usize| {
        let (bx, by) = (8 * (i % form.across()), 8 * (i / form.across()));
        let mut block = [0; 64];
        for (k, place) in ZIGZAG.iter().enumerate() {
            let (u, v) = (usize::from(place % 8), usize::from(place / 8));
            let each = |p: usize| at(bx + p % 8, by + p / 8) * cosine(p % 8, u, 8) * cosine(p / 8, v, 8);
            let sum = (0..64).map(each).sum::<f64>() / 4.0;
            block[usize::from(*place)] = (sum / f64::from(form.step(k))).round() as i32;
        }
        block
    };
    (0..form.across() * form.rows.div_ceil(8)).map(block).collect()
}

fn encode(values: &[u16], form: Form) -> Vec<u8> {
    let mut out = vec![0xFF, 0xD8, 0xFF, 0xE0, 0, 4, 1, 2];
    out.extend([0xFF, 0xDB, 0, if form.deep { 131 } else { 67 }, if form.deep { 0x11 } else { 0x01 }]);
    for k in 0..64 {
        let step = form.step(k) as u16;
        out.extend(&step.to_be_bytes()[usize::from(!form.deep)..]);
    }
    out.extend([0xFF, 0xC1, 0, 11, form.precision as u8]);
    out.extend((form.rows as u16).to_be_bytes());
    out.extend((form.columns as u16).to_be_bytes());
    out.extend([1, 1, 0x22, 1]);
    let tables = tables(form.uneven);
    for (class, (counts, symbols)) in tables.iter().enumerate() {
        out.extend([0xFF, 0xC4]);
        out.extend((19 + symbols.len() as u16).to_be_bytes());
        out.push((class as u8) << 4 | 2);
        out.extend(counts);
        out.extend(symbols);
    }
    if form.interval > 0 {
        out.extend([0xFF, 0xDD, 0, 4]);
        out.extend((form.interval as u16).to_be_bytes());
    }
    out.extend([0xFF, 0xDA, 0, 8, 1, 1, 0x22, 0, 63, 0]);
    let [differences, runs] = tables.each_ref().map(by_symbol);
    let mut bits = Writer::new(out);
    let mut before = 0;
    for (i, block) in blocks(values, form).iter().enumerate() {
        if form.interval > 0 && i > 0 && i % form.interval == 0 {
            bits.pad();
            bits.out.extend([0xFF, 0xD0 + ((i / form.interval - 1) % 8) as u8]);
            before = 0;
        }
        let mut number = |table: &HashMap<u8, (u32, u32)>, run: u8, value: i32| {
            bits.number(table[&(run << 4 | category(value) as u8)], value);
        };
        number(&differences, 0, block[0] - before);
        before = block[0];
        let last = (1..64).rfind(|&k| block[usize::from(ZIGZAG[k])] != 0).unwrap_or(0);
        let mut run = 0u8;
        for place in &ZIGZAG[1..=last] {
            match block[usize::from(*place)] {
                0 if run == 15 => {
                    number(&runs, 15, 0);
                    run = 0;
                }
                0 => run += 1,
                value => {
                    number(&runs, run, value);
                    run = 0;
                }
            }
        }
        if last < 63 {
            number(&runs, 0, 0);
        }
    }
    bits.finish()
}

/// What a stream of these values is to give: the inverse transform of the lowest frequencies alone (A.3.3), orthonormal but for the
/// factor that keeps the mean.
fn expected(values: &[u16], form: Form) -> Vec<f64> {
    let side = 8 >> form.halvings;
    let (columns, rows) = (form.columns.div_ceil(8 / side), form.rows.div_ceil(8 / side));
    let blocks = blocks(values, form);
    let step: Vec<f64> = (0..64)
        .map(|place| f64::from(form.step(ZIGZAG.iter().position(|&z| usize::from(z) == place).unwrap())))
        .collect();
    let top = f64::from((1u32 << form.precision) - 1);
    let sample = |i: usize| {
        let (x, y) = (i % columns, i / columns);
        let block = &blocks[y / side * form.across() + x / side];
        let each = |p: usize| {
            let (u, v) = (p % side, p / side);
            let value = f64::from(block[8 * v + u]) * step[8 * v + u];
            value * cosine(x % side, u, side) * cosine(y % side, v, side)
        };
        let sum = (0..side * side).map(each).sum::<f64>() * 2.0 / side as f64 * side as f64 / 8.0;
        (sum + f64::from(1u32 << (form.precision - 1))).clamp(0.0, top)
    };
    (0..columns * rows).map(sample).collect()
}

fn decode(stream: Vec<u8>, form: Form) -> io::Result<Vec<u16>> {
    let mut decoder = Decoder::new(stream, form.columns, form.rows, form.halvings)?;
    let (columns, rows) = decoder.size();
    let mut bytes = Vec::new();
    decoder.read_to_end(&mut bytes)?;
    let values: Vec<u16> = match form.precision {
        8 => bytes.iter().map(|&b| b.into()).collect(),
        _ => bytes.as_chunks::<2>().0.iter().map(|b| u16::from_le_bytes(*b)).collect(),
    };
    assert_eq!(values.len(), columns * rows);
    Ok(values)
}

fn forms() -> impl Strategy<Value = (Form, Vec<u16>)> {
    let sizes =
        (1usize..40, 1usize..30, any::<bool>(), 0usize..7, any::<bool>(), any::<bool>(), 0u32..4, any::<bool>());
    sizes.prop_flat_map(|(columns, rows, twelve, interval, deep, uneven, halvings, smooth)| {
        let precision = if twelve { 12 } else { 8 };
        // Steps of 16 bits are for 12 bits alone (B.2.4.1); codes of one bit a category end at 15.
        let form = Form { columns, rows, precision, interval, deep: deep && twelve, uneven, halvings };
        prop::collection::vec(any::<u16>(), columns * rows).prop_map(move |noise| {
            let value = |(i, v): (usize, u16)| if smooth { (i as u16).wrapping_mul(3).wrapping_add(v % 4) } else { v };
            (form, noise.into_iter().enumerate().map(value).map(|v| v & ((1 << precision) - 1)).collect())
        })
    })
}

proptest! {
    #[test]
    fn what_was_encoded_comes_back_as_large_as_was_asked((form, values) in forms()) {
        let got = decode(encode(&values, form), form).unwrap();
        for (a, b) in got.iter().zip(expected(&values, form)) {
            prop_assert!((f64::from(*a) - b).abs() < 0.51, "{a} {b}");
        }
    }

    #[test]
    fn a_stream_cut_short_or_changed_is_an_error_or_an_image((form, values) in forms(), at in any::<prop::sample::Index>(), bit in 0u8..8, cut in any::<bool>()) {
        let mut stream = encode(&values, form);
        let at = at.index(stream.len());
        match cut {
            true => stream.truncate(at),
            false => stream[at] ^= 1 << bit,
        }
        if let Ok(mut decoder) = Decoder::new(stream, form.columns, form.rows, form.halvings) {
            let (columns, rows) = decoder.size();
            let mut bytes = Vec::new();
            let whole = decoder.read_to_end(&mut bytes).is_ok();
            prop_assert!(bytes.len() <= 2 * columns * rows);
            prop_assert!(!whole || bytes.len() >= columns * rows);
        }
    }

    #[test]
    fn noise_is_no_stream(noise in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = Decoder::new(noise, 16, 16, 0);
    }
}

fn values() -> Vec<u16> {
    (0..PLAIN.columns * PLAIN.rows).map(|i| (i * 401 % 4096) as u16).collect()
}

#[test]
fn every_cut_before_the_last_block_is_told() {
    let stream = encode(&values(), PLAIN);
    for length in 0..stream.len() - 4 {
        assert!(decode(stream[..length].to_vec(), PLAIN).is_err(), "{length}");
    }
}

#[test]
fn one_sample_of_a_block_is_its_mean() {
    let form = Form { columns: 16, rows: 8, halvings: 3, ..PLAIN };
    let values: Vec<u16> = (0..128).map(|i| (i % 16 * 150 + i / 16 * 40) as u16).collect();
    let mean = |block: usize| (0..64).map(|p| f64::from(values[p / 8 * 16 + block * 8 + p % 8])).sum::<f64>() / 64.0;
    let got = decode(encode(&values, form), form).unwrap();
    assert_eq!(got.len(), 2);
    assert!((0..2).all(|b| (f64::from(got[b]) - mean(b)).abs() <= 0.6), "{got:?}");
}

#[test]
fn what_is_of_another_form_is_told_from_what_is_broken() {
    let stream = encode(&values(), PLAIN);
    let refused = |change: &[(usize, u8)]| {
        let mut stream = stream.clone();
        change.iter().for_each(|&(at, byte)| stream[at] = byte);
        Decoder::new(stream, PLAIN.columns, PLAIN.rows, 0).err()
    };
    let other = |change: &[(usize, u8)]| matches!(refused(change), Some(Other(_)));
    let broken = |change: &[(usize, u8)]| matches!(refused(change), Some(Broken(_)));
    assert_eq!(refused(&[]), None);
    let find = |marker: u8| stream.windows(2).position(|w| w == [0xFF, marker]).unwrap();
    // Marker, length, precision, rows, columns, components, then one of them: number, sampling, steps.
    let frame = find(0xC1);
    assert!(other(&[(frame + 1, 0xC2)]) && other(&[(frame + 1, 0xC9)]), "progressive; arithmetic codes");
    assert!(other(&[(frame + 9, 3)]) && other(&[(frame + 5, 0), (frame + 6, 0)]));
    assert!(broken(&[(frame + 6, 19)]) && broken(&[(frame + 8, 20)]), "another size");
    assert!(broken(&[(frame + 4, 16)]) && broken(&[(frame + 12, 0)]) && broken(&[(frame + 12, 9)]), "bits; steps");
    // Marker, length, one component: number, tables; first and last coefficient, approximation.
    let scan = find(0xDA);
    assert!(other(&[(scan + 7, 1)]) && other(&[(scan + 8, 5)]) && other(&[(scan + 9, 0x10)]));
    assert!(broken(&[(scan + 6, 0x02)]) && broken(&[(scan + 6, 0x21)]) && broken(&[(scan + 6, 0x2F)]), "no table");
    assert!(broken(&[(find(0xDB) + 4, 0x21)]) && broken(&[(find(0xDB) + 4, 0x05)]), "steps");
    assert!(broken(&[(find(0xC4) + 4, 0x22)]), "a third class of tables");
}

#[test]
fn a_restart_that_does_not_come_and_one_too_many_are_broken() {
    let form = Form { interval: 2, ..PLAIN };
    let stream = encode(&values(), form);
    assert!(decode(stream.clone(), form).is_ok());
    let dri = stream.windows(2).position(|w| w == [0xFF, 0xDD]).unwrap();
    for interval in [1, 3] {
        let mut other = stream.clone();
        other[dri + 5] = interval;
        assert!(decode(other, form).is_err(), "{interval}");
    }
}

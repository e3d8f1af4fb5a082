//! JPEG Lossless, first-order prediction (ISO 10918-1, process 14, selection value 1): just enough to have something to decode.

use crate::pixels::jpeg::write::{Writer, category, codes};

/// How many codes of 1, 2, … 16 bits there are: small differences are frequent, and none is longer than 14 bits.
const CODES: [u8; 16] = [0, 1, 5, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0];

/// One grey component of `precision` bits.
pub(super) fn encode(values: &[u16], columns: u16, rows: u16, precision: u8) -> Vec<u8> {
    let mut out = vec![0xFF, 0xD8];
    let categories: Vec<u8> = (0..CODES.iter().sum()).collect();
    segment(&mut out, 0xC4, &[&[0], &CODES[..], &categories]);
    segment(&mut out, 0xC3, &[&[precision], &rows.to_be_bytes(), &columns.to_be_bytes(), &[1, 1, 0x11, 0]]);
    segment(&mut out, 0xDA, &[&[1, 1, 0, 1, 0, 0]]);
    let codes = codes(&CODES);
    let mut bits = Writer::new(out);
    let columns = usize::from(columns);
    for (i, &value) in values.iter().enumerate() {
        // The left neighbour; in the first column the one above; in the corner the middle of the range (H.1.2.1).
        let predicted = match (i % columns, i) {
            (_, 0) => 1 << (precision - 1),
            (0, _) => values[i - columns],
            _ => values[i - 1],
        };
        let difference = i32::from(value.wrapping_sub(predicted) as i16);
        bits.number(codes[category(difference) as usize], difference);
    }
    bits.finish()
}

fn segment(out: &mut Vec<u8>, marker: u8, parts: &[&[u8]]) {
    let body = parts.concat();
    out.extend_from_slice(&[0xFF, marker]);
    out.extend_from_slice(&(body.len() as u16 + 2).to_be_bytes());
    out.extend_from_slice(&body);
}

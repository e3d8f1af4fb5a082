//! JPEG Lossless, first-order prediction (ISO 10918-1, process 14, selection value 1): just enough to have something to decode.

/// How many codes of 1, 2, … 16 bits there are: small differences are frequent, and none is longer than 14 bits.
const CODES: [u8; 16] = [0, 1, 5, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0];

/// One grey component of `precision` bits.
pub(super) fn encode(values: &[u16], columns: u16, rows: u16, precision: u8) -> Vec<u8> {
    let mut out = vec![0xFF, 0xD8];
    let categories: Vec<u8> = (0..CODES.iter().sum()).collect();
    segment(&mut out, 0xC4, &[&[0], &CODES[..], &categories]);
    segment(&mut out, 0xC3, &[&[precision], &rows.to_be_bytes(), &columns.to_be_bytes(), &[1, 1, 0x11, 0]]);
    segment(&mut out, 0xDA, &[&[1, 1, 0, 1, 0, 0]]);
    let codes = codes();
    let mut bits = Bits { out, held: 0, count: 0 };
    let columns = usize::from(columns);
    for (i, &value) in values.iter().enumerate() {
        // The left neighbour; in the first column the one above; in the corner the middle of the range (H.1.2.1).
        let predicted = match (i % columns, i) {
            (_, 0) => 1 << (precision - 1),
            (0, _) => values[i - columns],
            _ => values[i - 1],
        };
        let difference = i32::from(value.wrapping_sub(predicted) as i16);
        let category = 32 - difference.unsigned_abs().leading_zeros();
        let (code, length) = codes[category as usize];
        bits.put(code, length);
        // A negative difference is written less one, of which the low bits count (F.1.2.1).
        let rest = if difference < 0 { difference - 1 } else { difference } as u32;
        bits.put(rest & ((1 << category) - 1), category);
    }
    bits.finish()
}

fn segment(out: &mut Vec<u8>, marker: u8, parts: &[&[u8]]) {
    let body = parts.concat();
    out.extend_from_slice(&[0xFF, marker]);
    out.extend_from_slice(&(body.len() as u16 + 2).to_be_bytes());
    out.extend_from_slice(&body);
}

/// Code and length of each category, in the canonical order (C.2).
fn codes() -> Vec<(u32, u32)> {
    let mut codes = Vec::new();
    let mut code = 0;
    for (length, &count) in (1..).zip(&CODES) {
        for _ in 0..count {
            codes.push((code, length));
            code += 1;
        }
        code <<= 1;
    }
    codes
}

struct Bits {
    out: Vec<u8>,
    held: u64,
    count: u32,
}

impl Bits {
    fn put(&mut self, bits: u32, length: u32) {
        self.held = self.held << length | u64::from(bits);
        self.count += length;
        while self.count >= 8 {
            self.count -= 8;
            let byte = (self.held >> self.count) as u8;
            self.out.push(byte);
            // FF begins a marker, unless 00 follows.
            if byte == 0xFF {
                self.out.push(0);
            }
        }
    }

    /// Fills the last byte with ones, and ends the image.
    fn finish(mut self) -> Vec<u8> {
        self.put(0x7F, 7);
        self.out.extend_from_slice(&[0xFF, 0xD9]);
        self.out
    }
}

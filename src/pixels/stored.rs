//! Stored values → modality values, averaged down in one pass over the rows (PS3.5 8.1.1, PS3.3 C.7.6.3, C.11.1).

use super::lut::Modality;
use super::{PixelsError, undecodable};
use std::io::Read;

/// How a stored value lies in its bytes (PS3.3 C.7.6.3.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Bytes a sample: 1 or 2.
    pub bytes: usize,
    /// Bits Stored (0028,0101).
    pub stored: u32,
    /// Bits below the value: High Bit (0028,0102) + 1 − Bits Stored.
    pub shift: u32,
    /// Pixel Representation (0028,0103): two's complement.
    pub signed: bool,
    /// Two bytes, the high one first.
    pub big: bool,
}

impl Layout {
    /// Checked against one another: 8 or 16 bits allocated, and the stored ones within.
    pub fn new(allocated: u16, stored: u16, high: u16, signed: bool, big: bool) -> Result<Layout, PixelsError> {
        if allocated != 8 && allocated != 16 {
            return Err(undecodable(format!("pixels of {allocated} bits: only 8 and 16 are read")));
        }
        if stored == 0 || stored > allocated || high >= allocated || high + 1 < stored {
            let what = format!("Bits Allocated {allocated}, Bits Stored {stored} and High Bit {high}");
            return Err(undecodable(format!("{what} contradict each other")));
        }
        let (stored, shift) = (u32::from(stored), u32::from(high + 1 - stored));
        Ok(Layout { bytes: usize::from(allocated / 8), stored, shift, signed, big })
    }

    fn mask(&self) -> u16 {
        u16::MAX >> (16 - self.stored)
    }

    /// 0 where values are unsigned: `(v ^ sign) - sign` extends the sign.
    fn sign(&self) -> u16 {
        if self.signed { 1 << (self.stored - 1) } else { 0 }
    }

    /// The value in a sample's bits; what is above High Bit (old overlays) and below falls away.
    fn value(&self, word: u16) -> i32 {
        let (v, sign) = ((word >> self.shift) & self.mask(), self.sign());
        i32::from(v ^ sign) - i32::from(sign)
    }

    /// The smallest and largest value.
    pub fn range(&self) -> (i32, i32) {
        let top = i32::from(self.mask());
        let sign = i32::from(self.sign());
        (-sign, top - sign)
    }
}

/// Pixel Padding Value and Range Limit (PS3.3 C.7.5.1.1.2), both inclusive, `low <= high`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Padding {
    pub low: i32,
    pub high: i32,
}

impl Padding {
    /// A test on samples. Some writers take a padding value that Bits Stored cannot hold: then the whole sample counts.
    fn test(self, layout: &Layout) -> impl Fn(u16, i32) -> bool + use<> {
        let (least, most) = layout.range();
        let whole = self.low < least || self.high > most;
        let (bytes, signed) = (layout.bytes, layout.signed);
        move |word, value| {
            let v = match (whole, bytes, signed) {
                (false, ..) => value,
                (true, 1, true) => i32::from(word as u8 as i8),
                (true, _, true) => i32::from(word as i16),
                (true, _, false) => i32::from(word),
            };
            self.low <= v && v <= self.high
        }
    }
}

/// Averages of modality values. NaN: nothing but padding was there.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reduced {
    pub width: usize,
    pub height: usize,
    pub data: Vec<f32>,
}

/// How many pixels a side are averaged: as many as leave a longer side of at least `wanted`.
pub(super) fn factor(columns: usize, rows: usize, wanted: usize) -> usize {
    // 32767 values of 16 bits still fit into the 31 bits of a column's sum.
    (columns.max(rows) / wanted.max(1)).clamp(1, 32_767)
}

/// Reads `rows` × `columns` samples and averages them. The last column and row of averages may cover fewer samples.
pub(super) fn reduce(
    pixels: &mut dyn Read,
    columns: usize,
    rows: usize,
    layout: &Layout,
    padding: Option<Padding>,
    modality: &Modality,
    wanted: usize,
) -> Result<Reduced, PixelsError> {
    let k = factor(columns, rows, wanted);
    let (width, height) = (columns.div_ceil(k), rows.div_ceil(k));
    let mut data = Vec::with_capacity(width * height);
    let mut row = Row { bytes: vec![0; columns * layout.bytes], words: vec![0; columns] };
    let bands = (0..rows).step_by(k).map(|y| k.min(rows - y));
    match (padding, modality) {
        // The usual case is linear, so that the modality LUT may as well be applied to the averages.
        (None, Modality::Linear { slope, intercept }) => {
            let mut sums = vec![0i32; columns];
            for band in bands {
                sums.fill(0);
                for _ in 0..band {
                    row.read(pixels, layout)?;
                    for (sum, &word) in sums.iter_mut().zip(&row.words) {
                        *sum += layout.value(word);
                    }
                }
                data.extend(sums.chunks(k).map(|cell| {
                    let sum: i64 = cell.iter().map(|&s| i64::from(s)).sum();
                    (slope * (sum as f64 / (cell.len() * band) as f64) + intercept) as f32
                }));
            }
        }
        _ => {
            // Nothing is padding where low is above high.
            let padded = padding.unwrap_or(Padding { low: 1, high: 0 }).test(layout);
            let mut cells = vec![(0f64, 0u32); width];
            for band in bands {
                cells.fill((0.0, 0));
                for _ in 0..band {
                    row.read(pixels, layout)?;
                    for (cell, words) in cells.iter_mut().zip(row.words.chunks(k)) {
                        for &word in words {
                            let value = layout.value(word);
                            if !padded(word, value) {
                                cell.0 += modality.apply(value);
                                cell.1 += 1;
                            }
                        }
                    }
                }
                data.extend(cells.iter().map(|&(sum, n)| (sum / f64::from(n)) as f32));
            }
        }
    }
    Ok(Reduced { width, height, data })
}

/// One row: as it comes, and as samples.
struct Row {
    bytes: Vec<u8>,
    words: Vec<u16>,
}

impl Row {
    fn read(&mut self, pixels: &mut dyn Read, layout: &Layout) -> Result<(), PixelsError> {
        pixels.read_exact(&mut self.bytes)?;
        let pairs = self.bytes.chunks_exact(2).map(|b| [b[0], b[1]]);
        match (layout.bytes, layout.big) {
            (1, _) => self.words.iter_mut().zip(&self.bytes).for_each(|(w, &b)| *w = b.into()),
            (_, false) => self.words.iter_mut().zip(pairs).for_each(|(w, b)| *w = u16::from_le_bytes(b)),
            (_, true) => self.words.iter_mut().zip(pairs).for_each(|(w, b)| *w = u16::from_be_bytes(b)),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pixels::lut::Table;

    const PLAIN: Modality = Modality::Linear { slope: 1.0, intercept: 0.0 };

    fn le(values: &[u16]) -> Vec<u8> {
        values.iter().flat_map(|v| v.to_le_bytes()).collect()
    }

    fn run(
        bytes: &[u8],
        columns: usize,
        layout: Layout,
        padding: Option<Padding>,
        lut: &Modality,
        k: usize,
    ) -> Reduced {
        let rows = bytes.len() / columns / layout.bytes;
        reduce(&mut &bytes[..], columns, rows, &layout, padding, lut, columns.max(rows) / k).unwrap()
    }

    #[test]
    fn bits_above_high_bit_are_masked_and_bits_below_dropped() {
        let layout = Layout::new(16, 12, 11, false, false).unwrap();
        assert_eq!(run(&le(&[0xF123, 0x0FFF]), 2, layout, None, &PLAIN, 1).data, [291.0, 4095.0]);
        let high = Layout::new(16, 12, 15, false, false).unwrap();
        assert_eq!(run(&le(&[0x123F, 0xFFF0]), 2, high, None, &PLAIN, 1).data, [291.0, 4095.0]);
    }

    #[test]
    fn the_sign_is_that_of_the_highest_stored_bit() {
        let layout = Layout::new(16, 12, 11, true, false).unwrap();
        assert_eq!(run(&le(&[0x0800, 0x07FF, 0x0FFF]), 3, layout, None, &PLAIN, 1).data, [-2048.0, 2047.0, -1.0]);
        let bytes = Layout::new(8, 8, 7, true, false).unwrap();
        assert_eq!(run(&[0x80, 0x7F], 2, bytes, None, &PLAIN, 1).data, [-128.0, 127.0]);
        let words = Layout::new(16, 16, 15, true, true).unwrap();
        assert_eq!(run(&[0x80, 0x00, 0x7F, 0xFF], 2, words, None, &PLAIN, 1).data, [-32768.0, 32767.0]);
    }

    #[test]
    fn boxes_are_averaged_and_rescaled() {
        let layout = Layout::new(8, 8, 7, false, false).unwrap();
        // 5 × 3 in boxes of 2: the right ones are one wide, the lower ones one high.
        let bytes = [1, 3, 10, 20, 7, 5, 7, 30, 40, 9, 100, 200, 0, 50, 255];
        let got = run(&bytes, 5, layout, None, &PLAIN, 2);
        assert_eq!((got.width, got.height), (3, 2));
        assert_eq!(got.data, [4.0, 25.0, 8.0, 150.0, 25.0, 255.0]);
        let rescale = Modality::Linear { slope: -2.0, intercept: 10.0 };
        assert_eq!(run(&bytes, 5, layout, None, &rescale, 2).data, [2.0, -40.0, -6.0, -290.0, -40.0, -500.0]);
    }

    #[test]
    fn padding_stays_out_of_averages() {
        let layout = Layout::new(8, 8, 7, false, false).unwrap();
        let padding = Some(Padding { low: 250, high: 255 });
        let got = run(&[255, 10, 250, 252, 30, 249, 255, 251], 4, layout, padding, &PLAIN, 2);
        assert_eq!(got.data[0], (10.0 + 30.0 + 249.0) / 3.0);
        assert!(got.data[1].is_nan());
    }

    #[test]
    fn a_padding_value_beyond_the_stored_bits_is_met_as_a_whole_sample() {
        let layout = Layout::new(16, 12, 11, false, false).unwrap();
        let padding = Some(Padding { low: 0xF830, high: 0xF830 });
        let got = run(&le(&[0xF830, 0x0830]), 2, layout, padding, &PLAIN, 1);
        assert!(got.data[0].is_nan());
        assert_eq!(got.data[1], 2096.0);
    }

    #[test]
    fn a_modality_lut_is_applied_to_every_sample_before_averaging() {
        let layout = Layout::new(8, 8, 7, false, false).unwrap();
        let lut = Modality::Table(Table { first: 10, values: vec![0, 100, 900], top: 1023 });
        // 11 → 100, 12 → 900, below 10 → the first, above 12 → the last.
        assert_eq!(run(&[11, 12, 0, 255], 2, layout, None, &lut, 2).data, [(100.0 + 900.0 + 0.0 + 900.0) / 4.0]);
    }

    #[test]
    fn as_much_is_averaged_as_leaves_the_wanted_size() {
        assert_eq!(factor(3000, 2500, 224), 13);
        assert_eq!(factor(447, 300, 224), 1);
        assert_eq!(factor(448, 300, 224), 2);
        assert_eq!(factor(100, 300, 0), 300);
        assert_eq!(factor(65_535, 1, 1), 32_767);
    }

    #[test]
    fn impossible_bits_are_refused() {
        for (a, s, h) in [(1, 1, 0), (32, 32, 31), (12, 12, 11), (16, 0, 0), (16, 17, 16), (8, 8, 15), (16, 12, 10)] {
            assert!(Layout::new(a, s, h, false, false).is_err(), "{a} {s} {h}");
        }
    }

    #[test]
    fn too_few_samples_are_an_error() {
        let layout = Layout::new(16, 16, 15, false, false).unwrap();
        assert!(reduce(&mut &[0u8; 7][..], 2, 2, &layout, None, &PLAIN, 2).is_err());
    }
}

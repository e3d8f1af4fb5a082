//! Stored values → modality values, averaged down in one pass over the rows (PS3.5 8.1.1, PS3.3 C.7.6.3, C.11.1).
//!
//! Rows come in blocks that stay in the processor's cache, are added up column by column in integers, and at the end of each band
//! become averages. The modality transform is applied to the averages where it is linear.

use super::PixelsError;
use super::layout::{Layout, Padded, Padding};
use super::lut::{Modality, Table};
use std::io::Read;

/// Bytes that are read at once, or a row.
const BLOCK: usize = 1 << 17;

/// Averages of modality values. NaN: nothing but padding was there.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reduced {
    pub width: usize,
    pub height: usize,
    pub data: Vec<f32>,
}

/// How many pixels a side are averaged: as many as leave a longer side of at least `wanted`.
pub(super) fn factor(columns: usize, rows: usize, wanted: usize) -> usize {
    // 32767 values of 16 bits still fit into the 32 bits of a column's sum.
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
    let padded = padding.and_then(|padding| Padded::new(padding, layout));
    let outputs = match modality {
        Modality::Linear { .. } => None,
        Modality::Table(table) => Some(outputs(table, layout)),
    };
    let mut data = Vec::with_capacity(width * height);
    let mut sums = Sums { values: vec![0; columns], counts: vec![0; if padded.is_some() { columns } else { 0 }] };
    let bytes = columns * layout.bytes;
    let mut block = vec![0; bytes * (BLOCK / bytes).clamp(1, rows)];
    let (mut row, mut band) = (0, 0);
    while row < rows {
        let n = (block.len() / bytes).min(rows - row);
        pixels.read_exact(&mut block[..n * bytes])?;
        for line in block[..n * bytes].chunks_exact(bytes) {
            sums.add_line(line, layout, padded, outputs.as_deref());
            (row, band) = (row + 1, band + 1);
            if band == k || row == rows {
                data.extend(sums.means(k, band, layout, modality));
                band = 0;
            }
        }
    }
    Ok(Reduced { width, height, data })
}

/// The output of a modality LUT for each key.
fn outputs(table: &Table, layout: &Layout) -> Vec<u16> {
    let sign = i64::from(layout.sign());
    (0..=layout.mask()).map(|key| table.entry(i64::from(key) - sign - i64::from(table.first))).collect()
}

/// What is added up of a band, a column each.
struct Sums {
    /// Of keys, or of a LUT's outputs.
    values: Vec<u32>,
    /// How many were no padding; empty where there is none.
    counts: Vec<u32>,
}

impl Sums {
    fn add_line(&mut self, line: &[u8], layout: &Layout, padded: Option<Padded>, outputs: Option<&[u16]>) {
        let pairs = line.as_chunks::<2>().0.iter();
        match (layout.bytes, layout.big) {
            (1, _) => self.add(line.iter().map(|&b| b.into()), layout, padded, outputs),
            (_, false) => self.add(pairs.map(|b| u16::from_le_bytes(*b)), layout, padded, outputs),
            (_, true) => self.add(pairs.map(|b| u16::from_be_bytes(*b)), layout, padded, outputs),
        }
    }

    /// A loop for each case, so that the compiler makes the best of each.
    #[inline(always)]
    fn add(
        &mut self,
        words: impl Iterator<Item = u16>,
        layout: &Layout,
        padded: Option<Padded>,
        outputs: Option<&[u16]>,
    ) {
        let layout = *layout;
        match (padded, outputs) {
            (None, None) => {
                self.values.iter_mut().zip(words).for_each(|(sum, word)| *sum += u32::from(layout.key(word)));
            }
            (None, Some(outputs)) => {
                let output = |word| u32::from(outputs[usize::from(layout.key(word))]);
                self.values.iter_mut().zip(words).for_each(|(sum, word)| *sum += output(word));
            }
            (Some(padded), outputs) => {
                let places = self.values.iter_mut().zip(&mut self.counts).zip(words);
                let add = |sum: &mut u32, count: &mut u32, word, output: &dyn Fn(u16) -> u16| {
                    let key = layout.key(word);
                    let kept = !padded.test(word, key);
                    *sum += if kept { u32::from(output(key)) } else { 0 };
                    *count += u32::from(kept);
                };
                match outputs {
                    None => places.for_each(|((sum, count), word)| add(sum, count, word, &|key| key)),
                    Some(outputs) => {
                        places.for_each(|((sum, count), word)| add(sum, count, word, &|key| outputs[usize::from(key)]))
                    }
                }
            }
        }
    }

    /// The averages over `k` columns each of what was added of `band` rows; begins anew.
    fn means(&mut self, k: usize, band: usize, layout: &Layout, modality: &Modality) -> impl Iterator<Item = f32> {
        let sign = i64::from(layout.sign());
        let total = |part: &[u32]| part.iter().map(|&v| i64::from(v)).sum::<i64>();
        let mean = |(i, part): (usize, &[u32])| {
            let n = match self.counts.get(i * k..) {
                Some(counts) if !self.counts.is_empty() => total(&counts[..part.len()]),
                _ => (part.len() * band) as i64,
            };
            let mean = match modality {
                Modality::Linear { slope, intercept } => {
                    slope * ((total(part) - n * sign) as f64 / n as f64) + intercept
                }
                Modality::Table(_) => total(part) as f64 / n as f64,
            };
            mean as f32
        };
        let means: Vec<f32> = self.values.chunks(k).enumerate().map(mean).collect();
        self.values.fill(0);
        self.counts.fill(0);
        means.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn too_few_samples_are_an_error() {
        let layout = Layout::new(16, 16, 15, false, false).unwrap();
        assert!(reduce(&mut &[0u8; 7][..], 2, 2, &layout, None, &PLAIN, 2).is_err());
    }
}

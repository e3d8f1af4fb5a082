//! The engine in whole numbers: 8-bit weights, signed, a scale for each output channel; 8-bit maps, unsigned, one scale each.
//!
//! | file | what |
//! |---|---|
//! | `dot` | dot products of bytes, for each set of instructions |
//! | `tile` | the matrix product over them, requantised |
//! | `layer`, `stem` | convolutions, made of it |
//! | `network` | all of them, by the steps of the maps |
//! | [`range`] | what the steps are taken from: the values of the single-precision engine's maps |
//!
//! A map's byte `q` stands for `q` times its step, which is not negative behind a ReLU; what comes from beside a block has no
//! ReLU and stands for `q - 128` steps. All that is summed is whole, and the last mean is taken in single precision in one
//! order: the same image gives the same logits on every CPU, bit for bit.

mod dot;
mod layer;
mod network;
pub mod range;
mod stem;
mod tile;

use super::buffer::Buffer;
use tile::PANEL;

/// Maps in the order of their steps: the stem's, then of each block what lies between its convolutions, what comes from beside
/// it (where something does), and what it gives.
pub const MAPS: usize = 20;

/// A convolution's weights, quantised and packed for the tiles.
#[derive(Debug)]
struct Quantised {
    /// `[columns / PANEL, rows / 4, PANEL, 4]`; filled up with zeros.
    weights: Buffer<i8>,
    /// What a whole number of each column stands for; greater than 0.
    scales: Vec<f32>,
    /// The sum of each column's whole numbers.
    sums: Vec<i32>,
}

/// Weights `[rows, columns]` (columns are output channels) → whole numbers from -127 to 127, symmetric, a scale each column.
fn quantise(values: &[f32], columns: usize) -> Quantised {
    let rows = values.len() / columns.max(1);
    let mut scales = vec![0.0f32; columns];
    for row in values.chunks_exact(columns.max(1)) {
        scales.iter_mut().zip(row).for_each(|(most, v)| *most = most.max(v.abs()));
    }
    // A column of zeros has any scale.
    scales.iter_mut().for_each(|scale| *scale = if *scale > 0.0 { *scale / 127.0 } else { 1.0 });
    let groups = rows.div_ceil(4);
    let mut weights = Buffer::zeros(columns.div_ceil(PANEL) * groups * PANEL * 4);
    let mut sums = vec![0; columns];
    for (r, row) in values.chunks_exact(columns.max(1)).enumerate() {
        for (c, (value, scale)) in row.iter().zip(&scales).enumerate() {
            let whole = (value / scale).round_ties_even().clamp(-127.0, 127.0) as i8;
            weights[((c / PANEL * groups + r / 4) * PANEL + c % PANEL) * 4 + r % 4] = whole;
            sums[c] += i32::from(whole);
        }
    }
    Quantised { weights, scales, sums }
}

#[cfg(test)]
mod tests {
    use super::super::isa::Isa;
    use super::*;

    /// All ways of computing that this CPU has.
    pub fn instructions() -> Vec<Isa> {
        Isa::available().into_iter().flat_map(|isa| [isa, isa.without_vnni()]).collect()
    }

    #[test]
    fn weights_come_back_within_half_a_step_and_zeros_stay() {
        let (rows, columns) = (6, 33);
        let values: Vec<f32> =
            (0..rows * columns).map(|i| if i % columns == 3 { 0.0 } else { (i * 37 % 101) as f32 - 50.0 }).collect();
        let packed = quantise(&values, columns);
        assert_eq!(packed.weights.len(), 2 * 2 * PANEL * 4);
        let mut sums = vec![0; columns];
        for (i, value) in values.iter().enumerate() {
            let (r, c) = (i / columns, i % columns);
            let whole = packed.weights[((c / PANEL * 2 + r / 4) * PANEL + c % PANEL) * 4 + r % 4];
            let found = f32::from(whole) * packed.scales[c];
            assert!((found - value).abs() <= 0.501 * packed.scales[c], "row {r}, column {c}: {found}, {value}");
            sums[c] += i32::from(whole);
        }
        assert_eq!(packed.sums, sums);
    }
}

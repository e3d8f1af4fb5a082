//! Whole numbers for the engine: 8-bit weights, signed, a scale for each output channel; 8-bit maps, unsigned, one scale.

pub mod tile;

use tile::PANEL;

/// A convolution's weights, quantised and packed for [`tile::Strip`].
#[derive(Clone, Debug, PartialEq)]
pub struct Quantised {
    /// `[columns / PANEL, rows / 4, PANEL, 4]`; filled up with zeros.
    pub weights: Vec<i8>,
    /// What a whole number of each column stands for; greater than 0.
    pub scales: Vec<f32>,
}

/// Weights `[rows, columns]` (columns are output channels) → whole numbers from -127 to 127, symmetric, a scale each column.
pub fn quantise(values: &[f32], columns: usize) -> Quantised {
    let rows = values.len() / columns.max(1);
    let mut scales = vec![0.0f32; columns];
    for row in values.chunks_exact(columns.max(1)) {
        scales.iter_mut().zip(row).for_each(|(most, v)| *most = most.max(v.abs()));
    }
    // A column of zeros has any scale.
    scales.iter_mut().for_each(|scale| *scale = if *scale > 0.0 { *scale / 127.0 } else { 1.0 });
    let groups = rows.div_ceil(4);
    let mut weights = vec![0; columns.div_ceil(PANEL) * groups * PANEL * 4];
    for (r, row) in values.chunks_exact(columns.max(1)).enumerate() {
        for (c, (value, scale)) in row.iter().zip(&scales).enumerate() {
            let place = ((c / PANEL * groups + r / 4) * PANEL + c % PANEL) * 4 + r % 4;
            weights[place] = (value / scale).round_ties_even().clamp(-127.0, 127.0) as i8;
        }
    }
    Quantised { weights, scales }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_come_back_within_half_a_step_and_zeros_stay() {
        let (rows, columns) = (6, 33);
        let values: Vec<f32> =
            (0..rows * columns).map(|i| if i % columns == 3 { 0.0 } else { (i * 37 % 101) as f32 - 50.0 }).collect();
        let packed = quantise(&values, columns);
        assert_eq!(packed.weights.len(), 2 * 2 * PANEL * 4);
        for (i, value) in values.iter().enumerate() {
            let (r, c) = (i / columns, i % columns);
            let place = ((c / PANEL * 2 + r / 4) * PANEL + c % PANEL) * 4 + r % 4;
            let found = f32::from(packed.weights[place]) * packed.scales[c];
            assert!((found - value).abs() <= 0.501 * packed.scales[c], "row {r}, column {c}: {found}, {value}");
        }
    }
}

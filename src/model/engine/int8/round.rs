//! Weights to whole numbers of 8 bits.
//!
//! Rounded one by one, a kernel's errors add up wherever its inputs are alike, as neighbouring pixels are, and as a channel is with
//! its mean, which behind a ReLU is not 0. So that both cancel, weights whose fraction is next to a half are rounded the other way:
//! first within the taps of each pair of channels, then over all inputs of an output (Guo et al. 2022, "SQuant", ICLR: no data
//! are needed).

use super::tile::{PANEL, place};
use super::width::Eight;
use crate::model::engine::buffer::Buffer;

/// The greatest whole number, either way.
const MOST: f32 = 127.0;

/// A convolution's weights, quantised and packed for the tiles.
#[derive(Debug)]
pub struct Quantised {
    /// `[columns / PANEL, rows / 4, PANEL, 4]`; filled up with zeros.
    pub weights: Buffer<i8>,
    /// What a whole number of each column stands for; greater than 0.
    pub scales: Vec<f32>,
}

impl Quantised {
    /// The whole number in a row and a column.
    pub fn whole(&self, row: usize, column: usize) -> i8 {
        let groups = self.weights.len() / (self.scales.len().next_multiple_of(PANEL) * 4);
        self.weights[place::<Eight>(row, column, groups)]
    }

    /// What it stands for.
    pub fn value(&self, row: usize, column: usize) -> f32 {
        f32::from(self.whole(row, column)) * self.scales[column]
    }
}

/// Weights `[taps, from, columns]` (columns are output channels) → whole numbers from -127 to 127, symmetric, a scale each column.
pub fn quantise(values: &[f32], from: usize, columns: usize) -> Quantised {
    let rows = values.len() / columns.max(1);
    let groups = rows.div_ceil(4);
    let mut weights = Buffer::zeros(columns.div_ceil(PANEL) * groups * PANEL * 4);
    let mut scales = Vec::with_capacity(columns);
    for c in 0..columns {
        let column = values.iter().skip(c).step_by(columns);
        let most = column.clone().fold(0.0, |most: f32, v| most.max(v.abs()));
        // A column of zeros has any scale.
        let scale = if most > 0.0 { most / MOST } else { 1.0 };
        let exact: Vec<f32> = column.map(|v| v / scale).collect();
        for (r, whole) in rounded(&exact, from).into_iter().enumerate() {
            weights[place::<Eight>(r, c, groups)] = whole as i8;
        }
        scales.push(scale);
    }
    Quantised { weights, scales }
}

/// Values `[taps, from]` of one output, in its steps → whole numbers.
fn rounded(exact: &[f32], from: usize) -> Vec<f32> {
    let mut whole: Vec<f32> = exact.iter().map(|v| v.round_ties_even().clamp(-MOST, MOST)).collect();
    let taps = exact.len() / from.max(1);
    let places = |channel: usize| (0..taps).map(move |tap| tap * from + channel);
    for channel in 0..from {
        balance(exact, &mut whole, places(channel).collect());
    }
    // One weight of each channel at most, so that what its taps sum up to stays near.
    let excess = excess(exact, &whole, 0..exact.len());
    let over = |place: usize, whole: &[f32]| (whole[place] - exact[place]) * excess.signum();
    let furthest = |channel| places(channel).max_by(|&a, &b| over(a, &whole).total_cmp(&over(b, &whole)));
    let candidates = (0..from).filter_map(furthest).collect();
    turn(exact, &mut whole, candidates, excess);
    whole
}

/// By how much the whole numbers at these places are more than the exact ones, together.
fn excess(exact: &[f32], whole: &[f32], places: impl Iterator<Item = usize>) -> f32 {
    places.map(|place| whole[place] - exact[place]).sum()
}

/// Rounds as many of these the other way as brings their sum nearest.
fn balance(exact: &[f32], whole: &mut [f32], places: Vec<usize>) {
    let excess = excess(exact, whole, places.iter().copied());
    turn(exact, whole, places, excess);
}

/// Takes `excess` away, one from each of those that were rounded furthest that way.
fn turn(exact: &[f32], whole: &mut [f32], mut places: Vec<usize>, excess: f32) {
    let count = excess.abs().round() as usize;
    if count == 0 {
        return;
    }
    let over = |place: usize| (whole[place] - exact[place]) * excess.signum();
    places.sort_by(|&a, &b| over(b).total_cmp(&over(a)));
    for place in places.into_iter().take(count) {
        whole[place] = (whole[place] - excess.signum()).clamp(-MOST, MOST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of no pattern, -1 to 1.
    fn number(i: usize) -> f32 {
        ((i * 2654435761) % 1009) as f32 / 504.0 - 1.0
    }

    #[test]
    fn weights_come_back_near_and_zeros_stay() {
        let (taps, from, columns) = (9, 6, 33);
        let values: Vec<f32> =
            (0..taps * from * columns).map(|i| if i % columns == 3 { 0.0 } else { number(i) }).collect();
        let packed = quantise(&values, from, columns);
        let groups = (taps * from).div_ceil(4);
        assert_eq!(packed.weights.len(), 2 * groups * PANEL * 4);
        for (i, value) in values.iter().enumerate() {
            let (r, c) = (i / columns, i % columns);
            let found = packed.value(r, c);
            // Rounded twice the other way at the most.
            assert!((found - value).abs() <= 2.01 * packed.scales[c], "row {r}, column {c}: {found}, {value}");
            assert!(c != 3 || found == 0.0);
        }
    }

    #[test]
    fn errors_cancel_within_the_taps_of_a_channel_and_over_all_channels() {
        let (taps, from) = (9, 64);
        // The greatest are in range, so that nothing is cut off.
        let exact: Vec<f32> = (0..taps * from).map(|i| 100.0 * number(i)).collect();
        let whole = rounded(&exact, from);
        assert!(excess(&exact, &whole, 0..exact.len()).abs() <= 1.0);
        let plain: Vec<f32> = exact.iter().map(|v| v.round_ties_even()).collect();
        let apart = |whole: &[f32]| {
            let of = |channel| excess(&exact, whole, (0..taps).map(|tap| tap * from + channel)).abs();
            (0..from).map(of).sum::<f32>() / from as f32
        };
        assert!(apart(&whole) < 0.5 * apart(&plain), "{} {}", apart(&whole), apart(&plain));
    }
}

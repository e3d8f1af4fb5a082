//! The stem's kernel in 16 bits, two taps at a time: half as many products as in single precision, and as exact as an
//! image's grey values are.
//!
//! An image is counted in steps of a 32,767th of its greatest value, a detector's 12 or 14 bits many times over. What follows
//! stays in single precision.

use super::nearest;
use super::tile::{Filter, PANEL, Strip, place};
use super::width::Sixteen;
use crate::model::engine::buffer::Buffer;
use crate::model::engine::isa::Isa;
use crate::model::engine::tile::Line;

/// The greatest whole number, either way.
const MOST: f32 = i16::MAX as f32;
/// What an output's weights add up to, at the most, rounding included: with [`MOST`] a sum of 32 bits holds all products.
const SUM: f32 = 65_500.0;

/// A convolution of one grey channel, packed.
#[derive(Debug)]
pub struct GreyKernel {
    /// `[channels / PANEL, taps / 2, PANEL, 2]`
    weights: Buffer<i16>,
    /// What a whole number of each channel stands for.
    scales: Vec<f32>,
    bias: Vec<f32>,
}

/// What an image's grey values are counted in.
#[derive(Clone, Copy, Debug)]
pub struct Steps {
    /// What one is worth.
    step: f32,
    /// One over it.
    per: f32,
}

impl Steps {
    /// Fit for these values.
    pub fn of(image: &[f32]) -> Steps {
        let most = image.iter().fold(0.0, |most: f32, v| if v.abs() > most { v.abs() } else { most });
        let most = if most > 0.0 { most } else { 1.0 };
        Steps { step: most / MOST, per: MOST / most }
    }

    /// A value in steps, rounded to even.
    #[inline(always)]
    pub fn count(self, v: f32) -> i16 {
        nearest(v * self.per) as i16
    }
}

/// Rows to be computed from an image in steps.
pub struct GreyRows<'a> {
    /// The image's values with a border, in steps.
    pub input: &'a [i16],
    /// [`GreyKernel::multiplier`] for these.
    pub multiplier: &'a [f32],
    /// Runs of `depth` values, `tap` apart, that make up a patch.
    pub taps: usize,
    /// From one run to the next.
    pub tap: usize,
    /// Values in a run; even.
    pub depth: usize,
    /// Where results go, channels last.
    pub output: &'a mut [f32],
    /// The first row's first patch, and its first pixel.
    pub line: Line,
    /// Another row's.
    pub second: Option<Line>,
    /// Pixels of a row.
    pub count: usize,
}

impl GreyKernel {
    /// Packs weights `[taps, channels]`, an even number of taps; a bias for each channel.
    pub fn new(weights: &[f32], bias: &[f32]) -> GreyKernel {
        let channels = bias.len();
        let rows = weights.len() / channels;
        let mut packed = Buffer::zeros(rows * channels.next_multiple_of(PANEL));
        let mut scales = Vec::with_capacity(channels);
        for c in 0..channels {
            let column = || weights.iter().skip(c).step_by(channels);
            let most = column().fold(0.0, |most: f32, v| most.max(v.abs()));
            let sum: f32 = column().map(|v| v.abs()).sum();
            // A column of zeros has any scale.
            let scale = if most > 0.0 { (most / MOST).max(sum / SUM) } else { 1.0 };
            for (r, v) in column().enumerate() {
                packed[place::<Sixteen>(r, c, rows / 2)] = (v / scale).round_ties_even() as i16;
            }
            scales.push(scale);
        }
        GreyKernel { weights: packed, scales, bias: bias.to_vec() }
    }

    /// What the sums of an image in such steps stand for, one a channel.
    pub fn multiplier(&self, steps: Steps) -> Vec<f32> {
        self.scales.iter().map(|scale| scale * steps.step).collect()
    }

    /// Computes rows, and a ReLU.
    pub fn rows(&self, isa: Isa, rows: GreyRows) {
        let channels = self.scales.len();
        let GreyRows { input, multiplier, taps, tap, depth, output, line, second, count } = rows;
        for (p, weights) in self.weights.chunks_exact(taps * depth * PANEL).enumerate() {
            let first = p * PANEL;
            let at = |line: Line| Line { to: line.to + first, ..line };
            Strip::<Sixteen> {
                filter: Filter {
                    weights,
                    cut: None,
                    multiplier: &multiplier[first..],
                    bias: &self.bias[first..],
                    taps,
                    tap,
                    depth,
                },
                input,
                step: 2,
                output,
                width: channels,
                shortcut: None,
                line: at(line),
                second: second.map(at),
                count,
            }
            .compute(isa);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::instructions;
    use super::*;

    fn number(i: usize) -> f32 {
        ((i * 2654435761) % 997) as f32 / 400.0 - 1.2
    }

    #[test]
    fn values_are_counted_as_near_as_a_step_allows() {
        let image: Vec<f32> = (0..1000).map(number).collect();
        let steps = Steps::of(&image);
        for &v in &image {
            assert_eq!(steps.count(v), (v * steps.per).round_ties_even() as i16, "{v}");
            assert!((f32::from(steps.count(v)) * steps.step - v).abs() <= 0.51 * steps.step, "{v}");
        }
        let most = image.iter().fold(0.0, |most: f32, v| most.max(v.abs()));
        assert!(image.iter().any(|&v| v.abs() == most && steps.count(v).abs() == i16::MAX));
        assert_eq!(Steps::of(&[0.0; 4]).count(0.0), 0);
        assert_eq!(Steps::of(&[]).step, 1.0 / MOST);
    }

    #[test]
    fn rows_are_those_of_single_precision_but_for_a_step() {
        let (taps, tap, depth, channels, count) = (3, 21, 8, 2 * PANEL, if cfg!(miri) { 3 } else { 17 });
        let weights: Vec<f32> = (0..taps * depth * channels)
            .map(|i| if i % channels == 5 { 0.0 } else { number(i) * 1.5f32.powi((i % channels % 9) as i32) })
            .collect();
        let bias: Vec<f32> = (0..channels).map(number).collect();
        let kernel = GreyKernel::new(&weights, &bias);
        let image: Vec<f32> = (0..taps * tap + 2 * count + depth).map(|i| number(i + 3)).collect();
        let steps = Steps::of(&image);
        let input: Vec<i16> = image.iter().map(|&v| steps.count(v)).collect();
        let multiplier = kernel.multiplier(steps);
        let mut before: Option<Vec<f32>> = None;
        for isa in instructions() {
            let mut output = vec![-7.0; 2 * count * channels];
            let rows = GreyRows {
                input: &input,
                multiplier: &multiplier,
                taps,
                tap,
                depth,
                output: &mut output,
                line: Line { from: 0, to: 0 },
                second: Some(Line { from: 1, to: count * channels }),
                count,
            };
            kernel.rows(isa, rows);
            for (i, pixel) in output.chunks_exact(channels).enumerate() {
                let begin = i % count * 2 + i / count;
                for (c, &found) in pixel.iter().enumerate() {
                    let product = |k: usize| image[begin + k / depth * tap + k % depth] * weights[k * channels + c];
                    let sum: f32 = (0..taps * depth).map(product).sum();
                    let size: f32 = (0..taps * depth).map(|k| product(k).abs()).sum();
                    let wanted = (sum + bias[c]).max(0.0);
                    assert!((found - wanted).abs() <= 2e-4 * size + 1e-6, "{isa:?}: {i}, {c}: {found}, {wanted}");
                }
            }
            // Sums are exact: every set of instructions gives the same bits.
            assert_eq!(before.get_or_insert_with(|| output.clone()), &output, "{isa:?}");
        }
    }

    #[test]
    fn the_greatest_sum_fits() {
        // All taps pull the same way, and one channel has a weight that is all of its sum.
        let (taps, depth) = (7, 8);
        let mut weights = vec![0.0; taps * depth * PANEL];
        for (i, weight) in weights.iter_mut().enumerate() {
            *weight = if i % PANEL > 0 { 1.0 } else { f32::from(u8::from(i == 0)) };
        }
        let kernel = GreyKernel::new(&weights, &[0.0; PANEL]);
        let multiplier = kernel.multiplier(Steps::of(&[2.0]));
        for isa in instructions() {
            let mut output = vec![0.0; PANEL];
            let rows = GreyRows {
                input: &[i16::MAX; 7 * 8],
                multiplier: &multiplier,
                taps,
                tap: depth,
                depth,
                output: &mut output,
                line: Line { from: 0, to: 0 },
                second: None,
                count: 1,
            };
            kernel.rows(isa, rows);
            assert!((output[0] - 2.0).abs() < 1e-3 && output[1..].iter().all(|v| (v - 112.0).abs() < 0.1), "{isa:?}");
        }
    }
}

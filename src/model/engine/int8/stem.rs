//! The stem in whole numbers, and the max pool behind it.

use super::tile::{Filter, PANEL, Strip};
use super::{Quantised, quantise};
use crate::model::ModelError;
use crate::model::engine::isa::Isa;
use crate::model::engine::stem::{CHANNELS, DEPTH, KERNEL, Rows, Taps, deepened};
use crate::model::engine::tile::Line;
use crate::model::weights::Conv;

/// The stem's kernel, for grey values of 8 bits.
#[derive(Debug)]
pub struct WholeFilters {
    kernels: Quantised,
    multiplier: Vec<f32>,
    bias: Vec<f32>,
    /// Steps in one, and the steps from the lowest grey value to 0, which need not be whole.
    per: f32,
    zero: f32,
}

impl WholeFilters {
    /// Packs the stem for grey values within `range` and an output of this step.
    ///
    /// # Errors
    /// Candle's.
    pub fn new(conv: &Conv, range: [f32; 2], output: f32) -> Result<WholeFilters, ModelError> {
        let kernels = quantise(&deepened(conv)?, CHANNELS);
        let step = (range[1] - range[0]) / 255.0;
        let zero = -range[0] / step;
        let multiplier: Vec<f32> = kernels.scales.iter().map(|scale| scale * step / output).collect();
        let bias = conv.bias.iter().zip(&multiplier).zip(&kernels.sums);
        let bias = bias.map(|((bias, by), sum)| bias / output - zero * *sum as f32 * by).collect();
        Ok(WholeFilters { kernels, multiplier, bias, per: 1.0 / step, zero })
    }
}

impl Taps<u8> for WholeFilters {
    fn zero(&self) -> u8 {
        (self.zero + 0.5).clamp(0.0, 255.0) as u8
    }

    fn take(&self, grey: &[f32], line: &mut [u8]) {
        for (to, v) in line.iter_mut().zip(grey) {
            *to = (v * self.per + (self.zero + 0.5)).clamp(0.0, 255.0) as u8;
        }
    }

    fn rows(&self, isa: Isa, rows: Rows<u8>) {
        let Rows { input, stretch, output, first, second, count } = rows;
        for (p, weights) in self.kernels.weights.chunks_exact(KERNEL * DEPTH * PANEL).enumerate() {
            let line = |line: Line| Line { to: line.to + p * PANEL, ..line };
            let (multiplier, bias) = (&self.multiplier[p * PANEL..], &self.bias[p * PANEL..]);
            Strip {
                filter: Filter { weights, multiplier, bias, taps: KERNEL, tap: stretch, depth: DEPTH },
                input,
                step: 2,
                output,
                width: CHANNELS,
                shortcut: None,
                line: line(first),
                second: second.map(line),
                count,
            }
            .compute(isa);
        }
    }

    fn pool(&self, _isa: Isa, rows: [&[u8]; 3], output: &mut [u8]) {
        let most = |to: &mut [u8], from: &[u8]| to.iter_mut().zip(from).for_each(|(a, b)| *a = (*a).max(*b));
        for (pixel, to) in output.chunks_exact_mut(CHANNELS).enumerate() {
            let mut all = [0; CHANNELS];
            for row in rows {
                row[2 * pixel * CHANNELS..].chunks_exact(CHANNELS).take(3).for_each(|from| most(&mut all, from));
            }
            to.copy_from_slice(&all);
        }
    }
}

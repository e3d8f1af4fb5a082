//! A block's convolution in whole numbers, over patches where they lie.

use super::round::{Quantised, quantise};
use super::tile::{Filter, PANEL, Strip};
use crate::model::ModelError;
use crate::model::engine::layer::{Convolution, Scratch, Task, in_bands};
use crate::model::engine::maps::{Band, Padded};
use crate::model::engine::tile::Line;
use crate::model::weights::Conv;

/// What a byte of each map around a convolution stands for.
#[derive(Clone, Copy, Debug)]
pub struct Steps {
    /// Of the input.
    pub input: f32,
    /// Of the output.
    pub output: f32,
    /// The output's byte for 0: 0, or 128 without a ReLU.
    pub zero: u8,
    /// Of what is added: a byte's worth, and the byte for 0.
    pub shortcut: Option<(f32, u8)>,
}

/// A convolution of one or three by as many taps, packed.
#[derive(Debug)]
pub struct Direct {
    kernel: usize,
    stride: usize,
    from: usize,
    to: usize,
    kernels: Quantised,
    /// From sums to steps of the output, one a channel.
    multiplier: Vec<f32>,
    /// In steps of the output.
    bias: Vec<f32>,
    /// Steps of the output in one of the shortcut.
    shortcut: f32,
}

impl Direct {
    /// Packs a convolution; the channels fill panels.
    ///
    /// # Errors
    /// Candle's.
    pub fn new(conv: &Conv, steps: Steps) -> Result<Direct, ModelError> {
        let rows: Vec<f32> = conv.weight.flatten_all()?.to_vec1()?;
        let kernels = quantise(&rows, conv.from, conv.to);
        let (shortcut, zero) = steps.shortcut.map_or((0.0, 0), |(step, zero)| (step / steps.output, zero));
        // The zeros of output and shortcut are whole numbers of their steps: they go with the bias.
        let moved = f32::from(steps.zero) - f32::from(zero) * shortcut;
        Ok(Direct {
            kernel: conv.kernel,
            stride: conv.stride,
            from: conv.from,
            to: conv.to,
            multiplier: kernels.scales.iter().map(|scale| scale * steps.input / steps.output).collect(),
            bias: conv.bias.iter().map(|bias| bias / steps.output + moved).collect(),
            kernels,
            shortcut,
        })
    }

    /// Computes some bands of the output, one panel of channels after the other: it stays in the cache meanwhile.
    fn bands(&self, task: Task<u8>, bands: &mut [Band<u8>]) {
        let Task { isa, input, shortcut, .. } = task;
        let depth = self.kernel * self.from;
        // The border is one wide; a kernel of one tap begins behind it.
        let border = 1 - self.kernel / 2;
        for (p, weights) in self.kernels.weights.chunks_exact(self.kernel * depth * PANEL).enumerate() {
            let (multiplier, bias) = (&self.multiplier[p * PANEL..], &self.bias[p * PANEL..]);
            let filter = Filter { weights, multiplier, bias, taps: self.kernel, tap: input.line(), depth };
            for band in bands.iter_mut() {
                let shortcut = shortcut.map(|maps| (maps.beside(band), self.shortcut));
                let (image, first, stretch) = (band.image, band.first, band.line);
                let line = |row: usize| Line {
                    from: input.place(image, (first + row) * self.stride + border, border),
                    to: row * stretch + self.to + p * PANEL,
                };
                for row in (0..band.count).step_by(2) {
                    Strip {
                        filter,
                        input: input.data(),
                        step: self.stride * self.from,
                        output: band.data,
                        width: self.to,
                        shortcut,
                        line: line(row),
                        second: (row + 1 < band.count).then(|| line(row + 1)),
                        count: band.width,
                    }
                    .compute(isa);
                }
            }
        }
    }
}

impl Convolution<u8> for Direct {
    fn run(&self, task: Task<u8>, output: &mut Padded<u8>, scratch: &mut [Scratch]) {
        in_bands(output, 1, scratch, |bands, _| self.bands(task, bands));
    }
}

//! A block's convolution in whole numbers, over patches where they lie.

use super::cut::Cuts;
use super::dot;
use super::round::{Quantised, quantise};
use super::tile::{Filter, PANEL, Strip};
use crate::model::ModelError;
use crate::model::engine::direct::pairs;
use crate::model::engine::isa::Isa;
use crate::model::engine::layer::{Convolution, Scratch, Task, in_bands};
use crate::model::engine::maps::{Band, Padded};
use crate::model::weights::Conv;

/// The bytes of a map, channel by channel.
#[derive(Clone, Copy, Debug)]
pub struct Bytes<'a> {
    /// What one stands for.
    pub steps: &'a [f32],
    /// Their mean over images.
    pub means: &'a [f32],
}

/// The maps around a convolution.
#[derive(Clone, Copy, Debug)]
pub struct Around<'a> {
    /// The input.
    pub input: Bytes<'a>,
    /// What a byte of each channel of the output stands for.
    pub output: &'a [f32],
    /// The output's byte for 0: 0, or 128 without a ReLU.
    pub zero: u8,
    /// Of what is added: a byte's worth, and the byte for 0.
    pub shortcut: Option<(&'a [f32], u8)>,
}

/// A convolution of one or three by as many taps, packed.
#[derive(Debug)]
pub struct Direct {
    kernel: usize,
    stride: usize,
    from: usize,
    to: usize,
    kernels: Quantised,
    /// What was cut off them for instructions that are narrow.
    cuts: Option<Cuts>,
    /// From sums to steps of the output, one a channel.
    multiplier: Vec<f32>,
    /// In steps of the output.
    bias: Vec<f32>,
    /// Steps of the output in one of the shortcut, one a channel.
    shortcut: Vec<f32>,
}

impl Direct {
    /// Packs a convolution for these instructions; the channels fill panels.
    ///
    /// # Errors
    /// Candle's.
    pub fn new(conv: &Conv, around: Around, isa: Isa) -> Result<Direct, ModelError> {
        let mut rows: Vec<f32> = conv.weight.flatten_all()?.to_vec1()?;
        // Weights of an input that is counted in smaller steps are smaller.
        for (row, step) in rows.chunks_exact_mut(conv.to).zip(around.input.steps.iter().cycle()) {
            row.iter_mut().for_each(|weight| *weight *= step);
        }
        let mut kernels = quantise(&rows, conv.from, conv.to);
        // What rounding the weights adds in the mean goes with the bias (Nagel et al. 2019, "Data-Free Quantization", ICCV).
        let mut added = vec![0.0f64; conv.to];
        for (r, row) in rows.chunks_exact(conv.to).enumerate() {
            let mean = around.input.means[r % conv.from];
            for (c, weight) in row.iter().enumerate() {
                added[c] += f64::from((kernels.value(r, c) - weight) * mean);
            }
        }
        let cuts = dot::narrow(isa).then(|| Cuts::off(&mut kernels.weights, conv.kernel, conv.kernel * conv.from));
        let biases = conv.bias.iter().zip(added).map(|(bias, added)| bias - added as f32);
        let zero = around.shortcut.map_or(0, |(_, zero)| zero);
        let shortcut: Vec<f32> = match around.shortcut {
            Some((steps, _)) => steps.iter().zip(around.output).map(|(step, output)| step / output).collect(),
            None => vec![0.0; conv.to],
        };
        // The zeros of output and shortcut are whole numbers of their steps: they go with the bias.
        let moved = |shortcut: f32| f32::from(around.zero) - f32::from(zero) * shortcut;
        Ok(Direct {
            kernel: conv.kernel,
            stride: conv.stride,
            from: conv.from,
            to: conv.to,
            multiplier: kernels.scales.iter().zip(around.output).map(|(scale, output)| scale / output).collect(),
            bias: biases.zip(around.output).zip(&shortcut).map(|((b, o), s)| b / o + moved(*s)).collect(),
            kernels,
            cuts,
            shortcut,
        })
    }

    /// Computes some bands of the output, one panel of channels after the other: it stays in the cache meanwhile.
    fn bands(&self, task: Task<u8>, bands: &mut [Band<u8>]) {
        let Task { isa, input, shortcut, .. } = task;
        let depth = self.kernel * self.from;
        for (p, weights) in self.kernels.weights.chunks_exact(self.kernel * depth * PANEL).enumerate() {
            let (multiplier, bias) = (&self.multiplier[p * PANEL..], &self.bias[p * PANEL..]);
            let cut = self.cuts.as_ref().map(|cuts| cuts.panel(p));
            let filter: Filter = Filter { weights, cut, multiplier, bias, taps: self.kernel, tap: input.line(), depth };
            for band in bands.iter_mut() {
                let shortcut = shortcut.map(|maps| (maps.beside(band), &self.shortcut[p * PANEL..]));
                for (line, second) in pairs(self.kernel, self.stride, input, band, self.to, p * PANEL) {
                    Strip {
                        filter,
                        input: input.data(),
                        step: self.stride * self.from,
                        output: band.data,
                        width: self.to,
                        shortcut,
                        line,
                        second,
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

#[cfg(test)]
mod tests {
    use super::super::tests::instructions;
    use super::*;
    use candle_core::{Device, Tensor};

    fn number(i: usize) -> f32 {
        ((i * 2654435761) % 97) as f32 / 64.0 - 0.75
    }

    fn bytes(count: usize, seed: usize) -> Vec<u8> {
        (0..count).map(|i| (((i + seed) * 2654435761) >> 7) as u8).collect()
    }

    /// What a convolution is, by definition: exact sums over the whole numbers of the packed kernel, then the same roundings.
    fn wanted(layer: &Direct, maps: &[u8], [images, height, width]: [usize; 3], shortcut: Option<&[u8]>) -> Vec<u8> {
        let (pad, out) = (layer.kernel / 2, |n: usize| n.div_ceil(layer.stride));
        let depth = layer.kernel * layer.kernel * layer.from;
        let weight = |row: usize, c: usize| {
            i32::from(layer.kernels.weights[((c / PANEL * depth / 4 + row / 4) * PANEL + c % PANEL) * 4 + row % 4])
        };
        let mut all = Vec::new();
        for pixel in 0..images * out(height) * out(width) {
            let (image, y, x) =
                (pixel / out(width) / out(height), pixel / out(width) % out(height), pixel % out(width));
            for c in 0..layer.to {
                let mut sum = 0;
                for tap in 0..layer.kernel * layer.kernel {
                    let row = (y * layer.stride + tap / layer.kernel).wrapping_sub(pad);
                    let column = (x * layer.stride + tap % layer.kernel).wrapping_sub(pad);
                    if row < height && column < width {
                        let from = ((image * height + row) * width + column) * layer.from;
                        sum += (0..layer.from)
                            .map(|i| i32::from(maps[from + i]) * weight(tap * layer.from + i, c))
                            .sum::<i32>();
                    }
                }
                let mut v = sum as f32 * layer.multiplier[c] + layer.bias[c];
                if let Some(shortcut) = shortcut {
                    v += f32::from(shortcut[all.len()]) * layer.shortcut[c];
                }
                all.push(v.clamp(0.0, 255.0).round_ties_even() as u8);
            }
        }
        all
    }

    #[test]
    fn every_instruction_set_gives_the_bytes_of_the_definition() {
        let to = if cfg!(miri) { PANEL } else { 2 * PANEL };
        for ((from, kernel, stride), shape, threads) in [
            ((4, 3, 1), [1, 3, 5], 1),
            ((64, 3, 1), [2, 5, 5], 2),
            ((8, 3, 2), [1, 5, 6], 1),
            ((4, 1, 2), [2, 7, 3], 1),
            ((64, 3, 1), [1, 4, 17], 1),
        ] {
            // Rayon's threads, and so many sums, are beyond Miri.
            let (threads, from, shape) = if cfg!(miri) { (1, 4, [1, 2, 3]) } else { (threads, from, shape) };
            let [images, height, width]: [usize; 3] = shape;
            let rows = kernel * kernel * from;
            let values: Vec<f32> = (0..rows * to).map(|i| number(i) / rows as f32).collect();
            let weight = Tensor::from_vec(values, (rows, to), &Device::Cpu).unwrap();
            let conv = Conv { from, to, kernel, stride, weight, bias: (0..to).map(number).collect() };
            let (high, wide) = (height.div_ceil(stride), width.div_ceil(stride));
            let maps = bytes(images * height * width * from, 1);
            let beside = bytes(images * high * wide * to, 2);
            // Each channel has a step of its own.
            let steps = |step: f32, count| (0..count).map(|i| step * (1.0 + 0.01 * (i % 7) as f32)).collect::<Vec<_>>();
            let (input, output, means) = (steps(0.01, from), steps(0.015, to), steps(20.0, from));
            for (shortcut, zero) in [(None, 128), (None, 0), (Some((0.02, 0)), 0), (Some((0.03, 128)), 0)] {
                let added = shortcut.map(|(step, zero)| (steps(step, to), zero));
                let given = added.as_ref().map(|(steps, zero)| (&steps[..], *zero));
                let input = Bytes { steps: &input, means: &means };
                let around = Around { input, output: &output, zero, shortcut: given };
                let whole = Direct::new(&conv, around, Isa::portable()).unwrap();
                let wanted = wanted(&whole, &maps, shape, shortcut.map(|_| &beside[..]));
                let spread = wanted.iter().max().unwrap() - wanted.iter().min().unwrap();
                assert!(spread > 50, "the bytes say nothing: {spread}");
                for isa in instructions() {
                    let layer = Direct::new(&conv, around, isa).unwrap();
                    let mut input = Padded::zeros(images, height, width, from);
                    input.fill(&maps);
                    let mut added = Padded::zeros(images, high, wide, to);
                    added.fill(&beside);
                    let mut output = Padded::zeros(images, high, wide, to);
                    let mut scratch: Vec<_> = (0..threads).map(|_| Scratch::default()).collect();
                    let task = Task { isa, input: &input, shortcut: shortcut.map(|_| &added), relu: true };
                    layer.run(task, &mut output, &mut scratch);
                    let found: Vec<u8> = (0..images).flat_map(|i| output.image(i)).flatten().copied().collect();
                    assert!(found == wanted, "{isa:?}: {kernel} taps, stride {stride}, {shape:?}");
                    let filled = |values: &[u8]| values.iter().filter(|v| **v != 0).count();
                    assert_eq!(filled(output.data()), filled(&found), "the border is written");
                }
            }
        }
    }
}

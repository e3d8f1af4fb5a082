//! A block's convolution in whole numbers, over patches where they lie.

use super::cut::Cuts;
use super::dot;
use super::round::{Quantised, quantise};
use super::tile::{Filter, PANEL, Strip};
use super::winograd::Winograd;
use crate::model::ModelError;
use crate::model::engine::buffer::Buffer;
use crate::model::engine::direct::pairs;
use crate::model::engine::isa::Isa;
use crate::model::engine::layer::{Convolution, Scratch, Task, WINOGRAD_CHANNELS, in_bands};
use crate::model::engine::maps::{Band, Padded};
use crate::model::engine::winograd::tiles;
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

/// What becomes of a convolution's sums.
#[derive(Debug)]
pub struct Requantised {
    /// From sums to steps of the output, one a channel.
    pub multiplier: Vec<f32>,
    /// In steps of the output.
    pub bias: Vec<f32>,
    /// Steps of the output in one of the shortcut, one a channel.
    pub shortcut: Vec<f32>,
}

/// A convolution in the way that suits it.
#[derive(Debug)]
pub enum Layer {
    /// Over patches.
    Direct(Direct),
    /// Over transformed tiles.
    Winograd(Winograd),
}

/// A convolution of one or three by as many taps, packed.
#[derive(Debug)]
pub struct Direct {
    kernel: usize,
    stride: usize,
    from: usize,
    to: usize,
    /// `[to / PANEL, taps * from / 4, PANEL, 4]`
    weights: Buffer<i8>,
    /// What was cut off them for instructions that are narrow.
    cuts: Option<Cuts>,
    scales: Requantised,
}

impl Layer {
    /// Packs a convolution for these instructions; the channels fill panels.
    ///
    /// # Errors
    /// Candle's.
    pub fn new(conv: &Conv, around: Around, isa: Isa) -> Result<Layer, ModelError> {
        let (kernels, scales) = quantised(conv, around)?;
        // Transformed kernels are eight times as large: of more channels they leave the cache, where few pixels share each read.
        let suits = (conv.kernel, conv.stride) == (3, 1) && conv.to <= WINOGRAD_CHANNELS;
        Ok(if suits && conv.from.is_multiple_of(PANEL) && Winograd::holds(&kernels, 9 * conv.from) {
            Layer::Winograd(Winograd::new(&kernels, conv.from, conv.to, scales))
        } else {
            Layer::Direct(Direct::new(conv, kernels, scales, isa))
        })
    }
}

/// A convolution's weights in whole numbers, and what becomes of their sums.
fn quantised(conv: &Conv, around: Around) -> Result<(Quantised, Requantised), ModelError> {
    let mut rows: Vec<f32> = conv.weight.flatten_all()?.to_vec1()?;
    // Weights of an input that is counted in smaller steps are smaller.
    for (row, step) in rows.chunks_exact_mut(conv.to).zip(around.input.steps.iter().cycle()) {
        row.iter_mut().for_each(|weight| *weight *= step);
    }
    let kernels = quantise(&rows, conv.from, conv.to);
    // What rounding the weights adds in the mean goes with the bias (Nagel et al. 2019, "Data-Free Quantization", ICCV).
    let mut added = vec![0.0f64; conv.to];
    for (r, row) in rows.chunks_exact(conv.to).enumerate() {
        let mean = around.input.means[r % conv.from];
        for (c, weight) in row.iter().enumerate() {
            added[c] += f64::from((kernels.value(r, c) - weight) * mean);
        }
    }
    let biases = conv.bias.iter().zip(added).map(|(bias, added)| bias - added as f32);
    let zero = around.shortcut.map_or(0, |(_, zero)| zero);
    let shortcut: Vec<f32> = match around.shortcut {
        Some((steps, _)) => steps.iter().zip(around.output).map(|(step, output)| step / output).collect(),
        None => vec![0.0; conv.to],
    };
    // The zeros of output and shortcut are whole numbers of their steps: they go with the bias.
    let moved = |shortcut: f32| f32::from(around.zero) - f32::from(zero) * shortcut;
    let scales = Requantised {
        multiplier: kernels.scales.iter().zip(around.output).map(|(scale, output)| scale / output).collect(),
        bias: biases.zip(around.output).zip(&shortcut).map(|((b, o), s)| b / o + moved(*s)).collect(),
        shortcut,
    };
    Ok((kernels, scales))
}

impl Direct {
    /// Packs a quantised convolution for these instructions; the channels fill panels.
    fn new(conv: &Conv, mut kernels: Quantised, scales: Requantised, isa: Isa) -> Direct {
        let cuts = dot::narrow(isa).then(|| Cuts::off(&mut kernels.weights, conv.kernel, conv.kernel * conv.from));
        let Conv { from, to, kernel, stride, .. } = *conv;
        Direct { kernel, stride, from, to, weights: kernels.weights, cuts, scales }
    }

    /// Computes some bands of the output, one panel of channels after the other: it stays in the cache meanwhile.
    fn bands(&self, task: Task<u8>, bands: &mut [Band<u8>]) {
        let Task { isa, input, shortcut, .. } = task;
        let Requantised { multiplier, bias, shortcut: factors } = &self.scales;
        let depth = self.kernel * self.from;
        for (p, weights) in self.weights.chunks_exact(self.kernel * depth * PANEL).enumerate() {
            let (multiplier, bias) = (&multiplier[p * PANEL..], &bias[p * PANEL..]);
            let cut = self.cuts.as_ref().map(|cuts| cuts.panel(p));
            let filter: Filter = Filter { weights, cut, multiplier, bias, taps: self.kernel, tap: input.line(), depth };
            for band in bands.iter_mut() {
                let shortcut = shortcut.map(|maps| (maps.beside(band), &factors[p * PANEL..]));
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

impl Convolution<u8> for Layer {
    fn make_room(&self, _: Isa, images: usize, height: usize, width: usize, scratch: &mut Scratch) {
        if let Layer::Winograd(layer) = self {
            layer.make_room(images * tiles(height, width), scratch);
        }
    }

    fn run(&self, task: Task<u8>, output: &mut Padded<u8>, scratch: &mut [Scratch]) {
        let rows = if let Layer::Winograd(_) = self { 4 } else { 1 };
        in_bands(output, rows, scratch, |bands, scratch| match self {
            Layer::Direct(layer) => layer.bands(task, bands),
            Layer::Winograd(layer) => layer.run(task, bands, scratch),
        });
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
    fn wanted(
        conv: &Conv,
        (kernels, scales): &(Quantised, Requantised),
        maps: &[u8],
        [images, height, width]: [usize; 3],
        shortcut: Option<&[u8]>,
    ) -> Vec<u8> {
        let (pad, out) = (conv.kernel / 2, |n: usize| n.div_ceil(conv.stride));
        let mut all = Vec::new();
        for pixel in 0..images * out(height) * out(width) {
            let (image, y, x) =
                (pixel / out(width) / out(height), pixel / out(width) % out(height), pixel % out(width));
            for c in 0..conv.to {
                let mut sum = 0;
                for tap in 0..conv.kernel * conv.kernel {
                    let row = (y * conv.stride + tap / conv.kernel).wrapping_sub(pad);
                    let column = (x * conv.stride + tap % conv.kernel).wrapping_sub(pad);
                    if row < height && column < width {
                        let from = ((image * height + row) * width + column) * conv.from;
                        sum += (0..conv.from)
                            .map(|i| i32::from(maps[from + i]) * i32::from(kernels.whole(tap * conv.from + i, c)))
                            .sum::<i32>();
                    }
                }
                let mut v = sum as f32 * scales.multiplier[c] + scales.bias[c];
                if let Some(shortcut) = shortcut {
                    v += f32::from(shortcut[all.len()]) * scales.shortcut[c];
                }
                all.push(v.clamp(0.0, 255.0).round_ties_even() as u8);
            }
        }
        all
    }

    #[test]
    fn every_way_and_instruction_set_gives_the_bytes_of_the_definition() {
        let to = if cfg!(miri) { PANEL } else { 2 * PANEL };
        for ((from, kernel, stride), shape, threads) in [
            ((4, 3, 1), [1, 3, 5], 1),
            ((64, 3, 1), [2, 5, 5], 2),
            ((8, 3, 2), [1, 5, 6], 1),
            ((4, 1, 2), [2, 7, 3], 1),
            ((64, 3, 1), [1, 4, 17], 1),
            // Tiles of all sides.
            ((32, 3, 1), [3, 13, 6], 2),
            ((32, 3, 1), [1, 1, 10], 1),
            ((32, 3, 1), [2, 2, 11], 1),
            ((32, 3, 1), [1, 7, 9], 1),
        ] {
            // Rayon's threads, and so many sums, are beyond Miri.
            let from = if cfg!(miri) { from.min(PANEL) } else { from };
            let (threads, shape) = if cfg!(miri) { (1, [1, 2, 3]) } else { (threads, shape) };
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
                let direct = |isa| {
                    let (kernels, scales) = quantised(&conv, around).unwrap();
                    Layer::Direct(Direct::new(&conv, kernels, scales, isa))
                };
                let beside_maps = shortcut.map(|_| &beside[..]);
                let wanted = wanted(&conv, &quantised(&conv, around).unwrap(), &maps, shape, beside_maps);
                let spread = wanted.iter().max().unwrap() - wanted.iter().min().unwrap();
                assert!(spread > 50, "the bytes say nothing: {spread}");
                for (isa, own) in instructions().into_iter().flat_map(|isa| [(isa, true), (isa, false)]) {
                    let layer = if own { Layer::new(&conv, around, isa).unwrap() } else { direct(isa) };
                    let tiles = own && (kernel, stride) == (3, 1) && from >= PANEL;
                    assert_eq!(matches!(layer, Layer::Winograd(_)), tiles);
                    let mut input = Padded::zeros(images, height, width, from);
                    input.fill(&maps);
                    let mut added = Padded::zeros(images, high, wide, to);
                    added.fill(&beside);
                    let mut output = Padded::zeros(images, high, wide, to);
                    let mut scratch: Vec<_> = (0..threads).map(|_| Scratch::default()).collect();
                    scratch.iter_mut().for_each(|scratch| layer.make_room(isa, images, high, wide, scratch));
                    let task = Task { isa, input: &input, shortcut: shortcut.map(|_| &added), relu: true };
                    layer.run(task, &mut output, &mut scratch);
                    let found: Vec<u8> = (0..images).flat_map(|i| output.image(i)).flatten().copied().collect();
                    assert!(found == wanted, "{isa:?}, {own}: {kernel} taps, stride {stride}, {shape:?}");
                    let filled = |values: &[u8]| values.iter().filter(|v| **v != 0).count();
                    assert_eq!(filled(output.data()), filled(&found), "the border is written");
                }
            }
        }
    }
}

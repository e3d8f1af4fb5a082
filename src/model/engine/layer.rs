//! One convolution of a block, spread over threads.

use super::buffer::Buffer;
use super::deep::Deep;
use super::direct::Direct;
use super::isa::Isa;
use super::maps::{Band, Padded};
use super::stem::StemScratch;
use super::winograd::{Winograd, tiles};
use crate::model::ModelError;
use crate::model::weights::Conv;
use rayon::prelude::*;
use std::fmt::Debug;

/// Up to so many channels kernels are transformed beforehand for Winograd's way.
pub const WINOGRAD_CHANNELS: usize = 256;

/// What is to be done, whatever the way.
#[derive(Clone, Copy)]
pub struct Task<'a, T = f32> {
    /// With which instructions.
    pub isa: Isa,
    /// From which maps.
    pub input: &'a Padded<T>,
    /// Added; of the output's shape.
    pub shortcut: Option<&'a Padded<T>>,
    /// Cut off below 0; maps of bytes are, whatever this says.
    pub relu: bool,
}

/// A convolution of a block, packed.
pub trait Convolution<T>: Debug + Send + Sync {
    /// Makes room in a thread's memory for an output of so many images, rows and columns.
    fn make_room(&self, isa: Isa, images: usize, height: usize, width: usize, scratch: &mut Scratch);

    /// Convolution, bias, shortcut, ReLU; on as many threads as there is scratch for.
    fn run(&self, task: Task<T>, output: &mut Padded<T>, scratch: &mut [Scratch]);
}

/// A convolution in the way that suits it.
#[derive(Debug)]
pub enum Layer {
    /// Over patches.
    Direct(Direct),
    /// Over transformed tiles.
    Winograd(Winograd),
    /// Over transformed tiles, the kernel transformed as it is used.
    Deep(Deep),
}

/// Memory for one thread.
#[derive(Debug, Default)]
pub struct Scratch {
    /// For the stem.
    pub stem: StemScratch,
    /// For Winograd's tiles.
    pub tiles: Buffer<f32>,
    /// For Winograd's tiles in whole numbers: inputs, and their products.
    pub whole: (Buffer<i16>, Buffer<i32>),
}

impl Layer {
    /// Packs a convolution.
    ///
    /// # Errors
    /// Candle's.
    pub fn new(conv: &Conv, isa: Isa) -> Result<Layer, ModelError> {
        Ok(match (conv.kernel, conv.stride) {
            (3, 1) if conv.to <= WINOGRAD_CHANNELS => Layer::Winograd(Winograd::new(conv, isa)?),
            (3, 1) => Layer::Deep(Deep::new(conv, isa)?),
            _ => Layer::Direct(Direct::new(conv, isa)?),
        })
    }
}

impl Convolution<f32> for Layer {
    fn make_room(&self, isa: Isa, images: usize, height: usize, width: usize, scratch: &mut Scratch) {
        scratch.tiles.at_least(match self {
            Layer::Direct(_) => 0,
            Layer::Winograd(layer) => layer.scratch(images * tiles(height, width)),
            Layer::Deep(layer) => layer.scratch(isa, images * tiles(height, width)),
        });
    }

    fn run(&self, task: Task, output: &mut Padded, scratch: &mut [Scratch]) {
        let tiles = output.images() * tiles(output.height, output.width);
        let rows = match self {
            Layer::Direct(_) => 1,
            Layer::Deep(_) if !Deep::by_tiles(tiles, scratch.len()) => 1,
            _ => 4,
        };
        in_bands(output, rows, scratch, |bands, scratch| match self {
            Layer::Direct(layer) => layer.run(task, bands),
            Layer::Winograd(layer) => layer.run(task, bands, &mut scratch.tiles),
            Layer::Deep(layer) => layer.run(task, bands, &mut scratch.tiles),
        });
    }
}

/// Has `work` done for all rows of `output`: at once by one thread, or some bands by each, which begin at multiples of `unit`.
pub fn in_bands<T: Copy + Default + Send>(
    output: &mut Padded<T>,
    unit: usize,
    scratch: &mut [Scratch],
    work: impl Fn(&mut [Band<T>], &mut Scratch) + Sync,
) {
    let height = output.height.max(1);
    match scratch {
        [] => {}
        [scratch] => work(&mut output.bands(height), scratch),
        all => {
            let rows = (output.images() * height).div_ceil(all.len()).next_multiple_of(unit).min(height);
            let mut bands = output.bands(rows);
            let each = bands.len().div_ceil(all.len()).max(1);
            bands.par_chunks_mut(each).zip(all.par_iter_mut()).for_each(|(bands, scratch)| work(bands, scratch));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Tensor};

    /// Numbers of a few bits, so that differences of order are small.
    fn number(i: usize) -> f32 {
        ((i * 2654435761) % 97) as f32 / 64.0 - 0.75
    }

    /// Channels out, and channels in for Winograd's way: no more than the portable path needs where Miri runs it.
    const TO: usize = if cfg!(miri) { 8 } else { 32 };
    const FROM: usize = if cfg!(miri) { 4 } else { 16 };

    fn conv(from: usize, to: usize, kernel: usize, stride: usize) -> Conv {
        let rows = kernel * kernel * from;
        let values: Vec<f32> = (0..rows * to).map(|i| number(i) / rows as f32).collect();
        let weight = Tensor::from_vec(values, (rows, to), &Device::Cpu).unwrap();
        Conv { from, to, kernel, stride, weight, bias: (0..to).map(number).collect() }
    }

    /// What a convolution is, by definition; maps without borders.
    fn wanted(conv: &Conv, maps: &[f32], [images, height, width]: [usize; 3], shortcut: &[f32]) -> Vec<f32> {
        let rows: Vec<f32> = conv.weight.flatten_all().unwrap().to_vec1().unwrap();
        let (pad, out) = (conv.kernel / 2, |n: usize| n.div_ceil(conv.stride));
        let mut all = Vec::new();
        for pixel in 0..images * out(height) * out(width) {
            let (image, y, x) =
                (pixel / out(width) / out(height), pixel / out(width) % out(height), pixel % out(width));
            for c in 0..conv.to {
                let mut sum = conv.bias[c] + shortcut[all.len()];
                for tap in 0..conv.kernel * conv.kernel {
                    let row = (y * conv.stride + tap / conv.kernel).wrapping_sub(pad);
                    let column = (x * conv.stride + tap % conv.kernel).wrapping_sub(pad);
                    if row < height && column < width {
                        for i in 0..conv.from {
                            let value = maps[((image * height + row) * width + column) * conv.from + i];
                            sum += value * rows[(tap * conv.from + i) * conv.to + c];
                        }
                    }
                }
                all.push(sum.max(0.0));
            }
        }
        all
    }

    fn check(layer: impl Fn(&Conv, Isa) -> Layer, conv: &Conv, [images, height, width]: [usize; 3], threads: usize) {
        // Rayon's threads are beyond what Miri accepts.
        let threads = if cfg!(miri) { 1 } else { threads };
        let maps: Vec<f32> = (0..images * height * width * conv.from).map(number).collect();
        let (high, wide) = (height.div_ceil(conv.stride), width.div_ceil(conv.stride));
        let beside: Vec<f32> = (0..images * high * wide * conv.to).map(|i| number(i + 5)).collect();
        let wanted = wanted(conv, &maps, [images, height, width], &beside);
        for isa in Isa::available() {
            let layer = layer(conv, isa);
            let mut input = Padded::zeros(images, height, width, conv.from);
            input.fill(&maps);
            let mut shortcut = Padded::zeros(images, high, wide, conv.to);
            shortcut.fill(&beside);
            let mut output = Padded::zeros(images, high, wide, conv.to);
            let mut scratch: Vec<_> = (0..threads).map(|_| Scratch::default()).collect();
            scratch.iter_mut().for_each(|scratch| layer.make_room(isa, images, high, wide, scratch));
            let task = Task { isa, input: &input, shortcut: Some(&shortcut), relu: true };
            layer.run(task, &mut output, &mut scratch);
            let found = (0..images).flat_map(|i| output.image(i)).flatten();
            let inside = found.zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(inside < 1e-4, "{}: {height} by {width}: {inside}", isa.name());
            let (all, written) = (output.data().iter(), (0..images).flat_map(|i| output.image(i)).flatten());
            let filled = |values: &mut dyn Iterator<Item = &f32>| values.filter(|v| **v != 0.0).count();
            assert_eq!(filled(&mut { all }), filled(&mut { written }), "the border is written");
        }
    }

    #[test]
    fn patches() {
        let layer = |conv: &Conv, isa| Layer::Direct(Direct::new(conv, isa).unwrap());
        for (conv, shape, threads) in [
            (conv(4, 2 * TO, 3, 1), [1, 3, 5], 1),
            (conv(4, TO, 3, 2), [2, 5, 6], 1),
            (conv(6, TO, 1, 2), [1, 7, 3], 2),
            (conv(2, TO, 1, 1), [1, 1, 17], 1),
        ] {
            check(layer, &conv, shape, threads);
        }
    }

    #[test]
    fn tiles_of_a_kernel_transformed_beforehand() {
        let layer = |conv: &Conv, isa| Layer::Winograd(Winograd::new(conv, isa).unwrap());
        for (shape, threads) in [
            ([1, 3, 5], 1),
            ([2, 9, 4], 2),
            ([1, 4, 8], 1),
            ([2, 7, 6], 1),
            ([1, 13, 5], 2),
            ([1, 1, 10], 1),
            ([3, 2, 11], 1),
        ] {
            check(layer, &conv(FROM, TO, 3, 1), shape, threads);
        }
    }

    #[test]
    fn tiles_of_a_kernel_transformed_on_the_way() {
        let layer = |conv: &Conv, isa| Layer::Deep(Deep::new(conv, isa).unwrap());
        // With the tiles of few pixels, and with those that share one transform.
        let shapes: &[_] = if cfg!(miri) {
            &[([2, 7, 7], 1)]
        } else {
            &[([1, 5, 5], 1), ([1, 5, 5], 2), ([3, 7, 6], 1), ([9, 9, 5], 2), ([4, 5, 5], 1), ([2, 6, 10], 1)]
        };
        for (shape, threads) in shapes {
            check(layer, &conv(if cfg!(miri) { 64 } else { 128 }, TO, 3, 1), *shape, *threads);
        }
    }
}

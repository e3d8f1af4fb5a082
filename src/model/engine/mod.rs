//! ResNet-18 on the CPU as one operation of candle's: grey squares in, logits out.
//!
//! | file | what |
//! |---|---|
//! | [`isa`] | what the CPU has |
//! | `simd` | vectors, for each level of instructions; kernels are written once over them |
//! | `tile`, `transform`, `pool` | the kernels: matrix product, Winograd's transforms, max pool |
//! | `direct`, `winograd`, `deep`, `stem` | convolutions, made of kernels |
//! | `layer`, `space` | which way a convolution takes; threads; memory |
//! | `buffer`, `maps` | aligned memory, feature maps with a border of zeros |
//! | [`int8`] | the same network in whole numbers |
//!
//! Maps are channels last, batch norms are folded, and bias, shortcut and ReLU are applied while results are still in
//! registers. Kernels are packed once, when the network is made; maps lie in memory that is kept. A batch is cut into parts of a
//! few images, and each thread takes parts through the whole network; fewer images than threads share each layer's rows.
//!
//! Unsafe code is in `simd`, `tile`, `transform`, `pool` and `int8::{dot, wide, width, tile, transform}` alone. Each kernel checks its slices before it
//! goes through them by pointer. The unit tests compare each way of convolving with the definition on small maps, for whatever finds faults of memory:
//! - Miri, the portable path: `MIRIFLAGS=-Zmiri-disable-isolation cargo +nightly miri test --lib engine`;
//! - valgrind, without AVX-512: `cargo test --lib --no-run`, then `valgrind --error-exitcode=1` before the binary's name, and
//!   `engine` behind it;
//! - AddressSanitizer, all paths: `RUSTFLAGS=-Zsanitizer=address cargo +nightly test --target x86_64-unknown-linux-gnu --lib engine`;
//! - ARM, the portable path, on any machine: `cargo test --target aarch64-unknown-linux-gnu --lib engine`, where
//!   `CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER` is `aarch64-linux-gnu-gcc`, and `…_RUNNER` is
//!   `qemu-aarch64 -L /usr/aarch64-linux-gnu` (Debian's gcc-aarch64-linux-gnu, g++-aarch64-linux-gnu and qemu-user).

pub mod buffer;
mod deep;
mod direct;
pub mod int8;
pub mod isa;
mod layer;
mod maps;
mod pool;
mod simd;
mod space;
mod stem;
mod tile;
mod transform;
mod winograd;

use super::ModelError;
use super::cam::{ActivationMap, activation_maps};
use super::folded::Folded;
use super::weights::{BLOCKS, Weights};
use candle_core::{CpuStorage, CustomOp1, Device, Layout, Shape as TensorShape, Tensor};
use int8::range::Ranges;
use isa::Isa;
use layer::{Convolution, Layer};
use maps::Padded;
use rayon::prelude::*;
use space::{Shape, Space, Spaces};
use std::ops::Range;
use stem::Stem;

/// A batch of feature maps, channels last: `data.len() == images * height * width * channels`.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Maps {
    pub images: usize,
    pub height: usize,
    pub width: usize,
    pub channels: usize,
    pub data: Vec<f32>,
}

/// What maps are made of: `f32`, or `u8` for arithmetic in whole numbers.
trait Value: Copy + Default + std::fmt::Debug + Into<f32> + Send + Sync + 'static {
    /// A convolution of a block.
    type Layer: Convolution<Self>;
}

impl Value for f32 {
    type Layer = Layer;
}

/// The network, ready to run. May be shared by threads.
#[derive(Debug)]
pub struct Network {
    isa: Isa,
    stem: Stem,
    blocks: Vec<Block<f32>>,
    /// `[512, heads]`
    head_weight: Tensor,
    /// The same values.
    head_rows: Vec<f32>,
    head_bias: Vec<f32>,
    spaces: Spaces<f32>,
}

#[derive(Debug)]
struct Block<T: Value> {
    conv1: T::Layer,
    conv2: T::Layer,
    beside: Option<T::Layer>,
}

/// About how many pixels of grey images a thread takes through the network at once: eight images of 224 × 224. More of them
/// share each read of the kernels, fewer stay in the cache.
const PART_PIXELS: usize = 8 * 224 * 224;

impl Network {
    /// Puts the network together from its tensors, for this CPU.
    ///
    /// # Errors
    /// A tensor is missing or has another shape.
    pub fn new(weights: &Weights, heads: usize) -> Result<Network, ModelError> {
        Network::with(&Folded::new(weights, heads)?, Isa::best())
    }

    /// The same without its heads: what training begins from.
    ///
    /// # Errors
    /// A tensor is missing or has another shape.
    pub fn headless(weights: &Weights) -> Result<Network, ModelError> {
        Network::with(&Folded::headless(weights)?, Isa::best())
    }

    /// Packs a network for some instructions: tests take each, everyone else the best.
    ///
    /// # Errors
    /// Candle's.
    pub fn with(folded: &Folded, isa: Isa) -> Result<Network, ModelError> {
        let layer = |conv| Layer::new(conv, isa);
        let mut blocks = Vec::with_capacity(folded.blocks.len());
        for block in &folded.blocks {
            let beside = block.beside.as_ref().map(layer).transpose()?;
            blocks.push(Block { conv1: layer(&block.conv1)?, conv2: layer(&block.conv2)?, beside });
        }
        Ok(Network {
            isa,
            stem: Stem::new(&folded.stem, isa)?,
            blocks,
            head_rows: folded.head_weight.flatten_all()?.to_vec1()?,
            head_weight: folded.head_weight.clone(),
            head_bias: folded.head_bias.clone(),
            spaces: Spaces::default(),
        })
    }

    /// Grey squares of side `size` → the maps after the stem and the first `blocks` blocks.
    ///
    /// # Errors
    /// An image of another size.
    pub fn front(&self, inputs: &[Vec<f32>], size: usize, blocks: usize) -> Result<Maps, ModelError> {
        let grey = Grey { values: &joined(inputs, size)?, images: inputs.len(), side: [size, size] };
        let parts = self.parts(grey.images, grey.side, None, |space, images| {
            self.begin(space, grey.part(images), blocks);
            plain(space.maps())
        });
        Ok(joined_maps(parts))
    }

    /// The values of all maps on the way, by part of the batch.
    pub(self) fn watched(&self, inputs: &[Vec<f32>], size: usize) -> Result<Vec<Ranges>, ModelError> {
        let grey = Grey { values: &joined(inputs, size)?, images: inputs.len(), side: [size, size] };
        Ok(self.parts(grey.images, grey.side, None, |space, images| {
            let mut ranges = Ranges::default();
            let mut at = 0..;
            let mut count = |maps: &Padded| at.by_ref().take(1).for_each(|map| ranges.count(map, maps));
            self.begin(space, grey.part(images), 0);
            count(space.maps());
            for index in 0..BLOCKS.len() {
                self.blocks(space, index..index + 1);
                space.inside(index).into_iter().for_each(&mut count);
                count(space.maps());
            }
            ranges
        }))
    }

    /// Maps before block `first` → the logits of each image.
    ///
    /// # Errors
    /// The maps are not of the block's channels.
    pub fn rest(&self, maps: &Maps, first: usize) -> Result<Vec<Vec<f32>>, ModelError> {
        let channels = BLOCKS.get(first).map_or(512, |block| block.from);
        let values = maps.images * maps.height * maps.width * channels;
        if maps.channels != channels || maps.data.len() != values || (values == 0 && maps.images > 0) {
            return Err(ModelError::Input { found: maps.data.len(), size: values });
        }
        if first >= BLOCKS.len() {
            let values = (maps.height * maps.width * channels).max(1);
            let rows =
                maps.data.chunks(values).map(|image| self.heads(image.chunks(channels), maps.height * maps.width));
            return Ok(rows.collect());
        }
        let parts = self.parts(maps.images, [maps.height, maps.width], Some(first), |space, images| {
            space.load(maps, images.start);
            self.blocks(space, first..BLOCKS.len());
            self.end(space.maps())
        });
        Ok(parts.into_iter().flatten().collect())
    }

    /// The logits of each image, a grey square of side `size`.
    ///
    /// # Errors
    /// An image of another size.
    pub fn logits(&self, inputs: &[Vec<f32>], size: usize) -> Result<Vec<Vec<f32>>, ModelError> {
        logits(self, inputs, size)
    }

    /// The class activation maps of each image, one a head: what [`Network::logits`] rests on.
    ///
    /// # Errors
    /// An image of another size.
    pub fn activation_maps(&self, inputs: &[Vec<f32>], size: usize) -> Result<Vec<Vec<ActivationMap>>, ModelError> {
        if inputs.is_empty() {
            return Ok(Vec::new());
        }
        activation_maps(&self.front(inputs, size, BLOCKS.len())?, &self.head_weight, &self.head_bias)
    }

    /// The stem and the first `blocks` blocks.
    fn begin(&self, space: &mut Space<f32>, grey: &[f32], blocks: usize) {
        space.begin(self.isa, &self.stem, grey);
        self.blocks(space, 0..blocks);
    }

    fn blocks(&self, space: &mut Space<f32>, range: Range<usize>) {
        for (index, block) in range.clone().zip(&self.blocks[range]) {
            space.block(self.isa, index, block);
        }
    }

    /// Global average pool and the last layer: one logit a head for each image.
    fn end<T: Value>(&self, maps: &Padded<T>) -> Vec<Vec<f32>> {
        let pixels = maps.height * maps.width;
        let image = |i| self.heads(maps.image(i).flat_map(|row| row.chunks_exact(maps.channels)), pixels);
        (0..maps.images()).map(image).collect()
    }

    /// The logits of all parts of a batch, as an operation gives them.
    fn told(&self, images: usize, parts: Vec<Vec<Vec<f32>>>) -> (CpuStorage, TensorShape) {
        let logits: Vec<f32> = parts.into_iter().flatten().flatten().collect();
        (CpuStorage::F32(logits), (images, self.head_bias.len()).into())
    }

    fn heads<'a, T: Value>(&self, pixels: impl Iterator<Item = &'a [T]>, count: usize) -> Vec<f32> {
        let mut pooled = [0.0f32; 512];
        for pixel in pixels {
            pooled.iter_mut().zip(pixel).for_each(|(sum, &v)| *sum += v.into());
        }
        let mut logits = self.head_bias.clone();
        for (sum, row) in pooled.iter().zip(self.head_rows.chunks_exact(logits.len().max(1))) {
            let mean = sum / count as f32;
            logits.iter_mut().zip(row).for_each(|(logit, weight)| *logit += mean * weight);
        }
        logits
    }

    /// Has `work` done for a batch: parts of a few images on a thread each, or all of them at once on all threads.
    fn parts<R: Send>(
        &self,
        images: usize,
        side: [usize; 2],
        block: Option<usize>,
        work: impl Fn(&mut Space<f32>, Range<usize>) -> R + Sync,
    ) -> Vec<R> {
        let all = rayon::current_num_threads();
        // A map's pixel stands for this many of the image.
        let scale =
            block.map_or(1, |block| 16 * BLOCKS[..block].iter().map(|b| b.stride * b.stride).product::<usize>());
        let most = (PART_PIXELS / (side[0] * side[1] * scale).max(1)).max(1);
        let (each, threads) = if images < all {
            (images.max(1), all)
        } else {
            // As many parts for each thread.
            (images.div_ceil(images.div_ceil(most).next_multiple_of(all)), 1)
        };
        let parts = (0..images).into_par_iter().step_by(each).with_max_len(1);
        parts
            .map(|first| {
                let range = first..(first + each).min(images);
                let mut space =
                    self.spaces.take(Shape { images: range.len(), side, block, threads }, self.isa, &self.blocks);
                let result = work(&mut space, range);
                self.spaces.put(space);
                result
            })
            .collect()
    }
}

/// `[images, 1, height, width]` grey values → `[images, heads]` logits.
impl CustomOp1 for Network {
    fn name(&self) -> &'static str {
        "resnet18"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, TensorShape)> {
        let grey = Grey::of(storage, layout)?;
        let parts = self.parts(grey.images, grey.side, None, |space, images| {
            self.begin(space, grey.part(images), BLOCKS.len());
            self.end(space.maps())
        });
        Ok(self.told(grey.images, parts))
    }
}

/// A batch of grey images, one after the other.
#[derive(Clone, Copy)]
struct Grey<'a> {
    values: &'a [f32],
    images: usize,
    /// Rows and columns of each.
    side: [usize; 2],
}

impl<'a> Grey<'a> {
    /// A tensor's: `[images, 1, height, width]`.
    fn of(storage: &'a CpuStorage, layout: &Layout) -> candle_core::Result<Grey<'a>> {
        let (images, channels, height, width) = layout.shape().dims4()?;
        match layout.contiguous_offsets() {
            Some((first, last)) if channels == 1 && height * width > 0 => {
                Ok(Grey { values: &storage.as_slice::<f32>()?[first..last], images, side: [height, width] })
            }
            _ => candle_core::bail!("the network takes contiguous grey images, not {:?}", layout.shape()),
        }
    }

    /// Some of the images.
    fn part(&self, images: Range<usize>) -> &'a [f32] {
        let values = self.side[0] * self.side[1];
        &self.values[images.start * values..images.end * values]
    }
}

/// The logits that a network gives for each image, a grey square of side `size`.
fn logits(network: &impl CustomOp1, inputs: &[Vec<f32>], size: usize) -> Result<Vec<Vec<f32>>, ModelError> {
    if inputs.is_empty() {
        return Ok(Vec::new());
    }
    let grey = Tensor::from_vec(joined(inputs, size)?, (inputs.len(), 1, size, size), &Device::Cpu)?;
    Ok(grey.apply_op1_no_bwd(network)?.to_vec2()?)
}

/// All images' values, one after the other.
fn joined(inputs: &[Vec<f32>], size: usize) -> Result<Vec<f32>, ModelError> {
    match inputs.iter().find(|input| input.len() != size * size || size == 0) {
        Some(input) => Err(ModelError::Input { found: input.len(), size }),
        None => Ok(inputs.concat()),
    }
}

/// Maps without their border.
fn plain<T: Value>(maps: &Padded<T>) -> Maps {
    let data = (0..maps.images()).flat_map(|i| maps.image(i)).flatten().map(|&v| v.into()).collect();
    Maps { images: maps.images(), height: maps.height, width: maps.width, channels: maps.channels, data }
}

/// The maps of all parts of a batch.
fn joined_maps(parts: Vec<Maps>) -> Maps {
    let empty = Maps { images: 0, height: 0, width: 0, channels: 0, data: Vec::new() };
    parts
        .into_iter()
        .reduce(|mut all, mut part| {
            all.images += part.images;
            all.data.append(&mut part.data);
            all
        })
        .unwrap_or(empty)
}

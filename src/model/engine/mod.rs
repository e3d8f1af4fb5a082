//! ResNet-18 on the CPU: channels last, each convolution a matrix product over patches.
//!
//! Patches are gathered for a few hundred output pixels at a time, so that they stay in the cache, multiplied by
//! candle's matrix product, and the bias, the shortcut and the ReLU are applied while the result is copied out.
//! Blocks of output pixels run on rayon's threads, over all images of a batch. No unsafe code here.

pub mod buffer;
pub mod isa;
mod simd;

use super::ModelError;
use super::cam::{ActivationMap, activation_maps};
use super::weights::{BLOCKS, Conv, Weights};
use candle_core::{CpuStorage, Device, Storage, Tensor};
use rayon::prelude::*;

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

/// One basic block.
#[derive(Clone, Debug)]
pub struct Block {
    /// 3×3, may halve the size.
    pub conv1: Conv,
    /// 3×3.
    pub conv2: Conv,
    /// 1×1 beside them, where size or channels change.
    pub beside: Option<Conv>,
}

/// The whole network, batch norm folded.
#[derive(Clone, Debug)]
pub struct Network {
    /// 7×7, stride 2, one channel in.
    pub stem: Conv,
    /// The eight blocks of [`BLOCKS`].
    pub blocks: Vec<Block>,
    /// `[512, heads]`
    pub head_weight: Tensor,
    /// One a head.
    pub head_bias: Vec<f32>,
}

/// About how many patch values are gathered before they are multiplied (512 KiB).
const PATCH_VALUES: usize = 1 << 17;
/// At least so many output pixels at once: the kernel is read once for them.
const LEAST_ROWS: usize = 96;

impl Network {
    /// Puts the network together from its tensors.
    pub fn new(weights: &Weights, heads: usize) -> Result<Network, ModelError> {
        let stem = weights.stem()?;
        let blocks = (0..BLOCKS.len()).map(|i| Block::new(weights, i)).collect::<Result<_, _>>()?;
        let (weight, bias) = weights.heads(heads)?;
        let head_weight = Tensor::from_vec(weight.data, (heads, 512), &Device::Cpu)?.t()?.contiguous()?;
        Ok(Network { stem, blocks, head_weight, head_bias: bias.data })
    }

    /// The same without its heads: what training begins from.
    pub fn headless(weights: &Weights) -> Result<Network, ModelError> {
        let stem = weights.stem()?;
        let blocks = (0..BLOCKS.len()).map(|i| Block::new(weights, i)).collect::<Result<_, _>>()?;
        let head_weight = Tensor::zeros((512, 1), candle_core::DType::F32, &Device::Cpu)?;
        Ok(Network { stem, blocks, head_weight, head_bias: vec![0.0] })
    }

    /// Grey squares of side `size` → stem, ReLU and max pool (3×3, stride 2): 64 channels at a quarter of the size.
    pub fn begin(&self, inputs: &[Vec<f32>], size: usize) -> Result<Maps, ModelError> {
        let mut data = Vec::with_capacity(inputs.len() * size * size);
        for input in inputs {
            if input.len() != size * size {
                return Err(ModelError::Input { found: input.len(), size });
            }
            data.extend_from_slice(input);
        }
        let grey = Maps { images: inputs.len(), height: size, width: size, channels: 1, data };
        Ok(max_pool(&convolve(&grey, &self.stem, None, true)?))
    }

    /// The maps after blocks `range`.
    pub fn run(&self, mut maps: Maps, range: std::ops::Range<usize>) -> Result<Maps, ModelError> {
        for block in &self.blocks[range] {
            maps = block.run(&maps)?;
        }
        Ok(maps)
    }

    /// Global average pool and the last layer: for each image, one logit a head.
    pub fn end(&self, maps: &Maps) -> Result<Vec<Vec<f32>>, ModelError> {
        let pixels = maps.height * maps.width;
        let mut pooled = vec![0.0f32; maps.images * maps.channels];
        for (image, sums) in maps.data.chunks_exact(pixels * maps.channels).zip(pooled.chunks_exact_mut(maps.channels))
        {
            for pixel in image.chunks_exact(maps.channels) {
                sums.iter_mut().zip(pixel).for_each(|(s, v)| *s += v / pixels as f32);
            }
        }
        let pooled = Tensor::from_vec(pooled, (maps.images, maps.channels), &Device::Cpu)?;
        let mut logits: Vec<Vec<f32>> = pooled.matmul(&self.head_weight)?.to_vec2()?;
        for row in &mut logits {
            row.iter_mut().zip(&self.head_bias).for_each(|(v, b)| *v += b);
        }
        Ok(logits)
    }

    /// The logits of each image.
    pub fn logits(&self, inputs: &[Vec<f32>], size: usize) -> Result<Vec<Vec<f32>>, ModelError> {
        if inputs.is_empty() {
            return Ok(Vec::new());
        }
        self.end(&self.last_maps(inputs, size)?)
    }

    /// The class activation maps of each image, one a head: what [`Network::logits`] rests on.
    pub fn activation_maps(&self, inputs: &[Vec<f32>], size: usize) -> Result<Vec<Vec<ActivationMap>>, ModelError> {
        if inputs.is_empty() {
            return Ok(Vec::new());
        }
        activation_maps(&self.last_maps(inputs, size)?, &self.head_weight, &self.head_bias)
    }

    fn last_maps(&self, inputs: &[Vec<f32>], size: usize) -> Result<Maps, ModelError> {
        self.run(self.begin(inputs, size)?, 0..self.blocks.len())
    }
}

impl Block {
    /// Block `index` of [`BLOCKS`].
    pub fn new(weights: &Weights, index: usize) -> Result<Block, ModelError> {
        let shape = BLOCKS[index];
        let name = |part: &str| format!("{}.{part}", shape.name);
        let conv1 = weights.conv(&name("conv1"), &name("bn1"), [shape.from, shape.to, 3, shape.stride])?;
        let conv2 = weights.conv(&name("conv2"), &name("bn2"), [shape.to, shape.to, 3, 1])?;
        let beside = if shape.from != shape.to {
            Some(weights.conv(&name("downsample.0"), &name("downsample.1"), [shape.from, shape.to, 1, shape.stride])?)
        } else {
            None
        };
        Ok(Block { conv1, conv2, beside })
    }

    /// Two convolutions and the shortcut.
    pub fn run(&self, maps: &Maps) -> Result<Maps, ModelError> {
        let inner = convolve(maps, &self.conv1, None, true)?;
        match &self.beside {
            Some(beside) => convolve(&inner, &self.conv2, Some(&convolve(maps, beside, None, false)?), true),
            None => convolve(&inner, &self.conv2, Some(maps), true),
        }
    }
}

/// Convolution, bias, shortcut, ReLU.
fn convolve(maps: &Maps, conv: &Conv, shortcut: Option<&Maps>, relu: bool) -> Result<Maps, ModelError> {
    if maps.channels != conv.from {
        return Err(ModelError::Input { found: maps.channels, size: conv.from });
    }
    let pad = conv.kernel / 2;
    let side = |n: usize| (n + 2 * pad).saturating_sub(conv.kernel) / conv.stride + 1;
    let (height, width) = (side(maps.height), side(maps.width));
    let depth = conv.kernel * conv.kernel * conv.from;
    let total = maps.images * height * width;
    let rows = (PATCH_VALUES / depth).max(LEAST_ROWS).min(total.max(1));
    let mut data = vec![0.0f32; total * conv.to];
    data.par_chunks_mut(rows * conv.to).enumerate().try_for_each(|(block, out)| {
        let first = block * rows;
        let count = out.len() / conv.to;
        let mut patches = Vec::with_capacity(count * depth);
        for pixel in first..first + count {
            let (image, rest) = (pixel / (height * width), pixel % (height * width));
            patch(maps, conv, image, rest / width, rest % width, &mut patches);
        }
        let product = Tensor::from_vec(patches, (count, depth), &Device::Cpu)?.matmul(&conv.weight)?;
        let (storage, _) = product.storage_and_layout();
        let Storage::Cpu(CpuStorage::F32(product)) = &*storage else { return Err(ModelError::Storage) };
        let beside = shortcut.map(|s| &s.data[first * conv.to..(first + count) * conv.to]);
        finish(out, product, &conv.bias, beside, relu);
        Ok(())
    })?;
    Ok(Maps { images: maps.images, height, width, channels: conv.to, data })
}

/// Appends the patch under output pixel (`y`, `x`): kernel row, kernel column, channel; zeros outside the image.
fn patch(maps: &Maps, conv: &Conv, image: usize, y: usize, x: usize, patches: &mut Vec<f32>) {
    let (kernel, channels) = (conv.kernel, conv.from);
    let pad = kernel / 2;
    // The kernel's columns that lie within the image are neighbours in memory.
    let begin = pad.saturating_sub(x * conv.stride);
    let end = kernel.min((maps.width + pad).saturating_sub(x * conv.stride)).max(begin);
    for row in 0..kernel {
        let inside = (y * conv.stride + row).checked_sub(pad).filter(|&line| line < maps.height && begin < end);
        let Some(line) = inside else {
            patches.resize(patches.len() + kernel * channels, 0.0);
            continue;
        };
        patches.resize(patches.len() + begin * channels, 0.0);
        let start = ((image * maps.height + line) * maps.width + x * conv.stride + begin - pad) * channels;
        patches.extend_from_slice(&maps.data[start..start + (end - begin) * channels]);
        patches.resize(patches.len() + (kernel - end) * channels, 0.0);
    }
}

/// Bias, shortcut and ReLU on the way out.
fn finish(out: &mut [f32], product: &[f32], bias: &[f32], shortcut: Option<&[f32]>, relu: bool) {
    let least = if relu { 0.0 } else { f32::NEG_INFINITY };
    let channels = bias.len();
    let lines = out.chunks_exact_mut(channels).zip(product.chunks_exact(channels));
    match shortcut {
        Some(shortcut) => {
            for ((out, product), beside) in lines.zip(shortcut.chunks_exact(channels)) {
                for (((o, p), b), s) in out.iter_mut().zip(product).zip(bias).zip(beside) {
                    *o = (p + b + s).max(least);
                }
            }
        }
        None => {
            for (out, product) in lines {
                for ((o, p), b) in out.iter_mut().zip(product).zip(bias) {
                    *o = (p + b).max(least);
                }
            }
        }
    }
}

/// 3×3, stride 2, padding 1. The values are not negative (they come from a ReLU), so 0 stands for the padding.
fn max_pool(maps: &Maps) -> Maps {
    let channels = maps.channels;
    let (height, width) = (maps.height.div_ceil(2), maps.width.div_ceil(2));
    let mut data = vec![0.0f32; maps.images * height * width * channels];
    data.par_chunks_mut((width * channels).max(1)).enumerate().for_each(|(line, out)| {
        let (image, y) = (line / height, line % height);
        for row in (2 * y).saturating_sub(1)..(2 * y + 2).min(maps.height) {
            let start = (image * maps.height + row) * maps.width * channels;
            let source = &maps.data[start..start + maps.width * channels];
            for (x, out) in out.chunks_exact_mut(channels).enumerate() {
                let (begin, end) = ((2 * x).saturating_sub(1), (2 * x + 2).min(maps.width));
                for pixel in source[begin * channels..end * channels].chunks_exact(channels) {
                    out.iter_mut().zip(pixel).for_each(|(o, v)| *o = o.max(*v));
                }
            }
        }
    });
    Maps { images: maps.images, height, width, channels, data }
}

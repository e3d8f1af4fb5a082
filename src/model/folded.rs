//! The network with its batch norms folded: what the CPU engine packs and the reference computes with.

use super::ModelError;
use super::weights::{BLOCKS, Conv, Weights};
use candle_core::{DType, Device, Tensor};

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

/// All layers of ResNet-18.
#[derive(Clone, Debug)]
pub struct Folded {
    /// 7×7, stride 2, one channel in.
    pub stem: Conv,
    /// The eight blocks of [`BLOCKS`].
    pub blocks: Vec<Block>,
    /// `[512, heads]`
    pub head_weight: Tensor,
    /// One a head.
    pub head_bias: Vec<f32>,
}

impl Folded {
    /// Puts the network together from its tensors.
    ///
    /// # Errors
    /// A tensor is missing or has another shape.
    pub fn new(weights: &Weights, heads: usize) -> Result<Folded, ModelError> {
        let headless = Folded::headless(weights)?;
        let (weight, bias) = weights.heads(heads)?;
        let head_weight = Tensor::from_vec(weight.data, (heads, 512), &Device::Cpu)?.t()?.contiguous()?;
        Ok(Folded { head_weight, head_bias: bias.data, ..headless })
    }

    /// The same without its heads, that is with one of zeros: what training begins from.
    ///
    /// # Errors
    /// A tensor is missing or has another shape.
    pub fn headless(weights: &Weights) -> Result<Folded, ModelError> {
        let stem = weights.stem()?;
        let blocks = (0..BLOCKS.len()).map(|i| Block::new(weights, i)).collect::<Result<_, _>>()?;
        let head_weight = Tensor::zeros((512, 1), DType::F32, &Device::Cpu)?;
        Ok(Folded { stem, blocks, head_weight, head_bias: vec![0.0] })
    }
}

impl Block {
    /// Block `index` of [`BLOCKS`].
    fn new(weights: &Weights, index: usize) -> Result<Block, ModelError> {
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
}

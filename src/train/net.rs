//! The part of the network that is trained: the last blocks and the last layer, channels last, with gradients.

use super::ops::{BatchNorm, Moments, Patches};
use crate::model::ModelError;
use crate::model::weights::{BLOCKS, EPSILON, Norm, Raw, Weights, from_rows};
use candle_core::{Device, Result, Tensor, Var};
use rand::RngExt;
use rand::rngs::StdRng;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// How fast the running statistics follow, as in torch.
const MOMENTUM: f32 = 0.1;

struct Layer {
    name: String,
    norm_name: String,
    from: usize,
    to: usize,
    kernel: usize,
    stride: usize,
    weight: Var,
    scale: Var,
    shift: Var,
    running: Mutex<Moments>,
    seen: Arc<Mutex<Moments>>,
}

struct Block {
    conv1: Layer,
    conv2: Layer,
    beside: Option<Layer>,
}

/// The trained blocks and heads.
pub struct Trained {
    blocks: Vec<Block>,
    head_weight: Var,
    head_bias: Var,
    heads: usize,
}

impl Layer {
    fn new(
        weights: &Weights,
        conv: String,
        norm_name: String,
        shape: [usize; 4],
    ) -> std::result::Result<Layer, ModelError> {
        let [from, to, kernel, stride] = shape;
        let norm = weights.norm(&norm_name, to)?;
        let rows = weights.kernel(&conv, from, to, kernel)?;
        let cpu = &Device::Cpu;
        Ok(Layer {
            name: conv,
            norm_name,
            from,
            to,
            kernel,
            stride,
            weight: Var::from_tensor(&Tensor::from_vec(rows, (kernel * kernel * from, to), cpu)?)?,
            scale: Var::from_tensor(&Tensor::from_vec(norm.weight, to, cpu)?)?,
            shift: Var::from_tensor(&Tensor::from_vec(norm.bias, to, cpu)?)?,
            running: Mutex::new(Moments { mean: norm.mean, variance: norm.variance }),
            seen: Arc::default(),
        })
    }

    /// Convolution and batch norm by the batch's statistics.
    fn run(&self, x: &Tensor) -> Result<Tensor> {
        let (images, height, width, channels) = x.dims4()?;
        let patches = Patches { images, height, width, channels, kernel: self.kernel, stride: self.stride };
        let (down, across) = patches.result();
        let product = x.contiguous()?.apply_op1(patches)?.matmul(&self.weight)?;
        let norm = BatchNorm { epsilon: EPSILON, seen: self.seen.clone() };
        let y = product.apply_op3(&self.scale, &self.shift, norm)?;
        if let (Ok(seen), Ok(mut running)) = (self.seen.lock(), self.running.lock()) {
            let rows = (images * down * across) as f32;
            let unbiased = rows / (rows - 1.0).max(1.0);
            for (r, s) in running.mean.iter_mut().zip(&seen.mean) {
                *r += MOMENTUM * (s - *r);
            }
            for (r, s) in running.variance.iter_mut().zip(&seen.variance) {
                *r += MOMENTUM * (s * unbiased - *r);
            }
        }
        y.reshape((images, down, across, self.to))
    }

    fn export(&self, into: &mut BTreeMap<String, Raw>) -> Result<()> {
        let rows: Vec<f32> = self.weight.flatten_all()?.to_vec1()?;
        let shape = vec![self.to, self.from, self.kernel, self.kernel];
        let data = from_rows(&rows, self.from, self.to, self.kernel);
        into.insert(format!("{}.weight", self.name), Raw { shape, data });
        let running = self.running.lock().map(|r| r.clone()).unwrap_or_default();
        let norm = Norm {
            weight: self.scale.to_vec1()?,
            bias: self.shift.to_vec1()?,
            mean: running.mean,
            variance: running.variance,
        };
        for (part, data) in
            [("weight", norm.weight), ("bias", norm.bias), ("running_mean", norm.mean), ("running_var", norm.variance)]
        {
            into.insert(format!("{}.{part}", self.norm_name), Raw { shape: vec![self.to], data });
        }
        Ok(())
    }
}

impl Trained {
    /// Blocks from `first` on from a file; the last layer begins at random.
    pub fn new(
        weights: &Weights,
        first: usize,
        heads: usize,
        rng: &mut StdRng,
    ) -> std::result::Result<Trained, ModelError> {
        let mut blocks = Vec::new();
        for shape in &BLOCKS[first..] {
            let layer = |conv: &str, norm: &str, dims| {
                Layer::new(weights, format!("{}.{conv}", shape.name), format!("{}.{norm}", shape.name), dims)
            };
            blocks.push(Block {
                conv1: layer("conv1", "bn1", [shape.from, shape.to, 3, shape.stride])?,
                conv2: layer("conv2", "bn2", [shape.to, shape.to, 3, 1])?,
                beside: if shape.from != shape.to {
                    Some(layer("downsample.0", "downsample.1", [shape.from, shape.to, 1, shape.stride])?)
                } else {
                    None
                },
            });
        }
        let bound = 1.0 / 512f32.sqrt();
        let random: Vec<f32> = (0..512 * heads).map(|_| rng.random_range(-bound..bound)).collect();
        Ok(Trained {
            blocks,
            head_weight: Var::from_tensor(&Tensor::from_vec(random, (512, heads), &Device::Cpu)?)?,
            head_bias: Var::from_tensor(&Tensor::full(-2.5f32, heads, &Device::Cpu)?)?,
            heads,
        })
    }

    /// Maps `[images, height, width, channels]` → logits `[images, heads]`.
    pub fn forward(&self, maps: &Tensor, dropout: f32, rng: &mut StdRng) -> Result<Tensor> {
        let mut x = maps.clone();
        for block in &self.blocks {
            let inner = block.conv2.run(&block.conv1.run(&x)?.relu()?)?;
            let shortcut = match &block.beside {
                Some(beside) => beside.run(&x)?,
                None => x.clone(),
            };
            x = (inner + shortcut)?.relu()?;
        }
        let (images, height, width, channels) = x.dims4()?;
        let mut pooled = x.reshape((images, height * width, channels))?.mean(1)?;
        if dropout > 0.0 {
            let keep = 1.0 / (1.0 - dropout);
            let mask: Vec<f32> =
                (0..images * channels).map(|_| if rng.random::<f32>() < dropout { 0.0 } else { keep }).collect();
            pooled = (pooled * Tensor::from_vec(mask, (images, channels), &Device::Cpu)?)?;
        }
        pooled.matmul(&self.head_weight)?.broadcast_add(&self.head_bias)
    }

    /// What is trained in the blocks: kernels (which decay) apart from norms (which do not).
    pub fn block_vars(&self) -> (Vec<Var>, Vec<Var>) {
        let layers = self.blocks.iter().flat_map(|b| [Some(&b.conv1), Some(&b.conv2), b.beside.as_ref()]).flatten();
        let (mut kernels, mut norms) = (Vec::new(), Vec::new());
        for layer in layers {
            kernels.push(layer.weight.clone());
            norms.extend([layer.scale.clone(), layer.shift.clone()]);
        }
        (kernels, norms)
    }

    /// The last layer's weight and bias.
    pub fn head_vars(&self) -> [Var; 2] {
        [self.head_weight.clone(), self.head_bias.clone()]
    }

    /// Puts the trained tensors over those in `into`, under torchvision's names.
    pub fn export(&self, into: &mut BTreeMap<String, Raw>) -> Result<()> {
        for block in &self.blocks {
            for layer in [Some(&block.conv1), Some(&block.conv2), block.beside.as_ref()].into_iter().flatten() {
                layer.export(into)?;
            }
        }
        let weight: Vec<f32> = self.head_weight.t()?.contiguous()?.flatten_all()?.to_vec1()?;
        into.insert("fc.weight".into(), Raw { shape: vec![self.heads, 512], data: weight });
        into.insert("fc.bias".into(), Raw { shape: vec![self.heads], data: self.head_bias.to_vec1()? });
        Ok(())
    }
}

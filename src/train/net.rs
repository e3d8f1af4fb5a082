//! The part of the network that is trained: from the stem or a later block to the last layer, channels last, with gradients.

use super::ops::{BatchNorm, MaxPool, Moments, Patches, plain};
use super::recipe::Rates;
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
    /// Not trained: by the running statistics, without gradients.
    frozen: bool,
}

struct Block {
    rate: f64,
    conv1: Layer,
    conv2: Layer,
    beside: Option<Layer>,
}

/// The trained blocks and heads.
pub struct Trained {
    stem: Option<Layer>,
    blocks: Vec<Block>,
    head_weight: Var,
    head_bias: Var,
    heads: usize,
    device: Device,
}

/// Variables that are moved at the same rate.
pub struct Group {
    /// Times the rate of a step.
    pub rate: f64,
    /// Kernels, which decay.
    pub kernels: Vec<Var>,
    /// Scales and shifts, which do not.
    pub norms: Vec<Var>,
}

impl Layer {
    fn new(
        weights: &Weights,
        conv: String,
        norm_name: String,
        shape: [usize; 4],
        rate: f64,
        device: &Device,
    ) -> std::result::Result<Layer, ModelError> {
        let [from, to, kernel, stride] = shape;
        let norm = weights.norm(&norm_name, to)?;
        let rows = if from == 1 { weights.grey_stem()? } else { weights.kernel(&conv, from, to, kernel)? };
        Ok(Layer {
            name: conv,
            norm_name,
            from,
            to,
            kernel,
            stride,
            weight: Var::from_tensor(&Tensor::from_vec(rows, (kernel * kernel * from, to), device)?)?,
            scale: Var::from_tensor(&Tensor::from_vec(norm.weight, to, device)?)?,
            shift: Var::from_tensor(&Tensor::from_vec(norm.bias, to, device)?)?,
            running: Mutex::new(Moments { mean: norm.mean, variance: norm.variance }),
            frozen: rate == 0.0,
        })
    }

    /// Convolution and batch norm by the running statistics.
    fn run_frozen(&self, x: &Tensor, [images, down, across]: [usize; 3]) -> Result<Tensor> {
        let running = self.running.lock().map(|r| r.clone()).unwrap_or_default();
        let row = |values: Vec<f32>| Tensor::from_vec(values, (1, self.to), x.device());
        let scale = (self.scale.detach() / (row(running.variance)? + f64::from(EPSILON))?.sqrt()?.flatten_all()?)?;
        let shift = (self.shift.detach() - (row(running.mean)?.flatten_all()? * &scale)?)?;
        let product = plain::patches(x, self.kernel, self.stride)?.matmul(&self.weight.detach())?;
        product.broadcast_mul(&scale)?.broadcast_add(&shift)?.reshape((images, down, across, self.to))
    }

    /// Convolution and batch norm by the batch's statistics.
    fn run(&self, x: &Tensor) -> Result<Tensor> {
        let (images, height, width, channels) = x.dims4()?;
        let patches = Patches { images, height, width, channels, kernel: self.kernel, stride: self.stride };
        let (down, across) = patches.result();
        if self.frozen {
            return self.run_frozen(x, [images, down, across]);
        }
        let (y, seen) = if x.device().is_cpu() {
            let product = x.contiguous()?.apply_op1(patches)?.matmul(&self.weight)?;
            let seen: Arc<Mutex<Moments>> = Arc::default();
            let norm = BatchNorm { epsilon: EPSILON, seen: seen.clone() };
            let y = product.apply_op3(&self.scale, &self.shift, norm)?;
            let seen = seen.lock().map(|s| s.clone()).unwrap_or_default();
            (y, seen)
        } else {
            let product = plain::patches(x, self.kernel, self.stride)?.matmul(&self.weight)?;
            plain::batch_norm(&product, &self.scale, &self.shift, EPSILON)?
        };
        self.follow(&seen, (images * down * across) as f32);
        y.reshape((images, down, across, self.to))
    }

    /// Draws the running statistics towards a batch's, of so many rows.
    fn follow(&self, seen: &Moments, rows: f32) {
        let Ok(mut running) = self.running.lock() else { return };
        let unbiased = rows / (rows - 1.0).max(1.0);
        for (r, s) in running.mean.iter_mut().zip(&seen.mean) {
            *r += MOMENTUM * (s - *r);
        }
        for (r, s) in running.variance.iter_mut().zip(&seen.variance) {
            *r += MOMENTUM * (s * unbiased - *r);
        }
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
    /// What `rates` trains, from a file, on a device. Heads begin as `begin` says (its own weights, bias), else at random.
    pub fn new(
        weights: &Weights,
        rates: &Rates,
        begin: &[Option<(Vec<f32>, f32)>],
        rng: &mut StdRng,
        device: &Device,
    ) -> std::result::Result<Trained, ModelError> {
        // What is frozen in front runs on the CPU's engine, where that is; else as a part of this.
        let first = if device.is_cpu() { rates.first_block() } else { None };
        let stem = match first {
            None => Some(Layer::new(weights, "conv1".into(), "bn1".into(), [1, 64, 7, 2], rates.stem, device)?),
            Some(_) => None,
        };
        let mut blocks = Vec::new();
        for shape in &BLOCKS[first.unwrap_or(0)..] {
            let rate = rates.of_block(shape.name);
            let layer = |conv: &str, norm: &str, dims| {
                let [conv, norm] = [conv, norm].map(|part| format!("{}.{part}", shape.name));
                Layer::new(weights, conv, norm, dims, rate, device)
            };
            blocks.push(Block {
                rate,
                conv1: layer("conv1", "bn1", [shape.from, shape.to, 3, shape.stride])?,
                conv2: layer("conv2", "bn2", [shape.to, shape.to, 3, 1])?,
                beside: if shape.from != shape.to {
                    Some(layer("downsample.0", "downsample.1", [shape.from, shape.to, 1, shape.stride])?)
                } else {
                    None
                },
            });
        }
        let heads = begin.len();
        let bound = 1.0 / 512f32.sqrt();
        let mut columns = vec![0.0; 512 * heads];
        let mut biases = vec![-2.5f32; heads];
        for (h, begin) in begin.iter().enumerate() {
            for i in 0..512 {
                let random = rng.random_range(-bound..bound);
                columns[i * heads + h] = begin.as_ref().map_or(random, |(weights, _)| weights[i]);
            }
            if let Some((_, bias)) = begin {
                biases[h] = *bias;
            }
        }
        Ok(Trained {
            stem,
            blocks,
            head_weight: Var::from_tensor(&Tensor::from_vec(columns, (512, heads), device)?)?,
            head_bias: Var::from_tensor(&Tensor::from_vec(biases, heads, device)?)?,
            heads,
            device: device.clone(),
        })
    }

    /// Where it is trained.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Grey squares or maps `[images, height, width, channels]` → logits `[images, heads]`.
    pub fn forward(&self, maps: &Tensor, dropout: f32, rng: &mut StdRng) -> Result<Tensor> {
        let mut x = match &self.stem {
            Some(stem) => max_pool(&stem.run(maps)?.relu()?)?,
            None => maps.clone(),
        };
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
            pooled = (pooled * Tensor::from_vec(mask, (images, channels), &self.device)?)?;
        }
        pooled.matmul(&self.head_weight)?.broadcast_add(&self.head_bias)
    }

    fn layers(&self) -> impl Iterator<Item = &Layer> {
        let blocks = self.blocks.iter().flat_map(|b| [Some(&b.conv1), Some(&b.conv2), b.beside.as_ref()]).flatten();
        self.stem.iter().chain(blocks)
    }

    /// What is trained before the last layer, at the rates of the recipe.
    pub fn groups(&self, rates: &Rates) -> Vec<Group> {
        let group = |rate: f64, layers: &[Option<&Layer>]| {
            let layers = || layers.iter().copied().flatten();
            Group {
                rate,
                kernels: layers().map(|l| l.weight.clone()).collect(),
                norms: layers().flat_map(|l| [l.scale.clone(), l.shift.clone()]).collect(),
            }
        };
        let stem = self.stem.iter().map(|stem| group(rates.stem, &[Some(stem)]));
        let blocks = self.blocks.iter().map(|b| group(b.rate, &[Some(&b.conv1), Some(&b.conv2), b.beside.as_ref()]));
        stem.chain(blocks).collect()
    }

    /// The last layer's weight and bias.
    pub fn head_vars(&self) -> [Var; 2] {
        [self.head_weight.clone(), self.head_bias.clone()]
    }

    /// Puts the trained tensors over those in `into`, under torchvision's names.
    pub fn export(&self, into: &mut BTreeMap<String, Raw>) -> Result<()> {
        for layer in self.layers() {
            layer.export(into)?;
        }
        let weight: Vec<f32> = self.head_weight.t()?.contiguous()?.flatten_all()?.to_vec1()?;
        into.insert("fc.weight".into(), Raw { shape: vec![self.heads, 512], data: weight });
        into.insert("fc.bias".into(), Raw { shape: vec![self.heads], data: self.head_bias.to_vec1()? });
        Ok(())
    }
}

fn max_pool(x: &Tensor) -> Result<Tensor> {
    if x.device().is_cpu() {
        let (images, height, width, channels) = x.dims4()?;
        x.contiguous()?.apply_op1(MaxPool { images, height, width, channels })
    } else {
        plain::max_pool(x)
    }
}

#[cfg(all(test, feature = "cuda"))]
mod tests {
    use super::*;
    use crate::config::DeviceChoice;
    use crate::train::recipe::Recipe;
    use rand::SeedableRng;

    /// Needs a GPU: one pass forward and back of all layers, the stem among them, on both devices.
    #[test]
    fn a_gpu_gives_the_gradients_of_the_cpu() -> std::result::Result<(), Box<dyn std::error::Error>> {
        let Ok(gpu) = crate::model::device(DeviceChoice::Cuda) else {
            eprintln!("SKIPPED: no CUDA device answers");
            return Ok(());
        };
        let file = std::path::Path::new("weights/radroute.safetensors");
        let weights = Weights::from_bytes(file, &std::fs::read(file)?)?;
        let rates = Recipe::parse("[rates]\nstem = 1.0\nlayer1 = 1.0\nlayer2 = 1.0\nlayer3 = 1.0")?.rates;
        let (images, side, heads) = (6, 96, 5);
        let pixels: Vec<f32> =
            (0..images * side * side).map(|p| (p as f32 * 0.37).sin() + (p as f32 * 0.011).cos()).collect();
        let mut both = Vec::new();
        for device in [&gpu, &Device::Cpu] {
            let trained = Trained::new(&weights, &rates, &vec![None; heads], &mut StdRng::seed_from_u64(1), device)?;
            let maps = Tensor::from_vec(pixels.clone(), (images, side, side, 1), device)?;
            let logits = trained.forward(&maps, 0.0, &mut StdRng::seed_from_u64(2))?;
            let gradients = logits.sqr()?.sum_all()?.backward()?;
            let mut all = vec![("logits".to_owned(), logits.flatten_all()?.to_vec1::<f32>()?)];
            for layer in trained.layers() {
                for var in [&layer.weight, &layer.scale, &layer.shift] {
                    let gradient = gradients.get(var).ok_or("no gradient")?;
                    all.push((layer.name.clone(), gradient.flatten_all()?.to_vec1()?));
                }
                let running = layer.running.lock().map_err(|_| "poisoned")?.clone();
                all.push((format!("{} mean", layer.name), running.mean));
                all.push((format!("{} variance", layer.name), running.variance));
            }
            both.push(all);
        }
        for ((name, a), (_, b)) in both[0].iter().zip(&both[1]) {
            let norm = |v: &mut dyn Iterator<Item = f32>| v.map(|x| x * x).sum::<f32>().sqrt();
            let far = norm(&mut a.iter().zip(b).map(|(a, b)| a - b)) / norm(&mut b.iter().copied()).max(1e-6);
            println!("{name}: {far:e}");
            assert!(far < 1e-2, "{name}: {far}");
        }
        Ok(())
    }
}

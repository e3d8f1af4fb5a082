//! ResNet-18 with candle's own operations: what the CPU engine is tested against, and what runs on CUDA.

use super::ModelError;
use super::cam::{ActivationMap, by_head};
use super::folded::Folded;
use super::weights::Conv;
use candle_core::{Device, Result, Tensor};

struct Layer {
    weight: Tensor,
    bias: Tensor,
    stride: usize,
    pad: usize,
}

/// The network on a device, channels first.
pub struct Reference {
    device: Device,
    stem: Layer,
    blocks: Vec<(Layer, Layer, Option<Layer>)>,
    head_weight: Tensor,
    head_bias: Tensor,
}

impl Layer {
    fn new(conv: &Conv, device: &Device) -> Result<Layer> {
        let weight = conv.weight.reshape((conv.kernel, conv.kernel, conv.from, conv.to))?;
        Ok(Layer {
            weight: weight.permute((3, 2, 0, 1))?.contiguous()?.to_device(device)?,
            bias: Tensor::new(&conv.bias[..], device)?.reshape((1, conv.to, 1, 1))?,
            stride: conv.stride,
            pad: conv.kernel / 2,
        })
    }

    fn run(&self, x: &Tensor) -> Result<Tensor> {
        x.conv2d(&self.weight, self.pad, self.stride, 1, 1)?.broadcast_add(&self.bias)
    }
}

impl Reference {
    /// The same network on `device`.
    pub fn new(network: &Folded, device: &Device) -> std::result::Result<Reference, ModelError> {
        let layer = |conv: &Conv| Layer::new(conv, device);
        let mut blocks = Vec::new();
        for block in &network.blocks {
            blocks.push((layer(&block.conv1)?, layer(&block.conv2)?, block.beside.as_ref().map(layer).transpose()?));
        }
        Ok(Reference {
            device: device.clone(),
            stem: layer(&network.stem)?,
            blocks,
            head_weight: network.head_weight.to_device(device)?,
            head_bias: Tensor::new(&network.head_bias[..], device)?,
        })
    }

    /// The logits of each image (grey squares of side `size`).
    pub fn logits(&self, inputs: &[Vec<f32>], size: usize) -> std::result::Result<Vec<Vec<f32>>, ModelError> {
        if inputs.is_empty() {
            return Ok(Vec::new());
        }
        fits(inputs, size)?;
        let pooled = self.last_maps(inputs, size)?.mean((2, 3))?;
        Ok(pooled.matmul(&self.head_weight)?.broadcast_add(&self.head_bias)?.to_vec2()?)
    }

    /// The class activation maps of each image, one a head.
    pub fn activation_maps(
        &self,
        inputs: &[Vec<f32>],
        size: usize,
    ) -> std::result::Result<Vec<Vec<ActivationMap>>, ModelError> {
        if inputs.is_empty() {
            return Ok(Vec::new());
        }
        fits(inputs, size)?;
        let maps = self.last_maps(inputs, size)?;
        let (images, channels, side, _) = maps.dims4()?;
        let features = maps.permute((0, 2, 3, 1))?.reshape((images * side * side, channels))?;
        let rows: Vec<Vec<f32>> = features.matmul(&self.head_weight)?.to_vec2()?;
        Ok(by_head(&rows, side, &self.head_bias.to_vec1()?))
    }

    /// `[images, 512, side, side]`
    fn last_maps(&self, inputs: &[Vec<f32>], size: usize) -> Result<Tensor> {
        let x = Tensor::from_vec(inputs.concat(), (inputs.len(), 1, size, size), &self.device)?;
        let x = self.stem.run(&x)?.relu()?;
        // Not negative after the ReLU, so zeros around it do for the padding of the pool.
        let mut x = x.pad_with_zeros(2, 1, 1)?.pad_with_zeros(3, 1, 1)?.max_pool2d_with_stride(3, 2)?;
        for (conv1, conv2, beside) in &self.blocks {
            let inner = conv2.run(&conv1.run(&x)?.relu()?)?;
            let shortcut = beside.as_ref().map_or(Ok(x.clone()), |b| b.run(&x))?;
            x = (inner + shortcut)?.relu()?;
        }
        Ok(x)
    }
}

fn fits(inputs: &[Vec<f32>], size: usize) -> std::result::Result<(), ModelError> {
    match inputs.iter().find(|i| i.len() != size * size) {
        Some(input) => Err(ModelError::Input { found: input.len(), size }),
        None => Ok(()),
    }
}

#[cfg(all(test, feature = "cuda"))]
mod tests {
    use super::*;
    use crate::config::{DeviceChoice, PrecisionChoice};
    use crate::model::{Classifier, device};

    /// Needs a GPU; the CPU's operations are tested against the engine in tests/engine.rs.
    #[test]
    fn a_gpu_gives_the_logits_and_maps_of_the_cpu() {
        let Ok(gpu) = device(DeviceChoice::Cuda) else {
            return eprintln!("SKIPPED: no CUDA device answers");
        };
        // From the root of the repository, as cargo runs tests; the program may have been built elsewhere.
        let model = std::path::PathBuf::from("weights/radroute.safetensors");
        let classifier = Classifier::load(&model, DeviceChoice::Cuda, PrecisionChoice::Auto).unwrap();
        assert_eq!(classifier.device_name(), "cuda:0");
        let weights = crate::model::weights::Weights::from_bytes(&model, &std::fs::read(&model).unwrap()).unwrap();
        let folded = Folded::new(&weights, classifier.card().heads.len()).unwrap();
        let [on_gpu, on_cpu] = [&gpu, &Device::Cpu].map(|device| Reference::new(&folded, device).unwrap());
        for (images, size) in [(1, 160), (3, 160), (7, 224), (2, 75)] {
            let square = |i: usize| (0..size * size).map(|p| ((p * 7 + i * 131) % 101) as f32 / 25.0 - 2.0).collect();
            let inputs: Vec<Vec<f32>> = (0..images).map(square).collect();
            let far = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            let (a, b) = (on_gpu.logits(&inputs, size).unwrap(), on_cpu.logits(&inputs, size).unwrap());
            let worst = far(&a.concat(), &b.concat());
            println!("{images} images of side {size}: logits differ by {worst:e} at most");
            assert!(worst < 1e-4, "{images} {size}: {worst}");
            let [a, b] = [&on_gpu, &on_cpu].map(|n| n.activation_maps(&inputs, size).unwrap().concat());
            let worst = a.iter().zip(&b).map(|(a, b)| far(&a.values, &b.values)).fold(0.0, f32::max);
            assert!(worst < 1e-3, "{images} {size}: maps differ by {worst}");
        }
    }
}

//! Weights from a safetensors file under torchvision's names, with batch norm folded into the convolutions.

use super::ModelError;
use candle_core::{DType, Device, Tensor};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// `torch.nn.BatchNorm2d`'s default.
pub const EPSILON: f32 = 1e-5;

/// One of ResNet-18's eight basic blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockShape {
    /// torchvision's name, such as `layer4.0`.
    pub name: &'static str,
    /// Channels in.
    pub from: usize,
    /// Channels out.
    pub to: usize,
    /// Of the first convolution, and of the one beside (present when `from != to`).
    pub stride: usize,
}

/// The blocks of ResNet-18 (He et al. 2016, table 1) in order.
pub const BLOCKS: [BlockShape; 8] = [
    BlockShape { name: "layer1.0", from: 64, to: 64, stride: 1 },
    BlockShape { name: "layer1.1", from: 64, to: 64, stride: 1 },
    BlockShape { name: "layer2.0", from: 64, to: 128, stride: 2 },
    BlockShape { name: "layer2.1", from: 128, to: 128, stride: 1 },
    BlockShape { name: "layer3.0", from: 128, to: 256, stride: 2 },
    BlockShape { name: "layer3.1", from: 256, to: 256, stride: 1 },
    BlockShape { name: "layer4.0", from: 256, to: 512, stride: 2 },
    BlockShape { name: "layer4.1", from: 512, to: 512, stride: 1 },
];

/// A tensor in single precision, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Raw {
    /// Sizes of the axes.
    pub shape: Vec<usize>,
    /// Values.
    pub data: Vec<f32>,
}

/// The tensors of a file, by name: those of one network, or those of one member of an ensemble.
#[derive(Clone, Debug)]
pub struct Weights {
    file: PathBuf,
    /// Before each name: empty, or a head's name and a dot.
    prefix: String,
    tensors: Arc<BTreeMap<String, Raw>>,
}

/// A convolution with its batch norm folded in; "same" padding (`kernel / 2`).
#[derive(Clone, Debug)]
pub struct Conv {
    /// Channels in.
    pub from: usize,
    /// Channels out.
    pub to: usize,
    /// Side of the kernel.
    pub kernel: usize,
    /// Step in both directions.
    pub stride: usize,
    /// `[kernel * kernel * from, to]`: rows in the order of kernel row, kernel column, channel.
    pub weight: Tensor,
    /// One a channel out.
    pub bias: Vec<f32>,
}

/// The four tensors of a batch norm.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Norm {
    pub weight: Vec<f32>,
    pub bias: Vec<f32>,
    pub mean: Vec<f32>,
    pub variance: Vec<f32>,
}

impl Weights {
    /// Reads a file; half precision becomes single.
    pub fn read(file: &Path) -> Result<Weights, ModelError> {
        let bytes = std::fs::read(file).map_err(|source| ModelError::Read { file: file.to_owned(), source })?;
        Weights::from_bytes(file, &bytes)
    }

    /// Takes the bytes of a file apart; `file` is for messages only.
    pub fn from_bytes(file: &Path, bytes: &[u8]) -> Result<Weights, ModelError> {
        let bad = |why: String| ModelError::Format { file: file.to_owned(), why };
        // The header's lengths are checked against the bytes there before anything is read (safetensors' own rule).
        let parsed = candle_core::safetensors::load_buffer(bytes, &Device::Cpu)
            .map_err(|e| bad(format!("is no safetensors file, or a damaged one: {e}")))?;
        let mut tensors = BTreeMap::new();
        for (name, tensor) in parsed {
            let raw = tensor
                .to_dtype(DType::F32)
                .and_then(|t| Ok(Raw { shape: t.dims().to_vec(), data: t.flatten_all()?.to_vec1()? }))
                .map_err(|e| bad(format!("tensor {name}: {e}")))?;
            if let Some(at) = raw.data.iter().position(|v| !v.is_finite()) {
                return Err(bad(format!("tensor {name} holds a value that is not finite, at {at}")));
            }
            tensors.insert(name, raw);
        }
        Ok(Weights::from_tensors(file, tensors))
    }

    /// From tensors in memory; `file` is for messages only.
    pub fn from_tensors(file: &Path, tensors: BTreeMap<String, Raw>) -> Weights {
        Weights { file: file.to_owned(), prefix: String::new(), tensors: Arc::new(tensors) }
    }

    /// The tensors of an ensemble's member: `conv1.weight` is then what the file calls `<head>.conv1.weight`.
    pub fn member(&self, head: &str) -> Weights {
        Weights { prefix: member_name(head, ""), ..self.clone() }
    }

    /// Whether a tensor is there.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(&self.full(name))
    }

    /// A tensor's name in the file.
    fn full(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// All tensors of the file under their full names, for writing them out again.
    pub fn tensors(&self) -> &BTreeMap<String, Raw> {
        &self.tensors
    }

    /// A tensor of a given shape.
    pub fn get(&self, name: &str, shape: &[usize]) -> Result<&Raw, ModelError> {
        let raw = self.raw(name)?;
        if raw.shape != shape {
            return Err(self.shape_error(name, &raw.shape, shape));
        }
        Ok(raw)
    }

    fn raw(&self, name: &str) -> Result<&Raw, ModelError> {
        let tensor = self.full(name);
        self.tensors.get(&tensor).ok_or_else(|| ModelError::Missing { file: self.file.clone(), tensor })
    }

    fn shape_error(&self, name: &str, found: &[usize], wanted: &[usize]) -> ModelError {
        ModelError::Shape {
            file: self.file.clone(),
            tensor: self.full(name),
            found: found.to_vec(),
            wanted: wanted.to_vec(),
        }
    }

    /// The batch norm `name` over `channels` channels.
    pub fn norm(&self, name: &str, channels: usize) -> Result<Norm, ModelError> {
        let part = |what: &str| self.get(&format!("{name}.{what}"), &[channels]).map(|raw| raw.data.clone());
        let norm = Norm {
            weight: part("weight")?,
            bias: part("bias")?,
            mean: part("running_mean")?,
            variance: part("running_var")?,
        };
        if norm.variance.iter().any(|&v| v <= -EPSILON / 2.0) {
            let why = format!("tensor {}.running_var holds a negative variance", self.full(name));
            return Err(ModelError::Format { file: self.file.clone(), why });
        }
        Ok(norm)
    }

    /// The kernel of convolution `name` as `[kernel * kernel * from, to]` values, row-major.
    pub fn kernel(&self, name: &str, from: usize, to: usize, kernel: usize) -> Result<Vec<f32>, ModelError> {
        Ok(to_rows(&self.get(&format!("{name}.weight"), &[to, from, kernel, kernel])?.data, from, to, kernel))
    }

    /// A convolution with its batch norm folded in.
    pub fn conv(&self, conv: &str, norm: &str, shape: [usize; 4]) -> Result<Conv, ModelError> {
        let [from, to, kernel, _] = shape;
        let weight = self.kernel(conv, from, to, kernel)?;
        fold(weight, &self.norm(norm, to)?, shape)
    }

    /// The stem's kernel as `[49, 64]` values, its channels added up to one grey channel: a radiograph's three channels
    /// would be equal.
    pub fn grey_stem(&self) -> Result<Vec<f32>, ModelError> {
        let raw = self.raw("conv1.weight")?;
        let channels = match raw.shape[..] {
            [64, channels @ (1 | 3), 7, 7] => channels,
            _ => return Err(self.shape_error("conv1.weight", &raw.shape, &[64, 3, 7, 7])),
        };
        let mut grey = vec![0.0; 64 * 49];
        for (i, v) in raw.data.iter().enumerate() {
            grey[i / (channels * 49) * 49 + i % 49] += v;
        }
        Ok(to_rows(&grey, 1, 64, 7))
    }

    /// The stem for one grey channel.
    pub fn stem(&self) -> Result<Conv, ModelError> {
        fold(self.grey_stem()?, &self.norm("bn1", 64)?, [1, 64, 7, 2])
    }

    /// The last layer: `[heads, 512]` weights and `[heads]` biases.
    pub fn heads(&self, heads: usize) -> Result<(Raw, Raw), ModelError> {
        Ok((self.get("fc.weight", &[heads, 512])?.clone(), self.get("fc.bias", &[heads])?.clone()))
    }
}

/// What an ensemble's file calls the tensor `name` of the member for `head`.
pub fn member_name(head: &str, name: &str) -> String {
    format!("{head}.{name}")
}

/// The bytes of a file: kernels and the last layer in half precision, the small tensors of the norms in single.
pub fn to_safetensors(tensors: &BTreeMap<String, Raw>) -> Result<Vec<u8>, ModelError> {
    let mut all = BTreeMap::new();
    for (name, raw) in tensors {
        let tensor = Tensor::from_vec(raw.data.clone(), &raw.shape[..], &Device::Cpu)?;
        all.insert(name.clone(), if raw.shape.len() > 1 { tensor.to_dtype(DType::F16)? } else { tensor });
    }
    // Sorted by the library: the same tensors always give the same bytes.
    safetensors::serialize(all, None)
        .map_err(|e| ModelError::Format { file: PathBuf::from("(in memory)"), why: e.to_string() })
}

/// `[to, from, kernel, kernel]` → `[kernel, kernel, from, to]`.
pub fn to_rows(data: &[f32], from: usize, to: usize, kernel: usize) -> Vec<f32> {
    let taps = kernel * kernel;
    let mut rows = vec![0.0; data.len()];
    for (o, part) in data.chunks_exact(from * taps).enumerate() {
        for (i, part) in part.chunks_exact(taps).enumerate() {
            for (tap, &v) in part.iter().enumerate() {
                rows[(tap * from + i) * to + o] = v;
            }
        }
    }
    rows
}

/// `[kernel, kernel, from, to]` → `[to, from, kernel, kernel]`.
pub fn from_rows(rows: &[f32], from: usize, to: usize, kernel: usize) -> Vec<f32> {
    let taps = kernel * kernel;
    let mut data = vec![0.0; rows.len()];
    for (row, part) in rows.chunks_exact(to).enumerate() {
        let (tap, i) = (row / from, row % from);
        for (o, &v) in part.iter().enumerate() {
            data[(o * from + i) * taps + tap] = v;
        }
    }
    data
}

/// Scales the kernel and makes the bias, so that the norm is no longer needed.
pub fn fold(mut rows: Vec<f32>, norm: &Norm, [from, to, kernel, stride]: [usize; 4]) -> Result<Conv, ModelError> {
    let scale: Vec<f32> = norm.weight.iter().zip(&norm.variance).map(|(w, v)| w / (v + EPSILON).sqrt()).collect();
    for row in rows.chunks_exact_mut(to) {
        for (v, s) in row.iter_mut().zip(&scale) {
            *v *= s;
        }
    }
    let bias = norm.bias.iter().zip(&norm.mean).zip(&scale).map(|((b, m), s)| b - m * s).collect();
    let weight = Tensor::from_vec(rows, (kernel * kernel * from, to), &Device::Cpu)?;
    Ok(Conv { from, to, kernel, stride, weight, bias })
}

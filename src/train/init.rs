//! Initial values: the tensors of a file under torchvision's names, and random ones for what it lacks.

use super::augment::generator;
use crate::model::ModelError;
use crate::model::card::Card;
use crate::model::weights::{BLOCKS, Raw, Weights};
use rand::RngExt;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// All tensors of a ResNet-18 without its last layer.
#[derive(Debug)]
pub struct Initial {
    /// Whole: every tensor of the stem and the blocks is there, in its right shape.
    pub weights: Weights,
    /// Those that the file lacked and that are random, in the order of the network.
    pub missing: Vec<String>,
}

/// SHA-256 of the file of initial weights, if there is one.
pub(super) fn sha256(file: Option<&Path>) -> Result<Option<String>, ModelError> {
    let Some(file) = file else { return Ok(None) };
    let bytes = std::fs::read(file).map_err(|source| ModelError::Read { file: file.to_owned(), source })?;
    Ok(Some(crate::model::sha256(&bytes)))
}

/// What to tell of the heads that begin at random although there is a file: a copy of weights without their card would otherwise lose
/// its heads unseen.
pub(super) fn told_of_heads(file: &Path, random: &[&str]) -> Option<String> {
    let why = if Card::beside(file).is_file() { "its card names no such" } else { "no card beside it names its" };
    let told = || format!("{}: {why} outputs, so these heads begin at random: {}", file.display(), random.join(", "));
    (!random.is_empty()).then(told)
}

impl Initial {
    /// Reads a file, whole or partial; a tensor of another shape is an error, and so is a file without any tensor of the network.
    pub fn read(file: &Path, seed: u64) -> Result<Initial, ModelError> {
        let weights = Weights::read(file)?;
        if !shapes().iter().any(|(name, _)| weights.has(name)) {
            return Err(ModelError::Missing { file: file.to_owned(), tensor: "conv1.weight".into() });
        }
        Initial::complete(weights, file, seed)
    }

    /// All values at random.
    pub fn random(seed: u64) -> Result<Initial, ModelError> {
        let none = Path::new("none");
        Initial::complete(Weights::from_tensors(none, BTreeMap::new()), none, seed)
    }

    /// Whether a tensor of the first `blocks` blocks or the stem is random: such a part must not be frozen.
    pub fn lacks_before(&self, blocks: usize) -> Option<&str> {
        let trained = |name: &str| BLOCKS[blocks.min(BLOCKS.len())..].iter().any(|b| within(name, b.name));
        self.missing.iter().map(String::as_str).find(|name| !trained(name))
    }

    fn complete(weights: Weights, file: &Path, seed: u64) -> Result<Initial, ModelError> {
        // What a network does not use, such as counters of batches, is left behind.
        let used: BTreeSet<String> = shapes().into_iter().map(|(name, _)| name).collect();
        let kept = weights.tensors().iter().filter(|(name, _)| used.contains(*name) || name.starts_with("fc."));
        let mut tensors: BTreeMap<String, Raw> = kept.map(|(name, raw)| (name.clone(), raw.clone())).collect();
        let mut missing = Vec::new();
        for (name, shape) in shapes() {
            if !weights.has(&name) {
                tensors.insert(name.clone(), begin(&name, shape, seed));
                missing.push(name);
            } else if name != "conv1.weight" {
                weights.get(&name, &shape)?;
            }
        }
        let weights = Weights::from_tensors(file, tensors);
        // One channel or three.
        weights.stem()?;
        Ok(Initial { weights, missing })
    }
}

fn within(name: &str, block: &str) -> bool {
    name.strip_prefix(block).is_some_and(|rest| rest.starts_with('.'))
}

/// The tensors of stem and blocks in their order.
fn shapes() -> Vec<(String, Vec<usize>)> {
    let mut all = Vec::new();
    let mut conv = |conv: String, norm: String, from: usize, to: usize, kernel: usize| {
        all.push((format!("{conv}.weight"), vec![to, from, kernel, kernel]));
        all.extend(["weight", "bias", "running_mean", "running_var"].map(|part| (format!("{norm}.{part}"), vec![to])));
    };
    conv("conv1".into(), "bn1".into(), 1, 64, 7);
    for b in BLOCKS {
        let name = |part: &str| format!("{}.{part}", b.name);
        conv(name("conv1"), name("bn1"), b.from, b.to, 3);
        conv(name("conv2"), name("bn2"), b.to, b.to, 3);
        if b.from != b.to {
            conv(name("downsample.0"), name("downsample.1"), b.from, b.to, 1);
        }
    }
    all
}

/// Kernels are uniform with the variance of He et al. 2015 (2 / inputs). A block's second norm scales by 0, so that the block
/// begins as its shortcut (Goyal et al. 2017, arXiv:1706.02677).
fn begin(name: &str, shape: Vec<usize>, seed: u64) -> Raw {
    let count = shape.iter().product();
    let data = match shape[..] {
        [_, from, height, width] => {
            let bound = (6.0 / (from * height * width) as f32).sqrt();
            let mut rng = generator(seed, name, 0);
            (0..count).map(|_| rng.random_range(-bound..bound)).collect()
        }
        _ if name.ends_with("bn2.weight") => vec![0.0; count],
        _ if name.ends_with(".weight") || name.ends_with(".running_var") => vec![1.0; count],
        _ => vec![0.0; count],
    };
    Raw { shape, data }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::engine::Network;
    use candle_core::{DType, Device, Tensor};
    use std::path::PathBuf;

    /// A file as torchvision's checkpoint becomes one: colour stem, 1000 classes, counters; some tensors left out.
    fn write(folder: &Path, precision: DType, counters: bool, left_out: &str) -> PathBuf {
        let mut all = BTreeMap::new();
        for (name, mut shape) in shapes() {
            if name == "conv1.weight" {
                shape[1] = 3;
            }
            let tensor = Tensor::full(0.25f32, shape, &Device::Cpu).unwrap();
            if counters && let Some(norm) = name.strip_suffix(".running_var") {
                all.insert(format!("{norm}.num_batches_tracked"), Tensor::new(7i64, &Device::Cpu).unwrap());
            }
            all.insert(name, tensor.to_dtype(precision).unwrap());
        }
        all.insert("fc.weight".into(), Tensor::zeros((1000, 512), precision, &Device::Cpu).unwrap());
        all.insert("fc.bias".into(), Tensor::zeros(1000, precision, &Device::Cpu).unwrap());
        all.retain(|name, _| left_out.is_empty() || !name.starts_with(left_out));
        let file = folder.join("initial.safetensors");
        candle_core::safetensors::save(&all.into_iter().collect(), &file).unwrap();
        file
    }

    #[test]
    fn a_whole_checkpoint_loads_in_either_precision_with_or_without_counters() {
        let folder = tempfile::tempdir().unwrap();
        for (precision, counters) in [(DType::F32, true), (DType::F16, false), (DType::BF16, true)] {
            let initial = Initial::read(&write(folder.path(), precision, counters, ""), 1).unwrap();
            assert!(initial.missing.is_empty());
            assert_eq!(initial.weights.get("layer3.1.bn2.bias", &[256]).unwrap().data[9], 0.25);
            Network::headless(&initial.weights).unwrap();
        }
    }

    #[test]
    fn heads_that_begin_at_random_are_told_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("copy.safetensors");
        assert_eq!(told_of_heads(&file, &[]), None);
        let told = told_of_heads(&file, &["ELBOW", "KNEE"]).unwrap();
        assert!(
            told.contains("no card beside it") && told.ends_with("these heads begin at random: ELBOW, KNEE"),
            "{told}"
        );
        std::fs::write(Card::beside(&file), "{}").unwrap();
        let told = told_of_heads(&file, &["SACRUM"]).unwrap();
        assert!(told.contains("its card names no such outputs") && told.ends_with(": SACRUM"), "{told}");
    }

    #[test]
    fn what_a_partial_one_lacks_is_named_and_random() {
        let folder = tempfile::tempdir().unwrap();
        let file = write(folder.path(), DType::F16, false, "layer4.1");
        let initial = Initial::read(&file, 1).unwrap();
        assert_eq!(initial.missing.len(), 10);
        assert_eq!(initial.missing[0], "layer4.1.conv1.weight");
        assert_eq!(initial.lacks_before(7), None);
        assert_eq!(initial.lacks_before(8), Some("layer4.1.conv1.weight"));
        Network::headless(&initial.weights).unwrap();
        let kernel = |seed| {
            let initial = Initial::read(&file, seed).unwrap();
            initial.weights.get("layer4.1.conv2.weight", &[512, 512, 3, 3]).unwrap().data.clone()
        };
        let values = kernel(1);
        let variance = values.iter().map(|v| f64::from(v * v)).sum::<f64>() / values.len() as f64;
        assert!((variance * 512.0 * 9.0 / 2.0 - 1.0).abs() < 0.01, "{variance}");
        assert_eq!(values, kernel(1));
        assert_ne!(values, kernel(2));
    }

    #[test]
    fn without_a_file_all_is_random() {
        let initial = Initial::random(3).unwrap();
        assert_eq!(initial.missing.len(), shapes().len());
        assert_eq!(initial.lacks_before(0), Some("conv1.weight"));
        Network::headless(&initial.weights).unwrap();
    }

    #[test]
    fn another_shape_or_another_network_is_refused_by_its_tensor() {
        let folder = tempfile::tempdir().unwrap();
        for (name, shape) in [("layer2.0.conv1.weight", vec![128, 64, 1, 1]), ("conv1.weight", vec![64, 2, 7, 7])] {
            let tensor = Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
            let file = folder.path().join("wrong.safetensors");
            candle_core::safetensors::save(&[(name.to_owned(), tensor)].into(), &file).unwrap();
            let error = Initial::read(&file, 1).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("wrong.safetensors"), "{error}");
        }
        let file = write(folder.path(), DType::F16, false, "");
        let tensor = Tensor::zeros(3, DType::F32, &Device::Cpu).unwrap();
        candle_core::safetensors::save(&[("features.0.weight".to_owned(), tensor)].into(), &file).unwrap();
        assert!(matches!(Initial::read(&file, 1).unwrap_err(), ModelError::Missing { .. }));
    }
}

//! What each head is to say of each image, and how much it counts.

use super::manifest::Manifest;
use super::noise::{Batch, Noise};
use super::recipe::Recipe;
use super::samples::Sample;
use crate::judge::{Output, label};
use candle_core::{Device, Result, Tensor};

/// Targets and weights of each sample and head.
pub(super) struct Targets {
    heads: Vec<String>,
    smoothing: f32,
    /// Weight of each head's positive images.
    boost: Vec<f32>,
    targets: Vec<f32>,
    weights: Vec<f32>,
    /// What is done about labels that may be wrong, and whether each sample's may be.
    doubt: Option<(Noise, Vec<bool>)>,
}

impl Targets {
    /// By the labels of the samples' images, for some of the recipe's heads.
    pub fn new(recipe: &Recipe, heads: &[String], manifest: &Manifest, samples: &[Sample]) -> Targets {
        let mut positive = vec![0.0f32; heads.len()];
        let mut whole = 0.0f32;
        for sample in samples {
            let region = &manifest.entries[sample.entry].region;
            whole += sample.weight;
            for (sum, head) in positive.iter_mut().zip(heads) {
                *sum += if label(region, head) == Some(true) { sample.weight } else { 0.0 };
            }
        }
        // Rare regions count more, but by the square root only: the negatives are what rejecting is learnt from.
        let boost = positive
            .iter()
            .map(|p| ((whole - p) / p.max(1.0)).sqrt().clamp(1.0, recipe.most_positive_weight))
            .collect();
        let doubt = recipe.noise.clone().map(|noise| {
            let doubted = samples.iter().map(|s| noise.doubts(&manifest.entries[s.entry].source)).collect();
            (noise, doubted)
        });
        let smoothing = recipe.smoothing;
        let mut all =
            Targets { heads: heads.to_vec(), smoothing, boost, targets: Vec::new(), weights: Vec::new(), doubt };
        for sample in samples {
            for (target, weight) in all.row(&manifest.entries[sample.entry].region) {
                all.targets.push(target);
                all.weights.push(weight * sample.weight);
            }
        }
        all
    }

    /// Target and weight of each head for an image of a region.
    fn row(&self, region: &str) -> Vec<(f32, f32)> {
        let one = |(head, boost): (&String, &f32)| match label(region, head) {
            Some(true) => (1.0 - self.smoothing, *boost),
            Some(false) => (self.smoothing, 1.0),
            None => (0.5, 0.0),
        };
        self.heads.iter().zip(&self.boost).map(one).collect()
    }

    /// Weighted binary cross-entropy with logits of each sample of a batch, added up over the heads: `[batch]`. `done` and
    /// `step`: see [`Noise::apply`].
    pub fn losses(&self, logits: &Tensor, batch: &[usize], done: f32, step: usize) -> Result<Tensor> {
        let device: &Device = logits.device();
        let heads = self.heads.len();
        let pick = |all: &[f32]| -> Vec<f32> {
            batch.iter().flat_map(|&i| all[i * heads..(i + 1) * heads].iter().copied()).collect()
        };
        let mut counted = Batch { heads, targets: pick(&self.targets), weights: pick(&self.weights) };
        if let Some((noise, doubted)) = &self.doubt {
            let doubted: Vec<bool> = batch.iter().map(|&i| doubted[i]).collect();
            noise.apply(&mut counted, &logits.flatten_all()?.to_vec1()?, &doubted, done, step);
        }
        let targets = Tensor::from_vec(counted.targets, (batch.len(), heads), device)?;
        let weights = Tensor::from_vec(counted.weights, (batch.len(), heads), device)?;
        // max(x, 0) − x·t + ln(1 + e^−|x|)
        let softplus = (logits.abs()?.neg()?.exp()? + 1.0)?.log()?;
        let entropy = ((logits.relu()? - (logits * targets)?)? + softplus)?;
        (entropy * weights)?.sum(1)
    }

    /// The mean loss of images that are not trained on, by the same measure; `None` without images.
    pub fn mean_loss(&self, outputs: &[Output]) -> Option<f64> {
        let one = |o: &Output| -> f64 {
            let entropy = |(x, (target, weight)): (&f32, (f32, f32))| {
                let (x, target) = (f64::from(*x), f64::from(target));
                f64::from(weight) * (x.max(0.0) - x * target + (-x.abs()).exp().ln_1p())
            };
            o.logits.iter().zip(self.row(&o.region)).map(entropy).sum()
        };
        (!outputs.is_empty()).then(|| outputs.iter().map(one).sum::<f64>() / outputs.len() as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::super::manifest::{Entry, Split};
    use super::*;

    fn manifest() -> Manifest {
        let entry = |row: usize, region: &str, source: &str| Entry {
            row,
            path: format!("{row}.png"),
            region: region.into(),
            group: format!("g{row}"),
            source: source.into(),
            licence: "ours".into(),
            split: Split::Train,
        };
        let entries = vec![entry(2, "HAND", "a"), entry(3, "KNEE", "a"), entry(4, "SPINE", "harvest")];
        Manifest { file: "m".into(), root: ".".into(), sha256: String::new(), entries }
    }

    #[test]
    fn both_measures_of_the_loss_agree() {
        let manifest = manifest();
        let samples: Vec<Sample> = (0..3).map(|entry| Sample { entry, weight: 1.0 }).collect();
        let heads = ["HAND", "CSPINE"].map(String::from);
        let targets = Targets::new(&Recipe::default(), &heads, &manifest, &samples);
        let rows = [[2.0f32, -1.0], [0.5, -3.0], [-1.0, 9.0]];
        let logits = Tensor::new(&rows, &Device::Cpu).unwrap();
        let losses: Vec<f32> = targets.losses(&logits, &[0, 1, 2], 0.0, 0).unwrap().to_vec1().unwrap();
        let outputs: Vec<Output> = manifest
            .entries
            .iter()
            .zip(rows)
            .map(|(e, row)| Output {
                path: e.path.clone(),
                region: e.region.clone(),
                source: e.source.clone(),
                group: e.group.clone(),
                logits: row.to_vec(),
                copies: Vec::new(),
            })
            .collect();
        let mean = targets.mean_loss(&outputs).unwrap();
        assert!((f64::from(losses.iter().sum::<f32>()) / 3.0 - mean).abs() < 1e-5, "{losses:?} {mean}");
        // A spine may be a cervical one: the head is neither right nor wrong.
        let mut other = outputs.clone();
        other[2].logits[1] = -9.0;
        assert_eq!(targets.mean_loss(&other), Some(mean));
        assert_eq!(targets.mean_loss(&[]), None);
    }

    #[test]
    fn only_images_of_doubted_sources_are_touched() {
        let manifest = manifest();
        let samples: Vec<Sample> = (0..3).map(|entry| Sample { entry, weight: 1.0 }).collect();
        let heads = ["HAND", "KNEE"].map(String::from);
        let losses = |noise: &str| -> Vec<f32> {
            let recipe = Recipe { noise: toml::from_str(noise).ok(), ..Recipe::default() };
            let targets = Targets::new(&recipe, &heads, &manifest, &samples);
            let logits = Tensor::new(&[[2.0f32, -1.0], [0.5, -3.0], [4.0, 1.0]], &Device::Cpu).unwrap();
            targets.losses(&logits, &[0, 1, 2], 1.0, 1).unwrap().to_vec1().unwrap()
        };
        let plain = losses("no noise");
        for method in ["small-loss", "bootstrap"] {
            let noisy = losses(&format!("method = \"{method}\"\nrate = 0.45\nsources = [\"harvest\"]"));
            assert_eq!(noisy[..2], plain[..2]);
            assert!(noisy[2] < plain[2], "{method}: {noisy:?} {plain:?}");
            assert_eq!(losses(&format!("method = \"{method}\"\nrate = 0.45\nsources = [\"other\"]")), plain);
        }
    }
}

//! What each head is to say of each image, and how much it counts.

use super::Sample;
use super::manifest::Manifest;
use super::recipe::Recipe;
use crate::judge::label;
use candle_core::{Device, Result, Tensor};

/// Targets and weights of each sample and head.
pub struct Targets {
    heads: usize,
    targets: Vec<f32>,
    weights: Vec<f32>,
}

impl Targets {
    /// By the labels of the samples' images.
    pub fn new(recipe: &Recipe, manifest: &Manifest, samples: &[Sample]) -> Targets {
        let heads = recipe.heads.len();
        let mut positive = vec![0.0f32; heads];
        let mut whole = 0.0f32;
        for sample in samples {
            let region = &manifest.entries[sample.entry].region;
            whole += sample.weight;
            for (sum, head) in positive.iter_mut().zip(&recipe.heads) {
                *sum += if label(region, head) == Some(true) { sample.weight } else { 0.0 };
            }
        }
        // Rare regions count more, but by the square root only: the negatives are what rejecting is learnt from.
        let boost: Vec<f32> = positive
            .iter()
            .map(|p| ((whole - p) / p.max(1.0)).sqrt().clamp(1.0, recipe.most_positive_weight))
            .collect();
        let mut all = Targets { heads, targets: Vec::new(), weights: Vec::new() };
        for sample in samples {
            let region = &manifest.entries[sample.entry].region;
            for (head, boost) in recipe.heads.iter().zip(&boost) {
                let (target, weight) = match label(region, head) {
                    Some(true) => (1.0 - recipe.smoothing, *boost),
                    Some(false) => (recipe.smoothing, 1.0),
                    None => (0.5, 0.0),
                };
                all.targets.push(target);
                all.weights.push(weight * sample.weight);
            }
        }
        all
    }

    /// Weighted binary cross-entropy with logits of each sample of a batch, added up over the heads: `[batch]`.
    pub fn losses(&self, logits: &Tensor, batch: &[usize]) -> Result<Tensor> {
        let device: &Device = logits.device();
        let pick = |all: &[f32]| -> Vec<f32> {
            batch.iter().flat_map(|&i| all[i * self.heads..(i + 1) * self.heads].iter().copied()).collect()
        };
        let shape = (batch.len(), self.heads);
        let targets = Tensor::from_vec(pick(&self.targets), shape, device)?;
        let weights = Tensor::from_vec(pick(&self.weights), shape, device)?;
        // max(x, 0) − x·t + ln(1 + e^−|x|)
        let softplus = (logits.abs()?.neg()?.exp()? + 1.0)?.log()?;
        let entropy = ((logits.relu()? - (logits * targets)?)? + softplus)?;
        (entropy * weights)?.sum(1)
    }
}

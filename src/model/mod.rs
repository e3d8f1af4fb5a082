//! The network: graph, weights, model card, and the classifier that the daemon calls.

use crate::preprocess::Plane;
use std::collections::BTreeMap;
use std::path::Path;

/// Why a model cannot be loaded or run.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum ModelError {
    #[error("placeholder")]
    Placeholder,
}

/// Per-region thresholds on the calibrated probability, from the model card.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Threshold {
    /// At or above: the region is named.
    pub accept: f32,
    /// Below: the region is excluded. In between: doubt.
    pub reject: f32,
}

/// Weights, card and device: images in, scores out.
pub struct Classifier {}

#[allow(unused_variables, missing_docs)]
impl Classifier {
    /// Loads `model` (safetensors; its card lies beside it as `.json`) onto a device; checks the card's SHA-256.
    pub fn load(model: &Path, device: crate::config::DeviceChoice) -> Result<Classifier, ModelError> {
        todo!()
    }
    /// First 16 hex digits of the SHA-256 of the weights.
    pub fn hash(&self) -> &str {
        todo!()
    }
    /// Thresholds of the five regions, by term.
    pub fn thresholds(&self) -> &BTreeMap<String, Threshold> {
        todo!()
    }
    /// `cpu` or `cuda:0`.
    pub fn device_name(&self) -> String {
        todo!()
    }
    /// The network's input for a plane: what [`Classifier::scores`] takes. Pure; run it beside the network.
    pub fn input(&self, plane: &Plane) -> Vec<f32> {
        todo!()
    }
    /// Calibrated probability of each head for each input.
    pub fn scores(&self, inputs: &[Vec<f32>]) -> Result<Vec<BTreeMap<String, f32>>, ModelError> {
        todo!()
    }
}

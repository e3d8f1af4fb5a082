//! The recipe of a training run: a TOML file that is stored with the weights.

use crate::preprocess::InputContract;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How to train.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Recipe {
    /// Name of the weights.
    pub name: String,
    /// Of everything random.
    pub seed: u64,
    /// The outputs in their order. Regions of the manifest that are none of them count as "none of these".
    pub heads: Vec<String>,
    /// What the network is given.
    pub input: InputContract,
    /// First block that is trained, such as `layer4.0`; what lies before it is frozen.
    pub train_from: String,
    /// Passes over the augmented images.
    pub epochs: usize,
    /// Images a step.
    pub batch: usize,
    /// Highest learning rate of AdamW; falls as a cosine after a tenth of an epoch's warm-up.
    pub rate: f64,
    /// The same for the last layer, which begins at random.
    pub head_rate: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Part of the pooled features that is dropped.
    pub dropout: f32,
    /// Targets are this far from 0 and 1.
    pub smoothing: f32,
    /// Highest weight of a head's positive images against its negative ones.
    pub most_positive_weight: f32,
    /// Augmented copies of an image, unless its source says otherwise.
    pub copies: usize,
    /// By source.
    pub source: BTreeMap<String, Source>,
    /// How strong the augmentation is; 1 is as designed, 0 none.
    pub augmentation: f32,
}

/// What is special about a source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Augmented copies of each image.
    pub copies: usize,
    /// Weight in the loss.
    pub weight: f32,
}

impl Default for Recipe {
    fn default() -> Self {
        let heads = [
            "SHOULDER", "ELBOW", "HAND", "PELVIS", "KNEE", "FOOT", "ANKLE", "LOWERLEG", "FEMUR", "HIP", "FOREARM",
            "WRIST", "HUMERUS", "CLAVICLE", "FINGER", "CHEST", "SKULL", "CSPINE", "LSPINE",
        ];
        Recipe {
            name: "radroute".into(),
            seed: 1,
            heads: heads.map(String::from).to_vec(),
            input: InputContract::default(),
            train_from: "layer4.0".into(),
            epochs: 3,
            batch: 64,
            rate: 4e-4,
            head_rate: 2e-3,
            weight_decay: 0.02,
            dropout: 0.2,
            smoothing: 0.01,
            most_positive_weight: 3.0,
            copies: 2,
            source: BTreeMap::new(),
            augmentation: 1.0,
        }
    }
}

impl Recipe {
    /// Reads a recipe; what it does not say is as by default.
    pub fn parse(text: &str) -> Result<Recipe, String> {
        let recipe: Recipe = toml::from_str(text).map_err(|e| e.to_string())?;
        recipe.check()?;
        Ok(recipe)
    }

    /// Index in the network's blocks of the first that is trained.
    pub fn first_block(&self) -> Option<usize> {
        crate::model::weights::BLOCKS.iter().position(|b| b.name == self.train_from)
    }

    fn check(&self) -> Result<(), String> {
        let demand = |holds: bool, why: &str| if holds { Ok(()) } else { Err(why.to_owned()) };
        for region in crate::anatomy::Region::ALL {
            let term = region.term();
            demand(self.heads.iter().any(|h| h == term), &format!("heads lacks {term}"))?;
        }
        let mut heads = self.heads.clone();
        heads.sort();
        demand(heads.windows(2).all(|w| w[0] != w[1]), "a head is there twice")?;
        demand(self.first_block().is_some(), "train_from is no block of ResNet-18, such as \"layer4.0\"")?;
        demand((32..=1024).contains(&self.input.size), "input.size is not within 32 to 1024")?;
        demand(self.epochs > 0 && self.batch > 1, "epochs is 0, or batch below 2")?;
        demand(self.rate > 0.0 && self.head_rate > 0.0 && self.weight_decay >= 0.0, "a rate is not above 0")?;
        demand((0.0..0.9).contains(&self.dropout), "dropout is not within 0 to 0.9")?;
        demand((0.0..0.2).contains(&self.smoothing), "smoothing is not within 0 to 0.2")?;
        demand(self.most_positive_weight >= 1.0, "most_positive_weight is below 1")?;
        demand((0.0..=2.0).contains(&self.augmentation), "augmentation is not within 0 to 2")?;
        demand(self.source.values().all(|s| s.weight >= 0.0), "a source's weight is below 0")
    }

    /// Copies and weight of a source.
    pub fn source(&self, name: &str) -> Source {
        self.source.get(name).cloned().unwrap_or(Source { copies: self.copies, weight: 1.0 })
    }
}

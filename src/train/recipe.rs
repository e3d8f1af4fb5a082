//! The recipe of a training run: a TOML file that is stored with the weights.

use super::noise::Noise;
use super::pick::Experiment;
use crate::model::card::Architecture;
use crate::model::weights::BLOCKS;
use crate::preprocess::{InputContract, VIEWS};
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
    /// One network for all heads, or one for each.
    pub architecture: Architecture,
    /// What the network is given.
    pub input: InputContract,
    /// Side of the square in training, in pixels, where it is not `input.size`: a smaller one is faster, and an image that is seen a
    /// little larger when judged than in training is judged better (Touvron et al. 2019, arXiv:1906.06423).
    pub train_size: Option<usize>,
    /// Orientations (1, 2, 4 or 8) that an image is trained on, one at random each time, and judged in, all of them.
    pub views: usize,
    /// How fast each part is trained.
    pub rates: Rates,
    /// Passes over the images.
    pub epochs: usize,
    /// Images a step.
    pub batch: usize,
    /// How a step is made from its gradients.
    pub optimiser: Optimiser,
    /// Highest learning rate; it rises over a tenth of an epoch.
    pub rate: f64,
    /// What becomes of the rate.
    pub schedule: Schedule,
    /// Decoupled weight decay of the kernels.
    pub weight_decay: f64,
    /// Part of the pooled features that is dropped.
    pub dropout: f32,
    /// Targets are this far from 0 and 1.
    pub smoothing: f32,
    /// Highest weight of a head's positive images against its negative ones.
    pub most_positive_weight: f32,
    /// Augmented copies of an image in each pass, unless its source says otherwise.
    pub copies: usize,
    /// The same augmented copies in every pass: what the frozen part makes of them is computed once and kept.
    pub keep: bool,
    /// Augmented copies of each validation image, by which the epochs are compared; 0: the images themselves. Calibration and thresholds
    /// are always fitted on the images themselves.
    pub validation_copies: usize,
    /// What is done about labels that may be wrong.
    pub noise: Option<Noise>,
    /// The images are drawn from the manifest, and the result is tested on what was kept apart.
    pub experiment: Option<Experiment>,
    /// By source.
    pub source: BTreeMap<String, Source>,
    /// How strong the augmentation is; 1 is as designed, 0 none.
    pub augmentation: f32,
    /// How often an image is shown with its polarity the other way round than the input contract makes it.
    pub other_polarity: f32,
    /// How often an image is shown in the style of another one of the training set, drawn from a source that is drawn first: its tones, how
    /// much detail of each size there is, and now and then its grain.
    pub other_style: f32,
    /// Of the arithmetic; there is one.
    pub precision: Precision,
}

/// Learning rates of the parts against [`Recipe::rate`]. Parts of 0 before the first trained one are frozen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)]
pub struct Rates {
    pub stem: f64,
    pub layer1: f64,
    pub layer2: f64,
    pub layer3: f64,
    pub layer4: f64,
    /// The last layer, which may begin at random.
    pub heads: f64,
}

/// How a step is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Optimiser {
    /// Loshchilov and Hutter 2019.
    AdamW,
    /// Stochastic gradient descent with a momentum of 0.9.
    Sgd,
}

/// What becomes of the learning rate after its rise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// Falls to 0 along half a cosine.
    Cosine,
    /// Stays.
    Constant,
}

/// Precision of the arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Single.
    F32,
}

/// What is special about a source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Augmented copies of each image in a pass.
    pub copies: usize,
    /// Weight in the loss.
    pub weight: f32,
}

impl Schedule {
    /// The part of the highest rate in `step` of `total`: a linear rise over `warm_up` steps, then what the schedule says.
    pub fn at(self, step: usize, total: usize, warm_up: usize) -> f64 {
        if step < warm_up {
            return (step + 1) as f64 / warm_up as f64;
        }
        let part = (step - warm_up) as f64 / (total - warm_up).max(1) as f64;
        match self {
            Schedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * part).cos()),
            Schedule::Constant => 1.0,
        }
    }
}

impl Default for Rates {
    fn default() -> Self {
        Rates { stem: 0.0, layer1: 0.0, layer2: 0.0, layer3: 0.0, layer4: 1.0, heads: 5.0 }
    }
}

impl Rates {
    fn of_layers(&self) -> [f64; 4] {
        [self.layer1, self.layer2, self.layer3, self.layer4]
    }

    /// The rate of a block such as `layer4.0`.
    pub fn of_block(&self, name: &str) -> f64 {
        let layer = name.as_bytes().get(5).map_or(0, |digit| usize::from(digit.wrapping_sub(b'1')));
        self.of_layers().get(layer).copied().unwrap_or(0.0)
    }

    /// The parts that are not trained, for people.
    pub fn frozen(&self) -> String {
        let names = ["stem", "layer1", "layer2", "layer3", "layer4"];
        let rates = std::iter::once(self.stem).chain(self.of_layers());
        let frozen: Vec<&str> = names.into_iter().zip(rates).filter(|(_, rate)| *rate == 0.0).map(|(n, _)| n).collect();
        if frozen.is_empty() { "nothing".into() } else { frozen.join(", ") }
    }

    /// Index in [`BLOCKS`] of the first trained block, their number where only the last layer is trained; `None` where the stem is
    /// trained too.
    pub fn first_block(&self) -> Option<usize> {
        if self.stem > 0.0 {
            return None;
        }
        Some(BLOCKS.iter().position(|b| self.of_block(b.name) > 0.0).unwrap_or(BLOCKS.len()))
    }
}

impl Default for Recipe {
    fn default() -> Self {
        let heads = [
            "SHOULDER", "ELBOW", "HAND", "PELVIS", "KNEE", "FOOT", "ANKLE", "LOWERLEG", "FEMUR", "HIP", "FOREARM",
            "WRIST", "HUMERUS", "CLAVICLE", "FINGER", "CHEST", "ABDOMEN", "SKULL", "CSPINE", "TSPINE", "LSPINE",
        ];
        Recipe {
            name: "radroute".into(),
            seed: 1,
            heads: heads.map(String::from).to_vec(),
            architecture: Architecture::Shared,
            input: InputContract::default(),
            train_size: None,
            views: 1,
            rates: Rates::default(),
            epochs: 3,
            batch: 64,
            optimiser: Optimiser::AdamW,
            rate: 4e-4,
            schedule: Schedule::Cosine,
            weight_decay: 0.02,
            dropout: 0.2,
            smoothing: 0.01,
            most_positive_weight: 3.0,
            copies: 1,
            keep: false,
            validation_copies: 0,
            noise: None,
            experiment: None,
            source: BTreeMap::new(),
            augmentation: 1.0,
            other_polarity: 0.1,
            other_style: 0.0,
            precision: Precision::F32,
        }
    }
}

impl Recipe {
    /// A recipe that comes with the program, by its name.
    pub fn named(name: &str) -> Option<Result<Recipe, String>> {
        match name {
            "yi2019" => Some(Recipe::parse(include_str!("yi2019.toml"))),
            _ => None,
        }
    }

    /// Reads a recipe; what it does not say is as by default.
    pub fn parse(text: &str) -> Result<Recipe, String> {
        let recipe: Recipe = toml::from_str(text).map_err(|e| e.to_string())?;
        recipe.check()?;
        Ok(recipe)
    }

    /// The input contract in training.
    pub fn train_input(&self) -> InputContract {
        InputContract { size: self.train_size.unwrap_or(self.input.size), ..self.input.clone() }
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
        let sizes = [self.input.size, self.train_size.unwrap_or(self.input.size)];
        demand(sizes.iter().all(|s| (32..=1024).contains(s)), "a size is not within 32 to 1024")?;
        demand(VIEWS.contains(&self.views), "views is none of 1, 2, 4, 8")?;
        let Rates { stem, heads, .. } = self.rates;
        let rates = [stem, heads].into_iter().chain(self.rates.of_layers());
        demand(rates.clone().all(|r| r.is_finite() && r >= 0.0), "one of rates is below 0")?;
        demand(heads > 0.0, "rates.heads is 0: nothing would be learnt")?;
        demand(self.epochs > 0 && self.batch > 1, "epochs is 0, or batch below 2")?;
        demand(self.rate > 0.0 && self.weight_decay >= 0.0, "rate is not above 0, or weight_decay below 0")?;
        demand((0.0..0.9).contains(&self.dropout), "dropout is not within 0 to 0.9")?;
        demand((0.0..0.2).contains(&self.smoothing), "smoothing is not within 0 to 0.2")?;
        demand(self.most_positive_weight >= 1.0, "most_positive_weight is below 1")?;
        demand((0.0..=2.0).contains(&self.augmentation), "augmentation is not within 0 to 2")?;
        demand((0.0..=1.0).contains(&self.other_polarity), "other_polarity is not within 0 to 1")?;
        demand((0.0..=1.0).contains(&self.other_style), "other_style is not within 0 to 1")?;
        demand(self.source.values().all(|s| s.weight >= 0.0), "a source's weight is below 0")?;
        self.noise.as_ref().map_or(Ok(()), Noise::check)?;
        self.experiment.as_ref().map_or(Ok(()), Experiment::check)?;
        demand(!self.keep || self.rates.first_block().is_some(), "keep needs a frozen stem: there is nothing to keep")
    }

    /// Copies and weight of a source.
    pub fn source(&self, name: &str) -> Source {
        self.source.get(name).cloned().unwrap_or(Source { copies: self.copies, weight: 1.0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rate_above_0_says_what_is_frozen() {
        let rates = |text: &str| Recipe::parse(&format!("[rates]\n{text}")).unwrap().rates;
        assert_eq!(rates("layer4 = 1.0").first_block(), Some(6));
        assert_eq!(rates("layer2 = 0.1\nlayer3 = 0.0").first_block(), Some(2));
        assert_eq!(rates("layer4 = 0.0").first_block(), Some(8));
        assert_eq!(rates("stem = 0.1").first_block(), None);
        assert_eq!(rates("layer3 = 0.25").of_block("layer3.1"), 0.25);
        assert_eq!(rates("layer2 = 0.25\nlayer3 = 0.0").frozen(), "stem, layer1, layer3");
        assert_eq!(rates("stem = 1.0\nlayer1 = 1.0\nlayer2 = 1.0\nlayer3 = 1.0").frozen(), "nothing");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for text in [
            "views = 3",
            "keep = true\n[rates]\nstem = 1.0",
            "epochs = 0",
            "other_style = 1.1",
            "[rates]\nheads = 0.0",
            "what = 1",
        ] {
            assert!(Recipe::parse(text).is_err(), "{text}");
        }
    }
}

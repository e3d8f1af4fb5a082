//! The model card: what lies beside the weights as JSON, and its Markdown twin.

use super::ModelError;
use super::early::Early;
use super::precision::Int8;
use crate::preprocess::InputContract;
use crate::verdict::Threshold;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The version of the card's format that this code reads and writes.
pub const FORMAT: u32 = 1;

/// Everything that is to be known of a file of weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Card {
    /// Version of this format.
    pub format: u32,
    /// What the network is called.
    pub name: String,
    /// What it may be used for.
    #[serde(rename = "use")]
    pub permitted_use: String,
    /// One network for all heads, or one for each.
    pub architecture: Architecture,
    /// SHA-256 of the safetensors file, 64 hex digits.
    pub sha256: String,
    /// What the network takes.
    pub input: InputContract,
    /// In how many orientations an image is judged (1, 2, 4 or 8; [`crate::preprocess::view`]); the outputs are averaged.
    #[serde(default = "one")]
    pub views: usize,
    /// What was measured of judging an image in fewer orientations where its verdict is settled; nothing: it is not done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub early: Option<Early>,
    /// How maps are quantised for whole numbers, and what was measured of it; nothing: it is not to be had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub int8: Option<Int8>,
    /// The outputs in their order: one-vs-rest, each by itself.
    pub heads: Vec<Head>,
    /// Thresholds on the calibrated probability, by head: the heads that may correct a tag.
    pub regions: BTreeMap<String, Threshold>,
    /// What it was trained on and judged by.
    pub data: Data,
    /// The recipe that it was trained with.
    pub recipe: serde_json::Value,
    /// What judging gave.
    pub metrics: serde_json::Value,
    /// What it cannot do, in sentences.
    pub limits: Vec<String>,
}

fn one() -> usize {
    1
}

/// How the heads share networks, and under which names the file of weights holds the tensors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Architecture {
    /// One ResNet-18 with all heads, under torchvision's names.
    #[default]
    #[serde(rename = "resnet18")]
    Shared,
    /// One ResNet-18 of one output for each head: torchvision's names behind the head's, such as `HAND.layer1.0.conv1.weight`.
    #[serde(rename = "resnet18-ensemble")]
    Ensemble,
}

/// One output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// The defined term, or the name of an outside region.
    pub name: String,
    /// Probability = sigmoid(scale · logit + offset) (Platt scaling).
    pub scale: f32,
    /// See `scale`.
    pub offset: f32,
}

/// Where the images came from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// One sentence.
    pub summary: String,
    /// SHA-256 of the manifest.
    pub manifest_sha256: String,
    /// How train and validation were kept apart.
    pub split: String,
    /// Training images by source and region.
    pub training: BTreeMap<String, BTreeMap<String, usize>>,
    /// Validation images by source and region.
    pub validation: BTreeMap<String, BTreeMap<String, usize>>,
    /// SHA-256 over the sorted groups of each split.
    pub groups_sha256: BTreeMap<String, String>,
    /// SHA-256 of the file of initial weights; empty where training began at random or nothing is known.
    #[serde(default)]
    pub initial_sha256: String,
    /// Licences by source.
    pub licences: BTreeMap<String, BTreeSet<String>>,
}

impl Head {
    /// The calibrated log-odds of a logit.
    pub fn log_odds(&self, logit: f32) -> f32 {
        self.scale * logit + self.offset
    }

    /// The calibrated probability of a logit.
    pub fn probability(&self, logit: f32) -> f32 {
        1.0 / (1.0 + (-self.log_odds(logit)).exp())
    }
}

impl Card {
    /// Where the card of a file of weights lies: same name, `.json`.
    pub fn beside(weights: &Path) -> PathBuf {
        weights.with_extension("json")
    }

    /// Reads and checks a card.
    pub fn read(file: &Path) -> Result<Card, ModelError> {
        let bytes = std::fs::read(file).map_err(|source| ModelError::Read { file: file.to_owned(), source })?;
        let card: Card = serde_json::from_slice(&bytes)
            .map_err(|e| ModelError::Card { file: file.to_owned(), why: e.to_string() })?;
        card.check().map_err(|why| ModelError::Card { file: file.to_owned(), why })?;
        Ok(card)
    }

    /// What must hold before the numbers are used; the error says what does not.
    pub fn check(&self) -> Result<(), String> {
        let demand = |holds: bool, why: &str| if holds { Ok(()) } else { Err(why.to_owned()) };
        demand(
            self.format == FORMAT,
            &format!("format {} is not {FORMAT}, the one that this version reads", self.format),
        )?;
        demand((32..=1024).contains(&self.input.size), "input.size is not within 32 to 1024")?;
        demand(self.input.mean.is_finite(), "input.mean is not a finite number")?;
        demand(self.input.deviation.is_finite() && self.input.deviation > 0.0, "input.deviation is not above 0")?;
        let [low, high] = self.input.stretch;
        demand(0.0 <= low && low < high && high <= 100.0, "input.stretch is not two rising percentiles")?;
        demand(crate::preprocess::VIEWS.contains(&self.views), "views is none of 1, 2, 4, 8")?;
        if let Some(early) = &self.early {
            let sane = (0.0..=1.0).contains(&early.agreement) && (1.0..=self.views as f64).contains(&early.views);
            demand(sane, "early: agreement is not within 0 to 1, or views not within 1 to those of the card")?;
        }
        demand(!self.heads.is_empty(), "there are no heads")?;
        let mut names = BTreeSet::new();
        for head in &self.heads {
            demand(names.insert(head.name.as_str()), &format!("head {} is there twice", head.name))?;
            let sane = head.scale.is_finite() && head.scale > 0.0 && head.offset.is_finite();
            demand(sane, &format!("head {}: scale is not above 0, or offset not finite", head.name))?;
        }
        if let Some(int8) = &self.int8 {
            int8.check(self.networks())?;
        }
        for region in crate::anatomy::Region::ALL {
            let term = region.term();
            demand(names.contains(term), &format!("there is no head {term}"))?;
            demand(self.regions.contains_key(term), &format!("regions has no thresholds for {term}"))?;
        }
        for (name, threshold) in &self.regions {
            let Threshold { accept, reject } = *threshold;
            demand(names.contains(name.as_str()), &format!("regions names {name}, which is no head"))?;
            let sane = 0.0 <= reject && reject <= accept && accept <= 1.0;
            demand(sane, &format!("regions.{name}: 0 <= reject <= accept <= 1 does not hold"))?;
        }
        Ok(())
    }

    /// How many networks the weights are.
    pub fn networks(&self) -> usize {
        match self.architecture {
            Architecture::Shared => 1,
            Architecture::Ensemble => self.heads.len(),
        }
    }

    /// The card for people.
    pub fn markdown(&self) -> String {
        let mut text = format!(
            "# {}\n\n{}\n\n{}, one grey channel, {} one-vs-rest outputs. Made from `{}.json` beside it: do not edit.\n\n\
             - SHA-256 of the weights: `{}`\n- Input: {} × {} pixels, grey values between percentiles {} and {} to 0..1, \
             uniform borders {}, letterbox{}, (v − {}) / {}\n\
             - Judged in {} orientation(s), the outputs averaged{}\n{}",
            self.name,
            self.permitted_use,
            match self.architecture {
                Architecture::Shared => "ResNet-18",
                Architecture::Ensemble => "An ensemble of ResNet-18, one for each output",
            },
            self.heads.len(),
            self.name,
            self.sha256,
            self.input.size,
            self.input.size,
            self.input.stretch[0],
            self.input.stretch[1],
            if self.input.trim { "cut off" } else { "kept" },
            if self.input.dark_surround { ", inverted where bright towards the edges" } else { "" },
            self.input.mean,
            self.input.deviation,
            self.views,
            self.early.as_ref().map_or(String::new(), |early| format!("; {}", early.told())),
            self.int8.as_ref().map_or(String::new(), |int8| format!("- By measurement, {}\n", int8.told())),
        );
        text += "\n## Regions that may correct a tag\n\n| region | accept from | excluded below |\n|---|---|---|\n";
        for (name, t) in &self.regions {
            text += &format!("| {name} | {:.3} | {:.3} |\n", t.accept, t.reject);
        }
        text += "\n## Outputs\n\nProbability = sigmoid(scale · output + offset), fitted as if one image in five were of the region.\n\n| head | calibration: scale | offset |\n|---|---|---|\n";
        for head in &self.heads {
            text += &format!("| {} | {:.3} | {:.3} |\n", head.name, head.scale, head.offset);
        }
        text += &format!("\n## Data\n\n{}\n\nSplit: {}\n", self.data.summary, self.data.split);
        for (title, part) in [("Training", &self.data.training), ("Validation", &self.data.validation)] {
            text += &format!("\n{title} images:\n\n| source | regions |\n|---|---|\n");
            for (source, regions) in part {
                let regions: Vec<String> = regions.iter().map(|(r, n)| format!("{r} {n}")).collect();
                text += &format!("| {source} | {} |\n", regions.join(", "));
            }
        }
        if !self.data.initial_sha256.is_empty() {
            text += &format!("\nInitial weights: SHA-256 `{}`\n", self.data.initial_sha256);
        }
        text += "\nLicences:\n\n";
        for (source, licences) in &self.data.licences {
            text += &format!("- {source}: {}\n", licences.iter().cloned().collect::<Vec<_>>().join("; "));
        }
        let pretty = |v: &serde_json::Value| serde_json::to_string_pretty(v).unwrap_or_default();
        text += &super::figures::markdown(&self.metrics);
        text += &format!("\n## Recipe\n\n```json\n{}\n```\n", pretty(&self.recipe));
        text += "\n## Limits\n\n";
        for limit in &self.limits {
            text += &format!("- {limit}\n");
        }
        text
    }
}

//! The network: graph, weights, model card, and the classifier that the daemon calls.
//!
//! [`weights`] reads safetensors under torchvision's names and folds the batch norms into a [`folded`] network; [`engine`] runs
//! it on the CPU; [`reference`] is the same network in candle's own operations (CUDA, and what the engine is tested against);
//! [`views`] judges an image in several orientations; [`cam`] tells where in the image a head's evidence lies; [`card`] is what
//! lies beside the weights: heads, thresholds, calibration, input contract, checksum; [`early`] and [`precision`] are what it may
//! allow: fewer orientations, whole numbers.

pub mod cam;
pub mod card;
pub mod early;
pub mod engine;
mod figures;
pub mod folded;
pub mod precision;
pub mod reference;
pub mod views;
pub mod weights;

use crate::config::{DeviceChoice, PrecisionChoice};
use crate::preprocess::{Framed, Plane, framed, network_input};
use crate::verdict::Threshold;
use cam::ActivationMap;
use card::{Architecture, Card};
use engine::int8::WholeNetwork;
use engine::int8::range::Ranges;
use engine::isa::Isa;
use folded::Folded;
use precision::Precision;
use reference::Reference;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Why a model cannot be loaded or run.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum ModelError {
    #[error("{}: cannot be read: {source}", file.display())]
    Read { file: PathBuf, source: std::io::Error },
    #[error("{}: {why}", file.display())]
    Format { file: PathBuf, why: String },
    #[error("{}: tensor {tensor} is missing; names are torchvision's for ResNet-18", file.display())]
    Missing { file: PathBuf, tensor: String },
    #[error("{}: tensor {tensor} has shape {found:?}, {wanted:?} is needed", file.display())]
    Shape { file: PathBuf, tensor: String, found: Vec<usize>, wanted: Vec<usize> },
    #[error("{}: the model card is wrong: {why}", file.display())]
    Card { file: PathBuf, why: String },
    #[error(
        "{}: the SHA-256 is {found}, the card says {wanted}: weights and card do not belong together, or one is damaged",
        file.display()
    )]
    Checksum { file: PathBuf, found: String, wanted: String },
    #[error(
        "device = \"cuda\", but this radroute was built without CUDA; build with --features cuda, or set device = \"cpu\""
    )]
    NoCuda,
    #[error("device = \"cuda\", but no CUDA device answers: {0}")]
    Cuda(String),
    #[error(
        "precision = \"int8\", but a GPU computes, for which there is none; set precision = \"auto\", or device = \"cpu\""
    )]
    WholeOnGpu,
    #[error(
        "precision = \"int8\", but the card of {name} has no int8 steps; write them with `radroute evaluate --fit` (docs/judging.md), or set precision = \"auto\""
    )]
    NotQuantised { name: String },
    #[error("an input of {found} values does not fit {size}")]
    Input { found: usize, size: usize },
    #[error("the steps of 8-bit maps are not those of {wanted} channels, all above 0, or no block is left for them")]
    Steps { wanted: usize },
    #[error("the network gave a score that is not finite; the weights are damaged")]
    NotFinite,
    #[error("a result did not come back in single precision on the CPU")]
    Storage,
    #[error("the network panicked")]
    Panicked,
    #[error("the network failed: {0}")]
    Candle(#[from] candle_core::Error),
}

/// Weights, card and device: images in, scores out. May be shared by threads.
pub struct Classifier {
    card: Card,
    hash: String,
    backend: Backend,
    /// The arithmetic, and why that.
    precision: (Precision, &'static str),
}

/// The networks whose outputs, one after the other, are the card's heads: one network, or one for each head.
enum Backend {
    Cpu(Vec<engine::Network>),
    Whole(Vec<WholeNetwork>),
    Cuda(Vec<Reference>),
}

impl Classifier {
    /// Loads `model` (safetensors; its card lies beside it as `.json`) onto a device, for an arithmetic; checks the card's SHA-256.
    ///
    /// # Errors
    /// Files that cannot be read or do not belong together; a device or an arithmetic that cannot be had.
    pub fn load(model: &Path, device: DeviceChoice, precision: PrecisionChoice) -> Result<Classifier, ModelError> {
        Classifier::with_card(model, Card::read(&Card::beside(model))?, device, precision)
    }

    /// The same with a card that has been read already, or is not written yet.
    ///
    /// # Errors
    /// As [`Classifier::load`].
    pub fn with_card(
        model: &Path,
        card: Card,
        device: DeviceChoice,
        precision: PrecisionChoice,
    ) -> Result<Classifier, ModelError> {
        let bytes = std::fs::read(model).map_err(|source| ModelError::Read { file: model.to_owned(), source })?;
        let found = sha256(&bytes);
        if !found.eq_ignore_ascii_case(&card.sha256) {
            return Err(ModelError::Checksum { file: model.to_owned(), found, wanted: card.sha256 });
        }
        let weights = weights::Weights::from_bytes(model, &bytes)?;
        let networks = networks(&card, &weights)?;
        let device = self::device(device)?;
        let isa = device.is_cpu().then(Isa::best);
        let precision = precision::chosen(precision, &card, isa)?;
        let backend = match (isa, precision.0, &card.int8) {
            (None, _, _) => {
                Backend::Cuda(networks.iter().map(|n| Reference::new(n, &device)).collect::<Result<_, _>>()?)
            }
            (Some(isa), Precision::Int8, Some(int8)) => {
                let whole = networks.iter().zip(&int8.steps).map(|(n, s)| WholeNetwork::new(n, s, int8.single, isa));
                Backend::Whole(whole.collect::<Result<_, _>>()?)
            }
            (Some(isa), _, _) => {
                Backend::Cpu(networks.iter().map(|n| engine::Network::with(n, isa)).collect::<Result<_, _>>()?)
            }
        };
        Ok(Classifier { card, hash: found[..16].to_owned(), backend, precision })
    }

    /// First 16 hex digits of the SHA-256 of the weights.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The arithmetic, and in words why it is that.
    pub fn precision(&self) -> (Precision, &'static str) {
        self.precision
    }

    /// What is written down beside what it gives: [`Classifier::hash`], and ` int8` behind it where that is the arithmetic.
    pub fn identity(&self) -> String {
        match self.precision.0 {
            Precision::F32 => self.hash.clone(),
            Precision::Int8 => format!("{} int8", self.hash),
        }
    }

    /// The model card.
    pub fn card(&self) -> &Card {
        &self.card
    }

    /// Thresholds of the regions that may correct a tag, by term.
    pub fn thresholds(&self) -> &BTreeMap<String, Threshold> {
        &self.card.regions
    }

    /// `cpu` or `cuda:0`.
    pub fn device_name(&self) -> String {
        match self.backend {
            Backend::Cpu(_) | Backend::Whole(_) => "cpu".to_owned(),
            Backend::Cuda(_) => "cuda:0".to_owned(),
        }
    }

    /// What the longer side of a plane is to be at least, in pixels.
    pub fn wanted_pixels(&self) -> usize {
        self.card.input.wanted_pixels()
    }

    /// The network's input for a plane: what [`Classifier::scores`] takes. Pure; run it beside the network.
    pub fn input(&self, plane: &Plane) -> Vec<f32> {
        network_input(plane, &self.card.input)
    }

    /// The same input, with how the image lies in it; `None` for a plane without a finite value.
    pub fn framed_input(&self, plane: &Plane) -> (Vec<f32>, Option<Framed>) {
        match framed(plane, &self.card.input) {
            Some(framed) => (framed.input(&self.card.input), Some(framed)),
            None => (self.input(plane), None),
        }
    }

    /// Calibrated probability of each head for each input.
    pub fn scores(&self, inputs: &[Vec<f32>]) -> Result<Vec<BTreeMap<String, f32>>, ModelError> {
        let logits = self.usual_logits(inputs)?;
        let mut scores = Vec::with_capacity(logits.len());
        for row in logits {
            let named = self.card.heads.iter().zip(row);
            let row: BTreeMap<String, f32> =
                named.map(|(head, logit)| (head.name.clone(), head.probability(logit))).collect();
            if row.values().any(|p| !p.is_finite()) {
                return Err(ModelError::NotFinite);
            }
            scores.push(row);
        }
        Ok(scores)
    }

    /// The class activation map of each head, by name, for each input: the mean over the card's views, each turned back. A
    /// second pass through the network.
    pub fn activation_maps(&self, inputs: &[Vec<f32>]) -> Result<Vec<BTreeMap<String, ActivationMap>>, ModelError> {
        let size = self.card.input.size;
        let maps = views::averaged_maps(inputs, size, self.card.views, |squares| match &self.backend {
            Backend::Cpu(networks) => side_by_side(squares.len(), networks, |n| n.activation_maps(squares, size)),
            Backend::Whole(networks) => side_by_side(squares.len(), networks, |n| n.activation_maps(squares, size)),
            Backend::Cuda(networks) => side_by_side(squares.len(), networks, |n| n.activation_maps(squares, size)),
        })?;
        let named = |maps: Vec<ActivationMap>| self.card.heads.iter().map(|h| h.name.clone()).zip(maps).collect();
        Ok(maps.into_iter().map(named).collect())
    }

    /// The outputs that scores are taken from: of no more views than needed, where the card allows that.
    pub fn usual_logits(&self, inputs: &[Vec<f32>]) -> Result<Vec<Vec<f32>>, ModelError> {
        match &self.card.early {
            Some(early) if early.holds() => {
                Ok(self.early_logits(inputs)?.into_iter().map(|(logits, _)| logits).collect())
            }
            _ => self.logits(inputs),
        }
    }

    /// The network's outputs, averaged over the card's views, in the order of the card's heads.
    pub fn logits(&self, inputs: &[Vec<f32>]) -> Result<Vec<Vec<f32>>, ModelError> {
        let size = self.card.input.size;
        views::averaged(inputs, size, self.card.views, |squares| self.logits_of(squares, size))
    }

    /// The same of as many views as the verdict needs by [`early::settled`], and how many that were.
    pub fn early_logits(&self, inputs: &[Vec<f32>]) -> Result<Vec<(Vec<f32>, usize)>, ModelError> {
        let (size, card) = (self.card.input.size, &self.card);
        let settled = |logits: &[f32], views: usize| early::settled(logits, views, &card.heads, &card.regions);
        views::until_settled(inputs, size, card.views, settled, |squares| self.logits_of(squares, size))
    }

    /// The ranges of each network's maps over inputs in all of the card's views; only in single precision on the CPU are there any.
    pub fn watch(&self, inputs: &[Vec<f32>], ranges: &mut Vec<Ranges>) -> Result<(), ModelError> {
        let Backend::Cpu(networks) = &self.backend else { return Ok(()) };
        ranges.resize_with(networks.len(), Ranges::default);
        for (network, ranges) in networks.iter().zip(ranges) {
            for part in views::all(inputs, self.card.input.size, self.card.views) {
                ranges.watch(network, &part, self.card.input.size)?;
            }
        }
        Ok(())
    }

    /// The network's outputs for squares of any side, each in the one orientation that it has: what a benchmark calls.
    pub fn logits_of(&self, squares: &[Vec<f32>], side: usize) -> Result<Vec<Vec<f32>>, ModelError> {
        match &self.backend {
            Backend::Cpu(networks) => side_by_side(squares.len(), networks, |n| n.logits(squares, side)),
            Backend::Whole(networks) => side_by_side(squares.len(), networks, |n| n.logits(squares, side)),
            Backend::Cuda(networks) => side_by_side(squares.len(), networks, |n| n.logits(squares, side)),
        }
    }
}

/// The networks that the card asks for, in the order of its heads.
fn networks(card: &Card, weights: &weights::Weights) -> Result<Vec<Folded>, ModelError> {
    match card.architecture {
        Architecture::Shared => Ok(vec![Folded::new(weights, card.heads.len())?]),
        Architecture::Ensemble => card.heads.iter().map(|head| Folded::new(&weights.member(&head.name), 1)).collect(),
    }
}

/// Each image's outputs (or maps) of all networks in one row.
fn side_by_side<N, T: Clone>(
    images: usize,
    networks: &[N],
    outputs: impl Fn(&N) -> Result<Vec<Vec<T>>, ModelError>,
) -> Result<Vec<Vec<T>>, ModelError> {
    let mut rows = vec![Vec::new(); images];
    for network in networks {
        rows.iter_mut().zip(outputs(network)?).for_each(|(row, more)| row.extend(more));
    }
    Ok(rows)
}

/// SHA-256 in hex digits.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// The device of a choice; `auto` is the first CUDA device if there is one.
///
/// # Errors
/// `cuda` where there is none, or a build without it.
pub fn device(choice: DeviceChoice) -> Result<candle_core::Device, ModelError> {
    match choice {
        DeviceChoice::Cpu => Ok(candle_core::Device::Cpu),
        DeviceChoice::Cuda => cuda(),
        DeviceChoice::Auto => Ok(cuda().unwrap_or(candle_core::Device::Cpu)),
    }
}

/// The first CUDA device.
#[cfg(feature = "cuda")]
fn cuda() -> Result<candle_core::Device, ModelError> {
    candle_core::Device::new_cuda(0).map_err(|e| ModelError::Cuda(e.to_string()))
}

/// The first CUDA device: this build has none.
#[cfg(not(feature = "cuda"))]
fn cuda() -> Result<candle_core::Device, ModelError> {
    Err(ModelError::NoCuda)
}

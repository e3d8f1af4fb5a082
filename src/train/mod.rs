//! Training: data set, augmentation, the frozen part's features, the loop, metrics, and the weights with their card.

pub mod augment;
pub mod checkpoint;
pub mod curve;
pub mod evaluate;
pub mod features;
pub mod init;
pub mod judge;
pub mod manifest;
pub mod metrics;
pub mod net;
pub mod noise;
pub mod ops;
pub mod optimiser;
pub mod progress;
pub mod recipe;
pub mod split;
mod write;

pub use progress::Progress;
pub use write::write_card;

use crate::model::ModelError;
use crate::model::engine::{Maps, Network};
use crate::model::weights::{Raw, Weights, to_safetensors};
use crate::preprocess::network_input;
use candle_core::{Device, Tensor};
use features::{Features, Frozen, Job};
use judge::Output;
use manifest::{Entry, Manifest, Split};
use metrics::Report;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rayon::prelude::*;
use recipe::Recipe;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Why training or judging stopped.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum TrainError {
    #[error(transparent)]
    Manifest(#[from] manifest::ManifestError),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error("{}: {why}", file.display())]
    Image { file: PathBuf, why: String },
    #[error("{}: cannot be written: {source}", file.display())]
    Write { file: PathBuf, source: std::io::Error },
    #[error("the recipe is wrong: {0}")]
    Recipe(String),
    #[error("{0}")]
    Data(String),
    #[error("the training step failed: {0}")]
    Candle(#[from] candle_core::Error),
    #[error("a picture cannot be drawn: {0}")]
    Plot(String),
    #[error("the kept features cannot be read: {0}")]
    Features(std::io::Error),
}

/// What a run is made from and where it goes.
pub struct Run<'a> {
    /// How to train.
    pub recipe: &'a Recipe,
    /// The images.
    pub manifest: &'a Manifest,
    /// Initial weights under torchvision's names.
    pub init: &'a Path,
    /// Folder of the results.
    pub out: &'a Path,
    /// Where it tells how far it is.
    pub progress: &'a Progress,
}

/// An image that is trained on.
struct Sample {
    entry: usize,
    weight: f32,
}

/// Trains, writes the best weights with their card after every epoch, and returns the last best report.
pub fn run(run: &Run) -> Result<Report, TrainError> {
    let recipe = run.recipe;
    let first = recipe.first_block().ok_or_else(|| TrainError::Recipe("train_from".into()))?;
    check_data(run)?;
    let initial = Weights::read(run.init)?;
    // The heads of the initial weights are not used; the rest must be all there.
    let network = Network::headless(&initial)?;
    let frozen = Frozen {
        network: &network,
        blocks: first,
        input: &recipe.input,
        augmentation: recipe.augmentation,
        seed: recipe.seed,
    };
    let validation = validation_features(run.manifest, &frozen)?;
    std::fs::create_dir_all(run.out).map_err(|source| TrainError::Write { file: run.out.to_owned(), source })?;
    let (jobs, samples) = jobs(run);
    run.progress.tell(&format!("{} augmented images of {} heads", jobs.len(), recipe.heads.len()));
    let file = run.out.join(format!("features-{}.f16", features_hash(run, first)?));
    let features = Features::prepare(&file, &frozen, &jobs, run.progress)?;
    let targets = Targets::new(run, &samples);
    let mut rng = StdRng::seed_from_u64(recipe.seed);
    let trained = net::Trained::new(&initial, first, recipe.heads.len(), &mut rng)?;
    let mut optimiser = optimiser::AdamW::default();
    let (kernels, norms) = trained.block_vars();
    optimiser.add(kernels, 1.0, recipe.weight_decay);
    optimiser.add(norms, 1.0, 0.0);
    optimiser.add(trained.head_vars(), recipe.head_rate / recipe.rate, 0.0);
    let mut order: Vec<usize> = (0..jobs.len()).collect();
    let steps_an_epoch = (order.len() / recipe.batch).max(1);
    let total = steps_an_epoch * recipe.epochs;
    let mut best: Option<(f64, Report)> = None;
    for epoch in 0..recipe.epochs {
        order.shuffle(&mut rng);
        run.progress.begin(&format!("epoch {}", epoch + 1), (steps_an_epoch * recipe.batch) as u64, 0);
        let mut mean_loss = 0.0;
        for (i, batch) in order.chunks(recipe.batch).take(steps_an_epoch).enumerate() {
            let step = epoch * steps_an_epoch + i;
            let rate = recipe.rate * schedule(step, total, steps_an_epoch / 10);
            let loss = {
                let [height, width, channels] = features.shape;
                let maps = features.read(batch).map_err(TrainError::Features)?;
                let maps = Tensor::from_vec(maps, (batch.len(), height, width, channels), &Device::Cpu)?;
                let logits = trained.forward(&maps, recipe.dropout, &mut rng)?;
                let loss = targets.loss(&logits, batch)?;
                optimiser.step(&loss.backward()?, rate)?;
                loss.to_scalar::<f32>()?
            };
            if !loss.is_finite() {
                return Err(TrainError::Data(format!("the loss is no longer finite in step {step}; lower the rate")));
            }
            mean_loss += (loss - mean_loss) / (i + 1).min(50) as f32;
            run.progress.advance(batch.len() as u64, &format!("loss {mean_loss:.4}"));
        }
        run.progress.end();
        let mut tensors = initial.tensors().clone();
        trained.export(&mut tensors)?;
        let (report, quality) = keep_if_best(run, &tensors, &validation, &frozen, best.as_ref().map(|b| b.0))?;
        run.progress.tell(&describe(epoch + 1, mean_loss, quality, &report));
        if best.as_ref().is_none_or(|b| quality > b.0) {
            best = Some((quality, report));
        }
    }
    best.map(|b| b.1).ok_or_else(|| TrainError::Recipe("epochs is 0".into()))
}

/// Linear rise over `warm_up` steps, then half a cosine down to 0.
fn schedule(step: usize, total: usize, warm_up: usize) -> f64 {
    if step < warm_up {
        return (step + 1) as f64 / warm_up as f64;
    }
    let part = (step - warm_up) as f64 / (total - warm_up).max(1) as f64;
    0.5 * (1.0 + (std::f64::consts::PI * part).cos())
}

/// What can be told to be wrong before any training time is spent.
fn check_data(run: &Run) -> Result<(), TrainError> {
    let heads = &run.recipe.heads;
    let found: BTreeSet<&str> = run.manifest.labelled(Split::Train).map(|e| e.region.as_str()).collect();
    if found.len() < 2 {
        return Err(TrainError::Data(format!(
            "{}: the split train holds {} labelled region(s); two at least are needed",
            run.manifest.file.display(),
            found.len()
        )));
    }
    let lacking: Vec<&str> = heads.iter().map(String::as_str).filter(|h| !found.contains(h)).collect();
    if !lacking.is_empty() {
        return Err(TrainError::Data(format!(
            "{}: the split train has no image for the head(s) {}; leave them out of the recipe",
            run.manifest.file.display(),
            lacking.join(", ")
        )));
    }
    for entry in &run.manifest.entries {
        let bad = |why: String| manifest::ManifestError::Row { file: run.manifest.file.clone(), row: entry.row, why };
        let path = run.manifest.path(entry);
        readable(&path).map_err(|why| bad(format!("{} is no image that can be read: {why}", path.display())))?;
        let known = heads.contains(&entry.region)
            || manifest::UNLABELLED.contains(&entry.region.as_str())
            || entry.region == metrics::NO_RADIOGRAPH;
        if entry.split == Split::Train && !known {
            return Err(bad(format!(
                "region {} is none of the recipe's heads, nor {}, {}",
                entry.region,
                metrics::NO_RADIOGRAPH,
                manifest::UNLABELLED.join(", ")
            ))
            .into());
        }
    }
    Ok(())
}

/// A look at the start of a PNG or JPEG, which is quick; the whole of anything else.
fn readable(path: &Path) -> Result<(), String> {
    let reader = image::ImageReader::open(path).and_then(|r| r.with_guessed_format()).map_err(|e| e.to_string())?;
    match reader.format() {
        Some(_) => reader.into_dimensions().map(|_| ()).map_err(|e| e.to_string()),
        None => crate::pixels::read_any(path, 1).map(|_| ()).map_err(|e| e.to_string()),
    }
}

/// The augmented images in their order: first copies first, so that a shorter run has seen every image.
fn jobs(run: &Run) -> (Vec<Job>, Vec<Sample>) {
    let recipe = run.recipe;
    let mut all = Vec::new();
    for (index, entry) in run.manifest.entries.iter().enumerate() {
        let usable = entry.split == Split::Train && !manifest::UNLABELLED.contains(&entry.region.as_str());
        let source = recipe.source(&entry.source);
        for copy in 0..if usable { source.copies } else { 0 } {
            all.push((copy, index, source.weight));
        }
    }
    all.sort_by_key(|&(copy, index, _)| (copy, index));
    let job = |&(copy, index, _): &(usize, usize, f32)| {
        let entry = &run.manifest.entries[index];
        Job { file: run.manifest.path(entry), name: entry.path.clone(), copy }
    };
    let samples = all.iter().map(|&(_, entry, weight)| Sample { entry, weight }).collect();
    (all.iter().map(job).collect(), samples)
}

/// Changes whenever kept features would no longer be right.
fn features_hash(run: &Run, first: usize) -> Result<String, TrainError> {
    let init = std::fs::read(run.init).map_err(|source| ModelError::Read { file: run.init.to_owned(), source })?;
    let r = run.recipe;
    let copies: Vec<_> = r.source.iter().map(|(name, s)| (name, s.copies)).collect();
    let all = format!(
        "1 {} {} {first} {:?} {} {} {} {copies:?}",
        crate::model::sha256(&init),
        run.manifest.sha256,
        r.input,
        r.augmentation,
        r.seed,
        r.copies
    );
    Ok(crate::model::sha256(all.as_bytes())[..16].to_owned())
}

/// The validation images' maps behind the frozen blocks, not augmented.
struct Validation<'a> {
    entries: Vec<&'a Entry>,
    maps: Vec<f32>,
}

fn validation_features<'a>(manifest: &'a Manifest, frozen: &Frozen) -> Result<Validation<'a>, TrainError> {
    let entries: Vec<&Entry> = manifest.labelled(Split::Validation).collect();
    if entries.is_empty() {
        return Err(TrainError::Data(format!("{}: there are no validation images", manifest.file.display())));
    }
    let mut maps = Vec::new();
    for part in entries.chunks(16) {
        let inputs = part
            .par_iter()
            .map(|e| Ok(network_input(&features::read_plane(&manifest.path(e), frozen.input)?, frozen.input)))
            .collect::<Result<Vec<_>, TrainError>>()?;
        maps.extend(frozen.records(&inputs)?);
    }
    Ok(Validation { entries, maps })
}

impl Validation<'_> {
    /// Each image's logits by a network with the same frozen blocks.
    fn outputs(&self, network: &Network, frozen: &Frozen) -> Result<Vec<Output>, TrainError> {
        let [height, width, channels] = frozen.shape();
        let maps = Maps { images: self.entries.len(), height, width, channels, data: self.maps.clone() };
        let logits = network.end(&network.run(maps, frozen.blocks..network.blocks.len())?)?;
        let output = |(entry, logits): (&&Entry, Vec<f32>)| Output {
            path: entry.path.clone(),
            region: entry.region.clone(),
            source: entry.source.clone(),
            group: entry.group.clone(),
            logits,
        };
        Ok(self.entries.iter().zip(logits).map(output).collect())
    }
}

/// Judges the weights as they will be written (half precision) and writes them if they are the best so far.
fn keep_if_best(
    run: &Run,
    tensors: &BTreeMap<String, Raw>,
    validation: &Validation,
    frozen: &Frozen,
    best: Option<f64>,
) -> Result<(Report, f64), TrainError> {
    let bytes = to_safetensors(tensors)?;
    let weights = Weights::from_bytes(run.out, &bytes)?;
    let network = Network::new(&weights, run.recipe.heads.len())?;
    let outputs = validation.outputs(&network, frozen)?;
    let (fitted, report) = judge::judge(&outputs, &run.recipe.heads);
    let quality = quality(&report);
    if best.is_none_or(|b| quality > b) {
        write::weights_and_card(run, &bytes, &fitted, &report)?;
    }
    Ok((report, quality))
}

/// What the best epoch is chosen by: the mean AUC of the regions, less the rate of images falsely called one.
fn quality(report: &Report) -> f64 {
    report.mean_auc.unwrap_or(0.0) - report.false_corrections as f64 / report.images.max(1) as f64 * 0.2
}

fn describe(epoch: usize, loss: f32, quality: f64, report: &Report) -> String {
    let regions: Vec<String> = report
        .regions
        .iter()
        .map(|(name, r)| format!("{name} {:.3} ({:.0} %)", r.auc.unwrap_or(0.0), 100.0 * r.sensitivity.unwrap_or(0.0)))
        .collect();
    format!(
        "epoch {epoch}: loss {loss:.4}, quality {quality:.4}, AUC (called) {}; of {} outside {} called a region, of {} neighbours {}, of {} no radiographs {}",
        regions.join(", "),
        report.outside.images,
        report.outside.called_a_region,
        report.neighbours.images,
        report.neighbours.called_a_region,
        report.no_radiograph.images,
        report.no_radiograph.called_a_region,
    )
}

/// Targets and weights of each augmented image and head.
struct Targets {
    heads: usize,
    targets: Vec<f32>,
    weights: Vec<f32>,
}

impl Targets {
    fn new(run: &Run, samples: &[Sample]) -> Targets {
        let recipe = run.recipe;
        let heads = recipe.heads.len();
        let mut positive = vec![0.0f32; heads];
        let mut whole = 0.0f32;
        for sample in samples {
            let region = &run.manifest.entries[sample.entry].region;
            whole += sample.weight;
            for (sum, head) in positive.iter_mut().zip(&recipe.heads) {
                *sum += if metrics::label(region, head) == Some(true) { sample.weight } else { 0.0 };
            }
        }
        // Rare regions count more, but by the square root only: the negatives are what rejecting is learnt from.
        let boost: Vec<f32> = positive
            .iter()
            .map(|p| ((whole - p) / p.max(1.0)).sqrt().clamp(1.0, recipe.most_positive_weight))
            .collect();
        let mut all = Targets { heads, targets: Vec::new(), weights: Vec::new() };
        for sample in samples {
            let region = &run.manifest.entries[sample.entry].region;
            for (head, boost) in recipe.heads.iter().zip(&boost) {
                let (target, weight) = match metrics::label(region, head) {
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

    /// Weighted binary cross-entropy with logits: max(x, 0) − x·t + ln(1 + e^−|x|), added up over the heads.
    fn loss(&self, logits: &Tensor, batch: &[usize]) -> candle_core::Result<Tensor> {
        let pick = |all: &[f32]| -> Vec<f32> {
            batch.iter().flat_map(|&i| all[i * self.heads..(i + 1) * self.heads].iter().copied()).collect()
        };
        let shape = (batch.len(), self.heads);
        let targets = Tensor::from_vec(pick(&self.targets), shape, &Device::Cpu)?;
        let weights = Tensor::from_vec(pick(&self.weights), shape, &Device::Cpu)?;
        let softplus = (logits.abs()?.neg()?.exp()? + 1.0)?.log()?;
        let entropy = ((logits.relu()? - (logits * targets)?)? + softplus)?;
        (entropy * weights)?.sum_all()? / batch.len() as f64
    }
}

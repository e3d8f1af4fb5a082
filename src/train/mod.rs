//! Training: data set, augmentation, the frozen part's features, the loop, and the weights with their card; judging of weights
//! on images by way of [`crate::judge`].

pub mod augment;
pub mod checkpoint;
pub mod curve;
mod dicom;
pub mod evaluate;
pub mod features;
pub mod init;
pub mod manifest;
pub mod net;
pub mod noise;
pub mod ops;
pub mod optimiser;
pub mod progress;
pub mod recipe;
pub mod split;
mod supply;
mod targets;
mod write;

pub use progress::Progress;
pub use write::write_card;

use crate::judge::{self, NO_RADIOGRAPH, Output, Report};
use crate::model::card::Card;
use crate::model::engine::Network;
use crate::model::weights::{Raw, Weights, to_safetensors};
use crate::model::{ModelError, views};
use crate::preprocess::network_input;
use candle_core::{Device, Tensor};
use features::{Features, Frozen, Job};
use manifest::{Entry, Manifest, Split};
use optimiser::Optimiser;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rayon::prelude::*;
use recipe::Recipe;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use supply::Supply;
use targets::Targets;

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
    /// Where the steps are computed.
    pub device: Device,
    /// Where it tells how far it is.
    pub progress: &'a Progress,
}

/// An augmented image that is trained on in each pass.
struct Sample {
    entry: usize,
    weight: f32,
}

/// Trains, writes the best weights with their card after every epoch, and returns the last best report.
pub fn run(run: &Run) -> Result<Report, TrainError> {
    let recipe = run.recipe;
    check_data(run)?;
    let initial = Weights::read(run.init)?;
    // The heads of the initial weights are taken over by name, if at all; the rest must be all there.
    let network = Network::headless(&initial)?;
    let blocks = if run.device.is_cpu() { recipe.rates.first_block() } else { None };
    let frozen = Frozen { network: &network, blocks, recipe, input: recipe.train_input() };
    let mut rng = StdRng::seed_from_u64(recipe.seed);
    let begin = known_heads(run, &initial)?;
    let trained = net::Trained::new(&initial, &recipe.rates, &begin, &mut rng, &run.device)?;
    let validation = Validation::read(run)?;
    std::fs::create_dir_all(run.out).map_err(|source| TrainError::Write { file: run.out.to_owned(), source })?;
    let (jobs, samples) = jobs(run);
    run.progress.tell(&format!("{} augmented images a pass, {} heads", jobs.len(), recipe.heads.len()));
    let kept = match (recipe.keep, blocks) {
        (true, Some(blocks)) => {
            let file = run.out.join(format!("features-{}.f16", features_hash(run, blocks)?));
            Some(Features::prepare(&file, &frozen, &jobs, run.progress)?)
        }
        _ => None,
    };
    let copies = samples.iter().map(|s| recipe.source(&run.manifest.entries[s.entry].source).copies).collect();
    let supply = Supply::new(&frozen, &jobs, copies, kept);
    let targets = Targets::new(recipe, run.manifest, &samples);
    let mut optimiser = Optimiser::new(recipe.optimiser);
    for group in trained.groups(&recipe.rates).into_iter().filter(|g| g.rate > 0.0) {
        optimiser.add(group.kernels, group.rate, recipe.weight_decay)?;
        optimiser.add(group.norms, group.rate, 0.0)?;
    }
    optimiser.add(trained.head_vars(), recipe.rates.heads, 0.0)?;
    let mut course = Course { order: (0..jobs.len()).collect(), rng, step: 0 };
    let mut best: Option<(f64, Report)> = None;
    for epoch in 0..recipe.epochs {
        let loss = pass(run, epoch, &trained, &mut optimiser, &supply, &targets, &mut course)?;
        let mut tensors = initial.tensors().clone();
        trained.export(&mut tensors)?;
        let (report, quality) = keep_if_best(run, &tensors, &validation, best.as_ref().map(|b| b.0))?;
        run.progress.tell(&describe(epoch + 1, loss, quality, &report));
        if best.as_ref().is_none_or(|b| quality > b.0) {
            best = Some((quality, report));
        }
    }
    best.map(|b| b.1).ok_or_else(|| TrainError::Recipe("epochs is 0".into()))
}

/// Where a run stands between two steps.
struct Course {
    order: Vec<usize>,
    rng: StdRng,
    step: usize,
}

/// One pass over the images; the mean of the last steps' losses.
fn pass(
    run: &Run,
    epoch: usize,
    trained: &net::Trained,
    optimiser: &mut Optimiser,
    supply: &Supply,
    targets: &Targets,
    course: &mut Course,
) -> Result<f32, TrainError> {
    let recipe = run.recipe;
    course.order.shuffle(&mut course.rng);
    let steps = (course.order.len() / recipe.batch).max(1);
    let batches: Vec<Vec<usize>> = course.order.chunks(recipe.batch).take(steps).map(<[usize]>::to_vec).collect();
    run.progress.begin(&format!("epoch {}", epoch + 1), (steps * recipe.batch) as u64, 0);
    let [height, width, channels] = supply.shape();
    let mut mean_loss = 0.0;
    std::thread::scope(|scope| {
        for (i, made) in supply.pass(scope, epoch, batches).into_iter().enumerate() {
            let (batch, maps) = made?;
            let risen = recipe.schedule.at(course.step, steps * recipe.epochs, steps / 10);
            let maps = Tensor::from_vec(maps, (batch.len(), height, width, channels), trained.device())?;
            let logits = trained.forward(&maps, recipe.dropout, &mut course.rng)?;
            let loss = (targets.losses(&logits, &batch)?.sum_all()? / batch.len() as f64)?;
            optimiser.step(&loss.backward()?, recipe.rate * risen)?;
            let loss = loss.to_scalar::<f32>()?;
            if !loss.is_finite() {
                let step = course.step;
                return Err(TrainError::Data(format!("the loss is no longer finite in step {step}; lower the rate")));
            }
            course.step += 1;
            mean_loss += (loss - mean_loss) / (i + 1).min(50) as f32;
            run.progress.advance(batch.len() as u64, &format!("loss {mean_loss:.4}"));
        }
        Ok(())
    })?;
    run.progress.end();
    Ok(mean_loss)
}

/// For each head of the recipe its row and bias in the last layer of the initial weights, where a card beside them says that they
/// have such a head.
fn known_heads(run: &Run, initial: &Weights) -> Result<Vec<Option<(Vec<f32>, f32)>>, TrainError> {
    let beside = Card::beside(run.init);
    if !beside.is_file() {
        return Ok(vec![None; run.recipe.heads.len()]);
    }
    let card = Card::read(&beside)?;
    let (weight, bias) = initial.heads(card.heads.len())?;
    let known = |name: &String| {
        let row = card.heads.iter().position(|h| h.name == *name)?;
        Some((weight.data[row * 512..(row + 1) * 512].to_vec(), bias.data[row]))
    };
    Ok(run.recipe.heads.iter().map(known).collect())
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
            || entry.region == NO_RADIOGRAPH;
        if entry.split == Split::Train && !known {
            return Err(bad(format!(
                "region {} is none of the recipe's heads, nor {}, {}",
                entry.region,
                NO_RADIOGRAPH,
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
        "2 {} {} {first} {:?} {} {} {} {} {} {copies:?}",
        crate::model::sha256(&init),
        run.manifest.sha256,
        r.train_input(),
        r.views,
        r.other_polarity,
        r.augmentation,
        r.seed,
        r.copies
    );
    Ok(crate::model::sha256(all.as_bytes())[..16].to_owned())
}

/// The validation images as the network is given them, not augmented.
struct Validation<'a> {
    entries: Vec<&'a Entry>,
    inputs: Vec<Vec<f32>>,
}

impl Validation<'_> {
    fn read<'a>(run: &Run<'a>) -> Result<Validation<'a>, TrainError> {
        let entries: Vec<&Entry> = run.manifest.labelled(Split::Validation).collect();
        if entries.is_empty() {
            return Err(TrainError::Data(format!("{}: there are no validation images", run.manifest.file.display())));
        }
        let input = &run.recipe.input;
        let read = |e: &&Entry| Ok(network_input(&features::read_plane(&run.manifest.path(e), input)?, input));
        let inputs = entries.par_iter().map(read).collect::<Result<Vec<_>, TrainError>>()?;
        Ok(Validation { entries, inputs })
    }

    /// Each image's logits, as the daemon will see them.
    fn outputs(&self, run: &Run, network: &Network) -> Result<Vec<Output>, TrainError> {
        let size = run.recipe.input.size;
        let logits = views::averaged(&self.inputs, size, run.recipe.views, |squares| network.logits(squares, size))?;
        let output = |(entry, logits): (&&Entry, Vec<f32>)| Output {
            path: entry.path.clone(),
            region: entry.region.clone(),
            source: entry.source.clone(),
            group: entry.group.clone(),
            logits,
            copies: Vec::new(),
        };
        Ok(self.entries.iter().zip(logits).map(output).collect())
    }
}

/// Judges the weights as they will be written (half precision) and writes them if they are the best so far.
fn keep_if_best(
    run: &Run,
    tensors: &BTreeMap<String, Raw>,
    validation: &Validation,
    best: Option<f64>,
) -> Result<(Report, f64), TrainError> {
    let bytes = to_safetensors(tensors)?;
    let weights = Weights::from_bytes(run.out, &bytes)?;
    let network = Network::new(&weights, run.recipe.heads.len())?;
    let outputs = validation.outputs(run, &network)?;
    let (fitted, report) = judge::judge(&outputs, &run.recipe.heads, judge::threshold::TARGET);
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

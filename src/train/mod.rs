//! Training: data set, augmentation, the frozen part's features, the loop, and the weights with their card; judging of weights
//! on images by way of [`crate::judge`].

pub mod augment;
pub mod checkpoint;
mod checks;
pub mod curve;
mod dicom;
pub mod evaluate;
mod experiment;
pub mod features;
mod fit;
pub mod init;
pub mod int8;
pub mod listing;
pub mod manifest;
pub mod net;
pub mod noise;
pub mod ops;
pub mod optimiser;
pub mod pick;
mod plot;
pub mod progress;
pub mod recipe;
mod samples;
pub mod split;
mod style;
mod supply;
mod targets;
mod validation;
mod write;

use checks::readable;
pub use progress::Progress;
pub use write::{limits, write_card};

use crate::judge::{self, Fitted, Output, Report, roc};
use crate::model::ModelError;
use crate::model::card::{Architecture, Card};
use crate::model::engine::Network;
use crate::model::weights::{Raw, Weights, member_name, to_safetensors};
use candle_core::Device;
use features::{Features, Frozen};
use fit::{Begin, Ground, Judgement, Member, fit};
use init::Initial;
use manifest::Manifest;
use recipe::Recipe;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use supply::Supply;
use validation::Validation;

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
    #[error("stopped; the same command goes on from the checkpoint")]
    Stopped,
    #[error("the kept features cannot be read: {0}")]
    Features(std::io::Error),
}

/// What a run is made from and where it goes.
pub struct Run<'a> {
    /// How to train.
    pub recipe: &'a Recipe,
    /// The images.
    pub manifest: &'a Manifest,
    /// Initial weights under torchvision's names, whole or partial; without any, all values begin at random.
    pub init: Option<&'a Path>,
    /// Folder of the results.
    pub out: &'a Path,
    /// Where the steps are computed.
    pub device: Device,
    /// Where it tells how far it is.
    pub progress: &'a Progress,
    /// Set by anyone: the run writes a checkpoint after the present step and ends with [`TrainError::Stopped`].
    pub stop: &'a AtomicBool,
}

/// Trains by the recipe and writes the best weights with their card; the report on the validation images. A run that was stopped or
/// killed goes on from its checkpoint, and gives what it would have given.
pub fn run(run: &Run) -> Result<Report, TrainError> {
    match &run.recipe.experiment {
        Some(experiment) => experiment::run(run, experiment),
        None => train(run),
    }
}

fn train(run: &Run) -> Result<Report, TrainError> {
    let recipe = run.recipe;
    checks::check_data(run)?;
    let initial = initial(run)?;
    let digest = init::sha256(run.init)?.unwrap_or_else(|| "none".to_owned());
    let network = Network::headless(&initial.weights)?;
    let blocks = if run.device.is_cpu() { recipe.rates.first_block() } else { None };
    let styles = samples::styles(recipe, run.manifest);
    let frozen = Frozen { network: &network, blocks, recipe, input: recipe.train_input(), styles };
    let members = members(run, &initial)?;
    std::fs::create_dir_all(run.out).map_err(|source| TrainError::Write { file: run.out.to_owned(), source })?;
    let kept = run.out.join(format!("features-{}", samples::features_hash(run, &digest, blocks.unwrap_or(0))));
    let validation = Validation::read(run, &frozen, &kept.with_extension("validation.f16"))?;
    let (jobs, samples) = samples::training(recipe, run.manifest);
    let count = recipe.heads.len();
    run.progress.tell(&format!("{} augmented images a pass, {count} heads, {} network(s)", jobs.len(), members.len()));
    let kept = match (recipe.keep, blocks) {
        (true, Some(_)) => {
            Some(Features::prepare(&kept.with_extension("f16"), &frozen, &jobs, run.progress, run.stop)?)
        }
        _ => None,
    };
    let copies = samples.iter().map(|s| recipe.source(&run.manifest.entries[s.entry].source).copies).collect();
    let supply = Supply::new(&frozen, &jobs, copies, kept);
    let hash = samples::run_hash(run, &digest)?;
    let ground = Ground { run, initial: &initial, supply: &supply, samples: &samples, hash };
    for member in &members {
        match recipe.architecture {
            Architecture::Shared => fit(&ground, member, |tensors, targets, best| {
                let bytes = to_safetensors(tensors)?;
                let network = Network::new(&Weights::from_bytes(run.out, &bytes)?, recipe.heads.len())?;
                keep_if_best(run, &bytes, &network, targets, &validation, best)
            })?,
            Architecture::Ensemble => fit(&ground, member, |tensors, targets, best| {
                keep_member_if_best(run, member, tensors, targets, &validation, best)
            })?,
        }
    }
    let report = match recipe.architecture {
        Architecture::Shared => {
            let weights = Weights::read(&run.out.join(format!("{}.safetensors", recipe.name)))?;
            judged(run, &[Network::new(&weights, recipe.heads.len())?], &validation)?.1
        }
        Architecture::Ensemble => put_together(run, &members, &validation)?,
    };
    for member in &members {
        // What is left of them is of no use; a file that cannot be removed does no harm.
        let _ = std::fs::remove_file(fit::checkpoint_file(run, &member.name));
        let _ = std::fs::remove_file(best_file(run, &member.name));
    }
    Ok(report)
}

/// What the run begins with; what is random in it is told, and must not be frozen.
fn initial(run: &Run) -> Result<Initial, TrainError> {
    let seed = run.recipe.seed;
    let initial = match run.init {
        Some(file) => Initial::read(file, seed)?,
        None => Initial::random(seed)?,
    };
    let frozen = run.recipe.rates.first_block();
    if let Some(name) = frozen.and_then(|blocks| initial.lacks_before(blocks)) {
        return Err(TrainError::Recipe(format!(
            "rates freezes {name}, which the initial weights lack: give its layer and those behind it a rate, or a file that has it"
        )));
    }
    match (run.init, initial.missing.len()) {
        (_, 0) => {}
        (None, _) => run.progress.tell("no initial weights: all values begin at random"),
        (Some(file), count) => {
            let names = initial.missing.join(", ");
            run.progress.tell(&format!("{} lacks {count} tensors, which begin at random: {names}", file.display()));
        }
    }
    Ok(initial)
}

/// The networks to be trained: one for all heads, or one for each.
fn members<'a>(run: &Run<'a>, initial: &Initial) -> Result<Vec<Member<'a>>, TrainError> {
    let recipe = run.recipe;
    let begin = known_heads(run, initial)?;
    let new: Vec<&str> =
        recipe.heads.iter().zip(&begin).filter(|(_, b)| b.is_none()).map(|(h, _)| h.as_str()).collect();
    if let Some(told) = run.init.and_then(|file| init::told_of_heads(file, &new)) {
        run.progress.tell(&told);
    }
    Ok(match recipe.architecture {
        Architecture::Shared => vec![Member { name: recipe.name.clone(), heads: &recipe.heads, begin }],
        Architecture::Ensemble => recipe
            .heads
            .chunks(1)
            .zip(begin)
            .map(|(heads, begin)| Member { name: format!("{}-{}", recipe.name, heads[0]), heads, begin: vec![begin] })
            .collect(),
    })
}

/// For each head of the recipe its row and bias in the last layer of the initial weights, where a card beside them says that they
/// have such a head.
fn known_heads(run: &Run, initial: &Initial) -> Result<Vec<Begin>, TrainError> {
    let none = vec![None; run.recipe.heads.len()];
    let Some(beside) = run.init.map(Card::beside).filter(|card| card.is_file()) else { return Ok(none) };
    let card = Card::read(&beside)?;
    let rows = fit::rows(&initial.weights, card.heads.len())?;
    let known = |name: &String| Some(rows[card.heads.iter().position(|h| h.name == *name)?].clone());
    Ok(run.recipe.heads.iter().map(known).collect())
}

/// Calibration, thresholds, report and outputs of networks, whose outputs stand side by side, on the validation images.
fn judged(
    run: &Run,
    networks: &[Network],
    validation: &Validation,
) -> Result<(Fitted, Report, Vec<Output>), TrainError> {
    let mut all = Vec::new();
    for network in networks {
        let outputs = validation.outputs(run, network)?;
        if all.is_empty() {
            all = outputs;
        } else {
            all.iter_mut().zip(outputs).for_each(|(row, more)| row.logits.extend(more.logits));
        }
    }
    let (fitted, report) = judge::judge(&all, &run.recipe.heads, judge::threshold::TARGET);
    Ok((fitted, report, all))
}

/// Judges a network as it will be written (half precision) and writes it if it is the best so far.
fn keep_if_best(
    run: &Run,
    bytes: &[u8],
    network: &Network,
    targets: &targets::Targets,
    validation: &Validation,
    best: Option<f64>,
) -> Result<Judgement, TrainError> {
    let (fitted, report, outputs) = judged(run, std::slice::from_ref(network), validation)?;
    let quality = quality(&report);
    if best.is_none_or(|b| quality > b) {
        write::weights_and_card(run, bytes, &fitted, &report)?;
    }
    let auc = report.regions.iter().filter_map(|(name, r)| Some((name.clone(), r.auc?))).collect();
    let loss = targets.mean_loss(validation.copied(network)?.as_ref().unwrap_or(&outputs));
    Ok(Judgement { quality, loss, mean_auc: report.mean_auc, auc, line: describe(quality, &report) })
}

/// What the best epoch is chosen by: the mean AUC of the regions, less the rate of images falsely called one.
fn quality(report: &Report) -> f64 {
    report.mean_auc.unwrap_or(0.0) - report.false_corrections as f64 / report.images.max(1) as f64 * 0.2
}

/// Judges an ensemble's member by the loss of the validation images, which still tells epochs apart where the AUC is 1, and puts its
/// tensors aside if it is the best so far.
fn keep_member_if_best(
    run: &Run,
    member: &Member,
    tensors: &BTreeMap<String, Raw>,
    targets: &targets::Targets,
    validation: &Validation,
    best: Option<f64>,
) -> Result<Judgement, TrainError> {
    let bytes = to_safetensors(tensors)?;
    let network = Network::new(&Weights::from_bytes(run.out, &bytes)?, 1)?;
    let outputs = match validation.copied(&network)? {
        Some(copies) => copies,
        None => validation.outputs(run, &network)?,
    };
    let loss = targets.mean_loss(&outputs);
    let quality = -loss.unwrap_or(f64::MAX);
    if best.is_none_or(|b| quality > b) {
        write::replace(&best_file(run, &member.name), &bytes)?;
    }
    let head = &member.heads[0];
    let scored: Vec<(f32, bool)> =
        outputs.iter().filter_map(|o| Some((o.logits[0], judge::label(&o.region, head)?))).collect();
    let auc = roc::auc(&scored);
    let number = |v: Option<f64>| v.map_or("–".into(), |v| format!("{v:.4}"));
    let line = format!("validation loss {}, AUC {}", number(loss), number(auc));
    let named = auc.map(|a| (head.clone(), a)).into_iter().collect();
    Ok(Judgement { quality, loss, mean_auc: auc, auc: named, line })
}

/// Where a member's best weights lie until the ensemble is put together.
fn best_file(run: &Run, name: &str) -> PathBuf {
    run.out.join(format!("{name}.best"))
}

/// Writes the ensemble of the members' best weights with its card.
fn put_together(run: &Run, members: &[Member], validation: &Validation) -> Result<Report, TrainError> {
    let mut all = BTreeMap::new();
    let mut networks = Vec::new();
    for member in members {
        let weights = Weights::read(&best_file(run, &member.name))?;
        networks.push(Network::new(&weights, 1)?);
        let named = weights.tensors().iter().map(|(name, raw)| (member_name(&member.heads[0], name), raw.clone()));
        all.extend(named);
    }
    let (fitted, report, _) = judged(run, &networks, validation)?;
    write::weights_and_card(run, &to_safetensors(&all)?, &fitted, &report)?;
    Ok(report)
}

fn describe(quality: f64, report: &Report) -> String {
    let regions: Vec<String> = report
        .regions
        .iter()
        .map(|(name, r)| format!("{name} {:.3} ({:.0} %)", r.auc.unwrap_or(0.0), 100.0 * r.sensitivity.unwrap_or(0.0)))
        .collect();
    format!(
        "quality {quality:.4}, AUC (called) {}; of {} outside {} called a region, of {} neighbours {}, of {} no radiographs {}",
        regions.join(", "),
        report.outside.images,
        report.outside.called_a_region,
        report.neighbours.images,
        report.neighbours.called_a_region,
        report.no_radiograph.images,
        report.no_radiograph.called_a_region,
    )
}

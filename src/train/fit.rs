//! One network is trained: the loop over the steps, its checkpoints, and the way back to where a killed run stood.

use super::augment::generator;
use super::checkpoint::Checkpoint;
use super::curve::{self, Epoch};
use super::init::Initial;
use super::net::Trained;
use super::optimiser::Optimiser;
use super::samples::Sample;
use super::supply::Supply;
use super::targets::Targets;
use super::{Run, TrainError};
use crate::model::ModelError;
use crate::model::weights::{Raw, Weights};
use candle_core::Tensor;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// A checkpoint is written after each epoch, and this long after the last one.
const EVERY: Duration = Duration::from_secs(600);

/// A row and a bias of the last layer to begin with; `None`: random ones.
pub(super) type Begin = Option<(Vec<f32>, f32)>;

/// What all networks of a run have in common.
pub(super) struct Ground<'a> {
    pub run: &'a Run<'a>,
    pub initial: &'a Initial,
    pub supply: &'a Supply<'a>,
    pub samples: &'a [Sample],
    /// Of everything that the result depends on.
    pub hash: String,
}

/// A network to be trained.
pub(super) struct Member<'a> {
    /// Of its files.
    pub name: String,
    /// Its outputs.
    pub heads: &'a [String],
    /// What each begins with.
    pub begin: Vec<Begin>,
}

/// What judging gave after an epoch.
pub(super) struct Judgement {
    /// The highest is the best.
    pub quality: f64,
    /// On the validation images.
    pub loss: Option<f64>,
    pub mean_auc: Option<f64>,
    pub auc: BTreeMap<String, f64>,
    /// A line for people.
    pub line: String,
}

/// Where a network's training stands between two steps. Everything random is drawn by seed, network, epoch and step, so that there is
/// no generator to be kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Position {
    /// Epochs that are done.
    epoch: usize,
    /// Steps of the present one that are done, and the mean of their losses.
    steps: usize,
    loss: f64,
    history: Vec<Epoch>,
    best: Option<f64>,
}

struct Fit<'a> {
    ground: &'a Ground<'a>,
    name: &'a str,
    file: PathBuf,
    trained: Trained,
    optimiser: Optimiser,
    targets: Targets,
    position: Position,
    written: Instant,
}

/// The file that a network's training goes on from.
pub(super) fn checkpoint_file(run: &Run, name: &str) -> PathBuf {
    run.out.join(format!("{name}.checkpoint"))
}

/// Trains a network, from its checkpoint where there is one. After each epoch `judge` is given all its tensors and the best quality so
/// far, and keeps what it likes.
pub(super) fn fit(
    ground: &Ground,
    member: &Member,
    judge: impl Fn(&BTreeMap<String, Raw>, &Targets, Option<f64>) -> Result<Judgement, TrainError>,
) -> Result<(), TrainError> {
    let mut fit = Fit::begin(ground, member)?;
    let epochs = ground.run.recipe.epochs;
    while fit.position.epoch < epochs {
        let rate = fit.pass()?;
        let mut tensors = ground.initial.weights.tensors().clone();
        fit.trained.export(&mut tensors)?;
        let judged = judge(&tensors, &fit.targets, fit.position.best)?;
        let position = &mut fit.position;
        position.epoch += 1;
        let (epoch, training_loss) = (position.epoch, position.loss);
        ground.run.progress.tell(&format!("{} epoch {epoch}: loss {training_loss:.4}, {}", member.name, judged.line));
        position.history.push(Epoch {
            epoch,
            training_loss,
            validation_loss: judged.loss,
            mean_auc: judged.mean_auc,
            auc: judged.auc,
            rate,
        });
        if position.best.is_none_or(|best| judged.quality > best) {
            position.best = Some(judged.quality);
        }
        (position.steps, position.loss) = (0, 0.0);
        curve::write(ground.run.out, &member.name, &position.history)?;
        fit.write()?;
    }
    Ok(())
}

impl<'a> Fit<'a> {
    fn begin(ground: &'a Ground, member: &'a Member) -> Result<Fit<'a>, TrainError> {
        let (run, recipe) = (ground.run, ground.run.recipe);
        let file = checkpoint_file(run, &member.name);
        let found = Checkpoint::<Position>::read(&file, &ground.hash, |line| run.progress.tell(line));
        let (weights, begin) = match &found {
            None => (ground.initial.weights.clone(), member.begin.clone()),
            Some(found) => {
                let mut tensors = ground.initial.weights.tensors().clone();
                tensors.extend(found.tensors.iter().map(|(name, raw)| (name.clone(), raw.clone())));
                let weights = Weights::from_tensors(&file, tensors);
                let begin = rows(&weights, member.heads.len())?;
                (weights, begin.into_iter().map(Some).collect())
            }
        };
        let mut rng = generator(recipe.seed, &format!("{} heads", member.name), 0);
        let trained = Trained::new(&weights, &recipe.rates, &begin, &mut rng, &run.device)?;
        let mut optimiser = Optimiser::new(recipe.optimiser);
        for group in trained.groups(&recipe.rates).into_iter().filter(|g| g.rate > 0.0) {
            optimiser.add(group.kernels, group.rate, recipe.weight_decay)?;
            optimiser.add(group.norms, group.rate, 0.0)?;
        }
        optimiser.add(trained.head_vars(), recipe.rates.heads, 0.0)?;
        let targets = Targets::new(recipe, member.heads, run.manifest, ground.samples);
        let mut position = Position::default();
        if let Some(found) = found {
            optimiser.restore(&found.tensors)?;
            position = found.state;
            let (epoch, steps) = (position.epoch + 1, position.steps);
            run.progress.tell(&format!("{}: goes on in epoch {epoch} after {steps} steps", member.name));
        }
        let name = &member.name;
        Ok(Fit { ground, name, file, trained, optimiser, targets, position, written: Instant::now() })
    }

    /// The rest of a pass over the images; the rate of its last step.
    fn pass(&mut self) -> Result<f64, TrainError> {
        let (run, recipe) = (self.ground.run, self.ground.run.recipe);
        let (supply, epoch) = (self.ground.supply, self.position.epoch);
        let mut order: Vec<usize> = (0..self.ground.samples.len()).collect();
        order.shuffle(&mut generator(recipe.seed, &format!("{} order", self.name), epoch));
        let steps = (order.len() / recipe.batch).max(1);
        let done = self.position.steps;
        let batches = order.chunks(recipe.batch).take(steps).skip(done).map(<[usize]>::to_vec).collect();
        let what = format!("{} epoch {}", self.name, epoch + 1);
        run.progress.begin(&what, (steps * recipe.batch) as u64, (done * recipe.batch) as u64);
        let rate = |step: usize| recipe.rate * recipe.schedule.at(step, steps * recipe.epochs, steps / 10);
        std::thread::scope(|scope| {
            for (made, i) in supply.pass(scope, epoch, batches).into_iter().zip(done..) {
                let (batch, maps) = made?;
                let step = epoch * steps + i;
                let done = step as f32 / (steps * recipe.epochs) as f32;
                let loss = self.step(&batch, maps, step, done, rate(step))?;
                self.position.loss += (loss - self.position.loss) / (i + 1) as f64;
                self.position.steps = i + 1;
                run.progress.advance(batch.len() as u64, &format!("loss {:.4}", self.position.loss));
                let stop = run.stop.load(Ordering::Relaxed);
                if stop || self.written.elapsed() > EVERY {
                    self.write()?;
                }
                if stop {
                    return Err(TrainError::Stopped);
                }
            }
            Ok(())
        })?;
        run.progress.end();
        Ok(rate((epoch + 1) * steps - 1))
    }

    /// One step, before which the part `done` of the run was done; its loss.
    fn step(&mut self, batch: &[usize], maps: Vec<f32>, step: usize, done: f32, rate: f64) -> Result<f64, TrainError> {
        let recipe = self.ground.run.recipe;
        let [height, width, channels] = self.ground.supply.shape();
        let maps = Tensor::from_vec(maps, (batch.len(), height, width, channels), self.trained.device())?;
        let mut rng = generator(recipe.seed, &format!("{} dropout", self.name), step);
        let logits = self.trained.forward(&maps, recipe.dropout, &mut rng)?;
        let loss = (self.targets.losses(&logits, batch, done, step)?.sum_all()? / batch.len() as f64)?;
        self.optimiser.step(&loss.backward()?, rate)?;
        let loss = loss.to_scalar::<f32>()?;
        if loss.is_finite() {
            return Ok(loss.into());
        }
        Err(TrainError::Data(format!("the loss is no longer finite in step {step}; lower the rate")))
    }

    fn write(&mut self) -> Result<(), TrainError> {
        let mut tensors = BTreeMap::new();
        self.trained.export(&mut tensors)?;
        self.optimiser.export(&mut tensors)?;
        let (run, state) = (self.ground.hash.clone(), self.position.clone());
        Checkpoint { run, state, tensors }.write(&self.file)?;
        self.written = Instant::now();
        Ok(())
    }
}

/// Each row of the last layer with its bias.
pub(super) fn rows(weights: &Weights, heads: usize) -> Result<Vec<(Vec<f32>, f32)>, ModelError> {
    let (weight, bias) = weights.heads(heads)?;
    Ok(weight.data.chunks(512).map(<[f32]>::to_vec).zip(bias.data).collect())
}

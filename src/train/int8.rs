//! Whole numbers for a network: the steps of its maps from labelled images, and what they do to its verdicts.

use super::manifest::Manifest;
use super::{Progress, TrainError, features};
use crate::config::{DeviceChoice, PrecisionChoice};
use crate::judge::{self, Judged, Output};
use crate::model::Classifier;
use crate::model::card::Card;
use crate::model::precision::Int8;
use crate::preprocess::view;
use rayon::prelude::*;
use std::path::Path;

/// How many images go through the network at once.
const BATCH: usize = 16;
/// Orientations that each image is begun with.
const TURNS: usize = 8;
/// Parts of the maps' values that bytes may reach: the fewer are cut off, the coarser are the others.
const REACHES: [f64; 4] = [1.0, 0.99999, 0.9999, 0.999];

/// Quantises the weights of `model` for whole numbers and compares its verdicts on the judged images with those of single
/// precision, both taken as the daemon takes them. `card`: with the thresholds and the early stop that it is to have.
///
/// # Errors
/// An image that cannot be read; a network that fails.
pub fn int8(
    model: &Path,
    card: &Card,
    manifest: &Manifest,
    judged: &[Judged],
    progress: &Progress,
) -> Result<Int8, TrainError> {
    let study = Study { manifest, judged, card, progress };
    let load =
        |int8, precision| Classifier::with_card(model, Card { int8, ..card.clone() }, DeviceChoice::Cpu, precision);
    let single = load(None, PrecisionChoice::F32)?;

    let mut ranges = Vec::new();
    study.each("int8: ranges", |_, squares| Ok(single.watch(squares, &mut ranges)?))?;
    let unmeasured = |reach| Int8 {
        steps: ranges.iter().map(|network| network.steps(reach)).collect(),
        reach,
        images: 0,
        agreement: 0.0,
        auc_f32: None,
        auc_int8: None,
    };
    let tried = REACHES
        .into_iter()
        .map(|reach| Ok((unmeasured(reach), load(Some(unmeasured(reach)), PrecisionChoice::Int8)?)))
        .collect::<Result<Vec<_>, TrainError>>()?;
    let mut apart = vec![0.0f64; tried.len()];
    study.each("int8: steps", |_, squares| {
        let wanted = single.logits(squares)?;
        for ((_, whole), apart) in tried.iter().zip(&mut apart) {
            *apart += squared(&wanted, &whole.logits(squares)?);
        }
        Ok(())
    })?;
    let nearest = apart.iter().zip(tried).min_by(|a, b| a.0.total_cmp(b.0));
    let Some((_, (int8, whole))) = nearest else {
        return Err(TrainError::Data("no steps were tried".into()));
    };
    study.compared(int8, &single, &whole)
}

struct Study<'a> {
    manifest: &'a Manifest,
    judged: &'a [Judged],
    card: &'a Card,
    progress: &'a Progress,
}

impl Study<'_> {
    /// Has `work` done for all images, some at a time.
    fn each(
        &self,
        stage: &str,
        mut work: impl FnMut(&[Judged], &[Vec<f32>]) -> Result<(), TrainError>,
    ) -> Result<(), TrainError> {
        let input = &self.card.input;
        self.progress.begin(stage, self.judged.len() as u64, 0);
        for part in self.judged.chunks(BATCH) {
            let squares = part
                .par_iter()
                .map(|j| {
                    let plane = features::read_plane(&self.manifest.root.join(&j.path), input)?;
                    Ok(crate::preprocess::network_input(&plane, input))
                })
                .collect::<Result<Vec<_>, TrainError>>()?;
            work(part, &squares)?;
            self.progress.advance(part.len() as u64, "");
        }
        self.progress.end();
        Ok(())
    }

    /// What the images say of whole numbers.
    fn compared(&self, int8: Int8, single: &Classifier, whole: &Classifier) -> Result<Int8, TrainError> {
        let Card { heads, regions, input, .. } = self.card;
        let called = |logits: &[f32]| judge::called(&judge::scores(logits, heads), regions);
        let mut same = 0;
        let mut outputs = [Vec::new(), Vec::new()];
        self.each("int8: verdicts", |part, squares| {
            for turn in 0..TURNS {
                let turned: Vec<Vec<f32>> = squares.iter().map(|s| view(s, input.size, TURNS, turn)).collect();
                let both = [single.usual_logits(&turned)?, whole.usual_logits(&turned)?];
                same += both[0].iter().zip(&both[1]).filter(|(a, b)| called(a) == called(b)).count();
                if turn == 0 {
                    outputs.iter_mut().zip(both).for_each(|(all, rows)| all.extend(part.iter().zip(rows).map(output)));
                }
            }
            Ok(())
        })?;
        let auc = |outputs: &[Output]| judge::report(&judge::judged(outputs, heads, regions), regions).mean_auc;
        Ok(Int8 {
            images: self.judged.len(),
            agreement: same as f64 / (self.judged.len() * TURNS).max(1) as f64,
            auc_f32: auc(&outputs[0]),
            auc_int8: auc(&outputs[1]),
            ..int8
        })
    }
}

fn output((judged, logits): (&Judged, Vec<f32>)) -> Output {
    Output {
        path: judged.path.clone(),
        region: judged.region.clone(),
        source: judged.source.clone(),
        group: judged.group.clone(),
        logits,
        copies: Vec::new(),
    }
}

/// The sum of the squares of all differences.
fn squared(a: &[Vec<f32>], b: &[Vec<f32>]) -> f64 {
    a.iter().flatten().zip(b.iter().flatten()).map(|(a, b)| f64::from(a - b).powi(2)).sum()
}

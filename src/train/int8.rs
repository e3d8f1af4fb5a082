//! Whole numbers for a network: the steps of its maps from labelled images, and what they do to its verdicts.

use super::manifest::Manifest;
use super::{Progress, TrainError, features};
use crate::anatomy::Region;
use crate::config::{DeviceChoice, PrecisionChoice};
use crate::judge::{self, Judged, Output};
use crate::model::Classifier;
use crate::model::card::Card;
use crate::model::precision::Int8;
use crate::preprocess::view;
use crate::verdict::Kind;
use rayon::prelude::*;
use std::path::Path;

/// How many images go through the network at once.
const BATCH: usize = 16;
/// Orientations that each image is begun with.
const TURNS: usize = 8;
/// How many blocks stay in single precision: tried in turn until verdicts stay the same. What is rounded first is told on longest.
const SINGLE: [usize; 5] = [0, 1, 2, 3, 4];

/// How far the steps of channels are from their map's to their own, in turn.
const SHARES: [f32; 8] = [0.5, 0.25, 0.75, 0.375, 0.625, 0.125, 0.875, 0.0];

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
    let wanted = study.seen("int8: single precision", &single)?;
    let mut best: Option<Int8> = None;
    for (single, share) in SINGLE.into_iter().flat_map(|single| SHARES.map(|share| (single, share))) {
        let steps = ranges.iter().map(|ranges| ranges.steps(share)).collect();
        let unmeasured = Int8 { steps, single, images: 0, agreement: 0.0, auc_f32: None, auc_int8: None };
        let whole = load(Some(unmeasured.clone()), PrecisionChoice::Int8)?;
        let found = study.seen(&format!("int8: {single} blocks single, share {share}"), &whole)?;
        let int8 = Int8 {
            images: judged.len(),
            agreement: wanted.agreement(&found),
            auc_f32: wanted.auc,
            auc_int8: found.auc,
            ..unmeasured
        };
        let holds = int8.holds();
        if best.as_ref().is_none_or(|best| holds || int8.agreement > best.agreement) {
            best = Some(int8);
        }
        if holds {
            break;
        }
    }
    best.ok_or_else(|| TrainError::Data("nothing was tried".into()))
}

/// What a classifier makes of all images.
struct Views {
    /// Region and verdict of each image and turn.
    called: Vec<(Option<Region>, Kind)>,
    /// Of the images as they are.
    auc: Option<f64>,
}

impl Views {
    fn agreement(&self, other: &Views) -> f64 {
        let same = self.called.iter().zip(&other.called).filter(|(a, b)| a == b).count();
        same as f64 / self.called.len().max(1) as f64
    }
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

    /// Judges all images, each begun with in each orientation, as the daemon does.
    fn seen(&self, stage: &str, classifier: &Classifier) -> Result<Views, TrainError> {
        let Card { heads, regions, input, .. } = self.card;
        let (mut all, mut outputs) = (Vec::new(), Vec::new());
        self.each(stage, |part, squares| {
            for turn in 0..TURNS {
                let turned: Vec<Vec<f32>> = squares.iter().map(|s| view(s, input.size, TURNS, turn)).collect();
                let rows = classifier.usual_logits(&turned)?;
                all.extend(rows.iter().map(|row| judge::called(&judge::scores(row, heads), regions)));
                if turn == 0 {
                    outputs.extend(part.iter().zip(rows).map(output));
                }
            }
            Ok(())
        })?;
        let auc = judge::report(&judge::judged(&outputs, heads, regions), regions).mean_auc;
        Ok(Views { called: all, auc })
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

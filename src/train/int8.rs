//! Whole numbers for a network: the steps of its maps from labelled images, and what they do to its verdicts.

use super::manifest::Manifest;
use super::{Progress, TrainError, evaluate, features};
use crate::anatomy::Region;
use crate::config::{DeviceChoice, PrecisionChoice};
use crate::judge::{self, Judged, Output};
use crate::model::Classifier;
use crate::model::card::Card;
use crate::model::precision::Int8;
use crate::preprocess::{network_input, view};
use crate::verdict::Kind;
use rayon::prelude::*;
use std::path::Path;

/// How many images go through the network at once.
const BATCH: usize = 16;
/// Changed copies of each image, from which ranges and differences are taken as well: an image unlike all of these would have its
/// greatest values cut off by steps that these alone need.
const COPIES: usize = 4;
/// Orientations that each image is begun with.
const TURNS: usize = 8;
/// How many blocks stay in single precision: tried in turn until verdicts stay the same and logits near. What is rounded first is
/// told on longest.
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
        let unmeasured =
            Int8 { steps, single, images: 0, agreement: 0.0, auc_f32: None, auc_int8: None, difference: None };
        let whole = load(Some(unmeasured.clone()), PrecisionChoice::Int8)?;
        let found = study.seen(&format!("int8: {single} blocks single, share {share}"), &whole)?;
        let int8 = Int8 {
            images: judged.len(),
            agreement: wanted.agreement(&found),
            auc_f32: wanted.auc,
            auc_int8: found.auc,
            difference: Some(wanted.difference(&found)),
            ..unmeasured
        };
        let holds = int8.holds();
        if best.as_ref().is_none_or(|best| holds || better(&int8, best)) {
            best = Some(int8);
        }
        if holds {
            break;
        }
    }
    best.ok_or_else(|| TrainError::Data("nothing was tried".into()))
}

/// Whether `one` changes less than `other`: fewer verdicts, or as many by nearer logits.
fn better(one: &Int8, other: &Int8) -> bool {
    let key = |int8: &Int8| (int8.agreement, -int8.difference.unwrap_or(f64::MAX));
    key(one) > key(other)
}

/// What a classifier makes of all images.
struct Views {
    /// Region and verdict of each image and turn.
    called: Vec<(Option<Region>, Kind)>,
    /// The network's outputs for each image and its copies, in the one orientation that they have.
    logits: Vec<Vec<f32>>,
    /// Of the images as they are.
    auc: Option<f64>,
}

impl Views {
    fn agreement(&self, other: &Views) -> f64 {
        let same = self.called.iter().zip(&other.called).filter(|(a, b)| a == b).count();
        same as f64 / self.called.len().max(1) as f64
    }

    /// How far logits are apart: the root of the mean square over images and outputs.
    fn difference(&self, other: &Views) -> f64 {
        let pairs = self.logits.iter().flatten().zip(other.logits.iter().flatten());
        let (sum, count) =
            pairs.fold((0.0, 0_usize), |(sum, count), (a, b)| (sum + f64::from(a - b).powi(2), count + 1));
        (sum / count.max(1) as f64).sqrt().min(f64::MAX) // what is no number is far
    }
}

struct Study<'a> {
    manifest: &'a Manifest,
    judged: &'a [Judged],
    card: &'a Card,
    progress: &'a Progress,
}

impl Study<'_> {
    /// Has `work` done for all images, some at a time: their squares, and behind them those of [`COPIES`].
    fn each(
        &self,
        stage: &str,
        mut work: impl FnMut(&[Judged], &[Vec<f32>]) -> Result<(), TrainError>,
    ) -> Result<(), TrainError> {
        let input = &self.card.input;
        self.progress.begin(stage, self.judged.len() as u64, 0);
        for part in self.judged.chunks(BATCH) {
            let planes = part
                .par_iter()
                .map(|j| features::read_plane(&self.manifest.root.join(&j.path), input))
                .collect::<Result<Vec<_>, TrainError>>()?;
            let square = |i: usize| {
                let (copy, i) = (i / part.len(), i % part.len());
                match copy.checked_sub(1) {
                    None => network_input(&planes[i], input),
                    Some(copy) => network_input(&evaluate::copy(&planes[i], &part[i].path, copy), input),
                }
            };
            let squares: Vec<_> = (0..part.len() * (1 + COPIES)).into_par_iter().map(square).collect();
            work(part, &squares)?;
            self.progress.advance(part.len() as u64, "");
        }
        self.progress.end();
        Ok(())
    }

    /// Judges all images, each begun with in each orientation, as the daemon does.
    fn seen(&self, stage: &str, classifier: &Classifier) -> Result<Views, TrainError> {
        let Card { heads, regions, input, .. } = self.card;
        let (mut all, mut outputs, mut alone) = (Vec::new(), Vec::new(), Vec::new());
        self.each(stage, |part, squares| {
            alone.extend(classifier.logits_of(squares, input.size)?);
            let squares = &squares[..part.len()];
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
        Ok(Views { called: all, logits: alone, auc })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn of(agreement: f64, difference: Option<f64>) -> Int8 {
        Int8 { steps: Vec::new(), single: 0, images: 9, agreement, auc_f32: Some(0.9), auc_int8: Some(0.9), difference }
    }

    #[test]
    fn more_equal_verdicts_are_better_and_among_as_many_nearer_logits() {
        assert!(better(&of(0.9, Some(0.4)), &of(0.8, Some(0.1))));
        assert!(better(&of(0.9, Some(0.1)), &of(0.9, Some(0.2))));
        assert!(better(&of(0.9, Some(0.2)), &of(0.9, None)));
        assert!(!better(&of(0.9, Some(0.2)), &of(0.9, Some(0.2))), "the first of equals stays");
    }

    #[test]
    fn equal_verdicts_with_far_logits_do_not_hold() {
        for (difference, holds) in [(Some(0.04), true), (Some(0.041), false), (Some(f64::NAN), false), (None, true)] {
            assert_eq!(of(1.0, difference).holds(), holds, "{difference:?}");
        }
    }

    #[test]
    fn the_difference_is_the_root_of_the_mean_square_over_images_and_outputs() {
        let views = |logits: Vec<Vec<f32>>| Views { called: Vec::new(), logits, auc: None };
        let (a, b) = (views(vec![vec![1.0, -2.0], vec![0.5, 0.0]]), views(vec![vec![1.5, -2.5], vec![0.0, -0.5]]));
        assert_eq!(a.difference(&b), 0.5);
        assert_eq!(a.difference(&a), 0.0);
        assert_eq!(a.difference(&views(vec![vec![f32::NAN, 0.0], vec![0.0, 0.0]])), f64::MAX);
    }
}

//! Weights on the images of a manifest, through the same classifier as the daemon's.

use super::manifest::{Entry, Manifest, ManifestError, Split};
use super::{Progress, TrainError, augment, dicom, features};
use crate::judge::robust::{self, Change, Robust};
use crate::judge::{self, Judged, Output, Report};
use crate::model::Classifier;
use crate::model::card::Card;
use crate::model::early::Early;
use crate::preprocess::{Plane, view};
use rayon::prelude::*;

/// How many images go through the network at once.
const BATCH: usize = 16;
/// How far the changed copies of an image depart from it: half of what training sees.
const COPY_STRENGTH: f32 = 0.5;
/// Seed of the copies: the same images give the same thresholds.
const COPY_SEED: u64 = 1;

/// The report over the labelled images of a split by the classifier's card, and what each image gave.
pub fn evaluate(
    classifier: &Classifier,
    manifest: &Manifest,
    split: Split,
    progress: &Progress,
) -> Result<(Report, Vec<Judged>), TrainError> {
    let card = classifier.card();
    let judged = judge::judged(&outputs(classifier, manifest, split, 0, progress)?, &card.heads, &card.regions);
    Ok((judge::report(&judged, &card.regions), judged))
}

/// The labelled images of a split, every one of which can be read: looked at before any time is spent on the network.
fn readable(manifest: &Manifest, split: Split) -> Result<Vec<&Entry>, TrainError> {
    let entries: Vec<&Entry> = manifest.labelled(split).collect();
    if entries.is_empty() {
        let file = manifest.file.display();
        return Err(TrainError::Data(format!("{file}: there are no labelled images in the split {}", split.name())));
    }
    for entry in &entries {
        let path = manifest.path(entry);
        super::readable(&path).map_err(|why| ManifestError::Row {
            file: manifest.file.clone(),
            row: entry.row,
            why: format!("{} is no image that can be read: {why}", path.display()),
        })?;
    }
    Ok(entries)
}

/// What the network gives for the labelled images of a split, and for `copies` changed copies of each.
///
/// # Errors
/// An image that cannot be read is named with its row; a network that fails.
pub fn outputs(
    classifier: &Classifier,
    manifest: &Manifest,
    split: Split,
    copies: usize,
    progress: &Progress,
) -> Result<Vec<Output>, TrainError> {
    let entries = readable(manifest, split)?;
    let mut outputs = Vec::with_capacity(entries.len());
    progress.begin("evaluate", entries.len() as u64, 0);
    for part in entries.chunks((BATCH / (1 + copies)).max(1)) {
        let planes = part
            .par_iter()
            .map(|entry| {
                let plane = features::read_plane(&manifest.path(entry), &classifier.card().input)?;
                let mut all: Vec<Plane> = (0..copies).map(|i| copy(&plane, &entry.path, i)).collect();
                all.insert(0, plane);
                Ok(all)
            })
            .collect::<Result<Vec<Vec<Plane>>, TrainError>>()?;
        let mut rows = logits(classifier, &planes.concat())?.into_iter();
        for entry in part {
            outputs.push(Output {
                path: entry.path.clone(),
                region: entry.region.clone(),
                source: entry.source.clone(),
                group: entry.group.clone(),
                logits: rows.next().unwrap_or_default(),
                copies: rows.by_ref().take(copies).collect(),
            });
        }
        progress.advance(part.len() as u64, "");
    }
    progress.end();
    Ok(outputs)
}

/// The changed copy number `i` of an image: the same for the same path.
pub(super) fn copy(plane: &Plane, path: &str, i: usize) -> Plane {
    augment::augment(plane, COPY_STRENGTH, &mut augment::generator(COPY_SEED, path, i))
}

/// What the network gives for planes in all orientations of the card; the daemon stops where a verdict is settled.
fn logits(classifier: &Classifier, planes: &[Plane]) -> Result<Vec<Vec<f32>>, TrainError> {
    let inputs: Vec<Vec<f32>> = planes.par_iter().map(|plane| classifier.input(plane)).collect();
    Ok(classifier.logits(&inputs)?)
}

/// Whether verdicts are the same when an image is judged in no more orientations than they need: each image is begun with in each
/// of the eight.
///
/// # Errors
/// As [`outputs`].
pub fn early(
    classifier: &Classifier,
    manifest: &Manifest,
    judged: &[Judged],
    progress: &Progress,
) -> Result<Early, TrainError> {
    const TURNS: usize = 8;
    let card = classifier.card();
    let (mut same, mut views) = (0, 0);
    progress.begin("early", judged.len() as u64, 0);
    for part in judged.chunks(BATCH) {
        let squares = part
            .par_iter()
            .map(|j| Ok(classifier.input(&features::read_plane(&manifest.root.join(&j.path), &card.input)?)))
            .collect::<Result<Vec<_>, TrainError>>()?;
        for turn in 0..TURNS {
            let turned: Vec<Vec<f32>> = squares.iter().map(|s| view(s, card.input.size, TURNS, turn)).collect();
            for (judged, (logits, took)) in part.iter().zip(classifier.early_logits(&turned)?) {
                let called = judge::called(&judge::scores(&logits, &card.heads), &card.regions);
                same += usize::from(called == (judged.called, judged.verdict));
                views += took;
            }
        }
        progress.advance(part.len() as u64, "");
    }
    progress.end();
    let all = (judged.len() * TURNS).max(1) as f64;
    Ok(Early { images: judged.len(), agreement: same as f64 / all, views: views as f64 / all })
}

/// How many verdicts outlast each [`Change`] of the picture, by the calibration and thresholds of `card`.
///
/// # Errors
/// As [`outputs`]; a folder for temporary files that cannot be written.
pub fn robust(
    classifier: &Classifier,
    card: &Card,
    manifest: &Manifest,
    judged: &[Judged],
    progress: &Progress,
) -> Result<Robust, TrainError> {
    let mut counts = Robust::new();
    progress.begin("robust", judged.len() as u64, 0);
    for part in judged.chunks(BATCH) {
        let planes = part
            .par_iter()
            .map(|j| features::read_plane(&manifest.root.join(&j.path), &card.input))
            .collect::<Result<Vec<_>, _>>()?;
        for change in Change::ALL {
            let changed = planes
                .par_iter()
                .map(|plane| match change.stored() {
                    Some(stored) => dicom::again(plane, stored, classifier.wanted_pixels()),
                    None => Ok(change.apply(plane)),
                })
                .collect::<Result<Vec<_>, _>>()?;
            for (before, row) in part.iter().zip(logits(classifier, &changed)?) {
                robust::count(&mut counts, change, before, &judge::scores(&row, &card.heads), &card.regions);
            }
        }
        progress.advance(part.len() as u64, "");
    }
    progress.end();
    Ok(counts)
}

//! Judging weights on a split of a manifest, through the same classifier as the daemon's.

use super::judge::{Output, judged};
use super::manifest::{Entry, Manifest, Split};
use super::metrics::{self, Judged, Report};
use super::{Progress, TrainError, features};
use crate::model::Classifier;
use rayon::prelude::*;

/// How many images go through the network at once.
const BATCH: usize = 16;

/// The report over the labelled images of a split, and what each image gave.
pub fn evaluate(
    classifier: &Classifier,
    manifest: &Manifest,
    split: Split,
    progress: &Progress,
) -> Result<(Report, Vec<Judged>), TrainError> {
    Ok(report(classifier, &outputs(classifier, manifest, split, progress)?))
}

/// The report over what the network gave, by the classifier's card.
pub fn report(classifier: &Classifier, outputs: &[Output]) -> (Report, Vec<Judged>) {
    let card = classifier.card();
    let judged = judged(outputs, &card.heads, &card.regions);
    (metrics::report(&judged, &card.regions), judged)
}

/// What the network gives for the labelled images of a split.
pub fn outputs(
    classifier: &Classifier,
    manifest: &Manifest,
    split: Split,
    progress: &Progress,
) -> Result<Vec<Output>, TrainError> {
    let entries: Vec<&Entry> = manifest.labelled(split).collect();
    if entries.is_empty() {
        let file = manifest.file.display();
        return Err(TrainError::Data(format!("{file}: there are no labelled images in the split {}", split.name())));
    }
    let mut outputs = Vec::with_capacity(entries.len());
    progress.begin("evaluate", entries.len() as u64, 0);
    for part in entries.chunks(BATCH) {
        let inputs = part
            .par_iter()
            .map(|e| Ok(classifier.input(&features::read_plane(&manifest.path(e), &classifier.card().input)?)))
            .collect::<Result<Vec<_>, TrainError>>()?;
        for (entry, logits) in part.iter().zip(classifier.logits(&inputs)?) {
            outputs.push(Output {
                path: entry.path.clone(),
                region: entry.region.clone(),
                source: entry.source.clone(),
                group: entry.group.clone(),
                logits,
            });
        }
        progress.advance(part.len() as u64, "");
    }
    progress.end();
    Ok(outputs)
}

//! The images that judge each epoch: as the daemon sees them, and, where the recipe asks for them, augmented copies.

use super::features::{self, Features, Frozen};
use super::manifest::{Entry, Split};
use super::{Run, TrainError, samples};
use crate::judge::Output;
use crate::model::engine::{Maps, Network};
use crate::model::views;
use crate::preprocess::network_input;
use rayon::prelude::*;
use std::path::Path;

/// How many copies go through the network at once.
const BATCH: usize = 16;

/// The validation images.
pub(super) struct Validation<'a> {
    entries: Vec<&'a Entry>,
    inputs: Vec<Vec<f32>>,
    copies: Option<Copies<'a>>,
}

/// Augmented copies, as the frozen part of the network leaves them.
struct Copies<'a> {
    entries: Vec<&'a Entry>,
    features: Features,
    blocks: Option<usize>,
}

impl<'a> Validation<'a> {
    /// Reads the images; makes the copies, which `file` keeps.
    pub fn read(run: &Run<'a>, frozen: &Frozen, file: &Path) -> Result<Validation<'a>, TrainError> {
        let manifest = run.manifest;
        let entries: Vec<&Entry> = manifest.labelled(Split::Validation).collect();
        let input = &run.recipe.input;
        let read = |e: &&Entry| Ok(network_input(&features::read_plane(&manifest.path(e), input)?, input));
        let inputs = entries.par_iter().map(read).collect::<Result<Vec<_>, TrainError>>()?;
        let copies = match run.recipe.validation_copies {
            0 => None,
            copies => {
                let all: Vec<&Entry> = entries.iter().flat_map(|e| std::iter::repeat_n(*e, copies)).collect();
                let job = |(i, e): (usize, &&Entry)| samples::job(manifest, e, i % copies);
                let jobs: Vec<_> = all.iter().enumerate().map(job).collect();
                let features = Features::prepare(file, frozen, &jobs, run.progress, run.stop)?;
                Some(Copies { entries: all, features, blocks: frozen.blocks })
            }
        };
        Ok(Validation { entries, inputs, copies })
    }

    /// Each image's logits, as the daemon will see them.
    pub fn outputs(&self, run: &Run, network: &Network) -> Result<Vec<Output>, TrainError> {
        let size = run.recipe.input.size;
        let logits = views::averaged(&self.inputs, size, run.recipe.views, |squares| network.logits(squares, size))?;
        Ok(self.entries.iter().zip(logits).map(|(entry, logits)| output(entry, logits)).collect())
    }

    /// The augmented copies' logits, by which the epochs are compared; `None` where there are none.
    pub fn copied(&self, network: &Network) -> Result<Option<Vec<Output>>, TrainError> {
        let Some(copies) = &self.copies else { return Ok(None) };
        let mut all = Vec::with_capacity(copies.entries.len());
        let indices: Vec<usize> = (0..copies.entries.len()).collect();
        for part in indices.chunks(BATCH) {
            let data = copies.features.read(part).map_err(TrainError::Features)?;
            let [height, width, channels] = copies.features.shape;
            let logits = match copies.blocks {
                Some(blocks) => network.rest(&Maps { images: part.len(), height, width, channels, data }, blocks)?,
                None => {
                    let inputs: Vec<Vec<f32>> = data.chunks(height * width).map(<[f32]>::to_vec).collect();
                    network.logits(&inputs, height)?
                }
            };
            all.extend(part.iter().zip(logits).map(|(&i, logits)| output(copies.entries[i], logits)));
        }
        Ok(Some(all))
    }
}

fn output(entry: &Entry, logits: Vec<f32>) -> Output {
    Output {
        path: entry.path.clone(),
        region: entry.region.clone(),
        source: entry.source.clone(),
        group: entry.group.clone(),
        logits,
        copies: Vec::new(),
    }
}

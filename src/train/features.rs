//! What the frozen part of the network makes of augmented images; and, where a recipe keeps the same ones for every pass, a file
//! that holds it in half precision.
//!
//! The file is a row of equally long records in the order of the jobs, and nothing else, so a run that was killed goes on
//! where the file ends. Its name holds a hash of all that the records depend on.

use super::augment::{augment, generator};
use super::recipe::Recipe;
use super::style::restyled;
use super::{Progress, TrainError};
use crate::model::engine::Network;
use crate::model::weights::BLOCKS;
use crate::pixels;
use crate::preprocess::{InputContract, Plane, framed, network_input, view};
use half::f16;
use half::slice::HalfFloatSliceExt;
use rand::RngExt;
use rand::rngs::StdRng;
use rayon::prelude::*;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// One augmented image to be made.
#[derive(Clone, Debug)]
pub struct Job {
    /// The image file.
    pub file: PathBuf,
    /// What seeds its augmentation (the path within the manifest).
    pub name: String,
    /// Which copy.
    pub copy: usize,
}

/// The part of the network that does not change, and what goes into it.
pub struct Frozen<'a> {
    /// The network whose first blocks are frozen.
    pub network: &'a Network,
    /// How many blocks are frozen; `None`: not even the stem.
    pub blocks: Option<usize>,
    /// How images are augmented and shown.
    pub recipe: &'a Recipe,
    /// What the network is given in training.
    pub input: InputContract,
    /// Images whose style others take on, by source; none: none does.
    pub styles: Vec<Vec<PathBuf>>,
}

/// The file of records.
#[derive(Debug)]
pub struct Features {
    file: File,
    /// Height, width and channels of a record.
    pub shape: [usize; 3],
}

/// How many images go through the network at once.
const BATCH: usize = 16;

impl Frozen<'_> {
    /// Height, width and channels after the frozen part.
    pub fn shape(&self) -> [usize; 3] {
        let Some(blocks) = self.blocks else { return [self.input.size, self.input.size, 1] };
        let mut side = self.input.size.div_ceil(2).div_ceil(2);
        let mut channels = 64;
        for block in &BLOCKS[..blocks] {
            side = side.div_ceil(block.stride);
            channels = block.to;
        }
        [side, side, channels]
    }

    /// The records of some augmented images, one after the other.
    pub fn maps(&self, jobs: &[Job]) -> Result<Vec<f32>, TrainError> {
        let inputs = jobs.par_iter().map(|job| self.augmented(job)).collect::<Result<Vec<_>, _>>()?;
        let Some(blocks) = self.blocks else { return Ok(inputs.concat()) };
        Ok(self.network.front(&inputs, self.input.size, blocks)?.data)
    }

    /// The network's input for an augmented image: in one of the views, and now and then in the other polarity.
    fn augmented(&self, job: &Job) -> Result<Vec<f32>, TrainError> {
        let recipe = self.recipe;
        let plane = read_plane(&job.file, &self.input)?;
        let mut rng = generator(recipe.seed, &job.name, job.copy);
        let plane = self.restyled(plane, &mut rng)?;
        let plane = augment(&plane, recipe.augmentation, &mut rng);
        let square = match framed(&plane, &self.input) {
            Some(mut framed) => {
                if rng.random::<f32>() < recipe.other_polarity {
                    framed.grey.iter_mut().for_each(|v| *v = 1.0 - *v);
                }
                framed.input(&self.input)
            }
            None => network_input(&plane, &self.input),
        };
        Ok(view(&square, self.input.size, recipe.views, rng.random_range(0..recipe.views)))
    }

    /// The image in the style of another one, as often as the recipe says.
    fn restyled(&self, plane: Plane, rng: &mut StdRng) -> Result<Plane, TrainError> {
        // Nothing is drawn where there are no styles: recipes without them give what they always gave.
        if self.styles.is_empty() || rng.random::<f32>() >= self.recipe.other_style {
            return Ok(plane);
        }
        let source = &self.styles[rng.random_range(0..self.styles.len())];
        let style = read_plane(&source[rng.random_range(0..source.len())], &self.input)?;
        Ok(restyled(&plane, &style, rng))
    }
}

/// Reads a DICOM, PNG or JPEG file as the daemon does.
pub fn read_plane(file: &Path, input: &InputContract) -> Result<Plane, TrainError> {
    pixels::read_any(file, input.wanted_pixels())
        .map_err(|e| TrainError::Image { file: file.to_owned(), why: e.to_string() })
}

impl Features {
    /// Opens the file and computes what is not there yet; `stop` ends it after the present batch.
    pub fn prepare(
        file: &Path,
        frozen: &Frozen,
        jobs: &[Job],
        progress: &Progress,
        stop: &AtomicBool,
    ) -> Result<Features, TrainError> {
        let io = |source| TrainError::Write { file: file.to_owned(), source };
        let mut handle =
            OpenOptions::new().create(true).truncate(false).read(true).append(true).open(file).map_err(io)?;
        let shape = frozen.shape();
        let record = 2 * shape.iter().product::<usize>() as u64;
        let done = (handle.metadata().map_err(io)?.len() / record).min(jobs.len() as u64);
        // Whole batches only: a kill may have cut a record short, and the last digits depend on what else is in a batch.
        let done = if done == jobs.len() as u64 { done } else { done / BATCH as u64 * BATCH as u64 };
        handle.set_len(done * record).map_err(io)?;
        progress.begin("features", jobs.len() as u64, done);
        for part in jobs[done as usize..].chunks(BATCH) {
            let records = frozen.maps(part)?;
            let mut halves = vec![f16::ZERO; records.len()];
            halves.convert_from_f32_slice(&records);
            let bytes: Vec<u8> = halves.iter().flat_map(|v| v.to_le_bytes()).collect();
            handle.write_all(&bytes).map_err(io)?;
            progress.advance(part.len() as u64, "");
            if stop.load(Ordering::Relaxed) {
                return Err(TrainError::Stopped);
            }
        }
        progress.end();
        Ok(Features { file: handle, shape })
    }

    /// Some records, one after the other.
    pub fn read(&self, indices: &[usize]) -> std::io::Result<Vec<f32>> {
        let values = self.shape.iter().product::<usize>();
        let mut all = vec![0.0f32; values * indices.len()];
        all.par_chunks_mut(values).zip(indices).try_for_each(|(out, &index)| {
            let mut bytes = vec![0u8; 2 * values];
            std::os::unix::fs::FileExt::read_exact_at(&self.file, &mut bytes, (index * 2 * values) as u64)?;
            for (to, pair) in out.iter_mut().zip(bytes.chunks_exact(2)) {
                *to = f16::from_le_bytes([pair[0], pair[1]]).to_f32();
            }
            Ok::<(), std::io::Error>(())
        })?;
        Ok(all)
    }
}

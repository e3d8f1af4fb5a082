//! Where the batches of a training run come from: made afresh by threads beside the training step, or kept in a file.

use super::TrainError;
use super::features::{Features, Frozen, Job};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::Scope;

/// How many batches are made ahead.
const AHEAD: usize = 2;

/// A batch: the samples' indices, and what goes into the trained part, one after the other.
pub type Batch = (Vec<usize>, Vec<f32>);

/// The source of batches.
pub struct Supply<'a> {
    frozen: &'a Frozen<'a>,
    jobs: &'a [Job],
    /// Copies of each job's image in a pass: the next pass takes the next ones.
    copies: Vec<usize>,
    kept: Option<Features>,
}

impl<'a> Supply<'a> {
    /// Makes `jobs` anew in each pass, copies `copies[i]` of each image a pass; or takes them from `kept`.
    pub fn new(frozen: &'a Frozen<'a>, jobs: &'a [Job], copies: Vec<usize>, kept: Option<Features>) -> Supply<'a> {
        Supply { frozen, jobs, copies, kept }
    }

    /// Height, width and channels of what it gives.
    pub fn shape(&self) -> [usize; 3] {
        self.frozen.shape()
    }

    fn maps(&self, pass: usize, batch: &[usize]) -> Result<Vec<f32>, TrainError> {
        if let Some(kept) = &self.kept {
            return kept.read(batch).map_err(TrainError::Features);
        }
        let fresh = |&i: &usize| Job { copy: self.jobs[i].copy + pass * self.copies[i], ..self.jobs[i].clone() };
        self.frozen.maps(&batch.iter().map(fresh).collect::<Vec<_>>())
    }

    /// The batches of a pass in their order, made by a thread of `scope`.
    pub fn pass<'s>(
        &'s self,
        scope: &'s Scope<'s, '_>,
        pass: usize,
        batches: Vec<Vec<usize>>,
    ) -> Receiver<Result<Batch, TrainError>> {
        let (to, from) = sync_channel(AHEAD);
        scope.spawn(move || {
            for batch in batches {
                let made = self.maps(pass, &batch).map(|maps| (batch, maps));
                let failed = made.is_err();
                // Nobody takes more where the training has failed.
                if to.send(made).is_err() || failed {
                    break;
                }
            }
        });
        from
    }
}

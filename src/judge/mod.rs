//! Judging: from the network's outputs over labelled images to calibration, thresholds and figures. Pure.
//!
//! | module | gives |
//! |---|---|
//! | [`label`](mod@label) | what a label says of a head, and what a false correction would be |
//! | [`platt`], [`threshold`], [`fit`] | calibration and thresholds, and what they rest on |
//! | [`roc`], [`reliability`], [`risk`], [`interval`] | the figures one by one |
//! | [`report`] | the figures together, as the model card has them |
//! | [`suspects`] | the images whose label is likeliest wrong |
//! | [`robust`] | changes that change no region, and how many verdicts outlast them |

pub mod fit;
pub mod interval;
pub mod label;
pub mod platt;
pub mod reliability;
pub mod report;
pub mod risk;
pub mod robust;
pub mod roc;
pub mod suspects;
pub mod threshold;

pub use fit::{Fitted, fit};
pub use label::{NO_RADIOGRAPH, Truth, label, truth};
pub use report::{Called, RegionReport, Report, report};

use crate::anatomy::Region;
use crate::model::card::Head;
use crate::verdict::{self, Kind, Look, Mode, Rules, Seen, Threshold};
use serde::Serialize;
use std::collections::BTreeMap;

/// Thresholds by the term of a region.
pub type Thresholds = BTreeMap<String, Threshold>;
/// Calibrated probabilities by head.
pub type Scores = BTreeMap<String, f32>;

/// An image's labels and the network's raw outputs.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Output {
    pub path: String,
    pub region: String,
    pub source: String,
    pub group: String,
    /// One for each head.
    pub logits: Vec<f32>,
    /// The same for changed copies of the image, if any were looked at: they tell how far an output moves by chance.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub copies: Vec<Vec<f32>>,
}

/// One judged image: what it is, and each head's calibrated probability.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Judged {
    pub path: String,
    pub region: String,
    pub source: String,
    pub group: String,
    pub scores: Scores,
    /// What a single instance would be called at the thresholds.
    #[serde(serialize_with = "as_term")]
    pub called: Option<Region>,
    /// The verdict on a single instance without a tag: `filled` is being sure.
    pub verdict: Kind,
}

impl Judged {
    /// Called what it is not, or one of the five and not called.
    pub fn is_error(&self) -> bool {
        self.called != Region::from_term(&self.region)
    }

    /// The most probable heads, such as `HAND 0.93, WRIST 0.12`.
    pub fn best(&self, most: usize) -> String {
        let mut best: Vec<_> = self.scores.iter().collect();
        best.sort_by(|a, b| b.1.total_cmp(a.1));
        best.iter().take(most).map(|(head, p)| format!("{head} {p:.2}")).collect::<Vec<_>>().join(", ")
    }
}

fn as_term<S: serde::Serializer>(region: &Option<Region>, to: S) -> Result<S::Ok, S::Error> {
    region.map(Region::term).serialize(to)
}

/// The calibrated scores of one row of logits.
pub fn scores(logits: &[f32], heads: &[Head]) -> Scores {
    heads.iter().zip(logits).map(|(head, &logit)| (head.name.clone(), head.probability(logit))).collect()
}

/// Calibrated scores of each image, and what it would be called.
pub fn judged(outputs: &[Output], heads: &[Head], thresholds: &Thresholds) -> Vec<Judged> {
    let one = |o: &Output| {
        let scores = scores(&o.logits, heads);
        let (called, verdict) = called(&scores, thresholds);
        Judged {
            path: o.path.clone(),
            region: o.region.clone(),
            source: o.source.clone(),
            group: o.group.clone(),
            scores,
            called,
            verdict,
        }
    };
    outputs.iter().map(one).collect()
}

/// Calibration, thresholds and the report of the same images. `target`: see [`threshold::choose`].
pub fn judge(outputs: &[Output], heads: &[String], target: f64) -> (Fitted, Report) {
    let fitted = fit(outputs, heads, target);
    let mut report = report(&judged(outputs, &fitted.heads, &fitted.thresholds), &fitted.thresholds);
    report.thresholds = Some(fitted.evidence.clone());
    (fitted, report)
}

/// What one image by itself would be called, and by which verdict: by the daemon's own rule for a series of one.
pub fn called(scores: &Scores, thresholds: &Thresholds) -> (Option<Region>, Kind) {
    let look = Look::Scored { scores: scores.clone(), model: String::new(), decode_ms: 0.0, classify_ms: 0.0 };
    let seen = Seen { look: &look, tag: "", anatomic_region: None, signed: false };
    let verdict = verdict::decide(&[seen], &rules(thresholds, Mode::Observe), None);
    // With no tag there, being sure is `filled` and nothing else is.
    (verdict.region.filter(|_| verdict.kind == Kind::Filled), verdict.kind)
}

/// The rules of a configuration that says nothing, with a card's thresholds.
pub fn rules(thresholds: &Thresholds, mode: Mode) -> Rules {
    Rules {
        thresholds: thresholds.clone(),
        mode,
        regions: Region::ALL.into_iter().collect(),
        normalise_synonyms: false,
        same_as: BTreeMap::new(),
        neighbours: BTreeMap::new(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The same threshold for all.
    pub fn flat(accept: f32) -> Thresholds {
        Region::ALL.into_iter().map(|r| (r.term().to_owned(), Threshold { accept, reject: 0.1 })).collect()
    }

    /// An image labelled `region`, its group too, with `p` for one head and next to nothing for the other regions.
    pub fn judged(region: &str, head: &str, p: f32, thresholds: &Thresholds) -> Judged {
        let mut scores: Scores = Region::ALL.into_iter().map(|r| (r.term().to_owned(), 0.01)).collect();
        scores.insert(head.to_owned(), p);
        let (called, verdict) = called(&scores, thresholds);
        let [path, region, group] = [region; 3].map(str::to_owned);
        Judged { path, region, source: "s".into(), group, scores, called, verdict }
    }
}

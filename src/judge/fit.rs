//! Calibration of the heads and thresholds of the regions, from labelled images kept apart. Pure.

use super::label::{Truth, label, truth};
use super::platt::{Platt, Weighed};
use super::threshold::{self, Claimant, Evidence};
use super::{Output, Thresholds, called, scores};
use crate::model::card::Head;
use serde::Serialize;
use std::collections::BTreeMap;

/// Calibration of each head, thresholds of the five regions, and what these rest on.
pub struct Fitted {
    /// In the order of the outputs.
    pub heads: Vec<Head>,
    /// By term.
    pub thresholds: Thresholds,
    /// For the card.
    pub evidence: Evidence,
    /// The outside images that thresholds are high for, those that claim a region most first.
    pub claimants: Vec<Claimant>,
}

/// The prior of the calibration, in images.
const CALIBRATION_PRIOR: f64 = 4.0;
/// Into so many parts the groups are dealt where images are to be judged by what others taught.
const FOLDS: usize = 10;

/// Fits calibration and thresholds for a `target` (see [`threshold::choose`]). Images that are no radiographs take part: they
/// must be rejected too. An image and its changed copies count as one image together.
///
/// The thresholds are chosen on probabilities whose calibration the image had no part in; the calibration that is given is that
/// of all images.
pub fn fit(outputs: &[Output], heads: &[String], target: f64) -> Fitted {
    let mut odds = vec![Vec::new(); outputs.len()];
    for (rest, part) in folds(outputs) {
        let calibrated = calibrate(&rest.iter().map(|i| &outputs[*i]).collect::<Vec<_>>(), heads);
        for i in part {
            odds[i] = outputs[i].rows().map(|(row, counts)| (log_odds(row, &calibrated), counts)).collect();
        }
    }
    let calibrated = calibrate(&outputs.iter().collect::<Vec<_>>(), heads);
    let images = outputs.iter().zip(odds).map(|(output, rows)| threshold::Image { output, rows }).collect::<Vec<_>>();
    let (thresholds, evidence, claimants) = threshold::choose(&images, heads, target);
    Fitted { heads: calibrated, thresholds, evidence, claimants }
}

/// The calibration alone.
fn calibrate(outputs: &[&Output], heads: &[String]) -> Vec<Head> {
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

fn log_odds(row: &[f32], heads: &[Head]) -> Vec<f64> {
    heads.iter().zip(row).map(|(head, logit)| f64::from(head.log_odds(*logit))).collect()
}

/// The indices of the images dealt into parts by group, each with those of all the others. Groups of a label are dealt one
/// after the other, so that the parts are alike.
fn folds(outputs: &[Output]) -> Vec<(Vec<usize>, Vec<usize>)> {
    let mut groups: BTreeMap<&str, &str> = BTreeMap::new();
    for output in outputs {
        groups.entry(&output.group).or_insert(&output.region);
    }
    let mut order: Vec<(&str, &str)> = groups.into_iter().map(|(group, region)| (region, group)).collect();
    order.sort_unstable();
    let fold: BTreeMap<&str, usize> = order.iter().enumerate().map(|(i, (_, group))| (*group, i % FOLDS)).collect();
    let deal = |part| (0..outputs.len()).partition(|i| fold.get(outputs[*i].group.as_str()) != Some(&part));
    (0..FOLDS.min(order.len())).map(deal).collect()
}

/// How images fare at calibration and thresholds that they had no part in: fitted on nine tenths of the groups, judged on the
/// last, ten times over.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CrossFitted {
    /// Region → images, and how many of them are called so.
    pub regions: BTreeMap<String, (usize, usize)>,
    /// Images of the five called another of them.
    pub another: usize,
    /// Outside radiographs, and how many are called a region.
    pub outside: (usize, usize),
    /// Radiographs of the parts next door, likewise.
    pub neighbours: (usize, usize),
    /// What is no radiograph, likewise.
    pub no_radiograph: (usize, usize),
}

/// See [`CrossFitted`]. The network itself is the same each time: an epoch that was chosen on these images keeps that advantage.
pub fn cross_fitted(outputs: &[Output], heads: &[String], target: f64) -> CrossFitted {
    let mut all = CrossFitted::default();
    for (rest, part) in folds(outputs) {
        let rest: Vec<Output> = rest.iter().map(|i| outputs[*i].clone()).collect();
        let fitted = fit(&rest, heads, target);
        for output in part.iter().map(|i| &outputs[*i]) {
            let named = called(&scores(&output.logits, &fitted.heads), &fitted.thresholds).0;
            let count = match truth(&output.region) {
                Truth::Region(region) => {
                    all.another += usize::from(named.is_some_and(|n| n != region));
                    let row = all.regions.entry(region.term().to_owned()).or_default();
                    row.0 += 1;
                    row.1 += usize::from(named == Some(region));
                    continue;
                }
                Truth::Outside => &mut all.outside,
                Truth::NextTo(_) => &mut all.neighbours,
                Truth::NoRadiograph => &mut all.no_radiograph,
            };
            count.0 += 1;
            count.1 += usize::from(named.is_some());
        }
    }
    all
}

impl Output {
    /// The logits of the image and of its copies, each with what it counts: the image a half, all copies the other, for they
    /// are harsher than life; together one.
    pub fn rows(&self) -> impl Iterator<Item = (&Vec<f32>, f64)> {
        let own = if self.copies.is_empty() { 1.0 } else { 0.5 };
        let copy = 0.5 / self.copies.len().max(1) as f64;
        std::iter::once((&self.logits, own)).chain(self.copies.iter().map(move |row| (row, copy)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{HEADS, draw, names};
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_group_is_in_one_fold_and_all_are_in_some() {
        let mut outputs = draw(6, 9, 2.0, 1);
        outputs.iter_mut().step_by(2).for_each(|o| o.group = format!("{}", o.path.parse::<usize>().unwrap() % 7));
        let mut seen = BTreeSet::new();
        for (rest, part) in folds(&outputs) {
            let groups = |of: &[usize]| of.iter().map(|i| outputs[*i].group.clone()).collect::<BTreeSet<_>>();
            assert!(groups(&rest).is_disjoint(&groups(&part)));
            assert!(part.iter().all(|i| seen.insert(*i)));
        }
        assert_eq!(seen.len(), outputs.len());
    }

    #[test]
    fn copies_share_what_their_image_counts() {
        let mut outputs = draw(1, 0, 2.0, 1);
        outputs[0].copies = vec![vec![0.0; HEADS.len()]; 3];
        for output in &outputs {
            assert!((output.rows().map(|(_, counts)| counts).sum::<f64>() - 1.0).abs() < 1e-9);
        }
        assert_eq!(outputs[0].rows().count(), 4);
    }

    #[test]
    fn cross_fitting_counts_every_image_once() {
        let outputs = draw(8, 20, 6.0, 2);
        let all = cross_fitted(&outputs, &names(), 0.02);
        assert!(all.regions.values().all(|(images, _)| *images == 8) && all.regions.len() == 5);
        // Two heads beyond the five, and what no head is for.
        assert_eq!((all.outside.0, all.neighbours.0, all.no_radiograph.0), (36, 0, 0));
        assert!(all.regions.values().map(|r| r.1).sum::<usize>() >= 34, "{all:?}");
        assert!(all.outside.1 <= 2 && all.another <= 1, "{all:?}");
    }
}

//! The figures over a set of judged images. Pure.

use super::interval::{Interval, wilson};
use super::label::{Truth, label, truth};
use super::reliability::{self, ece};
use super::robust::Robust;
use super::roc::{Grouped, auc, auc_interval};
use super::threshold::Evidence;
use super::{Judged, Thresholds};
use crate::anatomy::Region;
use crate::verdict::Threshold;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Seed of the bootstraps: the same images give the same report.
const SEED: u64 = 1;

/// Figures of one region.
#[derive(Clone, Debug, Serialize)]
pub struct RegionReport {
    /// Images of the region.
    pub positives: usize,
    /// The groups that they lie in: what the intervals rest on.
    pub positive_groups: usize,
    /// All other images.
    pub negatives: usize,
    /// Area under the ROC curve.
    pub auc: Option<f64>,
    /// See [`auc_interval`].
    pub auc_95: Option<Interval>,
    /// Part of the region's images called so.
    pub sensitivity: Option<f64>,
    /// By [`wilson`], over groups.
    pub sensitivity_95: Option<Interval>,
    /// Part of the other images not called so.
    pub specificity: Option<f64>,
    /// By [`wilson`], over groups.
    pub specificity_95: Option<Interval>,
    /// Expected calibration error at a prevalence of one in five.
    pub ece: Option<f64>,
    /// Thresholds on the probability.
    pub accept: f32,
    /// See `accept`.
    pub reject: f32,
}

/// How many of a kind were called one of the five.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Called {
    /// Images of the kind.
    pub images: usize,
    /// Called any of the five.
    pub called_a_region: usize,
    /// Of these: called the region that they lie next to.
    pub called_next: usize,
    /// `called_a_region` of `images`; 0 where there are none.
    pub rate: f64,
    /// By [`wilson`], over groups.
    pub rate_95: Option<Interval>,
}

/// Everything about a set of images.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Images, and the groups that they lie in.
    pub images: usize,
    /// See `images`.
    pub groups: usize,
    /// By term.
    pub regions: BTreeMap<String, RegionReport>,
    /// Over the regions that have one.
    pub mean_auc: Option<f64>,
    /// Expected calibration error of the five heads together.
    pub ece: Option<f64>,
    /// Radiographs of none of the five, neighbours not counted.
    pub outside: Called,
    /// Radiographs of the parts next door.
    pub neighbours: Called,
    /// What is no radiograph.
    pub no_radiograph: Called,
    /// Images that would be called a region that they are not.
    pub false_corrections: usize,
    /// AUC of the further heads, where the images tell.
    pub other_heads: BTreeMap<String, Option<f64>>,
    /// Label → called → how many; `-` is none.
    pub confusion: BTreeMap<String, BTreeMap<String, usize>>,
    /// The same of each source by itself, where there are several.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub by_source: BTreeMap<String, Report>,
    /// What the thresholds were chosen by, if they were chosen on these images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thresholds: Option<Evidence>,
    /// How many verdicts outlast what does not change the region, if it was tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub robust: Option<Robust>,
}

/// What `head` gave for each image whose label tells.
pub fn scored<'a>(judged: &'a [Judged], head: &str) -> Vec<Grouped<'a>> {
    let of = |j: &'a Judged| Some((*j.scores.get(head)?, label(&j.region, head)?, j.group.as_str()));
    judged.iter().filter_map(of).collect()
}

fn plain(scored: &[Grouped]) -> Vec<(f32, bool)> {
    scored.iter().map(|s| (s.0, s.1)).collect()
}

fn groups<'a>(of: impl Iterator<Item = &'a Judged>) -> usize {
    of.map(|j| j.group.as_str()).collect::<BTreeSet<_>>().len()
}

/// The report over images.
pub fn report(judged: &[Judged], thresholds: &Thresholds) -> Report {
    let mut report = part(&judged.iter().collect::<Vec<_>>(), judged, thresholds);
    let sources: BTreeSet<&str> = judged.iter().map(|j| j.source.as_str()).collect();
    if sources.len() > 1 {
        for source in sources {
            let of: Vec<Judged> = judged.iter().filter(|j| j.source == source).cloned().collect();
            report.by_source.insert(source.to_owned(), part(&of.iter().collect::<Vec<_>>(), &of, thresholds));
        }
    }
    report
}

fn part(all: &[&Judged], judged: &[Judged], thresholds: &Thresholds) -> Report {
    let regions: BTreeMap<String, RegionReport> =
        Region::ALL.into_iter().map(|r| (r.term().to_owned(), region(r, judged, thresholds))).collect();
    let aucs: Vec<f64> = regions.values().filter_map(|r| r.auc).collect();
    let mean_auc = if aucs.is_empty() { None } else { Some(aucs.iter().sum::<f64>() / aucs.len() as f64) };
    let of = |kind: fn(Truth) -> bool| -> Called {
        called(&all.iter().copied().filter(|j| kind(truth(&j.region))).collect::<Vec<_>>())
    };
    let mut confusion: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
    for j in judged {
        let called = j.called.map_or("-", Region::term).to_owned();
        *confusion.entry(j.region.clone()).or_default().entry(called).or_default() += 1;
    }
    let heads: BTreeSet<&String> = judged.iter().flat_map(|j| j.scores.keys()).collect();
    let others = heads.into_iter().filter(|h| Region::from_term(h).is_none());
    Report {
        images: judged.len(),
        groups: groups(judged.iter()),
        regions,
        mean_auc,
        ece: ece(&reliability::pooled(judged)),
        outside: of(|t| t == Truth::Outside),
        neighbours: of(|t| matches!(t, Truth::NextTo(_))),
        no_radiograph: of(|t| t == Truth::NoRadiograph),
        false_corrections: judged
            .iter()
            .filter(|j| j.called.is_some() && j.called != Region::from_term(&j.region))
            .count(),
        other_heads: others.map(|h| (h.clone(), auc(&plain(&scored(judged, h))))).collect(),
        confusion,
        by_source: BTreeMap::new(),
        thresholds: None,
        robust: None,
    }
}

fn region(region: Region, judged: &[Judged], thresholds: &Thresholds) -> RegionReport {
    let term = region.term();
    let (mine, rest): (Vec<&Judged>, Vec<&Judged>) = judged.iter().partition(|j| j.region == term);
    let count = |of: &[&Judged], called: bool| of.iter().filter(|j| (j.called == Some(region)) == called).count();
    let part = |hits: usize, of: &[&Judged]| (!of.is_empty()).then(|| hits as f64 / of.len() as f64);
    let interval = |hits, of: &[&Judged]| wilson(hits, of.len(), groups(of.iter().copied()));
    let (found, spared) = (count(&mine, true), count(&rest, false));
    let threshold = thresholds.get(term).copied().unwrap_or(Threshold { accept: 1.0, reject: 0.0 });
    let scored = scored(judged, term);
    RegionReport {
        positives: mine.len(),
        positive_groups: groups(mine.iter().copied()),
        negatives: rest.len(),
        auc: auc(&plain(&scored)),
        auc_95: auc_interval(&scored, SEED),
        sensitivity: part(found, &mine),
        sensitivity_95: interval(found, &mine),
        specificity: part(spared, &rest),
        specificity_95: interval(spared, &rest),
        ece: ece(&reliability::bins(&reliability::balanced(&plain(&scored)))),
        accept: threshold.accept,
        reject: threshold.reject,
    }
}

fn called(judged: &[&Judged]) -> Called {
    let called_a_region = judged.iter().filter(|j| j.called.is_some()).count();
    let next = |j: &&&Judged| matches!(truth(&j.region), Truth::NextTo(r) if j.called == Some(r));
    Called {
        images: judged.len(),
        called_a_region,
        called_next: judged.iter().filter(next).count(),
        rate: if judged.is_empty() { 0.0 } else { called_a_region as f64 / judged.len() as f64 },
        rate_95: wilson(called_a_region, judged.len(), groups(judged.iter().copied())),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{flat, judged};
    use super::*;

    #[test]
    fn report_counts_what_is_called() {
        let thresholds = flat(0.5);
        let images: Vec<Judged> = [
            ("HAND", 0.9),
            ("HAND", 0.2),
            ("WRIST", 0.7),
            ("HIP", 0.8),
            ("FOOT", 0.3),
            (super::super::NO_RADIOGRAPH, 0.0),
        ]
        .into_iter()
        .map(|(region, hand)| judged(region, "HAND", hand, &thresholds))
        .collect();
        let report = report(&images, &thresholds);
        assert_eq!(report.regions["HAND"].auc, Some(5.0 / 8.0));
        assert_eq!(report.regions["HAND"].sensitivity, Some(0.5));
        // Same label, same group here.
        assert_eq!((report.regions["HAND"].positives, report.regions["HAND"].positive_groups), (2, 1));
        assert_eq!(report.regions["HAND"].specificity, Some(0.5));
        assert_eq!(report.regions["KNEE"].auc, None);
        let n = &report.neighbours;
        assert_eq!((n.images, n.called_a_region, n.called_next), (2, 2, 1));
        assert_eq!((report.outside.images, report.outside.called_a_region), (1, 0));
        assert_eq!(report.no_radiograph.images, 1);
        assert_eq!(report.false_corrections, 2);
        assert_eq!(report.confusion["WRIST"]["HAND"], 1);
        assert_eq!(report.confusion["FOOT"]["-"], 1);
        assert!(report.by_source.is_empty());
    }

    #[test]
    fn sources_are_told_apart() {
        let thresholds = flat(0.5);
        let mut images: Vec<Judged> = (0..6)
            .map(|i| judged(if i % 2 == 0 { "HAND" } else { "FOOT" }, "HAND", 0.2 * i as f32, &thresholds))
            .collect();
        images[..3].iter_mut().for_each(|j| j.source = "other".into());
        let report = report(&images, &thresholds);
        assert_eq!(report.by_source.len(), 2);
        assert_eq!(report.by_source["other"].images, 3);
        assert_eq!(
            report.by_source.values().map(|r| r.outside.called_a_region).sum::<usize>(),
            report.outside.called_a_region
        );
    }
}

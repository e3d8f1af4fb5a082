//! Figures: ROC AUC, Platt scaling, thresholds, and the report over a set of images. Pure.

use crate::anatomy::Region;
use crate::model::card::Head;
use crate::verdict::{self, Kind, Look, Mode, Rules, Seen, Threshold};
use serde::Serialize;
use std::collections::BTreeMap;

/// One judged image: what it is, and each head's calibrated probability.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Judged {
    pub path: String,
    pub region: String,
    pub source: String,
    pub group: String,
    pub scores: BTreeMap<String, f32>,
    /// What a single instance would be called at the thresholds.
    pub called: Option<Region>,
}

/// Labels of things that are no radiographs.
pub const NO_RADIOGRAPH: &str = "NOT_A_RADIOGRAPH";
/// Regions whose images show a part of one of the five: counted apart.
pub const NEIGHBOURS: [&str; 4] = ["WRIST", "FINGER", "CLAVICLE", "HIP"];

/// Whether an image labelled `region` is positive for `head`; `None` where the label does not tell.
pub fn label(region: &str, head: &str) -> Option<bool> {
    match (region, head) {
        // A spine is the one or the other.
        ("SPINE", "CSPINE" | "TSPINE" | "LSPINE") | ("SACRUM", "LSPINE") => None,
        _ => Some(region == head),
    }
}

/// Area under the ROC curve (Mann and Whitney's U; ties count half); `None` without both kinds.
pub fn auc(scored: &[(f32, bool)]) -> Option<f64> {
    let mut sorted: Vec<_> = scored.to_vec();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let positives = sorted.iter().filter(|s| s.1).count();
    let negatives = sorted.len() - positives;
    if positives == 0 || negatives == 0 {
        return None;
    }
    let (mut below, mut sum, mut i) = (0usize, 0.0, 0);
    while i < sorted.len() {
        let tie = sorted[i..].iter().take_while(|s| s.0 == sorted[i].0).count();
        let up = sorted[i..i + tie].iter().filter(|s| s.1).count();
        sum += up as f64 * (below as f64 + (tie - up) as f64 / 2.0);
        below += tie - up;
        i += tie;
    }
    Some(sum / (positives as f64 * negatives as f64))
}

/// Of so many images, one is assumed to be of a head's region when its probability is calibrated.
///
/// How often a region is met differs from house to house; a validation set says nothing of it, and with two elbows among
/// a hundred images no elbow would ever be likely.
pub const ONE_IN: f64 = 5.0;

/// Scale and offset of a Platt scaling.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Platt {
    pub scale: f64,
    pub offset: f64,
}

impl Platt {
    /// The logit as it is.
    pub const NONE: Platt = Platt { scale: 1.0, offset: 0.0 };

    /// The likeliest scaling of logits at a prevalence of one in [`ONE_IN`], drawn towards `prior` with the weight of
    /// `strength` images. A positive image counts once, the negative ones together as many times as the prevalence asks
    /// for: a head with one positive image keeps close to the prior however many negative ones there are.
    pub fn fit(scored: &[(f32, bool)], prior: Platt, strength: f64) -> Platt {
        let positives = scored.iter().filter(|s| s.1).count() as f64;
        let negatives = (scored.len() as f64 - positives).max(1.0);
        let down = (ONE_IN - 1.0) * positives / negatives;
        let Platt { mut scale, mut offset } = prior;
        // Newton's method; the loss is convex.
        for _ in 0..50 {
            let (mut ga, mut gb) = (strength * (scale - prior.scale), strength * 0.1 * (offset - prior.offset));
            let (mut haa, mut hab, mut hbb) = (strength, 0.0, strength * 0.1);
            for &(logit, positive) in scored {
                let x = f64::from(logit);
                let p = 1.0 / (1.0 + (-(scale * x + offset)).exp());
                let by = if positive { 1.0 } else { down };
                let error = by * (p - if positive { 1.0 } else { 0.0 });
                let weight = by * (p * (1.0 - p)).max(1e-9);
                ga += error * x;
                gb += error;
                haa += weight * x * x;
                hab += weight * x;
                hbb += weight;
            }
            let determinant = (haa * hbb - hab * hab).max(1e-12);
            let (da, db) = ((hbb * ga - hab * gb) / determinant, (haa * gb - hab * ga) / determinant);
            scale = (scale - da.clamp(-0.5, 0.5)).max(0.05);
            offset -= db.clamp(-1.0, 1.0);
            if da.abs() + db.abs() < 1e-9 {
                break;
            }
        }
        Platt { scale, offset }
    }

    /// As it stands in a card.
    pub fn head(self, name: &str) -> Head {
        Head { name: name.to_owned(), scale: self.scale as f32, offset: self.offset as f32 }
    }
}

/// Thresholds of one region from calibrated probabilities.
///
/// `accept` lies where `cost * false accepts + misses` is least (a false correction harms more than an abstention), never
/// below one half, in the middle between the scores on either side. `reject` lies under the lowest score of a true one.
pub fn threshold(scored: &[(f32, bool)], cost: f64) -> Threshold {
    let mut cuts: Vec<f32> = scored.iter().map(|s| s.0).filter(|&p| p > 0.5).chain([0.5, 1.0]).collect();
    cuts.sort_by(f32::total_cmp);
    cuts.dedup();
    let loss = |accept: f32| -> f64 {
        let one = |&(p, positive): &(f32, bool)| match (p >= accept, positive) {
            (true, false) => cost,
            (false, true) => 1.0,
            _ => 0.0,
        };
        scored.iter().map(one).sum()
    };
    // The loss is the same anywhere between two neighbouring scores. Of equal gaps the highest, joined with those below
    // it that cost no more; the threshold in the middle.
    let gaps: Vec<(f32, f32, f64)> = cuts.windows(2).map(|w| (w[0], w[1], loss((w[0] + w[1]) / 2.0))).collect();
    let least = gaps.iter().map(|g| g.2).fold(f64::INFINITY, f64::min);
    let top = gaps.iter().rposition(|g| g.2 <= least).unwrap_or(0);
    let bottom = (0..top).rev().take_while(|&i| gaps[i].2 <= least).last().unwrap_or(top);
    let middle = gaps.get(top).map_or(0.5, |g| (gaps[bottom].0 + g.1) / 2.0);
    let accept = middle.clamp(0.5, 0.98);
    let lowest = scored.iter().filter(|s| s.1).map(|s| s.0).fold(1.0f32, f32::min);
    let reject = (lowest * 0.5).clamp(0.02, 0.35).min(accept);
    Threshold { accept, reject }
}

/// Figures of one region.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)]
pub struct RegionReport {
    pub positives: usize,
    pub negatives: usize,
    pub auc: Option<f64>,
    /// Part of the region's images called so.
    pub sensitivity: Option<f64>,
    /// Part of the other images not called so.
    pub specificity: Option<f64>,
    pub accept: f32,
    pub reject: f32,
}

/// How many of a kind were called one of the five.
#[derive(Clone, Debug, Default, Serialize)]
#[allow(missing_docs)]
pub struct Called {
    pub images: usize,
    pub called_a_region: usize,
    /// Calibrated rate, 0 where there are no images.
    pub rate: f64,
}

impl Called {
    fn count(judged: &[&Judged]) -> Called {
        let called = judged.iter().filter(|j| j.called.is_some()).count();
        let rate = if judged.is_empty() { 0.0 } else { called as f64 / judged.len() as f64 };
        Called { images: judged.len(), called_a_region: called, rate }
    }
}

/// Everything about a set of images.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)]
pub struct Report {
    pub images: usize,
    pub regions: BTreeMap<String, RegionReport>,
    pub mean_auc: Option<f64>,
    /// Radiographs of none of the five, neighbours not counted.
    pub outside: Called,
    pub neighbours: Called,
    pub no_radiograph: Called,
    /// Images that would be called a region that they are not.
    pub false_corrections: usize,
    /// AUC of the further heads, where the images tell.
    pub other_heads: BTreeMap<String, Option<f64>>,
    /// Label → called → how many; `-` is none.
    pub confusion: BTreeMap<String, BTreeMap<String, usize>>,
    /// Source → right, of the five's images.
    pub by_source: BTreeMap<String, SourceReport>,
}

/// One source.
#[derive(Clone, Debug, Default, Serialize)]
#[allow(missing_docs)]
pub struct SourceReport {
    pub images: usize,
    pub of_the_five: usize,
    pub rightly_called: usize,
    pub wrongly_called: usize,
}

/// What `head` gave for each image whose label tells.
pub fn scored(judged: &[Judged], head: &str) -> Vec<(f32, bool)> {
    let of = |j: &Judged| Some((*j.scores.get(head)?, label(&j.region, head)?));
    judged.iter().filter_map(of).collect()
}

/// The report over images.
pub fn report(judged: &[Judged], thresholds: &BTreeMap<String, Threshold>) -> Report {
    let mut regions = BTreeMap::new();
    for region in Region::ALL {
        let term = region.term();
        let (mine, rest): (Vec<&Judged>, Vec<&Judged>) = judged.iter().partition(|j| j.region == term);
        let part = |of: &[&Judged], called: bool| {
            let n = of.iter().filter(|j| (j.called == Some(region)) == called).count();
            if of.is_empty() { None } else { Some(n as f64 / of.len() as f64) }
        };
        let threshold = thresholds.get(term).copied().unwrap_or(Threshold { accept: 1.0, reject: 0.0 });
        let figures = RegionReport {
            positives: mine.len(),
            negatives: rest.len(),
            auc: auc(&scored(judged, term)),
            sensitivity: part(&mine, true),
            specificity: part(&rest, false),
            accept: threshold.accept,
            reject: threshold.reject,
        };
        regions.insert(term.to_owned(), figures);
    }
    let aucs: Vec<f64> = regions.values().filter_map(|r| r.auc).collect();
    let mean_auc = if aucs.is_empty() { None } else { Some(aucs.iter().sum::<f64>() / aucs.len() as f64) };
    let (mut outside, mut neighbours, mut no_radiograph) = (Vec::new(), Vec::new(), Vec::new());
    let mut confusion: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
    let mut by_source: BTreeMap<String, SourceReport> = BTreeMap::new();
    let mut false_corrections = 0;
    for j in judged {
        let truth = Region::from_term(&j.region);
        match j.region.as_str() {
            NO_RADIOGRAPH => no_radiograph.push(j),
            name if NEIGHBOURS.contains(&name) => neighbours.push(j),
            _ if truth.is_none() => outside.push(j),
            _ => {}
        }
        let source = by_source.entry(j.source.clone()).or_default();
        source.images += 1;
        source.of_the_five += usize::from(truth.is_some());
        if j.called.is_some() && j.called == truth {
            source.rightly_called += 1;
        } else if j.called.is_some() {
            source.wrongly_called += 1;
            false_corrections += 1;
        }
        let called = j.called.map_or("-", Region::term).to_owned();
        *confusion.entry(j.region.clone()).or_default().entry(called).or_default() += 1;
    }
    let heads = judged.first().map(|j| j.scores.keys().cloned().collect::<Vec<_>>()).unwrap_or_default();
    let others = heads.into_iter().filter(|h| Region::from_term(h).is_none());
    let other_heads = others.map(|h| (h.clone(), auc(&scored(judged, &h)))).collect();
    Report {
        images: judged.len(),
        regions,
        mean_auc,
        outside: Called::count(&outside),
        neighbours: Called::count(&neighbours),
        no_radiograph: Called::count(&no_radiograph),
        false_corrections,
        other_heads,
        confusion,
        by_source,
    }
}

/// What one image by itself would be called: by the daemon's own rule for a series of one.
pub fn called(scores: &BTreeMap<String, f32>, thresholds: &BTreeMap<String, Threshold>) -> Option<Region> {
    let rules = rules(thresholds, Mode::Observe);
    let look = Look::Scored { scores: scores.clone(), model: String::new(), decode_ms: 0.0, classify_ms: 0.0 };
    let seen = Seen { look: &look, tag: "", anatomic_region: None, signed: false };
    let verdict = verdict::decide(&[seen], &rules, None);
    // With no tag there, being sure is `filled` and nothing else is.
    verdict.region.filter(|_| verdict.kind == Kind::Filled)
}

/// The rules of a configuration that says nothing, with a card's thresholds.
pub fn rules(thresholds: &BTreeMap<String, Threshold>, mode: Mode) -> Rules {
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
mod tests {
    use super::*;

    #[test]
    fn auc_of_perfect_reversed_tied_and_one_sided() {
        assert_eq!(auc(&[(0.9, true), (0.1, false), (0.8, true), (0.2, false)]), Some(1.0));
        assert_eq!(auc(&[(0.1, true), (0.9, false)]), Some(0.0));
        assert_eq!(auc(&[(0.5, true), (0.5, false), (0.5, false)]), Some(0.5));
        // Pairs: 0.4 beats 0.3, loses to 0.6; 0.8 beats both.
        assert_eq!(auc(&[(0.4, true), (0.8, true), (0.3, false), (0.6, false)]), Some(0.75));
        assert_eq!(auc(&[(0.5, true)]), None);
    }

    #[test]
    fn platt_moves_probabilities_towards_the_rates() {
        // Overconfident logits: 4 would say 98 %, and is right in three of four; one in five is positive.
        let mut scored = vec![(4.0, true); 75];
        scored.extend([(4.0, false); 25].into_iter().chain([(-4.0, true); 5]).chain([(-4.0, false); 295]));
        let head = Platt::fit(&scored, Platt::NONE, 0.5).head("KNEE");
        assert!((head.probability(4.0) - 0.75).abs() < 0.03, "{head:?}");
        assert!((head.probability(-4.0) - 5.0 / 300.0).abs() < 0.01, "{head:?}");
        // The same with the positives a tenth as many: the prevalence of the set does not count.
        let mut rare = vec![(4.0, true); 15];
        rare.extend([(4.0, false); 50].into_iter().chain([(-4.0, true); 1]).chain([(-4.0, false); 590]));
        let rare = Platt::fit(&rare, Platt::NONE, 0.1).head("KNEE");
        assert!((rare.probability(4.0) - head.probability(4.0)).abs() < 0.03, "{rare:?}");
    }

    #[test]
    fn platt_of_perfectly_parted_scores_stays_finite_and_rising() {
        let head = Platt::fit(&[(3.0, true), (-3.0, false), (-4.0, false)], Platt::NONE, 4.0).head("KNEE");
        assert!(head.scale > 0.0 && head.scale < 5.0 && head.offset.abs() < 10.0, "{head:?}");
    }

    #[test]
    fn platt_without_positives_is_the_prior() {
        let prior = Platt { scale: 0.7, offset: 0.4 };
        let fitted = Platt::fit(&[(-3.0, false), (1.0, false)], prior, 4.0);
        assert!((fitted.scale - 0.7).abs() < 1e-6 && (fitted.offset - 0.4).abs() < 1e-6, "{fitted:?}");
    }

    #[test]
    fn threshold_lies_above_the_false_ones_if_that_costs_little() {
        let t = threshold(&[(0.95, true), (0.9, true), (0.8, true), (0.6, false), (0.1, false)], 3.0);
        assert!(t.accept > 0.6 && t.accept <= 0.8, "{t:?}");
        assert!(t.reject < 0.5 && t.reject > 0.0);
        // A single false one above many true ones is not worth losing them all.
        let mut many = vec![(0.97, false)];
        many.extend((0..20).map(|i| (0.7 + i as f32 * 0.01, true)));
        assert!(threshold(&many, 3.0).accept <= 0.7);
    }

    #[test]
    fn labels_of_spines_tell_only_what_they_know() {
        assert_eq!(label("SPINE", "LSPINE"), None);
        assert_eq!(label("SPINE", "PELVIS"), Some(false));
        assert_eq!(label("HAND", "HAND"), Some(true));
        assert_eq!(label(NO_RADIOGRAPH, "HAND"), Some(false));
    }

    #[test]
    fn report_counts_what_is_called() {
        let thresholds: BTreeMap<String, Threshold> =
            Region::ALL.into_iter().map(|r| (r.term().to_owned(), Threshold { accept: 0.5, reject: 0.1 })).collect();
        let judged: Vec<Judged> = [("HAND", 0.9), ("HAND", 0.2), ("WRIST", 0.7), ("FOOT", 0.3), (NO_RADIOGRAPH, 0.0)]
            .into_iter()
            .map(|(region, hand)| {
                let mut scores: BTreeMap<String, f32> =
                    Region::ALL.into_iter().map(|r| (r.term().to_owned(), 0.01)).collect();
                scores.insert("HAND".into(), hand);
                let called = called(&scores, &thresholds);
                let text = region.to_owned();
                Judged { path: text.clone(), region: text.clone(), source: "s".into(), group: text, scores, called }
            })
            .collect();
        let report = report(&judged, &thresholds);
        assert_eq!(report.regions["HAND"].auc, Some(4.0 / 6.0));
        assert_eq!(report.regions["HAND"].sensitivity, Some(0.5));
        assert_eq!((report.neighbours.images, report.neighbours.called_a_region), (1, 1));
        assert_eq!((report.outside.images, report.outside.called_a_region), (1, 0));
        assert_eq!(report.no_radiograph.images, 1);
        assert_eq!(report.false_corrections, 1);
        assert_eq!(report.confusion["WRIST"]["HAND"], 1);
    }
}

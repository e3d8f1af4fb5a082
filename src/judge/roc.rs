//! The receiver operating characteristic: area, its interval by a bootstrap over groups, and the curve. Pure.

use super::interval::{Interval, newcombe, percentiles};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};

/// Resamples of a bootstrap.
pub const RESAMPLES: usize = 1000;

/// Area under the ROC curve (Mann and Whitney's U; ties count half); `None` without both kinds.
pub fn auc(scored: &[(f32, bool)]) -> Option<f64> {
    let mut sorted: Vec<(f32, bool, f64)> = scored.iter().map(|&(score, positive)| (score, positive, 1.0)).collect();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    weighted(&sorted)
}

/// The area of images in the order of their scores, each counted by its weight.
fn weighted(sorted: &[(f32, bool, f64)]) -> Option<f64> {
    let total = |kind: bool| sorted.iter().filter(|s| s.1 == kind).map(|s| s.2).sum::<f64>();
    let (positives, negatives) = (total(true), total(false));
    if positives <= 0.0 || negatives <= 0.0 {
        return None;
    }
    let (mut below, mut sum) = (0.0, 0.0);
    for tie in sorted.chunk_by(|a, b| a.0 == b.0) {
        let part = |kind: bool| tie.iter().filter(|s| s.1 == kind).map(|s| s.2).sum::<f64>();
        sum += part(true) * (below + part(false) / 2.0);
        below += part(false);
    }
    Some(sum / (positives * negatives))
}

/// One image: score, whether it is positive, and its group.
pub type Grouped<'a> = (f32, bool, &'a str);

/// A 95 % interval of the area: the wider of a bootstrap by group and Newcombe's interval for as many groups.
///
/// Whole groups are drawn, those with a positive image and the others apart, so that no resample lacks a kind. With two groups,
/// or with scores that are perfectly parted, a bootstrap has nothing to vary and says "certain"; Newcombe's interval does not.
pub fn auc_interval(scored: &[Grouped], seed: u64) -> Option<Interval> {
    let plain: Vec<(f32, bool)> = scored.iter().map(|s| (s.0, s.1)).collect();
    let area = auc(&plain)?;
    let with: BTreeSet<&str> = scored.iter().filter(|s| s.1).map(|s| s.2).collect();
    let all: BTreeSet<&str> = scored.iter().map(|s| s.2).collect();
    let without: Vec<&str> = all.difference(&with).copied().collect();
    let with: Vec<&str> = with.into_iter().collect();
    let places: BTreeMap<&str, usize> = with.iter().chain(&without).enumerate().map(|(i, g)| (*g, i)).collect();
    let mut order: Vec<(f32, bool, usize)> = scored.iter().map(|&(s, p, g)| (s, p, places[g])).collect();
    order.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut rng = StdRng::seed_from_u64(seed);
    let mut times = vec![0.0; places.len()];
    let areas: Vec<f64> = (0..RESAMPLES)
        .filter_map(|_| {
            times.fill(0.0);
            for (from, to) in [(0, with.len()), (with.len(), times.len())] {
                (from..to).for_each(|_| times[rng.random_range(from..to)] += 1.0);
            }
            let resample: Vec<(f32, bool, f64)> = order.iter().map(|&(s, p, g)| (s, p, times[g])).collect();
            weighted(&resample)
        })
        .collect();
    // Groups that hold both kinds stand for negatives too where nothing else does.
    let closed = newcombe(area, with.len(), without.len().max(1));
    Some(percentiles(areas).map_or(closed, |b| b.union(closed)))
}

/// The curve: (false positive rate, true positive rate) from (0, 0) to (1, 1), one point for each distinct score.
pub fn curve(scored: &[(f32, bool)]) -> Vec<(f64, f64)> {
    let mut sorted = scored.to_vec();
    sorted.sort_by(|a, b| b.0.total_cmp(&a.0));
    let positives = sorted.iter().filter(|s| s.1).count().max(1) as f64;
    let negatives = sorted.iter().filter(|s| !s.1).count().max(1) as f64;
    let mut points = vec![(0.0, 0.0)];
    let (mut hits, mut alarms) = (0.0, 0.0);
    for tie in sorted.chunk_by(|a, b| a.0 == b.0) {
        let up = tie.iter().filter(|s| s.1).count() as f64;
        hits += up;
        alarms += tie.len() as f64 - up;
        points.push((alarms / negatives, hits / positives));
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn auc_of_perfect_reversed_tied_and_one_sided() {
        assert_eq!(auc(&[(0.9, true), (0.1, false), (0.8, true), (0.2, false)]), Some(1.0));
        assert_eq!(auc(&[(0.1, true), (0.9, false)]), Some(0.0));
        assert_eq!(auc(&[(0.5, true), (0.5, false), (0.5, false)]), Some(0.5));
        // Pairs: 0.4 beats 0.3, loses to 0.6; 0.8 beats both.
        assert_eq!(auc(&[(0.4, true), (0.8, true), (0.3, false), (0.6, false)]), Some(0.75));
        assert_eq!(auc(&[(0.5, true)]), None);
    }

    proptest! {
        #[test]
        fn auc_counts_the_pairs(scored in prop::collection::vec((0u8..12, any::<bool>()), 0..60)) {
            let scored: Vec<(f32, bool)> = scored.into_iter().map(|(s, p)| (f32::from(s) / 12.0, p)).collect();
            let (mut sum, mut pairs) = (0.0, 0usize);
            for (p, _) in scored.iter().filter(|s| s.1) {
                for (n, _) in scored.iter().filter(|s| !s.1) {
                    pairs += 1;
                    sum += if p > n { 1.0 } else if p == n { 0.5 } else { 0.0 };
                }
            }
            match auc(&scored) {
                None => prop_assert_eq!(pairs, 0),
                Some(area) => {
                    prop_assert!((area - sum / pairs as f64).abs() < 1e-9);
                    // The curve spans the same area.
                    let under: f64 =
                        curve(&scored).windows(2).map(|w| (w[1].0 - w[0].0) * (w[0].1 + w[1].1) / 2.0).sum();
                    prop_assert!((area - under).abs() < 1e-9);
                }
            }
        }

        #[test]
        fn the_interval_holds_the_area_whatever_the_groups(
            scored in prop::collection::vec((0u8..20, any::<bool>(), 0u8..6), 2..40), seed: u64
        ) {
            let names: Vec<String> = (0..6).map(|i| format!("g{i}")).collect();
            let scored: Vec<Grouped> =
                scored.iter().map(|&(s, p, g)| (f32::from(s), p, names[usize::from(g)].as_str())).collect();
            let plain: Vec<(f32, bool)> = scored.iter().map(|s| (s.0, s.1)).collect();
            let interval = auc_interval(&scored, seed);
            prop_assert_eq!(interval.is_some(), auc(&plain).is_some());
            if let (Some(i), Some(area)) = (interval, auc(&plain)) {
                prop_assert!(0.0 <= i.low && i.low <= area + 1e-9 && area <= i.high + 1e-9 && i.high <= 1.0, "{i:?} {area}");
                prop_assert_eq!(auc_interval(&scored, seed), interval);
            }
        }
    }

    #[test]
    fn two_perfect_groups_prove_little() {
        let names: Vec<String> = (0..60).map(|i| format!("g{i}")).collect();
        let scored = |positives: usize| -> Vec<Grouped<'_>> {
            names
                .iter()
                .enumerate()
                .map(|(i, g)| (if i < positives { 1.0 } else { 0.0 }, i < positives, g.as_str()))
                .collect()
        };
        let (two, twenty) = (auc_interval(&scored(2), 1).unwrap(), auc_interval(&scored(20), 1).unwrap());
        assert!(two.low < 0.75 && two.high == 1.0, "{two:?}");
        assert!(twenty.low > 0.88 && twenty.low < 1.0, "{twenty:?}");
    }

    #[test]
    fn the_interval_covers_the_true_area_about_as_often_as_it_says() {
        // Positives are uniform on 0.3..1.3, negatives on 0..1: the area is 1 − 0.7² / 2 = 0.755.
        let names: Vec<String> = (0..80).map(|i| format!("g{i}")).collect();
        let mut rng = StdRng::seed_from_u64(7);
        let covered = (0..60)
            .filter(|round| {
                let scored: Vec<Grouped> = names
                    .iter()
                    .enumerate()
                    .map(|(i, g)| (rng.random::<f32>() + if i < 20 { 0.3 } else { 0.0 }, i < 20, g.as_str()))
                    .collect();
                auc_interval(&scored, *round).is_some_and(|i| (i.low..=i.high).contains(&0.755))
            })
            .count();
        assert!(covered >= 53, "{covered} of 60");
    }
}

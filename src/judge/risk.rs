//! Coverage against risk: how much is named at which error, as all thresholds move together. Pure.

use super::label::{Truth, truth};
use super::{Judged, Thresholds};
use crate::anatomy::Region;
use serde::Serialize;

/// What would be named if every threshold lay `margin` higher.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Point {
    /// Log-odds added to every `accept`; 0 is where the card's thresholds lie.
    pub margin: f64,
    /// Part of all images that is named.
    pub coverage: f64,
    /// Part of those that is named wrongly.
    pub risk: f64,
    /// Part of the five regions' images that is named rightly.
    pub recall: f64,
    /// Part of the outside radiographs (neighbours not counted) that is named.
    pub outside: f64,
}

pub(super) fn log_odds(p: f32) -> f64 {
    let p = f64::from(p).clamp(1e-7, 1.0 - 1e-7);
    (p / (1.0 - p)).ln()
}

/// The region that an image would be named soonest, and how far above its threshold it is; none where a further head is as
/// probable.
pub fn soonest(judged: &Judged, thresholds: &Thresholds) -> Option<(Region, f64)> {
    let margin = |r: Region| Some(log_odds(*judged.scores.get(r.term())?) - log_odds(thresholds.get(r.term())?.accept));
    let best = Region::ALL.into_iter().filter_map(|r| Some((r, margin(r)?))).max_by(|a, b| a.1.total_cmp(&b.1))?;
    let own = *judged.scores.get(best.0.term())?;
    let beaten = judged.scores.iter().any(|(head, &p)| Region::from_term(head).is_none() && p >= own);
    (!beaten).then_some(best)
}

/// The curve from the strictest margin to none, one point for each distinct one.
///
/// Where two regions would be accepted, which the daemon leaves alone, the better one counts here: so the curve is monotone in
/// its coverage, and at a margin of 0 it names a few more than the report.
pub fn curve(judged: &[Judged], thresholds: &Thresholds) -> Vec<Point> {
    let mut named: Vec<(f64, Region, Truth)> =
        judged.iter().filter_map(|j| soonest(j, thresholds).map(|(r, m)| (m, r, truth(&j.region)))).collect();
    named.sort_by(|a, b| b.0.total_cmp(&a.0));
    let count = |kind: fn(Truth) -> bool| judged.iter().filter(|j| kind(truth(&j.region))).count().max(1) as f64;
    let (five, outside) = (count(|t| matches!(t, Truth::Region(_))), count(|t| t == Truth::Outside));
    let (mut all, mut right, mut out) = (0.0, 0.0, 0.0);
    let mut points = Vec::new();
    for tie in named.chunk_by(|a, b| a.0 == b.0) {
        for &(_, region, truth) in tie {
            all += 1.0;
            right += if truth == Truth::Region(region) { 1.0 } else { 0.0 };
            out += if truth == Truth::Outside { 1.0 } else { 0.0 };
        }
        points.push(Point {
            margin: tie[0].0,
            coverage: all / judged.len() as f64,
            risk: (all - right) / all,
            recall: right / five,
            outside: out / outside,
        });
    }
    points
}

#[cfg(test)]
mod tests {
    use super::super::tests::{flat, judged};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn by_hand() {
        let t = flat(0.5);
        let images =
            [judged("HAND", "HAND", 0.9, &t), judged("FOOT", "HAND", 0.7, &t), judged("HAND", "HAND", 0.6, &t)];
        let curve = curve(&images, &t);
        let at: Vec<_> = curve.iter().map(|p| (p.coverage * 3.0, p.risk, p.recall, p.outside)).collect();
        assert_eq!(at, [(1.0, 0.0, 0.5, 0.0), (2.0, 0.5, 0.5, 1.0), (3.0, 1.0 / 3.0, 1.0, 1.0)]);
        assert!(curve.iter().all(|p| p.margin > 0.0));
    }

    proptest! {
        #[test]
        fn coverage_rises_as_the_margin_falls(scores in prop::collection::vec((0.0f32..1.0, any::<bool>()), 0..50)) {
            let t = flat(0.6);
            let images: Vec<Judged> =
                scores.iter().map(|&(p, hand)| judged(if hand { "HAND" } else { "FOOT" }, "HAND", p, &t)).collect();
            let curve = curve(&images, &t);
            for pair in curve.windows(2) {
                prop_assert!(pair[0].margin > pair[1].margin && pair[0].coverage < pair[1].coverage);
                prop_assert!(pair[0].recall <= pair[1].recall && pair[0].outside <= pair[1].outside);
            }
            prop_assert!(curve.iter().all(|p| (0.0..=1.0).contains(&p.risk) && p.coverage <= 1.0));
        }
    }
}

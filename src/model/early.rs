//! When an image need not be judged in all of the card's orientations.
//!
//! The mean over orientations moves less the more of them are in it. Where it is far from every threshold already, the rest cannot
//! turn the verdict; how far is far was found by trying ([`STAGES`]), and [`Early`] is what the card knows of it: images are
//! judged by fewer orientations only where that was measured not to change verdicts.

use super::card::Head;
use crate::anatomy::Region;
use crate::verdict::Threshold;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The least share of equal verdicts with which stopping early is used.
pub const LEAST_AGREEMENT: f64 = 0.995;

/// What was measured of stopping early: `evaluate --fit` writes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Early {
    /// Images judged both ways, each from all eight orientations.
    pub images: usize,
    /// The share of verdicts that were the same, 0 to 1.
    pub agreement: f64,
    /// The mean number of orientations that an image took.
    pub views: f64,
}

impl Early {
    /// In words, for the card and the terminal.
    pub fn told(&self) -> String {
        format!(
            "stopping early, where the verdict is settled, is {}: of {} verdicts, {:.2} % are those of all orientations, with {:.2} of them in the mean",
            if self.holds() { "used" } else { "not used" },
            8 * self.images,
            100.0 * self.agreement,
            self.views
        )
    }

    /// Whether images may be judged so.
    pub fn holds(&self) -> bool {
        self.images > 0 && self.agreement >= LEAST_AGREEMENT
    }
}

/// How many orientations are in the mean, and how far from the thresholds it must lie, in log-odds.
struct Stage {
    views: usize,
    /// Below the thresholds under which the regions are excluded.
    outside: f32,
    /// Above the one from which a region is accepted, and below even for every other head.
    named: f32,
}

const STAGES: [Stage; 3] = [
    Stage { views: 1, outside: 2.5, named: 2.0 },
    Stage { views: 2, outside: 1.5, named: 1.2 },
    Stage { views: 4, outside: 1.0, named: 0.7 },
];

/// Whether the mean logits of `views` orientations, in the order of `heads`, can be taken for those of all.
pub fn settled(logits: &[f32], views: usize, heads: &[Head], regions: &BTreeMap<String, Threshold>) -> bool {
    let Some(stage) = STAGES.iter().find(|stage| stage.views == views) else { return false };
    if logits.len() != heads.len() || logits.iter().any(|v| !v.is_finite()) {
        return false;
    }
    // By head: its log-odds, and the thresholds of a region; a further head has none.
    let threshold = |head: &Head| Region::from_term(&head.name).and_then(|r| regions.get(r.term())).copied();
    let scored: Vec<(f32, Option<Threshold>)> =
        heads.iter().zip(logits).map(|(head, logit)| (head.log_odds(*logit), threshold(head))).collect();
    if Region::ALL.iter().any(|region| !regions.contains_key(region.term())) {
        return false;
    }
    let excluded = |t: Threshold, odds: f32| odds < log_odds(t.reject.min(t.accept)) - stage.outside;
    if scored.iter().all(|(odds, t)| t.is_none_or(|t| excluded(t, *odds))) {
        return true;
    }
    let accepted = |(odds, t): &(f32, Option<Threshold>)| {
        t.is_some_and(|t| t.accept > 0.0 && *odds >= log_odds(t.accept) + stage.named)
    };
    let harmless =
        |(odds, t): &(f32, Option<Threshold>)| *odds < t.map_or(0.0, |t| log_odds(t.accept).min(0.0)) - stage.named;
    let named = scored.iter().filter(|head| accepted(head)).count();
    named == 1 && scored.iter().all(|head| accepted(head) || harmless(head))
}

/// Not finite at 0 and 1: then nothing is far enough.
fn log_odds(p: f32) -> f32 {
    (p / (1.0 - p)).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heads() -> Vec<Head> {
        let names = Region::ALL.iter().map(|r| r.term()).chain(["FOOT"]);
        names.map(|name| Head { name: name.to_owned(), scale: 1.0, offset: 0.0 }).collect()
    }

    fn regions() -> BTreeMap<String, Threshold> {
        let threshold = Threshold { accept: 0.8, reject: 0.3 };
        Region::ALL.iter().map(|r| (r.term().to_owned(), threshold)).collect()
    }

    fn settles(change: impl Fn(&str) -> f32, views: usize) -> bool {
        let heads = heads();
        let logits: Vec<f32> = heads.iter().map(|h| change(&h.name)).collect();
        settled(&logits, views, &heads, &regions())
    }

    #[test]
    fn an_image_far_from_every_threshold_is_settled_the_sooner_the_farther() {
        assert!(settles(|_| -4.0, 1), "far outside");
        assert!(!settles(|_| -3.0, 1), "one view is not trusted with as little");
        assert!(settles(|_| -3.0, 2) && settles(|_| -2.0, 4));
        let hand = |odds: f32| move |name: &str| if name == "HAND" { odds } else { -4.0 };
        assert!(settles(hand(3.5), 1) && !settles(hand(3.0), 1) && settles(hand(3.0), 2));
        assert!(!settles(hand(0.0), 4), "in between");
    }

    #[test]
    fn a_foot_may_be_as_likely_as_it_likes_where_no_region_is_and_not_beside_one() {
        assert!(settles(|name| if name == "FOOT" { 6.0 } else { -4.0 }, 1));
        let beside = |foot: f32| {
            move |name: &str| [("HAND", 5.0), ("FOOT", foot)].iter().find(|(n, _)| *n == name).map_or(-5.0, |(_, v)| *v)
        };
        assert!(settles(beside(-3.0), 2) && !settles(beside(-0.5), 2) && !settles(beside(1.0), 4));
    }

    #[test]
    fn two_regions_numbers_that_are_none_and_the_last_view_settle_nothing() {
        assert!(!settles(|name| if name == "HAND" || name == "KNEE" { 6.0 } else { -6.0 }, 4));
        assert!(!settles(|name| if name == "FOOT" { f32::NAN } else { -6.0 }, 4));
        assert!(!settles(|_| -9.0, 8) && !settles(|_| -9.0, 3));
        let none = BTreeMap::new();
        let heads = heads();
        assert!(!settled(&vec![-9.0; heads.len()], 4, &heads, &none), "no thresholds");
        let never = regions().into_keys().map(|r| (r, Threshold { accept: 1.0, reject: 0.0 })).collect();
        assert!(!settled(&vec![-9.0; heads.len()], 4, &heads, &never), "nothing lies below 0");
    }
}

//! Thresholds for a stated rate of false corrections. Pure.
//!
//! Half a percent cannot be counted on a hundred images, so the rate is modelled. An outside image *claims* a region when
//! that region's probability is one half or more and no other head's is above: then only the threshold stands between it
//! and a false correction. How many claim is counted; how far the claims go beyond one half is taken to fall off exponentially
//! in log-odds. Where probabilities are calibrated, `P(x | another) = P(x | the region) · e⁻ˣ · odds`: it falls by e in one unit
//! where the region's own scores are level, in two where they rise as fast as the others fall. The prior for this pace lies
//! between, and few claims leave it there.
//!
//! The five regions share the target evenly. How many claims are a region's own is drawn towards a fifth of all, and no
//! threshold is moved by the region's own images, so that two elbows cannot.
//!
//! What is no radiograph is rare where radiographs are sent and has no part in the rate, but no threshold lies below what such
//! an image claimed.

use super::interval::{Interval, percentiles, wilson, wilson_part};
use super::label::{Truth, truth};
use super::risk::log_odds;
use super::{Output, Thresholds};
use crate::anatomy::Region;
use crate::verdict::Threshold;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;
use std::collections::BTreeMap;

/// The rate of false corrections among outside radiographs that thresholds are chosen for, unless another is asked for.
pub const TARGET: f64 = 0.005;
/// Where the target would leave less than this part of the five regions' images named, the thresholds give way …
const LEAST_RECALL: f64 = 0.85;
/// … down to this many times the target.
const GIVE_WAY: f64 = 4.0;
/// Log-odds in which claims fall off by e, before any is seen.
const PACE: f64 = 1.5;
/// Weight of the priors for the pace at which claims fall off and for a region's part of them, in claims.
const PRIOR: f64 = 4.0;
/// `accept` is not beyond this, whatever the model says: of what is rarer a hundred images tell nothing, and recall is lost for
/// certain. What that leaves of the rate is told.
const HIGHEST: f32 = 0.95;
/// Log-odds by which a threshold lies above the claims of what is no radiograph.
const ABOVE: f64 = 0.1;
/// Resamples of the groups for the interval of the modelled rate.
const RESAMPLES: usize = 500;
const SEED: u64 = 1;

/// What the thresholds rest on; part of the model card.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evidence {
    /// The rate of false corrections among outside radiographs that was asked for.
    pub target: f64,
    /// Outside radiographs (neighbours not among them) that the rate was modelled on.
    pub outside: usize,
    /// The groups that they lie in.
    pub groups: usize,
    /// Changed copies of each image that took part.
    pub copies: usize,
    /// Images (parts of one, with copies) that claim a region.
    pub claims: f64,
    /// Log-odds by which the claims exceed one half in the mean, drawn towards the prior.
    pub pace: f64,
    /// The modelled rate at the thresholds.
    pub expected: f64,
    /// Its 95 % interval: a bootstrap over the groups, and what the number of claims alone leaves open (Wilson).
    pub expected_95: Option<Interval>,
    /// Outside images that are called a region at the thresholds.
    pub counted: usize,
    /// By [`wilson`]: what counting alone can show.
    pub counted_95: Option<Interval>,
    /// Part of the five regions' images, with their copies, that is named.
    pub recall: f64,
    /// Whether `expected` keeps to the target; where it does not, the recall was given preference, or [`HIGHEST`] reached.
    pub met: bool,
}

/// One image of the outside: in each row that has one, the strongest claim, by how much it exceeds one half, and what the row
/// counts.
struct Negative<'a> {
    output: &'a Output,
    claims: Vec<(Region, f64, f64)>,
}

/// An outside radiograph that claims a region, as it is or in a changed copy: thresholds lie as high as they do because of such.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Claimant {
    /// As the manifest has it.
    pub path: String,
    /// Its label.
    pub label: String,
    /// The region that it claims most.
    pub region: Region,
    /// How much of it claims that region: above 0, up to 1, where the image and each of its copies do.
    pub part: f64,
}

impl Claimant {
    fn of(negative: &Negative) -> Option<Claimant> {
        let mut parts: BTreeMap<Region, f64> = BTreeMap::new();
        for (region, _, counts) in &negative.claims {
            *parts.entry(*region).or_default() += counts;
        }
        let (region, part) = parts.into_iter().max_by(|a, b| a.1.total_cmp(&b.1))?;
        let Output { path, region: label, .. } = negative.output;
        Some(Claimant { path: path.clone(), label: label.clone(), region, part })
    }
}

/// How claims are spread.
struct Tail {
    /// Modelled part of the outside radiographs that claims each region.
    claim: BTreeMap<Region, f64>,
    claims: f64,
    pace: f64,
}

impl Tail {
    fn fit(negatives: &[&Negative]) -> Tail {
        let mut counts: BTreeMap<Region, f64> = Region::ALL.into_iter().map(|r| (r, 0.0)).collect();
        let (mut claims, mut excess) = (0.0, 0.0);
        for &(region, beyond, counts_for) in negatives.iter().flat_map(|n| &n.claims) {
            *counts.entry(region).or_default() += counts_for;
            claims += counts_for;
            excess += counts_for * beyond;
        }
        // One claim more than there are: none among so few does not mean that there are none.
        let rate = (claims + 1.0) / (negatives.len() + 1) as f64;
        let even = PRIOR / counts.len() as f64;
        let claim = counts.into_iter().map(|(region, own)| (region, rate * (own + even) / (claims + PRIOR))).collect();
        Tail { claim, claims, pace: (excess + PRIOR * PACE) / (claims + PRIOR) }
    }

    /// The thresholds, in log-odds, that leave each region a fifth of `rate`, none of them below `least`.
    fn accept(&self, rate: f64, least: &BTreeMap<Region, f64>) -> BTreeMap<Region, f64> {
        let highest = log_odds(HIGHEST);
        let share = rate / self.claim.len() as f64;
        let one = |(region, claim): (&Region, &f64)| {
            let least = least.get(region).copied().unwrap_or(0.0).clamp(0.0, highest);
            (*region, (self.pace * (claim / share).ln()).clamp(least, highest))
        };
        self.claim.iter().map(one).collect()
    }

    /// What the number of claims leaves open of a modelled rate: with none among few, a bootstrap has nothing to vary.
    fn open(&self, groups: usize, expected: f64) -> Interval {
        let part = self.claims / groups.max(1) as f64;
        let claims = wilson_part(part, groups as f64);
        let modelled: f64 = self.claim.values().sum();
        let at = |claims: f64| expected * claims / modelled;
        Interval { low: at(claims.low).min(expected), high: at(claims.high).max(expected) }
    }

    /// The modelled rate at thresholds.
    fn rate(&self, accept: &BTreeMap<Region, f64>) -> f64 {
        let one = |(region, claim): (&Region, &f64)| claim * (-accept.get(region).unwrap_or(&0.0) / self.pace).exp();
        self.claim.iter().map(one).sum()
    }
}

/// An image for choosing by: the calibrated log-odds of each head for it and each copy, and what each of these counts.
pub struct Image<'a> {
    /// Its labels.
    pub output: &'a Output,
    /// In the order of the heads.
    pub rows: Vec<(Vec<f64>, f64)>,
}

/// Where each region stands in a row.
struct Places {
    regions: BTreeMap<Region, usize>,
}

impl Places {
    fn new(heads: &[String]) -> Places {
        let place = |(i, head): (usize, &String)| Some((Region::from_term(head)?, i));
        Places { regions: heads.iter().enumerate().filter_map(place).collect() }
    }

    /// The region's log-odds, where the verdict's rule sees no rival to it.
    fn free(&self, region: Region, row: &[f64]) -> Option<f64> {
        let place = *self.regions.get(&region)?;
        let own = row[place];
        row.iter().enumerate().all(|(i, other)| i == place || (*other <= 0.0 && *other < own)).then_some(own)
    }
}

/// Thresholds for a `target` (0..1): the rate of outside radiographs that may be called a region.
///
/// `accept` keeps the modelled rate at the target, or up to [`GIVE_WAY`] times that where less than [`LEAST_RECALL`] of
/// the regions' images would be named; the evidence says which it was. `reject` lies under all but the last twentieth of the
/// region's own images, as far as these and the other regions' tell.
///
/// Also the outside images that claim a region, those that do so most first.
pub fn choose(images: &[Image], heads: &[String], target: f64) -> (Thresholds, Evidence, Vec<Claimant>) {
    let places = Places::new(heads);
    let outside = |i: &&Image| matches!(truth(&i.output.region), Truth::Outside);
    let negatives: Vec<Negative> = images.iter().filter(outside).map(|i| negative(i, &places)).collect();
    let all: Vec<&Negative> = negatives.iter().collect();
    let tail = Tail::fit(&all);
    let positives: Vec<(Region, &Image)> =
        images.iter().filter_map(|i| Some((Region::from_term(&i.output.region)?, i))).collect();
    let recall = |accept: &BTreeMap<Region, f64>| {
        let named = |(region, image): &(Region, &Image)| -> f64 {
            let least = accept.get(region).copied().unwrap_or(0.0);
            let rows = image.rows.iter().filter(|(row, _)| places.free(*region, row).is_some_and(|x| x >= least));
            rows.map(|(_, counts)| counts).sum()
        };
        positives.iter().map(named).sum::<f64>() / positives.len().max(1) as f64
    };
    // In steps of a tenth of the way, the first that leaves recall enough.
    let rates = (0..=10).map(|step| target * GIVE_WAY.powf(f64::from(step) / 10.0));
    let least = least(images, &places);
    let candidates: Vec<BTreeMap<Region, f64>> = rates.map(|rate| tail.accept(rate, &least)).collect();
    let enough = candidates.iter().position(|accept| positives.is_empty() || recall(accept) >= LEAST_RECALL);
    let accept = candidates[enough.unwrap_or(candidates.len() - 1)].clone();
    let reject = reject(&positives, &places);
    let thresholds: Thresholds = Region::ALL
        .into_iter()
        .map(|region| {
            let accept = probability(accept.get(&region).copied().unwrap_or(0.0));
            let reject = reject.get(&region).copied().unwrap_or(0.1).min(accept);
            (region.term().to_owned(), Threshold { accept, reject })
        })
        .collect();
    let mut groups: Vec<&str> = negatives.iter().map(|n| n.output.group.as_str()).collect();
    groups.sort_unstable();
    groups.dedup();
    // The first row is the image as it is.
    let beyond = |row: &[f64], (region, least): (&Region, &f64)| places.free(*region, row).is_some_and(|x| x >= *least);
    let named = |i: &&Image| i.rows.first().is_some_and(|(row, _)| accept.iter().any(|a| beyond(row, a)));
    let counted = images.iter().filter(outside).filter(named).count();
    let expected = tail.rate(&accept);
    let evidence = Evidence {
        target,
        outside: negatives.len(),
        groups: groups.len(),
        copies: images.iter().map(|i| i.output.copies.len()).max().unwrap_or(0),
        claims: tail.claims,
        pace: tail.pace,
        expected,
        expected_95: bootstrap(&negatives, &groups, &accept).map(|b| b.union(tail.open(groups.len(), expected))),
        counted,
        counted_95: wilson(counted, negatives.len(), groups.len()),
        recall: recall(&accept),
        met: expected <= target * 1.001,
    };
    let mut claimants: Vec<Claimant> = negatives.iter().filter_map(Claimant::of).collect();
    claimants.sort_by(|a, b| b.part.total_cmp(&a.part));
    (thresholds, evidence, claimants)
}

/// For each region, just above the strongest claim of an image (not of its copies) that is no radiograph.
fn least(images: &[Image], places: &Places) -> BTreeMap<Region, f64> {
    let others = images.iter().filter(|i| truth(&i.output.region) == Truth::NoRadiograph);
    let rows: Vec<&Vec<f64>> = others.filter_map(|i| Some(&i.rows.first()?.0)).collect();
    let claims = |region| rows.iter().filter_map(move |row| places.free(region, row));
    Region::ALL.into_iter().filter_map(|r| Some((r, claims(r).reduce(f64::max)? + ABOVE))).collect()
}

fn probability(odds: f64) -> f32 {
    (1.0 / (1.0 + (-odds).exp())) as f32
}

fn negative<'a>(image: &Image<'a>, places: &Places) -> Negative<'a> {
    // The strongest claim of a row: where two are accepted, nothing is written.
    let strongest = |(row, counts): &(Vec<f64>, f64)| {
        let free = Region::ALL.into_iter().filter_map(|region| Some((region, places.free(region, row)?)));
        let (region, beyond) = free.max_by(|a, b| a.1.total_cmp(&b.1)).filter(|(_, beyond)| *beyond >= 0.0)?;
        Some((region, beyond, *counts))
    };
    Negative { output: image.output, claims: image.rows.iter().filter_map(strongest).collect() }
}

/// The modelled rate at fixed thresholds over resamples of the groups.
fn bootstrap(negatives: &[Negative], groups: &[&str], accept: &BTreeMap<Region, f64>) -> Option<Interval> {
    if groups.is_empty() {
        return None;
    }
    let members: Vec<Vec<&Negative>> =
        groups.iter().map(|g| negatives.iter().filter(|n| n.output.group == *g).collect()).collect();
    let mut rng = StdRng::seed_from_u64(SEED);
    let mut one = || {
        let drawn: Vec<&Negative> =
            (0..groups.len()).flat_map(|_| members[rng.random_range(0..groups.len())].iter().copied()).collect();
        Tail::fit(&drawn).rate(accept)
    };
    percentiles((0..RESAMPLES).map(|_| one()).collect())
}

/// The probability under which a twentieth of each region's images lies, by a normal distribution: its mean is drawn towards that
/// of all the regions with the weight of four images, its deviation is that of all.
fn reject(positives: &[(Region, &Image)], places: &Places) -> BTreeMap<Region, f32> {
    let rows = |wanted: Option<Region>| -> Vec<(f64, f64)> {
        let of = positives.iter().filter(|(r, _)| wanted.is_none_or(|wanted| wanted == *r));
        let place = |r: &Region| places.regions.get(r).copied();
        of.filter_map(|(r, image)| Some((place(r)?, image)))
            .flat_map(|(i, image)| image.rows.iter().map(move |(row, counts)| (row[i], *counts)))
            .collect()
    };
    let sums = |rows: &[(f64, f64)]| rows.iter().fold((0.0, 0.0), |(n, s), (x, c)| (n + c, s + c * x));
    let all = rows(None);
    let (count, sum) = sums(&all);
    if count == 0.0 {
        return BTreeMap::new();
    }
    let mean = sum / count;
    let deviation = (all.iter().map(|(x, c)| c * (x - mean).powi(2)).sum::<f64>() / count).sqrt();
    let one = |region| {
        let (n, s) = sums(&rows(Some(region)));
        let own = (s + 4.0 * mean) / (n + 4.0);
        (region, probability(own - 1.645 * deviation).clamp(0.02, 0.35))
    };
    Region::ALL.into_iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::super::label::NO_RADIOGRAPH;
    use super::super::tests::{draw, names};
    use super::super::{Fitted, fit, judged, report};
    use super::*;

    /// Part of the outside radiographs of a set that is called a region, and part of the regions' that is called rightly.
    fn rates(outputs: &[Output], fitted: &Fitted) -> (f64, f64) {
        let judged = judged(outputs, &fitted.heads, &fitted.thresholds);
        let report = report(&judged, &fitted.thresholds);
        let right = judged.iter().filter(|j| j.called.is_some() && !j.is_error()).count() as f64;
        (report.outside.rate, right / report.regions.values().map(|r| r.positives).sum::<usize>() as f64)
    }

    #[test]
    fn what_is_said_holds_on_images_that_were_not_there() {
        let fresh = draw(300, 900, 4.0, 99);
        let (mut outside, mut said, rounds) = (0.0, 0.0, 10);
        for seed in 0..rounds {
            let fitted = fit(&draw(20, 60, 4.0, seed), &names(), 0.01);
            let evidence = &fitted.evidence;
            let (rate, recall) = rates(&fresh, &fitted);
            assert!(rate <= evidence.expected_95.unwrap().high, "seed {seed}: {rate} {evidence:?}");
            assert!(recall > 0.7, "seed {seed}: {recall} {evidence:?}");
            outside += rate;
            said += evidence.expected;
        }
        // A hundred images tell it within half as much again.
        assert!(outside <= 1.5 * said && said <= 0.02 * rounds as f64, "{outside} {said}");
    }

    #[test]
    fn the_image_that_claims_most_is_told_first() {
        let mut seen = draw(20, 60, 4.0, 5);
        // Of a foot all that there is claims to be a hand, of another its copies alone.
        let hand = names().iter().position(|n| n == "HAND").unwrap();
        let claiming =
            |o: &Output| o.logits.iter().enumerate().map(|(i, _)| if i == hand { 9.0 } else { -9.0 }).collect();
        let feet: Vec<usize> = (0..seen.len()).filter(|i| truth(&seen[*i].region) == Truth::Outside).take(2).collect();
        for (&i, whole) in feet.iter().zip([true, false]) {
            let logits: Vec<f32> = claiming(&seen[i]);
            seen[i].copies = vec![logits.clone(); 2];
            if whole {
                seen[i].logits = logits;
            }
        }
        let claimants = fit(&seen, &names(), 0.01).claimants;
        assert_eq!((claimants[0].path.as_str(), claimants[0].region), (seen[feet[0]].path.as_str(), Region::Hand));
        assert_eq!(claimants[0].label, seen[feet[0]].region);
        assert!(
            (claimants[0].part - 1.0).abs() < 1e-9
                && claimants[1].part < 1.0
                && claimants[1].path == seen[feet[1]].path
        );
        assert!(claimants.windows(2).all(|two| two[0].part >= two[1].part));
    }

    #[test]
    fn a_stricter_target_asks_for_more() {
        let seen = draw(20, 100, 2.0, 3);
        let accept = |target| fit(&seen, &names(), target).thresholds["KNEE"].accept;
        assert!(accept(0.001) >= accept(0.01) && accept(0.01) > accept(0.2));
        assert!((0.5..=HIGHEST + 1e-6).contains(&accept(1e-9)));
    }

    #[test]
    fn where_both_cannot_be_had_the_evidence_says_so() {
        let evidence = fit(&draw(20, 100, 0.7, 11), &names(), 0.005).evidence;
        assert!(!evidence.met && evidence.expected > 0.005, "{evidence:?}");
        let interval = evidence.expected_95.unwrap();
        assert!(interval.low <= evidence.expected && evidence.expected <= interval.high, "{evidence:?}");
    }

    #[test]
    fn two_positives_move_no_threshold_of_their_own() {
        let outputs = draw(6, 30, 3.0, 5);
        let image = |o, by: f64| Image {
            output: o,
            rows: o.rows().map(|(r, c)| (r.iter().map(|x| f64::from(*x) + by).collect(), c)).collect(),
        };
        let elbow = |by| -> Thresholds {
            let images: Vec<Image> =
                outputs.iter().map(|o| image(o, if o.region == "ELBOW" { by } else { 0.0 })).collect();
            choose(&images, &names(), 0.01).0
        };
        assert_eq!(elbow(0.0)["ELBOW"].accept, elbow(5.0)["ELBOW"].accept);
    }

    #[test]
    fn no_threshold_lies_below_what_claimed_it_and_is_no_radiograph() {
        let outputs = draw(6, 30, 3.0, 5);
        let other = Output { region: NO_RADIOGRAPH.into(), ..outputs[0].clone() };
        let row = |o: &Output| o.logits.iter().map(|x| f64::from(*x)).collect();
        let mut images: Vec<Image> = outputs.iter().map(|o| Image { output: o, rows: vec![(row(o), 1.0)] }).collect();
        let (before, ..) = choose(&images, &names(), 0.02);
        let knee = names().iter().position(|h| h == "KNEE").unwrap();
        let mut odds = vec![-3.0; names().len()];
        odds[knee] = 2.7;
        images.push(Image { output: &other, rows: vec![(odds.clone(), 1.0)] });
        let (after, ..) = choose(&images, &names(), 0.02);
        assert!(before["KNEE"].accept < probability(2.7) && after["KNEE"].accept > probability(2.7), "{before:?}");
        assert_eq!(before["HAND"], after["HAND"]);
        // With a rival it claims nothing.
        odds[(knee + 1) % names().len()] = 0.5;
        images.last_mut().unwrap().rows = vec![(odds, 1.0)];
        assert_eq!(choose(&images, &names(), 0.02).0["KNEE"], before["KNEE"]);
    }

    #[test]
    fn without_outside_images_or_positives_there_still_are_thresholds() {
        let mut none = draw(3, 0, 3.0, 1);
        none.retain(|o| o.region == "HAND");
        for outputs in [none, Vec::new()] {
            let Fitted { thresholds, evidence, .. } = fit(&outputs, &names(), TARGET);
            assert_eq!((thresholds.len(), evidence.outside, evidence.expected_95), (5, 0, None));
            assert!(thresholds.values().all(|t| t.accept >= 0.5 && t.reject <= t.accept));
        }
    }
}

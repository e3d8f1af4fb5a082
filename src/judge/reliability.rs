//! Calibration seen: how often an image of such a probability is of the region. Pure.

use super::Judged;
use super::platt::{Weighed, down};
use super::report::scored;
use crate::anatomy::Region;
use serde::Serialize;

/// Bins of equal width over 0..=1.
pub const BINS: usize = 10;

/// The images whose probability falls into one bin.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Bin {
    /// How many.
    pub images: usize,
    /// What they count together.
    pub weight: f64,
    /// Mean probability.
    pub said: f64,
    /// Part that is positive.
    pub seen: f64,
}

/// Images weighed as if one in five were positive, which is what the calibration was fitted for.
pub fn balanced(scored: &[(f32, bool)]) -> Vec<Weighed> {
    let one: Vec<Weighed> = scored.iter().map(|&(p, positive)| (p, positive, 1.0)).collect();
    let down = down(&one);
    one.into_iter().map(|(p, positive, _)| (p, positive, if positive { 1.0 } else { down })).collect()
}

/// The reliability curve: [`BINS`] bins, empty ones included.
pub fn bins(scored: &[Weighed]) -> Vec<Bin> {
    let mut bins = vec![Bin::default(); BINS];
    for &(p, positive, weight) in scored {
        let bin = &mut bins[((f64::from(p) * BINS as f64) as usize).min(BINS - 1)];
        bin.images += 1;
        bin.weight += weight;
        bin.said += weight * f64::from(p);
        bin.seen += if positive { weight } else { 0.0 };
    }
    for bin in bins.iter_mut().filter(|b| b.weight > 0.0) {
        bin.said /= bin.weight;
        bin.seen /= bin.weight;
    }
    bins
}

/// Expected calibration error (Naeini, Cooper and Hauskrecht, AAAI 2015): the mean distance of what was said from what was
/// seen. `None` where nothing counts, as without a positive image.
pub fn ece(bins: &[Bin]) -> Option<f64> {
    let whole: f64 = bins.iter().map(|b| b.weight).sum();
    let sum: f64 = bins.iter().map(|b| b.weight * (b.said - b.seen).abs()).sum();
    (whole > 0.0).then(|| sum / whole)
}

/// The five regions' heads in one curve.
pub fn pooled(judged: &[Judged]) -> Vec<Bin> {
    let all = Region::ALL.into_iter().flat_map(|region| of(judged, region));
    bins(&all.collect::<Vec<_>>())
}

/// One head's images for a curve; nothing where the region has no image.
pub fn of(judged: &[Judged], region: Region) -> Vec<Weighed> {
    let plain: Vec<(f32, bool)> = scored(judged, region.term()).iter().map(|s| (s.0, s.1)).collect();
    if plain.iter().any(|s| s.1) { balanced(&plain) } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    #[test]
    fn ece_by_hand() {
        // One bin says 0.9 and is right half the time, the other says 0.1 and is never wrong.
        let scored = [(0.9, true, 1.0), (0.9, false, 1.0), (0.1, false, 1.0), (0.1, false, 1.0)];
        let bins = bins(&scored);
        assert_eq!(bins[9].images, 2);
        assert!((ece(&bins).unwrap() - (0.5 * 0.4 + 0.5 * 0.1)).abs() < 1e-6);
        assert_eq!(ece(&super::bins(&[])), None);
    }

    #[test]
    fn who_says_the_truth_errs_little() {
        let mut rng = StdRng::seed_from_u64(3);
        let mut draw = |bias: f32| -> Vec<Weighed> {
            let one = |p: f32, rng: &mut StdRng| (p, rng.random::<f32>() < (p * bias).min(1.0), 1.0);
            (0..20_000)
                .map(|_| {
                    let p = rng.random();
                    one(p, &mut rng)
                })
                .collect()
        };
        assert!(ece(&bins(&draw(1.0))).unwrap() < 0.02);
        assert!(ece(&bins(&draw(0.5))).unwrap() > 0.2);
    }

    #[test]
    fn balanced_is_one_in_five() {
        let scored: Vec<(f32, bool)> = (0..50).map(|i| (0.5, i < 2)).collect();
        let weighed = balanced(&scored);
        let (up, all): (f64, f64) =
            weighed.iter().fold((0.0, 0.0), |(u, a), s| (u + if s.1 { s.2 } else { 0.0 }, a + s.2));
        assert!((up / all - 0.2).abs() < 1e-9);
    }
}

//! Calibration: from a head's logit to a probability. Pure.

use crate::model::card::Head;

/// Of so many images, one is assumed to be of a head's region when its probability is calibrated.
///
/// How often a region is met differs from house to house; a validation set says nothing of it, and with two elbows among
/// a hundred images no elbow would ever be likely.
pub const ONE_IN: f64 = 5.0;

/// A logit or score, whether the image is positive, and how much it counts.
pub type Weighed = (f32, bool, f64);

/// By how much a negative image counts less, so that one in [`ONE_IN`] is positive; 0 without either kind.
pub fn down(scored: &[Weighed]) -> f64 {
    let total = |kind: bool| scored.iter().filter(|s| s.1 == kind).map(|s| s.2).sum::<f64>();
    let (positives, negatives) = (total(true), total(false));
    if negatives > 0.0 { (ONE_IN - 1.0) * positives / negatives } else { 0.0 }
}

/// Scale and offset of a Platt scaling (J. Platt, Advances in Large Margin Classifiers, 1999).
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
    /// `strength` images. The negative images together count as many times as the prevalence asks for: a head with one positive
    /// image keeps close to the prior however many negative ones there are.
    pub fn fit(scored: &[Weighed], prior: Platt, strength: f64) -> Platt {
        let down = down(scored);
        let Platt { mut scale, mut offset } = prior;
        // Newton's method; the loss is convex.
        for _ in 0..50 {
            let (mut ga, mut gb) = (strength * (scale - prior.scale), strength * 0.1 * (offset - prior.offset));
            let (mut haa, mut hab, mut hbb) = (strength, 0.0, strength * 0.1);
            for &(logit, positive, counts) in scored {
                let x = f64::from(logit);
                let p = 1.0 / (1.0 + (-(scale * x + offset)).exp());
                let by = counts * if positive { 1.0 } else { down };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platt_moves_probabilities_towards_the_rates() {
        // Overconfident logits: 4 would say 98 %, and is right in three of four; one in five is positive.
        let mut scored = vec![(4.0, true, 1.0); 75];
        scored.extend([(4.0, false, 1.0); 25].into_iter().chain([(-4.0, true, 1.0); 5]));
        scored.extend([(-4.0, false, 1.0); 295]);
        let head = Platt::fit(&scored, Platt::NONE, 0.5).head("KNEE");
        assert!((head.probability(4.0) - 0.75).abs() < 0.03, "{head:?}");
        assert!((head.probability(-4.0) - 5.0 / 300.0).abs() < 0.01, "{head:?}");
        // The same with the positives a tenth as many: the prevalence of the set does not count.
        let mut rare = vec![(4.0, true, 1.0); 15];
        rare.extend([(4.0, false, 1.0); 50].into_iter().chain([(-4.0, true, 1.0); 1]));
        rare.extend([(-4.0, false, 1.0); 590]);
        let rare = Platt::fit(&rare, Platt::NONE, 0.1).head("KNEE");
        assert!((rare.probability(4.0) - head.probability(4.0)).abs() < 0.03, "{rare:?}");
    }

    #[test]
    fn two_halves_count_as_one() {
        let whole = [(2.0, true, 1.0), (-1.0, true, 1.0), (-3.0, false, 1.0), (0.5, false, 1.0)];
        let halves: Vec<Weighed> = whole.iter().flat_map(|&(x, p, _)| [(x, p, 0.5); 2]).collect();
        let (a, b) = (Platt::fit(&whole, Platt::NONE, 1.0), Platt::fit(&halves, Platt::NONE, 1.0));
        assert!((a.scale - b.scale).abs() < 1e-6 && (a.offset - b.offset).abs() < 1e-6);
    }

    #[test]
    fn platt_of_perfectly_parted_scores_stays_finite_and_rising() {
        let head =
            Platt::fit(&[(3.0, true, 1.0), (-3.0, false, 1.0), (-4.0, false, 1.0)], Platt::NONE, 4.0).head("KNEE");
        assert!(head.scale > 0.0 && head.scale < 5.0 && head.offset.abs() < 10.0, "{head:?}");
    }

    #[test]
    fn platt_without_positives_is_the_prior() {
        let prior = Platt { scale: 0.7, offset: 0.4 };
        let fitted = Platt::fit(&[(-3.0, false, 1.0), (1.0, false, 1.0)], prior, 4.0);
        assert!((fitted.scale - 0.7).abs() < 1e-6 && (fitted.offset - 0.4).abs() < 1e-6, "{fitted:?}");
    }
}

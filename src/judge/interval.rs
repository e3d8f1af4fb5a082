//! 95 % intervals. Pure.

use serde::Serialize;

/// The 97.5th percentile of the standard normal distribution.
const Z: f64 = 1.959_964;

/// From `low` to `high`, 95 %.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
}

impl Interval {
    /// The least interval that holds both.
    pub fn union(self, other: Interval) -> Interval {
        Interval { low: self.low.min(other.low), high: self.high.max(other.high) }
    }
}

/// Wilson's score interval of `hits` among `images` that lie in `groups` groups (E. B. Wilson, JASA 22, 1927).
///
/// Images of one patient are no independent witnesses: the part is the images', the number of trials the groups'.
pub fn wilson(hits: usize, images: usize, groups: usize) -> Option<Interval> {
    if images == 0 || groups == 0 {
        return None;
    }
    let (p, n) = (hits as f64 / images as f64, groups as f64);
    let square = Z * Z / n;
    let middle = (p + square / 2.0) / (1.0 + square);
    let half = Z / (1.0 + square) * (p * (1.0 - p) / n + square / (4.0 * n)).sqrt();
    Some(Interval { low: (middle - half).clamp(0.0, p), high: (middle + half).clamp(p, 1.0) })
}

/// Newcombe's interval of an area under a ROC curve from `m` positives and `n` negatives (R. G. Newcombe, Statistics in
/// Medicine 25, 2006, method 5): the areas that differ from the one seen by no more than their own standard deviations allow.
pub fn newcombe(area: f64, m: usize, n: usize) -> Interval {
    let (m, n) = (m.max(1) as f64, n.max(1) as f64);
    let more = (m + n) / 2.0 - 1.0;
    let excess = |t: f64| {
        let spread = t * (1.0 - t) * (1.0 + more * ((1.0 - t) / (2.0 - t) + t / (1.0 + t))) / (m * n);
        (area - t).abs() - Z * spread.sqrt()
    };
    // Between the area and the end there is one change of sign; at the end the spread is 0.
    let solve = |end: f64| {
        let (mut inside, mut outside) = (area, end);
        for _ in 0..60 {
            let middle = (inside + outside) / 2.0;
            if excess(middle) <= 0.0 { inside = middle } else { outside = middle }
        }
        inside
    };
    let low = if area > 0.0 { solve(0.0) } else { 0.0 };
    let high = if area < 1.0 { solve(1.0) } else { 1.0 };
    Interval { low, high }
}

/// The 2.5th and 97.5th percentile of a sample.
pub fn percentiles(mut sample: Vec<f64>) -> Option<Interval> {
    if sample.is_empty() {
        return None;
    }
    sample.sort_by(f64::total_cmp);
    let at = |part: f64| sample[((part * sample.len() as f64) as usize).min(sample.len() - 1)];
    Some(Interval { low: at(0.025), high: at(0.975) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wilson_by_hand() {
        // 8 of 10: (0.8 + 0.19207) / 1.38415 ± 1.96 / 1.38415 · √(0.016 + 0.0096).
        let i = wilson(8, 10, 10).unwrap();
        assert!((i.low - 0.4902).abs() < 1e-3 && (i.high - 0.9433).abs() < 1e-3, "{i:?}");
        let none = wilson(0, 46, 46).unwrap();
        assert!(none.low == 0.0 && (none.high - 0.0771).abs() < 1e-3, "{none:?}");
        assert_eq!(wilson(0, 0, 0), None);
    }

    #[test]
    fn fewer_groups_prove_less() {
        let (many, few) = (wilson(30, 40, 40).unwrap(), wilson(30, 40, 5).unwrap());
        assert!(few.low < many.low && few.high > many.high);
    }

    #[test]
    fn newcombe_is_symmetric_and_narrows() {
        let (a, b) = (newcombe(0.9, 10, 50), newcombe(0.1, 10, 50));
        assert!((a.low + b.high - 1.0).abs() < 1e-9 && (a.high + b.low - 1.0).abs() < 1e-9);
        let wide = newcombe(0.9, 3, 50);
        assert!(wide.low < a.low && wide.high > a.high);
        let perfect = newcombe(1.0, 14, 84);
        assert!(perfect.high == 1.0 && (0.85..0.93).contains(&perfect.low), "{perfect:?}");
    }

    #[test]
    fn percentiles_of_a_thousand() {
        let i = percentiles((0..1000).rev().map(f64::from).collect()).unwrap();
        assert_eq!((i.low, i.high), (25.0, 975.0));
        assert_eq!(percentiles(Vec::new()), None);
    }
}

//! Weights for instructions that add two neighbouring products in 16 bits, which saturate (`vpmaddubsw`).
//!
//! A byte is at most 255, so two products fit where the pair's positive weights add up to at most 128 and its negative ones to at
//! least −128. Few pairs do not: what they have too much is cut off and multiplied once more by itself. All sums stay exact.

use super::tile::PANEL;

/// Weights that are multiplied together: a group of four of a panel's depth, for half of its channels.
const HALF: usize = PANEL / 2 * 4;
/// Most that the weights of one sign in a pair may add up to.
const MOST: i32 = 128;

/// What was cut off the weights of a group.
#[derive(Debug)]
pub struct Excess {
    /// The run of input values, and the first value in it, that they are multiplied with.
    pub run: usize,
    /// See `run`.
    pub at: usize,
    /// `[PANEL / 2, 4]`
    pub weights: [i8; HALF],
}

/// What was cut off the weights of a convolution.
#[derive(Debug)]
pub struct Cuts {
    runs: usize,
    depth: usize,
    /// Of each half of each panel.
    halves: Vec<Vec<Excess>>,
}

/// What was cut off the weights of a panel.
#[derive(Clone, Copy, Debug)]
pub struct Cut<'a> {
    cuts: &'a Cuts,
    panel: usize,
}

impl Cuts {
    /// Cuts panels of `[runs * depth / 4, PANEL, 4]`: with what stays no pair of products overflows 16 bits.
    pub fn off(weights: &mut [i8], runs: usize, depth: usize) -> Cuts {
        let mut all = Vec::new();
        for panel in weights.chunks_exact_mut(runs * depth * PANEL) {
            let mut halves = [Vec::new(), Vec::new()];
            for (i, half) in panel.chunks_exact_mut(HALF).enumerate() {
                let value = i / 2 * 4;
                if let Some(weights) = cut(half) {
                    halves[i % 2].push(Excess { run: value / depth, at: value % depth, weights });
                }
            }
            all.extend(halves);
        }
        Cuts { runs, depth, halves: all }
    }

    /// A panel's.
    pub fn panel(&self, panel: usize) -> Cut<'_> {
        Cut { cuts: self, panel }
    }
}

impl<'a> Cut<'a> {
    /// Of channels from `channel` on, those of half a panel. Each lies in `runs` runs of `depth` values.
    pub fn excess(self, channel: usize) -> &'a [Excess] {
        &self.cuts.halves[2 * self.panel + channel / (PANEL / 2)]
    }

    /// Whether it was cut off a convolution of so many runs of so many values.
    pub fn is_of(self, runs: usize, depth: usize) -> bool {
        (self.cuts.runs, self.cuts.depth) == (runs, depth)
    }
}

/// Leaves of each pair what fits; the rest, where there is any.
fn cut(weights: &mut [i8]) -> Option<[i8; HALF]> {
    let mut rest = [0; HALF];
    for (pair, rest) in weights.chunks_exact_mut(2).zip(rest.chunks_exact_mut(2)) {
        let sum = i32::from(pair[0]) + i32::from(pair[1]);
        // Weights of two signs fit: either is at most 127, or at least −128.
        if sum.abs() > MOST {
            // The farther from 0 loses it: what is left of it has its sign still, so all three fit.
            let much = usize::from(pair[1].unsigned_abs() > pair[0].unsigned_abs());
            let over = sum - MOST * sum.signum();
            rest[much] = over as i8; // −128 to 126
            pair[much] = (i32::from(pair[much]) - over) as i8;
        }
    }
    rest.iter().any(|v| *v != 0).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(pair: &[i8]) -> bool {
        let products = |x: [i32; 2]| i32::from(pair[0]) * x[0] + i32::from(pair[1]) * x[1];
        [[0, 255], [255, 0], [255, 255]].into_iter().all(|x| i16::try_from(products(x)).is_ok())
    }

    #[test]
    fn every_pair_of_weights_is_cut_into_two_that_fit_and_add_up_to_it() {
        for a in i8::MIN..=i8::MAX {
            let mut weights: Vec<i8> = (i8::MIN..=i8::MAX).flat_map(|b| [a, b]).collect();
            for (half, before) in
                weights.chunks_exact_mut(HALF).zip((i8::MIN..=i8::MAX).collect::<Vec<_>>().chunks(HALF / 2))
            {
                let rest = cut(half).unwrap_or([0; HALF]);
                for ((pair, rest), b) in half.chunks_exact(2).zip(rest.chunks_exact(2)).zip(before) {
                    assert!(fits(pair) && fits(rest), "{a}, {b}: {pair:?} and {rest:?}");
                    assert_eq!(i32::from(pair[0]) + i32::from(rest[0]), i32::from(a));
                    assert_eq!(i32::from(pair[1]) + i32::from(rest[1]), i32::from(*b));
                    assert_eq!(rest != [0, 0], !fits(&[a, *b]), "{a}, {b}: cut only where it must be");
                }
            }
        }
    }

    #[test]
    fn what_is_cut_off_stands_with_its_place_and_half() {
        let (runs, depth, panels) = (3, 8, 2);
        let mut weights = vec![100i8; runs * depth * PANEL * panels];
        weights.iter_mut().step_by(2).for_each(|v| *v = 5);
        // Panel 1, group 3 (run 1, values 4 to 7), channel 20, its second pair.
        let place = runs * depth * PANEL + (3 * PANEL + 20) * 4 + 2;
        weights[place] = 90;
        let cuts = Cuts::off(&mut weights, runs, depth);
        assert!(cuts.panel(0).excess(0).is_empty() && cuts.panel(0).excess(16).is_empty());
        let panel = cuts.panel(1);
        assert!(panel.excess(0).is_empty() && panel.is_of(3, 8) && !panel.is_of(3, 4));
        let [excess] = panel.excess(16) else { panic!("one is cut") };
        assert_eq!((excess.run, excess.at), (1, 4));
        let mut wanted = [0; HALF];
        wanted[4 * 4 + 3] = 62;
        assert_eq!(excess.weights, wanted);
        assert_eq!(weights[place..][..2], [90, 38]);
    }
}

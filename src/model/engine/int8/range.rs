//! The range of the values of each map, from the single-precision engine: what steps are taken from.

use super::MAPS;
use crate::model::ModelError;
use crate::model::engine::Network;
use crate::model::engine::maps::Padded;
use crate::model::weights::BLOCKS;

/// Bits of a number of single precision that tell its bin: the exponent and seven of the fraction, less than 1 % wide.
const SHIFT: u32 = 16;
/// Bins of numbers that are not negative.
const BINS: usize = 1 << (31 - SHIFT);

/// How often the values of a map lie in each bin, by size alone. Values of 0 are not counted: there are many behind a ReLU.
#[derive(Clone, Debug)]
pub struct Histogram(Vec<u64>);

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram(vec![0; BINS])
    }
}

impl Histogram {
    fn count(&mut self, values: &[f32]) {
        for value in values.iter().filter(|v| **v != 0.0) {
            self.0[(value.abs().to_bits() >> SHIFT) as usize] += 1;
        }
    }

    fn add(&mut self, other: &Histogram) {
        self.0.iter_mut().zip(&other.0).for_each(|(a, b)| *a += b);
    }

    /// The size below which this part (0 to 1) of the values lies; 0 where there are none.
    pub fn quantile(&self, part: f64) -> f32 {
        let all: u64 = self.0.iter().sum();
        let wanted = (part * all as f64).ceil() as u64;
        let mut below = 0;
        for (bin, count) in self.0.iter().enumerate().filter(|(_, count)| **count > 0) {
            below += count;
            if below >= wanted {
                return f32::from_bits((bin as u32 + 1) << SHIFT);
            }
        }
        0.0
    }
}

/// The histogram of each of [`MAPS`], over images.
#[derive(Clone, Debug)]
pub struct Ranges(Vec<Histogram>);

impl Default for Ranges {
    fn default() -> Ranges {
        Ranges(vec![Histogram::default(); MAPS])
    }
}

impl Ranges {
    /// Adds the maps of grey squares of side `size`.
    ///
    /// # Errors
    /// An image of another size.
    pub fn watch(&mut self, network: &Network, inputs: &[Vec<f32>], size: usize) -> Result<(), ModelError> {
        for part in network.watched(inputs, size)? {
            self.0.iter_mut().zip(&part.0).for_each(|(all, part)| all.add(part));
        }
        Ok(())
    }

    /// Counts one of the maps.
    pub(in crate::model::engine) fn count(&mut self, map: usize, maps: &Padded) {
        for row in (0..maps.images()).flat_map(|i| maps.image(i)) {
            self.0[map].count(row);
        }
    }

    /// What a byte is to stand for in each map so that this part of the values is not cut off.
    pub fn steps(&self, part: f64) -> Vec<f32> {
        let signed = signed();
        let step = |(map, values): (usize, &Histogram)| {
            let most = values.quantile(part) / if signed.contains(&map) { 127.0 } else { 255.0 };
            // A map of zeros has any step.
            if most > 0.0 && most.is_finite() { most } else { 1.0 }
        };
        self.0.iter().enumerate().map(step).collect()
    }
}

/// The maps that come from beside a block.
fn signed() -> Vec<usize> {
    let mut at = 0;
    let mut found = Vec::new();
    for block in BLOCKS {
        at += 2;
        if block.from != block.to {
            found.push(at);
            at += 1;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quantile_is_within_a_bin_of_the_value_and_never_below_it() {
        let mut values = Histogram::default();
        values.count(&(1..=1000).map(|i| i as f32 * if i % 2 == 0 { 0.37 } else { -0.37 }).collect::<Vec<_>>());
        values.count(&[0.0; 50]);
        for (part, wanted) in [(1.0, 370.0), (0.5, 185.0), (0.999, 0.37 * 999.0)] {
            let found = values.quantile(part);
            assert!((wanted..wanted * 1.01).contains(&found), "{part}: {found}");
        }
        assert_eq!(Histogram::default().quantile(1.0), 0.0);
    }

    #[test]
    fn there_are_as_many_maps_as_blocks_give() {
        assert_eq!(MAPS, 1 + 2 * BLOCKS.len() + signed().len());
        assert_eq!(signed(), [6, 11, 16]);
        let steps = Ranges::default().steps(1.0);
        assert_eq!(steps, [1.0; MAPS], "maps of zeros have any step");
    }
}

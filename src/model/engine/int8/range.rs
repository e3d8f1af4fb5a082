//! The range of the values of each map, from the single-precision engine: what steps are taken from.

use super::MAPS;
use crate::model::ModelError;
use crate::model::engine::Network;
use crate::model::engine::maps::Padded;
use crate::model::weights::BLOCKS;

/// Bits of a number of single precision that tell its bin: the exponent and seven of the fraction, less than 1 % wide.
const SHIFT: u32 = 16;
/// How many steps are tried, each a hundredth smaller than the one before: down to a twentieth.
const TRIES: i32 = 300;
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

    /// The step with which bytes up to `most` of it come nearest to all values, by the squares of their errors: small steps cut
    /// off large values, large ones round coarsely. 1 where there are no values.
    pub fn step(&self, most: f32) -> f32 {
        let values: Vec<(f64, f64)> = self
            .0
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0)
            .map(|(bin, count)| (f64::from(f32::from_bits((bin as u32 + 1) << SHIFT)), *count as f64))
            .collect();
        let Some((greatest, _)) = values.last() else { return 1.0 };
        let error = |step: f64| -> f64 {
            let of = |(value, count): &(f64, f64)| {
                let beyond = value - f64::from(most) * step;
                count * if beyond > 0.0 { beyond * beyond } else { step * step / 12.0 }
            };
            values.iter().map(of).sum()
        };
        // From the step that cuts nothing off downwards, in hundredths.
        let steps = (0..TRIES).map(|i| greatest / f64::from(most) * 0.99f64.powi(i));
        let best = steps.min_by(|a, b| error(*a).total_cmp(&error(*b))).unwrap_or(1.0) as f32;
        if best.is_finite() && best > 0.0 { best } else { 1.0 }
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

    /// What a byte is to stand for in each map.
    pub fn steps(&self) -> Vec<f32> {
        let signed = signed();
        let most = |map| if signed.contains(&map) { 127.0 } else { 255.0 };
        self.0.iter().enumerate().map(|(map, values)| values.step(most(map))).collect()
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
    fn the_step_reaches_all_values_unless_few_are_far_beyond_the_others() {
        let mut values = Histogram::default();
        values.count(&(1..=1000).map(|i| i as f32 * if i % 2 == 0 { 0.51 } else { -0.51 }).collect::<Vec<_>>());
        values.count(&[0.0; 50]);
        let step = values.step(255.0);
        assert!((1.95..2.05).contains(&step), "{step}");
        // To reach one value ten times as large would cost all others their last bits.
        (0..1000).for_each(|_| values.count(&[510.0; 100]));
        values.count(&[5100.0]);
        // The least of (5100 - 255 s)² + 101000 s² / 12.
        let step = values.step(255.0);
        assert!((17.4..18.1).contains(&step), "{step}");
        assert_eq!(Histogram::default().step(255.0), 1.0);
    }

    #[test]
    fn there_are_as_many_maps_as_blocks_give() {
        assert_eq!(MAPS, 1 + 2 * BLOCKS.len() + signed().len());
        assert_eq!(signed(), [6, 11, 16]);
        let steps = Ranges::default().steps();
        assert_eq!(steps, [1.0; MAPS], "maps of zeros have any step");
    }
}

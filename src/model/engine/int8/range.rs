//! The range of the values of each map, from the single-precision engine: what steps are taken from.

use super::{CHANNELS, MAPS, STEPS};
use crate::model::ModelError;
use crate::model::engine::Network;
use crate::model::engine::maps::Padded;
use crate::model::weights::BLOCKS;

/// Bits of a number of single precision that tell its bin: the exponent and five of the fraction, 2 to 3 % wide.
const SHIFT: u32 = 18;
/// The bin of 2⁻²⁰, in which are all that are smaller.
const LEAST: usize = (127 - 20) << 5;
/// Up to 2¹².
const BINS: usize = 32 << 5;
/// How many steps are tried, each a hundredth smaller than the one before: down to a twentieth.
const TRIES: i32 = 300;

/// How often the values of each channel of each of [`MAPS`] lie in each bin, by size alone, over images. Values of 0 are not
/// counted: there are many behind a ReLU.
#[derive(Clone, Debug)]
pub struct Ranges(Vec<u32>);

impl Default for Ranges {
    fn default() -> Ranges {
        Ranges(vec![0; STEPS * BINS])
    }
}

impl Ranges {
    /// Adds the maps of grey squares of side `size`.
    ///
    /// # Errors
    /// An image of another size.
    pub fn watch(&mut self, network: &Network, inputs: &[Vec<f32>], size: usize) -> Result<(), ModelError> {
        for part in network.watched(inputs, size)? {
            self.0.iter_mut().zip(&part.0).for_each(|(all, part)| *all += part);
        }
        Ok(())
    }

    /// Counts one of the maps.
    pub(in crate::model::engine) fn count(&mut self, map: usize, maps: &Padded) {
        let first = CHANNELS[..map].iter().sum::<usize>() * BINS;
        let bins = &mut self.0[first..][..CHANNELS[map] * BINS];
        for pixel in (0..maps.images()).flat_map(|i| maps.image(i)).flat_map(|row| row.chunks_exact(maps.channels)) {
            for (bins, value) in bins.chunks_exact_mut(BINS).zip(pixel).filter(|(_, value)| **value != 0.0) {
                bins[bin(*value)] += 1;
            }
        }
    }

    /// What a byte is to stand for in each channel of each map.
    pub fn steps(&self) -> Vec<f32> {
        let signed = signed();
        let mut channels = self.0.chunks_exact(BINS);
        let mut steps = Vec::with_capacity(STEPS);
        let alpha: f32 = std::env::var("RR_ALPHA").ok().and_then(|v| v.parse().ok()).unwrap_or(0.5);
        let alpha_in: f32 = std::env::var("RR_ALPHA_IN").ok().and_then(|v| v.parse().ok()).unwrap_or(alpha);
        for (map, count) in CHANNELS.into_iter().enumerate() {
            let most = if signed.contains(&map) { 127.0 } else { 255.0 };
            let channels: Vec<&[u32]> = channels.by_ref().take(count).collect();
            let all: Vec<u64> = (0..BINS).map(|bin| channels.iter().map(|c| u64::from(c[bin])).sum()).collect();
            let whole = step(&all, most).unwrap_or(1.0);
            let inner = map == 1 || (map > 1 && { let m = map - 1; let mut at = 0; let mut is = false; for b in BLOCKS { if m == at { is = true; } at += 2 + usize::from(b.from != b.to); } is });
            let alpha = if inner { alpha_in } else { alpha };
            steps.extend(channels.into_iter().map(|c| {
                let counts: Vec<u64> = c.iter().map(|n| u64::from(*n)).collect();
                step(&counts, most).map_or(whole, |own| whole.powf(1.0 - alpha) * own.powf(alpha))
            }));
        }
        steps
    }
}

fn bin(value: f32) -> usize {
    ((value.abs().to_bits() >> SHIFT) as usize).clamp(LEAST, LEAST + BINS - 1) - LEAST
}

/// The step with which bytes up to `most` of it come nearest to all values, by the squares of their errors: small steps cut off
/// large values, large ones round coarsely. None where there are no values.
fn step(counts: &[u64], most: f32) -> Option<f32> {
    let value = |bin: usize, half: u32| f64::from(f32::from_bits((((bin + LEAST) as u32) << SHIFT) + half));
    let found = counts.iter().enumerate().filter(|(_, count)| **count > 0);
    let values: Vec<(f64, f64)> = found.map(|(bin, count)| (value(bin, 1 << (SHIFT - 1)), *count as f64)).collect();
    let greatest = counts.iter().rposition(|count| *count > 0).map(|bin| value(bin + 1, 0))?;
    let error = |step: f64| -> f64 {
        let of = |(value, count): &(f64, f64)| {
            let beyond = value - f64::from(most) * step;
            count * if beyond > 0.0 { beyond * beyond } else { step * step / 12.0 }
        };
        values.iter().map(of).sum()
    };
    // From the step that cuts nothing off downwards, in hundredths.
    let steps = (0..TRIES).map(|i| greatest / f64::from(most) * 0.99f64.powi(i));
    steps.min_by(|a, b| error(*a).total_cmp(&error(*b))).map(|step| step as f32)
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


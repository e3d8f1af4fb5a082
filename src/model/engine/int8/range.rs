//! The range of the values of each map, from the single-precision engine: what steps are taken from.

use super::{CHANNELS, MAPS, STEPS};
use crate::model::ModelError;
use crate::model::engine::Network;
use crate::model::engine::maps::Padded;
use crate::model::weights::BLOCKS;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// Bits of a number of single precision that tell its bin: the exponent and five of the fraction, 2 to 3 % wide.
const SHIFT: u32 = 18;
/// The bin of 2⁻²⁰, in which are all that are smaller.
const LEAST: usize = (127 - 20) << 5;
/// Up to 2²⁰.
const BINS: usize = 40 << 5;
/// How many steps are tried, each a hundredth smaller than the one before: down to a twentieth.
const TRIES: i32 = 300;

/// A channel's step is so many parts of an octave above or below its map's: 2 %.
const PARTS: i32 = 32;
/// A channel's mean is so many parts of an octave above or below its step: 9 %.
const MEAN_PARTS: i32 = 8;

/// What a byte stands for: in each of [`MAPS`], and in each channel of them.
///
/// A channel of small values loses most of its bits to the step of a map with large ones. With steps of its own it keeps them, and
/// nothing is slower: what comes out of a convolution is scaled by channel anyway, and the weights that read the channel take its
/// step in. Those weights then differ more among themselves, and are rounded in one scale: so the step lies between what is best
/// for the channel and for the map (Xiao et al. 2023, "SmoothQuant", ICML, divide the burden in the same way).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MapSteps {
    /// Of the maps, above 0.
    pub maps: Vec<f32>,
    /// By how many 32nds of an octave each channel's step is above (or below) that of its map, four octaves at most: bytes in base64.
    #[serde(with = "base64_bytes")]
    pub channels: Vec<i8>,
    /// By how many eighths of an octave the mean of each channel's values is above (or below) its step: bytes in base64. -128: it is 0.
    #[serde(with = "base64_bytes")]
    pub means: Vec<i8>,
}

/// [`MapSteps`], channel by channel, map after map.
#[derive(Clone, Debug, PartialEq)]
pub struct Channels {
    /// What a byte stands for.
    pub steps: Vec<f32>,
    /// The mean byte.
    pub means: Vec<f32>,
}

impl MapSteps {
    /// Channel by channel; `None` unless there are as many maps and channels as there should be, and all steps above 0.
    pub fn all(&self) -> Option<Channels> {
        if self.maps.len() != MAPS || self.channels.len() != STEPS || self.means.len() != STEPS {
            return None;
        }
        let parts = parts();
        let power = |part: i32| parts[part.rem_euclid(PARTS) as usize] * 2.0f64.powi(part.div_euclid(PARTS));
        let mut channels = self.channels.iter();
        let mut steps = Vec::with_capacity(STEPS);
        for (map, count) in self.maps.iter().zip(CHANNELS) {
            steps.extend(channels.by_ref().take(count).map(|c| (f64::from(*map) * power((*c).into())) as f32));
        }
        let mean = |m: &i8| if *m == i8::MIN { 0.0 } else { power(i32::from(*m) * PARTS / MEAN_PARTS) as f32 };
        let means = self.means.iter().map(mean).collect();
        steps.iter().all(|step| step.is_finite() && *step > 0.0).then_some(Channels { steps, means })
    }
}

/// The powers of the 32nd root of 2, by square roots and products: these are the same on every CPU.
fn parts() -> [f64; PARTS as usize] {
    let root = (0..PARTS.ilog2()).fold(2.0f64, |root, _| root.sqrt());
    let mut power = 1.0;
    std::array::from_fn(|_| {
        let next = power * root;
        std::mem::replace(&mut power, next)
    })
}

/// Signed bytes as text.
mod base64_bytes {
    use super::*;

    pub fn serialize<S: serde::Serializer>(bytes: &[i8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(bytes.iter().map(|b| b.cast_unsigned()).collect::<Vec<u8>>()))
    }

    pub fn deserialize<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<i8>, D::Error> {
        let bytes = STANDARD.decode(String::deserialize(from)?).map_err(serde::de::Error::custom)?;
        Ok(bytes.into_iter().map(u8::cast_signed).collect())
    }
}

/// How often the values of each channel of each of [`MAPS`] lie in each bin, by size alone, over images. Values of 0 are not
/// counted: there are many behind a ReLU.
#[derive(Clone, Debug)]
pub struct Ranges {
    bins: Vec<u32>,
    /// Of each map, in all images.
    pixels: [u64; MAPS],
}

impl Default for Ranges {
    fn default() -> Ranges {
        Ranges { bins: vec![0; STEPS * BINS], pixels: [0; MAPS] }
    }
}

impl Ranges {
    /// Adds the maps of grey squares of side `size`.
    ///
    /// # Errors
    /// An image of another size.
    pub fn watch(&mut self, network: &Network, inputs: &[Vec<f32>], size: usize) -> Result<(), ModelError> {
        for part in network.watched(inputs, size)? {
            self.bins.iter_mut().zip(&part.bins).for_each(|(all, part)| *all += part);
            self.pixels.iter_mut().zip(&part.pixels).for_each(|(all, part)| *all += part);
        }
        Ok(())
    }

    /// Counts one of the maps.
    pub(in crate::model::engine) fn count(&mut self, map: usize, maps: &Padded) {
        let first = CHANNELS[..map].iter().sum::<usize>() * BINS;
        self.pixels[map] += (maps.images() * maps.height * maps.width) as u64;
        let bins = &mut self.bins[first..][..CHANNELS[map] * BINS];
        for pixel in (0..maps.images()).flat_map(|i| maps.image(i)).flat_map(|row| row.chunks_exact(maps.channels)) {
            for (bins, value) in bins.chunks_exact_mut(BINS).zip(pixel).filter(|(_, value)| **value != 0.0) {
                bins[bin(*value)] += 1;
            }
        }
    }

    /// What a byte is to stand for; `share`, 0 to 1: how far, as logarithms go, a channel's step is from its map's to its own.
    pub fn steps(&self, share: f32) -> MapSteps {
        let signed = signed();
        let mut histograms = self.bins.chunks_exact(BINS);
        let mut maps = Vec::with_capacity(MAPS);
        let (mut channels, mut means) = (Vec::with_capacity(STEPS), Vec::with_capacity(STEPS));
        for (map, count) in CHANNELS.into_iter().enumerate() {
            let most = if signed.contains(&map) { 127.0 } else { 255.0 };
            let of_map: Vec<&[u32]> = histograms.by_ref().take(count).collect();
            let together: Vec<u64> = (0..BINS).map(|bin| of_map.iter().map(|c| u64::from(c[bin])).sum()).collect();
            let whole = step(&together, most).unwrap_or(1.0);
            for counts in of_map {
                let counts: Vec<u64> = counts.iter().map(|n| u64::from(*n)).collect();
                let octaves = step(&counts, most).map_or(0.0, |own| (own / whole).log2() * share);
                let parts = (octaves * PARTS as f32).round() as i8;
                channels.push(parts);
                // Of maps without a ReLU nobody asks for it.
                let step = whole * (f32::from(parts) / PARTS as f32).exp2();
                let mean = mean(&counts, self.pixels[map]) / f64::from(step);
                means.push((mean.log2() * f64::from(MEAN_PARTS)).round() as i8);
            }
            maps.push(whole);
        }
        MapSteps { maps, channels, means }
    }
}

fn bin(value: f32) -> usize {
    ((value.abs().to_bits() >> SHIFT) as usize).clamp(LEAST, LEAST + BINS - 1) - LEAST
}

/// The middle of a bin, or its end.
fn value(bin: usize, of: u32) -> f64 {
    f64::from(f32::from_bits((((bin + LEAST) as u32) << SHIFT) + of))
}

/// The mean size of a channel's values in so many pixels; those that are 0 are not in the counts.
fn mean(counts: &[u64], pixels: u64) -> f64 {
    let sum: f64 = counts.iter().enumerate().map(|(bin, n)| *n as f64 * value(bin, 1 << (SHIFT - 1))).sum();
    sum / pixels.max(1) as f64
}

/// The step with which bytes up to `most` of it come nearest to all values, by the squares of their errors: small steps cut off
/// large values, large ones round coarsely. None where there are no values.
fn step(counts: &[u64], most: f32) -> Option<f32> {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The counts of values.
    fn counts(values: &[f32]) -> Vec<u64> {
        let mut counts = vec![0; BINS];
        values.iter().filter(|v| **v != 0.0).for_each(|v| counts[bin(*v)] += 1);
        counts
    }

    #[test]
    fn the_step_reaches_all_values_unless_few_are_far_beyond_the_others() {
        let mut values: Vec<f32> = (1..=1000).map(|i| i as f32 * if i % 2 == 0 { 0.51 } else { -0.51 }).collect();
        values.extend([0.0; 50]);
        let found = step(&counts(&values), 255.0).unwrap();
        assert!((1.95..2.05).contains(&found), "{found}");
        // To reach one value ten times as large would cost all others their last bits.
        values.extend([510.0; 100_000]);
        values.push(5100.0);
        // The least of (5100 - 255 s)² + 101000 s² / 12.
        let found = step(&counts(&values), 255.0).unwrap();
        assert!((17.0..18.5).contains(&found), "{found}");
        assert_eq!(step(&counts(&[]), 255.0), None);
        // What is too small or too large for a bin is in the first or the last.
        assert!(step(&counts(&[1e-30, 1e30]), 255.0).is_some());
    }

    #[test]
    fn there_are_as_many_maps_and_channels_as_blocks_give() {
        assert_eq!(MAPS, 1 + 2 * BLOCKS.len() + signed().len());
        assert_eq!(signed(), [6, 11, 16]);
        let mut channels = vec![BLOCKS[0].from];
        for block in BLOCKS {
            channels.extend(vec![block.to; if block.from == block.to { 2 } else { 3 }]);
        }
        assert_eq!(channels, CHANNELS);
        assert_eq!(CHANNELS.iter().sum::<usize>(), STEPS);
        let steps = Ranges::default().steps(1.0);
        assert_eq!(
            steps.all().unwrap(),
            Channels { steps: vec![1.0; STEPS], means: vec![0.0; STEPS] },
            "any step does"
        );
    }

    #[test]
    fn a_channel_of_small_values_has_a_step_part_of_the_way_to_its_own() {
        let mut maps = Padded::zeros(1, 4, 4, 64);
        // Channel 5 up to an eighth of the others.
        let values = (0..16 * 64).map(|i| if i % 64 == 5 { 2.0 } else { 16.0 } * (1 + i / 64) as f32);
        maps.fill(&values.collect::<Vec<f32>>());
        let mut ranges = Ranges::default();
        ranges.count(0, &maps);
        for (share, wanted) in [(0.0, 1.0), (0.5, 0.125f32.sqrt()), (1.0, 0.125)] {
            let Channels { steps: all, means } = ranges.steps(share).all().unwrap();
            // From 1 to 16 times the same, as often each.
            let means = [(4, 8.5 * 16.0), (5, 8.5 * 2.0)].map(|(c, mean)| means[c] * all[c] / mean);
            assert!(means.iter().all(|m| (m - 1.0f32).abs() < 0.06), "{means:?}");
            assert!((all[5] / all[4] / wanted - 1.0f32).abs() < 0.05, "{share}: {} {}", all[5], all[4]);
            assert!((all[4] - 256.0 / 255.0).abs() < 0.05, "{}", all[4]);
        }
    }

    #[test]
    fn steps_come_back_from_text_and_what_is_no_step_is_none() {
        let channels: Vec<i8> = (0..STEPS).map(|i| (i % 256) as u8 as i8).collect();
        let steps = MapSteps { maps: vec![0.5; MAPS], means: channels.clone(), channels };
        let text = serde_json::to_string(&steps).unwrap();
        assert_eq!(serde_json::from_str::<MapSteps>(&text).unwrap(), steps);
        assert!(serde_json::from_str::<MapSteps>(&text.replace("\"channels\":\"", "\"channels\":\"!")).is_err());
        let all = steps.all().unwrap();
        assert_eq!([0, 32, 224].map(|c| all.steps[c]), [0.5, 1.0, 0.25], "an octave up, one down");
        assert_eq!([0, 8, 248, 128].map(|c| all.means[c]), [1.0, 2.0, 0.5, 0.0]);
        let with = |change: fn(&mut MapSteps)| {
            let mut steps = steps.clone();
            change(&mut steps);
            steps.all()
        };
        assert_eq!(with(|s| s.maps[3] = 0.0), None);
        assert_eq!(with(|s| s.maps[3] = f32::NAN), None);
        assert_eq!(with(|s| s.maps.truncate(19)), None);
        assert_eq!(with(|s| s.channels.truncate(4799)), None);
        assert_eq!(with(|s| s.means.truncate(4799)), None);
    }
}

//! An image in the style of another one: its tones, and how much there is of detail of each size. Pure.
//!
//! Rendered images are smooth and real ones are not, and where all real images of a training set are of a few regions a network learns
//! that what looks real is one of these. Changing styles takes that away from it; what is shown, and where, stays
//! (after Yang and Soatto 2020, arXiv:2004.05498, who exchange the amplitudes of low frequencies).

use super::augment::{blur, stretched};
use crate::preprocess::Plane;
use rand::RngExt;
use rand::rngs::StdRng;

/// Reaches of the smoothing between bands of detail, as parts of the longer side.
const REACHES: [f32; 3] = [0.004, 0.015, 0.05];
/// Detail becomes at most so many times stronger or weaker.
const MOST: f32 = 4.0;
/// Fewer pixels than these show next to nothing.
const LEAST: usize = 100;
/// Steps of the curve of tones.
const TONES: usize = 16;

/// Bands of detail from fine to coarse, and what is left.
struct Bands {
    detail: Vec<Vec<f32>>,
    rest: Vec<f32>,
}

fn bands(plane: &Plane) -> Bands {
    let long = plane.width.max(plane.height) as f32;
    let mut rest = plane.clone();
    let detail = REACHES.map(|reach| {
        let before = rest.data.clone();
        blur(&mut rest, (long * reach).round().max(1.0) as usize, 2);
        before.iter().zip(&rest.data).map(|(b, r)| b - r).collect()
    });
    Bands { detail: detail.into(), rest: rest.data }
}

impl Bands {
    /// Where the image is neither black nor white all around: there is something to be seen.
    fn seen(&self) -> Vec<usize> {
        (0..self.rest.len()).filter(|&i| (0.05..0.97).contains(&self.rest[i])).collect()
    }
}

fn strength(band: &[f32], seen: &[usize]) -> f32 {
    (seen.iter().map(|&i| band[i] * band[i]).sum::<f32>() / seen.len() as f32).sqrt()
}

/// Values between which there are equally many pixels.
fn tones(data: &[f32], seen: &[usize]) -> Vec<f32> {
    let mut values: Vec<f32> = seen.iter().map(|&i| data[i]).collect();
    values.sort_unstable_by(f32::total_cmp);
    (0..=TONES).map(|step| values[step * (values.len() - 1) / TONES]).collect()
}

/// What becomes of a value where `from` becomes `to`: 0 stays, and what is brighter than all of `from` is so much brighter than all of `to`.
fn toned(value: f32, from: &[f32], to: &[f32]) -> f32 {
    let above = from.partition_point(|f| *f <= value);
    let before = |tones: &[f32]| if above == 0 { 0.0 } else { tones[above - 1] };
    let (low, start) = (before(from), before(to));
    match from.get(above).zip(to.get(above)) {
        Some((high, end)) => start + (value - low).max(0.0) / (high - low) * (end - start),
        None => start + value - low,
    }
}

/// `content` with some of the style of `style`, and now and then with some of its grain; values within 0 to 1. As it is, where one of them
/// shows next to nothing.
pub fn restyled(content: &Plane, style: &Plane, rng: &mut StdRng) -> Plane {
    let (mut plane, style) = (stretched(content), stretched(style));
    if plane.data.len().min(style.data.len()) < LEAST {
        return plane;
    }
    let (part, grain) = (rng.random_range(0.3..1.0f32), (rng.random_range(-1.0..1.0f32)).max(0.0));
    let shift = (rng.random_range(0..style.width), rng.random_range(0..style.height));
    let (mine, theirs) = (bands(&plane), bands(&style));
    let (seen, model) = (mine.seen(), theirs.seen());
    if seen.len().min(model.len()) < LEAST {
        return plane;
    }
    plane.data = mine.rest;
    for (own, other) in mine.detail.iter().zip(&theirs.detail) {
        let gain = strength(other, &model) / strength(own, &seen).max(1e-6);
        let gain = gain.clamp(1.0 / MOST, MOST).powf(part);
        plane.data.iter_mut().zip(own).for_each(|(v, detail)| *v += gain * detail);
    }
    let (from, to) = (tones(&plane.data, &seen), tones(&style.data, &model));
    plane.data.iter_mut().for_each(|v| *v += part * (toned(*v, &from, &to) - *v));
    for &i in &seen {
        let (x, y) = ((i % plane.width + shift.0) % style.width, (i / plane.width + shift.1) % style.height);
        plane.data[i] += grain * theirs.detail[0][y * style.width + x];
    }
    plane.data.iter_mut().for_each(|v| *v = v.clamp(0.0, 1.0));
    plane
}

#[cfg(test)]
mod tests {
    use super::super::augment::generator;
    use super::*;

    /// A disc on black, brighter in its middle, with grain of one pixel, and a marker that is brighter than all.
    fn disc(side: usize, bright: f32, grain: f32) -> Plane {
        let middle = side as f32 / 2.0;
        let value = |(x, y): (usize, usize)| {
            let away = ((x as f32 - middle).powi(2) + (y as f32 - middle).powi(2)).sqrt() / middle;
            match away {
                _ if x.max(y) < side / 16 => 1.0,
                a if a < 0.8 => bright + 0.2 * (0.8 - a) + grain * ((x + y) % 2) as f32,
                _ => 0.0,
            }
        };
        Plane { width: side, height: side, data: (0..side * side).map(|i| value((i % side, i / side))).collect() }
    }

    #[test]
    fn tones_and_detail_come_near_those_of_the_style_and_what_is_shown_stays() {
        let (smooth, grainy) = (disc(200, 0.3, 0.0), disc(150, 0.5, 0.2));
        let look = |plane: &Plane| {
            let shown = bands(plane);
            let seen = shown.seen();
            (strength(&shown.detail[0], &seen), tones(&plane.data, &seen))
        };
        let (fine, wanted) = look(&grainy);
        let far = |tones: &[f32]| tones.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).sum::<f32>();
        let (_, before) = look(&smooth);
        for copy in 0..20 {
            let got = restyled(&smooth, &grainy, &mut generator(1, "a", copy));
            assert_eq!((got.width, got.height), (200, 200));
            assert!(got.data.iter().all(|v| (0.0..=1.0).contains(v)));
            assert!(far(&look(&got).1) < 0.8 * far(&before), "{copy}");
            assert!(look(&restyled(&grainy, &smooth, &mut generator(1, "a", copy))).0 < 0.8 * fine, "{copy}");
            // The middle is still brighter than the border, whatever grain lies over both, and the corner is black.
            let around = |x: usize| {
                (x - 5..x + 5).flat_map(|x| (95..105).map(move |y| y * 200 + x)).map(|i| got.data[i]).sum::<f32>()
            };
            assert!(around(100) > around(170) && got.data[199] == 0.0, "{copy}");
        }
    }

    #[test]
    fn a_seed_decides_and_what_shows_nothing_stays() {
        let (a, b) = (disc(120, 0.4, 0.0), disc(90, 0.2, 0.1));
        let twice = [1, 1, 2].map(|seed| restyled(&a, &b, &mut generator(seed, "a", 0)).data);
        assert_eq!(twice[0], twice[1]);
        assert_ne!(twice[0], twice[2]);
        let black = Plane { width: 50, height: 40, data: vec![0.0; 2000] };
        let tiny = Plane { width: 1, height: 1, data: vec![0.5] };
        let none = Plane { width: 0, height: 0, data: Vec::new() };
        for (content, style) in [&black, &tiny, &none].into_iter().flat_map(|few| [(few, &a), (&a, few)]) {
            let got = restyled(content, style, &mut generator(1, "a", 0));
            assert_eq!(got.data, stretched(content).data);
        }
    }

    #[test]
    fn tones_are_mapped_piece_by_piece() {
        let (from, to) = ([0.2, 0.4, 0.8], [0.1, 0.5, 0.6]);
        for (value, mapped) in [(0.0, 0.0), (0.1, 0.05), (0.2, 0.1), (0.3, 0.3), (0.6, 0.55), (0.8, 0.6), (0.9, 0.7)] {
            assert!((toned(value, &from, &to) - mapped).abs() < 1e-6, "{value}: {}", toned(value, &from, &to));
        }
        // Where many pixels have one value, there is no division by nothing.
        assert!([0.4, 0.5, 0.6].iter().all(|v| toned(*v, &[0.5, 0.5, 0.5], &to).is_finite()));
    }
}

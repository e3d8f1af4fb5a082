//! Augmentation as on a real detector. Pure: the same image, seed and copy give the same result.

use crate::preprocess::Plane;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::f32::consts::PI;

/// A generator of random numbers for copy `copy` of image `path` in a run with `seed`.
pub fn generator(seed: u64, path: &str, copy: usize) -> StdRng {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(format!("{seed}\0{path}\0{copy}").as_bytes());
    StdRng::from_seed(digest.into())
}

/// Changes a plane as another examination of the same region might: turned, mirrored, cropped, collimated, exposed and processed
/// otherwise, in plaster, noisy, blurred, inverted, marked, padded. `strength` scales how much (1 as designed, 0 not at all).
pub fn augment(source: &Plane, strength: f32, rng: &mut StdRng) -> Plane {
    if strength <= 0.0 || source.data.is_empty() {
        return source.clone();
    }
    let chance = |rng: &mut StdRng, p: f32| rng.random::<f32>() < p * strength;
    let mut plane = stretched(source);
    if chance(rng, 0.08) {
        metal(&mut plane, rng);
    }
    let whole = plane;
    plane = warp(&whole, strength, rng);
    if chance(rng, 0.05) {
        plane = beside(&plane, &warp(&whole, strength, rng), rng.random_range(0..12));
    }
    if chance(rng, 0.06) {
        plaster(&mut plane, rng);
    }
    if chance(rng, 0.3) {
        equalise(&mut plane, rng);
    }
    expose(&mut plane, strength, rng);
    if chance(rng, 0.3) {
        collimate(&mut plane, rng);
    }
    if chance(rng, 0.35) {
        for _ in 0..rng.random_range(1..4) {
            mark(&mut plane, rng);
        }
    }
    if chance(rng, 0.12) {
        erase(&mut plane, rng);
    }
    if chance(rng, 0.25) {
        blur(&mut plane, 1, rng.random_range(1..3));
    }
    if chance(rng, 0.5) {
        noise(&mut plane, rng.random_range(0.005..0.07), rng);
    }
    if chance(rng, 0.15) {
        plane.data.iter_mut().for_each(|v| *v = 1.0 - *v);
    }
    if chance(rng, 0.25) {
        plane = pad(&plane, rng);
    }
    plane
}

/// Values to 0..=1.
pub(super) fn stretched(source: &Plane) -> Plane {
    let finite = source.data.iter().copied().filter(|v| v.is_finite());
    let (low, high) = finite.fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    let scale = if high > low { 1.0 / (high - low) } else { 0.0 };
    let data = source.data.iter().map(|v| if v.is_finite() { (v - low) * scale } else { 0.0 }).collect();
    Plane { data, ..*source }
}

/// The value between four pixels; `fill` outside.
fn sample(plane: &Plane, x: f32, y: f32, fill: f32) -> f32 {
    let (left, top) = (x.floor(), y.floor());
    let (fx, fy) = (x - left, y - top);
    let at = |dx: f32, dy: f32| {
        let (x, y) = (left + dx, top + dy);
        if x < 0.0 || y < 0.0 || x >= plane.width as f32 || y >= plane.height as f32 {
            fill
        } else {
            plane.data[y as usize * plane.width + x as usize]
        }
    };
    let upper = at(0.0, 0.0) * (1.0 - fx) + at(1.0, 0.0) * fx;
    let lower = at(0.0, 1.0) * (1.0 - fx) + at(1.0, 1.0) * fx;
    upper * (1.0 - fy) + lower * fy
}

/// Rotation by any angle and quarter turns, flips, crop, zoom, shear and another aspect in one resampling.
fn warp(source: &Plane, strength: f32, rng: &mut StdRng) -> Plane {
    let (width, height) = (source.width as f32, source.height as f32);
    let mut angle = match rng.random::<f32>() {
        p if p < 0.1 * strength => rng.random_range(-PI..PI),
        p if p < 0.7 => rng.random_range(-0.25..0.25) * strength,
        _ => 0.0,
    };
    let quarter = if rng.random::<f32>() < 0.3 * strength { rng.random_range(0..4) } else { 0 };
    angle += quarter as f32 * PI / 2.0;
    let mirror = if rng.random::<bool>() { -1.0 } else { 1.0 };
    // The window in the source: its middle, and its size as a part of the image.
    let zoom = (rng.random_range(-0.45..0.18) * strength).exp();
    let stretch = (rng.random_range(-0.15..0.15) * strength).exp();
    let shear = rng.random_range(-0.1..0.1) * strength;
    let slack = (1.0 - zoom).abs().max(0.1) * 0.5 * strength;
    let centre = (width * (0.5 + rng.random_range(-slack..=slack)), height * (0.5 + rng.random_range(-slack..=slack)));
    let (mut across, mut down) = (width * zoom * stretch, height * zoom / stretch);
    if quarter % 2 == 1 {
        std::mem::swap(&mut across, &mut down);
    }
    let long = rng.random_range(150.0..320.0f32);
    let scale = long / across.max(down).max(1.0);
    let columns = ((across * scale).round() as usize).clamp(8, 400);
    let rows = ((down * scale).round() as usize).clamp(8, 400);
    let fill = if rng.random::<f32>() < 0.85 { 0.0 } else { rng.random::<f32>() };
    let (sin, cos) = angle.sin_cos();
    let mut data = Vec::with_capacity(columns * rows);
    for row in 0..rows {
        for column in 0..columns {
            let u = (column as f32 + 0.5 - columns as f32 / 2.0) / scale * mirror;
            let v = (row as f32 + 0.5 - rows as f32 / 2.0) / scale;
            let u = u + shear * v;
            let x = centre.0 + cos * u - sin * v - 0.5;
            let y = centre.1 + sin * u + cos * v - 0.5;
            data.push(sample(source, x, y, fill));
        }
    }
    Plane { width: columns, height: rows, data }
}

/// Two views on one film, with a gap, the second one scaled to the height of the first.
fn beside(left: &Plane, right: &Plane, gap: usize) -> Plane {
    let scale = right.height as f32 / left.height as f32;
    let across = ((right.width as f32 / scale) as usize).clamp(8, 400);
    let width = left.width + gap + across;
    let mut data = vec![0.0; width * left.height];
    for (y, line) in data.chunks_exact_mut(width).enumerate() {
        line[..left.width].copy_from_slice(&left.data[y * left.width..(y + 1) * left.width]);
        for (x, v) in line[left.width + gap..].iter_mut().enumerate() {
            *v = sample(right, (x as f32 + 0.5) * scale - 0.5, (y as f32 + 0.5) * scale - 0.5, 0.0);
        }
    }
    Plane { width, height: left.height, data }
}

/// Gamma, window, and a slope of brightness across the image.
fn expose(plane: &mut Plane, strength: f32, rng: &mut StdRng) {
    let gamma = (rng.random_range(-0.6..0.6) * strength).exp();
    let low = rng.random_range(-0.15..0.15) * strength;
    let high = 1.0 + rng.random_range(-0.25..0.15) * strength;
    let slope = (rng.random_range(-0.2..0.2) * strength, rng.random_range(-0.2..0.2) * strength);
    let (width, height) = (plane.width as f32, plane.height as f32);
    for (y, line) in plane.data.chunks_exact_mut(plane.width).enumerate() {
        for (x, v) in line.iter_mut().enumerate() {
            let tilt = slope.0 * (x as f32 / width - 0.5) + slope.1 * (y as f32 / height - 0.5);
            *v = ((v.clamp(0.0, 1.0).powf(gamma) - low) / (high - low) * (1.0 + tilt)).clamp(0.0, 1.0);
        }
    }
}

/// A dark frame around a rectangle, perhaps turned a little, with a bright rim where the makers' processing saw its edge.
fn collimate(plane: &mut Plane, rng: &mut StdRng) {
    let (width, height) = (plane.width as f32, plane.height as f32);
    let (half_x, half_y) = (width * rng.random_range(0.33..0.5), height * rng.random_range(0.33..0.5));
    let centre = (width * rng.random_range(0.42..0.58), height * rng.random_range(0.42..0.58));
    let (sin, cos) = (if rng.random::<bool>() { rng.random_range(-0.2..0.2f32) } else { 0.0 }).sin_cos();
    let dark = rng.random_range(0.0..0.12f32);
    let leak = rng.random_range(0.0..0.25f32);
    let rim = if rng.random::<f32>() < 0.5 { rng.random_range(0.2..1.0f32) } else { 0.0 };
    let thick = width.max(height) * rng.random_range(0.002..0.02f32);
    for (y, line) in plane.data.chunks_exact_mut(plane.width).enumerate() {
        for (x, v) in line.iter_mut().enumerate() {
            let (dx, dy) = (x as f32 - centre.0, y as f32 - centre.1);
            let within = (half_x - (dx * cos + dy * sin).abs()).min(half_y - (dy * cos - dx * sin).abs());
            if within < 0.0 {
                *v = dark + *v * leak;
            } else if rim > 0.0 {
                *v += (1.0 - *v) * rim * (-within / thick).exp();
            }
        }
    }
}

/// Letters of a side marker, or a line of burnt-in text, drawn as random strokes on a 3 by 5 grid.
fn mark(plane: &mut Plane, rng: &mut StdRng) {
    let long = plane.width.max(plane.height) as f32;
    let letters = if rng.random::<f32>() < 0.6 { rng.random_range(1..3) } else { rng.random_range(4..16) };
    let cell = ((long * rng.random_range(0.006..0.022)) as usize).max(1);
    let left = rng.random_range(0..plane.width);
    let top = rng.random_range(0..plane.height);
    let bright = if rng.random::<f32>() < 0.85 { rng.random_range(0.75..1.0) } else { rng.random_range(0.0..0.2) };
    if rng.random::<f32>() < 0.25 {
        fill_box(plane, left, top, letters * 4 * cell + cell, 7 * cell, 1.0 - bright);
    }
    for letter in 0..letters {
        let strokes: u16 = rng.random();
        for spot in 0..15 {
            if strokes >> spot & 1 == 1 {
                let x = left + cell + (letter * 4 + spot % 3) * cell;
                fill_box(plane, x, top + cell + spot / 3 * cell, cell, cell, bright);
            }
        }
    }
}

fn fill_box(plane: &mut Plane, left: usize, top: usize, width: usize, height: usize, value: f32) {
    for y in top..(top + height).min(plane.height) {
        for x in left..(left + width).min(plane.width) {
            plane.data[y * plane.width + x] = value;
        }
    }
}

/// A part of the image covered: a shield, a label, a splint.
fn erase(plane: &mut Plane, rng: &mut StdRng) {
    let width = (plane.width as f32 * rng.random_range(0.08..0.3)) as usize + 1;
    let height = (plane.height as f32 * rng.random_range(0.08..0.3)) as usize + 1;
    let (left, top) = (rng.random_range(0..plane.width), rng.random_range(0..plane.height));
    let value = rng.random();
    fill_box(plane, left, top, width, height, value);
}

/// A rod or plate: bright, with a straight course.
fn metal(plane: &mut Plane, rng: &mut StdRng) {
    let (width, height) = (plane.width as f32, plane.height as f32);
    let from = (width * rng.random_range(0.25..0.75), height * rng.random_range(0.25..0.75));
    let angle = rng.random_range(-PI..PI);
    let length = width.min(height) * rng.random_range(0.1..0.45f32);
    let thick = (width.min(height) * rng.random_range(0.008..0.05f32)).max(1.0);
    let (sin, cos) = angle.sin_cos();
    for y in 0..plane.height {
        for x in 0..plane.width {
            let (dx, dy) = (x as f32 - from.0, y as f32 - from.1);
            let (along, beside) = (dx * cos + dy * sin, dy * cos - dx * sin);
            if (0.0..length).contains(&along) && beside.abs() < thick / 2.0 {
                plane.data[y * plane.width + x] = 1.0;
            }
        }
    }
}

/// The mean of the pixels up to `reach` away in both directions, `times` times over.
pub(super) fn blur(plane: &mut Plane, reach: usize, times: usize) {
    let (width, height) = (plane.width, plane.height);
    for _ in 0..times {
        // Sums from the start of each line, then of each column: the cost does not depend on the reach.
        let rows: Vec<f32> = plane.data.chunks_exact(width).flat_map(|line| means(line, reach)).collect();
        for x in 0..width {
            let column: Vec<f32> = (0..height).map(|y| rows[y * width + x]).collect();
            for (y, mean) in means(&column, reach).into_iter().enumerate() {
                plane.data[y * width + x] = mean;
            }
        }
    }
}

/// The mean around each value, of those up to `reach` away that are there.
fn means(line: &[f32], reach: usize) -> Vec<f32> {
    let mut sums = Vec::with_capacity(line.len() + 1);
    sums.push(0.0f64);
    for v in line {
        sums.push(sums[sums.len() - 1] + f64::from(*v));
    }
    (0..line.len())
        .map(|i| {
            let (from, to) = (i.saturating_sub(reach), (i + reach + 1).min(line.len()));
            ((sums[to] - sums[from]) / (to - from) as f64) as f32
        })
        .collect()
}

/// What the makers' processing does: large differences are drawn together, small ones come out more.
fn equalise(plane: &mut Plane, rng: &mut StdRng) {
    let mut wide = plane.clone();
    let long = plane.width.max(plane.height) as f32;
    blur(&mut wide, (long * rng.random_range(0.03..0.12)) as usize + 1, 2);
    let part = rng.random_range(0.2..0.8f32);
    plane.data.iter_mut().zip(&wide.data).for_each(|(v, w)| *v -= part * w);
    *plane = stretched(plane);
}

/// A bright, uneven veil over what is not air.
fn plaster(plane: &mut Plane, rng: &mut StdRng) {
    let mut body = plane.clone();
    let mean = body.data.iter().sum::<f32>() / body.data.len() as f32;
    body.data.iter_mut().for_each(|v| *v = if *v > mean * 0.6 { 1.0 } else { 0.0 });
    blur(&mut body, 2 + plane.width.max(plane.height) / 60, 2);
    let (thick, weave) = (rng.random_range(0.15..0.5f32), rng.random_range(0.0..0.25f32));
    let (across, down) = (rng.random_range(0.3..1.5f32), rng.random_range(0.3..1.5f32));
    for (i, (v, b)) in plane.data.iter_mut().zip(&body.data).enumerate() {
        let (x, y) = ((i % body.width) as f32, (i / body.width) as f32);
        let veil = thick * b * (1.0 + weave * (x * across).sin() * (y * down).sin());
        *v = *v * (1.0 - veil) + veil * 0.9;
    }
}

/// Noise of about normal distribution (the sum of three uniform ones).
fn noise(plane: &mut Plane, deviation: f32, rng: &mut StdRng) {
    for v in &mut plane.data {
        let sum: f32 = rng.random::<f32>() + rng.random::<f32>() + rng.random::<f32>() - 1.5;
        *v = (*v + 2.0 * deviation * sum).clamp(0.0, 1.0);
    }
}

/// A border of one grey, wide or narrow, on any side.
fn pad(plane: &Plane, rng: &mut StdRng) -> Plane {
    let mut side = |n: usize| if rng.random::<bool>() { (n as f32 * rng.random_range(0.0..0.3)) as usize } else { 0 };
    let (left, right) = (side(plane.width), side(plane.width));
    let (top, bottom) = (side(plane.height), side(plane.height));
    let grey = match rng.random_range(0..4) {
        0 | 1 => 0.0,
        2 => 1.0,
        _ => rng.random::<f32>(),
    };
    let (width, height) = (plane.width + left + right, plane.height + top + bottom);
    let mut data = vec![grey; width * height];
    for (y, line) in plane.data.chunks_exact(plane.width).enumerate() {
        let start = (top + y) * width + left;
        data[start..start + plane.width].copy_from_slice(line);
    }
    Plane { width, height, data }
}

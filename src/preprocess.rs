//! A grey plane → the network's input. Pure, and the same code in training and in the daemon.
//!
//! Uniform borders are cut off (padding, shutters), the grey values are stretched between two percentiles, the image is
//! scaled by area averages into a square with its aspect kept (letterbox, black around it), and one shared mean and
//! deviation are applied. One channel: a radiograph is grey, and the network's stem is folded to one channel.

use serde::{Deserialize, Serialize};

/// A decoded, displayable grey image, row-major, `data.len() == width * height`.
///
/// Values are in no particular unit; larger is brighter as displayed (MONOCHROME1 already inverted).
#[derive(Clone, Debug, PartialEq)]
pub struct Plane {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Row-major grey values.
    pub data: Vec<f32>,
}

/// What the network was trained to be given; part of the model card.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputContract {
    /// Side of the square, in pixels.
    pub size: usize,
    /// Subtracted from the stretched grey value (0..=1).
    pub mean: f32,
    /// Divides what is left.
    pub deviation: f32,
    /// Percentiles (0..=100) of the image that become 0 and 1; what lies beyond is clipped.
    pub stretch: [f32; 2],
    /// Whether uniform borders are cut off first.
    pub trim: bool,
}

impl InputContract {
    /// What the longer side of a plane is to be at least, in pixels: more than the square, since borders are cut off and
    /// the smaller the steps of the last averaging, the less the reader's own averaging shows.
    pub fn wanted_pixels(&self) -> usize {
        2 * self.size
    }
}

impl Default for InputContract {
    /// 224 pixels, and the means over the channels of the usual ImageNet constants.
    fn default() -> Self {
        InputContract { size: 224, mean: 0.449, deviation: 0.226, stretch: [1.0, 99.0], trim: true }
    }
}

/// Part of a plane: columns `x0..x1`, rows `y0..y1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Window {
    pub x0: usize,
    pub y0: usize,
    pub x1: usize,
    pub y1: usize,
}

/// Where an image lies in the network's square: what undoes the trimming and the letterbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The part of the plane that is in the square.
    pub window: Window,
    /// Where that part lies in the square, in its pixels.
    pub inside: Window,
    /// Side of the square.
    pub size: usize,
}

/// The network's input for a plane, and where the image lies in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed {
    /// As [`network_input`] gives it.
    pub input: Vec<f32>,
    /// `None`: there is nothing of the plane in it.
    pub placement: Option<Placement>,
}

/// At most this many pixels are looked at for the percentiles.
const SAMPLES: usize = 1 << 16;
/// A border line is uniform if its range is at most this part of the image's.
const UNIFORM: f32 = 1.0 / 64.0;

/// The network's input for a plane: `size * size` values, row-major.
///
/// Any plane gives a finite input: an empty or constant one gives a constant, values that are no numbers count as the
/// darkest.
pub fn network_input(plane: &Plane, contract: &InputContract) -> Vec<f32> {
    placed_input(plane, contract).input
}

/// [`network_input`], with where the image lies in its square.
pub fn placed_input(plane: &Plane, contract: &InputContract) -> Placed {
    let size = contract.size;
    let normalise = |v: f32| (v - contract.mean) / contract.deviation;
    let mut square = vec![normalise(0.0); size * size];
    let (width, height) = (plane.width, plane.height);
    if width == 0 || height == 0 || plane.data.len() != width * height || size == 0 {
        return Placed { input: square, placement: None };
    }
    let whole = Window { x0: 0, y0: 0, x1: width, y1: height };
    let Some((low, high)) = percentiles(plane, whole, contract.stretch) else {
        return Placed { input: square, placement: None };
    };
    let window = if contract.trim { trim(plane, low, high) } else { whole };
    let (low, high) =
        if window == whole { (low, high) } else { percentiles(plane, window, contract.stretch).unwrap_or((low, high)) };
    let scale = if high > low { 1.0 / (high - low) } else { 0.0 };
    let (columns, rows) = (window.x1 - window.x0, window.y1 - window.y0);
    let (across, down) = letterbox(columns, rows, size);
    let scaled = resize(columns, rows, across, down, |x, y| {
        let v = plane.data[(window.y0 + y) * width + window.x0 + x];
        // Also turns what is not a number into 0.
        if v > low { ((v - low) * scale).min(1.0) } else { 0.0 }
    });
    let (left, top) = ((size - across) / 2, (size - down) / 2);
    for (y, line) in scaled.chunks_exact(across).enumerate() {
        let start = (top + y) * size + left;
        for (to, &v) in square[start..start + across].iter_mut().zip(line) {
            *to = normalise(v);
        }
    }
    let inside = Window { x0: left, y0: top, x1: left + across, y1: top + down };
    Placed { input: square, placement: Some(Placement { window, inside, size }) }
}

/// The size that a plane of `columns` by `rows` gets within a square of `size`: aspect kept, at least one pixel.
pub fn letterbox(columns: usize, rows: usize, size: usize) -> (usize, usize) {
    let long = columns.max(rows).max(1);
    let fit = |side: usize| ((side * size + long / 2) / long).clamp(1, size.max(1));
    (fit(columns), fit(rows))
}

/// Two percentiles over an even sample of the window's finite values; `None` if there are none.
fn percentiles(plane: &Plane, window: Window, stretch: [f32; 2]) -> Option<(f32, f32)> {
    let (columns, rows) = (window.x1 - window.x0, window.y1 - window.y0);
    // Steps in both directions keep the sample even; a step over the flat index could fall on one column only.
    let step = ((columns * rows) as f64 / SAMPLES as f64).sqrt().ceil().max(1.0) as usize;
    let mut sample: Vec<f32> = (window.y0..window.y1)
        .step_by(step.min(rows))
        .flat_map(|y| (window.x0..window.x1).step_by(step.min(columns)).map(move |x| (x, y)))
        .map(|(x, y)| plane.data[y * plane.width + x])
        .filter(|v| v.is_finite())
        .collect();
    if sample.is_empty() {
        return None;
    }
    let last = sample.len() - 1;
    let mut at = |percent: f32| {
        let index = ((percent.clamp(0.0, 100.0) / 100.0) * last as f32).round() as usize;
        *sample.select_nth_unstable_by(index.min(last), f32::total_cmp).1
    };
    let (low, high) = (at(stretch[0]), at(stretch[1]));
    // Values so far apart that their difference is not finite would give no finite input.
    if (high - low).is_finite() { Some((low, high)) } else { Some((low / 4.0, high / 4.0)) }
}

/// Cuts off uniform lines from the four sides, as long as an eighth of either side is left.
fn trim(plane: &Plane, low: f32, high: f32) -> Window {
    let (width, height) = (plane.width, plane.height);
    let tolerance = (high - low) * UNIFORM;
    let uniform = |line: &mut dyn Iterator<Item = f32>| {
        let (mut least, mut most) = (f32::INFINITY, f32::NEG_INFINITY);
        for v in line {
            let v = if v > low { v.min(high) } else { low };
            least = least.min(v);
            most = most.max(v);
            if most - least > tolerance {
                return false;
            }
        }
        true
    };
    let row = |y: usize| uniform(&mut plane.data[y * width..(y + 1) * width].iter().copied());
    let y0 = (0..height).find(|&y| !row(y)).unwrap_or(0);
    let y1 = (y0..height).rev().find(|&y| !row(y)).map_or(height, |y| y + 1);
    // Columns within the rows that are left: a bar above would make every column look uneven.
    let column = |x: usize| uniform(&mut (y0..y1).map(|y| plane.data[y * width + x]));
    let x0 = (0..width).find(|&x| !column(x)).unwrap_or(0);
    let x1 = (x0..width).rev().find(|&x| !column(x)).map_or(width, |x| x + 1);
    if (y1 - y0) * 8 < height || (x1 - x0) * 8 < width {
        return Window { x0: 0, y0: 0, x1: width, y1: height };
    }
    Window { x0, y0, x1, y1 }
}

/// Scales by area averages where it shrinks and linearly where it grows, each direction by itself.
fn resize(columns: usize, rows: usize, across: usize, down: usize, at: impl Fn(usize, usize) -> f32) -> Vec<f32> {
    let horizontal = Taps::new(columns, across);
    let vertical = Taps::new(rows, down);
    let mut sums = vec![0.0f32; across * down];
    let mut line = vec![0.0f32; across];
    // Each source row is read once and added to the one to three result rows that it belongs to.
    let mut first = 0;
    for y in 0..rows {
        while first < down && vertical.starts[first] + vertical.weights[first].len() <= y {
            first += 1;
        }
        let mut ready = false;
        for target in first..down {
            let (start, weights) = (vertical.starts[target], &vertical.weights[target]);
            if start > y {
                break;
            }
            let Some(&weight) = weights.get(y - start) else { continue };
            if !ready {
                for (x, value) in line.iter_mut().enumerate() {
                    let start = horizontal.starts[x];
                    *value = horizontal.weights[x].iter().enumerate().map(|(i, w)| w * at(start + i, y)).sum();
                }
                ready = true;
            }
            for (sum, value) in sums[target * across..(target + 1) * across].iter_mut().zip(&line) {
                *sum += weight * value;
            }
        }
    }
    sums
}

/// Which source samples make up each result sample, and their weights (they add up to 1).
struct Taps {
    starts: Vec<usize>,
    weights: Vec<Vec<f32>>,
}

impl Taps {
    fn new(from: usize, to: usize) -> Taps {
        let ratio = from as f64 / to as f64;
        let mut taps = Taps { starts: Vec::with_capacity(to), weights: Vec::with_capacity(to) };
        for i in 0..to {
            let (start, weights) = if ratio >= 1.0 { area(i, ratio, from) } else { linear(i, ratio, from) };
            let sum: f64 = weights.iter().sum();
            taps.starts.push(start);
            taps.weights.push(weights.into_iter().map(|w| (w / sum) as f32).collect());
        }
        taps
    }
}

/// The part that each source sample has in the interval of result sample `i`.
fn area(i: usize, ratio: f64, from: usize) -> (usize, Vec<f64>) {
    let (begin, end) = (i as f64 * ratio, ((i + 1) as f64 * ratio).min(from as f64));
    let start = (begin.floor() as usize).min(from - 1);
    let stop = (end.ceil() as usize).clamp(start + 1, from);
    let weight = |s: usize| ((s + 1) as f64).min(end) - (s as f64).max(begin);
    (start, (start..stop).map(|s| weight(s).max(1e-9)).collect())
}

/// The two source samples around the middle of result sample `i`; at the edges one.
fn linear(i: usize, ratio: f64, from: usize) -> (usize, Vec<f64>) {
    let middle = ((i as f64 + 0.5) * ratio - 0.5).clamp(0.0, (from - 1) as f64);
    let start = middle.floor() as usize;
    let part = middle - start as f64;
    if start + 1 < from { (start, vec![1.0 - part, part]) } else { (start, vec![1.0]) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plane(width: usize, height: usize, f: impl Fn(usize, usize) -> f32) -> Plane {
        let data = (0..width * height).map(|i| f(i % width, i / width)).collect();
        Plane { width, height, data }
    }

    /// Stretched grey values 0..=1, without mean and deviation.
    fn plain(size: usize, trim: bool) -> InputContract {
        InputContract { size, mean: 0.0, deviation: 1.0, stretch: [0.0, 100.0], trim }
    }

    #[test]
    fn area_average_down() {
        let input = network_input(&plane(4, 4, |x, y| if (x + y) % 2 == 0 { 10.0 } else { 20.0 }), &plain(2, false));
        assert_eq!(input, [0.5; 4]);
    }

    #[test]
    fn whole_mean_is_kept_by_uneven_shrinking() {
        let source = plane(37, 37, |x, y| ((x * 7 + y * 13) % 29) as f32 / 28.0);
        let mean = source.data.iter().sum::<f32>() / (37.0 * 37.0);
        let input = network_input(&source, &plain(8, false));
        let result = input.iter().sum::<f32>() / 64.0;
        assert!((mean - result).abs() < 1e-4, "{mean} {result}");
    }

    #[test]
    fn wide_image_is_letterboxed_in_the_middle() {
        let input = network_input(&plane(8, 4, |x, _| x as f32), &plain(8, false));
        assert!(input[..16].iter().chain(&input[48..]).all(|&v| v == 0.0));
        let wanted = (0..8).map(|x| x as f32 / 7.0);
        assert!(input[16..24].iter().zip(wanted).all(|(v, w)| (v - w).abs() < 1e-6));
    }

    #[test]
    fn padding_of_any_grey_changes_nothing() {
        let inner = plane(60, 40, |x, y| 5.0 + ((x * 5 + y * 3) % 17) as f32);
        let wanted = network_input(&inner, &plain(32, true));
        for grey in [0.0, 5.0, 13.0, 21.0] {
            let padded = plane(90, 70, |x, y| match (x.checked_sub(10), y.checked_sub(20)) {
                (Some(x), Some(y)) if x < 60 && y < 40 => inner.data[y * 60 + x],
                _ => grey,
            });
            assert_eq!(network_input(&padded, &plain(32, true)), wanted, "grey {grey}");
        }
    }

    #[test]
    fn scale_and_offset_of_the_grey_values_change_nothing() {
        let a = plane(50, 30, |x, y| ((x * 11 + y * 5) % 64) as f32);
        let b = Plane { data: a.data.iter().map(|v| v * 16.0 - 1024.0).collect(), ..a.clone() };
        let contract = InputContract::default();
        let (a, b) = (network_input(&a, &contract), network_input(&b, &contract));
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-4));
    }

    #[test]
    fn constant_empty_and_senseless_planes_give_finite_inputs() {
        let contract = InputContract { size: 16, ..InputContract::default() };
        let planes = [
            plane(0, 0, |_, _| 0.0),
            plane(1, 1, |_, _| 7.0),
            plane(300, 200, |_, _| -3.0),
            plane(5, 5, |_, _| f32::NAN),
            plane(5, 5, |x, _| if x == 2 { f32::INFINITY } else { x as f32 }),
            plane(5, 5, |x, _| if x % 2 == 0 { f32::MAX } else { f32::MIN }),
            Plane { width: 10, height: 10, data: vec![1.0; 3] },
        ];
        for plane in planes {
            let input = network_input(&plane, &contract);
            assert_eq!(input.len(), 256);
            assert!(input.iter().all(|v| v.is_finite()), "{} by {}", plane.width, plane.height);
        }
    }

    proptest! {
        #[test]
        fn always_finite_and_within_the_stretch(
            width in 1usize..400, height in 1usize..40, turn: bool, values in prop::collection::vec(any::<f32>(), 1..50)
        ) {
            let (width, height) = if turn { (height, width) } else { (width, height) };
            let source = plane(width, height, |x, y| values[(x * 31 + y * 17) % values.len()]);
            let input = network_input(&source, &plain(24, true));
            prop_assert_eq!(input.len(), 24 * 24);
            prop_assert!(input.iter().all(|v| (-1e-5..=1.0 + 1e-5).contains(v)));
        }
    }
}

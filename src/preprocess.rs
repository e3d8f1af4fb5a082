//! A grey plane → the network's input. Pure, and the same code in training and in the daemon.
//!
//! Uniform borders are cut off (padding, shutters), the image is scaled by area averages into a square with its aspect kept
//! (letterbox, black around it), the grey values are stretched between two percentiles, an image with a bright surround is inverted
//! if the contract says so, and one shared mean and deviation are applied. One channel: a radiograph is grey, and the network's
//! stem is folded to one channel.
//!
//! Every step treats the four sides and both ends of the grey scale alike, so that an image turned, mirrored or inverted gives the
//! same square, turned or mirrored (up to rounding).

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
    /// Whether an image that is bright towards its edges is inverted: what surrounds a body is dark in the usual polarity, and an
    /// image must mean the same in either.
    #[serde(default)]
    pub dark_surround: bool,
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
        InputContract {
            size: 224,
            mean: 0.449,
            deviation: 0.226,
            stretch: [1.0, 99.0],
            trim: true,
            dark_surround: true,
        }
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

/// A plane brought into the network's square, and where it lies there.
#[derive(Clone, Debug, PartialEq)]
pub struct Framed {
    /// The part of the plane that is shown.
    pub window: Window,
    /// Columns of the square that it fills, in the middle.
    pub across: usize,
    /// Rows of the square that it fills, in the middle.
    pub down: usize,
    /// Whether the grey values were inverted.
    pub inverted: bool,
    /// `across * down` stretched grey values, 0..=1, row-major.
    pub grey: Vec<f32>,
}

/// A border line is uniform if its range is at most this part of the image's.
const UNIFORM: f32 = 1.0 / 64.0;

/// The network's input for a plane: `size * size` values, row-major.
///
/// Any plane gives a finite input: an empty or constant one gives a constant, values that are no numbers count as the
/// darkest.
pub fn network_input(plane: &Plane, contract: &InputContract) -> Vec<f32> {
    match framed(plane, contract) {
        Some(framed) => framed.input(contract),
        None => vec![-contract.mean / contract.deviation; contract.size * contract.size],
    }
}

/// Cuts, scales, stretches and perhaps inverts a plane; `None` if it holds no finite value.
pub fn framed(plane: &Plane, contract: &InputContract) -> Option<Framed> {
    let (width, height, size) = (plane.width, plane.height, contract.size);
    if width == 0 || height == 0 || plane.data.len() != width * height || size == 0 {
        return None;
    }
    let darkest = plane.data.iter().copied().filter(|v| v.is_finite()).reduce(f32::min)?;
    let at = |x: usize, y: usize| {
        let v = plane.data[y * width + x];
        // A quarter: the differences of the values must be finite too.
        if v.is_finite() { v / 4.0 } else { darkest / 4.0 }
    };
    let scaled = |window: Window| {
        let (columns, rows) = (window.x1 - window.x0, window.y1 - window.y0);
        let (across, down) = letterbox(columns, rows, size);
        (across, down, resize(columns, rows, across, down, |x, y| at(window.x0 + x, window.y0 + y)))
    };
    let whole = Window { x0: 0, y0: 0, x1: width, y1: height };
    let mut window = whole;
    let (mut across, mut down, mut grey) = scaled(whole);
    let (mut low, mut high) = percentiles(&grey, contract.stretch);
    if contract.trim {
        window = trim(whole, low, high, at);
        if window != whole {
            (across, down, grey) = scaled(window);
            (low, high) = percentiles(&grey, contract.stretch);
        }
    }
    let scale = if high > low { 1.0 / (high - low) } else { 0.0 };
    // Of a very small difference there is no finite scale, and 0 times infinity is no number.
    let scale = if scale.is_finite() { scale } else { 0.0 };
    grey.iter_mut().for_each(|v| *v = ((*v - low) * scale).clamp(0.0, 1.0));
    let inverted = contract.dark_surround && surround(&grey, across, down) > 0.5;
    if inverted {
        grey.iter_mut().for_each(|v| *v = 1.0 - *v);
    }
    Some(Framed { window, across, down, inverted, grey })
}

impl Framed {
    /// The network's input: the image in the middle of a black square, with mean and deviation applied.
    pub fn input(&self, contract: &InputContract) -> Vec<f32> {
        let size = contract.size;
        let normalise = |v: f32| (v - contract.mean) / contract.deviation;
        let mut square = vec![normalise(0.0); size * size];
        let (left, top) = ((size - self.across) / 2, (size - self.down) / 2);
        for (y, line) in self.grey.chunks_exact(self.across).enumerate() {
            let start = (top + y) * size + left;
            for (to, &v) in square[start..start + self.across].iter_mut().zip(line) {
                *to = normalise(v);
            }
        }
        square
    }
}

/// How many orientations may be asked for: the image; its mirror image too; its quarter turns; both.
pub const VIEWS: [usize; 4] = [1, 2, 4, 8];

/// View `index` of `views` (one of [`VIEWS`]) of a square of side `size`: a quarter turn for each step, then the same of the mirror
/// image. View 0 is the square itself.
pub fn view(square: &[f32], size: usize, views: usize, index: usize) -> Vec<f32> {
    let (mirrored, turns) = match views {
        2 => (index % 2 == 1, 0),
        _ => (index % 8 >= 4, index % 4),
    };
    let last = size.saturating_sub(1);
    let source = |x: usize, y: usize| {
        let (x, y) = match turns {
            0 => (x, y),
            1 => (y, last - x),
            2 => (last - x, last - y),
            _ => (last - y, x),
        };
        y * size + if mirrored { last - x } else { x }
    };
    (0..size * size).map(|i| square[source(i % size, i / size)]).collect()
}

/// The mean grey value, the more of it the nearer to an edge.
fn surround(grey: &[f32], across: usize, down: usize) -> f32 {
    let inner = |i: usize, n: usize| (i.min(n - 1 - i) as f32 + 0.5) / n as f32;
    let (mut sum, mut weights) = (0.0f64, 0.0f64);
    for (y, line) in grey.chunks_exact(across).enumerate() {
        for (x, v) in line.iter().enumerate() {
            let weight = f64::from(1.0 - 2.0 * inner(x, across).min(inner(y, down)));
            sum += weight * f64::from(*v);
            weights += weight;
        }
    }
    // Where there is no edge apart from the middle, nothing is known.
    if weights > 0.0 { (sum / weights) as f32 } else { 0.0 }
}

/// The size that a plane of `columns` by `rows` gets within a square of `size`: aspect kept, at least one pixel, equal margins.
pub fn letterbox(columns: usize, rows: usize, size: usize) -> (usize, usize) {
    let long = columns.max(rows).max(1);
    let fit = |side: usize| {
        let margin = ((long - side.min(long)) * size + long / 2) / (2 * long);
        size - 2 * margin.min(size.saturating_sub(1) / 2)
    };
    (fit(columns), fit(rows))
}

/// Two percentiles of finite values, of which there is one at least.
fn percentiles(values: &[f32], stretch: [f32; 2]) -> (f32, f32) {
    let mut values = values.to_vec();
    let last = values.len() - 1;
    let mut at = |percent: f32| {
        let index = ((percent.clamp(0.0, 100.0) / 100.0) * last as f32).round() as usize;
        *values.select_nth_unstable_by(index.min(last), f32::total_cmp).1
    };
    (at(stretch[0]), at(stretch[1]))
}

/// Cuts off uniform lines from the four sides until none is left, as long as an eighth of either side is left.
fn trim(whole: Window, low: f32, high: f32, at: impl Fn(usize, usize) -> f32) -> Window {
    let tolerance = (high - low) * UNIFORM;
    let uniform = |line: &mut dyn Iterator<Item = f32>| {
        let (mut least, mut most) = (f32::INFINITY, f32::NEG_INFINITY);
        for v in line {
            let v = v.max(low).min(high);
            least = least.min(v);
            most = most.max(v);
            if most - least > tolerance {
                return false;
            }
        }
        true
    };
    let mut w = whole;
    // A bar above makes every column look uneven until its rows are gone. What is uniform stays so in a smaller window: the order
    // does not matter for where this ends.
    loop {
        let before = w;
        let row = |y: usize| uniform(&mut (before.x0..before.x1).map(|x| at(x, y)));
        let column = |x: usize| uniform(&mut (before.y0..before.y1).map(|y| at(x, y)));
        let first = |range: std::ops::Range<usize>, even: &dyn Fn(usize) -> bool| range.clone().find(|&i| !even(i));
        let last = |range: std::ops::Range<usize>, even: &dyn Fn(usize) -> bool| range.rev().find(|&i| !even(i));
        let (Some(y0), Some(y1)) = (first(w.y0..w.y1, &row), last(w.y0..w.y1, &row)) else { return whole };
        let (Some(x0), Some(x1)) = (first(w.x0..w.x1, &column), last(w.x0..w.x1, &column)) else { return whole };
        w = Window { x0, y0, x1: x1 + 1, y1: y1 + 1 };
        if w == before {
            break;
        }
    }
    let kept = (w.y1 - w.y0) * 8 >= whole.y1 && (w.x1 - w.x0) * 8 >= whole.x1;
    if kept { w } else { whole }
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
        InputContract { size, mean: 0.0, deviation: 1.0, stretch: [0.0, 100.0], trim, dark_surround: false }
    }

    #[test]
    fn area_average_down() {
        let grey = |x: usize, y: usize| if (x + y).is_multiple_of(2) { 10.0 } else { 20.0 };
        assert_eq!(resize(4, 4, 2, 2, grey), [15.0; 4]);
        // What is left of a pattern finer than the square is even: there is nothing to stretch.
        assert_eq!(network_input(&plane(4, 4, grey), &plain(2, false)), [0.0; 4]);
    }

    #[test]
    fn whole_mean_is_kept_by_uneven_shrinking() {
        let source = plane(37, 37, |x, y| ((x * 7 + y * 13) % 29) as f32 / 28.0);
        let mean = source.data.iter().sum::<f32>() / (37.0 * 37.0);
        let result = resize(37, 37, 8, 8, |x, y| source.data[y * 37 + x]).iter().sum::<f32>() / 64.0;
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

    /// A picture without any symmetry, dark around.
    fn odd_picture(width: usize, height: usize) -> Plane {
        plane(width, height, |x, y| {
            let (u, v) = (x as f32 / width as f32 - 0.4, y as f32 / height as f32 - 0.55);
            (1.0 - 9.0 * u * u - 5.0 * v * v).max(0.0) * 900.0 + ((x * 7 + y * 13) % 31) as f32
        })
    }

    fn turned(p: &Plane) -> Plane {
        plane(p.height, p.width, |x, y| p.data[(p.height - 1 - x) * p.width + y])
    }

    fn mirrored(p: &Plane) -> Plane {
        plane(p.width, p.height, |x, y| p.data[y * p.width + p.width - 1 - x])
    }

    fn furthest(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    }

    #[test]
    fn a_turned_mirrored_or_inverted_plane_gives_the_same_square_turned_or_mirrored() {
        for (width, height, size) in [(61, 40, 32), (40, 97, 33), (300, 301, 64), (500, 77, 64)] {
            let contract = InputContract { size, ..InputContract::default() };
            let mut p = odd_picture(width, height);
            let square = network_input(&p, &contract);
            let inverted = Plane { data: p.data.iter().map(|v| 4095.0 - v).collect(), ..p.clone() };
            assert!(furthest(&network_input(&inverted, &contract), &square) < 1e-3);
            for turns in 1..4 {
                p = turned(&p);
                let wanted = view(&square, size, 4, turns);
                assert!(furthest(&network_input(&p, &contract), &wanted) < 1e-3, "{width} {height}: {turns}");
            }
            let m = mirrored(&odd_picture(width, height));
            assert!(furthest(&network_input(&m, &contract), &view(&square, size, 2, 1)) < 1e-3);
        }
    }

    #[test]
    fn the_views_of_a_square_are_all_its_orientations_and_belong_together() {
        let square: Vec<f32> = (0..9).map(|v| v as f32).collect();
        for views in VIEWS {
            let all: Vec<Vec<f32>> = (0..views).map(|i| view(&square, 3, views, i)).collect();
            assert_eq!(all[0], square);
            // Each differs, and any view of any view is one of them.
            for a in &all {
                assert_eq!(all.iter().filter(|b| *b == a).count(), 1);
                assert!((0..views).all(|i| all.contains(&view(a, 3, views, i))), "{views}");
            }
        }
        assert_eq!(
            view(&square, 3, 4, 1),
            [6.0, 3.0, 0.0, 7.0, 4.0, 1.0, 8.0, 5.0, 2.0],
            "a quarter turn to the right"
        );
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

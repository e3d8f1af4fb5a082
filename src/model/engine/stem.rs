//! The stem on one grey channel, with the max pool behind it: a few rows of the convolution are kept, never all of it.

use super::buffer::Buffer;
use super::direct::pack;
use super::isa::Isa;
use super::maps::Band;
use super::pool::MaxOfThree;
use super::tile::{Filter, Line, Strip};
use crate::model::ModelError;
use crate::model::weights::Conv;
use std::fmt::Debug;

/// Channels of the stem.
pub const CHANNELS: usize = 64;
/// Taps in each direction.
pub const KERNEL: usize = 7;
/// Taps of a row with one of zeros, for an even depth.
pub const DEPTH: usize = 8;
/// Rows of the convolution that are kept: two new ones, and the one before them.
const KEPT: usize = 4;

/// The stem's kernel, packed for maps of `T`.
pub trait Taps<T>: Debug + Send + Sync {
    /// What stands for 0 in the input: the border.
    fn zero(&self) -> T;
    /// Grey values → those of the kernel.
    fn take(&self, grey: &[f32], line: &mut [T]);
    /// One or two rows of the convolution, with its ReLU.
    fn rows(&self, isa: Isa, rows: Rows<T>);
    /// Three rows with their border → a row of the pooled maps.
    fn pool(&self, isa: Isa, rows: [&[T]; 3], output: &mut [T]);
}

/// What [`Taps::rows`] reads and writes.
pub struct Rows<'a, T> {
    /// Input rows.
    pub input: &'a [T],
    /// Input values from a row to the next.
    pub stretch: usize,
    /// Rows of the convolution.
    pub output: &'a mut [T],
    /// Where the rows begin.
    pub first: Line,
    /// See `first`.
    pub second: Option<Line>,
    /// Pixels of a row.
    pub count: usize,
}

/// The first convolution: 7×7, stride 2.
#[derive(Debug)]
pub struct Stem<K>(pub K);

/// The kernel in single precision.
#[derive(Debug)]
pub struct Filters {
    /// `[64 / panel, 7 * 8, panel]`
    weights: Buffer<f32>,
    bias: Buffer<f32>,
}

/// Memory for one thread.
#[derive(Debug, Default)]
pub struct StemScratch<T = f32> {
    /// Input rows with a border.
    grey: Buffer<T>,
    /// Rows of the convolution, with a pixel of zeros at either side.
    rows: Buffer<T>,
}

/// `[7 * 7, 64]` → `[7 * 8, 64]`, with zeros.
pub fn deepened(conv: &Conv) -> Result<Vec<f32>, ModelError> {
    let taps: Vec<f32> = conv.weight.flatten_all()?.to_vec1()?;
    let mut rows = vec![0.0; KERNEL * DEPTH * CHANNELS];
    for (to, from) in rows.chunks_exact_mut(DEPTH * CHANNELS).zip(taps.chunks_exact(KERNEL * CHANNELS)) {
        to[..KERNEL * CHANNELS].copy_from_slice(from);
    }
    Ok(rows)
}

impl Filters {
    /// Packs the stem.
    pub fn new(conv: &Conv, isa: Isa) -> Result<Filters, ModelError> {
        let weights = pack(&deepened(conv)?, CHANNELS, isa.panel());
        Ok(Filters { weights, bias: Buffer::copy_of(&conv.bias) })
    }
}

impl Taps<f32> for Filters {
    fn zero(&self) -> f32 {
        0.0
    }

    fn take(&self, grey: &[f32], line: &mut [f32]) {
        line.copy_from_slice(grey);
    }

    fn rows(&self, isa: Isa, rows: Rows<f32>) {
        let Rows { input, stretch, output, first, second, count } = rows;
        let panel = isa.panel();
        for (p, weights) in self.weights.chunks_exact(KERNEL * DEPTH * panel).enumerate() {
            let line = |line: Line| Line { to: line.to + p * panel, ..line };
            let bias = &self.bias[p * panel..];
            Strip {
                filter: Filter { weights, bias, taps: KERNEL, tap: stretch, depth: DEPTH, relu: true },
                input,
                step: 2,
                output,
                width: CHANNELS,
                onto: false,
                shortcut: None,
                line: line(first),
                second: second.map(line),
                count,
            }
            .compute(isa);
        }
    }

    fn pool(&self, isa: Isa, rows: [&[f32]; 3], output: &mut [f32]) {
        MaxOfThree { rows, channels: CHANNELS, output }.compute(isa);
    }
}

/// Output pixels of a stride of 2.
pub fn halved(side: usize) -> usize {
    side.div_ceil(2)
}

impl<T: Copy + Default> StemScratch<T> {
    /// For images of this size.
    pub fn new(height: usize, width: usize) -> StemScratch<T> {
        let (rows, pixels) = (halved(height), halved(width));
        StemScratch {
            grey: Buffer::zeros((2 * rows + KERNEL - 2) * grey_line(pixels)),
            rows: Buffer::zeros(KEPT * row_values(pixels)),
        }
    }
}

/// Values of a row of the input with its border, for `pixels` output pixels.
fn grey_line(pixels: usize) -> usize {
    2 * pixels + DEPTH - 2
}

/// Values of a row of the convolution with its border.
fn row_values(pixels: usize) -> usize {
    (pixels + 2) * CHANNELS
}

impl<K> Stem<K> {
    /// Computes a band of the pooled maps of an `image` of `height` times `width` values; the scratch is of that size.
    pub fn run<T: Copy + Default>(
        &self,
        isa: Isa,
        image: &[f32],
        [height, width]: [usize; 2],
        band: &mut Band<T>,
        scratch: &mut StemScratch<T>,
    ) where
        K: Taps<T>,
    {
        let (rows, pixels) = (halved(height), halved(width));
        // Rows of the convolution that the band's are pooled from.
        let first = (2 * band.first).saturating_sub(1);
        let last = (2 * (band.first + band.count)).min(rows);
        // The input's rows for these, with three of the border before the image and as many as needed behind it.
        let stretch = grey_line(pixels);
        for (i, line) in scratch.grey.chunks_exact_mut(stretch).take(2 * (last - first) + KERNEL - 2).enumerate() {
            match (2 * first + i).checked_sub(KERNEL / 2).filter(|&y| y < height) {
                Some(y) => {
                    let (before, rest) = line.split_at_mut(KERNEL / 2);
                    let (inside, behind) = rest.split_at_mut(width);
                    before.fill(self.0.zero());
                    self.0.take(&image[y * width..(y + 1) * width], inside);
                    behind.fill(self.0.zero());
                }
                None => line.fill(self.0.zero()),
            }
        }
        let mut done = first;
        for row in 0..band.count {
            let end = (2 * (band.first + row) + 2).min(rows);
            while done < end {
                let lines = if done + 1 < end { 2 } else { 1 };
                self.lines(isa, done - first, done, lines, pixels, scratch);
                done += lines;
            }
            let middle = 2 * (band.first + row);
            let kept = |row: usize| &scratch.rows[row % KEPT * row_values(pixels)..][..row_values(pixels)];
            // Values after a ReLU are not negative, so the border's 0 is no maximum; a row beyond the edge is the middle one.
            let rows = [kept(middle.saturating_sub(1)), kept(middle), kept((middle + 1).min(rows - 1))];
            let output = &mut band.data[row * band.line + CHANNELS..][..band.width * CHANNELS];
            self.0.pool(isa, rows, output);
        }
    }

    /// One or two rows of the convolution: `row`, and what the scratch has as input from row `2 * at` on.
    fn lines<T>(&self, isa: Isa, at: usize, row: usize, lines: usize, pixels: usize, scratch: &mut StemScratch<T>)
    where
        T: Copy + Default,
        K: Taps<T>,
    {
        let stretch = grey_line(pixels);
        let line =
            |i: usize| Line { from: 2 * (at + i) * stretch, to: (row + i) % KEPT * row_values(pixels) + CHANNELS };
        self.0.rows(
            isa,
            Rows {
                input: &scratch.grey,
                stretch,
                output: &mut scratch.rows,
                first: line(0),
                second: (lines == 2).then(|| line(1)),
                count: pixels,
            },
        );
    }
}

//! The stem on one grey channel, with the max pool behind it: a few rows of the convolution are kept, never all of it.

use super::buffer::Buffer;
use super::direct::pack;
use super::int8::grey::{GreyKernel, GreyRows, Steps};
use super::isa::Isa;
use super::maps::Band;
use super::pool::MaxOfThree;
use super::tile::{Filter, Line, Strip};
use crate::model::ModelError;
use crate::model::weights::Conv;

/// Channels of the stem.
const CHANNELS: usize = 64;
/// Taps in each direction.
const KERNEL: usize = 7;
/// Taps of a row with one of zeros, for an even depth.
const DEPTH: usize = 8;
/// Rows of the convolution that are kept: two new ones, and the one before them.
const KEPT: usize = 4;

/// The first convolution: 7×7, stride 2.
#[derive(Debug)]
pub enum Stem {
    /// In single precision.
    Single {
        /// `[64 / panel, 7 * 8, panel]`
        weights: Buffer<f32>,
        /// One a channel.
        bias: Buffer<f32>,
    },
    /// In numbers of 16 bits.
    Whole(GreyKernel),
}

/// Memory for one thread.
#[derive(Debug, Default)]
pub struct StemScratch {
    /// Input rows with a border.
    grey: Buffer<f32>,
    /// The same in whole numbers.
    whole: Buffer<i16>,
    /// Rows of the convolution, with a pixel of zeros at either side.
    rows: Buffer<f32>,
}

/// Output pixels of a stride of 2.
pub fn halved(side: usize) -> usize {
    side.div_ceil(2)
}

impl StemScratch {
    /// For images of this size.
    pub fn new(height: usize, width: usize) -> StemScratch {
        let (rows, pixels) = (halved(height), halved(width));
        let values = (2 * rows + KERNEL - 2) * grey_line(pixels);
        StemScratch {
            grey: Buffer::zeros(values),
            whole: Buffer::zeros(values),
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

/// Weights `[7 * 8, 64]`: eight taps in each row of the kernel, the last of zeros.
fn even(conv: &Conv) -> Result<Vec<f32>, ModelError> {
    let taps: Vec<f32> = conv.weight.flatten_all()?.to_vec1()?;
    let mut rows = vec![0.0; KERNEL * DEPTH * CHANNELS];
    for (to, from) in rows.chunks_exact_mut(DEPTH * CHANNELS).zip(taps.chunks_exact(KERNEL * CHANNELS)) {
        to[..KERNEL * CHANNELS].copy_from_slice(from);
    }
    Ok(rows)
}

/// Copies the rows of an `image` of this size that make up `lines`, with a border: the first is row `first` less three.
fn bordered<T: Copy + Default>(
    lines: std::slice::ChunksExactMut<T>,
    image: &[f32],
    [height, width]: [usize; 2],
    first: usize,
    value: impl Fn(f32) -> T,
) {
    for (i, line) in lines.enumerate() {
        let line = &mut line[KERNEL / 2..KERNEL / 2 + width];
        match (first + i).checked_sub(KERNEL / 2).filter(|&y| y < height) {
            Some(y) => {
                line.iter_mut().zip(&image[y * width..(y + 1) * width]).for_each(|(to, &v)| *to = value(v));
            }
            None => line.fill(T::default()),
        }
    }
}

impl Stem {
    /// Packs the stem.
    ///
    /// # Errors
    /// Candle's.
    pub fn new(conv: &Conv, isa: Isa) -> Result<Stem, ModelError> {
        Ok(Stem::Single { weights: pack(&even(conv)?, CHANNELS, isa.panel()), bias: Buffer::copy_of(&conv.bias) })
    }

    /// Packs the stem in whole numbers.
    ///
    /// # Errors
    /// Candle's.
    pub fn whole(conv: &Conv) -> Result<Stem, ModelError> {
        Ok(Stem::Whole(GreyKernel::new(&even(conv)?, &conv.bias)))
    }

    /// Computes a band of the pooled maps of an `image` of `height` times `width` values; the scratch is of that size.
    pub fn run(
        &self,
        isa: Isa,
        image: &[f32],
        [height, width]: [usize; 2],
        band: &mut Band,
        scratch: &mut StemScratch,
    ) {
        let (rows, pixels) = (halved(height), halved(width));
        // Rows of the convolution that the band's are pooled from.
        let first = (2 * band.first).saturating_sub(1);
        let last = (2 * (band.first + band.count)).min(rows);
        // The input's rows for these, with three of the border before the image and as many as needed behind it.
        let (values, stretch) = ((2 * (last - first) + KERNEL - 2) * grey_line(pixels), grey_line(pixels));
        let size = [height, width];
        let multiplier = match self {
            Stem::Single { .. } => {
                bordered(scratch.grey[..values].chunks_exact_mut(stretch), image, size, 2 * first, |v| v);
                Vec::new()
            }
            Stem::Whole(kernel) => {
                let steps = Steps::of(image);
                bordered(scratch.whole[..values].chunks_exact_mut(stretch), image, size, 2 * first, |v| steps.count(v));
                kernel.multiplier(steps)
            }
        };
        let mut done = first;
        for row in 0..band.count {
            let end = (2 * (band.first + row) + 2).min(rows);
            while done < end {
                let lines = if done + 1 < end { 2 } else { 1 };
                self.lines(isa, [done - first, done, lines], pixels, &multiplier, scratch);
                done += lines;
            }
            let middle = 2 * (band.first + row);
            let kept = |row: usize| &scratch.rows[row % KEPT * row_values(pixels)..][..row_values(pixels)];
            MaxOfThree {
                // Values after a ReLU are not negative, so the border's 0 is no maximum; a row beyond the edge is the middle one.
                rows: [kept(middle.saturating_sub(1)), kept(middle), kept((middle + 1).min(rows - 1))],
                channels: CHANNELS,
                output: &mut band.data[row * band.line + CHANNELS..][..band.width * CHANNELS],
            }
            .compute(isa);
        }
    }

    /// `count` rows of the convolution, one or two: `row`, and what the scratch has as input from row `2 * at` on. `multiplier`
    /// is of whole numbers alone.
    fn lines(
        &self,
        isa: Isa,
        [at, row, count]: [usize; 3],
        pixels: usize,
        multiplier: &[f32],
        scratch: &mut StemScratch,
    ) {
        let stretch = grey_line(pixels);
        let StemScratch { grey, whole, rows: output } = scratch;
        let line =
            |i: usize| Line { from: 2 * (at + i) * stretch, to: (row + i) % KEPT * row_values(pixels) + CHANNELS };
        let second = (count == 2).then(|| line(1));
        match self {
            Stem::Single { weights, bias } => {
                let panel = isa.panel();
                for (p, weights) in weights.chunks_exact(KERNEL * DEPTH * panel).enumerate() {
                    let behind = |line: Line| Line { to: line.to + p * panel, ..line };
                    Strip {
                        filter: Filter {
                            weights,
                            bias: &bias[p * panel..],
                            taps: KERNEL,
                            tap: stretch,
                            depth: DEPTH,
                            relu: true,
                        },
                        input: grey,
                        step: 2,
                        output,
                        width: CHANNELS,
                        onto: false,
                        shortcut: None,
                        line: behind(line(0)),
                        second: second.map(behind),
                        count: pixels,
                    }
                    .compute(isa);
                }
            }
            Stem::Whole(kernel) => kernel.rows(
                isa,
                GreyRows {
                    input: whole,
                    multiplier,
                    taps: KERNEL,
                    tap: stretch,
                    depth: DEPTH,
                    output,
                    line: line(0),
                    second,
                    count: pixels,
                },
            ),
        }
    }
}

//! A convolution as a matrix product over patches where they lie: rows of the kernel are runs of values in the padded maps.

use super::buffer::Buffer;
use super::isa::Isa;
use super::layer::Task;
use super::maps::{Band, Padded};
use super::tile::{Filter, Line, Strip};
use crate::model::ModelError;
use crate::model::weights::Conv;

/// A convolution, packed for the tiles.
#[derive(Debug)]
pub struct Direct {
    kernel: usize,
    stride: usize,
    /// Channels in.
    pub from: usize,
    /// Channels out.
    pub to: usize,
    /// `[to / panel, kernel * kernel * from, panel]`
    pub weights: Buffer<f32>,
    /// One a channel out.
    pub bias: Buffer<f32>,
}

/// `[rows, columns]` → `[columns / panel, rows, panel]`; the last panel is filled up with zeros.
pub fn pack(values: &[f32], columns: usize, panel: usize) -> Buffer<f32> {
    let rows = values.len() / columns;
    let mut packed = Buffer::zeros(rows * columns.next_multiple_of(panel));
    for (row, values) in values.chunks_exact(columns).enumerate() {
        for (part, values) in values.chunks(panel).enumerate() {
            packed[(part * rows + row) * panel..][..values.len()].copy_from_slice(values);
        }
    }
    packed
}

/// Where the rows of a band begin, two at a time: their patches in `input`, and channel `first` of `channels` in the band.
pub fn pairs<'a, T: Copy + Default>(
    kernel: usize,
    stride: usize,
    input: &'a Padded<T>,
    band: &Band<T>,
    channels: usize,
    first: usize,
) -> impl Iterator<Item = (Line, Option<Line>)> + use<'a, T> {
    // The border is one wide; a kernel of one tap begins behind it.
    let border = 1 - kernel / 2;
    let (image, above, count, stretch) = (band.image, band.first, band.count, band.line);
    let line = move |row: usize| Line {
        from: input.place(image, (above + row) * stride + border, border),
        to: row * stretch + channels + first,
    };
    (0..count).step_by(2).map(move |row| (line(row), (row + 1 < count).then(|| line(row + 1))))
}

impl Direct {
    /// Packs a convolution of one or three by as many taps.
    ///
    /// # Errors
    /// Candle's.
    pub fn new(conv: &Conv, isa: Isa) -> Result<Direct, ModelError> {
        let rows: Vec<f32> = conv.weight.flatten_all()?.to_vec1()?;
        Ok(Direct {
            kernel: conv.kernel,
            stride: conv.stride,
            from: conv.from,
            to: conv.to,
            weights: pack(&rows, conv.to, isa.panel()),
            bias: Buffer::copy_of(&conv.bias),
        })
    }

    /// Computes some bands of the output, one panel of channels after the other: it stays in the cache meanwhile.
    pub fn run(&self, task: Task, bands: &mut [Band]) {
        let Task { isa, input, shortcut, relu } = task;
        let panel = isa.panel();
        let depth = self.kernel * self.from;
        for (p, weights) in self.weights.chunks_exact(self.kernel * depth * panel).enumerate() {
            let filter =
                Filter { weights, bias: &self.bias[p * panel..], taps: self.kernel, tap: input.line(), depth, relu };
            for band in bands.iter_mut() {
                let shortcut = shortcut.map(|s| s.beside(band));
                for (line, second) in pairs(self.kernel, self.stride, input, band, self.to, p * panel) {
                    Strip {
                        filter,
                        input: input.data(),
                        step: self.stride * self.from,
                        output: band.data,
                        width: self.to,
                        onto: false,
                        shortcut,
                        line,
                        second,
                        count: band.width,
                    }
                    .compute(isa);
                }
            }
        }
    }
}

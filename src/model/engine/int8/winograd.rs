//! 3×3 convolutions of stride 1 by Winograd's F(4×4, 3×3), exactly: the same bytes as over patches, for a quarter of the products.
//!
//! Transformed, bytes and weights are numbers of 16 bits, which cost twice as much to multiply where there are dot products of bytes, and
//! no more where there are none. `transform` tells why no product is lost in 32 bits.

use super::layer::Requantised;
use super::round::Quantised;
use super::tile::{Filter, PANEL, Strip, place};
use super::transform::{Back, SUM, kernel};
use super::width::{Sixteen, Sums};
use crate::model::engine::buffer::Buffer;
use crate::model::engine::layer::{Scratch, Task};
use crate::model::engine::maps::Band;
use crate::model::engine::tile::Line;
use crate::model::engine::transform::There;
use crate::model::engine::winograd::{Block, POINTS, blocks};

/// A convolution, transformed and packed for the tiles.
#[derive(Debug)]
pub struct Winograd {
    from: usize,
    to: usize,
    /// `[36, to / PANEL, from / 2, PANEL, 2]`
    weights: Buffer<i16>,
    scales: Requantised,
}

impl Winograd {
    /// Whether every sum of products that these weights can make is found again.
    pub fn holds(kernels: &Quantised, rows: usize) -> bool {
        (0..kernels.scales.len()).all(|column| {
            let [mut least, mut most] = [0i32; 2];
            for row in 0..rows {
                match i32::from(kernels.whole(row, column)) {
                    weight @ ..0 => least += 255 * weight,
                    weight => most += 255 * weight,
                }
            }
            most < SUM && least > -SUM
        })
    }

    /// Transforms and packs a quantised convolution of 3×3 taps and stride 1, whose sums it [holds](Winograd::holds); the channels fill panels.
    pub fn new(kernels: &Quantised, from: usize, to: usize, scales: Requantised) -> Winograd {
        let mut weights = Buffer::zeros(POINTS * from * to);
        for (row, column) in (0..from).flat_map(|row| (0..to).map(move |column| (row, column))) {
            let taps = std::array::from_fn(|tap| kernels.whole(tap * from + row, column));
            let at = place::<Sixteen>(row, column, from / 2);
            for (point, value) in kernel(taps).into_iter().enumerate() {
                weights[point * from * to + at] = value;
            }
        }
        Winograd { from, to, weights, scales }
    }

    /// Makes room in a thread's memory for so many tiles.
    pub fn make_room(&self, tiles: usize, scratch: &mut Scratch) {
        let block = Block::new(tiles.min(Block::most(self.from, self.to)), self.from, self.to);
        scratch.whole.0.at_least(POINTS * block.before);
        scratch.whole.1.at_least(POINTS * block.after);
    }

    /// Computes some bands of the output; all but an image's last have a multiple of four rows.
    pub fn run(&self, task: Task<u8>, bands: &mut [Band<u8>], scratch: &mut Scratch) {
        let (from, to) = (self.from, self.to);
        let Requantised { multiplier, bias, shortcut: factors } = &self.scales;
        let (inputs, products) = &mut scratch.whole;
        blocks(bands, Block::most(from, to), [from, to], |bands, block, places| {
            for (i, place) in places.iter().enumerate() {
                There {
                    sides: place.sides,
                    input: task.input.data(),
                    from: place.from(task.input, bands),
                    line: task.input.line(),
                    channels: from,
                    output: &mut inputs[..],
                    to: i * from,
                    plane: block.before,
                }
                .compute(task.isa);
            }
            for (point, weights) in self.weights.chunks_exact(from * to).enumerate() {
                let span = block.span(point);
                if span.is_empty() {
                    continue;
                }
                for (p, weights) in weights.chunks_exact(from * PANEL).enumerate() {
                    Strip::<Sixteen<Sums>> {
                        filter: Filter { weights, cut: None, multiplier, bias, taps: 1, tap: 0, depth: from },
                        input: &inputs[point * block.before..],
                        step: from,
                        output: &mut products[point * block.after..],
                        width: to,
                        shortcut: None,
                        line: Line { from: span.start * from, to: span.start * to + p * PANEL },
                        second: None,
                        count: span.len(),
                    }
                    .compute(task.isa);
                }
            }
            for (i, place) in places.iter().enumerate() {
                let band = &mut bands[place.band];
                Back {
                    sides: place.sides,
                    input: &products[..],
                    from: i * to,
                    plane: block.after,
                    multiplier,
                    bias,
                    shortcut: task.shortcut.map(|maps| (maps.beside(band), &factors[..])),
                    to: place.to(band, to),
                    line: band.line,
                    written: place.written(band),
                    output: band.data,
                }
                .compute(task.isa);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::round::quantise;
    use super::super::tests::instructions;
    use super::*;
    use crate::model::engine::maps::Padded;

    /// All sums a tile can meet lie between these and 0, for as many weights of 127 as there may be.
    #[test]
    fn the_greatest_sums_are_found_again_and_greater_ones_are_refused() {
        let (from, rows) = (if cfg!(miri) { 32 } else { 128 }, |from: usize| 9 * from);
        let kernels = |from: usize, count: usize| {
            let (up, down) = (|r: usize| f32::from(u8::from(r < count)), |r: usize| -f32::from(u8::from(r < count)));
            let column = |r, c| if c % 2 == 0 { up(r) } else { down(r) };
            let values: Vec<f32> = (0..rows(from) * PANEL).map(|i| column(i / PANEL, i % PANEL)).collect();
            quantise(&values, from, PANEL)
        };
        let most = SUM as usize / (255 * 127);
        assert!(Winograd::holds(&kernels(128, most), rows(128)));
        assert!(!Winograd::holds(&kernels(128, most + 1), rows(128)));
        let count = most.min(rows(from));
        // Columns 0, 2 … have the greatest sum, the others the least.
        let sum = (count * 255 * 127) as f32;
        for isa in instructions() {
            let bias = (0..PANEL).map(|c| if c % 2 == 0 { 0.0 } else { 255.0 }).collect();
            let scales = Requantised { multiplier: vec![200.0 / sum; PANEL], bias, shortcut: vec![0.0; PANEL] };
            let layer = Winograd::new(&kernels(from, count), from, PANEL, scales);
            let (mut input, mut output) = (Padded::zeros(1, 4, 5, from), Padded::zeros(1, 4, 5, PANEL));
            input.fill(&vec![255u8; 4 * 5 * from]);
            let mut scratch = Scratch::default();
            layer.make_room(2, &mut scratch);
            let task = Task { isa, input: &input, shortcut: None, relu: true };
            layer.run(task, &mut output.bands(4), &mut scratch);
            // Pixels that have all neighbours.
            let inside = (2..4).flat_map(|y| (2..5).map(move |x| (y, x)));
            for (y, x) in inside {
                let pixel = &output.data()[output.place(0, y, x)..][..PANEL];
                assert!(pixel.chunks(2).all(|two| two == [200, 55]), "{isa:?}: {pixel:?}");
            }
        }
    }
}

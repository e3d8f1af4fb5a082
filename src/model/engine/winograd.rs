//! 3×3 convolutions of stride 1 by Winograd's F(4×4, 3×3) (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks",
//! CVPR 2016): 36 products make 16 output pixels, where the patches would need 144.
//!
//! Tiles of 6×6 input pixels are transformed, multiplied with the transformed kernel in 36 matrix products, and transformed
//! back to 4×4 output pixels. A block of tiles goes through all three steps while it is in the cache.

use super::buffer::Buffer;
use super::direct::Direct;
use super::isa::Isa;
use super::layer::Task;
use super::maps::Band;
use super::tile::{Filter, Line, Strip};
use super::transform::{Back, Kernels, There};
use crate::model::ModelError;
use crate::model::weights::Conv;

/// Products of a tile.
pub const POINTS: usize = 36;
/// About how many values a block's tiles take, before and after the products together.
const BLOCK_VALUES: usize = 1 << 18;
/// At least so many tiles at once: the kernel is read once for them.
const LEAST_TILES: usize = 56;

/// A convolution, transformed and packed for the tiles.
#[derive(Debug)]
pub struct Winograd {
    from: usize,
    to: usize,
    /// `[36, to / panel, from, panel]`
    weights: Buffer<f32>,
    bias: Buffer<f32>,
}

/// A tile of the output.
#[derive(Clone, Copy)]
struct Place {
    band: usize,
    /// Its first row and column within the band.
    row: usize,
    column: usize,
}

/// A block of tiles: how it lies in scratch memory.
#[derive(Clone, Copy)]
pub struct Block {
    /// Tiles.
    pub tiles: usize,
    /// Values from a point's inputs `[tiles, from]` to the next point's.
    pub before: usize,
    /// Values from a point's products `[tiles, to]` to the next point's.
    pub after: usize,
}

impl Block {
    /// Points are a little further apart than they need be, lest all 36 share a few lines of the cache.
    pub fn new(tiles: usize, from: usize, to: usize) -> Block {
        Block { tiles, before: tiles * from + 16, after: tiles * to + 16 }
    }

    /// Values of scratch memory for inputs and products.
    pub fn values(&self) -> usize {
        POINTS * (self.before + self.after)
    }
}

/// Tiles of bands of so many rows and columns.
pub fn tiles(height: usize, width: usize) -> usize {
    height.div_ceil(4) * width.div_ceil(4)
}

impl Winograd {
    /// Transforms and packs a convolution of 3×3 taps and stride 1.
    ///
    /// # Errors
    /// Candle's.
    pub fn new(conv: &Conv, isa: Isa) -> Result<Winograd, ModelError> {
        let Direct { from, to, weights: taps, bias, .. } = Direct::new(conv, isa)?;
        let mut weights = Buffer::zeros(POINTS * from * to);
        let panel = from * isa.panel();
        for (p, taps) in taps.chunks_exact(9 * panel).enumerate() {
            Kernels { input: taps, tap: panel, count: panel, output: &mut weights[p * panel..], plane: from * to }
                .compute(isa);
        }
        Ok(Winograd { from, to, weights, bias })
    }

    /// Tiles of a block.
    fn block(&self) -> usize {
        (BLOCK_VALUES / (POINTS * (self.from + self.to))).max(LEAST_TILES)
    }

    /// Values of scratch memory that [`Winograd::run`] needs for so many tiles.
    pub fn scratch(&self, tiles: usize) -> usize {
        Block::new(tiles.min(self.block()), self.from, self.to).values()
    }

    /// Computes some bands of the output; all but an image's last have a multiple of four rows.
    pub fn run(&self, task: Task, bands: &mut [Band], scratch: &mut [f32]) {
        let (from, to, panel) = (self.from, self.to, task.isa.panel());
        in_blocks(task, bands, self.block(), [from, to], &self.bias, scratch, |block, inputs, products| {
            for (point, weights) in self.weights.chunks_exact(from * to).enumerate() {
                for (p, weights) in weights.chunks_exact(from * panel).enumerate() {
                    Strip {
                        filter: Filter { weights, bias: &[], taps: 1, tap: 0, depth: from, relu: false },
                        input: &inputs[point * block.before..],
                        step: from,
                        output: &mut products[point * block.after..],
                        width: to,
                        onto: false,
                        shortcut: None,
                        line: Line { from: 0, to: p * panel },
                        second: None,
                        count: block.tiles,
                    }
                    .compute(task.isa);
                }
            }
        });
    }
}

/// Transforms the tiles of `bands` in blocks of at most `most`, has `multiply` make products of the inputs, transforms them
/// back. The last argument of `multiply` is what is written: all products of the block.
pub fn in_blocks(
    task: Task,
    bands: &mut [Band],
    most: usize,
    [from, to]: [usize; 2],
    bias: &[f32],
    scratch: &mut [f32],
    mut multiply: impl FnMut(Block, &[f32], &mut [f32]),
) {
    let mut places = Vec::new();
    for (band, rows) in bands.iter().enumerate() {
        for row in (0..rows.count).step_by(4) {
            places.extend((0..rows.width).step_by(4).map(|column| Place { band, row, column }));
        }
    }
    // Equal blocks, rather than a small one at the end.
    let blocks = places.len().div_ceil(most).max(1);
    for places in places.chunks(places.len().div_ceil(blocks).max(1)) {
        let block = Block::new(places.len(), from, to);
        let (inputs, products) = scratch[..block.values()].split_at_mut(POINTS * block.before);
        for (i, place) in places.iter().enumerate() {
            let band = &bands[place.band];
            There {
                input: task.input.data(),
                from: task.input.place(band.image, band.first + place.row, place.column),
                line: task.input.line(),
                channels: from,
                output: inputs,
                to: i * from,
                plane: block.before,
            }
            .compute(task.isa);
        }
        multiply(block, inputs, products);
        for (i, place) in places.iter().enumerate() {
            let band = &mut bands[place.band];
            let shortcut = task.shortcut.map(|s| s.beside(band));
            Back {
                input: products,
                from: i * to,
                plane: block.after,
                bias,
                shortcut,
                to: place.row * band.line + (place.column + 1) * to,
                line: band.line,
                rows: (band.count - place.row).min(4),
                columns: (band.width - place.column).min(4),
                output: band.data,
                relu: task.relu,
            }
            .compute(task.isa);
        }
    }
}

//! 3×3 convolutions of stride 1 by Winograd's F(4×4, 3×3) (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks",
//! CVPR 2016): 36 products make 16 output pixels, where the patches would need 144.
//!
//! Tiles of 6×6 input pixels are transformed, multiplied with the transformed kernel in 36 matrix products, and transformed
//! back to 4×4 output pixels. A block of tiles goes through all three steps while it is in the cache.

use super::buffer::Buffer;
use super::direct::pack;
use super::isa::Isa;
use super::maps::{Band, Padded};
use super::tile::{Filter, Line, Strip};
use super::transform::{Back, There};
use crate::model::ModelError;
use crate::model::weights::Conv;

/// Products of a tile.
const POINTS: usize = 36;
/// Kernel → its transform, in each direction: `G` of Lavin and Gray.
const KERNEL: [[f64; 3]; 6] = [
    [1.0 / 4.0, 0.0, 0.0],
    [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
    [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
    [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
    [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
    [0.0, 0.0, 1.0],
];
/// About how many values a block's tiles take, both before and after the products.
const BLOCK_VALUES: usize = 1 << 18;
/// At least so many tiles at once: the kernel is read once for them.
const LEAST_TILES: usize = 28;

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

impl Winograd {
    /// Transforms and packs a convolution of 3×3 taps and stride 1.
    pub fn new(conv: &Conv, isa: Isa) -> Result<Winograd, ModelError> {
        let rows: Vec<f32> = conv.weight.flatten_all()?.to_vec1()?;
        let plane = conv.from * conv.to;
        let mut weights = Buffer::zeros(POINTS * plane);
        for (point, out) in weights.chunks_exact_mut(plane).enumerate() {
            let (y, x) = (KERNEL[point / 6], KERNEL[point % 6]);
            let scales: [f64; 9] = std::array::from_fn(|tap| y[tap / 3] * x[tap % 3]);
            let transformed: Vec<f32> = (0..plane)
                .map(|i| {
                    scales.iter().enumerate().map(|(tap, s)| s * f64::from(rows[tap * plane + i])).sum::<f64>() as f32
                })
                .collect();
            out.copy_from_slice(&pack(&transformed, conv.to, isa.panel()));
        }
        Ok(Winograd { from: conv.from, to: conv.to, weights, bias: Buffer::copy_of(&conv.bias) })
    }

    /// Tiles of a block.
    fn block(&self) -> usize {
        (BLOCK_VALUES / (POINTS * (self.from + self.to))).max(LEAST_TILES)
    }

    /// Values of scratch memory that [`Winograd::run`] needs at most.
    pub fn scratch(&self, tiles: usize) -> usize {
        POINTS * (stride(tiles.min(self.block()), self.from) + stride(tiles.min(self.block()), self.to))
    }

    /// Computes some bands of the output; all but an image's last have a multiple of four rows.
    pub fn run(
        &self,
        isa: Isa,
        input: &Padded,
        bands: &mut [Band],
        shortcut: Option<&Padded>,
        relu: bool,
        scratch: &mut [f32],
    ) {
        let mut places = Vec::new();
        for (band, rows) in bands.iter().enumerate() {
            for row in (0..rows.count).step_by(4) {
                places.extend((0..rows.width).step_by(4).map(|column| Place { band, row, column }));
            }
        }
        let blocks = places.len().div_ceil(self.block());
        for places in places.chunks(places.len().div_ceil(blocks.max(1)).max(1)) {
            self.tiles(isa, input, bands, shortcut, relu, places, scratch);
        }
    }

    /// Computes a block of tiles.
    #[allow(clippy::too_many_arguments)]
    fn tiles(
        &self,
        isa: Isa,
        input: &Padded,
        bands: &mut [Band],
        shortcut: Option<&Padded>,
        relu: bool,
        places: &[Place],
        scratch: &mut [f32],
    ) {
        let count = places.len();
        let (before, after) = (stride(count, self.from), stride(count, self.to));
        let (inputs, products) = scratch.split_at_mut(POINTS * before);
        for (i, place) in places.iter().enumerate() {
            let band = &bands[place.band];
            There {
                input: input.data(),
                from: input.place(band.image, band.first + place.row, place.column),
                line: input.line(),
                channels: self.from,
                output: inputs,
                to: i * self.from,
                plane: before,
            }
            .compute(isa);
        }
        let panel = isa.panel();
        for (point, weights) in self.weights.chunks_exact(self.from * self.to).enumerate() {
            for (p, weights) in weights.chunks_exact(self.from * panel).enumerate() {
                Strip {
                    filter: Filter { weights, bias: &[], taps: 1, tap: 0, depth: self.from, relu: false },
                    input: &inputs[point * before..],
                    step: self.from,
                    output: &mut products[point * after..],
                    width: self.to,
                    shortcut: None,
                    line: Line { from: 0, to: p * panel },
                    second: None,
                    count,
                }
                .compute(isa);
            }
        }
        for (i, place) in places.iter().enumerate() {
            let band = &mut bands[place.band];
            let shortcut = shortcut.map(|s| s.beside(band));
            Back {
                input: products,
                from: i * self.to,
                plane: after,
                bias: &self.bias,
                shortcut,
                to: place.row * band.line + (place.column + 1) * self.to,
                line: band.line,
                rows: (band.count - place.row).min(4),
                columns: (band.width - place.column).min(4),
                output: band.data,
                relu,
            }
            .compute(isa);
        }
    }
}

/// Values from a point's tiles to the next point's: a little more than they are, lest all 36 share a few lines of the cache.
fn stride(tiles: usize, channels: usize) -> usize {
    tiles * channels + 16
}

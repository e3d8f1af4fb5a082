//! 3×3 convolutions of stride 1 by Winograd's F(4×4, 3×3) (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks",
//! CVPR 2016): 36 products make 16 output pixels, where the patches would need 144.
//!
//! Tiles of 6×6 input pixels are transformed, multiplied with the transformed kernel in 36 matrix products, and transformed
//! back to 4×4 output pixels. A block of tiles goes through all three steps while it is in the cache. Maps whose sides are no multiple
//! of 4 are cut into tiles of 4, 3 and 2 rows and columns, which take 6, 5 and 4 points a side: 81 products for 5×5 pixels instead
//! of 144.

use super::buffer::Buffer;
use super::direct::Direct;
use super::isa::Isa;
use super::layer::Task;
use super::maps::{Band, Padded};
use super::tile::{Filter, Line, Strip};
use super::transform::{Back, Kernels, There, needed};
use crate::model::ModelError;
use crate::model::weights::Conv;
use std::cmp::Reverse;
use std::ops::Range;

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
pub struct Place {
    /// Which band.
    pub band: usize,
    /// Its first row within the band.
    pub row: usize,
    /// Its first column.
    pub column: usize,
    /// Its rows and columns, 2 to 4.
    pub sides: [usize; 2],
}

impl Place {
    /// Where its first input pixel lies, in maps that are as large as the output.
    pub fn from<T: Copy + Default>(&self, input: &Padded<T>, bands: &[Band<T>]) -> usize {
        let band = &bands[self.band];
        input.place(band.image, band.first + self.row, self.column)
    }

    /// Where its first pixel lies in its band, whose pixels have so many channels.
    pub fn to<T>(&self, band: &Band<T>, channels: usize) -> usize {
        self.row * band.line + (self.column + 1) * channels
    }

    /// Rows and columns of it that the band has.
    pub fn written<T>(&self, band: &Band<T>) -> [usize; 2] {
        [(band.count - self.row).min(self.sides[0]), (band.width - self.column).min(self.sides[1])]
    }
}

/// A block of tiles: how it lies in scratch memory.
#[derive(Clone, Copy)]
pub struct Block {
    /// Values from a point's inputs `[tiles, from]` to the next point's.
    pub before: usize,
    /// Values from a point's products `[tiles, to]` to the next point's.
    pub after: usize,
    /// Where the tiles of at least 2, 3 and 4 rows, and as many columns, begin and end.
    spans: [[(usize, usize); 3]; 3],
}

/// The first pixel and the side of each tile that so many pixels are covered with: as few tiles as can be, of 2 to 4 pixels, the larger
/// first. The tile of a single pixel covers one beyond.
fn covered(pixels: usize) -> impl Iterator<Item = (usize, usize)> {
    let tiles = pixels.div_ceil(4);
    let (side, more) = (pixels / tiles.max(1), pixels % tiles.max(1));
    (0..tiles).map(move |i| (i * side + i.min(more), (side + usize::from(i < more)).max(2)))
}

impl Block {
    /// Points are a little further apart than they need be, lest all 36 share a few lines of the cache.
    pub fn new(tiles: usize, from: usize, to: usize) -> Block {
        Block { before: tiles * from + 16, after: tiles * to + 16, spans: [[(0, tiles); 3]; 3] }
    }

    /// The tiles that need one of the 36 points, and maybe others between them.
    pub fn span(&self, point: usize) -> Range<usize> {
        let least = |point| (2..4).find(|&side| needed(side, point)).unwrap_or(4) - 2;
        let (first, end) = self.spans[least(point / 6)][least(point % 6)];
        first..end
    }

    /// Finds the spans of the tiles, in their order.
    fn spanning(mut self, places: &[Place]) -> Block {
        for (r, spans) in self.spans.iter_mut().enumerate() {
            for (c, span) in spans.iter_mut().enumerate() {
                let there = |place: &Place| place.sides[0] >= r + 2 && place.sides[1] >= c + 2;
                let first = places.iter().position(there).unwrap_or(0);
                *span = (first, places.iter().rposition(there).map_or(first, |last| last + 1));
            }
        }
        self
    }

    /// Values of scratch memory for inputs and products.
    pub fn values(&self) -> usize {
        POINTS * (self.before + self.after)
    }

    /// How many tiles a block has at the most, of so many channels in and out.
    pub fn most(from: usize, to: usize) -> usize {
        (BLOCK_VALUES / (POINTS * (from + to))).max(LEAST_TILES)
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

    /// Values of scratch memory that [`Winograd::run`] needs for so many tiles.
    pub fn scratch(&self, tiles: usize) -> usize {
        Block::new(tiles.min(Block::most(self.from, self.to)), self.from, self.to).values()
    }

    /// Computes some bands of the output; all but an image's last have a multiple of four rows.
    pub fn run(&self, task: Task, bands: &mut [Band], scratch: &mut [f32]) {
        let (from, to, panel) = (self.from, self.to, task.isa.panel());
        in_blocks(task, bands, Block::most(from, to), [from, to], &self.bias, scratch, |block, inputs, products| {
            for (point, weights) in self.weights.chunks_exact(from * to).enumerate() {
                let span = block.span(point);
                if span.is_empty() {
                    continue;
                }
                for (p, weights) in weights.chunks_exact(from * panel).enumerate() {
                    Strip {
                        filter: Filter { weights, bias: &[], taps: 1, tap: 0, depth: from, relu: false },
                        input: &inputs[point * block.before..],
                        step: from,
                        output: &mut products[point * block.after..],
                        width: to,
                        onto: false,
                        shortcut: None,
                        line: Line { from: span.start * from, to: span.start * to + p * panel },
                        second: None,
                        count: span.len(),
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
    blocks(bands, most, [from, to], |bands, block, places| {
        let (inputs, products) = scratch[..block.values()].split_at_mut(POINTS * block.before);
        for (i, place) in places.iter().enumerate() {
            There {
                sides: place.sides,
                input: task.input.data(),
                from: place.from(task.input, bands),
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
                sides: place.sides,
                input: products,
                from: i * to,
                plane: block.after,
                bias,
                shortcut,
                to: place.to(band, to),
                line: band.line,
                written: place.written(band),
                output: band.data,
                relu: task.relu,
            }
            .compute(task.isa);
        }
    });
}

/// Has `each` done for the tiles of `bands`, in blocks of at most `most`, for so many channels in and out.
pub fn blocks<T>(
    bands: &mut [Band<T>],
    most: usize,
    [from, to]: [usize; 2],
    mut each: impl FnMut(&mut [Band<T>], Block, &[Place]),
) {
    let mut places = Vec::new();
    for (band, rows) in bands.iter().enumerate() {
        for (row, height) in covered(rows.count) {
            places.extend(covered(rows.width).map(|(column, width)| Place {
                band,
                row,
                column,
                sides: [height, width],
            }));
        }
    }
    // Equal blocks, rather than a small one at the end.
    let blocks = places.len().div_ceil(most).max(1);
    let count = places.len().div_ceil(blocks).max(1);
    for places in places.chunks_mut(count) {
        // So that the tiles of a point lie together: by rows, and by columns first up, then down.
        let tallest = places.iter().map(|place| place.sides[0]).max();
        places.sort_by_key(|place| {
            let [height, width] = place.sides;
            (Reverse(height), if Some(height) == tallest { width } else { 4 - width })
        });
        each(bands, Block::new(places.len(), from, to).spanning(places), places);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_every_pixel_once_and_are_as_equal_as_can_be() {
        for pixels in 2..60 {
            let tiles: Vec<_> = covered(pixels).collect();
            assert_eq!(tiles.len(), pixels.div_ceil(4));
            assert!(tiles.iter().all(|(_, side)| (2..=4).contains(side)), "{tiles:?}");
            assert!(
                tiles.windows(2).all(|two| two[0].0 + two[0].1 == two[1].0 && two[0].1 - two[1].1 <= 1),
                "{tiles:?}"
            );
            let (last, side) = tiles[tiles.len() - 1];
            assert_eq!((tiles[0].0, last + side), (0, pixels));
        }
        assert_eq!(covered(0).count(), 0);
        assert_eq!(covered(1).collect::<Vec<_>>(), [(0, 2)]);
        assert_eq!(covered(10).collect::<Vec<_>>(), [(0, 4), (4, 3), (7, 3)]);
    }

    #[test]
    fn a_point_is_multiplied_for_the_tiles_that_need_it() {
        let place = |height, width| Place { band: 0, row: 0, column: 0, sides: [height, width] };
        // 5×5 pixels, as they are sorted: 25 + 20 + 20 + 16 products.
        let places = [place(3, 2), place(3, 3), place(2, 3), place(2, 2)];
        let block = Block::new(4, 1, 1).spanning(&places);
        assert_eq!((0..POINTS).map(|point| block.span(point).len()).sum::<usize>(), 81);
        let needs =
            |place: &Place, point: usize| needed(place.sides[0], point / 6) && needed(place.sides[1], point % 6);
        let mixed = [place(4, 2), place(4, 3), place(3, 3), place(3, 2), place(2, 3), place(2, 2)];
        for places in [&places[..], &mixed, &mixed[2..], &mixed[..1]] {
            let block = Block::new(places.len(), 1, 1).spanning(places);
            for (point, i) in (0..POINTS).flat_map(|point| (0..places.len()).map(move |i| (point, i))) {
                assert!(!needs(&places[i], point) || block.span(point).contains(&i), "{point}, {i}");
            }
        }
    }
}

//! 3×3 convolutions of stride 1 over many channels and few pixels: the last blocks.
//!
//! Their transformed kernels would take four times the memory, and every part of a batch would read all of it. So the
//! kernels are kept as they are, and transformed piece by piece, into the cache, each time they are used; where too few tiles
//! would share that work, the patches are multiplied directly.

use super::direct::Direct;
use super::isa::Isa;
use super::layer::Task;
use super::maps::Band;
use super::tile::{Filter, Line, Strip};
use super::transform::Kernels;
use super::winograd::{Block, POINTS, in_blocks, tiles};
use crate::model::ModelError;
use crate::model::weights::Conv;

/// Channels of the input in a piece: what is transformed fits the cache beside what it is multiplied with.
const PIECE: usize = 64;
/// Tiles at once.
const MOST_TILES: usize = 64;
/// With fewer tiles the kernel is not transformed.
const LEAST_TILES: usize = 8;

/// A convolution whose kernel is transformed as it is used.
#[derive(Debug)]
pub struct Deep(Direct);

impl Deep {
    /// Packs a convolution of 3×3 taps and stride 1.
    ///
    /// # Errors
    /// Candle's.
    pub fn new(conv: &Conv, isa: Isa) -> Result<Deep, ModelError> {
        Ok(Deep(Direct::new(conv, isa)?))
    }

    /// Values of scratch memory that [`Deep::run`] needs for so many tiles.
    pub fn scratch(&self, isa: Isa, tiles: usize) -> usize {
        piece_values(isa) + Block::new(tiles.min(MOST_TILES), self.0.from, self.0.to).values()
    }

    /// Whether so many tiles, spread over so many threads, are worth a transform of the kernel.
    pub fn by_tiles(tiles: usize, threads: usize) -> bool {
        tiles >= LEAST_TILES * threads
    }

    /// Computes some bands of the output; for [`Deep::by_tiles`] all but an image's last have a multiple of four rows.
    pub fn run(&self, task: Task, bands: &mut [Band], scratch: &mut [f32]) {
        let count = bands.iter().map(|band| tiles(band.count, band.width)).sum();
        if !Deep::by_tiles(count, 1) || bands.iter().any(|band| band.first % 4 != 0) {
            return self.0.run(task, bands);
        }
        let Direct { from, to, weights, bias, .. } = &self.0;
        let (from, to, panel) = (*from, *to, task.isa.panel());
        let (kernels, scratch) = scratch.split_at_mut(piece_values(task.isa));
        in_blocks(task, bands, MOST_TILES, [from, to], bias, scratch, |block, inputs, products| {
            for (p, weights) in weights.chunks_exact(9 * from * panel).enumerate() {
                for first in (0..from).step_by(PIECE) {
                    Kernels {
                        input: &weights[first * panel..],
                        tap: from * panel,
                        output: kernels,
                        count: PIECE * panel,
                        plane: piece_line(task.isa),
                    }
                    .compute(task.isa);
                    for (point, weights) in kernels.chunks_exact(piece_line(task.isa)).enumerate() {
                        let span = block.span(point);
                        if span.is_empty() {
                            continue;
                        }
                        Strip {
                            filter: Filter { weights, bias: &[], taps: 1, tap: 0, depth: PIECE, relu: false },
                            input: &inputs[point * block.before..],
                            step: from,
                            output: &mut products[point * block.after..],
                            width: to,
                            onto: first > 0,
                            shortcut: None,
                            line: Line { from: span.start * from + first, to: span.start * to + p * panel },
                            second: None,
                            count: span.len(),
                        }
                        .compute(task.isa);
                    }
                }
            }
        });
    }
}

/// Values of a piece's transform for one point; a little more than they are, lest all 36 share a few lines of the cache.
fn piece_line(isa: Isa) -> usize {
    PIECE * isa.panel() + 16
}

/// Values of a piece's transform.
fn piece_values(isa: Isa) -> usize {
    POINTS * piece_line(isa)
}

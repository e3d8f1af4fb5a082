//! One convolution of a block, spread over threads.

use super::buffer::Buffer;
use super::deep::Deep;
use super::direct::Direct;
use super::isa::Isa;
use super::maps::{Band, Padded};
use super::stem::StemScratch;
use super::winograd::{Winograd, tiles};
use crate::model::ModelError;
use crate::model::weights::Conv;
use rayon::prelude::*;

/// Up to so many channels kernels are transformed beforehand for Winograd's way.
const WINOGRAD_CHANNELS: usize = 256;

/// What is to be done, whatever the way.
#[derive(Clone, Copy)]
pub struct Task<'a> {
    /// With which instructions.
    pub isa: Isa,
    /// From which maps.
    pub input: &'a Padded,
    /// Added; of the output's shape.
    pub shortcut: Option<&'a Padded>,
    /// Cut off below 0.
    pub relu: bool,
}

/// A convolution in the way that suits it.
#[derive(Debug)]
pub enum Layer {
    /// Over patches.
    Direct(Direct),
    /// Over transformed tiles.
    Winograd(Winograd),
    /// Over transformed tiles, the kernel transformed as it is used.
    Deep(Deep),
}

/// Memory for one thread.
#[derive(Debug, Default)]
pub struct Scratch {
    /// For the stem.
    pub stem: StemScratch,
    /// For Winograd's tiles.
    pub tiles: Buffer<f32>,
}

impl Layer {
    /// Packs a convolution.
    ///
    /// # Errors
    /// Candle's.
    pub fn new(conv: &Conv, isa: Isa) -> Result<Layer, ModelError> {
        Ok(match (conv.kernel, conv.stride) {
            (3, 1) if conv.to <= WINOGRAD_CHANNELS => Layer::Winograd(Winograd::new(conv, isa)?),
            (3, 1) => Layer::Deep(Deep::new(conv, isa)?),
            _ => Layer::Direct(Direct::new(conv, isa)?),
        })
    }

    /// Values of [`Scratch::tiles`] for an output of so many images, rows and columns.
    pub fn tiles(&self, isa: Isa, images: usize, height: usize, width: usize) -> usize {
        match self {
            Layer::Direct(_) => 0,
            Layer::Winograd(layer) => layer.scratch(images * tiles(height, width)),
            Layer::Deep(layer) => layer.scratch(isa, images * tiles(height, width)),
        }
    }

    /// Convolution, bias, shortcut, ReLU; on as many threads as there is scratch for.
    pub fn run(&self, task: Task, output: &mut Padded, scratch: &mut [Scratch]) {
        let tiles = output.images() * tiles(output.height, output.width);
        let rows = match self {
            Layer::Direct(_) => 1,
            Layer::Deep(_) if !Deep::by_tiles(tiles, scratch.len()) => 1,
            _ => 4,
        };
        in_bands(output, rows, scratch, |bands, scratch| match self {
            Layer::Direct(layer) => layer.run(task, bands),
            Layer::Winograd(layer) => layer.run(task, bands, &mut scratch.tiles),
            Layer::Deep(layer) => layer.run(task, bands, &mut scratch.tiles),
        });
    }
}

/// Has `work` done for all rows of `output`: at once by one thread, or some bands by each, which begin at multiples of `unit`.
pub fn in_bands(
    output: &mut Padded,
    unit: usize,
    scratch: &mut [Scratch],
    work: impl Fn(&mut [Band], &mut Scratch) + Sync,
) {
    let height = output.height.max(1);
    match scratch {
        [] => {}
        [scratch] => work(&mut output.bands(height), scratch),
        all => {
            let rows = (output.images() * height).div_ceil(all.len()).next_multiple_of(unit).min(height);
            let mut bands = output.bands(rows);
            let each = bands.len().div_ceil(all.len()).max(1);
            bands.par_chunks_mut(each).zip(all.par_iter_mut()).for_each(|(bands, scratch)| work(bands, scratch));
        }
    }
}

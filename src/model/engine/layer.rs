//! One convolution of a block, spread over threads.

use super::buffer::Buffer;
use super::direct::Direct;
use super::isa::Isa;
use super::maps::{Band, Padded};
use super::stem::StemScratch;
use super::winograd::Winograd;
use crate::model::ModelError;
use crate::model::weights::Conv;
use rayon::prelude::*;

/// Up to so many channels Winograd's way is taken. With more of them the maps are small and the transformed kernels, four
/// times the size, would come from memory rather than from the cache.
const WINOGRAD_CHANNELS: usize = 256;

/// A convolution in the way that suits it.
#[derive(Debug)]
pub enum Layer {
    /// Over patches.
    Direct(Direct),
    /// Over transformed tiles.
    Winograd(Winograd),
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
        let winograd = conv.kernel == 3 && conv.stride == 1 && conv.to <= WINOGRAD_CHANNELS;
        Ok(if winograd { Layer::Winograd(Winograd::new(conv, isa)?) } else { Layer::Direct(Direct::new(conv, isa)?) })
    }

    /// Values of [`Scratch::tiles`] for an output of so many images, rows and columns.
    pub fn tiles(&self, images: usize, height: usize, width: usize) -> usize {
        match self {
            Layer::Direct(_) => 0,
            Layer::Winograd(layer) => layer.scratch(images * height.div_ceil(4) * width.div_ceil(4)),
        }
    }

    /// Convolution, bias, shortcut, ReLU; on as many threads as there is scratch for.
    pub fn run(
        &self,
        isa: Isa,
        input: &Padded,
        output: &mut Padded,
        shortcut: Option<&Padded>,
        relu: bool,
        scratch: &mut [Scratch],
    ) {
        in_bands(output, scratch, |bands, scratch| match self {
            Layer::Direct(layer) => layer.run(isa, input, bands, shortcut, relu),
            Layer::Winograd(layer) => layer.run(isa, input, bands, shortcut, relu, &mut scratch.tiles),
        });
    }
}

/// Has `work` done for all rows of `output`: at once by one thread, or some bands by each.
pub fn in_bands(output: &mut Padded, scratch: &mut [Scratch], work: impl Fn(&mut [Band], &mut Scratch) + Sync) {
    let height = output.height.max(1);
    match scratch {
        [] => {}
        [scratch] => work(&mut output.bands(height), scratch),
        all => {
            // A multiple of four rows: Winograd's tiles.
            let rows = (output.images() * height).div_ceil(all.len()).next_multiple_of(4).min(height);
            let mut bands = output.bands(rows);
            let each = bands.len().div_ceil(all.len()).max(1);
            bands.par_chunks_mut(each).zip(all.par_iter_mut()).for_each(|(bands, scratch)| work(bands, scratch));
        }
    }
}

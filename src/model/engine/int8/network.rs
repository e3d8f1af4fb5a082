//! The network in whole numbers: the stem in 16 bits, as many blocks as the card says in single precision, the others in 8 bits.

use super::layer::{Around, Bytes, Layer};
use super::range::MapSteps;
use super::{CHANNELS, STEPS};
use crate::model::ModelError;
use crate::model::cam::{ActivationMap, activation_maps};
use crate::model::engine::isa::Isa;
use crate::model::engine::maps::Padded;
use crate::model::engine::space::{Shape, Spaces};
use crate::model::engine::stem::Stem;
use crate::model::engine::{Block, Grey, Network, Value, joined, joined_maps, logits, plain};
use crate::model::folded::Folded;
use crate::model::weights::BLOCKS;
use candle_core::{CpuStorage, CustomOp1, Device, Layout, Shape as TensorShape, Tensor};

impl Value for u8 {
    type Layer = Layer;
}

/// The byte that stands for 0 where values may be negative.
const MIDDLE: u8 = 128;

/// The network as one operation of candle's, ready to run. May be shared by threads.
#[derive(Debug)]
pub struct WholeNetwork {
    /// Stem and first blocks; heads for the last maps in their steps.
    front: Network,
    /// What a byte of each channel of the maps behind them stands for.
    steps: Vec<f32>,
    /// The first block in whole numbers.
    first: usize,
    /// All blocks from there on, and what is not used before them.
    blocks: Vec<Block<u8>>,
    spaces: Spaces<u8>,
}

impl WholeNetwork {
    /// Quantises a network for maps of these steps; its first `single` blocks stay in single precision.
    ///
    /// # Errors
    /// Another number of steps; no block is left; candle's.
    pub fn new(folded: &Folded, steps: &MapSteps, single: usize, isa: Isa) -> Result<WholeNetwork, ModelError> {
        let steps = steps.all().filter(|_| single < BLOCKS.len()).ok_or(ModelError::Steps { wanted: STEPS })?;
        let mut rest = (&steps.steps[..], &steps.means[..]);
        let mut counts = CHANNELS.into_iter();
        let mut next = || {
            let count = counts.next().unwrap_or(0);
            let ((steps, others), (means, other_means)) = (rest.0.split_at(count), rest.1.split_at(count));
            rest = (others, other_means);
            Bytes { steps, means }
        };
        let (mut input, mut behind) = (next(), &[][..]);
        let mut blocks = Vec::with_capacity(BLOCKS.len());
        for (index, block) in folded.blocks.iter().enumerate() {
            if index == single {
                behind = input.steps;
            }
            let inner = next();
            let beside = block.beside.as_ref().map(|conv| (conv, next()));
            let output = next();
            let shortcut = Some(beside.map_or((input.steps, 0), |(_, bytes)| (bytes.steps, MIDDLE)));
            let plain = |input, output, zero| Around { input, output, zero, shortcut: None };
            blocks.push(Block {
                conv1: Layer::new(&block.conv1, plain(input, inner.steps, 0), isa)?,
                conv2: Layer::new(&block.conv2, Around { input: inner, output: output.steps, zero: 0, shortcut }, isa)?,
                beside: beside
                    .map(|(conv, bytes)| Layer::new(conv, plain(input, bytes.steps, MIDDLE), isa))
                    .transpose()?,
            });
            input = output;
        }
        let front = Folded {
            stem: folded.stem.clone(),
            blocks: folded.blocks[..single].to_vec(),
            head_weight: folded.head_weight.broadcast_mul(&Tensor::new(input.steps, &Device::Cpu)?.unsqueeze(1)?)?,
            head_bias: folded.head_bias.clone(),
        };
        Ok(WholeNetwork {
            front: Network { stem: Stem::whole(&folded.stem)?, ..Network::with(&front, isa)? },
            steps: behind.to_vec(),
            first: single,
            blocks,
            spaces: Spaces::default(),
        })
    }

    /// The logits of each image, a grey square of side `size`.
    ///
    /// # Errors
    /// An image of another size.
    pub fn logits(&self, inputs: &[Vec<f32>], size: usize) -> Result<Vec<Vec<f32>>, ModelError> {
        logits(self, inputs, size)
    }

    /// The class activation maps of each image, one a head: what [`WholeNetwork::logits`] rests on.
    ///
    /// # Errors
    /// An image of another size.
    pub fn activation_maps(&self, inputs: &[Vec<f32>], size: usize) -> Result<Vec<Vec<ActivationMap>>, ModelError> {
        if inputs.is_empty() {
            return Ok(Vec::new());
        }
        let grey = Grey { values: &joined(inputs, size)?, images: inputs.len(), side: [size, size] };
        let maps = joined_maps(self.through(grey, plain));
        activation_maps(&maps, &self.front.head_weight, &self.front.head_bias)
    }

    /// What `end` makes of the last maps, by part of the batch.
    fn through<R: Send>(&self, grey: Grey, end: impl Fn(&Padded<u8>) -> R + Sync) -> Vec<R> {
        self.front.parts(grey.images, grey.side, None, |single, images| {
            self.front.begin(single, grey.part(images), self.first);
            let maps = single.maps();
            let shape = Shape { side: [maps.height, maps.width], block: Some(self.first), ..single.shape };
            let mut space = self.spaces.take(shape, self.front.isa, &self.blocks);
            space.quantise(maps, &self.steps);
            for (index, block) in self.blocks.iter().enumerate().skip(self.first) {
                space.block(self.front.isa, index, block);
            }
            let result = end(space.maps());
            self.spaces.put(space);
            result
        })
    }
}

/// `[images, 1, height, width]` grey values → `[images, heads]` logits.
impl CustomOp1 for WholeNetwork {
    fn name(&self) -> &'static str {
        "resnet18-int8"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, TensorShape)> {
        let grey = Grey::of(storage, layout)?;
        Ok(self.front.told(grey.images, self.through(grey, |maps| self.front.end(maps))))
    }
}

//! The network in whole numbers.

use super::MAPS;
use super::layer::{Direct, Steps};
use super::stem::WholeFilters;
use crate::model::ModelError;
use crate::model::engine::isa::Isa;
use crate::model::engine::space::Spaces;
use crate::model::engine::stem::Stem;
use crate::model::engine::{Block, Network, Packed, Value};
use crate::model::folded::Folded;

impl Value for u8 {
    type Layer = Direct;
    type Taps = WholeFilters;
}

/// The byte that stands for 0 where values may be negative.
const MIDDLE: u8 = 128;

impl Network<u8> {
    /// Quantises a network for grey values within `range` and maps of these steps (one for each of [`MAPS`], greater than 0).
    ///
    /// # Errors
    /// Another number of steps; candle's.
    pub fn quantised(folded: &Folded, range: [f32; 2], steps: &[f32], isa: Isa) -> Result<Network<u8>, ModelError> {
        if steps.len() != MAPS {
            return Err(ModelError::Steps { found: steps.len(), wanted: MAPS });
        }
        let mut steps = steps.iter().copied();
        let mut next = || steps.next().unwrap_or(1.0);
        let mut input = next();
        let stem = WholeFilters::new(&folded.stem, range, input)?;
        let mut blocks = Vec::with_capacity(folded.blocks.len());
        for block in &folded.blocks {
            let inner = next();
            let beside = block.beside.as_ref().map(|conv| (conv, next()));
            let output = next();
            let shortcut = Some(beside.map_or((input, 0), |(_, step)| (step, MIDDLE)));
            let plain = |output, zero| Steps { input, output, zero, shortcut: None };
            blocks.push(Block {
                conv1: Direct::new(&block.conv1, plain(inner, 0))?,
                conv2: Direct::new(&block.conv2, Steps { input: inner, output, zero: 0, shortcut })?,
                beside: beside.map(|(conv, step)| Direct::new(conv, plain(step, MIDDLE))).transpose()?,
            });
            input = output;
        }
        let head_weight = (folded.head_weight.clone() * f64::from(input))?;
        Ok(Network {
            isa,
            packed: Packed { stem: Stem(stem), blocks },
            head_rows: head_weight.flatten_all()?.to_vec1()?,
            head_weight,
            head_bias: folded.head_bias.clone(),
            spaces: Spaces::default(),
        })
    }
}

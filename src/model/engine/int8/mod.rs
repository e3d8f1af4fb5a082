//! The engine in whole numbers: 8-bit weights, signed, a scale for each output channel; 8-bit maps, unsigned, one scale each.
//!
//! | file | what |
//! |---|---|
//! | `dot` | dot products of bytes, for each set of instructions |
//! | `tile` | the matrix product over them, requantised |
//! | `layer` | convolutions, made of it |
//! | `round` | weights to whole numbers, so that errors cancel |
//! | `network` | all of them, by the steps of the maps |
//! | [`range`] | what the steps are taken from: the values of the single-precision engine's maps |
//!
//! A map's byte `q` stands for `q` times its step, which is not negative behind a ReLU; what comes from beside a block has no
//! ReLU and stands for `q - 128` steps. From the first block in whole numbers on, all sums are exact and all rounding is the same
//! on every CPU.

mod dot;
mod layer;
mod network;
pub mod range;
mod round;
mod tile;

pub use network::WholeNetwork;

/// Maps in the order of their steps: the stem's, then of each block what lies between its convolutions, what comes from beside
/// it (where something does), and what it gives.
pub const MAPS: usize = 20;
/// Channels of each map.
pub const CHANNELS: [usize; MAPS] =
    [64, 64, 64, 64, 64, 128, 128, 128, 128, 128, 256, 256, 256, 256, 256, 512, 512, 512, 512, 512];
/// Channels of all maps, and so the number of steps.
pub const STEPS: usize = 4800;

#[cfg(test)]
mod tests {
    use super::super::isa::Isa;

    /// All ways of computing that this CPU has.
    pub fn instructions() -> Vec<Isa> {
        Isa::available().into_iter().flat_map(|isa| [isa, isa.without_vnni()]).collect()
    }
}

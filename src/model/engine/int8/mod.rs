//! The engine in whole numbers: 8-bit weights, signed, a scale for each output channel; 8-bit maps, unsigned, one scale each.
//!
//! | file | what |
//! |---|---|
//! | `dot` | dot products of bytes and of pairs of 16 bits, for each set of instructions |
//! | `cut` | weights for those instructions whose sums of two products may not fit |
//! | `width`, `tile` | the matrix product over them, requantised |
//! | `wide`, `transform`, `winograd` | convolutions over transformed tiles, exact all the same |
//! | `layer` | convolutions of blocks, made of these |
//! | [`grey`] | the stem's convolution, made of it |
//! | `round` | weights to whole numbers, so that errors cancel |
//! | `network` | all of them, by the steps of the maps |
//! | [`range`] | what the steps are taken from: the values of the single-precision engine's maps |
//!
//! A map's byte `q` stands for `q` times its step, which is not negative behind a ReLU; what comes from beside a block has no
//! ReLU and stands for `q - 128` steps. From the first block in whole numbers on, all sums are exact and all rounding is the same
//! on every CPU.

mod cut;
mod dot;
pub mod grey;
mod layer;
mod network;
pub mod range;
mod round;
mod tile;
mod transform;
mod wide;
mod width;
mod winograd;

pub use network::WholeNetwork;

/// Maps in the order of their steps: the stem's, then of each block what lies between its convolutions, what comes from beside
/// it (where something does), and what it gives.
pub const MAPS: usize = 20;
/// Channels of each map.
pub const CHANNELS: [usize; MAPS] =
    [64, 64, 64, 64, 64, 128, 128, 128, 128, 128, 256, 256, 256, 256, 256, 512, 512, 512, 512, 512];
/// Channels of all maps, and so the number of steps.
pub const STEPS: usize = 4800;

/// To the nearest whole number, halves to the even one, for numbers of less than 2²² either way; else any.
#[inline(always)]
pub fn nearest(v: f32) -> i32 {
    // Behind so great a number the last bit of single precision stands for 1. Not every CPU has vectors of the rounding instruction.
    const SHIFT: f32 = 12_582_912.0;
    ((v + SHIFT).to_bits() as i32).wrapping_sub(SHIFT.to_bits() as i32)
}

#[cfg(test)]
mod tests {
    use super::super::isa::Isa;
    use super::nearest;

    #[test]
    fn numbers_are_rounded_to_even() {
        for v in [0.0, 0.5, 1.5, 2.5, -0.5, -1.5, 254.49, 32_766.5, -32_766.6, 4_194_303.0, -4_194_303.0] {
            assert_eq!(nearest(v), v.round_ties_even() as i32, "{v}");
        }
    }

    /// All ways of computing that this CPU has.
    pub fn instructions() -> Vec<Isa> {
        Isa::available().into_iter().flat_map(|isa| [isa, isa.without_vnni()]).collect()
    }
}

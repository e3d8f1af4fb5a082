//! The inverse discrete cosine transform (ITU-T T.81 A.3.3), to fewer samples where fewer are wanted.

use super::SIDE;
use std::f32::consts::{FRAC_1_SQRT_2, PI};

/// From the lowest `side` × `side` coefficients of a block to as many samples.
pub(super) struct Inverse {
    side: usize,
    /// The weight of frequency u at sample x: [x · side + u]. The factor of A.3.3 is a half whatever the side, since a smaller
    /// transform's own would be larger by as much as fewer samples make a coefficient smaller.
    weights: Vec<f32>,
}

impl Inverse {
    /// `side`: 1, 2, 4 or 8.
    pub fn new(side: usize) -> Inverse {
        let weight = |i: usize| {
            let (x, u) = ((i / side) as f32, (i % side) as f32);
            let scale = if i.is_multiple_of(side) { FRAC_1_SQRT_2 } else { 1.0 };
            0.5 * scale * ((2.0 * x + 1.0) * u * PI / (2 * side) as f32).cos()
        };
        Inverse { side, weights: (0..side * side).map(weight).collect() }
    }

    pub fn side(&self) -> usize {
        self.side
    }

    /// Samples about 0, row by row, the first `side`² of them; coefficients row by row, eight a row.
    pub fn samples(&self, block: &[f32; 64]) -> [f32; 64] {
        let side = self.side;
        let (mut half, mut samples) = ([0.0; 64], [0.0; 64]);
        if side == 1 {
            samples[0] = block[0] / SIDE as f32;
            return samples;
        }
        let dot = |weights: &[f32], values: &[f32]| weights.iter().zip(values).map(|(w, v)| w * v).sum::<f32>();
        // Rows of coefficients become columns of samples, and those once more.
        for (v, row) in block.chunks_exact(SIDE).enumerate().take(side) {
            for (x, weights) in self.weights.chunks_exact(side).enumerate() {
                half[x * side + v] = dot(weights, row);
            }
        }
        for (x, column) in half.chunks_exact(side).enumerate().take(side) {
            for (y, weights) in self.weights.chunks_exact(side).enumerate() {
                samples[y * side + x] = dot(weights, column);
            }
        }
        samples
    }
}

//! The max pool behind the stem: 3×3, stride 2, one row at a time.
#![allow(unsafe_code)]

use super::isa::Isa;
use super::simd::{self, Kernel, Simd};

/// Three rows of pixels, one more on either side than the image has → a row of half as many.
pub struct MaxOfThree<'a> {
    /// Equally long.
    pub rows: [&'a [f32]; 3],
    /// Values of a pixel.
    pub channels: usize,
    /// Pixel `x` is the maximum over pixels `2x` to `2x + 2` of the rows.
    pub output: &'a mut [f32],
}

impl MaxOfThree<'_> {
    /// Computes it.
    ///
    /// # Panics
    /// The rows are too short for the output.
    pub fn compute(self, isa: Isa) {
        simd::run(isa, self);
    }
}

impl Kernel for MaxOfThree<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let MaxOfThree { rows, channels, output } = self;
        let pixels = output.len() / channels;
        assert!(channels.is_multiple_of(S::LANES), "channels do not fill vectors");
        assert!(rows.iter().all(|row| row.len() >= (2 * pixels + 1) * channels), "rows too short for the pool");
        for channel in (0..channels).step_by(S::LANES) {
            // SAFETY: `channel` and the lanes behind it are less than `channels`; pixels up to `2 * pixels` of the rows, and
            // less than `pixels` of the output, are there.
            unsafe {
                let column = |pixel: usize| {
                    let [a, b, c] = rows.map(|row| simd.load(row.as_ptr().add(pixel * channels + channel)));
                    simd.max(simd.max(a, b), c)
                };
                let mut left = column(0);
                for pixel in 0..pixels {
                    let (middle, right) = (column(2 * pixel + 1), column(2 * pixel + 2));
                    let most = simd.max(simd.max(left, middle), right);
                    simd.store(output.as_mut_ptr().add(pixel * channels + channel), most);
                    left = right;
                }
            }
        }
    }
}

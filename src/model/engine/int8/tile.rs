//! Convolutions in whole numbers: pixels × channels in registers, four values of the depth at a time, then requantised.
//!
//! Products are summed exactly, and what follows is rounded after each step on every CPU: all paths give the same bytes.
#![allow(unsafe_code)]

use crate::model::engine::isa::{Isa, Level};

/// Output channels that are computed at once.
pub const PANEL: usize = 32;

/// A line of pixels: a panel of a convolution, requantised.
pub struct Strip<'a> {
    /// `[taps * depth / 4, PANEL, 4]`
    pub weights: &'a [i8],
    /// What a sum is multiplied by, for each channel of the panel.
    pub multiplier: &'a [f32],
    /// Added afterwards, in steps of the output.
    pub bias: &'a [f32],
    /// Runs of input values that make up a patch.
    pub taps: usize,
    /// From one run to the next.
    pub tap: usize,
    /// Values in a run; a multiple of 4.
    pub depth: usize,
    /// Where patches lie, the first at 0.
    pub input: &'a [u8],
    /// Input values from a pixel's patch to its neighbour's.
    pub step: usize,
    /// Where results go, cut off at 0 and 255; the first at 0.
    pub output: &'a mut [u8],
    /// Output values from a pixel's panel to its neighbour's.
    pub width: usize,
    /// Added at the same places as the output, times a step's worth in steps of the output.
    pub shortcut: Option<(&'a [u8], f32)>,
    /// Pixels.
    pub count: usize,
}

/// Vectors of 32-bit sums. Values are made by code of the level only.
trait Dot: Copy {
    type V: Copy;
    const LANES: usize;
    /// # Safety
    /// As for every function here: the CPU has the level's instructions.
    unsafe fn splat(v: i32) -> Self::V;
    /// Adds the products of four bytes of `x` and of `w` in each lane. # Safety: `4 * LANES` weights may be read.
    unsafe fn dot(sum: Self::V, x: Self::V, w: *const i8) -> Self::V;
    /// Requantises `LANES` sums. # Safety: as many values may be read and written at each pointer.
    unsafe fn finish(sum: Self::V, by: *const f32, bias: *const f32, beside: Option<(*const u8, f32)>, to: *mut u8);
}

#[derive(Clone, Copy)]
struct Portable;

impl Dot for Portable {
    type V = [i32; 8];
    const LANES: usize = 8;

    #[inline(always)]
    unsafe fn splat(v: i32) -> [i32; 8] {
        [v; 8]
    }

    #[inline(always)]
    unsafe fn dot(mut sum: [i32; 8], x: [i32; 8], w: *const i8) -> [i32; 8] {
        let x = x[0].to_ne_bytes();
        for (lane, sum) in sum.iter_mut().enumerate() {
            for (i, &x) in x.iter().enumerate() {
                // SAFETY: less than `4 * LANES`.
                *sum += i32::from(x) * i32::from(unsafe { *w.add(4 * lane + i) });
            }
        }
        sum
    }

    #[inline(always)]
    unsafe fn finish(sum: [i32; 8], by: *const f32, bias: *const f32, beside: Option<(*const u8, f32)>, to: *mut u8) {
        for (i, sum) in sum.into_iter().enumerate() {
            // SAFETY: less than `LANES`.
            unsafe {
                let mut v = sum as f32 * *by.add(i) + *bias.add(i);
                if let Some((from, scale)) = beside {
                    v += f32::from(*from.add(i)) * scale;
                }
                *to.add(i) = v.clamp(0.0, 255.0).round_ties_even() as u8;
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Dot;
    use std::arch::x86_64::*;

    /// AVX2: even and odd bytes widened to 16 bits, so that no sum saturates.
    #[derive(Clone, Copy)]
    pub struct Avx2;

    impl Dot for Avx2 {
        type V = __m256i;
        const LANES: usize = 8;

        #[inline(always)]
        unsafe fn splat(v: i32) -> __m256i {
            // SAFETY: the caller's.
            unsafe { _mm256_set1_epi32(v) }
        }

        #[inline(always)]
        unsafe fn dot(sum: __m256i, x: __m256i, w: *const i8) -> __m256i {
            // SAFETY: the caller's.
            unsafe {
                let w = _mm256_loadu_si256(w.cast());
                let even = _mm256_madd_epi16(
                    _mm256_and_si256(x, _mm256_set1_epi16(255)),
                    _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(w)),
                );
                let odd = _mm256_madd_epi16(_mm256_srli_epi16::<8>(x), _mm256_srai_epi16::<8>(w));
                _mm256_add_epi32(sum, _mm256_add_epi32(even, odd))
            }
        }

        #[inline(always)]
        unsafe fn finish(s: __m256i, by: *const f32, bias: *const f32, beside: Option<(*const u8, f32)>, to: *mut u8) {
            // SAFETY: the caller's.
            unsafe {
                let v = _mm256_mul_ps(_mm256_cvtepi32_ps(s), _mm256_loadu_ps(by));
                let mut v = _mm256_add_ps(v, _mm256_loadu_ps(bias));
                if let Some((from, scale)) = beside {
                    let b = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(from.cast())));
                    v = _mm256_add_ps(v, _mm256_mul_ps(b, _mm256_set1_ps(scale)));
                }
                let v = _mm256_min_ps(_mm256_max_ps(v, _mm256_setzero_ps()), _mm256_set1_ps(255.0));
                let v = _mm256_cvtps_epi32(v);
                let v = _mm_packus_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256::<1>(v));
                _mm_storel_epi64(to.cast(), _mm_packus_epi16(v, v));
            }
        }
    }

    /// AVX-512 VNNI: `vpdpbusd`, which does not saturate.
    #[derive(Clone, Copy)]
    pub struct Vnni;

    impl Dot for Vnni {
        type V = __m512i;
        const LANES: usize = 16;

        #[inline(always)]
        unsafe fn splat(v: i32) -> __m512i {
            // SAFETY: the caller's.
            unsafe { _mm512_set1_epi32(v) }
        }

        #[inline(always)]
        unsafe fn dot(sum: __m512i, x: __m512i, w: *const i8) -> __m512i {
            // SAFETY: the caller's.
            unsafe { _mm512_dpbusd_epi32(sum, x, _mm512_loadu_si512(w.cast())) }
        }

        #[inline(always)]
        unsafe fn finish(s: __m512i, by: *const f32, bias: *const f32, beside: Option<(*const u8, f32)>, to: *mut u8) {
            // SAFETY: the caller's.
            unsafe {
                let v = _mm512_mul_ps(_mm512_cvtepi32_ps(s), _mm512_loadu_ps(by));
                let mut v = _mm512_add_ps(v, _mm512_loadu_ps(bias));
                if let Some((from, scale)) = beside {
                    let b = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast())));
                    v = _mm512_add_ps(v, _mm512_mul_ps(b, _mm512_set1_ps(scale)));
                }
                let v = _mm512_min_ps(_mm512_max_ps(v, _mm512_setzero_ps()), _mm512_set1_ps(255.0));
                _mm_storeu_si128(to.cast(), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(v)));
            }
        }
    }

    #[target_feature(enable = "avx2")]
    pub fn avx2(strip: super::Strip) {
        strip.run::<Avx2, 4, 2>();
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    pub fn vnni(strip: super::Strip) {
        strip.run::<Vnni, 2, 7>();
    }
}

impl Strip<'_> {
    /// Computes it.
    ///
    /// # Panics
    /// It does not lie within its slices.
    pub fn compute(self, isa: Isa) {
        match isa.level() {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: an `Isa` is made by detection; VNNI of this level is AVX-512's, with BW.
            Level::Avx512 if isa.vnni() => unsafe { x86::vnni(self) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: an `Isa` is made by detection; a CPU with AVX-512 has AVX2.
            Level::Avx2 | Level::Avx512 => unsafe { x86::avx2(self) },
            _ => self.run::<Portable, 4, 1>(),
        }
    }

    fn fits(&self) -> bool {
        let last = self.count.saturating_sub(1);
        let writes = last * self.width + PANEL;
        self.count > 0
            && self.taps > 0
            && self.depth.is_multiple_of(4)
            && last * self.step + (self.taps - 1) * self.tap + self.depth <= self.input.len()
            && writes <= self.output.len()
            && self.shortcut.is_none_or(|(s, _)| writes <= s.len())
            && self.weights.len() >= self.taps * self.depth * PANEL
            && self.multiplier.len().min(self.bias.len()) >= PANEL
    }

    /// `VECTORS` make up a panel.
    #[inline(always)]
    fn run<D: Dot, const VECTORS: usize, const ROWS: usize>(mut self) {
        assert!(self.fits() && VECTORS * D::LANES == PANEL, "a strip outside its slices");
        let mut done = 0;
        while done < self.count {
            // SAFETY: `fits` holds for all `count` pixels; callers of `run` have the instructions of `D`.
            unsafe {
                if done + ROWS <= self.count {
                    self.tile::<D, VECTORS, ROWS>(done);
                    done += ROWS;
                } else {
                    self.tile::<D, VECTORS, 1>(done);
                    done += 1;
                }
            }
        }
    }

    /// # Safety
    /// [`Strip::fits`] holds, `first + ROWS <= count`, and the CPU has the instructions of `D`.
    #[inline(always)]
    unsafe fn tile<D: Dot, const VECTORS: usize, const ROWS: usize>(&mut self, first: usize) {
        // SAFETY: the caller's; a run is read four bytes at a time and `depth` is a multiple of four.
        unsafe {
            let mut sums = [[D::splat(0); VECTORS]; ROWS];
            let mut weight = self.weights.as_ptr();
            for t in 0..self.taps {
                let base = self.input.as_ptr().add(first * self.step + t * self.tap);
                for k in (0..self.depth).step_by(4) {
                    for (row, sums) in sums.iter_mut().enumerate() {
                        let x = D::splat(base.add(row * self.step + k).cast::<i32>().read_unaligned());
                        for (v, sum) in sums.iter_mut().enumerate() {
                            *sum = D::dot(*sum, x, weight.add(4 * D::LANES * v));
                        }
                    }
                    weight = weight.add(4 * PANEL);
                }
            }
            for (row, sums) in sums.into_iter().enumerate() {
                for (v, sum) in sums.into_iter().enumerate() {
                    let lane = v * D::LANES;
                    let to = (first + row) * self.width + lane;
                    let beside = self.shortcut.map(|(s, scale)| (s.as_ptr().add(to), scale));
                    let (by, bias) = (self.multiplier.as_ptr().add(lane), self.bias.as_ptr().add(lane));
                    D::finish(sum, by, bias, beside, self.output.as_mut_ptr().add(to));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instruction_set_gives_the_same_bytes_as_the_definition() {
        let mut state = 1u32;
        let mut byte = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        for (taps, depth, step, count) in [(1, 4, 4, 1), (1, 64, 128, 9), (3, 12, 4, 7), (3, 192, 64, 23)] {
            let (tap, width) = (depth + 8, PANEL + 5);
            let input: Vec<u8> = (0..(count - 1) * step + (taps - 1) * tap + depth).map(|_| byte()).collect();
            let weights: Vec<i8> = (0..taps * depth * PANEL).map(|_| byte() as i8).collect();
            let multiplier: Vec<f32> = (0..PANEL).map(|_| f32::from(byte()) * 3e-6).collect();
            let bias: Vec<f32> = (0..PANEL).map(|_| f32::from(byte())).collect();
            let beside: Vec<u8> = (0..count * width).map(|_| byte()).collect();
            for shortcut in [None, Some((&beside[..], 0.37f32))] {
                for isa in Isa::available() {
                    let mut output = vec![7u8; count * width];
                    let (multiplier, bias) = (&multiplier[..], &bias[..]);
                    let (weights, input) = (&weights[..], &input[..]);
                    let out = &mut output[..];
                    Strip {
                        weights,
                        multiplier,
                        bias,
                        taps,
                        tap,
                        depth,
                        input,
                        step,
                        output: out,
                        width,
                        shortcut,
                        count,
                    }
                    .compute(isa);
                    for (at, &found) in output.iter().enumerate() {
                        let (pixel, c) = (at / width, at % width);
                        let wanted = if c < PANEL {
                            let product = |k: usize| {
                                let x = input[pixel * step + k / depth * tap + k % depth];
                                i32::from(x) * i32::from(weights[(k / 4 * PANEL + c) * 4 + k % 4])
                            };
                            let sum: i32 = (0..taps * depth).map(product).sum();
                            let v = sum as f32 * multiplier[c] + bias[c];
                            let v = shortcut.map_or(v, |(s, scale)| v + f32::from(s[at]) * scale);
                            v.round_ties_even().clamp(0.0, 255.0) as u8
                        } else {
                            7
                        };
                        assert_eq!(found, wanted, "{}: pixel {pixel} of {count}, channel {c}", isa.name());
                    }
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "outside its slices")]
    fn a_strip_beyond_its_input_is_refused() {
        let (weights, ones) = ([0; 4 * PANEL], [1.0; PANEL]);
        let output = &mut [0; 2 * PANEL];
        let (multiplier, bias, input) = (&ones, &ones, &[0; 7]);
        let strip = Strip {
            weights: &weights,
            multiplier,
            bias,
            taps: 1,
            tap: 0,
            depth: 4,
            input,
            step: 4,
            output,
            width: PANEL,
            shortcut: None,
            count: 2,
        };
        strip.compute(Isa::portable());
    }
}

//! Vectors of single-precision numbers: kernels are written once over [`Simd`] and compiled for each level of an [`Isa`].
//!
//! A value of a [`Simd`] type is made in [`run`] alone, for an [`Isa`] that has its level, so whoever holds one may use its
//! instructions: that makes arithmetic safe to call. Memory goes through pointers; what calls `load` and `store` answers
//! for these.
#![allow(unsafe_code)]

use super::isa::Isa;
#[cfg(target_arch = "x86_64")]
use super::isa::Level;

/// The vector instructions of one level.
pub trait Simd: Copy {
    /// A vector of [`Simd::LANES`] numbers.
    type V: Copy;
    /// Numbers in a vector.
    const LANES: usize;
    /// Half the pixels of a register tile of two vectors a pixel (see `tile`): as many as the registers hold.
    const ROWS: usize;

    /// The same number in all lanes.
    fn splat(self, v: f32) -> Self::V;
    /// `a + b`
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a - b`
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b`
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `c - a * b`
    fn neg_mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The greater of each lane.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// Reads a vector.
    ///
    /// # Safety
    /// `from` points at [`Simd::LANES`] numbers that may be read.
    unsafe fn load(self, from: *const f32) -> Self::V;
    /// Writes a vector.
    ///
    /// # Safety
    /// `to` points at [`Simd::LANES`] numbers that may be written.
    unsafe fn store(self, to: *mut f32, v: Self::V);
}

/// Work to be done with the instructions of a level. Implementations of `run`, and what they call in inner loops, are
/// `#[inline(always)]`: only then the compiler uses these instructions.
pub trait Kernel {
    /// Does it.
    fn run<S: Simd>(self, simd: S);
}

/// Does the work with the best instructions that `isa` has.
pub fn run(isa: Isa, kernel: impl Kernel) {
    match isa.level() {
        // SAFETY: an `Isa` of this level exists only where detection found AVX-512F.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { run_avx512(kernel) },
        // SAFETY: an `Isa` of this level exists only where detection found AVX2 and FMA.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { run_avx2(kernel) },
        _ => kernel.run(Portable),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn run_avx512(kernel: impl Kernel) {
    kernel.run(x86::Avx512::new());
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn run_avx2(kernel: impl Kernel) {
    kernel.run(x86::Avx2::new());
}

/// Four numbers in plain Rust: one register of SSE2 or NEON.
#[derive(Clone, Copy)]
pub struct Portable;

#[inline(always)]
fn lanes(f: impl Fn(usize) -> f32) -> [f32; 4] {
    [f(0), f(1), f(2), f(3)]
}

/// One instruction where every CPU of the architecture has it; elsewhere the library function would be far too slow.
#[inline(always)]
fn fused(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(target_arch = "aarch64") { a.mul_add(b, c) } else { a * b + c }
}

impl Simd for Portable {
    type V = [f32; 4];
    const LANES: usize = 4;
    const ROWS: usize = 3;

    #[inline(always)]
    fn splat(self, v: f32) -> [f32; 4] {
        [v; 4]
    }

    #[inline(always)]
    fn add(self, a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        lanes(|i| a[i] + b[i])
    }

    #[inline(always)]
    fn sub(self, a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        lanes(|i| a[i] - b[i])
    }

    #[inline(always)]
    fn mul(self, a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        lanes(|i| a[i] * b[i])
    }

    #[inline(always)]
    fn mul_add(self, a: [f32; 4], b: [f32; 4], c: [f32; 4]) -> [f32; 4] {
        lanes(|i| fused(a[i], b[i], c[i]))
    }

    #[inline(always)]
    fn neg_mul_add(self, a: [f32; 4], b: [f32; 4], c: [f32; 4]) -> [f32; 4] {
        lanes(|i| fused(-a[i], b[i], c[i]))
    }

    #[inline(always)]
    fn max(self, a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        lanes(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> [f32; 4] {
        // SAFETY: the caller says that four numbers may be read; an array of them has a number's alignment.
        unsafe { from.cast::<[f32; 4]>().read() }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, v: [f32; 4]) {
        // SAFETY: the caller says that four numbers may be written; an array of them has a number's alignment.
        unsafe { to.cast::<[f32; 4]>().write(v) }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Simd;
    use std::arch::x86_64::*;

    /// A level whose operations are the named intrinsics, all of which need the level's features and nothing else.
    macro_rules! level {
        ($(#[$doc:meta])* $name:ident, $features:literal, $vector:ty, $lanes:literal, $rows:literal, $splat:ident, $add:ident,
         $sub:ident, $mul:ident, $fmadd:ident, $fnmadd:ident, $max:ident, $load:ident, $store:ident) => {
            $(#[$doc])*
            #[derive(Clone, Copy)]
            pub struct $name(());

            impl $name {
                /// Only code compiled for the level can call this safely.
                #[inline]
                #[target_feature(enable = $features)]
                pub fn new() -> $name {
                    $name(())
                }
            }

            impl Simd for $name {
                type V = $vector;
                const LANES: usize = $lanes;
                const ROWS: usize = $rows;

                #[inline(always)]
                fn splat(self, v: f32) -> $vector {
                    // SAFETY: `self` was made by code compiled for these features.
                    unsafe { $splat(v) }
                }

                #[inline(always)]
                fn add(self, a: $vector, b: $vector) -> $vector {
                    // SAFETY: as for `splat`.
                    unsafe { $add(a, b) }
                }

                #[inline(always)]
                fn sub(self, a: $vector, b: $vector) -> $vector {
                    // SAFETY: as for `splat`.
                    unsafe { $sub(a, b) }
                }

                #[inline(always)]
                fn mul(self, a: $vector, b: $vector) -> $vector {
                    // SAFETY: as for `splat`.
                    unsafe { $mul(a, b) }
                }

                #[inline(always)]
                fn mul_add(self, a: $vector, b: $vector, c: $vector) -> $vector {
                    // SAFETY: as for `splat`.
                    unsafe { $fmadd(a, b, c) }
                }

                #[inline(always)]
                fn neg_mul_add(self, a: $vector, b: $vector, c: $vector) -> $vector {
                    // SAFETY: as for `splat`.
                    unsafe { $fnmadd(a, b, c) }
                }

                #[inline(always)]
                fn max(self, a: $vector, b: $vector) -> $vector {
                    // SAFETY: as for `splat`.
                    unsafe { $max(a, b) }
                }

                #[inline(always)]
                unsafe fn load(self, from: *const f32) -> $vector {
                    // SAFETY: as for `splat`; the caller says that the numbers may be read.
                    unsafe { $load(from) }
                }

                #[inline(always)]
                unsafe fn store(self, to: *mut f32, v: $vector) {
                    // SAFETY: as for `splat`; the caller says that the numbers may be written.
                    unsafe { $store(to, v) }
                }
            }
        };
    }

    level!(
        /// AVX-512F. 14 pixels of 2 vectors, 2 of weights and a broadcast: 31 of 32 registers.
        Avx512, "avx512f", __m512, 16, 7, _mm512_set1_ps, _mm512_add_ps, _mm512_sub_ps, _mm512_mul_ps, _mm512_fmadd_ps,
        _mm512_fnmadd_ps, _mm512_max_ps, _mm512_loadu_ps, _mm512_storeu_ps
    );
    level!(
        /// AVX2 and FMA. 6 pixels of 2 vectors, 2 of weights and a broadcast: 15 of 16 registers.
        Avx2, "avx2,fma", __m256, 8, 3, _mm256_set1_ps, _mm256_add_ps, _mm256_sub_ps, _mm256_mul_ps, _mm256_fmadd_ps,
        _mm256_fnmadd_ps, _mm256_max_ps, _mm256_loadu_ps, _mm256_storeu_ps
    );
}

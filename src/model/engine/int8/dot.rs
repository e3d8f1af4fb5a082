//! Dot products of bytes, and of pairs of 16 bits: kernels in whole numbers are written once over [`Dot`] and compiled for each set of instructions.
//!
//! As in `engine::simd`, a value of a [`Dot`] type is made in [`run`] alone, for an [`Isa`] that has its instructions.
#![allow(unsafe_code)]

use super::wide::Wide;
use crate::model::engine::isa::Isa;
#[cfg(target_arch = "x86_64")]
use crate::model::engine::isa::Level;

/// Vectors of 32-bit sums of products.
pub trait Dot: Copy {
    /// [`Dot::LANES`] whole numbers of 32 bits.
    type V: Copy;
    /// Four weights of each lane.
    type W: Copy;
    /// Sums in a vector.
    const LANES: usize;
    /// Half the pixels of a register tile of two vectors a pixel: as many as the registers hold.
    const ROWS: usize;
    /// [`Dot::dot`] adds two neighbouring products in 16 bits: its weights are to be cut (`cut`).
    const NARROW: bool = false;

    /// The same in all lanes.
    fn splat(self, v: i32) -> Self::V;
    /// Adds to each lane the products of the four unsigned bytes of `x` and the four signed ones of `w`; of narrow instructions only
    /// where two neighbouring products fit into 16 bits.
    fn dot(self, sum: Self::V, x: Self::V, w: Self::W) -> Self::V;
    /// Reads four weights of each lane.
    ///
    /// # Safety
    /// `from` points at `4 * LANES` weights that may be read.
    unsafe fn weights(self, from: *const i8) -> Self::W;
    /// Adds to each lane the products of the two signed numbers of 16 bits in `x` and the two in `w`, of which not all are the
    /// least there is.
    fn dot_pairs(self, sum: Self::V, x: Self::V, w: Self::V) -> Self::V;
    /// Reads two weights of each lane.
    ///
    /// # Safety
    /// `from` points at `2 * LANES` weights that may be read.
    unsafe fn pairs(self, from: *const i16) -> Self::V;
    /// `sum * by + bias`, cut off below 0.
    ///
    /// # Safety
    /// `LANES` values may be read at each pointer, and written at `to`.
    unsafe fn finish_single(self, sum: Self::V, by: *const f32, bias: *const f32, to: *mut f32);
    /// `sum * by + bias`, and where there is one `beside` times its factor; rounded to even, cut off at 0 and 255.
    ///
    /// # Safety
    /// `LANES` values may be read at each pointer, and written at `to`.
    unsafe fn finish(
        self,
        sum: Self::V,
        by: *const f32,
        bias: *const f32,
        beside: Option<(*const u8, *const f32)>,
        to: *mut u8,
    );
}

/// Work to be done with dot products. Implementations of `run`, and what they call in inner loops, are `#[inline(always)]`:
/// only then the compiler uses the instructions.
pub trait DotKernel {
    /// Does it.
    fn run<D: Wide>(self, dot: D);
}

/// Does the work with the best instructions that `isa` has.
pub fn run(isa: Isa, kernel: impl DotKernel) {
    match isa.level() {
        // SAFETY: an `Isa` that says so exists only where detection found AVX-512F, BW and VNNI.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 if isa.vnni() => unsafe { run_avx512(kernel) },
        // SAFETY: an `Isa` that says so exists only where detection found AVX2 and AVX-VNNI.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 if isa.vnni() => unsafe { run_avx_vnni(kernel) },
        // SAFETY: an `Isa` of these levels exists only where detection found AVX-512F, which comes with AVX2, or AVX2.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 | Level::Avx2 => unsafe { run_avx2(kernel) },
        _ => kernel.run(Portable),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn run_avx512(kernel: impl DotKernel) {
    kernel.run(x86::Avx512::new());
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,avxvnni")]
fn run_avx_vnni(kernel: impl DotKernel) {
    kernel.run(x86::AvxVnni::new());
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn run_avx2(kernel: impl DotKernel) {
    kernel.run(x86::Avx2::new());
}

/// Whether [`run`] takes instructions that are [narrow](Dot::NARROW).
pub fn narrow(isa: Isa) -> bool {
    struct Asked<'a>(&'a mut bool);
    impl DotKernel for Asked<'_> {
        #[inline(always)]
        fn run<D: Dot>(self, _: D) {
            *self.0 = D::NARROW;
        }
    }
    let mut narrow = false;
    run(isa, Asked(&mut narrow));
    narrow
}

/// Plain Rust.
#[derive(Clone, Copy)]
pub struct Portable;

impl Dot for Portable {
    type V = [i32; 4];
    type W = [i8; 16];
    const LANES: usize = 4;
    const ROWS: usize = 2;

    #[inline(always)]
    fn splat(self, v: i32) -> [i32; 4] {
        [v; 4]
    }

    #[inline(always)]
    fn dot(self, mut sum: [i32; 4], x: [i32; 4], w: [i8; 16]) -> [i32; 4] {
        let x = x[0].to_ne_bytes();
        for (sum, w) in sum.iter_mut().zip(w.chunks_exact(4)) {
            *sum += x.iter().zip(w).map(|(x, w)| i32::from(*x) * i32::from(*w)).sum::<i32>();
        }
        sum
    }

    #[inline(always)]
    unsafe fn weights(self, from: *const i8) -> [i8; 16] {
        // SAFETY: the caller says that sixteen may be read.
        unsafe { from.cast::<[i8; 16]>().read() }
    }

    #[inline(always)]
    fn dot_pairs(self, mut sum: [i32; 4], x: [i32; 4], w: [i32; 4]) -> [i32; 4] {
        let halves = |v: i32| [i32::from(v as i16), v >> 16];
        let [low, high] = halves(x[0]);
        for (sum, w) in sum.iter_mut().zip(w) {
            *sum += low * halves(w)[0] + high * halves(w)[1];
        }
        sum
    }

    #[inline(always)]
    unsafe fn pairs(self, from: *const i16) -> [i32; 4] {
        // SAFETY: the caller says that eight may be read.
        unsafe { from.cast::<[i32; 4]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn finish_single(self, sum: [i32; 4], by: *const f32, bias: *const f32, to: *mut f32) {
        for (i, sum) in sum.into_iter().enumerate() {
            // SAFETY: the caller says that four values may be read and written.
            unsafe { *to.add(i) = (sum as f32 * *by.add(i) + *bias.add(i)).max(0.0) };
        }
    }

    #[inline(always)]
    unsafe fn finish(
        self,
        sum: [i32; 4],
        by: *const f32,
        bias: *const f32,
        beside: Option<(*const u8, *const f32)>,
        to: *mut u8,
    ) {
        for (i, sum) in sum.into_iter().enumerate() {
            // SAFETY: the caller says that four values may be read and written.
            unsafe {
                let mut v = sum as f32 * *by.add(i) + *bias.add(i);
                if let Some((from, scales)) = beside {
                    v += f32::from(*from.add(i)) * *scales.add(i);
                }
                *to.add(i) = v.clamp(0.0, 255.0).round_ties_even() as u8;
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub mod x86 {
    use super::Dot;
    use std::arch::x86_64::*;

    /// Instructions of 256 bits: what AVX2 does alone, and the dot product.
    macro_rules! avx2 {
        ($(#[$doc:meta])* $name:ident, $features:literal, $rows:literal, $narrow:literal, $dot:ident, $pairs:ident) => {
            $(#[$doc])*
            #[derive(Clone, Copy)]
            pub struct $name(());

            impl $name {
                /// Only code compiled for these instructions can call this safely.
                #[inline]
                #[target_feature(enable = $features)]
                pub fn new() -> $name {
                    $name(())
                }
            }

            impl Dot for $name {
                type V = __m256i;
                type W = __m256i;
                const LANES: usize = 8;
                const ROWS: usize = $rows;
                const NARROW: bool = $narrow;

                #[inline(always)]
                fn splat(self, v: i32) -> __m256i {
                    // SAFETY: `self` was made by code compiled for these instructions.
                    unsafe { _mm256_set1_epi32(v) }
                }

                #[inline(always)]
                fn dot(self, sum: __m256i, x: __m256i, w: __m256i) -> __m256i {
                    // SAFETY: as for `splat`.
                    unsafe { $dot(sum, x, w) }
                }

                #[inline(always)]
                unsafe fn weights(self, from: *const i8) -> __m256i {
                    // SAFETY: as for `splat`; the caller says that 32 weights may be read.
                    unsafe { _mm256_loadu_si256(from.cast()) }
                }

                #[inline(always)]
                fn dot_pairs(self, sum: __m256i, x: __m256i, w: __m256i) -> __m256i {
                    // SAFETY: as for `splat`.
                    unsafe { $pairs(sum, x, w) }
                }

                #[inline(always)]
                unsafe fn pairs(self, from: *const i16) -> __m256i {
                    // SAFETY: as for `splat`; the caller says that 16 weights may be read.
                    unsafe { _mm256_loadu_si256(from.cast()) }
                }

                #[inline(always)]
                unsafe fn finish_single(self, sum: __m256i, by: *const f32, bias: *const f32, to: *mut f32) {
                    // SAFETY: as for `splat`; the caller says that eight values may be read and written.
                    unsafe {
                        let v = _mm256_mul_ps(_mm256_cvtepi32_ps(sum), _mm256_loadu_ps(by));
                        let v = _mm256_add_ps(v, _mm256_loadu_ps(bias));
                        _mm256_storeu_ps(to, _mm256_max_ps(v, _mm256_setzero_ps()));
                    }
                }

                #[inline(always)]
                unsafe fn finish(
                    self,
                    sum: __m256i,
                    by: *const f32,
                    bias: *const f32,
                    beside: Option<(*const u8, *const f32)>,
                    to: *mut u8,
                ) {
                    // SAFETY: as for `splat`; the caller says that eight values may be read and written.
                    unsafe {
                        let v = _mm256_mul_ps(_mm256_cvtepi32_ps(sum), _mm256_loadu_ps(by));
                        let mut v = _mm256_add_ps(v, _mm256_loadu_ps(bias));
                        if let Some((from, scales)) = beside {
                            let b = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(from.cast())));
                            v = _mm256_add_ps(v, _mm256_mul_ps(b, _mm256_loadu_ps(scales)));
                        }
                        let v = _mm256_min_ps(_mm256_max_ps(v, _mm256_setzero_ps()), _mm256_set1_ps(255.0));
                        let v = _mm256_cvtps_epi32(v);
                        let v = _mm_packus_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256::<1>(v));
                        _mm_storel_epi64(to.cast(), _mm_packus_epi16(v, v));
                    }
                }
            }
        };
    }

    /// What `vpdpbusd` does, where two neighbouring products fit into 16 bits.
    ///
    /// # Safety
    /// The CPU has AVX2.
    #[inline(always)]
    unsafe fn dot_narrow(sum: __m256i, x: __m256i, w: __m256i) -> __m256i {
        // SAFETY: the caller's.
        unsafe { _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(x, w), _mm256_set1_epi16(1))) }
    }

    /// What `vpdpwssd` does.
    ///
    /// # Safety
    /// The CPU has AVX2.
    #[inline(always)]
    unsafe fn dot_pairs(sum: __m256i, x: __m256i, w: __m256i) -> __m256i {
        // SAFETY: the caller's.
        unsafe { _mm256_add_epi32(sum, _mm256_madd_epi16(x, w)) }
    }

    avx2!(
        /// AVX2 alone. 6 pixels of 2 vectors, 2 of weights, one of a pixel and one of products: 16 registers.
        Avx2, "avx2", 3, true, dot_narrow, dot_pairs
    );
    avx2!(
        /// AVX-VNNI: `vpdpbusd`, which does not saturate. 6 pixels of 2 vectors, 2 of weights and one of a pixel: 15 of 16
        /// registers.
        AvxVnni, "avx2,avxvnni", 3, false, _mm256_dpbusd_avx_epi32, _mm256_dpwssd_avx_epi32
    );

    /// AVX-512 VNNI. 14 pixels of 2 vectors, 2 of weights and one of a pixel: 31 of 32 registers.
    #[derive(Clone, Copy)]
    pub struct Avx512(());

    impl Avx512 {
        /// Only code compiled for these instructions can call this safely.
        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
        pub fn new() -> Avx512 {
            Avx512(())
        }
    }

    impl Dot for Avx512 {
        type V = __m512i;
        type W = __m512i;
        const LANES: usize = 16;
        const ROWS: usize = 7;

        #[inline(always)]
        fn splat(self, v: i32) -> __m512i {
            // SAFETY: `self` was made by code compiled for these instructions.
            unsafe { _mm512_set1_epi32(v) }
        }

        #[inline(always)]
        fn dot(self, sum: __m512i, x: __m512i, w: __m512i) -> __m512i {
            // SAFETY: as for `splat`.
            unsafe { _mm512_dpbusd_epi32(sum, x, w) }
        }

        #[inline(always)]
        unsafe fn weights(self, from: *const i8) -> __m512i {
            // SAFETY: as for `splat`; the caller says that 64 weights may be read.
            unsafe { _mm512_loadu_si512(from.cast()) }
        }

        #[inline(always)]
        fn dot_pairs(self, sum: __m512i, x: __m512i, w: __m512i) -> __m512i {
            // SAFETY: as for `splat`.
            unsafe { _mm512_dpwssd_epi32(sum, x, w) }
        }

        #[inline(always)]
        unsafe fn pairs(self, from: *const i16) -> __m512i {
            // SAFETY: as for `splat`; the caller says that 32 weights may be read.
            unsafe { _mm512_loadu_si512(from.cast()) }
        }

        #[inline(always)]
        unsafe fn finish_single(self, sum: __m512i, by: *const f32, bias: *const f32, to: *mut f32) {
            // SAFETY: as for `splat`; the caller says that sixteen values may be read and written.
            unsafe {
                let v = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), _mm512_loadu_ps(by));
                let v = _mm512_add_ps(v, _mm512_loadu_ps(bias));
                _mm512_storeu_ps(to, _mm512_max_ps(v, _mm512_setzero_ps()));
            }
        }

        #[inline(always)]
        unsafe fn finish(
            self,
            sum: __m512i,
            by: *const f32,
            bias: *const f32,
            beside: Option<(*const u8, *const f32)>,
            to: *mut u8,
        ) {
            // SAFETY: as for `splat`; the caller says that sixteen values may be read and written.
            unsafe {
                let v = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), _mm512_loadu_ps(by));
                let mut v = _mm512_add_ps(v, _mm512_loadu_ps(bias));
                if let Some((from, scales)) = beside {
                    let b = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast())));
                    v = _mm512_add_ps(v, _mm512_mul_ps(b, _mm512_loadu_ps(scales)));
                }
                let v = _mm512_min_ps(_mm512_max_ps(v, _mm512_setzero_ps()), _mm512_set1_ps(255.0));
                _mm_storeu_si128(to.cast(), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(v)));
            }
        }
    }
}

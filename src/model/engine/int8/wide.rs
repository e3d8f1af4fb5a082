//! Vectors of the whole numbers around the products: of 16 bits before them, of 32 bits behind. All arithmetic wraps.
#![allow(unsafe_code)]

use super::dot::{Dot, Portable};

/// What Winograd's transforms need: [`Dot::LANES`] numbers of 32 bits in a vector, or twice as many of 16.
pub trait Wide: Dot {
    /// The same number of 16 bits everywhere.
    fn splat16(self, v: i16) -> Self::V;
    /// `a + b`, in 16 bits.
    fn add16(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a - b`, in 16 bits.
    fn sub16(self, a: Self::V, b: Self::V) -> Self::V;
    /// The low half of `a * b`, in 16 bits.
    fn mul16(self, a: Self::V, b: Self::V) -> Self::V;
    /// Reads bytes, as numbers of 16 bits.
    ///
    /// # Safety
    /// `2 * LANES` may be read.
    unsafe fn bytes(self, from: *const u8) -> Self::V;
    /// Writes numbers of 16 bits.
    ///
    /// # Safety
    /// `2 * LANES` may be written.
    unsafe fn store16(self, to: *mut i16, v: Self::V);

    /// `a + b`, in 32 bits.
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a - b`, in 32 bits.
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// The low half of `a * b`, in 32 bits.
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * 2ᴺ`, in 32 bits.
    fn left<const N: i32>(self, a: Self::V) -> Self::V;
    /// `a / 2⁶` rounded down, in 32 bits.
    fn right6(self, a: Self::V) -> Self::V;
    /// Reads numbers of 32 bits.
    ///
    /// # Safety
    /// `LANES` may be read.
    unsafe fn load(self, from: *const i32) -> Self::V;
    /// Writes numbers of 32 bits.
    ///
    /// # Safety
    /// `LANES` may be written.
    unsafe fn store(self, to: *mut i32, v: Self::V);
}

/// Two numbers of 16 bits in one of 32, the first in the low half.
#[inline(always)]
fn pair(low: i16, high: i16) -> i32 {
    i32::from(low as u16) | i32::from(high) << 16
}

/// The same to each half of each number.
#[inline(always)]
fn by_halves(a: [i32; 4], b: [i32; 4], f: impl Fn(i16, i16) -> i16) -> [i32; 4] {
    each(a, b, |a, b| pair(f(a as i16, b as i16), f((a >> 16) as i16, (b >> 16) as i16)))
}

#[inline(always)]
fn each(a: [i32; 4], b: [i32; 4], f: impl Fn(i32, i32) -> i32) -> [i32; 4] {
    [f(a[0], b[0]), f(a[1], b[1]), f(a[2], b[2]), f(a[3], b[3])]
}

impl Wide for Portable {
    #[inline(always)]
    fn splat16(self, v: i16) -> [i32; 4] {
        [pair(v, v); 4]
    }

    #[inline(always)]
    fn add16(self, a: [i32; 4], b: [i32; 4]) -> [i32; 4] {
        by_halves(a, b, i16::wrapping_add)
    }

    #[inline(always)]
    fn sub16(self, a: [i32; 4], b: [i32; 4]) -> [i32; 4] {
        by_halves(a, b, i16::wrapping_sub)
    }

    #[inline(always)]
    fn mul16(self, a: [i32; 4], b: [i32; 4]) -> [i32; 4] {
        by_halves(a, b, i16::wrapping_mul)
    }

    #[inline(always)]
    unsafe fn bytes(self, from: *const u8) -> [i32; 4] {
        // SAFETY: the caller says that eight may be read.
        let b = unsafe { from.cast::<[u8; 8]>().read() }.map(i16::from);
        [pair(b[0], b[1]), pair(b[2], b[3]), pair(b[4], b[5]), pair(b[6], b[7])]
    }

    #[inline(always)]
    unsafe fn store16(self, to: *mut i16, v: [i32; 4]) {
        let [a, b, c, d] = v.map(|v| [v as i16, (v >> 16) as i16]);
        // SAFETY: the caller says that eight may be written; an array of them has a number's alignment.
        unsafe { to.cast::<[[i16; 2]; 4]>().write([a, b, c, d]) };
    }

    #[inline(always)]
    fn add(self, a: [i32; 4], b: [i32; 4]) -> [i32; 4] {
        each(a, b, i32::wrapping_add)
    }

    #[inline(always)]
    fn sub(self, a: [i32; 4], b: [i32; 4]) -> [i32; 4] {
        each(a, b, i32::wrapping_sub)
    }

    #[inline(always)]
    fn mul(self, a: [i32; 4], b: [i32; 4]) -> [i32; 4] {
        each(a, b, i32::wrapping_mul)
    }

    #[inline(always)]
    fn left<const N: i32>(self, a: [i32; 4]) -> [i32; 4] {
        a.map(|a| a << N)
    }

    #[inline(always)]
    fn right6(self, a: [i32; 4]) -> [i32; 4] {
        a.map(|a| a >> 6)
    }

    #[inline(always)]
    unsafe fn load(self, from: *const i32) -> [i32; 4] {
        // SAFETY: the caller says that four may be read; an array of them has a number's alignment.
        unsafe { from.cast::<[i32; 4]>().read() }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut i32, v: [i32; 4]) {
        // SAFETY: the caller says that four may be written; an array of them has a number's alignment.
        unsafe { to.cast::<[i32; 4]>().write(v) };
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Wide;
    use crate::model::engine::int8::dot::x86::{Avx2, Avx512, AvxVnni};
    use std::arch::x86_64::*;

    /// Instructions of 256 or 512 bits, by their names; all of these come with what the type is made for.
    macro_rules! wide {
        ($name:ident, $vector:ty, $half:ty, $load_half:ident, $load:ident, $store:ident, $widen:ident, $splat16:ident, $add16:ident,
         $sub16:ident, $mul16:ident, $add:ident, $sub:ident, $mul:ident, $left:ident, $right:ident) => {
            impl Wide for $name {
                #[inline(always)]
                fn splat16(self, v: i16) -> $vector {
                    // SAFETY: `self` was made by code compiled for these instructions.
                    unsafe { $splat16(v) }
                }

                #[inline(always)]
                fn add16(self, a: $vector, b: $vector) -> $vector {
                    // SAFETY: as for `splat16`.
                    unsafe { $add16(a, b) }
                }

                #[inline(always)]
                fn sub16(self, a: $vector, b: $vector) -> $vector {
                    // SAFETY: as for `splat16`.
                    unsafe { $sub16(a, b) }
                }

                #[inline(always)]
                fn mul16(self, a: $vector, b: $vector) -> $vector {
                    // SAFETY: as for `splat16`.
                    unsafe { $mul16(a, b) }
                }

                #[inline(always)]
                unsafe fn bytes(self, from: *const u8) -> $vector {
                    // SAFETY: as for `splat16`; the caller says that half a vector may be read.
                    unsafe { $widen($load_half(from.cast::<$half>())) }
                }

                #[inline(always)]
                unsafe fn store16(self, to: *mut i16, v: $vector) {
                    // SAFETY: as for `splat16`; the caller says that a vector may be written.
                    unsafe { $store(to.cast(), v) }
                }

                #[inline(always)]
                fn add(self, a: $vector, b: $vector) -> $vector {
                    // SAFETY: as for `splat16`.
                    unsafe { $add(a, b) }
                }

                #[inline(always)]
                fn sub(self, a: $vector, b: $vector) -> $vector {
                    // SAFETY: as for `splat16`.
                    unsafe { $sub(a, b) }
                }

                #[inline(always)]
                fn mul(self, a: $vector, b: $vector) -> $vector {
                    // SAFETY: as for `splat16`.
                    unsafe { $mul(a, b) }
                }

                #[inline(always)]
                fn left<const N: i32>(self, a: $vector) -> $vector {
                    // SAFETY: as for `splat16`.
                    unsafe { $left(a, _mm_cvtsi32_si128(N)) }
                }

                #[inline(always)]
                fn right6(self, a: $vector) -> $vector {
                    // SAFETY: as for `splat16`.
                    unsafe { $right::<6>(a) }
                }

                #[inline(always)]
                unsafe fn load(self, from: *const i32) -> $vector {
                    // SAFETY: as for `splat16`; the caller says that a vector may be read.
                    unsafe { $load(from.cast()) }
                }

                #[inline(always)]
                unsafe fn store(self, to: *mut i32, v: $vector) {
                    // SAFETY: as for `splat16`; the caller says that a vector may be written.
                    unsafe { $store(to.cast(), v) }
                }
            }
        };
    }

    macro_rules! avx2 {
        ($name:ident) => {
            wide!(
                $name,
                __m256i,
                __m128i,
                _mm_loadu_si128,
                _mm256_loadu_si256,
                _mm256_storeu_si256,
                _mm256_cvtepu8_epi16,
                _mm256_set1_epi16,
                _mm256_add_epi16,
                _mm256_sub_epi16,
                _mm256_mullo_epi16,
                _mm256_add_epi32,
                _mm256_sub_epi32,
                _mm256_mullo_epi32,
                _mm256_sll_epi32,
                _mm256_srai_epi32
            );
        };
    }

    avx2!(Avx2);
    avx2!(AvxVnni);
    wide!(
        Avx512,
        __m512i,
        __m256i,
        _mm256_loadu_si256,
        _mm512_loadu_si512,
        _mm512_storeu_si512,
        _mm512_cvtepu8_epi16,
        _mm512_set1_epi16,
        _mm512_add_epi16,
        _mm512_sub_epi16,
        _mm512_mullo_epi16,
        _mm512_add_epi32,
        _mm512_sub_epi32,
        _mm512_mullo_epi32,
        _mm512_sll_epi32,
        _mm512_srai_epi32
    );
}

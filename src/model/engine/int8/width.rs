//! How wide the numbers of a matrix product are, and what becomes of its sums.
#![allow(unsafe_code)]

use super::dot::Dot;
use super::wide::Wide;
use std::marker::PhantomData;

/// How wide the numbers are that are multiplied, and what becomes of their sums.
pub trait Width: Copy {
    /// Of the input.
    type Input: Copy;
    /// Of the kernel.
    type Weight: Copy;
    /// Of the output.
    type Output: Copy;
    /// Weights of as many lanes as a vector has, ready to be multiplied.
    type W<D: Dot>: Copy;
    /// Values in 32 bits.
    const EACH: usize;

    /// Weights that were cut off, as those of this width; `None` where none are.
    fn cut(weights: &[i8]) -> Option<&[Self::Weight]>;
    /// Reads [`Width::EACH`] weights of each lane.
    ///
    /// # Safety
    /// So many may be read.
    unsafe fn weights<D: Dot>(dot: D, from: *const Self::Weight) -> Self::W<D>;
    /// Adds to each lane the products of the values in 32 bits with its weights.
    fn dot<D: Dot>(dot: D, sum: D::V, x: D::V, w: Self::W<D>) -> D::V;
    /// Turns sums into values of the output: times `by`, `bias` and what is `beside` added.
    ///
    /// # Safety
    /// [`Dot::LANES`] values may be read at each pointer, and written at `to`.
    unsafe fn finish<D: Wide>(
        dot: D,
        sum: D::V,
        by: *const f32,
        bias: *const f32,
        beside: Option<(*const Self::Output, *const f32)>,
        to: *mut Self::Output,
    );
}

/// Unsigned bytes by signed ones, to unsigned bytes.
#[derive(Clone, Copy)]
pub struct Eight;

impl Width for Eight {
    type Input = u8;
    type Weight = i8;
    type Output = u8;
    type W<D: Dot> = D::W;
    const EACH: usize = 4;

    #[inline(always)]
    fn cut(weights: &[i8]) -> Option<&[i8]> {
        Some(weights)
    }

    #[inline(always)]
    unsafe fn weights<D: Dot>(dot: D, from: *const i8) -> D::W {
        // SAFETY: the caller's.
        unsafe { dot.weights(from) }
    }

    #[inline(always)]
    fn dot<D: Dot>(dot: D, sum: D::V, x: D::V, w: D::W) -> D::V {
        dot.dot(sum, x, w)
    }

    #[inline(always)]
    unsafe fn finish<D: Wide>(
        dot: D,
        sum: D::V,
        by: *const f32,
        bias: *const f32,
        beside: Option<(*const u8, *const f32)>,
        to: *mut u8,
    ) {
        // SAFETY: the caller's.
        unsafe { dot.finish(sum, by, bias, beside, to) }
    }
}

/// What becomes of the sums of products of 16 bits.
pub trait End: Copy {
    /// Values of the output.
    type Output: Copy;

    /// As [`Width::finish`], with nothing beside.
    ///
    /// # Safety
    /// [`Dot::LANES`] values may be read at each pointer, and written at `to`.
    unsafe fn end<D: Wide>(dot: D, sum: D::V, by: *const f32, bias: *const f32, to: *mut Self::Output);
}

/// Single precision behind a ReLU.
#[derive(Clone, Copy)]
pub struct Single;

impl End for Single {
    type Output = f32;

    #[inline(always)]
    unsafe fn end<D: Wide>(dot: D, sum: D::V, by: *const f32, bias: *const f32, to: *mut f32) {
        // SAFETY: the caller's.
        unsafe { dot.finish_single(sum, by, bias, to) }
    }
}

/// The sums as they are: Winograd's are scaled behind the way back.
#[derive(Clone, Copy)]
pub struct Sums;

impl End for Sums {
    type Output = i32;

    #[inline(always)]
    unsafe fn end<D: Wide>(dot: D, sum: D::V, _by: *const f32, _bias: *const f32, to: *mut i32) {
        // SAFETY: the caller's.
        unsafe { dot.store(to, sum) }
    }
}

/// Signed numbers of 16 bits; nothing is beside.
#[derive(Clone, Copy)]
pub struct Sixteen<E = Single>(PhantomData<E>);

impl<E: End> Width for Sixteen<E> {
    type Input = i16;
    type Weight = i16;
    type Output = E::Output;
    type W<D: Dot> = D::V;
    const EACH: usize = 2;

    #[inline(always)]
    fn cut(_: &[i8]) -> Option<&[i16]> {
        None
    }

    #[inline(always)]
    unsafe fn weights<D: Dot>(dot: D, from: *const i16) -> D::V {
        // SAFETY: the caller's.
        unsafe { dot.pairs(from) }
    }

    #[inline(always)]
    fn dot<D: Dot>(dot: D, sum: D::V, x: D::V, w: D::V) -> D::V {
        dot.dot_pairs(sum, x, w)
    }

    #[inline(always)]
    unsafe fn finish<D: Wide>(
        dot: D,
        sum: D::V,
        by: *const f32,
        bias: *const f32,
        _beside: Option<(*const E::Output, *const f32)>,
        to: *mut E::Output,
    ) {
        // SAFETY: the caller's.
        unsafe { E::end(dot, sum, by, bias, to) }
    }
}

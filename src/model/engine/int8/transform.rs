//! The transforms of Winograd's F(4×4, 3×3) in whole numbers, without an error: those of `engine::transform` times what makes
//! their fractions whole.
//!
//! `Bᵀ` is whole as it is; behind it a byte's tile fits 16 bits, in tiles of all sides. `G` is multiplied row by row by 4, −6, −6,
//! 24, 24 and 1, which makes at most 7² · 127 of a byte's kernel; `Aᵀ` makes up for that by 6, −4, −4, 1, 1 and 24, so that in the end
//! all is 24² times what it should be. On the way sums may be greater than 32 bits: they are taken modulo 2³², as is all that follows, and since
//! 24² = 2⁶ · 9 the sum of products itself is known modulo 2²⁶: exactly, where it lies between −2²⁵ and 2²⁵.
// Loops over rows, columns and lanes are unrolled: plain indices keep the sums in registers.
#![allow(unsafe_code, clippy::needless_range_loop)]

use super::dot::{self, DotKernel};
use super::wide::Wide;
use crate::model::engine::isa::Isa;
use crate::model::engine::transform::{There, Way, by_sides, needed};

/// A sum of products is less than this, either way.
pub const SUM: i32 = 1 << 25;
/// 9 times this is 1, modulo 2³².
const NINTH: i32 = 954_437_177;

/// The sums of each channel → up to 4×4 output pixels, scaled, with bias and shortcut.
pub struct Back<'a> {
    /// Output rows and columns of the tile, 2 to 4 each.
    pub sides: [usize; 2],
    /// Sums of products.
    pub input: &'a [i32],
    /// The first point's first channel.
    pub from: usize,
    /// Values from a point to the next.
    pub plane: usize,
    /// What a sum is multiplied by, one a channel.
    pub multiplier: &'a [f32],
    /// Added afterwards, one a channel.
    pub bias: &'a [f32],
    /// Added at the same places as the output, times a factor for each channel; where it is.
    pub shortcut: Option<(&'a [u8], &'a [f32])>,
    /// Maps.
    pub output: &'a mut [u8],
    /// The first pixel.
    pub to: usize,
    /// Values from a row of the maps to the next.
    pub line: usize,
    /// Rows to be written, and pixels of each: at least 1 and no more than the tile has.
    pub written: [usize; 2],
}

/// The nine taps of a kernel, row by row → its 36 values, `G g Gᵀ` times what makes it whole.
pub fn kernel(taps: [i8; 9]) -> [i16; 36] {
    let there = |g: [i16; 3]| {
        let (outer, far) = (g[0] + g[2], g[0] + 4 * g[2]);
        [g[0], outer + g[1], outer - g[1], far + 2 * g[1], far - 2 * g[1], g[2]]
    };
    let columns = [0, 1, 2].map(|column| there([0, 3, 6].map(|row| i16::from(taps[row + column]))));
    let mut all = [0; 36];
    for (row, all) in all.chunks_exact_mut(6).enumerate() {
        all.copy_from_slice(&there(columns.map(|column| column[row])));
    }
    all
}

impl There<'_, u8, i16> {
    /// Computes it.
    ///
    /// # Panics
    /// The tile does not lie within its slices.
    pub fn compute(self, isa: Isa) {
        dot::run(isa, self);
    }
}

impl Back<'_> {
    /// Computes it.
    ///
    /// # Panics
    /// The tile does not lie within its slices.
    pub fn compute(self, isa: Isa) {
        dot::run(isa, self);
    }
}

impl DotKernel for There<'_, u8, i16> {
    #[inline(always)]
    fn run<D: Wide>(self, wide: D) {
        by_sides!(self, D, wide)
    }
}

impl<D: Wide> Way<u8, i16> for D {
    type Vector = D::V;
    const CHANNELS: usize = 2 * D::LANES;

    #[inline(always)]
    fn zeros(self) -> D::V {
        self.splat(0)
    }

    #[inline(always)]
    unsafe fn read(self, from: *const u8) -> D::V {
        // SAFETY: the caller's.
        unsafe { self.bytes(from) }
    }

    #[inline(always)]
    fn there<const SIDE: usize>(self, d: [D::V; 6]) -> [D::V; 6] {
        there::<D, SIDE>(self, d)
    }

    #[inline(always)]
    unsafe fn write(self, to: *mut i16, v: D::V) {
        // SAFETY: the caller's.
        unsafe { self.store16(to, v) }
    }
}

impl DotKernel for Back<'_> {
    #[inline(always)]
    fn run<D: Wide>(self, wide: D) {
        by_sides!(self, D, wide)
    }
}

impl Back<'_> {
    #[inline(always)]
    fn tile<D: Wide, const ROWS: usize, const COLUMNS: usize>(self, wide: D) {
        let Back { input, from, plane, multiplier, bias, shortcut, output, to, line, written: [rows, columns], .. } =
            self;
        let channels = bias.len();
        assert!(
            from + 35 * plane + channels <= input.len() && channels.is_multiple_of(D::LANES),
            "a tile outside its block"
        );
        assert!(
            multiplier.len() >= channels && shortcut.is_none_or(|(_, scales)| scales.len() >= channels),
            "factors for fewer channels"
        );
        let room = shortcut.map_or(output.len(), |(s, _)| s.len().min(output.len()));
        let inside = (1..=ROWS).contains(&rows) && (1..=COLUMNS).contains(&columns);
        assert!(inside && to + (rows - 1) * line + columns * channels <= room, "a tile outside the maps");
        let ninth = wide.splat(NINTH);
        for channel in (0..channels).step_by(D::LANES) {
            let mut half = [[wide.splat(0); 6]; 4];
            // SAFETY: `channel` and the lanes behind it are less than `channels`, so with points less than 36 these places
            // lie in the input.
            unsafe {
                let from = input.as_ptr().add(from + channel);
                for column in 0..6 {
                    if !needed(COLUMNS, column) {
                        continue;
                    }
                    let mut points = [wide.splat(0); 6];
                    for row in 0..6 {
                        if needed(ROWS, row) {
                            points[row] = wide.load(from.add((row * 6 + column) * plane));
                        }
                    }
                    let back = back::<D, ROWS>(wide, points);
                    for row in 0..ROWS {
                        half[row][column] = back[row];
                    }
                }
            }
            // SAFETY: as above for multiplier, bias and the shortcut's factors, which have `channels` values; rows and columns are less
            // than `rows` and `columns`, for which the output and the shortcut have room.
            unsafe {
                let (by, bias) = (multiplier.as_ptr().add(channel), bias.as_ptr().add(channel));
                for (row, half) in half.iter().enumerate().take(rows) {
                    let back = back::<D, COLUMNS>(wide, *half);
                    for (column, v) in back.into_iter().enumerate().take(columns) {
                        let at = to + row * line + column * channels + channel;
                        let beside = shortcut.map(|(s, scales)| (s.as_ptr().add(at), scales.as_ptr().add(channel)));
                        // 2⁶ times the sum; then the sum.
                        let sum = wide.right6(wide.mul(v, ninth));
                        wide.finish(sum, by, bias, beside, output.as_mut_ptr().add(at));
                    }
                }
            }
        }
    }
}

/// `Bᵀ d` for so many outputs, of two inputs more; 0 for points that are not [`needed`].
#[inline(always)]
fn there<D: Wide, const SIDE: usize>(wide: D, d: [D::V; 6]) -> [D::V; 6] {
    let add = |a, b| wide.add16(a, b);
    let sub = |a, b| wide.sub16(a, b);
    let times = |by, v| wide.mul16(wide.splat16(by), v);
    let none = wide.splat(0);
    match SIDE {
        2 => [
            times(4, sub(d[0], d[2])),
            times(-3, add(d[1], d[2])),
            times(3, sub(d[1], d[2])),
            none,
            none,
            sub(d[3], d[1]),
        ],
        3 => {
            let apart = sub(d[3], d[1]);
            let twice = add(apart, apart);
            [
                add(times(4, sub(d[0], d[2])), twice),
                times(3, sub(apart, add(d[1], d[2]))),
                add(times(3, sub(d[1], d[2])), apart),
                add(twice, twice),
                none,
                sub(sub(d[4], d[2]), twice),
            ]
        }
        _ => {
            let even = sub(d[4], times(4, d[2]));
            let odd = sub(d[3], times(4, d[1]));
            let close = sub(d[4], d[2]);
            let apart = sub(d[3], d[1]);
            let apart = add(apart, apart);
            [
                add(times(4, sub(d[0], d[2])), close),
                add(even, odd),
                sub(even, odd),
                add(close, apart),
                sub(close, apart),
                sub(sub(d[5], d[3]), times(4, sub(d[3], d[1]))),
            ]
        }
    }
}

/// 24 times `Aᵀ m` for so many outputs; points that are not [`needed`] are not asked for.
#[inline(always)]
fn back<D: Wide, const SIDE: usize>(wide: D, m: [D::V; 6]) -> [D::V; 4] {
    let add = |a, b| wide.add(a, b);
    let sub = |a, b| wide.sub(a, b);
    let none = wide.splat(0);
    // Times 6, −4, −4, 1, 1, 24; the second and the third together.
    let first = add(wide.left::<2>(m[0]), wide.left::<1>(m[0]));
    let less = wide.left::<2>(add(m[1], m[2]));
    let difference1 = wide.left::<2>(sub(m[2], m[1]));
    let last = add(wide.left::<4>(m[5]), wide.left::<3>(m[5]));
    match SIDE {
        2 => [sub(first, less), add(difference1, last), none, none],
        3 => [
            add(sub(first, less), m[3]),
            add(wide.left::<1>(m[3]), difference1),
            add(sub(wide.left::<2>(m[3]), less), last),
            none,
        ],
        _ => {
            let (sum2, difference2) = (add(m[3], m[4]), sub(m[3], m[4]));
            [
                add(sub(first, less), sum2),
                add(wide.left::<1>(difference2), difference1),
                sub(wide.left::<2>(sum2), less),
                add(add(wide.left::<3>(difference2), difference1), last),
            ]
        }
    }
}

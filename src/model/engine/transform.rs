//! The transforms of Winograd's F(4×4, 3×3): `Bᵀ d B` and `Aᵀ m A` of Lavin and Gray for one tile, over all channels; `G g Gᵀ` for
//! a piece of a kernel. Its points are 0, 1, -1, 2, -2 and infinity. A tile of fewer rows or columns does without the fifth of them,
//! or without the fourth too: the kernel's transform is the same but for factors, which are in `Bᵀ` here.
// Loops over rows, columns and lanes are unrolled: plain indices keep the sums in registers.
#![allow(unsafe_code, clippy::needless_range_loop)]

use super::isa::Isa;
use super::simd::{self, Kernel, Simd};

/// Whether a tile of so many output rows (or columns), 2 to 4, needs one of the six points.
pub const fn needed(side: usize, point: usize) -> bool {
    match point {
        3 => side >= 3,
        4 => side >= 4,
        _ => true,
    }
}

/// The input pixels of a tile, two more a side than it gives → up to 36 values a channel.
pub struct There<'a, I = f32, O = f32> {
    /// Output rows and columns of the tile, 2 to 4 each.
    pub sides: [usize; 2],
    /// Maps.
    pub input: &'a [I],
    /// The tile's first pixel.
    pub from: usize,
    /// Values from a row of the maps to the next.
    pub line: usize,
    /// Values of a pixel.
    pub channels: usize,
    /// Where the transform goes.
    pub output: &'a mut [O],
    /// The first point's first channel.
    pub to: usize,
    /// Values from a point to the next.
    pub plane: usize,
}

/// The values of each channel → up to 4×4 output pixels, with bias, shortcut and ReLU.
pub struct Back<'a> {
    /// Output rows and columns of the tile, 2 to 4 each.
    pub sides: [usize; 2],
    /// Products.
    pub input: &'a [f32],
    /// The first point's first channel.
    pub from: usize,
    /// Values from a point to the next.
    pub plane: usize,
    /// One a channel.
    pub bias: &'a [f32],
    /// Added, at the same places as the output; where it is.
    pub shortcut: Option<&'a [f32]>,
    /// Maps.
    pub output: &'a mut [f32],
    /// The first pixel.
    pub to: usize,
    /// Values from a row of the maps to the next.
    pub line: usize,
    /// Rows to be written, and pixels of each: at least 1 and no more than the tile has.
    pub written: [usize; 2],
    /// Cut off below 0.
    pub relu: bool,
}

/// Kernels of 3×3 taps → 36 values each.
pub struct Kernels<'a> {
    /// Nine taps.
    pub input: &'a [f32],
    /// Values from a tap to the next.
    pub tap: usize,
    /// How many kernels.
    pub count: usize,
    /// Where the transforms go.
    pub output: &'a mut [f32],
    /// Values from a point to the next.
    pub plane: usize,
}

/// The way there of values of maps to values of points, a vector of channels at a time.
pub trait Way<I, O>: Copy {
    /// Of [`Way::CHANNELS`] channels.
    type Vector: Copy;
    /// Channels in a vector.
    const CHANNELS: usize;

    /// Nothing.
    fn zeros(self) -> Self::Vector;
    /// Reads a vector.
    ///
    /// # Safety
    /// `CHANNELS` values may be read.
    unsafe fn read(self, from: *const I) -> Self::Vector;
    /// `Bᵀ d` for so many outputs, of two inputs more; 0 for points that are not [`needed`].
    fn there<const SIDE: usize>(self, d: [Self::Vector; 6]) -> [Self::Vector; 6];
    /// Writes a vector.
    ///
    /// # Safety
    /// `CHANNELS` values may be written.
    unsafe fn write(self, to: *mut O, v: Self::Vector);
}

impl<I, O> There<'_, I, O> {
    /// # Panics
    /// The tile does not lie within its slices, or its channels do not fill vectors of so many.
    fn check(&self, lanes: usize) {
        let There { sides: [rows, columns], input, from, line, channels, output, to, plane } = self;
        assert!(from + (rows + 1) * line + (columns + 2) * channels <= input.len(), "a tile outside the maps");
        assert!(
            to + 35 * plane + channels <= output.len() && channels.is_multiple_of(lanes),
            "a tile outside its block"
        );
    }
}

impl There<'_> {
    /// Computes it.
    ///
    /// # Panics
    /// The tile does not lie within its slices.
    pub fn compute(self, isa: Isa) {
        simd::run(isa, self);
    }
}

impl Back<'_> {
    /// Computes it.
    ///
    /// # Panics
    /// The tile does not lie within its slices.
    pub fn compute(self, isa: Isa) {
        simd::run(isa, self);
    }
}

impl Kernels<'_> {
    /// Computes it.
    ///
    /// # Panics
    /// The kernels do not lie within their slices.
    pub fn compute(self, isa: Isa) {
        simd::run(isa, self);
    }
}

/// Calls the method `tile` for the sides of a tile, which are constants there.
macro_rules! by_sides {
    ($self:ident, $lanes:ty, $with:ident) => {
        match $self.sides {
            [4, 4] => $self.tile::<$lanes, 4, 4>($with),
            [4, 3] => $self.tile::<$lanes, 4, 3>($with),
            [4, 2] => $self.tile::<$lanes, 4, 2>($with),
            [3, 4] => $self.tile::<$lanes, 3, 4>($with),
            [3, 3] => $self.tile::<$lanes, 3, 3>($with),
            [3, 2] => $self.tile::<$lanes, 3, 2>($with),
            [2, 4] => $self.tile::<$lanes, 2, 4>($with),
            [2, 3] => $self.tile::<$lanes, 2, 3>($with),
            [2, 2] => $self.tile::<$lanes, 2, 2>($with),
            sides => unreachable!("a tile of {sides:?}"),
        }
    };
}
pub(super) use by_sides;

impl Kernel for There<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        by_sides!(self, S, simd)
    }
}

impl<S: Simd> Way<f32, f32> for S {
    type Vector = S::V;
    const CHANNELS: usize = S::LANES;

    #[inline(always)]
    fn zeros(self) -> S::V {
        self.splat(0.0)
    }

    #[inline(always)]
    unsafe fn read(self, from: *const f32) -> S::V {
        // SAFETY: the caller's.
        unsafe { self.load(from) }
    }

    #[inline(always)]
    fn there<const SIDE: usize>(self, d: [S::V; 6]) -> [S::V; 6] {
        there::<S, SIDE>(self, d)
    }

    #[inline(always)]
    unsafe fn write(self, to: *mut f32, v: S::V) {
        // SAFETY: the caller's.
        unsafe { self.store(to, v) }
    }
}

impl<I, O> There<'_, I, O> {
    #[inline(always)]
    pub(super) fn tile<W: Way<I, O>, const ROWS: usize, const COLUMNS: usize>(self, way: W) {
        self.check(W::CHANNELS);
        let There { input, from, line, channels, output, to, plane, .. } = self;
        for channel in (0..channels).step_by(W::CHANNELS) {
            let mut half = [[way.zeros(); 6]; 6];
            // SAFETY: `check` says that the rows and columns of the tile, two more than it gives, lie in the input with all their
            // `channels`, of which `channel` and those of its vector are some.
            unsafe {
                let from = input.as_ptr().add(from + channel);
                for column in 0..COLUMNS + 2 {
                    let mut pixels = [way.zeros(); 6];
                    for row in 0..ROWS + 2 {
                        pixels[row] = way.read(from.add(row * line + column * channels));
                    }
                    let there = way.there::<ROWS>(pixels);
                    for row in 0..6 {
                        half[row][column] = there[row];
                    }
                }
            }
            // SAFETY: `check` says that 36 points lie in the output with all their channels.
            unsafe {
                let to = output.as_mut_ptr().add(to + channel);
                for row in 0..6 {
                    if !needed(ROWS, row) {
                        continue;
                    }
                    let there = way.there::<COLUMNS>(half[row]);
                    for column in 0..6 {
                        if needed(COLUMNS, column) {
                            way.write(to.add((row * 6 + column) * plane), there[column]);
                        }
                    }
                }
            }
        }
    }
}

impl Kernel for Back<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        by_sides!(self, S, simd)
    }
}

impl Back<'_> {
    #[inline(always)]
    fn tile<S: Simd, const ROWS: usize, const COLUMNS: usize>(self, simd: S) {
        let Back { input, from, plane, bias, shortcut, output, to, line, written: [rows, columns], relu, .. } = self;
        let channels = bias.len();
        assert!(
            from + 35 * plane + channels <= input.len() && channels.is_multiple_of(S::LANES),
            "a tile outside its block"
        );
        let room = shortcut.map_or(output.len(), |s| s.len().min(output.len()));
        let inside = (1..=ROWS).contains(&rows) && (1..=COLUMNS).contains(&columns);
        assert!(inside && to + (rows - 1) * line + columns * channels <= room, "a tile outside the maps");
        for channel in (0..channels).step_by(S::LANES) {
            let mut half = [[simd.splat(0.0); 6]; 4];
            // SAFETY: `channel` and the lanes behind it are less than `channels`, so with points less than 36 these places
            // lie in the input.
            unsafe {
                let from = input.as_ptr().add(from + channel);
                for column in 0..6 {
                    if !needed(COLUMNS, column) {
                        continue;
                    }
                    let mut points = [simd.splat(0.0); 6];
                    for row in 0..6 {
                        if needed(ROWS, row) {
                            points[row] = simd.load(from.add((row * 6 + column) * plane));
                        }
                    }
                    let back = back::<S, ROWS>(simd, points);
                    for row in 0..ROWS {
                        half[row][column] = back[row];
                    }
                }
            }
            // SAFETY: as above for the bias, which has `channels` values; rows and columns are less than `rows` and
            // `columns`, for which the output and the shortcut have room.
            unsafe {
                let bias = simd.load(bias.as_ptr().add(channel));
                for (row, half) in half.iter().enumerate().take(rows) {
                    let back = back::<S, COLUMNS>(simd, *half);
                    for (column, v) in back.into_iter().enumerate().take(columns) {
                        let at = to + row * line + column * channels + channel;
                        let mut v = simd.add(v, bias);
                        if let Some(shortcut) = shortcut {
                            v = simd.add(v, simd.load(shortcut.as_ptr().add(at)));
                        }
                        if relu {
                            v = simd.max(v, simd.splat(0.0));
                        }
                        simd.store(output.as_mut_ptr().add(at), v);
                    }
                }
            }
        }
    }
}

impl Kernel for Kernels<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Kernels { input, tap, count, output, plane } = self;
        assert!(8 * tap + count <= input.len() && 35 * plane + count <= output.len(), "kernels outside their slices");
        assert!(count.is_multiple_of(S::LANES), "kernels do not fill vectors");
        for at in (0..count).step_by(S::LANES) {
            let mut half = [[simd.splat(0.0); 3]; 6];
            // SAFETY: `at` and the lanes behind it are less than `count`, so with taps less than 9 these places lie in the
            // input, and with points less than 36 in the output.
            unsafe {
                let from = input.as_ptr().add(at);
                for column in 0..3 {
                    let taps = [0, 3, 6].map(|row| simd.load(from.add((row + column) * tap)));
                    let there = kernel(simd, taps);
                    for row in 0..6 {
                        half[row][column] = there[row];
                    }
                }
                let to = output.as_mut_ptr().add(at);
                for row in 0..6 {
                    let there = kernel(simd, half[row]);
                    for column in 0..6 {
                        simd.store(to.add((row * 6 + column) * plane), there[column]);
                    }
                }
            }
        }
    }
}

/// `G g`
#[inline(always)]
fn kernel<S: Simd>(simd: S, g: [S::V; 3]) -> [S::V; 6] {
    let [quarter, sixth, twelfth, small] = [1.0 / 4.0, 1.0 / 6.0, 1.0 / 12.0, 1.0 / 24.0].map(|v| simd.splat(v));
    let middle = simd.mul(sixth, g[1]);
    let outer = simd.mul(simd.splat(-1.0 / 6.0), simd.add(g[0], g[2]));
    let inner = simd.mul(twelfth, g[1]);
    let mixed = simd.mul_add(small, g[0], simd.mul(sixth, g[2]));
    [
        simd.mul(quarter, g[0]),
        simd.sub(outer, middle),
        simd.add(outer, middle),
        simd.add(mixed, inner),
        simd.sub(mixed, inner),
        g[2],
    ]
}

/// `Bᵀ d` for so many outputs, of two inputs more; 0 for points that are not [`needed`].
#[inline(always)]
fn there<S: Simd, const SIDE: usize>(simd: S, d: [S::V; 6]) -> [S::V; 6] {
    let [two, three, four, five] = [2.0, 3.0, 4.0, 5.0].map(|v| simd.splat(v));
    let none = simd.splat(0.0);
    match SIDE {
        2 => [
            simd.mul(four, simd.sub(d[0], d[2])),
            simd.mul(simd.splat(-3.0), simd.add(d[1], d[2])),
            simd.mul(three, simd.sub(d[1], d[2])),
            none,
            none,
            simd.sub(d[3], d[1]),
        ],
        3 => {
            let apart = simd.sub(d[3], d[1]);
            let twice = simd.mul(two, apart);
            [
                simd.mul_add(four, simd.sub(d[0], d[2]), twice),
                simd.mul(three, simd.sub(apart, simd.add(d[1], d[2]))),
                simd.mul_add(three, simd.sub(d[1], d[2]), apart),
                simd.mul(four, apart),
                none,
                simd.sub(simd.sub(d[4], d[2]), twice),
            ]
        }
        _ => {
            let even = simd.neg_mul_add(four, d[2], d[4]);
            let odd = simd.neg_mul_add(four, d[1], d[3]);
            let close = simd.sub(d[4], d[2]);
            let apart = simd.mul(two, simd.sub(d[3], d[1]));
            [
                simd.mul_add(four, d[0], simd.neg_mul_add(five, d[2], d[4])),
                simd.add(even, odd),
                simd.sub(even, odd),
                simd.add(close, apart),
                simd.sub(close, apart),
                simd.mul_add(four, d[1], simd.neg_mul_add(five, d[3], d[5])),
            ]
        }
    }
}

/// `Aᵀ m` for so many outputs; points that are not [`needed`] are not asked for.
#[inline(always)]
fn back<S: Simd, const SIDE: usize>(simd: S, m: [S::V; 6]) -> [S::V; 4] {
    let (sum1, difference1) = (simd.add(m[1], m[2]), simd.sub(m[1], m[2]));
    let none = simd.splat(0.0);
    match SIDE {
        2 => [simd.add(m[0], sum1), simd.add(difference1, m[5]), none, none],
        3 => [
            simd.add(simd.add(m[0], sum1), m[3]),
            simd.mul_add(simd.splat(2.0), m[3], difference1),
            simd.add(simd.mul_add(simd.splat(4.0), m[3], sum1), m[5]),
            none,
        ],
        _ => {
            let (sum2, difference2) = (simd.add(m[3], m[4]), simd.sub(m[3], m[4]));
            [
                simd.add(simd.add(m[0], sum1), sum2),
                simd.mul_add(simd.splat(2.0), difference2, difference1),
                simd.mul_add(simd.splat(4.0), sum2, sum1),
                simd.add(simd.mul_add(simd.splat(8.0), difference2, difference1), m[5]),
            ]
        }
    }
}

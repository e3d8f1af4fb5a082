//! The matrix product that all convolutions are made of: pixels × channels, held in registers while the depth is summed up.
//!
//! A tile is two groups of up to [`Simd::ROWS`] output pixels by a panel of output channels (two vectors). The pixels of a
//! group are equally far apart, so a few registers address them all. The groups lie in two lines of pixels, or in one,
//! where they may overlap: what both write is the same.
// Loops over rows, columns and lanes are unrolled: plain indices keep the sums in registers.
#![allow(unsafe_code, clippy::needless_range_loop)]

use super::isa::Isa;
use super::simd::{self, Kernel, Simd};

/// A panel of a convolution, or of a matrix.
#[derive(Clone, Copy)]
pub struct Filter<'a> {
    /// `[taps * depth, panel]`; a panel is [`Isa::panel`] channels.
    pub weights: &'a [f32],
    /// One a channel of the panel; empty: none.
    pub bias: &'a [f32],
    /// Runs of input values that make up a patch: rows of the kernel.
    pub taps: usize,
    /// From one run to the next.
    pub tap: usize,
    /// Values in a run; even.
    pub depth: usize,
    /// Cut off below 0.
    pub relu: bool,
}

/// Where a line of pixels begins.
#[derive(Clone, Copy)]
pub struct Line {
    /// The first pixel's patch, in the input.
    pub from: usize,
    /// The first pixel's panel, in the output and the shortcut.
    pub to: usize,
}

/// One or two lines of equally many pixels: what a filter makes of the input goes to the output.
pub struct Strip<'a> {
    /// What is multiplied.
    pub filter: Filter<'a>,
    /// Where patches lie.
    pub input: &'a [f32],
    /// Input values from a pixel's patch to its neighbour's.
    pub step: usize,
    /// Where results go.
    pub output: &'a mut [f32],
    /// Output values from a pixel's panel to its neighbour's.
    pub width: usize,
    /// Whether results are added to what the output holds.
    pub onto: bool,
    /// Added to the results, at the same places as the output; where it is.
    pub shortcut: Option<&'a [f32]>,
    /// The first line.
    pub line: Line,
    /// Another.
    pub second: Option<Line>,
    /// Pixels of a line; at least 1.
    pub count: usize,
}

impl Strip<'_> {
    /// Computes it.
    ///
    /// # Panics
    /// A line does not lie within its slices.
    pub fn compute(self, isa: Isa) {
        simd::run(isa, self);
    }

    /// Whether all that the tiles read and write lies in the slices.
    fn fits(&self, panel: usize) -> bool {
        let Filter { weights, bias, taps, tap, depth, .. } = self.filter;
        let reads = (self.count - 1) * self.step + (taps - 1) * tap + depth;
        let writes = (self.count - 1) * self.width + panel;
        let room = self.shortcut.map_or(self.output.len(), |s| s.len().min(self.output.len()));
        let inside = |line: Line| line.from + reads <= self.input.len() && line.to + writes <= room;
        inside(self.line)
            && self.second.is_none_or(inside)
            && weights.len() >= taps * depth * panel
            && (bias.is_empty() || bias.len() >= panel)
            && depth.is_multiple_of(2)
    }
}

/// The tiles of one or two lines of `count` pixels that are `step` values apart in the input and `width` in the output: how many
/// groups, how many pixels in each (at most `most`), and where the groups begin.
pub fn tiles(
    most: usize,
    count: usize,
    [step, width]: [usize; 2],
    line: Line,
    second: Option<Line>,
) -> impl Iterator<Item = (usize, usize, [Line; 2])> {
    let tiles = count.div_ceil(if second.is_some() { most } else { 2 * most });
    let after = move |line: Line, pixels: usize| Line { from: line.from + pixels * step, to: line.to + pixels * width };
    let mut done = 0;
    (0..tiles).map(move |tile| {
        let pixels = (count - done).div_ceil(tiles - tile);
        let first = after(line, done);
        let (groups, rows, second) = match second {
            Some(second) => (2, pixels, after(second, done)),
            None if pixels <= most => (1, pixels, first),
            // Where they are odd, both groups compute the pixel in the middle, to the same result.
            None => (2, pixels.div_ceil(2), after(first, pixels / 2)),
        };
        done += pixels;
        (groups, rows, [first, second])
    })
}

impl Kernel for Strip<'_> {
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let (count, step, width) = (self.count, self.step, self.width);
        assert!(count > 0 && self.filter.taps > 0 && self.fits(2 * S::LANES), "a strip outside its slices");
        for (groups, rows, lines) in tiles(S::ROWS, count, [step, width], self.line, self.second) {
            // SAFETY: `fits` holds for `count` pixels of each line; a tile's lie within them.
            unsafe {
                match (groups, rows) {
                    (1, 1) => self.tile::<S, 1, 1>(simd, lines),
                    (1, 2) => self.tile::<S, 1, 2>(simd, lines),
                    (1, 3) => self.tile::<S, 1, 3>(simd, lines),
                    (1, 4) if S::ROWS > 3 => self.tile::<S, 1, 4>(simd, lines),
                    (1, 5) if S::ROWS > 3 => self.tile::<S, 1, 5>(simd, lines),
                    (1, 6) if S::ROWS > 3 => self.tile::<S, 1, 6>(simd, lines),
                    (1, 7) if S::ROWS > 3 => self.tile::<S, 1, 7>(simd, lines),
                    (2, 1) => self.tile::<S, 2, 1>(simd, lines),
                    (2, 2) => self.tile::<S, 2, 2>(simd, lines),
                    (2, 3) => self.tile::<S, 2, 3>(simd, lines),
                    (2, 4) if S::ROWS > 3 => self.tile::<S, 2, 4>(simd, lines),
                    (2, 5) if S::ROWS > 3 => self.tile::<S, 2, 5>(simd, lines),
                    (2, 6) if S::ROWS > 3 => self.tile::<S, 2, 6>(simd, lines),
                    (2, 7) if S::ROWS > 3 => self.tile::<S, 2, 7>(simd, lines),
                    _ => unreachable!("{groups} groups of {rows} pixels"),
                }
            }
        }
    }
}

impl Strip<'_> {
    /// `GROUPS` times `ROWS` pixels, the first of each group at `lines`.
    ///
    /// # Safety
    /// [`Strip::fits`] holds for lines of `ROWS` pixels that begin at `lines`.
    #[inline(always)]
    unsafe fn tile<S: Simd, const GROUPS: usize, const ROWS: usize>(&mut self, simd: S, lines: [Line; 2]) {
        let Filter { weights, bias, taps, tap, depth, relu } = self.filter;
        let (step, width) = (self.step, self.width);
        // What keeps a group's pixels addressable by a base and a register each.
        let away = [0, step, 2 * step, 3 * step, 4 * step, 5 * step, 6 * step];
        let mut sums = [[[simd.splat(0.0); 2]; ROWS]; GROUPS];
        // SAFETY: the caller says that each pixel's patch lies in the input: `taps` runs, `tap` apart, of `depth` values,
        // read two at a time (`depth` is even); that `weights` holds a panel for each value of a patch; and that each
        // pixel's panel lies in the output and the shortcut, and the bias, where there is one, holds a panel.
        unsafe {
            let mut weight = weights.as_ptr();
            let base = lines.map(|line| self.input.as_ptr().add(line.from));
            for t in 0..taps {
                let mut at = [base[0].add(t * tap), base[1].add(t * tap)];
                for _ in 0..depth / 2 {
                    for u in 0..2 {
                        let w = [simd.load(weight), simd.load(weight.add(S::LANES))];
                        weight = weight.add(2 * S::LANES);
                        for group in 0..GROUPS {
                            for row in 0..ROWS {
                                let x = simd.splat(*at[group].add(away[row] + u));
                                for half in 0..2 {
                                    sums[group][row][half] = simd.mul_add(x, w[half], sums[group][row][half]);
                                }
                            }
                        }
                    }
                    at = [at[0].add(2), at[1].add(2)];
                }
            }
            if !bias.is_empty() {
                let bias = [simd.load(bias.as_ptr()), simd.load(bias.as_ptr().add(S::LANES))];
                for group in 0..GROUPS {
                    for row in 0..ROWS {
                        for half in 0..2 {
                            sums[group][row][half] = simd.add(sums[group][row][half], bias[half]);
                        }
                    }
                }
            }
            for beside in
                [self.onto.then_some(self.output.as_ptr()), self.shortcut.map(<[f32]>::as_ptr)].into_iter().flatten()
            {
                for group in 0..GROUPS {
                    let from = beside.add(lines[group].to);
                    for row in 0..ROWS {
                        for half in 0..2 {
                            let beside = simd.load(from.add(row * width + half * S::LANES));
                            sums[group][row][half] = simd.add(sums[group][row][half], beside);
                        }
                    }
                }
            }
            let least = simd.splat(if relu { 0.0 } else { f32::NEG_INFINITY });
            for group in 0..GROUPS {
                let to = self.output.as_mut_ptr().add(lines[group].to);
                for row in 0..ROWS {
                    for half in 0..2 {
                        simd.store(to.add(row * width + half * S::LANES), simd.max(sums[group][row][half], least));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Small whole numbers, so that sums are exact in any order.
    fn number(i: usize) -> f32 {
        ((i * 37 + i / 7) % 11) as f32 - 5.0
    }

    #[test]
    fn every_number_of_pixels_gives_the_sum_over_the_patch() {
        let (taps, tap, depth, step) = (2, 9, 4, 3);
        let filled = |n: usize| (0..n).map(number).collect::<Vec<f32>>();
        for isa in Isa::available() {
            let panel = isa.panel();
            let width = panel + 1;
            let (weights, bias) = (filled(taps * depth * panel), filled(panel));
            for count in 1..if cfg!(miri) { 8 } else { 32 } {
                let input = filled(5 + (count - 1) * step + tap + depth + 1);
                let shortcut = filled(1 + count * width);
                for (lines, bias, relu) in
                    [(1, &bias[..], true), (2, &bias[..], false), (2, &[], true), (1, &[], false)]
                {
                    let mut output = vec![-99.0; 1 + count * width + (lines - 1) * count * width];
                    let shortcut = (lines == 1).then_some(&shortcut[..]);
                    Strip {
                        filter: Filter { weights: &weights, bias, taps, tap, depth, relu },
                        input: &input,
                        step,
                        output: &mut output,
                        width,
                        onto: false,
                        shortcut,
                        line: Line { from: 5, to: 1 },
                        second: (lines == 2).then_some(Line { from: 6, to: 1 + count * width }),
                        count,
                    }
                    .compute(isa);
                    assert_eq!(output[0], -99.0);
                    for (i, pixel) in output[1..].chunks(width).enumerate() {
                        let begin = if i < count { 5 + i * step } else { 6 + (i - count) * step };
                        for (c, &found) in pixel[..panel].iter().enumerate() {
                            let patch = (0..taps * depth).map(|k| input[begin + k / depth * tap + k % depth]);
                            let sum: f32 = patch.enumerate().map(|(k, x)| x * weights[k * panel + c]).sum();
                            let sum =
                                sum + bias.get(c).unwrap_or(&0.0) + shortcut.map_or(0.0, |s| s[1 + i * width + c]);
                            let wanted = if relu { sum.max(0.0) } else { sum };
                            assert_eq!(found, wanted, "{}: pixel {i} of {count}, channel {c}", isa.name());
                        }
                        assert_eq!(pixel.get(panel).unwrap_or(&-99.0), &-99.0, "beside the panel");
                    }
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "outside its slices")]
    fn a_strip_that_would_read_beyond_its_input_is_refused() {
        let isa = Isa::portable();
        let weights = vec![0.0; 2 * isa.panel()];
        Strip {
            filter: Filter { weights: &weights, bias: &[], taps: 1, tap: 0, depth: 2, relu: false },
            input: &[0.0; 5],
            step: 2,
            output: &mut vec![0.0; 3 * isa.panel()],
            width: isa.panel(),
            onto: false,
            shortcut: None,
            line: Line { from: 0, to: 0 },
            second: None,
            count: 3,
        }
        .compute(isa);
    }
}

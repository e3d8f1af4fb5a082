//! The matrix product in whole numbers: pixels × channels in registers, 32 bits of the depth at a time, then requantised.
//!
//! Tiles are those of `engine::tile`: two groups of up to [`Dot::ROWS`] pixels, in two lines or in one. Products are summed
//! exactly, and what follows is rounded after each step on every CPU: all paths give the same result.
// Loops over rows and vectors are unrolled: plain indices keep the sums in registers.
#![allow(unsafe_code, clippy::needless_range_loop)]

use super::cut::Cut;
use super::dot::{self, Dot, DotKernel};
use super::wide::Wide;
use super::width::{Eight, Width};
use crate::model::engine::isa::Isa;
use crate::model::engine::tile::{Line, tiles};

/// Output channels that are computed one after the other for the same pixels; weights are packed so.
pub const PANEL: usize = 32;

/// Where the weight of a row and a column lies among those packed, `[columns / PANEL, groups, PANEL, EACH]`: groups are of
/// [`Width::EACH`] rows.
pub fn place<N: Width>(row: usize, column: usize, groups: usize) -> usize {
    ((column / PANEL * groups + row / N::EACH) * PANEL + column % PANEL) * N::EACH + row % N::EACH
}

/// A panel of a convolution.
#[derive(Clone, Copy)]
pub struct Filter<'a, N: Width = Eight> {
    /// `[taps * depth / EACH, PANEL, EACH]`
    pub weights: &'a [N::Weight],
    /// What was cut off bytes for instructions that are [narrow](Dot::NARROW), and for no others.
    pub cut: Option<Cut<'a>>,
    /// What a sum is multiplied by, for each channel of the panel.
    pub multiplier: &'a [f32],
    /// Added afterwards, in steps of the output.
    pub bias: &'a [f32],
    /// Runs of input values that make up a patch.
    pub taps: usize,
    /// From one run to the next.
    pub tap: usize,
    /// Values in a run; a multiple of [`Width::EACH`].
    pub depth: usize,
}

/// One or two lines of equally many pixels: what a filter makes of the input goes to the output, cut off at 0 and 255.
pub struct Strip<'a, N: Width = Eight> {
    /// What is multiplied.
    pub filter: Filter<'a, N>,
    /// Where patches lie.
    pub input: &'a [N::Input],
    /// Input values from a pixel's patch to its neighbour's.
    pub step: usize,
    /// Where results go.
    pub output: &'a mut [N::Output],
    /// Output values from a pixel's panel to its neighbour's.
    pub width: usize,
    /// Added at the same places as the output, times a step's worth in steps of the output, for each channel of the panel.
    pub shortcut: Option<(&'a [N::Output], &'a [f32])>,
    /// The first line.
    pub line: Line,
    /// Another.
    pub second: Option<Line>,
    /// Pixels of a line; at least 1.
    pub count: usize,
}

impl<N: Width> Strip<'_, N> {
    /// Computes it.
    ///
    /// # Panics
    /// A line does not lie within its slices.
    pub fn compute(self, isa: Isa) {
        dot::run(isa, self);
    }

    /// Whether all that the tiles read and write lies in the slices.
    fn fits(&self) -> bool {
        let Filter { weights, multiplier, bias, taps, tap, depth, cut } = self.filter;
        let reads = (self.count - 1) * self.step + (taps - 1) * tap + depth;
        let writes = (self.count - 1) * self.width + PANEL;
        let room = self.shortcut.map_or(self.output.len(), |(s, _)| s.len().min(self.output.len()));
        let inside = |line: Line| line.from + reads <= self.input.len() && line.to + writes <= room;
        inside(self.line)
            && self.second.is_none_or(inside)
            && self.shortcut.is_none_or(|(_, scales)| scales.len() >= PANEL)
            && weights.len() >= taps * depth * PANEL
            && multiplier.len().min(bias.len()) >= PANEL
            && depth.is_multiple_of(N::EACH)
            && cut.is_none_or(|cut| cut.is_of(taps, depth))
    }
}

impl<N: Width> DotKernel for Strip<'_, N> {
    #[inline(always)]
    fn run<D: Wide>(mut self, dot: D) {
        let (count, step, width) = (self.count, self.step, self.width);
        assert!(count > 0 && self.filter.taps > 0 && self.fits(), "a strip outside its slices");
        let to_be_cut = D::NARROW && N::cut(&[]).is_some();
        assert!(to_be_cut == self.filter.cut.is_some(), "weights that are cut for other instructions");
        for (groups, rows, lines) in tiles(D::ROWS, count, [step, width], self.line, self.second) {
            // SAFETY: `fits` holds for `count` pixels of each line; a tile's lie within them.
            unsafe {
                match (groups, rows) {
                    (1, 1) => self.tile::<D, 1, 1>(dot, lines),
                    (1, 2) if D::ROWS > 1 => self.tile::<D, 1, 2>(dot, lines),
                    (1, 3) if D::ROWS > 2 => self.tile::<D, 1, 3>(dot, lines),
                    (1, 4) if D::ROWS > 3 => self.tile::<D, 1, 4>(dot, lines),
                    (1, 5) if D::ROWS > 4 => self.tile::<D, 1, 5>(dot, lines),
                    (1, 6) if D::ROWS > 5 => self.tile::<D, 1, 6>(dot, lines),
                    (1, 7) if D::ROWS > 6 => self.tile::<D, 1, 7>(dot, lines),
                    (2, 1) => self.tile::<D, 2, 1>(dot, lines),
                    (2, 2) if D::ROWS > 1 => self.tile::<D, 2, 2>(dot, lines),
                    (2, 3) if D::ROWS > 2 => self.tile::<D, 2, 3>(dot, lines),
                    (2, 4) if D::ROWS > 3 => self.tile::<D, 2, 4>(dot, lines),
                    (2, 5) if D::ROWS > 4 => self.tile::<D, 2, 5>(dot, lines),
                    (2, 6) if D::ROWS > 5 => self.tile::<D, 2, 6>(dot, lines),
                    (2, 7) if D::ROWS > 6 => self.tile::<D, 2, 7>(dot, lines),
                    _ => unreachable!("{groups} groups of {rows} pixels"),
                }
            }
        }
    }
}

impl<N: Width> Strip<'_, N> {
    /// `GROUPS` times `ROWS` pixels, the first of each group at `lines`: two vectors of channels after the other.
    ///
    /// # Safety
    /// [`Strip::fits`] holds for lines of `ROWS` pixels that begin at `lines`.
    #[inline(always)]
    unsafe fn tile<D: Wide, const GROUPS: usize, const ROWS: usize>(&mut self, dot: D, lines: [Line; 2]) {
        let Filter { weights, multiplier, bias, taps, tap, depth, cut } = self.filter;
        // Vectors of narrow instructions are half of half a panel.
        const { assert!(!D::NARROW || 4 * D::LANES == PANEL) };
        // There is none for others: so the compiler leaves the loop out.
        let cut = cut.filter(|_| D::NARROW);
        let (step, width) = (self.step, self.width);
        // What keeps a group's pixels addressable by a base and a register each.
        let away = [0, step, 2 * step, 3 * step, 4 * step, 5 * step, 6 * step];
        for channel in (0..PANEL).step_by(2 * D::LANES) {
            let mut sums = [[[dot.splat(0); 2]; ROWS]; GROUPS];
            // SAFETY: the caller says that each pixel's patch lies in the input: `taps` runs, `tap` apart, of `depth` values,
            // read `EACH` at a time (`depth` is a multiple of it): 32 bits, whatever their width; that `weights` holds `EACH` values
            // of a panel for each such read; and that each pixel's panel lies in the output and the shortcut, a panel in multiplier, bias and what the
            // shortcut is multiplied by. From `channel` on, two vectors are left of a panel. What was cut off is for values of the
            // same runs, and holds two vectors (`Cut`).
            unsafe {
                // A place, since a pointer must not go beyond the last panel.
                let mut place = N::EACH * channel;
                let base = lines.map(|line| self.input.as_ptr().add(line.from));
                for t in 0..taps {
                    let mut at = [base[0].add(t * tap), base[1].add(t * tap)];
                    for _ in 0..depth / N::EACH {
                        add::<N, D, GROUPS, ROWS>(dot, &mut sums, at, away, weights.as_ptr().add(place));
                        place += N::EACH * PANEL;
                        at = [at[0].add(N::EACH), at[1].add(N::EACH)];
                    }
                }
                for excess in cut.map_or(&[][..], |cut| cut.excess(channel)) {
                    let Some(weight) = N::cut(&excess.weights).map(<[_]>::as_ptr) else { break };
                    let place = excess.run * tap + excess.at;
                    let at = [base[0].add(place), base[1].add(place)];
                    add::<N, D, GROUPS, ROWS>(dot, &mut sums, at, away, weight);
                }
                // Once in memory, whatever the loops below make of their places.
                let mut done = [[[dot.splat(0); 2]; ROWS]; GROUPS];
                for group in 0..GROUPS {
                    for row in 0..ROWS {
                        for half in 0..2 {
                            done[group][row][half] = sums[group][row][half];
                        }
                    }
                }
                for half in 0..2 {
                    let lane = channel + half * D::LANES;
                    let (by, bias) = (multiplier.as_ptr().add(lane), bias.as_ptr().add(lane));
                    for group in 0..GROUPS {
                        for row in 0..ROWS {
                            let to = lines[group].to + row * width + lane;
                            let beside =
                                self.shortcut.map(|(s, scales)| (s.as_ptr().add(to), scales.as_ptr().add(lane)));
                            let to = self.output.as_mut_ptr().add(to);
                            N::finish(dot, done[group][row][half], by, bias, beside, to);
                        }
                    }
                }
            }
        }
    }
}

/// Adds to each pixel's sums what the values of a read make with two vectors of weights: those `at` a group, and each row's `away`.
///
/// # Safety
/// [`Width::EACH`] values may be read at each such place, and the weights of two vectors at `weight`.
#[inline(always)]
unsafe fn add<N: Width, D: Dot, const GROUPS: usize, const ROWS: usize>(
    dot: D,
    sums: &mut [[[D::V; 2]; ROWS]; GROUPS],
    at: [*const N::Input; 2],
    away: [usize; 7],
    weight: *const N::Weight,
) {
    // SAFETY: the caller's.
    unsafe {
        let w = [N::weights(dot, weight), N::weights(dot, weight.add(N::EACH * D::LANES))];
        for group in 0..GROUPS {
            for row in 0..ROWS {
                let x = dot.splat(at[group].add(away[row]).cast::<i32>().read_unaligned());
                for half in 0..2 {
                    sums[group][row][half] = N::dot(dot, sums[group][row][half], x, w[half]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::cut::Cuts;
    use super::*;
    use crate::model::engine::int8::tests::instructions;

    /// Bytes of no pattern.
    fn bytes() -> impl FnMut() -> u8 {
        let mut state = 1u32;
        move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        }
    }

    #[test]
    fn every_instruction_set_gives_the_bytes_of_the_definition_for_any_number_of_pixels() {
        let mut byte = bytes();
        for (taps, depth, step, counts) in [
            (1, 4, 4, 1..32),
            (1, if cfg!(miri) { 8 } else { 64 }, 128, 9..10),
            (7, 8, 2, 20..21),
            (3, if cfg!(miri) { 12 } else { 192 }, 64, 23..24),
        ] {
            for count in
                counts.map(|count| if cfg!(miri) { count.min(5) } else { count }).take(if cfg!(miri) { 5 } else { 99 })
            {
                let (tap, width) = (depth + 8, PANEL + 5);
                // The second line begins one value behind the first.
                let input: Vec<u8> = (0..1 + (count - 1) * step + (taps - 1) * tap + depth).map(|_| byte()).collect();
                let weights: Vec<i8> = (0..taps * depth * PANEL).map(|_| byte() as i8).collect();
                let multiplier: Vec<f32> = (0..PANEL).map(|_| f32::from(byte()) * 3e-6).collect();
                let bias: Vec<f32> = (0..PANEL).map(|_| f32::from(byte())).collect();
                let beside: Vec<u8> = (0..2 * count * width).map(|_| byte()).collect();
                let mut left = weights.clone();
                let cuts = Cuts::off(&mut left, taps, depth);
                let scales: Vec<f32> = (0..PANEL).map(|_| f32::from(byte()) * 5e-3).collect();
                for (lines, shortcut) in
                    [1, 2].into_iter().flat_map(|n| [(n, None), (n, Some((&beside[..], &scales[..])))])
                {
                    for isa in instructions() {
                        let mut output = vec![7u8; lines * count * width];
                        let (given, cut) =
                            if dot::narrow(isa) { (&left, Some(cuts.panel(0))) } else { (&weights, None) };
                        let (multiplier, bias) = (&multiplier, &bias);
                        Strip::<Eight> {
                            filter: Filter { weights: given, cut, multiplier, bias, taps, tap, depth },
                            input: &input,
                            step,
                            output: &mut output,
                            width,
                            shortcut,
                            line: Line { from: 0, to: 0 },
                            second: (lines == 2).then_some(Line { from: 1, to: count * width }),
                            count,
                        }
                        .compute(isa);
                        for (at, &found) in output.iter().enumerate() {
                            let (pixel, c) = (at / width, at % width);
                            let wanted = if c < PANEL {
                                let begin = pixel % count * step + pixel / count;
                                let product = |k: usize| {
                                    let x = input[begin + k / depth * tap + k % depth];
                                    i32::from(x) * i32::from(weights[(k / 4 * PANEL + c) * 4 + k % 4])
                                };
                                let sum: i32 = (0..taps * depth).map(product).sum();
                                let v = sum as f32 * multiplier[c] + bias[c];
                                let v = shortcut.map_or(v, |(s, scales)| v + f32::from(s[at]) * scales[c]);
                                v.round_ties_even().clamp(0.0, 255.0) as u8
                            } else {
                                7
                            };
                            assert_eq!(found, wanted, "{isa:?}: pixel {pixel} of {lines} times {count}, channel {c}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn narrow_instructions_refuse_weights_that_are_not_cut() {
        for isa in instructions() {
            let strip = || {
                let (weights, ones) = ([1; 4 * PANEL], [1.0; PANEL]);
                let filter =
                    Filter { weights: &weights, cut: None, multiplier: &ones, bias: &ones, taps: 1, tap: 0, depth: 4 };
                let mut output = [0; PANEL];
                let (line, input) = (Line { from: 0, to: 0 }, &[1; 4]);
                Strip::<Eight> {
                    filter,
                    input,
                    step: 4,
                    output: &mut output,
                    width: PANEL,
                    shortcut: None,
                    line,
                    second: None,
                    count: 1,
                }
                .compute(isa);
                output
            };
            match std::panic::catch_unwind(strip) {
                Ok(output) => assert!(!dot::narrow(isa) && output == [5; PANEL], "{isa:?}: {output:?}"),
                Err(_) => assert!(dot::narrow(isa), "{isa:?}"),
            }
        }
    }

    #[test]
    #[should_panic(expected = "outside its slices")]
    fn a_strip_beyond_its_input_is_refused() {
        let (weights, ones) = ([0; 4 * PANEL], [1.0; PANEL]);
        Strip::<Eight> {
            filter: Filter { weights: &weights, cut: None, multiplier: &ones, bias: &ones, taps: 1, tap: 0, depth: 4 },
            input: &[0; 7],
            step: 4,
            output: &mut [0; 2 * PANEL],
            width: PANEL,
            shortcut: None,
            line: Line { from: 0, to: 0 },
            second: None,
            count: 2,
        }
        .compute(Isa::portable());
    }
}

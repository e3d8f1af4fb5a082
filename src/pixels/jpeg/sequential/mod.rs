//! JPEG by the discrete cosine transform, sequential (ITU-T T.81, processes 1, 2 and 4; PS3.5 A.4.1), one component of 8 or 12 bits: a
//! row of blocks at a time, each of 8, 4, 2 samples a side or of one.
//!
//! Here because no kept decoder in Rust reads 12 bits. What makes a smaller image of a block is its lower frequencies alone, so the
//! others are not even looked up; the first of them is the mean of its 64 samples. A row of blocks is all that is held beside the
//! compressed bytes.

mod inverse;
#[cfg(test)]
mod tests;

use super::JpegError::{self, Broken, Other};
use super::Pieces;
use super::bits::{Bits, unstuff};
use super::head::{Head, Process};
use super::table::{Codes, Runs, Table};
use inverse::Inverse;
use std::io::{self, Read};
use std::ops::Range;

/// Samples a side of a block.
const SIDE: usize = 8;

/// The place of each coefficient of the stream in its block, row by row (Figure A.6).
const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21,
    28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54,
    47, 55, 62, 63,
];

/// A stream whose headers are read. Samples are read from it as bytes, row by row, in little endian, one byte each of 8 bits, two of 12.
pub struct Decoder {
    precision: u32,
    /// Blocks beside each other, and rows of blocks that are left.
    across: usize,
    left: usize,
    /// Samples of a row that are given out, and rows that are left of them.
    columns: usize,
    rows: usize,
    /// By place in the stream: quantisation step, 0 where the coefficient is not needed; place in the block.
    steps: [f32; 64],
    inverse: Inverse,
    differences: Table,
    coefficients: Runs,
    /// The bytes of all segments between restarts, nothing else in them.
    bytes: Vec<u8>,
    segments: std::vec::IntoIter<Range<usize>>,
    bits: Bits,
    /// Blocks between two restarts, and how many there were since the last.
    interval: usize,
    since: usize,
    /// The first coefficient of the block before.
    before: i32,
    /// The last row of blocks as bytes.
    out: Pieces,
}

impl Decoder {
    /// Reads the headers of a stream, which must be of the size that its caller has room for: it is checked against `columns` and
    /// `rows` before anything of that size is made. The image is made smaller by halving it so many times, three at the most.
    ///
    /// # Errors
    /// [`JpegError`]; nothing has been decoded then.
    pub fn new(stream: Vec<u8>, columns: usize, rows: usize, halvings: u32) -> Result<Decoder, JpegError> {
        let (head, scan) = Head::read(&stream, Process::Sequential)?;
        if ![8, 12].contains(&head.precision) {
            return Err(Broken("its frame header is broken"));
        }
        if (head.columns, head.rows) != (columns, rows) || columns == 0 || rows == 0 {
            return Err(Broken("it holds another size than its head says"));
        }
        if (scan.first, scan.last, scan.high, scan.low) != (0, 63, 0, 0) {
            return Err(Other("several scans"));
        }
        let codes = |tables: [Option<Codes>; 4], destination: usize| {
            tables.into_iter().nth(destination).flatten().ok_or(Broken("a scan without its table"))
        };
        let differences = codes(head.differences, scan.differences)?;
        let coefficients = codes(head.coefficients, scan.coefficients)?;
        let steps = head.steps.get(head.quantised_by).copied().flatten().ok_or(Broken("a frame without its steps"))?;
        let (across, down) = (columns.div_ceil(SIDE), rows.div_ceil(SIDE));
        let interval = if head.restart == 0 { across * down } else { head.restart };
        let side = SIDE >> halvings.min(3);
        let mut bytes = stream;
        let mut segments = unstuff(&mut bytes, scan.at, (across * down).div_ceil(interval))?.into_iter();
        let bits = Bits::new(segments.next().unwrap_or_default());
        let needed = |place: u8| usize::from(place) % SIDE < side && usize::from(place) / SIDE < side;
        Ok(Decoder {
            precision: head.precision,
            across,
            left: down,
            columns: columns.div_ceil(SIDE / side),
            rows: rows.div_ceil(SIDE / side),
            steps: std::array::from_fn(|k| if needed(ZIGZAG[k]) { f32::from(steps[k]) } else { 0.0 }),
            inverse: Inverse::new(side),
            differences: Table::new(&differences),
            coefficients: Runs::new(&coefficients),
            bytes,
            segments,
            bits,
            interval,
            since: 0,
            before: 0,
            out: Pieces::default(),
        })
    }

    /// Columns and rows of what is read.
    pub fn size(&self) -> (usize, usize) {
        (self.columns, self.rows)
    }

    /// The coefficients of the next block, row by row, those that are not needed 0.
    fn block(&mut self) -> Result<[f32; 64], JpegError> {
        if self.since == self.interval {
            let segment = self.segments.next().ok_or(Broken("it ends early"))?;
            self.bits.sound()?;
            (self.bits, self.since, self.before) = (Bits::new(segment), 0, 0);
        }
        self.since += 1;
        let mut block = [0.0; 64];
        // It fits 16 bits of any sound stream (F.1.1.5).
        self.before = i32::from((self.before + self.bits.difference(&self.bytes, &self.differences)) as i16);
        block[0] = self.before as f32 * self.steps[0];
        let mut k = 1;
        while k < 64 {
            let steps = &self.steps;
            let needed = |run: usize| steps.get(k + run).is_some_and(|&step| step > 0.0);
            let Some((run, value)) = self.bits.coefficient(&self.bytes, &self.coefficients, needed) else { break };
            k += run;
            let (Some(step), Some(place)) = (self.steps.get(k), ZIGZAG.get(k)) else {
                return Err(Broken("a block of more than 64 coefficients"));
            };
            block[usize::from(*place)] = value as f32 * step;
            k += 1;
        }
        Ok(block)
    }

    /// The next row of blocks as bytes in `out`, which is empty; nothing after the last.
    fn decode_blocks(&mut self, out: &mut Vec<u8>) -> Result<(), JpegError> {
        // Nothing is left after an error.
        let left = std::mem::take(&mut self.left);
        if left == 0 {
            return Ok(());
        }
        let side = self.inverse.side();
        let bytes = if self.precision > 8 { 2 } else { 1 };
        let lines = side.min(self.rows);
        out.resize(lines * self.columns * bytes, 0);
        let (middle, top) = ((1 << (self.precision - 1)) as f32, ((1 << self.precision) - 1) as f32);
        for across in 0..self.across {
            let block = self.block()?;
            let samples = self.inverse.samples(&block);
            let begin = across * side;
            let wide = side.min(self.columns - begin);
            for (y, line) in samples.chunks(side).take(lines).enumerate() {
                let at = (y * self.columns + begin) * bytes;
                for (sample, place) in line.iter().zip(out[at..at + wide * bytes].chunks_exact_mut(bytes)) {
                    let sample = (sample + middle).round_ties_even().clamp(0.0, top) as u16;
                    place.copy_from_slice(&sample.to_le_bytes()[..bytes]);
                }
            }
        }
        self.bits.sound()?;
        (self.left, self.rows) = (left - 1, self.rows - lines);
        Ok(())
    }
}

impl Read for Decoder {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut out = std::mem::take(&mut self.out);
        let given = out.give(into, |bytes| self.decode_blocks(bytes));
        self.out = out;
        Ok(given?)
    }
}

//! JPEG Lossless (ITU-T T.81, process 14; PS3.5 A.4.2), one component: a line of samples at a time.
//!
//! Here because the kept decoders are several times slower on a radiograph: the figures are in docs/decoding.md. Two lines are all
//! that is held beside the compressed bytes, and whoever averages them down never sees the whole image. What is read: all seven
//! predictors, point transforms, restart intervals, 2 to 16 bits, a table for each of four destinations. What has another form
//! (several components, a height given later, hierarchical) is [`JpegError::Other`], and left to the library.

#[cfg(test)]
mod tests;

use super::JpegError::{self, Broken};
use super::Pieces;
use super::bits::{Bits, unstuff};
use super::head::{Head, Process};
use super::table::Table;
use std::io::{self, Read};
use std::ops::Range;

/// A stream whose headers are read. Samples are read from it as bytes, row by row, in little endian, one byte each up to 8 bits.
pub struct Decoder {
    rows: usize,
    precision: u32,
    transform: u32,
    predictor: u8,
    table: Table,
    /// The bytes of all segments between restarts, nothing else in them.
    bytes: Vec<u8>,
    segments: std::vec::IntoIter<Range<usize>>,
    /// Lines between two restarts.
    interval: usize,
    bits: Bits,
    /// Lines decoded so far.
    row: usize,
    above: Vec<u16>,
    line: Vec<u16>,
    /// The last line as bytes.
    out: Pieces,
}

/// Whether a stream is of the form that is read here.
///
/// # Errors
/// [`JpegError::Other`] if it is not; [`JpegError::Broken`] where its headers are.
pub fn form(stream: &[u8]) -> Result<(), JpegError> {
    Head::read(stream, Process::Lossless).map(|_| ())
}

impl Decoder {
    /// Reads the headers of a stream, which must be of the size that its caller has room for: it is checked against
    /// `columns` and `rows` before anything of that size is made.
    ///
    /// # Errors
    /// [`JpegError`]; nothing has been decoded then.
    pub fn new(stream: Vec<u8>, columns: usize, rows: usize) -> Result<Decoder, JpegError> {
        let (head, scan) = Head::read(&stream, Process::Lossless)?;
        let (precision, predictor, transform) = (head.precision, scan.first, u32::from(scan.low));
        if !(2..=16).contains(&precision) {
            return Err(Broken("its frame header is broken"));
        }
        if !(1..=7).contains(&predictor) {
            return Err(Broken("a predictor that is none"));
        }
        if (head.columns, head.rows) != (columns, rows) || columns == 0 || rows == 0 {
            return Err(Broken("it holds another size than its head says"));
        }
        if transform >= precision {
            return Err(Broken("its point transform leaves no bits"));
        }
        if !head.restart.is_multiple_of(columns) {
            return Err(Broken("it restarts within a line"));
        }
        let interval = if head.restart == 0 { rows } else { head.restart / columns };
        let codes = head
            .differences
            .get(scan.differences)
            .and_then(Option::as_ref)
            .ok_or(Broken("a scan without its table"))?;
        let table = Table::new(codes);
        let mut bytes = stream;
        let mut segments = unstuff(&mut bytes, scan.at, rows.div_ceil(interval))?.into_iter();
        let bits = Bits::new(segments.next().unwrap_or_default());
        let (above, line) = (vec![0; columns], vec![0; columns]);
        Ok(Decoder {
            rows,
            precision,
            transform,
            predictor,
            table,
            bytes,
            segments,
            interval,
            bits,
            row: 0,
            above,
            line,
            out: Pieces::default(),
        })
    }

    /// The next line of samples; `None` after the last.
    pub fn next_line(&mut self) -> Option<Result<&[u16], JpegError>> {
        if self.row == self.rows {
            return None;
        }
        let first = self.row.is_multiple_of(self.interval);
        if first && self.row > 0 {
            match self.segments.next() {
                Some(segment) => self.bits = Bits::new(segment),
                None => return Some(Err(Broken("it ends early"))),
            }
        }
        std::mem::swap(&mut self.above, &mut self.line);
        match (first, self.predictor) {
            (true, _) => self.decode_first(),
            (_, 1) => self.decode(|left, _, _| left),
            (_, 2) => self.decode(|_, above, _| above),
            (_, 3) => self.decode(|_, _, corner| corner),
            (_, 4) => self.decode(|left, above, corner| left + above - corner),
            (_, 5) => self.decode(|left, above, corner| left + ((above - corner) >> 1)),
            (_, 6) => self.decode(|left, above, corner| above + ((left - corner) >> 1)),
            _ => self.decode(|left, above, _| (left + above) >> 1),
        }
        self.row += 1;
        if let Err(error) = self.bits.sound() {
            self.row = self.rows;
            return Some(Err(error));
        }
        Some(Ok(&self.line))
    }

    /// The first line and those after a restart: the middle of the range begins it, the rest by the left neighbour (H.1.2.1).
    fn decode_first(&mut self) {
        let mut left = 1i32 << (self.precision - self.transform - 1);
        for sample in &mut self.line {
            left = (left + self.bits.difference(&self.bytes, &self.table)) & 0xFFFF;
            *sample = left as u16;
        }
    }

    /// Any other line: its first sample by the one above, the rest by `predict` (left, above, above left); modulo 2¹⁶ (Table H.1).
    #[inline(always)]
    fn decode(&mut self, predict: impl Fn(i32, i32, i32) -> i32) {
        let mut corner = i32::from(self.above[0]);
        let mut left = (corner + self.bits.difference(&self.bytes, &self.table)) & 0xFFFF;
        self.line[0] = left as u16;
        for (sample, &above) in self.line[1..].iter_mut().zip(&self.above[1..]) {
            let above = i32::from(above);
            left = (predict(left, above, corner) + self.bits.difference(&self.bytes, &self.table)) & 0xFFFF;
            *sample = left as u16;
            corner = above;
        }
    }

    /// The next line as bytes behind `out`; nothing after the last.
    fn decode_line(&mut self, out: &mut Vec<u8>) -> Result<(), JpegError> {
        let (transform, wide) = (self.transform, self.precision > 8);
        let Some(line) = self.next_line() else { return Ok(()) };
        let samples = line?.iter().map(|v| v << transform);
        match wide {
            true => out.extend(samples.flat_map(u16::to_le_bytes)),
            false => out.extend(samples.map(|v| v as u8)),
        }
        Ok(())
    }
}

impl Read for Decoder {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut out = std::mem::take(&mut self.out);
        let given = out.give(into, |bytes| self.decode_line(bytes));
        self.out = out;
        Ok(given?)
    }
}

//! What stands before the bits of a scan (ITU-T T.81 B.2). A stream may say anything: nothing of the size that it claims is made here.

use super::JpegError::{self, Broken, Other};
use super::table::Codes;

/// Frame headers that are told apart by their marker (Table B.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Process {
    /// Sequential by the discrete cosine transform, Huffman codes: baseline and extended.
    Sequential,
    /// Lossless, sequential, Huffman codes.
    Lossless,
}

/// What the headers say up to the first scan.
#[derive(Default)]
pub(super) struct Head {
    /// Bits of a sample.
    pub precision: u32,
    pub columns: usize,
    /// 0 until there is a frame.
    pub rows: usize,
    /// Quantisation steps in the order of the stream (zigzag), by destination; and which of them the frame asks for.
    pub steps: [Option<[u16; 64]>; 4],
    pub quantised_by: usize,
    /// Tables of differences (class 0), by destination.
    pub differences: [Option<Codes>; 4],
    /// Tables of other coefficients (class 1), by destination.
    pub coefficients: [Option<Codes>; 4],
    /// Units between restarts; 0: none.
    pub restart: usize,
}

/// The header of the only scan (B.2.3).
#[derive(Clone, Copy)]
pub(super) struct Scan {
    /// Where its bits begin.
    pub at: usize,
    /// Destination of the table of differences.
    pub differences: usize,
    /// Destination of the table of other coefficients.
    pub coefficients: usize,
    /// First and last coefficient; for the lossless process the first is the predictor.
    pub first: u8,
    pub last: u8,
    /// Successive approximation: high and low; for the lossless process the low one is the point transform.
    pub high: u8,
    pub low: u8,
}

impl Head {
    /// Up to the first scan of a stream of one of these processes.
    pub fn read(stream: &[u8], process: Process) -> Result<(Head, Scan), JpegError> {
        let mut head = Head::default();
        let short = Broken("it ends within its headers");
        if !stream.starts_with(&[0xFF, 0xD8]) {
            return Err(Broken("it does not begin as a JPEG stream"));
        }
        let mut at = 2;
        loop {
            let marker = loop {
                match (stream.get(at).ok_or(short)?, stream.get(at + 1).ok_or(short)?) {
                    (0xFF, 0xFF) => at += 1,
                    (0xFF, marker) => break *marker,
                    _ => return Err(Broken("a marker is missing")),
                }
            };
            let length = stream.get(at + 2..at + 4).ok_or(short)?;
            let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
            let segment = stream.get(at + 4..at + 2 + length).ok_or(short)?;
            at += 2 + length;
            match (marker, process) {
                (0xC0 | 0xC1, Process::Sequential) | (0xC3, Process::Lossless) => head.frame(segment)?,
                (0xC4, _) => head.tables(segment)?,
                (0xC0..=0xCF, _) => return Err(Other("another process")),
                (0xDA, _) if head.rows == 0 => return Err(Broken("a scan without a frame")),
                (0xDA, _) => return Ok((head, scan(segment, at)?)),
                (0xDB, _) => head.quantisation(segment)?,
                (0xDD, _) => match segment {
                    [a, b] => head.restart = usize::from(u16::from_be_bytes([*a, *b])),
                    _ => return Err(Broken("its restart interval is broken")),
                },
                (0xD0..=0xD9, _) => return Err(Broken("a marker where none may be")),
                _ => {}
            }
        }
    }

    /// B.2.2
    fn frame(&mut self, segment: &[u8]) -> Result<(), JpegError> {
        let [precision, y1, y0, x1, x0, components, ref parameters @ ..] = *segment else {
            return Err(Broken("its frame header is broken"));
        };
        if self.rows > 0 {
            return Err(Broken("a second frame"));
        }
        if components != 1 {
            return Err(Other("several components"));
        }
        let (rows, columns) = (u16::from_be_bytes([y1, y0]), u16::from_be_bytes([x1, x0]));
        if rows == 0 {
            return Err(Other("its height comes behind it"));
        }
        let [_, _, quantised_by, ..] = *parameters else {
            return Err(Broken("its frame header is broken"));
        };
        (self.precision, self.columns, self.rows) = (precision.into(), columns.into(), rows.into());
        self.quantised_by = quantised_by.into();
        Ok(())
    }

    /// B.2.4.2
    fn tables(&mut self, mut segment: &[u8]) -> Result<(), JpegError> {
        while let Some((place, rest)) = segment.split_first() {
            let broken = Broken("a Huffman table is broken");
            let (counts, rest) = rest.split_first_chunk::<16>().ok_or(broken)?;
            let codes: usize = counts.iter().map(|&c| usize::from(c)).sum();
            let (symbols, rest) = rest.split_at_checked(codes).ok_or(broken)?;
            let (class, destination) = (place >> 4, usize::from(place & 15));
            let tables = if class == 0 { &mut self.differences } else { &mut self.coefficients };
            let table = tables.get_mut(destination).filter(|_| class < 2).ok_or(broken)?;
            // 16 is the highest category, of the difference 32768 alone (H.1.2.2).
            let highest = if class == 0 { 16 } else { u8::MAX };
            *table = Some(Codes::new(*counts, symbols, highest)?);
            segment = rest;
        }
        Ok(())
    }

    /// B.2.4.1
    fn quantisation(&mut self, mut segment: &[u8]) -> Result<(), JpegError> {
        while let Some((place, rest)) = segment.split_first() {
            let broken = Broken("a quantisation table is broken");
            let bytes = match place >> 4 {
                0 => 64,
                1 => 128,
                _ => return Err(broken),
            };
            let (steps, rest) = rest.split_at_checked(bytes).ok_or(broken)?;
            let step = |i: usize| match bytes {
                64 => u16::from(steps[i]),
                _ => u16::from_be_bytes([steps[2 * i], steps[2 * i + 1]]),
            };
            *self.steps.get_mut(usize::from(place & 15)).ok_or(broken)? = Some(std::array::from_fn(step));
            segment = rest;
        }
        Ok(())
    }
}

fn scan(segment: &[u8], at: usize) -> Result<Scan, JpegError> {
    let [1, _, tables, first, last, approximation] = *segment else {
        return Err(Broken("its scan header is broken"));
    };
    let (differences, coefficients) = (usize::from(tables >> 4), usize::from(tables & 15));
    Ok(Scan { at, differences, coefficients, first, last, high: approximation >> 4, low: approximation & 15 })
}

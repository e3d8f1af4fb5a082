//! The entropy-coded bits of a scan: markers out (ITU-T T.81 B.1.1.5), then differences and coefficients.

use super::JpegError;
use super::table::{Runs, Table, difference};
use std::ops::Range;

/// Zeros behind the last segment, so that a reader may look ahead.
const BEHIND: usize = 16;

/// Takes stuffed zeros and markers out of a scan, in place, up to the marker that ends it: the bytes from `start` on become the
/// segments between restarts, whose places are returned.
pub(super) fn unstuff(scan: &mut Vec<u8>, start: usize, most: usize) -> Result<Vec<Range<usize>>, JpegError> {
    let (mut from, mut to, mut begin) = (start, start, start);
    let mut segments = Vec::new();
    while from < scan.len() {
        let run = scan[from..].iter().position(|&b| b == 0xFF).unwrap_or(scan.len() - from);
        scan.copy_within(from..from + run, to);
        (from, to) = (from + run, to + run);
        match scan.get(from + 1) {
            Some(0) => {
                scan[to] = 0xFF;
                to += 1;
                from += 2;
            }
            // Fill bytes may stand before a marker.
            Some(0xFF) => from += 1,
            Some(0xD0..=0xD7) => {
                segments.push(begin..to);
                if segments.len() >= most {
                    return Err(JpegError::Broken("it has more restarts than its size allows"));
                }
                begin = to;
                from += 2;
            }
            _ => break,
        }
    }
    segments.push(begin..to);
    scan.truncate(to);
    scan.resize(to + BEHIND, 0);
    Ok(segments)
}

/// Reads differences and coefficients from a segment.
pub(super) struct Bits {
    /// The next bits, the first at the top.
    held: u64,
    /// How many of them are read.
    count: u32,
    /// Where the next byte is.
    next: usize,
    /// Where the segment ends.
    end: usize,
    /// It went on behind the end of all bytes, or met no code.
    lost: bool,
}

impl Bits {
    pub fn new(segment: Range<usize>) -> Bits {
        Bits { held: 0, count: 0, next: segment.start, end: segment.end, lost: false }
    }

    /// At least 56 bits are held afterwards.
    #[inline(always)]
    fn fill(&mut self, bytes: &[u8]) {
        let Some(eight) = bytes.get(self.next..).and_then(|b| b.first_chunk::<8>()) else {
            self.lost = true;
            self.count = 56;
            return;
        };
        self.held |= u64::from_be_bytes(*eight) >> self.count;
        self.next += ((63 - self.count) >> 3) as usize;
        self.count |= 56;
    }

    /// The next difference. What is not there reads as zeros; [`Bits::sound`] tells.
    #[inline(always)]
    pub fn difference(&mut self, bytes: &[u8], table: &Table) -> i32 {
        // The longest: a code of 16 bits and 15 more.
        if self.count < 32 {
            self.fill(bytes);
        }
        let known = table.glance(self.held);
        if known != 0 {
            self.take(known as u32 & 0xFF);
            return known >> 8;
        }
        let (length, category) = table.code(self.held);
        self.lost |= length == 0;
        self.take(length);
        match category {
            0 => 0,
            16 => 32_768,
            _ => {
                let rest = (self.held >> (64 - category)) as u32;
                self.take(category);
                difference(rest, category)
            }
        }
    }

    /// Zeros before the next coefficient, and the coefficient; `None` behind the last one of a block. Where its value is not
    /// `asked` for, after so many zeros, it is 0.
    #[inline(always)]
    pub fn coefficient(&mut self, bytes: &[u8], table: &Runs, asked: impl Fn(usize) -> bool) -> Option<(usize, i32)> {
        if self.count < 32 {
            self.fill(bytes);
        }
        let (length, symbol) = table.code(self.held);
        self.lost |= length == 0;
        self.take(length);
        let (run, size) = ((symbol >> 4) as usize, symbol & 15);
        match (run, size) {
            // Sixteen zeros, the last in the place of the coefficient.
            (15, 0) => Some((15, 0)),
            (_, 0) => None,
            _ => {
                let value = if asked(run) { difference((self.held >> (64 - size)) as u32, size) } else { 0 };
                self.take(size);
                Some((run, value))
            }
        }
    }

    #[inline(always)]
    fn take(&mut self, bits: u32) {
        self.held <<= bits;
        self.count -= bits;
    }

    /// All that was read was there.
    pub fn sound(&self) -> Result<(), JpegError> {
        match !self.lost && 8 * self.next - self.count as usize <= 8 * self.end {
            true => Ok(()),
            false => Err(JpegError::Broken("it ends early, or a code is none")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stuffed_zeros_fill_bytes_and_restarts_are_taken_out() {
        let mut scan = vec![9, 1, 0xFF, 0, 2, 0xFF, 0xFF, 0xD0, 3, 0xFF, 0, 0xFF, 0xD9, 4];
        assert_eq!(unstuff(&mut scan, 1, 5).unwrap(), [1..4, 4..6]);
        assert_eq!(scan[..6], [9, 1, 0xFF, 2, 3, 0xFF]);
        assert!(scan[6..].iter().all(|&b| b == 0));
        assert!(unstuff(&mut vec![0xFF, 0xD0, 0xFF, 0xD1], 0, 2).is_err());
        assert_eq!(unstuff(&mut vec![7, 0xFF], 0, 2).unwrap().first(), Some(&(0..1)), "a marker cut off");
        assert_eq!(unstuff(&mut Vec::new(), 0, 1).unwrap().first(), Some(&(0..0)));
    }
}

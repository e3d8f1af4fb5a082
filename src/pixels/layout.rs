//! How stored values lie in their bytes, and which of them are padding.

use super::{PixelsError, undecodable};

/// How a stored value lies in its bytes (PS3.3 C.7.6.3.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Bytes a sample: 1 or 2.
    pub bytes: usize,
    /// Bits Stored (0028,0101).
    pub stored: u32,
    /// Bits below the value: High Bit (0028,0102) + 1 − Bits Stored.
    pub shift: u32,
    /// Pixel Representation (0028,0103): two's complement.
    pub signed: bool,
    /// Two bytes, the high one first.
    pub big: bool,
}

impl Layout {
    /// Checked against one another: 8 or 16 bits allocated, and the stored ones within.
    pub fn new(allocated: u16, stored: u16, high: u16, signed: bool, big: bool) -> Result<Layout, PixelsError> {
        if allocated != 8 && allocated != 16 {
            return Err(undecodable(format!("pixels of {allocated} bits: only 8 and 16 are read")));
        }
        if stored == 0 || stored > allocated || high >= allocated || high + 1 < stored {
            let what = format!("Bits Allocated {allocated}, Bits Stored {stored} and High Bit {high}");
            return Err(undecodable(format!("{what} contradict each other")));
        }
        let (stored, shift) = (u32::from(stored), u32::from(high + 1 - stored));
        Ok(Layout { bytes: usize::from(allocated / 8), stored, shift, signed, big })
    }

    /// The largest key.
    pub fn mask(&self) -> u16 {
        u16::MAX >> (16 - self.stored)
    }

    /// What a key lies above its value: 0 where values are unsigned.
    pub fn sign(&self) -> u16 {
        if self.signed { 1 << (self.stored - 1) } else { 0 }
    }

    /// A sample's bits → its value plus [`Layout::sign`], which is never negative. What is above High Bit (old overlays) and below
    /// the value falls away.
    #[inline(always)]
    pub fn key(&self, word: u16) -> u16 {
        ((word >> self.shift) & self.mask()) ^ self.sign()
    }

    /// The smallest and largest value.
    pub fn range(&self) -> (i32, i32) {
        let top = i32::from(self.mask());
        let sign = i32::from(self.sign());
        (-sign, top - sign)
    }
}

/// Pixel Padding Value and Range Limit (PS3.3 C.7.5.1.1.2), both inclusive, `low <= high`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Padding {
    pub low: i32,
    pub high: i32,
}

/// A test whether a sample is padding, in numbers that are never negative.
#[derive(Clone, Copy, Debug)]
pub(super) struct Padded {
    /// Turned over in a whole sample, so that it is no more signed. `None`: the value alone counts.
    whole: Option<u16>,
    /// The least that is padding, and how many above it are.
    low: u16,
    above: u16,
}

impl Padded {
    /// The test for a layout; `None` where no sample can be padding.
    ///
    /// Some writers take a padding value that Bits Stored cannot hold: then the whole sample counts.
    pub fn new(padding: Padding, layout: &Layout) -> Option<Padded> {
        let (least, most) = layout.range();
        let whole = padding.low < least || padding.high > most;
        let bits = 8 * layout.bytes as u32;
        let sign = match (whole, layout.signed) {
            (false, _) => layout.sign(),
            (true, signed) => u16::from(signed) << (bits - 1),
        };
        let top = if whole { u16::MAX >> (16 - bits) } else { layout.mask() };
        let place = |v: i32| v + i32::from(sign);
        let (low, high) = (place(padding.low).max(0), place(padding.high).min(top.into()));
        let (low, above) = (u16::try_from(low).ok()?, u16::try_from(high - low).ok()?);
        Some(Padded { whole: whole.then_some(sign), low, above })
    }

    #[inline(always)]
    pub fn test(&self, word: u16, key: u16) -> bool {
        self.whole.map_or(key, |sign| word ^ sign).wrapping_sub(self.low) <= self.above
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_bits_are_refused() {
        for (a, s, h) in [(1, 1, 0), (32, 32, 31), (12, 12, 11), (16, 0, 0), (16, 17, 16), (8, 8, 15), (16, 12, 10)] {
            assert!(Layout::new(a, s, h, false, false).is_err(), "{a} {s} {h}");
        }
    }

    #[test]
    fn padding_is_met_in_every_layout() {
        // Against the definition, number by number.
        for (allocated, stored, high, signed) in [
            (8, 8, 7, false),
            (8, 6, 5, true),
            (16, 12, 11, false),
            (16, 12, 15, true),
            (16, 16, 15, true),
            (16, 16, 15, false),
        ] {
            let layout = Layout::new(allocated, stored, high, signed, false).unwrap();
            let (least, most) = layout.range();
            let ranges =
                [(0, 0), (-5, 3), (least, least), (most, most), (most, most + 9), (-40_000, -39_999), (70_000, 70_001)];
            for (low, high) in ranges.into_iter().chain([(least - 1, least + 1), (-40_000, 70_000)]) {
                let padded = Padded::new(Padding { low, high }, &layout);
                let whole = low < least || high > most;
                let top = u16::MAX >> (16 - allocated);
                for word in (0..=top).step_by(if top > 255 { 37 } else { 1 }).chain([top / 2, top / 2 + 1, top]) {
                    let key = layout.key(word);
                    let value = match (whole, signed, allocated) {
                        (false, ..) => i32::from(key) - i32::from(layout.sign()),
                        (true, false, _) => i32::from(word),
                        (true, true, 8) => i32::from(word as u8 as i8),
                        (true, true, _) => i32::from(word as i16),
                    };
                    let found = padded.is_some_and(|p| p.test(word, key));
                    assert_eq!(found, low <= value && value <= high, "{layout:?} {low} {high}: {word}");
                }
            }
        }
    }
}

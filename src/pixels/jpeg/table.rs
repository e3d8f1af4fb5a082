//! Huffman tables (ITU-T T.81 C, F.2.2.3) as look-ups: for most differences one look at the next bits gives code and value.

use super::JpegError;

/// So many bits are looked at first.
const GLANCE: u32 = 12;

/// A table as a stream gives it (B.2.4.2), checked. A stream may bring thousands: look-ups are made of the one that its scan uses.
pub(super) struct Codes {
    /// How many codes there are of each length, 1 to 16.
    counts: [u8; 16],
    /// What the codes stand for, in their order.
    symbols: Vec<u8>,
}

impl Codes {
    /// `symbols` are as many as `counts` say, and none is above `highest`.
    pub fn new(counts: [u8; 16], symbols: &[u8], highest: u8) -> Result<Codes, JpegError> {
        let mut code = 0usize;
        let fits = (1..).zip(&counts).all(|(length, &count)| {
            code = 2 * code + usize::from(count);
            // Where no code begins, none can be too many.
            count == 0 || code <= 1 << length
        });
        if !fits || symbols.iter().any(|&symbol| symbol > highest) {
            return Err(JpegError::Broken("a Huffman table is broken"));
        }
        Ok(Codes { counts, symbols: symbols.to_vec() })
    }

    /// By 16 bits that begin with a code: its length << 8 | symbol; length 0 where no code begins so.
    fn whole(&self) -> Vec<u16> {
        let mut whole = vec![0u16; 1 << 16];
        let (mut code, mut symbols) = (0usize, self.symbols.iter());
        for (length, &count) in (1u32..).zip(&self.counts) {
            for symbol in symbols.by_ref().take(count.into()) {
                let entries = &mut whole[code << (16 - length)..(code + 1) << (16 - length)];
                entries.fill((length as u16) << 8 | u16::from(*symbol));
                code += 1;
            }
            code <<= 1;
        }
        whole
    }
}

/// A table of difference categories.
pub(super) struct Table {
    /// By the next [`GLANCE`] bits: difference << 8 | bits taken, or 0 where they do not hold all of it.
    glance: Vec<i32>,
    /// By the next 16 bits: length of the code << 8 | category; length 0 where there is no such code.
    whole: Vec<u16>,
}

impl Table {
    /// Makes the look-ups.
    pub fn new(codes: &Codes) -> Table {
        let whole = codes.whole();
        let glance = (0..1u32 << GLANCE).map(|bits| glance(bits, whole[(bits << (16 - GLANCE)) as usize])).collect();
        Table { glance, whole }
    }

    /// Difference << 8 | bits taken for the next bits of a stream, which begin at the top; 0 where it takes more to know.
    #[inline(always)]
    pub fn glance(&self, bits: u64) -> i32 {
        self.glance[(bits >> (64 - GLANCE)) as usize & ((1 << GLANCE) - 1)]
    }

    /// Length of the next code and its category; length 0: there is no such code.
    #[inline(always)]
    pub fn code(&self, bits: u64) -> (u32, u32) {
        let entry = self.whole[(bits >> 48) as usize & 0xFFFF];
        (u32::from(entry >> 8), u32::from(entry & 0xFF))
    }
}

/// A table of runs of zeros and the sizes of the coefficients behind them (F.1.2.2).
pub(super) struct Runs {
    /// By the next [`GLANCE`] bits, and by the next 16: length of the code << 8 | symbol; 0 where they do not hold a code.
    glance: Vec<u16>,
    whole: Vec<u16>,
}

impl Runs {
    /// Makes the look-ups.
    pub fn new(codes: &Codes) -> Runs {
        let whole = codes.whole();
        let entry = |bits: usize| whole[bits << (16 - GLANCE)];
        let glance = (0..1 << GLANCE).map(entry).map(|e| if u32::from(e >> 8) <= GLANCE { e } else { 0 }).collect();
        Runs { glance, whole }
    }

    /// Length of the next code and its symbol; length 0: there is no such code.
    #[inline(always)]
    pub fn code(&self, bits: u64) -> (u32, u32) {
        let entry = match self.glance[(bits >> (64 - GLANCE)) as usize & ((1 << GLANCE) - 1)] {
            0 => self.whole[(bits >> 48) as usize & 0xFFFF],
            entry => entry,
        };
        (u32::from(entry >> 8), u32::from(entry & 0xFF))
    }
}

fn glance(bits: u32, entry: u16) -> i32 {
    let (length, category) = (u32::from(entry >> 8), u32::from(entry & 0xFF));
    if length == 0 || length + category > GLANCE {
        return 0;
    }
    let rest = (bits >> (GLANCE - length - category)) & ((1 << category) - 1);
    difference(rest, category) << 8 | (length + category) as i32
}

/// The difference of a category with these additional bits (F.2.2.1): those that begin with 0 are negative.
#[inline(always)]
pub(super) fn difference(bits: u32, category: u32) -> i32 {
    match category {
        0 => 0,
        _ if bits >> (category - 1) == 0 => bits as i32 - (1 << category) + 1,
        _ => bits as i32,
    }
}

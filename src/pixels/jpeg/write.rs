//! Entropy-coded bits written (ITU-T T.81 C.2, F.1.2, B.1.1.5), for images to measure and to test with.

/// Code and length of each symbol, in the canonical order, from how many codes there are of each length.
pub(in crate::pixels) fn codes(counts: &[u8]) -> Vec<(u32, u32)> {
    let (mut code, mut codes) = (0, Vec::new());
    for (length, &count) in (1..).zip(counts) {
        for _ in 0..count {
            codes.push((code, length));
            code += 1;
        }
        code <<= 1;
    }
    codes
}

/// How many bits a difference or coefficient takes behind its code.
pub(in crate::pixels) fn category(value: i32) -> u32 {
    32 - value.unsigned_abs().leading_zeros()
}

/// Writes bits behind what is there.
pub(in crate::pixels) struct Writer {
    pub out: Vec<u8>,
    held: u64,
    count: u32,
}

impl Writer {
    pub fn new(out: Vec<u8>) -> Writer {
        Writer { out, held: 0, count: 0 }
    }

    pub fn put(&mut self, bits: u32, length: u32) {
        self.held = self.held << length | u64::from(bits);
        self.count += length;
        while self.count >= 8 {
            self.count -= 8;
            let byte = (self.held >> self.count) as u8;
            self.out.push(byte);
            // FF begins a marker, unless 00 follows.
            if byte == 0xFF {
                self.out.push(0);
            }
        }
    }

    /// The code of a value's category, and the value: a negative one is written less one, of which the low bits count (F.1.2.1).
    /// The highest category, of 32768 alone, has none (H.1.2.2).
    pub fn number(&mut self, (code, length): (u32, u32), value: i32) {
        self.put(code, length);
        let size = category(value);
        if size < 16 {
            let rest = if value < 0 { value - 1 } else { value } as u32;
            self.put(rest & ((1 << size) - 1), size);
        }
    }

    /// Fills the last byte with ones.
    pub fn pad(&mut self) {
        self.put(0x7F, 7);
        (self.held, self.count) = (0, 0);
    }

    /// The same, and ends the image.
    pub fn finish(mut self) -> Vec<u8> {
        self.pad();
        self.out.extend_from_slice(&[0xFF, 0xD9]);
        self.out
    }
}

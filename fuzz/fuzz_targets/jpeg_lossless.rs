//! Any bytes as a JPEG Lossless stream: no panic, and never more samples than its caller has room for.
#![no_main]

use libfuzzer_sys::fuzz_target;
use radroute::pixels::jpeg::lossless::Decoder;
use std::io::Read;

/// No larger image is decoded, so that a run goes on.
const MOST: usize = 1 << 20;

fuzz_target!(|stream: &[u8]| {
    // The size that the first frame header claims, as the data set would say it.
    let Some(at) = stream.windows(2).position(|w| w == [0xFF, 0xC3]) else { return };
    let Some(&[y1, y0, x1, x0]) = stream.get(at + 5..at + 9).and_then(|b| b.first_chunk()) else { return };
    let (rows, columns) = (usize::from(u16::from_be_bytes([y1, y0])), usize::from(u16::from_be_bytes([x1, x0])));
    if rows * columns > MOST {
        return;
    }
    if let Ok(mut decoder) = Decoder::new(stream.to_vec(), columns, rows) {
        let mut bytes = Vec::new();
        let whole = decoder.read_to_end(&mut bytes).is_ok();
        assert!(bytes.len() <= 2 * rows * columns);
        assert!(!whole || bytes.len() >= rows * columns);
    }
});

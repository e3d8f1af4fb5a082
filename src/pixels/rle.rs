//! RLE Lossless (PS3.5 Annex G), into a buffer of the size that the data set asks for and no larger, whatever the segments say.

/// Decodes one frame of one sample a pixel, of one or two bytes: little endian samples. `None` when it is broken or too short.
pub(super) fn decode(frame: &[u8], pixels: usize, bytes: usize) -> Option<Vec<u8>> {
    let word = |i: usize| Some(u32::from_le_bytes(frame.get(4 * i..4 * i + 4)?.try_into().ok()?) as usize);
    if word(0)? != bytes || frame.len() < 64 {
        return None;
    }
    let mut out = vec![0; pixels * bytes];
    for segment in 0..bytes {
        let end = if segment + 1 < bytes { word(segment + 2)? } else { frame.len() };
        let packed = frame.get(word(segment + 1)?.max(64)..end)?;
        // The first segment holds the most significant bytes (G.2).
        unpack(packed, &mut out, bytes - 1 - segment, bytes)?;
    }
    Some(out)
}

/// PackBits (G.3) into every `step`th byte from `start` on. What is left over when the frame is full is padding.
fn unpack(mut packed: &[u8], out: &mut [u8], start: usize, step: usize) -> Option<()> {
    let mut places = out[start..].iter_mut().step_by(step);
    let mut left = places.len();
    while left > 0 {
        let (&control, rest) = packed.split_first()?;
        packed = rest;
        match control {
            0..=127 => {
                let n = usize::from(control) + 1;
                let literal = packed.get(..n)?;
                packed = &packed[n..];
                places.by_ref().zip(literal).for_each(|(place, &b)| *place = b);
                left = left.saturating_sub(n);
            }
            128 => {}
            129..=255 => {
                let n = 257 - usize::from(control);
                let (&b, rest) = packed.split_first()?;
                packed = rest;
                places.by_ref().take(n).for_each(|place| *place = b);
                left = left.saturating_sub(n);
            }
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(offsets: &[u32], data: &[u8]) -> Vec<u8> {
        let mut b: Vec<u8> = (offsets.len() as u32).to_le_bytes().to_vec();
        offsets.iter().for_each(|o| b.extend(o.to_le_bytes()));
        b.resize(64, 0);
        b.extend(data);
        b
    }

    #[test]
    fn literals_runs_and_nothing() {
        // Three literals, a run of four, a no-op, a run of one more than there is room for, an even end.
        let b = frame(&[64], &[2, 10, 20, 30, 253, 7, 128, 255, 9, 0]);
        assert_eq!(decode(&b, 8, 1).unwrap(), [10, 20, 30, 7, 7, 7, 7, 9]);
    }

    #[test]
    fn high_bytes_come_first() {
        let b = frame(&[64, 67], &[1, 0x12, 0x56, 1, 0x34, 0x78]);
        assert_eq!(decode(&b, 2, 2).unwrap(), [0x34, 0x12, 0x78, 0x56]);
    }

    #[test]
    fn broken_frames_are_none() {
        assert_eq!(decode(&frame(&[64], &[2, 10, 20]), 3, 1), None);
        assert_eq!(decode(&frame(&[64], &[253]), 3, 1), None);
        assert_eq!(decode(&frame(&[64], &[0, 1]), 3, 1), None);
        assert_eq!(decode(&frame(&[64], &[0, 1]), 1, 2), None);
        assert_eq!(decode(&frame(&[9999], &[0, 1]), 1, 1), None);
        assert_eq!(decode(&frame(&[70, 64], &[0, 1, 0, 1, 0, 1, 0, 1]), 1, 2), None);
        assert_eq!(decode(&u32::MAX.to_le_bytes(), 1, 1), None);
        assert_eq!(decode(&[], 1, 1), None);
    }
}

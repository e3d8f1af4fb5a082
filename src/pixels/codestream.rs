//! What the head of a JPEG, JPEG-LS or JPEG 2000 codestream claims. It is compared with the data set before a decoder, which
//! would allocate what is claimed, sees it.

/// The image that a codestream says it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub columns: u32,
    pub rows: u32,
    pub components: u16,
    /// Bits a sample.
    pub precision: u8,
    /// JPEG 2000: how often the wavelet transform halves the image. Else 0.
    pub levels: u8,
}

fn u16_at(b: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(b.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(b: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(b.get(at..at + 4)?.try_into().ok()?))
}

/// JPEG (ITU-T T.81 B.2.2) and JPEG-LS (T.87 C.2.2): the frame header.
pub(super) fn jpeg(b: &[u8]) -> Option<Claim> {
    if b.get(..2)? != [0xFF, 0xD8] {
        return None;
    }
    let mut at = 2;
    loop {
        if *b.get(at)? != 0xFF {
            return None;
        }
        // Any number of fill bytes may stand before a marker.
        while *b.get(at + 1)? == 0xFF {
            at += 1;
        }
        let marker = b[at + 1];
        let length = usize::from(u16_at(b, at + 2)?);
        match marker {
            // SOF0 to SOF15 but for the tables (DHT, JPG, DAC) among them; SOF55 is JPEG-LS.
            0xC4 | 0xC8 | 0xCC => {}
            0xC0..=0xCF | 0xF7 => {
                return Some(Claim {
                    precision: *b.get(at + 4)?,
                    rows: u16_at(b, at + 5)?.into(),
                    columns: u16_at(b, at + 7)?.into(),
                    components: (*b.get(at + 9)?).into(),
                    levels: 0,
                });
            }
            // A scan, an end or a restart before any frame.
            0xD0..=0xDA => return None,
            _ => {}
        }
        at += 2 + length.max(2);
    }
}

/// The most tiles that are believed: a decoder keeps kilobytes for each. A tile of 64 pixels a side is a small one.
const MOST_TILES: u64 = 8192;

/// JPEG 2000 (ITU-T T.800 A.5.1, A.6.1): SIZ and COD, in a bare codestream or in a JP2 file. `None` also for what no
/// radiograph needs: subsampling and very many tiles.
pub(super) fn jpeg2000(b: &[u8]) -> Option<Claim> {
    let b = if b.get(4..8)? == b"jP  " { jp2_codestream(b)? } else { b };
    // SOC, then SIZ first of all.
    if b.get(..4)? != [0xFF, 0x4F, 0xFF, 0x51] {
        return None;
    }
    let field = |i: usize| u32_at(b, 8 + 4 * i);
    let (x1, y1, x0, y0) = (field(0)?, field(1)?, field(2)?, field(3)?);
    let (tile_width, tile_height, tile_x, tile_y) = (field(4)?, field(5)?, field(6)?, field(7)?);
    let components = u16_at(b, 40)?;
    let (ssiz, dx, dy) = (*b.get(42)?, *b.get(43)?, *b.get(44)?);
    let tiles = |end: u32, origin: u32, size: u32| {
        u64::from(end.checked_sub(origin)?).checked_add(u64::from(size) - 1)?.checked_div(size.into())
    };
    if tile_width == 0 || tile_height == 0 || (dx, dy) != (1, 1) {
        return None;
    }
    if tiles(x1, tile_x, tile_width)?.checked_mul(tiles(y1, tile_y, tile_height)?)? > MOST_TILES {
        return None;
    }
    let (columns, rows) = (x1.checked_sub(x0)?, y1.checked_sub(y0)?);
    Some(Claim { columns, rows, components, precision: (ssiz & 0x7F) + 1, levels: levels(b).unwrap_or(0) })
}

/// Decomposition levels of the main header's COD.
fn levels(b: &[u8]) -> Option<u8> {
    let mut at = 2;
    loop {
        let marker = u16_at(b, at)?;
        match marker {
            0xFF52 => return b.get(at + 9).copied(),
            // SOT: the main header is over.
            0xFF90 => return None,
            _ => at += 2 + usize::from(u16_at(b, at + 2)?.max(2)),
        }
    }
}

/// The contiguous codestream box of a JP2 file (T.800 I.4): PS3.5 A.4.4 forbids the file format, and it is met.
fn jp2_codestream(mut b: &[u8]) -> Option<&[u8]> {
    loop {
        let length = u32_at(b, 0)? as usize;
        let header = if length == 1 { 16 } else { 8 };
        if b.get(4..8)? == b"jp2c" {
            return b.get(header..);
        }
        let length = match length {
            1 => usize::try_from(u64::from_be_bytes(b.get(8..16)?.try_into().ok()?)).ok()?,
            n => n,
        };
        if length < header {
            return None;
        }
        b = b.get(length..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_header_behind_tables_and_fill_bytes() {
        let mut b = vec![0xFF, 0xD8, 0xFF, 0xE0, 0, 4, 1, 2, 0xFF, 0xFF, 0xC4, 0, 3, 0];
        b.extend([0xFF, 0xC3, 0, 11, 12, 0x01, 0x90, 0x01, 0x40, 1, 1, 0x11, 0]);
        let claim = Claim { columns: 320, rows: 400, components: 1, precision: 12, levels: 0 };
        assert_eq!(jpeg(&b), Some(claim));
        for cut in 0..24 {
            assert_eq!(jpeg(&b[..cut]), None, "{cut}");
        }
    }

    #[test]
    fn a_scan_before_any_frame_is_none() {
        assert_eq!(jpeg(&[0xFF, 0xD8, 0xFF, 0xDA, 0, 2, 0xFF, 0xC0, 0, 11, 8, 0, 1, 0, 1, 1]), None);
        assert_eq!(jpeg(b"\x89PNG\r\n\x1A\n"), None);
        assert_eq!(jpeg(&[]), None);
    }

    fn siz(size: [u32; 8], rest: &[u8]) -> Vec<u8> {
        let mut b = vec![0xFF, 0x4F, 0xFF, 0x51, 0, 41, 0, 0];
        size.iter().for_each(|v| b.extend(v.to_be_bytes()));
        b.extend([0, 1]);
        b.extend(rest);
        b
    }

    #[test]
    fn the_size_and_levels_of_a_codestream() {
        let mut b = siz([330, 410, 10, 10, 330, 410, 0, 0], &[11, 1, 1]);
        b.extend([0xFF, 0x52, 0, 12, 0, 0, 0, 1, 0, 5, 4, 4, 0, 1, 0xFF, 0x90]);
        let claim = Claim { columns: 320, rows: 400, components: 1, precision: 12, levels: 5 };
        assert_eq!(jpeg2000(&b), Some(claim));
        let mut file = vec![0, 0, 0, 12];
        file.extend(b"jP  \r\n\x87\n\0\0\0\0jp2c");
        file.extend(&b);
        assert_eq!(jpeg2000(&file), Some(claim));
        for cut in 0..45 {
            assert_eq!(jpeg2000(&b[..cut]), None, "{cut}");
        }
    }

    #[test]
    fn hostile_sizes_are_none() {
        // A tile a pixel, no tile at all, an end before the beginning, subsampled.
        assert_eq!(jpeg2000(&siz([4000, 4000, 0, 0, 1, 1, 0, 0], &[7, 1, 1])), None);
        assert_eq!(jpeg2000(&siz([4000, 4000, 0, 0, 0, 4000, 0, 0], &[7, 1, 1])), None);
        assert_eq!(jpeg2000(&siz([10, 10, 20, 0, 10, 10, 0, 0], &[7, 1, 1])), None);
        assert_eq!(jpeg2000(&siz([10, 10, 0, 0, 10, 10, 0, 0], &[7, 2, 2])), None);
        assert_eq!(jpeg2000(b"\0\0\0\x04jP  \0\0\0\0"), None);
    }
}

//! PNG and JPEG files, for `classify` and training: shown as they are.

use super::layout::Layout;
use super::lut::Modality;
use super::stored::reduce;
use super::{MAX_PIXELS, PixelsError, undecodable};
use crate::preprocess::Plane;
use image::{DynamicImage, ImageReader, Limits};
use std::io::{BufRead, Seek};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Decodes a picture, takes the luminance of a colour one, and averages it down.
pub(super) fn read(file: impl BufRead + Seek, wanted: usize) -> Result<Plane, PixelsError> {
    let mut limits = Limits::default();
    limits.max_image_width = Some(65_535);
    limits.max_image_height = Some(65_535);
    // The decoder holds a colour picture at most twice.
    limits.max_alloc = Some(6 * MAX_PIXELS);
    let mut reader = ImageReader::new(file).with_guessed_format()?;
    reader.limits(limits);
    let picture = catch_unwind(AssertUnwindSafe(|| reader.decode()))
        .map_err(|_| undecodable("the picture cannot be decoded: the decoder gave up"))?
        .map_err(|e| undecodable(format!("the picture cannot be decoded: {e}")))?;
    let (columns, rows) = (picture.width() as usize, picture.height() as usize);
    if columns * rows == 0 || (columns * rows) as u64 > MAX_PIXELS {
        return Err(undecodable(format!("a picture of {columns} × {rows} pixels is not read")));
    }
    let deep = matches!(
        picture,
        DynamicImage::ImageLuma16(_)
            | DynamicImage::ImageLumaA16(_)
            | DynamicImage::ImageRgb16(_)
            | DynamicImage::ImageRgba16(_)
    );
    let (bytes, bits) = if deep {
        (picture.into_luma16().into_raw().iter().flat_map(|v| v.to_le_bytes()).collect(), 16)
    } else {
        (picture.into_luma8().into_raw(), 8)
    };
    let layout = Layout::new(bits, bits, bits - 1, false, false)?;
    let white = f64::from(u16::MAX >> (16 - bits));
    let scale = Modality::Linear { slope: 1.0 / white, intercept: 0.0 };
    let reduced = reduce(&mut bytes.as_slice(), columns, rows, &layout, None, &scale, wanted)?;
    Ok(Plane { width: reduced.width, height: reduced.height, data: reduced.data })
}

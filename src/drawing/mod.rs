//! Small pictures of radiographs for people: thumbnails, and a class activation map laid over its image. Pure.
//!
//! What is drawn holds grey values alone: no attribute of the object, no text of ours, no metadata in the PNG. Text that is
//! burnt into the pixels stays in them.

mod heat;

pub use heat::{colour, map_over};

use crate::preprocess::{Plane, Window};
use image::imageops::{self, FilterType};
use image::{DynamicImage, GrayImage, ImageBuffer, ImageFormat, Luma};
use std::io::Cursor;

/// Grey values beyond these parts of the picture's are black and white: a few burnt-in letters do not darken the rest.
const STRETCH: [f64; 2] = [0.005, 0.995];

/// A picture cannot be encoded.
#[derive(Debug, thiserror::Error)]
#[error("the picture cannot be encoded as PNG: {0}")]
pub struct DrawingError(#[from] image::ImageError);

/// The whole plane as an 8-bit picture whose longer side has at most `longest` pixels.
pub fn thumbnail(plane: &Plane, longest: usize) -> GrayImage {
    grey(plane, Window { x0: 0, y0: 0, x1: plane.width, y1: plane.height }, longest)
}

/// A part of the plane as an 8-bit picture: longer side at most `longest` pixels, never enlarged, grey values stretched.
///
/// Any plane gives a picture of at least one pixel; values that are no numbers are black.
pub fn grey(plane: &Plane, window: Window, longest: usize) -> GrayImage {
    let (x1, y1) = (window.x1.min(plane.width), window.y1.min(plane.height));
    let (columns, rows) = (x1.saturating_sub(window.x0), y1.saturating_sub(window.y0));
    if columns == 0 || rows == 0 || longest == 0 || plane.data.len() != plane.width * plane.height {
        return GrayImage::new(1, 1);
    }
    let rows_of = plane.data[window.y0 * plane.width..y1 * plane.width].chunks_exact(plane.width);
    let values: Vec<f32> = rows_of.flat_map(|row| row[window.x0..x1].iter().copied()).collect();
    let [low, high] = ends(&values);
    let scale = if high > low { 1.0 / (high - low) } else { 0.0 };
    // The resampler keeps to 0..=1. What is no number is black.
    let part: Vec<f32> = values.iter().map(|v| ((f64::from(*v) - low) * scale).clamp(0.0, 1.0) as f32).collect();
    let part = part.into_iter().map(|v| if v.is_nan() { 0.0 } else { v }).collect();
    let part: Option<ImageBuffer<Luma<f32>, Vec<f32>>> = ImageBuffer::from_raw(columns as u32, rows as u32, part);
    let Some(part) = part else { return GrayImage::new(1, 1) };
    let (across, down) = crate::preprocess::letterbox(columns, rows, longest.min(columns.max(rows)));
    let small = imageops::resize(&part, across as u32, down as u32, FilterType::Triangle);
    GrayImage::from_fn(across as u32, down as u32, |x, y| Luma([(small.get_pixel(x, y)[0] * 255.0).round() as u8]))
}

/// The values that become black and white.
fn ends(values: &[f32]) -> [f64; 2] {
    let mut finite: Vec<f32> = values.iter().copied().filter(|v| v.is_finite()).collect();
    if finite.is_empty() {
        return [0.0; 2];
    }
    let last = finite.len() - 1;
    STRETCH
        .map(|part| f64::from(*finite.select_nth_unstable_by((last as f64 * part).round() as usize, f32::total_cmp).1))
}

/// The bytes of a PNG file: pixels and nothing else.
pub fn png(picture: impl Into<DynamicImage>) -> Result<Vec<u8>, DrawingError> {
    let mut bytes = Vec::new();
    picture.into().write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plane(width: usize, height: usize, f: impl Fn(usize, usize) -> f32) -> Plane {
        let data = (0..width * height).map(|i| f(i % width, i / width)).collect();
        Plane { width, height, data }
    }

    #[test]
    fn a_thumbnail_keeps_aspect_and_order_of_greys_and_is_never_enlarged() {
        let picture = thumbnail(&plane(600, 300, |x, _| x as f32 * 16.0 - 1024.0), 256);
        assert_eq!(picture.dimensions(), (256, 128));
        let line: Vec<u8> = (0..256).map(|x| picture.get_pixel(x, 64)[0]).collect();
        assert!(line.is_sorted() && line[0] == 0 && line[255] == 255);
        assert_eq!(thumbnail(&plane(20, 10, |x, _| x as f32), 256).dimensions(), (20, 10));
    }

    #[test]
    fn any_plane_gives_a_picture() {
        let nan = plane(5, 4, |x, _| if x == 2 { f32::NAN } else { f32::INFINITY });
        for plane in
            [plane(0, 0, |_, _| 0.0), plane(3, 3, |_, _| 7.0), nan, Plane { width: 9, height: 9, data: vec![] }]
        {
            assert!(thumbnail(&plane, 256).pixels().all(|p| p[0] == 0));
        }
        let far = plane(4, 4, |x, _| if x % 2 == 0 { f32::MAX } else { f32::MIN });
        assert_eq!(thumbnail(&far, 256).dimensions(), (4, 4));
    }

    #[test]
    fn a_png_holds_its_pixels_and_no_further_chunk() {
        let picture = thumbnail(&plane(64, 32, |x, y| (x * y) as f32), 256);
        let bytes = png(picture.clone()).unwrap();
        assert_eq!(image::load_from_memory(&bytes).unwrap().into_luma8(), picture);
        let (mut at, mut kinds) = (8, Vec::new());
        while at < bytes.len() {
            let length = u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
            kinds.push(String::from_utf8(bytes[at + 4..at + 8].to_vec()).unwrap());
            at += length + 12;
        }
        assert!(kinds.iter().all(|k| ["IHDR", "IDAT", "IEND"].contains(&k.as_str())), "{kinds:?}");
    }
}

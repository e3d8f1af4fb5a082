//! The class activation map over the image that the network saw.

use super::grey;
use crate::model::cam::ActivationMap;
use crate::preprocess::{Framed, Plane};
use image::imageops::{self, FilterType};
use image::{ImageBuffer, Luma, Rgb, RgbImage};

/// How much of the colour covers the grey where the evidence is strongest.
const COVER: f32 = 0.6;
/// Lightness (CIELAB, 0 to 100) and hue (degrees; 360 is added once) of no evidence and of the strongest.
const LIGHTNESS: [f32; 2] = [25.0, 90.0];
const HUE: [f32; 2] = [300.0, 450.0];
const CHROMA: f32 = 90.0;

/// The part of the plane that the network saw, in grey, with the evidence for a head in colour over it; trimming and
/// letterbox are undone, so that map and image agree to about half a cell (16 of 224 pixels). Longer side at most `longest`
/// pixels.
///
/// The strongest evidence of this map has the lightest colour and covers most; the weakest, and whatever speaks against the
/// head, is left grey.
pub fn map_over(plane: &Plane, framed: &Framed, map: &ActivationMap, longest: usize) -> RgbImage {
    let under = grey(plane, framed.window, longest);
    let (width, height) = under.dimensions();
    let strongest = map.values.iter().copied().fold(0.0, f32::max);
    let weakest = map.values.iter().copied().fold(f32::INFINITY, f32::min).max(0.0);
    let range = strongest - weakest;
    let strengths: Vec<f32> = map.values.iter().map(|v| ((v - weakest) / range).clamp(0.0, 1.0)).collect();
    let cells = ImageBuffer::<Luma<f32>, _>::from_raw(map.side as u32, map.side as u32, strengths);
    let (Some(cells), true) = (cells, range > 0.0 && range.is_finite()) else {
        return RgbImage::from_fn(width, height, |x, y| Rgb([under.get_pixel(x, y)[0]; 3]));
    };
    // The whole square at the picture's scale: the picture is its middle, and fills its longer side.
    let side = framed.across.max(framed.down);
    let whole = |length: u32, filled: usize| {
        ((side as f64 * f64::from(length) / filled.max(1) as f64).round() as u32).max(length)
    };
    let (across, down) = (whole(width, framed.across), whole(height, framed.down));
    let (left, top) = ((across - width) / 2, (down - height) / 2);
    let smooth = imageops::resize(&cells, across, down, FilterType::CatmullRom);
    let colours: Vec<[u8; 3]> = (0..=u8::MAX).map(|i| colour(f32::from(i) / 255.0)).collect();
    RgbImage::from_fn(width, height, |x, y| {
        let strength = smooth.get_pixel(left + x, top + y)[0].clamp(0.0, 1.0);
        let (colour, cover) = (colours[(strength * 255.0).round() as usize], COVER * strength);
        let grey = f32::from(under.get_pixel(x, y)[0]);
        Rgb(colour.map(|c| (grey * (1.0 - cover) + f32::from(c) * cover).round() as u8))
    })
}

/// The colour of a strength (0..=1) in sRGB: violet, red, orange, yellow, of evenly rising lightness, so that it also reads
/// in grey and with any colour vision. Polar CIELAB (CIE 1976) with white D65; what sRGB cannot show is made paler.
pub fn colour(strength: f32) -> [u8; 3] {
    let part = strength.clamp(0.0, 1.0);
    let of = |ends: [f32; 2]| ends[0] + (ends[1] - ends[0]) * part;
    let (lightness, hue) = (of(LIGHTNESS), of(HUE).to_radians());
    let mut chroma = CHROMA;
    loop {
        let linear = linear_rgb(lightness, chroma * hue.cos(), chroma * hue.sin());
        if chroma < 1.0 || linear.iter().all(|v| (0.0..=1.0).contains(v)) {
            return linear.map(encoded);
        }
        chroma *= 0.97;
    }
}

/// CIELAB → linear sRGB (IEC 61966-2-1).
fn linear_rgb(l: f32, a: f32, b: f32) -> [f32; 3] {
    let y = (l + 16.0) / 116.0;
    let open = |t: f32| if t > 6.0 / 29.0 { t * t * t } else { 3.0 * (6.0f32 / 29.0).powi(2) * (t - 4.0 / 29.0) };
    let (x, y, z) = (0.9505 * open(y + a / 500.0), open(y), 1.089 * open(y - b / 200.0));
    [3.2406 * x - 1.5372 * y - 0.4986 * z, -0.9689 * x + 1.8758 * y + 0.0415 * z, 0.0557 * x - 0.2040 * y + 1.0570 * z]
}

/// Linear light → the byte of sRGB.
fn encoded(linear: f32) -> u8 {
    let v = linear.clamp(0.0, 1.0);
    let v = if v <= 0.003_130_8 { 12.92 * v } else { 1.055 * v.powf(1.0 / 2.4) - 0.055 };
    (v * 255.0).round() as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preprocess::{InputContract, framed};

    /// How far a pixel is from grey.
    fn tint(pixel: &Rgb<u8>) -> i32 {
        let [r, g, b] = pixel.0.map(i32::from);
        r.max(g).max(b) - r.min(g).min(b)
    }

    #[test]
    fn colours_rise_evenly_in_lightness() {
        let lightness = |i: u8| {
            let light = colour(f32::from(i) / 255.0).map(|c| {
                let v = f32::from(c) / 255.0;
                if v <= 0.04045 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) }
            });
            let y = 0.2126 * light[0] + 0.7152 * light[1] + 0.0722 * light[2];
            116.0 * y.cbrt() - 16.0
        };
        for i in 0..=255u8 {
            let wanted = LIGHTNESS[0] + (LIGHTNESS[1] - LIGHTNESS[0]) * f32::from(i) / 255.0;
            assert!((lightness(i) - wanted).abs() < 1.5, "{i}: {} {wanted}", lightness(i));
        }
        assert_ne!(colour(0.0), colour(1.0));
    }

    #[test]
    fn the_evidence_lies_where_it_is_found_whatever_the_border_and_the_letterbox() {
        // A textured image of 120 × 60 within a border; the evidence is one cell of the square.
        let plane = |left: usize, top: usize| {
            let (width, height) = (120 + 2 * left, 60 + top);
            let data = (0..width * height).map(|i| match ((i % width).checked_sub(left), i / width) {
                (Some(x), y) if x < 120 && y < 60 => ((x * 7 + y * 13) % 31) as f32,
                _ => 0.0,
            });
            Plane { width, height, data: data.collect() }
        };
        let contract = InputContract { size: 64, ..InputContract::default() };
        let mut map = ActivationMap { side: 8, values: vec![-1.0; 64], bias: 0.0 };
        map.values[3 * 8 + 6] = 2.0;
        for (left, top) in [(0, 0), (40, 0), (30, 90)] {
            let plane = plane(left, top);
            let picture = map_over(&plane, &framed(&plane, &contract).unwrap(), &map, 120);
            assert_eq!(picture.dimensions(), (120, 60), "{left} {top}");
            let strongest = picture.enumerate_pixels().max_by_key(|(_, _, p)| tint(p)).unwrap();
            // Cell (6, 3) of 8 covers 75 to 87 % of the square's width and 37 to 50 % of its height, the image its middle
            // half in height.
            let (x, y) = (strongest.0 as f32 / 120.0, 0.25 + strongest.1 as f32 / 120.0);
            assert!((0.72..0.91).contains(&x) && (0.34..0.53).contains(&y), "{left} {top}: {x} {y}");
            assert_eq!(tint(picture.get_pixel(10, 50)), 0);
        }
    }

    #[test]
    fn a_map_without_evidence_or_of_no_numbers_leaves_the_image_grey() {
        let plane = Plane { width: 8, height: 8, data: (0..64).map(|i| i as f32).collect() };
        let framed = framed(&plane, &InputContract { size: 8, ..InputContract::default() }).unwrap();
        for value in [-1.0, 0.0, 1.0, f32::NAN, f32::INFINITY] {
            let map = ActivationMap { side: 2, values: vec![value; 4], bias: 0.0 };
            assert!(map_over(&plane, &framed, &map, 8).pixels().all(|p| tint(p) == 0), "{value}");
        }
    }
}

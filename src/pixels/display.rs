//! Modality values → what is seen: VOI LUT or window, else percentiles; then polarity (PS3.3 C.11.2, C.7.6.3.1.2, C.11.4).

use super::lut::Table;
use super::stored::Reduced;
use super::{PixelsError, undecodable};
use crate::preprocess::Plane;

/// The first VOI transform of an image. The others are alternatives.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Voi {
    /// None, or none that is to be used.
    None,
    /// VOI LUT Sequence.
    Table(Table),
    /// Window Center and Width.
    Window { center: f64, width: f64, function: Function },
}

/// VOI LUT Function (0028,1056).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Linear,
    LinearExact,
    Sigmoid,
}

/// The share of values, from either end, that percentiles take as black and white.
const TAIL: f64 = 0.01;
/// A transform is unusable where fewer values than this share become grey, neither black nor white ...
const LEAST_GREY: f64 = 0.02;
/// ... or where all but the tails lie closer together than this.
const LEAST_CONTRAST: f32 = 0.05;

impl Voi {
    /// From 0, black, to 1, white, before polarity. `None`: there is no such transform.
    fn apply(&self, value: f32) -> Option<f32> {
        let x = f64::from(value);
        match *self {
            Voi::None => None,
            Voi::Table(ref table) => Some(table.interpolate(value)),
            Voi::Window { center, width, function } => {
                let y = match function {
                    // PS3.3 C.11.2.1.2.1: the half and the one are part of the definition.
                    Function::Linear if width >= 1.0 => {
                        let (c, w) = (center - 0.5, width - 1.0);
                        if x <= c - w / 2.0 {
                            0.0
                        } else if x > c + w / 2.0 {
                            1.0
                        } else {
                            (x - c) / w + 0.5
                        }
                    }
                    Function::LinearExact if width > 0.0 => ((x - center) / width + 0.5).clamp(0.0, 1.0),
                    Function::Sigmoid if width > 0.0 => 1.0 / (1.0 + (-4.0 * (x - center) / width).exp()),
                    _ => return None,
                };
                Some(y as f32)
            }
        }
    }
}

/// The plane as displayed, 0 to 1. `inverse`: MONOCHROME1, or a Presentation LUT Shape of INVERSE.
pub(super) fn display(reduced: Reduced, voi: &Voi, inverse: bool) -> Result<Plane, PixelsError> {
    let Reduced { width, height, mut data } = reduced;
    let seen: Vec<f32> = data.iter().copied().filter(|x| x.is_finite()).collect();
    if seen.is_empty() {
        return Err(undecodable("the image holds nothing but padding"));
    }
    let shown: Vec<f32> = match seen.iter().map(|&x| voi.apply(x)).collect::<Option<Vec<f32>>>() {
        Some(shown) if usable(&shown) => shown,
        _ => {
            let (black, white) = spread(seen.clone());
            seen.iter().map(|x| ((x - black) / (white - black)).clamp(0.0, 1.0)).collect()
        }
    };
    let mut shown = shown.into_iter();
    for x in &mut data {
        // What is no number is padding, and black whatever the polarity.
        *x = match x.is_finite().then(|| shown.next()).flatten() {
            Some(y) => {
                if inverse {
                    1.0 - y
                } else {
                    y
                }
            }
            None => 0.0,
        };
    }
    Ok(Plane { width, height, data })
}

/// Something can be seen in what a VOI transform has made: not all of it is black or white, nor all of one grey.
fn usable(shown: &[f32]) -> bool {
    let grey = shown.iter().filter(|&&y| y > 0.002 && y < 0.998).count();
    if (grey as f64) < LEAST_GREY * shown.len() as f64 {
        return false;
    }
    let (low, high) = tails(shown.to_vec());
    high - low >= LEAST_CONTRAST
}

/// Black and white for values without a usable VOI transform.
fn spread(values: Vec<f32>) -> (f32, f32) {
    let (least, most) = values.iter().fold((f32::MAX, f32::MIN), |(a, b), &x| (a.min(x), b.max(x)));
    let (low, high) = tails(values);
    match (low < high, least < most) {
        (true, _) => (low, high),
        // All but a few are equal.
        (false, true) => (least, most),
        (false, false) => (least, least + 1.0),
    }
}

/// The values below and above which [`TAIL`] of all lie.
fn tails(mut values: Vec<f32>) -> (f32, f32) {
    let tail = (values.len() as f64 * TAIL) as usize;
    let last = values.len() - 1;
    let low = *values.select_nth_unstable_by(tail, f32::total_cmp).1;
    let high = *values.select_nth_unstable_by(last - tail, f32::total_cmp).1;
    (low, high)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(center: f64, width: f64, function: Function) -> Voi {
        Voi::Window { center, width, function }
    }

    fn at(voi: &Voi, inputs: &[f32]) -> Vec<f32> {
        inputs.iter().map(|&x| voi.apply(x).unwrap()).collect()
    }

    fn row(data: Vec<f32>) -> Reduced {
        Reduced { width: data.len(), height: 1, data }
    }

    #[test]
    fn linear_is_that_of_the_standard() {
        // PS3.3 C.11.2.1.2.1 gives c = 2048, w = 4096: 0 is the first above black, 4095 is white.
        let voi = window(2048.0, 4096.0, Function::Linear);
        assert_eq!(at(&voi, &[-1.0, 0.0, 4095.0, 4096.0, 2047.5]), [0.0, 0.0, 1.0, 1.0, 0.5]);
        // c = 2048, w = 1: a threshold at 2047.5.
        assert_eq!(at(&window(2048.0, 1.0, Function::Linear), &[2047.0, 2047.5, 2048.0]), [0.0, 0.0, 1.0]);
        // c = 0, w = 100: black up to -50, white from 49.
        let voi = window(0.0, 100.0, Function::Linear);
        assert_eq!(at(&voi, &[-50.0, 49.0, -0.5, 49.1]), [0.0, 1.0, 0.5, 1.0]);
    }

    #[test]
    fn linear_exact_and_sigmoid() {
        let voi = window(2048.0, 4096.0, Function::LinearExact);
        assert_eq!(at(&voi, &[-1.0, 0.0, 2048.0, 3072.0, 4096.0, 9000.0]), [0.0, 0.0, 0.5, 0.75, 1.0, 1.0]);
        let voi = window(0.0, 4.0, Function::Sigmoid);
        assert_eq!(at(&voi, &[0.0]), [0.5]);
        // 1 / (1 + e^-1) and its mirror.
        assert!((at(&voi, &[1.0])[0] - 0.731_058_6).abs() < 1e-6);
        assert!((at(&voi, &[-1.0])[0] - 0.268_941_43).abs() < 1e-6);
    }

    #[test]
    fn impossible_windows_are_none() {
        for (w, f) in [(0.0, Function::Linear), (0.5, Function::Linear), (0.0, Function::LinearExact)] {
            assert_eq!(window(10.0, w, f).apply(5.0), None);
        }
        assert_eq!(window(10.0, -3.0, Function::Sigmoid).apply(5.0), None);
        assert_eq!(window(10.0, f64::NAN, Function::Linear).apply(5.0), None);
    }

    #[test]
    fn a_window_that_shows_something_is_used() {
        let plane =
            display(row(vec![0.0, 25.0, 50.0, 75.0, 100.0]), &window(50.0, 200.0, Function::LinearExact), false);
        assert_eq!(plane.unwrap().data, [0.25, 0.375, 0.5, 0.625, 0.75]);
    }

    #[test]
    fn a_window_that_shows_nothing_gives_way_to_percentiles() {
        // 201 values: two in each tail, so that 2 is black and 198 white.
        let data: Vec<f32> = (0..=200u8).map(f32::from).collect();
        for (center, width) in [(5000.0, 100.0), (-5000.0, 100.0), (100.5, 1.0), (100.0, 100_000.0), (100.0, 0.0)] {
            let plane = display(row(data.clone()), &window(center, width, Function::Linear), false).unwrap();
            assert_eq!((plane.data[2], plane.data[100], plane.data[198]), (0.0, 0.5, 1.0), "{center} {width}");
            assert_eq!((plane.data[0], plane.data[200]), (0.0, 1.0));
        }
    }

    #[test]
    fn polarity_turns_what_is_seen_and_not_the_padding() {
        let data = vec![25.0, f32::NAN, 100.0];
        let voi = window(50.0, 100.0, Function::LinearExact);
        assert_eq!(display(row(data.clone()), &voi, false).unwrap().data, [0.25, 0.0, 1.0]);
        assert_eq!(display(row(data), &voi, true).unwrap().data, [0.75, 0.0, 0.0]);
    }

    #[test]
    fn padding_stays_out_of_percentiles() {
        let mut data = vec![f32::NAN; 1000];
        data.extend([10.0, 20.0, 30.0]);
        let plane = display(row(data), &Voi::None, false).unwrap();
        assert_eq!(plane.data[1000..], [0.0, 0.5, 1.0]);
        assert!(display(row(vec![f32::NAN; 4]), &Voi::None, false).is_err());
    }

    #[test]
    fn one_grey_and_one_speck_are_no_division_by_zero() {
        let plane = display(row(vec![7.0; 9]), &Voi::None, false).unwrap();
        assert_eq!(plane.data, [0.0; 9]);
        let mut data = vec![7.0; 999];
        data.push(9.0);
        let plane = display(row(data), &Voi::None, false).unwrap();
        assert_eq!((plane.data[0], plane.data[999]), (0.0, 1.0));
    }

    #[test]
    fn a_voi_lut_is_scaled_to_its_bits() {
        let table = Table { first: 0, values: vec![0, 1023, 4095], top: 4095 };
        let plane = display(row(vec![0.0, 0.5, 1.0, 2.0, 5.0]), &Voi::Table(table), false).unwrap();
        assert_eq!(plane.data, [0.0, 511.5 / 4095.0, 1023.0 / 4095.0, 1.0, 1.0]);
    }
}

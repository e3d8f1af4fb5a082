//! The rules of display, one by one, with results computed by hand.

use super::object::*;

#[test]
fn monochrome1_is_monochrome2_turned_round() {
    let values = [0, 100, 2000, 4095];
    let turned = values.map(|v| 4095 - v);
    let two = shown(Object::new(2, 2, 12, &values).window("2048", "4096"));
    assert_eq!(two, [0.0, 100.0 / 4095.0, 2000.0 / 4095.0, 1.0]);
    let mut one = Object::new(2, 2, 12, &turned);
    one.window("2048", "4096").text(0x0028_0004, "CS", "MONOCHROME1");
    let near = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6);
    assert!(near(&shown(&one), &two));
    // INVERSE belongs to MONOCHROME1 and does not turn it back; beside MONOCHROME2 it turns the image.
    assert!(near(&shown(one.text(0x2050_0020, "CS", "INVERSE")), &two));
    assert!(near(&shown(one.text(0x0028_0004, "CS", "MONOCHROME2")), &two));
}

#[test]
fn signed_values_are_unsigned_ones_moved() {
    let unsigned = shown(Object::new(3, 1, 12, &[0, 2048, 4095]).window("2048", "4096"));
    let mut o = Object::new(3, 1, 12, &[0xF800, 0x0000, 0x07FF]);
    assert_eq!(shown(o.us(0x0028_0103, &[1]).window("0", "4096")), unsigned);
    // And a rescale moves them back.
    assert_eq!(shown(o.window("2048", "4096").text(0x0028_1052, "DS", "2048").text(0x0028_1053, "DS", "1")), unsigned);
}

#[test]
fn bytes_in_big_endian_words_are_swapped_and_others_not() {
    let mut o = Object::bytes(3, 2, &[10, 20, 30, 40, 50, 60]);
    let expected = shown(o.window("128", "256"));
    let rebuild = |vr, bytes: &[u8]| {
        let mut big = Object { syntax: BIG, elements: Vec::new() };
        big.text(0x0028_0004, "CS", "MONOCHROME2").window("128", "256").us(0x0028_0010, &[2]).us(0x0028_0011, &[3]);
        big.us(0x0028_0100, &[8]).set(0x7FE0_0010, vr, bytes.to_vec());
        big
    };
    assert_eq!(shown(&rebuild("OB", &[10, 20, 30, 40, 50, 60])), expected);
    assert_eq!(shown(&rebuild("OW", &[20, 10, 40, 30, 60, 50])), expected);
}

#[test]
fn the_first_of_several_windows_and_its_function_count() {
    let mut o = Object::new(3, 1, 12, &[0, 1024, 4096 - 1]);
    o.window("1024\\9", "2048\\1").text(0x0028_1056, "CS", "LINEAR_EXACT");
    assert_eq!(shown(&o), [0.0, 0.5, 1.0]);
    let sigmoid = shown(o.text(0x0028_1056, "CS", "SIGMOID"));
    assert!((sigmoid[0] - 0.119_202_92).abs() < 1e-6, "1 / (1 + e^2), not {}", sigmoid[0]);
}

#[test]
fn a_voi_lut_is_preferred_to_a_window_and_a_broken_one_is_not() {
    let mut o = Object::new(3, 1, 8, &[0, 1, 2]);
    o.window("1", "3").lut(0x0028_3010, [3, 0, 8], &[0, 51, 255]);
    assert_eq!(shown(&o), [0.0, 0.2, 1.0]);
    assert_eq!(shown(o.lut(0x0028_3010, [300, 0, 8], &[0, 51, 255])), [0.25, 0.75, 1.0]);
}

#[test]
fn a_modality_lut_comes_before_the_window_and_a_broken_one_is_refused() {
    let mut o = Object::new(3, 1, 8, &[5, 6, 7]);
    o.text(0x0028_1056, "CS", "LINEAR_EXACT").window("500", "1000").lut(0x0028_3000, [3, 5, 10], &[900, 500, 100]);
    assert_eq!(shown(&o), [0.9, 0.5, 0.1]);
    assert!(undecodable(o.lut(0x0028_3000, [300, 5, 10], &[1])).contains("Modality LUT"));
    // An empty sequence is none.
    o.set(0x0028_3000, "SQ", vec![]).window("6", "4");
    assert_eq!(shown(&o), [0.25, 0.5, 0.75]);
}

#[test]
fn raw_detector_data_are_spread_by_percentiles_and_never_turned_by_the_intensity_sign() {
    let mut o = Object::new(3, 1, 14, &[1000, 1500, 2000]);
    o.text(0x0008_0016, "UI", FOR_PROCESSING).window("1200", "800").text(0x0028_1040, "CS", "LIN");
    o.set(0x0028_1041, "SS", 1i16.to_le_bytes().to_vec());
    assert_eq!(shown(&o), [0.0, 0.5, 1.0]);
}

#[test]
fn padding_is_black_and_moves_no_percentile() {
    let mut o = Object::new(5, 1, 12, &[4095, 100, 200, 300, 4000]);
    o.us(0x0028_0120, &[4095]).us(0x0028_0121, &[4000]);
    assert_eq!(shown(&o), [0.0, 0.0, 0.5, 1.0, 0.0]);
    assert_eq!(shown(o.text(0x0028_0004, "CS", "MONOCHROME1")), [0.0, 1.0, 0.5, 0.0, 0.0]);
}

#[test]
fn bits_above_high_bit_are_no_part_of_the_image() {
    let mut o = Object::new(2, 1, 12, &[0xF064, 0x00C8]);
    assert_eq!(shown(o.window("200", "400")), [100.0 / 399.0, 200.0 / 399.0]);
}

//! Files read by their content.

use super::object::*;
use radroute::pixels::read_any;
use std::path::Path;

#[test]
fn any_file_is_read_by_its_content() {
    let bench = Bench::new();
    let object = {
        let mut o = Object::bytes(3, 2, &[0, 51, 102, 153, 204, 255]);
        o.window("128", "256").clone()
    };
    let expected = shown(&object);
    let at = |path: &Path| read_any(path, 100).unwrap().data;
    assert_eq!(at(&bench.write("dicom.png", &object.file())), expected);
    assert_eq!(at(&bench.write("bare", &object.data_set())), expected);

    let grey = image::GrayImage::from_raw(3, 2, vec![0, 51, 102, 153, 204, 255]).unwrap();
    let path = bench.write("x", b"");
    grey.save_with_format(&path, image::ImageFormat::Png).unwrap();
    let near = |a: &[f32], b: &[f32]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 0.004);
    assert!(near(&at(&path), &expected));

    let deep: Vec<u16> = [0, 51, 102, 153, 204, 255u16].iter().map(|v| v * 257).collect();
    image::ImageBuffer::<image::Luma<u16>, _>::from_raw(3, 2, deep)
        .unwrap()
        .save_with_format(&path, image::ImageFormat::Png)
        .unwrap();
    assert!(near(&at(&path), &expected));

    // Luminance: green counts most, blue least.
    let colours = image::RgbImage::from_raw(3, 1, vec![255, 0, 0, 0, 255, 0, 0, 0, 255]).unwrap();
    colours.save_with_format(&path, image::ImageFormat::Png).unwrap();
    let y = at(&path);
    assert!(y[1] > y[0] && y[0] > y[2] && y[2] > 0.0, "{y:?}");

    let flat = image::GrayImage::from_pixel(40, 30, image::Luma([128]));
    flat.save_with_format(&path, image::ImageFormat::Jpeg).unwrap();
    let plane = read_any(&path, 10).unwrap();
    assert_eq!((plane.width, plane.height), (10, 8));
    assert!(plane.data.iter().all(|v| (v - 128.0 / 255.0).abs() < 0.01));
}

#[test]
fn what_is_nothing_known_is_an_error() {
    let bench = Bench::new();
    for bytes in [&b""[..], b"hello", &[0; 500], b"\x89PNG\r\n\x1A\n", &[0xFF, 0xD8, 0xFF], b"\x08\0\x16\0UI\x02\0zz"] {
        assert!(read_any(&bench.write("x", bytes), 100).is_err(), "{bytes:?}");
    }
    assert!(read_any(&bench.dir.path().join("none"), 100).is_err());
    assert!(read_any(bench.dir.path(), 100).is_err());
}

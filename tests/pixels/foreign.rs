//! Transfer syntaxes that dcmtk does not write: one small picture, encoded once by libjxl and OpenJPH (by way of imagecodecs).

use super::object::*;
use radroute::pixels::read_dicom;

const COLUMNS: u16 = 60;
const ROWS: u16 = 40;

/// JPEG XL, lossless, 12 bits.
const JPEG_XL: &str = "ff0a096150b40808040100d8014b386898c283b5c4e07d0505250546465413638cf35fc2094b7e7182ec11003c1570dbb63df862dbb66ddb\
     761bab6ddbb66ddbc358b66ddbb66dbfebd8b66dfb2f91f8ff3fa7e1ffff4607ffff0123a4448efdef84abffffffffffffffffffffffffff\
     ffffffffffffffffffffffffffffffffffff03";

/// High-Throughput JPEG 2000, lossless.
const HTJ2K: &str = "ff4fff51002940000000003c0000002800000000000000000000003c00000028000000000000000000010f0101ff50000800020000000aff\
     52000c00020001000504044001ff5c00132088909090909090909090909090888888ff64001700014f70656e4a50482056657220302e3236\
     2e332eff90000a0000000000f60001ff93c0002b00030071fde3ee51ec02c33400c00013c000120074a0c30302740099123300c000159000\
     04c00204e8d72f80fe873102b500bbed03a75400c00015900005a2610861f8e7001fd7e00b78005aad56abd56ab5fa04206fde1081beba00\
     c00016ac00016e800c19181832306460c8c0f0f9f8bf5fafd7e18b7a002c638c31c618638c31f6ff660000023f60001efd80007bf60001ec\
     b301c0002de80005d480b66ddbb66ddbb66ddbb66ddbb66ddbfe7fea7a7a7a7a7a7a7a7a70827f00524444444444444444444444444444fe\
     ff7e90cf7c9efdf27bf7c9efdf27bf7c9efdf27bf7c9ecb901ffd9";

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
}

/// What was encoded: a ramp that begins anew where 12 bits end.
fn ramp() -> Object {
    let value = |i: u16| (60 * (i % COLUMNS) + 10 * (i / COLUMNS)) % 4096;
    Object::new(COLUMNS, ROWS, 12, &(0..COLUMNS * ROWS).map(value).collect::<Vec<_>>())
}

#[test]
fn jpeg_xl_and_htj2k_are_lossless_and_broken_ones_are_undecodable() {
    let bench = Bench::new();
    let plain = read_dicom(&bench.write("plain.dcm", &ramp().file()), usize::MAX).unwrap();
    for (syntax, stream) in [("110", JPEG_XL), ("112", JPEG_XL), ("201", HTJ2K), ("202", HTJ2K), ("203", HTJ2K)] {
        let syntax: &'static str = format!("1.2.840.10008.1.2.4.{syntax}").leak();
        let stream = bytes(stream);
        let read = |stream: &[u8]| {
            let file = ramp().fragments(syntax, &[stream]).file();
            read_dicom(&bench.write("packed.dcm", &file), usize::MAX)
        };
        assert!(read(&stream).unwrap() == plain, "{syntax}");
        assert!(read(&stream[..stream.len() / 2]).is_err(), "{syntax}");
        // Of another size than the data set says.
        let mut other = ramp();
        other.us(0x0028_0010, &[ROWS / 2]);
        let file = other.fragments(syntax, &[&stream]).file();
        let told = read_dicom(&bench.write("other.dcm", &file), usize::MAX).unwrap_err().to_string();
        assert!(told.contains("60 × 40"), "{syntax}: {told}");
    }
}

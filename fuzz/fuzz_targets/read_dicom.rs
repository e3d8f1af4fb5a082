//! Any bytes as a DICOM file: no panic, and a plane is whole and within its range.
#![no_main]

use libfuzzer_sys::fuzz_target;
use radroute::pixels::read_dicom;
use std::io::Write;

fuzz_target!(|bytes: &[u8]| {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(bytes).expect("room for it");
    if let Ok(plane) = read_dicom(file.path(), 100) {
        assert_eq!(plane.data.len(), plane.width * plane.height);
        assert!(plane.data.iter().all(|v| (0.0..=1.0).contains(v)));
    }
});

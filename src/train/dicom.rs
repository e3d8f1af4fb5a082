//! A plane as a DICOM object and back, through the daemon's own reader: what storing does to a verdict.

use super::TrainError;
use crate::judge::robust::Stored;
use crate::pixels;
use crate::preprocess::Plane;
use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};
use std::path::Path;

/// The plane as it is read back from an object stored so, its longer side at least `wanted` pixels or as it is.
pub fn again(plane: &Plane, stored: Stored, wanted: usize) -> Result<Plane, TrainError> {
    let failed = |why: String| TrainError::Data(format!("a DICOM object for trial cannot be made: {why}"));
    let file = tempfile::Builder::new().suffix(".dcm").tempfile().map_err(|e| failed(e.to_string()))?;
    write(plane, stored, file.path()).map_err(failed)?;
    pixels::read_dicom(file.path(), wanted).map_err(|e| failed(e.to_string()))
}

fn write(plane: &Plane, stored: Stored, file: &Path) -> Result<(), String> {
    let mut object = InMemDicomObject::new_empty();
    let mut text = |tag, vr, value: &str| object.put(DataElement::new(tag, vr, PrimitiveValue::from(value)));
    text(tags::SOP_CLASS_UID, VR::UI, uids::COMPUTED_RADIOGRAPHY_IMAGE_STORAGE);
    text(tags::SOP_INSTANCE_UID, VR::UI, "2.25.1");
    text(tags::MODALITY, VR::CS, "CR");
    let polarity = if stored.monochrome1 { "MONOCHROME1" } else { "MONOCHROME2" };
    text(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, polarity);
    let side = |n: usize| u16::try_from(n).map_err(|_| format!("{n} pixels a side are too many"));
    for (tag, value) in [
        (tags::SAMPLES_PER_PIXEL, 1),
        (tags::ROWS, side(plane.height)?),
        (tags::COLUMNS, side(plane.width)?),
        (tags::BITS_ALLOCATED, stored.bits_allocated),
        (tags::BITS_STORED, stored.bits_stored),
        (tags::HIGH_BIT, stored.bits_stored - 1),
        (tags::PIXEL_REPRESENTATION, 0),
    ] {
        object.put(DataElement::new(tag, VR::US, PrimitiveValue::from(value)));
    }
    let values = values(plane, stored);
    let pixels = if stored.bits_allocated == 8 {
        let bytes: Vec<u8> = values.iter().map(|v| *v as u8).collect();
        DataElement::new(tags::PIXEL_DATA, VR::OB, PrimitiveValue::U8(bytes.into()))
    } else {
        DataElement::new(tags::PIXEL_DATA, VR::OW, PrimitiveValue::U16(values.into()))
    };
    object.put(pixels);
    let meta = FileMetaTableBuilder::new().transfer_syntax(uids::EXPLICIT_VR_LITTLE_ENDIAN);
    let object = object.with_meta(meta).map_err(|e| e.to_string())?;
    object.write_to_file(file).map_err(|e| e.to_string())
}

/// Stored values: the plane's range over all the bits, dark being high where the polarity is MONOCHROME1.
fn values(plane: &Plane, stored: Stored) -> Vec<u16> {
    let finite = plane.data.iter().copied().filter(|v| v.is_finite());
    let (low, high) = finite.fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    let most = f32::from(u16::MAX >> (16 - stored.bits_stored));
    let scale = if high > low { most / (high - low) } else { 0.0 };
    let value = |v: &f32| {
        let grey = if v.is_finite() { ((v - low) * scale).round() } else { 0.0 };
        (if stored.monochrome1 { most - grey } else { grey }) as u16
    };
    plane.data.iter().map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::robust::Change;

    #[test]
    fn comes_back_as_it_was_in_every_form() {
        // An odd number of pixels: the value field is padded.
        let plane = Plane { width: 21, height: 13, data: (0..21 * 13).map(|i| (i % 97) as f32 / 96.0).collect() };
        for stored in Change::ALL.into_iter().filter_map(Change::stored) {
            let back = again(&plane, stored, 1000).unwrap();
            assert_eq!((back.width, back.height), (21, 13), "{stored:?}");
            // The reader stretches by percentiles where there is no window: the order must hold.
            let pairs: Vec<(f32, f32)> = plane.data.iter().copied().zip(back.data.iter().copied()).collect();
            let rising = pairs.iter().all(|a| pairs.iter().all(|b| a.0 >= b.0 || a.1 <= b.1 + 1e-4));
            assert!(rising, "{stored:?}");
        }
    }
}

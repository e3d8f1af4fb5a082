//! Changes of an image that change no region, and how many verdicts outlast them. Pure.

use super::label::{Truth, truth};
use super::{Judged, Scores, Thresholds, called};
use crate::preprocess::Plane;
use serde::Serialize;
use std::collections::BTreeMap;

/// A change of the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Change {
    Inverted,
    Turned90,
    Turned180,
    Turned270,
    Mirrored,
    BlackBorder,
    WhiteBorder,
    /// Saved as a DICOM object with 8 bits, MONOCHROME2.
    Dicom8,
    /// With 8 bits, MONOCHROME1.
    Dicom8Monochrome1,
    /// With 16 bits allocated and 12 stored, MONOCHROME2.
    Dicom16,
    /// With 16 bits allocated and 12 stored, MONOCHROME1.
    Dicom16Monochrome1,
}

/// How a picture is stored as a DICOM object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Stored {
    pub bits_allocated: u16,
    pub bits_stored: u16,
    pub monochrome1: bool,
}

impl Change {
    /// All of them, in the order of the table.
    pub const ALL: [Change; 11] = [
        Change::Inverted,
        Change::Turned90,
        Change::Turned180,
        Change::Turned270,
        Change::Mirrored,
        Change::BlackBorder,
        Change::WhiteBorder,
        Change::Dicom8,
        Change::Dicom8Monochrome1,
        Change::Dicom16,
        Change::Dicom16Monochrome1,
    ];

    /// As it stands in the tables.
    pub fn name(self) -> &'static str {
        match self {
            Change::Inverted => "inverted",
            Change::Turned90 => "turned by 90°",
            Change::Turned180 => "turned by 180°",
            Change::Turned270 => "turned by 270°",
            Change::Mirrored => "mirrored",
            Change::BlackBorder => "black border",
            Change::WhiteBorder => "white border",
            Change::Dicom8 => "DICOM, 8 bits, MONOCHROME2",
            Change::Dicom8Monochrome1 => "DICOM, 8 bits, MONOCHROME1",
            Change::Dicom16 => "DICOM, 12 in 16 bits, MONOCHROME2",
            Change::Dicom16Monochrome1 => "DICOM, 12 in 16 bits, MONOCHROME1",
        }
    }

    /// How it is stored, if storing is the change.
    pub fn stored(self) -> Option<Stored> {
        let stored =
            |bits_allocated, bits_stored, monochrome1| Some(Stored { bits_allocated, bits_stored, monochrome1 });
        match self {
            Change::Dicom8 => stored(8, 8, false),
            Change::Dicom8Monochrome1 => stored(8, 8, true),
            Change::Dicom16 => stored(16, 12, false),
            Change::Dicom16Monochrome1 => stored(16, 12, true),
            _ => None,
        }
    }

    /// The changed picture; the picture itself where storing is the change.
    pub fn apply(self, plane: &Plane) -> Plane {
        let (width, height) = (plane.width, plane.height);
        let turned = |width: usize, height: usize, from: &dyn Fn(usize, usize) -> usize| Plane {
            width,
            height,
            data: (0..width * height).map(|i| plane.data[from(i % width, i / width)]).collect(),
        };
        match self {
            Change::Inverted => {
                let (low, high) = range(plane);
                Plane { data: plane.data.iter().map(|v| high - (v - low)).collect(), ..*plane }
            }
            Change::Turned90 => turned(height, width, &|x, y| (height - 1 - x) * width + y),
            Change::Turned180 => turned(width, height, &|x, y| (height - 1 - y) * width + (width - 1 - x)),
            Change::Turned270 => turned(height, width, &|x, y| x * width + (width - 1 - y)),
            Change::Mirrored => turned(width, height, &|x, y| y * width + (width - 1 - x)),
            Change::BlackBorder => bordered(plane, range(plane).0),
            Change::WhiteBorder => bordered(plane, range(plane).1),
            _ => plane.clone(),
        }
    }
}

/// The least and the greatest finite value.
fn range(plane: &Plane) -> (f32, f32) {
    let finite = plane.data.iter().copied().filter(|v| v.is_finite());
    finite.fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)))
}

/// A border of an eighth of the longer side on all sides.
fn bordered(plane: &Plane, grey: f32) -> Plane {
    let edge = plane.width.max(plane.height) / 8;
    let (width, height) = (plane.width + 2 * edge, plane.height + 2 * edge);
    let mut data = vec![grey; width * height];
    for (y, line) in plane.data.chunks_exact(plane.width.max(1)).enumerate() {
        let start = (y + edge) * width + edge;
        data[start..start + plane.width].copy_from_slice(line);
    }
    Plane { width, height, data }
}

/// What became of the verdicts under one change.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Outlasting {
    /// Images that were changed.
    pub images: usize,
    /// The same region is named, or none as before: what is written stays the same.
    pub same: usize,
    /// The verdict is the same in its kind too (`outside` or `abstained` where none is named).
    pub same_verdict: usize,
    /// Named rightly before, and now not.
    pub lost: usize,
    /// Named falsely now, and not before.
    pub wrong: usize,
}

/// By the change's name.
pub type Robust = BTreeMap<String, Outlasting>;

/// Counts one changed image.
pub fn count(into: &mut Robust, change: Change, before: &Judged, after: &Scores, thresholds: &Thresholds) {
    let (called, kind) = called(after, thresholds);
    let row = into.entry(change.name().to_owned()).or_default();
    let right = |region| truth(&before.region) == Truth::Region(region);
    row.images += 1;
    row.same += usize::from(called == before.called);
    row.same_verdict += usize::from(called == before.called && kind == before.verdict);
    row.lost += usize::from(before.called.is_some_and(right) && !called.is_some_and(right));
    row.wrong += usize::from(called.is_some_and(|r| !right(r)) && called != before.called);
}

#[cfg(test)]
mod tests {
    use super::super::tests::{flat, judged};
    use super::*;

    fn plane() -> Plane {
        Plane { width: 3, height: 2, data: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0] }
    }

    #[test]
    fn turning_clockwise_and_all_around() {
        let once = Change::Turned90.apply(&plane());
        assert_eq!((once.width, once.height), (2, 3));
        assert_eq!(once.data, [4.0, 1.0, 5.0, 2.0, 6.0, 3.0]);
        assert_eq!(Change::Turned270.apply(&once), plane());
        assert_eq!(Change::Turned90.apply(&once), Change::Turned180.apply(&plane()));
        assert_eq!(Change::Mirrored.apply(&plane()).data, [3.0, 2.0, 1.0, 6.0, 5.0, 4.0]);
    }

    #[test]
    fn inversion_and_borders() {
        assert_eq!(Change::Inverted.apply(&plane()).data, [6.0, 5.0, 4.0, 3.0, 2.0, 1.0]);
        let big = Plane { width: 8, height: 8, data: (0..64).map(|v| v as f32).collect() };
        let framed = Change::WhiteBorder.apply(&big);
        assert_eq!((framed.width, framed.height, framed.data[0], framed.data[11]), (10, 10, 63.0, 0.0));
        assert_eq!(Change::BlackBorder.apply(&big).data[99], 0.0);
        let nothing = Plane { width: 0, height: 0, data: Vec::new() };
        assert!(Change::ALL.iter().all(|c| c.apply(&nothing).data.is_empty()));
    }

    #[test]
    fn counts_what_is_lost_and_what_is_new() {
        let t = flat(0.5);
        let before = judged("HAND", "HAND", 0.9, &t);
        let mut robust = Robust::new();
        for (head, p) in [("HAND", 0.8), ("HAND", 0.3), ("KNEE", 0.9)] {
            count(&mut robust, Change::Mirrored, &before, &judged("HAND", head, p, &t).scores, &t);
        }
        let wanted = Outlasting { images: 3, same: 1, same_verdict: 1, lost: 2, wrong: 1 };
        assert_eq!(robust["mirrored"], wanted);
    }
}

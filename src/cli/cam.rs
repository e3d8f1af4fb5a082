//! `radroute classify --cam DIR`: the class activation map of each region that an image scores, over the image.

use crate::anatomy::Region;
use crate::drawing::{map_over, png};
use crate::model::Classifier;
use crate::preprocess::{Framed, Plane};
use crate::verdict::Look;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// A region is drawn from this probability on.
const FROM: f32 = 0.5;
/// Longer side of a picture, pixels; an image that is smaller is not enlarged.
const LONGEST: usize = 512;

/// What the network was given of an image.
pub(super) struct Image {
    /// As displayed.
    pub(super) plane: Plane,
    /// The network's input.
    pub(super) input: Vec<f32>,
    /// How the plane lies in it.
    pub(super) framed: Option<Framed>,
}

/// The folder of the pictures, and the names that are taken in it.
pub(super) struct Pictures {
    folder: PathBuf,
    taken: BTreeSet<OsString>,
}

impl Pictures {
    /// Creates the folder if need be. Files in it that are classified in the same run are never overwritten.
    pub(super) fn new(folder: &Path, inputs: &[PathBuf]) -> Result<Pictures, String> {
        let why = |e: std::io::Error| format!("--cam {}: {e}", folder.display());
        std::fs::create_dir_all(folder).map_err(why)?;
        let folder = folder.canonicalize().map_err(why)?;
        let within =
            |file: &PathBuf| Some(file.canonicalize().ok()?.strip_prefix(&folder).ok()?.as_os_str().to_owned());
        let taken = inputs.iter().filter_map(within).collect();
        Ok(Pictures { folder, taken })
    }

    /// Draws each region that `look` scores over a half; the paths of the pictures. Their names come from the file's name
    /// and the region alone; a name that is taken gets a number.
    pub(super) fn draw(
        &mut self,
        classifier: &Classifier,
        file: &Path,
        image: &Image,
        look: &Look,
    ) -> Result<Vec<PathBuf>, String> {
        let (Look::Scored { scores, .. }, Some(framed)) = (look, &image.framed) else { return Ok(Vec::new()) };
        let seen = |region: &Region| scores.get(region.term()).is_some_and(|p| *p > FROM);
        let regions: Vec<Region> = Region::ALL.into_iter().filter(seen).collect();
        if regions.is_empty() {
            return Ok(Vec::new());
        }
        let maps = classifier.activation_maps(std::slice::from_ref(&image.input)).map_err(|e| e.to_string())?;
        let mut written = Vec::new();
        for region in regions {
            let Some(map) = maps.first().and_then(|maps| maps.get(region.term())) else { continue };
            let bytes = png(map_over(&image.plane, framed, map, LONGEST)).map_err(|e| e.to_string())?;
            let name = self.name(file.file_stem().unwrap_or(file.as_os_str()), region);
            let path = self.folder.join(name);
            std::fs::write(&path, bytes).map_err(|e| format!("{} cannot be written: {e}", path.display()))?;
            written.push(path);
        }
        Ok(written)
    }

    fn name(&mut self, stem: &OsStr, region: Region) -> OsString {
        let mut number = 1;
        loop {
            let mut name = stem.to_owned();
            if number > 1 {
                name.push(format!("-{number}"));
            }
            name.push(format!("-{}.png", region.term()));
            if self.taken.insert(name.clone()) {
                return name;
            }
            number += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_stems_get_numbers_and_inputs_are_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let input = folder.path().join("b-KNEE.png");
        std::fs::write(&input, "an input").unwrap();
        let mut pictures = Pictures::new(folder.path(), &[input]).unwrap();
        let names: Vec<OsString> =
            ["a", "a", "b", "a-2"].iter().map(|stem| pictures.name(OsStr::new(stem), Region::Knee)).collect();
        assert_eq!(names, ["a-KNEE.png", "a-2-KNEE.png", "b-2-KNEE.png", "a-2-2-KNEE.png"]);
        assert_eq!(pictures.name(OsStr::new("a"), Region::Hand), "a-HAND.png");
    }
}

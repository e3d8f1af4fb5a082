//! What can be told to be wrong before any training time is spent.

use super::manifest::{Manifest, ManifestError, Split, UNLABELLED};
use super::recipe::Recipe;
use super::{Run, TrainError};
use crate::judge::{NO_RADIOGRAPH, label};
use crate::pixels;
use rayon::prelude::*;
use std::collections::BTreeSet;
use std::path::Path;

/// The first thing that is wrong with the images, by its row.
pub(super) fn check_data(run: &Run) -> Result<(), TrainError> {
    both_kinds(run.manifest, &run.recipe.heads)?;
    if run.manifest.labelled(Split::Validation).next().is_none() {
        return Err(TrainError::Data(format!("{}: there are no validation images", run.manifest.file.display())));
    }
    known_regions(run.manifest, run.recipe)?;
    every_image(run)
}

/// Each head needs images that it is to say yes to, and others.
fn both_kinds(manifest: &Manifest, heads: &[String]) -> Result<(), TrainError> {
    let file = manifest.file.display();
    let found: BTreeSet<&str> = manifest.labelled(Split::Train).map(|e| e.region.as_str()).collect();
    if found.len() < 2 {
        let count = found.len();
        return Err(TrainError::Data(format!(
            "{file}: the split train holds {count} labelled region(s); two at least are needed"
        )));
    }
    for (kind, what) in [(true, "image"), (false, "image of anything else")] {
        let lacks = |head: &&String| !found.iter().any(|region| label(region, head) == Some(kind));
        let lacking: Vec<&str> = heads.iter().filter(lacks).map(String::as_str).collect();
        if !lacking.is_empty() {
            return Err(TrainError::Data(format!(
                "{file}: the split train has no {what} for the head(s) {}; leave them out of the recipe",
                lacking.join(", ")
            )));
        }
    }
    Ok(())
}

fn known_regions(manifest: &Manifest, recipe: &Recipe) -> Result<(), TrainError> {
    let known =
        |region: &String| recipe.heads.contains(region) || UNLABELLED.contains(&&**region) || region == NO_RADIOGRAPH;
    let Some(entry) = manifest.entries.iter().find(|e| e.split == Split::Train && !known(&e.region)) else {
        return Ok(());
    };
    let why = format!(
        "region {} is none of the recipe's heads, nor {NO_RADIOGRAPH}, {}",
        entry.region,
        UNLABELLED.join(", ")
    );
    Err(ManifestError::Row { file: manifest.file.clone(), row: entry.row, why }.into())
}

/// Decodes every image once: a file that is cut short begins like a whole one.
fn every_image(run: &Run) -> Result<(), TrainError> {
    let (manifest, progress) = (run.manifest, run.progress);
    progress.begin("check", manifest.entries.len() as u64, 0);
    let wrong = manifest.entries.par_iter().find_map_first(|entry| {
        let path = manifest.path(entry);
        let why = readable(&path).err();
        progress.advance(1, "");
        let why = format!("{} is no image that can be read: {}", path.display(), why?);
        Some(ManifestError::Row { file: manifest.file.clone(), row: entry.row, why })
    });
    progress.end();
    wrong.map_or(Ok(()), |error| Err(error.into()))
}

/// Whether an image can be decoded.
pub(super) fn readable(path: &Path) -> Result<(), String> {
    pixels::read_any(path, 1).map(|_| ()).map_err(|e| e.to_string())
}

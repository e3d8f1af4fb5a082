//! The augmented images of a run.

use super::features::Job;
use super::manifest::{Entry, Manifest, Split, UNLABELLED};
use super::recipe::Recipe;
use super::{Run, TrainError};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// An augmented image that is trained on in each pass.
pub(super) struct Sample {
    /// Index in the manifest.
    pub entry: usize,
    /// Weight of its source in the loss.
    pub weight: f32,
}

/// Those to train on in their order: first copies first, so that a shorter run has seen every image.
pub(super) fn training(recipe: &Recipe, manifest: &Manifest) -> (Vec<Job>, Vec<Sample>) {
    let mut all = Vec::new();
    for (index, entry) in manifest.entries.iter().enumerate() {
        let usable = entry.split == Split::Train && !UNLABELLED.contains(&entry.region.as_str());
        let source = recipe.source(&entry.source);
        for copy in 0..if usable { source.copies } else { 0 } {
            all.push((copy, index, source.weight));
        }
    }
    all.sort_by_key(|&(copy, index, _)| (copy, index));
    let jobs = all.iter().map(|&(copy, index, _)| job(manifest, &manifest.entries[index], copy)).collect();
    (jobs, all.iter().map(|&(_, entry, weight)| Sample { entry, weight }).collect())
}

/// The images whose style others take on: those to train on, by source.
pub(super) fn styles(recipe: &Recipe, manifest: &Manifest) -> Vec<Vec<PathBuf>> {
    if recipe.other_style == 0.0 {
        return Vec::new();
    }
    let mut styles: BTreeMap<&str, Vec<PathBuf>> = BTreeMap::new();
    for entry in manifest.labelled(Split::Train).filter(|e| recipe.source(&e.source).copies > 0) {
        styles.entry(&entry.source).or_default().push(manifest.path(entry));
    }
    styles.into_values().collect()
}

/// A copy of an image.
pub(super) fn job(manifest: &Manifest, entry: &Entry, copy: usize) -> Job {
    Job { file: manifest.path(entry), name: entry.path.clone(), copy }
}

/// Of everything that what the frozen part makes of the augmented images depends on.
pub(super) fn features_hash(run: &Run, initial: &str, frozen: usize) -> String {
    let r = run.recipe;
    let copies: Vec<_> = r.source.iter().map(|(name, s)| (name, s.copies)).collect();
    let all = format!(
        "4 {initial} {} {frozen} {:?} {} {} {} {} {} {} {} {copies:?}",
        images_hash(run.manifest),
        r.train_input(),
        r.views,
        r.other_polarity,
        r.other_style,
        r.augmentation,
        r.seed,
        r.copies,
        r.validation_copies,
    );
    crate::model::sha256(all.as_bytes())[..16].to_owned()
}

/// Of everything that a run's result depends on.
pub(super) fn run_hash(run: &Run, initial: &str) -> Result<String, TrainError> {
    let recipe = toml::to_string(run.recipe).map_err(|e| TrainError::Recipe(e.to_string()))?;
    let device = if run.device.is_cpu() { "cpu" } else { "cuda" };
    let all = format!("1 {initial} {} {device} {recipe}", images_hash(run.manifest));
    Ok(crate::model::sha256(all.as_bytes()))
}

/// Of the table and of what is used of it, and for what.
fn images_hash(manifest: &Manifest) -> String {
    let used: String = manifest.entries.iter().map(|e| format!("\n{} {}", e.row, e.split.name())).collect();
    crate::model::sha256(format!("{}{used}", manifest.sha256).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let entry = |path: &str, region: &str, source: &str, split| Entry {
            row: 2,
            path: path.into(),
            region: region.into(),
            group: path.into(),
            source: source.into(),
            licence: "ours".into(),
            split,
        };
        let entries = vec![
            entry("a.png", "HAND", "real", Split::Train),
            entry("b.png", "KNEE", "rendered", Split::Train),
            entry("c.png", "FOOT", "rendered", Split::Train),
            entry("d.png", "HAND", "elsewhere", Split::Validation),
            entry("e.png", "HAND", "unused", Split::Train),
            entry("f.png", UNLABELLED[0], "real", Split::Train),
        ];
        Manifest { file: "m".into(), root: "root".into(), sha256: "0".into(), entries }
    }

    #[test]
    fn styles_are_those_of_images_that_are_trained_on_and_of_none_unless_asked_for() {
        let with =
            |share: f32| Recipe::parse(&format!("other_style = {share}\n[source.unused]\ncopies = 0\nweight = 1.0"));
        assert!(styles(&with(0.0).unwrap(), &manifest()).is_empty());
        let wanted = [vec!["root/a.png"], vec!["root/b.png", "root/c.png"]];
        assert_eq!(
            styles(&with(0.5).unwrap(), &manifest()),
            wanted.map(|s| s.iter().map(PathBuf::from).collect::<Vec<_>>())
        );
    }
}

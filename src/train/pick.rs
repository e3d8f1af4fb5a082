//! The images of an experiment: so many of each region, drawn from a manifest and split anew; the rest of the world tests. Pure.

use super::TrainError;
use super::manifest::{Entry, Manifest, Split};
use super::split::{self, Image, order};
use crate::judge::NO_RADIOGRAPH;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Images are drawn for an experiment; see [`pick`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// Images of each head's region.
    pub images: usize,
    /// Parts of them in training, validation and test; their sum is 1.
    pub shares: [f64; 3],
}

/// What an experiment works with.
#[derive(Clone, Debug)]
pub struct Picked {
    /// The drawn images in their new splits.
    pub manifest: Manifest,
    /// Radiographs of other sources that the manifest keeps apart: all in the split `test`.
    pub external: Manifest,
    /// Drawn images by region and source.
    pub drawn: BTreeMap<String, BTreeMap<String, usize>>,
}

impl Experiment {
    /// What does not hold, as a sentence.
    pub fn check(&self) -> Result<(), String> {
        if self.images < 3 {
            return Err("experiment.images is below 3".into());
        }
        let sane = self.shares.iter().all(|s| *s > 0.0) && (self.shares.iter().sum::<f64>() - 1.0).abs() < 1e-6;
        if sane { Ok(()) } else { Err("experiment.shares are not three parts above 0 with a sum of 1".into()) }
    }
}

/// Draws images from the split `train`: real ones first, evenly from their sources, one of a group before the second of any; then
/// synthetic ones (sources named `synthetic…`). The same seed draws the same images.
///
/// # Errors
/// A region with too few images, named with what there is.
pub fn pick(manifest: &Manifest, regions: &[String], experiment: &Experiment, seed: u64) -> Result<Picked, TrainError> {
    let mut entries = Vec::new();
    let mut drawn: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
    for region in regions {
        let of_region: Vec<&Entry> = manifest.labelled(Split::Train).filter(|e| e.region == *region).collect();
        let found = of_region.len();
        let taken = draw(of_region, experiment.images, seed);
        if taken.len() < experiment.images {
            return Err(TrainError::Data(format!(
                "{}: the split train has {found} images of {region}, the experiment needs {}",
                manifest.file.display(),
                experiment.images
            )));
        }
        for entry in &taken {
            *drawn.entry(region.clone()).or_default().entry(entry.source.clone()).or_default() += 1;
        }
        entries.extend(taken.into_iter().cloned());
    }
    entries.sort_by_key(|e| e.row);
    let [train, validation, test] = experiment.shares;
    let shares = [(Split::Train, train), (Split::Validation, validation), (Split::Test, test)];
    let images = entries.iter().map(|e| Image { group: &e.group, region: &e.region });
    let splits: BTreeMap<String, Split> =
        split::assign(images, &shares, seed).into_iter().map(|(group, split)| (group.to_owned(), split)).collect();
    for entry in &mut entries {
        entry.split = splits.get(&entry.group).copied().unwrap_or(entry.split);
    }
    let sources: BTreeSet<&str> = entries.iter().map(|e| e.source.as_str()).collect();
    let apart = [Split::Validation, Split::Test].into_iter().flat_map(|split| manifest.labelled(split));
    let external = apart
        .filter(|e| !sources.contains(e.source.as_str()) && e.region != NO_RADIOGRAPH)
        .map(|e| Entry { split: Split::Test, ..e.clone() })
        .collect();
    let with = |entries| Manifest { entries, ..manifest.clone() };
    Ok(Picked { external: with(external), manifest: with(entries), drawn })
}

/// So many entries, in turns from the real sources, then in turns from the synthetic ones.
fn draw(entries: Vec<&Entry>, count: usize, seed: u64) -> Vec<&Entry> {
    let mut by_source: BTreeMap<(bool, &str), Vec<&Entry>> = BTreeMap::new();
    for entry in entries {
        let synthetic = entry.source.starts_with("synthetic");
        by_source.entry((synthetic, &entry.source)).or_default().push(entry);
    }
    let mut taken = Vec::new();
    for synthetic in [false, true] {
        let sources = by_source.iter().filter(|((s, _), _)| *s == synthetic);
        let mut queues: Vec<_> = sources.map(|(_, entries)| in_turn(entries, seed).into_iter()).collect();
        while taken.len() < count && queues.iter().any(|q| q.len() > 0) {
            let next: Vec<&Entry> = queues.iter_mut().filter_map(Iterator::next).collect();
            taken.extend(next.into_iter().take(count - taken.len()));
        }
    }
    taken
}

/// At random, but the first image of every group before the second of any.
fn in_turn<'a>(entries: &[&'a Entry], seed: u64) -> Vec<&'a Entry> {
    let mut shuffled: Vec<(String, &Entry)> = entries.iter().map(|e| (order(seed, &e.path), *e)).collect();
    shuffled.sort_by(|a, b| a.0.cmp(&b.0));
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut turns: Vec<(usize, &Entry)> = Vec::new();
    for (_, entry) in shuffled {
        let turn = seen.entry(&entry.group).or_default();
        turns.push((*turn, entry));
        *turn += 1;
    }
    turns.sort_by_key(|(turn, _)| *turn);
    turns.into_iter().map(|(_, entry)| entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands of two real sources, one of which has two images a patient, and synthetic ones; knees of one; and some kept apart.
    fn manifest() -> Manifest {
        let mut entries = Vec::new();
        let mut add = |region: &str, source: &str, count: usize, a_group: usize, split| {
            for i in 0..count {
                entries.push(Entry {
                    row: entries.len() + 2,
                    path: format!("{source}/{region}{i}.png"),
                    region: region.into(),
                    group: format!("{source}:{region}{}", i / a_group),
                    source: source.into(),
                    licence: "ours".into(),
                    split,
                });
            }
        };
        add("HAND", "here", 30, 2, Split::Train);
        add("HAND", "there", 6, 1, Split::Train);
        add("HAND", "synthetic", 90, 1, Split::Train);
        add("KNEE", "here", 60, 1, Split::Train);
        add("HAND", "elsewhere", 4, 1, Split::Validation);
        add("HAND", "here", 0, 1, Split::Validation);
        add("KNEE", "there", 3, 1, Split::Validation);
        add("FOOT", "elsewhere", 5, 1, Split::Validation);
        add(NO_RADIOGRAPH, "elsewhere", 2, 1, Split::Test);
        Manifest { file: "m".into(), root: ".".into(), sha256: "0".into(), entries }
    }

    fn picked(images: usize, seed: u64) -> Result<Picked, TrainError> {
        let experiment = Experiment { images, shares: [0.64, 0.12, 0.24] };
        pick(&manifest(), &["HAND".into(), "KNEE".into()], &experiment, seed)
    }

    #[test]
    fn real_images_come_first_and_evenly_and_groups_keep_together() {
        let picked = picked(50, 1).unwrap();
        assert_eq!(
            picked.drawn["HAND"],
            [("here", 30), ("synthetic", 14), ("there", 6)].map(|(s, n)| (s.into(), n)).into()
        );
        assert_eq!(picked.drawn["KNEE"], [("here".to_owned(), 50)].into());
        let mut splits: BTreeMap<&str, BTreeSet<Split>> = BTreeMap::new();
        for entry in &picked.manifest.entries {
            splits.entry(&entry.group).or_default().insert(entry.split);
        }
        assert!(splits.values().all(|s| s.len() == 1));
        let count = |region: &str, split| picked.manifest.labelled(split).filter(|e| e.region == region).count();
        assert_eq!([Split::Train, Split::Validation, Split::Test].map(|s| count("KNEE", s)), [32, 6, 12]);
        assert!(count("HAND", Split::Train).abs_diff(32) <= 1);
        // Ten of 36 real ones: five of each source, none of them of the same patient.
        let few = self::picked(10, 1).unwrap();
        assert_eq!(few.drawn["HAND"], [("here".to_owned(), 5), ("there".to_owned(), 5)].into());
        let groups: BTreeSet<&str> = few.manifest.entries.iter().map(|e| e.group.as_str()).collect();
        assert_eq!(groups.len(), 20);
    }

    #[test]
    fn what_tests_from_outside_is_of_no_source_that_was_drawn_from() {
        let external = picked(50, 1).unwrap().external.entries;
        assert_eq!(external.len(), 9, "{external:?}");
        assert!(external.iter().all(|e| e.source == "elsewhere" && e.split == Split::Test));
    }

    #[test]
    fn a_seed_decides_and_too_few_are_told() {
        let paths = |seed| picked(20, seed).unwrap().manifest.entries.into_iter().map(|e| e.path).collect::<Vec<_>>();
        assert_eq!(paths(1), paths(1));
        assert_ne!(paths(1), paths(2));
        let error = picked(61, 1).unwrap_err().to_string();
        assert!(error.contains("60 images of KNEE") && error.contains("61"), "{error}");
        for (images, shares) in [(2, [0.5, 0.25, 0.25]), (9, [0.5, 0.5, 0.5]), (9, [1.0, 0.0, 0.0])] {
            assert!(Experiment { images, shares }.check().is_err());
        }
    }
}

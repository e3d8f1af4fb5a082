//! Groups → train, validation, test: stratified by label, the same for a seed. Pure.

use crate::train::manifest::Split;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// Up to which part of the groups of a stratum a split reaches: 64 % train, 12 % validation, 24 % test.
const UP_TO: [(f64, Split); 2] = [(0.64, Split::Train), (0.76, Split::Validation)];

/// The split of each group. `images` are (group, label), one an image.
///
/// A group belongs to the stratum of its rarest label, so that rare labels are spread as well as they can be.
pub(super) fn splits<'a>(images: &[(&'a str, &'a str)], seed: u64) -> BTreeMap<&'a str, Split> {
    let mut frequency: BTreeMap<&str, usize> = BTreeMap::new();
    let mut labels: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (group, label) in images {
        *frequency.entry(label).or_default() += 1;
        labels.entry(group).or_default().insert(label);
    }
    let mut strata: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (group, labels) in labels {
        let rarest = labels.into_iter().min_by_key(|label| (frequency[label], *label));
        strata.entry(rarest.unwrap_or_default()).or_default().push(group);
    }
    let mut split = BTreeMap::new();
    for groups in strata.values_mut() {
        groups.sort_by_cached_key(|group| {
            Sha256::new().chain_update(seed.to_le_bytes()).chain_update(group.as_bytes()).finalize()
        });
        let count = groups.len() as f64;
        for (i, group) in groups.iter().enumerate() {
            let part = (i as f64 + 0.5) / count;
            let which = UP_TO.into_iter().find(|(end, _)| part < *end).map_or(Split::Test, |(_, split)| split);
            split.insert(*group, which);
        }
    }
    split
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_label_is_in_every_split_in_its_part_and_a_seed_settles_it() {
        let groups: Vec<String> = (0..300).map(|i| format!("g{i:03}")).collect();
        let images: Vec<(&str, &str)> =
            groups.iter().enumerate().map(|(i, g)| (g.as_str(), if i % 10 == 0 { "HAND" } else { "KNEE" })).collect();
        let found = splits(&images, 1);
        for (label, count) in [("HAND", 30.0), ("KNEE", 270.0)] {
            for (split, part) in [(Split::Train, 0.64), (Split::Validation, 0.12), (Split::Test, 0.24)] {
                let of = images.iter().filter(|(g, l)| *l == label && found[g] == split).count() as f64;
                assert!((of - part * count).abs() <= 1.0, "{label} {split:?}: {of}");
            }
        }
        assert_eq!(splits(&images, 1), found);
        assert_ne!(splits(&images, 2), found);
        let backward: Vec<_> = images.iter().rev().copied().collect();
        assert_eq!(splits(&backward, 1), found);
    }

    #[test]
    fn a_group_has_one_split_and_counts_for_its_rarest_label() {
        let images = [("a", "KNEE"), ("a", "FOOT"), ("b", "KNEE"), ("c", "KNEE"), ("a", "KNEE")];
        let found = splits(&images, 3);
        assert_eq!(found.len(), 3);
        assert_eq!(found["a"], Split::Train, "alone in its stratum");
        assert!(splits(&[], 3).is_empty());
    }
}

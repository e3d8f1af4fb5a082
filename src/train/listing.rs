//! Which groups and images each split holds, by hash: shows that what is judged on was not trained on.

use super::TrainError;
use super::manifest::{Entry, Manifest, Split};
use crate::model::sha256;
use rayon::prelude::*;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// All splits of a manifest. That no group is in two of them, [`Manifest::read`] has seen to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Listing {
    /// By name, those that hold images.
    pub splits: BTreeMap<String, Part>,
    /// Images of the same bytes in more than one split.
    pub doubles: Vec<Double>,
}

/// One split.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Part {
    /// Images in it, unlabelled ones included.
    pub images: usize,
    /// SHA-256 over its sorted groups: as in a model card, `data.groups_sha256`.
    pub groups_sha256: String,
    /// By name.
    pub groups: BTreeMap<String, Group>,
}

/// One group.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Group {
    /// Images in it.
    pub images: usize,
    /// SHA-256 over the sorted SHA-256 (hex, one a line) of its images' bytes: names do not count.
    pub sha256: String,
}

/// The same bytes in several places.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Double {
    /// Of the file.
    pub sha256: String,
    /// Split and path of each.
    pub places: BTreeSet<(String, String)>,
}

/// Reads every image file and lists the splits.
///
/// # Errors
/// A file that cannot be read.
pub fn listing(manifest: &Manifest) -> Result<Listing, TrainError> {
    let hash = |entry: &Entry| {
        let file = manifest.path(entry);
        let bytes = std::fs::read(&file).map_err(|e| TrainError::Image { file, why: e.to_string() })?;
        Ok(sha256(&bytes))
    };
    let hashes = manifest.entries.par_iter().map(hash).collect::<Result<Vec<String>, TrainError>>()?;
    let mut groups: BTreeMap<(Split, &str), Vec<&str>> = BTreeMap::new();
    let mut places: BTreeMap<&str, BTreeSet<(String, String)>> = BTreeMap::new();
    for (entry, hash) in manifest.entries.iter().zip(&hashes) {
        groups.entry((entry.split, &entry.group)).or_default().push(hash);
        places.entry(hash).or_default().insert((entry.split.name().to_owned(), entry.path.clone()));
    }
    let mut splits: BTreeMap<String, Part> = BTreeMap::new();
    for ((split, group), mut hashes) in groups {
        hashes.sort_unstable();
        let part = splits.entry(split.name().to_owned()).or_insert_with(|| Part {
            images: 0,
            groups_sha256: manifest.groups_sha256(split),
            groups: BTreeMap::new(),
        });
        part.images += hashes.len();
        let listed = Group { images: hashes.len(), sha256: sha256(hashes.join("\n").as_bytes()) };
        part.groups.insert(group.to_owned(), listed);
    }
    let crossing = |places: &BTreeSet<(String, String)>| places.iter().map(|p| &p.0).collect::<BTreeSet<_>>().len() > 1;
    let doubles = places
        .into_iter()
        .filter(|(_, places)| crossing(places))
        .map(|(sha256, places)| Double { sha256: sha256.to_owned(), places })
        .collect();
    Ok(Listing { splits, doubles })
}

/// What a model card's hashes of the splits say of a listing: one sentence for each split that is not the same.
pub fn differences(listing: &Listing, card: &BTreeMap<String, String>) -> Vec<String> {
    let names: BTreeSet<&String> = listing.splits.keys().chain(card.keys()).collect();
    let one = |name: &String| match (listing.splits.get(name).map(|p| &p.groups_sha256), card.get(name)) {
        (Some(here), Some(there)) if here == there => None,
        (Some(_), Some(_)) => Some(format!("the groups of {name} are not those of the card")),
        (Some(_), None) => Some(format!("the card knows no split {name}")),
        // The card of a run without such images holds the hash of nothing.
        (None, Some(there)) if *there == sha256(b"") => None,
        (None, _) => Some(format!("the manifest has no split {name}, the card has")),
    };
    names.into_iter().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn manifest(folder: &Path, rows: &[(&str, &str, &str, &[u8])]) -> Manifest {
        let mut table = String::from("path\tregion\tgroup\tsource\tlicence\tsplit\n");
        for (path, group, split, bytes) in rows {
            std::fs::write(folder.join(path), bytes).unwrap();
            table += &format!("{path}\tHAND\t{group}\ts\tl\t{split}\n");
        }
        let file = folder.join("m.tsv");
        std::fs::write(&file, table).unwrap();
        Manifest::read(&file, folder).unwrap()
    }

    #[test]
    fn lists_groups_by_content_and_finds_doubles_across_splits_only() {
        let folder = tempfile::tempdir().unwrap();
        let rows: [(&str, &str, &str, &[u8]); 5] = [
            ("a", "p", "train", b"one"),
            ("b", "p", "train", b"two"),
            ("c", "q", "train", b"two"),
            ("d", "r", "validation", b"three"),
            ("e", "s", "validation", b"one"),
        ];
        let first = manifest(folder.path(), &rows);
        let list = listing(&first).unwrap();
        assert_eq!((list.splits["train"].images, list.splits["validation"].images), (3, 2));
        assert_eq!(list.splits["train"].groups_sha256, first.groups_sha256(Split::Train));
        assert_eq!(list.doubles.len(), 1);
        let places: Vec<_> = list.doubles[0].places.iter().map(|(s, p)| (s.as_str(), p.as_str())).collect();
        assert_eq!(places, [("train", "a"), ("validation", "e")]);
        // By hand: the sorted hashes of the two, a line each.
        let mut two = [sha256(b"one"), sha256(b"two")];
        two.sort();
        assert_eq!(list.splits["train"].groups["p"].sha256, sha256(two.join("\n").as_bytes()));

        // Other names, other order: the same.
        let folder = tempfile::tempdir().unwrap();
        let again: [(&str, &str, &str, &[u8]); 2] = [("x", "p", "train", b"two"), ("y", "p", "train", b"one")];
        let again = listing(&manifest(folder.path(), &again)).unwrap();
        assert_eq!(again.splits["train"].groups["p"].sha256, list.splits["train"].groups["p"].sha256);
        assert!(again.doubles.is_empty());
    }

    #[test]
    fn a_card_is_compared_split_by_split() {
        let folder = tempfile::tempdir().unwrap();
        let list = listing(&manifest(folder.path(), &[("a", "p", "train", b"1"), ("b", "q", "test", b"2")])).unwrap();
        let mut card: BTreeMap<String, String> =
            list.splits.iter().map(|(name, part)| (name.clone(), part.groups_sha256.clone())).collect();
        card.insert("validation".into(), sha256(b""));
        assert!(differences(&list, &card).is_empty());
        card.insert("train".into(), "0".into());
        card.remove("test");
        card.insert("validation".into(), "1".into());
        let told = differences(&list, &card);
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(told.iter().any(|t| t.contains("train") && t.contains("not those")));
    }
}

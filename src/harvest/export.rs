//! The store → PNG files and a manifest that `train` and `evaluate` take as it is.

use super::{HarvestError, Kept, Store, UNCLEAR};
use crate::train::manifest::Split;
use crate::train::split::{Image, Shares, assign};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Defined terms that are a part of what a head sees. Heads are few, and a tag is often finer than they are. A neighbour of
/// one of the five is not taken for it: the views of a PATELLA show little of a knee.
const WITHIN: [(&str, &str); 16] = [
    ("RADIUSULNA", "FOREARM"),
    ("RADIUS", "FOREARM"),
    ("ULNA", "FOREARM"),
    ("UPPERARM", "HUMERUS"),
    ("THUMB", "FINGER"),
    ("SCAPHOID", "WRIST"),
    ("THIGH", "FEMUR"),
    ("TIBIAFIBULA", "LOWERLEG"),
    ("TIBIA", "LOWERLEG"),
    ("FIBULA", "LOWERLEG"),
    ("CALF", "LOWERLEG"),
    ("TOE", "FOOT"),
    ("CALCANEUS", "FOOT"),
    ("LSSPINE", "LSPINE"),
    ("HEAD", "SKULL"),
    ("RIB", "CHEST"),
];

/// Of a region's images: to train on, to choose by, to judge with at the end.
const SHARES: Shares = [(Split::Train, 0.64), (Split::Validation, 0.12), (Split::Test, 0.24)];

/// What was exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// Images in the manifest.
    pub images: usize,
    /// Groups: patients, or studies where there is no patient.
    pub groups: usize,
    /// Images by label and split (train, validation, test).
    pub by_label: BTreeMap<String, [usize; 3]>,
    /// Images left out: their files are gone or damaged.
    pub damaged: usize,
}

/// Writes `images/<name>.png` and `manifest.tsv` into `out`, which must be empty or not there. `heads` are the outputs of
/// the network: what none of them is the label of is labelled [`UNCLEAR`], which `train` leaves out.
///
/// Beside the manifest's columns there are `term` (what the tag stands for), `model` and one `score_<HEAD>` a head.
///
/// # Errors
/// `out` holds something, or cannot be written.
pub fn export(store: &Store, heads: &[String], out: &Path, seed: u64) -> Result<Exported, HarvestError> {
    let pictures = out.join("images");
    fs::create_dir_all(out).map_err(HarvestError::io("create", out))?;
    let used = fs::read_dir(out).map_err(HarvestError::io("list", out))?.next().is_some();
    if used {
        let why = "holds something already: name a folder that is empty or not there";
        return Err(HarvestError::Export { path: out.to_owned(), why: why.into() });
    }
    fs::create_dir(&pictures).map_err(HarvestError::io("create", &pictures))?;
    let (kept, mut damaged) = store.images();
    let mut whole = Vec::new();
    for image in kept {
        // What a power cut has damaged, or the daemon has just taken away, must not stop a training later.
        match fs::read(&image.png).ok().filter(|bytes| image::load_from_memory(bytes).is_ok()) {
            Some(bytes) => {
                let to = pictures.join(format!("{}.png", image.name));
                fs::write(&to, bytes).map_err(HarvestError::io("write", &to))?;
                whole.push(image);
            }
            None => damaged += 1,
        }
    }
    let (table, exported) = manifest(&whole, heads, seed);
    let (part, file) = (out.join("manifest.tsv.part"), out.join("manifest.tsv"));
    fs::write(&part, table).map_err(HarvestError::io("write", &part))?;
    fs::rename(&part, &file).map_err(HarvestError::io("write", &file))?;
    Ok(Exported { damaged, ..exported })
}

/// The label of a term for a network with these heads.
pub(super) fn label<'a>(term: &'a str, heads: &[String]) -> &'a str {
    let known = |term: &str| heads.iter().any(|head| head == term);
    let wider = || WITHIN.iter().find(|(part, _)| *part == term).map(|(_, whole)| *whole);
    if known(term) { term } else { wider().filter(|whole| known(whole)).unwrap_or(UNCLEAR) }
}

/// The table and what is in it.
fn manifest(images: &[Kept], heads: &[String], seed: u64) -> (String, Exported) {
    let labelled: Vec<(&Kept, &str)> = images.iter().map(|image| (image, label(&image.tag, heads))).collect();
    let grouped = labelled.iter().map(|(image, region)| Image { group: &image.record.group, region });
    let split = assign(grouped, &SHARES, seed);
    let scored: BTreeSet<&String> = images.iter().flat_map(|image| image.record.scores.keys()).collect();
    let mut table = String::from("path\tregion\tgroup\tsource\tlicence\tsplit\tterm\tmodel");
    scored.iter().for_each(|head| table += &format!("\tscore_{head}"));
    table.push('\n');
    let mut by_label: BTreeMap<String, [usize; 3]> = BTreeMap::new();
    for (image, label) in labelled {
        let Kept { name, tag, record, .. } = image;
        let part = split.get(record.group.as_str()).copied().unwrap_or(Split::Train);
        let (group, model) = (&record.group, &record.model);
        table += &format!("images/{name}.png\t{label}\t{group}\tharvest\tsite\t{}\t{tag}\t{model}", part.name());
        for head in &scored {
            table += &record.scores.get(*head).map_or("\t".to_owned(), |p| format!("\t{p}"));
        }
        table.push('\n');
        let counts = by_label.entry(label.to_owned()).or_default();
        counts[match part {
            Split::Train => 0,
            Split::Validation => 1,
            Split::Test => 2,
        }] += 1;
    }
    let exported = Exported { images: images.len(), groups: split.len(), by_label, damaged: 0 };
    (table, exported)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anatomy::{Tag, normalise};

    #[test]
    fn a_group_keeps_to_its_split_and_a_seed_settles_it() {
        let kept = |i: usize| Kept {
            name: format!("{i:032x}"),
            tag: if i.is_multiple_of(5) { "HAND" } else { "KNEE" }.into(),
            png: Default::default(),
            record: super::super::Record {
                group: format!("g{}", i / 2),
                model: "m".into(),
                scores: BTreeMap::from([(if i < 50 { "KNEE" } else { "HAND" }.to_owned(), 0.5)]),
            },
        };
        let images: Vec<Kept> = (0..100).map(kept).collect();
        let heads = ["KNEE", "HAND"].map(String::from);
        let (table, exported) = manifest(&images, &heads, 1);
        let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split('\t').collect()).collect();
        assert_eq!(rows[0][6..], ["term", "model", "score_HAND", "score_KNEE"]);
        assert!(rows.iter().all(|row| row.len() == rows[0].len()));
        let mut splits: BTreeMap<&str, &str> = BTreeMap::new();
        assert!(rows[1..].iter().all(|row| *splits.entry(row[2]).or_insert(row[5]) == row[5]));
        assert_eq!((exported.images, exported.groups), (100, 50));
        for (label, counts) in &exported.by_label {
            assert!(counts.iter().all(|count| *count > 0), "{label} {counts:?}");
        }
        assert_eq!(manifest(&images, &heads, 1).0, table);
        assert_ne!(manifest(&images, &heads, 2).0, table);
    }

    #[test]
    fn terms_become_labels_of_the_network_or_unclear() {
        let heads: Vec<String> = ["KNEE", "FOREARM", "FOOT"].map(String::from).to_vec();
        for (term, wanted) in [
            ("KNEE", "KNEE"),
            ("RADIUSULNA", "FOREARM"),
            ("TOE", "FOOT"),
            ("THUMB", UNCLEAR),
            ("HIP", UNCLEAR),
            (UNCLEAR, UNCLEAR),
        ] {
            assert_eq!(label(term, &heads), wanted, "{term}");
        }
        for (part, whole) in WITHIN {
            for term in [part, whole] {
                assert!(matches!(normalise(term), Tag::Term { exact: true, .. }), "{term} is a defined term");
            }
        }
    }
}

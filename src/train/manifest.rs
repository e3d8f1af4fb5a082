//! The manifest of a data set: a TSV table (path, region, group, source, licence, and perhaps split), or folders named by region.

use super::split;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Why a manifest is refused. All of it is told before any training time is spent.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum ManifestError {
    #[error("{}: cannot be read: {source}", file.display())]
    Read { file: PathBuf, source: std::io::Error },
    #[error("{}, row {row}: {why}", file.display())]
    Row { file: PathBuf, row: usize, why: String },
    #[error("{}: {why}", file.display())]
    Whole { file: PathBuf, why: String },
}

/// Which part of the data an image belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Split {
    /// May be trained on.
    Train,
    /// For choosing and checking, never for training.
    Validation,
    /// For the last judgement only.
    Test,
}

impl Split {
    /// As it is written in a manifest.
    pub fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Validation => "validation",
            Split::Test => "test",
        }
    }
}

/// One image.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Entry {
    /// Row of the manifest, from 1; the header is row 1.
    pub row: usize,
    /// Relative to the root.
    pub path: String,
    pub region: String,
    /// Patient or study: never in two splits.
    pub group: String,
    pub source: String,
    pub licence: String,
    pub split: Split,
}

/// All images of a data set.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The table itself.
    pub file: PathBuf,
    /// What the paths are relative to.
    pub root: PathBuf,
    /// SHA-256 of the table.
    pub sha256: String,
    /// In the order of the table.
    pub entries: Vec<Entry>,
}

/// Those that must be there.
const COLUMNS: [&str; 5] = ["path", "region", "group", "source", "licence"];
/// May be missing or empty.
const SPLIT: &str = "split";
/// Of the splits that a table does not say.
const SEED: u64 = 1;

/// Labels that say that there is no label: the image is not used.
pub const UNLABELLED: [&str; 2] = ["UNCLEAR", "AMBIGUOUS"];

impl Manifest {
    /// Reads a table and checks that its groups keep to one split and that every file is there.
    ///
    /// Where its column `split` is empty or missing, groups are shared out by [`split::assign`] with [`split::SHARES`], always
    /// with the same seed: whoever reads the table again, to train or to judge, keeps the same images apart.
    pub fn read(file: &Path, root: &Path) -> Result<Manifest, ManifestError> {
        let bytes = std::fs::read(file).map_err(|source| ManifestError::Read { file: file.to_owned(), source })?;
        let text = String::from_utf8(bytes)
            .map_err(|_| ManifestError::Whole { file: file.to_owned(), why: "is no UTF-8 text".into() })?;
        let entries = parse(&text).map_err(|(row, why)| ManifestError::Row { file: file.to_owned(), row, why })?;
        let manifest = Manifest {
            file: file.to_owned(),
            root: root.to_owned(),
            sha256: crate::model::sha256(text.as_bytes()),
            entries,
        };
        manifest.check()?;
        Ok(manifest)
    }

    /// Takes the folders within `root` as regions and the files in them as images, each a group of its own, and shares them out
    /// as a table without splits.
    pub fn from_folders(root: &Path) -> Result<Manifest, ManifestError> {
        let listed = |folder: &Path| -> Result<Vec<(String, PathBuf)>, ManifestError> {
            let read = |source| ManifestError::Read { file: folder.to_owned(), source };
            let mut names = Vec::new();
            for entry in std::fs::read_dir(folder).map_err(read)? {
                let path = entry.map_err(read)?.path();
                let name = path.file_name().and_then(|n| n.to_str()).map(str::to_owned).ok_or_else(|| {
                    ManifestError::Whole { file: path.clone(), why: "its name is no UTF-8 text".into() }
                })?;
                if !name.starts_with('.') {
                    names.push((name, path));
                }
            }
            names.sort();
            Ok(names)
        };
        let mut table = format!("{}\t{SPLIT}", COLUMNS.join("\t"));
        for (region, folder) in listed(root)?.into_iter().filter(|(_, path)| path.is_dir()) {
            for (name, path) in listed(&folder)? {
                if path.is_file() && !name.contains(['\t', '\n', '\r']) {
                    table += &format!("\n{region}/{name}\t{region}\t{region}/{name}\tfolder\tunknown\t");
                }
            }
        }
        let entries = parse(&table).map_err(|(row, why)| ManifestError::Row { file: root.to_owned(), row, why })?;
        let sha256 = crate::model::sha256(table.as_bytes());
        let manifest = Manifest { file: root.to_owned(), root: root.to_owned(), sha256, entries };
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), ManifestError> {
        if self.entries.is_empty() {
            return Err(ManifestError::Whole { file: self.file.clone(), why: "holds no images".into() });
        }
        let mut seen: BTreeMap<&str, (Split, usize)> = BTreeMap::new();
        for entry in &self.entries {
            let (split, row) = *seen.entry(&entry.group).or_insert((entry.split, entry.row));
            let bad = |why| ManifestError::Row { file: self.file.clone(), row: entry.row, why };
            if split != entry.split {
                return Err(bad(format!(
                    "group {} is in {} here and in {} in row {row}; a group must keep to one split",
                    entry.group,
                    entry.split.name(),
                    split.name()
                )));
            }
            let path = self.path(entry);
            if !path.is_file() {
                return Err(bad(format!("there is no file {}", path.display())));
            }
        }
        Ok(())
    }

    /// The image file of an entry.
    pub fn path(&self, entry: &Entry) -> PathBuf {
        self.root.join(&entry.path)
    }

    /// The labelled images of a split.
    pub fn labelled(&self, split: Split) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |e| e.split == split && !UNLABELLED.contains(&e.region.as_str()))
    }

    /// SHA-256 over the sorted groups of a split: shows that two runs kept the same images apart.
    pub fn groups_sha256(&self, split: Split) -> String {
        let groups: BTreeSet<&str> =
            self.entries.iter().filter(|e| e.split == split).map(|e| e.group.as_str()).collect();
        crate::model::sha256(groups.into_iter().collect::<Vec<_>>().join("\n").as_bytes())
    }
}

/// The rows of a table; the error names the row.
fn parse(text: &str) -> Result<Vec<Entry>, (usize, String)> {
    let mut lines = text.lines().enumerate().map(|(i, line)| (i + 1, line.trim_end_matches('\r')));
    let Some((_, header)) = lines.next() else { return Ok(Vec::new()) };
    let header: Vec<&str> = header.split('\t').map(str::trim).collect();
    let place = |column: &str| header.iter().position(|h| *h == column);
    let mut places = [0; 5];
    for (to, column) in places.iter_mut().zip(COLUMNS) {
        *to = place(column).ok_or_else(|| {
            (1, format!("the header has no column {column}; it needs {}, parted by tabs", COLUMNS.join(", ")))
        })?;
    }
    let split_place = place(SPLIT);
    let mut entries = Vec::new();
    for (row, line) in lines.filter(|(_, line)| !line.is_empty()) {
        let cells: Vec<&str> = line.split('\t').collect();
        let text = |place: usize| cells.get(place).map(|c| c.trim()).unwrap_or("");
        let cell = |i: usize| {
            let text = text(places[i]);
            if text.is_empty() { Err((row, format!("{} is empty", COLUMNS[i]))) } else { Ok(text.to_owned()) }
        };
        let split = match split_place.map_or("", text) {
            "" => None,
            "train" => Some(Split::Train),
            "validation" => Some(Split::Validation),
            "test" => Some(Split::Test),
            other => return Err((row, format!("split {other:?} is none of train, validation, test"))),
        };
        let (path, region, group) = (cell(0)?, cell(1)?, cell(2)?);
        let entry = Entry { row, path, region, group, source: cell(3)?, licence: cell(4)?, split: Split::Train };
        entries.push((entry, split));
    }
    Ok(share_out(entries))
}

/// Puts each entry in its split: the table's, else its group's, else one by lot.
fn share_out(entries: Vec<(Entry, Option<Split>)>) -> Vec<Entry> {
    let told: BTreeMap<&str, Split> = entries.iter().filter_map(|(e, s)| Some((e.group.as_str(), (*s)?))).collect();
    let rest = entries.iter().filter(|(e, _)| !told.contains_key(e.group.as_str()));
    let images = rest.map(|(e, _)| split::Image { group: &e.group, region: &e.region });
    let drawn = split::assign(images, &split::SHARES, SEED);
    let of = |group: &str| told.get(group).or_else(|| drawn.get(group)).copied();
    let splits: Vec<Option<Split>> = entries.iter().map(|(e, s)| s.or_else(|| of(&e.group))).collect();
    let joined = entries.into_iter().zip(splits);
    joined.map(|((entry, _), split)| Entry { split: split.unwrap_or(entry.split), ..entry }).collect()
}

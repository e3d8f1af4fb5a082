//! The folder `harvest` of the state folder.
//!
//! ```text
//! harvest/salt                    64 hex digits
//! harvest/KNEE/<name>.png         the thumbnail
//! harvest/KNEE/<name>.json        group, scores, model: written last, so its presence says that the image is kept
//! ```
//!
//! Every file is written beside its place and renamed. Nothing is synced: what a power cut damages is left out at export.

use super::identity::SALT;
use super::{HarvestError, Offer, SIDE};
use crate::drawing::{png, thumbnail};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What is written beside a thumbnail.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Salted hash of the patient, or of the study where there is no patient.
    pub group: String,
    /// First 16 hex digits of the SHA-256 of the weights that gave the scores.
    pub model: String,
    /// Calibrated probability of each head.
    pub scores: BTreeMap<String, f32>,
}

/// An image of the store.
#[derive(Clone, Debug)]
pub struct Kept {
    /// 32 hex digits.
    pub name: String,
    /// The defined term that it came with, or [`UNCLEAR`](super::UNCLEAR).
    pub tag: String,
    /// The thumbnail.
    pub png: PathBuf,
    /// What is known of it.
    pub record: Record,
}

/// The store, with the names that are in it.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    salt: [u8; SALT],
    by_tag: BTreeMap<String, BTreeSet<String>>,
}

impl Store {
    /// Opens the store of a state folder; `None` where nothing was ever harvested, or it was cleared.
    ///
    /// # Errors
    /// [`HarvestError::Salt`] for a damaged salt, else what the system says.
    pub fn open(state_dir: &Path) -> Result<Option<Store>, HarvestError> {
        let root = root(state_dir);
        let Some(salt) = read_salt(&root)? else { return Ok(None) };
        let mut by_tag: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (tag, folder) in listed(&root)?.into_iter().filter(|(_, path)| path.is_dir()) {
            let names =
                listed(&folder)?.into_iter().filter_map(|(file, _)| Some(file.strip_suffix(".json")?.to_owned()));
            by_tag.insert(tag, names.collect());
        }
        Ok(Some(Store { root, salt, by_tag }))
    }

    /// Opens the store of a state folder, or creates it with a salt of its own; removes what a crash left unfinished.
    pub(super) fn create(state_dir: &Path) -> Result<Store, HarvestError> {
        if let Some(store) = Store::open(state_dir)? {
            store.sweep()?;
            return Ok(store);
        }
        let root = root(state_dir);
        folder(&root, true)?;
        let hex: String = rand::random::<[u8; SALT]>().iter().map(|b| format!("{b:02x}")).collect();
        write(&root.join("salt"), hex.as_bytes())?;
        Store::open(state_dir)?.ok_or_else(|| HarvestError::Salt(root.join("salt")))
    }

    /// Whether the folder is still the one that was opened.
    pub(super) fn is_current(&self) -> bool {
        read_salt(&self.root).is_ok_and(|salt| salt == Some(self.salt))
    }

    /// Keeps an image unless the cap says otherwise; whether it is in the store now. See the head of [`super`] for what
    /// gives way.
    pub(super) fn keep(&mut self, offer: &Offer) -> Result<bool, HarvestError> {
        let name = offer.origin.name(&self.salt);
        let before = self.by_tag.iter().find(|(_, names)| names.contains(&name)).map(|(tag, _)| tag.clone());
        match before {
            Some(tag) if tag == offer.tag => {
                self.give_way(offer.most)?;
                return Ok(self.holds(&tag, &name));
            }
            // Sent again with another tag: the later one counts.
            Some(tag) => self.remove(&tag, &name)?,
            None => {}
        }
        self.by_tag.entry(offer.tag.to_owned()).or_default().insert(name.clone());
        let written = self.give_way(offer.most).and_then(|()| {
            if !self.holds(offer.tag, &name) {
                return Ok(false);
            }
            self.write(offer, &name).map(|()| true)
        });
        if written.is_err() {
            // Whoever counts counts what is there.
            self.by_tag.entry(offer.tag.to_owned()).or_default().remove(&name);
        }
        written
    }

    fn holds(&self, tag: &str, name: &str) -> bool {
        self.by_tag.get(tag).is_some_and(|names| names.contains(name))
    }

    /// Takes images away until at most `most` are left: of the tag that has the most, the one whose name sorts last.
    fn give_way(&mut self, most: usize) -> Result<(), HarvestError> {
        while self.len() > most {
            let largest = self.by_tag.iter().max_by_key(|(_, names)| names.len());
            let Some((tag, Some(name))) = largest.map(|(tag, names)| (tag.clone(), names.last().cloned())) else {
                return Ok(());
            };
            self.remove(&tag, &name)?;
        }
        Ok(())
    }

    fn write(&self, offer: &Offer, name: &str) -> Result<(), HarvestError> {
        let stat = rustix::fs::statvfs(&self.root)
            .map_err(|e| HarvestError::io("ask for the free space of", &self.root)(e.into()))?;
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        if free < offer.min_free {
            return Err(HarvestError::Full { path: self.root.clone(), free, wanted: offer.min_free });
        }
        let record =
            Record { group: offer.origin.group(&self.salt), model: offer.model.clone(), scores: offer.scores.clone() };
        let place = self.root.join(offer.tag);
        // Not what is above it: cleared meanwhile, there is no store any more.
        folder(&place, false)?;
        write(&place.join(format!("{name}.png")), &png(thumbnail(&offer.plane, SIDE))?)?;
        let json = serde_json::to_vec(&record).map_err(|e| HarvestError::io("write", &place)(e.into()))?;
        write(&place.join(format!("{name}.json")), &json)
    }

    /// The record goes first: without it there is no image.
    fn remove(&mut self, tag: &str, name: &str) -> Result<(), HarvestError> {
        for ending in ["json", "png"] {
            gone(&self.root.join(tag).join(format!("{name}.{ending}")))?;
        }
        if let Some(names) = self.by_tag.get_mut(tag) {
            names.remove(name);
        }
        Ok(())
    }

    /// Removes thumbnails without a record and files half written.
    fn sweep(&self) -> Result<(), HarvestError> {
        for (tag, names) in &self.by_tag {
            for (file, path) in listed(&self.root.join(tag))? {
                let kept = file.rsplit_once('.').is_some_and(|(name, end)| names.contains(name) && end != "part");
                if !kept {
                    gone(&path)?;
                }
            }
        }
        Ok(())
    }

    /// How many images are kept.
    pub fn len(&self) -> usize {
        self.by_tag.values().map(BTreeSet::len).sum()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The images in the order of tags and names, and how many are left out since their files are gone or damaged. The
    /// daemon may take images away meanwhile.
    pub fn images(&self) -> (Vec<Kept>, usize) {
        let mut kept = Vec::new();
        for (tag, names) in &self.by_tag {
            for name in names {
                let file = |ending: &str| self.root.join(tag).join(format!("{name}.{ending}"));
                let (json, png) = (file("json"), file("png"));
                let record = fs::read(json).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
                if let (Some(record), true) = (record, png.is_file()) {
                    kept.push(Kept { name: name.clone(), tag: tag.clone(), png, record });
                }
            }
        }
        let lost = self.len() - kept.len();
        (kept, lost)
    }
}

/// Removes everything that was harvested, and the salt: nothing that comes later can be matched with it. How many images
/// were there.
///
/// # Errors
/// What the system says; what is left goes at the next call.
pub fn clear(state_dir: &Path) -> Result<usize, HarvestError> {
    let root = root(state_dir);
    let count = Store::open(state_dir).ok().flatten().map_or(0, |store| store.len());
    // Under another name at once: the daemon, which may be writing, sees that what it has opened is no more.
    let cleared = state_dir.join("harvest.cleared");
    let remove = |path: &Path| match fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(HarvestError::io("remove", path)(e)),
        _ => Ok(()),
    };
    remove(&cleared)?;
    if root.is_dir() {
        fs::rename(&root, &cleared).map_err(HarvestError::io("rename", &root))?;
    }
    remove(&cleared)?;
    Ok(count)
}

fn root(state_dir: &Path) -> PathBuf {
    state_dir.join("harvest")
}

fn read_salt(root: &Path) -> Result<Option<[u8; SALT]>, HarvestError> {
    let path = root.join("salt");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(HarvestError::io("read", &path)(e)),
    };
    let mut salt = [0; SALT];
    let digits = text.trim();
    if digits.len() != 2 * SALT || !digits.is_ascii() {
        return Err(HarvestError::Salt(path));
    }
    for (i, byte) in salt.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).map_err(|_| HarvestError::Salt(path.clone()))?;
    }
    Ok(Some(salt))
}

/// Names and paths in a folder, sorted; names that are no Unicode are none of ours.
fn listed(folder: &Path) -> Result<Vec<(String, PathBuf)>, HarvestError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(HarvestError::io("list", folder))? {
        let entry = entry.map_err(HarvestError::io("list", folder))?;
        if let Ok(name) = entry.file_name().into_string() {
            found.push((name, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// For our user alone: thumbnails are pictures of patients.
fn folder(path: &Path, with_parents: bool) -> Result<(), HarvestError> {
    match DirBuilder::new().recursive(with_parents).mode(0o700).create(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        made => made.map_err(HarvestError::io("create", path)),
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), HarvestError> {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let put = || -> io::Result<()> {
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?.write_all(bytes)?;
        fs::rename(&part, path)
    };
    put().map_err(HarvestError::io("write", path))
}

fn gone(path: &Path) -> Result<(), HarvestError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(HarvestError::io("remove", path)(e)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harvest::Origin;
    use crate::preprocess::Plane;

    fn offer(number: u32, tag: &'static str, most: usize) -> Offer {
        Offer {
            plane: Plane { width: 300, height: 200, data: (0..60_000).map(|i| (i % 300) as f32).collect() },
            origin: Origin {
                sop_instance_uid: format!("1.2.3.{number}"),
                patient_id: Some(format!("P{}", number / 2).into_bytes()),
                study_instance_uid: format!("1.2.{number}"),
            },
            tag,
            scores: BTreeMap::from([("KNEE".to_owned(), 0.25)]),
            model: "ab".repeat(8),
            most,
            min_free: 0,
        }
    }

    fn files(folder: &Path) -> Vec<String> {
        let mut all = Vec::new();
        for (name, path) in listed(folder).unwrap() {
            if path.is_dir() { all.extend(files(&path)) } else { all.push(name) }
        }
        all
    }

    #[test]
    fn what_is_kept_is_a_small_picture_its_scores_and_its_group() {
        let state = tempfile::tempdir().unwrap();
        assert!(Store::open(state.path()).unwrap().is_none());
        let mut store = Store::create(state.path()).unwrap();
        for number in 0..3 {
            assert!(store.keep(&offer(number, "KNEE", 10)).unwrap());
        }
        let (images, lost) = Store::open(state.path()).unwrap().unwrap().images();
        assert_eq!((images.len(), lost), (3, 0));
        for image in &images {
            let picture = image::open(&image.png).unwrap().into_luma8();
            assert_eq!(picture.width().max(picture.height()), 256);
            assert_eq!((image.tag.as_str(), image.record.scores["KNEE"]), ("KNEE", 0.25));
        }
        let groups: BTreeSet<&str> = images.iter().map(|i| i.record.group.as_str()).collect();
        assert_eq!(groups.len(), 2, "two patients");
        use std::os::unix::fs::PermissionsExt;
        for path in [&images[0].png, &state.path().join("harvest/salt")] {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o077, 0, "{}", path.display());
        }
    }

    #[test]
    fn the_cap_holds_and_the_tag_with_the_most_images_gives_way() {
        let state = tempfile::tempdir().unwrap();
        let mut store = Store::create(state.path()).unwrap();
        store.keep(&offer(900, "FOOT", 6)).unwrap();
        for number in 0..30 {
            store.keep(&offer(number, "KNEE", 6)).unwrap();
            store.keep(&offer(100 + number, "HAND", 6)).unwrap();
            assert!(store.len() <= 6);
            assert_eq!(files(&state.path().join("harvest")).len(), 2 * store.len() + 1, "files and names are one");
        }
        let counts: BTreeMap<&str, usize> =
            store.by_tag.iter().map(|(tag, names)| (tag.as_str(), names.len())).collect();
        assert_eq!(counts["FOOT"], 1, "the rare tag is kept");
        assert!(counts["KNEE"] >= 2 && counts["HAND"] >= 2, "{counts:?}");
        // A lower cap comes into force with the next image, also one that is there already.
        store.keep(&offer(900, "FOOT", 2)).unwrap();
        assert_eq!(store.len(), 2);
    }

    #[test]
    fn what_stays_does_not_depend_on_the_order_of_arrival() {
        let names = |order: &[u32]| {
            let state = tempfile::tempdir().unwrap();
            let mut store = Store::create(state.path()).unwrap();
            fs::write(state.path().join("harvest/salt"), "5".repeat(64)).unwrap();
            assert!(!store.is_current());
            store = Store::create(state.path()).unwrap();
            for number in order {
                store.keep(&offer(*number, "KNEE", 4)).unwrap();
            }
            store.by_tag["KNEE"].clone()
        };
        let forward: Vec<u32> = (0..20).collect();
        let backward: Vec<u32> = (0..20).rev().chain(0..20).collect();
        assert_eq!(names(&forward), names(&backward));
    }

    #[test]
    fn an_image_sent_again_with_another_tag_is_kept_under_the_later_one() {
        let state = tempfile::tempdir().unwrap();
        let mut store = Store::create(state.path()).unwrap();
        store.keep(&offer(1, "KNEE", 9)).unwrap();
        store.keep(&offer(1, "KNEE", 9)).unwrap();
        store.keep(&offer(1, "HAND", 9)).unwrap();
        let (images, _) = store.images();
        assert_eq!(images.iter().map(|i| i.tag.as_str()).collect::<Vec<_>>(), ["HAND"]);
    }

    #[test]
    fn what_a_crash_leaves_is_swept_and_a_full_disk_keeps_nothing() {
        let state = tempfile::tempdir().unwrap();
        let mut store = Store::create(state.path()).unwrap();
        store.keep(&offer(1, "KNEE", 9)).unwrap();
        let folder = state.path().join("harvest/KNEE");
        for orphan in ["aa.png", "bb.png.part", "bb.json.part"] {
            fs::write(folder.join(orphan), "x").unwrap();
        }
        let mut store = Store::create(state.path()).unwrap();
        assert_eq!(files(&folder).len(), 2);
        let full = Offer { min_free: u64::MAX, ..offer(2, "KNEE", 9) };
        assert!(matches!(store.keep(&full), Err(HarvestError::Full { .. })));
        assert_eq!((store.len(), files(&folder).len()), (1, 2));
    }

    #[test]
    fn clearing_takes_everything_and_another_salt_begins() {
        let state = tempfile::tempdir().unwrap();
        let mut store = Store::create(state.path()).unwrap();
        store.keep(&offer(1, "KNEE", 9)).unwrap();
        let before = store.images().0[0].name.clone();
        assert_eq!(clear(state.path()).unwrap(), 1);
        assert!(!state.path().join("harvest").exists() && !store.is_current());
        assert_eq!(clear(state.path()).unwrap(), 0);
        let mut store = Store::create(state.path()).unwrap();
        store.keep(&offer(1, "KNEE", 9)).unwrap();
        assert_ne!(store.images().0[0].name, before);
        clear(state.path()).unwrap();
        assert!(store.keep(&offer(2, "KNEE", 9)).is_err(), "what was opened is no more");
        assert!(!state.path().join("harvest").exists());
        let mut store = Store::create(state.path()).unwrap();
        store.keep(&offer(1, "KNEE", 9)).unwrap();
        fs::write(state.path().join("harvest/salt"), "damaged").unwrap();
        assert!(matches!(Store::open(state.path()), Err(HarvestError::Salt(_))));
        clear(state.path()).unwrap();
        assert!(Store::open(state.path()).unwrap().is_none());
    }
}

//! Harvest: thumbnails of the site's own traffic, kept for training. Off unless the configuration says otherwise.
//!
//! The stage `look` offers each image that it has scored; a thread of its own keeps what is wanted, so that nothing here
//! delays or fails an instance: an offer that finds the thread busy is dropped, an error is a line in the log.
//!
//! ```text
//! identity   UIDs and patient → names and groups that cannot be turned back (salted hashes)
//! store      the folder `harvest` in the state folder: what is kept, what gives way, what is cleared
//! export     the store → PNG files and a manifest that `train` takes
//! ```
//!
//! What is kept of an image: 256 grey pixels on the longer side, the scores, the hash of the weights, the **defined term**
//! that the tag stands for (never its raw text), and the group. No date, no UID, no name, no free text. What is burnt into the
//! pixels cannot be excluded.
//!
//! # What is kept when there is more than the cap
//! When the store is full, the tag with the most images gives one up: the one whose name sorts last. Names are salted
//! hashes, so what stays of a tag is an even sample over all that came with it, rare tags are kept whole, and an instance
//! that is sent again changes nothing. Disagreements between tag and network are not preferred: a sample that was chosen by
//! the network would say little about how often tags or network are wrong.

mod export;
mod identity;
mod store;

pub use export::{Exported, export};
pub use identity::{Origin, patient_id};
pub use store::{Kept, Record, Store, clear};

use crate::anatomy::{Tag, normalise, term_of_code};
use crate::dataset::Facts;
use crate::preprocess::Plane;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Longer side of a thumbnail, pixels.
pub const SIDE: usize = 256;
/// The label of an image whose tag names no part: `train` and `evaluate` leave it out.
pub const UNCLEAR: &str = "UNCLEAR";
/// Offers that wait for the thread; beyond that they are dropped. A plane is a few MiB.
const WAITING: usize = 8;

/// Why something of the harvest cannot be done.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum HarvestError {
    #[error("cannot {what} {}: {source}", path.display())]
    Io { what: &'static str, path: PathBuf, source: std::io::Error },
    #[error("{} holds no salt of ours; `radroute harvest clear` begins anew", .0.display())]
    Salt(PathBuf),
    #[error("{free} bytes are free where {} lies, limits.min_free_disk is {wanted}: nothing is harvested", path.display())]
    Full { path: PathBuf, free: u64, wanted: u64 },
    #[error(transparent)]
    Drawing(#[from] crate::drawing::DrawingError),
    #[error("{}: {why}", path.display())]
    Export { path: PathBuf, why: String },
}

impl HarvestError {
    fn io(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> HarvestError {
        move |source| HarvestError::Io { what, path: path.to_owned(), source }
    }
}

/// An image that was scored, with all that may be kept of it.
#[derive(Debug)]
pub struct Offer {
    /// The image as displayed.
    pub plane: Plane,
    /// Whence name and group come.
    pub origin: Origin,
    /// What the tag stands for: see [`label`].
    pub tag: &'static str,
    /// Calibrated probability of each head.
    pub scores: BTreeMap<String, f32>,
    /// First 16 hex digits of the SHA-256 of the weights.
    pub model: String,
    /// At most so many images are kept.
    pub most: usize,
    /// With fewer bytes free in the state folder nothing is kept.
    pub min_free: u64,
}

/// The defined term of what an object says of its body part: by its tag, else by the code of its Anatomic Region Sequence;
/// [`UNCLEAR`] where neither names a part. The raw tag never leaves here: people write names into it.
pub fn label(facts: &Facts) -> &'static str {
    match normalise(&facts.body_part_examined) {
        Tag::Term { term, .. } => term,
        Tag::Empty | Tag::General(_) => {
            let code = facts.anatomic_region.as_ref();
            code.and_then(|code| term_of_code(&code.scheme, &code.value)).unwrap_or(UNCLEAR)
        }
        Tag::Unknown(_) => UNCLEAR,
    }
}

/// Handle to the thread that keeps images; it ends when the last handle is gone.
#[derive(Clone, Debug)]
pub struct Harvester(SyncSender<Offer>);

impl Harvester {
    /// Starts the thread. Nothing is written before the first offer.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(state_dir: &Path) -> std::io::Result<Harvester> {
        let (offers, queue) = sync_channel(WAITING);
        let state_dir = state_dir.to_owned();
        std::thread::Builder::new().name("harvest".into()).spawn(move || serve(&state_dir, &queue))?;
        Ok(Harvester(offers))
    }

    /// Offers an image. Never waits: when the thread is behind, the image is not kept.
    pub fn offer(&self, offer: Offer) {
        if self.0.try_send(offer).is_err() {
            tracing::debug!("an image was not harvested: too many wait");
        }
    }
}

fn serve(state_dir: &Path, queue: &Receiver<Offer>) {
    let mut store = None;
    let mut told = String::new();
    for offer in queue {
        let kept = catch_unwind(AssertUnwindSafe(|| keep(state_dir, &mut store, &offer)));
        let trouble = match kept {
            Ok(Ok(())) => String::new(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "keeping an image panicked".into(),
        };
        // One line for a trouble that lasts: a full disk must not fill the log as well.
        if !trouble.is_empty() {
            store = None;
            if trouble != told {
                tracing::warn!(error = trouble, "an image was not harvested; the same trouble again is not told");
            }
        }
        told = trouble;
    }
}

/// The store may have been cleared since the last image: then it is opened anew, with another salt.
fn keep(state_dir: &Path, store: &mut Option<Store>, offer: &Offer) -> Result<(), HarvestError> {
    if !store.as_ref().is_some_and(Store::is_current) {
        *store = Some(Store::create(state_dir)?);
    }
    store.as_mut().map_or(Ok(()), |store| store.keep(offer).map(|_| ()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Code;

    #[test]
    fn labels_are_defined_terms_and_never_what_somebody_wrote() {
        let facts = |tag: &str, code: Option<(&str, &str)>| Facts {
            body_part_examined: tag.into(),
            anatomic_region: code.map(|(scheme, value)| Code { value: value.into(), scheme: scheme.into() }),
            ..Facts::default()
        };
        for (tag, code, wanted) in [
            ("KNEE", None, "KNEE"),
            ("L HAND", None, "HAND"),
            ("GENOU", Some(("SCT", "85562004")), "KNEE"),
            ("", Some(("SCT", "85562004")), "HAND"),
            ("EXTREMITY", Some(("SRT", "T-D9200")), "KNEE"),
            ("", None, UNCLEAR),
            ("LEG", None, UNCLEAR),
            ("", Some(("99LOCAL", "1")), UNCLEAR),
            ("MUELLER HANS", Some(("SCT", "85562004")), UNCLEAR),
        ] {
            assert_eq!(label(&facts(tag, code)), wanted, "{tag:?} {code:?}");
        }
    }

    #[test]
    fn an_offer_never_waits_and_a_store_that_cannot_be_is_no_failure() {
        let folder = tempfile::tempdir().unwrap();
        // A file where the state folder should be.
        let state = folder.path().join("state");
        std::fs::write(&state, "").unwrap();
        let harvester = Harvester::start(&state).unwrap();
        for i in 0..50 {
            harvester.offer(Offer {
                plane: Plane { width: 2, height: 2, data: vec![0.0, 1.0, 2.0, 3.0] },
                origin: Origin { sop_instance_uid: i.to_string(), patient_id: None, study_instance_uid: "2".into() },
                tag: "KNEE",
                scores: BTreeMap::new(),
                model: String::new(),
                most: 10,
                min_free: 0,
            });
        }
        assert!(state.is_file());
    }
}

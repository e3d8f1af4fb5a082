//! Stage **look**: instance → plane → scores.
//!
//! Begins on receipt, while the association is still open; only the verdict waits for the series. Reading and decoding run on
//! blocking threads, a few at a time; what is read waits, small, for the one thread that owns the network and takes together
//! whatever waits. Whatever goes wrong here is written down as [`Look::Undecodable`] and never holds an instance back: a decoder
//! that panics or takes too long, a network that gives no answer, and even an image that ends the process ([`Suspects`]).

mod network;
mod suspects;

pub use network::BATCH;
pub use suspects::Suspects;

use crate::config::Config;
use crate::dataset::Facts;
use crate::harvest::{self, Harvester, Offer, Origin};
use crate::ledger::{InstanceId, InstanceRow, Ledger, Source, now};
use crate::model::Classifier;
use crate::pixels::{self, PixelsError};
use crate::preprocess::Plane;
use crate::route::Case;
use crate::spool::Spool;
use crate::verdict::Look;
use network::{Hung, Network};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use suspects::TRIES;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::{JoinError, JoinSet};
use tracing::{debug, error, warn};

/// The longest that one image may take to be read; then it is undecodable and goes on.
const PATIENCE: Duration = Duration::from_secs(120);
/// The most images that are read side by side, however many processors there are: each may be large.
const MOST: usize = 8;
/// How long a stage sleeps when nothing wakes it.
const POLL: Duration = Duration::from_secs(1);

/// The stage with what it needs.
pub struct LookStage {
    /// Settings in force.
    pub config: watch::Receiver<Arc<Config>>,
    /// Where work comes from and results go to.
    pub ledger: Ledger,
    /// Where the images are.
    pub spool: Spool,
    /// The network.
    pub classifier: Arc<Classifier>,
    /// What was being read when the process ended.
    pub suspects: Suspects,
    /// Rung when an instance has been received.
    pub received: Arc<Notify>,
    /// Rung by us when an instance has been looked at.
    pub looked: Arc<Notify>,
}

/// What a task needs to look at one instance.
#[derive(Clone)]
struct Looker {
    classifier: Arc<Classifier>,
    network: Network,
    suspects: Suspects,
    /// A permit for each image that may be read at the same time.
    reading: Arc<Semaphore>,
    /// `None`: it cannot be had, which is no reason not to look.
    harvester: Option<Harvester>,
}

/// Caps of the harvest in force when an image is looked at.
#[derive(Clone, Copy)]
struct Harvest {
    most: usize,
    min_free: u64,
}

/// An instance and what looking at it gave.
type Done = (InstanceId, Result<Look, Hung>);

impl LookStage {
    /// Runs until `stop` is rung; images in flight are finished. Ends by itself only when the network hangs: then the process
    /// must be started afresh, and what was not looked at is taken up again.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let network = match Network::start(self.classifier.clone()) {
            Ok(network) => network,
            Err(error) => {
                error!(%error, "cannot start the thread of the network");
                return;
            }
        };
        let harvester = Harvester::start(&self.config.borrow().node.state_dir)
            .inspect_err(|error| warn!(%error, "cannot start the thread of the harvest: nothing is harvested"))
            .ok();
        let readers = std::thread::available_parallelism().map_or(2, usize::from).clamp(2, MOST);
        let looker = Looker {
            classifier: self.classifier.clone(),
            network,
            suspects: self.suspects.clone(),
            reading: Arc::new(Semaphore::new(readers)),
            harvester,
        };
        // While the network is at work on a batch, the next one gathers; with half of that in flight nobody need ask for more.
        let most = readers + 2 * BATCH;
        let mut busy: Vec<InstanceId> = Vec::new();
        let mut tasks: JoinSet<Done> = JoinSet::new();
        while !*stop.borrow() {
            let waiting = match self.ledger.unlooked(most.saturating_sub(busy.len()), &busy).await {
                Ok(rows) => rows,
                Err(error) => {
                    warn!(%error, "cannot ask the ledger for instances to look at; trying again");
                    tokio::time::sleep(POLL).await;
                    continue;
                }
            };
            for row in waiting {
                busy.push(row.id);
                self.start(row, &looker, &mut tasks);
            }
            tokio::select! {
                Some(done) = tasks.join_next(), if !tasks.is_empty() => {
                    // What ended together is written together.
                    let others = std::iter::from_fn(|| tasks.try_join_next());
                    if self.finish(std::iter::once(done).chain(others), &mut busy).await.is_err() {
                        return;
                    }
                }
                () = self.received.notified(), if busy.len() < most / 2 => {}
                // The sender is gone only when the daemon is.
                () = async { drop(stop.wait_for(|stop| *stop).await) } => break,
                () = tokio::time::sleep(POLL) => {}
            }
        }
        while let Some(done) = tasks.join_next().await {
            if self.finish(std::iter::once(done), &mut busy).await.is_err() {
                return;
            }
        }
    }

    fn start(&self, row: InstanceRow, looker: &Looker, tasks: &mut JoinSet<Done>) {
        if let Err(reason) = eligible(&row.facts, &row.source, &self.config.borrow()) {
            tasks.spawn(async move { (row.id, Ok(Look::Exempt { reason })) });
            return;
        }
        let harvest = {
            let config = self.config.borrow();
            let min_free = config.limits.min_free_disk.as_u64();
            config.harvest.enabled.then_some(Harvest { most: config.harvest.max_images, min_free })
        };
        let (path, looker) = (self.spool.path(&row.spool_name), looker.clone());
        tasks.spawn(async move {
            let look = match path {
                Ok(path) => look_at(&row, path, &looker, harvest).await,
                Err(error) => Ok(Look::Undecodable { reason: error.to_string() }),
            };
            (row.id, look)
        });
    }

    /// Writes down what looking gave, side by side, so that the ledger commits it together.
    async fn finish(
        &self,
        done: impl Iterator<Item = Result<Done, JoinError>>,
        busy: &mut Vec<InstanceId>,
    ) -> Result<(), Hung> {
        let (mut writes, mut end) = (JoinSet::new(), Ok(()));
        for done in done {
            let Ok((id, look)) = done else {
                // A task of ours panicked, nobody knows which: whatever is taken twice is written once.
                warn!("looking at an instance was broken off; trying again");
                busy.clear();
                continue;
            };
            match look {
                Ok(look) => {
                    let ledger = self.ledger.clone();
                    writes.spawn(async move { (id, ledger.looked(id, look, now()).await) });
                }
                Err(error) => {
                    error!(%error, "no more images can be looked at in this process");
                    end = Err(error);
                }
            }
        }
        let mut failed = false;
        while let Some(written) = writes.join_next().await {
            let Ok((id, written)) = written else {
                warn!("writing what looking gave was broken off; trying again");
                busy.clear();
                continue;
            };
            match written {
                Ok(()) => self.suspects.end(id),
                Err(error) => {
                    warn!(%error, instance = id, "cannot write what looking gave; trying again");
                    failed = true;
                }
            }
            busy.retain(|b| *b != id);
        }
        if failed {
            tokio::time::sleep(POLL).await;
        }
        self.looked.notify_one();
        end
    }
}

/// Why an object is never to be looked at, by the configuration in force, as reception asks it; none: it is.
pub fn exempt(config: watch::Receiver<Arc<Config>>) -> impl Fn(&Facts, &Source) -> Option<String> {
    move |facts, source| eligible(facts, source, &config.borrow()).err()
}

/// Whether an object is a radiograph that may be looked at; if not, why.
///
/// The classes of STANDARD are matched exactly: mammography and intra-oral objects share the prefix.
fn eligible(facts: &Facts, source: &Source, config: &Config) -> Result<(), String> {
    radiograph(facts, &config.classify.secondary_capture)?;
    let case = Case { facts, calling_ae: &source.calling_ae, called_ae: &source.called_ae, verdict: None };
    let exemptions = config.exemptions().map_err(|error| error.to_string())?;
    if exemptions.iter().any(|rule| rule.matches(&case)) {
        return Err("excluded by classify.exempt".into());
    }
    Ok(())
}

/// Whether an object is a radiograph of one grey frame, by its header alone; if not, why. `secondary_capture` are the
/// modalities in which Secondary Capture counts.
pub fn radiograph(facts: &Facts, secondary_capture: &[String]) -> Result<(), String> {
    const CR: &str = "1.2.840.10008.5.1.4.1.1.1";
    const DX_PRESENTATION: &str = "1.2.840.10008.5.1.4.1.1.1.1";
    const DX_PROCESSING: &str = "1.2.840.10008.5.1.4.1.1.1.1.1";
    const SECONDARY_CAPTURE: &str = "1.2.840.10008.5.1.4.1.1.7";
    match facts.sop_class_uid.as_str() {
        CR | DX_PRESENTATION | DX_PROCESSING => {}
        SECONDARY_CAPTURE if secondary_capture.contains(&facts.modality) => {}
        SECONDARY_CAPTURE => return Err(format!("secondary capture of modality {:?}", facts.modality)),
        other => return Err(format!("SOP class {other} is no radiograph")),
    }
    if facts.signed {
        return Err("digitally signed".into());
    }
    if facts.number_of_frames > 1 {
        return Err(format!("{} frames", facts.number_of_frames));
    }
    if facts.samples_per_pixel > 1 {
        return Err("colour".into());
    }
    Ok(())
}

/// What looking at an eligible instance gives.
async fn look_at(row: &InstanceRow, path: PathBuf, stage: &Looker, harvest: Option<Harvest>) -> Result<Look, Hung> {
    let (id, classifier, suspects) = (row.id, stage.classifier.clone(), stage.suspects.clone());
    let harvested = harvest.map(|_| (row.facts.clone(), row.dataset_offset));
    // Given back as well when a decoder hangs: it must not hold up the others.
    let permit = stage.reading.acquire().await;
    let read = tokio::task::spawn_blocking(move || {
        let tries = suspects.begin(id);
        if tries >= TRIES {
            return Err(Look::Undecodable { reason: format!("the process ended {tries} times while it was read") });
        }
        let begun = Instant::now();
        let (input, plane) = read_input(&path, &classifier)?;
        let decode_ms = begun.elapsed().as_secs_f32() * 1e3;
        let kept = harvested.and_then(|(facts, offset)| Some((plane, origin(&facts, &path, offset)?)));
        Ok((input, decode_ms, kept))
    });
    let (input, decode_ms, kept) = match tokio::time::timeout(PATIENCE, read).await {
        Ok(Ok(Ok(read))) => read,
        Ok(Ok(Err(look))) => return Ok(look),
        Ok(Err(_)) => return Ok(Look::Undecodable { reason: "reading the image panicked".into() }),
        Err(_) => {
            warn!(instance = id, "reading the image takes longer than {PATIENCE:?}: it goes on unlooked at");
            return Ok(Look::Undecodable { reason: format!("reading took longer than {} s", PATIENCE.as_secs()) });
        }
    };
    drop(permit);
    let model = stage.classifier.identity();
    Ok(match stage.network.scores(input, PATIENCE).await? {
        Ok((scores, classify_ms)) => {
            if let (Some(harvester), Some(Harvest { most, min_free }), Some((plane, origin))) =
                (&stage.harvester, harvest, kept)
            {
                let (tag, scores, model) = (harvest::label(&row.facts), scores.clone(), model.clone());
                harvester.offer(Offer { plane, origin, tag, scores, model, most, min_free });
            }
            Look::Scored { scores, model, decode_ms, classify_ms }
        }
        Err(reason) => Look::Undecodable { reason },
    })
}

/// Decodes and preprocesses; a panic in a decoder is an undecodable image and nothing more.
fn read_input(path: &Path, classifier: &Classifier) -> Result<(Vec<f32>, Plane), Look> {
    let read = catch_unwind(AssertUnwindSafe(|| {
        pixels::read_dicom(path, classifier.wanted_pixels()).map(|plane| (classifier.input(&plane), plane))
    }));
    match read {
        Ok(Ok(read)) => Ok(read),
        Ok(Err(PixelsError::Unsuitable(reason))) => Err(Look::Exempt { reason }),
        Ok(Err(error)) => Err(Look::Undecodable { reason: error.to_string() }),
        Err(_) => Err(Look::Undecodable { reason: "the decoder panicked".into() }),
    }
}

/// Whose image it is, for the harvest alone. An image whose patient cannot be read is not harvested: its group would be
/// another than that of the patient's other images.
fn origin(facts: &Facts, path: &Path, offset: u64) -> Option<Origin> {
    // Nothing that goes wrong here may make the image undecodable.
    let read = catch_unwind(|| harvest::patient_id(path, offset, &facts.transfer_syntax_uid)).ok()?;
    let patient_id =
        read.inspect_err(|error| debug!(%error, "an image was not harvested: its header cannot be read")).ok()?;
    Some(Origin {
        sop_instance_uid: facts.sop_instance_uid.clone(),
        patient_id,
        study_instance_uid: facts.study_instance_uid.clone(),
    })
}

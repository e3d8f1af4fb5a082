//! Stage **look**: instance → plane → scores.
//!
//! Begins on receipt, while the association is still open; only the verdict waits for the series. Reading and decoding run on
//! blocking threads, a few at a time; one thread owns the network and takes together whatever waits. Whatever goes wrong here is
//! written down as [`Look::Undecodable`] and never holds an instance back.

use crate::config::Config;
use crate::dataset::Facts;
use crate::ledger::{InstanceId, InstanceRow, Ledger, now};
use crate::model::Classifier;
use crate::pixels::{self, PixelsError};
use crate::route::Case;
use crate::spool::Spool;
use crate::verdict::Look;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinSet;
use tracing::warn;

/// The longest that one image may take to be read; then it is undecodable and goes on.
const PATIENCE: Duration = Duration::from_secs(120);
/// The most images that the network takes at once.
const BATCH: usize = 8;
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
    /// Rung when an instance has been received.
    pub received: Arc<Notify>,
    /// Rung by us when an instance has been looked at.
    pub looked: Arc<Notify>,
}

impl LookStage {
    /// Runs until `stop` is rung; images in flight are finished.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let classifier = self.classifier.clone();
        let (requests, queue) = sync_channel(BATCH);
        let network = std::thread::spawn(move || serve_network(&classifier, &queue));
        let most = 2 * std::thread::available_parallelism().map_or(2, usize::from);
        let mut busy: Vec<InstanceId> = Vec::new();
        let mut tasks: JoinSet<(InstanceId, Look)> = JoinSet::new();
        loop {
            while let Some(done) = tasks.try_join_next() {
                self.finish(done, &mut busy).await;
            }
            if *stop.borrow() {
                break;
            }
            let waiting = match self.ledger.unlooked(most.saturating_sub(busy.len()), &busy).await {
                Ok(rows) => rows,
                Err(error) => {
                    warn!(%error, "cannot ask the ledger for instances to look at; trying again");
                    tokio::time::sleep(POLL).await;
                    continue;
                }
            };
            let found = !waiting.is_empty();
            for row in waiting {
                busy.push(row.id);
                self.start(row, &requests, &mut tasks);
            }
            if found && busy.len() < most {
                continue;
            }
            tokio::select! {
                Some(done) = tasks.join_next(), if !tasks.is_empty() => self.finish(done, &mut busy).await,
                () = self.received.notified(), if busy.len() < most => {}
                _ = stop.changed() => {}
                () = tokio::time::sleep(POLL) => {}
            }
        }
        while let Some(done) = tasks.join_next().await {
            self.finish(done, &mut busy).await;
        }
        drop(requests);
        if network.join().is_err() {
            warn!("the thread of the network ended with a panic");
        }
    }

    fn start(&self, row: InstanceRow, requests: &SyncSender<Request>, tasks: &mut JoinSet<(InstanceId, Look)>) {
        let config = self.config.borrow().clone();
        if let Err(reason) = eligible(&row, &config) {
            tasks.spawn(async move { (row.id, Look::Exempt { reason }) });
            return;
        }
        let path = self.spool.path(&row.spool_name);
        let (classifier, requests) = (self.classifier.clone(), requests.clone());
        tasks.spawn(async move {
            let look = match path {
                Ok(path) => look_at(row.id, path, classifier, requests).await,
                Err(error) => Look::Undecodable { reason: error.to_string() },
            };
            (row.id, look)
        });
    }

    async fn finish(&self, done: Result<(InstanceId, Look), tokio::task::JoinError>, busy: &mut Vec<InstanceId>) {
        let Ok((id, look)) = done else {
            // A task of ours was cancelled or panicked: its instance stays unlooked and is taken again.
            warn!("looking at an instance was broken off; trying again");
            busy.clear();
            return;
        };
        if let Err(error) = self.ledger.looked(id, look, now()).await {
            warn!(%error, instance = id, "cannot write what looking gave; trying again");
            tokio::time::sleep(POLL).await;
        }
        busy.retain(|b| *b != id);
        self.looked.notify_one();
    }
}

/// Whether an object is a radiograph that may be looked at; if not, why.
///
/// The classes of STANDARD are matched exactly: mammography and intra-oral objects share the prefix.
pub fn eligible(row: &InstanceRow, config: &Config) -> Result<(), String> {
    let facts = &row.facts;
    radiograph(facts, &config.classify.secondary_capture)?;
    let case = Case { facts, calling_ae: &row.source.calling_ae, called_ae: &row.source.called_ae, verdict: None };
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

/// One input for the network, and where its scores go.
struct Request {
    input: Vec<f32>,
    reply: oneshot::Sender<Answer>,
}

/// The probability of each head and the milliseconds that the network took, or why there are none.
type Answer = Result<(BTreeMap<String, f32>, f32), String>;

async fn look_at(
    id: InstanceId,
    path: std::path::PathBuf,
    classifier: Arc<Classifier>,
    requests: SyncSender<Request>,
) -> Look {
    let (reply, scores) = oneshot::channel();
    let model = classifier.hash().to_owned();
    let read = tokio::task::spawn_blocking(move || {
        let begun = Instant::now();
        let input = read_input(&path, &classifier)?;
        let decode_ms = milliseconds(begun);
        // The channel holds one batch: when the network is behind, decoding waits here and not in memory.
        let sent = requests.send(Request { input, reply });
        sent.map_err(|_| Look::Undecodable { reason: "the network is stopped".into() })?;
        Ok(decode_ms)
    });
    let decode_ms = match tokio::time::timeout(PATIENCE, read).await {
        Ok(Ok(Ok(decode_ms))) => decode_ms,
        Ok(Ok(Err(look))) => return look,
        Ok(Err(_)) => return Look::Undecodable { reason: "reading the image panicked".into() },
        Err(_) => {
            warn!(instance = id, "reading the image takes longer than {PATIENCE:?}: it goes on unlooked at");
            return Look::Undecodable { reason: format!("reading took longer than {} s", PATIENCE.as_secs()) };
        }
    };
    match scores.await {
        Ok(Ok((scores, classify_ms))) => Look::Scored { scores, model, decode_ms, classify_ms },
        Ok(Err(reason)) => Look::Undecodable { reason },
        Err(_) => Look::Undecodable { reason: "the network gave no answer".into() },
    }
}

/// Decodes and preprocesses; a panic in a decoder is an undecodable image and nothing more.
fn read_input(path: &Path, classifier: &Classifier) -> Result<Vec<f32>, Look> {
    let read = catch_unwind(AssertUnwindSafe(|| {
        // Twice the network's size: the averaging down to it, and the cutting of borders, is the network's own.
        let wanted = 2 * classifier.card().input.size;
        pixels::read_dicom(path, wanted).map(|plane| classifier.input(&plane))
    }));
    match read {
        Ok(Ok(input)) => Ok(input),
        Ok(Err(PixelsError::Unsuitable(reason))) => Err(Look::Exempt { reason }),
        Ok(Err(error)) => Err(Look::Undecodable { reason: error.to_string() }),
        Err(_) => Err(Look::Undecodable { reason: "the decoder panicked".into() }),
    }
}

/// The thread of the network: takes what waits, up to a batch, and answers. Ends when all senders are gone.
fn serve_network(classifier: &Classifier, queue: &Receiver<Request>) {
    while let Ok(first) = queue.recv() {
        let mut batch = vec![first];
        while batch.len() < BATCH {
            match queue.try_recv() {
                Ok(next) => batch.push(next),
                Err(_) => break,
            }
        }
        let (inputs, replies): (Vec<_>, Vec<_>) = batch.into_iter().map(|r| (r.input, r.reply)).unzip();
        let begun = Instant::now();
        let scored = match catch_unwind(AssertUnwindSafe(|| classifier.scores(&inputs))) {
            Ok(scored) => scored.map_err(|error| error.to_string()),
            Err(_) => Err("the network panicked".to_owned()),
        };
        let each = milliseconds(begun) / inputs.len() as f32;
        match scored {
            Ok(all) => {
                for (reply, scores) in replies.into_iter().zip(all) {
                    // Nobody waits any more only when the image was given up: nothing to do.
                    let _ = reply.send(Ok((scores, each)));
                }
            }
            Err(reason) => {
                for reply in replies {
                    let _ = reply.send(Err(reason.clone()));
                }
            }
        }
    }
}

fn milliseconds(begun: Instant) -> f32 {
    begun.elapsed().as_secs_f32() * 1e3
}

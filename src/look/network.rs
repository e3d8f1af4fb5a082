//! The thread that owns the network: it takes together whatever waits, and answers each.

use crate::model::Classifier;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// The most images that the network takes at once.
pub const BATCH: usize = 8;

/// The probability of each head and the milliseconds that the network took for it, or why there are none.
pub type Answer = Result<(BTreeMap<String, f32>, f32), String>;

/// The network does not answer: a device that hangs. Nothing more can be looked at in this process.
#[derive(Debug, thiserror::Error)]
#[error("the network has given no answer for {0:?}")]
pub struct Hung(Duration);

struct Request {
    input: Vec<f32>,
    reply: oneshot::Sender<Answer>,
}

/// Handle to the thread; it ends when the last one is gone.
#[derive(Clone)]
pub struct Network(mpsc::Sender<Request>);

impl Network {
    /// Starts the thread.
    pub fn start(classifier: Arc<Classifier>) -> std::io::Result<Network> {
        // One batch waits while one is worked on: behind that, whoever decodes waits, and memory stays bounded.
        let (requests, queue) = mpsc::channel(BATCH);
        std::thread::Builder::new().name("network".into()).spawn(move || serve(&classifier, queue))?;
        Ok(Network(requests))
    }

    /// The scores of one input.
    ///
    /// # Errors
    /// Outside: [`Hung`], after `patience`. Inside: the network failed on this batch.
    pub async fn scores(&self, input: Vec<f32>, patience: Duration) -> Result<Answer, Hung> {
        let (reply, answer) = oneshot::channel();
        let ask = async {
            if self.0.send(Request { input, reply }).await.is_err() {
                return Err("the network is stopped".to_owned());
            }
            answer.await.unwrap_or_else(|_| Err("the network is stopped".into()))
        };
        tokio::time::timeout(patience, ask).await.map_err(|_| Hung(patience))
    }
}

fn serve(classifier: &Classifier, mut queue: mpsc::Receiver<Request>) {
    while let Some(first) = queue.blocking_recv() {
        let mut batch = vec![first];
        while batch.len() < BATCH
            && let Ok(next) = queue.try_recv()
        {
            batch.push(next);
        }
        let (inputs, replies): (Vec<_>, Vec<_>) = batch.into_iter().map(|r| (r.input, r.reply)).unzip();
        let begun = Instant::now();
        let scored = match catch_unwind(AssertUnwindSafe(|| classifier.scores(&inputs))) {
            Ok(scored) => scored.map_err(|error| error.to_string()),
            Err(_) => Err("the network panicked".to_owned()),
        };
        let each = begun.elapsed().as_secs_f32() * 1e3 / inputs.len() as f32;
        let answers: Vec<Answer> = match scored {
            Ok(all) => all.into_iter().map(|scores| Ok((scores, each))).collect(),
            Err(reason) => replies.iter().map(|_| Err(reason.clone())).collect(),
        };
        for (reply, answer) in replies.into_iter().zip(answers) {
            // Nobody listens any more only where the image was given up.
            let _ = reply.send(answer);
        }
    }
}

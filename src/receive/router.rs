//! The router's deposit: spool, ledger, then 0000.

use super::deposit::{Announced, Deposit, Refusal, inspect};
use crate::audit;
use crate::config::Config;
use crate::dataset::Facts;
use crate::dataset::file_meta::{FileMeta, write_file_meta};
use crate::dimse::status;
use crate::ledger::{Event, Ledger, NewInstance, Source, now};
use crate::spool::{Incoming, Note, PREAMBLE, Spool, SpoolError};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{Notify, watch};

/// Why an instance is never to be looked at; none: it is.
pub type Exempt = Arc<dyn Fn(&Facts, &Source) -> Option<String> + Send + Sync>;

/// Spools instances and enters them in the ledger.
pub struct Router {
    config: watch::Receiver<Arc<Config>>,
    ledger: Ledger,
    spool: Spool,
    received: Arc<Notify>,
    decidable: Arc<Notify>,
    exempt: Exempt,
}

/// An instance on its way into the spool.
pub struct Spooling {
    incoming: Incoming,
    dataset_offset: u64,
    began: Instant,
}

impl Router {
    /// With one permit each, so that none is missed: `received` is rung after every instance that is to be looked at, `decidable`
    /// after every other and after every release.
    pub fn new(
        config: watch::Receiver<Arc<Config>>,
        ledger: Ledger,
        spool: Spool,
        received: Arc<Notify>,
        decidable: Arc<Notify>,
        exempt: Exempt,
    ) -> Router {
        Router { config, ledger, spool, received, decidable, exempt }
    }

    /// Removes a file that got no row.
    fn take_back(&self, name: &str) {
        if let Err(error) = self.spool.remove(name) {
            tracing::error!(%error, "a spooled file without a row is left: the next start will adopt it");
        }
    }
}

impl Deposit for Router {
    type Open = Spooling;

    async fn begin(&self, announced: &Announced) -> Result<Spooling, Refusal> {
        let began = Instant::now();
        let (min_free, ae_title) = {
            let config = self.config.borrow();
            (config.limits.min_free_disk.as_u64(), config.node.ae_title.clone())
        };
        let mut incoming = self.spool.begin(min_free).map_err(spool_refusal)?;
        let meta = write_file_meta(&FileMeta {
            sop_class_uid: announced.sop_class_uid.clone(),
            sop_instance_uid: announced.sop_instance_uid.clone(),
            transfer_syntax_uid: announced.transfer_syntax_uid.clone(),
            source_ae: ae_title,
            sending_ae: announced.source.calling_ae.clone(),
            receiving_ae: announced.source.called_ae.clone(),
        });
        // The spool has written a preamble of its own.
        incoming.write(&meta[PREAMBLE..]).map_err(spool_refusal)?;
        Ok(Spooling { incoming, dataset_offset: meta.len() as u64, began })
    }

    async fn write(&self, open: &mut Spooling, bytes: &[u8]) -> Result<(), Refusal> {
        open.incoming.write(bytes).map_err(spool_refusal)
    }

    async fn finish(&self, open: Spooling, announced: &Announced) -> Result<u16, Refusal> {
        let Spooling { incoming, dataset_offset, began } = open;
        let source = announced.source.clone();
        let note = Note {
            received_at: now(),
            receive_ms: milliseconds(began),
            peer: source.peer,
            association: source.association.clone(),
        };
        let inspected = incoming.commit_if(&note, |file| inspect(file, dataset_offset, announced));
        let (spooled, facts) = inspected.map_err(spool_refusal)??;
        let (settle, settle_max) = {
            let classify = &self.config.borrow().classify;
            (classify.settle.as_millis() as i64, classify.settle_max.as_millis() as i64)
        };
        let exempt = (self.exempt)(&facts, &source);
        let new = NewInstance {
            spool_name: spooled.name.clone(),
            file_size: spooled.size,
            dataset_offset,
            facts,
            source,
            received_at: note.received_at,
            receive_ms: note.receive_ms,
            sync_ms: spooled.sync_ms,
            settle,
            settle_max,
            adopted: false,
        };
        let (entered, next) = match exempt {
            None => (self.ledger.received(new).await, &self.received),
            Some(reason) => (self.ledger.received_exempt(new, reason).await, &self.decidable),
        };
        if let Err(error) = entered {
            // not entered, so not ours: the sender keeps it and tries again
            self.take_back(&spooled.name);
            let full = error.is_out_of_resources();
            let status = if full { status::OUT_OF_RESOURCES } else { status::PROCESSING_FAILURE };
            return Err(Refusal::new(status, if full { "out of resources" } else { "processing failure" }, error));
        }
        next.notify_one();
        Ok(status::SUCCESS)
    }

    async fn released(&self, association: &str) {
        if let Err(error) = self.ledger.released(association, now()).await {
            // its series settle by time instead
            tracing::error!(%error, association, "the release could not be entered in the ledger");
        }
        self.decidable.notify_one();
    }

    async fn tell(&self, event: Event) {
        if let Err(error) = self.ledger.event(event.clone()).await {
            tracing::error!(%error, "an event could not be entered in the ledger: it stands in the log alone");
            audit::tell(&event);
        }
    }
}

fn milliseconds(since: Instant) -> f32 {
    since.elapsed().as_secs_f32() * 1000.0
}

fn spool_refusal(error: SpoolError) -> Refusal {
    match error {
        SpoolError::Full { .. } => {
            Refusal::new(status::OUT_OF_RESOURCES, "out of resources: no room on the disk", error)
        }
        other => Refusal::new(status::PROCESSING_FAILURE, "processing failure", other),
    }
}

//! The only wiring: starts the stages, reloads, drains, and stops them in order.

use crate::audit;
use crate::config::Config;
use crate::decide::DecideStage;
use crate::deliver::Deliver;
use crate::ledger::{self, Event, Ledger, LedgerError};
use crate::look::{self, LookStage, Suspects};
use crate::metrics::{Figures, Metrics};
use crate::model::{Classifier, ModelError};
use crate::notify;
use crate::receive::{Listener, Router};
use crate::spool::{Spool, SpoolError};
use crate::upkeep::{self, UpkeepError};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{error, info, warn};

/// Why the daemon cannot start or stopped badly.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The state folder cannot be made.
    #[error("cannot make node.state_dir {path}: {source}; create it and give it to the user that radroute runs as")]
    StateDir {
        /// As configured.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The network cannot be loaded.
    #[error("classify.model: {0}")]
    Model(#[from] ModelError),
    /// See [`SpoolError`].
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// See [`LedgerError`].
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// See [`UpkeepError`].
    #[error(transparent)]
    Upkeep(#[from] UpkeepError),
    /// The port cannot be had.
    #[error("cannot listen on listen.address {address}: {source}; is another program using it?")]
    Listen {
        /// As configured.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The port for figures cannot be had.
    #[error("cannot listen on metrics.listen {address}: {source}; is another program using it?")]
    Metrics {
        /// As configured.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A running router.
pub struct Daemon {
    config: watch::Sender<Arc<Config>>,
    ledger: Ledger,
    address: SocketAddr,
    /// One signal per phase of the stop: receiving first, then looking and deciding, delivering last.
    stop: [watch::Sender<bool>; 3],
    stages: [Vec<JoinHandle<()>>; 3],
    watchdog: JoinHandle<()>,
}

impl Daemon {
    /// Opens spool and ledger, reconciles them, loads the network and starts the stages.
    ///
    /// `accept_missing`: start although the whole spool is gone (see [`upkeep::reconcile`]).
    ///
    /// # Errors
    /// Any [`DaemonError`]; nothing has been received then.
    pub async fn start(config: Config, accept_missing: bool) -> Result<Daemon, DaemonError> {
        let state = config.node.state_dir.clone();
        state_dir(&state).map_err(|source| DaemonError::StateDir { path: state.clone(), source })?;
        let spool = Spool::open(&state)?;
        let suspects =
            Suspects::open(&state).map_err(|source| DaemonError::StateDir { path: state.clone(), source })?;
        let classify = &config.classify;
        let classifier = Arc::new(Classifier::load(&classify.model, classify.device, classify.precision)?);
        let (precision, because) = classifier.precision();
        let (device, precision) = (classifier.device_name(), precision.name());
        info!(model = classifier.hash(), device, precision, because, "the network is loaded");
        // Who cannot be asked need not count.
        let figures = config.metrics.listen.map(|at| (at, Arc::new(Metrics::new(&classifier.identity(), precision))));
        let counted = figures.as_ref().map(|(_, metrics)| metrics.clone());
        let tell = move |event: &Event| {
            audit::tell(event);
            if let Some(metrics) = &counted {
                metrics.count(event);
            }
        };
        let ledger = Ledger::open_telling(&state.join(ledger::FILE), Arc::new(tell))?;
        upkeep::reconcile(&spool, &ledger, &config, accept_missing).await?;

        let (config_tx, config_rx) = watch::channel(Arc::new(config));
        let [(receive_tx, receive_rx), (decide_tx, decide_rx), (deliver_tx, deliver_rx)] =
            [(); 3].map(|()| watch::channel(false));
        let [received, looked, decided] = [(); 3].map(|()| Arc::new(Notify::new()));

        // What was received is looked at; what an association has brought is decided once it is released.
        let exempt = Arc::new(look::exempt(config_rx.clone()));
        let router =
            Router::new(config_rx.clone(), ledger.clone(), spool.clone(), received.clone(), looked.clone(), exempt);
        let wanted = config_rx.borrow().listen.address;
        let listener = Listener::bind(config_rx.clone(), Arc::new(router))
            .await
            .map_err(|source| DaemonError::Listen { address: wanted, source })?;
        let address = listener.local_addr();
        let look = LookStage {
            config: config_rx.clone(),
            ledger: ledger.clone(),
            spool: spool.clone(),
            classifier: classifier.clone(),
            suspects,
            received,
            looked: looked.clone(),
        };
        let decide = DecideStage {
            config: config_rx.clone(),
            ledger: ledger.clone(),
            spool: spool.clone(),
            thresholds: classifier.thresholds().clone(),
            model: classifier.identity(),
            looked,
            decided: decided.clone(),
        };
        let mut watched = None;
        if let Some((wanted, metrics)) = figures {
            let refused = |source| DaemonError::Metrics { address: wanted, source };
            let socket = TcpListener::bind(wanted).await.map_err(refused)?;
            info!(address = %socket.local_addr().map_err(refused)?, "metrics on /metrics");
            let associations = Box::new(listener.open());
            let (ledger, spool, config) = (ledger.clone(), spool.clone(), config_rx.clone());
            let figures = Figures { metrics, ledger, spool, config, associations };
            // Last of all: whoever watches sees the end.
            watched = Some(tokio::spawn(figures.serve(socket, deliver_rx.clone())));
        }
        let deliver = Deliver::new(config_rx.clone(), ledger.clone(), spool.clone(), decided);

        let stages = [
            vec![tokio::spawn(listener.run(rung(receive_rx)))],
            vec![tokio::spawn(look.run(decide_rx.clone())), tokio::spawn(decide.run(decide_rx.clone()))],
            vec![
                tokio::spawn(deliver.run(deliver_rx.clone())),
                tokio::spawn(upkeep::retain(config_rx, spool, ledger.clone(), deliver_rx)),
            ]
            .into_iter()
            .chain(watched)
            .collect(),
        ];
        let watchdog = tokio::spawn(notify::watchdog(ledger.clone()));
        ledger.event(Event::new("started", serde_json::json!({ "address": address.to_string() }))).await?;
        Ok(Daemon { config: config_tx, ledger, address, stop: [receive_tx, decide_tx, deliver_tx], stages, watchdog })
    }

    /// Where associations are accepted.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The ledger, for whoever wants to know what happened.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Puts a new configuration in force for what begins from now on. What needs a restart stays as it is, with a warning.
    pub async fn reload(&self, mut new: Config) -> Result<(), LedgerError> {
        let old = self.config.borrow().clone();
        for key in old.needs_restart(&new) {
            warn!(key, "changed in the configuration, but in force only after a restart");
        }
        new.node.state_dir.clone_from(&old.node.state_dir);
        new.listen.address = old.listen.address;
        new.classify.model.clone_from(&old.classify.model);
        new.classify.device = old.classify.device;
        new.classify.precision = old.classify.precision;
        new.metrics.listen = old.metrics.listen;
        self.config.send_replace(Arc::new(new));
        self.ledger.event(Event::new("reloaded", serde_json::Value::Null)).await
    }

    /// Returns once a stage or the ledger's writer has ended though nobody asked it to: the daemon must not go on half alive.
    pub async fn failed(&mut self) {
        loop {
            if self.ledger.is_closed() || self.stages.iter().flatten().any(JoinHandle::is_finished) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        }
    }

    /// Finishes what is on the wire (bounded by `limits.drain`), stops the stages in order, closes the ledger.
    pub async fn stop(self) -> Result<(), LedgerError> {
        let bound = self.config.borrow().limits.drain * 2;
        self.watchdog.abort();
        for (signal, stages) in self.stop.iter().zip(self.stages) {
            signal.send_replace(true);
            let until = Instant::now() + bound;
            for stage in stages {
                let abort = stage.abort_handle();
                match tokio::time::timeout_at(until, stage).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => {
                        error!(%error, "a stage ended badly; what it had not finished goes on at the next start");
                    }
                    Err(_) => {
                        abort.abort();
                        warn!(
                            "a stage did not end within {bound:?}; what it had not finished goes on at the next start"
                        );
                    }
                }
            }
        }
        let told = self.ledger.event(Event::new("stopped", serde_json::Value::Null)).await;
        self.ledger.close().await.and(told)
    }
}

/// Completes when the signal is given.
async fn rung(mut signal: watch::Receiver<bool>) {
    // The sender is gone only when the daemon is: that ends it as well.
    let _ = signal.wait_for(|stop| *stop).await;
}

/// The state folder holds images of patients: for our user alone. Its name in the folder above is synced as well.
fn state_dir(path: &Path) -> std::io::Result<()> {
    if !path.exists() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let above = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::File::open(above)?.sync_all()?;
    }
    Ok(())
}

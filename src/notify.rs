//! What systemd wants to hear: ready, reloading, stopping, and that we are alive. Silent where there is no systemd.

use crate::ledger::Ledger;
use sd_notify::NotifyState;
use std::time::Duration;
use tracing::{debug, error};

fn tell(state: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(state) {
        debug!(%error, "systemd cannot be told");
    }
}

/// Associations are accepted from now on.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The configuration is being read again; [`ready`] ends it.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(since) => tell(&[NotifyState::Reloading, since]),
        Err(error) => debug!(%error, "no monotonic clock for systemd"),
    }
}

/// No new associations; what is on the wire is finished.
pub fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("finishing what is on the wire")]);
}

/// Feeds the watchdog several times in its period, but only while the ledger's writer answers: a daemon that can write nothing down is
/// dead.
///
/// Returns at once where systemd asks for no watchdog.
pub async fn watchdog(ledger: Ledger) {
    let Some(period) = sd_notify::watchdog_enabled() else { return };
    // A slow answer and the pause behind it stay within half the period.
    let quarter = period / 4;
    loop {
        match tokio::time::timeout(quarter, ledger.ping()).await {
            Ok(Ok(())) => tell(&[NotifyState::Watchdog]),
            Ok(Err(error)) => error!(%error, "the ledger does not answer: the watchdog is not fed"),
            Err(_) => error!("the ledger has not answered for {quarter:?}: the watchdog is not fed"),
        }
        tokio::time::sleep(quarter.max(Duration::from_millis(100))).await;
    }
}

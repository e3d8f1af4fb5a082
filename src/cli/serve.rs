//! `radroute serve`: the daemon in the foreground, as systemd wants it.

use super::exit;
use crate::config::{Config, Loaded, Problem};
use crate::daemon::{Daemon, DaemonError};
use crate::{notify, telemetry};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, warn};

/// Arguments of `radroute serve`.
#[derive(clap::Args)]
pub struct Args {
    /// Start although all spooled files are gone: their deliveries become dead letters
    #[arg(long)]
    accept_missing: bool,
}

/// Runs the router until SIGTERM or SIGINT; SIGHUP reloads the configuration.
pub fn run(args: Args, path: PathBuf) -> ExitCode {
    let Loaded { config, warnings, .. } = match Config::load_with_warnings(&path) {
        Ok(loaded) => loaded,
        Err(errors) => {
            eprintln!("{errors}");
            return exit::CONFIG.into();
        }
    };
    let _log = match telemetry::start(&config.log) {
        Ok(guard) => guard,
        Err(error) => {
            eprintln!("{error}");
            return exit::CONFIG.into();
        }
    };
    tell(&path, &warnings);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            error!(%error, "cannot start the runtime");
            return exit::IOERR.into();
        }
    };
    let code = runtime.block_on(serve(config, &path, args.accept_missing));
    // Blocking threads may still sit in a decoder; nothing that they hold matters any more.
    runtime.shutdown_background();
    code
}

async fn serve(config: Config, path: &Path, accept_missing: bool) -> ExitCode {
    let mut daemon = match Daemon::start(config, accept_missing).await {
        Ok(daemon) => daemon,
        Err(error) => {
            error!(%error, "radroute cannot start");
            return match error {
                DaemonError::Model(_) => exit::CONFIG,
                _ => exit::IOERR,
            }
            .into();
        }
    };
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()), signal(SignalKind::hangup()));
    let (Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)) = signals else {
        error!("cannot listen for signals");
        return exit::IOERR.into();
    };
    info!(address = %daemon.address(), version = env!("CARGO_PKG_VERSION"), "radroute is ready");
    notify::ready("routing");
    let failed = loop {
        tokio::select! {
            _ = terminate.recv() => break false,
            _ = interrupt.recv() => break false,
            () = daemon.failed() => break true,
            _ = hangup.recv() => reload(&daemon, path).await,
        }
    };
    notify::stopping();
    if failed {
        error!("a stage has ended by itself: stopping, so that the service manager starts afresh");
    } else {
        info!("stopping: finishing what is on the wire");
    }
    match daemon.stop().await {
        Ok(()) if !failed => {
            info!("stopped");
            ExitCode::SUCCESS
        }
        Ok(()) => exit::SOFTWARE.into(),
        Err(error) => {
            error!(%error, "the ledger could not be closed; it recovers by itself at the next start");
            exit::IOERR.into()
        }
    }
}

async fn reload(daemon: &Daemon, path: &Path) {
    notify::reloading();
    match Config::load_with_warnings(path) {
        Ok(Loaded { config, warnings, .. }) => match daemon.reload(config).await {
            Ok(()) => {
                tell(path, &warnings);
                info!(file = %path.display(), "the new configuration is in force");
            }
            Err(error) => error!(%error, "the reload could not be written to the ledger"),
        },
        Err(errors) => {
            error!(file = %path.display(), %errors, "the new configuration is wrong: the old one stays in force")
        }
    }
    notify::ready("routing");
}

fn tell(path: &Path, warnings: &[Problem]) {
    for warning in warnings {
        warn!(file = %path.display(), line = warning.line, "{}", warning.message);
    }
}

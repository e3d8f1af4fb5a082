//! The log: tracing to standard error, as text or as one JSON object a line.

use crate::config::{Log, LogFormat};
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Why logging cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter of `[log] level` cannot be read.
    #[error("log.level = {level:?} is no filter ({source}); use error, warn, info, debug, trace, or module=level pairs")]
    Filter {
        /// As configured.
        level: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Somebody has set a subscriber before.
    #[error("logging was already begun in this process")]
    Twice(#[from] tracing::subscriber::SetGlobalDefaultError),
}

/// Begins to log to standard error. `RUST_LOG`, where set, wins over the configuration.
pub fn start(log: &Log) -> Result<(), TelemetryError> {
    let level = std::env::var("RUST_LOG").ok().filter(|l| !l.is_empty()).unwrap_or_else(|| log.level.clone());
    let filter = EnvFilter::try_new(&level).map_err(|source| TelemetryError::Filter { level, source })?;
    let base = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    match log.format {
        LogFormat::Text => {
            let subscriber = base.with_ansi(std::io::stderr().is_terminal()).finish();
            tracing::subscriber::set_global_default(subscriber)?;
        }
        LogFormat::Json => {
            let subscriber = base.json().flatten_event(true).with_current_span(false).with_span_list(false).finish();
            tracing::subscriber::set_global_default(subscriber)?;
        }
    }
    Ok(())
}

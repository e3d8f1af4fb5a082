//! The log: tracing to standard error, as text or as one JSON object a line.

use crate::config::{Log, LogFormat};
use serde_json::{Map, Value, json};
use std::fmt;
use std::io::IsTerminal;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

/// Why logging cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter of `[log] level` cannot be read.
    #[error(
        "log.level = {level:?} is no filter ({source}); use error, warn, info, debug, trace, or module=level pairs"
    )]
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

/// Begins to log to standard error. `RUST_LOG`, where set, wins over the configuration. What was logged is written out when the
/// guard is dropped.
///
/// A thread of its own writes: a log that is full, closed or stalled costs lines (counted by nobody but the ledger, which has the
/// events all the same) and never holds an instance up.
///
/// # Errors
/// A filter that cannot be read; a second beginning.
pub fn start(log: &Log) -> Result<WorkerGuard, TelemetryError> {
    let level = std::env::var("RUST_LOG").ok().filter(|l| !l.is_empty()).unwrap_or_else(|| log.level.clone());
    let filter = EnvFilter::try_new(&level).map_err(|source| TelemetryError::Filter { level, source })?;
    let (writer, guard) = tracing_appender::non_blocking(std::io::stderr());
    let base = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_target(false)
        // The default complains on standard error about a standard error that cannot be written, and panics.
        .log_internal_errors(false);
    match log.format {
        LogFormat::Text => {
            tracing::subscriber::set_global_default(base.with_ansi(std::io::stderr().is_terminal()).finish())?;
        }
        LogFormat::Json => tracing::subscriber::set_global_default(base.event_format(JsonLine).finish())?,
    }
    Ok(guard)
}

/// One JSON object a line: `timestamp`, `level`, `message`, and the fields.
///
/// The library's own JSON format would give the detail of a ledger event as a string of JSON within JSON.
struct JsonLine;

impl<S, N> FormatEvent<S, N> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = Fields::default();
        line.0
            .insert("timestamp".into(), chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true).into());
        line.0.insert("level".into(), event.metadata().level().as_str().into());
        event.record(&mut line);
        writeln!(writer, "{}", Value::Object(line.0))
    }
}

#[derive(Default)]
struct Fields(Map<String, Value>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        let value = match field.name() {
            // Ledger events give their detail as JSON text: see `audit::tell`.
            "detail" => serde_json::from_str(&text).unwrap_or(Value::String(text)),
            _ => Value::String(text),
        };
        self.0.insert(field.name().into(), value);
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().into(), value.into());
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().into(), value.into());
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().into(), value.into());
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().into(), value.into());
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.insert(field.name().into(), json!(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_is_one_object_and_the_detail_of_an_event_is_an_object_in_it() {
        let lines = Lines::default();
        let to = lines.clone();
        let subscriber = tracing_subscriber::fmt().event_format(JsonLine).with_writer(move || to.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            let detail = json!({"status": 0, "text": "say \"no\"\n"});
            tracing::info!(event = %"delivered", attempts = 2, detail = %detail, "delivered");
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        let line: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["detail"]["status"], 0);
        assert_eq!(line["detail"]["text"], "say \"no\"\n");
        assert_eq!(line["attempts"], 2);
        assert_eq!(line["message"], "delivered");
        assert_eq!(line["level"], "INFO");
    }
}

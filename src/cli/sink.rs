//! `radroute sink`: a small archive to try things with.

use super::exit;
use crate::receive::sink::{Options, Sink, Stored};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Arguments of `radroute sink`.
#[derive(clap::Args)]
pub struct Args {
    /// Where it listens, such as 127.0.0.1:11113 (port 0: any free one)
    #[arg(long, value_name = "ADDR")]
    listen: SocketAddr,
    /// Where files go, as <SOP Instance UID>.dcm; made if it is not there
    #[arg(long, value_name = "D")]
    dir: PathBuf,
    /// Its AE title; without it every called AE title is accepted
    #[arg(long, value_name = "TITLE")]
    ae_title: Option<String>,
    /// Answer every C-STORE with this status, such as A700 or C000; a failure keeps nothing
    #[arg(long, value_name = "HEX", default_value = "0000", value_parser = hex)]
    status: u16,
    /// Wait before every answer, such as 500ms or 10s
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    delay: Duration,
}

fn hex(text: &str) -> Result<u16, String> {
    u16::from_str_radix(text.trim_start_matches("0x"), 16)
        .map_err(|_| "four hexadecimal digits, such as A700".to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    #[derive(serde::Deserialize)]
    struct Field {
        #[serde(with = "humantime_serde")]
        value: Duration,
    }
    serde_json::from_value::<Field>(serde_json::json!({ "value": text }))
        .map(|field| field.value)
        .map_err(|_| "a number with its unit, such as 500ms or 10s".to_owned())
}

/// Runs the command until SIGINT or SIGTERM.
pub fn run(args: Args, _config: PathBuf) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("radroute sink: {error}");
            return ExitCode::from(exit::IOERR);
        }
    };
    match runtime.block_on(serve(args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("radroute sink: {error}");
            ExitCode::from(exit::IOERR)
        }
    }
}

async fn serve(args: Args) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let options = Options {
        listen: args.listen,
        dir: args.dir,
        ae_title: args.ae_title,
        status: args.status,
        delay: args.delay,
        on_stored: Some(Arc::new(|stored| say(&line(stored)))),
    };
    let dir = options.dir.display().to_string();
    let sink = Sink::start(options).await?;
    say(&format!("listening on {}, files go to {dir}", sink.local_addr()));
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    let (stored, refused) = (sink.stored(), sink.refused());
    sink.stop().await;
    say(&format!("{stored} instances stored, {refused} refused"));
    Ok(())
}

/// A reader of our output that is gone is no reason to end.
fn say(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

fn line(stored: &Stored) -> String {
    let facts = &stored.facts;
    let body_part = if facts.body_part_examined.is_empty() { "-" } else { &facts.body_part_examined };
    let line = format!(
        "{}  {}  body part {}  {} bytes  {}  from {}",
        stored.path.display(),
        facts.modality,
        body_part,
        stored.bytes,
        facts.transfer_syntax_uid,
        stored.calling_ae
    );
    line.replace(char::is_control, "?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_and_durations_are_read() {
        assert_eq!(hex("A700"), Ok(0xA700));
        assert_eq!(hex("0xc000"), Ok(0xC000));
        assert!(hex("12345").is_err() && hex("no").is_err());
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert!(duration("5").is_err());
    }
}

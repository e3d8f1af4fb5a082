//! `radroute queue`: what waits for destinations, and the administrator's hand on it. Works beside the daemon.

use super::audit::{Failure, clock, plain, table, with_ledger, word};
use super::exit;
use crate::config::Config;
use crate::ledger::{DeliveryState, QueueRow, now};
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

/// Rows that a person reads; `--json` has all.
const SHOWN: usize = 100;

/// Arguments of `radroute queue`.
#[derive(clap::Args)]
pub struct Args {
    /// What to do
    action: Action,
    /// Only deliveries to this destination
    #[arg(long, value_name = "NAME")]
    destination: Option<String>,
    /// List: an array of rows; retry and drop: how many
    #[arg(long)]
    json: bool,
    /// Drop what waits for all destinations without asking for confirmation on a terminal
    #[arg(long)]
    yes: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Action {
    /// Show open deliveries and dead letters
    List,
    /// Make open deliveries and dead letters due now
    Retry,
    /// Give open deliveries and dead letters up
    Drop,
}

/// Runs the command.
pub fn run(args: Args, config: PathBuf) -> ExitCode {
    with_ledger(&config, async |ledger, config| {
        let destination = args.destination.as_deref();
        // A script knows what it says; a hand may slip.
        let slip = destination.is_none() && !args.yes && std::io::stdin().is_terminal();
        if args.action == Action::Drop && slip {
            let words =
                "drop gives up what waits for every destination: name one with --destination, or confirm with --yes";
            return Err(Failure(exit::USAGE, words.into()));
        }
        let count = match args.action {
            Action::List => {
                let rows = ledger.queue(destination).await?;
                check_known(config, destination, rows.len() as u64)?;
                return Ok(if args.json { json!(rows).to_string() + "\n" } else { to_text(&rows) });
            }
            Action::Retry => ledger.queue_retry(destination, now()).await?,
            Action::Drop => ledger.queue_drop(destination, now()).await?,
        };
        check_known(config, destination, count)?;
        let (action, done) = if args.action == Action::Retry { ("retry", "due now") } else { ("drop", "given up") };
        Ok(if args.json {
            json!({ "action": action, "destination": destination, "count": count }).to_string() + "\n"
        } else {
            format!("{count} {} {done}\n", if count == 1 { "delivery is" } else { "deliveries are" })
        })
    })
}

/// A name with nothing in the queue that the configuration does not have either is a typing error.
fn check_known(config: &Config, destination: Option<&str>, count: u64) -> Result<(), Failure> {
    match destination {
        Some(name) if count == 0 && !config.destination.iter().any(|d| d.name == name) => {
            let names: Vec<_> = config.destination.iter().map(|d| d.name.as_str()).collect();
            Err(Failure(
                exit::DATAERR,
                format!("there is no destination {:?}: the configuration has {}", plain(name), names.join(", ")),
            ))
        }
        _ => Ok(()),
    }
}

fn to_text(rows: &[QueueRow]) -> String {
    if rows.is_empty() {
        return "nothing waits\n".into();
    }
    let mut totals: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for row in rows {
        let total = totals.entry(&row.destination).or_default();
        *(if row.state == DeliveryState::Dead { &mut total.1 } else { &mut total.0 }) += 1;
    }
    let mut summary = table(&["destination", "waiting", "dead letters"]);
    for (destination, (waiting, dead)) in totals {
        summary.add_row([plain(destination), waiting.to_string(), dead.to_string()]);
    }
    let mut list = table(&["destination", "state", "attempts", "next", "queued", "SOP Instance UID", "last answer"]);
    for row in rows.iter().take(SHOWN) {
        list.add_row([
            plain(&row.destination),
            word(row.state),
            row.attempts.to_string(),
            if row.state == DeliveryState::Dead { "when retried".into() } else { clock(row.next_at) },
            clock(row.queued_at),
            plain(&row.sop_instance_uid),
            plain(&row.last_error),
        ]);
    }
    let mut text = format!("{summary}\n{list}\n");
    if rows.len() > SHOWN {
        let _ = writeln!(text, "and {} more: --json shows all", rows.len() - SHOWN);
    }
    text
}

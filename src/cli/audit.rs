//! `radroute audit`: the life of an instance, a series or a study.

use super::exit;
use crate::config::Config;
use crate::ledger::{DeliveryLife, DeliveryState, Event, FILE, InstanceLife, Ledger, LedgerError, Millis};
use crate::verdict::{Kind, Look};
use chrono::{Local, TimeZone};
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Arguments of `radroute audit`.
#[derive(clap::Args)]
pub struct Args {
    /// SOP Instance, Series or Study Instance UID
    uid: String,
    /// One JSON object: instances and events; times are milliseconds since 1970-01-01 UTC
    #[arg(long)]
    json: bool,
}

/// Runs the command. 65 when the ledger does not know the UID.
pub fn run(args: Args, config: PathBuf) -> ExitCode {
    let uid = args.uid.trim().trim_end_matches('\0').to_owned();
    with_ledger(&config, async |ledger, _| {
        let (instances, events) = (ledger.instances_of(&uid).await?, ledger.events_of(&uid).await?);
        if instances.is_empty() && events.is_empty() {
            return Err(LedgerError::Unknown(format!("instance, series or study {}", plain(&uid))).into());
        }
        Ok(if args.json {
            to_json(&uid, &instances, &events).to_string() + "\n"
        } else {
            to_text(&uid, &instances, &events)
        })
    })
}

/// Why a command beside the daemon fails: the exit code and the words.
pub(super) struct Failure(pub u8, pub String);

impl From<LedgerError> for Failure {
    fn from(e: LedgerError) -> Self {
        let code = match e {
            LedgerError::Unknown(_) => exit::DATAERR,
            LedgerError::Missing(_) | LedgerError::Busy(_) | LedgerError::Closed => exit::UNAVAILABLE,
            LedgerError::Refused(_) => exit::SOFTWARE,
            _ => exit::IOERR,
        };
        Failure(code, e.to_string())
    }
}

/// Opens the ledger that the configuration names, beside the daemon or without it, and prints what `act` returns.
pub(super) fn with_ledger(
    config: &Path,
    act: impl AsyncFnOnce(&Ledger, &Config) -> Result<String, Failure>,
) -> ExitCode {
    let done = || {
        let config = Config::load(config).map_err(|e| Failure(exit::CONFIG, e.to_string()))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .map_err(|e| Failure(exit::SOFTWARE, e.to_string()))?;
        runtime.block_on(async {
            let ledger = Ledger::open_existing(&config.node.state_dir.join(FILE))?;
            act(&ledger, &config).await
        })
    };
    match done() {
        Ok(text) => match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
            Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
                fail(exit::IOERR, &format!("cannot write the output: {e}"))
            }
            _ => ExitCode::SUCCESS, // `| head` has seen enough
        },
        Err(Failure(code, words)) => fail(code, &words),
    }
}

fn fail(code: u8, words: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "radroute: {words}"); // nowhere else to tell it
    ExitCode::from(code)
}

/// Text from the network as it may go to a terminal: no control characters.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{FFFD}' } else { c }).collect()
}

/// A time on this machine's clock.
pub(super) fn clock(at: Millis) -> String {
    let time = Local.timestamp_millis_opt(at).single();
    time.map_or_else(|| at.to_string(), |t| t.format("%Y-%m-%d %H:%M:%S%.3f").to_string())
}

/// A value of an enumeration as it is written in JSON.
pub(super) fn word(value: impl serde::Serialize) -> String {
    json!(value).as_str().unwrap_or_default().to_owned()
}

pub(super) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header);
    table
}

fn to_json(uid: &str, instances: &[InstanceLife], events: &[Event]) -> Value {
    let instances: Vec<Value> = instances
        .iter()
        .map(|life| {
            let row = &life.row;
            json!({
                "sop_instance_uid": row.facts.sop_instance_uid,
                "series_instance_uid": row.facts.series_instance_uid,
                "study_instance_uid": row.facts.study_instance_uid,
                "sop_class_uid": row.facts.sop_class_uid,
                "transfer_syntax_uid": row.facts.transfer_syntax_uid,
                "modality": row.facts.modality,
                "body_part_examined": row.facts.body_part_examined,
                "source": row.source,
                "received_at": row.received_at,
                "file_size": row.file_size,
                "spool_name": row.spool_name,
                "present": row.present,
                "decided": row.decided,
                "look": row.look.as_ref().map(short),
                "verdict": life.verdict,
                "changes": life.overlay.as_ref().map(changes),
                "deliveries": life.deliveries,
            })
        })
        .collect();
    json!({ "uid": uid, "instances": instances, "events": events })
}

/// Through text: `json!` would show the noise that single precision has in double.
fn short(look: &Look) -> Value {
    serde_json::to_string(look).and_then(|text| serde_json::from_str(&text)).unwrap_or_default()
}

fn changes(overlay: &crate::dataset::Overlay) -> Value {
    overlay.changes.iter().map(|(tag, (old, new))| (tag.clone(), json!({ "old": old, "new": new }))).collect()
}

fn to_text(uid: &str, instances: &[InstanceLife], events: &[Event]) -> String {
    let mut text =
        format!("{}: {}, {}\n\n", plain(uid), counted(instances.len(), "instance"), counted(events.len(), "event"));
    let several = instances.len() > 1;
    for event in events {
        let _ = write!(text, "{}  {:<11} {}", clock(event.at), plain(&event.kind), plain(&told(event)));
        let about = [&event.sop_instance_uid, &event.series_instance_uid, &event.study_instance_uid];
        if several && let Some(about) = about.into_iter().find(|u| !u.is_empty()) {
            let _ = write!(text, "  [{}]", plain(about));
        }
        text.push('\n');
    }
    if !instances.is_empty() {
        let mut table =
            table(&["SOP Instance UID", "received", "seen", "verdict", "BodyPartExamined", "deliveries", "spool"]);
        for life in instances {
            table.add_row([
                plain(&life.row.facts.sop_instance_uid),
                clock(life.row.received_at),
                life.row.look.as_ref().map_or("not looked at yet".into(), seen),
                life.verdict.as_ref().map_or("not decided yet".into(), |v| word(v.kind)),
                plain(&tag(life)),
                deliveries(&life.deliveries),
                if life.row.present { "kept".into() } else { "removed".into() },
            ]);
        }
        let _ = write!(text, "\n{table}\n");
    }
    text
}

fn counted(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// What the network saw, in short: its best score.
fn seen(look: &Look) -> String {
    match look {
        Look::Scored { scores, .. } => {
            let best = scores.iter().max_by(|a, b| a.1.total_cmp(b.1));
            best.map_or("no scores".into(), |(name, score)| format!("{} {score:.2}", plain(name)))
        }
        Look::Undecodable { .. } => "undecodable".into(),
        Look::Exempt { .. } => "exempt".into(),
    }
}

/// The tag as it came, and as it leaves.
fn tag(life: &InstanceLife) -> String {
    let shown = |value: &str| if value.is_empty() { "(empty)".to_owned() } else { value.to_owned() };
    match life.overlay.as_ref().and_then(|o| o.changes.get("0018,0015")) {
        Some((old, new)) => format!("{} → {}", shown(old), shown(new)),
        None => shown(&life.row.facts.body_part_examined),
    }
}

fn deliveries(deliveries: &[DeliveryLife]) -> String {
    let line = |d: &DeliveryLife| {
        let mut line = format!("{}: {}", plain(&d.destination), word(d.state));
        if let Some(at) = d.ended_at.filter(|_| d.state == DeliveryState::Delivered) {
            let _ = write!(line, " {}", clock(at));
        } else if d.attempts > 0 {
            let _ = write!(line, " after {} ({})", counted(d.attempts as usize, "attempt"), plain(&d.detail));
        }
        line
    };
    if deliveries.is_empty() { "none".into() } else { deliveries.iter().map(line).collect::<Vec<_>>().join("\n") }
}

/// One line for what an event says.
fn told(event: &Event) -> String {
    let d = &event.detail;
    let text = |key: &str| d[key].as_str().unwrap_or_default();
    let list = |key: &str| {
        d[key].as_array().map_or(String::new(), |a| a.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "))
    };
    match event.kind.as_str() {
        "received" | "adopted" => {
            let from = event.source.as_ref().map_or("the spool".into(), |s| {
                let peer = s.peer.map_or(String::new(), |p| format!(" at {p}"));
                format!("{}{peer} for {}", s.calling_ae, s.called_ae)
            });
            let tag = if text("body_part_examined").is_empty() { "(empty)" } else { text("body_part_examined") };
            format!(
                "from {from}: {} bytes, BodyPartExamined {tag}, {} ms + {} ms sync",
                d["file_size"], d["receive_ms"], d["sync_ms"]
            )
        }
        "looked" => match d["scores"].as_object() {
            Some(scores) => {
                let scores: Vec<_> =
                    scores.iter().map(|(n, s)| format!("{n} {:.2}", s.as_f64().unwrap_or_default())).collect();
                format!(
                    "{} (model {}, {} ms + {} ms)",
                    scores.join(", "),
                    text("model"),
                    d["decode_ms"],
                    d["classify_ms"]
                )
            }
            None => format!("{}: {}", text("look"), text("reason")),
        },
        "verdict" => {
            let inherited = if d["inherited"] == true { " (inherited)" } else { "" };
            let kind = serde_json::from_value::<Kind>(d["kind"].clone()).map_or(String::new(), word);
            format!(
                "{kind}{inherited}, {}: {}",
                counted(d["instances"].as_u64().unwrap_or(0) as usize, "instance"),
                text("reason")
            )
        }
        "correction" => d["changes"].as_object().map_or(String::new(), |changes| {
            let shown = |v: &Value| v.as_str().filter(|t| !t.is_empty()).unwrap_or("(empty)").to_owned();
            let line = |(tag, c): (&String, &Value)| format!("({tag}) {} → {}", shown(&c["old"]), shown(&c["new"]));
            changes.iter().map(line).collect::<Vec<_>>().join("; ")
        }),
        "untouched" => text("reason").to_owned(),
        "routed" | "unrouted" => {
            let why =
                if list("routes").is_empty() { text("because").to_owned() } else { format!("by {}", list("routes")) };
            format!(
                "to {} {why}",
                if list("destinations").is_empty() { "nowhere".into() } else { list("destinations") }
            )
        }
        "delivered" | "retry" | "dead" => {
            let status = d["status"].as_str().map_or(String::new(), |s| format!(", status {s}"));
            let next = d["next_at"].as_i64().map_or(String::new(), |at| format!(", next {}", clock(at)));
            format!(
                "{}: attempt {}{status}, {} ms{next}: {}{}",
                text("destination"),
                d["attempt"],
                d["send_ms"],
                text("detail"),
                budget(&d["stages"])
            )
        }
        "dropped" | "requeued" => format!("{} by {}", text("destination"), text("by")),
        _ if d.is_null() => String::new(),
        _ => d.to_string(),
    }
}

/// Where the time went, where the event tells it.
fn budget(stages: &Value) -> String {
    let of = |stage: &&str| stages[format!("{stage}_ms")].as_f64().map(|ms| format!("{stage} {ms:.0}"));
    let told: Vec<_> = ["receive", "sync", "wait", "decode", "classify", "send"].iter().filter_map(of).collect();
    if told.is_empty() { String::new() } else { format!(" (ms: {})", told.join(", ")) }
}

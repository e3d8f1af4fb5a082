//! `radroute send`: DICOM files to a C-STORE SCP, as they are, the way a modality would.

use super::exit;
use crate::dataset::file_meta::read_file_meta;
use crate::deliver::association::{Association, Peer};
use crate::deliver::contexts::{self, Need};
use crate::deliver::sender::{self, Item, SendError};
use crate::dimse::outcome::{self, Fate};
use comfy_table::Table;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufReader, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Arguments of `radroute send`.
#[derive(clap::Args)]
pub struct Args {
    /// Where to
    #[arg(long, value_name = "AE@HOST:PORT")]
    to: To,
    /// The calling AE title
    #[arg(long, value_name = "AE", default_value = "RADROUTE", value_parser = ae_title)]
    calling: String,
    /// How long to wait for the peer at each step
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u64,
    /// One JSON object a line instead of the table
    #[arg(long)]
    json: bool,
    /// DICOM files, or folders of them
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct To {
    ae_title: String,
    address: String,
}

impl std::str::FromStr for To {
    type Err = String;

    fn from_str(text: &str) -> Result<To, String> {
        let (title, address) = text.split_once('@').ok_or("give AE@HOST:PORT, such as ARCHIVE@127.0.0.1:11113")?;
        let (host, port) = address.rsplit_once(':').ok_or("the port is missing: AE@HOST:PORT")?;
        if host.is_empty() || port.parse::<u16>().is_err() {
            return Err(format!("{address} is not HOST:PORT"));
        }
        Ok(To { ae_title: ae_title(title)?, address: address.to_owned() })
    }
}

/// 1 to 16 printable ASCII characters, no backslash, not only spaces (PS3.5 section 6.2).
fn ae_title(text: &str) -> Result<String, String> {
    let fine = text.bytes().all(|b| matches!(b, 0x20..=0x7E) && b != b'\\');
    let title = text.trim();
    if !fine || title.is_empty() || text.len() > 16 {
        return Err(format!("{text:?} is no AE title: 1 to 16 printable ASCII characters without a backslash"));
    }
    Ok(title.to_owned())
}

/// What became of one file.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) path: PathBuf,
    pub(super) sop_instance_uid: String,
    /// `delivered`, `warning`, `failed`
    pub(super) outcome: &'static str,
    /// Four hexadecimal digits.
    status: Option<String>,
    pub(super) detail: String,
    bytes: u64,
    ms: f32,
}

/// Runs the command.
pub fn run(args: Args, _config: PathBuf) -> ExitCode {
    let (items, skipped) = match collect(&args.paths) {
        Ok(found) => found,
        Err(message) => {
            eprintln!("radroute send: {message}");
            return ExitCode::from(exit::IOERR);
        }
    };
    for (path, why) in &skipped {
        eprintln!("radroute send: {} is skipped: {why}", path.display());
    }
    if items.is_empty() {
        eprintln!("radroute send: there is no DICOM file to send");
        return ExitCode::from(exit::DATAERR);
    }
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("radroute send: {error}");
            return ExitCode::from(exit::SOFTWARE);
        }
    };
    let peer = Peer {
        called_ae: args.to.ae_title,
        calling_ae: args.calling,
        address: args.to.address,
        timeout: Duration::from_secs(args.timeout.max(1)),
        window: 1,
    };
    let bar = progress(items.len(), args.json);
    let rows = runtime.block_on(send_all(&peer, items, &bar));
    bar.finish_and_clear();
    let delivered = rows.iter().filter(|row| row.outcome != "failed").count();
    if let Err(error) = print(&rows, args.json) {
        eprintln!("radroute send: {error}");
        return ExitCode::from(exit::IOERR);
    }
    eprintln!("{delivered} of {} delivered to {} at {}", rows.len(), peer.called_ae, peer.address);
    // In a folder much lies about; what was named was meant.
    let named = skipped.iter().any(|(path, _)| args.paths.contains(path));
    match delivered == rows.len() {
        true if named => ExitCode::from(exit::DATAERR),
        true => ExitCode::SUCCESS,
        false => ExitCode::from(exit::UNAVAILABLE),
    }
}

/// On a terminal alone.
pub(super) fn progress(length: usize, json: bool) -> ProgressBar {
    if json || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {per_sec} {eta}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length as u64).with_style(style)
}

fn print(rows: &[Row], json: bool) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    if json {
        for row in rows {
            serde_json::to_writer(&mut out, row)?;
            writeln!(out)?;
        }
        return Ok(());
    }
    let mut table = Table::new();
    table.set_header(["file", "SOP instance", "outcome", "status", "bytes", "ms", "detail"]);
    for row in rows {
        table.add_row([
            row.path.display().to_string(),
            row.sop_instance_uid.clone(),
            row.outcome.to_owned(),
            row.status.clone().unwrap_or_default(),
            row.bytes.to_string(),
            format!("{:.1}", row.ms),
            row.detail.clone(),
        ]);
    }
    writeln!(out, "{table}")
}

pub(super) type Skipped = Vec<(PathBuf, String)>;

/// The DICOM files of `paths`, folders with all that is in them, sorted; and what was skipped, with the reason.
pub(super) fn collect(paths: &[PathBuf]) -> Result<(Vec<Item>, Skipped), String> {
    let mut items = Vec::new();
    let mut skipped = Vec::new();
    for given in paths {
        let mut folders = Vec::new();
        let mut files = Vec::new();
        let kind = std::fs::metadata(given).map_err(|e| format!("{}: {e}", given.display()))?;
        if kind.is_dir() {
            folders.push(given.clone())
        } else {
            files.push(given.clone())
        }
        while let Some(folder) = folders.pop() {
            let entries = std::fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
            for entry in entries {
                let entry = entry.map_err(|e| format!("{}: {e}", folder.display()))?;
                // links are not followed below a folder: they may lead in a circle
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                    Ok(kind) if kind.is_file() => files.push(entry.path()),
                    Ok(_) => skipped.push((entry.path(), "not a plain file".into())),
                    Err(error) => skipped.push((entry.path(), error.to_string())),
                }
            }
        }
        files.sort();
        for path in files {
            match item(&path) {
                Ok(item) => items.push(item),
                Err(why) => skipped.push((path, why)),
            }
        }
    }
    Ok((items, skipped))
}

fn item(path: &Path) -> Result<Item, String> {
    let file = File::open(path).map_err(|e| e.to_string())?;
    let size = file.metadata().map_err(|e| e.to_string())?.len();
    let (meta, offset) = read_file_meta(&mut BufReader::new(file)).map_err(|e| e.to_string())?;
    if meta.sop_class_uid.is_empty() || meta.sop_instance_uid.is_empty() {
        return Err("its file meta group names no SOP class or instance (a DICOMDIR?)".into());
    }
    Ok(Item {
        path: path.to_owned(),
        offset,
        length: size.saturating_sub(offset),
        need: Need::new(&meta.sop_class_uid, &meta.transfer_syntax_uid),
        sop_instance: meta.sop_instance_uid,
        overlay: None,
        may_decode: false,
    })
}

/// All on one association; a further one only where more presentation contexts are needed than one has, or it was lost.
pub(super) async fn send_all(peer: &Peer, items: Vec<Item>, bar: &ProgressBar) -> Vec<Row> {
    let mut waiting: VecDeque<Item> = items.into();
    let mut rows = Vec::with_capacity(waiting.len());
    while !waiting.is_empty() {
        let proposed = contexts::propose(waiting.iter().map(|item| &item.need), false);
        let mut association = match Association::request(peer, &proposed).await {
            Ok(association) => association,
            Err(error) => {
                let detail = error.to_string();
                rows.extend(waiting.drain(..).map(|item| row(item, Err(detail.clone()), Instant::now())));
                break;
            }
        };
        let mut lost = false;
        let mut later = VecDeque::new();
        while let Some(item) = waiting.pop_front() {
            let started = Instant::now();
            let result = sender::send(&mut association, &item).await;
            if matches!(result, Err(SendError::NotProposed)) {
                later.push_back(item);
                continue;
            }
            bar.inc(1);
            rows.push(row(item, result.map_err(|e| e.to_string()), started));
            if !association.usable() {
                lost = true;
                break;
            }
        }
        if !lost {
            association.release().await;
        }
        later.append(&mut waiting);
        waiting = later;
    }
    rows
}

fn row(item: Item, result: Result<sender::Answer, String>, started: Instant) -> Row {
    let ms = started.elapsed().as_secs_f32() * 1000.0;
    let (path, sop_instance_uid) = (item.path, item.sop_instance);
    match result {
        Ok(answer) => {
            let meaning = outcome::of_c_store(answer.status);
            let outcome = match meaning.fate {
                Fate::Delivered => "delivered",
                Fate::Warned => "warning",
                Fate::Retry | Fate::Spare | Fate::Dead => "failed",
            };
            let detail = match answer.comment {
                Some(comment) => format!("{} (\"{comment}\")", meaning.words),
                None => meaning.words.to_owned(),
            };
            let status = Some(format!("{:04X}", answer.status));
            Row { path, sop_instance_uid, outcome, status, detail, bytes: answer.bytes, ms }
        }
        Err(detail) => Row { path, sop_instance_uid, outcome: "failed", status: None, detail, bytes: 0, ms },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let to: To = "ARCHIVE@pacs.example:104".parse().unwrap();
        assert_eq!(to, To { ae_title: "ARCHIVE".into(), address: "pacs.example:104".into() });
        assert_eq!("A@[::1]:104".parse::<To>().unwrap().address, "[::1]:104");
        for wrong in
            ["pacs:104", "A@pacs", "A@:104", "A@pacs:port", "@pacs:104", "SEVENTEEN_LETTERS@pacs:104", "A\\B@pacs:1"]
        {
            assert!(wrong.parse::<To>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_not_dicom_is_skipped() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("below")).unwrap();
        std::fs::write(folder.path().join("below/notes.txt"), "not DICOM").unwrap();
        let (items, skipped) = collect(&[folder.path().to_owned()]).unwrap();
        assert!(items.is_empty());
        assert_eq!(skipped.len(), 1);
        assert!(collect(&[folder.path().join("absent")]).is_err());
    }
}

//! `radroute demo`: everything in one process. Two archives, the router, and a modality that sends the project's sample
//! radiographs with wrong, missing and right tags over real associations; then a table of what happened to each.

use super::{exit, send};
use crate::anatomy::Region;
use crate::config::Config;
use crate::daemon::Daemon;
use crate::dataset::{Facts, file_meta::read_file_meta};
use crate::deliver::association::Peer;
use crate::ledger::{DeliveryState, InstanceLife};
use crate::receive::sink::{Options, Sink};
use crate::verdict::Look;
use serde::Serialize;
use std::collections::HashMap;
use std::io::{BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The longest the demo waits for its deliveries.
const PATIENCE: Duration = Duration::from_secs(600);

/// Arguments of `radroute demo`.
#[derive(clap::Args)]
pub struct Args {
    /// The network; default: that of the source tree or of the installation
    #[arg(long, value_name = "F")]
    model: Option<PathBuf>,
    /// Keep everything (archives, spool, ledger) in this folder
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// One JSON object a line instead of the table
    #[arg(long)]
    json: bool,
}

macro_rules! sample {
    ($name:literal) => {
        ($name, include_bytes!(concat!("../../tests/data/", $name)).as_slice())
    };
}

/// The sample radiographs: synthetic, see NOTICE.
const SAMPLES: &[(&str, &[u8])] = &[
    sample!("shoulder-1.dcm"),
    sample!("shoulder-2.dcm"),
    sample!("elbow-1.dcm"),
    sample!("elbow-2.dcm"),
    sample!("hand-1.dcm"),
    sample!("hand-2.dcm"),
    sample!("pelvis-1.dcm"),
    sample!("pelvis-2.dcm"),
    sample!("knee-1.dcm"),
    sample!("knee-2.dcm"),
    sample!("foot-1.dcm"),
    sample!("chest-1.dcm"),
    sample!("skull-1.dcm"),
    sample!("ankle-1.dcm"),
    sample!("lspine-1.dcm"),
];

/// What became of one sample.
#[derive(Debug, Serialize)]
struct Row {
    sample: String,
    sop_instance_uid: String,
    transfer_syntax_uid: String,
    tag_sent: String,
    network: String,
    verdict: String,
    tag_at_archive: String,
    at: Vec<String>,
    ms: i64,
}

/// Why the demo could not go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum DemoError {
    #[error("{0}")]
    Said(String),
    #[error("{what}: {source}")]
    Io { what: String, source: std::io::Error },
    #[error(transparent)]
    Daemon(#[from] crate::daemon::DaemonError),
    #[error(transparent)]
    Ledger(#[from] crate::ledger::LedgerError),
}

fn io(what: impl std::fmt::Display) -> impl FnOnce(std::io::Error) -> DemoError {
    move |source| DemoError::Io { what: what.to_string(), source }
}

/// Runs the command.
pub fn run(args: Args, _config: PathBuf) -> ExitCode {
    let folder = match folder(args.keep.as_deref()) {
        Ok(folder) => folder,
        Err(error) => {
            eprintln!("radroute demo: {error}");
            return exit::IOERR.into();
        }
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("radroute demo: {error}");
            return exit::SOFTWARE.into();
        }
    };
    let result = runtime.block_on(demo(&args, &folder));
    if args.keep.is_none() {
        // A leftover in the temporary folder is all that can come of an error here.
        let _ = std::fs::remove_dir_all(&folder);
    }
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => exit::SOFTWARE.into(),
        Err(error) => {
            eprintln!("radroute demo: {error}");
            exit::UNAVAILABLE.into()
        }
    }
}

/// The folder given, else a new one of our own in the temporary folder.
fn folder(keep: Option<&Path>) -> Result<PathBuf, DemoError> {
    let folder = match keep {
        Some(keep) => keep.to_owned(),
        None => std::env::temp_dir().join(format!("radroute-demo-{:016x}", rand::random::<u64>())),
    };
    // Not one that somebody else has laid there.
    let make = if keep.is_some() { std::fs::create_dir_all } else { std::fs::create_dir::<&Path> };
    make(&folder).map_err(io(folder.display()))?;
    Ok(folder)
}

/// True if every sample is where it belongs.
async fn demo(args: &Args, folder: &Path) -> Result<bool, DemoError> {
    let model = find_model(args.model.as_deref())?;
    let modality = folder.join("modality");
    std::fs::create_dir_all(&modality).map_err(io(modality.display()))?;
    for (name, bytes) in SAMPLES {
        std::fs::write(modality.join(name), bytes).map_err(io(name))?;
    }
    let kept: Arc<Mutex<HashMap<String, PathBuf>>> = Arc::default();
    let archive = archive("ARCHIVE", folder.join("archive"), Some(kept.clone())).await?;
    let ortho = self::archive("ORTHO", folder.join("orthopaedics"), None).await?;
    let config = configuration(folder, &model, archive.local_addr(), ortho.local_addr())?;
    say(args, "an archive, an orthopaedic archive for limbs, and the router: up, on ports of their own");
    let daemon = Daemon::start(config, false).await?;

    let (items, _) = send::collect(std::slice::from_ref(&modality)).map_err(DemoError::Said)?;
    let peer = Peer {
        called_ae: "RADROUTE".into(),
        calling_ae: "XRAY1".into(),
        address: daemon.address().to_string(),
        timeout: Duration::from_secs(60),
        window: 1,
    };
    let count = items.len();
    say(args, &format!("the modality XRAY1 sends {count} radiographs"));
    let bar = send::progress(2 * count, args.json);
    let sent = send::send_all(&peer, items, &bar).await;
    if let Some(failed) = sent.iter().find(|row| row.outcome == "failed") {
        return Err(DemoError::Said(format!("{} was not taken: {}", failed.path.display(), failed.detail)));
    }
    let lives = wait(&daemon, &sent, &bar).await?;
    bar.finish_and_clear();

    let kept = kept.lock().map(|k| k.clone()).unwrap_or_default();
    let rows: Vec<Row> = sent.iter().zip(&lives).map(|(sent, life)| row(&sent.path, life, &kept)).collect();
    print(args, &rows).map_err(io("standard output"))?;
    let complete = lives.iter().all(delivered);
    daemon.stop().await?;
    let count_of = |kind: &str| rows.iter().filter(|r| r.verdict == kind).count();
    say(
        args,
        &format!(
            "{} sent, {} at the archive, {} also at orthopaedics; {} corrected, {} filled, {} left as they came",
            rows.len(),
            archive.stored(),
            ortho.stored(),
            count_of("corrected"),
            count_of("filled"),
            rows.len() - count_of("corrected") - count_of("filled"),
        ),
    );
    if args.keep.is_some() {
        say(
            args,
            &format!("everything is kept in {}; try: radroute audit --config {0}/config.toml UID", folder.display()),
        );
    }
    archive.stop().await;
    ortho.stop().await;
    Ok(complete)
}

fn say(args: &Args, text: &str) {
    if args.json { eprintln!("{text}") } else { println!("{text}") }
}

/// The model given; else in the source tree here; else beside an installed binary.
pub(super) fn find_model(given: Option<&Path>) -> Result<PathBuf, DemoError> {
    if let Some(given) = given {
        return Ok(given.to_owned());
    }
    let name = "radroute.safetensors";
    let candidates = [
        Path::new("weights").join(name),
        Path::new(env!("CARGO_MANIFEST_DIR")).join("weights").join(name),
        Path::new("/usr/share/radroute").join(name),
    ];
    candidates
        .into_iter()
        .find(|p| p.exists())
        .ok_or_else(|| DemoError::Said(format!("no {name} in weights/ or /usr/share/radroute: give it with --model")))
}

async fn archive(
    title: &str,
    dir: PathBuf,
    kept: Option<Arc<Mutex<HashMap<String, PathBuf>>>>,
) -> Result<Sink, DemoError> {
    let mut options = Options::new(SocketAddr::from(([127, 0, 0, 1], 0)), dir);
    options.ae_title = Some(title.to_owned());
    if let Some(kept) = kept {
        options.on_stored = Some(Arc::new(move |stored| {
            if let Ok(mut kept) = kept.lock() {
                kept.insert(stored.facts.sop_instance_uid.clone(), stored.path.clone());
            }
        }));
    }
    Sink::start(options).await.map_err(io(format!("the archive {title}")))
}

fn configuration(folder: &Path, model: &Path, archive: SocketAddr, ortho: SocketAddr) -> Result<Config, DemoError> {
    let text = format!(
        r#"
[node]
ae_title = "RADROUTE"
state_dir = {state:?}

[listen]
address = "127.0.0.1:0"

[limits]
min_free_disk = "64 MiB"

[classify]
model = {model:?}
settle = "1s"

[[destination]]
name = "archive"
ae_title = "ARCHIVE"
address = "{archive}"

[[destination]]
name = "orthopaedics"
ae_title = "ORTHO"
address = "{ortho}"

[[route]]
name = "everything"
to = ["archive"]

[[route]]
name = "limbs"
region = ["SHOULDER", "ELBOW", "HAND", "KNEE"]
to = ["orthopaedics"]

[routing]
default = ["archive"]
"#,
        state = folder.join("state"),
    );
    std::fs::write(folder.join("config.toml"), &text).map_err(io("config.toml"))?;
    let loaded = Config::load(&folder.join("config.toml"));
    loaded.map_err(|e| DemoError::Said(e.to_string()))
}

/// Waits until every sample is delivered to all its destinations.
async fn wait(
    daemon: &Daemon,
    sent: &[send::Row],
    bar: &indicatif::ProgressBar,
) -> Result<Vec<InstanceLife>, DemoError> {
    let begun = Instant::now();
    loop {
        let mut lives = Vec::with_capacity(sent.len());
        for row in sent {
            lives.extend(daemon.ledger().instances_of(&row.sop_instance_uid).await?.pop());
        }
        let done = lives.iter().filter(|life| delivered(life)).count();
        bar.set_position((sent.len() + done) as u64);
        if done == sent.len() {
            return Ok(lives);
        }
        if begun.elapsed() > PATIENCE {
            return Err(DemoError::Said(format!("only {done} of {} are delivered after {PATIENCE:?}", sent.len())));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn delivered(life: &InstanceLife) -> bool {
    let all = &life.deliveries;
    !all.is_empty() && all.iter().all(|d| d.state == DeliveryState::Delivered)
}

fn row(path: &Path, life: &InstanceLife, kept: &HashMap<String, PathBuf>) -> Row {
    let facts = &life.row.facts;
    let at_archive = kept.get(&facts.sop_instance_uid).and_then(|path| tag_in(path));
    let ended = life.deliveries.iter().filter_map(|d| d.ended_at).max().unwrap_or(life.row.received_at);
    let absent = |tag: &str| if tag.is_empty() { "(none)".to_owned() } else { tag.to_owned() };
    Row {
        sample: path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default(),
        sop_instance_uid: facts.sop_instance_uid.clone(),
        transfer_syntax_uid: facts.transfer_syntax_uid.clone(),
        tag_sent: absent(&facts.body_part_examined),
        network: life.row.look.as_ref().map(seen).unwrap_or_default(),
        verdict: life.verdict.as_ref().map(|v| v.kind.name().to_owned()).unwrap_or_default(),
        tag_at_archive: at_archive.map_or_else(|| "?".into(), |tag| absent(&tag)),
        at: life.deliveries.iter().map(|d| d.destination.clone()).collect(),
        ms: ended - life.row.received_at,
    }
}

/// The strongest region, in words.
fn seen(look: &Look) -> String {
    match look {
        Look::Scored { scores, .. } => Region::ALL
            .iter()
            .filter_map(|r| scores.get(r.term()).map(|score| (r.term(), *score)))
            .max_by(|a, b| a.1.total_cmp(&b.1))
            .map(|(term, score)| format!("{term} {score:.2}"))
            .unwrap_or_default(),
        Look::Undecodable { reason } | Look::Exempt { reason } => reason.clone(),
    }
}

fn tag_in(path: &Path) -> Option<String> {
    let file = std::fs::File::open(path).ok()?;
    let size = file.metadata().ok()?.len();
    let mut reader = BufReader::new(file);
    let (meta, offset) = read_file_meta(&mut reader).ok()?;
    let facts = Facts::read(&mut reader, size.checked_sub(offset)?, &meta.transfer_syntax_uid).ok()?;
    Some(facts.body_part_examined)
}

fn print(args: &Args, rows: &[Row]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    if args.json {
        for row in rows {
            serde_json::to_writer(&mut out, row)?;
            writeln!(out)?;
        }
        return Ok(());
    }
    let mut table =
        super::audit::table(&["sample", "tag sent", "network", "verdict", "tag at the archive", "now at", "ms"]);
    for row in rows {
        let cells = [
            &row.sample,
            &row.tag_sent,
            &row.network,
            &row.verdict,
            &row.tag_at_archive,
            &row.at.join(", "),
            &row.ms.to_string(),
        ];
        table.add_row(cells);
    }
    writeln!(out, "{table}")
}

//! `radroute harvest`: what was kept from the traffic for training. Works beside the daemon.

use super::audit::{plain, table};
use super::exit;
use crate::config::Config;
use crate::harvest::{self, Exported, HarvestError, Kept, Store};
use crate::model::card::Card;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Arguments of `radroute harvest`.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// How many thumbnails there are, by tag
    Status {
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Write PNG files and a manifest for `radroute train` and `evaluate`
    Export {
        /// A folder that is empty or not there
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Draws train, validation and test
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Remove all thumbnails, and the salt of their names
    Clear {
        /// Without asking for confirmation on a terminal
        #[arg(long)]
        yes: bool,
    },
}

/// Why the command fails: the exit code and the words.
struct Failure(u8, String);

impl From<HarvestError> for Failure {
    fn from(e: HarvestError) -> Failure {
        let code = if matches!(e, HarvestError::Export { .. }) { exit::USAGE } else { exit::IOERR };
        Failure(code, e.to_string())
    }
}

/// Runs the command.
pub fn run(args: Args, config: PathBuf) -> ExitCode {
    match act(args.action, &config) {
        // A reader that has gone away wants no more.
        Ok(text) => {
            let _ = writeln!(std::io::stdout().lock(), "{}", text.trim_end());
            ExitCode::SUCCESS
        }
        Err(Failure(code, words)) => {
            eprintln!("radroute harvest: {words}");
            ExitCode::from(code)
        }
    }
}

fn act(action: Action, config: &Path) -> Result<String, Failure> {
    let config = Config::load(config).map_err(|e| Failure(exit::CONFIG, e.to_string()))?;
    let state = &config.node.state_dir;
    match action {
        Action::Status { json } => {
            let images = Store::open(state)?.map(|store| store.images().0).unwrap_or_default();
            Ok(if json { status_json(&config, &images) } else { status_text(&config, &images) })
        }
        Action::Export { out, seed } => {
            let Some(store) = Store::open(state)?.filter(|store| !store.is_empty()) else {
                let why = "nothing was harvested; [harvest] enabled = true in the configuration begins";
                return Err(Failure(exit::DATAERR, why.into()));
            };
            let card = Card::read(&Card::beside(&config.classify.model))
                .map_err(|e| Failure(exit::CONFIG, format!("classify.model: {e}")))?;
            let heads: Vec<String> = card.heads.into_iter().map(|head| head.name).collect();
            let exported = harvest::export(&store, &heads, &out, seed)?;
            Ok(exported_text(&exported, &out))
        }
        Action::Clear { yes } => {
            if !yes && std::io::stdin().is_terminal() {
                let words = "clear removes every thumbnail for good; confirm with --yes";
                return Err(Failure(exit::USAGE, words.into()));
            }
            let count = harvest::clear(state)?;
            Ok(format!("{count} thumbnail{} removed", if count == 1 { " is" } else { "s are" }))
        }
    }
}

/// Of one tag: images, groups, and the images whose strongest head is the tag.
#[derive(Default)]
struct Count<'a> {
    images: usize,
    groups: BTreeSet<&'a str>,
    agree: usize,
}

fn by_tag(images: &[Kept]) -> BTreeMap<&str, Count<'_>> {
    let mut counts: BTreeMap<&str, Count> = BTreeMap::new();
    for image in images {
        let count = counts.entry(&image.tag).or_default();
        let strongest = image.record.scores.iter().max_by(|a, b| a.1.total_cmp(b.1));
        count.images += 1;
        count.groups.insert(&image.record.group);
        count.agree += usize::from(strongest.is_some_and(|(head, _)| *head == image.tag));
    }
    counts
}

fn status_text(config: &Config, images: &[Kept]) -> String {
    let mut rows = table(&["tag", "images", "groups", "network names the tag"]);
    for (tag, count) in by_tag(images) {
        rows.add_row([plain(tag), count.images.to_string(), count.groups.len().to_string(), count.agree.to_string()]);
    }
    let harvest = &config.harvest;
    let now = if harvest.enabled { "harvesting" } else { "not harvesting ([harvest] enabled = false)" };
    let summary = format!("{now}; {} of at most {} thumbnails", images.len(), harvest.max_images);
    if images.is_empty() { summary } else { format!("{rows}\n{summary}") }
}

fn status_json(config: &Config, images: &[Kept]) -> String {
    let tags: BTreeMap<&str, serde_json::Value> = by_tag(images)
        .into_iter()
        .map(|(tag, c)| (tag, json!({ "images": c.images, "groups": c.groups.len(), "network_agrees": c.agree })))
        .collect();
    let harvest = &config.harvest;
    json!({ "enabled": harvest.enabled, "max_images": harvest.max_images, "images": images.len(), "tags": tags })
        .to_string()
}

fn exported_text(exported: &Exported, out: &Path) -> String {
    let mut rows = table(&["region", "train", "validation", "test"]);
    for (label, [train, validation, test]) in &exported.by_label {
        rows.add_row([plain(label), train.to_string(), validation.to_string(), test.to_string()]);
    }
    let damaged = match exported.damaged {
        0 => String::new(),
        count => format!("; {count} left out: gone or damaged"),
    };
    let file = out.join("manifest.tsv");
    format!("{rows}\n{} images of {} groups in {}{damaged}", exported.images, exported.groups, file.display())
}

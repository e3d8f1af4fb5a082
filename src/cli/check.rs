//! `radroute check`: is the configuration right?

use super::exit;
use crate::config::{Config, Loaded, Problem, Severity};
use crate::model::card::Card;
use serde_json::json;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Arguments of `radroute check`.
#[derive(clap::Args)]
pub struct Args {
    /// Print one JSON object instead
    #[arg(long)]
    json: bool,
}

/// Checks the configuration: exit 0 with a summary and the warnings, or 78 with every error, `file:line: message`.
pub fn run(args: Args, path: PathBuf) -> ExitCode {
    let (loaded, problems) = match Config::load_with_warnings(&path) {
        Ok(loaded) => {
            let problems = loaded.warnings.iter().cloned().chain(model(&loaded)).collect();
            (Some(loaded), problems)
        }
        Err(error) => (None, error.problems),
    };
    let right = problems.iter().all(|p| p.severity == Severity::Warning);
    if args.json {
        said(&as_json(&path, right, &problems));
    } else {
        for problem in &problems {
            eprintln!("{}:{problem}", path.display());
        }
        if let (true, Some(loaded)) = (right, &loaded) {
            said(&summary(&path, loaded));
        }
    }
    if right { ExitCode::SUCCESS } else { exit::CONFIG.into() }
}

/// The weights and their card: without them `serve` will not start. The network itself is not loaded: that is the work of
/// a start, and checks the sum of the weights.
fn model(loaded: &Loaded) -> Option<Problem> {
    let weights = &loaded.config.classify.model;
    let wrong = if weights.is_file() {
        Card::read(&Card::beside(weights)).err()?.to_string()
    } else {
        let here = std::env::current_dir().map(|dir| dir.display().to_string()).unwrap_or_else(|_| "here".into());
        format!("{} is not there (relative paths start at {here})", weights.display())
    };
    Some(Problem::error(loaded.line("classify.model"), format!("classify.model: {wrong}")))
}

/// A reader that has gone away is no reason to panic: the exit code says it all.
fn said(text: &dyn std::fmt::Display) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

fn as_json(config: &Path, right: bool, problems: &[Problem]) -> serde_json::Value {
    let of = |severity: Severity| -> Vec<_> {
        let which = problems.iter().filter(|p| p.severity == severity);
        which.map(|p| json!({ "line": p.line, "message": p.message })).collect()
    };
    json!({
        "file": config.display().to_string(),
        "ok": right,
        "errors": of(Severity::Error),
        "warnings": of(Severity::Warning),
    })
}

fn summary(path: &Path, loaded: &Loaded) -> String {
    let config = &loaded.config;
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    format!(
        "{}: right; {} listens on {}, mode {}, {}, {}, {}",
        path.display(),
        config.node.ae_title,
        config.listen.address,
        config.classify.mode.name(),
        count(config.destination.len(), "destination"),
        count(config.route.len(), "route"),
        count(loaded.warnings.len(), "warning"),
    )
}

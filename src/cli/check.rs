//! `radroute check`: is the configuration right?

use super::exit;
use crate::config::{Config, Loaded, Problem, Severity};
use serde_json::json;
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
pub fn run(args: Args, config: PathBuf) -> ExitCode {
    let (loaded, mut problems) = match Config::load_with_warnings(&config) {
        Ok(Loaded { config, warnings }) => (Some(config), warnings),
        Err(error) => (None, error.problems),
    };
    if let Some(loaded) = &loaded {
        problems.extend(missing_files(loaded));
    }
    let right = problems.iter().all(|p| p.severity == Severity::Warning);
    if args.json {
        println!("{}", as_json(&config, right, &problems));
    } else {
        for problem in &problems {
            let mark = if problem.severity == Severity::Warning { "warning: " } else { "" };
            eprintln!("{}:{}: {mark}{}", config.display(), problem.line, problem.message);
        }
        if let (true, Some(loaded)) = (right, &loaded) {
            println!("{}", summary(&config, loaded, problems.len()));
        }
    }
    if right { ExitCode::SUCCESS } else { exit::CONFIG.into() }
}

/// What the configuration names and `serve` will need.
fn missing_files(config: &Config) -> Vec<Problem> {
    let weights = &config.classify.model;
    let card = weights.with_extension("json");
    let absent = |file: &Path| (!file.is_file()).then(|| file.display().to_string());
    let missing: Vec<String> = [absent(weights), absent(&card)].into_iter().flatten().collect();
    if missing.is_empty() {
        return Vec::new();
    }
    let message = format!(
        "classify.model: {} not found from the folder {} (relative paths start at the working directory)",
        missing.join(" and "),
        std::env::current_dir().map(|dir| dir.display().to_string()).unwrap_or_else(|_| "here".into()),
    );
    vec![Problem { severity: Severity::Warning, line: 0, message }]
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

fn summary(path: &Path, config: &Config, warnings: usize) -> String {
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    format!(
        "{}: right; {} listens on {}, mode {}, {}, {}, {}",
        path.display(),
        config.node.ae_title,
        config.listen.address,
        config.classify.mode.name(),
        count(config.destination.len(), "destination"),
        count(config.route.len(), "route"),
        count(warnings, "warning"),
    )
}

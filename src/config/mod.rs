//! `config.toml`: read, checked as a whole, and turned into what the stages ask.
//!
//! [`Config::load`] reports every error with its line, not only the first: [`read`](self) takes out what is wrong and reads
//! on, then [`check`](self) looks across tables. Relative paths (`node.state_dir`, `classify.model`) are relative to the
//! working directory of the process, as everywhere on the command line; the systemd unit sets one.

mod check;
mod compile;
mod problems;
mod read;
mod tables;
#[cfg(test)]
mod tests;

pub use crate::route::{By as RoutingBy, Match};
pub use crate::verdict::Mode;
pub use problems::{ConfigError, Problem, Severity};
pub use tables::*;

use std::path::Path;

/// The largest configuration file that is read, bytes: more is a mistake.
const LARGEST: u64 = 4 << 20;

/// A configuration that can be used, and what there is to say about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Warnings, by line.
    pub warnings: Vec<Problem>,
    places: problems::Places,
}

impl Loaded {
    /// The line on which a key such as `classify.model` stands, or the table around it; 1 where neither does.
    pub fn line(&self, key: &str) -> usize {
        self.places.line(key)
    }
}

impl Config {
    /// Reads and checks a file. The error holds every error of the file with its line, and displays as
    /// `file:line: message` lines. Warnings are left to [`Config::load_with_warnings`].
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        Self::load_with_warnings(path).map(|loaded| loaded.config)
    }

    /// As [`Config::load`], with the warnings.
    pub fn load_with_warnings(path: &Path) -> Result<Loaded, ConfigError> {
        let fail =
            |line, message: String| ConfigError { path: path.into(), problems: vec![Problem::error(line, message)] };
        match std::fs::metadata(path) {
            Ok(found) if found.len() > LARGEST => return Err(fail(0, format!("larger than {} MiB", LARGEST >> 20))),
            Ok(_) => {}
            Err(error) => return Err(fail(0, format!("cannot be read: {error}"))),
        }
        let bytes = std::fs::read(path).map_err(|error| fail(0, format!("cannot be read: {error}")))?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let line = error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n').count() + 1;
            fail(line, "not UTF-8; save the file as UTF-8".into())
        })?;
        Self::parse(&text).map_err(|problems| ConfigError { path: path.into(), problems })
    }

    /// Reads and checks a text. The error holds every error and warning, by line.
    pub fn parse(text: &str) -> Result<Loaded, Vec<Problem>> {
        let read::Read { config, places, destinations, mut problems } = read::read(text);
        if let Some(config) = &config {
            let unreadable = !problems.is_empty();
            check::check(config, &places, &destinations, &mut problems);
            // What was taken out may be what a warning misses.
            problems.retain(|p| !unreadable || p.severity == Severity::Error);
        }
        problems.sort_by_key(|problem| problem.line);
        problems.dedup();
        match config {
            Some(config) if problems.iter().all(|p| p.severity == Severity::Warning) => {
                Ok(Loaded { config, warnings: problems, places })
            }
            _ => Err(problems),
        }
    }

    /// The keys that differ from `new` and that a reload cannot put in force.
    pub fn needs_restart(&self, new: &Config) -> Vec<&'static str> {
        let differs = [
            ("node.state_dir", self.node.state_dir != new.node.state_dir),
            ("listen.address", self.listen.address != new.listen.address),
            ("classify.model", self.classify.model != new.classify.model),
            ("classify.device", self.classify.device != new.classify.device),
            ("classify.precision", self.classify.precision != new.classify.precision),
            ("metrics.listen", self.metrics.listen != new.metrics.listen),
            ("log.format", self.log.format != new.log.format),
            ("log.level", self.log.level != new.log.level),
        ];
        differs.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
    }
}

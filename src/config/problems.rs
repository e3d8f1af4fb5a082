//! What is wrong with a configuration, and where.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// It can, but probably does not do what was meant.
    Warning,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// Line in the file, from 1; 0: the file as a whole.
    pub line: usize,
    /// What is wrong, and what to do.
    pub message: String,
}

impl Problem {
    /// An error at a line.
    pub fn error(line: usize, message: impl Into<String>) -> Problem {
        Problem { severity: Severity::Error, line, message: message.into() }
    }

    /// A warning at a line.
    pub fn warning(line: usize, message: impl Into<String>) -> Problem {
        Problem { severity: Severity::Warning, line, message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.severity == Severity::Warning { "warning: " } else { "" };
        write!(f, "{}: {mark}{}", self.line, self.message)
    }
}

/// A configuration that cannot be used: every error and warning in it.
#[derive(Clone, Debug, thiserror::Error)]
pub struct ConfigError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong, by line.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let end = if index + 1 < self.problems.len() { "\n" } else { "" };
            write!(f, "{}:{problem}{end}", self.path.display())?;
        }
        Ok(())
    }
}

/// Where things stand in the file: a path such as `route[1].to[0]` → its line.
#[derive(Clone, Debug, Default)]
pub(super) struct Places(HashMap<String, usize>);

impl Places {
    pub(super) fn insert(&mut self, path: String, line: usize) {
        self.0.insert(path, line);
    }

    /// Is it written in the file, and not a default?
    pub(super) fn given(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }

    /// The line of a path, or of the nearest table around it that stands in the file; 1 where none does.
    pub(super) fn line(&self, path: &str) -> usize {
        let mut path = path;
        loop {
            if let Some(line) = self.0.get(path) {
                return *line;
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = &path[..end],
                None => return 1,
            }
        }
    }
}

//! What the tests of the receiving stage share: a node in this process, a peer that speaks raw bytes, tiny objects.
#![allow(dead_code)]

pub mod node;
pub mod object;
pub mod raw;

use std::path::PathBuf;
use std::time::Duration;

/// Long enough for any machine; a test that waits this long fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A program that a test needs, or `None` with a word about it.
pub fn tool(path: &str) -> Option<PathBuf> {
    let path = PathBuf::from(path);
    if path.exists() {
        return Some(path);
    }
    eprintln!("SKIPPED: {} is not installed", path.display());
    None
}

/// Waits until `done`.
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let end = std::time::Instant::now() + PATIENCE;
    while !done() {
        assert!(std::time::Instant::now() < end, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

//! What the tests take from this machine: a Python and ports.
#![allow(dead_code)]

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, Ordering};

/// The Python of the tests: the one that `tests/run.sh` has set up, else the system's.
pub fn python() -> PathBuf {
    std::env::var_os("RADROUTE_TEST_PYTHON").map_or_else(|| "python3".into(), PathBuf::from)
}

/// A port that nobody listens on, below those that the system gives to outgoing connections.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 20_000 + ((std::process::id() as u16 % 500) * 20 + n) % 10_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

//! A progress bar with the time left on a terminal, plain lines otherwise. Both go to standard error.

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Tells how far the work is.
pub struct Progress {
    state: Mutex<State>,
    terminal: bool,
}

struct State {
    bar: ProgressBar,
    what: String,
    begun: Instant,
    told: Instant,
    at_begin: u64,
}

/// How often a plain line is written.
const EVERY: Duration = Duration::from_secs(20);

impl Default for Progress {
    fn default() -> Self {
        let now = Instant::now();
        let state = State { bar: ProgressBar::hidden(), what: String::new(), begun: now, told: now, at_begin: 0 };
        Progress { state: Mutex::new(state), terminal: std::io::stderr().is_terminal() }
    }
}

impl Progress {
    /// Begins a piece of work of `total` steps, of which `done` are done already.
    pub fn begin(&self, what: &str, total: u64, done: u64) {
        let bar = if self.terminal { ProgressBar::new(total) } else { ProgressBar::hidden() };
        bar.set_length(total);
        if let Ok(style) = ProgressStyle::with_template("{prefix:>16} {wide_bar} {pos}/{len} {eta} left {msg}") {
            bar.set_style(style);
        }
        bar.set_prefix(what.to_owned());
        bar.set_position(done);
        bar.reset_eta();
        let now = Instant::now();
        if let Ok(mut state) = self.state.lock() {
            *state = State { bar, what: what.to_owned(), begun: now, told: now, at_begin: done };
        }
    }

    /// So many more steps are done.
    pub fn advance(&self, steps: u64, message: &str) {
        let Ok(mut state) = self.state.lock() else { return };
        state.bar.inc(steps);
        state.bar.set_message(message.to_owned());
        let now = Instant::now();
        if !self.terminal && now.duration_since(state.told) >= EVERY {
            state.told = now;
            let (at, total) = (state.bar.position(), state.bar.length().unwrap_or(0));
            let rate = (at - state.at_begin) as f64 / now.duration_since(state.begun).as_secs_f64();
            let left = Duration::from_secs_f64((total.saturating_sub(at)) as f64 / rate.max(1e-3));
            eprintln!("{}: {at} of {total}, {rate:.1} a second, {} left {message}", state.what, HumanDuration(left));
        }
    }

    /// The piece of work is done.
    pub fn end(&self) {
        if let Ok(state) = self.state.lock() {
            state.bar.finish_and_clear();
            if !self.terminal {
                eprintln!("{}: done in {}", state.what, HumanDuration(state.begun.elapsed()));
            }
        }
    }

    /// A line that stays.
    pub fn tell(&self, line: &str) {
        let Ok(state) = self.state.lock() else { return };
        if self.terminal { state.bar.println(line) } else { eprintln!("{line}") }
    }
}

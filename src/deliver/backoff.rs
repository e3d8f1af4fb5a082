//! How long to wait before trying again: exponential, with equal jitter, bounded. Pure.
//!
//! The n-th failure waits `first` × 2^(n−1), at most `most`; of that, half is certain and half is drawn, so that a long
//! queue does not come back in one burst and yet nobody comes back at once.

use crate::config::Retry;
use crate::ledger::{DeliveryId, Millis};
use std::time::Duration;

/// However small `retry.first` is, a destination is left alone for this long.
const LEAST: Duration = Duration::from_millis(100);

/// The wait after failure number `failures` (1 is the first). `unit` is drawn from 0.0..1.0.
pub fn delay(retry: &Retry, failures: u32, unit: f64) -> Duration {
    let most = retry.most.max(LEAST);
    let doublings = failures.saturating_sub(1).min(32);
    let full = retry.first.max(LEAST).saturating_mul(1u32.checked_shl(doublings).unwrap_or(u32::MAX)).min(most);
    let unit = if unit.is_finite() { unit.clamp(0.0, 1.0) } else { 0.0 };
    full / 2 + (full / 2).mul_f64(unit)
}

/// The longest that [`delay`] gives.
pub fn longest(retry: &Retry) -> Millis {
    Millis::try_from(retry.most.max(LEAST).as_millis()).unwrap_or(Millis::MAX)
}

/// The same as a moment: `now` plus the wait.
pub fn next_at(retry: &Retry, failures: u32, now: Millis, unit: f64) -> Millis {
    now.saturating_add(Millis::try_from(delay(retry, failures, unit).as_millis()).unwrap_or(Millis::MAX))
}

/// The circuit of a destination: closed while it works; open while it is left alone; then one probe decides.
///
/// A long queue is thus not tried instance by instance against a dead host: one instance is tried, the others wait
/// without an attempt being counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Circuit {
    failures: u32,
    until: Millis,
    /// The longest wait that there is.
    longest: Millis,
    probe: Option<DeliveryId>,
}

impl Circuit {
    /// The destination failed as a whole; `probe` is the delivery that found out. Returns when it may be tried again.
    /// A failure that comes in while the circuit is open already (from another association) does not lengthen it.
    pub fn failed(&mut self, retry: &Retry, probe: DeliveryId, now: Millis, unit: f64) -> Millis {
        if !self.open(now) {
            self.failures = self.failures.saturating_add(1);
            self.until = next_at(retry, self.failures, now, unit);
            self.longest = longest(retry);
            self.probe = Some(probe);
        }
        self.until
    }

    /// The destination answered.
    pub fn worked(&mut self) {
        *self = Circuit::default();
    }

    /// An administrator asked for it: try at once, still with a single probe.
    pub fn try_now(&mut self) {
        self.until = 0;
    }

    /// The destination is to be left alone. Not for longer than the longest wait, though: if more than that is left, the
    /// clock has been set back meanwhile.
    pub fn open(&self, now: Millis) -> bool {
        now < self.until && self.until.saturating_sub(now) <= self.longest
    }

    /// Until when it is to be left alone.
    pub fn until(&self) -> Millis {
        self.until
    }

    /// It has failed and has not answered since: one association only.
    pub fn probing(&self) -> bool {
        self.failures > 0
    }

    /// The delivery that opened it. If it is due before [`Circuit::until`], an administrator made it so.
    pub fn probe(&self) -> Option<DeliveryId> {
        self.probe
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn retry(first: u64, most: u64) -> Retry {
        Retry { first: Duration::from_millis(first), most: Duration::from_millis(most), max_age: None }
    }

    proptest! {
        #[test]
        fn within_bounds(first in 0u64..10_000_000, most in 0u64..100_000_000, failures: u32, unit in 0.0f64..1.0) {
            let wait = delay(&retry(first, most), failures, unit);
            let cap = Duration::from_millis(most).max(LEAST);
            prop_assert!(wait <= cap);
            prop_assert!(wait >= LEAST / 2);
            prop_assert!(wait >= Duration::from_millis(first).max(LEAST).min(cap) / 2);
        }

        #[test]
        fn grows_and_then_stays(first in 1u64..100_000, most in 1u64..100_000_000, failures in 1u32..100, unit in 0.0f64..1.0) {
            let retry = retry(first, most);
            prop_assert!(delay(&retry, failures, unit) <= delay(&retry, failures + 1, unit));
            // below the cap, the longest wait of one step is the shortest of the next
            if delay(&retry, failures + 1, 1.0) < retry.most {
                prop_assert!(delay(&retry, failures, 1.0) <= delay(&retry, failures + 1, 0.0));
            }
        }

        #[test]
        fn never_overflows(first: u64, most: u64, failures: u32, now: i64, unit: f64) {
            let at = next_at(&retry(first, most), failures, now, unit);
            prop_assert!(at >= now);
        }
    }

    #[test]
    fn doubles() {
        let retry = retry(5_000, 600_000);
        let waits: Vec<u128> = (1..=9).map(|n| delay(&retry, n, 1.0).as_millis()).collect();
        assert_eq!(waits, [5_000, 10_000, 20_000, 40_000, 80_000, 160_000, 320_000, 600_000, 600_000]);
    }

    #[test]
    fn a_clock_set_back_does_not_keep_the_circuit_open() {
        let mut circuit = Circuit::default();
        assert_eq!(circuit.failed(&retry(1_000, 8_000), 7, 5_000_000, 1.0), 5_001_000);
        assert!(circuit.open(4_999_000), "a little is waited for");
        assert!(!circuit.open(1_400_000), "an hour is not");
        assert!(circuit.probing());
    }

    #[test]
    fn the_circuit_opens_probes_and_closes() {
        let retry = retry(1_000, 8_000);
        let mut circuit = Circuit::default();
        assert!(!circuit.open(0) && !circuit.probing());
        let until = circuit.failed(&retry, 7, 100, 1.0);
        assert_eq!(until, 1_100);
        assert!(circuit.open(1_099) && !circuit.open(1_100));
        // the second association fails at the same time: no further lengthening
        assert_eq!(circuit.failed(&retry, 8, 200, 1.0), 1_100);
        assert_eq!(circuit.probe(), Some(7));
        assert!(circuit.probing());
        assert_eq!(circuit.failed(&retry, 9, 1_100, 1.0), 3_100);
        circuit.try_now();
        assert!(!circuit.open(1_200) && circuit.probing());
        circuit.worked();
        assert_eq!(circuit, Circuit::default());
    }
}

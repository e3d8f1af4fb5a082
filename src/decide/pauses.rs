//! Series that could not be decided, and when it is their turn again. In memory: a restart begins anew. Pure.

use crate::ledger::SeriesJob;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// After as many failures a series is decided without reading its files: classification never holds an image back.
const TRIES: u32 = 10;
/// The longest pause between two tries; the first is a second, each next twice as long.
const LONGEST: Duration = Duration::from_secs(30);
/// A series that nobody asked about for so long is gone (its files were found missing, say).
const FORGOTTEN: Duration = Duration::from_secs(600);
/// More are not asked for beyond the batch: when so many fail, it is the disk.
const MOST: usize = 1000;

/// Study and series.
pub(super) type Key = (String, String);

pub(super) fn key(job: &SeriesJob) -> Key {
    (job.study_instance_uid.clone(), job.series_instance_uid.clone())
}

struct Pause {
    failures: u32,
    until: Instant,
    why: String,
}

/// See the head of the module.
#[derive(Default)]
pub(super) struct Pauses(HashMap<Key, Pause>);

impl Pauses {
    pub fn waits(&self, key: &Key, now: Instant) -> bool {
        self.0.get(key).is_some_and(|pause| now < pause.until)
    }

    /// How many series stand in front of the others though it may not be their turn.
    pub fn waiting(&self) -> usize {
        self.0.len().min(MOST)
    }

    /// Why the series is to be decided without its files, if it has failed often enough.
    pub fn given_up(&self, key: &Key) -> Option<String> {
        self.0.get(key).filter(|pause| pause.failures >= TRIES).map(|pause| pause.why.clone())
    }

    /// It failed once more.
    pub fn failed(&mut self, key: &Key, why: &str, now: Instant) {
        let failures = self.0.get(key).map_or(0, |pause| pause.failures) + 1;
        let pause = Duration::from_secs(1 << (failures - 1).min(10)).min(LONGEST);
        self.0.retain(|_, other| now < other.until + FORGOTTEN);
        self.0.insert(key.clone(), Pause { failures, until: now + pause, why: why.to_owned() });
    }

    /// Something else failed: later, and not counted.
    pub fn put_off(&mut self, key: &Key, pause: Duration, now: Instant) {
        let until = now + pause;
        let fresh = Pause { failures: 0, until, why: String::new() };
        self.0.entry(key.clone()).or_insert(fresh).until = until;
    }

    pub fn done(&mut self, key: &Key) {
        self.0.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_end_in_giving_up() {
        let (mut pauses, mut now) = (Pauses::default(), Instant::now());
        let (key, other) = (("1".to_string(), "2".to_string()), ("1".to_string(), "3".to_string()));
        let mut seconds = Vec::new();
        for _ in 0..TRIES {
            assert_eq!(pauses.given_up(&key), None);
            pauses.failed(&key, "the disk", now);
            let begun = now;
            while pauses.waits(&key, now) {
                now += Duration::from_secs(1);
            }
            seconds.push((now - begun).as_secs());
            assert!(!pauses.waits(&other, begun));
        }
        assert_eq!(seconds, [1, 2, 4, 8, 16, 30, 30, 30, 30, 30]);
        assert_eq!(pauses.given_up(&key).as_deref(), Some("the disk"));
        assert_eq!(pauses.given_up(&other), None);
        pauses.put_off(&key, Duration::from_secs(1), now);
        assert!(pauses.waits(&key, now) && pauses.given_up(&key).is_some(), "what it failed with stays");
        pauses.done(&key);
        assert!(!pauses.waits(&key, now) && pauses.given_up(&key).is_none() && pauses.waiting() == 0);
    }

    #[test]
    fn what_the_ledger_refuses_is_not_counted_and_what_is_gone_is_forgotten() {
        let (mut pauses, now) = (Pauses::default(), Instant::now());
        let key = |n: u32| ("1".to_string(), n.to_string());
        for _ in 0..2 * TRIES {
            pauses.put_off(&key(1), Duration::from_secs(1), now);
        }
        assert!(pauses.waits(&key(1), now) && pauses.given_up(&key(1)).is_none());
        pauses.failed(&key(2), "the disk", now + 2 * FORGOTTEN);
        assert_eq!(pauses.waiting(), 1);
    }
}

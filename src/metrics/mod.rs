//! Figures for Prometheus, counted from the events that the log and the ledger tell: the three never tell different stories.
//!
//! Counters begin at 0 with the process. Labels are our own words and the destinations' names: never a UID, nor what a peer sent.

mod server;

pub use server::Figures;

use crate::ledger::{Event, Waiting};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry, Unit};
use serde_json::Value;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

type Labels = Vec<(&'static str, String)>;
type Stages = Family<Labels, Histogram, fn() -> Histogram>;

/// The stages of an instance, as its delivery tells them: `<stage>_ms`.
const STAGES: [&str; 6] = ["receive", "sync", "wait", "decode", "classify", "send"];

/// From a millisecond to ten minutes.
const SECONDS: [f64; 16] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0, 600.0];

/// Everything that is told.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    events: Family<Labels, Counter>,
    associations: Family<Labels, Counter>,
    open: Gauge,
    refused: Family<Labels, Counter>,
    received_bytes: Counter,
    looked: Family<Labels, Counter>,
    verdicts: Family<Labels, Counter>,
    deliveries: Family<Labels, Counter>,
    sent_bytes: Counter,
    stages: Stages,
    queued: Family<Labels, Gauge>,
    unlooked: Gauge,
    undecided: Gauge,
    free: Gauge,
    commits: Counter,
    syncs: Counter,
    /// Held while a text is written: what waits is set for each anew.
    writing: Mutex<()>,
}

/// What is asked for when the figures are.
#[derive(Clone, Debug, Default)]
pub struct Now {
    /// What waits.
    pub waiting: Waiting,
    /// Destinations that are told even where nothing waits for them.
    pub destinations: Vec<String>,
    /// Open associations.
    pub associations: u64,
    /// Free bytes on the disk of the spool.
    pub free: u64,
    /// Transactions of the ledger since it was opened.
    pub commits: u64,
    /// Those of them that were synced.
    pub syncs: u64,
}

/// The same figure, which the registry tells from now on.
fn told<M: Metric + Clone>(to: &mut Registry, name: &str, help: &str, unit: Option<Unit>, figure: M) -> M {
    match unit {
        Some(unit) => to.register_with_unit(name, help, unit, figure.clone()),
        None => to.register(name, help, figure.clone()),
    }
    figure
}

fn histogram() -> Histogram {
    Histogram::new(SECONDS)
}

impl Metrics {
    /// With nothing counted. `model` and `precision` as the log names them.
    pub fn new(model: &str, precision: &str) -> Metrics {
        let mut registry = Registry::with_prefix("radroute");
        let build = [("version", env!("CARGO_PKG_VERSION")), ("model", model), ("precision", precision)];
        let build: Labels = build.map(|(name, value)| (name, value.to_owned())).into();
        registry.register("build", "This radroute and its network", Info::new(build));
        let r = &mut registry;
        let bytes = || Some(Unit::Bytes);
        let stages = Stages::new_with_constructor(histogram);
        for stage in STAGES {
            drop(stages.get_or_create(&vec![("stage", stage.to_owned())]));
        }
        let of_stages =
            "Time of a delivered instance in each stage; the six add up to its way from first byte to response";
        Metrics {
            events: told(r, "events", "Events of the audit, by kind", None, Family::default()),
            associations: told(
                r,
                "associations",
                "Associations that ended or came to nothing, by how",
                None,
                Family::default(),
            ),
            open: told(r, "associations_open", "Associations that are open", None, Gauge::default()),
            refused: told(r, "refused", "Instances refused, by DIMSE status", None, Family::default()),
            received_bytes: told(r, "received", "Files received into the spool", bytes(), Counter::default()),
            looked: told(r, "looked", "Instances by what looking gave", None, Family::default()),
            verdicts: told(
                r,
                "verdicts",
                "Instances by the verdict of their series and its region",
                None,
                Family::default(),
            ),
            deliveries: told(
                r,
                "deliveries",
                "Attempts to deliver, by destination and outcome",
                None,
                Family::default(),
            ),
            sent_bytes: told(r, "sent", "Data sets delivered", bytes(), Counter::default()),
            stages: told(r, "stage", of_stages, Some(Unit::Seconds), stages),
            queued: told(r, "queued", "Deliveries that wait, by destination", None, Family::default()),
            unlooked: told(r, "unlooked", "Instances that wait for the network", None, Gauge::default()),
            undecided: told(r, "undecided", "Instances that wait for their series' verdict", None, Gauge::default()),
            free: told(r, "spool_free", "Free on the disk of the spool", bytes(), Gauge::default()),
            commits: told(r, "ledger_commits", "Transactions of the ledger", None, Counter::default()),
            syncs: told(r, "ledger_syncs", "Transactions of the ledger that were synced", None, Counter::default()),
            writing: Mutex::default(),
            registry,
        }
    }

    /// Counts an event.
    pub fn count(&self, event: &Event) {
        let Event { kind, detail, .. } = event;
        let text = |key: &str| detail[key].as_str().unwrap_or_default().to_owned();
        let number = |key: &str| detail[key].as_u64().unwrap_or(0);
        self.events.get_or_create(&vec![("event", kind.clone())]).inc();
        match kind.as_str() {
            "association" | "rejected" | "aborted" => {
                // Of those that came to nothing, the event's own name may be all.
                let outcome = Some(text("outcome")).filter(|outcome| !outcome.is_empty());
                self.associations.get_or_create(&vec![("outcome", outcome.unwrap_or_else(|| kind.clone()))]).inc();
            }
            "refused" => {
                self.refused.get_or_create(&vec![("status", text("status"))]).inc();
            }
            "received" | "adopted" => {
                self.received_bytes.inc_by(number("file_size"));
            }
            "looked" => {
                self.looked.get_or_create(&vec![("look", text("look"))]).inc();
            }
            "verdict" => {
                let labels = vec![("verdict", text("kind")), ("region", text("region"))];
                self.verdicts.get_or_create(&labels).inc_by(number("instances"));
            }
            "delivered" | "retry" | "dead" | "dropped" => {
                let labels = vec![("destination", text("destination")), ("outcome", kind.clone())];
                self.deliveries.get_or_create(&labels).inc();
                if kind == "delivered" {
                    self.sent_bytes.inc_by(number("bytes"));
                    self.spent(&detail["stages"]);
                }
            }
            _ => {}
        }
    }

    fn spent(&self, stages: &Value) {
        for stage in STAGES {
            if let Some(ms) = stages[format!("{stage}_ms")].as_f64() {
                self.stages.get_or_create(&vec![("stage", stage.to_owned())]).observe(ms / 1e3);
            }
        }
    }

    /// All of it as text (OpenMetrics 1.0).
    ///
    /// # Errors
    /// The text cannot be written.
    pub fn text(&self, now: &Now) -> Result<String, std::fmt::Error> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        // A destination that has left the configuration is named as long as something waits for it.
        self.queued.clear();
        for destination in &now.destinations {
            self.queued.get_or_create(&vec![("destination", destination.clone())]).set(0);
        }
        for (destination, count) in &now.waiting.queued {
            self.queued.get_or_create(&vec![("destination", destination.clone())]).set(signed(*count));
        }
        self.unlooked.set(signed(now.waiting.unlooked));
        self.undecided.set(signed(now.waiting.undecided));
        self.open.set(signed(now.associations));
        self.free.set(signed(now.free));
        // Who asked first may come here last, and a counter that falls reads as a restart.
        self.commits.inner().fetch_max(now.commits, Ordering::Relaxed);
        self.syncs.inner().fetch_max(now.syncs, Ordering::Relaxed);
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(events: &[(&str, Value)], now: &Now) -> Vec<String> {
        let metrics = Metrics::new("0123456789abcdef", "f32");
        for (kind, detail) in events {
            let mut event = Event::new(kind, detail.clone());
            event.sop_instance_uid = "1.2.840.99".into();
            metrics.count(&event);
        }
        metrics.text(now).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn each_event_counts_where_it_belongs() {
        let stages = json!({
            "receive_ms": 2.0, "sync_ms": 0.5, "wait_ms": 1500.0, "decode_ms": 3.0, "classify_ms": 12.0, "send_ms": 700_000.0
        });
        let delivered = json!({ "destination": "archive", "bytes": 1000, "stages": stages });
        let lines = told(
            &[
                ("received", json!({ "file_size": 700 })),
                ("adopted", json!({ "file_size": 300 })),
                ("refused", json!({ "status": "A700" })),
                ("association", json!({ "outcome": "released", "received": 1 })),
                ("rejected", json!({ "why": "unknown calling AE title" })),
                ("aborted", json!({ "outcome": "timeout", "why": "nothing came" })),
                ("looked", json!({ "look": "scored" })),
                ("verdict", json!({ "kind": "corrected", "region": "HAND", "instances": 3 })),
                ("verdict", json!({ "kind": "outside", "region": null, "instances": 2 })),
                ("delivered", delivered.clone()),
                ("delivered", delivered),
                ("retry", json!({ "destination": "archive" })),
                ("started", Value::Null),
            ],
            &Now::default(),
        );
        for line in [
            "radroute_events_total{event=\"delivered\"} 2",
            "radroute_events_total{event=\"started\"} 1",
            "radroute_received_bytes_total 1000",
            "radroute_refused_total{status=\"A700\"} 1",
            "radroute_associations_total{outcome=\"released\"} 1",
            "radroute_associations_total{outcome=\"rejected\"} 1",
            "radroute_associations_total{outcome=\"timeout\"} 1",
            "radroute_looked_total{look=\"scored\"} 1",
            "radroute_verdicts_total{verdict=\"corrected\",region=\"HAND\"} 3",
            "radroute_verdicts_total{verdict=\"outside\",region=\"\"} 2",
            "radroute_deliveries_total{destination=\"archive\",outcome=\"delivered\"} 2",
            "radroute_deliveries_total{destination=\"archive\",outcome=\"retry\"} 1",
            "radroute_sent_bytes_total 2000",
            "radroute_stage_seconds_count{stage=\"receive\"} 2",
            "radroute_stage_seconds_sum{stage=\"wait\"} 3.0",
            "radroute_stage_seconds_bucket{le=\"0.025\",stage=\"classify\"} 2",
            "radroute_stage_seconds_bucket{le=\"0.01\",stage=\"classify\"} 0",
            "radroute_stage_seconds_bucket{le=\"600.0\",stage=\"send\"} 0",
            "radroute_stage_seconds_bucket{le=\"+Inf\",stage=\"send\"} 2",
        ] {
            assert!(lines.iter().any(|l| l == line), "{line} is not in\n{}", lines.join("\n"));
        }
        assert!(!lines.iter().any(|l| l.contains("1.2.840")), "a UID");
    }

    #[test]
    fn what_waits_is_told_as_it_is_now() {
        let metrics = Metrics::new("m", "int8");
        let mut now = Now { associations: 8, free: 5, commits: 7, syncs: 6, ..Now::default() };
        now.waiting = Waiting { unlooked: 3, undecided: 4, queued: vec![("a".into(), 2), ("b".into(), 9)] };
        now.destinations = vec!["a".into(), "idle".into()];
        let text = metrics.text(&now).unwrap();
        for line in [
            "radroute_queued{destination=\"a\"} 2",
            "radroute_queued{destination=\"b\"} 9",
            "radroute_queued{destination=\"idle\"} 0",
            "radroute_associations_open 8",
            "radroute_unlooked 3",
            "radroute_undecided 4",
            "radroute_spool_free_bytes 5",
            "radroute_ledger_commits_total 7",
            "radroute_ledger_syncs_total 6",
            "radroute_stage_seconds_count{stage=\"send\"} 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
        assert!(text.contains("precision=\"int8\"") && text.ends_with("# EOF\n"));
        now.waiting.queued.pop();
        now.commits = 6;
        let text = metrics.text(&now).unwrap();
        assert!(!text.contains("destination=\"b\""));
        assert!(text.contains("radroute_ledger_commits_total 7\n"), "a counter never falls");
    }

    #[test]
    fn those_who_ask_at_once_are_told_all_of_it() {
        let metrics = Metrics::new("m", "f32");
        let queued: Vec<(String, u64)> = (0..50).map(|n| (format!("d{n}"), n + 1)).collect();
        let now = Now { waiting: Waiting { queued, ..Waiting::default() }, ..Now::default() };
        let all = metrics.text(&now).unwrap().lines().filter(|l| l.starts_with("radroute_queued{")).count();
        assert_eq!(all, 50);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let text = metrics.text(&now).unwrap();
                        assert_eq!(text.lines().filter(|l| l.starts_with("radroute_queued{")).count(), all);
                    }
                });
            }
        });
    }

    #[test]
    fn events_without_what_they_should_say_count_as_nothing() {
        let events: Vec<(&str, Value)> =
            ["received", "refused", "delivered", "verdict", "looked"].map(|kind| (kind, json!([1]))).into();
        let lines = told(&events, &Now::default());
        assert!(lines.iter().any(|l| l == "radroute_received_bytes_total 0"));
        assert!(lines.iter().any(|l| l == "radroute_stage_seconds_count{stage=\"send\"} 0"));
    }
}

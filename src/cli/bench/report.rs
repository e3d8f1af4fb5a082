//! What was measured, as JSON and as a table. Pure.

use super::measure::Handling;
use comfy_table::Table;
use serde::Serialize;
use std::collections::BTreeMap;

/// The object that `--json` prints; `null`: not to be had on this machine, or by this card.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Report {
    pub engine: Engine,
    /// One image of 3000×2500 pixels, file to plane on one core, by transfer syntax.
    pub decode_ms: BTreeMap<String, Option<f64>>,
    /// To make the same image, uncompressed, durable.
    pub spool_sync_ms: Option<f64>,
    pub capacity_per_hour: Capacity,
    pub cpu: String,
    pub threads: usize,
}

/// At 224×224, one orientation, preprocessing not counted.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(super) struct Engine {
    pub f32: Speed,
    pub int8: Speed,
    /// Single precision on the first CUDA device; left out where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cuda: Option<Speed>,
}

#[derive(Debug, Default, PartialEq, Serialize)]
pub(super) struct Speed {
    pub images_per_s: Option<f64>,
}

/// Images an hour: DX of 3000×2500 (15 MB), CR of 1024×1024 (2.1 MB), uncompressed.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(super) struct Capacity {
    pub dx: Option<u64>,
    pub cr: Option<u64>,
}

/// Images an hour where `threads` cores copy and read images of this kind side by side and take turns with the network (`classify`:
/// seconds of all of them together), while the disk makes one image durable after the other: whichever of the two takes longer.
pub(super) fn per_hour(handling: &Handling, classify: f64, threads: usize) -> u64 {
    let computing = (handling.copy + handling.read) / threads as f64 + classify;
    (3600.0 / computing.max(handling.sync)) as u64
}

/// Rounded to the thousandth.
pub(super) fn rounded(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}

impl Report {
    /// For the terminal, without what was not measured; `name` puts a transfer syntax in words.
    pub(super) fn table(&self, name: impl Fn(&str) -> &str) -> Table {
        let mut table = super::super::audit::table(&["what", "this machine", "unit"]);
        let mut row = |what: &str, number: Option<f64>, unit: &str| {
            let shown = number.map(|n| if n < 100.0 { format!("{n:.2}") } else { format!("{n:.0}") });
            table.add_row([what, shown.as_deref().unwrap_or("-"), unit]);
        };
        row("network, fp32", self.engine.f32.images_per_s, "images a second");
        row("network, int8", self.engine.int8.images_per_s, "images a second");
        if let Some(cuda) = &self.engine.cuda {
            row("network, CUDA", cuda.images_per_s, "images a second");
        }
        for (syntax, ms) in self.decode_ms.iter().filter(|(_, ms)| ms.is_some()) {
            row(&format!("read: {}", name(syntax)), *ms, "ms an image");
        }
        row("make durable", self.spool_sync_ms, "ms an image");
        row("all in all, DX", self.capacity_per_hour.dx.map(|n| n as f64), "images an hour");
        row("all in all, CR", self.capacity_per_hour.cr.map(|n| n as f64), "images an hour");
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slower_of_cores_and_disk_is_the_limit() {
        let handling = Handling { copy: 0.03, sync: 0.01, read: 0.01 };
        assert_eq!(per_hour(&handling, 0.03, 2), 72_000);
        assert_eq!(per_hour(&handling, 0.03, 4), 90_000);
        assert_eq!(per_hour(&Handling { sync: 0.1, ..handling }, 0.03, 2), 36_000);
    }

    #[test]
    fn the_object_has_every_key_and_null_for_what_is_not_to_be_had() {
        let report = Report {
            engine: Engine::default(),
            decode_ms: BTreeMap::from([("1.2".into(), Some(2.5)), ("1.3".into(), None)]),
            spool_sync_ms: None,
            capacity_per_hour: Capacity { dx: Some(7), cr: None },
            cpu: "a CPU".into(),
            threads: 2,
        };
        assert_eq!(
            serde_json::to_value(&report).unwrap(),
            serde_json::json!({
                "engine": { "f32": { "images_per_s": null }, "int8": { "images_per_s": null } },
                "decode_ms": { "1.2": 2.5, "1.3": null },
                "spool_sync_ms": null,
                "capacity_per_hour": { "dx": 7, "cr": null },
                "cpu": "a CPU",
                "threads": 2,
            })
        );
        let table = report.table(|uid| uid).to_string();
        assert!(table.contains("read: 1.2") && table.contains("2.50"), "{table}");
        assert!(!table.contains("1.3"), "{table}");
    }
}

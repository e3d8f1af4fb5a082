//! `radroute audit` and `radroute queue` as a script or an administrator runs them, beside the daemon and without it.

use radroute::dataset::{Edit, Facts, Overlay};
use radroute::ledger::*;
use radroute::verdict::{Kind, Look, Verdict};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

struct Site {
    config: PathBuf,
    state: PathBuf,
    _folder: TempDir,
}

fn site() -> Site {
    let folder = tempfile::tempdir().unwrap();
    let (state, config) = (folder.path().join("state"), folder.path().join("config.toml"));
    let destination =
        |name: &str| format!("[[destination]]\nname = \"{name}\"\nae_title = \"A\"\naddress = \"127.0.0.1:1\"\n");
    let text = format!(
        "[node]\nae_title = \"RADROUTE\"\nstate_dir = {state:?}\n{}{}",
        destination("archive"),
        destination("teaching")
    );
    std::fs::write(&config, text).unwrap();
    Site { config, state, _folder: folder }
}

impl Site {
    fn ledger(&self) -> Ledger {
        Ledger::open(&self.state.join(FILE)).unwrap()
    }

    fn run(&self, args: &[&str]) -> Output {
        run(&self.config, args)
    }

    /// Standard output of a run that must succeed.
    fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ok(args)).unwrap()
    }
}

fn run(config: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_radroute")).arg("--config").arg(config).args(args).output().unwrap()
}

/// Two instances of a series: corrected from HAND to KNEE, for two destinations.
async fn fill(ledger: &Ledger) {
    let peer = Some("10.1.2.3".parse().unwrap());
    for n in 1..=2 {
        let facts = Facts {
            sop_instance_uid: format!("1.2.3.{n}"),
            series_instance_uid: "1.2.3".into(),
            study_instance_uid: "1.2".into(),
            body_part_examined: "HAND\u{1b}[31m".into(),
            ..Facts::default()
        };
        let id = ledger
            .received(NewInstance {
                spool_name: format!("n{n}"),
                file_size: 4321,
                dataset_offset: 400,
                facts,
                source: Source {
                    calling_ae: "XRAY1".into(),
                    called_ae: "RADROUTE".into(),
                    peer,
                    association: "a1".into(),
                },
                received_at: 1_700_000_000_000 + n,
                receive_ms: 12.5,
                sync_ms: 1.5,
                settle: 0,
                settle_max: 0,
                adopted: false,
            })
            .await
            .unwrap();
        let scores = BTreeMap::from([("KNEE".to_owned(), 0.98), ("HAND".to_owned(), 0.01)]);
        let look = Look::Scored { scores, model: "0123456789abcdef".into(), decode_ms: 2.0, classify_ms: 9.0 };
        ledger.looked(id, look, 1_700_000_000_100).await.unwrap();
    }
    let job = ledger.due_series(Millis::MAX, 1).await.unwrap().remove(0);
    let knee = radroute::anatomy::Region::from_term("KNEE");
    let destinations = vec!["archive".to_owned(), "teaching".to_owned()];
    let changes = BTreeMap::from([("0018,0015".to_owned(), ("HAND".to_owned(), "KNEE".to_owned()))]);
    let overlay = Overlay { edits: vec![Edit { offset: 0, remove: 0, insert: vec![1] }], changes };
    let instances = job.undecided.iter().map(|i| DecidedInstance {
        id: i.id,
        overlay: Some(overlay.clone()),
        untouched: None,
        destinations: destinations.clone(),
        routes: vec!["limbs".into()],
    });
    let decision = Decision {
        series_instance_uid: job.series_instance_uid.clone(),
        study_instance_uid: job.study_instance_uid.clone(),
        verdict: Verdict { kind: Kind::Corrected, region: knee, write: knee, reason: "the image shows a knee".into() },
        evidence: serde_json::Value::Null,
        chosen: destinations.clone(),
        instances: instances.collect(),
        added: Vec::new(),
        now: 1_700_000_001_000,
    };
    ledger.decided(decision).await.unwrap();
    for (destination, outcome, status, said) in
        [("archive", Outcome::Delivered, 0, "stored"), ("teaching", Outcome::Dead, 0xC000, "cannot understand\u{7}")]
    {
        let due = ledger.due_deliveries(destination, Millis::MAX, 1, &[]).await.unwrap();
        let attempt = Attempt {
            id: due[0].id,
            outcome,
            status: Some(status),
            detail: said.into(),
            peer: String::new(),
            transfer_syntax_uid: "1.2.840.10008.1.2.1".into(),
            bytes: 0,
            corrected: false,
            send_ms: 7.5,
            now: 1_700_000_002_000,
        };
        ledger.attempted(vec![attempt]).await.unwrap();
    }
}

#[tokio::test]
async fn audit_tells_the_life_of_an_instance_a_series_and_a_study() {
    let site = site();
    let ledger = site.ledger(); // the daemon's, open beside
    fill(&ledger).await;

    let one = site.json(&["audit", "--json", "1.2.3.1"]);
    assert_eq!(one["uid"], "1.2.3.1");
    let instance = &one["instances"][0];
    assert_eq!(one["instances"].as_array().unwrap().len(), 1);
    assert_eq!(instance["source"]["calling_ae"], "XRAY1");
    assert_eq!(instance["verdict"]["kind"], "corrected");
    assert_eq!(instance["look"]["scores"]["KNEE"], 0.98);
    assert_eq!(instance["changes"]["0018,0015"]["new"], "KNEE");
    assert_eq!(instance["deliveries"][0]["state"], "delivered");
    assert_eq!(instance["deliveries"][1]["detail"], "cannot understand\u{7}");
    let kinds: Vec<_> = one["events"].as_array().unwrap().iter().map(|e| e["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["received", "looked", "verdict", "correction", "routed", "delivered", "dead"]);
    for uid in ["1.2.3", "1.2"] {
        let all = site.json(&["audit", uid, "--json"]);
        assert_eq!(all["instances"].as_array().unwrap().len(), 2, "{uid}");
        assert_eq!(all["events"].as_array().unwrap().len(), 11, "{uid}");
    }

    let text = site.ok(&["audit", "1.2"]);
    for part in [
        "XRAY1 at 10.1.2.3",
        "KNEE 0.98",
        "corrected",
        "HAND → KNEE",
        "archive: delivered",
        "status C000",
        "by limbs",
        "[1.2.3.2]",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "what a peer sent does not drive the terminal");
}

#[tokio::test]
async fn audit_of_an_unknown_uid_is_65_and_prints_nothing_to_standard_output() {
    let site = site();
    site.ledger().close().await.unwrap();
    for args in [&["audit", "9.9"][..], &["audit", "--json", "9.9"], &["audit", ""]] {
        let output = site.run(args);
        assert_eq!(output.status.code(), Some(65), "{args:?}");
        assert!(output.stdout.is_empty());
        assert!(String::from_utf8_lossy(&output.stderr).contains("knows no"));
    }
}

#[test]
fn without_a_ledger_or_a_configuration_the_words_say_what_to_do_and_nothing_is_created() {
    let site = site();
    let output = site.run(&["audit", "1.2"]);
    assert_eq!(output.status.code(), Some(69));
    assert!(String::from_utf8_lossy(&output.stderr).contains("has `radroute serve` run"));
    assert!(!site.state.exists());
    let output = run(Path::new("/nonexistent/config.toml"), &["queue", "list"]);
    assert_eq!(output.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nonexistent/config.toml"));
}

#[tokio::test]
async fn the_queue_is_listed_retried_and_dropped_beside_a_running_ledger() {
    let site = site();
    let ledger = site.ledger();
    fill(&ledger).await;

    let rows = site.json(&["queue", "list", "--json"]);
    let short: Vec<_> = rows
        .as_array()
        .unwrap()
        .iter()
        .map(|r| (r["destination"].as_str().unwrap(), r["state"].as_str().unwrap()))
        .collect();
    assert_eq!(short, [("teaching", "dead"), ("archive", "queued"), ("teaching", "queued")]);
    let text = site.ok(&["queue", "list", "--destination", "teaching"]);
    assert!(
        text.contains("1.2.3.1") && text.contains("cannot understand\u{FFFD}") && !text.contains("archive"),
        "{text}"
    );

    assert_eq!(site.json(&["queue", "retry", "--destination", "teaching", "--json"])["count"], 2);
    let due = ledger.due_deliveries("teaching", now(), 10, &[]).await.unwrap();
    assert_eq!(due.len(), 2, "the daemon sees it");
    assert_eq!(site.ok(&["queue", "drop", "--destination", "archive"]), "1 delivery is given up\n");
    assert_eq!(site.json(&["queue", "list", "--json"]).as_array().unwrap().len(), 2);

    ledger.close().await.unwrap();
    // Only a hand at a terminal is asked for --yes; a script is not.
    assert_eq!(site.json(&["queue", "drop", "--json"])["count"], 2);
    assert_eq!(site.ok(&["queue", "list"]), "nothing waits\n");
}

#[tokio::test]
async fn a_destination_that_nobody_knows_is_a_typing_error() {
    let site = site();
    site.ledger().close().await.unwrap();
    let output = site.run(&["queue", "retry", "--destination", "archvie"]);
    assert_eq!(output.status.code(), Some(65));
    assert!(String::from_utf8_lossy(&output.stderr).contains("archive, teaching"));
    assert!(site.run(&["queue", "retry", "--destination", "archive"]).status.success());
}

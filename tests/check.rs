//! `radroute check`, as scripts see it: exit codes and output of the real binary.

use serde_json::json;
use std::path::Path;
use std::process::{Command, Output};

const RIGHT: &str = r#"
[node]
ae_title = "RADROUTE"
state_dir = "state"

[classify]
model = "w.safetensors"

[[destination]]
name = "archive"
ae_title = "ARCHIVE"
address = "127.0.0.1:11113"

[routing]
default = ["archive"]
"#;

/// A folder with a configuration, and files that stand for weights and card.
fn folder(config: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.toml"), config).unwrap();
    std::fs::write(dir.path().join("w.safetensors"), "").unwrap();
    std::fs::write(dir.path().join("w.json"), card().to_string()).unwrap();
    dir
}

/// The least card that is one.
fn card() -> serde_json::Value {
    let regions = ["SHOULDER", "ELBOW", "HAND", "PELVIS", "KNEE"];
    let thresholds: serde_json::Map<_, _> =
        regions.iter().map(|r| (r.to_string(), json!({ "accept": 0.9, "reject": 0.3 }))).collect();
    json!({
        "format": 1, "name": "w", "use": "tests", "architecture": "resnet18", "sha256": "0".repeat(64),
        "input": { "size": 224, "mean": 0.4, "deviation": 0.2, "stretch": [1.0, 99.0], "trim": true },
        "heads": regions.map(|r| json!({ "name": r, "scale": 1.0, "offset": 0.0 })),
        "regions": thresholds,
        "data": {
            "summary": "", "manifest_sha256": "", "split": "", "training": {}, "validation": {}, "groups_sha256": {}, "licences": {}
        },
        "recipe": null, "metrics": null, "limits": [],
    })
}

fn check(dir: &Path, arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_radroute")).arg("check").args(arguments).current_dir(dir).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

#[test]
fn a_right_configuration_exits_0_with_a_summary() {
    let dir = folder(RIGHT);
    // Without --config, config.toml here is taken.
    for arguments in [&[][..], &["--config", "config.toml"]] {
        let (code, out, err) = check(dir.path(), arguments);
        assert_eq!((code, err.as_str()), (0, ""));
        assert!(out.starts_with("config.toml: right; RADROUTE listens on 0.0.0.0:11112"), "{out}");
        assert!(out.contains("1 destination, 0 routes, 0 warnings"), "{out}");
    }
}

#[test]
fn warnings_are_told_and_exit_0() {
    let dir = folder(&RIGHT.replace("default = [\"archive\"]", ""));
    let (code, out, err) = check(dir.path(), &[]);
    assert_eq!(code, 0);
    assert!(out.contains("2 warnings"), "{out}");
    let lines: Vec<_> = err.lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(lines[0].starts_with("config.toml:10: warning: nothing goes to \"archive\""), "{err}");
    assert!(lines[1].starts_with("config.toml:14: warning: no routing.default"), "{err}");
}

#[test]
fn every_error_is_a_line_and_exit_78() {
    let wrong = RIGHT.replace("state_dir", "statedir").replace("\"ARCHIVE\"", "\"\"") + "[limit]\nidle = \"5m\"\n";
    let (code, out, err) = check(folder(&wrong).path(), &["--config", "config.toml"]);
    assert_eq!((code, out.as_str()), (78, ""));
    let lines: Vec<_> = err.lines().collect();
    for (line, start) in lines.iter().zip([
        "config.toml:2: the key `state_dir` is missing",
        "config.toml:4: unknown key `statedir`; did you mean `state_dir`?",
        "config.toml:11: AE title \"\" must have 1 to 16 characters",
        "config.toml:16: unknown key `limit`; did you mean `limits`?",
    ]) {
        assert!(line.starts_with(start), "{err}");
    }
    assert_eq!(lines.len(), 4, "{err}");
}

#[test]
fn json_is_one_object_on_standard_output() {
    let (code, out, err) = check(folder(&RIGHT.replace("\"ARCHIVE\"", "\"\"")).path(), &["--json"]);
    assert_eq!((code, err.as_str()), (78, ""));
    let found: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(found["ok"], false);
    assert_eq!(found["errors"][0]["line"], 11);
    assert_eq!(found["warnings"], json!([]));
    let (code, out, _) = check(folder(RIGHT).path(), &["--json"]);
    let found: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &found["ok"], &found["file"]), (0, &true.into(), &"config.toml".into()));
}

#[test]
fn weights_or_a_card_that_are_not_there_or_no_card_are_an_error() {
    for (file, content, wrong) in [
        ("w.safetensors", None, "w.safetensors is not there"),
        ("w.json", None, "w.json"),
        ("w.json", Some("{}"), "w.json"),
    ] {
        let dir = folder(RIGHT);
        let path = dir.path().join(file);
        match content {
            Some(content) => std::fs::write(path, content).unwrap(),
            None => std::fs::remove_file(path).unwrap(),
        }
        let (code, _, err) = check(dir.path(), &[]);
        assert_eq!(code, 78);
        assert!(err.starts_with("config.toml:7: classify.model: ") && err.contains(wrong), "{err}");
    }
}

#[test]
fn a_file_that_is_not_there_exits_78() {
    let (code, _, err) = check(tempfile::tempdir().unwrap().path(), &["--config", "nowhere.toml"]);
    assert_eq!(code, 78);
    assert!(err.starts_with("nowhere.toml:0: cannot be read"), "{err}");
}

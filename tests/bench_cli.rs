//! `radroute bench` as a script calls it: the shape of the object, and no word about speed.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Without any configuration, in a folder without one.
fn bench(arguments: &[&str]) -> Output {
    let weights = root().join("weights");
    Command::new(env!("CARGO_BIN_EXE_radroute")).current_dir(weights).arg("bench").args(arguments).output().unwrap()
}

fn positive(value: &Value) -> bool {
    value.as_f64().is_some_and(|n| n.is_finite() && n > 0.0)
}

#[test]
fn one_object_with_every_key_and_nothing_left_behind() {
    let state = tempfile::tempdir().unwrap();
    let sample = root().join("tests/data/elbow-1.dcm");
    let output = bench(&[
        "--json",
        "--threads",
        "1",
        "--batch",
        "2",
        "--state-dir",
        state.path().to_str().unwrap(),
        "--images",
        sample.to_str().unwrap(),
    ]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(told.contains(state.path().to_str().unwrap()), "where the spool was: {told}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    let object: Value = serde_json::from_str(&text).unwrap();
    let keys: Vec<&String> = object.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["capacity_per_hour", "cpu", "decode_ms", "engine", "spool_sync_ms", "threads"]);
    // A figure of CUDA is there only where a device is.
    let engines = object["engine"].as_object().unwrap().keys().filter(|k| *k != "cuda");
    assert_eq!(engines.collect::<Vec<_>>(), ["f32", "int8"]);
    assert!(positive(&object["engine"]["f32"]["images_per_s"]), "{text}");
    let int8 = &object["engine"]["int8"]["images_per_s"];
    assert!(positive(int8), "the shipped card has steps: {text}");
    assert_eq!(object["capacity_per_hour"].as_object().unwrap().keys().collect::<Vec<_>>(), ["cr", "dx"]);
    for number in [&object["spool_sync_ms"], &object["capacity_per_hour"]["dx"], &object["capacity_per_hour"]["cr"]] {
        assert!(positive(number), "{text}");
    }
    assert_eq!(object["threads"], 1);
    assert!(object["cpu"].as_str().is_some_and(|cpu| !cpu.is_empty()));
    let read = object["decode_ms"].as_object().unwrap();
    assert!(read.values().all(|ms| ms.is_null() || positive(ms)), "{text}");
    assert!(read.keys().all(|uid| uid.starts_with("1.2.840.10008.1.2")), "{text}");
    for syntax in ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.70"] {
        assert!(positive(&read[syntax]), "{syntax}: {text}");
    }
    let given = std::fs::read_to_string(root().join("tests/data/samples.tsv")).unwrap();
    let given = given.lines().find(|line| line.starts_with("elbow-1.dcm")).unwrap().split('\t').nth(2).unwrap();
    assert!(positive(&read[given]), "{given}: {text}");
    assert_eq!(std::fs::read_dir(state.path()).unwrap().count(), 0);
}

#[test]
fn what_cannot_be_meant_is_an_error_of_usage() {
    for wrong in [
        &["--batch", "0"][..],
        &["--threads", "0"],
        &["--threads", "many"],
        &["--batch"],
        &["--images"],
        &["--fast"],
        &["x"],
    ] {
        let output = bench(wrong);
        assert_eq!(output.status.code(), Some(64), "{wrong:?}");
        assert!(output.stdout.is_empty(), "{wrong:?}");
    }
}

#[test]
fn a_folder_or_file_that_is_not_there_is_told() {
    for (arguments, code) in [
        (&["--model", "/nonexistent/w.safetensors"][..], 78),
        (&["--config", "/nonexistent/config.toml"], 78),
        (&["--state-dir", "/nonexistent"], 74),
    ] {
        let output = bench(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("/nonexistent"), "{arguments:?}");
    }
}

#[test]
fn a_table_for_people() {
    let output = bench(&["--batch", "1"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    for word in ["network, fp32", "read: JPEG Lossless", "make durable", "images an hour"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert!(!Path::new("image.dcm").exists());
}

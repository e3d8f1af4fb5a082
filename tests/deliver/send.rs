//! `radroute send`, the real binary.

use crate::node::*;
use crate::receivers::{self, answering, free_port, storescp};
use std::path::Path;
use std::process::{Command, Output};

fn send(port: u16, args: &[&str], paths: &[&Path]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_radroute"))
        .args(["send", "--to", &format!("ARCHIVE@127.0.0.1:{port}"), "--timeout", "10"])
        .args(args)
        .args(paths)
        .output()
        .unwrap()
}

fn rows(output: &Output) -> Vec<serde_json::Value> {
    String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_folder_goes_out_as_it_is_on_one_association() {
    if !receivers::dcmtk() {
        return;
    }
    let archive = storescp(None, &["+xa"]);
    let before = archive.associations();
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("below")).unwrap();
    let samples = [
        radiograph(1, 12),
        radiograph(2, 12).through("dcmcjpeg", &["+e1"]),
        radiograph(3, 8).through("dcmconv", &["+ti"]),
    ];
    for (number, sample) in samples.iter().enumerate() {
        std::fs::write(folder.path().join(format!("below/{number}")), &sample.file).unwrap();
    }
    std::fs::write(folder.path().join("notes.txt"), "not DICOM").unwrap();
    let output = send(archive.port, &["--json"], &[folder.path()]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let rows = rows(&output);
    assert_eq!(rows.len(), 3);
    assert!(rows.iter().all(|row| row["outcome"] == "delivered" && row["status"] == "0000"), "{rows:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("notes.txt"));
    for sample in &samples {
        assert!(Sample::open(&archive.file(&sample.uid).unwrap()).data_set() == sample.data_set());
    }
    assert_eq!(archive.associations() - before, 1);
}

#[test]
fn failures_are_told_and_end_with_69() {
    if !receivers::pynetdicom() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for number in 0..3 {
        std::fs::write(folder.path().join(number.to_string()), &radiograph(number, 12).file).unwrap();
    }
    let archive = answering(None, "0000,A700,B007", &[]);
    let output = send(archive.port, &["--json"], &[folder.path()]);
    assert_eq!(output.status.code(), Some(69));
    let told: Vec<_> = rows(&output).iter().map(|row| (row["outcome"].clone(), row["status"].clone())).collect();
    assert_eq!(
        told,
        [("delivered".into(), "0000".into()), ("failed".into(), "A700".into()), ("warning".into(), "B007".into())]
    );
    let nobody = send(free_port(), &[], &[folder.path()]);
    assert_eq!(nobody.status.code(), Some(69));
    assert!(String::from_utf8_lossy(&nobody.stdout).contains("cannot connect"), "{nobody:?}");
    let wrong = Command::new(env!("CARGO_BIN_EXE_radroute")).args(["send", "--to", "nowhere", "x"]).output().unwrap();
    assert!(!wrong.status.success());
}

//! The receiving stage and the sink against real peers: dcmtk's tools and pynetdicom. A peer that is not installed is skipped
//! with a word.

#[path = "support/receiving/mod.rs"]
mod support;

#[path = "support/local.rs"]
mod local;

use radroute::receive::sink::{Options, Sink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use support::node::Node;
use support::object::{DEFLATED, EXPLICIT, IMPLICIT, JPEG_LOSSLESS, Object, object};

/// Objects as files, in the transfer syntax given.
fn files(dir: &Path, syntax: &str, count: u32) -> Vec<(Object, PathBuf)> {
    (1..=count)
        .map(|n| {
            let object = object(n).syntax(syntax).size(200, 150);
            let path = dir.join(format!("{n}.dcm"));
            std::fs::write(&path, object.file()).unwrap();
            (object, path)
        })
        .collect()
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {text}");
    output
}

/// Each object is in the ledger once, and its data set in the spool as it was in its file.
fn assert_kept(node: &Node, sent: &[(Object, PathBuf)]) {
    for (object, _) in sent {
        let [life] = &node.instances(&object.sop_instance)[..] else {
            panic!("{} is not there once", object.sop_instance)
        };
        let row = &life.row;
        let kept = node.file(&row.spool_name).split_off(row.dataset_offset as usize);
        assert!(kept == object.data_set(), "the data set of {} was changed", object.sop_instance);
    }
    assert_eq!(node.files().len(), sent.len());
}

#[test]
fn echoscu_is_answered() {
    let Some(echoscu) = support::tool("/usr/bin/echoscu") else { return };
    let node = Node::start(|_| {});
    let port = node.addr.port().to_string();
    run(Command::new(&echoscu).args(["-aec", "RADROUTE", "--repeat", "3", "127.0.0.1", &port]));
    // any called AE title but ours is refused
    let refused = Command::new(&echoscu).args(["-aec", "OTHER", "127.0.0.1", &port]).output().unwrap();
    assert!(!refused.status.success());
    assert_eq!(node.event("rejected")["answer"], "Permanent: called AE title not recognized");
}

#[test]
fn storescu_sends_in_several_transfer_syntaxes() {
    let Some(storescu) = support::tool("/usr/bin/storescu") else { return };
    for (syntax, flag) in [(EXPLICIT, "-xe"), (IMPLICIT, "-xi"), (JPEG_LOSSLESS, "-xs")] {
        let node = Node::start(|_| {});
        let dir = tempfile::tempdir().unwrap();
        let sent = files(dir.path(), syntax, 3);
        let paths = sent.iter().map(|(_, path)| path);
        run(Command::new(&storescu)
            .args([flag, "-aet", "XRAY1", "-aec", "RADROUTE", "127.0.0.1", &node.addr.port().to_string()])
            .args(paths));
        assert_kept(&node, &sent);
        assert_eq!(node.event("association")["received"], 3);
    }
}

#[test]
fn dcmsend_sends_what_it_has() {
    let Some(dcmsend) = support::tool("/usr/bin/dcmsend") else { return };
    for (syntax, pdu) in [(EXPLICIT, "4096"), (EXPLICIT, "131072"), (JPEG_LOSSLESS, "16384")] {
        let node = Node::start(|_| {});
        let dir = tempfile::tempdir().unwrap();
        let sent = files(dir.path(), syntax, 4);
        run(Command::new(&dcmsend)
            .args(["-aec", "RADROUTE", "--max-send-pdu", pdu, "127.0.0.1", &node.addr.port().to_string()])
            .args(sent.iter().map(|(_, path)| path)));
        assert_kept(&node, &sent);
    }
}

#[test]
fn pynetdicom_sends() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/receiving/send.py");
    let there = Command::new(local::python()).args(["-c", "import pydicom, pynetdicom"]).output();
    if !there.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: a Python with pydicom and pynetdicom is not installed");
        return;
    }
    for (syntax, pdu) in [(EXPLICIT, "16382"), (IMPLICIT, "0"), (DEFLATED, "4096"), (JPEG_LOSSLESS, "131072")] {
        let node = Node::start(|_| {});
        let dir = tempfile::tempdir().unwrap();
        let sent = files(dir.path(), syntax, 2);
        let output = run(Command::new(local::python())
            .args([script, &node.addr.port().to_string(), pdu])
            .args(sent.iter().map(|(_, path)| path)));
        assert_eq!(
            String::from_utf8_lossy(&output.stdout).split_whitespace().collect::<Vec<_>>(),
            ["0000"; 3],
            "{syntax}"
        );
        assert_eq!(node.files().len(), 2);
        // it inflates and deflates by itself, so a deflated data set need not be the same bytes
        if syntax != DEFLATED {
            assert_kept(&node, &sent);
        }
    }
}

#[test]
fn the_sink_keeps_what_it_is_sent_and_refuses_as_told() {
    let Some(dcmsend) = support::tool("/usr/bin/dcmsend") else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let sent = files(dir.path(), EXPLICIT, 3);
    for status in [0x0000, 0xB000, 0xA700, 0xC000] {
        let kept = dir.path().join(format!("{status:04X}"));
        let mut options = Options::new(([127, 0, 0, 1], 0).into(), &kept);
        options.status = status;
        let sink = runtime.block_on(Sink::start(options)).unwrap();
        let output = Command::new(&dcmsend)
            .args(["-aec", "ANYTHING", "127.0.0.1", &sink.local_addr().port().to_string()])
            .args(sent.iter().map(|(_, path)| path))
            .output()
            .unwrap();
        let good = status == 0 || status == 0xB000;
        assert_eq!((sink.stored(), sink.refused()), if good { (3, 0) } else { (0, 3) }, "{status:04X} {output:?}");
        runtime.block_on(sink.stop());
        let names: Vec<_> = std::fs::read_dir(&kept).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names.len(), if good { 3 } else { 0 }, "{names:?}");
        for (object, _) in sent.iter().filter(|_| good) {
            let file = std::fs::read(kept.join(format!("{}.dcm", object.sop_instance))).unwrap();
            assert!(file.ends_with(&object.data_set()));
        }
    }
}

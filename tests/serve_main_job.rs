//! The main job from one end to the other, with the sample radiographs and real peers: received, looked at, corrected, routed,
//! delivered; everything else byte for byte as it came.

#[path = "support/archive.rs"]
mod archive;
#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/objects.rs"]
mod objects;
#[path = "support/peers.rs"]
mod peers;
#[path = "support/samples.rs"]
mod samples;
#[path = "support/wire.rs"]
mod wire;

use archive::Archive;
use daemon::{Site, wait_for};
use objects::{BODY_PART, DEFLATED, Object, SERIES, STUDY};
use samples::{Sample, judge, samples};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Objects by SOP Instance UID.
type ByUid = BTreeMap<String, Object>;

fn by_uid(objects: impl IntoIterator<Item = Object>) -> ByUid {
    objects.into_iter().map(|o| (o.uid(), o)).collect()
}

#[test]
fn samples_go_to_every_kind_of_archive_corrected_and_routed_by_region() {
    let Some(mut site) = Site::new() else { return };
    let (archive, raw, upper, lower, rest) =
        (Archive::start(), Archive::start(), Archive::start(), Archive::start(), Archive::start());
    let mut everywhere = vec!["archive", "raw"];
    site.destination("archive", archive.port, "");
    site.destination("raw", raw.port, "as_received = true");
    for (name, port) in [("upper", upper.port), ("lower", lower.port), ("rest", rest.port)] {
        site.destination(name, port, "");
    }
    let (storescp_port, pynetdicom_port) = (peers::free_port(), peers::free_port());
    let (storescp_dir, pynetdicom_dir) = (site.path("storescp"), site.path("pynetdicom"));
    let storescp = peers::storescp(storescp_port, &storescp_dir);
    let pynetdicom = peers::pynetdicom_scp(pynetdicom_port, &pynetdicom_dir);
    let orthanc = peers::Orthanc::start(&site.path("orthanc"));
    if storescp.is_some() {
        site.destination("storescp", storescp_port, "");
        everywhere.push("storescp");
    }
    if pynetdicom.is_some() {
        site.destination("pynetdicom", pynetdicom_port, "");
        everywhere.push("pynetdicom");
    }
    if let Some(orthanc) = &orthanc {
        site.destination("orthanc", orthanc.port, "");
        everywhere.push("orthanc");
    }
    for (name, regions) in [("upper", r#"["SHOULDER", "ELBOW", "HAND"]"#), ("lower", r#"["PELVIS", "KNEE"]"#)] {
        site.tables += &format!(
            "[[route]]\nname = \"{name}\"\nregion = {regions}\nto = [\"{name}\", \"{}\"]\n",
            everywhere.join("\", \"")
        );
    }
    site.routing = format!("default = [\"rest\", \"{}\"]\n", everywhere.join("\", \""));
    let router = site.start();

    let samples = samples();
    for sample in &samples {
        let statuses = wire::send(router.port, "XRAY1", std::slice::from_ref(&sample.object)).unwrap();
        assert_eq!(statuses, [0], "{}", sample.name);
    }
    let all: BTreeSet<String> = samples.iter().map(|s| s.object.uid()).collect();
    let complete = |a: &Archive| a.uids().len() == all.len();
    wait_for("everything is at the archive", || complete(&archive) && complete(&raw));
    wait_for("the queue is empty", || site.json(&["queue", "list", "--json"]).is_empty());

    // The archive that keeps every byte, and the one that wants objects as they came.
    let left = by_uid(archive.stored().iter().map(|d| d.object()));
    for sample in &samples {
        judge(&sample.name, &sample.object, &left[&sample.object.uid()], &sample.expected());
    }
    for delivery in raw.stored() {
        let sample = samples.iter().find(|s| s.object.uid() == delivery.uid).unwrap();
        assert_eq!(delivery.object(), sample.object, "{} as received", sample.name);
    }
    assert_eq!(archive.stored().len(), all.len(), "once each");

    // Routes: by what the network saw, not by what the tag said.
    let of = |regions: &[&str]| -> Vec<String> {
        let mut uids: Vec<String> =
            samples.iter().filter(|s| regions.contains(&s.region.as_str())).map(|s| s.object.uid()).collect();
        uids.sort();
        uids
    };
    assert_eq!(upper.uids(), of(&["SHOULDER", "ELBOW", "HAND"]), "upper");
    assert_eq!(lower.uids(), of(&["PELVIS", "KNEE"]), "lower");
    assert_eq!(rest.uids(), of(&["FOOT", "CHEST", "SKULL", "ANKLE", "LSPINE"]), "rest");

    // Every archive has the same bytes.
    if storescp.is_some() {
        let mut files = Vec::new();
        daemon::files(&storescp_dir, &mut files);
        let stored = by_uid(files.iter().map(|f| Object::read(f)));
        same("storescp", &left, &stored);
        no_new_complaints(&site, &samples, &files);
    }
    if pynetdicom.is_some() {
        let mut files = Vec::new();
        daemon::files(&pynetdicom_dir, &mut files);
        assert_eq!(files.len(), all.len());
        for file in files {
            let uid = file.file_stem().unwrap().to_str().unwrap();
            let sent = archive.stored().into_iter().find(|d| d.uid == uid).unwrap();
            assert!(std::fs::read(&file).unwrap() == sent.dataset, "pynetdicom has other bytes of {uid}");
        }
    }
    if let Some(orthanc) = &orthanc {
        let stored = by_uid(orthanc.instances().iter().map(|f| Object::parse_file(f).unwrap()));
        same("Orthanc", &left, &stored);
    }

    audited(&site, &samples);
    assert!(router.stop().success());
}

fn same(who: &str, expected: &ByUid, stored: &ByUid) {
    assert_eq!(stored.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{who}");
    for (uid, object) in stored {
        let expected = &expected[uid];
        assert_eq!(object.transfer_syntax, expected.transfer_syntax, "{who}");
        assert!(object.taken_apart() == expected.taken_apart(), "{who} has something else of {uid}");
    }
}

/// dcmdump, dciodvfy and dcentvfy find nothing in what left that they had not found in what came.
fn no_new_complaints(site: &Site, samples: &[Sample], stored: &[PathBuf]) {
    let plain = site.path("plain");
    std::fs::create_dir_all(&plain).unwrap();
    let (mut came, mut left) = (Vec::new(), Vec::new());
    for sample in samples {
        let file = stored.iter().find(|f| Object::read(f).uid() == sample.object.uid()).unwrap();
        let Some(text) = peers::dcmdump(file) else { return };
        assert!(text.contains("(0008,0018)"));
        let pair = (
            readable(&sample.path, &plain.join(format!("came-{}", sample.name))),
            readable(file, &plain.join(format!("left-{}", sample.name))),
        );
        let (Some(before), Some(after)) = (peers::dciodvfy(&pair.0), peers::dciodvfy(&pair.1)) else { return };
        let new: Vec<&String> = after.iter().filter(|line| !before.contains(line)).collect();
        assert!(new.is_empty(), "dciodvfy on {}: {new:#?}", sample.name);
        came.push(pair.0);
        left.push(pair.1);
    }
    let (Some(before), Some(after)) = (peers::dcentvfy(&came), peers::dcentvfy(&left)) else { return };
    // It names files: what it says counts, not of which.
    let said = |lines: Vec<String>| lines.len();
    assert!(said(after.clone()) <= said(before), "dcentvfy: {after:#?}");
}

/// dciodvfy cannot read deflated data sets: dcmconv inflates them first.
fn readable(file: &Path, to: &Path) -> PathBuf {
    if Object::read(file).transfer_syntax != DEFLATED {
        std::fs::copy(file, to).unwrap();
        return to.to_owned();
    }
    let tool = peers::tool("dcmconv").expect("dcmconv comes with dcmdump");
    assert!(std::process::Command::new(tool).arg("+te").arg(file).arg(to).status().unwrap().success());
    to.to_owned()
}

/// `radroute audit --json` tells the life of each: what came, what was seen, what was decided, where it went.
fn audited(site: &Site, samples: &[Sample]) {
    for sample in samples {
        let life = site.json(&["audit", "--json", &sample.object.uid()]);
        let text = serde_json::to_string(&life).unwrap();
        for kind in ["received", "looked", "verdict", "routed", "delivered"] {
            assert!(text.contains(&format!("\"{kind}\"")), "{}: no {kind} in {text}", sample.name);
        }
        assert!(text.contains("XRAY1") && text.contains("127.0.0.1"), "{}: from whom", sample.name);
        if sample.object.text(BODY_PART) != sample.expected() {
            assert!(text.contains("\"correction\""), "{}: no correction in {text}", sample.name);
        }
        if !text.contains("\"exempt\"") {
            for region in ["SHOULDER", "ELBOW", "HAND", "PELVIS", "KNEE"] {
                assert!(text.contains(&format!("\"{region}\":")), "{}: no score for {region} in {text}", sample.name);
            }
        }
    }
    let study = site.json(&["audit", "--json", &samples::sample("knee-1").object.text(STUDY)]);
    let text = serde_json::to_string(&study).unwrap();
    for name in ["knee-1", "knee-2"] {
        assert!(text.contains(&samples::sample(name).object.uid()), "the study's audit has {name}");
    }
}

/// The samples under identifiers of their own for each sender.
fn renamed(sender: u32, dir: &Path) -> Vec<(PathBuf, Sample)> {
    std::fs::create_dir_all(dir).unwrap();
    let renamed = samples().into_iter().map(|mut sample| {
        let other = |tag| format!("{}.{sender}", sample.object.text(tag));
        let (uid, series, study) = (other(objects::SOP_INSTANCE), other(SERIES), other(STUDY));
        let tag = sample.object.raw(BODY_PART).map(|_| sample.object.text(BODY_PART));
        sample.object = sample.object.as_other(&uid, &series, &study, tag.as_deref());
        (sample.object.write(&dir.join(&sample.name)), sample)
    });
    renamed.collect()
}

/// What an archive gets from a sender directly is what radroute gets: the measure for what it lets out.
fn through(
    site: &Site,
    router_port: u16,
    archive: &Archive,
    files: &[(PathBuf, Sample)],
    send: impl Fn(u16, &[PathBuf]),
) {
    let direct = Archive::start();
    let paths: Vec<PathBuf> = files.iter().map(|(p, _)| p.clone()).collect();
    send(direct.port, &paths);
    send(router_port, &paths);
    let direct = by_uid(direct.stored().iter().map(|d| d.object()));
    assert_eq!(direct.len(), files.len(), "all were sent");
    wait_for("everything is at the archive", || direct.keys().all(|u| archive.uids().contains(u)));
    let left = by_uid(archive.stored().iter().map(|d| d.object()));
    for (_, sample) in files {
        let uid = sample.object.uid();
        judge(&sample.name, &direct[&uid], &left[&uid], &sample.expected());
    }
    wait_for("the queue is empty", || site.json(&["queue", "list", "--json"]).is_empty());
}

#[test]
fn dcmsend_storescu_and_pynetdicom_send() {
    let archive = Archive::start();
    let Some(site) = Site::with_archive(archive.port) else { return };
    let router = site.start();
    if peers::tool("dcmsend").is_some() {
        through(&site, router.port, &archive, &renamed(1, &site.path("dcmsend")), |port, files| {
            let output = peers::dcmsend(port, files).unwrap();
            let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            assert!(
                output.status.success() && said.contains(&format!("with status SUCCESS  : {}", files.len())),
                "{said}"
            );
        });
    }
    if peers::tool("storescu").is_some() {
        // storescu proposes one compressed transfer syntax at a time; the uncompressed ones are its ground.
        let plain: Vec<_> = renamed(2, &site.path("storescu"))
            .into_iter()
            .filter(|(_, s)| {
                [objects::IMPLICIT, objects::EXPLICIT, objects::BIG_ENDIAN].contains(&s.object.transfer_syntax.as_str())
            })
            .collect();
        through(&site, router.port, &archive, &plain, |port, files| {
            let output = peers::storescu(port, "-x=", files).unwrap();
            let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            assert!(output.status.success() && !said.contains("E: "), "{said}");
        });
    }
    if peers::python().is_some() {
        through(&site, router.port, &archive, &renamed(3, &site.path("pynetdicom-in")), |port, files| {
            let answers = peers::pynetdicom_send(port, files).unwrap();
            assert_eq!(answers.len(), files.len());
            assert!(answers.iter().all(|(_, status)| *status == 0), "{answers:?}");
        });
    }
    assert!(router.stop().success());
}

#[test]
fn observe_writes_nothing_and_fill_only_what_was_empty() {
    for (mode, written) in [("observe", &[][..]), ("fill", &["shoulder-2.dcm", "pelvis-1.dcm"][..])] {
        let archive = Archive::start();
        let Some(mut site) = Site::with_archive(archive.port) else { return };
        site.classify += &format!("mode = \"{mode}\"\n");
        let router = site.start();
        let names = ["shoulder-1", "shoulder-2", "pelvis-1", "knee-1"];
        let samples: Vec<Sample> = names.iter().map(|n| samples::sample(n)).collect();
        let objects: Vec<Object> = samples.iter().map(|s| s.object.clone()).collect();
        assert_eq!(wire::send(router.port, "XRAY1", &objects).unwrap(), [0; 4]);
        wait_for("all four arrive", || archive.uids().len() == 4);
        let left = by_uid(archive.stored().iter().map(|d| d.object()));
        for sample in &samples {
            let tag = sample.object.text(BODY_PART);
            let expected = if written.contains(&sample.name.as_str()) { sample.region.clone() } else { tag };
            judge(&format!("{mode}: {}", sample.name), &sample.object, &left[&sample.object.uid()], &expected);
        }
        assert_eq!(router.events("verdict").len(), 4, "everything is recorded");
    }
}

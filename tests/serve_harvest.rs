//! `radroute harvest`: off unless asked for, de-identified, capped, and a manifest that training takes.

#[path = "support/archive.rs"]
mod archive;
#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/objects.rs"]
mod objects;
#[path = "support/samples.rs"]
mod samples;
#[path = "support/wire.rs"]
mod wire;

use archive::Archive;
use daemon::{Site, files, wait_for};
use objects::{BODY_PART, Object, SERIES, STUDY, uid};
use radroute::model::card::Card;
use radroute::train::manifest::Manifest;
use samples::{judge, sample, samples};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const PATIENT_NAME: u32 = 0x0010_0010;
const PATIENT_ID: u32 = 0x0010_0020;

/// The records of the harvest: their presence says that an image is kept.
fn kept(site: &Site) -> Vec<PathBuf> {
    let mut all = Vec::new();
    files(&site.state_dir.join("harvest"), &mut all);
    all.into_iter().filter(|p| p.extension().is_some_and(|e| e == "json")).collect()
}

fn send(port: u16, object: &Object) {
    assert_eq!(wire::send(port, "XRAY1", std::slice::from_ref(object)).unwrap(), [0]);
}

/// Names of files below a folder and all that is in them, as one heap of bytes a file.
fn heap(folder: &Path) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    files(folder, &mut all);
    assert!(!all.is_empty());
    let of = |path: &PathBuf| [path.to_string_lossy().as_bytes(), &std::fs::read(path).unwrap()].concat();
    all.iter().map(of).collect()
}

fn holds(heap: &[Vec<u8>], text: &str) -> bool {
    heap.iter().any(|bytes| bytes.windows(text.len()).any(|part| part == text.as_bytes()))
}

#[test]
fn what_is_served_is_harvested_exported_and_names_no_one() {
    for mode in ["observe", "correct"] {
        let archive = Archive::start();
        let Some(mut site) = Site::with_archive(archive.port) else { return };
        site.classify += &format!("mode = \"{mode}\"\n");
        site.tables += "[harvest]\nenabled = true\n";
        let router = site.start();
        let names = ["knee-1", "knee-2", "hand-1", "foot-1", "shoulder-1", "chest-1"];
        let mut sent: Vec<Object> = names.iter().map(|n| sample(n).object).collect();
        // Somebody has written a name where the body part belongs, and a patient comes back for another study.
        sent[0].set_text(BODY_PART, "CS", "MEIER HANS");
        let patient = sent[0].text(PATIENT_ID);
        sent[2].set_text(PATIENT_ID, "LO", &patient);
        for (i, object) in sent.iter().enumerate() {
            send(router.port, object);
            wait_for("one more is harvested", || kept(&site).len() == i + 1);
        }
        // The same again changes nothing.
        send(router.port, &sent[1]);
        wait_for("it was looked at again", || router.events("looked").len() == names.len() + 1);
        wait_for("everything is delivered", || archive.stored().len() == names.len() + 1);
        assert_eq!(kept(&site).len(), names.len());
        assert!(router.stop().success());

        let status = site.json(&["harvest", "status", "--json"]);
        assert_eq!((&status[0]["images"], &status[0]["enabled"]), (&names.len().into(), &true.into()));
        assert_eq!(status[0]["tags"]["UNCLEAR"]["images"], 2, "{status:?}");

        let out = site.path("export");
        let output = site.run(&["harvest", "export", "--out", out.to_str().unwrap()]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let manifest = Manifest::read(&out.join("manifest.tsv"), &out).unwrap();
        assert_eq!(manifest.entries.len(), names.len());
        let mut labels: Vec<&str> = manifest.entries.iter().map(|e| e.region.as_str()).collect();
        labels.sort_unstable();
        // foot-1 says FOOT, hand-1 MANO, knee-2 ANKLE, shoulder-1 CHEST; chest-1 says nothing.
        assert_eq!(labels, ["ANKLE", "CHEST", "FOOT", "HAND", "UNCLEAR", "UNCLEAR"]);
        let mut groups: BTreeMap<&str, usize> = BTreeMap::new();
        for entry in &manifest.entries {
            *groups.entry(&entry.group).or_default() += 1;
            assert_eq!((entry.source.as_str(), entry.licence.as_str()), ("harvest", "site"));
            let picture = image::open(manifest.path(entry)).unwrap();
            assert!(matches!(picture, image::DynamicImage::ImageLuma8(_)));
            assert!(picture.width().max(picture.height()) <= 256);
        }
        let patients: std::collections::BTreeSet<String> = sent.iter().map(|o| o.text(PATIENT_ID)).collect();
        assert_eq!(groups.len(), patients.len(), "a group is a patient");
        let header = std::fs::read_to_string(out.join("manifest.tsv")).unwrap();
        assert!(header.lines().next().unwrap().contains("\tscore_KNEE"), "{header}");

        let (exported, stored) = (heap(&out), heap(&site.state_dir.join("harvest")));
        for object in &sent {
            for tag in [objects::SOP_INSTANCE, SERIES, STUDY, PATIENT_ID, PATIENT_NAME] {
                let text = object.text(tag);
                assert!(text.len() > 4, "{tag:08X} of the sample says something");
                assert!(!holds(&exported, &text) && !holds(&stored, &text), "{text} is there");
            }
        }
        assert!(!holds(&exported, "MEIER") && !holds(&stored, "MEIER"));
        let salt = std::fs::read_to_string(site.state_dir.join("harvest/salt")).unwrap();
        assert!(!holds(&exported, salt.trim()), "the salt is exported");

        // A folder that is used is refused; cleared, nothing is left.
        assert_eq!(site.run(&["harvest", "export", "--out", out.to_str().unwrap()]).status.code(), Some(64));
        assert!(site.run(&["harvest", "clear", "--yes"]).status.success());
        assert!(!site.state_dir.join("harvest").exists());
        assert_eq!(site.run(&["harvest", "export", "--out", "elsewhere"]).status.code(), Some(65));
    }
}

#[test]
fn the_labels_are_heads_of_the_network() {
    let Some(model) = daemon::model() else { return };
    let heads: Vec<String> = Card::read(&Card::beside(&model)).unwrap().heads.into_iter().map(|h| h.name).collect();
    for label in ["ANKLE", "CHEST", "FOOT", "HAND"] {
        assert!(heads.contains(&label.to_owned()), "{label}");
    }
}

#[test]
fn without_being_asked_nothing_is_kept() {
    let archive = Archive::start();
    let Some(site) = Site::with_archive(archive.port) else { return };
    let router = site.start();
    let knee = sample("knee-2").object;
    send(router.port, &knee);
    wait_for("it is delivered", || archive.uids() == [knee.uid()]);
    assert!(router.stop().success());
    assert!(!site.state_dir.join("harvest").exists());
    let status = site.json(&["harvest", "status", "--json"]);
    assert_eq!((&status[0]["images"], &status[0]["enabled"]), (&0.into(), &false.into()));
}

#[test]
fn the_cap_holds_and_clearing_beside_the_daemon_begins_anew() {
    let archive = Archive::start();
    let Some(mut site) = Site::with_archive(archive.port) else { return };
    site.tables += "[harvest]\nenabled = true\nmax_images = 3\n";
    let router = site.start();
    let all = samples();
    for (i, sample) in all.iter().enumerate() {
        send(router.port, &sample.object);
        wait_for("it was looked at", || router.events("looked").len() == i + 1);
        assert!(kept(&site).len() <= 3);
    }
    wait_for("the cap is reached", || kept(&site).len() == 3);
    assert!(site.run(&["harvest", "clear", "--yes"]).status.success());
    let knee = sample("knee-2").object.as_other(&uid(80, 3, 1), &uid(80, 2, 1), &uid(80, 1, 1), Some("KNEE"));
    send(router.port, &knee);
    wait_for("harvesting goes on", || !kept(&site).is_empty());
    wait_for("all is delivered", || archive.stored().len() == all.len() + 1);
    assert!(router.stop().success());
}

#[test]
fn a_harvest_that_cannot_be_written_costs_one_line_and_no_instance() {
    let archive = Archive::start();
    let Some(mut site) = Site::with_archive(archive.port) else { return };
    site.tables += "[harvest]\nenabled = true\n";
    std::fs::create_dir_all(&site.state_dir).unwrap();
    // A file where the folder should be.
    std::fs::write(site.state_dir.join("harvest"), "").unwrap();
    let router = site.start();
    let sent = ["knee-1", "knee-2", "shoulder-2"].map(sample);
    for sample in &sent {
        send(router.port, &sample.object);
    }
    wait_for("all are delivered", || archive.stored().len() == sent.len());
    for sample in &sent {
        let left = archive.stored().into_iter().find(|d| d.uid == sample.object.uid()).unwrap();
        judge(&sample.name, &sample.object, &left.object(), &sample.expected());
    }
    let lines = || router.log_lines().iter().filter(|l| l.to_string().contains("not harvested")).count();
    wait_for("it is told", || lines() > 0);
    assert_eq!(lines(), 1);
    assert!(router.stop().success());
}

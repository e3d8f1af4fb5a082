//! Destinations that are down, slow, refusing or failing: every instance arrives, or is a dead letter that says why.

#[path = "support/archive.rs"]
mod archive;
#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/objects.rs"]
mod objects;
#[path = "support/peers.rs"]
mod peers;
#[path = "support/wire.rs"]
mod wire;

use archive::{Archive, Manner};
use daemon::{Router, Site, wait_for};
use objects::{BIG_ENDIAN, EXPLICIT, Object};
use serde_json::Value;
use std::time::Duration;

fn batch(test: u32, count: u32) -> Vec<Object> {
    (0..count).map(|n| Object::slice(test, n)).collect()
}

fn send(router: &Router, objects: &[Object]) {
    let statuses = wire::send(router.port, "MODALITY", objects).unwrap();
    assert!(statuses.iter().all(|s| *s == 0), "{statuses:?}");
}

/// The archive has exactly these, unaltered.
fn arrived(archive: &Archive, objects: &[Object]) {
    wait_for("everything is at the archive", || archive.uids().len() >= objects.len());
    for delivery in archive.stored() {
        let original = objects.iter().find(|o| o.uid() == delivery.uid).expect("an instance that was sent");
        assert_eq!(delivery.object(), *original, "{}", delivery.uid);
    }
    assert_eq!(archive.stored().len(), objects.len(), "deliveries");
}

fn queue(site: &Site) -> Vec<Value> {
    site.json(&["queue", "list", "--json"])
}

#[test]
fn down_then_up() {
    let port = peers::free_port();
    let Some(site) = Site::with_archive(port) else { return };
    let router = site.start();
    let objects = batch(10, 5);
    send(&router, &objects);
    wait_for("an attempt fails", || !router.events("retry").is_empty());
    wait_for("all wait in the queue", || queue(&site).len() == 5);
    assert!(
        queue(&site).iter().all(|row| row["state"] == "queued" && row["destination"] == "archive"),
        "{:?}",
        queue(&site)
    );
    // What waits outlives a restart.
    assert!(router.stop().success());
    let router = site.start();
    assert_eq!(queue(&site).len(), 5);
    let archive = Archive::on(port, Manner::default());
    arrived(&archive, &objects);
    wait_for("the queue is empty", || queue(&site).is_empty());
    assert!(router.stop().success());
}

#[test]
fn one_that_hangs_delays_no_other() {
    let (slow, fast) = (Archive::on(0, Manner { gate: true, ..Manner::default() }), Archive::start());
    let Some(mut site) = Site::new() else { return };
    site.destination("slow", slow.port, "");
    site.destination("fast", fast.port, "");
    site.routing = "default = [\"slow\", \"fast\"]\n".into();
    let router = site.start();
    let objects = batch(11, 40);
    send(&router, &objects);
    arrived(&fast, &objects);
    assert!(slow.stored().is_empty(), "held back by the test");
    assert!(slow.most_open() <= 2, "max_associations is 2 by default");
    slow.set(|m| m.gate = false);
    arrived(&slow, &objects);
    drop(router);
}

#[test]
fn a_slow_one_gets_all_on_kept_associations() {
    let archive = Archive::on(0, Manner { delay: Duration::from_millis(15), ..Manner::default() });
    let Some(mut site) = Site::new() else { return };
    site.destination("archive", archive.port, "max_associations = 1");
    site.routing = "default = [\"archive\"]\n".into();
    let router = site.start();
    let objects = batch(12, 60);
    send(&router, &objects);
    arrived(&archive, &objects);
    assert_eq!(archive.most_open(), 1, "connections at the same time");
    assert!(archive.associations() < 20, "{} associations for 60 instances: they are not kept", archive.associations());
    drop(router);
}

#[test]
fn refusing_the_association_then_mended() {
    let archive = Archive::on(0, Manner { reject: Some((2, 3, 2)), ..Manner::default() });
    let Some(site) = Site::with_archive(archive.port) else { return };
    let router = site.start();
    let objects = batch(13, 3);
    send(&router, &objects);
    wait_for("an attempt fails", || !router.events("retry").is_empty());
    // A permanent refusal (calling AE title not recognised) is a wrong setting somewhere, which people mend.
    archive.set(|m| m.reject = Some((1, 1, 3)));
    let seen = archive.associations();
    wait_for("another attempt is refused", || archive.associations() > seen);
    assert!(queue(&site).iter().all(|row| row["state"] == "queued"), "no dead letter: {:?}", queue(&site));
    archive.set(|m| m.reject = None);
    arrived(&archive, &objects);
    drop(router);
}

#[test]
fn out_of_resources_is_tried_again() {
    let archive = Archive::on(0, Manner { status: 0xA700, ..Manner::default() });
    let Some(site) = Site::with_archive(archive.port) else { return };
    let router = site.start();
    let objects = batch(14, 3);
    send(&router, &objects);
    wait_for("A700 has been seen", || archive.deliveries().len() >= 3);
    wait_for("it is logged with its status", || {
        router.events("retry").iter().any(|e| e.to_string().to_uppercase().contains("A700"))
    });
    assert!(queue(&site).iter().all(|row| row["state"] == "queued"), "no dead letter: {:?}", queue(&site));
    archive.set(|m| m.status = 0);
    arrived(&archive, &objects);
    drop(router);
}

#[test]
fn a_warning_is_a_delivery() {
    let archive = Archive::on(0, Manner { status: 0xB000, ..Manner::default() });
    let Some(site) = Site::with_archive(archive.port) else { return };
    let router = site.start();
    send(&router, &batch(15, 2));
    wait_for("both are delivered", || router.events("delivered").len() == 2);
    assert!(queue(&site).is_empty());
    assert_eq!(archive.deliveries().len(), 2, "sent once each");
    drop(router);
}

#[test]
fn refused_for_good_is_a_dead_letter_until_somebody_decides() {
    let archive = Archive::on(0, Manner { status: 0xC000, ..Manner::default() });
    let Some(site) = Site::with_archive(archive.port) else { return };
    let router = site.start();
    let objects = batch(16, 3);
    send(&router, &objects);
    wait_for("three dead letters", || queue(&site).iter().filter(|row| row["state"] == "dead").count() == 3);
    for row in queue(&site) {
        let said = row["last_error"].as_str().unwrap_or_default().to_uppercase();
        assert!(said.contains("C000"), "the dead letter says what the archive said: {row}");
    }
    let text = site.run(&["queue", "list"]);
    assert!(String::from_utf8_lossy(&text.stdout).contains(&objects[0].uid()), "the table names the instance");
    assert_eq!(archive.deliveries().len(), 3, "not tried again by itself");

    archive.set(|m| m.status = 0);
    site.json(&["queue", "retry", "--destination", "archive", "--json"]);
    arrived(&archive, &objects);
    wait_for("the queue is empty", || queue(&site).is_empty());

    archive.set(|m| m.status = 0xC000);
    let more = batch(17, 2);
    send(&router, &more);
    wait_for("two dead letters", || queue(&site).iter().filter(|row| row["state"] == "dead").count() == 2);
    archive.set(|m| m.status = 0);
    site.json(&["queue", "drop", "--destination", "archive", "--json"]);
    assert!(queue(&site).is_empty());
    send(&router, &batch(18, 1));
    wait_for("the next one arrives", || archive.uids().len() == 4);
    assert!(more.iter().all(|o| !archive.uids().contains(&o.uid())), "what was dropped stays dropped");
    let life = site.json(&["audit", "--json", &more[0].uid()]);
    assert!(life.iter().any(|v| v.to_string().contains("dropped")), "the audit says so: {life:?}");
    drop(router);
}

#[test]
fn given_up_after_max_age() {
    let port = peers::free_port();
    let Some(mut site) = Site::new() else { return };
    site.tables = format!(
        "[[destination]]\nname = \"archive\"\nae_title = \"ARCHIVE\"\naddress = \"127.0.0.1:{port}\"\n\
         [destination.retry]\nfirst = \"100ms\"\nmost = \"200ms\"\nmax_age = \"1s\"\n"
    );
    site.routing = "default = [\"archive\"]\n".into();
    let router = site.start();
    let objects = batch(19, 1);
    send(&router, &objects);
    wait_for("it is a dead letter", || queue(&site).iter().any(|row| row["state"] == "dead"));
    let archive = Archive::on(port, Manner::default());
    site.json(&["queue", "retry", "--json"]);
    arrived(&archive, &objects);
    drop(router);
}

#[test]
fn a_refused_transfer_syntax_is_decoded_if_that_loses_nothing() {
    let archive = Archive::on(0, Manner { takes: vec![EXPLICIT.into()], ..Manner::default() });
    let Some(site) = Site::with_archive(archive.port) else { return };
    // JPEG Lossless and RLE samples, and the pictures that dcmtk and pydicom read in them.
    let samples = [daemon::root().join("tests/data/elbow-2.dcm"), daemon::root().join("tests/data/hand-1.dcm")];
    let router = site.start();
    for sample in &samples {
        let statuses = wire::send(router.port, "MODALITY", &[Object::read(sample)]).unwrap();
        assert_eq!(statuses, [0]);
    }
    wait_for("both arrive", || archive.uids().len() == 2);
    for (sample, decoder) in samples.iter().zip(["dcmdjpeg", "dcmdrle"]) {
        let original = Object::read(sample);
        let delivery = archive.stored().into_iter().find(|d| d.uid == original.uid()).unwrap();
        assert_eq!(delivery.transfer_syntax, EXPLICIT);
        let Some(tool) = peers::tool(decoder) else { continue };
        let plain = site.path("plain.dcm");
        let status = std::process::Command::new(tool).arg("+te").arg(sample).arg(&plain).status().unwrap();
        assert!(status.success());
        let (expected, got) = (Object::read(&plain), delivery.object());
        assert!(got.raw(0x7FE0_0010) == expected.raw(0x7FE0_0010), "{}: the pixels differ", sample.display());
    }
    drop(router);
}

#[test]
fn a_transfer_syntax_that_cannot_be_given_is_a_dead_letter_that_says_so() {
    let archive = Archive::on(0, Manner { takes: vec![BIG_ENDIAN.into()], ..Manner::default() });
    let Some(site) = Site::with_archive(archive.port) else { return };
    let router = site.start();
    let sample = Object::read(&daemon::root().join("tests/data/pelvis-2.dcm"));
    assert_eq!(wire::send(router.port, "MODALITY", &[sample]).unwrap(), [0]);
    wait_for("it is a dead letter", || queue(&site).iter().any(|row| row["state"] == "dead"));
    let said = queue(&site)[0]["last_error"].as_str().unwrap_or_default().to_lowercase();
    assert!(said.contains("transfer syntax"), "{said}");
    assert!(archive.deliveries().is_empty());
    drop(router);
}

//! What may be wrong with the machine under the router: it says so, keeps what it has, and goes on where it can.

#[path = "support/archive.rs"]
mod archive;
#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/objects.rs"]
mod objects;
#[path = "support/wire.rs"]
mod wire;

use archive::{Archive, Manner};
use daemon::{Site, wait_for};
use objects::{CT, Object};
use wire::{Modality, pdv, write_pdu};

fn gated() -> Archive {
    Archive::on(0, Manner { gate: true, ..Manner::default() })
}

#[test]
fn a_spool_file_that_is_gone_costs_that_instance_alone_and_is_told() {
    let archive = gated();
    let Some(site) = Site::with_archive(archive.port) else { return };
    let router = site.start();
    let objects: Vec<Object> = (0..4).map(|n| Object::slice(80, n)).collect();
    assert_eq!(wire::send(router.port, "MODALITY", &objects).unwrap(), [0; 4]);
    router.kill();
    let (files, _) = site.spool_files();
    assert_eq!(files.len(), 4);
    let lost = Object::read(&files[0]).uid();
    std::fs::remove_file(&files[0]).unwrap();
    let router = site.start();
    assert!(
        router.events("missing").iter().any(|e| e["sop_instance_uid"] == lost && e["level"] == "ERROR"),
        "it is told"
    );
    archive.set(|m| m.gate = false);
    wait_for("the others arrive", || objects.iter().all(|o| o.uid() == lost || archive.uids().contains(&o.uid())));
    let life = site.json(&["audit", "--json", &lost]);
    assert!(life.iter().any(|v| v.to_string().contains("\"missing\"")), "{life:?}");
}

#[test]
fn a_file_that_nobody_knows_is_adopted_or_put_aside_but_not_deleted() {
    let archive = Archive::start();
    let Some(site) = Site::with_archive(archive.port) else { return };
    let router = site.start();
    let object = Object::slice(81, 0);
    assert_eq!(wire::send(router.port, "MODALITY", std::slice::from_ref(&object)).unwrap(), [0]);
    wait_for("it is delivered", || router.events("delivered").len() == 1);
    assert!(router.stop().success());
    // The ledger is lost; the spool is not: what is there is delivered again rather than lost.
    for name in ["ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm"] {
        let _ = std::fs::remove_file(site.state_dir.join(name));
    }
    let (files, _) = site.spool_files();
    let noise = files[0].with_file_name("0123456789ab-0123456789abcdef.dcm");
    std::fs::write(&noise, b"no DICOM file").unwrap();
    let router = site.start();
    wait_for("it is delivered again", || archive.stored().len() == 2);
    assert!(archive.stored().iter().all(|d| d.object() == object));
    assert_eq!(router.events("adopted").len(), 1);
    let mut all = Vec::new();
    daemon::files(&site.state_dir, &mut all);
    assert!(
        all.iter().any(|p| std::fs::read(p).is_ok_and(|b| b == b"no DICOM file")),
        "nothing is deleted that nobody understands"
    );
}

#[test]
fn a_broken_ledger_stops_the_start_and_nothing_is_touched() {
    let Some(site) = Site::with_archive(1) else { return };
    let router = site.start();
    assert_eq!(wire::send(router.port, "MODALITY", &[Object::slice(82, 0)]).unwrap(), [0]);
    assert!(router.stop().success());
    let ledger = site.state_dir.join("ledger.sqlite");
    for name in ["ledger.sqlite-wal", "ledger.sqlite-shm"] {
        let _ = std::fs::remove_file(site.state_dir.join(name));
    }
    std::fs::write(&ledger, vec![0x55; 40_000]).unwrap();
    let output = site.run(&["serve"]);
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("ledger.sqlite"), "it says which file: {said}");
    assert_eq!(site.spool_files().0.len(), 1, "the instance is still there");
    assert_eq!(std::fs::read(&ledger).unwrap(), vec![0x55; 40_000], "nothing is overwritten");
}

#[test]
fn a_port_in_use_is_said() {
    let archive = Archive::start();
    let Some(mut site) = Site::with_archive(1) else { return };
    site.listen = format!("address = \"127.0.0.1:{}\"\n", archive.port);
    let output = site.run(&["serve"]);
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(&format!("127.0.0.1:{}", archive.port)), "{said}");
}

#[test]
fn sigterm_waits_for_nobody_for_ever() {
    let archive = gated();
    let Some(mut site) = Site::with_archive(archive.port) else { return };
    site.limits += "drain = \"1s\"\n";
    let mut router = site.start();
    let delivered = Object::slice(83, 0);
    assert_eq!(wire::send(router.port, "MODALITY", std::slice::from_ref(&delivered)).unwrap(), [0]);
    wait_for("the archive has been called", || archive.associations() > 0);
    // A modality that never finishes what it has begun.
    let begun = Object::slice(83, 1);
    let mut modality = Modality::for_object(router.port, "MODALITY", &begun).unwrap();
    let context = modality.context(CT, &begun.transfer_syntax);
    let command = modality.store_command(CT, &begun.uid());
    write_pdu(&mut modality.stream, 4, &pdv(context, 3, &command)).unwrap();
    write_pdu(&mut modality.stream, 4, &pdv(context, 0, &begun.dataset()[..100])).unwrap();
    router.signal("TERM");
    assert_eq!(router.wait_exit().code(), Some(0));
    archive.set(|m| m.gate = false);
    let router = site.start();
    wait_for("what was acknowledged arrives", || archive.uids() == [delivered.uid()]);
    wait_for("the queue is empty", || site.json(&["queue", "list", "--json"]).is_empty());
    assert!(archive.stored().len() <= 2, "at most once more");
    assert!(site.spool_files().1.is_empty(), "swept");
    drop(router);
}

#[test]
fn a_model_that_cannot_be_loaded_stops_the_start_with_78() {
    let Some(mut site) = Site::with_archive(1) else { return };
    let broken = site.path("broken.safetensors");
    std::fs::write(&broken, b"no weights").unwrap();
    site.classify = format!("model = {:?}\n", broken.display().to_string());
    let output = site.run(&["serve"]);
    assert_eq!(output.status.code(), Some(78), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stderr).contains("broken"));
}

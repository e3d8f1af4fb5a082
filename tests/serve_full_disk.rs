//! A full disk: A700 before anything is lost, and on again once there is room.

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
use objects::{CT, Object, uid};
use std::path::PathBuf;
use std::process::Command;

#[test]
fn below_min_free_disk_the_answer_is_a700_until_there_is_room() {
    let archive = Archive::start();
    let Some(mut site) = Site::with_archive(archive.port) else { return };
    site.limits = "min_free_disk = \"4000 TiB\"\n".into();
    let router = site.start();
    let objects: Vec<Object> = (0..2).map(|n| Object::slice(40, n)).collect();
    let statuses = wire::send(router.port, "MODALITY", &objects).unwrap();
    assert!(statuses.iter().all(|s| *s == 0xA700), "{statuses:04X?}");
    let (complete, temporary) = site.spool_files();
    assert!(complete.is_empty() && temporary.is_empty());
    site.limits = "min_free_disk = \"1 MiB\"\n".into();
    site.write();
    router.signal("HUP");
    wait_for("there is room", || wire::send(router.port, "MODALITY", &objects).is_ok_and(|s| s == [0, 0]));
    wait_for("both arrive", || archive.uids().len() == 2);
}

/// A file system of a few MiB; unmounted when dropped.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(at: PathBuf, mib: u32) -> Option<Tmpfs> {
        std::fs::create_dir_all(&at).unwrap();
        let status =
            Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"]).arg(&at).output();
        if status.is_ok_and(|o| o.status.success()) {
            return Some(Tmpfs(at));
        }
        daemon::skipped("a tmpfs cannot be mounted here");
        None
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_disk_that_really_fills_up_loses_nothing() {
    // The archive holds back, so that what is received stays in the spool.
    let archive = Archive::on(0, Manner { gate: true, ..Manner::default() });
    let Some(mut site) = Site::with_archive(archive.port) else { return };
    let Some(disk) = Tmpfs::mount(site.path("state"), 72) else { return };
    // What stays free is the ledger's: its log alone may take 16 MiB before it is worked off.
    site.limits = "min_free_disk = \"40 MiB\"\n".into();
    site.tables += "[retention]\ndelivered = \"0s\"\n";
    let router = site.start();
    let batch: Vec<Object> =
        (0..80).map(|n| Object::image(CT, &uid(41, 3, n), &uid(41, 2, 1), &uid(41, 1, 1), 512)).collect();
    let mut acknowledged = Vec::new();
    let mut refused = 0;
    for object in &batch {
        match wire::send(router.port, "MODALITY", std::slice::from_ref(object)).as_deref() {
            Ok([0]) => acknowledged.push(object.clone()),
            Ok([0xA700]) => refused += 1,
            other => panic!("{other:04X?}"),
        }
    }
    assert!(refused > 0 && !acknowledged.is_empty(), "{refused} refused, {} taken", acknowledged.len());
    // Somebody else takes the rest: not even the ledger can be written. Nobody may be told 0000 for what is not kept.
    let hog = disk.0.join("hog");
    let _ = std::fs::write(&hog, vec![1; 72 << 20]);
    for object in &batch[..3] {
        let other = object.as_other(&format!("{}.1", object.uid()), &uid(41, 2, 1), &uid(41, 1, 1), None);
        if let Ok(statuses) = wire::send(router.port, "MODALITY", &[other]) {
            assert!(statuses.iter().all(|s| *s == 0xA700), "{statuses:04X?}");
        }
    }
    std::fs::remove_file(&hog).unwrap();
    archive.set(|m| m.gate = false);
    wait_for("all that was taken arrives", || acknowledged.iter().all(|o| archive.uids().contains(&o.uid())));
    for delivery in archive.stored() {
        assert!(acknowledged.contains(&delivery.object()), "{} was altered or never acknowledged", delivery.uid);
    }
    // With what was delivered gone from the spool there is room again.
    wait_for("the refused ones are taken", || {
        // A modality does not try again a hundred times a second.
        std::thread::sleep(std::time::Duration::from_millis(250));
        batch.iter().filter(|o| !acknowledged.contains(o)).all(|o| {
            archive.uids().contains(&o.uid())
                || wire::send(router.port, "MODALITY", std::slice::from_ref(o)).is_ok_and(|s| s == [0])
        })
    });
    drop(router);
    drop(disk);
}

//! kill -9 at any moment: what was answered 0000 arrives, nothing else is left behind, nothing is altered, and no more than one
//! delivery more than needed for each kill.

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
use daemon::{Site, wait_for};
use objects::{CR, CT, EXPLICIT, Object, uid};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use wire::Modality;

/// A moment that differs from run to run, in milliseconds below `most`. No dependency: the clock's last digits will do.
fn moment(most: u64) -> Duration {
    let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().subsec_nanos();
    Duration::from_millis(u64::from(nanos / 1000) % most)
}

/// Everything answered 0000 is there, whole; at most one delivery too many for each kill; nothing that nobody sent.
/// Of an instance that the modality itself sent twice there may be two.
fn judge(
    archive: &Archive,
    sent: &BTreeMap<String, Object>,
    acknowledged: &BTreeSet<String>,
    kills: usize,
    resent: &BTreeSet<String>,
) {
    let stored = archive.stored();
    let uids = archive.uids();
    let lost: Vec<&String> = acknowledged.iter().filter(|u| !uids.contains(u)).collect();
    assert!(lost.is_empty(), "answered 0000 and lost: {lost:?}");
    for delivery in &stored {
        let original = sent.get(&delivery.uid).unwrap_or_else(|| panic!("nobody sent {}", delivery.uid));
        assert_eq!(delivery.object().rest(), original.rest(), "{} was altered", delivery.uid);
    }
    let mut times: BTreeMap<&String, usize> = BTreeMap::new();
    stored.iter().for_each(|d| *times.entry(&d.uid).or_default() += 1);
    let extra: usize = times.iter().map(|(uid, n)| n - 1 - usize::from(*n > 1 && resent.contains(*uid))).sum();
    assert!(extra <= kills, "{extra} deliveries too many after {kills} kills");
}

/// What one association saw before it broke: answered 0000, and the one that was under way.
struct Seen {
    acknowledged: Vec<String>,
    unanswered: Option<Object>,
}

/// Sends until the router is gone.
fn send_until_killed(port: u16, batch: Vec<Object>, progress: &AtomicUsize) -> Seen {
    let mut seen = Seen { acknowledged: Vec::new(), unanswered: None };
    let Ok(mut modality) = Modality::connect(port, "MODALITY", &[(CT, EXPLICIT), (CR, EXPLICIT)]) else { return seen };
    for object in batch {
        match modality.store(&object) {
            Ok(status) => {
                assert_eq!(status, 0, "{}", object.uid());
                seen.acknowledged.push(object.uid());
                progress.fetch_add(1, Ordering::SeqCst);
            }
            Err(_) => {
                seen.unanswered = Some(object);
                break;
            }
        }
    }
    seen
}

#[test]
fn killed_while_receiving_everything_acknowledged_arrives() {
    const KILLS: u32 = 6;
    const ASSOCIATIONS: u32 = 3;
    let archive = Archive::start();
    let Some(mut site) = Site::new() else { return };
    site.destination("archive", archive.port, "max_associations = 1");
    site.routing = "default = [\"archive\"]\n".into();
    let (mut sent, mut acknowledged, mut resent) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
    let mut again: Vec<Object> = Vec::new();
    for round in 0..KILLS {
        let router = site.start();
        let port = router.port;
        let progress = Arc::new(AtomicUsize::new(0));
        let senders: Vec<_> = (0..ASSOCIATIONS)
            .map(|a| {
                let id = 1000 + round * 10 + a;
                // A modality sends again what it has seen no answer for.
                let mut batch: Vec<Object> = again.pop().into_iter().collect();
                resent.extend(batch.iter().map(Object::uid));
                // Mostly what is not looked at, so that receiving is the work; now and then a radiograph, so that every stage is hit.
                batch.extend((0..1000).map(|n| {
                    let (class, kind, side) = if n % 40 == 7 { (CR, 5, 32) } else { (CT, 2, 16) };
                    Object::image(class, &uid(id, 3, n), &uid(id, kind, 1), &uid(id, 1, 1), side)
                }));
                sent.extend(batch.iter().map(|o| (o.uid(), o.clone())));
                let progress = progress.clone();
                std::thread::spawn(move || send_until_killed(port, batch, &progress))
            })
            .collect();
        wait_for("the first answers", || progress.load(Ordering::SeqCst) >= 5);
        std::thread::sleep(moment(400));
        router.kill();
        for sender in senders {
            let seen = sender.join().unwrap();
            acknowledged.extend(seen.acknowledged);
            again.extend(seen.unanswered);
        }
        // Killed again wherever it is in its start: reconciling, adopting, already delivering.
        let starting = site.spawn(|_| {});
        std::thread::sleep(moment(250));
        starting.kill();
    }
    let router = site.start();
    let (_, temporary) = site.spool_files();
    assert!(temporary.is_empty(), "not swept: {temporary:?}");
    let kills = 2 * KILLS as usize;
    wait_for("all that was acknowledged is at the archive", || {
        let uids: BTreeSet<String> = archive.uids().into_iter().collect();
        acknowledged.is_subset(&uids)
    });
    wait_for("the queue is empty", || site.json(&["queue", "list", "--json"]).is_empty());
    assert!(router.stop().success());
    judge(&archive, &sent, &acknowledged, kills, &resent);
}

#[test]
fn killed_while_forwarding_everything_arrives_once_or_once_more_for_each_kill() {
    const COUNT: u32 = 120;
    let archive = Archive::on(0, Manner { gate: true, ..Manner::default() });
    let Some(mut site) = Site::new() else { return };
    site.destination("archive", archive.port, "max_associations = 1");
    site.routing = "default = [\"archive\"]\n".into();
    let mut router = site.start();
    let batch: Vec<Object> = (0..COUNT).map(|n| Object::slice(2, n)).collect();
    let statuses = wire::send(router.port, "MODALITY", &batch).unwrap();
    assert!(statuses.iter().all(|s| *s == 0), "{statuses:?}");
    archive.set(|m| (m.gate, m.delay) = (false, Duration::from_millis(8)));
    let mut kills = 0;
    while kills < 6 && archive.uids().len() < COUNT as usize {
        let before = archive.deliveries().len();
        wait_for("deliveries go on", || archive.deliveries().len() > before || archive.uids().len() == COUNT as usize);
        std::thread::sleep(moment(120));
        router.kill();
        kills += 1;
        router = site.start();
    }
    assert!(kills >= 2, "the archive was too fast to be interrupted");
    wait_for("everything is at the archive", || archive.uids().len() == COUNT as usize);
    let sent: BTreeMap<String, Object> = batch.into_iter().map(|o| (o.uid(), o)).collect();
    judge(&archive, &sent, &sent.keys().cloned().collect(), kills, &BTreeSet::new());
    wait_for("the queue is empty", || site.json(&["queue", "list", "--json"]).is_empty());
    assert!(router.stop().success());
    judge(&archive, &sent, &sent.keys().cloned().collect(), kills, &BTreeSet::new());
}

#[test]
fn killed_under_dcmsend_what_it_saw_acknowledged_arrives() {
    let Some(tool) = peers::tool("dcmsend") else { return };
    let archive = Archive::start();
    let Some(site) = Site::with_archive(archive.port) else { return };
    let router = site.start();
    let batch: Vec<Object> = (0..400).map(|n| Object::slice(3, n)).collect();
    let files: Vec<_> = batch.iter().enumerate().map(|(n, o)| o.write(&site.path(&format!("{n:04}.dcm")))).collect();
    let log = site.path("dcmsend.log");
    let out = std::fs::File::create(&log).unwrap();
    let mut command = std::process::Command::new(tool);
    command.args(["-d", "-dn", "-aec", "RADROUTE", "127.0.0.1", &router.port.to_string()]).args(&files);
    command.env("TCP_NODELAY", "1").stdout(out.try_clone().unwrap()).stderr(out);
    let mut sender = command.spawn().unwrap();
    let answered = || acknowledged_by_dcmsend(&std::fs::read_to_string(&log).unwrap_or_default());
    wait_for("dcmsend has answers", || answered().len() >= 10);
    std::thread::sleep(moment(150));
    router.kill();
    sender.wait().unwrap();
    let acknowledged = answered();
    assert!(acknowledged.len() < batch.len(), "dcmsend was through before the kill");
    let router = site.start();
    wait_for("all that dcmsend saw acknowledged is at the archive", || {
        let uids: BTreeSet<String> = archive.uids().into_iter().collect();
        acknowledged.is_subset(&uids)
    });
    assert!(router.stop().success());
    assert!(archive.stored().len() - archive.uids().len() <= 1);
}

/// SOP Instance UIDs that dcmsend's debug log shows answered 0000.
fn acknowledged_by_dcmsend(log: &str) -> BTreeSet<String> {
    let mut acknowledged = BTreeSet::new();
    let (mut response, mut uid) = (false, String::new());
    for line in log.lines() {
        let value = || line.split(": ").last().unwrap_or_default().trim().to_string();
        if line.contains("Message Type") {
            response = line.contains("C-STORE RSP");
        } else if response && line.contains("Affected SOP Instance UID") {
            uid = value();
        } else if response && line.contains("DIMSE Status") && line.contains("0x0000") {
            acknowledged.insert(std::mem::take(&mut uid));
        }
    }
    acknowledged
}

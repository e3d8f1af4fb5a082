//! What a peer may do wrong, by accident or on purpose: it is refused or cut off, the others go on, nothing is left behind.

#[path = "support/archive.rs"]
mod archive;
#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/objects.rs"]
mod objects;
#[path = "support/wire.rs"]
mod wire;

use archive::Archive;
use daemon::{Router, Site, wait_for};
use objects::{CT, EXPLICIT, Object, SOP_INSTANCE, VERIFICATION, explicit, uid};
use std::io::{Read, Write};
use std::net::TcpStream;
use wire::{Modality, associate_rq, number, pdv, write_pdu};

const BOTH: [(&str, &str); 2] = [(CT, EXPLICIT), (VERIFICATION, EXPLICIT)];

fn modality(router: &Router) -> Modality {
    Modality::connect(router.port, "MODALITY", &BOTH).unwrap()
}

/// The router works: an instance comes in and arrives.
fn works(router: &Router, archive: &Archive, object: &Object) {
    assert_eq!(wire::send(router.port, "MODALITY", std::slice::from_ref(object)).unwrap(), [0]);
    wait_for("the next instance arrives", || archive.uids().contains(&object.uid()));
}

#[test]
fn echo_42_is_answered_with_42() {
    let Some(site) = Site::with_archive(1) else { return };
    let router = site.start();
    let mut modality = modality(&router);
    assert_eq!(modality.echo(42).unwrap(), (42, 0));
    assert_eq!(modality.echo(65_535).unwrap(), (65_535, 0));
    modality.release().unwrap();
}

#[test]
fn any_cut_of_the_command_and_the_data_set_is_understood() {
    let archive = Archive::start();
    let Some(site) = Site::with_archive(archive.port) else { return };
    let router = site.start();
    let mut modality = modality(&router);
    let context = modality.context(CT, EXPLICIT);
    let objects: Vec<Object> = (0..3).map(|n| Object::slice(30, n)).collect();

    // The command in three P-DATA PDUs, the data set in PDUs of 100 bytes.
    let (command, dataset) = (modality.store_command(CT, &objects[0].uid()), objects[0].dataset());
    for (flags, part) in [(1, &command[..10]), (1, &command[10..50]), (3, &command[50..])] {
        write_pdu(&mut modality.stream, 4, &pdv(context, flags, part)).unwrap();
    }
    let parts: Vec<&[u8]> = dataset.chunks(100).collect();
    for (n, part) in parts.iter().enumerate() {
        write_pdu(&mut modality.stream, 4, &pdv(context, if n + 1 == parts.len() { 2 } else { 0 }, part)).unwrap();
    }
    assert_eq!(modality.status().unwrap(), 0);

    // Several PDVs of the command, and all of the data set, in one PDU.
    let (command, dataset) = (modality.store_command(CT, &objects[1].uid()), objects[1].dataset());
    let one = [
        pdv(context, 1, &command[..20]),
        pdv(context, 3, &command[20..]),
        pdv(context, 0, &dataset[..64]),
        pdv(context, 2, &dataset[64..]),
    ];
    write_pdu(&mut modality.stream, 4, &one.concat()).unwrap();
    assert_eq!(modality.status().unwrap(), 0);

    // The last fragment empty, and the bytes of the PDU dripping in.
    let (command, dataset) = (modality.store_command(CT, &objects[2].uid()), objects[2].dataset());
    write_pdu(&mut modality.stream, 4, &pdv(context, 3, &command)).unwrap();
    let body = [pdv(context, 0, &dataset), pdv(context, 2, &[])].concat();
    let mut pdu = vec![4, 0];
    pdu.extend((body.len() as u32).to_be_bytes());
    pdu.extend(body);
    for piece in pdu.chunks(97) {
        modality.stream.write_all(piece).unwrap();
        modality.stream.flush().unwrap();
    }
    assert_eq!(modality.status().unwrap(), 0);
    modality.release().unwrap();
    wait_for("all three arrive", || archive.uids().len() == 3);
    for delivery in archive.stored() {
        assert!(objects.contains(&delivery.object()), "{} was altered", delivery.uid);
    }
}

#[test]
fn a_uid_that_is_a_path_becomes_no_path() {
    let archive = Archive::start();
    let Some(site) = Site::with_archive(archive.port) else { return };
    let router = site.start();
    for evil in ["../../../escaped", "/tmp/escaped-radroute", "..\\escaped", "a/b/escaped", "con\0escaped"] {
        let mut object = Object::slice(31, 0);
        object.set(SOP_INSTANCE, "UI", &objects::even(evil.as_bytes(), 0));
        let mut modality = modality(&router);
        let context = modality.context(CT, EXPLICIT);
        // Refused or stored under a name of our own: either will do.
        let _ = modality.store_as(context, CT, evil, &object.dataset());
    }
    works(&router, &archive, &Object::slice(31, 1));
    let mut all = Vec::new();
    daemon::files(site.dir.path(), &mut all);
    assert!(all.iter().all(|p| !p.to_string_lossy().contains("escaped")), "{all:?}");
    assert!(!std::path::Path::new("/tmp/escaped-radroute").exists());
}

#[test]
fn a_broken_data_set_is_c000_and_leaves_nothing() {
    let archive = Archive::start();
    let Some(site) = Site::with_archive(archive.port) else { return };
    let router = site.start();
    let good = Object::slice(32, 0);
    let dataset = good.dataset();
    let mut giant = good.clone();
    giant.remove(0x7FE0_0010);
    let mut giant = giant.dataset();
    giant.extend([0xE0, 0x7F, 0x10, 0x00, b'O', b'W', 0, 0, 0xFF, 0xFF, 0xFF, 0x7F, 1, 2, 3, 4]);
    let mut giant_first = explicit(0x0008_0005, "UN", b"");
    giant_first.truncate(8);
    giant_first.extend([0xFE, 0xFF, 0xFF, 0x7F]);
    giant_first.extend(&dataset);
    let before = router.peak_memory();
    for (what, bytes) in [
        ("ends within an element", dataset[..dataset.len() - 10].to_vec()),
        ("noise", (0..5000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()),
        ("an element that claims 2 GB at its end", giant),
        ("an element that claims 2 GB at its beginning", giant_first),
        ("nothing at all", Vec::new()),
    ] {
        let mut modality = modality(&router);
        let context = modality.context(CT, EXPLICIT);
        let status = modality.store_as(context, CT, &good.uid(), &bytes).unwrap();
        assert!(matches!(status, 0xA900..=0xA9FF | 0xC000..=0xCFFF), "{what}: {status:04X}");
        if !what.contains("nothing") {
            assert!((0xC000..=0xCFFF).contains(&status), "{what}: {status:04X}");
        }
    }
    let grown = router.peak_memory() - before;
    assert!(grown < 64 << 20, "{grown} bytes more for claims alone");
    let (complete, temporary) = site.spool_files();
    assert!(complete.is_empty() && temporary.is_empty(), "left behind: {complete:?} {temporary:?}");
    // The log is written beside the answers.
    wait_for("the refusals' log lines", || router.events("refused").len() >= 5);
    works(&router, &archive, &good);
}

#[test]
fn another_instance_than_announced_is_a900() {
    let Some(site) = Site::with_archive(1) else { return };
    let router = site.start();
    let object = Object::slice(33, 0);
    let mut modality = modality(&router);
    let context = modality.context(CT, EXPLICIT);
    let status = modality.store_as(context, CT, &uid(33, 3, 9), &object.dataset()).unwrap();
    assert_eq!(status & 0xFF00, 0xA900, "{status:04X}");
    assert_eq!(modality.store(&object).unwrap(), 0, "the association goes on");
}

#[test]
fn any_other_command_is_0211() {
    let Some(site) = Site::with_archive(1) else { return };
    let router = site.start();
    let mut modality = modality(&router);
    let context = modality.context(CT, EXPLICIT);
    let find = wire::command(&[
        (0x0002, objects::even(CT.as_bytes(), 0)),
        (0x0100, vec![0x20, 0]),
        (0x0110, vec![7, 0]),
        (0x0700, vec![0, 0]),
        (0x0800, vec![1, 1]),
    ]);
    write_pdu(&mut modality.stream, 4, &pdv(context, 3, &find)).unwrap();
    let response = modality.response().unwrap();
    assert_eq!((number(&response, 0x0120), number(&response, 0x0900)), (Some(7), Some(0x0211)));
}

#[test]
fn noise_on_the_line_costs_one_connection_and_no_memory() {
    let archive = Archive::start();
    let Some(site) = Site::with_archive(archive.port) else { return };
    let router = site.start();
    let before = router.peak_memory();
    let giant_pdu = |kind: u8| [kind, 0, 0xFF, 0xFF, 0xFF, 0xF0, 0, 0, 0, 0].to_vec();
    let lying_items = {
        let mut body = associate_rq("MODALITY", "RADROUTE", &BOTH);
        let n = body.len();
        body[n - 5] = 0xFF;
        let mut out = vec![1, 0];
        out.extend((n as u32).to_be_bytes());
        out.extend(body);
        out
    };
    for bytes in [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        giant_pdu(1),
        giant_pdu(4),
        vec![0; 4096],
        vec![1, 0, 0, 0, 0, 0],
        lying_items,
    ] {
        let mut stream = TcpStream::connect(("127.0.0.1", router.port)).unwrap();
        stream.set_read_timeout(Some(wire::PATIENCE)).unwrap();
        stream.write_all(&bytes).unwrap();
        // Half closed: whoever waits for more learns that none will come.
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.first() != Some(&2), "noise was accepted as an association");
    }
    // Within an association: a giant PDU, a PDV longer than its PDU, a context that was never accepted.
    for pdu in [
        giant_pdu(4),
        vec![4, 0, 0, 0, 0, 8, 0, 0, 0xFF, 0xFF, 1, 3, 0, 0],
        [vec![4, 0, 0, 0, 0, 8], pdv(99, 3, &[0, 0])].concat(),
    ] {
        let mut modality = modality(&router);
        modality.stream.write_all(&pdu).unwrap();
        modality.wait_closed().unwrap();
    }
    let grown = router.peak_memory() - before;
    assert!(grown < 64 << 20, "{grown} bytes more for noise");
    works(&router, &archive, &Object::slice(34, 0));
}

#[test]
fn a_sender_that_vanishes_leaves_nothing() {
    let archive = Archive::start();
    let Some(site) = Site::with_archive(archive.port) else { return };
    let router = site.start();
    let object = Object::image(CT, &uid(35, 3, 0), &uid(35, 2, 0), &uid(35, 1, 0), 256);
    let mut modality = modality(&router);
    let context = modality.context(CT, EXPLICIT);
    let command = modality.store_command(CT, &object.uid());
    write_pdu(&mut modality.stream, 4, &pdv(context, 3, &command)).unwrap();
    write_pdu(&mut modality.stream, 4, &pdv(context, 0, &object.dataset()[..60_000])).unwrap();
    drop(modality);
    works(&router, &archive, &Object::slice(35, 1));
    wait_for("the temporary file is gone", || site.spool_files().1.is_empty());
    assert!(!archive.uids().contains(&object.uid()));
    let life = site.run(&["audit", "--json", &object.uid()]);
    assert!(!String::from_utf8_lossy(&life.stdout).contains("\"delivered\""));
}

#[test]
fn an_idle_connection_is_closed() {
    let Some(mut site) = Site::with_archive(1) else { return };
    site.limits += "artim = \"1s\"\nidle = \"1s\"\n";
    let router = site.start();
    let mut silent = TcpStream::connect(("127.0.0.1", router.port)).unwrap();
    silent.set_read_timeout(Some(wire::PATIENCE)).unwrap();
    let mut byte = [0];
    assert!(
        !matches!(silent.read(&mut byte), Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)),
        "ARTIM"
    );
    modality(&router).wait_closed().unwrap();
    // In the middle of an instance, too.
    let mut modality = modality(&router);
    let context = modality.context(CT, EXPLICIT);
    let command = modality.store_command(CT, &uid(36, 3, 0));
    write_pdu(&mut modality.stream, 4, &pdv(context, 3, &command)).unwrap();
    modality.wait_closed().unwrap();
    wait_for("no temporary file is left", || site.spool_files().1.is_empty());
}

#[test]
fn beyond_the_limit_of_associations_the_reject_is_transient() {
    let Some(mut site) = Site::with_archive(1) else { return };
    site.listen += "max_associations = 2\n";
    let router = site.start();
    let (first, second) = (modality(&router), modality(&router));
    match Modality::associate(router.port, "MODALITY", "RADROUTE", &BOTH).unwrap() {
        Err(rejected) => assert_eq!((rejected.result, rejected.source), (2, 3), "{rejected:?}"),
        Ok(_) => panic!("a third association was accepted"),
    }
    first.release().unwrap();
    wait_for("there is room again", || {
        matches!(Modality::associate(router.port, "MODALITY", "RADROUTE", &BOTH), Ok(Ok(_)))
    });
    drop(second);
}

#[test]
fn one_address_cannot_take_all_associations() {
    let Some(mut site) = Site::with_archive(1) else { return };
    site.listen += "max_associations = 8\nmax_associations_per_peer = 1\n";
    let router = site.start();
    let first = modality(&router);
    match Modality::associate(router.port, "MODALITY", "RADROUTE", &BOTH).unwrap() {
        Err(rejected) => assert_eq!((rejected.result, rejected.source), (2, 3), "{rejected:?}"),
        Ok(_) => panic!("a second association from the same address was accepted"),
    }
    first.release().unwrap();
}

#[test]
fn a_command_without_end_is_cut_off() {
    let archive = Archive::start();
    let Some(site) = Site::with_archive(archive.port) else { return };
    let router = site.start();
    let before = router.peak_memory();
    let mut modality = modality(&router);
    let context = modality.context(CT, EXPLICIT);
    let fragment = pdv(context, 1, &[0; 60_000]);
    for _ in 0..500 {
        let _ = write_pdu(&mut modality.stream, 4, &fragment);
    }
    modality.wait_closed().unwrap();
    let grown = router.peak_memory() - before;
    assert!(grown < 16 << 20, "{grown} bytes more for 30 MB of a command");
    works(&router, &archive, &Object::slice(39, 0));
}

#[test]
fn contexts_are_judged_one_by_one() {
    let Some(site) = Site::with_archive(1) else { return };
    let router = site.start();
    const FIND: &str = "1.2.840.10008.5.1.4.1.2.1.1";
    const J2K: &str = "1.2.840.10008.1.2.4.90";
    const JPEG_XL: &str = "1.2.840.10008.1.2.4.110";
    let mut contexts = vec![(FIND, EXPLICIT), (VERIFICATION, EXPLICIT), (CT, J2K), (CT, JPEG_XL)];
    contexts.resize(128, (CT, EXPLICIT));
    let modality = Modality::connect(router.port, "MODALITY", &contexts).unwrap();
    assert!(modality.accepted.iter().all(|(_, abstract_syntax, _)| abstract_syntax != FIND), "no storage class");
    assert_eq!(modality.accepted.len(), 127, "every transfer syntax is taken as it comes");
    assert!(modality.accepted.iter().all(|(id, a, t)| (a.as_str(), t.as_str()) == contexts[usize::from(id / 2)]));
}

#[test]
fn who_may_not_send_is_rejected() {
    let Some(mut site) = Site::with_archive(1) else { return };
    site.tables += "[[peer]]\nae_title = \"XRAY1\"\nnetwork = \"127.0.0.0/8\"\n[[peer]]\nae_title = \"XRAY2\"\nnetwork = \"10.1.0.0/16\"\n";
    let router = site.start();
    let ask = |calling, called| Modality::associate(router.port, calling, called, &BOTH).unwrap().map(|_| ());
    assert_eq!(ask("XRAY1", "RADROUTE"), Ok(()));
    let stranger = ask("STRANGER", "RADROUTE").unwrap_err();
    assert_eq!((stranger.result, stranger.source, stranger.reason), (1, 1, 3), "calling AE title not recognised");
    assert!(ask("XRAY2", "RADROUTE").is_err(), "right name, wrong network");
    let wrong = ask("XRAY1", "OTHER").unwrap_err();
    assert_eq!((wrong.result, wrong.source, wrong.reason), (1, 1, 7), "called AE title not recognised");
    wait_for("the rejects are told", || router.events("rejected").len() >= 3);
}

#[test]
fn memory_does_not_follow_the_size_of_the_instance() {
    let archive = Archive::start();
    let Some(site) = Site::with_archive(archive.port) else { return };
    let router = site.start();
    works(&router, &archive, &Object::slice(37, 0));
    let before = router.peak_memory();
    let mut big = Object::slice(37, 1);
    big.set(0x7FE0_0010, "OW", &vec![7; 96 << 20]);
    works(&router, &archive, &big);
    let grown = router.peak_memory() - before;
    assert!(grown < 48 << 20, "{grown} bytes more for an instance of 96 MiB");
    assert!(archive.stored().iter().any(|d| d.dataset.len() > 96 << 20 && d.object() == big), "whole and unaltered");
}

#[test]
fn an_instance_beyond_the_limit_is_refused() {
    let archive = Archive::start();
    let Some(mut site) = Site::with_archive(archive.port) else { return };
    site.limits += "max_instance = \"1 MiB\"\n";
    let router = site.start();
    let mut big = Object::slice(38, 0);
    big.set(0x7FE0_0010, "OW", &vec![7; 3 << 20]);
    // A failure status, or the connection cut when it does not stop: never 0000.
    if let Ok(status) = modality(&router).store(&big) {
        assert!(matches!(status, 0xA700..=0xCFFF), "{status:04X}");
    }
    works(&router, &archive, &Object::slice(38, 1));
    assert!(!archive.uids().contains(&big.uid()));
    wait_for("nothing is left of it", || site.spool_files().1.is_empty());
}

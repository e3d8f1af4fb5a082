//! What an administrator does: start, check, reload, stop, ask; and what the log may say.

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
use daemon::{RADROUTE, Site, wait_for};
use objects::{CR, CT, EXPLICIT, Object, PATIENT, uid};
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use wire::{Modality, pdv, write_pdu};

#[test]
fn sigterm_finishes_what_is_on_the_wire_and_exits_0() {
    let archive = Archive::on(0, Manner { gate: true, ..Manner::default() });
    let Some(site) = Site::with_archive(archive.port) else { return };
    let mut router = site.start();
    let object = Object::slice(50, 0);
    let mut modality = Modality::for_object(router.port, "MODALITY", &object).unwrap();
    let context = modality.context(CT, EXPLICIT);
    let (command, dataset) = (modality.store_command(CT, &object.uid()), object.dataset());
    write_pdu(&mut modality.stream, 4, &pdv(context, 3, &command)).unwrap();
    write_pdu(&mut modality.stream, 4, &pdv(context, 0, &dataset[..200])).unwrap();
    // An association with nothing on the wire must not hold the stop up.
    let idle = Modality::for_object(router.port, "IDLE", &object).unwrap();
    router.signal("TERM");
    wait_for("it is stopping", || router.log_text().contains("stopping"));
    write_pdu(&mut modality.stream, 4, &pdv(context, 2, &dataset[200..])).unwrap();
    assert_eq!(modality.status().unwrap(), 0, "the instance on the wire is finished");
    archive.set(|m| m.gate = false);
    assert_eq!(router.wait_exit().code(), Some(0));
    drop(idle);
    let router = site.start();
    wait_for("it goes on after the next start", || archive.uids() == [object.uid()]);
    assert_eq!(router.stop().code(), Some(0));
}

#[test]
fn sighup_reloads_and_keeps_the_old_when_the_new_is_wrong() {
    let (first, second) = (Archive::start(), Archive::start());
    let Some(mut site) = Site::new() else { return };
    site.destination("first", first.port, "");
    site.destination("second", second.port, "");
    site.routing = "default = [\"first\"]\n".into();
    let router = site.start();
    let send = |n| {
        assert_eq!(
            wire::send(
                router.port,
                "MODALITY",
                &[Object::image(CT, &uid(51, 3, n), &uid(51, 2, n), &uid(51, 1, n), 8)]
            )
            .unwrap(),
            [0]
        )
    };
    send(1);
    wait_for("the first has it", || first.uids().len() == 1);

    site.routing = "default = [\"second\"]\n".into();
    site.write();
    router.signal("HUP");
    wait_for("the reload is logged", || router.log_text().contains("the new configuration is in force"));
    send(2);
    wait_for("the second has it", || second.uids().len() == 1);

    site.routing = "default = [\"nowhere\"]\nspelling = 1\n".into();
    site.write();
    router.signal("HUP");
    wait_for("the error is logged", || {
        router.log_lines().iter().any(|l| l["level"] == "ERROR" && l.to_string().contains("spelling"))
    });
    send(3);
    wait_for("the old configuration is still in force", || second.uids().len() == 2);
    assert_eq!(first.uids().len(), 1);
}

#[test]
fn a_reload_mends_a_destination_and_keeps_the_queue_of_one_that_is_gone() {
    let (archive, other) = (Archive::start(), Archive::start());
    let Some(mut site) = Site::new() else { return };
    let wrong = peers::free_port();
    let tables = |site: &mut Site, archive_port: u16, gone: bool| {
        site.tables.clear();
        site.destination("archive", archive_port, "");
        if !gone {
            site.destination("other", wrong, "");
        }
        site.routing = if gone { "default = [\"archive\"]\n" } else { "default = [\"archive\", \"other\"]\n" }.into();
        site.write();
    };
    tables(&mut site, wrong, false);
    let router = site.start();
    let objects: Vec<Object> = (0..2).map(|n| Object::slice(56, n)).collect();
    assert_eq!(wire::send(router.port, "MODALITY", &objects).unwrap(), [0; 2]);
    wait_for("both queues have both", || site.json(&["queue", "list", "--json"]).len() == 4);
    let reloads = |n: usize| router.log_text().matches("the new configuration is in force").count() >= n;

    // The address is mended; the other destination is gone from the configuration, with two instances in its queue.
    tables(&mut site, archive.port, true);
    router.signal("HUP");
    wait_for("the reload is logged", || reloads(1));
    wait_for("the mended destination gets them", || archive.uids().len() == 2);
    let queue = || site.json(&["queue", "list", "--json"]);
    wait_for("their deliveries have ended", || queue().len() == 2);
    assert!(queue().iter().all(|row| row["destination"] == "other"), "nothing is lost: {:?}", queue());

    // It comes back, elsewhere.
    site.tables.clear();
    site.destination("archive", archive.port, "");
    site.destination("other", other.port, "");
    site.write();
    router.signal("HUP");
    wait_for("the reload is logged", || reloads(2));
    wait_for("it gets what waited for it", || other.uids().len() == 2);
    wait_for("the queue is empty", || site.json(&["queue", "list", "--json"]).is_empty());
    assert_eq!(archive.stored().len() + other.stored().len(), 4, "once each");
}

#[test]
fn what_has_nowhere_to_go_is_kept_and_told() {
    let archive = Archive::start();
    let Some(mut site) = Site::new() else { return };
    site.destination("archive", archive.port, "");
    site.tables +=
        "[[route]]\nname = \"knees\"\nregion = [\"KNEE\"]\nto = [\"archive\"]\n[retention]\ndelivered = \"0s\"\n";
    let router = site.start();
    let object = Object::slice(57, 0);
    assert_eq!(wire::send(router.port, "MODALITY", std::slice::from_ref(&object)).unwrap(), [0]);
    wait_for("it is an error in the log", || router.events("unrouted").iter().any(|e| e["level"] == "ERROR"));
    let life = site.json(&["audit", "--json", &object.uid()]);
    assert!(life.iter().any(|v| v.to_string().contains("unrouted")), "{life:?}");
    assert_eq!(router.stop().code(), Some(0));
    let router = site.start();
    assert_eq!(site.spool_files().0.len(), 1, "kept");
    drop(router);
}

#[test]
fn check_says_every_error_with_its_line() {
    let Some(mut site) = Site::with_archive(1) else { return };
    let good = site.run(&["check"]);
    assert_eq!(good.status.code(), Some(0), "{}", String::from_utf8_lossy(&good.stderr));
    site.routing = "default = [\"nowhere\"]\n".into();
    site.tables += "[[route]]\nname = \"lost\"\nregion = [\"KNEE\"]\nto = [\"elsewhere\"]\n";
    let bad = site.run(&["check"]);
    assert_eq!(bad.status.code(), Some(78));
    let said = String::from_utf8_lossy(&[bad.stdout, bad.stderr].concat()).into_owned();
    assert!(said.contains("nowhere") && said.contains("elsewhere"), "both errors at once:\n{said}");
    let text = std::fs::read_to_string(site.path("config.toml")).unwrap();
    for wrong in ["nowhere", "elsewhere"] {
        let line = 1 + text.lines().position(|l| l.contains(wrong)).unwrap();
        let told = said.lines().any(|l| l.contains(wrong) && l.contains(&line.to_string()));
        assert!(told, "line {line} is named with {wrong:?}:\n{said}");
    }
    site.routing = "by = \"studdy\"\n".into();
    let bad = site.run(&["check"]);
    assert_eq!(bad.status.code(), Some(78));
    // `serve` refuses the same with the same code: systemd must not start it again and again.
    let serve = site.run(&["serve"]);
    assert_eq!(serve.status.code(), Some(78));
}

#[test]
fn a_second_router_on_the_same_state_is_refused() {
    let archive = Archive::start();
    let Some(site) = Site::with_archive(archive.port) else { return };
    let router = site.start();
    let second = site.run(&["serve"]);
    assert!(!second.status.success());
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains(&site.state_dir.display().to_string()), "it says which folder is in use: {said}");
    assert_eq!(wire::send(router.port, "MODALITY", &[Object::slice(52, 0)]).unwrap(), [0], "the first goes on");
}

#[test]
fn systemd_hears_ready_watchdog_and_stopping() {
    let Some(site) = Site::with_archive(1) else { return };
    let path = site.path("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(daemon::PATIENCE)).unwrap();
    let mut router = site.start_with(|command| {
        command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "400000").env_remove("WATCHDOG_PID");
    });
    let mut heard = String::new();
    let mut hear = |wanted: &str| {
        let mut buffer = [0; 4096];
        while !heard.contains(wanted) {
            let length =
                socket.recv(&mut buffer).unwrap_or_else(|e| panic!("{wanted} never came ({e}); heard {heard:?}"));
            heard += &String::from_utf8_lossy(&buffer[..length]);
            heard.push('\n');
        }
    };
    hear("READY=1");
    hear("WATCHDOG=1");
    router.signal("HUP");
    hear("RELOADING=1");
    router.signal("TERM");
    hear("STOPPING=1");
    assert_eq!(router.wait_exit().code(), Some(0));
}

#[test]
fn the_log_tells_the_life_of_an_instance_and_nothing_of_the_patient() {
    let archive = Archive::start();
    let Some(mut site) = Site::with_archive(archive.port) else { return };
    site.node = "also_called = [\"OTHER\"]\n".into();
    let router = site.start();
    let object = Object::image(CR, &uid(53, 3, 0), &uid(53, 2, 0), &uid(53, 1, 0), 64);
    assert_eq!(wire::send(router.port, "MODALITY", std::slice::from_ref(&object)).unwrap(), [0]);
    // What is refused is told without the patient, too.
    let mut modality = Modality::for_object(router.port, "MODALITY", &object).unwrap();
    let context = modality.context(CR, EXPLICIT);
    let broken = &object.dataset()[..400];
    let _ = modality.store_as(context, CR, &object.uid(), broken);
    drop(modality);
    wait_for("it is delivered", || router.events("delivered").len() == 1);
    for kind in ["association", "received", "looked", "verdict", "routed", "delivered"] {
        assert!(!router.events(kind).is_empty(), "no line for {kind}");
    }
    let received = &router.events("received")[0];
    assert_eq!(received["sop_instance_uid"], object.uid());
    assert_eq!(received["series_instance_uid"], uid(53, 2, 0));
    assert_eq!(received["study_instance_uid"], uid(53, 1, 0));
    assert_eq!(
        (&received["calling_ae"], &received["called_ae"], &received["peer"]),
        (&"MODALITY".into(), &"RADROUTE".into(), &"127.0.0.1".into())
    );
    for uid in [object.uid(), uid(53, 2, 0), uid(53, 1, 0)] {
        let life = site.json(&["audit", "--json", &uid]);
        assert!(!life.is_empty(), "audit of {uid}");
        for secret in PATIENT {
            assert!(life.iter().all(|v| !v.to_string().contains(secret)), "{secret} in the audit");
        }
    }
    let log = router.log_text();
    assert_eq!(router.stop().code(), Some(0));
    let mut places = vec![("the log", log.into_bytes())];
    for name in ["ledger.sqlite", "ledger.sqlite-wal"] {
        places.push((name, std::fs::read(site.state_dir.join(name)).unwrap_or_default()));
    }
    for (place, bytes) in places {
        for secret in PATIENT {
            assert!(!bytes.windows(secret.len()).any(|w| w == secret.as_bytes()), "{secret} in {place}");
        }
    }
}

#[test]
fn text_logs_are_lines_for_people() {
    let archive = Archive::start();
    let Some(mut site) = Site::with_archive(archive.port) else { return };
    site.log_format = "text".into();
    let router = site.start();
    let object = Object::slice(54, 0);
    assert_eq!(wire::send(router.port, "MODALITY", std::slice::from_ref(&object)).unwrap(), [0]);
    let line =
        || router.log_text().lines().find(|l| l.contains("delivered") && l.contains(&object.uid())).map(str::to_string);
    wait_for("a line says that it is delivered", || line().is_some());
    assert!(!line().unwrap().contains('\u{1b}'), "no colour codes in a file");
}

#[test]
fn send_and_sink_are_a_modality_and_an_archive() {
    let Some(mut site) = Site::new() else { return };
    let (port, dir) = (peers::free_port(), site.path("sink"));
    let mut sink = Command::new(RADROUTE);
    sink.args(["sink", "--listen", &format!("127.0.0.1:{port}"), "--dir"]).arg(&dir);
    let _sink =
        peers::Guard(sink.stderr(std::process::Stdio::null()).stdout(std::process::Stdio::null()).spawn().unwrap());
    wait_for("the sink listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    site.destination("sink", port, "");
    site.routing = "default = [\"sink\"]\n".into();
    let router = site.start();
    let folder = site.path("in");
    std::fs::create_dir_all(&folder).unwrap();
    let objects: Vec<Object> = (0..3).map(|n| Object::slice(55, n)).collect();
    for (n, object) in objects.iter().enumerate() {
        object.write(&folder.join(format!("{n}.dcm")));
    }
    let to = format!("RADROUTE@127.0.0.1:{}", router.port);
    let sent = Command::new(RADROUTE).args(["send", "--to", &to]).arg(&folder).output().unwrap();
    assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
    let stored = || {
        let mut all = Vec::new();
        daemon::files(&dir, &mut all);
        all.retain(|p| p.extension().is_some_and(|e| e == "dcm"));
        all
    };
    wait_for("the sink has three files", || stored().len() == 3);
    // Delivered means whole.
    wait_for("all are delivered", || router.events("delivered").len() == 3);
    for file in stored() {
        assert!(objects.contains(&Object::read(&file)), "{} was altered", file.display());
    }
}

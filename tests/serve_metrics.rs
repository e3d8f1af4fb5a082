//! The figures over HTTP: they agree with the log and the ledger, name nobody, and bear whoever asks.

#[path = "support/archive.rs"]
mod archive;
#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/local.rs"]
mod local;
#[path = "support/objects.rs"]
mod objects;
#[path = "support/samples.rs"]
mod samples;
#[path = "support/wire.rs"]
mod wire;

use archive::Archive;
use daemon::{Router, Site, wait_for};
use objects::{Object, PATIENT};
use samples::samples;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Where the figures are, once the log has told.
fn port(router: &Router) -> u16 {
    let told = || {
        let text = router.log_text();
        let line = text.lines().find(|l| l.contains("metrics on /metrics"))?.to_owned();
        line.split("127.0.0.1:").nth(1)?.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    };
    wait_for("the address of the figures", || told().is_some());
    told().unwrap()
}

/// A site whose figures may be asked for, started, and their port.
fn watched(archive: u16) -> Option<(Site, Router, u16)> {
    let mut site = Site::with_archive(archive)?;
    site.tables += "[metrics]\nlisten = \"127.0.0.1:0\"\n";
    let router = site.start();
    let port = port(&router);
    Some((site, router, port))
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
}

/// Status and everything behind the head; none where the connection ends without an answer.
fn ask(port: u16, request: &[u8]) -> Option<(u16, String)> {
    let mut stream = connect(port);
    // the node may have hung up before it has all of it
    let _ = stream.write_all(request);
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

fn figures(port: u16) -> String {
    let (status, text) = ask(port, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert_eq!(status, 200, "{text}");
    text
}

/// The sum of all samples whose line begins so.
fn sum(text: &str, begins: &str) -> f64 {
    let lines = text.lines().filter(|l| l.starts_with(begins));
    lines.map(|l| l.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

#[test]
fn the_figures_are_those_of_the_log_and_name_nobody() {
    let archive = Archive::start();
    let Some((_site, router, port)) = watched(archive.port) else { return };
    let samples = samples();
    let objects: Vec<Object> = samples.iter().map(|s| s.object.clone()).collect();
    for object in &objects {
        assert_eq!(wire::send(router.port, "XRAY1", std::slice::from_ref(object)).unwrap(), [0]);
    }
    wait_for("everything is delivered", || router.events("delivered").len() == objects.len());
    wait_for("every association has ended", || router.events("association").len() == objects.len());
    let text = figures(port);
    for kind in ["received", "looked", "verdict", "correction", "routed", "delivered", "association"] {
        let begins = format!("radroute_events_total{{event=\"{kind}\"}}");
        assert_eq!(sum(&text, &begins), router.events(kind).len() as f64, "{kind} in\n{text}");
    }
    let count = objects.len() as f64;
    for stage in ["receive", "sync", "wait", "decode", "classify", "send"] {
        assert_eq!(sum(&text, &format!("radroute_stage_seconds_count{{stage=\"{stage}\"}}")), count, "{stage}");
        let told: f64 = router
            .events("delivered")
            .iter()
            .map(|e| detail(e)["stages"][format!("{stage}_ms")].as_f64().unwrap() / 1e3)
            .sum();
        let found = sum(&text, &format!("radroute_stage_seconds_sum{{stage=\"{stage}\"}}"));
        assert!((found - told).abs() < 1e-6, "{stage}: {found}, the log says {told}");
    }
    assert_eq!(sum(&text, "radroute_deliveries_total{destination=\"archive\",outcome=\"delivered\"}"), count);
    assert_eq!(sum(&text, "radroute_verdicts_total{"), count);
    assert_eq!((sum(&text, "radroute_queued"), sum(&text, "radroute_unlooked")), (0.0, 0.0));
    assert!(sum(&text, "radroute_ledger_syncs_total") > 0.0 && sum(&text, "radroute_spool_free_bytes") > 0.0);
    for object in &objects {
        assert!(!text.contains(&object.uid()), "a UID");
    }
    assert!(!text.contains("XRAY1"), "an AE title");
    assert_eq!(sum(&text, "radroute_associations_open"), 0.0);
    reads_as_openmetrics(&text);
}

/// Prometheus' own Python reader takes it, and finds what it means.
fn reads_as_openmetrics(text: &str) {
    let reader = "import sys\nfrom prometheus_client.openmetrics.parser import text_string_to_metric_families as read\n\
        for f in read(sys.stdin.read()):\n    print(f.type, f.name, len(f.samples))";
    let python = |code: &str| {
        let mut command = Command::new(local::python());
        command.args(["-c", code]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn()
    };
    let known = python("import prometheus_client").and_then(|child| child.wait_with_output());
    if !known.is_ok_and(|output| output.status.success()) {
        return daemon::skipped("no prometheus_client in the Python of the tests to read the figures with");
    }
    let mut child = python(reader).unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let (found, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{text}");
    for begins in [
        "histogram radroute_stage_seconds ",
        "counter radroute_deliveries ",
        "gauge radroute_queued ",
        "info radroute_build ",
    ] {
        assert!(found.lines().any(|l| l.starts_with(begins)), "{begins} is not in\n{found}");
    }
}

#[test]
fn open_associations_and_idle_destinations_are_counted_and_no_patient_is_named() {
    let archive = Archive::start();
    let Some((_site, router, port)) = watched(archive.port) else { return };
    let text = figures(port);
    assert!(text.contains("radroute_queued{destination=\"archive\"} 0\n"), "{text}");
    let object = Object::slice(92, 0);
    let patient = PATIENT[0].as_bytes();
    assert!(object.elements.iter().any(|(_, bytes)| bytes.windows(patient.len()).any(|w| w == patient)));
    let mut modality = wire::Modality::for_object(router.port, "M", &object).unwrap();
    assert_eq!(modality.store(&object).unwrap(), 0);
    assert_eq!(sum(&figures(port), "radroute_associations_open"), 1.0);
    modality.release().unwrap();
    wait_for("the association has ended", || sum(&figures(port), "radroute_associations_open") == 0.0);
    wait_for("it is delivered", || router.events("delivered").len() == 1);
    let text = figures(port);
    for of_patient in PATIENT {
        assert!(!text.contains(of_patient), "{of_patient} in\n{text}");
    }
}

/// What an event has to say.
fn detail(event: &serde_json::Value) -> serde_json::Value {
    match &event["detail"] {
        serde_json::Value::String(text) => serde_json::from_str(text).unwrap(),
        other => other.clone(),
    }
}

#[test]
fn what_waits_for_an_archive_that_is_down_is_counted() {
    let Some((_site, router, port)) = watched(1) else { return };
    for n in 0..3 {
        assert_eq!(wire::send(router.port, "M", &[Object::slice(90, n)]).unwrap(), [0]);
    }
    wait_for("three wait", || sum(&figures(port), "radroute_queued{destination=\"archive\"}") == 3.0);
    assert!(sum(&figures(port), "radroute_deliveries_total{destination=\"archive\",outcome=\"delivered\"}") < 1.0);
}

#[test]
fn whoever_asks_wrongly_or_not_at_all_harms_nobody() {
    let Some((_site, router, port)) = watched(1) else { return };
    let get = |path: &str| ask(port, format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).map(|a| a.0);
    assert_eq!(get("/"), Some(404));
    assert_eq!(get("/metrics/../../etc/passwd"), Some(404));
    assert_eq!(ask(port, b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").map(|a| a.0), Some(405));
    let long = [&b"GET /metrics HTTP/1.1\r\nX: "[..], &[b'a'; 100_000], b"\r\n\r\n"].concat();
    assert_ne!(ask(port, &long).map(|a| a.0), Some(200));
    assert_ne!(ask(port, &[0xff; 300]).map(|a| a.0), Some(200));
    // Half a request, as often as there is room and more: whoever comes then is sent away, until time is up.
    let silent: Vec<TcpStream> = (0..30)
        .map(|_| {
            let mut stream = connect(port);
            let _ = stream.write_all(b"GET /met");
            stream
        })
        .collect();
    assert_eq!(wire::send(router.port, "M", &[Object::slice(91, 0)]).unwrap(), [0], "images go on");
    wait_for("the silent are sent away", || get("/metrics") == Some(200));
    drop(silent);
    assert!(figures(port).ends_with("# EOF\n"));
}

#[test]
fn without_an_address_nobody_listens_and_one_in_use_is_said() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let Some(mut site) = Site::with_archive(1) else { return };
    let router = site.start();
    assert!(!router.log_text().contains("/metrics"));
    assert!(router.stop().success());
    site.tables += &format!("[metrics]\nlisten = \"{}\"\n", taken.local_addr().unwrap());
    let output = site.run(&["serve"]);
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("metrics.listen") && said.contains(&taken.local_addr().unwrap().to_string()), "{said}");
}

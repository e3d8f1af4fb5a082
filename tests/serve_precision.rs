//! The arithmetic that the daemon judges in: by the configuration and the card, told at the start and beside every verdict.

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

use daemon::{Site, model, wait_for};
use serde_json::Value;
use std::path::Path;

/// The shipped weights with a changed card, in the site's folder.
fn with_card(site: &mut Site, change: impl FnOnce(&mut Value)) {
    let shipped = model().unwrap();
    let file = site.path("m.safetensors");
    std::fs::copy(&shipped, &file).unwrap();
    let read = |path: &Path| serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let mut card: Value = read(&shipped.with_extension("json"));
    change(&mut card);
    std::fs::write(file.with_extension("json"), card.to_string()).unwrap();
    let lines: Vec<String> = site.classify.lines().filter(|l| !l.starts_with("model")).map(str::to_owned).collect();
    site.classify = format!("model = {:?}\n{}\n", file.display().to_string(), lines.join("\n"));
}

#[test]
fn whole_numbers_give_the_verdicts_and_the_audit_says_so() {
    for (precision, ends) in [("int8", " int8"), ("f32", "")] {
        let Some(mut site) = Site::new() else { return };
        site.classify += &format!("precision = \"{precision}\"\n");
        site.destination("archive", local::free_port(), "");
        site.routing = "default = [\"archive\"]\n".into();
        let router = site.start();
        let loaded = |l: &Value| l["message"].as_str().is_some_and(|m| m.contains("network is loaded"));
        let told = router.log_lines().into_iter().find(loaded).expect("the network is told of");
        assert_eq!(told["precision"], precision, "{told}");
        assert!(told["because"].as_str().is_some_and(|why| why.contains("the configuration says so")), "{told}");
        let samples = samples::samples();
        let hand = samples.iter().find(|s| s.region == "HAND").unwrap();
        assert_eq!(wire::send(router.port, "XRAY1", std::slice::from_ref(&hand.object)).unwrap(), [0]);
        wait_for("a verdict", || !router.events("verdict").is_empty());
        let looked = router.events("looked");
        assert!(looked[0].to_string().contains(&format!("{ends}\"")), "{}", looked[0]);
        assert_eq!(looked[0].to_string().contains(" int8"), precision == "int8", "{}", looked[0]);
        assert!(router.events("verdict")[0].to_string().contains("HAND"), "{:?}", router.events("verdict"));
    }
}

#[test]
fn a_card_without_steps_or_of_too_few_equal_verdicts_is_gone_by() {
    let Some(mut site) = Site::new() else { return };
    site.routing = "default = [\"archive\"]\n".into();
    site.destination("archive", local::free_port(), "");
    with_card(&mut site, |card| card["int8"]["agreement"] = 0.99.into());
    let router = site.start();
    let line = router.log_lines().into_iter().find(|l| l["precision"] == "f32").expect("single precision is told");
    assert!(line["because"].as_str().is_some_and(|why| why.contains("change too much")), "{line}");
    assert!(router.stop().success());

    with_card(&mut site, |card| card["int8"] = Value::Null);
    site.classify += "precision = \"int8\"\n";
    let mut router = site.spawn(|_| {});
    assert!(!router.wait_exit().success());
    let log = router.log_text();
    assert!(log.contains("evaluate --fit") && log.contains("precision = \\\"auto\\\""), "{log}");
}

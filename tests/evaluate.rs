//! `radroute evaluate` on drawn pictures with the shipped weights: report, fit, page, listing of the splits, refusals.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A manifest of drawn pictures: of each region, and of two that are outside; and weights in one orientation, to be quick.
struct Bench {
    folder: tempfile::TempDir,
}

const ROWS: [(&str, &str, &str); 9] = [
    ("a.png", "HAND", "validation"),
    ("b.png", "KNEE", "validation"),
    ("c.png", "FOOT", "validation"),
    ("d.png", "<CHEST>", "validation"),
    ("e.png", "WRIST", "validation"),
    ("f.png", "NOT_A_RADIOGRAPH", "validation"),
    ("g.png", "ELBOW", "validation"),
    ("h.png", "HAND", "train"),
    ("i.png", "KNEE", "train"),
];

impl Bench {
    fn new() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let mut table = String::from("path\tregion\tgroup\tsource\tlicence\tsplit\n");
        for (i, (name, region, split)) in ROWS.iter().enumerate() {
            let period = 2 + i as u32;
            let picture = image::GrayImage::from_fn(40, 30, |x, y| {
                image::Luma([if (x / period + y / 5).is_multiple_of(2) { 20 } else { 200 - (x + y) as u8 }])
            });
            picture.save(folder.path().join(name)).unwrap();
            let source = if i % 2 == 0 { "one" } else { "other" };
            table += &format!("{name}\t{region}\tg{i}\t{source}\tours\t{split}\n");
        }
        std::fs::write(folder.path().join("m.tsv"), table).unwrap();
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("weights");
        std::fs::copy(shipped.join("radroute.safetensors"), folder.path().join("w.safetensors")).unwrap();
        let card = std::fs::read(shipped.join("radroute.json")).unwrap();
        let mut card: serde_json::Value = serde_json::from_slice(&card).unwrap();
        card["views"] = 1.into();
        // Of one orientation there is none to leave out.
        card["early"] = serde_json::Value::Null;
        std::fs::write(folder.path().join("w.json"), card.to_string()).unwrap();
        Bench { folder }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn change(&self, change: impl FnOnce(String) -> String) {
        let table = std::fs::read_to_string(self.file("m.tsv")).unwrap();
        std::fs::write(self.file("m.tsv"), change(table)).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_radroute"))
            .args(["evaluate", "--manifest", "m.tsv", "--root", ".", "--model", "w.safetensors"])
            .args(arguments)
            .current_dir(self.folder.path())
            .output()
            .unwrap()
    }

    fn card(&self) -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(self.file("w.json")).unwrap()).unwrap()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn judges_fits_and_reports() {
    let bench = Bench::new();
    let before = bench.card();
    let all =
        ["--fit", "--copies", "1", "--target", "0.01", "--robust", "--suspects", "2", "--json", "--html", "r.html"];
    let ran = bench.run(&all);
    assert!(ran.status.success(), "{}", text(&ran.stderr));
    let json: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
    let report = &json["report"];
    assert_eq!((report["images"].as_u64(), report["regions"]["HAND"]["positives"].as_u64()), (Some(7), Some(1)));
    assert_eq!(report["outside"]["images"].as_u64(), Some(2));
    assert_eq!(report["by_source"].as_object().unwrap().len(), 2);
    assert_eq!(report["thresholds"]["target"].as_f64(), Some(0.01));
    // What is no radiograph has no part in the rate.
    assert_eq!(report["thresholds"]["outside"].as_u64(), Some(2));
    assert!(report["robust"].as_object().unwrap().values().all(|row| row["images"].as_u64() == Some(7)));
    // What is stored as DICOM with 12 bits is the same picture.
    let stored = &report["robust"]["DICOM, 12 in 16 bits, MONOCHROME1"];
    assert_eq!(stored["same"].as_u64(), Some(7));
    assert_eq!(json["outputs"][0]["copies"].as_array().unwrap().len(), 1);
    assert_eq!((json["images"].as_array().unwrap().len(), json["suspects"].as_array().unwrap().len()), (7, 2));

    // The card is what the daemon reads.
    let card = bench.card();
    assert_ne!(card["heads"], before["heads"]);
    assert_eq!(card["metrics"]["thresholds"], report["thresholds"]);
    let hand = &card["regions"]["HAND"]["accept"];
    assert_eq!(hand, &report["regions"]["HAND"]["accept"]);
    let int8 = &card["int8"];
    let maps = int8["steps"][0]["maps"].as_array().unwrap();
    assert_eq!((int8["images"].as_u64(), maps.len()), (Some(7), 20));
    assert!(int8["agreement"].as_f64().is_some_and(|share| (0.5..=1.0).contains(&share)), "{int8}");
    assert!(int8["difference"].as_f64().is_some_and(|apart| apart > 0.0 && apart < 1.0), "{int8}");
    assert!(maps.iter().all(|step| step.as_f64().is_some_and(|s| s > 0.0)), "{int8}");
    let people = std::fs::read_to_string(bench.file("w.md")).unwrap();
    for part in [
        "| HAND | 1 (1) |",
        "at most 1.00 %",
        "had no part in",
        "| mirrored | 7 |",
        "a rate below the upper figure",
        "whole numbers (int8)",
    ] {
        assert!(people.contains(part), "{part}: {people}");
    }

    let page = std::fs::read_to_string(bench.file("r.html")).unwrap();
    assert!(page.contains("&lt;CHEST&gt;") && !page.contains("<CHEST>"));
    assert_eq!(page.matches("<svg").count(), 3);
    assert!(page.contains("data:image/png;base64,") && page.contains("Labels likeliest wrong"));
    // The same again, without fitting: the same figures, as a table.
    let ran = bench.run(&[]);
    assert!(ran.status.success());
    assert!(text(&ran.stdout).contains("7 images in 7 groups"), "{}", text(&ran.stdout));
    assert_eq!(bench.card(), card);
}

#[test]
fn the_splits_are_listed_and_what_crosses_them_fails() {
    let bench = Bench::new();
    let ran = bench.run(&["--groups"]);
    let told = text(&ran.stdout);
    assert!(ran.status.success(), "{told}");
    assert!(told.contains("train\tg7\t1\t") && told.contains("no image is in two splits"), "{told}");
    // The shipped card is of other data.
    let ran = bench.run(&["--groups", "--against", "w.json"]);
    assert_eq!(ran.status.code(), Some(65));
    assert!(text(&ran.stdout).contains("the groups of train are not those of the card"));

    std::fs::copy(bench.file("h.png"), bench.file("a.png")).unwrap();
    let ran = bench.run(&["--groups", "--json"]);
    assert_eq!(ran.status.code(), Some(65));
    let json: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!(json["doubles"][0]["places"], serde_json::json!([["train", "h.png"], ["validation", "a.png"]]));

    bench.change(|table| table.replace("g7", "g0"));
    let ran = bench.run(&["--groups"]);
    assert_eq!(ran.status.code(), Some(65));
    assert!(text(&ran.stderr).contains("group g0") && text(&ran.stderr).contains("row 9"), "{}", text(&ran.stderr));
}

#[test]
fn bad_input_is_told_by_its_row_before_any_time_is_spent() {
    let refused = |spoil: fn(&Bench), arguments: &[&str], code: i32, parts: &[&str]| {
        let bench = Bench::new();
        spoil(&bench);
        let ran = bench.run(arguments);
        let told = text(&ran.stderr);
        assert_eq!(ran.status.code(), Some(code), "{told}");
        assert!(parts.iter().all(|p| told.contains(p)), "{told}");
        assert_eq!(told.lines().count(), 1, "{told}");
        assert!(ran.stdout.is_empty());
    };
    refused(|b| std::fs::write(b.file("c.png"), "no picture").unwrap(), &[], 65, &["row 4", "c.png"]);
    refused(|b| std::fs::remove_file(b.file("c.png")).unwrap(), &[], 65, &["row 4", "c.png"]);
    refused(|_| (), &["--split", "test"], 65, &["no labelled images", "test"]);
    refused(|_| (), &["--fit", "--target", "1.5"], 65, &["--target 1.5"]);
    refused(|_| (), &["--html", "none/r.html"], 74, &["none"]);
}

//! `radroute classify` with the shipped weights on the project's samples, as a script would call it.

use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn classify(arguments: &[&str], paths: &[&Path]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_radroute"))
        // No configuration there: what holds by default.
        .current_dir(root().join("weights"))
        .arg("classify")
        .args(if arguments.contains(&"--model") { &[][..] } else { &["--model", "radroute.safetensors"][..] })
        .args(arguments)
        .args(paths)
        .output()
        .unwrap()
}

/// The objects on standard output by the name of their file.
fn objects(output: &Output) -> BTreeMap<String, Value> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let objects = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("one object a line"));
    let name = |o: &Value| Path::new(o["path"].as_str().unwrap()).file_name().unwrap().to_str().unwrap().to_owned();
    objects.map(|o| (name(&o), o)).collect()
}

#[test]
fn the_shipped_weights_name_the_samples() {
    let output = classify(&["--json", "--details"], &[&root().join("tests/data")]);
    let objects = objects(&output);
    let table = std::fs::read_to_string(root().join("tests/data/samples.tsv")).unwrap();
    let mut wrong = Vec::new();
    for line in table.lines().skip(1) {
        let cells: Vec<&str> = line.split('\t').collect();
        let (file, region, tag) = (cells[0], cells[1], cells[4]);
        let object = &objects[file];
        let five = ["SHOULDER", "ELBOW", "HAND", "PELVIS", "KNEE"].contains(&region);
        let wanted = if five { Value::from(region) } else { Value::Null };
        if object["region"] != wanted {
            wrong.push(format!("{file}: {object}"));
        }
        let tag = if tag.starts_with('(') { Value::Null } else { Value::from(tag) };
        assert_eq!(object["body_part_examined"], tag, "{file}");
        assert!(object["sop_instance_uid"].as_str().is_some_and(|uid| uid.contains('.')), "{file}");
        if object["verdict"] != "exempt" {
            let scores = object["scores"].as_object().unwrap();
            assert_eq!(scores.len(), 5, "{file}");
            assert!(
                scores
                    .values()
                    .chain(object["other"].as_object().unwrap().values())
                    .all(|p| { (0.0..=1.0).contains(&p.as_f64().unwrap()) })
            );
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    for (file, verdict) in [
        ("elbow-1.dcm", "corrected"),
        ("elbow-2.dcm", "confirmed"),
        ("shoulder-2.dcm", "filled"),
        ("hand-1.dcm", "synonym"),
        ("pelvis-2.dcm", "neighbour"),
        ("foot-1.dcm", "outside"),
    ] {
        assert_eq!(objects[file]["verdict"], verdict, "{file}");
    }
}

#[test]
fn a_bad_file_is_told_and_does_not_stop_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("a/b");
    std::fs::create_dir_all(&deep).unwrap();
    let sample = std::fs::read(root().join("tests/data/hand-1.dcm")).unwrap();
    std::fs::write(deep.join("good.dcm"), &sample).unwrap();
    std::fs::write(folder.path().join("cut.dcm"), &sample[..sample.len() / 2]).unwrap();
    std::fs::write(folder.path().join("notes.txt"), "no image").unwrap();
    std::fs::write(folder.path().join("empty.png"), "").unwrap();
    image::GrayImage::from_pixel(1, 1, image::Luma([7])).save(folder.path().join("tiny.png")).unwrap();
    let output = classify(&["--json"], &[folder.path(), Path::new("/nonexistent/x.dcm")]);
    assert_eq!(output.status.code(), Some(65));
    let told = String::from_utf8(output.stderr.clone()).unwrap();
    for name in ["cut.dcm", "notes.txt", "empty.png", "/nonexistent/x.dcm"] {
        assert!(told.contains(name), "{name} is not told: {told}");
    }
    let objects = objects(&output);
    assert_eq!(objects["good.dcm"]["region"], "HAND");
    assert!(objects.contains_key("tiny.png"));
    assert!(!objects.contains_key("notes.txt"));
    assert_eq!(objects["tiny.png"]["sop_instance_uid"], Value::Null);
}

#[test]
fn a_table_for_people_and_zero_when_all_went_well() {
    let output = classify(&[], &[&root().join("tests/data/knee-1.dcm"), &root().join("tests/data/hand-1.dcm")]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("knee-1.dcm") && text.contains("KNEE") && text.contains("HAND"), "{text}");
}

#[test]
fn weights_that_are_not_there_are_an_error_of_configuration() {
    let output = classify(&["--model", "/nonexistent/w.safetensors"], &[&root().join("tests/data/knee-1.dcm")]);
    assert_eq!(output.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nonexistent/w.json"));
}

#[test]
fn activation_maps_of_folders_dicom_png_and_jpeg() {
    let folder = tempfile::tempdir().unwrap();
    let (images, cams) = (folder.path().join("images"), folder.path().join("cams"));
    for part in ["a", "b"] {
        std::fs::create_dir_all(images.join(part)).unwrap();
        std::fs::copy(root().join("tests/data/hand-1.dcm"), images.join(part).join("hand.dcm")).unwrap();
    }
    std::fs::copy(root().join("tests/data/foot-1.dcm"), images.join("foot.dcm")).unwrap();
    let knee = radroute::pixels::read_any(&root().join("tests/data/knee-1.dcm"), 448).unwrap();
    let knee = radroute::drawing::thumbnail(&knee, 448);
    knee.save(images.join("knee-p.png")).unwrap();
    knee.save(images.join("knee-j.jpg")).unwrap();
    let output = classify(&["--json", "--cam", cams.to_str().unwrap()], &[&images]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let mut names: Vec<String> =
        std::fs::read_dir(&cams).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["hand-2-HAND.png", "hand-HAND.png", "knee-j-KNEE.png", "knee-p-KNEE.png"]);
    let objects = objects(&output);
    assert_eq!(objects["foot.dcm"]["cams"], Value::Array(vec![]));
    assert_eq!(objects["knee-p.png"]["cams"].as_array().unwrap().len(), 1);
    for name in names {
        let picture = image::open(cams.join(&name)).unwrap().into_rgb8();
        let tints: Vec<u8> = picture.pixels().map(|p| p.0.iter().max().unwrap() - p.0.iter().min().unwrap()).collect();
        let (least, most) = (tints.iter().min().unwrap(), tints.iter().max().unwrap());
        assert!(*least < 8 && *most > 60, "{name}: {least} {most}");
        assert!((200..=512).contains(&picture.width().max(picture.height())), "{name}");
    }
}

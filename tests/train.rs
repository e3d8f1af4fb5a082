//! Training from a manifest to a classifier, on drawn images; what a wrong manifest gives.

mod training;

use radroute::config::{DeviceChoice, PrecisionChoice};
use radroute::model::weights::to_safetensors;
use radroute::model::{Classifier, sha256};
use radroute::train::Progress;
use radroute::train::evaluate::evaluate;
use radroute::train::manifest::{Manifest, Split};
use radroute::train::recipe::Recipe;
use std::collections::BTreeMap;
use std::path::Path;
use training::{REGIONS, data_set, draw, initial, recipe};

#[test]
fn trains_from_a_manifest_to_a_classifier_and_again_to_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = Manifest::read(&data_set(folder.path()), folder.path()).unwrap();
    let (init, recipe, progress) = (initial(folder.path()), recipe(), Progress::default());
    let train = |out: &Path| training::train(&recipe, &manifest, Some(&init), out, false).unwrap();
    let out = folder.path().join("out");
    let report = train(&out);
    assert!(report.mean_auc.unwrap() > 0.9, "{report:?}");
    let file = out.join("drawn.safetensors");
    let classifier = Classifier::load(&file, DeviceChoice::Cpu, PrecisionChoice::Auto).unwrap();
    // What the card says is what judging by the classifier gives.
    let (again, _) = evaluate(&classifier, &manifest, Split::Validation, &progress).unwrap();
    assert_eq!(again.images, 18);
    for (region, figures) in &report.regions {
        assert_eq!(again.regions[region].auc, figures.auc, "{region}");
        assert_eq!(again.regions[region].sensitivity, figures.sensitivity, "{region}");
    }
    let card = classifier.card();
    assert_eq!(card.data.training["drawn"]["HAND"], 7);
    assert_eq!(card.data.groups_sha256["train"], manifest.groups_sha256(Split::Train));
    assert!(std::fs::read_to_string(out.join("drawn.md")).unwrap().contains("| HAND |"));
    let stored = std::fs::read_to_string(out.join("drawn.recipe.toml")).unwrap();
    assert_eq!(Recipe::parse(&stored).unwrap(), recipe);

    // Killed while the features were written: the second run goes on from there and comes out the same.
    let hash = sha256(&std::fs::read(&file).unwrap());
    let features =
        std::fs::read_dir(&out).unwrap().flatten().find(|e| e.path().extension().is_some_and(|x| x == "f16"));
    let features = features.expect("kept features").path();
    let other = folder.path().join("other");
    std::fs::create_dir(&other).unwrap();
    let bytes = std::fs::read(&features).unwrap();
    std::fs::write(other.join(features.file_name().unwrap()), &bytes[..bytes.len() / 3]).unwrap();
    train(&other);
    assert_eq!(sha256(&std::fs::read(other.join("drawn.safetensors")).unwrap()), hash);
}

/// What reading the data set's manifest, changed, gives as an error.
fn refused(change: impl FnOnce(String) -> String) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = data_set(folder.path());
    let table = change(std::fs::read_to_string(&file).unwrap());
    std::fs::write(&file, table).unwrap();
    let manifest = match Manifest::read(&file, folder.path()) {
        Ok(manifest) => manifest,
        Err(error) => return error.to_string(),
    };
    let (init, out) = (initial(folder.path()), folder.path().join("out"));
    let run = training::train(&recipe(), &manifest, Some(&init), &out, false);
    assert!(!out.exists(), "refused only after work was done");
    run.expect_err("refused").to_string()
}

#[test]
fn a_wrong_manifest_is_refused_by_its_row() {
    let text = refused(|t| t.replace("drawn:HAND_8.png", "drawn:HAND_1.png"));
    assert!(text.contains("group drawn:HAND_1.png") && text.contains("row 30"), "{text}");
    let text = refused(|t| t.replace("KNEE_2.png\tKNEE", "KNEE_222.png\tKNEE"));
    assert!(text.contains("KNEE_222.png") && text.contains("row 44"), "{text}");
    let text = refused(|t| t.replace("KNEE_2.png\tKNEE", "KNEE_2.png\tNEE"));
    assert!(text.contains("region NEE") && text.contains("row 44"), "{text}");
    let text = refused(|t| t.replacen("\ttrain", "\ttest", 7).replacen("\ttest\n", "\ttraining\n", 1));
    assert!(text.contains("training") && text.contains("row 2"), "{text}");
    let text = refused(|t| t.replacen("licence", "license", 1));
    assert!(text.contains("no column licence"), "{text}");
    let text = refused(|t| {
        t.lines().filter(|l| l.contains("path") || l.contains("HAND")).fold(String::new(), |a, l| a + l + "\n")
    });
    assert!(text.contains("two at least"), "{text}");
    let text = refused(|t| t.lines().filter(|l| !l.contains("FOOT")).fold(String::new(), |a, l| a + l + "\n"));
    assert!(text.contains("FOOT"), "{text}");
    let text = refused(|t| t.replace("\tvalidation", "\ttest"));
    assert!(text.contains("no validation images"), "{text}");
}

#[test]
fn groups_without_a_split_are_shared_out_and_always_alike() {
    let folder = tempfile::tempdir().unwrap();
    let file = data_set(folder.path());
    // Images come in pairs of a patient; one patient's split is said by one of the images only.
    let table = std::fs::read_to_string(&file).unwrap();
    let mut changed = String::new();
    for (i, line) in table.lines().enumerate() {
        let mut cells: Vec<&str> = line.split('\t').collect();
        let group = format!("patient{}", i.saturating_sub(1) / 2);
        if i > 0 {
            (cells[2], cells[5]) = (&group, if i == 2 { "test" } else { "" });
        }
        changed += &(cells.join("\t") + "\n");
    }
    std::fs::write(&file, &changed).unwrap();
    let manifest = Manifest::read(&file, folder.path()).unwrap();
    let splits: Vec<Split> = manifest.entries.iter().map(|e| e.split).collect();
    assert_eq!(splits[..2], [Split::Test, Split::Test]);
    assert!(splits.chunks(2).all(|pair| pair[0] == pair[1]), "a patient is in two splits: {splits:?}");
    for region in &REGIONS[1..] {
        let count = |split| manifest.labelled(split).filter(|e| e.region == *region).count();
        assert_eq!((count(Split::Train), count(Split::Validation)), (8, 2), "{region}");
    }
    // Without the column, too.
    let without: String = changed.lines().map(|line| line.rsplit_once('\t').unwrap().0.to_owned() + "\n").collect();
    std::fs::write(&file, without).unwrap();
    let again: Vec<Split> = Manifest::read(&file, folder.path()).unwrap().entries.iter().map(|e| e.split).collect();
    assert!(!again.contains(&Split::Test));
    assert_eq!(again[10..], splits[10..]);
}

#[test]
fn an_unreadable_image_or_wrong_weights_are_told_before_training() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = Manifest::read(&data_set(folder.path()), folder.path()).unwrap();
    let (init, out) = (initial(folder.path()), folder.path().join("o"));
    std::fs::write(folder.path().join("ELBOW_3.png"), b"no picture").unwrap();
    let error = training::train(&recipe(), &manifest, Some(&init), &out, false);
    let text = error.expect_err("refused").to_string();
    assert!(text.contains("ELBOW_3.png") && text.contains("row 15"), "{text}");
    draw(&folder.path().join("ELBOW_3.png"), 1, 103);
    std::fs::write(&init, to_safetensors(&BTreeMap::new()).unwrap()).unwrap();
    let error = training::train(&recipe(), &manifest, Some(&init), &out, false);
    let text = error.expect_err("refused").to_string();
    assert!(text.contains("conv1.weight") && text.contains("initial.safetensors"), "{text}");
    assert!(!out.exists());
}

#[test]
fn folders_named_by_region_are_a_manifest() {
    let folder = tempfile::tempdir().unwrap();
    for region in ["HAND", "KNEE"] {
        std::fs::create_dir(folder.path().join(region)).unwrap();
        for i in 0..10 {
            draw(&folder.path().join(region).join(format!("{i}.png")), i % 6, i as u64);
        }
    }
    std::fs::write(folder.path().join("notes.txt"), "no folder").unwrap();
    let manifest = Manifest::from_folders(folder.path()).unwrap();
    let count = |region: &str, split| manifest.labelled(split).filter(|e| e.region == region).count();
    assert_eq!((count("HAND", Split::Train), count("HAND", Split::Validation)), (8, 2));
    assert_eq!((count("KNEE", Split::Train), count("KNEE", Split::Validation)), (8, 2));
    assert_eq!(manifest.sha256, Manifest::from_folders(folder.path()).unwrap().sha256);
}

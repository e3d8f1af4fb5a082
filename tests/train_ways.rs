//! Ways of training beyond the plain one: stopped and resumed, from little or nothing, ensembles, an experiment, wrong labels.

mod training;

use radroute::config::{DeviceChoice, PrecisionChoice};
use radroute::model::card::Architecture;
use radroute::model::weights::{Raw, Weights, to_safetensors};
use radroute::model::{Classifier, sha256};
use radroute::train::TrainError;
use radroute::train::curve::Epoch;
use radroute::train::manifest::{Manifest, Split};
use radroute::train::noise::{Method, Noise};
use radroute::train::pick::Experiment;
use radroute::train::recipe::{Rates, Recipe};
use std::collections::BTreeMap;
use std::path::Path;
use training::{data_set, initial, recipe, train};

fn manifest(folder: &Path) -> Manifest {
    Manifest::read(&data_set(folder), folder).unwrap()
}

/// A digest of every result but the checkpoint.
fn digests(out: &Path) -> BTreeMap<String, String> {
    let files = std::fs::read_dir(out).unwrap().flatten();
    files
        .map(|f| (f.file_name().to_string_lossy().into_owned(), sha256(&std::fs::read(f.path()).unwrap())))
        .filter(|(name, _)| !name.ends_with(".f16"))
        .collect()
}

/// Trains step by step, each time stopped after the first; how often it had to be begun.
fn in_pieces(recipe: &Recipe, manifest: &Manifest, init: &Path, out: &Path) -> usize {
    for times in 1..200 {
        match train(recipe, manifest, Some(init), out, true) {
            Ok(_) => return times,
            Err(TrainError::Stopped) => assert!(
                std::fs::read_dir(out).unwrap().flatten().any(|f| {
                    let path = f.path();
                    path.extension().is_some_and(|x| x == "checkpoint" || x == "f16")
                }),
                "nothing to go on from"
            ),
            Err(error) => panic!("{error}"),
        }
    }
    panic!("never done")
}

#[test]
fn a_run_that_is_stopped_after_every_step_comes_out_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (manifest, init) = (manifest(folder.path()), initial(folder.path()));
    let recipe = Recipe { epochs: 2, dropout: 0.3, ..recipe() };
    let [whole, pieces] = ["whole", "pieces"].map(|name| folder.path().join(name));
    train(&recipe, &manifest, Some(&init), &whole, false).unwrap();
    // Seven steps a pass, two passes.
    assert!(in_pieces(&recipe, &manifest, &init, &pieces) > 14);
    let (whole, pieces) = (digests(&whole), digests(&pieces));
    assert_eq!(whole, pieces);
    let names: Vec<&String> = whole.keys().collect();
    assert!(names.iter().any(|n| n.as_str() == "drawn.curve.svg"), "{names:?}");
    assert!(!names.iter().any(|n| n.contains("checkpoint") || n.contains("part")), "{names:?}");
}

#[test]
fn the_checkpoint_of_another_run_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (manifest, init) = (manifest(folder.path()), initial(folder.path()));
    let recipe = Recipe { epochs: 1, ..recipe() };
    let [fresh, reused] = ["fresh", "reused"].map(|name| folder.path().join(name));
    train(&recipe, &manifest, Some(&init), &fresh, false).unwrap();
    // Stopped under another seed, and left there.
    let other = Recipe { seed: 9, ..recipe.clone() };
    while !reused.join("drawn.checkpoint").exists() {
        train(&other, &manifest, Some(&init), &reused, true).unwrap_err();
    }
    train(&recipe, &manifest, Some(&init), &reused, false).unwrap();
    let weights = |out: &Path| sha256(&std::fs::read(out.join("drawn.safetensors")).unwrap());
    assert_eq!(weights(&fresh), weights(&reused));
}

#[test]
fn training_begins_from_a_part_of_the_network_or_from_nothing_where_that_is_not_frozen() {
    let folder = tempfile::tempdir().unwrap();
    let (manifest, init) = (manifest(folder.path()), initial(folder.path()));
    let recipe = Recipe { epochs: 1, ..recipe() };
    let mut tensors = Weights::read(&init).unwrap().tensors().clone();
    tensors.retain(|name, _| !name.starts_with("layer4.1"));
    let partial = folder.path().join("partial.safetensors");
    std::fs::write(&partial, to_safetensors(&tensors).unwrap()).unwrap();
    train(&recipe, &manifest, Some(&partial), &folder.path().join("a"), false).unwrap();
    Classifier::load(&folder.path().join("a/drawn.safetensors"), DeviceChoice::Cpu, PrecisionChoice::Auto).unwrap();

    let out = folder.path().join("b");
    tensors.retain(|name, _| !name.starts_with("layer2.0.bn1"));
    std::fs::write(&partial, to_safetensors(&tensors).unwrap()).unwrap();
    for init in [Some(partial.as_path()), None] {
        let error = train(&recipe, &manifest, init, &out, false).unwrap_err().to_string();
        assert!(
            error.contains("freezes") && error.contains(if init.is_some() { "layer2.0.bn1" } else { "conv1" }),
            "{error}"
        );
        assert!(!out.exists());
    }
    let all = Rates { stem: 1.0, layer1: 1.0, layer2: 1.0, layer3: 1.0, layer4: 1.0, heads: 1.0 };
    let recipe = Recipe { rates: all, keep: false, copies: 1, ..recipe };
    train(&recipe, &manifest, None, &out, false).unwrap();
    Classifier::load(&out.join("drawn.safetensors"), DeviceChoice::Cpu, PrecisionChoice::Auto).unwrap();

    tensors.insert("layer3.0.conv2.weight".into(), Raw { shape: vec![256, 256, 1, 1], data: vec![0.0; 1 << 16] });
    std::fs::write(&partial, to_safetensors(&tensors).unwrap()).unwrap();
    let out = folder.path().join("c");
    let error = train(&recipe, &manifest, Some(&partial), &out, false).unwrap_err().to_string();
    assert!(
        error.contains("layer3.0.conv2.weight") && error.contains("partial.safetensors") && !out.exists(),
        "{error}"
    );
}

/// Two passes, a network for each head, epochs compared by augmented copies.
fn ensemble() -> Recipe {
    Recipe { architecture: Architecture::Ensemble, epochs: 2, validation_copies: 3, ..recipe() }
}

#[test]
fn an_ensemble_is_trained_network_by_network_and_can_be_stopped_in_any() {
    let folder = tempfile::tempdir().unwrap();
    let (manifest, init) = (manifest(folder.path()), initial(folder.path()));
    let [whole, pieces] = ["whole", "pieces"].map(|name| folder.path().join(name));
    let report = train(&ensemble(), &manifest, Some(&init), &whole, false).unwrap();
    assert!(report.mean_auc.unwrap() > 0.9, "{report:?}");
    let classifier =
        Classifier::load(&whole.join("drawn.safetensors"), DeviceChoice::Cpu, PrecisionChoice::Auto).unwrap();
    assert_eq!(classifier.card().architecture, Architecture::Ensemble);
    let (again, _) =
        radroute::train::evaluate::evaluate(&classifier, &manifest, Split::Validation, &Default::default()).unwrap();
    assert_eq!(again.mean_auc, report.mean_auc);
    assert!(whole.join("drawn-KNEE.curve.svg").is_file());
    let quick = Recipe { epochs: 1, copies: 1, ..ensemble() };
    let other = folder.path().join("other");
    train(&quick, &manifest, Some(&init), &other, false).unwrap();
    assert!(in_pieces(&quick, &manifest, &init, &pieces) > 6);
    assert_eq!(digests(&other), digests(&pieces));
}

#[test]
fn an_experiment_draws_trains_tests_and_tells() {
    let folder = tempfile::tempdir().unwrap();
    let (mut manifest, init) = (manifest(folder.path()), initial(folder.path()));
    let five: Vec<String> = recipe().heads.into_iter().filter(|h| h != "FOOT").collect();
    for entry in manifest.entries.iter_mut().filter(|e| e.split == Split::Validation) {
        entry.source = "elsewhere".into();
    }
    let experiment = Some(Experiment { images: 7, shares: [0.5, 0.25, 0.25] });
    let recipe = Recipe { heads: five, experiment, ..ensemble() };
    let out = folder.path().join("out");
    train(&recipe, &manifest, Some(&init), &out, false).unwrap();
    let json: serde_json::Value =
        serde_json::from_slice(&std::fs::read(out.join("drawn.result.json")).unwrap()).unwrap();
    assert_eq!(json["drawn"]["HAND"]["drawn"], 7);
    assert_eq!(json["images"]["test"], 10);
    for (test, images) in [(0, 10), (1, 15), (2, 18)] {
        assert_eq!(json["tests"][test]["images"], images);
        assert!(json["tests"][test]["networks"]["KNEE"]["auc"].as_f64().unwrap() > 0.5, "{json}");
    }
    let table = std::fs::read_to_string(out.join("drawn.result.md")).unwrap();
    assert!(table.contains("| KNEE |") && table.contains("elsewhere"), "{table}");
    for name in ["internal", "external", "external-all"] {
        let svg = std::fs::read_to_string(out.join(format!("drawn.roc-{name}.svg"))).unwrap();
        assert!(svg.contains("PELVIS") && svg.contains("sensitivity"));
    }
    let card = Classifier::load(&out.join("drawn.safetensors"), DeviceChoice::Cpu, PrecisionChoice::Auto)
        .unwrap()
        .card()
        .clone();
    assert_eq!(card.data.training["drawn"]["HAND"], 3);
    // More than there are.
    let recipe = Recipe { experiment: Some(Experiment { images: 8, shares: [0.5, 0.25, 0.25] }), ..recipe };
    let error = train(&recipe, &manifest, Some(&init), &folder.path().join("no"), false).unwrap_err().to_string();
    assert!(error.contains("7 images of SHOULDER"), "{error}");
    assert!(!folder.path().join("no").exists());
}

#[test]
fn the_papers_experiment_is_a_recipe_by_name() {
    let recipe = Recipe::named("yi2019").unwrap().unwrap();
    assert_eq!(recipe.architecture, Architecture::Ensemble);
    assert_eq!((recipe.heads.len(), recipe.copies, recipe.validation_copies), (5, 30, 30));
    assert_eq!(recipe.experiment, Some(Experiment { images: 50, shares: [0.64, 0.12, 0.24] }));
    assert!(Recipe::named("yi2020").is_none());
    assert_eq!(Recipe::parse(&toml::to_string(&recipe).unwrap()).unwrap(), recipe);
}

#[test]
fn doubting_the_labels_that_are_wrong_in_one_of_seven_does_not_teach_less() {
    let folder = tempfile::tempdir().unwrap();
    let init = initial(folder.path());
    let mut manifest = Manifest::read(&training::data_set_of(folder.path(), 21, 5), folder.path()).unwrap();
    // Of seven training images of a region one is labelled as the next region.
    let regions = training::REGIONS;
    for (i, entry) in manifest.entries.iter_mut().filter(|e| e.split == Split::Train).enumerate() {
        entry.source = "harvest".into();
        if i % 7 == 3 {
            let place = regions.iter().position(|r| *r == entry.region).unwrap();
            entry.region = regions[(place + 1) % regions.len()].into();
        }
    }
    let last = |name: &str, noise: Option<Noise>| {
        let (recipe, out) = (Recipe { noise, epochs: 8, copies: 1, ..recipe() }, folder.path().join(name));
        train(&recipe, &manifest, Some(&init), &out, false).unwrap();
        let history: Vec<Epoch> =
            serde_json::from_slice(&std::fs::read(out.join("drawn.history.json")).unwrap()).unwrap();
        println!(
            "RES {name} {:?}",
            history.iter().map(|e| (e.validation_loss.unwrap(), e.mean_auc.unwrap())).collect::<Vec<_>>()
        );
        history.last().unwrap().mean_auc.unwrap()
    };
    let plain = last("plain", None);
    for (name, method) in [("small-loss", Method::SmallLoss), ("bootstrap", Method::Bootstrap)] {
        let noise = Noise { method, rate: 1.0 / 7.0, sources: vec!["harvest".into()] };
        let doubting = last(name, Some(noise));
        // The right labels of the validation images are ranked as well.
        assert!(doubting >= plain - 0.005 && doubting > 0.95, "{name}: {doubting}, without doubt {plain}");
    }
}

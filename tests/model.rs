//! The network: engine against reference, loading, batches, threads, and training from a manifest to a classifier.

#[path = "support/network.rs"]
mod network;

use network::{inputs, random_weights};
use radroute::anatomy::Region;
use radroute::config::{DeviceChoice, PrecisionChoice};
use radroute::model::card::{Architecture, Card, Data, FORMAT, Head};
use radroute::model::engine::Network;
use radroute::model::engine::isa::Isa;
use radroute::model::folded::Folded;
use radroute::model::precision::{Int8, Precision};
use radroute::model::reference::Reference;
use radroute::model::weights::{Raw, Weights, member_name, to_safetensors};
use radroute::model::{Classifier, ModelError, sha256};
use radroute::preprocess::{InputContract, Plane};
use radroute::verdict::Threshold;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn heads() -> Vec<String> {
    Region::ALL.iter().map(|r| r.term().to_owned()).chain(["FOOT".to_owned()]).collect()
}

/// Writes weights with a fitting card; the path of the weights.
fn write_model(folder: &Path, tensors: &BTreeMap<String, Raw>, size: usize) -> PathBuf {
    let bytes = to_safetensors(tensors).unwrap();
    let file = folder.join("m.safetensors");
    std::fs::write(&file, &bytes).unwrap();
    let card = Card {
        views: 1,
        early: None,
        int8: None,
        format: FORMAT,
        name: "m".into(),
        permitted_use: "tests".into(),
        architecture: Architecture::Shared,
        sha256: sha256(&bytes),
        input: InputContract { size, ..InputContract::default() },
        heads: heads().into_iter().map(|name| Head { name, scale: 1.0, offset: 0.0 }).collect(),
        regions: Region::ALL.iter().map(|r| (r.term().to_owned(), Threshold { accept: 0.6, reject: 0.2 })).collect(),
        data: Data::default(),
        recipe: serde_json::Value::Null,
        metrics: serde_json::Value::Null,
        limits: vec![],
    };
    std::fs::write(Card::beside(&file), serde_json::to_vec(&card).unwrap()).unwrap();
    file
}

fn edit_card(file: &Path, edit: impl FnOnce(&mut serde_json::Value)) {
    let file = Card::beside(file);
    let mut card: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    edit(&mut card);
    std::fs::write(file, serde_json::to_vec(&card).unwrap()).unwrap();
}

#[test]
fn a_batch_gives_what_single_images_give() {
    let folder = tempfile::tempdir().unwrap();
    let file = write_model(folder.path(), &random_weights(4, 6), 64);
    let classifier = Classifier::load(&file, DeviceChoice::Cpu, PrecisionChoice::Auto).unwrap();
    let inputs = inputs(5, 9, 64);
    let together = classifier.scores(&inputs).unwrap();
    for (input, together) in inputs.iter().zip(&together) {
        let alone = &classifier.scores(std::slice::from_ref(input)).unwrap()[0];
        assert_eq!(alone.keys().collect::<Vec<_>>(), together.keys().collect::<Vec<_>>());
        for (head, p) in alone {
            assert!((p - together[head]).abs() < 1e-5, "{head}: {p} {}", together[head]);
        }
    }
    assert_ne!(together[0], together[1]);
    assert!(classifier.scores(&[]).unwrap().is_empty());
}

#[test]
fn several_threads_share_one_classifier() {
    let folder = tempfile::tempdir().unwrap();
    let file = write_model(folder.path(), &random_weights(6, 6), 32);
    let classifier = Classifier::load(&file, DeviceChoice::Auto, PrecisionChoice::Auto).unwrap();
    let plane = Plane { width: 50, height: 40, data: (0..2000).map(|i| (i % 37) as f32).collect() };
    let wanted = classifier.scores(&[classifier.input(&plane)]).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5 {
                    assert_eq!(classifier.scores(&[classifier.input(&plane)]).unwrap(), wanted);
                }
            });
        }
    });
}

#[test]
fn a_stem_of_one_channel_is_the_sum_of_three() {
    let three = random_weights(7, 6);
    let mut one = three.clone();
    let stem = one.get_mut("conv1.weight").unwrap();
    let sums: Vec<f32> =
        stem.data.chunks(147).flat_map(|o| (0..49).map(|i| o[i] + o[i + 49] + o[i + 98]).collect::<Vec<_>>()).collect();
    *stem = Raw { shape: vec![64, 1, 7, 7], data: sums };
    let logits = |tensors| {
        let weights = Weights::from_tensors(Path::new("random"), tensors);
        Network::new(&weights, 6).unwrap().logits(&inputs(8, 1, 64), 64).unwrap()
    };
    for (a, b) in logits(three)[0].iter().zip(&logits(one)[0]) {
        assert!((a - b).abs() < 1e-5);
    }
}

#[test]
fn wrong_models_are_refused_by_file_and_tensor() {
    let folder = tempfile::tempdir().unwrap();
    let load = |tensors: &BTreeMap<String, Raw>, edit: fn(&mut serde_json::Value)| {
        let file = write_model(folder.path(), tensors, 32);
        edit_card(&file, edit);
        let error = Classifier::load(&file, DeviceChoice::Cpu, PrecisionChoice::Auto).err().expect("refused");
        let text = error.to_string();
        assert!(text.contains("m.safetensors") || text.contains("m.json"), "{text}");
        (error, text)
    };
    let whole = random_weights(9, 6);
    let mut tensors = whole.clone();
    tensors.remove("layer3.0.downsample.1.running_var");
    let (error, text) = load(&tensors, |_| {});
    assert!(
        matches!(error, ModelError::Missing { .. }) && text.contains("layer3.0.downsample.1.running_var"),
        "{text}"
    );
    let mut tensors = whole.clone();
    tensors.insert("layer1.1.conv2.weight".into(), Raw { shape: vec![64, 64, 1, 1], data: vec![0.0; 4096] });
    let (error, text) = load(&tensors, |_| {});
    assert!(matches!(error, ModelError::Shape { .. }) && text.contains("layer1.1.conv2.weight"), "{text}");
    assert!(text.contains("[64, 64, 1, 1]") && text.contains("[64, 64, 3, 3]"), "{text}");
    let mut tensors = whole.clone();
    tensors.get_mut("bn1.bias").unwrap().data[3] = f32::NAN;
    assert!(load(&tensors, |_| {}).1.contains("bn1.bias"));
    let (error, _) = load(&whole, |card| card["sha256"] = "0".repeat(64).into());
    assert!(matches!(error, ModelError::Checksum { .. }));
    assert!(load(&whole, |card| card["heads"][5]["name"] = "KNEE".into()).1.contains("KNEE is there twice"));
    assert!(load(&whole, |card| card["regions"]["HAND"]["accept"] = 0.1.into()).1.contains("regions.HAND"));
    assert!(load(&whole, |card| card["format"] = 99.into()).1.contains("format 99"));
    assert!(load(&whole, |card| card["input"]["size"] = 1_000_000.into()).1.contains("input.size"));
    assert!(
        load(&whole, |card| {
            card.as_object_mut().unwrap().remove("heads");
        })
        .1
        .contains("heads")
    );
}

/// Weights of one network of one output for each head, and their tensors in one file; the card's path is the file's.
fn write_ensemble(folder: &Path, size: usize) -> (PathBuf, Vec<BTreeMap<String, Raw>>) {
    let members: Vec<_> = (0..heads().len() as u64).map(|i| random_weights(20 + i, 1)).collect();
    let mut all = BTreeMap::new();
    for (head, tensors) in heads().iter().zip(&members) {
        all.extend(tensors.iter().map(|(name, raw)| (member_name(head, name), raw.clone())));
    }
    let file = write_model(folder, &all, size);
    edit_card(&file, |card| card["architecture"] = "resnet18-ensemble".into());
    (file, members)
}

#[test]
fn an_ensemble_gives_what_its_members_give() {
    let folder = tempfile::tempdir().unwrap();
    let (file, members) = write_ensemble(folder.path(), 48);
    let classifier = Classifier::load(&file, DeviceChoice::Auto, PrecisionChoice::Auto).unwrap();
    let inputs = inputs(30, 3, 48);
    let together = classifier.logits(&inputs).unwrap();
    for (head, tensors) in members.into_iter().enumerate() {
        // As written: kernels in half precision.
        let bytes = to_safetensors(&tensors).unwrap();
        let weights = Weights::from_bytes(Path::new("member"), &bytes).unwrap();
        let alone = Network::new(&weights, 1).unwrap().logits(&inputs, 48).unwrap();
        for (row, alone) in together.iter().zip(&alone) {
            assert_eq!(row.len(), heads().len());
            assert!((row[head] - alone[0]).abs() < 1e-4, "{head}: {} {}", row[head], alone[0]);
        }
    }
    assert!((together[0][0] - together[0][1]).abs() > 1e-3, "all members are one: {together:?}");
    let maps = classifier.activation_maps(&inputs).unwrap();
    for (head, name) in heads().iter().enumerate() {
        assert!((maps[0][name].logit() - together[0][head]).abs() < 1e-4, "{name}: each head has its member's map");
    }
    let scores = classifier.scores(&inputs).unwrap();
    assert_eq!(scores[0].len(), heads().len());
    assert!(classifier.card().markdown().contains("ensemble"));
    assert!(classifier.logits(&[]).unwrap().is_empty());
}

#[test]
fn an_ensemble_that_lacks_a_tensor_is_refused_by_its_full_name() {
    let folder = tempfile::tempdir().unwrap();
    let (file, _) = write_ensemble(folder.path(), 32);
    let mut tensors = Weights::read(&file).unwrap().tensors().clone();
    tensors.remove("HAND.layer2.0.bn1.running_mean");
    write_model(folder.path(), &tensors, 32);
    edit_card(&file, |card| card["architecture"] = "resnet18-ensemble".into());
    let error = Classifier::load(&file, DeviceChoice::Cpu, PrecisionChoice::Auto).err().expect("refused").to_string();
    assert!(error.contains("HAND.layer2.0.bn1.running_mean") && error.contains("m.safetensors"), "{error}");
    // Neither kind of card takes the other kind's weights.
    edit_card(&file, |card| card["architecture"] = "resnet18".into());
    let error = Classifier::load(&file, DeviceChoice::Cpu, PrecisionChoice::Auto).err().expect("refused").to_string();
    assert!(error.contains("tensor conv1.weight is missing"), "{error}");
    let file = write_model(folder.path(), &random_weights(31, 6), 32);
    edit_card(&file, |card| card["architecture"] = "resnet18-ensemble".into());
    let error = Classifier::load(&file, DeviceChoice::Cpu, PrecisionChoice::Auto).err().expect("refused").to_string();
    assert!(error.contains("tensor SHOULDER.conv1.weight is missing"), "{error}");
    edit_card(&file, |card| card["architecture"] = "resnet50".into());
    let error = Classifier::load(&file, DeviceChoice::Cpu, PrecisionChoice::Auto).err().expect("refused").to_string();
    assert!(error.contains("resnet50") && error.contains("resnet18-ensemble"), "{error}");
}

#[test]
fn a_file_that_is_cut_short_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = write_model(folder.path(), &random_weights(10, 6), 32);
    let bytes = std::fs::read(&file).unwrap();
    for length in [0, 7, 200, bytes.len() - 1] {
        std::fs::write(&file, &bytes[..length]).unwrap();
        edit_card(&file, |card| card["sha256"] = sha256(&bytes[..length]).into());
        let error = Classifier::load(&file, DeviceChoice::Cpu, PrecisionChoice::Auto).err().expect("refused");
        assert!(matches!(error, ModelError::Format { .. }), "{length}: {error}");
    }
    std::fs::remove_file(&file).unwrap();
    assert!(matches!(Classifier::load(&file, DeviceChoice::Cpu, PrecisionChoice::Auto), Err(ModelError::Read { .. })));
}

/// Steps of the model's maps over its own kind of inputs, as `evaluate --fit` would write them.
fn int8(file: &Path, size: usize) -> Int8 {
    let mut ranges = Vec::new();
    let classifier = Classifier::load(file, DeviceChoice::Cpu, PrecisionChoice::F32).unwrap();
    classifier.watch(&inputs(40, 3, size), &mut ranges).unwrap();
    let steps = ranges.iter().map(|ranges| ranges.steps(0.5)).collect();
    Int8 {
        steps,
        single: 1,
        images: 200,
        agreement: 0.9975,
        auc_f32: Some(0.99),
        auc_int8: Some(0.989),
        difference: Some(0.03),
    }
}

#[test]
fn whole_numbers_are_taken_as_card_and_choice_say() {
    let folder = tempfile::tempdir().unwrap();
    let file = write_model(folder.path(), &random_weights(41, 6), 64);
    let load = |choice| Classifier::load(&file, DeviceChoice::Cpu, choice);
    let without = load(PrecisionChoice::Auto).unwrap();
    assert_eq!((without.precision().0, without.identity().len()), (Precision::F32, 16));
    let error = load(PrecisionChoice::Int8).err().expect("refused").to_string();
    assert!(error.contains("evaluate --fit") && error.contains("auto"), "{error}");

    let int8 = int8(&file, 64);
    edit_card(&file, |card| card["int8"] = serde_json::to_value(&int8).unwrap());
    let read = Card::read(&Card::beside(&file)).unwrap();
    assert_eq!(read.int8.as_ref(), Some(&int8));
    assert!(read.markdown().contains("99.75 % are those of single precision"), "{}", read.markdown());
    let [single, whole] = [PrecisionChoice::F32, PrecisionChoice::Int8].map(|choice| load(choice).unwrap());
    assert_eq!((single.precision().0, whole.precision().0), (Precision::F32, Precision::Int8));
    assert_eq!(whole.identity(), format!("{} int8", single.identity()));
    let images = inputs(42, 3, 64);
    let (a, b) = (single.logits(&images).unwrap(), whole.logits(&images).unwrap());
    let apart = a.iter().flatten().zip(b.iter().flatten()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(apart > 0.0 && apart < 0.2, "{apart}");
    let mapped = whole.activation_maps(&images[..1]).unwrap();
    for (head, logit) in heads().iter().zip(&b[0]) {
        assert!((mapped[0][head].logit() - logit).abs() < 1e-4, "{head}: the map is of another network");
    }

    let auto = if Isa::best().vnni() { Precision::Int8 } else { Precision::F32 };
    assert_eq!(load(PrecisionChoice::Auto).unwrap().precision().0, auto);
    for (key, value) in [
        ("agreement", Some(0.994)),
        ("auc_int8", Some(0.987)),
        ("auc_f32", None),
        ("difference", Some(0.041)),
        ("images", Some(0.0)),
    ] {
        edit_card(&file, |card| {
            card["int8"] = serde_json::to_value(&int8).unwrap();
            card["int8"][key] = match (key, value) {
                ("images", _) => 0.into(),
                (_, value) => serde_json::json!(value),
            };
        });
        let (precision, because) = load(PrecisionChoice::Auto).unwrap().precision();
        assert_eq!(precision, Precision::F32, "{key}: {because}");
        let (precision, because) = load(PrecisionChoice::Int8).unwrap().precision();
        assert!(precision == Precision::Int8 && because.contains("although"), "{key}: {because}");
    }
}

#[test]
fn steps_that_cannot_be_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = write_model(folder.path(), &random_weights(43, 6), 32);
    let whole = serde_json::to_value(int8(&file, 32)).unwrap();
    let refused = |change: fn(&mut serde_json::Value)| {
        edit_card(&file, |card| {
            card["int8"] = whole.clone();
            change(&mut card["int8"]);
        });
        Classifier::load(&file, DeviceChoice::Cpu, PrecisionChoice::F32).err().expect("refused").to_string()
    };
    let wanted = "int8.steps: 1 times 20 maps and 4800 channels are needed, all above 0";
    assert!(refused(|int8| int8["steps"][0]["maps"][7] = 0.0.into()).contains(wanted));
    assert!(refused(|int8| int8["steps"][0]["maps"][7] = (-1.0).into()).contains(wanted));
    assert!(refused(|int8| int8["steps"][0]["maps"].as_array_mut().unwrap().truncate(19)).contains(wanted));
    assert!(refused(|int8| int8["steps"][0]["channels"] = "AAAA".into()).contains(wanted));
    assert!(refused(|int8| int8["steps"][0]["means"] = "AAAA".into()).contains(wanted));
    assert!(refused(|int8| int8["steps"][0]["channels"] = "no base64!".into()).contains("Invalid"));
    assert!(refused(|int8| int8["steps"] = serde_json::json!([])).contains(wanted));
    assert!(refused(|int8| int8["single"] = 8.into()).contains("int8.single"));
    assert!(refused(|int8| int8["agreement"] = 1.5.into()).contains("within 0 to 1"));
    assert!(refused(|int8| int8["difference"] = (-0.1).into()).contains("int8.difference"));
    assert!(refused(|int8| int8["more"] = 1.into()).contains("more"));
}

#[cfg(not(feature = "cuda"))]
#[test]
fn cuda_without_the_feature_is_a_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = write_model(folder.path(), &random_weights(11, 6), 32);
    let error = Classifier::load(&file, DeviceChoice::Cuda, PrecisionChoice::Auto).err().expect("refused");
    assert!(error.to_string().contains("--features cuda"), "{error}");
    assert_eq!(Classifier::load(&file, DeviceChoice::Auto, PrecisionChoice::Auto).unwrap().device_name(), "cpu");
}

#[test]
fn an_input_of_another_size_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = write_model(folder.path(), &random_weights(12, 6), 32);
    let classifier = Classifier::load(&file, DeviceChoice::Cpu, PrecisionChoice::Auto).unwrap();
    assert!(classifier.scores(&[vec![0.0; 31 * 32]]).is_err());
}

#[test]
fn the_mean_of_an_activation_map_and_the_bias_are_the_logit() {
    for (seed, size) in [(21, 64), (22, 97)] {
        let weights = Weights::from_tensors(Path::new("random"), random_weights(seed, 6));
        let network = Network::new(&weights, 6).unwrap();
        let reference = Reference::new(&Folded::new(&weights, 6).unwrap(), &candle_core::Device::Cpu).unwrap();
        let inputs = inputs(seed, 3, size);
        let logits = network.logits(&inputs, size).unwrap();
        let all =
            [network.activation_maps(&inputs, size), reference.activation_maps(&inputs, size)].map(Result::unwrap);
        for maps in &all {
            assert_eq!(maps.len(), 3);
            for (maps, logits) in maps.iter().zip(&logits) {
                assert_eq!(maps.len(), 6);
                for (map, logit) in maps.iter().zip(logits) {
                    assert_eq!((map.side, map.values.len()), (size.div_ceil(32), size.div_ceil(32).pow(2)));
                    assert!((map.logit() - logit).abs() < 1e-4, "{} {logit}", map.logit());
                }
            }
        }
        for (ours, theirs) in all[0].iter().flatten().zip(all[1].iter().flatten()) {
            assert!(ours.values.iter().zip(&theirs.values).all(|(a, b)| (a - b).abs() < 1e-3));
        }
    }
    assert!(network_of_brightness().activation_maps(&[], 64).unwrap().is_empty());
}

/// A network whose every layer passes on its first channel, averaged over the kernel: it answers to brightness.
fn network_of_brightness() -> Network {
    let mut tensors = random_weights(23, 6);
    for (name, raw) in &mut tensors {
        let norm = (name.contains("bn") || name.contains("downsample.1")) && name.ends_with(".weight");
        raw.data.fill(if norm || name.ends_with("running_var") { 1.0 } else { 0.0 });
        if raw.shape.len() == 4 {
            let each = raw.shape[2] * raw.shape[3];
            raw.data[..each].fill(1.0 / each as f32);
        }
    }
    // The first head takes the first channel.
    tensors.get_mut("fc.weight").unwrap().data[0] = 1.0;
    Network::new(&Weights::from_tensors(Path::new("drawn"), tensors), 6).unwrap()
}

#[test]
fn the_evidence_for_a_bright_spot_lies_where_the_spot_is() {
    let (network, size) = (network_of_brightness(), 224);
    for (column, row) in [(40, 50), (180, 60), (110, 115), (60, 190), (200, 200)] {
        let spot = |i: usize| (i % size).abs_diff(column) < 12 && (i / size).abs_diff(row) < 12;
        let input = (0..size * size).map(|i| if spot(i) { 1.0 } else { 0.0 }).collect();
        let maps = network.activation_maps(&[input], size).unwrap();
        let (x, y) = maps[0][0].peak();
        let near = |cell: usize, pixel: usize| (cell as f32 * 32.0 + 16.0 - pixel as f32).abs() <= 32.0;
        assert!(near(x, column) && near(y, row), "spot at {column}, {row}, found in cell {x}, {y}");
        assert!(maps[0][1].values.iter().all(|v| *v == 0.0), "a head without weights finds nothing");
    }
}

#[test]
fn a_classifier_names_its_maps_and_tells_where_the_image_lies() {
    let folder = tempfile::tempdir().unwrap();
    let file = write_model(folder.path(), &random_weights(24, 6), 64);
    let classifier = Classifier::load(&file, DeviceChoice::Cpu, PrecisionChoice::Auto).unwrap();
    let plane = Plane { width: 50, height: 25, data: (0..1250).map(|i| (i * 7 % 37) as f32).collect() };
    let (input, framed) = classifier.framed_input(&plane);
    let framed = framed.unwrap();
    assert_eq!(input, classifier.input(&plane));
    assert_eq!((framed.across, framed.down), (64, 32));
    let maps = classifier.activation_maps(std::slice::from_ref(&input)).unwrap();
    // Whatever the number of views, the map explains the logit.
    for views in [1, 8] {
        edit_card(&file, |card| card["views"] = views.into());
        let classifier = Classifier::load(&file, DeviceChoice::Cpu, PrecisionChoice::Auto).unwrap();
        let logits = classifier.logits(std::slice::from_ref(&input)).unwrap();
        let maps = classifier.activation_maps(std::slice::from_ref(&input)).unwrap();
        for (head, logit) in heads().iter().zip(&logits[0]) {
            assert!((maps[0][head].logit() - logit).abs() < 1e-4, "{views} {head}");
        }
    }
    assert_eq!(maps[0].keys().cloned().collect::<std::collections::BTreeSet<_>>(), heads().into_iter().collect());
}

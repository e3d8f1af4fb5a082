//! The network in whole numbers, with each set of instructions that this CPU has, against the network in single precision.

#[path = "support/network.rs"]
mod network;

use candle_core::{Device, Tensor};
use network::{inputs, random_weights};
use radroute::model::card::Card;
use radroute::model::engine::Network;
use radroute::model::engine::int8::WholeNetwork;
use radroute::model::engine::int8::range::{MapSteps, Ranges};
use radroute::model::engine::isa::Isa;
use radroute::model::folded::Folded;
use radroute::model::weights::Weights;
use radroute::pixels;
use radroute::preprocess::network_input;
use std::path::Path;

fn random(seed: u64, heads: usize) -> Folded {
    Folded::new(&Weights::from_tensors(Path::new("random"), random_weights(seed, heads)), heads).unwrap()
}

fn steps(folded: &Folded, images: &[Vec<f32>], size: usize) -> MapSteps {
    let mut ranges = Ranges::default();
    ranges.watch(&Network::with(folded, Isa::best()).unwrap(), images, size).unwrap();
    ranges.steps(0.5)
}

/// The greatest difference, and the root of the mean square.
fn difference(ours: &[Vec<f32>], theirs: &[Vec<f32>]) -> (f32, f32) {
    assert_eq!(ours.len(), theirs.len());
    assert!(ours.iter().zip(theirs).all(|(a, b)| a.len() == b.len()));
    let all: Vec<f32> = ours.iter().flatten().zip(theirs.iter().flatten()).map(|(a, b)| (a - b).abs()).collect();
    assert!(all.iter().all(|v| v.is_finite()));
    (all.iter().copied().fold(0.0, f32::max), (all.iter().map(|v| v * v).sum::<f32>() / all.len() as f32).sqrt())
}

#[test]
fn random_networks_are_near_single_precision_at_every_kind_of_size() {
    let folded = random(1, 5);
    for (size, single) in [(32, 0), (47, 1), (65, 2), (97, 4), (160, 0), (224, 7)] {
        let images = inputs(size as u64, 3, size);
        let wanted = Network::with(&folded, Isa::best()).unwrap().logits(&images, size).unwrap();
        let steps = steps(&folded, &images, size);
        for isa in Isa::available() {
            let found = WholeNetwork::new(&folded, &steps, single, isa).unwrap().logits(&images, size).unwrap();
            let (most, _) = difference(&found, &wanted);
            let spread = wanted.iter().flatten().map(|v| v.abs()).fold(0.0, f32::max);
            assert!(most < 0.05 * spread, "{}: {size}, {single} blocks single: {most} of {spread}", isa.name());
            assert!(most > 1e-6, "nothing is whole");
        }
    }
}

#[test]
fn the_shipped_weights_are_near_single_precision_on_the_samples() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = folder.join("weights/radroute.safetensors");
    let card = Card::read(&Card::beside(&file)).unwrap();
    let int8 = card.int8.as_ref().expect("the shipped card has steps");
    let folded = Folded::new(&Weights::read(&file).unwrap(), card.heads.len()).unwrap();
    let image = |name: &str| {
        let plane = pixels::read_any(&folder.join("tests/data").join(name), card.input.wanted_pixels()).unwrap();
        network_input(&plane, &card.input)
    };
    let images = ["ankle-1.dcm", "chest-1.dcm", "hand-1.dcm", "pelvis-1.dcm", "skull-1.dcm"].map(image);
    let wanted = Network::with(&folded, Isa::best()).unwrap().logits(&images, card.input.size).unwrap();
    for isa in Isa::available() {
        let whole = WholeNetwork::new(&folded, &int8.steps[0], int8.single, isa).unwrap();
        let (most, mean) = difference(&whole.logits(&images, card.input.size).unwrap(), &wanted);
        assert!(most < 0.25 && mean < 0.05, "{}: {most}, {mean}", isa.name());
    }
}

#[test]
fn with_and_without_dot_products_the_logits_are_the_same_bit_for_bit() {
    let folded = random(3, 6);
    let images = inputs(4, 5, 96);
    let steps = steps(&folded, &images, 96);
    for isa in Isa::available() {
        // What comes in single precision before is the same of either.
        let [with, without] = [isa, isa.without_vnni()]
            .map(|isa| WholeNetwork::new(&folded, &steps, 1, isa).unwrap().logits(&images, 96).unwrap());
        assert_eq!(with, without, "{}", isa.name());
    }
}

#[test]
fn with_no_block_in_single_precision_every_instruction_set_gives_the_same_bits() {
    let folded = random(11, 6);
    let images = inputs(12, 2, 96);
    let steps = steps(&folded, &images, 96);
    let logits = |isa| WholeNetwork::new(&folded, &steps, 0, isa).unwrap().logits(&images, 96).unwrap();
    let wanted = logits(Isa::portable());
    for isa in Isa::available() {
        assert_eq!(logits(isa), wanted, "{}", isa.name());
    }
}

#[test]
fn the_network_is_an_operation_of_candle() {
    let folded = random(13, 6);
    let image = inputs(14, 1, 96).remove(0);
    let whole = WholeNetwork::new(&folded, &steps(&folded, std::slice::from_ref(&image), 96), 1, Isa::best()).unwrap();
    let single = Network::with(&folded, Isa::best()).unwrap();
    let tensor = |channels: usize, height: usize, width: usize| {
        let values = image[..channels * height * width].to_vec();
        Tensor::from_vec(values, (1, channels, height, width), &Device::Cpu).unwrap()
    };
    let square: Vec<Vec<f32>> = tensor(1, 96, 96).apply_op1_no_bwd(&whole).unwrap().to_vec2().unwrap();
    assert_eq!(square, whole.logits(std::slice::from_ref(&image), 96).unwrap());
    // Not square: no way but this one takes it.
    let [found, wanted] = [tensor(1, 40, 72).apply_op1_no_bwd(&whole), tensor(1, 40, 72).apply_op1_no_bwd(&single)]
        .map(|logits| logits.unwrap().to_vec2().unwrap());
    let spread = wanted[0].iter().fold(0.0, |most: f32, v: &f32| most.max(v.abs()));
    assert!(difference(&found, &wanted).0 < 0.1 * spread, "{found:?}, {wanted:?}");
    assert!(tensor(3, 32, 32).apply_op1_no_bwd(&whole).is_err(), "three channels");
}

#[test]
fn batches_threads_and_what_went_before_change_nothing() {
    let folded = random(5, 6);
    let images = inputs(6, 19, 64);
    let steps = steps(&folded, &images, 64);
    let whole = WholeNetwork::new(&folded, &steps, 1, Isa::best()).unwrap();
    let few = whole.logits(&images[..5], 64).unwrap();
    let together = whole.logits(&images, 64).unwrap();
    assert!(difference(&together[..1], &together[1..2]).0 > 1e-3, "all images are one");
    whole.logits(&vec![vec![1e6; 64 * 64]; 19], 64).unwrap();
    assert_eq!(whole.logits(&images[..5], 64).unwrap(), few, "memory of more images serves fewer");
    whole.logits(&inputs(7, 3, 97), 97).unwrap();
    assert_eq!(whole.logits(&images, 64).unwrap(), together);
    for threads in [1, 2, 3, 7] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        // A single image is shared by all threads.
        for (images, together) in [(&images[..], &together[..]), (&images[..1], &together[..1])] {
            let found = pool.install(|| whole.logits(images, 64).unwrap());
            assert!(difference(&found, together).0 < 0.02, "{threads} threads");
        }
    }
}

#[test]
fn the_mean_of_an_activation_map_and_the_bias_are_the_logit() {
    let folded = random(8, 6);
    let images = inputs(9, 3, 97);
    let whole = WholeNetwork::new(&folded, &steps(&folded, &images, 97), 0, Isa::best()).unwrap();
    let logits = whole.logits(&images, 97).unwrap();
    for (maps, logits) in whole.activation_maps(&images, 97).unwrap().iter().zip(&logits) {
        assert!(maps.iter().zip(logits).all(|(map, logit)| (map.logit() - logit).abs() < 1e-4));
    }
    assert!(whole.activation_maps(&[], 97).unwrap().is_empty());
}

#[test]
fn what_does_not_fit_is_an_error() {
    let folded = random(10, 2);
    let isa = Isa::portable();
    let steps = Ranges::default().steps(0.5);
    let short = MapSteps { channels: steps.channels[1..].to_vec(), ..steps.clone() };
    assert!(WholeNetwork::new(&folded, &short, 0, isa).is_err());
    assert!(WholeNetwork::new(&folded, &steps, 8, isa).is_err(), "no block is left");
    let whole = WholeNetwork::new(&folded, &steps, 0, isa).unwrap();
    assert!(whole.logits(&[vec![0.0; 63]], 8).is_err());
    assert!(whole.logits(&[], 8).unwrap().is_empty());
}

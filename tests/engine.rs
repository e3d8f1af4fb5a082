//! The CPU engine with each set of instructions that this CPU has, against the same network in candle's own operations.

#[path = "support/network.rs"]
mod network;

use network::{inputs, random_weights};
use radroute::model::card::Card;
use radroute::model::engine::isa::Isa;
use radroute::model::engine::{Maps, Network};
use radroute::model::folded::Folded;
use radroute::model::reference::Reference;
use radroute::model::weights::{BLOCKS, Weights};
use radroute::pixels;
use radroute::preprocess::{InputContract, network_input};
use std::path::Path;

/// Largest difference of two lists of logits that may be.
const CLOSE: f32 = 1e-4;

fn random(seed: u64, heads: usize) -> Folded {
    Folded::new(&Weights::from_tensors(Path::new("random"), random_weights(seed, heads)), heads).unwrap()
}

fn difference(ours: &[Vec<f32>], theirs: &[Vec<f32>]) -> f32 {
    assert_eq!(ours.len(), theirs.len());
    assert!(ours.iter().zip(theirs).all(|(a, b)| a.len() == b.len()));
    let pairs = ours.iter().flatten().zip(theirs.iter().flatten());
    pairs.map(|(a, b)| if a.is_finite() && b.is_finite() { (a - b).abs() } else { f32::INFINITY }).fold(0.0, f32::max)
}

/// All instructions against the reference.
fn agree(folded: &Folded, images: &[Vec<f32>], size: usize) {
    let wanted = Reference::new(folded, &candle_core::Device::Cpu).unwrap().logits(images, size).unwrap();
    let spread = wanted.iter().flatten().map(|v| v.abs()).fold(0.0, f32::max);
    assert!(spread > 0.05, "the logits say nothing: {spread}");
    for isa in Isa::available() {
        let found = Network::with(folded, isa).unwrap().logits(images, size).unwrap();
        let difference = difference(&found, &wanted);
        assert!(difference < CLOSE, "{}: {} images of {size}: {difference}", isa.name(), images.len());
    }
}

#[test]
fn random_images_of_every_kind_of_size() {
    let folded = random(1, 5);
    // Every width that maps of the last blocks have mod four, tiles cut off on either side, rows left over.
    for size in [32, 33, 47, 65, 96, 97, 131, 160] {
        agree(&folded, &inputs(size as u64, 2, size), size);
    }
}

#[test]
fn images_of_the_benchmark_and_a_large_one() {
    let folded = random(2, 5);
    agree(&folded, &inputs(3, 3, 224), 224);
    agree(&folded, &inputs(4, 1, 401), 401);
}

#[test]
fn any_number_of_heads() {
    for heads in [1, 21] {
        agree(&random(5, heads), &inputs(6, 3, 64), 64);
    }
}

#[test]
fn the_shipped_weights_on_the_samples() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = folder.join("weights/radroute.safetensors");
    let card = Card::read(&Card::beside(&file)).unwrap();
    let folded = Folded::new(&Weights::read(&file).unwrap(), card.heads.len()).unwrap();
    for size in [card.input.size, 224] {
        let input = InputContract { size, ..card.input };
        let image = |name: &str| {
            let plane = pixels::read_any(&folder.join("tests/data").join(name), input.wanted_pixels()).unwrap();
            network_input(&plane, &input)
        };
        let images = ["ankle-1.dcm", "chest-1.dcm", "hand-1.dcm", "pelvis-1.dcm", "skull-1.dcm"].map(image);
        agree(&folded, &images, size);
    }
}

#[test]
fn a_batch_gives_what_single_images_give() {
    let folded = random(7, 6);
    for isa in Isa::available() {
        let network = Network::with(&folded, isa).unwrap();
        // Images of one batch go through in parts, a single one is shared by all threads.
        for (count, size) in [(19, 64), (3, 97), (33, 32)] {
            let images = inputs(8, count, size);
            let together = network.logits(&images, size).unwrap();
            let alone = images.iter().map(|image| network.logits(std::slice::from_ref(image), size).unwrap().remove(0));
            assert!(difference(&together, &alone.collect::<Vec<_>>()) < 1e-5, "{} {size}", isa.name());
            assert!(difference(&together[..1], &together[1..2]) > 1e-3, "all images are one");
        }
    }
}

#[test]
fn memory_that_is_kept_holds_nothing_of_what_went_before() {
    let folded = random(9, 6);
    for isa in Isa::available() {
        let network = Network::with(&folded, isa).unwrap();
        let images = inputs(10, 5, 50);
        let first = network.logits(&images, 50).unwrap();
        for size in [64, 33, 50] {
            network.logits(&vec![vec![1e6; size * size]; 5], size).unwrap();
        }
        assert_eq!(network.logits(&images, 50).unwrap(), first, "{}", isa.name());
        // Memory of more images serves fewer.
        network.logits(&vec![vec![1e6; 50 * 50]; 40], 50).unwrap();
        assert_eq!(network.logits(&images, 50).unwrap(), first, "{}", isa.name());
    }
}

#[test]
fn threads_of_any_number_give_the_same() {
    let folded = random(11, 6);
    let images = inputs(12, 5, 80);
    let network = Network::new(&Weights::from_tensors(Path::new("random"), random_weights(11, 6)), 6).unwrap();
    let wanted = Reference::new(&folded, &candle_core::Device::Cpu).unwrap().logits(&images, 80).unwrap();
    for threads in [1, 2, 3, 7] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        for images in [&images[..], &images[..1]] {
            let found = pool.install(|| network.logits(images, 80).unwrap());
            assert!(difference(&found, &wanted[..images.len()]) < CLOSE, "{threads} threads");
        }
    }
}

#[test]
fn the_network_may_be_cut_between_any_two_blocks() {
    let network = Network::with(&random(13, 6), Isa::best()).unwrap();
    let images = inputs(14, 3, 75);
    let whole = network.logits(&images, 75).unwrap();
    let mut side = 75usize.div_ceil(2).div_ceil(2);
    for blocks in 0..=BLOCKS.len() {
        let maps = network.front(&images, 75, blocks).unwrap();
        if blocks > 0 {
            side = side.div_ceil(BLOCKS[blocks - 1].stride);
        }
        let channels = if blocks > 0 { BLOCKS[blocks - 1].to } else { 64 };
        assert_eq!((maps.images, maps.height, maps.width, maps.channels), (3, side, side, channels));
        assert_eq!(maps.data.len(), 3 * side * side * channels);
        assert!(difference(&network.rest(&maps, blocks).unwrap(), &whole) < 1e-5, "cut before block {blocks}");
    }
}

#[test]
fn what_does_not_fit_is_an_error() {
    let network = Network::with(&random(15, 6), Isa::best()).unwrap();
    assert!(network.logits(&[vec![0.0; 63]], 8).is_err());
    assert!(network.logits(&[vec![]], 0).is_err());
    assert!(network.logits(&[], 8).unwrap().is_empty());
    let maps = |height, channels, values| Maps { images: 1, height, width: 2, channels, data: vec![0.0; values] };
    assert!(network.rest(&maps(2, 64, 4 * 64), 2).is_ok());
    assert!(network.rest(&maps(2, 64, 4 * 64 - 1), 2).is_err(), "too few values");
    assert!(network.rest(&maps(2, 128, 4 * 128), 2).is_err(), "channels of another block");
    assert!(network.rest(&maps(0, 64, 0), 2).is_err(), "no rows");
    let colour =
        candle_core::Tensor::zeros((1, 3, 32, 32), candle_core::DType::F32, &candle_core::Device::Cpu).unwrap();
    assert!(colour.apply_op1_no_bwd(&network).is_err(), "three channels");
}

#[test]
fn images_that_are_not_square_go_through_the_operation() {
    let folded = random(16, 6);
    let network = Network::with(&folded, Isa::best()).unwrap();
    let square = &inputs(17, 1, 96)[0];
    let tensor = |height, width| {
        let data = square[..height * width].to_vec();
        candle_core::Tensor::from_vec(data, (1, 1, height, width), &candle_core::Device::Cpu).unwrap()
    };
    let logits: Vec<Vec<f32>> = tensor(40, 72).apply_op1_no_bwd(&network).unwrap().to_vec2().unwrap();
    assert!(logits[0].iter().all(|v| v.is_finite()));
    let same: Vec<Vec<f32>> = tensor(96, 96).apply_op1_no_bwd(&network).unwrap().to_vec2().unwrap();
    assert_eq!(same, network.logits(std::slice::from_ref(square), 96).unwrap());
}

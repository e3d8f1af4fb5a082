//! The network: what one call costs, by batch and side. Items are images.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use radroute::config::{DeviceChoice, PrecisionChoice};
use radroute::model::Classifier;
use std::path::Path;

fn main() {
    divan::main();
}

fn shipped() -> Classifier {
    let weights = Path::new(env!("CARGO_MANIFEST_DIR")).join("weights/radroute.safetensors");
    Classifier::load(&weights, DeviceChoice::Cpu, PrecisionChoice::F32).expect("the shipped weights load")
}

/// Squares as they come out of preprocessing: values of about -2 to 2.
fn squares(count: usize, side: usize) -> Vec<Vec<f32>> {
    let square = |i: usize| (0..side * side).map(|p| ((p * 7 + i) % 100) as f32 / 25.0 - 2.0).collect();
    (0..count).map(square).collect()
}

/// One orientation, 224×224: what benchmarks of ResNet-18 report.
#[divan::bench(args = [1, 4, 8, 16])]
fn forward_224(bencher: Bencher, batch: usize) {
    let (classifier, inputs) = (shipped(), squares(batch, 224));
    bencher.counter(ItemsCount::new(batch)).bench_local(|| classifier.logits_of(black_box(&inputs), 224));
}

/// As the daemon does it: the card's side, the card's views.
#[divan::bench(args = [1, 8])]
fn scores(bencher: Bencher, batch: usize) {
    let classifier = shipped();
    let inputs = squares(batch, classifier.card().input.size);
    bencher.counter(ItemsCount::new(batch)).bench_local(|| classifier.scores(black_box(&inputs)));
}

/// Weights to a network that is ready: what a start costs.
#[divan::bench(sample_count = 10)]
fn load() -> Classifier {
    shipped()
}

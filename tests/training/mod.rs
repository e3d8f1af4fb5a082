//! What tests of training share: drawn images, a network without any training, a recipe for seconds.
#![allow(dead_code)]

use candle_core::Device;
use radroute::judge::Report;
use radroute::model::weights::{BLOCKS, Raw, to_safetensors};
use radroute::train::manifest::Manifest;
use radroute::train::recipe::Recipe;
use radroute::train::{Progress, Run, TrainError, run};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

/// Trains on the CPU; where `stop` says so, for one step only.
pub fn train(
    recipe: &Recipe,
    manifest: &Manifest,
    init: Option<&Path>,
    out: &Path,
    stop: bool,
) -> Result<Report, TrainError> {
    let (progress, stop) = (Progress::default(), AtomicBool::new(stop));
    run(&Run { recipe, manifest, init, out, device: Device::Cpu, progress: &progress, stop: &stop })
}

pub const REGIONS: [&str; 6] = ["SHOULDER", "ELBOW", "HAND", "PELVIS", "KNEE", "FOOT"];

/// An image of one region: so many bars, which any network can count.
pub fn draw(file: &Path, region: usize, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let side = 48u32;
    let shift = rng.random_range(0..8);
    let image = image::GrayImage::from_fn(side, side, |x, y| {
        let wave = if region.is_multiple_of(2) { x + shift } else { y + shift };
        let bar = wave / [3, 6, 12][region / 2] % 2 * 160;
        image::Luma([(bar + rng.random_range(0..40)) as u8])
    });
    image.save(file).unwrap();
}

/// A data set in a folder; the manifest's file.
pub fn data_set(folder: &Path) -> PathBuf {
    data_set_of(folder, 7, 3)
}

/// A data set with so many images of each region; the manifest's file.
pub fn data_set_of(folder: &Path, training: usize, validation: usize) -> PathBuf {
    let mut table = String::from("path\tregion\tgroup\tsource\tlicence\tsplit\n");
    for (r, region) in REGIONS.iter().enumerate() {
        for i in 0..training + validation {
            let name = format!("{region}_{i}.png");
            draw(&folder.join(&name), r, (r * 100 + i) as u64);
            let split = if i < training { "train" } else { "validation" };
            table += &format!("{name}\t{region}\tdrawn:{name}\tdrawn\tours\t{split}\n");
        }
    }
    let file = folder.join("MANIFEST.tsv");
    std::fs::write(&file, table).unwrap();
    file
}

/// A network without any training.
pub fn initial(folder: &Path) -> PathBuf {
    let mut rng = StdRng::seed_from_u64(1);
    let mut all = BTreeMap::new();
    let mut conv = |conv: String, norm: String, from: usize, to: usize, kernel: usize| {
        let bound = (6.0 / (from * kernel * kernel) as f32).sqrt();
        let data = (0..to * from * kernel * kernel).map(|_| rng.random_range(-bound..bound)).collect();
        all.insert(format!("{conv}.weight"), Raw { shape: vec![to, from, kernel, kernel], data });
        for (part, value) in [("weight", 0.7), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)] {
            all.insert(format!("{norm}.{part}"), Raw { shape: vec![to], data: vec![value; to] });
        }
    };
    conv("conv1".into(), "bn1".into(), 3, 64, 7);
    for b in BLOCKS {
        conv(format!("{}.conv1", b.name), format!("{}.bn1", b.name), b.from, b.to, 3);
        conv(format!("{}.conv2", b.name), format!("{}.bn2", b.name), b.to, b.to, 3);
        if b.from != b.to {
            conv(format!("{}.downsample.0", b.name), format!("{}.downsample.1", b.name), b.from, b.to, 1);
        }
    }
    let file = folder.join("initial.safetensors");
    std::fs::write(&file, to_safetensors(&all).unwrap()).unwrap();
    file
}

pub fn recipe() -> Recipe {
    Recipe::parse(
        r#"
        name = "drawn"
        heads = ["SHOULDER", "ELBOW", "HAND", "PELVIS", "KNEE", "FOOT"]
        epochs = 4
        batch = 12
        copies = 2
        augmentation = 0.1
        rate = 1e-3
        keep = true
        [input]
        size = 64
        mean = 0.449
        deviation = 0.226
        stretch = [1.0, 99.0]
        trim = false
        "#,
    )
    .unwrap()
}

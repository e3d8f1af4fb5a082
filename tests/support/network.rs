//! Networks of random weights, and random images.

use radroute::model::weights::{BLOCKS, Raw};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;

/// Random weights under torchvision's names, scaled so that values keep their size from layer to layer.
pub fn random_weights(seed: u64, heads: usize) -> BTreeMap<String, Raw> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut all = BTreeMap::new();
    let mut conv = |conv: &str, norm: &str, from: usize, to: usize, kernel: usize| {
        let bound = (6.0 / (from * kernel * kernel) as f32).sqrt();
        let data = (0..to * from * kernel * kernel).map(|_| rng.random_range(-bound..bound)).collect();
        all.insert(format!("{conv}.weight"), Raw { shape: vec![to, from, kernel, kernel], data });
        for (part, low, high) in
            [("weight", 0.5, 1.0), ("bias", -0.2, 0.2), ("running_mean", -0.2, 0.2), ("running_var", 0.7, 1.3)]
        {
            let data = (0..to).map(|_| rng.random_range(low..high)).collect();
            all.insert(format!("{norm}.{part}"), Raw { shape: vec![to], data });
        }
    };
    conv("conv1", "bn1", 3, 64, 7);
    for b in BLOCKS {
        let name = |part: &str| format!("{}.{part}", b.name);
        conv(&name("conv1"), &name("bn1"), b.from, b.to, 3);
        conv(&name("conv2"), &name("bn2"), b.to, b.to, 3);
        if b.from != b.to {
            conv(&name("downsample.0"), &name("downsample.1"), b.from, b.to, 1);
        }
    }
    let data = (0..512 * heads).map(|_| rng.random_range(-0.05..0.05)).collect();
    all.insert("fc.weight".into(), Raw { shape: vec![heads, 512], data });
    all.insert("fc.bias".into(), Raw { shape: vec![heads], data: vec![0.1; heads] });
    all
}

/// Grey squares of side `size`.
pub fn inputs(seed: u64, count: usize, size: usize) -> Vec<Vec<f32>> {
    let mut rng = StdRng::seed_from_u64(seed);
    (0..count).map(|_| (0..size * size).map(|_| rng.random_range(-2.0..2.4)).collect()).collect()
}

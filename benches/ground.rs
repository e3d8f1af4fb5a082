//! The pure ground, on an image of 15 MB in memory: the walk of received bytes, planning and splicing a correction, and a
//! plane into the network's square.

#[path = "../tests/support/objects.rs"]
mod objects;

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use objects::Object;
use radroute::anatomy::Region;
use radroute::correct::{Correction, overlay};
use radroute::dataset::Facts;
use radroute::dataset::splice::Splice;
use radroute::preprocess::{InputContract, Plane, network_input};
use std::io::Cursor;

fn main() {
    divan::main();
}

/// Pixels a side: 15 MB at 16 bits.
const SIDE: u16 = 2738;

fn dataset() -> Vec<u8> {
    let uid = |kind| objects::uid(1, kind, 1);
    let mut object = Object::image(objects::CR, &uid(3), &uid(2), &uid(1), SIDE);
    object.set_text(objects::BODY_PART, "CS", "HAND");
    object.dataset()
}

fn knee() -> Correction {
    Correction {
        region: Region::Knee,
        same: Vec::new(),
        only_if_empty: false,
        station: "RADROUTE".into(),
        software: "radroute".into(),
        at: "20260102101112.000000+0000".into(),
        source_of_previous_values: "XRAY1".into(),
        description: "the image shows a knee".into(),
    }
}

#[divan::bench]
fn walk(bencher: Bencher) {
    let bytes = dataset();
    bencher.bench_local(|| Facts::read(&mut Cursor::new(black_box(&bytes)), bytes.len() as u64, objects::EXPLICIT));
}

#[divan::bench]
fn plan_overlay(bencher: Bencher) {
    let (bytes, what) = (dataset(), knee());
    bencher.bench_local(|| overlay(Cursor::new(black_box(&bytes)), bytes.len() as u64, objects::EXPLICIT, &what));
}

#[divan::bench]
fn splice(bencher: Bencher) {
    let bytes = dataset();
    let plan = overlay(Cursor::new(&bytes), bytes.len() as u64, objects::EXPLICIT, &knee())
        .expect("the object is editable")
        .expect("there is something to write");
    bencher.counter(BytesCount::new(bytes.len())).bench_local(|| {
        let mut spliced = Splice::new(Cursor::new(&bytes), 0, bytes.len() as u64, objects::EXPLICIT, &plan)?;
        std::io::copy(&mut spliced, &mut std::io::sink())
    });
}

/// A plane as `pixels` gives it for a DX image.
#[divan::bench(args = [(320, 384), (625, 750)])]
fn input(bencher: Bencher, (width, height): (usize, usize)) {
    let data = (0..width * height).map(|i| (i * 31 % 1000) as f32 / 999.0).collect();
    let (plane, contract) = (Plane { width, height, data }, InputContract::default());
    bencher.bench_local(|| network_input(black_box(&plane), &contract));
}

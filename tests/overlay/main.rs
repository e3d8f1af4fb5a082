//! The correction as it leaves: what is written, and that nothing else changes.

mod examples;
mod generate;
mod memory;
mod model;
mod peers;
mod properties;

use radroute::anatomy::Region;
use radroute::correct::{Correction, NotEditable, overlay};
use radroute::dataset::Overlay;
use radroute::dataset::splice::Splice;
use std::io::{Cursor, Read};

#[global_allocator]
static WATCH: memory::Watching = memory::Watching;

fn correction(region: Region) -> Correction {
    Correction {
        region,
        same: Vec::new(),
        only_if_empty: false,
        station: "RADROUTE".into(),
        software: "0.1.0".into(),
        at: "20261123101500.000000+0000".into(),
        source_of_previous_values: "XRAY1".into(),
        description: "Body part named by classifier 0123456789abcdef".into(),
    }
}

fn plan(bytes: &[u8], ts: &str, what: &Correction) -> Result<Option<Overlay>, NotEditable> {
    overlay(Cursor::new(bytes), bytes.len() as u64, ts, what)
}

fn spliced(bytes: &[u8], ts: &str, overlay: &Overlay) -> Vec<u8> {
    let mut out = Vec::new();
    let mut s = Splice::new(Cursor::new(bytes), 0, bytes.len() as u64, ts, overlay).unwrap();
    let len = s.len();
    s.read_to_end(&mut out).unwrap();
    assert!(len.is_none_or(|n| n == out.len() as u64));
    out
}

/// The bytes of the elements of a data set, inflated where deflated.
fn plain(bytes: &[u8], ts: &str) -> Vec<u8> {
    if ts == model::DEFLATED { model::inflate(bytes) } else { bytes.to_vec() }
}

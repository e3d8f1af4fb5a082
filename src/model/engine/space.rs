//! The memory that a part of a batch passes through, kept for the next one.

use super::int8::nearest;
use super::isa::Isa;
use super::layer::{Convolution, Scratch, Task, in_bands};
use super::maps::{Band, Padded};
use super::stem::{Stem, StemScratch, halved};
use super::{Block, Maps, Value};
use crate::model::weights::BLOCKS;
use std::sync::{Mutex, PoisonError};

/// Feature map sizes of ResNet-18: blocks of the same channels.
const STAGES: usize = 4;
/// Blocks of a stage.
const DEPTH: usize = BLOCKS.len() / STAGES;

/// What a space is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Images at once.
    pub images: usize,
    /// Rows and columns of what comes in.
    pub side: [usize; 2],
    /// The block that what comes in is for; `None`: grey images, for the stem.
    pub block: Option<usize>,
    /// Threads.
    pub threads: usize,
}

/// Maps of one size.
#[derive(Debug, Default)]
struct Stage<T> {
    /// What blocks give, in turn. The second also takes what comes from beside the stage's first block.
    outer: [Padded<T>; 2],
    /// Between a block's convolutions.
    inner: Padded<T>,
}

/// Memory for one pass of [`Shape::images`] images.
#[derive(Debug)]
pub struct Space<T> {
    /// What it is for.
    pub shape: Shape,
    /// Images that it has room for.
    most: usize,
    stages: [Stage<T>; STAGES],
    scratch: Vec<Scratch>,
    /// Where the last block's maps are: stage, and which of its outer ones.
    at: (usize, usize),
}

/// Spaces not in use.
#[derive(Debug, Default)]
pub struct Spaces<T>(Mutex<Vec<Space<T>>>);

impl<T: Value> Spaces<T> {
    /// A space of this shape, with its borders at zero: one that was in use, if it has room for as many images.
    pub fn take(&self, shape: Shape, isa: Isa, blocks: &[Block<T>]) -> Space<T> {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fits =
            |space: &Space<T>| Shape { images: shape.images, ..space.shape } == shape && space.most >= shape.images;
        let found = (0..idle.len()).filter(|&i| fits(&idle[i])).min_by_key(|&i| idle[i].most);
        match found {
            Some(found) => {
                let mut space = idle.swap_remove(found);
                space.hold(shape.images);
                space
            }
            None => {
                drop(idle);
                Space::new(shape, isa, blocks)
            }
        }
    }

    /// Keeps a space for the next that it has room for; forgets the oldest beyond one for each thread and one for
    /// all of them at once.
    pub fn put(&self, space: Space<T>) {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push(space);
        if idle.len() > rayon::current_num_threads() + 1 {
            idle.remove(0);
        }
    }
}

/// The stage whose maps a block takes: a stage's first block those of the stage before.
fn stage_before(block: usize) -> usize {
    block.saturating_sub(1) / DEPTH
}

impl<T: Value> Space<T> {
    fn new(shape: Shape, isa: Isa, blocks: &[Block<T>]) -> Space<T> {
        let Shape { images, side, block, threads } = shape;
        let [mut height, mut width] = match block {
            None => side.map(|n| halved(halved(n))),
            Some(_) => side,
        };
        let block = block.unwrap_or(0);
        let first = stage_before(block);
        let mut scratch: Vec<_> = (0..threads).map(|_| Scratch::default()).collect();
        if shape.block.is_none() {
            scratch.iter_mut().for_each(|scratch| scratch.stem = StemScratch::new(side[0], side[1]));
        }
        let mut stages: [Stage<T>; STAGES] = Default::default();
        for (i, stage) in stages.iter_mut().enumerate().skip(first) {
            if i > first {
                [height, width] = [halved(height), halved(width)];
            }
            let zeros = || Padded::zeros(images, height, width, BLOCKS[i * DEPTH].to);
            *stage = Stage { outer: [zeros(), zeros()], inner: zeros() };
            let layers = blocks.iter().skip(i * DEPTH).take(DEPTH).flat_map(|b| [&b.conv1, &b.conv2]);
            for layer in layers {
                scratch.iter_mut().for_each(|scratch| layer.make_room(isa, images, height, width, scratch));
            }
        }
        Space { shape, most: images, stages, scratch, at: (first, 0) }
    }

    /// From now on for as many images.
    fn hold(&mut self, images: usize) {
        self.shape.images = images;
        let maps = self.stages.iter_mut().flat_map(|stage| stage.outer.iter_mut().chain([&mut stage.inner]));
        maps.for_each(|maps| maps.hold(images));
    }

    /// Runs one block.
    pub fn block(&mut self, isa: Isa, index: usize, block: &Block<T>) {
        let Block { conv1, conv2, beside } = block;
        let scratch = &mut self.scratch[..];
        let stage = index / DEPTH;
        let (before, from) = self.stages.split_at_mut(stage);
        let Stage { outer: [a, b], inner } = &mut from[0];
        match (beside, before.last()) {
            (Some(beside), Some(before)) => {
                let input = &before.outer[self.at.1];
                conv1.run(Task { isa, input, shortcut: None, relu: true }, inner, scratch);
                beside.run(Task { isa, input, shortcut: None, relu: false }, b, scratch);
                conv2.run(Task { isa, input: inner, shortcut: Some(b), relu: true }, a, scratch);
                self.at = (stage, 0);
            }
            _ => {
                let (input, output) = if self.at.1 == 0 { (a, b) } else { (b, a) };
                conv1.run(Task { isa, input, shortcut: None, relu: true }, inner, scratch);
                conv2.run(Task { isa, input: inner, shortcut: Some(input), relu: true }, output, scratch);
                self.at = (stage, 1 - self.at.1);
            }
        }
    }

    /// What the last block, `index`, had inside: between its convolutions, and from beside it where something comes from there.
    pub fn inside(&self, index: usize) -> Vec<&Padded<T>> {
        let stage = &self.stages[index / DEPTH];
        let changed = BLOCKS[index].from != BLOCKS[index].to;
        std::iter::once(&stage.inner).chain(changed.then_some(&stage.outer[1])).collect()
    }

    /// The maps that the last block gave.
    pub fn maps(&self) -> &Padded<T> {
        &self.stages[self.at.0].outer[self.at.1]
    }
}

impl Space<f32> {
    /// Grey images, one after the other → the stem's pooled maps.
    pub fn begin(&mut self, isa: Isa, stem: &Stem, images: &[f32]) {
        let side = self.shape.side;
        self.at = (0, 0);
        in_bands(&mut self.stages[0].outer[0], 1, &mut self.scratch, |bands: &mut [Band], scratch| {
            for band in bands {
                let image = &images[band.image * side[0] * side[1]..][..side[0] * side[1]];
                stem.run(isa, image, side, band, &mut scratch.stem);
            }
        });
    }

    /// Maps before the block of [`Shape::block`].
    pub fn load(&mut self, maps: &Maps, first_image: usize) {
        let block = self.shape.block.unwrap_or(0);
        let stage = stage_before(block);
        self.at = (stage, 0);
        let values = maps.height * maps.width * maps.channels;
        self.stages[stage].outer[0].fill(&maps.data[first_image * values..]);
    }
}

impl Space<u8> {
    /// Single-precision maps before the block of [`Shape::block`], each value in as many steps of its channel as it has.
    pub fn quantise(&mut self, maps: &Padded, steps: &[f32]) {
        let stage = stage_before(self.shape.block.unwrap_or(0));
        self.at = (stage, 0);
        let per: Vec<f32> = steps.iter().map(|step| 1.0 / step).collect();
        in_bands(&mut self.stages[stage].outer[0], 1, &mut self.scratch, |bands: &mut [Band<u8>], _| {
            for band in bands {
                let rows = (0..band.count).map(|row| maps.place(band.image, band.first + row + 1, 0));
                for (first, to) in rows.zip(band.data.chunks_exact_mut(band.line)) {
                    // The border is zeros in either.
                    for (to, v) in to.chunks_exact_mut(per.len()).zip(maps.data()[first..].chunks_exact(per.len())) {
                        for ((to, v), per) in to.iter_mut().zip(v).zip(&per) {
                            let v = v * per;
                            *to = nearest(if v < 255.0 { v } else { 255.0 }) as u8;
                        }
                    }
                }
            }
        });
    }
}

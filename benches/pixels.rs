//! Reading a generated image of 2500×3000 pixels of 12 bits, from a file in the page cache to the plane that preprocessing is
//! given, by transfer syntax.
//!
//! What is not written here (JPEG 2000, HTJ2K, JPEG XL) is measured where `RADROUTE_BENCH_IMAGES` names a folder of DICOM files, as
//! `benches/pictures.py` makes them.

mod support;

use divan::Bencher;
use radroute::pixels::probe::Picture;
use radroute::pixels::read_dicom;
use radroute::preprocess::InputContract;
use std::fmt::{self, Display, Formatter};
use std::path::PathBuf;

/// What can be written here, with the names of the figures.
const SYNTAXES: [(&str, &str); 8] = [
    ("uncompressed", "1.2.840.10008.1.2.1"),
    ("implicit", "1.2.840.10008.1.2"),
    ("deflated", "1.2.840.10008.1.2.1.99"),
    ("rle", "1.2.840.10008.1.2.5"),
    ("jpeg_baseline", "1.2.840.10008.1.2.4.50"),
    ("jpeg_lossless_57", "1.2.840.10008.1.2.4.57"),
    ("jpeg_lossless_70", "1.2.840.10008.1.2.4.70"),
    ("jpeg_ls", "1.2.840.10008.1.2.4.80"),
];

fn main() {
    divan::main();
}

/// What is read: generated in a transfer syntax, or a file that somebody made.
#[derive(Clone)]
enum What {
    Generated(&'static str, &'static str),
    File(PathBuf),
}

impl Display for What {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            What::Generated(name, _) => f.write_str(name),
            What::File(path) => write!(f, "{}", path.file_stem().unwrap_or_default().display()),
        }
    }
}

fn all() -> Vec<What> {
    let mut all: Vec<What> = SYNTAXES.iter().map(|(name, syntax)| What::Generated(name, syntax)).collect();
    let folder = std::env::var_os("RADROUTE_BENCH_IMAGES").map(std::fs::read_dir);
    let mut files: Vec<PathBuf> = match folder {
        None => Vec::new(),
        Some(entries) => entries.expect("the folder RADROUTE_BENCH_IMAGES").flatten().map(|e| e.path()).collect(),
    };
    files.sort();
    all.extend(files.into_iter().filter(|f| f.extension().is_some_and(|e| e == "dcm")).map(What::File));
    all
}

/// As large as the shipped network asks for.
#[divan::bench(args = all())]
fn read(bencher: Bencher, what: &What) {
    let folder = support::folder("memory");
    let path = match what {
        What::File(path) => path.clone(),
        What::Generated(_, syntax) => {
            let path = folder.path().join("image.dcm");
            std::fs::write(&path, Picture::new(2500, 3000).file(syntax).expect("it is written here")).expect("room");
            path
        }
    };
    let wanted = InputContract { size: 160, ..InputContract::default() }.wanted_pixels();
    bencher.bench_local(|| read_dicom(&path, wanted).expect("it is readable"));
}

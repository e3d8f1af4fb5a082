//! The stopwatch: each stage of an image's way, by itself.

use crate::deliver::association::MAX_PDU;
use crate::look::BATCH;
use crate::model::{Classifier, ModelError};
use crate::pixels::probe::Picture;
use crate::pixels::{PixelsError, read_dicom};
use crate::spool::{Note, PREAMBLE, Spool, SpoolError};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

/// What goes over a socket in one piece, bytes.
const PIECE: usize = MAX_PDU as usize;

/// Why there is no figure.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub(super) enum MeasureError {
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error("the generated image cannot be read: {0}")]
    Pixels(#[from] PixelsError),
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error("a connection to this machine itself failed: {0}")]
    Loopback(io::Error),
    #[error("cannot write {path}: {source}; give another folder with --state-dir")]
    File { path: String, source: io::Error },
}

/// The median seconds of an act, repeated for `least` and three times at the least; once more before, to warm up.
fn median_seconds<T, E>(least: Duration, mut act: impl FnMut() -> Result<T, E>) -> Result<f64, E> {
    act()?;
    let mut seconds = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < least || seconds.len() < 3 {
        let one = Instant::now();
        act()?;
        seconds.push(one.elapsed().as_secs_f64());
    }
    Ok(median(&mut seconds))
}

/// The middle of some numbers; not a number for none.
pub(super) fn median(numbers: &mut [f64]) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Squares of the network's side, with values as preprocessing gives them.
fn squares(count: usize, side: usize) -> Vec<Vec<f32>> {
    let square = |i: usize| (0..side * side).map(|p| ((p * 7 + i * 13) % 101) as f32 / 25.0 - 2.0).collect();
    (0..count).map(square).collect()
}

/// Images a second of the network at 224×224, one orientation each, `batch` at once.
pub(super) fn engine(classifier: &Classifier, batch: usize) -> Result<f64, ModelError> {
    let inputs = squares(batch, 224);
    Ok(batch as f64 / median_seconds(Duration::from_secs(2), || classifier.logits_of(&inputs, 224))?)
}

/// Seconds for an image as the daemon classifies it: the card's side, as many images at once; in all of the card's orientations,
/// as if none were settled earlier.
pub(super) fn classify(classifier: &Classifier) -> Result<f64, ModelError> {
    let inputs = squares(BATCH, classifier.card().input.size);
    Ok(median_seconds(Duration::from_secs(1), || classifier.logits(&inputs))? / BATCH as f64)
}

/// Seconds from a file in the page cache to its plane, on one core.
pub(super) fn decode(file: &Path, wanted: usize, least: Duration) -> Result<f64, PixelsError> {
    median_seconds(least, || read_dicom(file, wanted))
}

/// What becomes of one image beside the network.
pub(super) struct Handling {
    /// Socket to spool and spool to socket, seconds of one core.
    pub copy: f64,
    /// Seal and sync, seconds.
    pub sync: f64,
    /// File to plane to square, seconds of one core.
    pub read: f64,
}

/// Times an image of this size, uncompressed, in a spool below `folder`, which is to be empty.
pub(super) fn handle(classifier: &Classifier, picture: &Picture, folder: &Path) -> Result<Handling, MeasureError> {
    let syntax = dicom_dictionary_std::uids::EXPLICIT_VR_LITTLE_ENDIAN;
    let file = picture.file(syntax).unwrap_or_default();
    let spool = Spool::open(folder)?;
    let (mut copies, mut syncs, mut reads) = (Vec::new(), Vec::new(), Vec::new());
    // The first warms up.
    for round in 0..8 {
        let (received, sync, name) = receive(&spool, &file)?;
        let path = spool.path(&name)?;
        let sent = send(&path).map_err(MeasureError::Loopback)?;
        let begun = Instant::now();
        let plane = read_dicom(&path, classifier.wanted_pixels())?;
        std::hint::black_box(classifier.input(&plane));
        let read = begun.elapsed().as_secs_f64();
        spool.remove(&name)?;
        if round > 0 {
            copies.push(received + sent);
            syncs.push(sync);
            reads.push(read);
        }
    }
    Ok(Handling { copy: median(&mut copies), sync: median(&mut syncs), read: median(&mut reads) })
}

/// From a socket into the spool: seconds to write, seconds to make durable, name.
fn receive(spool: &Spool, file: &[u8]) -> Result<(f64, f64, String), MeasureError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(MeasureError::Loopback)?;
    let address = listener.local_addr().map_err(MeasureError::Loopback)?;
    let bytes = file.get(PREAMBLE..).unwrap_or_default().to_vec();
    let modality = std::thread::spawn(move || TcpStream::connect(address)?.write_all(&bytes));
    let (mut stream, _) = listener.accept().map_err(MeasureError::Loopback)?;
    let begun = Instant::now();
    let mut incoming = spool.begin(0)?;
    let mut piece = vec![0; PIECE];
    loop {
        match stream.read(&mut piece).map_err(MeasureError::Loopback)? {
            0 => break,
            n => incoming.write(&piece[..n])?,
        }
    }
    let written = begun.elapsed().as_secs_f64();
    let begun = Instant::now();
    let name = incoming.commit(&Note::default())?.name;
    let sync = begun.elapsed().as_secs_f64();
    modality.join().unwrap_or_else(|_| Err(io::Error::other("the sender ended"))).map_err(MeasureError::Loopback)?;
    Ok((written, sync, name))
}

/// From the spool into a socket; seconds.
fn send(path: &Path) -> io::Result<f64> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut stream = TcpStream::connect(listener.local_addr()?)?;
    let archive = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept()?;
        let mut piece = vec![0; PIECE];
        while stream.read(&mut piece)? > 0 {}
        Ok::<(), io::Error>(())
    });
    let begun = Instant::now();
    let mut file = std::fs::File::open(path)?;
    let mut piece = vec![0; PIECE];
    loop {
        match file.read(&mut piece)? {
            0 => break,
            n => stream.write_all(&piece[..n])?,
        }
    }
    drop(stream);
    archive.join().unwrap_or_else(|_| Err(io::Error::other("the receiver ended")))?;
    Ok(begun.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_is_no_mean() {
        assert_eq!(median(&mut [9.0, 1.0, 2.0]), 2.0);
        assert!(median(&mut []).is_nan());
    }

    #[test]
    fn an_act_that_fails_ends_the_measuring() {
        let mut left = 3;
        let failing = || {
            left -= 1;
            if left > 0 { Ok(()) } else { Err("broken") }
        };
        assert_eq!(median_seconds(Duration::from_secs(60), failing), Err("broken"));
    }

    #[test]
    fn what_goes_through_the_loopback_arrives_in_the_spool() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path()).unwrap();
        let bytes: Vec<u8> = (0..700_000u32).map(|i| (i % 251) as u8).collect();
        let (_, _, name) = receive(&spool, &bytes).unwrap();
        let path = spool.path(&name).unwrap();
        assert!(std::fs::read(&path).unwrap()[PREAMBLE..] == bytes[PREAMBLE..]);
        send(&path).unwrap();
    }
}

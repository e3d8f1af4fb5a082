//! The data set as it leaves: the bytes of the file with the edits of an overlay, in constant memory.

use super::source::{Forward, Inflate, Plain};
use super::walk::MAX_INFLATED;
use super::{Edit, Encoding, Overlay};
use flate2::{Compress, Compression, FlushCompress, Status};
use std::io::{self, Read, Seek, SeekFrom, Take};

/// Reads a data set with an overlay's edits applied. Every byte that no edit names comes out as it is in the file; the same
/// file and overlay give the same bytes every time, for a deflated data set too.
///
/// A file that is shorter than it should be gives `UnexpectedEof`, never a shorter data set.
pub struct Splice<R: Read + Seek> {
    inner: Inner<R>,
    len: Option<u64>,
}

enum Inner<R: Read + Seek> {
    Plain(Edited<Plain<R>>),
    Deflated(Box<Deflating<Edited<Inflate<Take<R>>>>>),
}

impl<R: Read + Seek> Splice<R> {
    /// The data set of `dataset_len` bytes at `dataset_offset` of `reader`, in the given transfer syntax.
    ///
    /// # Errors
    /// I/O; `InvalidInput` when the edits overlap, are out of order or lie beyond the data set.
    pub fn new(
        mut reader: R,
        dataset_offset: u64,
        dataset_len: u64,
        transfer_syntax_uid: &str,
        overlay: &Overlay,
    ) -> io::Result<Splice<R>> {
        let deflated = Encoding::of(transfer_syntax_uid).deflated && !overlay.edits.is_empty();
        check(&overlay.edits, if deflated { u64::MAX } else { dataset_len })?;
        reader.seek(SeekFrom::Start(dataset_offset))?;
        let edits = overlay.edits.clone();
        if deflated {
            let edited = Edited::new(Inflate::new(reader.take(dataset_len), MAX_INFLATED), edits);
            return Ok(Splice { inner: Inner::Deflated(Box::new(Deflating::new(edited))), len: None });
        }
        let added: u64 = edits.iter().map(|e| e.insert.len() as u64).sum();
        let removed: u64 = edits.iter().map(|e| e.remove).sum();
        let len = Some(dataset_len + added - removed);
        Ok(Splice { inner: Inner::Plain(Edited::new(Plain::new(reader, dataset_len), edits)), len })
    }

    /// Length of what comes out, bytes; not known beforehand where a deflated data set is edited.
    pub fn len(&self) -> Option<u64> {
        self.len
    }

    /// Nothing comes out.
    pub fn is_empty(&self) -> bool {
        self.len == Some(0)
    }
}

/// A whole DICOM file with the overlay applied: preamble and file meta group as they are, then the data set.
///
/// # Errors
/// As [`Splice::new`]; `InvalidInput` for a `dataset_offset` beyond 2 MiB, which no file meta group reaches.
pub fn whole_file<R: Read + Seek>(
    mut reader: R,
    dataset_offset: u64,
    dataset_len: u64,
    transfer_syntax_uid: &str,
    overlay: &Overlay,
) -> io::Result<impl Read> {
    if dataset_offset > 2 << 20 {
        return Err(invalid("the file meta group is too large"));
    }
    reader.seek(SeekFrom::Start(0))?;
    let mut head = vec![0; dataset_offset as usize];
    reader.read_exact(&mut head)?;
    let rest = Splice::new(reader, dataset_offset, dataset_len, transfer_syntax_uid, overlay)?;
    Ok(io::Cursor::new(head).chain(rest))
}

impl<R: Read + Seek> Read for Splice<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match &mut self.inner {
            Inner::Plain(r) => r.read(buf),
            Inner::Deflated(r) => r.read(buf),
        }
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

fn check(edits: &[Edit], len: u64) -> io::Result<()> {
    let mut from = 0;
    for e in edits {
        let end = e.offset.checked_add(e.remove);
        match end {
            Some(end) if e.offset >= from && end <= len => from = end,
            _ => return Err(invalid("the edits of the overlay overlap or lie beyond the data set")),
        }
    }
    Ok(())
}

/// A forward stream with edits applied.
struct Edited<F> {
    source: F,
    edits: std::iter::Peekable<std::vec::IntoIter<Edit>>,
    /// In the original.
    pos: u64,
    insert: io::Cursor<Vec<u8>>,
}

impl<F: Forward> Edited<F> {
    fn new(source: F, edits: Vec<Edit>) -> Self {
        Edited { source, edits: edits.into_iter().peekable(), pos: 0, insert: io::Cursor::default() }
    }
}

impl<F: Forward> Read for Edited<F> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        loop {
            let n = self.insert.read(buf)?;
            if n > 0 {
                return Ok(n);
            }
            let pos = self.pos;
            if let Some(edit) = self.edits.next_if(|e| e.offset <= pos) {
                self.source.skip(edit.remove)?;
                self.pos += edit.remove;
                self.insert = io::Cursor::new(edit.insert);
                continue;
            }
            let until = self.edits.peek().map_or(u64::MAX, |e| e.offset - pos);
            let want = usize::try_from(until).unwrap_or(usize::MAX).min(buf.len());
            let n = self.source.read(&mut buf[..want])?;
            if n == 0 && (self.edits.peek().is_some() || !self.source.at_end()?) {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.pos += n as u64;
            return Ok(n);
        }
    }
}

/// Deflates what it reads (PS3.5 A.5). Works in pieces of its own size, so that the result does not depend on how the
/// caller reads.
struct Deflating<R> {
    source: R,
    state: Compress,
    input: Box<[u8]>,
    input_from: usize,
    input_to: usize,
    source_ended: bool,
    output: Box<[u8]>,
    output_from: usize,
    output_to: usize,
    finished: bool,
}

const PIECE: usize = 32 * 1024;

impl<R: Read> Deflating<R> {
    fn new(source: R) -> Self {
        Deflating {
            source,
            state: Compress::new(Compression::default(), false),
            input: vec![0; PIECE].into_boxed_slice(),
            input_from: 0,
            input_to: 0,
            source_ended: false,
            // One byte more than is deflated at once: for the padding.
            output: vec![0; PIECE + 1].into_boxed_slice(),
            output_from: 0,
            output_to: 0,
            finished: false,
        }
    }

    fn fill_input(&mut self) -> io::Result<()> {
        (self.input_from, self.input_to) = (0, 0);
        while self.input_to < PIECE {
            match self.source.read(&mut self.input[self.input_to..]) {
                Ok(0) => {
                    self.source_ended = true;
                    break;
                }
                Ok(n) => self.input_to += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn fill_output(&mut self) -> io::Result<()> {
        while self.output_from == self.output_to && !self.finished {
            if self.input_from == self.input_to && !self.source_ended {
                self.fill_input()?;
            }
            let flush = if self.source_ended { FlushCompress::Finish } else { FlushCompress::None };
            let (before_in, before_out) = (self.state.total_in(), self.state.total_out());
            let input = &self.input[self.input_from..self.input_to];
            let status = self.state.compress(input, &mut self.output[..PIECE], flush).map_err(io::Error::other)?;
            self.input_from += (self.state.total_in() - before_in) as usize;
            self.output_from = 0;
            self.output_to = (self.state.total_out() - before_out) as usize;
            if status == Status::StreamEnd {
                self.finished = true;
                if self.state.total_out() % 2 == 1 {
                    self.output[self.output_to] = 0;
                    self.output_to += 1;
                }
            }
        }
        Ok(())
    }
}

impl<R: Read> Read for Deflating<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        self.fill_output()?;
        let n = (self.output_to - self.output_from).min(buf.len());
        buf[..n].copy_from_slice(&self.output[self.output_from..self.output_from + n]);
        self.output_from += n;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Cursor, Write};

    const LE: &str = "1.2.840.10008.1.2.1";
    const DEFLATED: &str = "1.2.840.10008.1.2.1.99";

    fn overlay(edits: &[(u64, u64, &str)]) -> Overlay {
        let edits = edits.iter().map(|&(offset, remove, s)| Edit { offset, remove, insert: s.into() }).collect();
        Overlay { edits, ..Overlay::default() }
    }

    fn text(mut s: impl Read) -> String {
        let mut out = String::new();
        s.read_to_string(&mut out).unwrap();
        out
    }

    #[test]
    fn edits_come_where_they_belong() {
        let file = Cursor::new(b"HEAD0123456789");
        let o = overlay(&[(0, 2, "a"), (4, 0, "bcd"), (9, 1, ""), (10, 0, "z")]);
        let s = Splice::new(file.clone(), 4, 10, LE, &o).unwrap();
        assert_eq!(s.len(), Some(12));
        assert_eq!(text(s), "a23bcd45678z");
        assert_eq!(text(whole_file(file.clone(), 4, 10, LE, &o).unwrap()), "HEADa23bcd45678z");
        assert_eq!(text(Splice::new(file, 4, 10, LE, &Overlay::default()).unwrap()), "0123456789");
    }

    #[test]
    fn wrong_edits_are_refused_and_a_short_file_is_an_error() {
        let file = Cursor::new(b"0123456789");
        for bad in [&[(5, 0, ""), (4, 0, "")][..], &[(2, 4, ""), (5, 0, "")], &[(8, 4, "")], &[(u64::MAX, 2, "")]] {
            assert!(Splice::new(file.clone(), 0, 10, LE, &overlay(bad)).is_err());
        }
        for o in [overlay(&[]), overlay(&[(3, 17, "")]), overlay(&[(15, 0, "x")])] {
            let mut s = Splice::new(file.clone(), 0, 20, LE, &o).unwrap();
            assert_eq!(s.read_to_end(&mut Vec::new()).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        }
    }

    #[test]
    fn deflated_comes_out_deflated_even_and_the_same_however_it_is_read() {
        let data: Vec<u8> = (0..60_000u32).flat_map(|i| (i * i / 7).to_le_bytes()).collect();
        let mut e = flate2::write::DeflateEncoder::new(Vec::new(), Compression::fast());
        e.write_all(&data).unwrap();
        let packed = e.finish().unwrap();
        let (file, len) = (Cursor::new(&packed), packed.len() as u64);
        let o = overlay(&[(0, 1, "first"), (100_000, 2, "middle"), (data.len() as u64, 0, "last")]);
        let mut whole = Vec::new();
        Splice::new(file.clone(), 0, len, DEFLATED, &o).unwrap().read_to_end(&mut whole).unwrap();
        assert_eq!(whole.len() % 2, 0);
        let expected = [b"first", &data[1..100_000], b"middle", &data[100_002..], b"last"].concat();
        let mut inflated = Vec::new();
        flate2::read::DeflateDecoder::new(&whole[..]).read_to_end(&mut inflated).unwrap();
        assert!(inflated == expected);
        let mut piecewise = Vec::new();
        let mut s = Splice::new(file.clone(), 0, len, DEFLATED, &o).unwrap();
        let mut buf = [0; 777];
        while let n @ 1.. = s.read(&mut buf).unwrap() {
            piecewise.extend_from_slice(&buf[..n]);
        }
        assert!(piecewise == whole);
        // Without edits it is not touched, and an edit beyond its end is an error.
        let mut same = Vec::new();
        Splice::new(file.clone(), 0, len, DEFLATED, &Overlay::default()).unwrap().read_to_end(&mut same).unwrap();
        assert!(same == packed);
        let mut beyond = Splice::new(file, 0, len, DEFLATED, &overlay(&[(1 << 30, 0, "x")])).unwrap();
        assert!(beyond.read_to_end(&mut Vec::new()).is_err());
    }
}

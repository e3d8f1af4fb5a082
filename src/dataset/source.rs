//! Bytes read forwards with skipping: from something that can seek, or out of a deflate stream.

use super::DatasetError;
use flate2::{Decompress, FlushDecompress, Status};
use std::io::{self, BufRead, BufReader, Read, Seek};

/// Small, since a header is: a walk over a 15 MB image reads little more than this.
const BUFFER: usize = 4096;

/// A stream that can be read and skipped forwards. Running out early is `UnexpectedEof`.
pub(super) trait Forward: Read {
    /// Leaves out `n` bytes.
    fn skip(&mut self, n: u64) -> io::Result<()>;
    /// Nothing follows; makes sure that what was skipped was really there.
    fn at_end(&mut self) -> io::Result<bool>;
    /// How many bytes can follow at most.
    fn at_most(&self) -> u64;
}

/// `len` bytes of a seekable reader from where it stands.
pub(super) struct Plain<R: Read + Seek> {
    inner: BufReader<R>,
    left: u64,
    /// The last move was a skip, so nobody has seen yet whether the bytes exist.
    skipped: bool,
}

impl<R: Read + Seek> Plain<R> {
    pub fn new(reader: R, len: u64) -> Plain<R> {
        Plain { inner: BufReader::with_capacity(BUFFER, reader), left: len, skipped: false }
    }
}

impl<R: Read + Seek> Read for Plain<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let want = usize::try_from(self.left).unwrap_or(usize::MAX).min(buf.len());
        if want == 0 {
            return Ok(0);
        }
        let n = self.inner.read(&mut buf[..want])?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= n as u64;
        self.skipped = false;
        Ok(n)
    }
}

impl<R: Read + Seek> Forward for Plain<R> {
    fn skip(&mut self, n: u64) -> io::Result<()> {
        if n > self.left {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if n > 0 {
            self.inner.seek_relative(i64::try_from(n).map_err(|_| io::ErrorKind::UnexpectedEof)?)?;
            self.left -= n;
            self.skipped = true;
        }
        Ok(())
    }

    fn at_end(&mut self) -> io::Result<bool> {
        if self.left > 0 {
            return Ok(false);
        }
        if self.skipped {
            // Seeking beyond the end of a file is no error: read the last byte.
            self.inner.seek_relative(-1)?;
            self.inner.read_exact(&mut [0])?;
            self.skipped = false;
        }
        Ok(true)
    }

    fn at_most(&self) -> u64 {
        self.left
    }
}

/// Inflates a raw deflate stream (PS3.5 A.5), at most `most` bytes of it. A stream that ends early is an error, which
/// flate2's own reader does not tell.
pub(super) struct Inflate<R: Read> {
    inner: BufReader<R>,
    state: Decompress,
    buffer: Box<[u8]>,
    from: usize,
    to: usize,
    ended: bool,
    most: u64,
    /// Bytes that may still be given out.
    left: u64,
}

impl<R: Read> Inflate<R> {
    pub fn new(reader: R, most: u64) -> Inflate<R> {
        Inflate {
            inner: BufReader::with_capacity(32 * 1024, reader),
            state: Decompress::new(false),
            buffer: vec![0; 32 * 1024].into_boxed_slice(),
            from: 0,
            to: 0,
            ended: false,
            most,
            left: most,
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        while self.from == self.to && !self.ended {
            // At the end of the input the decompressor may still hold output that the buffer had no room for.
            let input = self.inner.fill_buf()?;
            let over = input.is_empty();
            let (before_in, before_out) = (self.state.total_in(), self.state.total_out());
            let status = self
                .state
                .decompress(input, &mut self.buffer, FlushDecompress::None)
                .map_err(|e| other(DatasetError::Inflate(e.to_string())))?;
            let read = (self.state.total_in() - before_in) as usize;
            let gave = (self.state.total_out() - before_out) as usize;
            self.inner.consume(read);
            (self.from, self.to) = (0, gave);
            if gave as u64 > self.left {
                return Err(other(DatasetError::TooLarge { most: self.most }));
            }
            self.left -= gave as u64;
            match status {
                Status::StreamEnd => {
                    self.ended = true;
                    self.only_padding_follows()?;
                }
                _ if over && gave == 0 => {
                    return Err(other(DatasetError::Inflate("it ends early".into())));
                }
                _ if read == 0 && gave == 0 => {
                    return Err(other(DatasetError::Inflate("it does not go on".into())));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// PS3.5 A.5: one NUL may pad the stream to even length. More of them are let pass; anything else is not understood.
    fn only_padding_follows(&mut self) -> io::Result<()> {
        loop {
            let rest = self.inner.fill_buf()?;
            if rest.is_empty() {
                return Ok(());
            }
            if rest.iter().any(|&b| b != 0) {
                return Err(other(DatasetError::Inflate("something follows its end".into())));
            }
            let n = rest.len();
            self.inner.consume(n);
        }
    }
}

impl<R: Read> Read for Inflate<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        self.fill()?;
        let n = (self.to - self.from).min(buf.len());
        buf[..n].copy_from_slice(&self.buffer[self.from..self.from + n]);
        self.from += n;
        Ok(n)
    }
}

impl<R: Read> Forward for Inflate<R> {
    fn skip(&mut self, mut n: u64) -> io::Result<()> {
        while n > 0 {
            self.fill()?;
            let have = self.to - self.from;
            if have == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let take = usize::try_from(n).unwrap_or(usize::MAX).min(have);
            self.from += take;
            n -= take as u64;
        }
        Ok(())
    }

    fn at_end(&mut self) -> io::Result<bool> {
        self.fill()?;
        Ok(self.from == self.to)
    }

    fn at_most(&self) -> u64 {
        self.left + (self.to - self.from) as u64
    }
}

/// Carries a [`DatasetError`] through `io::Error`; [`unwrap_io`] takes it out again.
fn other(e: DatasetError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, e)
}

/// An I/O error as what it is: one of ours from inside an adaptor, or the disk's.
pub(super) fn unwrap_io(e: io::Error) -> DatasetError {
    match e.downcast::<DatasetError>() {
        Ok(ours) => ours,
        Err(e) => DatasetError::Io(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Cursor, Write};

    fn deflate(bytes: &[u8]) -> Vec<u8> {
        let mut e = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
        e.write_all(bytes).unwrap();
        e.finish().unwrap()
    }

    #[test]
    fn inflates_to_the_end_with_padding() {
        let data = vec![7u8; 100_000];
        let mut packed = deflate(&data);
        packed.push(0);
        let mut out = Vec::new();
        Inflate::new(&packed[..], 1 << 20).read_to_end(&mut out).unwrap();
        assert_eq!(out, data);
    }

    #[test]
    fn output_held_back_at_the_end_of_the_input_is_given_out() {
        // With the last byte of its input the decompressor is a little further than the buffer of 32 KiB has room for.
        for n in 32_700..32_900 {
            let data = vec![0u8; n];
            let packed = deflate(&data);
            let mut out = Vec::new();
            Inflate::new(&packed[..], 1 << 20).read_to_end(&mut out).unwrap();
            assert_eq!(out, data, "{n}");
        }
    }

    #[test]
    fn a_cut_stream_is_an_error_and_so_is_rubbish_behind_it() {
        let packed = deflate(&(0..5000u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>());
        for cut in [0, 1, packed.len() / 2, packed.len() - 1] {
            let e = Inflate::new(&packed[..cut], 1 << 20).read_to_end(&mut Vec::new()).unwrap_err();
            assert!(matches!(unwrap_io(e), DatasetError::Inflate(_)), "cut at {cut}");
        }
        let mut more = packed.clone();
        more.extend_from_slice(b"x");
        assert!(Inflate::new(&more[..], 1 << 20).read_to_end(&mut Vec::new()).is_err());
    }

    #[test]
    fn a_bomb_stops_at_the_bound() {
        let packed = deflate(&vec![0; 1 << 20]);
        let e = Inflate::new(&packed[..], 1000).skip(1 << 20).unwrap_err();
        assert!(matches!(unwrap_io(e), DatasetError::TooLarge { most: 1000 }));
    }

    #[test]
    fn skipping_beyond_a_short_file_is_found_out() {
        let mut p = Plain::new(Cursor::new([0u8; 10]), 20);
        p.skip(20).unwrap();
        assert!(p.at_end().is_err());
        let mut p = Plain::new(Cursor::new([0u8; 20]), 20);
        p.skip(20).unwrap();
        assert!(p.at_end().unwrap());
    }
}

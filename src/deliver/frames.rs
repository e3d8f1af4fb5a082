//! A data set's bytes → P-DATA-TF PDUs (PS3.8 section 9.3.5 and Annex E), in constant memory. No socket.

use std::io::{self, Read};

/// PDU header, PDV length, context and control header: what stands before each fragment.
const BEFORE: usize = 12;

/// About how many bytes are read, and written, at once. Many archives take PDUs of 16 KiB at the most: two calls of the system for
/// each of these cost more than the copy that `sendfile` saves.
const CHUNK: usize = 256 * 1024;

/// Message control header (PS3.8 Annex E.2).
const COMMAND: u8 = 0b01;
const LAST: u8 = 0b10;

/// Whole PDUs, ready to be written.
#[derive(Debug)]
pub struct Chunk {
    buffer: Vec<u8>,
    length: usize,
    /// Bytes of one PDU of full size.
    pub pdu: usize,
    /// The message ends with this chunk.
    pub last: bool,
}

impl Chunk {
    /// All but the last PDU, and the last PDU: with that, the message is complete.
    pub fn parts(&self) -> (&[u8], &[u8]) {
        let bytes = &self.buffer[..self.length];
        bytes.split_at(self.length.saturating_sub(1) / self.pdu * self.pdu)
    }

    /// All PDUs.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[..self.length]
    }

    /// The data set ends with it.
    fn end(&mut self) {
        let last = self.parts().0.len();
        self.buffer[last + BEFORE - 1] |= LAST;
        self.last = true;
    }
}

fn header(pdu: &mut [u8], context: u8, control: u8, fragment: usize) {
    let pdv = fragment as u32 + 2;
    pdu[0] = 0x04;
    pdu[1] = 0;
    pdu[2..6].copy_from_slice(&(pdv + 4).to_be_bytes());
    pdu[6..10].copy_from_slice(&pdv.to_be_bytes());
    pdu[10] = context;
    pdu[11] = control;
}

/// A command set as PDUs; `fragment` is the most bytes that one PDV may hold.
pub fn command(command: &[u8], context: u8, fragment: usize) -> Vec<u8> {
    let mut pdus = Vec::with_capacity(command.len() + BEFORE);
    let mut parts = command.chunks(fragment.max(1)).peekable();
    while let Some(part) = parts.next() {
        let at = pdus.len();
        pdus.resize(at + BEFORE, 0);
        header(&mut pdus[at..], context, COMMAND | if parts.peek().is_none() { LAST } else { 0 }, part.len());
        pdus.extend_from_slice(part);
    }
    pdus
}

/// A data set that is read and made into PDUs, a chunk at a time.
#[derive(Debug)]
pub struct Chunks<R> {
    data: R,
    context: u8,
    fragment: usize,
    /// Read already, to know whether anything follows the chunk before it.
    ahead: Option<Chunk>,
    /// To be used again.
    spare: Vec<u8>,
    total: u64,
}

impl<R: Read> Chunks<R> {
    /// `fragment` is the most bytes that one PDV may hold.
    pub fn new(data: R, context: u8, fragment: usize) -> Chunks<R> {
        Chunks { data, context, fragment: fragment.max(1), ahead: None, spare: Vec::new(), total: 0 }
    }

    /// Bytes of the data set that were read: all of them, once the last chunk has come.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The next chunk. The last one alone has [`Chunk::last`] set: behind it there is none.
    ///
    /// # Errors
    /// What reading gave; `UnexpectedEof` when there is not one byte.
    pub fn next_chunk(&mut self) -> io::Result<Chunk> {
        let mut chunk = match self.ahead.take() {
            Some(chunk) => chunk,
            None => self.read()?,
        };
        if chunk.length == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the data set is empty"));
        }
        if chunk.length == chunk.buffer.len() {
            let following = self.read()?;
            if following.length > 0 {
                self.ahead = Some(following);
                return Ok(chunk);
            }
        }
        chunk.end();
        Ok(chunk)
    }

    /// A chunk that has gone out.
    pub fn give_back(&mut self, chunk: Chunk) {
        self.spare = chunk.buffer;
    }

    /// A chunk that is full, or all that is left.
    fn read(&mut self) -> io::Result<Chunk> {
        let pdu = self.fragment + BEFORE;
        let size = pdu * (CHUNK / pdu).max(1);
        let mut buffer = std::mem::take(&mut self.spare);
        buffer.resize(size, 0);
        let mut length = 0;
        for pdu in buffer.chunks_exact_mut(pdu) {
            let read = fill(&mut self.data, &mut pdu[BEFORE..])?;
            if read > 0 {
                header(pdu, self.context, 0, read);
                length += BEFORE + read;
                self.total += read as u64;
            }
            if read < self.fragment {
                break;
            }
        }
        Ok(Chunk { buffer, length, pdu, last: false })
    }
}

/// Reads until `buffer` is full or the data end.
fn fill(data: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match data.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dicom_ul::pdu::{PDataValueType, Pdu, read_pdu};
    use proptest::prelude::*;

    /// A reader that gives few bytes at a time.
    struct Slow<'a>(&'a [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let n = buffer.len().min(self.1);
            self.0.read(&mut buffer[..n])
        }
    }

    fn reassemble(mut bytes: &[u8], kind: PDataValueType, most: usize) -> Vec<u8> {
        let mut message = Vec::new();
        let mut ended = false;
        while !bytes.is_empty() {
            let length = u32::from_be_bytes(bytes[2..6].try_into().unwrap()) as usize;
            assert!(length <= most);
            let Some(Pdu::PData { data }) = read_pdu(&bytes[..6 + length], 200_000, true).unwrap() else { panic!() };
            for value in data {
                assert!(!ended);
                assert_eq!((value.presentation_context_id, &value.value_type), (7, &kind));
                ended = value.is_last;
                assert!(ended || value.data.len() % 2 == 0);
                message.extend(value.data);
            }
            bytes = &bytes[6 + length..];
        }
        assert!(ended);
        message
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn comes_back_whole(size in 1usize..700_000, fragment in prop_oneof![Just(16_378usize), Just(131_066), 10usize..4_000], step in prop_oneof![Just(usize::MAX), 1_000usize..9_000]) {
            let fragment = fragment & !1;
            // sizes at the edges of fragments and chunks matter most
            for size in [size, size / fragment * fragment, fragment * (CHUNK / (fragment + BEFORE)).max(1)] {
                if size == 0 { continue; }
                let data: Vec<u8> = (0..size).map(|i| (i * 31 % 251) as u8).collect();
                let mut wire = Vec::new();
                let mut chunks = Chunks::new(Slow(&data, step), 7, fragment);
                loop {
                    let chunk = chunks.next_chunk().unwrap();
                    let (first, last) = chunk.parts();
                    assert!(!last.is_empty());
                    assert_eq!([first, last].concat(), chunk.bytes());
                    wire.extend_from_slice(chunk.bytes());
                    if chunk.last {
                        break;
                    }
                    chunks.give_back(chunk);
                }
                prop_assert_eq!(chunks.total(), size as u64);
                prop_assert!(reassemble(&wire, PDataValueType::Data, fragment + 6) == data);
            }
        }

        #[test]
        fn commands_too(size in 1usize..600, fragment in 10usize..300) {
            let data: Vec<u8> = (0..size).map(|i| i as u8).collect();
            prop_assert_eq!(reassemble(&command(&data, 7, fragment & !1), PDataValueType::Command, fragment + 6), data);
        }
    }

    #[test]
    fn nothing_is_an_error() {
        let error = Chunks::new(io::empty(), 1, 100).next_chunk().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}

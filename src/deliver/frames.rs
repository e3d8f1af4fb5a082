//! A data set's bytes → P-DATA-TF PDUs (PS3.8 section 9.3.5 and Annex E), in constant memory: read ([`data_set`]), or left where
//! they lie ([`Pdus`]). No socket.

use crate::dataset::splice::Span;
use std::collections::VecDeque;
use std::io::{self, Read};

/// PDU header, PDV length, context and control header: what stands before each fragment.
const BEFORE: usize = 12;

/// About how many bytes are read, and written, at once.
const CHUNK: usize = 256 * 1024;

/// Message control header (PS3.8 Annex E.2).
const COMMAND: u8 = 0b01;
const LAST: u8 = 0b10;

/// Whole PDUs, ready to be written.
#[derive(Debug)]
pub struct Chunk {
    buffer: Vec<u8>,
    length: usize,
    /// One PDU of full size.
    pdu: usize,
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

    /// The buffer, to be used again.
    pub fn into_buffer(self) -> Vec<u8> {
        self.buffer
    }

    fn end(&mut self, at: usize) {
        self.buffer[at + BEFORE - 1] |= LAST;
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

/// Reads `data` to its end and hands it to `ship` as PDUs, a chunk at a time; the last chunk alone has [`Chunk::last`] set.
/// `ship` may return a buffer to be used again. Returns the number of bytes of the data set.
///
/// # Errors
/// What reading gave; `UnexpectedEof` when there is not one byte; `BrokenPipe` when `ship` returns `None`.
pub fn data_set(
    data: &mut impl Read,
    context: u8,
    fragment: usize,
    mut ship: impl FnMut(Chunk) -> Option<Vec<u8>>,
) -> io::Result<u64> {
    let pdu = fragment + BEFORE;
    let size = pdu * (CHUNK / pdu).max(1);
    let mut total = 0u64;
    // full, and held back until it is known whether anything follows
    let mut held: Option<Chunk> = None;
    let mut spare = Vec::new();
    loop {
        let mut buffer = std::mem::take(&mut spare);
        buffer.resize(size, 0);
        let mut chunk = Chunk { buffer, length: 0, pdu, last: false };
        while chunk.length < size {
            let at = chunk.length;
            let read = fill(data, &mut chunk.buffer[at + BEFORE..at + pdu])?;
            total += read as u64;
            if read > 0 {
                header(&mut chunk.buffer[at..], context, 0, read);
                chunk.length = at + BEFORE + read;
            }
            if read < fragment {
                if chunk.length > 0 {
                    let last = (chunk.length - 1) / pdu * pdu;
                    chunk.end(last);
                } else if let Some(held) = held.as_mut() {
                    held.end(size - pdu);
                } else {
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the data set is empty"));
                }
                let rest = [held, (chunk.length > 0).then_some(chunk)];
                for chunk in rest.into_iter().flatten() {
                    ship(chunk).ok_or(io::ErrorKind::BrokenPipe)?;
                }
                return Ok(total);
            }
        }
        if let Some(full) = held.replace(chunk) {
            spare = ship(full).ok_or(io::ErrorKind::BrokenPipe)?;
        }
    }
}

/// A data set in stretches as PDUs, one after the other.
#[derive(Debug)]
pub struct Pdus {
    spans: VecDeque<Span>,
    left: u64,
    context: u8,
    fragment: u64,
}

impl Pdus {
    /// `fragment` is the most bytes that one PDV may hold.
    pub fn new(spans: Vec<Span>, context: u8, fragment: usize) -> Pdus {
        let left = spans.iter().map(length).sum();
        Pdus { spans: spans.into(), left, context, fragment: fragment.max(1) as u64 }
    }

    /// Bytes of the data set that are still to come.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// The next PDU is the message's last.
    pub fn at_last(&self) -> bool {
        self.left <= self.fragment
    }
}

impl Iterator for Pdus {
    type Item = Vec<Span>;

    fn next(&mut self) -> Option<Vec<Span>> {
        if self.left == 0 {
            return None;
        }
        let mut room = self.left.min(self.fragment);
        let mut head = vec![0; BEFORE];
        let control = if self.at_last() { LAST } else { 0 };
        header(&mut head, self.context, control, room as usize); // no more than a fragment
        self.left -= room;
        let mut pdu = vec![Span::Insert(head)];
        while room > 0 {
            let mut span = self.spans.pop_front()?;
            if length(&span) > room {
                let (now, later) = split(span, room);
                span = now;
                self.spans.push_front(later);
            }
            room -= length(&span);
            match (pdu.last_mut(), span) {
                (Some(Span::Insert(before)), Span::Insert(more)) => before.extend(more),
                (_, span) => pdu.push(span),
            }
        }
        Some(pdu)
    }
}

fn length(span: &Span) -> u64 {
    match span {
        Span::File { len, .. } => *len,
        Span::Insert(bytes) => bytes.len() as u64,
    }
}

fn split(span: Span, at: u64) -> (Span, Span) {
    match span {
        Span::File { offset, len } => {
            (Span::File { offset, len: at }, Span::File { offset: offset + at, len: len - at })
        }
        Span::Insert(mut bytes) => {
            let later = bytes.split_off(at as usize); // less than its length
            (Span::Insert(bytes), Span::Insert(later))
        }
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
                let mut lasts = 0;
                let total = data_set(&mut Slow(&data, step), 7, fragment, |chunk| {
                    let (first, last) = chunk.parts();
                    assert!(!last.is_empty());
                    assert_eq!([first, last].concat(), chunk.bytes());
                    wire.extend_from_slice(chunk.bytes());
                    lasts += usize::from(chunk.last);
                    Some(chunk.into_buffer())
                }).unwrap();
                prop_assert_eq!(total, size as u64);
                prop_assert_eq!(lasts, 1);
                prop_assert!(reassemble(&wire, PDataValueType::Data, fragment + 6) == data);
            }
        }

        #[test]
        fn what_is_left_where_it_lies_makes_the_same_pdus(
            cuts in proptest::collection::vec((1usize..40_000, any::<bool>()), 1..8),
            fragment in prop_oneof![Just(16_378usize), Just(131_066), 10usize..4_000],
        ) {
            let fragment = fragment & !1;
            let file: Vec<u8> = (0..400_000).map(|i| (i * 31 % 251) as u8).collect();
            let mut spans = Vec::new();
            let mut data = Vec::new();
            for (n, (len, inserted)) in cuts.into_iter().enumerate() {
                if inserted {
                    spans.push(Span::Insert(vec![n as u8; len]));
                    data.extend(vec![n as u8; len]);
                } else {
                    spans.push(Span::File { offset: n as u64 * 40_000, len: len as u64 });
                    data.extend_from_slice(&file[n * 40_000..][..len]);
                }
            }
            let mut read = Vec::new();
            data_set(&mut &data[..], 7, fragment, |chunk| {
                read.extend_from_slice(chunk.bytes());
                Some(chunk.into_buffer())
            }).unwrap();
            let mut pdus = Pdus::new(spans, 7, fragment);
            prop_assert_eq!(pdus.left(), data.len() as u64);
            let mut wire = Vec::new();
            loop {
                let last = pdus.at_last();
                let Some(pdu) = pdus.next() else { break };
                prop_assert_eq!(last, pdus.left() == 0);
                for span in pdu {
                    match span {
                        Span::File { offset, len } => wire.extend_from_slice(&file[offset as usize..][..len as usize]),
                        Span::Insert(bytes) => wire.extend(bytes),
                    }
                }
            }
            prop_assert!(wire == read);
        }

        #[test]
        fn commands_too(size in 1usize..600, fragment in 10usize..300) {
            let data: Vec<u8> = (0..size).map(|i| i as u8).collect();
            prop_assert_eq!(reassemble(&command(&data, 7, fragment & !1), PDataValueType::Command, fragment + 6), data);
        }
    }

    #[test]
    fn nothing_is_an_error() {
        let error = data_set(&mut io::empty(), 1, 100, |chunk| Some(chunk.into_buffer())).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}

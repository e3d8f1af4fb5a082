//! A message that is going out: the command, then the data set, a PDU at a time.

use super::association::AssociationError;
use super::frames::{self, Chunk, Pdus};
use super::sender::{Item, SendError, of_file};
use super::wire::Mouth;
use crate::dataset::splice::{Span, spans};
use crate::dataset::{Encoding, Overlay};
use crate::dimse::command::{Command, PRIORITY_MEDIUM};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// A stretch of a file that is shorter is read and sent with what stands beside it.
const SHORT: u64 = 4 * 1024;

/// What goes out, and how.
pub(super) struct Outward {
    pub(super) context: u8,
    pub(super) transfer_syntax: String,
    pub(super) data: Data,
}

/// Where the bytes come from.
pub(super) enum Data {
    File(Item),
    Bytes(Vec<u8>),
}

impl Data {
    fn open(self) -> io::Result<Box<dyn Read + Send>> {
        match self {
            Data::File(item) => Ok(Box::new(Even::new(item.open()?))),
            Data::Bytes(bytes) => Ok(Box::new(io::Cursor::new(bytes))),
        }
    }
}

/// A deflated stream of odd length gets the NULL byte that makes it even (PS3.5 A.5), which files may lack: receivers abort
/// on a PDV of odd length.
struct Even<R> {
    inner: R,
    odd: bool,
}

impl<R: Read> Even<R> {
    fn new(inner: R) -> Even<R> {
        Even { inner, odd: false }
    }
}

impl<R: Read> Read for Even<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.odd ^= read % 2 == 1;
        if read == 0 && self.odd && !buffer.is_empty() {
            buffer[0] = 0;
            self.odd = false;
            return Ok(1);
        }
        Ok(read)
    }
}

/// A message that is going out.
pub(super) struct Message {
    command: Vec<u8>,
    body: Body,
}

enum Body {
    /// From the file to the socket, with the overlay between.
    Spliced { file: File, pdus: Pdus, total: u64, failed: Option<io::Error> },
    /// Made as it goes: deflated anew, or decoded.
    Made(Made),
}

impl Message {
    /// Opens what is to go out.
    ///
    /// # Errors
    /// There is nothing to send: nothing has gone out.
    pub(super) async fn open(outward: Outward, item: &Item, id: u16, fragment: usize) -> Result<Message, SendError> {
        let Outward { context, data, .. } = outward;
        let command = Command::CStoreRq {
            message_id: id,
            sop_class_uid: item.need.sop_class.clone(),
            sop_instance_uid: item.sop_instance.clone(),
            priority: PRIORITY_MEDIUM,
            move_originator: None,
        };
        let command = frames::command(&command.encode(), context, fragment);
        let body = match data {
            Data::File(item) if !Encoding::of(&item.need.transfer_syntax).deflated => {
                spliced(&item, context, fragment).map_err(of_file)?
            }
            data => Body::Made(Made::open(data, context, fragment).await?),
        };
        Ok(Message { command, body })
    }

    /// Sends all but the last PDU. `false`: the file ended or failed before, and what has begun cannot be taken back but by an
    /// abort.
    ///
    /// # Errors
    /// The connection is lost.
    pub(super) async fn all_but_last(&mut self, mouth: &mut Mouth) -> Result<bool, AssociationError> {
        mouth.write(&self.command).await?;
        match &mut self.body {
            Body::Made(made) => made.all_but_last(mouth).await,
            Body::Spliced { file, pdus, failed, .. } => {
                while !pdus.at_last() {
                    *failed = next_pdu(file, pdus, mouth).await?.err();
                    if failed.is_some() {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
        }
    }

    /// Sends the last PDU.
    ///
    /// # Errors
    /// The connection is lost.
    pub(super) async fn last(&mut self, mouth: &mut Mouth) -> Result<(), AssociationError> {
        match &mut self.body {
            Body::Made(made) => made.last(mouth).await,
            Body::Spliced { file, pdus, failed, .. } => {
                *failed = next_pdu(file, pdus, mouth).await?.err();
                Ok(())
            }
        }
    }

    /// How many bytes the data set had, or why it could not be read.
    pub(super) async fn read(self) -> io::Result<u64> {
        match self.body {
            Body::Made(made) => made.read().await,
            Body::Spliced { total, failed, .. } => failed.map_or(Ok(total), Err),
        }
    }
}

/// The file with the overlay's edits, once it is known to be as long as it should be.
fn spliced(item: &Item, context: u8, fragment: usize) -> io::Result<Body> {
    let file = File::open(&item.path)?;
    let none = Overlay::default();
    let spans = spans(item.offset, item.length, item.overlay.as_ref().unwrap_or(&none))?;
    let pdus = Pdus::new(spans, context, fragment);
    let total = pdus.left();
    if total == 0 || file.metadata()?.len() < item.offset.saturating_add(item.length) {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the data set is empty, or shorter than it was"));
    }
    Ok(Body::Spliced { file, pdus, total, failed: None })
}

/// Sends the next PDU. The inner error is the file's.
async fn next_pdu(file: &File, pdus: &mut Pdus, mouth: &mut Mouth) -> Result<io::Result<()>, AssociationError> {
    match pdus.next().map(|pdu| joined(file, pdu)) {
        Some(Ok(pdu)) => mouth.splice(&pdu, file).await,
        Some(Err(error)) => Ok(Err(error)),
        None => Ok(Ok(())),
    }
}

/// Short stretches of the file are read: a call of the system for each would cost more.
fn joined(file: &File, pdu: Vec<Span>) -> io::Result<Vec<Span>> {
    let mut joined: Vec<Span> = Vec::with_capacity(pdu.len());
    for span in pdu {
        let bytes = match span {
            Span::File { offset, len } if len < SHORT => {
                let mut bytes = vec![0; len as usize]; // less than SHORT
                file.read_exact_at(&mut bytes, offset)?;
                bytes
            }
            Span::File { .. } => {
                joined.push(span);
                continue;
            }
            Span::Insert(bytes) => bytes,
        };
        match joined.last_mut() {
            Some(Span::Insert(before)) => before.extend(bytes),
            _ => joined.push(Span::Insert(bytes)),
        }
    }
    Ok(joined)
}

/// A data set that is made on another thread, a chunk ahead of the network: reading, splicing and deflating block.
struct Made {
    next: Option<Chunk>,
    chunks: mpsc::Receiver<Chunk>,
    give_back: std::sync::mpsc::Sender<Vec<u8>>,
    reader: JoinHandle<io::Result<u64>>,
}

impl Made {
    async fn open(data: Data, context: u8, fragment: usize) -> Result<Made, SendError> {
        let (ship, mut chunks) = mpsc::channel::<Chunk>(1);
        let (give_back, spares) = std::sync::mpsc::channel::<Vec<u8>>();
        let reader = tokio::task::spawn_blocking(move || {
            frames::data_set(&mut data.open()?, context, fragment, |chunk| {
                ship.blocking_send(chunk).ok()?;
                Some(spares.try_recv().unwrap_or_default())
            })
        });
        let next = chunks.recv().await;
        let made = Made { next, chunks, give_back, reader };
        if made.next.is_none() {
            return Err(of_file(made.read().await.err().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into())));
        }
        Ok(made)
    }

    async fn all_but_last(&mut self, mouth: &mut Mouth) -> Result<bool, AssociationError> {
        while let Some(chunk) = &self.next {
            if chunk.last {
                mouth.write(chunk.parts().0).await?;
                return Ok(true);
            }
            mouth.write(chunk.bytes()).await?;
            let following = self.chunks.recv().await;
            if let Some(done) = std::mem::replace(&mut self.next, following) {
                let _ = self.give_back.send(done.into_buffer());
            }
        }
        Ok(false)
    }

    async fn last(&mut self, mouth: &mut Mouth) -> Result<(), AssociationError> {
        match &self.next {
            Some(chunk) => mouth.write(chunk.parts().1).await,
            None => Ok(()),
        }
    }

    async fn read(self) -> io::Result<u64> {
        // whoever reads must not wait for us
        drop(self.chunks);
        self.reader.await.unwrap_or_else(|e| Err(io::Error::other(e)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_becomes_even() {
        for (bytes, expected) in [(&b"abc"[..], &b"abc\0"[..]), (b"abcd", b"abcd"), (b"", b"")] {
            let mut out = Vec::new();
            Even::new(bytes).read_to_end(&mut out).unwrap();
            assert_eq!(out, expected);
        }
    }
}

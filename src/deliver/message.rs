//! A message that is going out: the command, then the data set, a PDU at a time.

use super::association::AssociationError;
use super::frames::{self, Chunk, Chunks};
use super::sender::{Item, SendError, of_file};
use super::wire::Mouth;
use crate::dataset::Encoding;
use crate::dimse::command::{Command, PRIORITY_MEDIUM};
use std::io::{self, Read};

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
            Data::File(item) if Encoding::of(&item.need.transfer_syntax).deflated => {
                Ok(Box::new(Even::new(item.open()?)))
            }
            Data::File(item) => item.open(),
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
    chunks: Chunks<Box<dyn Read + Send>>,
    /// Comes next.
    next: io::Result<Chunk>,
}

impl Message {
    /// Opens what is to go out, and reads its first bytes.
    ///
    /// # Errors
    /// There is nothing to send: nothing has gone out.
    pub(super) fn open(outward: Outward, item: &Item, id: u16, fragment: usize) -> Result<Message, SendError> {
        let Outward { context, data, .. } = outward;
        let command = Command::CStoreRq {
            message_id: id,
            sop_class_uid: item.need.sop_class.clone(),
            sop_instance_uid: item.sop_instance.clone(),
            priority: PRIORITY_MEDIUM,
            move_originator: None,
        };
        let command = frames::command(&command.encode(), context, fragment);
        let mut chunks = Chunks::new(data.open().map_err(of_file)?, context, fragment);
        let first = chunks.next_chunk().map_err(of_file)?;
        Ok(Message { command, chunks, next: Ok(first) })
    }

    /// Sends all but the last PDU. `false`: the file ended or failed before, and what has begun cannot be taken back but by an
    /// abort. Blocks while the disk is read.
    ///
    /// # Errors
    /// The connection is lost.
    pub(super) async fn all_but_last(&mut self, mouth: &mut Mouth) -> Result<bool, AssociationError> {
        mouth.write(&self.command, self.command.len()).await?;
        while let Ok(chunk) = &self.next {
            mouth.write(if chunk.last { chunk.parts().0 } else { chunk.bytes() }, chunk.pdu).await?;
            if chunk.last {
                return Ok(true);
            }
            let following = self.chunks.next_chunk();
            if let Ok(gone) = std::mem::replace(&mut self.next, following) {
                self.chunks.give_back(gone);
            }
        }
        Ok(false)
    }

    /// Sends the last PDU.
    ///
    /// # Errors
    /// The connection is lost.
    pub(super) async fn last(&mut self, mouth: &mut Mouth) -> Result<(), AssociationError> {
        match &self.next {
            Ok(chunk) => mouth.write(chunk.parts().1, chunk.pdu).await,
            Err(_) => Ok(()),
        }
    }

    /// How many bytes the data set had, or why it could not be read to its end.
    pub(super) fn read(self) -> io::Result<u64> {
        self.next.map(|_| self.chunks.total())
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

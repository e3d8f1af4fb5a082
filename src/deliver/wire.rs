//! The two directions of a connection: what we say, and what the peer says meanwhile. PDUs (PS3.8 section 9.3), no meaning.

use super::association::{AssociationError, MAX_PDU};
use crate::dataset::splice::Span;
use crate::dimse::command::MAX_COMMAND;
use dicom_ul::pdu::{AbortRQSource, PDU_HEADER_SIZE, PDataValue, PDataValueType, Pdu, read_pdu, write_pdu};
use rustix::net::SendFlags;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// Type, reserved, 32-bit length.
const HEADER: usize = PDU_HEADER_SIZE as usize;

/// What the peer says. Everything here may be abandoned at any await and taken up again; nothing has a timeout of its own.
#[derive(Debug)]
pub(super) struct Ear {
    stream: OwnedReadHalf,
    /// Of the PDU that is arriving.
    bytes: Vec<u8>,
    /// PDVs of a PDU that has arrived and were not yet asked for.
    values: VecDeque<PDataValue>,
    /// Of the command set that is arriving.
    command: Vec<u8>,
}

impl Ear {
    pub(super) fn new(stream: OwnedReadHalf) -> Ear {
        Ear { stream, bytes: Vec::new(), values: VecDeque::new(), command: Vec::new() }
    }

    /// The next PDU: its type and its body, no longer than [`MAX_PDU`].
    pub(super) async fn pdu(&mut self) -> Result<(u8, Vec<u8>), AssociationError> {
        loop {
            let missing = match self.bytes.first_chunk::<HEADER>() {
                None => HEADER - self.bytes.len(),
                Some([_, _, length @ ..]) => {
                    let length = u32::from_be_bytes(*length);
                    if length > MAX_PDU {
                        return Err(AssociationError::Protocol(format!("a PDU of {length} bytes")));
                    }
                    (HEADER + length as usize).saturating_sub(self.bytes.len())
                }
            };
            if missing == 0 && self.bytes.len() >= HEADER {
                let kind = self.bytes[0];
                let body = self.bytes.split_off(HEADER);
                self.bytes.clear();
                return Ok((kind, body));
            }
            self.bytes.reserve(missing.min(4096));
            // no more than is missing: what follows is another PDU's
            match (&mut self.stream).take(missing as u64).read_buf(&mut self.bytes).await {
                Ok(0) => return Err(AssociationError::Closed),
                Ok(_) => {}
                Err(source) => return Err(AssociationError::Io { doing: "waiting for the response", source }),
            }
        }
    }

    /// The next message: the bytes of its command set. A data set with it is a protocol error, and so is a command set longer
    /// than [`MAX_COMMAND`].
    pub(super) async fn command(&mut self) -> Result<Vec<u8>, AssociationError> {
        loop {
            let Some(value) = self.values.pop_front() else {
                let (kind, body) = self.pdu().await?;
                match decode(kind, &body)? {
                    Pdu::PData { data } => self.values = data.into(),
                    pdu => return Err(unexpected(pdu)),
                }
                continue;
            };
            if value.value_type != PDataValueType::Command {
                return Err(AssociationError::Protocol("a data set where a response was due".into()));
            }
            self.command.extend_from_slice(&value.data);
            if self.command.len() > MAX_COMMAND {
                return Err(AssociationError::Protocol("a response without end".into()));
            }
            if value.is_last {
                return Ok(std::mem::take(&mut self.command));
            }
        }
    }

    /// Returns when the peer has closed, aborted or said anything.
    pub(super) async fn anything(&mut self) {
        if self.bytes.is_empty() && self.values.is_empty() {
            // `readable` would not do: it may tell of what has been read already
            let _ = self.stream.peek(&mut [0]).await;
        }
    }
}

/// What we say.
#[derive(Debug)]
pub(super) struct Mouth {
    stream: OwnedWriteHalf,
    timeout: Duration,
    /// A write was not finished. Whatever followed, an A-ABORT too, would be taken for the rest of its PDU.
    broken: bool,
}

impl Mouth {
    /// `timeout`: for each write to be taken.
    pub(super) fn new(stream: OwnedWriteHalf, timeout: Duration) -> Mouth {
        Mouth { stream, timeout, broken: false }
    }

    /// Sends whole PDUs, already encoded.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), AssociationError> {
        let doing = "sending";
        self.begin(doing)?;
        within(self.timeout, doing, self.stream.write_all(bytes))
            .await?
            .map_err(|source| AssociationError::Io { doing, source })?;
        self.broken = false;
        Ok(())
    }

    /// Before a write: nothing follows one that was not finished.
    fn begin(&mut self, doing: &'static str) -> Result<(), AssociationError> {
        match std::mem::replace(&mut self.broken, true) {
            false => Ok(()),
            true => Err(AssociationError::Io { doing, source: ErrorKind::BrokenPipe.into() }),
        }
    }

    /// Sends a PDU, parts of which lie in `file`: these go from the page cache to the socket without passing through here. The inner
    /// error is the file's, in the midst of the PDU. Blocks while the disk is read.
    pub(super) async fn splice(&mut self, pdu: &[Span], file: &File) -> Result<io::Result<()>, AssociationError> {
        let doing = "sending";
        self.begin(doing)?;
        let (timeout, stream) = (self.timeout, self.stream.as_ref());
        let sending = async {
            for (n, span) in pdu.iter().enumerate() {
                match span {
                    Span::Insert(bytes) => {
                        // A header goes out in one packet with what it stands before.
                        let more = if n + 1 < pdu.len() { SendFlags::MORE } else { SendFlags::empty() };
                        put(stream, bytes, more).await.map_err(|e| (e, false))?;
                    }
                    Span::File { offset, len } => put_file(stream, file, *offset, *len).await?,
                }
            }
            Ok(())
        };
        match within(timeout, doing, sending).await? {
            Ok(()) => {
                self.broken = false;
                Ok(Ok(()))
            }
            Err((error, true)) => Ok(Err(error)),
            Err((source, false)) => Err(AssociationError::Io { doing, source }),
        }
    }

    pub(super) async fn send(&mut self, pdu: &Pdu) -> Result<(), AssociationError> {
        let mut bytes = Vec::new();
        write_pdu(&mut bytes, pdu).map_err(|e| AssociationError::Protocol(format!("a PDU cannot be encoded: {e}")))?;
        self.write(&bytes).await
    }

    pub(super) async fn shutdown(&mut self) -> io::Result<()> {
        self.stream.shutdown().await
    }
}

async fn put(stream: &TcpStream, mut bytes: &[u8], more: SendFlags) -> io::Result<()> {
    while !bytes.is_empty() {
        let sent = ready(stream, || rustix::net::send(stream, bytes, more | SendFlags::NOSIGNAL)).await?;
        bytes = bytes.get(sent..).unwrap_or_default();
    }
    Ok(())
}

/// Sends a part of a file. With an error: whether it is the file's.
async fn put_file(stream: &TcpStream, file: &File, mut offset: u64, len: u64) -> Result<(), (io::Error, bool)> {
    let end = offset + len;
    while offset < end {
        let left = usize::try_from(end - offset).unwrap_or(usize::MAX);
        let sent = ready(stream, || rustix::fs::sendfile(stream, file, Some(&mut offset), left)).await;
        match sent {
            Ok(0) => return Err((io::ErrorKind::UnexpectedEof.into(), true)),
            Ok(_) => {}
            Err(error) => {
                // The system does not say whose it is: these are no disk's.
                let sockets = [
                    ErrorKind::BrokenPipe,
                    ErrorKind::ConnectionReset,
                    ErrorKind::ConnectionAborted,
                    ErrorKind::NotConnected,
                    ErrorKind::TimedOut,
                    ErrorKind::HostUnreachable,
                    ErrorKind::NetworkUnreachable,
                    ErrorKind::NetworkDown,
                ];
                let of_file = !sockets.contains(&error.kind());
                return Err((error, of_file));
            }
        }
    }
    Ok(())
}

/// Does `act` once the socket takes something.
async fn ready(stream: &TcpStream, mut act: impl FnMut() -> rustix::io::Result<usize>) -> io::Result<usize> {
    loop {
        match stream.try_io(Interest::WRITABLE, || Ok(act()?)) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => stream.writable().await?,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

pub(super) async fn within<T>(
    after: Duration,
    doing: &'static str,
    work: impl Future<Output = T>,
) -> Result<T, AssociationError> {
    tokio::time::timeout(after, work).await.map_err(|_| AssociationError::Timeout { doing, after })
}

pub(super) fn decode(kind: u8, body: &[u8]) -> Result<Pdu, AssociationError> {
    let mut bytes = Vec::with_capacity(body.len() + HEADER);
    bytes.extend([kind, 0]);
    bytes.extend((body.len() as u32).to_be_bytes());
    bytes.extend(body);
    match read_pdu(bytes.as_slice(), MAX_PDU, true) {
        Ok(Some(pdu)) => Ok(pdu),
        Ok(None) => Err(AssociationError::Protocol("an incomplete PDU".into())),
        Err(e) => Err(AssociationError::Protocol(e.to_string())),
    }
}

/// What ends an association, from a PDU that has no place in it.
pub(super) fn unexpected(pdu: Pdu) -> AssociationError {
    match pdu {
        Pdu::AbortRQ { source: AbortRQSource::ServiceProvider(reason) } => {
            AssociationError::Aborted { by: format!("service provider, {reason}") }
        }
        Pdu::AbortRQ { .. } => AssociationError::Aborted { by: "service user".into() },
        Pdu::ReleaseRQ => AssociationError::Released,
        pdu => AssociationError::Protocol(format!("unexpected PDU: {}", pdu.short_description())),
    }
}

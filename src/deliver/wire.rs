//! The two directions of a connection: what we say, and what the peer says meanwhile. PDUs (PS3.8 section 9.3), no meaning.

use super::association::{AssociationError, MAX_PDU};
use crate::dimse::command::MAX_COMMAND;
use dicom_ul::pdu::{AbortRQSource, PDU_HEADER_SIZE, PDataValue, PDataValueType, Pdu, read_pdu, write_pdu};
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
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
    /// `timeout`: for each PDU to be taken.
    pub(super) fn new(stream: OwnedWriteHalf, timeout: Duration) -> Mouth {
        Mouth { stream, timeout, broken: false }
    }

    /// Sends whole PDUs, already encoded: as many at once as the system takes, and a `pdu` of so many bytes at least within the timeout.
    /// Nothing follows a write that was not finished.
    pub(super) async fn write(&mut self, mut bytes: &[u8], pdu: usize) -> Result<(), AssociationError> {
        let doing = "sending";
        let lost = |source| AssociationError::Io { doing, source };
        if std::mem::replace(&mut self.broken, true) {
            return Err(lost(ErrorKind::BrokenPipe.into()));
        }
        while !bytes.is_empty() {
            let leave = bytes.len().saturating_sub(pdu.max(1));
            let writing = async {
                while bytes.len() > leave {
                    match self.stream.write(bytes).await? {
                        0 => return Err(ErrorKind::WriteZero.into()),
                        taken => bytes = bytes.get(taken..).unwrap_or_default(),
                    }
                }
                Ok(())
            };
            within(self.timeout, doing, writing).await?.map_err(lost)?;
        }
        self.broken = false;
        Ok(())
    }

    pub(super) async fn send(&mut self, pdu: &Pdu) -> Result<(), AssociationError> {
        let mut bytes = Vec::new();
        write_pdu(&mut bytes, pdu).map_err(|e| AssociationError::Protocol(format!("a PDU cannot be encoded: {e}")))?;
        self.write(&bytes, bytes.len()).await
    }

    pub(super) async fn shutdown(&mut self) -> io::Result<()> {
        self.stream.shutdown().await
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

//! An association as its requestor: A-ASSOCIATE, PDUs out, PDUs in, A-RELEASE (PS3.8 section 9). Everything has a timeout.
//!
//! The PDUs are dicom-ul's; the handshake is here because `ClientAssociationOptions` drops the acceptor's reasons for
//! refusing a presentation context, and those decide between a dead letter for the SOP class and one for the transfer
//! syntax. It also leaves Nagle on, which costs some 45 ms for every instance.

use super::accept;
use super::contexts::{Need, Negotiated};
use crate::dataset::file_meta::{IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME};
use dicom_ul::pdu::{
    AbortRQServiceProviderReason, AbortRQSource, AssociationRJ, AssociationRJResult, AssociationRQ, PDU_HEADER_SIZE,
    PDataValue, PDataValueType, Pdu, PresentationContextProposed, UserVariableItem, read_pdu, write_pdu,
};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The longest PDU that we take, and the longest that we send whatever the acceptor allows (0 allows any length, PS3.8
/// Annex D.1). The requestor of a C-STORE gets nothing but short responses.
pub const MAX_PDU: u32 = 131_072;

/// DICOM's application context (PS3.7 Annex A).
const APPLICATION_CONTEXT: &str = "1.2.840.10008.3.1.1.1";

/// An A-RELEASE or A-ABORT is a courtesy: it is not waited for longer than this.
const COURTESY: Duration = Duration::from_secs(5);

/// Whom to associate with.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Called AE title.
    pub called_ae: String,
    /// Calling AE title.
    pub calling_ae: String,
    /// `host:port`, resolved at every connection.
    pub address: String,
    /// For each of: connecting, the answer to A-ASSOCIATE-RQ, a piece of data to be taken, the response.
    pub timeout: Duration,
}

/// Why there is no association, or no longer.
#[derive(Debug, thiserror::Error)]
pub enum AssociationError {
    /// Name resolution or TCP.
    #[error("cannot connect to {address}: {source}; is the destination running, and the address right?")]
    Connect {
        /// `host:port`.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A-ASSOCIATE-RJ.
    #[error("association rejected, {lasting}: {reason}; {advice}")]
    Rejected {
        /// `permanent` or `transient`.
        lasting: &'static str,
        /// PS3.8 table 9-21.
        reason: String,
        /// What to look at.
        advice: &'static str,
    },
    /// A-ABORT.
    #[error("association aborted by the destination ({by})")]
    Aborted {
        /// PS3.8 table 9-26.
        by: String,
    },
    /// End of stream.
    #[error("connection closed by the destination")]
    Closed,
    /// The peer asked for release.
    #[error("association released by the destination")]
    Released,
    /// No progress.
    #[error("no progress for {} s while {doing}", after.as_secs_f32())]
    Timeout {
        /// What was waited for.
        doing: &'static str,
        /// How long.
        after: Duration,
    },
    /// Read or write.
    #[error("connection lost while {doing}: {source}")]
    Io {
        /// What was done.
        doing: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// The peer does not keep to PS3.8 or PS3.7.
    #[error("protocol error of the destination: {0}")]
    Protocol(String),
}

impl AssociationError {
    /// The peer ended the connection: on an association that had been idle, it may have done so before it saw what we sent.
    pub fn is_end(&self) -> bool {
        matches!(
            self,
            AssociationError::Closed
                | AssociationError::Released
                | AssociationError::Aborted { .. }
                | AssociationError::Io { .. }
        )
    }
}

/// An open association.
#[derive(Debug)]
pub struct Association {
    stream: TcpStream,
    peer: Peer,
    negotiated: Negotiated,
    /// The longest P-DATA-TF variable field that the peer takes, at most [`MAX_PDU`].
    most: u32,
    message_id: u16,
    /// PDVs of a PDU that has been read and not yet asked for.
    values: VecDeque<PDataValue>,
    usable: bool,
}

impl Association {
    /// Connects and negotiates; `proposed` as [`super::contexts::propose`] makes it. An association in which every context
    /// was refused is returned as well: the reasons matter.
    ///
    /// # Errors
    /// Any [`AssociationError`].
    pub async fn request(peer: &Peer, proposed: &[Need]) -> Result<Association, AssociationError> {
        let connect = |source| AssociationError::Connect { address: peer.address.clone(), source };
        let stream =
            within(peer.timeout, "connecting", TcpStream::connect(peer.address.as_str())).await?.map_err(connect)?;
        stream.set_nodelay(true).map_err(connect)?;
        let mut association = Association {
            stream,
            peer: peer.clone(),
            negotiated: Negotiated::default(),
            most: 0,
            message_id: 0,
            values: VecDeque::new(),
            usable: true,
        };
        association.send(&request_pdu(peer, proposed)).await?;
        let (kind, body) = association.read("waiting for the answer to the association request").await?;
        match kind {
            accept::PDU_TYPE => {
                let mut accepted = accept::parse(&body).map_err(AssociationError::Protocol)?;
                for (context, transfer_syntax) in accepted.refuse_others(proposed) {
                    tracing::warn!(
                        destination = peer.address,
                        context,
                        transfer_syntax,
                        "it accepts a presentation context with a transfer syntax that was not proposed"
                    );
                }
                let max_length = accepted.max_length;
                association.most = if max_length == 0 { MAX_PDU } else { max_length.min(MAX_PDU) };
                if association.most < 16 {
                    association.give_up().await;
                    return Err(AssociationError::Protocol(format!(
                        "it takes PDUs of no more than {max_length} bytes"
                    )));
                }
                association.negotiated = Negotiated::new(proposed, &accepted.results);
                Ok(association)
            }
            _ => match decode(kind, &body)? {
                Pdu::AssociationRJ(rejection) => Err(rejected(&rejection)),
                pdu => Err(association.unexpected(pdu)),
            },
        }
    }

    /// With whom.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// What was negotiated.
    pub fn negotiated(&self) -> &Negotiated {
        &self.negotiated
    }

    /// The most bytes of a message that one PDV may hold: even (PS3.8 Annex E.1), and so that the PDU's variable field (PDV
    /// length, context, control header, fragment) keeps to the peer's maximum length.
    pub fn fragment(&self) -> usize {
        ((self.most - PDU_HEADER_SIZE) & !1) as usize
    }

    /// A Message ID that is not in use: there is only one message at a time.
    pub fn next_message_id(&mut self) -> u16 {
        self.message_id = self.message_id.wrapping_add(1).max(1);
        self.message_id
    }

    /// Sends whole PDUs, already encoded, in one write.
    ///
    /// # Errors
    /// The connection is lost, or no byte more is taken within the timeout. What the peer said before is told if it can be,
    /// and a response that it gave before is kept: see [`Association::answered`].
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), AssociationError> {
        let doing = "sending";
        let error = match within(self.peer.timeout, doing, self.stream.write_all(bytes)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(source)) => AssociationError::Io { doing, source },
            Err(error) => error,
        };
        // an abort or a response may stand in the receive buffer, and says more than "broken pipe"
        match tokio::time::timeout(Duration::from_millis(100), self.receive()).await {
            Ok(Ok(values)) => {
                self.values.extend(values);
                Err(error)
            }
            Ok(Err(said @ (AssociationError::Aborted { .. } | AssociationError::Released))) => Err(said),
            _ => Err(error),
        }
    }

    /// The peer has said something that [`Association::receive_command`] has not given yet.
    pub fn answered(&self) -> bool {
        !self.values.is_empty()
    }

    /// The next message of the peer's: the bytes of its command set. A data set with it is a protocol error, and so is a
    /// command set longer than [`crate::dimse::command::MAX_COMMAND`].
    ///
    /// # Errors
    /// Any [`AssociationError`].
    pub async fn receive_command(&mut self) -> Result<Vec<u8>, AssociationError> {
        let mut command = Vec::new();
        loop {
            let Some(value) = self.values.pop_front() else {
                self.values = self.receive().await?.into();
                continue;
            };
            if value.value_type != PDataValueType::Command {
                return Err(AssociationError::Protocol("a data set where a response was due".into()));
            }
            command.extend_from_slice(&value.data);
            if command.len() > crate::dimse::command::MAX_COMMAND {
                return Err(AssociationError::Protocol("a response without end".into()));
            }
            if value.is_last {
                return Ok(command);
            }
        }
    }

    /// Returns when the peer has closed, aborted or said anything unasked: the association is of no more use then.
    /// Cancel-safe.
    pub async fn ended(&self) {
        // `readable` would not do: it may tell of what has been read already
        let _ = self.stream.peek(&mut [0]).await;
    }

    /// A-RELEASE, waited for a little.
    pub async fn release(mut self) {
        if !self.usable {
            return;
        }
        let patience = COURTESY.min(self.peer.timeout);
        let handshake = async {
            self.send(&Pdu::ReleaseRQ).await?;
            // the peer may have aborted or released meanwhile: the connection ends either way
            self.read("waiting for the release").await
        };
        let _ = tokio::time::timeout(patience, handshake).await;
        let _ = self.stream.shutdown().await;
    }

    /// Another message may be sent.
    pub fn usable(&self) -> bool {
        self.usable
    }

    /// A-ABORT, and the connection is gone.
    pub async fn give_up(&mut self) {
        if !std::mem::replace(&mut self.usable, false) {
            return;
        }
        let patience = COURTESY.min(self.peer.timeout);
        let source = AbortRQSource::ServiceProvider(AbortRQServiceProviderReason::ReasonNotSpecified);
        let _ = tokio::time::timeout(patience, self.send(&Pdu::AbortRQ { source })).await;
        let _ = self.stream.shutdown().await;
    }

    async fn send(&mut self, pdu: &Pdu) -> Result<(), AssociationError> {
        let mut bytes = Vec::new();
        write_pdu(&mut bytes, pdu).map_err(|e| AssociationError::Protocol(format!("a PDU cannot be encoded: {e}")))?;
        let doing = "sending";
        within(self.peer.timeout, doing, self.stream.write_all(&bytes))
            .await?
            .map_err(|source| AssociationError::Io { doing, source })
    }

    /// The next P-DATA-TF's values; whatever else comes ends the association.
    async fn receive(&mut self) -> Result<Vec<PDataValue>, AssociationError> {
        let (kind, body) = self.read("waiting for the response").await?;
        match decode(kind, &body)? {
            Pdu::PData { data } => Ok(data),
            pdu => Err(self.unexpected(pdu)),
        }
    }

    /// Reads one PDU: its type and its body, no longer than [`MAX_PDU`].
    async fn read(&mut self, doing: &'static str) -> Result<(u8, Vec<u8>), AssociationError> {
        let timeout = self.peer.timeout;
        let read = async {
            let mut header = [0; PDU_HEADER_SIZE as usize];
            self.stream.read_exact(&mut header).await?;
            let length = u32::from_be_bytes([header[2], header[3], header[4], header[5]]);
            if length > MAX_PDU {
                return std::io::Result::Ok(Err(length));
            }
            let mut body = vec![0; length as usize];
            self.stream.read_exact(&mut body).await?;
            Ok(Ok((header[0], body)))
        };
        match within(timeout, doing, read).await? {
            Ok(Ok(pdu)) => Ok(pdu),
            Ok(Err(length)) => Err(AssociationError::Protocol(format!("a PDU of {length} bytes"))),
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => Err(AssociationError::Closed),
            Err(source) => Err(AssociationError::Io { doing, source }),
        }
    }

    fn unexpected(&self, pdu: Pdu) -> AssociationError {
        match pdu {
            Pdu::AbortRQ { source: AbortRQSource::ServiceProvider(reason) } => {
                AssociationError::Aborted { by: format!("service provider, {reason}") }
            }
            Pdu::AbortRQ { .. } => AssociationError::Aborted { by: "service user".into() },
            Pdu::ReleaseRQ => AssociationError::Released,
            pdu => AssociationError::Protocol(format!("unexpected PDU: {}", pdu.short_description())),
        }
    }
}

async fn within<T>(after: Duration, doing: &'static str, work: impl Future<Output = T>) -> Result<T, AssociationError> {
    tokio::time::timeout(after, work).await.map_err(|_| AssociationError::Timeout { doing, after })
}

fn decode(kind: u8, body: &[u8]) -> Result<Pdu, AssociationError> {
    let mut bytes = Vec::with_capacity(body.len() + PDU_HEADER_SIZE as usize);
    bytes.extend([kind, 0]);
    bytes.extend((body.len() as u32).to_be_bytes());
    bytes.extend(body);
    match read_pdu(bytes.as_slice(), MAX_PDU, true) {
        Ok(Some(pdu)) => Ok(pdu),
        Ok(None) => Err(AssociationError::Protocol("an incomplete PDU".into())),
        Err(e) => Err(AssociationError::Protocol(e.to_string())),
    }
}

fn request_pdu(peer: &Peer, proposed: &[Need]) -> Pdu {
    Pdu::AssociationRQ(AssociationRQ {
        protocol_version: 1,
        calling_ae_title: peer.calling_ae.clone(),
        called_ae_title: peer.called_ae.clone(),
        application_context_name: APPLICATION_CONTEXT.into(),
        presentation_contexts: proposed
            .iter()
            .zip((1..=255u8).step_by(2))
            .map(|(need, id)| PresentationContextProposed {
                id,
                abstract_syntax: need.sop_class.clone(),
                transfer_syntaxes: vec![need.transfer_syntax.clone()],
            })
            .collect(),
        user_variables: vec![
            UserVariableItem::MaxLength(MAX_PDU),
            UserVariableItem::ImplementationClassUID(IMPLEMENTATION_CLASS_UID.into()),
            UserVariableItem::ImplementationVersionName(IMPLEMENTATION_VERSION_NAME.into()),
        ],
    })
}

fn rejected(rejection: &AssociationRJ) -> AssociationError {
    let (lasting, advice) = match rejection.result {
        AssociationRJResult::Permanent => ("permanent", "look at ae_title and calling_ae_title of the destination"),
        AssociationRJResult::Transient => ("transient", "the destination is busy"),
    };
    AssociationError::Rejected { lasting, reason: rejection.source.to_string(), advice }
}

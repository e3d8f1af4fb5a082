//! An association as its requestor: A-ASSOCIATE, PDUs out, PDUs in, A-RELEASE (PS3.8 section 9). Everything has a timeout.
//!
//! The PDUs are dicom-ul's; the handshake is here because `ClientAssociationOptions` drops the acceptor's reasons for
//! refusing a presentation context, and those decide between a dead letter for the SOP class and one for the transfer
//! syntax. It also leaves Nagle on, which costs some 45 ms for every instance.

use super::accept;
use super::contexts::{Need, Negotiated};
use super::wire::{Ear, Mouth, decode, unexpected, within};
use crate::dataset::file_meta::{IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME};
use crate::dimse::negotiate::window_item;
use dicom_ul::pdu::{
    AbortRQServiceProviderReason, AbortRQSource, AssociationRJ, AssociationRJResult, AssociationRQ, PDU_HEADER_SIZE,
    Pdu, PresentationContextProposed, UserVariableItem,
};
use std::time::Duration;
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
    /// Requests that may wait for their responses at once, if it allows that; 1: it is not asked.
    pub window: u16,
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
    pub(super) ear: Ear,
    pub(super) mouth: Mouth,
    peer: Peer,
    pub(super) negotiated: Negotiated,
    /// The longest P-DATA-TF variable field that the peer takes, at most [`MAX_PDU`].
    most: u32,
    window: u16,
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
        let (read, write) = stream.into_split();
        let mut association = Association {
            ear: Ear::new(read),
            mouth: Mouth::new(write, peer.timeout),
            peer: peer.clone(),
            negotiated: Negotiated::default(),
            most: 0,
            window: 1,
            usable: true,
        };
        association.mouth.send(&request_pdu(peer, proposed)).await?;
        let doing = "waiting for the answer to the association request";
        let (kind, body) = within(peer.timeout, doing, association.ear.pdu()).await??;
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
                association.window = accepted.window(peer.window);
                association.negotiated = Negotiated::new(proposed, &accepted.results);
                Ok(association)
            }
            _ => match decode(kind, &body)? {
                Pdu::AssociationRJ(rejection) => Err(rejected(&rejection)),
                pdu => Err(unexpected(pdu)),
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

    /// Requests that may wait for their responses at once: what was granted, and no more than we want; at least 1.
    pub fn window(&self) -> u16 {
        self.window
    }

    /// Returns when the peer has closed, aborted or said anything unasked: the association is of no more use then.
    /// Cancel-safe.
    pub async fn ended(&mut self) {
        self.ear.anything().await;
    }

    /// A-RELEASE, waited for a little.
    pub async fn release(mut self) {
        if !self.usable {
            return;
        }
        let patience = COURTESY.min(self.peer.timeout);
        let handshake = async {
            self.mouth.send(&Pdu::ReleaseRQ).await?;
            // the peer may have aborted or released meanwhile: the connection ends either way
            self.ear.pdu().await
        };
        let _ = tokio::time::timeout(patience, handshake).await;
        let _ = self.mouth.shutdown().await;
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
        let _ = tokio::time::timeout(patience, self.mouth.send(&Pdu::AbortRQ { source })).await;
        let _ = self.mouth.shutdown().await;
    }
}

fn request_pdu(peer: &Peer, proposed: &[Need]) -> Pdu {
    let mut user_variables = vec![
        UserVariableItem::MaxLength(MAX_PDU),
        UserVariableItem::ImplementationClassUID(IMPLEMENTATION_CLASS_UID.into()),
        UserVariableItem::ImplementationVersionName(IMPLEMENTATION_VERSION_NAME.into()),
    ];
    if peer.window > 1 {
        user_variables.push(window_item(peer.window));
    }
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
        user_variables,
    })
}

fn rejected(rejection: &AssociationRJ) -> AssociationError {
    let (lasting, advice) = match rejection.result {
        AssociationRJResult::Permanent => ("permanent", "look at ae_title and calling_ae_title of the destination"),
        AssociationRJResult::Transient => ("transient", "the destination is busy"),
    };
    AssociationError::Rejected { lasting, reason: rejection.source.to_string(), advice }
}

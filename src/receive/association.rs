//! One association, from the connection's first byte to its last (PS3.8 section 9.2, the acceptor's side).

use super::deposit::Deposit;
use super::limits::Slots;
use super::request::{decode_request, policy};
use super::store::{Request, Store};
use super::told::{event, tell_rejected, tell_unassociated};
use super::wire::{self, PduReader, WireError, pdu_type};
use crate::config::Config;
use crate::dimse::command::Command;
use crate::dimse::negotiate::{self, Agreed, Busy, Refused};
use crate::dimse::pdv::{PdvError, Piece, Reassembler, pdvs, write_command};
use crate::dimse::status;
use crate::ledger::Source;
use dicom_ul::pdu::{AbortRQServiceProviderReason as Reason, AssociationRQ, Pdu};
use serde_json::json;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant as Clock};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::Instant;

/// How far stopping has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Not at all.
    Running,
    /// What is on the wire may end.
    Draining,
    /// No more time: abort.
    Aborting,
}

/// While draining, a peer that sends nothing for this long between two messages is aborted.
const GRACE: Duration = Duration::from_millis(500);

/// What an association needs from its listener.
pub(super) struct Setting<D> {
    pub config: Arc<Config>,
    pub deposit: Arc<D>,
    pub slots: Slots,
    pub phase: watch::Receiver<Phase>,
    pub peer: IpAddr,
    /// Unique over restarts.
    pub id: String,
}

/// How an association ended.
#[derive(Debug)]
pub(super) enum End {
    Released,
    AbortedByPeer(String),
    /// The peer broke the protocol: abort with this reason.
    Violation(Reason, String),
    Timeout(WireError),
    Closed(WireError),
    Stopped,
}

impl End {
    pub(super) fn outcome(&self) -> &'static str {
        match self {
            End::Released => "released",
            End::AbortedByPeer(_) => "aborted",
            End::Violation(..) => "violation",
            End::Timeout(_) => "timeout",
            End::Closed(_) => "closed",
            End::Stopped => "stopped",
        }
    }

    pub(super) fn why(&self) -> String {
        match self {
            End::Released => String::new(),
            End::AbortedByPeer(why) | End::Violation(_, why) => why.clone(),
            End::Timeout(error) | End::Closed(error) => error.to_string(),
            End::Stopped => "this node is stopping".to_owned(),
        }
    }

    /// What we still send.
    fn last_word(&self) -> Option<Vec<u8>> {
        match self {
            End::Violation(reason, _) => Some(wire::abort(reason.clone())),
            End::Timeout(_) | End::Stopped => Some(wire::abort(Reason::ReasonNotSpecified)),
            End::Released => Some(vec![pdu_type::RELEASE_RP, 0, 0, 0, 0, 4, 0, 0, 0, 0]),
            End::AbortedByPeer(_) | End::Closed(_) => None,
        }
    }
}

impl From<WireError> for End {
    fn from(error: WireError) -> End {
        match error {
            WireError::Idle(_) | WireError::Slow(_) | WireError::NotTaken(_) => End::Timeout(error),
            WireError::Unknown(_) => End::Violation(Reason::UnrecognizedPdu, error.to_string()),
            WireError::TooLong { .. } => End::Violation(Reason::InvalidPduParameter, error.to_string()),
            WireError::Closed | WireError::Cut | WireError::Io(_) => End::Closed(error),
        }
    }
}

impl From<PdvError> for End {
    fn from(error: PdvError) -> End {
        End::Violation(error.reason(), error.to_string())
    }
}

/// What an association did.
#[derive(Debug, Default)]
struct Counts {
    received: u64,
    refused: u64,
    echoes: u64,
    others: u64,
    bytes: u64,
}

/// Leads one connection to its end. The connection is closed when this returns.
pub(super) async fn serve<D: Deposit, R: AsyncRead + Unpin + Send, W: AsyncWrite + Unpin + Send>(
    setting: Setting<D>,
    read: R,
    mut write: W,
) {
    let limits = &setting.config.limits;
    // PS3.8 9.1.4: ARTIM runs from the transport connection to the A-ASSOCIATE-RQ
    let artim = Instant::now() + limits.artim;
    let max_pdu = limits.max_pdu.clamp(1024, 64 << 20);
    let mut reader = PduReader::new(read, max_pdu);
    let request = match first(&setting, &mut reader, artim).await {
        Ok(request) => request,
        Err(end) => {
            tell_unassociated(&setting, &end).await;
            if let Some(last_word) = end.last_word() {
                let _ = wire::write(&mut write, &last_word, limits.pdu).await;
                linger(&setting, &mut reader).await;
            }
            return;
        }
    };
    let source = Source {
        calling_ae: negotiate::ae_title(&request.calling_ae_title),
        called_ae: negotiate::ae_title(&request.called_ae_title),
        peer: Some(setting.peer.to_canonical()),
        association: setting.id.clone(),
    };
    let agreed = negotiate::negotiate(&request, setting.peer, &policy(&setting.config, max_pdu)).and_then(|agreed| {
        if *setting.phase.borrow() > Phase::Running {
            return Err(reject_busy(Busy::Stopping));
        }
        let slot = setting.slots.association(setting.peer.to_canonical(), &setting.config.listen);
        slot.map(|slot| (agreed, slot)).map_err(reject_busy)
    });
    let (agreed, slot) = match agreed {
        Ok(agreed) => agreed,
        Err(refused) => {
            let answer = match &refused {
                Refused::Reject { answer, .. } => wire::encode(&Pdu::AssociationRJ(answer.clone())).ok(),
                Refused::Abort { reason, .. } => Some(wire::abort(reason.clone())),
            };
            if let Some(answer) = answer {
                let _ = wire::write(&mut write, &answer, limits.pdu).await;
            }
            tell_rejected(&setting, &source, &refused).await;
            linger(&setting, &mut reader).await;
            return;
        }
    };
    let began = Clock::now();
    let mut association = Association { setting: &setting, source, agreed, counts: Counts::default() };
    let end = association.run(&mut reader, &mut write).await;
    if matches!(end, End::Released) && association.counts.received > 0 {
        // before the answer: whoever sees the release answered finds the series settled
        setting.deposit.released(&setting.id).await;
    }
    // before the answer, too: the peer may come again at once
    drop(slot);
    if let Some(last_word) = end.last_word() {
        let _ = wire::write(&mut write, &last_word, limits.pdu).await;
    }
    association.tell(&end, began.elapsed()).await;
    if !matches!(end, End::Closed(_)) {
        linger(&setting, &mut reader).await;
    }
}

/// Waits for the peer to close, as long as ARTIM runs and we do not stop.
async fn linger<D, R: AsyncRead + Unpin>(setting: &Setting<D>, reader: &mut PduReader<R>) {
    let mut phase = setting.phase.clone();
    tokio::select! {
        () = reader.linger(Instant::now() + setting.config.limits.artim) => {}
        () = stop(&mut phase, true) => {}
    }
}

/// Waits for the A-ASSOCIATE-RQ.
async fn first<D: Deposit, R: AsyncRead + Unpin>(
    setting: &Setting<D>,
    reader: &mut PduReader<R>,
    artim: Instant,
) -> Result<AssociationRQ, End> {
    let limits = &setting.config.limits;
    let mut phase = setting.phase.clone();
    let pdu = tokio::select! {
        biased;
        pdu = tokio::time::timeout_at(artim, reader.next(artim, limits.artim, limits.artim)) => pdu,
        _ = phase.wait_for(|phase| *phase > Phase::Running) => return Err(End::Stopped),
    };
    let (kind, body) = pdu.unwrap_or(Err(WireError::Slow(limits.artim)))?;
    match kind {
        pdu_type::ASSOCIATE_RQ => decode_request(body).map_err(|why| End::Violation(Reason::InvalidPduParameter, why)),
        pdu_type::ABORT => Err(End::AbortedByPeer(format!("{:?}", wire::read_abort(body)))),
        kind => Err(unexpected(kind)),
    }
}

fn unexpected(kind: u8) -> End {
    End::Violation(Reason::UnexpectedPdu, format!("a PDU of type {kind:02X} out of place"))
}

fn reject_busy(busy: Busy) -> Refused {
    let why = match busy {
        Busy::Node => "listen.max_associations is reached",
        Busy::Peer => "listen.max_associations_per_peer is reached",
        Busy::Stopping => "this node is stopping",
    };
    Refused::Reject { answer: negotiate::busy(busy), why: why.to_owned() }
}

struct Association<'a, D> {
    setting: &'a Setting<D>,
    source: Source,
    agreed: Agreed,
    counts: Counts,
}

impl<D: Deposit> Association<'_, D> {
    async fn run<R, W>(&mut self, reader: &mut PduReader<R>, write: &mut W) -> End
    where
        R: AsyncRead + Unpin + Send,
        W: AsyncWrite + Unpin + Send,
    {
        match self.exchange(reader, write).await {
            Ok(end) | Err(end) => end,
        }
    }

    async fn exchange<R, W>(&mut self, reader: &mut PduReader<R>, write: &mut W) -> Result<End, End>
    where
        R: AsyncRead + Unpin + Send,
        W: AsyncWrite + Unpin + Send,
    {
        let limits = &self.setting.config.limits;
        let answer = wire::encode(&Pdu::AssociationAC(self.agreed.answer.clone()))
            .map_err(|error| End::Violation(Reason::ReasonNotSpecified, error.to_string()))?;
        wire::write(write, &answer, limits.pdu).await?;
        reader.widen();
        let mut reassembler = Reassembler::default();
        let mut store: Option<Store<D::Open>> = None;
        // a request that is answered with this once its data set has gone by
        let mut refusal: Option<(u8, Command)> = None;
        let mut phase = self.setting.phase.clone();
        loop {
            let between = reassembler.between_messages();
            let pdu = tokio::select! {
                biased;
                pdu = reader.next(Instant::now() + limits.idle, limits.idle, limits.pdu) => pdu?,
                () = stop(&mut phase, between) => return Err(End::Stopped),
            };
            match pdu {
                (pdu_type::P_DATA, body) => {
                    for pdv in pdvs(body) {
                        let contexts = &self.agreed.contexts;
                        match reassembler.push(pdv?, |id| contexts.contains_key(&id))? {
                            Piece::Partial => {}
                            Piece::Command { context_id, command } => match command {
                                Command::CStoreRq { message_id, sop_class_uid, sop_instance_uid, .. } => {
                                    store = Some(
                                        self.begin(context_id, message_id, sop_class_uid, sop_instance_uid).await?,
                                    );
                                }
                                other => refusal = self.answer(context_id, other, write).await?,
                            },
                            Piece::Data { bytes, last } => {
                                if let Some(open) = &mut store {
                                    open.write(bytes, &*self.setting.deposit).await;
                                }
                                if last {
                                    if let Some(open) = store.take() {
                                        self.finish(open, write).await?;
                                    }
                                    if let Some((context_id, response)) = refusal.take() {
                                        self.respond(context_id, &response, write).await?;
                                    }
                                }
                            }
                        }
                    }
                }
                (pdu_type::RELEASE_RQ, _) if between => return Ok(End::Released),
                (pdu_type::ABORT, body) => return Ok(End::AbortedByPeer(format!("{:?}", wire::read_abort(body)))),
                (kind, _) => return Err(unexpected(kind)),
            }
        }
    }

    async fn begin(
        &self,
        context_id: u8,
        message_id: u16,
        sop_class_uid: String,
        sop_instance_uid: String,
    ) -> Result<Store<D::Open>, End> {
        let context = self.agreed.contexts.get(&context_id).ok_or(PdvError::Context(context_id))?;
        let request = Request {
            context_id,
            context,
            message_id,
            sop_class_uid,
            sop_instance_uid,
            source: self.source.clone(),
            max_instance: self.setting.config.limits.max_instance.as_u64(),
        };
        Ok(Store::begin(request, &*self.setting.deposit).await)
    }

    async fn finish(&mut self, store: Store<D::Open>, write: &mut (impl AsyncWrite + Unpin)) -> Result<(), End> {
        let context_id = store.context_id;
        let answer = store.finish(&*self.setting.deposit).await;
        self.counts.bytes += answer.bytes;
        if answer.kept {
            self.counts.received += 1;
        } else {
            self.counts.refused += 1;
        }
        self.respond(context_id, &answer.response, write).await
    }

    /// Answers a command other than C-STORE, or gives the answer for when its data set has gone by.
    async fn answer(
        &mut self,
        context_id: u8,
        command: Command,
        write: &mut (impl AsyncWrite + Unpin),
    ) -> Result<Option<(u8, Command)>, End> {
        match command {
            Command::CEchoRq { message_id } => {
                self.counts.echoes += 1;
                self.respond(context_id, &Command::CEchoRsp { message_id, status: status::SUCCESS }, write).await?;
            }
            // nothing of ours can be cancelled, and there is no response (PS3.7 9.3.2.3)
            Command::CancelRq { .. } => self.counts.others += 1,
            Command::Other { command_field, message_id, has_data_set } => {
                self.counts.others += 1;
                tracing::warn!(
                    association = self.source.association,
                    calling_ae = self.source.calling_ae,
                    command_field = format!("{command_field:04X}"),
                    "a request that this node does not serve: answered 0211"
                );
                let comment = "this node takes C-STORE and C-ECHO";
                let response = Command::refusal(command_field, message_id, status::UNRECOGNISED_OPERATION, comment);
                if has_data_set {
                    return Ok(Some((context_id, response)));
                }
                self.respond(context_id, &response, write).await?;
            }
            Command::CStoreRq { .. }
            | Command::CStoreRsp { .. }
            | Command::CEchoRsp { .. }
            | Command::OtherRsp { .. } => {
                let why = "a response to nothing that was asked".to_owned();
                return Err(End::Violation(Reason::UnexpectedPduParameter, why));
            }
        }
        Ok(None)
    }

    async fn respond(
        &self,
        context_id: u8,
        response: &Command,
        write: &mut (impl AsyncWrite + Unpin),
    ) -> Result<(), End> {
        let mut bytes = Vec::with_capacity(256);
        write_command(&mut bytes, context_id, &response.encode(), self.agreed.peer_max_pdu);
        Ok(wire::write(write, &bytes, self.setting.config.limits.pdu).await?)
    }

    /// One log line, and an event unless nothing but echoes passed.
    async fn tell(&self, end: &End, duration: Duration) {
        let Counts { received, refused, echoes, others, bytes } = self.counts;
        let (outcome, why, duration_ms) = (end.outcome(), end.why(), duration.as_millis() as u64);
        tracing::info!(
            association = self.source.association,
            peer = %self.setting.peer,
            calling_ae = self.source.calling_ae,
            called_ae = self.source.called_ae,
            outcome,
            why,
            received,
            refused,
            echoes,
            others,
            bytes,
            duration_ms,
            "association"
        );
        // a monitor that echoes every second would fill the ledger
        if matches!(end, End::Released) && received + refused + others == 0 {
            return;
        }
        let detail = json!({
            "outcome": outcome, "why": why, "received": received, "refused": refused, "echoes": echoes,
            "others": others, "bytes": bytes, "duration_ms": duration_ms,
        });
        self.setting.deposit.tell(event("association", Some(self.source.clone()), detail)).await;
    }
}

/// Until the association is to be ended because we stop.
async fn stop(phase: &mut watch::Receiver<Phase>, between: bool) {
    let from = if between { Phase::Draining } else { Phase::Aborting };
    // a listener that is gone without a word stops hard
    if phase.wait_for(|phase| *phase >= from).await.is_ok_and(|phase| *phase < Phase::Aborting) {
        let _ = tokio::time::timeout(GRACE, phase.wait_for(|phase| *phase == Phase::Aborting)).await;
    }
}

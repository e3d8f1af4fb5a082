//! One C-STORE: from its request to the status of its answer.

use super::deposit::{Announced, Deposit, Refusal};
use crate::dimse::command::{Command, valid_uid};
use crate::dimse::negotiate::Context;
use crate::dimse::status;
use crate::ledger::{Event, Source};
use serde_json::json;
use std::time::Instant;

/// An instance on its way in.
pub(super) struct Store<O> {
    /// Presentation context ID.
    pub context_id: u8,
    message_id: u16,
    announced: Announced,
    began: Instant,
    bytes: u64,
    max_instance: u64,
    state: State<O>,
}

enum State<O> {
    Receiving(O),
    /// The rest of the data set is read and thrown away: the protocol has no way to stop it.
    Refused(Refusal),
}

/// How it ended.
pub(super) struct Answer {
    /// C-STORE-RSP.
    pub response: Command,
    /// Bytes of the data set.
    pub bytes: u64,
    /// Kept.
    pub kept: bool,
}

/// What a C-STORE-RQ says, and where.
pub(super) struct Request<'a> {
    pub context_id: u8,
    pub context: &'a Context,
    pub message_id: u16,
    pub sop_class_uid: String,
    pub sop_instance_uid: String,
    pub source: Source,
    pub max_instance: u64,
}

impl<O: Send> Store<O> {
    /// The request is here, its data set follows.
    pub(super) async fn begin<D: Deposit<Open = O>>(request: Request<'_>, deposit: &D) -> Store<O> {
        let Request { context_id, context, message_id, sop_class_uid, sop_instance_uid, source, max_instance } =
            request;
        let announced = Announced {
            sop_class_uid,
            sop_instance_uid,
            transfer_syntax_uid: context.transfer_syntax_uid.clone(),
            source,
        };
        let state = match check(&announced, context) {
            Err(refusal) => State::Refused(refusal),
            Ok(()) => match deposit.begin(&announced).await {
                Ok(open) => State::Receiving(open),
                Err(refusal) => State::Refused(refusal),
            },
        };
        Store { context_id, message_id, announced, began: Instant::now(), bytes: 0, max_instance, state }
    }

    /// The next bytes.
    pub(super) async fn write<D: Deposit<Open = O>>(&mut self, bytes: &[u8], deposit: &D) {
        self.bytes += bytes.len() as u64;
        let State::Receiving(open) = &mut self.state else { return };
        let written = if self.bytes > self.max_instance {
            let why = format!("it is larger than limits.max_instance ({} bytes)", self.max_instance);
            Err(Refusal::new(status::OUT_OF_RESOURCES, "larger than this node takes", why))
        } else {
            deposit.write(open, bytes).await
        };
        if let Err(refusal) = written {
            // what was written goes with it
            self.state = State::Refused(refusal);
        }
    }

    /// The last byte is here: keeps it, tells of a refusal, and gives the answer.
    pub(super) async fn finish<D: Deposit<Open = O>>(self, deposit: &D) -> Answer {
        let Store { message_id, announced, began, bytes, state, .. } = self;
        let end = match state {
            State::Receiving(open) => deposit.finish(open, &announced).await,
            State::Refused(refusal) => Err(refusal),
        };
        let (status, error_comment, kept) = match end {
            Ok(status) => (status, None, true),
            Err(refusal) => {
                let comment = Some(refusal.comment.to_owned());
                let status = refusal.status;
                tell_refused(&announced, &refusal, bytes, began, deposit).await;
                (status, comment, false)
            }
        };
        // never send back what is no UID
        let uid = |uid: String| if valid_uid(&uid) { uid } else { String::new() };
        let response = Command::CStoreRsp {
            message_id,
            sop_class_uid: uid(announced.sop_class_uid),
            sop_instance_uid: uid(announced.sop_instance_uid),
            status,
            error_comment,
        };
        Answer { response, bytes, kept }
    }
}

fn check(announced: &Announced, context: &Context) -> Result<(), Refusal> {
    if announced.sop_class_uid != context.sop_class_uid {
        let why = "its SOP class is not that of its presentation context";
        return Err(Refusal::new(status::SOP_CLASS_NOT_SUPPORTED, "SOP class is not that of the context", why));
    }
    if !crate::dimse::negotiate::is_storage(&announced.sop_class_uid) {
        let why = "its SOP class is no storage SOP class";
        return Err(Refusal::new(status::SOP_CLASS_NOT_SUPPORTED, "no storage SOP class", why));
    }
    if !valid_uid(&announced.sop_instance_uid) {
        let why = "its SOP Instance UID is no UID";
        return Err(Refusal::new(status::INVALID_SOP_INSTANCE, "the SOP Instance UID is no UID", why));
    }
    Ok(())
}

async fn tell_refused<D: Deposit>(announced: &Announced, refusal: &Refusal, bytes: u64, began: Instant, deposit: &D) {
    let source = &announced.source;
    let sop_instance_uid =
        if valid_uid(&announced.sop_instance_uid) { announced.sop_instance_uid.as_str() } else { "" };
    let status = format!("{:04X}", refusal.status);
    let duration_ms = began.elapsed().as_millis() as u64;
    let detail = json!({ "status": status, "why": refusal.why, "bytes": bytes, "duration_ms": duration_ms });
    let event = Event {
        sop_instance_uid: sop_instance_uid.to_owned(),
        source: Some(source.clone()),
        ..Event::new("refused", detail)
    };
    deposit.tell(event).await;
}

//! One instance by C-STORE (PS3.7 section 9.1.1): in its own transfer syntax, with its overlay spliced in as it leaves; decoded
//! where the destination refuses that; or not at all.
//!
//! The data set streams from the file in constant memory. The last PDU is sent apart: only with it can the destination have
//! the whole of it, so that is the moment from which a crash may cost a second delivery. What goes out while others wait
//! for their responses, and in which order, is [`super::pipeline`]'s.

use super::association::{Association, AssociationError};
use super::contexts::{Form, Need, Negotiated};
use super::message::{Data, Outward};
use super::pipeline::Pipeline;
use super::transcode::{self, TranscodeError};
use crate::dataset::Overlay;
use crate::dataset::splice::Splice;
use dicom_encoding::transfer_syntax::TransferSyntaxIndex;
use dicom_transfer_syntax_registry::TransferSyntaxRegistry;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

/// An instance in a file.
#[derive(Clone, Debug)]
pub struct Item {
    /// A DICOM file.
    pub path: PathBuf,
    /// Where its data set begins.
    pub offset: u64,
    /// How long its data set is, bytes.
    pub length: u64,
    /// SOP class and transfer syntax.
    pub need: Need,
    /// SOP Instance UID.
    pub sop_instance: String,
    /// Spliced in as it leaves.
    pub overlay: Option<Overlay>,
    /// Decode it where its own transfer syntax is refused.
    pub may_decode: bool,
}

impl Item {
    /// Its data set, from the first byte, with the overlay. A file that is shorter than it was is found out now.
    pub(super) fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        let file = File::open(&self.path)?;
        if file.metadata()?.len() < self.offset.saturating_add(self.length) {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file is shorter than it was"));
        }
        let none = Overlay::default();
        let overlay = self.overlay.as_ref().unwrap_or(&none);
        Ok(Box::new(Splice::new(file, self.offset, self.length, &self.need.transfer_syntax, overlay)?))
    }
}

/// The destination's response.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status (0000,0900).
    pub status: u16,
    /// Error Comment (0000,0902).
    pub comment: Option<String>,
    /// In which transfer syntax it went out.
    pub transfer_syntax: String,
    /// Bytes of the data set that went out.
    pub bytes: u64,
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// Its file is not there.
    #[error("the file is gone")]
    Missing,
    /// The destination takes no form of it.
    #[error("{0}")]
    Refused(String),
    /// It would have to be decoded, and cannot be.
    #[error("the destination refuses transfer syntax {from}, and it cannot be decoded for it: {source}")]
    Transcode {
        /// Its own.
        from: String,
        /// Why.
        source: TranscodeError,
    },
    /// The destination takes no form of it now, and gives no reason that would hold for good.
    #[error("{0}")]
    NotNow(String),
    /// This association was not negotiated for it.
    #[error("no presentation context was proposed for it")]
    NotProposed,
    /// Its file cannot be read now.
    #[error("the file cannot be read: {0}")]
    Unreadable(io::Error),
    /// Its file is not what it was when the correction was made, or empty.
    #[error("the data set is damaged: {0}")]
    Damaged(io::Error),
    /// The association is over.
    #[error(transparent)]
    Association(#[from] AssociationError),
}

/// An error of the file's, by whether it will still be there tomorrow.
pub(super) fn of_file(error: io::Error) -> SendError {
    match error.kind() {
        io::ErrorKind::NotFound => SendError::Missing,
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
            SendError::Damaged(error)
        }
        _ => SendError::Unreadable(error),
    }
}

/// Sends `item` and waits for the response, on an association with nothing else in flight.
///
/// # Errors
/// Any [`SendError`]. Ask [`Association::usable`] afterwards whether the association can go on.
pub async fn send(association: &mut Association, item: &Item) -> Result<Answer, SendError> {
    let mut pipeline = Pipeline::new(association);
    let sent = match pipeline.send(item, std::future::ready(()), |(), _| ()).await? {
        Gone::Whole(sent) => sent,
        Gone::Refused(answer) => return Ok(answer),
    };
    let ((), answer) = match pipeline.enter(sent, ()) {
        Some(answered) => answered,
        None => pipeline.hear().await?,
    };
    Ok(answer)
}

/// What became of a message.
#[derive(Debug)]
pub enum Gone {
    /// All of it is out: a response is due.
    Whole(Sent),
    /// The destination refused it before it had all of it, and ended the association.
    Refused(Answer),
}

/// A message that is out.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Message ID.
    pub(super) id: u16,
    /// In which transfer syntax.
    pub(super) transfer_syntax: String,
    /// Bytes of its data set.
    pub(super) bytes: u64,
}

impl Sent {
    pub(super) fn answer(self, response: Response) -> Answer {
        let Sent { transfer_syntax, bytes, .. } = self;
        Answer { status: response.status, comment: response.comment, transfer_syntax, bytes }
    }
}

/// How `item` goes out on this association; decoded first, if need be.
///
/// # Errors
/// Not at all.
pub(super) async fn form(negotiated: &Negotiated, item: &Item) -> Result<Outward, SendError> {
    let form = negotiated.form(&item.need);
    let own = &item.need.transfer_syntax;
    let (context, transfer_syntax, data) = match form {
        Form::AsItIs { context } => (context, own.clone(), Data::File(item.clone())),
        Form::Native { context, transfer_syntax } if item.may_decode => {
            let native = transcode::native(item.clone(), transfer_syntax).await.map_err(|error| match error {
                TranscodeError::Io(error) => of_file(error),
                source => SendError::Transcode { from: named(own), source },
            })?;
            (context, transfer_syntax.to_owned(), Data::Bytes(native))
        }
        Form::Native { .. } => {
            return Err(SendError::Refused(format!("the destination refuses transfer syntax {}", named(own))));
        }
        Form::SopClassRefused => {
            return Err(SendError::Refused(format!("the destination refuses SOP class {}", item.need.sop_class)));
        }
        Form::TransferSyntaxRefused(refused) => {
            return Err(SendError::Refused(format!(
                "the destination takes none of the transfer syntaxes {}",
                all_named(&refused)
            )));
        }
        Form::RefusedForNow(refused) => {
            return Err(SendError::NotNow(format!(
                "the destination refuses SOP class {} in the transfer syntaxes {}, and does not say why",
                item.need.sop_class,
                all_named(&refused)
            )));
        }
        Form::NotProposed => return Err(SendError::NotProposed),
    };
    Ok(Outward { context, transfer_syntax, data })
}

/// What a C-STORE-RSP says.
#[derive(Clone, Debug)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) comment: Option<String>,
}

fn all_named(uids: &[String]) -> String {
    uids.iter().map(|uid| named(uid)).collect::<Vec<_>>().join(", ")
}

/// A transfer syntax with its name, for people.
pub(super) fn named(uid: &str) -> String {
    match TransferSyntaxRegistry.get(uid) {
        Some(known) => format!("{uid} ({})", known.name()),
        None => uid.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::association::Peer;
    use super::super::{contexts, frames};
    use super::*;
    use crate::dimse::command::Command;
    use std::io::Read;

    /// Accepts one association, answers the C-STORE with `status` after its first bytes, and closes or waits.
    fn answers_early(
        status: u16,
        closes: bool,
        over: std::sync::mpsc::Receiver<()>,
    ) -> (String, std::thread::JoinHandle<()>) {
        use dicom_ul::pdu::{
            AssociationAC, Pdu, PresentationContextResult, PresentationContextResultReason, write_pdu,
        };
        use std::io::Write;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut header = [0; 6];
            stream.read_exact(&mut header).unwrap();
            let length = u32::from_be_bytes([header[2], header[3], header[4], header[5]]);
            stream.read_exact(&mut vec![0; length as usize]).unwrap();
            let accepted = Pdu::AssociationAC(AssociationAC {
                protocol_version: 1,
                application_context_name: "1.2.840.10008.3.1.1.1".into(),
                called_ae_title: "A".into(),
                calling_ae_title: "B".into(),
                presentation_contexts: vec![PresentationContextResult {
                    id: 1,
                    reason: PresentationContextResultReason::Acceptance,
                    transfer_syntax: contexts::EXPLICIT_VR_LE.into(),
                }],
                user_variables: Vec::new(),
            });
            let mut bytes = Vec::new();
            write_pdu(&mut bytes, &accepted).unwrap();
            stream.write_all(&bytes).unwrap();
            stream.read_exact(&mut [0; 1000]).unwrap();
            let (sop_class_uid, sop_instance_uid) = (String::new(), String::new());
            let response =
                Command::CStoreRsp { message_id: 1, sop_class_uid, sop_instance_uid, status, error_comment: None };
            stream.write_all(&frames::command(&response.encode(), 1, 16_000)).unwrap();
            if !closes {
                // until the sender has given up
                let _ = over.recv();
            }
        });
        (address, thread)
    }

    #[tokio::test]
    async fn a_refusal_before_the_end_counts_and_a_success_before_the_end_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("large");
        // more than the sockets hold
        let length = 64 << 20;
        File::create(&path).unwrap().set_len(length).unwrap();
        let need = Need::new("1.2.840.10008.5.1.4.1.1.1", contexts::EXPLICIT_VR_LE);
        let item = Item {
            path,
            offset: 0,
            length,
            need: need.clone(),
            sop_instance: "1.2.3".into(),
            overlay: None,
            may_decode: false,
        };
        for (status, closes) in [(0xA700, true), (0xC000, false), (0x0000, true), (0xB000, true)] {
            let (give_up, over) = std::sync::mpsc::channel();
            let (address, thread) = answers_early(status, closes, over);
            let peer = Peer {
                called_ae: "A".into(),
                calling_ae: "B".into(),
                address,
                timeout: std::time::Duration::from_secs(2),
                window: 1,
            };
            let mut association = Association::request(&peer, std::slice::from_ref(&need)).await.unwrap();
            let sent = send(&mut association, &item).await;
            match status {
                0xA700 | 0xC000 => assert_eq!(sent.unwrap().status, status),
                _ => assert!(matches!(sent, Err(SendError::Association(_))), "{sent:?}"),
            }
            assert!(!association.usable());
            drop(give_up);
            thread.join().unwrap();
        }
    }

    #[test]
    fn transfer_syntaxes_have_names() {
        assert!(named("1.2.840.10008.1.2.4.70").contains("JPEG Lossless"));
        assert_eq!(named("1.2.3"), "1.2.3");
    }
}

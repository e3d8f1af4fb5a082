//! A peer that speaks raw bytes, so that it can also speak wrongly.

use super::PATIENCE;
use super::object::Object;
use dicom_ul::pdu::{
    AssociationAC, AssociationRQ, Pdu, PresentationContextProposed, UserVariableItem, read_pdu, write_pdu,
};
use radroute::dimse::command::Command;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

pub const VERIFICATION: &str = "1.2.840.10008.1.1";

/// What came from the node.
#[derive(Debug, PartialEq, Eq)]
pub enum Got {
    /// Type and body.
    Pdu(u8, Vec<u8>),
    /// The connection is closed.
    Closed,
}

pub struct Peer {
    pub stream: TcpStream,
}

impl Peer {
    pub fn connect(addr: SocketAddr) -> Peer {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Peer { stream }
    }

    /// An association with one context for each (id, abstract syntax, transfer syntax); all must be accepted.
    pub fn associate(addr: SocketAddr, contexts: &[(u8, &str, &str)]) -> Peer {
        let mut peer = Peer::connect(addr);
        let answer = peer.request(&request(contexts));
        let Pdu::AssociationAC(AssociationAC { presentation_contexts, .. }) = answer else { panic!("{answer:?}") };
        assert!(
            presentation_contexts
                .iter()
                .all(|c| c.reason == dicom_ul::pdu::PresentationContextResultReason::Acceptance)
        );
        peer
    }

    /// An association for an object: context 1 is its own, 3 is Verification.
    pub fn for_object(addr: SocketAddr, object: &Object) -> Peer {
        let verification = (3, VERIFICATION, super::object::IMPLICIT);
        Peer::associate(addr, &[(1, &object.sop_class, &object.transfer_syntax), verification])
    }

    /// Sends an A-ASSOCIATE-RQ and gives the answer.
    pub fn request(&mut self, request: &AssociationRQ) -> Pdu {
        let mut bytes = Vec::new();
        write_pdu(&mut bytes, &Pdu::AssociationRQ(request.clone())).unwrap();
        self.send(&bytes);
        match self.read() {
            Got::Pdu(kind, body) => read_pdu(pdu(kind, &body).as_slice(), 1 << 20, false).unwrap().unwrap(),
            Got::Closed => panic!("closed instead of an answer"),
        }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// As [`Peer::send`], to a node that may have hung up.
    pub fn try_send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    pub fn read(&mut self) -> Got {
        let mut header = [0; 6];
        let mut have = 0;
        while have < 6 {
            match self.stream.read(&mut header[have..]) {
                Ok(0) => return Got::Closed,
                Ok(n) => have += n,
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Got::Closed,
                Err(error) => panic!("{error}"),
            }
        }
        let mut body = vec![0; u32::from_be_bytes([header[2], header[3], header[4], header[5]]) as usize];
        self.stream.read_exact(&mut body).unwrap();
        Got::Pdu(header[0], body)
    }

    /// The next PDU is an A-ABORT of the provider with this reason.
    #[track_caller]
    pub fn expect_abort(&mut self, reason: u8) {
        assert_eq!(self.read(), Got::Pdu(7, vec![0, 0, 2, reason]));
    }

    pub fn command(&mut self, context_id: u8, command: &Command) {
        self.send(&pdu(4, &pdv(context_id, 3, &command.encode())));
    }

    /// A data set in PDUs of 4 KiB.
    pub fn data(&mut self, context_id: u8, data: &[u8]) {
        let count = data.chunks(4096).len();
        for (n, piece) in data.chunks(4096).enumerate() {
            self.send(&pdu(4, &pdv(context_id, if n + 1 == count { 2 } else { 0 }, piece)));
        }
    }

    /// The next response.
    #[track_caller]
    pub fn response(&mut self) -> Command {
        match self.read() {
            Got::Pdu(4, body) => {
                assert_eq!(body[5], 3, "one whole command");
                Command::parse(&body[6..]).unwrap()
            }
            got => panic!("no response but {got:?}"),
        }
    }

    /// Status and comment of the next response, which is to a C-STORE.
    #[track_caller]
    pub fn store_status(&mut self) -> (u16, Option<String>) {
        match self.response() {
            Command::CStoreRsp { status, error_comment, .. } => (status, error_comment),
            other => panic!("{other:?}"),
        }
    }

    /// A whole C-STORE on context 1.
    #[track_caller]
    pub fn store(&mut self, object: &Object) -> u16 {
        self.command(1, &store_rq(1, &object.sop_class, &object.sop_instance));
        self.data(1, &object.data_set());
        self.store_status().0
    }

    #[track_caller]
    pub fn echo(&mut self, context_id: u8, message_id: u16) {
        self.command(context_id, &Command::CEchoRq { message_id });
        assert_eq!(self.response(), Command::CEchoRsp { message_id, status: 0 });
    }

    #[track_caller]
    pub fn release(&mut self) {
        self.send(&[5, 0, 0, 0, 0, 4, 0, 0, 0, 0]);
        assert_eq!(self.read(), Got::Pdu(6, vec![0; 4]));
    }
}

pub fn request(contexts: &[(u8, &str, &str)]) -> AssociationRQ {
    AssociationRQ {
        protocol_version: 1,
        calling_ae_title: "XRAY1".into(),
        called_ae_title: "RADROUTE".into(),
        application_context_name: "1.2.840.10008.3.1.1.1".into(),
        presentation_contexts: contexts
            .iter()
            .map(|(id, abstract_syntax, transfer_syntax)| PresentationContextProposed {
                id: *id,
                abstract_syntax: (*abstract_syntax).into(),
                transfer_syntaxes: vec![(*transfer_syntax).into()],
            })
            .collect(),
        user_variables: vec![
            UserVariableItem::MaxLength(16384),
            UserVariableItem::ImplementationClassUID("1.2.826.0.1.3680043.10.999".into()),
        ],
    }
}

pub fn store_rq(message_id: u16, sop_class: &str, sop_instance: &str) -> Command {
    Command::CStoreRq {
        message_id,
        sop_class_uid: sop_class.into(),
        sop_instance_uid: sop_instance.into(),
        priority: 0,
        move_originator: None,
    }
}

pub fn pdu(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, 0];
    bytes.extend((body.len() as u32).to_be_bytes());
    bytes.extend(body);
    bytes
}

/// `control`: 1 command, 2 last.
pub fn pdv(context_id: u8, control: u8, data: &[u8]) -> Vec<u8> {
    let mut bytes = ((data.len() + 2) as u32).to_be_bytes().to_vec();
    bytes.extend([context_id, control]);
    bytes.extend(data);
    bytes
}

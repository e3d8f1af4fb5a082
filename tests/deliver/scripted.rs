//! A C-STORE SCP that keeps to a script: which window it grants, when it answers what, and when it goes.

use dicom_ul::pdu::{
    AssociationAC, PDataValueType, Pdu, PresentationContextResult, PresentationContextResultReason, UserVariableItem,
    read_pdu, write_pdu,
};
use radroute::deliver::frames;
use radroute::dimse::command::Command;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// The limit is there to fail, not to measure.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a connection of the script saw at its end.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    Released,
    Aborted,
    /// By the sender without a word, or by the script.
    Closed,
}

/// One association.
pub struct Conversation {
    stream: TcpStream,
    context: u8,
    /// What the sender proposed as its window.
    pub proposed: Option<Vec<u8>>,
}

/// Runs `script` for each connection, which is counted from 0; each one's end is told.
pub fn scripted(
    granted: Option<u16>,
    script: impl Fn(usize, &mut Conversation) + Send + 'static,
) -> (u16, Receiver<End>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, ends) = channel();
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let mut conversation = Conversation::accept(stream.unwrap(), granted);
            script(number, &mut conversation);
            if tell.send(conversation.end()).is_err() {
                return;
            }
        }
    });
    (port, ends)
}

impl Conversation {
    fn accept(stream: TcpStream, granted: Option<u16>) -> Conversation {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut conversation = Conversation { stream, context: 0, proposed: None };
        let Some(Pdu::AssociationRQ(request)) = conversation.pdu() else { panic!("no A-ASSOCIATE-RQ") };
        conversation.proposed = request.user_variables.iter().find_map(|item| match item {
            UserVariableItem::Unknown(0x53, value) => Some(value.clone()),
            _ => None,
        });
        let accept = |id, transfer_syntax: &String| PresentationContextResult {
            id,
            reason: PresentationContextResultReason::Acceptance,
            transfer_syntax: transfer_syntax.clone(),
        };
        let contexts = request.presentation_contexts.iter().map(|c| accept(c.id, &c.transfer_syntaxes[0])).collect();
        let mut user_variables = vec![UserVariableItem::MaxLength(16_384)];
        user_variables.extend(granted.map(|n| UserVariableItem::Unknown(0x53, [n.to_be_bytes(), [0, 1]].concat())));
        conversation.say(&Pdu::AssociationAC(AssociationAC {
            protocol_version: 1,
            application_context_name: request.application_context_name,
            called_ae_title: request.called_ae_title,
            calling_ae_title: request.calling_ae_title,
            presentation_contexts: contexts,
            user_variables,
        }));
        conversation
    }

    fn say(&mut self, pdu: &Pdu) {
        let mut bytes = Vec::new();
        write_pdu(&mut bytes, pdu).unwrap();
        self.stream.write_all(&bytes).unwrap();
    }

    fn pdu(&mut self) -> Option<Pdu> {
        let mut bytes = vec![0; 6];
        self.stream.read_exact(&mut bytes).ok()?;
        let length = u32::from_be_bytes(bytes[2..].try_into().unwrap()) as usize;
        bytes.resize(6 + length, 0);
        self.stream.read_exact(&mut bytes[6..]).ok()?;
        read_pdu(bytes.as_slice(), 1 << 20, true).unwrap()
    }

    /// Takes one C-STORE whole: its Message ID and SOP Instance UID.
    pub fn store(&mut self) -> (u16, String) {
        let (mut command, mut request) = (Vec::new(), None);
        loop {
            let Some(Pdu::PData { data }) = self.pdu() else { panic!("no C-STORE") };
            for value in data {
                self.context = value.presentation_context_id;
                match value.value_type {
                    PDataValueType::Command => {
                        command.extend(value.data);
                        if value.is_last {
                            assert!(request.is_none(), "messages mingle");
                            let Ok(Command::CStoreRq { message_id, sop_instance_uid, .. }) = Command::parse(&command)
                            else {
                                panic!("no C-STORE-RQ")
                            };
                            request = Some((message_id, sop_instance_uid));
                        }
                    }
                    PDataValueType::Data if value.is_last => return request.unwrap(),
                    PDataValueType::Data => assert!(request.is_some()),
                }
            }
        }
    }

    /// So many of them.
    pub fn stores(&mut self, count: usize) -> Vec<(u16, String)> {
        (0..count).map(|_| self.store()).collect()
    }

    /// The next one begins.
    pub fn begins(&mut self) {
        assert!(matches!(self.pdu(), Some(Pdu::PData { .. })));
    }

    /// Nothing comes for a while.
    pub fn silence(&mut self) {
        self.stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let heard = self.stream.peek(&mut [0]);
        assert!(heard.is_err(), "{heard:?} bytes more than there is room for");
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
    }

    pub fn answer(&mut self, message_id: u16, status: u16) {
        let (sop_class_uid, sop_instance_uid) = (String::new(), String::new());
        let response = Command::CStoreRsp { message_id, sop_class_uid, sop_instance_uid, status, error_comment: None };
        self.stream.write_all(&frames::command(&response.encode(), self.context, 16_000)).unwrap();
    }

    /// Closes without a word.
    pub fn close(&mut self) {
        self.stream.shutdown(std::net::Shutdown::Both).unwrap();
    }

    /// Answers everything until the sender ends it.
    fn end(mut self) -> End {
        loop {
            match self.pdu() {
                Some(Pdu::ReleaseRQ) => {
                    self.say(&Pdu::ReleaseRP);
                    return End::Released;
                }
                Some(Pdu::AbortRQ { .. }) => return End::Aborted,
                Some(Pdu::PData { .. }) => {}
                Some(pdu) => panic!("{pdu:?}"),
                None => return End::Closed,
            }
        }
    }
}

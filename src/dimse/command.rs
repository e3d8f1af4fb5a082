//! Command sets (PS3.7 section 6.3, 9.3 and Annex E): Implicit VR Little Endian, group 0000 alone.
//!
//! [`Command::encode`] makes one, [`Command::parse`] reads one from a peer. Parsing is bounded: at most [`MAX_COMMAND`] bytes,
//! every length is checked against what is there, nothing is reserved on a peer's word. UIDs come out trimmed but as they
//! were sent: ask [`valid_uid`] before using one, so that a bad one can be answered with a status and need not end the
//! association.

use super::elements::*;

/// The longest command set that is read, bytes. Real ones have some 200.
pub const MAX_COMMAND: usize = 65_536;

// Values of Command Field (0000,0100).
const C_STORE_RQ: u16 = 0x0001;
const C_ECHO_RQ: u16 = 0x0030;
const C_CANCEL_RQ: u16 = 0x0FFF;
const RESPONSE: u16 = 0x8000;

/// Priority (0000,0700): medium, which every sender may use.
pub const PRIORITY_MEDIUM: u16 = 0x0000;

/// The SOP class of C-ECHO (PS3.4 Annex A).
pub const VERIFICATION: &str = "1.2.840.10008.1.1";

/// Why a command set could not be read. The association cannot go on after any of these.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// Longer than [`MAX_COMMAND`].
    #[error("the command set has more than {MAX_COMMAND} bytes")]
    TooLong,
    /// It ends within an element.
    #[error("the command set ends within an element (at byte {at})")]
    Truncated {
        /// Where, bytes from its start.
        at: usize,
    },
    /// An element of another group.
    #[error("the command set holds ({group:04X},{element:04X}), which is no command element")]
    NotCommand {
        /// Group number.
        group: u16,
        /// Element number.
        element: u16,
    },
    /// The same element again.
    #[error("the command set holds (0000,{element:04X}) twice")]
    Twice {
        /// Element number.
        element: u16,
    },
    /// A number of the wrong length.
    #[error("(0000,{element:04X}) of the command set has {length} bytes, not {wanted}")]
    Length {
        /// Element number.
        element: u16,
        /// What came.
        length: usize,
        /// What is right.
        wanted: usize,
    },
    /// An element that must be there is not.
    #[error("the command set (command field {command_field:04X}) has no (0000,{element:04X})")]
    Missing {
        /// Command field, 0 where it is itself missing.
        command_field: u16,
        /// Element number.
        element: u16,
    },
    /// A data set is announced where there cannot be one, or none where there must be.
    #[error("the command set (command field {command_field:04X}) is wrong about its data set")]
    DataSetType {
        /// Command field.
        command_field: u16,
    },
}

/// A DIMSE message's command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// C-STORE-RQ (PS3.7 table 9.3-1); its data set follows.
    CStoreRq {
        /// (0000,0110)
        message_id: u16,
        /// (0000,0002)
        sop_class_uid: String,
        /// (0000,1000)
        sop_instance_uid: String,
        /// (0000,0700)
        priority: u16,
        /// (0000,1030) and (0000,1031): who asked for it by C-MOVE.
        move_originator: Option<(String, u16)>,
    },
    /// C-STORE-RSP (PS3.7 table 9.3-2).
    CStoreRsp {
        /// Message ID Being Responded To (0000,0120).
        message_id: u16,
        /// (0000,0002); left out when empty.
        sop_class_uid: String,
        /// (0000,1000); left out when empty.
        sop_instance_uid: String,
        /// (0000,0900)
        status: u16,
        /// (0000,0902): at most 64 characters.
        error_comment: Option<String>,
    },
    /// C-ECHO-RQ (PS3.7 table 9.3-12).
    CEchoRq {
        /// (0000,0110)
        message_id: u16,
    },
    /// C-ECHO-RSP (PS3.7 table 9.3-13).
    CEchoRsp {
        /// Message ID Being Responded To (0000,0120).
        message_id: u16,
        /// (0000,0900)
        status: u16,
    },
    /// C-CANCEL-RQ: has no response.
    CancelRq {
        /// Message ID Being Responded To (0000,0120).
        message_id: u16,
    },
    /// Any other request.
    Other {
        /// (0000,0100)
        command_field: u16,
        /// (0000,0110)
        message_id: u16,
        /// A data set follows.
        has_data_set: bool,
    },
    /// Any other response. Encoding one that has a data set is not provided for.
    OtherRsp {
        /// (0000,0100), bit 15 set.
        command_field: u16,
        /// Message ID Being Responded To (0000,0120).
        message_id: u16,
        /// (0000,0900)
        status: u16,
        /// (0000,0902)
        error_comment: Option<String>,
        /// A data set follows.
        has_data_set: bool,
    },
}

impl Command {
    /// The response that refuses a request nobody here understands: the request's command field with bit 15 set.
    pub fn refusal(command_field: u16, message_id: u16, status: u16, comment: &str) -> Command {
        Command::OtherRsp {
            command_field: command_field | RESPONSE,
            message_id,
            status,
            error_comment: Some(comment.to_owned()),
            has_data_set: false,
        }
    }

    /// A data set follows this command.
    pub fn has_data_set(&self) -> bool {
        match self {
            Command::CStoreRq { .. } => true,
            Command::Other { has_data_set, .. } | Command::OtherRsp { has_data_set, .. } => *has_data_set,
            _ => false,
        }
    }

    /// The command set's bytes, group length first, elements in ascending order.
    pub fn encode(&self) -> Vec<u8> {
        let mut set = Encoder::default();
        match self {
            Command::CStoreRq { message_id, sop_class_uid, sop_instance_uid, priority, move_originator } => {
                set.uid(AFFECTED_SOP_CLASS_UID, sop_class_uid);
                set.us(COMMAND_FIELD, C_STORE_RQ);
                set.us(MESSAGE_ID, *message_id);
                set.us(PRIORITY, *priority);
                // any value but 0101 says that a data set follows; 0000 is what others send
                set.us(DATA_SET_TYPE, 0x0000);
                set.uid(AFFECTED_SOP_INSTANCE_UID, sop_instance_uid);
                if let Some((ae_title, id)) = move_originator {
                    set.text(MOVE_ORIGINATOR_AE_TITLE, ae_title, 16);
                    set.us(MOVE_ORIGINATOR_MESSAGE_ID, *id);
                }
            }
            Command::CStoreRsp { message_id, sop_class_uid, sop_instance_uid, status, error_comment } => {
                if !sop_class_uid.is_empty() {
                    set.uid(AFFECTED_SOP_CLASS_UID, sop_class_uid);
                }
                set.response(C_STORE_RQ | RESPONSE, *message_id, *status, error_comment.as_deref());
                if !sop_instance_uid.is_empty() {
                    set.uid(AFFECTED_SOP_INSTANCE_UID, sop_instance_uid);
                }
            }
            Command::CEchoRq { message_id } => {
                set.uid(AFFECTED_SOP_CLASS_UID, VERIFICATION);
                set.us(COMMAND_FIELD, C_ECHO_RQ);
                set.us(MESSAGE_ID, *message_id);
                set.us(DATA_SET_TYPE, NO_DATA_SET);
            }
            Command::CEchoRsp { message_id, status } => {
                set.uid(AFFECTED_SOP_CLASS_UID, VERIFICATION);
                set.response(C_ECHO_RQ | RESPONSE, *message_id, *status, None);
            }
            Command::CancelRq { message_id } => {
                set.us(COMMAND_FIELD, C_CANCEL_RQ);
                set.us(MESSAGE_ID_RESPONDED_TO, *message_id);
                set.us(DATA_SET_TYPE, NO_DATA_SET);
            }
            Command::Other { command_field, message_id, has_data_set } => {
                set.us(COMMAND_FIELD, *command_field);
                set.us(MESSAGE_ID, *message_id);
                set.us(DATA_SET_TYPE, if *has_data_set { 0x0000 } else { NO_DATA_SET });
            }
            Command::OtherRsp { command_field, message_id, status, error_comment, .. } => {
                set.response(*command_field, *message_id, *status, error_comment.as_deref());
            }
        }
        set.finish()
    }

    /// Reads a command set as it was reassembled from its PDVs.
    ///
    /// Group Length (0000,0000) is read over: the PDVs say where the command ends, and old senders have it wrong.
    ///
    /// # Errors
    /// Any [`CommandError`]; none of them can be answered with a status, the association is to be aborted.
    pub fn parse(bytes: &[u8]) -> Result<Command, CommandError> {
        let set = Elements::read(bytes)?;
        let field = set.us(COMMAND_FIELD)?.ok_or(CommandError::Missing { command_field: 0, element: COMMAND_FIELD })?;
        let need = |element| set.us(element)?.ok_or(CommandError::Missing { command_field: field, element });
        let has_data_set = need(DATA_SET_TYPE)? != NO_DATA_SET;
        let data_set = |wanted: bool| {
            if has_data_set == wanted { Ok(()) } else { Err(CommandError::DataSetType { command_field: field }) }
        };
        Ok(match field {
            C_STORE_RQ => {
                data_set(true)?;
                Command::CStoreRq {
                    message_id: need(MESSAGE_ID)?,
                    sop_class_uid: set
                        .text(AFFECTED_SOP_CLASS_UID)
                        .ok_or(CommandError::Missing { command_field: field, element: AFFECTED_SOP_CLASS_UID })?,
                    sop_instance_uid: set
                        .text(AFFECTED_SOP_INSTANCE_UID)
                        .ok_or(CommandError::Missing { command_field: field, element: AFFECTED_SOP_INSTANCE_UID })?,
                    // required by the standard, of no use to us: a sender that leaves it out loses nothing
                    priority: set.us(PRIORITY)?.unwrap_or(PRIORITY_MEDIUM),
                    move_originator: match (set.text(MOVE_ORIGINATOR_AE_TITLE), set.us(MOVE_ORIGINATOR_MESSAGE_ID)?) {
                        (Some(ae_title), Some(id)) => Some((ae_title, id)),
                        _ => None,
                    },
                }
            }
            C_ECHO_RQ => {
                data_set(false)?;
                Command::CEchoRq { message_id: need(MESSAGE_ID)? }
            }
            C_CANCEL_RQ => {
                data_set(false)?;
                Command::CancelRq { message_id: need(MESSAGE_ID_RESPONDED_TO)? }
            }
            _ if field & RESPONSE == 0 => {
                Command::Other { command_field: field, message_id: need(MESSAGE_ID)?, has_data_set }
            }
            _ => {
                let message_id = need(MESSAGE_ID_RESPONDED_TO)?;
                let status = need(STATUS)?;
                let error_comment = set.text(ERROR_COMMENT).filter(|comment| !comment.is_empty());
                match field & !RESPONSE {
                    C_STORE_RQ => {
                        data_set(false)?;
                        Command::CStoreRsp {
                            message_id,
                            sop_class_uid: set.text(AFFECTED_SOP_CLASS_UID).unwrap_or_default(),
                            sop_instance_uid: set.text(AFFECTED_SOP_INSTANCE_UID).unwrap_or_default(),
                            status,
                            error_comment,
                        }
                    }
                    C_ECHO_RQ => {
                        data_set(false)?;
                        Command::CEchoRsp { message_id, status }
                    }
                    _ => Command::OtherRsp { command_field: field, message_id, status, error_comment, has_data_set },
                }
            }
        })
    }
}

/// A UID as far as it matters for safety: 1 to 64 of digits and dots (PS3.5 section 9.1), beginning and ending with a
/// digit, no empty component. Leading zeros break the standard, yet are sent, and harm nobody.
pub fn valid_uid(uid: &str) -> bool {
    (1..=64).contains(&uid.len())
        && uid.split('.').all(|component| !component.is_empty() && component.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn store_rq() -> Command {
        Command::CStoreRq {
            message_id: 7,
            sop_class_uid: "1.2.840.10008.5.1.4.1.1.1.1".into(),
            sop_instance_uid: "1.2.3.4".into(),
            priority: PRIORITY_MEDIUM,
            move_originator: Some(("MOVER".into(), 9)),
        }
    }

    fn all() -> Vec<Command> {
        vec![
            store_rq(),
            Command::CStoreRsp {
                message_id: 7,
                sop_class_uid: "1.2.3".into(),
                sop_instance_uid: "1.2.3.4".into(),
                status: 0xA700,
                error_comment: Some("no room".into()),
            },
            Command::CStoreRsp {
                message_id: 65535,
                sop_class_uid: String::new(),
                sop_instance_uid: String::new(),
                status: 0,
                error_comment: None,
            },
            Command::CEchoRq { message_id: 42 },
            Command::CEchoRsp { message_id: 42, status: 0 },
            Command::CancelRq { message_id: 3 },
            Command::Other { command_field: 0x0020, message_id: 5, has_data_set: true },
            Command::refusal(0x0020, 5, 0x0211, "no"),
        ]
    }

    fn element(element: u16, value: &[u8]) -> Vec<u8> {
        let mut set = Encoder::default();
        set.element(element, value);
        set.0
    }

    #[test]
    fn what_is_encoded_is_read_back() {
        for command in all() {
            assert_eq!(Command::parse(&command.encode()), Ok(command));
        }
    }

    #[test]
    fn a_c_echo_response_has_the_bytes_of_the_standard() {
        let bytes = Command::CEchoRsp { message_id: 42, status: 0 }.encode();
        let mut expected = vec![0, 0, 0, 0, 4, 0, 0, 0, 66, 0, 0, 0];
        expected.extend_from_slice(&[0, 0, 2, 0, 18, 0, 0, 0]);
        expected.extend_from_slice(b"1.2.840.10008.1.1\0");
        expected.extend_from_slice(&[0, 0, 0x00, 0x01, 2, 0, 0, 0, 0x30, 0x80]);
        expected.extend_from_slice(&[0, 0, 0x20, 0x01, 2, 0, 0, 0, 42, 0]);
        expected.extend_from_slice(&[0, 0, 0x00, 0x08, 2, 0, 0, 0, 0x01, 0x01]);
        expected.extend_from_slice(&[0, 0, 0x00, 0x09, 2, 0, 0, 0, 0, 0]);
        assert_eq!(bytes, expected);
    }

    #[test]
    fn a_command_cut_anywhere_is_an_error() {
        // responses end with the status and requests with what they are about; only optional elements come later
        for command in [Command::CEchoRq { message_id: 42 }, Command::CEchoRsp { message_id: 42, status: 0 }] {
            let bytes = command.encode();
            for end in 0..bytes.len() {
                assert!(Command::parse(&bytes[..end]).is_err(), "cut at {end} of {command:?}");
            }
        }
    }

    #[test]
    fn hostile_command_sets_are_refused() {
        let two_gigabytes = [0u8, 0, 0x02, 0, 0xFF, 0xFF, 0xFF, 0x7F, b'1', b'2'];
        assert_eq!(Command::parse(&two_gigabytes), Err(CommandError::Truncated { at: 0 }));
        let undefined = [0u8, 0, 0x02, 0, 0xFF, 0xFF, 0xFF, 0xFF];
        assert_eq!(Command::parse(&undefined), Err(CommandError::Truncated { at: 0 }));
        assert_eq!(
            Command::parse(&[8, 0, 0x18, 0, 0, 0, 0, 0]),
            Err(CommandError::NotCommand { group: 8, element: 0x18 })
        );
        assert_eq!(Command::parse(&vec![0; MAX_COMMAND + 1]), Err(CommandError::TooLong));
        assert_eq!(Command::parse(&[]), Err(CommandError::Missing { command_field: 0, element: COMMAND_FIELD }));
        let twice = [store_rq().encode(), element(MESSAGE_ID, &[1, 0])].concat();
        assert_eq!(Command::parse(&twice), Err(CommandError::Twice { element: MESSAGE_ID }));
        let long = element(COMMAND_FIELD, &[1, 0, 0, 0]);
        assert_eq!(Command::parse(&long), Err(CommandError::Length { element: COMMAND_FIELD, length: 4, wanted: 2 }));
    }

    #[test]
    fn a_store_request_without_data_set_and_a_response_with_one_are_refused() {
        let set = |field: u16, data_set: u16| {
            let mut set = Encoder::default();
            set.uid(AFFECTED_SOP_CLASS_UID, "1.2");
            set.us(COMMAND_FIELD, field);
            set.us(MESSAGE_ID, 1);
            set.us(MESSAGE_ID_RESPONDED_TO, 1);
            set.us(DATA_SET_TYPE, data_set);
            set.us(STATUS, 0);
            set.uid(AFFECTED_SOP_INSTANCE_UID, "1.2");
            Command::parse(&set.0)
        };
        assert_eq!(set(C_STORE_RQ, NO_DATA_SET), Err(CommandError::DataSetType { command_field: C_STORE_RQ }));
        assert_eq!(set(0x8001, 1), Err(CommandError::DataSetType { command_field: 0x8001 }));
        assert_eq!(set(0x8030, 1), Err(CommandError::DataSetType { command_field: 0x8030 }));
        assert!(set(C_STORE_RQ, 1).is_ok());
    }

    #[test]
    fn a_wrong_group_length_and_odd_padding_do_no_harm() {
        let mut bytes = store_rq().encode();
        bytes[8] = 0xEE;
        assert_eq!(Command::parse(&bytes), Ok(store_rq()));
        let set = [
            element(AFFECTED_SOP_CLASS_UID, b"1.2 \0"),
            element(COMMAND_FIELD, &[1, 0]),
            element(MESSAGE_ID, &[1, 0]),
            element(DATA_SET_TYPE, &[2, 0]),
            element(AFFECTED_SOP_INSTANCE_UID, b"1.2\n3"),
        ]
        .concat();
        let Ok(Command::CStoreRq { sop_class_uid, sop_instance_uid, .. }) = Command::parse(&set) else { panic!() };
        assert_eq!(sop_class_uid, "1.2");
        assert_eq!(sop_instance_uid, "1.2?3");
        assert!(!valid_uid(&sop_instance_uid));
    }

    #[test]
    fn uids() {
        for good in ["1", "1.2.840.10008.1.1", "1.02.3", &"1".repeat(64)] {
            assert!(valid_uid(good), "{good}");
        }
        for bad in ["", ".", "1.", ".1", "1..2", "../../x", "1.2/3", "1.2 ", "1.2a", "1.2\0", &"1".repeat(65)] {
            assert!(!valid_uid(bad), "{bad}");
        }
    }

    #[test]
    fn an_error_comment_is_cut_and_cleaned() {
        let long = Command::refusal(1, 1, 0x110, &"ä\\".repeat(60)).encode();
        let Ok(Command::CStoreRsp { error_comment: Some(comment), .. }) = Command::parse(&long) else { panic!() };
        assert_eq!(comment, "?".repeat(64));
    }

    proptest! {
        #[test]
        fn parsing_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Command::parse(&bytes);
        }

        #[test]
        fn parsing_a_damaged_command_never_panics(which in 0usize..8, at in 0usize..400, byte: u8, cut in 0usize..400) {
            let mut bytes = all()[which].encode();
            let at = at % bytes.len();
            bytes[at] = byte;
            bytes.truncate(cut);
            let _ = Command::parse(&bytes);
        }

        #[test]
        fn any_store_request_survives(message_id: u16, priority: u16, class in "[0-9]{1,8}(\\.[0-9]{1,5}){0,8}", instance in "[0-9]{1,8}(\\.[0-9]{1,5}){0,8}") {
            let command = Command::CStoreRq { message_id, sop_class_uid: class, sop_instance_uid: instance, priority, move_originator: None };
            prop_assert_eq!(Command::parse(&command.encode()), Ok(command));
        }
    }
}

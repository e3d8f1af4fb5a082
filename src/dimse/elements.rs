//! The elements of a command set: Implicit VR Little Endian, group 0000 (PS3.7 section 6.3.1 and Annex E.1).

use super::command::{CommandError, MAX_COMMAND};
use std::collections::BTreeMap;

// Elements of group 0000 (PS3.7 Annex E.1).
pub(super) const GROUP_LENGTH: u16 = 0x0000;
pub(super) const AFFECTED_SOP_CLASS_UID: u16 = 0x0002;
pub(super) const COMMAND_FIELD: u16 = 0x0100;
pub(super) const MESSAGE_ID: u16 = 0x0110;
pub(super) const MESSAGE_ID_RESPONDED_TO: u16 = 0x0120;
pub(super) const PRIORITY: u16 = 0x0700;
pub(super) const DATA_SET_TYPE: u16 = 0x0800;
pub(super) const STATUS: u16 = 0x0900;
pub(super) const ERROR_COMMENT: u16 = 0x0902;
pub(super) const AFFECTED_SOP_INSTANCE_UID: u16 = 0x1000;
pub(super) const MOVE_ORIGINATOR_AE_TITLE: u16 = 0x1030;
pub(super) const MOVE_ORIGINATOR_MESSAGE_ID: u16 = 0x1031;

/// Command Data Set Type (0000,0800) of a message without a data set.
pub(super) const NO_DATA_SET: u16 = 0x0101;

/// The elements of a command set.
pub(super) struct Elements<'a>(BTreeMap<u16, &'a [u8]>);

impl<'a> Elements<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Result<Elements<'a>, CommandError> {
        if bytes.len() > MAX_COMMAND {
            return Err(CommandError::TooLong);
        }
        let mut elements = BTreeMap::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let at = bytes.len() - rest.len();
            let truncated = CommandError::Truncated { at };
            let (header, after) = rest.split_first_chunk::<8>().ok_or(truncated.clone())?;
            let group = u16::from_le_bytes([header[0], header[1]]);
            let element = u16::from_le_bytes([header[2], header[3]]);
            let length = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
            if group != 0x0000 {
                return Err(CommandError::NotCommand { group, element });
            }
            let length = usize::try_from(length).ok().filter(|&length| length <= after.len()).ok_or(truncated)?;
            let (value, after) = after.split_at(length);
            if elements.insert(element, value).is_some() {
                return Err(CommandError::Twice { element });
            }
            rest = after;
        }
        Ok(Elements(elements))
    }

    pub(super) fn us(&self, element: u16) -> Result<Option<u16>, CommandError> {
        let Some(value) = self.0.get(&element) else { return Ok(None) };
        match <[u8; 2]>::try_from(*value) {
            Ok(value) => Ok(Some(u16::from_le_bytes(value))),
            Err(_) => Err(CommandError::Length { element, length: value.len(), wanted: 2 }),
        }
    }

    /// Text without its padding; fit for a log line: a byte that is no printable ASCII becomes `?`, at most 256 are kept.
    pub(super) fn text(&self, element: u16) -> Option<String> {
        let text: String = self
            .0
            .get(&element)?
            .iter()
            .take(256)
            .map(|&b| if matches!(b, 0 | 0x20..=0x7E) { char::from(b) } else { '?' })
            .collect();
        Some(text.trim_matches(['\0', ' ']).replace('\0', "?"))
    }
}

/// Writes elements one after the other.
#[derive(Default)]
pub(super) struct Encoder(pub(super) Vec<u8>);

impl Encoder {
    pub(super) fn element(&mut self, element: u16, value: &[u8]) {
        self.0.extend_from_slice(&[0, 0]);
        self.0.extend_from_slice(&element.to_le_bytes());
        self.0.extend_from_slice(&(value.len() as u32).to_le_bytes());
        self.0.extend_from_slice(value);
    }

    pub(super) fn us(&mut self, element: u16, value: u16) {
        self.element(element, &value.to_le_bytes());
    }

    /// UIDs are padded to even length with NUL (PS3.5 section 9.1).
    pub(super) fn uid(&mut self, element: u16, uid: &str) {
        let mut value = uid.as_bytes().to_vec();
        if value.len() % 2 == 1 {
            value.push(0);
        }
        self.element(element, &value);
    }

    /// Text is cut at `most` bytes, kept to printable ASCII without the backslash, and padded with a space.
    pub(super) fn text(&mut self, element: u16, text: &str, most: usize) {
        let mut value: Vec<u8> =
            text.bytes().map(|b| if matches!(b, 0x20..=0x7E) && b != b'\\' { b } else { b'?' }).take(most).collect();
        if value.len() % 2 == 1 {
            value.push(b' ');
        }
        self.element(element, &value);
    }

    pub(super) fn response(&mut self, command_field: u16, message_id: u16, status: u16, error_comment: Option<&str>) {
        self.us(COMMAND_FIELD, command_field);
        self.us(MESSAGE_ID_RESPONDED_TO, message_id);
        self.us(DATA_SET_TYPE, NO_DATA_SET);
        self.us(STATUS, status);
        if let Some(comment) = error_comment {
            self.text(ERROR_COMMENT, comment, 64);
        }
    }

    pub(super) fn finish(self) -> Vec<u8> {
        let mut set = Encoder(Vec::with_capacity(self.0.len() + 12));
        set.element(GROUP_LENGTH, &(self.0.len() as u32).to_le_bytes());
        set.0.extend_from_slice(&self.0);
        set.0
    }
}

//! Reads an A-ASSOCIATE-AC (PS3.8 section 9.3.3). Pure and bounded.
//!
//! dicom-ul's reader asks for a transfer syntax in refused contexts too, where the standard says that it is not
//! significant, and some acceptors leave it out.

use super::contexts::Need;
use crate::dimse::negotiate::{WINDOW, invoked};
use dicom_ul::pdu::{DEFAULT_MAX_PDU, PresentationContextResultReason as Reason};

/// The type of this PDU.
pub const PDU_TYPE: u8 = 0x02;

/// Protocol version, reserved, two AE titles, reserved: what stands before the items.
const FIXED: usize = 68;

/// What of it matters to a sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Presentation context identifier and result.
    pub results: Vec<(u8, Reason)>,
    /// Presentation context identifier and transfer syntax, of the accepted ones that name one.
    pub transfer_syntaxes: Vec<(u8, String)>,
    /// Maximum length of the variable field of P-DATA-TF PDUs; 0: any.
    pub max_length: u32,
    /// Operations that we may invoke at once (PS3.7 D.3.3.3); 0: any number; `None`: nothing is granted.
    pub operations: Option<u16>,
}

/// Reads the body of the PDU, without its six header bytes.
///
/// # Errors
/// A sentence about what is wrong with it.
pub fn parse(body: &[u8]) -> Result<Accepted, String> {
    let items = body.get(FIXED..).ok_or("an A-ASSOCIATE-AC that is too short")?;
    let mut accepted =
        Accepted { results: Vec::new(), transfer_syntaxes: Vec::new(), max_length: DEFAULT_MAX_PDU, operations: None };
    for item in Items(items) {
        let (kind, value) = item?;
        match kind {
            0x21 => {
                let [id, _, reason, _, syntax @ ..] = value else {
                    return Err("a presentation context that is too short".into());
                };
                let reason = match reason {
                    0 => Reason::Acceptance,
                    1 => Reason::UserRejection,
                    3 => Reason::AbstractSyntaxNotSupported,
                    4 => Reason::TransferSyntaxesNotSupported,
                    _ => Reason::NoReason,
                };
                if reason == Reason::Acceptance {
                    for item in Items(syntax) {
                        if let (0x40, uid) = item? {
                            let uid = String::from_utf8_lossy(uid).trim_matches(['\0', ' ']).to_owned();
                            accepted.transfer_syntaxes.push((*id, uid));
                        }
                    }
                }
                accepted.results.push((*id, reason));
            }
            0x50 => {
                for item in Items(value) {
                    match item? {
                        (0x51, value) => {
                            let length = value.try_into().map_err(|_| "a maximum length that is no 32-bit number")?;
                            accepted.max_length = u32::from_be_bytes(length);
                        }
                        (WINDOW, value) => accepted.operations = invoked(value),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Ok(accepted)
}

impl Accepted {
    /// Requests that may be in flight at once, where `proposed` were proposed: a grant of more, or one that nobody asked for,
    /// counts for no more than that.
    pub fn window(&self, proposed: u16) -> u16 {
        match self.operations {
            None => 1,
            Some(0) => proposed.max(1),
            Some(granted) => granted.min(proposed).max(1),
        }
    }

    /// A context that was accepted with another transfer syntax than the one proposed for it counts as refused without a
    /// reason: what would be sent on it would be read as something else. Returns those. One that names no transfer syntax
    /// can only mean the one proposed.
    pub fn refuse_others(&mut self, proposed: &[Need]) -> Vec<(u8, String)> {
        let proposed_for = |id: u8| proposed.get(usize::from(id) / 2).filter(|_| id % 2 == 1);
        let mut others = std::mem::take(&mut self.transfer_syntaxes);
        others.retain(|(id, uid)| proposed_for(*id).is_some_and(|need| need.transfer_syntax != *uid));
        for (id, reason) in &mut self.results {
            if others.iter().any(|(other, _)| other == id) {
                *reason = Reason::NoReason;
            }
        }
        others
    }
}

/// Items: type, reserved, 16-bit length, value.
struct Items<'a>(&'a [u8]);

impl<'a> Iterator for Items<'a> {
    type Item = Result<(u8, &'a [u8]), String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let item = self.0.split_first_chunk::<4>().and_then(|(header, rest)| {
            let (value, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([header[2], header[3]])))?;
            self.0 = rest;
            Some((header[0], value))
        });
        if item.is_none() {
            self.0 = &[];
        }
        Some(item.ok_or_else(|| "an item that is longer than its A-ASSOCIATE-AC".into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dicom_ul::pdu::{AssociationAC, Pdu, PresentationContextResult, UserVariableItem, write_pdu};
    use proptest::prelude::*;

    fn example() -> Vec<u8> {
        let mut bytes = Vec::new();
        let context =
            |id, reason| PresentationContextResult { id, reason, transfer_syntax: "1.2.840.10008.1.2".into() };
        let pdu = Pdu::AssociationAC(AssociationAC {
            protocol_version: 1,
            application_context_name: "1.2.840.10008.3.1.1.1".into(),
            called_ae_title: "ARCHIVE".into(),
            calling_ae_title: "RADROUTE".into(),
            presentation_contexts: vec![
                context(1, Reason::Acceptance),
                context(3, Reason::TransferSyntaxesNotSupported),
                context(5, Reason::AbstractSyntaxNotSupported),
            ],
            user_variables: vec![
                UserVariableItem::MaxLength(16_384),
                UserVariableItem::ImplementationClassUID("1.2.3".into()),
            ],
        });
        write_pdu(&mut bytes, &pdu).unwrap();
        bytes.split_off(6)
    }

    #[test]
    fn reads_what_dicom_ul_writes() {
        let accepted = parse(&example()).unwrap();
        assert_eq!(accepted.max_length, 16_384);
        assert_eq!(
            accepted.results,
            [
                (1, Reason::Acceptance),
                (3, Reason::TransferSyntaxesNotSupported),
                (5, Reason::AbstractSyntaxNotSupported)
            ]
        );
    }

    #[test]
    fn a_window_is_what_was_granted_of_what_was_proposed() {
        let with = |item: &[u8]| {
            let mut body = vec![0; FIXED];
            body.extend([0x50, 0, 0, item.len() as u8]);
            body.extend(item);
            parse(&body).unwrap()
        };
        for (granted, proposed, window) in [
            (&[0x53, 0, 0, 4, 0, 4, 0, 1][..], 8, 4),
            (&[0x53, 0, 0, 4, 0, 9, 0, 1], 8, 8),
            (&[0x53, 0, 0, 4, 0, 0, 0, 0], 8, 8),
            (&[0x53, 0, 0, 4, 0, 1, 0, 1], 8, 1),
            (&[0x53, 0, 0, 4, 0, 0, 0, 0], 1, 1),
            (&[0x53, 0, 0, 4, 0, 4, 0, 1], 1, 1),
            (&[0x53, 0, 0, 2, 0, 4], 8, 1),
            (&[0x52, 0, 0, 1, 49], 8, 1),
            (&[], 8, 1),
        ] {
            assert_eq!(with(granted).window(proposed), window, "{granted:?} of {proposed}");
        }
    }

    #[test]
    fn a_refused_context_may_come_without_a_transfer_syntax() {
        let mut body = vec![0; FIXED];
        body.extend([0x21, 0, 0, 4, 7, 0, 4, 0]);
        assert_eq!(parse(&body).unwrap().results, [(7, Reason::TransferSyntaxesNotSupported)]);
    }

    #[test]
    fn accepted_with_a_transfer_syntax_that_was_not_proposed_is_refused() {
        let mut accepted = parse(&example()).unwrap();
        assert_eq!(accepted.transfer_syntaxes, [(1, "1.2.840.10008.1.2".to_owned())]);
        let need = |syntax| Need::new("1.2.3", syntax);
        assert!(accepted.clone().refuse_others(&[need("1.2.840.10008.1.2")]).is_empty());
        let others = accepted.refuse_others(&[need("1.2.840.10008.1.2.1"), need("1.2"), need("1.2")]);
        assert_eq!(others, [(1, "1.2.840.10008.1.2".to_owned())]);
        assert_eq!(accepted.results[0], (1, Reason::NoReason));
        assert_eq!(accepted.results[1], (3, Reason::TransferSyntaxesNotSupported));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut body in proptest::collection::vec(any::<u8>(), 0..300), at in 0usize..300, keep: bool) {
            if keep {
                let mut example = example();
                let at = at.min(example.len() - 1);
                example[at] = body.first().copied().unwrap_or(0xFF);
                body = example;
            }
            let _ = parse(&body);
        }

        #[test]
        fn cut_short_is_an_error_or_fewer_items(at in 0usize..200) {
            let example = example();
            if let Ok(accepted) = parse(&example[..at.min(example.len())]) {
                prop_assert!(accepted.results.len() <= 3);
            }
        }
    }
}

//! The A-ASSOCIATE-RQ, read from its bytes, and the policy that it is held against.

use super::wire::pdu_type;
use crate::config::Config;
use crate::dataset::file_meta::{IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME};
use crate::dimse::negotiate::Policy;
use dicom_ul::pdu::{AssociationRQ, MAXIMUM_PDU_SIZE, Pdu, read_pdu};

/// Reads the PDU's body.
pub(super) fn decode_request(body: &[u8]) -> Result<AssociationRQ, String> {
    let mut pdu = Vec::with_capacity(body.len() + 6);
    pdu.extend_from_slice(&[pdu_type::ASSOCIATE_RQ, 0]);
    pdu.extend_from_slice(&(body.len() as u32).to_be_bytes());
    pdu.extend_from_slice(body);
    match read_pdu(pdu.as_slice(), MAXIMUM_PDU_SIZE, false) {
        Ok(Some(Pdu::AssociationRQ(request))) => Ok(request),
        Ok(_) => Err("the A-ASSOCIATE-RQ is incomplete".to_owned()),
        // dicom-ul prints what it read: keep it short and on one line
        Err(error) => Err(format!("the A-ASSOCIATE-RQ cannot be read: {}", clean(&error.to_string(), 120))),
    }
}

fn clean(text: &str, most: usize) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(most).collect()
}

/// Whom the configuration lets in. `max_pdu` is what we announce.
pub(super) fn policy(config: &Config, max_pdu: u32) -> Policy {
    let node = &config.node;
    let any = node.also_called.iter().any(|title| title == "*");
    Policy {
        called: if any {
            Vec::new()
        } else {
            std::iter::once(&node.ae_title).chain(&node.also_called).cloned().collect()
        },
        peers: config.peer.clone(),
        max_pdu,
        implementation_class_uid: IMPLEMENTATION_CLASS_UID.to_owned(),
        implementation_version_name: IMPLEMENTATION_VERSION_NAME.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dimse::negotiate;
    use crate::receive::wire;
    use dicom_ul::pdu::{PresentationContextProposed, UserVariableItem};
    use proptest::prelude::*;

    fn request() -> Vec<u8> {
        let context = |id, abstract_syntax: &str| PresentationContextProposed {
            id,
            abstract_syntax: abstract_syntax.into(),
            transfer_syntaxes: vec!["1.2.840.10008.1.2.1".into(), "1.2.840.10008.1.2".into()],
        };
        let request = AssociationRQ {
            protocol_version: 1,
            calling_ae_title: "XRAY1".into(),
            called_ae_title: "RADROUTE".into(),
            application_context_name: negotiate::APPLICATION_CONTEXT.into(),
            presentation_contexts: vec![context(1, "1.2.840.10008.1.1"), context(3, "1.2.840.10008.5.1.4.1.1.1")],
            user_variables: vec![
                UserVariableItem::MaxLength(16384),
                UserVariableItem::ImplementationClassUID("1.2.3".into()),
                UserVariableItem::SopClassExtendedNegotiationSubItem("1.2.3".into(), vec![2, 0, 0, 0, 1, 0]),
            ],
        };
        wire::encode(&Pdu::AssociationRQ(request)).unwrap()[6..].to_vec()
    }

    fn answer(body: &[u8]) -> Result<(), String> {
        let config: Config = toml::from_str("[node]\nae_title = \"RADROUTE\"\nstate_dir = \".\"\n").unwrap();
        let request = decode_request(body)?;
        if let Ok(agreed) = negotiate::negotiate(&request, [10, 0, 0, 1].into(), &policy(&config, 16384)) {
            // whatever was agreed can be sent
            wire::encode(&Pdu::AssociationAC(agreed.answer)).unwrap();
        }
        Ok(())
    }

    #[test]
    fn a_request_is_read_and_one_cut_anywhere_is_an_error_or_proposes_less() {
        let whole = request();
        answer(&whole).unwrap();
        for end in 0..whole.len() {
            match decode_request(&whole[..end]) {
                Ok(cut) => assert_ne!(Some(cut), decode_request(&whole).ok(), "cut at {end}"),
                Err(why) => assert!(!why.contains('\n')),
            }
        }
    }

    proptest! {
        #[test]
        fn a_damaged_request_never_panics(damage in proptest::collection::vec((0usize..400, any::<u8>()), 0..8), cut in 0usize..500) {
            let mut body = request();
            for (at, byte) in damage {
                let at = at % body.len();
                body[at] = byte;
            }
            body.truncate(cut);
            let _ = answer(&body);
        }

        #[test]
        fn rubbish_never_panics(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = answer(&body);
        }
    }
}

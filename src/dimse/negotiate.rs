//! A-ASSOCIATE-RQ → A-ASSOCIATE-AC or A-ASSOCIATE-RJ (PS3.8 section 7.1 and 9.3, PS3.7 Annex D), as the acceptor.
//!
//! Accepted are Verification and every standard storage SOP class, also those that this version does not know by name
//! ([`is_storage`]); query, retrieve, worklist and private SOP classes are refused in their presentation context. Of several
//! transfer syntaxes the first standard one that the peer proposes is taken, compressed or not, since instances are kept as
//! they come; a private one only where there is no other.

use super::command::{VERIFICATION, valid_uid};
use crate::config::Peer;
use dicom_ul::pdu::{
    AbortRQServiceProviderReason, AssociationAC, AssociationRJ, AssociationRJResult,
    AssociationRJServiceProviderASCEReason, AssociationRJServiceProviderPresentationReason,
    AssociationRJServiceUserReason, AssociationRJSource, AssociationRQ, PresentationContextProposed,
    PresentationContextResult, PresentationContextResultReason as ContextReason, UserVariableItem,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// The DICOM application context name (PS3.7 Annex A.2.1).
pub const APPLICATION_CONTEXT: &str = "1.2.840.10008.3.1.1.1";
/// Implicit VR Little Endian.
const DEFAULT_TRANSFER_SYNTAX: &str = "1.2.840.10008.1.2";

/// Item type of the asynchronous operations window (PS3.7 D.3.3.3), for which dicom-ul has no name.
pub const WINDOW: u8 = 0x53;

/// Requests that a peer may send before it has the responses to those before, where it asks for it. They are taken one after the other
/// and answered in order, and what was not taken yet waits in the socket: more at once cost nothing.
const MOST_OPERATIONS: u16 = 16;

/// The window as a requestor proposes it, or an acceptor grants it to one: so many operations by the requestor, and one by the
/// acceptor, who invokes none.
pub fn window_item(operations: u16) -> UserVariableItem {
    let [high, low] = operations.to_be_bytes();
    UserVariableItem::Unknown(WINDOW, vec![high, low, 0, 1])
}

/// Operations that the requestor may invoke at once, from the item's value; 0: any number; `None`: it is not such an item.
pub fn invoked(value: &[u8]) -> Option<u16> {
    match value {
        [high, low, _, _] => Some(u16::from_be_bytes([*high, *low])),
        _ => None,
    }
}

/// Whom we accept.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Called AE titles that are ours; empty: any.
    pub called: Vec<String>,
    /// Who may send; empty: anyone.
    pub peers: Vec<Peer>,
    /// The longest P-DATA-TF body that we take, bytes.
    pub max_pdu: u32,
    /// Implementation Class UID.
    pub implementation_class_uid: String,
    /// Implementation Version Name, 1 to 16 characters.
    pub implementation_version_name: String,
}

/// An accepted presentation context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// Abstract syntax: the SOP class.
    pub sop_class_uid: String,
    /// Transfer syntax.
    pub transfer_syntax_uid: String,
}

/// What was agreed.
#[derive(Clone, Debug)]
pub struct Agreed {
    /// The answer.
    pub answer: AssociationAC,
    /// The accepted presentation contexts by ID; may be none.
    pub contexts: BTreeMap<u8, Context>,
    /// The longest P-DATA-TF body that the peer takes; 0: no limit.
    pub peer_max_pdu: u32,
}

/// Why there is no association.
#[derive(Clone, Debug)]
pub enum Refused {
    /// Answer with this A-ASSOCIATE-RJ.
    Reject {
        /// The answer.
        answer: AssociationRJ,
        /// For the log.
        why: String,
    },
    /// The request breaks the protocol: answer with A-ABORT.
    Abort {
        /// Its reason.
        reason: AbortRQServiceProviderReason,
        /// For the log.
        why: String,
    },
}

/// A limit that stands in the way for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Busy {
    /// All associations together.
    Node,
    /// Those of this peer.
    Peer,
    /// We are stopping.
    Stopping,
}

/// The transient reject for a limit (PS3.8 table 9-21, source 3).
pub fn busy(busy: Busy) -> AssociationRJ {
    use AssociationRJServiceProviderPresentationReason::{LocalLimitExceeded, TemporaryCongestion};
    let reason = match busy {
        Busy::Node | Busy::Peer => LocalLimitExceeded,
        Busy::Stopping => TemporaryCongestion,
    };
    AssociationRJ {
        result: AssociationRJResult::Transient,
        source: AssociationRJSource::ServiceProviderPresentation(reason),
    }
}

/// Answers a request.
///
/// # Errors
/// [`Refused`] says how to end the matter.
pub fn negotiate(request: &AssociationRQ, peer: IpAddr, policy: &Policy) -> Result<Agreed, Refused> {
    check_parties(request, peer, policy)?;
    let mut seen = BTreeSet::new();
    let mut contexts = BTreeMap::new();
    let mut results = Vec::with_capacity(request.presentation_contexts.len().min(128));
    for proposed in &request.presentation_contexts {
        if proposed.id % 2 == 0 || !seen.insert(proposed.id) {
            let why = format!("presentation context ID {} is even or proposed twice", proposed.id);
            return Err(Refused::Abort { reason: AbortRQServiceProviderReason::InvalidPduParameter, why });
        }
        let (reason, transfer_syntax) = match answer_context(proposed) {
            Ok(transfer_syntax_uid) => {
                let sop_class_uid = trim(&proposed.abstract_syntax).to_owned();
                let context = Context { sop_class_uid, transfer_syntax_uid: transfer_syntax_uid.clone() };
                contexts.insert(proposed.id, context);
                (ContextReason::Acceptance, transfer_syntax_uid)
            }
            // not significant, but must be there
            Err(reason) => (reason, DEFAULT_TRANSFER_SYNTAX.to_owned()),
        };
        results.push(PresentationContextResult { id: proposed.id, reason, transfer_syntax });
    }
    let peer_max_pdu = request
        .user_variables
        .iter()
        .find_map(|item| if let UserVariableItem::MaxLength(length) = item { Some(*length) } else { None })
        .unwrap_or(0);
    let mut user_variables = vec![
        UserVariableItem::MaxLength(policy.max_pdu),
        UserVariableItem::ImplementationClassUID(policy.implementation_class_uid.clone()),
        UserVariableItem::ImplementationVersionName(policy.implementation_version_name.clone()),
    ];
    // never unasked (PS3.7 D.3.3.3)
    if let Some(wanted) = request.user_variables.iter().find_map(window) {
        user_variables.push(window_item(if wanted == 0 { MOST_OPERATIONS } else { wanted.min(MOST_OPERATIONS) }));
    }
    let answer = AssociationAC {
        protocol_version: 1,
        // these two are sent back as they came and not looked at (PS3.8 table 9-17)
        calling_ae_title: ae_title(&request.calling_ae_title),
        called_ae_title: ae_title(&request.called_ae_title),
        application_context_name: APPLICATION_CONTEXT.to_owned(),
        presentation_contexts: results,
        user_variables,
    };
    Ok(Agreed { answer, contexts, peer_max_pdu })
}

fn window(item: &UserVariableItem) -> Option<u16> {
    match item {
        UserVariableItem::Unknown(WINDOW, value) => invoked(value),
        _ => None,
    }
}

fn check_parties(request: &AssociationRQ, peer: IpAddr, policy: &Policy) -> Result<(), Refused> {
    use AssociationRJServiceUserReason as User;
    let reject = |source, why| {
        Err(Refused::Reject { answer: AssociationRJ { result: AssociationRJResult::Permanent, source }, why })
    };
    if request.protocol_version & 1 == 0 {
        return reject(
            AssociationRJSource::ServiceProviderASCE(
                AssociationRJServiceProviderASCEReason::ProtocolVersionNotSupported,
            ),
            format!("protocol version {:04X}, not 1", request.protocol_version),
        );
    }
    if trim(&request.application_context_name) != APPLICATION_CONTEXT {
        return reject(
            AssociationRJSource::ServiceUser(User::ApplicationContextNameNotSupported),
            "the application context is not DICOM's".to_owned(),
        );
    }
    let called = trim(&request.called_ae_title);
    if !policy.called.is_empty() && !policy.called.iter().any(|ours| trim(ours) == called) {
        return reject(
            AssociationRJSource::ServiceUser(User::CalledAETitleNotRecognized),
            format!("called AE title {:?} is none of ours (node.ae_title, node.also_called)", ae_title(called)),
        );
    }
    let calling = trim(&request.calling_ae_title);
    if !policy.peers.is_empty() && !policy.peers.iter().any(|rule| allows(rule, calling, peer)) {
        return reject(
            AssociationRJSource::ServiceUser(User::CallingAETitleNotRecognized),
            format!("no [[peer]] has AE title {:?} and address {peer}", ae_title(calling)),
        );
    }
    Ok(())
}

/// Both that are given must match. An IPv4 address that came in over IPv6 counts as IPv4.
fn allows(rule: &Peer, calling: &str, peer: IpAddr) -> bool {
    rule.ae_title.as_deref().is_none_or(|title| trim(title) == calling)
        && rule.network.as_ref().is_none_or(|network| network.contains(&peer.to_canonical()))
}

fn answer_context(proposed: &PresentationContextProposed) -> Result<String, ContextReason> {
    let sop_class = trim(&proposed.abstract_syntax);
    if sop_class != VERIFICATION && !is_storage(sop_class) {
        return Err(ContextReason::AbstractSyntaxNotSupported);
    }
    let usable = || proposed.transfer_syntaxes.iter().map(|uid| trim(uid)).filter(|uid| takes(uid));
    usable()
        .find(|uid| uid.starts_with("1.2.840.10008."))
        .or_else(|| usable().next())
        .map(str::to_owned)
        .ok_or(ContextReason::TransferSyntaxesNotSupported)
}

/// Can a data set in this transfer syntax be kept, and read as DICOM? Not those that are no binary data set (MIME, XML:
/// 1.2.840.10008.1.2.6.*) or no stored one (SMPTE 2110: 1.2.840.10008.1.2.7.*).
fn takes(transfer_syntax_uid: &str) -> bool {
    valid_uid(transfer_syntax_uid)
        && !transfer_syntax_uid.starts_with("1.2.840.10008.1.2.6.")
        && !transfer_syntax_uid.starts_with("1.2.840.10008.1.2.7.")
}

/// Is this a standard storage SOP class (PS3.4 Annex B and the non-patient objects of Annex GG)?
///
/// Everything below 1.2.840.10008.5.1.4.1.1 is one, except the query and retrieve classes of protocol approval (200.4 to 200.6)
/// and of inventories (201.2 to 201.6); so the ones to come are taken too. The few elsewhere are named here.
pub fn is_storage(sop_class_uid: &str) -> bool {
    const ELSEWHERE: [&str; 11] = [
        "1.2.840.10008.5.1.1.27",    // Stored Print (retired)
        "1.2.840.10008.5.1.1.29",    // Hardcopy Grayscale Image (retired)
        "1.2.840.10008.5.1.1.30",    // Hardcopy Color Image (retired)
        "1.2.840.10008.5.1.4.34.1",  // RT Beams Delivery Instruction, trial (retired)
        "1.2.840.10008.5.1.4.34.7",  // RT Beams Delivery Instruction
        "1.2.840.10008.5.1.4.34.10", // RT Brachy Application Setup Delivery Instruction
        "1.2.840.10008.5.1.4.38.1",  // Hanging Protocol
        "1.2.840.10008.5.1.4.39.1",  // Color Palette
        "1.2.840.10008.5.1.4.43.1",  // Generic Implant Template
        "1.2.840.10008.5.1.4.44.1",  // Implant Assembly Template
        "1.2.840.10008.5.1.4.45.1",  // Implant Template Group
    ];
    if let Some(below) = sop_class_uid.strip_prefix("1.2.840.10008.5.1.4.1.1.") {
        return valid_uid(sop_class_uid)
            && !matches!(below, "200.4" | "200.5" | "200.6" | "201.2" | "201.3" | "201.4" | "201.5" | "201.6");
    }
    ELSEWHERE.contains(&sop_class_uid)
}

/// An AE title as it may be logged and kept: trimmed, printable ASCII without the backslash, at most 16 characters (PS3.5
/// table 6.2-1); anything else becomes `?`.
pub fn ae_title(title: &str) -> String {
    trim(title).chars().take(16).map(|c| if matches!(c, ' '..='~') && c != '\\' { c } else { '?' }).collect()
}

fn trim(text: &str) -> &str {
    text.trim_matches(['\0', ' '])
}

#[cfg(test)]
mod tests {
    use super::*;

    const CR: &str = "1.2.840.10008.5.1.4.1.1.1";
    const EXPLICIT: &str = "1.2.840.10008.1.2.1";
    const JPEG_LOSSLESS: &str = "1.2.840.10008.1.2.4.70";

    fn policy() -> Policy {
        Policy {
            called: vec!["RADROUTE".into()],
            peers: Vec::new(),
            max_pdu: 131_072,
            implementation_class_uid: "1.2.3".into(),
            implementation_version_name: "TEST".into(),
        }
    }

    fn request(contexts: &[(u8, &str, &[&str])]) -> AssociationRQ {
        AssociationRQ {
            protocol_version: 1,
            calling_ae_title: "XRAY1".into(),
            called_ae_title: "RADROUTE".into(),
            application_context_name: format!("{APPLICATION_CONTEXT}\0"),
            presentation_contexts: contexts
                .iter()
                .map(|(id, abstract_syntax, transfer_syntaxes)| PresentationContextProposed {
                    id: *id,
                    abstract_syntax: (*abstract_syntax).into(),
                    transfer_syntaxes: transfer_syntaxes.iter().map(|s| (*s).into()).collect(),
                })
                .collect(),
            user_variables: vec![UserVariableItem::MaxLength(16384)],
        }
    }

    fn here() -> IpAddr {
        IpAddr::from([10, 1, 2, 3])
    }

    fn source_of(request: &AssociationRQ, policy: &Policy) -> Option<AssociationRJSource> {
        match negotiate(request, here(), policy) {
            Err(Refused::Reject { answer, .. }) => {
                assert_eq!(answer.result, AssociationRJResult::Permanent);
                Some(answer.source)
            }
            _ => None,
        }
    }

    #[test]
    fn contexts_are_answered_one_by_one() {
        let request = request(&[
            (1, VERIFICATION, &[DEFAULT_TRANSFER_SYNTAX]),
            (3, CR, &[JPEG_LOSSLESS, EXPLICIT]),
            (5, "1.2.840.10008.5.1.4.1.2.2.1", &[EXPLICIT]),
            (7, CR, &["1.2.840.10008.1.2.6.2"]),
            (9, CR, &["1.2.840.113619.5.2", EXPLICIT]),
            (11, CR, &["1.2.840.113619.5.2"]),
            (13, CR, &[]),
            (255, "1.3.46.670589.5.0.1", &[EXPLICIT]),
        ]);
        let agreed = negotiate(&request, here(), &policy()).unwrap();
        let answers: Vec<_> = agreed
            .answer
            .presentation_contexts
            .iter()
            .map(|c| (c.id, c.reason.clone(), c.transfer_syntax.as_str()))
            .collect();
        assert_eq!(
            answers,
            [
                (1, ContextReason::Acceptance, DEFAULT_TRANSFER_SYNTAX),
                (3, ContextReason::Acceptance, JPEG_LOSSLESS),
                (5, ContextReason::AbstractSyntaxNotSupported, DEFAULT_TRANSFER_SYNTAX),
                (7, ContextReason::TransferSyntaxesNotSupported, DEFAULT_TRANSFER_SYNTAX),
                (9, ContextReason::Acceptance, EXPLICIT),
                (11, ContextReason::Acceptance, "1.2.840.113619.5.2"),
                (13, ContextReason::TransferSyntaxesNotSupported, DEFAULT_TRANSFER_SYNTAX),
                (255, ContextReason::AbstractSyntaxNotSupported, DEFAULT_TRANSFER_SYNTAX),
            ]
        );
        assert_eq!(agreed.contexts.keys().copied().collect::<Vec<_>>(), [1, 3, 9, 11]);
        assert_eq!(agreed.peer_max_pdu, 16384);
        assert!(agreed.answer.user_variables.contains(&UserVariableItem::MaxLength(131_072)));
    }

    #[test]
    fn a_window_is_granted_to_whom_asks_for_it() {
        let granted = |item: Option<UserVariableItem>| {
            let mut request = request(&[(1, CR, &[EXPLICIT])]);
            request.user_variables.extend(item);
            let agreed = negotiate(&request, here(), &policy()).unwrap();
            agreed.answer.user_variables.iter().find_map(window)
        };
        assert_eq!(granted(None), None);
        assert_eq!(granted(Some(window_item(1))), Some(1));
        assert_eq!(granted(Some(window_item(5))), Some(5));
        assert_eq!(granted(Some(window_item(0))), Some(MOST_OPERATIONS));
        assert_eq!(granted(Some(window_item(u16::MAX))), Some(MOST_OPERATIONS));
        assert_eq!(granted(Some(UserVariableItem::Unknown(WINDOW, vec![0, 5]))), None);
    }

    #[test]
    fn an_association_without_accepted_context_is_accepted() {
        let agreed = negotiate(&request(&[(1, "1.2.3", &[EXPLICIT])]), here(), &policy()).unwrap();
        assert!(agreed.contexts.is_empty());
        assert_eq!(agreed.answer.presentation_contexts.len(), 1);
    }

    #[test]
    fn even_and_repeated_context_ids_abort() {
        for contexts in
            [vec![(2, CR, &[EXPLICIT][..])], vec![(0, CR, &[EXPLICIT][..])], vec![(1, CR, &[EXPLICIT][..]); 2]]
        {
            let refused = negotiate(&request(&contexts), here(), &policy());
            assert!(matches!(
                refused,
                Err(Refused::Abort { reason: AbortRQServiceProviderReason::InvalidPduParameter, .. })
            ));
        }
    }

    #[test]
    fn strangers_are_rejected_with_the_reason_of_the_standard() {
        use AssociationRJServiceUserReason as User;
        let good = request(&[(1, CR, &[EXPLICIT])]);
        assert_eq!(source_of(&good, &policy()), None);
        let called = AssociationRQ { called_ae_title: "OTHER".into(), ..good.clone() };
        let called_reason = Some(AssociationRJSource::ServiceUser(User::CalledAETitleNotRecognized));
        assert_eq!(source_of(&called, &policy()), called_reason);
        assert_eq!(source_of(&called, &Policy { called: Vec::new(), ..policy() }), None);
        let context = AssociationRQ { application_context_name: "1.2".into(), ..good.clone() };
        let context_reason = Some(AssociationRJSource::ServiceUser(User::ApplicationContextNameNotSupported));
        assert_eq!(source_of(&context, &policy()), context_reason);
        let version = AssociationRQ { protocol_version: 2, ..good.clone() };
        assert!(matches!(source_of(&version, &policy()), Some(AssociationRJSource::ServiceProviderASCE(_))));

        let peer = |title: Option<&str>, network: Option<&str>| Policy {
            peers: vec![Peer { ae_title: title.map(Into::into), network: network.map(|n| n.parse().unwrap()) }],
            ..policy()
        };
        let stranger = Some(AssociationRJSource::ServiceUser(User::CallingAETitleNotRecognized));
        assert_eq!(source_of(&good, &peer(Some("XRAY1"), Some("10.1.0.0/16"))), None);
        assert_eq!(source_of(&good, &peer(None, Some("10.1.0.0/16"))), None);
        assert_eq!(source_of(&good, &peer(Some("XRAY1"), Some("10.2.0.0/16"))), stranger);
        assert_eq!(source_of(&good, &peer(Some("XRAY2"), None)), stranger);
        assert_eq!(source_of(&good, &peer(Some("xray1"), None)), stranger);
    }

    #[test]
    fn an_ipv4_peer_on_an_ipv6_socket_is_matched_as_ipv4() {
        let rule = Peer { ae_title: None, network: Some("10.1.0.0/16".parse().unwrap()) };
        assert!(allows(&rule, "X", "::ffff:10.1.2.3".parse().unwrap()));
        assert!(!allows(&rule, "X", "::ffff:10.2.2.3".parse().unwrap()));
    }

    #[test]
    fn storage_classes() {
        for uid in [
            CR,
            "1.2.840.10008.5.1.4.1.1.104.1",
            "1.2.840.10008.5.1.4.1.1.9999",
            "1.2.840.10008.5.1.4.39.1",
            "1.2.840.10008.5.1.4.34.7",
        ] {
            assert!(is_storage(uid), "{uid}");
        }
        for uid in [
            "1.2.840.10008.5.1.4.1.2.1.1",
            "1.2.840.10008.5.1.4.31",
            "1.2.840.10008.5.1.4.34.6.1",
            "1.2.840.10008.5.1.4.1.1.201.2",
            "1.2.840.10008.1.20.1",
            "1.2.840.10008.5.1.4.1.1",
            "1.2.840.10008.5.1.4.1.1.",
            "1.2.840.10008.5.1.4.1.1.x",
            "1.2.3",
            "",
        ] {
            assert!(!is_storage(uid), "{uid}");
        }
    }

    #[test]
    fn ae_titles_are_fit_for_a_log_line() {
        assert_eq!(ae_title(" XRAY 1 \0"), "XRAY 1");
        assert_eq!(ae_title("A\nB\\Cä"), "A?B?C?");
        assert_eq!(ae_title("12345678901234567"), "1234567890123456");
    }
}

//! Which presentation contexts to propose for the instances that wait, and which form of an instance an association
//! takes. Pure.
//!
//! Each distinct (SOP class, transfer syntax) gets a context of its own with that one transfer syntax, so that the
//! acceptor cannot prefer another one and make us decode what it would have taken as it is (PS3.8 section 9.3.2.2: of several
//! transfer syntaxes in a context it chooses one). Beside it, each SOP class gets Explicit VR Little Endian and Implicit VR
//! Little Endian to fall back on.

use dicom_ul::pdu::PresentationContextResultReason as Reason;

/// Implicit VR Little Endian, the default transfer syntax of DICOM (PS3.5 section 10.1).
pub const IMPLICIT_VR_LE: &str = "1.2.840.10008.1.2";
/// Explicit VR Little Endian.
pub const EXPLICIT_VR_LE: &str = "1.2.840.10008.1.2.1";

/// Presentation context identifiers are the odd numbers below 256 (PS3.8 section 9.3.2.2).
pub const MOST_CONTEXTS: usize = 128;

/// A SOP class with a transfer syntax: what an instance needs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Need {
    /// SOP Class UID.
    pub sop_class: String,
    /// Transfer Syntax UID.
    pub transfer_syntax: String,
}

impl Need {
    /// Of an instance.
    pub fn new(sop_class: &str, transfer_syntax: &str) -> Need {
        Need { sop_class: trimmed(sop_class), transfer_syntax: trimmed(transfer_syntax) }
    }
}

/// UIDs come padded with NUL or, against the standard, with spaces.
fn trimmed(uid: &str) -> String {
    uid.trim_matches(['\0', ' ']).to_owned()
}

/// The contexts to propose for `needs`, the most urgent first; context `i` has the identifier `2 i + 1`.
/// With `fall_back`, each SOP class gets its two uncompressed contexts along with its first need. Stops before
/// [`MOST_CONTEXTS`] would be exceeded, so that what is proposed of a SOP class is always complete.
pub fn propose<'a>(needs: impl IntoIterator<Item = &'a Need>, fall_back: bool) -> Vec<Need> {
    let mut proposed: Vec<Need> = Vec::new();
    for need in needs {
        let mut wanted = vec![need.clone()];
        if fall_back {
            wanted.extend([EXPLICIT_VR_LE, IMPLICIT_VR_LE].map(|syntax| Need::new(&need.sop_class, syntax)));
        }
        let mut new: Vec<Need> = Vec::new();
        for need in wanted {
            if !proposed.contains(&need) && !new.contains(&need) {
                new.push(need);
            }
        }
        if proposed.len() + new.len() > MOST_CONTEXTS {
            break;
        }
        proposed.extend(new);
    }
    proposed
}

/// What the acceptor said to each context.
#[derive(Clone, Debug, Default)]
pub struct Negotiated {
    contexts: Vec<(Need, Reason)>,
}

/// How an instance can go out on an association.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// In its own transfer syntax, on this presentation context.
    AsItIs {
        /// Presentation context identifier.
        context: u8,
    },
    /// Its own was refused; decoded to this native transfer syntax.
    Native {
        /// Presentation context identifier.
        context: u8,
        /// [`EXPLICIT_VR_LE`] or [`IMPLICIT_VR_LE`].
        transfer_syntax: &'static str,
    },
    /// The SOP class is refused.
    SopClassRefused,
    /// The SOP class may be known, but none of these transfer syntaxes is taken.
    TransferSyntaxRefused(Vec<String>),
    /// At least one of these transfer syntaxes was refused without a reason, or not answered: it may be taken another time.
    RefusedForNow(Vec<String>),
    /// Nothing was proposed for it.
    NotProposed,
}

impl Negotiated {
    /// Puts the results, by presentation context identifier, beside what was proposed. A context without a result
    /// counts as refused without a reason.
    pub fn new(proposed: &[Need], results: &[(u8, Reason)]) -> Negotiated {
        let contexts = proposed
            .iter()
            .enumerate()
            .map(|(i, need)| {
                let result = results.iter().find(|(id, _)| usize::from(*id) == 2 * i + 1);
                (need.clone(), result.map_or(Reason::NoReason, |(_, reason)| reason.clone()))
            })
            .collect();
        Negotiated { contexts }
    }

    /// Whether anything was proposed for an instance.
    pub fn proposed(&self, need: &Need) -> bool {
        self.contexts.iter().any(|(context, _)| context == need)
    }

    /// How an instance can go out.
    pub fn form(&self, need: &Need) -> Form {
        if !self.proposed(need) {
            return Form::NotProposed;
        }
        if let Some(context) = self.accepted(need) {
            return Form::AsItIs { context };
        }
        for transfer_syntax in [EXPLICIT_VR_LE, IMPLICIT_VR_LE] {
            if let Some(context) = self.accepted(&Need::new(&need.sop_class, transfer_syntax)) {
                return Form::Native { context, transfer_syntax };
            }
        }
        let of_class = || self.contexts.iter().filter(|(context, _)| context.sop_class == need.sop_class);
        if of_class().any(|(_, reason)| *reason == Reason::AbstractSyntaxNotSupported) {
            return Form::SopClassRefused;
        }
        // of the other needs of this SOP class, only what this instance could have used
        let tried = |context: &Need| {
            context.transfer_syntax == need.transfer_syntax
                || [EXPLICIT_VR_LE, IMPLICIT_VR_LE].contains(&context.transfer_syntax.as_str())
        };
        let tried = || of_class().filter(|(context, _)| tried(context));
        let syntaxes = tried().map(|(context, _)| context.transfer_syntax.clone()).collect();
        // PS3.8 table 9-18: user rejection and no reason say nothing about the transfer syntax
        if tried().all(|(_, reason)| *reason == Reason::TransferSyntaxesNotSupported) {
            Form::TransferSyntaxRefused(syntaxes)
        } else {
            Form::RefusedForNow(syntaxes)
        }
    }

    fn accepted(&self, need: &Need) -> Option<u8> {
        let at = self.contexts.iter().position(|(context, reason)| context == need && *reason == Reason::Acceptance)?;
        u8::try_from(2 * at + 1).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CR: &str = "1.2.840.10008.5.1.4.1.1.1";
    const DX: &str = "1.2.840.10008.5.1.4.1.1.1.1";
    const JPEG_LOSSLESS: &str = "1.2.840.10008.1.2.4.70";

    #[test]
    fn each_pair_once_with_its_fallbacks() {
        let needs = [Need::new(DX, JPEG_LOSSLESS), Need::new(DX, EXPLICIT_VR_LE), Need::new(CR, IMPLICIT_VR_LE)];
        let proposed = propose(&needs, true);
        assert_eq!(
            proposed,
            [
                Need::new(DX, JPEG_LOSSLESS),
                Need::new(DX, EXPLICIT_VR_LE),
                Need::new(DX, IMPLICIT_VR_LE),
                Need::new(CR, IMPLICIT_VR_LE),
                Need::new(CR, EXPLICIT_VR_LE),
            ]
        );
        assert_eq!(propose(&needs, false), needs);
    }

    #[test]
    fn its_own_transfer_syntax_goes_first() {
        let proposed = propose(&[Need::new(DX, JPEG_LOSSLESS)], true);
        let all =
            Negotiated::new(&proposed, &[(1, Reason::Acceptance), (3, Reason::Acceptance), (5, Reason::Acceptance)]);
        assert_eq!(all.form(&proposed[0]), Form::AsItIs { context: 1 });
        let implicit = Negotiated::new(&proposed, &[(5, Reason::Acceptance)]);
        assert_eq!(implicit.form(&proposed[0]), Form::Native { context: 5, transfer_syntax: IMPLICIT_VR_LE });
        assert_eq!(implicit.form(&Need::new(CR, JPEG_LOSSLESS)), Form::NotProposed);
    }

    #[test]
    fn refusals_are_told_apart() {
        let proposed = propose(&[Need::new(DX, JPEG_LOSSLESS)], true);
        let class: Vec<_> = [1, 3, 5].map(|id| (id, Reason::AbstractSyntaxNotSupported)).to_vec();
        assert_eq!(Negotiated::new(&proposed, &class).form(&proposed[0]), Form::SopClassRefused);
        let syntax: Vec<_> = [1, 3, 5].map(|id| (id, Reason::TransferSyntaxesNotSupported)).to_vec();
        assert_eq!(
            Negotiated::new(&proposed, &syntax).form(&proposed[0]),
            Form::TransferSyntaxRefused([JPEG_LOSSLESS, EXPLICIT_VR_LE, IMPLICIT_VR_LE].map(String::from).to_vec())
        );
    }

    #[test]
    fn what_is_refused_without_a_reason_or_not_answered_is_not_refused_for_good() {
        let proposed = propose(&[Need::new(DX, JPEG_LOSSLESS)], true);
        let syntax = |id| (id, Reason::TransferSyntaxesNotSupported);
        for last in [Some((5, Reason::UserRejection)), Some((5, Reason::NoReason)), None] {
            let results: Vec<_> = [syntax(1), syntax(3)].into_iter().chain(last).collect();
            let form = Negotiated::new(&proposed, &results).form(&proposed[0]);
            assert!(matches!(&form, Form::RefusedForNow(syntaxes) if syntaxes.len() == 3), "{form:?}");
        }
    }

    #[test]
    fn padding_does_not_count() {
        assert_eq!(Need::new("1.2.3\0", "1.2 "), Need::new("1.2.3", "1.2"));
    }

    proptest! {
        #[test]
        fn bounded_and_the_first_is_in(pairs in proptest::collection::vec((0u8..60, 0u8..60), 1..300)) {
            let needs: Vec<Need> = pairs.iter().map(|(c, t)| Need::new(&format!("1.2.{c}"), &format!("1.3.{t}"))).collect();
            let proposed = propose(&needs, true);
            prop_assert!(proposed.len() <= MOST_CONTEXTS);
            prop_assert!(proposed.contains(&needs[0]));
            for (i, need) in proposed.iter().enumerate() {
                prop_assert!(!proposed[..i].contains(need));
                let fallback = Need::new(&need.sop_class, EXPLICIT_VR_LE);
                prop_assert!(proposed.contains(&fallback));
            }
        }
    }
}

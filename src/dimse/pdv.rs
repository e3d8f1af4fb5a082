//! Presentation data values: reading the fragments of a P-DATA-TF PDU and putting messages together (PS3.8 section 9.3.5
//! and Annex E).
//!
//! A PDU may carry several fragments, a command may be split over several, and the command and the data set may share a PDU.
//! Fragments of two messages never interleave. Commands are kept until they are whole ([`MAX_COMMAND`] at most); fragments of
//! a data set are handed on as slices of the PDU, so that an instance of any size needs no memory here.

use super::command::{Command, CommandError, MAX_COMMAND};
use dicom_ul::pdu::AbortRQServiceProviderReason as Reason;

/// Length and context ID, then message control header.
const HEADER: usize = 6;

/// Why the association is to be aborted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PdvError {
    /// The PDU ends within a fragment, or holds none.
    #[error("a P-DATA-TF PDU with a fragment of the wrong length")]
    Length,
    /// A context that was not accepted.
    #[error("a fragment for presentation context {0}, which was not accepted")]
    Context(u8),
    /// Data before their command, or after the end.
    #[error("a data set fragment where a command was due")]
    DataBeforeCommand,
    /// Another message begins before this one has ended.
    #[error("fragments of two messages interleaved (presentation context {got} within a message of {within})")]
    Interleaved {
        /// Of the message.
        within: u8,
        /// Of the fragment.
        got: u8,
    },
    /// The command set is wrong.
    #[error(transparent)]
    Command(#[from] CommandError),
}

impl PdvError {
    /// What the A-ABORT says (PS3.8 table 9-26).
    pub fn reason(&self) -> Reason {
        match self {
            PdvError::Length | PdvError::Context(_) | PdvError::Command(_) => Reason::InvalidPduParameter,
            PdvError::DataBeforeCommand | PdvError::Interleaved { .. } => Reason::UnexpectedPduParameter,
        }
    }
}

/// One fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pdv<'a> {
    /// Presentation context ID.
    pub context_id: u8,
    /// Of a command (else of a data set).
    pub command: bool,
    /// The last of its command or data set.
    pub last: bool,
    /// The bytes.
    pub data: &'a [u8],
}

/// The fragments of a PDU's body (what follows its 6 byte header).
pub fn pdvs(body: &[u8]) -> Pdvs<'_> {
    Pdvs { rest: body, fresh: true }
}

/// Iterator over the fragments of a PDU; ends after the first error.
#[derive(Clone, Debug)]
pub struct Pdvs<'a> {
    rest: &'a [u8],
    fresh: bool,
}

impl<'a> Iterator for Pdvs<'a> {
    type Item = Result<Pdv<'a>, PdvError>;

    fn next(&mut self) -> Option<Self::Item> {
        let fresh = std::mem::take(&mut self.fresh);
        if self.rest.is_empty() {
            // a P-DATA-TF PDU has one fragment at least (PS3.8 table 9-22)
            return fresh.then_some(Err(PdvError::Length));
        }
        let pdv = split(self.rest);
        self.rest = pdv.map_or(&[], |(_, rest)| rest);
        Some(pdv.map(|(pdv, _)| pdv).ok_or(PdvError::Length))
    }
}

fn split(bytes: &[u8]) -> Option<(Pdv<'_>, &[u8])> {
    let (header, rest) = bytes.split_first_chunk::<HEADER>()?;
    // the length counts the context ID and the control header
    let length = u32::from_be_bytes([header[0], header[1], header[2], header[3]]);
    let length = usize::try_from(length).ok()?.checked_sub(2)?;
    let (data, rest) = rest.split_at_checked(length)?;
    Some((Pdv { context_id: header[4], command: header[5] & 1 != 0, last: header[5] & 2 != 0, data }, rest))
}

/// What a fragment completes or continues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A part of a command: more is to come.
    Partial,
    /// A whole command; its data set is next if it has one.
    Command {
        /// Presentation context ID.
        context_id: u8,
        /// The command.
        command: Command,
    },
    /// A part of the data set.
    Data {
        /// The bytes.
        bytes: &'a [u8],
        /// No more follow.
        last: bool,
    },
}

/// Puts messages together from fragments.
#[derive(Debug, Default)]
pub struct Reassembler {
    command: Vec<u8>,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Between,
    Command(u8),
    Data(u8),
}

impl Reassembler {
    /// Nothing of a message is here yet.
    pub fn between_messages(&self) -> bool {
        self.state == State::Between
    }

    /// Takes the next fragment. `accepted` says whether a presentation context was accepted.
    ///
    /// # Errors
    /// Any [`PdvError`]: the association is to be aborted with its [`PdvError::reason`].
    pub fn push<'a>(&mut self, pdv: Pdv<'a>, accepted: impl Fn(u8) -> bool) -> Result<Piece<'a>, PdvError> {
        if !accepted(pdv.context_id) {
            return Err(PdvError::Context(pdv.context_id));
        }
        let within = match self.state {
            State::Between => pdv.context_id,
            State::Command(id) | State::Data(id) => id,
        };
        if within != pdv.context_id {
            return Err(PdvError::Interleaved { within, got: pdv.context_id });
        }
        match (self.state, pdv.command) {
            (State::Between | State::Command(_), true) => self.push_command(pdv),
            (State::Between | State::Command(_), false) => Err(PdvError::DataBeforeCommand),
            (State::Data(_), true) => Err(PdvError::Interleaved { within, got: pdv.context_id }),
            (State::Data(_), false) => {
                if pdv.last {
                    self.state = State::Between;
                }
                Ok(Piece::Data { bytes: pdv.data, last: pdv.last })
            }
        }
    }

    fn push_command<'a>(&mut self, pdv: Pdv<'a>) -> Result<Piece<'a>, PdvError> {
        if self.command.len() + pdv.data.len() > MAX_COMMAND {
            return Err(CommandError::TooLong.into());
        }
        self.command.extend_from_slice(pdv.data);
        self.state = State::Command(pdv.context_id);
        if !pdv.last {
            return Ok(Piece::Partial);
        }
        let command = Command::parse(&self.command)?;
        self.command.clear();
        self.state = if command.has_data_set() { State::Data(pdv.context_id) } else { State::Between };
        Ok(Piece::Command { context_id: pdv.context_id, command })
    }
}

/// Appends P-DATA-TF PDUs that carry `command` on a presentation context, none with a body longer than the peer's maximum
/// length (0: no limit).
pub fn write_command(to: &mut Vec<u8>, context_id: u8, command: &[u8], peer_max_pdu: u32) {
    // a peer that leaves no room for a useful fragment gets small ones all the same
    let most = match usize::try_from(peer_max_pdu) {
        Ok(0) | Err(_) => usize::MAX,
        Ok(most) => most.saturating_sub(HEADER).max(2) & !1,
    };
    let pieces = command.chunks(most.min(MAX_COMMAND));
    let count = pieces.len();
    for (n, piece) in pieces.enumerate() {
        let length = (piece.len() + 2) as u32;
        to.extend_from_slice(&[4, 0]);
        to.extend_from_slice(&(length + 4).to_be_bytes());
        to.extend_from_slice(&length.to_be_bytes());
        to.extend_from_slice(&[context_id, if n + 1 == count { 3 } else { 1 }]);
        to.extend_from_slice(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pdv(context_id: u8, control: u8, data: &[u8]) -> Vec<u8> {
        let mut bytes = ((data.len() + 2) as u32).to_be_bytes().to_vec();
        bytes.extend_from_slice(&[context_id, control]);
        bytes.extend_from_slice(data);
        bytes
    }

    fn store() -> Vec<u8> {
        Command::CStoreRq {
            message_id: 1,
            sop_class_uid: "1.2".into(),
            sop_instance_uid: "1.3".into(),
            priority: 0,
            move_originator: None,
        }
        .encode()
    }

    /// Everything that comes of some PDU bodies, data joined; the error if there was one.
    fn run(bodies: &[Vec<u8>]) -> (Vec<Command>, Vec<u8>, usize, Option<PdvError>) {
        let (mut commands, mut data, mut ends) = (Vec::new(), Vec::new(), 0);
        let mut reassembler = Reassembler::default();
        for body in bodies {
            for pdv in pdvs(body) {
                match pdv.and_then(|pdv| reassembler.push(pdv, |id| matches!(id, 1 | 3))) {
                    Err(error) => return (commands, data, ends, Some(error)),
                    Ok(Piece::Partial) => {}
                    Ok(Piece::Command { command, .. }) => commands.push(command),
                    Ok(Piece::Data { bytes, last }) => {
                        data.extend_from_slice(bytes);
                        ends += usize::from(last);
                    }
                }
            }
        }
        (commands, data, ends, None)
    }

    #[test]
    fn command_and_data_set_in_one_pdu() {
        let (commands, data, ends, error) = run(&[[pdv(1, 3, &store()), pdv(1, 2, b"abcd")].concat()]);
        assert_eq!((commands.len(), data.as_slice(), ends, error), (1, &b"abcd"[..], 1, None));
    }

    #[test]
    fn a_command_split_over_pdvs_and_pdus() {
        let store = store();
        let mut bodies: Vec<Vec<u8>> = store[..store.len() - 1].chunks(7).map(|piece| pdv(3, 1, piece)).collect();
        bodies.push([pdv(3, 1, &[]), pdv(3, 3, &store[store.len() - 1..]), pdv(3, 0, b"ab")].concat());
        bodies.push(pdv(3, 2, &[]));
        let (commands, data, ends, error) = run(&bodies);
        assert_eq!((commands.len(), data.as_slice(), ends, error), (1, &b"ab"[..], 1, None));
    }

    #[test]
    fn violations_are_named() {
        let echo = Command::CEchoRq { message_id: 1 }.encode();
        let cases: [(&str, Vec<u8>, PdvError); 9] = [
            ("data first", pdv(1, 2, b"ab"), PdvError::DataBeforeCommand),
            ("data in a command", [pdv(1, 1, &store()[..8]), pdv(1, 2, b"ab")].concat(), PdvError::DataBeforeCommand),
            (
                "data after a command without",
                [pdv(1, 3, &echo), pdv(1, 2, b"ab")].concat(),
                PdvError::DataBeforeCommand,
            ),
            ("unknown context", pdv(5, 3, &echo), PdvError::Context(5)),
            (
                "context changes",
                [pdv(1, 3, &store()), pdv(3, 2, b"ab")].concat(),
                PdvError::Interleaved { within: 1, got: 3 },
            ),
            (
                "command within data",
                [pdv(1, 3, &store()), pdv(1, 0, b"ab"), pdv(1, 3, &echo)].concat(),
                PdvError::Interleaved { within: 1, got: 1 },
            ),
            ("empty PDU", Vec::new(), PdvError::Length),
            ("cut header", vec![0, 0, 0, 4, 1], PdvError::Length),
            ("claims 4 GiB", vec![255, 255, 255, 255, 1, 3, 0, 0], PdvError::Length),
        ];
        for (name, body, expected) in cases {
            assert_eq!(run(&[body]).3, Some(expected), "{name}");
        }
        assert_eq!(run(&[vec![0, 0, 0, 1, 1, 3, 0, 0]]).3, Some(PdvError::Length), "a length too small for its header");
        assert!(matches!(run(&[pdv(1, 3, b"rubbish!")]).3, Some(PdvError::Command(_))));
    }

    #[test]
    fn an_endless_command_is_stopped() {
        let bodies = vec![pdv(1, 1, &[0; 16384]); 5];
        assert_eq!(run(&bodies).3, Some(PdvError::Command(CommandError::TooLong)));
    }

    #[test]
    fn a_command_is_cut_to_the_peers_maximum() {
        let command = store();
        for most in [0, 1, 9, 14, 100, 16384] {
            let mut bytes = Vec::new();
            write_command(&mut bytes, 3, &command, most);
            let mut bodies = Vec::new();
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                let length = u32::from_be_bytes([rest[2], rest[3], rest[4], rest[5]]) as usize;
                assert!(rest[0] == 4 && (most < 8 || length <= most as usize));
                bodies.push(rest[6..6 + length].to_vec());
                rest = &rest[6 + length..];
            }
            assert_eq!(run(&bodies).0, vec![Command::parse(&command).unwrap()]);
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..64), 0..6)) {
            let _ = run(&bodies);
        }

        #[test]
        fn data_sets_come_out_as_they_went_in(data in proptest::collection::vec(any::<u8>(), 0..400), at in proptest::collection::vec(1usize..50, 1..20), per_pdu in 1usize..4) {
            let mut fragments = vec![pdv(1, 3, &store())];
            let mut rest = data.as_slice();
            for n in at {
                let (piece, after) = rest.split_at(n.min(rest.len()));
                fragments.push(pdv(1, 0, piece));
                rest = after;
            }
            fragments.push(pdv(1, 2, rest));
            let bodies: Vec<Vec<u8>> = fragments.chunks(per_pdu).map(|c| c.concat()).collect();
            let (commands, out, ends, error) = run(&bodies);
            prop_assert_eq!((commands.len(), out, ends, error), (1, data, 1, None));
        }
    }
}

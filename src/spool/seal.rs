//! What stands in a spooled file's preamble: whether it is whole, and what a ledger that lost its row must know.
//!
//! The preamble of a DICOM file, its first 128 bytes, is free for whoever writes it (PS3.10 7.1). Ours, little-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 0–7 | `RADROUTE` |
//! | 8 | 1: begun, nothing else is filled in; 2: whole |
//! | 9, 10 | whether there is a peer's address; length of the association's name |
//! | 12–15 | CRC-32 of everything behind the preamble |
//! | 16–23 | length of the file, bytes |
//! | 24–31, 32–35 | when it was received, ms since 1970 UTC; how long that took, ms (single precision) |
//! | 36–51 | the peer's address (IPv6, mapped where it is IPv4) |
//! | 52–115 | the association's name |
//! | 124–127 | CRC-32 of bytes 0–123 |
//!
//! Data and seal are synced at once, so a power cut may leave either without the other: the sums tell.

use std::net::{IpAddr, Ipv6Addr};

/// Bytes of the preamble.
pub const PREAMBLE: usize = 128;
const MAGIC: &[u8; 8] = b"RADROUTE";
const BEGUN: u8 = 1;
const WHOLE: u8 = 2;
/// Longest name of an association that is kept.
const NAME: usize = 64;

/// What the ledger's row says of a reception and the object itself does not.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Note {
    /// Milliseconds since 1970-01-01 UTC.
    pub received_at: i64,
    /// From the C-STORE request to the last byte, milliseconds.
    pub receive_ms: f32,
    /// The peer's address.
    pub peer: Option<IpAddr>,
    /// The association's name, unique over restarts; cut to 64 bytes.
    pub association: String,
}

/// A preamble as it was read.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Seal {
    /// Ours, and the file was not finished.
    Begun,
    /// Ours, and finished: the length and sum of the file it belongs to.
    Whole { len: u64, sum: u32, note: Note },
    /// Not ours, or damaged.
    Unknown,
}

/// The preamble of a file that is being written.
pub(super) fn begun() -> [u8; PREAMBLE] {
    let mut bytes = [0; PREAMBLE];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8] = BEGUN;
    bytes
}

/// The preamble of a file of `len` bytes, of which those behind the preamble have the CRC-32 `sum`.
pub(super) fn whole(len: u64, sum: u32, note: &Note) -> [u8; PREAMBLE] {
    let mut bytes = begun();
    let association = &note.association.as_bytes()[..note.association.len().min(NAME)];
    bytes[8] = WHOLE;
    bytes[9] = u8::from(note.peer.is_some());
    bytes[10] = association.len() as u8; // at most NAME
    bytes[12..16].copy_from_slice(&sum.to_le_bytes());
    bytes[16..24].copy_from_slice(&len.to_le_bytes());
    bytes[24..32].copy_from_slice(&note.received_at.to_le_bytes());
    bytes[32..36].copy_from_slice(&note.receive_ms.to_le_bytes());
    let address = match note.peer {
        Some(IpAddr::V4(address)) => address.to_ipv6_mapped(),
        Some(IpAddr::V6(address)) => address,
        None => Ipv6Addr::UNSPECIFIED,
    };
    bytes[36..52].copy_from_slice(&address.octets());
    bytes[52..52 + association.len()].copy_from_slice(association);
    let sum = crc32fast::hash(&bytes[..124]);
    bytes[124..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// What a preamble says.
pub(super) fn read(bytes: &[u8; PREAMBLE]) -> Seal {
    match (&bytes[..8] == MAGIC, bytes[8]) {
        (true, BEGUN) => Seal::Begun,
        (true, WHOLE) if crc32fast::hash(&bytes[..124]) == u32::from_le_bytes(at(bytes, 124)) => {
            let address = Ipv6Addr::from(at::<16>(bytes, 36)).to_canonical();
            let association = &bytes[52..52 + NAME.min(bytes[10].into())];
            Seal::Whole {
                len: u64::from_le_bytes(at(bytes, 16)),
                sum: u32::from_le_bytes(at(bytes, 12)),
                note: Note {
                    received_at: i64::from_le_bytes(at(bytes, 24)),
                    receive_ms: f32::from_le_bytes(at(bytes, 32)),
                    peer: (bytes[9] == 1).then_some(address),
                    association: String::from_utf8_lossy(association).into_owned(),
                },
            }
        }
        _ => Seal::Unknown,
    }
}

/// `N` bytes from `start`, which lie within the preamble.
fn at<const N: usize>(bytes: &[u8; PREAMBLE], start: usize) -> [u8; N] {
    std::array::from_fn(|i| bytes[start + i])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_is_read_back() {
        for peer in [None, Some("192.0.2.7"), Some("2001:db8::7"), Some("::")] {
            let note = Note {
                received_at: 1_764_000_000_123,
                receive_ms: 4.25,
                peer: peer.map(|p| p.parse().unwrap()),
                association: "0193f5a2c7d7f3a09c4".into(),
            };
            assert_eq!(read(&whole(77, 5, &note)), Seal::Whole { len: 77, sum: 5, note });
        }
        let long = Note { association: "x".repeat(300), ..Note::default() };
        let Seal::Whole { note, .. } = read(&whole(0, 0, &long)) else { panic!("not whole") };
        assert_eq!(note.association, "x".repeat(NAME));
    }

    #[test]
    fn a_preamble_that_is_not_to_the_bit_what_was_written_is_not_whole() {
        let sealed = whole(15_000_000, 77, &Note { association: "a".into(), ..Note::default() });
        for bit in 0..PREAMBLE * 8 {
            let mut bytes = sealed;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(!matches!(read(&bytes), Seal::Whole { .. }), "bit {bit}");
        }
        assert_eq!(read(&begun()), Seal::Begun);
        assert_eq!(read(&[0; PREAMBLE]), Seal::Unknown);
    }
}

//! How the elements of a data set are encoded (PS3.5 7.1, A.1 to A.5), and the headers of elements.

use super::DatasetError;
use dicom_core::Tag;

/// Explicit or implicit VR, and the byte order: what one nesting level of a data set is encoded in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// Elements carry their value representation.
    pub explicit: bool,
    /// Big endian (retired, PS3.5 A.3 of 2016b).
    pub big: bool,
}

impl Form {
    /// Implicit VR Little Endian: also what is inside a UN element of undefined length (PS3.5 6.2.2).
    pub const IMPLICIT: Form = Form { explicit: false, big: false };

    /// Reads 16 bits.
    pub fn u16(self, b: [u8; 2]) -> u16 {
        if self.big { u16::from_be_bytes(b) } else { u16::from_le_bytes(b) }
    }

    /// Reads 32 bits.
    pub fn u32(self, b: [u8; 4]) -> u32 {
        if self.big { u32::from_be_bytes(b) } else { u32::from_le_bytes(b) }
    }

    /// Writes 16 bits.
    pub fn put_u16(self, v: u16) -> [u8; 2] {
        if self.big { v.to_be_bytes() } else { v.to_le_bytes() }
    }

    /// Writes 32 bits.
    pub fn put_u32(self, v: u32) -> [u8; 4] {
        if self.big { v.to_be_bytes() } else { v.to_le_bytes() }
    }

    /// Reads a tag.
    pub fn tag(self, b: [u8; 4]) -> Tag {
        Tag(self.u16([b[0], b[1]]), self.u16([b[2], b[3]]))
    }
}

/// How a transfer syntax encodes a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoding {
    /// VR and byte order of the elements.
    pub form: Form,
    /// The whole data set is one raw deflate stream (PS3.5 A.5).
    pub deflated: bool,
    /// Pixel data are encapsulated in fragments (PS3.5 A.4).
    pub encapsulated: bool,
}

impl Encoding {
    /// The encoding of a transfer syntax. What is none of the named few is Explicit VR Little Endian with encapsulated
    /// pixel data: PS3.5 A.4 says so for every compressed one, and private ones follow it.
    pub fn of(transfer_syntax_uid: &str) -> Encoding {
        let le = Form { explicit: true, big: false };
        let (form, deflated, encapsulated) = match transfer_syntax_uid.trim_matches(['\0', ' ']) {
            // The second is Papyrus 3 (retired, PS3.6), the third a private one of GE with big endian pixels.
            "1.2.840.10008.1.2" | "1.2.840.10008.1.20" | "1.2.840.113619.5.2" => (Form::IMPLICIT, false, false),
            "1.2.840.10008.1.2.1" => (le, false, false),
            "1.2.840.10008.1.2.1.99" => (le, true, false),
            "1.2.840.10008.1.2.2" => (Form { explicit: true, big: true }, false, false),
            // JPIP Referenced, and JPIP HTJ2K Referenced: pixels are elsewhere; the second of each is deflated.
            "1.2.840.10008.1.2.4.94" | "1.2.840.10008.1.2.4.204" => (le, false, false),
            "1.2.840.10008.1.2.4.95" | "1.2.840.10008.1.2.4.205" => (le, true, false),
            _ => (le, false, true),
        };
        Encoding { form, deflated, encapsulated }
    }
}

/// The header of an element, an item or a delimiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub tag: Tag,
    /// Value representation; `None` in implicit VR, for items and for delimiters.
    pub vr: Option<[u8; 2]>,
    /// 8 or 12.
    pub header_len: u8,
    /// `None`: undefined.
    pub length: Option<u32>,
}

/// How long the length field of an explicit VR is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum VrClass {
    /// 16 bits.
    Short,
    /// Two reserved bytes, then 32 bits.
    Long,
    /// Two capitals that this version does not know: PS3.5 7.1.2 has every future one encoded as `Long`.
    Unknown,
    /// No value representation.
    Wrong,
}

pub(super) fn class(vr: [u8; 2]) -> VrClass {
    match &vr {
        b"AE" | b"AS" | b"AT" | b"CS" | b"DA" | b"DS" | b"DT" | b"FD" | b"FL" | b"IS" | b"LO" | b"LT" | b"PN"
        | b"SH" | b"SL" | b"SS" | b"ST" | b"TM" | b"UI" | b"UL" | b"US" => VrClass::Short,
        b"OB" | b"OD" | b"OF" | b"OL" | b"OV" | b"OW" | b"SQ" | b"SV" | b"UC" | b"UN" | b"UR" | b"UT" | b"UV" => {
            VrClass::Long
        }
        [a, b] if a.is_ascii_uppercase() && b.is_ascii_uppercase() => VrClass::Unknown,
        _ => VrClass::Wrong,
    }
}

/// Reads a header from its first 8 bytes; where it has 12, `more` fetches the others.
pub(super) fn header(
    form: Form,
    first: [u8; 8],
    at: u64,
    more: impl FnOnce(Tag) -> Result<[u8; 4], DatasetError>,
) -> Result<Header, DatasetError> {
    let [t0, t1, t2, t3, a, b, c, d] = first;
    let tag = form.tag([t0, t1, t2, t3]);
    let defined = |n: u32| if n == u32::MAX { None } else { Some(n) };
    // Items and delimiters have no value representation in any form (PS3.5 7.5).
    if !form.explicit || tag.0 == 0xFFFE {
        return Ok(Header { tag, vr: None, header_len: 8, length: defined(form.u32([a, b, c, d])) });
    }
    let wrong = || DatasetError::Vr { tag, at, vr: show_vr([a, b]) };
    match class([a, b]) {
        VrClass::Short => Ok(Header { tag, vr: Some([a, b]), header_len: 8, length: Some(form.u16([c, d]).into()) }),
        VrClass::Long => Ok(Header { tag, vr: Some([a, b]), header_len: 12, length: defined(form.u32(more(tag)?)) }),
        // With anything in the reserved bytes it may as well be a 16-bit length: no guess is safe.
        VrClass::Unknown if [c, d] == [0, 0] => {
            Ok(Header { tag, vr: Some([a, b]), header_len: 12, length: defined(form.u32(more(tag)?)) })
        }
        VrClass::Unknown | VrClass::Wrong => Err(wrong()),
    }
}

/// A value representation for a message: `CS`, or the bytes in hexadecimal.
pub(super) fn show_vr(vr: [u8; 2]) -> String {
    if vr.iter().all(u8::is_ascii_graphic) {
        vr.iter().map(|&b| char::from(b)).collect()
    } else {
        format!("{:02X}{:02X}h", vr[0], vr[1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transfer_syntaxes() {
        assert_eq!(Encoding::of("1.2.840.10008.1.2\0").form, Form::IMPLICIT);
        assert!(Encoding::of("1.2.840.10008.1.2.2").form.big);
        assert!(Encoding::of("1.2.840.10008.1.2.1.99").deflated);
        let unknown = Encoding::of("1.2.3.4");
        assert!(unknown.form.explicit && unknown.encapsulated && !unknown.form.big && !unknown.deflated);
        assert!(!Encoding::of("1.2.840.10008.1.2.1").encapsulated);
    }

    #[test]
    fn unknown_vr_is_long_only_with_empty_reserved_bytes() {
        let le = Form { explicit: true, big: false };
        let more = |_| Ok([4, 0, 0, 0]);
        let h = header(le, [9, 0, 1, 0x10, b'Z', b'Z', 0, 0], 0, more).unwrap();
        assert_eq!((h.header_len, h.length), (12, Some(4)));
        assert!(header(le, [9, 0, 1, 0x10, b'Z', b'Z', 4, 0], 0, more).is_err());
        assert!(header(le, [9, 0, 1, 0x10, 0, 0, 0, 0], 0, more).is_err());
        assert!(header(le, [9, 0, 1, 0x10, b'?', b'?', 0, 0], 0, more).is_err());
    }
}

//! Text of a data set as Rust strings, for rules and the ledger. Lossy on purpose: the object itself stays as it is.

use dicom_encoding::text::{SpecificCharacterSet, TextCodec};

/// The codec of Specific Character Set (0008,0005), raw value.
///
/// With code extensions (several values) the last known one decodes: Latin and Japanese text come out right, and routes
/// match on ASCII in any of them.
pub(crate) fn charset(value: &[u8]) -> Option<SpecificCharacterSet> {
    let text = String::from_utf8_lossy(value);
    let mut known = None;
    for code in text.split('\\').map(|c| c.trim_matches([' ', '\0'])).filter(|c| !c.is_empty()) {
        known = SpecificCharacterSet::from_code(code).or(known);
    }
    known
}

/// Decodes, leaves out control characters, trims.
pub(crate) fn decode(bytes: &[u8], charset: Option<&SpecificCharacterSet>) -> String {
    // ISO 2022 escapes mean something to the Japanese codec only; the others would show their tails as text.
    let text = match charset {
        Some(c) if c.name() == "ISO_IR 87" => c.decode(bytes).ok(),
        Some(c) => c.decode(&without_escapes(bytes)).ok(),
        None => None,
    };
    clean(&text.unwrap_or_else(|| String::from_utf8_lossy(bytes).into_owned()))
}

/// A UID or AE title: padding away (PS3.5 6.2), nothing but printable ASCII.
pub(super) fn trim_uid(bytes: &[u8]) -> String {
    clean(&String::from_utf8_lossy(bytes))
}

fn clean(text: &str) -> String {
    let kept: String = text.chars().filter(|c| !c.is_control()).collect();
    kept.trim().to_owned()
}

/// Leaves out ESC, intermediate bytes 20h to 2Fh, final byte 30h to 7Eh (ISO 2022).
fn without_escapes(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes.iter().copied();
    while let Some(b) = rest.next() {
        if b == 0x1B {
            rest.by_ref().find(|b| !(0x20..=0x2F).contains(b));
        } else {
            out.push(b);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn decodes_in_the_charset_of_the_object() {
        let latin = charset(b"ISO_IR 100");
        assert_eq!(decode(b"Klinik M\xFCnchen ", latin.as_ref()), "Klinik München");
        let utf8 = charset(b"ISO_IR 192");
        assert_eq!(decode("Łódź\0".as_bytes(), utf8.as_ref()), "Łódź");
        let two = charset(b"\\ISO 2022 IR 100 ");
        assert_eq!(decode(b"\x1B-AM\xFCnchen", two.as_ref()), "München");
        assert_eq!(decode(b"a\xFF\nb", charset(b"NO SUCH").as_ref()), "a\u{FFFD}b");
        assert_eq!(trim_uid(b"1.2.3\0"), "1.2.3");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64), n in 0usize..24) {
            let codes = ["ISO_IR 6", "ISO_IR 13", "ISO_IR 87", "ISO_IR 100", "ISO_IR 101", "ISO_IR 109", "ISO_IR 110",
                "ISO_IR 126", "ISO_IR 127", "ISO_IR 138", "ISO_IR 144", "ISO_IR 148", "ISO_IR 149", "ISO_IR 166",
                "ISO_IR 192", "GB18030", "GBK", "ISO 2022 IR 87", "ISO 2022 IR 149", "ISO 2022 IR 58", "", "X",
                "\\ISO 2022 IR 13\\ISO 2022 IR 87", "ISO_IR 203"];
            decode(&bytes, charset(codes[n].as_bytes()).as_ref());
            charset(&bytes);
        }
    }
}

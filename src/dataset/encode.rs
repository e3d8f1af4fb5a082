//! Writing a few elements of our own in the form of the data set that they go into.

use super::Form;
use dicom_core::Tag;

/// Elements one after the other. All values are ours: short, ASCII where text.
pub(crate) struct Elements {
    form: Form,
    bytes: Vec<u8>,
}

impl Elements {
    pub fn new(form: Form) -> Elements {
        Elements { form, bytes: Vec::new() }
    }

    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }

    /// A sequence with its value as encoded elsewhere in the same form, the delimiter included where it is undefined.
    pub fn raw_sequence(mut self, tag: Tag, value: &[u8], undefined: bool) -> Elements {
        self.header(tag, b"SQ", if undefined { u32::MAX } else { value.len() as u32 });
        self.bytes.extend_from_slice(value);
        self
    }

    /// An element of a VR with a 16-bit length, or OB; padded to even length (PS3.5 6.2, 7.1.1).
    pub fn element(mut self, tag: Tag, vr: &[u8; 2], value: &[u8]) -> Elements {
        let value = &value[..value.len().min(0xFFFE)];
        let even = (value.len() + value.len() % 2) as u32;
        self.header(tag, vr, even);
        self.bytes.extend_from_slice(value);
        if value.len() % 2 == 1 {
            self.bytes.push(if vr == b"UI" || vr == b"OB" { 0 } else { b' ' });
        }
        self
    }

    /// Text: what is not printable ASCII or separates values becomes `?`, so that the character set of the object does not
    /// matter; cut at `most` characters.
    pub fn text(self, tag: Tag, vr: &[u8; 2], value: &str, most: usize) -> Elements {
        let ascii: Vec<u8> = value
            .trim()
            .chars()
            .map(|c| if (c.is_ascii_graphic() || c == ' ') && c != '\\' { c as u8 } else { b'?' })
            .take(most)
            .collect();
        self.element(tag, vr, &ascii)
    }

    /// A sequence of defined length with one item.
    pub fn sequence(mut self, tag: Tag, content: Elements) -> Elements {
        let item = content.into_item();
        self.header(tag, b"SQ", item.len() as u32);
        self.bytes.extend_from_slice(&item);
        self
    }

    /// These elements as an item of defined length.
    pub fn into_item(self) -> Vec<u8> {
        let mut item = Vec::with_capacity(8 + self.bytes.len());
        put_tag(&mut item, self.form, super::walk::ITEM);
        item.extend_from_slice(&self.form.put_u32(self.bytes.len() as u32));
        item.extend_from_slice(&self.bytes);
        item
    }

    fn header(&mut self, tag: Tag, vr: &[u8; 2], length: u32) {
        put_tag(&mut self.bytes, self.form, tag);
        if self.form.explicit {
            self.bytes.extend_from_slice(vr);
            if vr != b"SQ" && vr != b"OB" {
                self.bytes.extend_from_slice(&self.form.put_u16(length as u16));
                return;
            }
            self.bytes.extend_from_slice(&[0, 0]);
        }
        self.bytes.extend_from_slice(&self.form.put_u32(length));
    }
}

fn put_tag(to: &mut Vec<u8>, form: Form, tag: Tag) {
    to.extend_from_slice(&form.put_u16(tag.0));
    to.extend_from_slice(&form.put_u16(tag.1));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_each_form() {
        let le = Form { explicit: true, big: false };
        let be = Form { explicit: true, big: true };
        let write = |form| Elements::new(form).element(Tag(0x18, 0x15), b"CS", b"HIP").finish();
        assert_eq!(write(le), b"\x18\0\x15\0CS\x04\0HIP ");
        assert_eq!(write(be), b"\0\x18\0\x15CS\0\x04HIP ");
        assert_eq!(write(Form::IMPLICIT), b"\x18\0\x15\0\x04\0\0\0HIP ");
        let sequence = Elements::new(be).sequence(Tag(8, 0x2218), Elements::new(be)).finish();
        assert_eq!(sequence, b"\0\x08\x22\x18SQ\0\0\0\0\0\x08\xFF\xFE\xE0\0\0\0\0\0");
        let text = Elements::new(le).text(Tag(8, 0x70), b"LO", " a\\b\u{fc}c\nd ", 5).finish();
        assert_eq!(text, b"\x08\0\x70\0LO\x06\0a?b?c ");
    }
}

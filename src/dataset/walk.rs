//! A bounded walk over the elements of a data set: every length is checked against what is there before it is believed.
//!
//! Nothing is allocated by a claimed length, nesting is bounded and kept on a small stack of our own, and big values are
//! skipped. What is told is the top level, with the values that were asked for.

use super::encoding::{Form, Header, header, show_vr};
use super::source::{Forward, Inflate, Plain, unwrap_io};
use super::{DatasetError, Encoding};
use dicom_core::Tag;
use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry, VirtualVr};
use dicom_core::header::VR;
use dicom_dictionary_std::StandardDataDictionary;
use std::io::{Cursor, Read, Seek};

/// How deep sequences may be nested.
pub const MAX_DEPTH: usize = 64;
/// How large a deflated data set may become, bytes, unless the caller says otherwise.
pub const MAX_INFLATED: u64 = 2 << 30;

pub(super) const ITEM: Tag = Tag(0xFFFE, 0xE000);
pub(super) const ITEM_END: Tag = Tag(0xFFFE, 0xE00D);
pub(super) const SEQUENCE_END: Tag = Tag(0xFFFE, 0xE0DD);
const PIXEL_DATA: Tag = Tag(0x7FE0, 0x0010);

/// A top-level element: where it is and how it is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Element {
    /// Its tag.
    pub tag: Tag,
    /// Its value representation; `None` in implicit VR.
    pub vr: Option<[u8; 2]>,
    /// Where its header begins, bytes from the start of the (inflated) data set.
    pub offset: u64,
    /// 8 or 12.
    pub header_len: u8,
    /// From the end of the header to the end of the element: of undefined length, the delimiter counts as well.
    pub value_len: u64,
    /// Its length field says FFFFFFFF.
    pub undefined: bool,
}

impl Element {
    /// Where the next element begins.
    pub fn end(&self) -> u64 {
        self.offset + u64::from(self.header_len) + self.value_len
    }
}

/// The value of an element that was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Value<'a> {
    /// As encoded, at most as many bytes as asked for.
    pub bytes: &'a [u8],
    /// It is the whole value (with the delimiter, for an undefined length).
    pub complete: bool,
}

/// What a data set may not be, but is in practice: it can be stored and forwarded, not edited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Irregular {
    /// The element comes after one with a higher tag.
    OutOfOrder(Tag),
    /// The element comes twice.
    Doubled(Tag),
    /// A delimiter ends a sequence or item of defined length.
    StrayDelimiter(Tag),
}

/// What a walk found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Length of the (inflated) data set, bytes.
    pub length: u64,
    /// The first irregularity, if any.
    pub irregular: Option<Irregular>,
}

/// Walks over the whole data set of `dataset_len` bytes that begins where `reader` stands.
///
/// `wants` says for each top-level element how many bytes of its value to keep (0: none); `each` is then told of the
/// element. A deflated data set is inflated on the way, up to `max_inflated` bytes.
///
/// # Errors
/// The first length, structure or value representation that does not fit.
pub fn walk<R: Read + Seek>(
    reader: R,
    dataset_len: u64,
    encoding: Encoding,
    max_inflated: u64,
    wants: impl FnMut(Tag) -> usize,
    each: impl FnMut(&Element, Option<Value<'_>>),
) -> Result<Summary, DatasetError> {
    if encoding.deflated {
        let packed = reader.take(dataset_len);
        Walker::new(Inflate::new(packed, max_inflated), encoding.form, false).run(wants, each)
    } else {
        Walker::new(Plain::new(reader, dataset_len), encoding.form, false).run(wants, each)
    }
}

/// Tells the elements of the first item of a sequence whose value (without header) begins with `value`, as far as they
/// go: a value cut short gives what is whole. Returns the number of bytes of the item with its header (and delimiter),
/// where it is whole; `None` also for a sequence without items.
pub fn first_item(value: &[u8], form: Form, mut each: impl FnMut(Tag, &[u8])) -> Option<usize> {
    let start: [u8; 8] = value.get(..8)?.try_into().ok()?;
    let item = header(form, start, 0, |_| Ok([0; 4])).ok()?;
    if item.tag != ITEM {
        return None;
    }
    let content = &value[8..];
    let len = match item.length {
        Some(n) => content.len().min(n as usize),
        None => content.len(),
    };
    let walker = Walker::new(Plain::new(Cursor::new(&content[..len]), len as u64), form, item.length.is_none());
    let whole = walker.run(
        |_| content.len(),
        |e, v| {
            if let Some(v) = v {
                each(e.tag, v.bytes);
            }
        },
    );
    match (whole, item.length) {
        (Ok(s), None) => Some(8 + usize::try_from(s.length).ok()?),
        (Ok(_), Some(n)) if len == n as usize => Some(8 + len),
        _ => None,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Holds items.
    Sequence,
    /// Holds elements.
    Item,
    /// Holds items that are fragments of pixel data (PS3.5 A.4).
    Fragments,
}

struct Frame {
    kind: Kind,
    form: Form,
    /// Where it ends; `None`: at its delimiter.
    end: Option<u64>,
    /// Where the innermost container of defined length around or at it ends.
    limit: u64,
}

/// Keeps a copy of what passes, up to `cap` bytes.
struct Tap {
    bytes: Vec<u8>,
    cap: usize,
    missed: bool,
}

struct Walker<F> {
    source: F,
    form: Form,
    /// The top level is the inside of an item that ends at its delimiter.
    in_item: bool,
    pos: u64,
    stack: Vec<Frame>,
    tap: Option<Tap>,
    /// The element begun last, for messages.
    last: (Tag, u64),
    irregular: Option<Irregular>,
}

impl<F: Forward> Walker<F> {
    fn new(source: F, form: Form, in_item: bool) -> Self {
        let last = (Tag(0, 0), 0);
        Walker { source, form, in_item, pos: 0, stack: Vec::new(), tap: None, last, irregular: None }
    }

    fn run(
        mut self,
        mut wants: impl FnMut(Tag) -> usize,
        mut each: impl FnMut(&Element, Option<Value<'_>>),
    ) -> Result<Summary, DatasetError> {
        let mut previous: Option<Tag> = None;
        while let Some(h) = self.next_top_level()? {
            let offset = self.pos - u64::from(h.header_len);
            match previous {
                Some(p) if p == h.tag => self.note(Irregular::Doubled(h.tag)),
                Some(p) if p > h.tag => self.note(Irregular::OutOfOrder(h.tag)),
                _ => {}
            }
            previous = Some(previous.map_or(h.tag, |p| p.max(h.tag)));
            let cap = wants(h.tag);
            self.tap = (cap > 0).then(|| Tap { bytes: Vec::new(), cap, missed: false });
            let start = self.pos;
            self.value(&h, offset)?;
            while !self.stack.is_empty() {
                self.step()?;
            }
            let element = Element {
                tag: h.tag,
                vr: h.vr,
                offset,
                header_len: h.header_len,
                value_len: self.pos - start,
                undefined: h.length.is_none(),
            };
            let tap = self.tap.take();
            each(&element, tap.as_ref().map(|t| Value { bytes: &t.bytes, complete: !t.missed }));
        }
        Ok(Summary { length: self.pos, irregular: self.irregular })
    }

    fn note(&mut self, what: Irregular) {
        self.irregular.get_or_insert(what);
    }

    /// The header of the next top-level element, `None` at the end.
    fn next_top_level(&mut self) -> Result<Option<Header>, DatasetError> {
        if !self.in_item && self.source.at_end().map_err(|e| self.failed(e))? {
            return Ok(None);
        }
        let at = self.pos;
        let h = self.header(self.form)?;
        if self.in_item && h.tag == ITEM_END && h.length == Some(0) {
            return Ok(None);
        }
        match h.tag {
            Tag(0xFFFE, _) => Err(DatasetError::Structure { tag: h.tag, at }),
            Tag(0x0000 | 0x0002, _) if !self.in_item => Err(DatasetError::ForeignGroup { tag: h.tag, at }),
            _ => Ok(Some(h)),
        }
    }

    /// One step inside a container: an element, an item or a delimiter; or its end.
    fn step(&mut self) -> Result<(), DatasetError> {
        let Some(top) = self.stack.last() else { return Ok(()) };
        let (kind, form, end) = (top.kind, top.form, top.end);
        if end == Some(self.pos) {
            self.stack.pop();
            return Ok(());
        }
        let at = self.pos;
        let h = self.header(form)?;
        let delimiter = match kind {
            Kind::Item => ITEM_END,
            Kind::Sequence | Kind::Fragments => SEQUENCE_END,
        };
        if h.tag == delimiter && h.length == Some(0) {
            return match end {
                None => {
                    self.stack.pop();
                    Ok(())
                }
                // Some writers close what has a length: harmless at its very end.
                Some(e) if e == self.pos => {
                    self.note(Irregular::StrayDelimiter(h.tag));
                    Ok(())
                }
                Some(_) => Err(DatasetError::Structure { tag: h.tag, at }),
            };
        }
        match kind {
            Kind::Item if h.tag.0 != 0xFFFE => self.value(&h, at),
            Kind::Sequence if h.tag == ITEM => self.push(Kind::Item, form, &h, at),
            Kind::Fragments if h.tag == ITEM => match h.length {
                Some(n) => self.skip_checked(n.into(), &h, at),
                None => Err(DatasetError::Structure { tag: h.tag, at }),
            },
            _ => Err(DatasetError::Structure { tag: h.tag, at }),
        }
    }

    /// After an element's header: skips its value, or goes into it.
    fn value(&mut self, h: &Header, at: u64) -> Result<(), DatasetError> {
        let form = self.stack.last().map_or(self.form, |f| f.form);
        match (h.vr, h.length) {
            (Some([b'S', b'Q']), _) => self.push(Kind::Sequence, form, h, at),
            // PS3.5 6.2.2: a sequence that somebody did not know, converted from Implicit VR Little Endian.
            (Some([b'U', b'N']), None) => self.push(Kind::Sequence, Form::IMPLICIT, h, at),
            (Some([b'O', b'B' | b'W']), None) => self.push(Kind::Fragments, form, h, at),
            (Some(vr), None) => Err(DatasetError::UndefinedLength { tag: h.tag, at, vr: show_vr(vr) }),
            (None, None) if h.tag == PIXEL_DATA => self.push(Kind::Fragments, form, h, at),
            (None, None) => self.push(Kind::Sequence, form, h, at),
            (None, Some(_)) if is_sequence(h.tag) => self.push(Kind::Sequence, form, h, at),
            (_, Some(n)) => self.skip_checked(n.into(), h, at),
        }
    }

    fn push(&mut self, kind: Kind, form: Form, h: &Header, at: u64) -> Result<(), DatasetError> {
        // A sequence and its item are two frames.
        if self.stack.len() >= 2 * MAX_DEPTH {
            return Err(DatasetError::Depth { most: MAX_DEPTH, at });
        }
        let around = self.limit();
        let end = match h.length {
            None => None,
            Some(n) => {
                self.check(n.into(), h.tag, at)?;
                Some(self.pos + u64::from(n))
            }
        };
        self.stack.push(Frame { kind, form, end, limit: end.unwrap_or(around) });
        Ok(())
    }

    fn limit(&self) -> u64 {
        // Of a deflate stream the end is not known: its bound stands in, and running out is found on the way.
        self.stack.last().map_or_else(|| self.pos.saturating_add(self.source.at_most()), |f| f.limit)
    }

    /// `length` bytes fit into what is around.
    fn check(&self, length: u64, tag: Tag, at: u64) -> Result<(), DatasetError> {
        let left = self.limit().saturating_sub(self.pos);
        if length > left { Err(DatasetError::Length { tag, at, length, left }) } else { Ok(()) }
    }

    fn header(&mut self, form: Form) -> Result<Header, DatasetError> {
        let at = self.pos;
        self.check(8, self.last.0, self.last.1)?;
        let mut first = [0; 8];
        self.fill(&mut first)?;
        let h = header(form, first, at, |tag| {
            self.check(4, tag, at)?;
            let mut more = [0; 4];
            self.fill(&mut more)?;
            Ok(more)
        })?;
        self.last = (h.tag, at);
        Ok(h)
    }

    fn fill(&mut self, buf: &mut [u8]) -> Result<(), DatasetError> {
        self.source.read_exact(buf).map_err(|e| self.failed(e))?;
        self.pos += buf.len() as u64;
        if let Some(tap) = &mut self.tap {
            let n = buf.len().min(tap.cap - tap.bytes.len());
            tap.bytes.extend_from_slice(&buf[..n]);
            tap.missed |= n < buf.len();
        }
        Ok(())
    }

    fn skip_checked(&mut self, length: u64, h: &Header, at: u64) -> Result<(), DatasetError> {
        self.check(length, h.tag, at)?;
        let mut left = length;
        // What is tapped is read, in small pieces, so that memory grows only with bytes that exist.
        let mut piece = [0; 1024];
        while left > 0 && self.tap.as_ref().is_some_and(|t| t.bytes.len() < t.cap) {
            let n = left.min(1024) as usize;
            self.fill(&mut piece[..n])?;
            left -= n as u64;
        }
        if left > 0 {
            self.source.skip(left).map_err(|e| self.failed(e))?;
            self.pos += left;
            if let Some(tap) = &mut self.tap {
                tap.missed = true;
            }
        }
        Ok(())
    }

    fn failed(&self, e: std::io::Error) -> DatasetError {
        if e.kind() == std::io::ErrorKind::UnexpectedEof {
            return DatasetError::Truncated { tag: self.last.0, at: self.last.1 };
        }
        unwrap_io(e)
    }
}

/// In implicit VR only the dictionary tells a sequence of defined length (private ones stay opaque, which is safe).
fn is_sequence(tag: Tag) -> bool {
    StandardDataDictionary.by_tag(tag).is_some_and(|e| e.vr() == VirtualVr::Exact(VR::SQ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LE: &str = "1.2.840.10008.1.2.1";

    fn run(bytes: &[u8], ts: &str) -> Result<(Vec<Element>, Summary), DatasetError> {
        let mut seen = Vec::new();
        let len = bytes.len() as u64;
        walk(Cursor::new(bytes), len, Encoding::of(ts), 1 << 20, |_| 16, |e, _| seen.push(*e)).map(|s| (seen, s))
    }

    #[test]
    fn an_element_that_claims_two_gigabytes_is_refused() {
        let mut b = b"\x08\x00\x16\x00UI\x04\x001.2\0".to_vec();
        b.extend_from_slice(b"\xE0\x7F\x10\x00OW\0\0\xFF\xFF\xFF\x7F");
        assert!(matches!(run(&b, LE), Err(DatasetError::Length { length: 0x7FFF_FFFF, left: 0, at: 12, .. })));
    }

    #[test]
    fn odd_lengths_order_and_doubles_are_told() {
        let (seen, s) = run(b"\x10\x00\x10\x00PN\x03\0A^B\x08\x00\x16\x00UI\0\0", LE).unwrap();
        assert_eq!(seen.iter().map(|e| (e.offset, e.value_len)).collect::<Vec<_>>(), [(0, 3), (11, 0)]);
        assert_eq!(s.irregular, Some(Irregular::OutOfOrder(Tag(8, 0x16))));
        let (_, s) = run(b"\x08\x00\x16\x00UI\0\0\x08\x00\x16\x00UI\0\0", LE).unwrap();
        assert_eq!(s.irregular, Some(Irregular::Doubled(Tag(8, 0x16))));
    }

    #[test]
    fn foreign_groups_and_loose_delimiters_are_refused() {
        assert!(matches!(run(b"\x02\x00\x10\x00UI\0\0", LE), Err(DatasetError::ForeignGroup { .. })));
        assert!(matches!(run(&[0; 8], "1.2.840.10008.1.2"), Err(DatasetError::ForeignGroup { .. })));
        assert!(matches!(run(b"\xFE\xFF\x0D\xE0\0\0\0\0", LE), Err(DatasetError::Structure { .. })));
        assert!(matches!(run(b"\x08\x00\x16", LE), Err(DatasetError::Length { .. })));
    }

    #[test]
    fn an_item_longer_than_its_sequence_is_refused() {
        let mut b = b"\x08\x00\x18\x22SQ\0\0\x08\0\0\0\xFE\xFF\x00\xE0\x10\0\0\0".to_vec();
        b.extend_from_slice(&[0x20; 64]);
        assert!(matches!(run(&b, LE), Err(DatasetError::Length { tag: ITEM, length: 16, left: 0, .. })));
    }

    #[test]
    fn unknown_sequences_of_undefined_length_are_implicit_inside() {
        let mut b = b"\x09\x00\x01\x10UN\0\0\xFF\xFF\xFF\xFF\xFE\xFF\x00\xE0\xFF\xFF\xFF\xFF".to_vec();
        b.extend_from_slice(b"\x08\x00\x16\x00\x04\0\0\x001.2\0\xFE\xFF\x0D\xE0\0\0\0\0\xFE\xFF\xDD\xE0\0\0\0\0");
        let (seen, s) = run(&b, LE).unwrap();
        assert_eq!((seen.len(), s.length, seen[0].undefined), (1, b.len() as u64, true));
    }

    #[test]
    fn nesting_is_bounded() {
        let mut b = Vec::new();
        for _ in 0..100 {
            b.extend_from_slice(b"\x08\x00\x18\x22SQ\0\0\xFF\xFF\xFF\xFF\xFE\xFF\x00\xE0\xFF\xFF\xFF\xFF");
        }
        assert!(matches!(run(&b, LE), Err(DatasetError::Depth { .. })));
    }

    #[test]
    fn fragments_are_walked_and_undefined_text_is_not_believed() {
        let mut b =
            b"\xE0\x7F\x10\x00OB\0\0\xFF\xFF\xFF\xFF\xFE\xFF\x00\xE0\0\0\0\0\xFE\xFF\x00\xE0\x04\0\0\0abcd".to_vec();
        assert!(matches!(run(&b, LE), Err(DatasetError::Length { .. } | DatasetError::Truncated { .. })));
        b.extend_from_slice(b"\xFE\xFF\xDD\xE0\0\0\0\0");
        assert_eq!(run(&b, LE).unwrap().1.length, b.len() as u64);
        assert!(matches!(
            run(b"\x08\x00\x20\x00UT\0\0\xFF\xFF\xFF\xFF", LE),
            Err(DatasetError::UndefinedLength { .. })
        ));
    }

    #[test]
    fn a_delimiter_at_the_end_of_a_defined_length_is_let_pass_and_told() {
        let b = b"\x08\x00\x18\x22SQ\0\0\x10\0\0\0\xFE\xFF\x00\xE0\0\0\0\0\xFE\xFF\xDD\xE0\0\0\0\0";
        assert_eq!(run(b, LE).unwrap().1.irregular, Some(Irregular::StrayDelimiter(SEQUENCE_END)));
        let b = b"\x08\x00\x18\x22SQ\0\0\x10\0\0\0\xFE\xFF\xDD\xE0\0\0\0\0\xFE\xFF\x00\xE0\0\0\0\0";
        assert!(matches!(run(b, LE), Err(DatasetError::Structure { .. })));
    }

    #[test]
    fn first_items() {
        let item = b"\xFE\xFF\x00\xE0\xFF\xFF\xFF\xFF\x08\x00\x00\x01SH\x04\0T-D9\xFE\xFF\x0D\xE0\0\0\0\0rest";
        let le = Encoding::of(LE).form;
        let mut got = Vec::new();
        assert_eq!(first_item(item, le, |t, v| got.push((t, v.to_vec()))), Some(28));
        assert_eq!(got, [(Tag(8, 0x100), b"T-D9".to_vec())]);
        assert_eq!(first_item(&item[..21], le, |_, _| ()), None);
        assert_eq!(first_item(b"", le, |_, _| ()), None);
    }
}

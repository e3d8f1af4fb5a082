//! Data set + verdict → overlay. Pure.
//!
//! Four elements change, and the group lengths that count them (PS3.3 C.12.1.1.9 lets a receiver do this without a new
//! SOP Instance UID): BodyPartExamined and Anatomic Region Sequence say the region, an item of Original Attributes Sequence
//! keeps what they said before, an item of Contributing Equipment Sequence says who did it. What is written is ASCII, so
//! the character set of the object does not matter.

use crate::anatomy::{Region, is_declared, names, term_of_code};
use crate::dataset::encode::Elements;
use crate::dataset::text::{charset, decode};
use crate::dataset::walk::{Element, Irregular, MAX_INFLATED, Summary, walk};
use crate::dataset::{DatasetError, Edit, Encoding, Form, Overlay, anatomic_region};
use dicom_core::Tag;
use std::collections::BTreeMap;
use std::io::{Read, Seek};

const CHARACTER_SET: Tag = Tag(0x0008, 0x0005);
const LENGTH_TO_END: Tag = Tag(0x0008, 0x0001);
const ANATOMIC_REGION: Tag = Tag(0x0008, 0x2218);
const BODY_PART: Tag = Tag(0x0018, 0x0015);
const EQUIPMENT: Tag = Tag(0x0018, 0xA001);
const ORIGINAL: Tag = Tag(0x0400, 0x0561);
/// What we insert or change, ascending.
const OURS: [Tag; 4] = [ANATOMIC_REGION, BODY_PART, EQUIPMENT, ORIGINAL];

/// The largest previous value that is kept in Original Attributes; a larger one makes the object not editable.
const PREVIOUS: usize = 32 * 1024;

/// What is to be written, and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Correction {
    /// The region that the verdict writes.
    pub region: Region,
    /// Words and terms that the site takes as one with the region: a code that says one of them contradicts nothing.
    pub same: Vec<String>,
    /// Write only where BodyPartExamined is absent or empty (mode `fill`). Where it is and the code of Anatomic Region
    /// Sequence says another part or cannot be read, that is [`NotEditable::Contradicted`].
    pub only_if_empty: bool,
    /// This router, by AE title: Modifying System (0400,0563) and Station Name (0008,1010).
    pub station: String,
    /// Software Versions (0018,1020).
    pub software: String,
    /// When, as DT (PS3.5 6.2): `YYYYMMDDHHMMSS.FFFFFF&ZZXX`. Kept in the overlay: retries send the same bytes.
    pub at: String,
    /// Source of Previous Values (0400,0564): the AE title that sent the object; may be empty (Type 2).
    pub source_of_previous_values: String,
    /// Contribution Description (0018,A003).
    pub description: String,
}

/// Why an object is forwarded as it came although a correction was wanted.
#[derive(Debug, thiserror::Error)]
pub enum NotEditable {
    /// Any change would break the signature.
    #[error("it is digitally signed")]
    Signed,
    /// PS3.5 7.1: elements ascend.
    #[error("its element {0} is out of order")]
    OutOfOrder(Tag),
    /// PS3.5 7.1: an element comes once at most.
    #[error("its element {0} comes twice")]
    Doubled(Tag),
    /// A sequence or item has both a length and a delimiter.
    #[error("one of its sequences ends with both a length and a delimiter")]
    StrayDelimiter,
    /// An element that we change is not encoded as what it is.
    #[error("its element {tag} has the value representation {vr}")]
    Representation {
        /// The element.
        tag: Tag,
        /// Value representation.
        vr: String,
    },
    /// A group length that does not fit in its element, or a sequence that would outgrow its length field.
    #[error("the length in or around its element {0} cannot be kept right")]
    GroupLength(Tag),
    /// The previous value is too large to be kept.
    #[error("the previous value of its element {0} is too large to be kept in the object")]
    TooLarge(Tag),
    /// The tag is empty, but the code of Anatomic Region Sequence says another part, or cannot be read.
    #[error("its tag is empty, but its Anatomic Region Sequence says something else")]
    Contradicted,
    /// It cannot even be read.
    #[error(transparent)]
    Broken(#[from] DatasetError),
}

impl NotEditable {
    /// The disk failed, not the object: worth another try.
    pub fn is_io(&self) -> bool {
        matches!(self, NotEditable::Broken(e) if e.is_io())
    }
}

/// Plans the correction of the data set of `dataset_len` bytes that begins where `reader` stands. `None`: there is nothing
/// to write, because it says the region already or, with `only_if_empty`, says something.
///
/// Reads headers only, whatever the size of the pixels (a deflated data set is inflated as a whole).
///
/// # Errors
/// Why the object cannot be edited safely.
pub fn overlay<R: Read + Seek>(
    reader: R,
    dataset_len: u64,
    transfer_syntax_uid: &str,
    what: &Correction,
) -> Result<Option<Overlay>, NotEditable> {
    let encoding = Encoding::of(transfer_syntax_uid);
    let layout = Layout::read(reader, dataset_len, encoding)?;
    match layout.summary.irregular {
        Some(Irregular::OutOfOrder(tag)) => return Err(NotEditable::OutOfOrder(tag)),
        Some(Irregular::Doubled(tag)) => return Err(NotEditable::Doubled(tag)),
        Some(Irregular::StrayDelimiter(_)) => return Err(NotEditable::StrayDelimiter),
        None => {}
    }
    let Some(plan) = Plan::of(&layout, encoding.form, what)? else { return Ok(None) };
    if layout.signed {
        return Err(NotEditable::Signed);
    }
    layout.edit(encoding.form, &plan, what).map(Some)
}

/// An element with its value.
struct Found {
    element: Element,
    value: Vec<u8>,
    complete: bool,
}

/// Where everything is that a correction asks about.
#[derive(Default)]
struct Layout {
    summary: Summary,
    signed: bool,
    /// Raw value of Specific Character Set.
    character_set: Vec<u8>,
    anatomic_region: Option<Found>,
    body_part: Option<Found>,
    equipment: Option<Element>,
    original: Option<Element>,
    length_to_end: Option<Found>,
    /// (gggg,0000) of groups that we touch.
    group_lengths: Vec<Found>,
    /// Bytes of all other elements of each of these groups.
    group_sizes: BTreeMap<u16, u64>,
    /// For each of [`OURS`], where the first element with a higher tag begins.
    next: [Option<u64>; 4],
}

impl Layout {
    fn read<R: Read + Seek>(reader: R, len: u64, encoding: Encoding) -> Result<Layout, DatasetError> {
        let mut layout = Layout::default();
        let wants = |tag| match tag {
            ANATOMIC_REGION | BODY_PART => PREVIOUS,
            CHARACTER_SET => 256,
            LENGTH_TO_END | Tag(0x0008 | 0x0018 | 0x0400, 0) => 4,
            _ => 0,
        };
        layout.summary = walk(reader, len, encoding, MAX_INFLATED, wants, |e, value| {
            let found = value.map(|v| Found { element: *e, value: v.bytes.to_vec(), complete: v.complete });
            for (tag, next) in OURS.iter().zip(&mut layout.next) {
                if e.tag > *tag {
                    next.get_or_insert(e.offset);
                }
            }
            if e.tag.1 != 0 && OURS.iter().any(|t| t.0 == e.tag.0) {
                *layout.group_sizes.entry(e.tag.0).or_default() += e.end() - e.offset;
            }
            match e.tag {
                ANATOMIC_REGION => layout.anatomic_region = found,
                BODY_PART => layout.body_part = found,
                EQUIPMENT => layout.equipment = Some(*e),
                ORIGINAL => layout.original = Some(*e),
                LENGTH_TO_END => layout.length_to_end = found,
                CHARACTER_SET => layout.character_set = found.map(|f| f.value).unwrap_or_default(),
                Tag(_, 0) => layout.group_lengths.extend(found),
                Tag(0xFFFA, 0xFFFA) | Tag(0x4FFE, 0x0001) => layout.signed = true,
                _ => {}
            }
        })?;
        Ok(layout)
    }

    fn insertion(&self, tag: Tag) -> u64 {
        let of = OURS.iter().zip(self.next).find(|(t, _)| **t == tag);
        of.and_then(|(_, next)| next).unwrap_or(self.summary.length)
    }

    /// The edits of a plan.
    fn edit(&self, form: Form, plan: &Plan, what: &Correction) -> Result<Overlay, NotEditable> {
        let mut edits = Edits::default();
        let region = what.region;
        if plan.write_region {
            let sequence = region_sequence(form, region);
            self.replace(&mut edits, ANATOMIC_REGION, self.anatomic_region.as_ref(), sequence);
        }
        if plan.write_body_part {
            let element = Elements::new(form).element(BODY_PART, b"CS", region.term().as_bytes()).finish();
            self.replace(&mut edits, BODY_PART, self.body_part.as_ref(), element);
        }
        let equipment = equipment_item(form, what);
        self.append(&mut edits, form, EQUIPMENT, self.equipment, equipment)?;
        let original = original_item(form, plan, self, what);
        self.append(&mut edits, form, ORIGINAL, self.original, original)?;
        self.keep_lengths_right(&mut edits, form)?;

        let mut changes = BTreeMap::new();
        if plan.write_body_part {
            changes.insert("0018,0015".into(), (plan.old_body_part.clone(), region.term().into()));
        }
        if plan.write_region {
            let code = region.code();
            let new = format!("SCT {} {}", code.value, code.meaning);
            changes.insert("0008,2218".into(), (plan.old_region.clone(), new));
        }
        Ok(Overlay { edits: edits.merged(), changes })
    }

    fn replace(&self, edits: &mut Edits, tag: Tag, old: Option<&Found>, new: Vec<u8>) {
        match old {
            Some(f) => edits.add(tag.0, f.element.offset, f.element.end() - f.element.offset, new),
            None => edits.add(tag.0, self.insertion(tag), 0, new),
        }
    }

    /// Appends an item to a sequence, or inserts the sequence with it.
    fn append(
        &self,
        edits: &mut Edits,
        form: Form,
        tag: Tag,
        old: Option<Element>,
        content: Elements,
    ) -> Result<(), NotEditable> {
        let Some(old) = old else {
            edits.add(tag.0, self.insertion(tag), 0, Elements::new(form).sequence(tag, content).finish());
            return Ok(());
        };
        is_sequence(&old)?;
        let item = content.into_item();
        if old.undefined {
            // Before the sequence delimiter, 8 bytes.
            edits.add(tag.0, old.end() - 8, 0, item);
            return Ok(());
        }
        let length = old.value_len + item.len() as u64;
        let length = u32::try_from(length).ok().filter(|&n| n != u32::MAX).ok_or(NotEditable::GroupLength(tag))?;
        edits.add(tag.0, old.offset + u64::from(old.header_len) - 4, 4, form.put_u32(length).to_vec());
        edits.add(tag.0, old.end(), 0, item);
        Ok(())
    }

    /// Group lengths of the groups that changed (PS3.5 7.2), and the retired Length to End where it was right.
    fn keep_lengths_right(&self, edits: &mut Edits, form: Form) -> Result<(), NotEditable> {
        for found in &self.group_lengths {
            let group = found.element.tag.0;
            let Some(&grown) = edits.grown.get(&group) else { continue };
            let fits = found.element.value_len == 4 && !found.element.undefined;
            let size = self.group_sizes.get(&group).copied().unwrap_or(0);
            let size = size.checked_add_signed(grown).and_then(|n| u32::try_from(n).ok());
            let size = size.filter(|_| fits).ok_or(NotEditable::GroupLength(found.element.tag))?;
            if found.value != form.put_u32(size) {
                edits.add_lengths(found.element.end() - 4, form.put_u32(size));
            }
        }
        if let Some(found) = &self.length_to_end {
            let after = self.summary.length - found.element.end();
            let was = u32::try_from(after).ok().map(|n| form.put_u32(n));
            if was.is_some_and(|w| found.value == w && found.complete) {
                let now = after.checked_add_signed(edits.grown.values().sum());
                let now = now.and_then(|n| u32::try_from(n).ok()).ok_or(NotEditable::GroupLength(LENGTH_TO_END))?;
                edits.add_lengths(found.element.end() - 4, form.put_u32(now));
            }
        }
        Ok(())
    }
}

/// What has to be written.
struct Plan {
    write_region: bool,
    write_body_part: bool,
    /// As text, for the audit.
    old_region: String,
    old_body_part: String,
}

impl Plan {
    fn of(layout: &Layout, form: Form, what: &Correction) -> Result<Option<Plan>, NotEditable> {
        let term = what.region.term();
        let old_body_part = match &layout.body_part {
            None => String::new(),
            Some(f) => {
                is_text(&f.element)?;
                let value = &f.value[..f.value.len().min(256)];
                decode(value, charset(&layout.character_set).as_ref())
            }
        };
        let (region, old_region) = match &layout.anatomic_region {
            None => (Said::Nothing, String::new()),
            Some(f) => {
                is_sequence(&f.element)?;
                let same = |t: &str| t == term || is_declared(t, &what.same);
                match anatomic_region(&f.element, &f.value, form) {
                    None => (Said::Nothing, String::new()),
                    Some(c) if term_of_code(&c.scheme, &c.value).is_some_and(same) => (Said::Same, String::new()),
                    Some(c) if c.value.is_empty() => (Said::Other, "without a short code".into()),
                    Some(c) => (Said::Other, format!("{} {}", c.scheme, c.value)),
                }
            }
        };
        let right = old_body_part == term;
        match (what.only_if_empty, old_body_part.is_empty(), &region) {
            (true, false, _) => return Ok(None),
            (true, true, Said::Other) => return Err(NotEditable::Contradicted),
            _ => {}
        }
        let write_region = match region {
            Said::Same => false,
            // Where the tag names the region, in whatever spelling, only the tag was judged: the code beside it (of the
            // patella, say) may be meant.
            Said::Other => !names(&old_body_part, what.region, &what.same),
            Said::Nothing => !right,
        };
        if right && !write_region {
            return Ok(None);
        }
        for found in [(write_region, &layout.anatomic_region), (!right, &layout.body_part)] {
            if let (true, Some(f)) = found
                && !f.complete
            {
                return Err(NotEditable::TooLarge(f.element.tag));
            }
        }
        Ok(Some(Plan { write_region, write_body_part: !right, old_region, old_body_part }))
    }
}

#[derive(PartialEq, Eq)]
enum Said {
    Nothing,
    Same,
    Other,
}

/// Edits under way, with how much each group grows.
#[derive(Default)]
struct Edits {
    edits: Vec<Edit>,
    grown: BTreeMap<u16, i64>,
}

impl Edits {
    fn add(&mut self, group: u16, offset: u64, remove: u64, insert: Vec<u8>) {
        *self.grown.entry(group).or_default() += insert.len() as i64 - remove as i64;
        self.edits.push(Edit { offset, remove, insert });
    }

    fn add_lengths(&mut self, offset: u64, value: [u8; 4]) {
        self.edits.push(Edit { offset, remove: 4, insert: value.to_vec() });
    }

    /// Sorted; edits that touch become one. At one place, they are in the order of the tags, since they were added so.
    fn merged(mut self) -> Vec<Edit> {
        self.edits.sort_by_key(|e| e.offset);
        let mut out: Vec<Edit> = Vec::with_capacity(self.edits.len());
        for e in self.edits {
            match out.last_mut() {
                Some(last) if last.offset + last.remove == e.offset => {
                    last.remove += e.remove;
                    last.insert.extend_from_slice(&e.insert);
                }
                _ => out.push(e),
            }
        }
        out
    }
}

fn is_sequence(e: &Element) -> Result<(), NotEditable> {
    match e.vr {
        None | Some([b'S', b'Q']) => Ok(()),
        Some(vr) => Err(representation(e.tag, vr)),
    }
}

/// BodyPartExamined as a string of whatever kind: writers differ (LO, SH). UN, binary and sequences are not understood.
fn is_text(e: &Element) -> Result<(), NotEditable> {
    match e.vr.as_ref() {
        _ if e.undefined => Err(representation(e.tag, *b"??")),
        None | Some(b"CS" | b"LO" | b"SH" | b"ST" | b"LT" | b"UT" | b"UC") => Ok(()),
        Some(vr) => Err(representation(e.tag, *vr)),
    }
}

fn representation(tag: Tag, vr: [u8; 2]) -> NotEditable {
    NotEditable::Representation { tag, vr: vr.iter().map(|&b| char::from(b)).collect() }
}

fn region_sequence(form: Form, region: Region) -> Vec<u8> {
    let code = region.code();
    Elements::new(form).sequence(ANATOMIC_REGION, coded(form, code.value, "SCT", code.meaning)).finish()
}

/// A code sequence item (PS3.3 8.8).
fn coded(form: Form, value: &str, scheme: &str, meaning: &str) -> Elements {
    Elements::new(form).text(Tag(0x0008, 0x0100), b"SH", value, 16).text(Tag(0x0008, 0x0102), b"SH", scheme, 16).text(
        Tag(0x0008, 0x0104),
        b"LO",
        meaning,
        64,
    )
}

/// PS3.3 C.12.1 Table C.12-1, Contributing Equipment Sequence.
fn equipment_item(form: Form, what: &Correction) -> Elements {
    Elements::new(form)
        .text(Tag(0x0008, 0x0070), b"LO", "radroute", 64)
        .text(Tag(0x0008, 0x1010), b"SH", &what.station, 16)
        .text(Tag(0x0008, 0x1090), b"LO", "radroute", 64)
        .text(Tag(0x0018, 0x1020), b"LO", &what.software, 64)
        .text(Tag(0x0018, 0xA002), b"DT", &what.at, 26)
        .text(Tag(0x0018, 0xA003), b"ST", &what.description, 1024)
        .sequence(Tag(0x0040, 0xA170), coded(form, "109103", "DCM", "Modifying Equipment"))
}

/// PS3.3 C.12.1.1.9 Table C.12.1.1.9-1, Original Attributes Macro.
fn original_item(form: Form, plan: &Plan, layout: &Layout, what: &Correction) -> Elements {
    let mut previous = Elements::new(form);
    let mut nonconforming = None;
    if plan.write_region {
        // The whole previous top-level sequence, byte by byte: its new place is encoded as its old one
        // (a delimiter included, where it has one).
        let (value, undefined) =
            layout.anatomic_region.as_ref().map_or((&[][..], false), |f| (&f.value, f.element.undefined));
        previous = previous.raw_sequence(ANATOMIC_REGION, value, undefined);
    }
    if plan.write_body_part {
        let value = layout.body_part.as_ref().map_or(&[][..], |f| &f.value);
        let kept = if conforms_to_cs(value) { value } else { &[] };
        previous = previous.element(BODY_PART, b"CS", kept);
        if kept.len() < value.len() {
            nonconforming = Some(value);
        }
    }
    let mut item = Elements::new(form).sequence(Tag(0x0400, 0x0550), previous);
    if let Some(raw) = nonconforming {
        // Selector Attribute Macro (PS3.3 10.17): the attribute and which of its values. Then the bytes as they were.
        let tag = [form.put_u16(BODY_PART.0), form.put_u16(BODY_PART.1)].concat();
        let selector = Elements::new(form).element(Tag(0x0072, 0x0026), b"AT", &tag).element(
            Tag(0x0072, 0x0028),
            b"US",
            &form.put_u16(1),
        );
        item = item.sequence(Tag(0x0400, 0x0551), selector.element(Tag(0x0400, 0x0552), b"OB", raw));
    }
    item.text(Tag(0x0400, 0x0562), b"DT", &what.at, 26)
        .text(Tag(0x0400, 0x0563), b"LO", &what.station, 64)
        .text(Tag(0x0400, 0x0564), b"LO", &what.source_of_previous_values, 64)
        .text(Tag(0x0400, 0x0565), b"CS", "CORRECT", 16)
}

/// Conforms to CS with one value (PS3.5 6.2): at most 16 capitals, digits, spaces and underscores.
fn conforms_to_cs(value: &[u8]) -> bool {
    value.len() <= 16 && value.iter().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || matches!(b, b' ' | b'_'))
}

//! The attributes that say what the pixels mean, and where the pixels are: read by the bounded walk, which believes no length.

use super::display::{Function, Voi};
use super::layout::{Layout, Padding};
use super::lut::{Modality, Table};
use super::{MAX_PIXELS, PixelsError, undecodable};
use crate::dataset::file_meta::read_file_meta;
use crate::dataset::walk::{Element, first_item, walk};
use crate::dataset::{DatasetError, Encoding, Form};
use dicom_core::Tag;
use dicom_dictionary_std::{tags, uids};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};

/// A deflated data set that grows beyond this is not looked at: the largest image, and room for a header.
const MAX_INFLATED: u64 = 2 * MAX_PIXELS + (64 << 20);
/// A LUT of 65536 entries, and what is around it.
const MAX_LUT: usize = (128 << 10) + 4096;
/// Enough for the values of any other attribute here. Windows may have many values: only the first is used.
const MAX_VALUE: usize = 256;

/// A single-frame grey image, checked: its pixels fit their bounds.
#[derive(Debug)]
pub(super) struct Image {
    pub syntax: String,
    pub columns: usize,
    pub rows: usize,
    pub layout: Layout,
    pub padding: Option<Padding>,
    pub modality: Modality,
    pub voi: Voi,
    /// Small values are white.
    pub inverse: bool,
    pub source: Source,
}

/// Where the pixels are.
#[derive(Debug)]
pub(super) enum Source {
    /// From this byte of the file, as many as `rows` and `columns` ask for. `swapped`: in pairs of bytes, each turned round.
    File { offset: u64, swapped: bool },
    /// Here: out of a deflated data set.
    Memory(Vec<u8>),
    /// Encapsulated: items from this byte of the file, `length` bytes in all.
    Fragments { offset: u64, length: u64 },
}

impl From<DatasetError> for PixelsError {
    fn from(e: DatasetError) -> PixelsError {
        PixelsError::Undecodable(e.to_string())
    }
}

/// Reads the header of a DICOM file.
pub(super) fn read(file: &mut (impl Read + Seek)) -> Result<Image, PixelsError> {
    let (meta, start) = read_file_meta(file)?;
    read_from(file, start, meta.transfer_syntax_uid)
}

/// These may be the first bytes of a data set without preamble and file meta group, in little endian.
pub(super) fn looks_bare(start: &[u8]) -> bool {
    // Group 0008 with one of its first elements; old files begin with the group's length.
    start.len() >= 8 && start[..2] == [8, 0] && start[3] == 0
}

/// Reads a data set without preamble and file meta group: the transfer syntax is a guess.
pub(super) fn read_bare(file: &mut (impl Read + Seek), start: &[u8]) -> Result<Image, PixelsError> {
    let explicit = start.get(4..6).is_some_and(|vr| vr.iter().all(u8::is_ascii_uppercase));
    let guess = if explicit { uids::EXPLICIT_VR_LITTLE_ENDIAN } else { uids::IMPLICIT_VR_LITTLE_ENDIAN };
    read_from(file, 0, guess.to_owned())
}

fn read_from(file: &mut (impl Read + Seek), start: u64, syntax: String) -> Result<Image, PixelsError> {
    let encoding = Encoding::of(&syntax);
    let length = file.seek(SeekFrom::End(0))?.saturating_sub(start);
    file.seek(SeekFrom::Start(start))?;
    let found = RefCell::new(Attributes { form: encoding.form, values: BTreeMap::new() });
    let mut pixels: Option<(Element, Vec<u8>)> = None;
    walk(
        &mut *file,
        length,
        encoding,
        MAX_INFLATED,
        |tag| found.borrow().wants(tag, encoding.deflated),
        |element, value| {
            let bytes = value.map(|v| v.bytes.to_vec()).unwrap_or_default();
            if element.tag == tags::PIXEL_DATA {
                pixels.get_or_insert((*element, bytes));
            } else if !bytes.is_empty() {
                found.borrow_mut().values.entry(element.tag).or_insert(bytes);
            }
        },
    )?;
    found.into_inner().image(syntax, encoding, start, pixels)
}

/// The values that were asked for, as encoded.
struct Attributes {
    form: Form,
    values: BTreeMap<Tag, Vec<u8>>,
}

impl Attributes {
    /// How many bytes of an element to keep.
    fn wants(&self, tag: Tag, deflated: bool) -> usize {
        match tag {
            // Their numbers are lower, so they are known by then.
            tags::PIXEL_DATA if deflated => self.expected().unwrap_or(0),
            tags::MODALITY_LUT_SEQUENCE | tags::VOILUT_SEQUENCE => MAX_LUT,
            tags::SOP_CLASS_UID | tags::PRESENTATION_LUT_SHAPE => MAX_VALUE,
            Tag(0x0028, _) => MAX_VALUE,
            _ => 0,
        }
    }

    fn bytes(&self, tag: Tag) -> &[u8] {
        self.values.get(&tag).map_or(&[], Vec::as_slice)
    }

    /// First value of a US.
    fn us(&self, tag: Tag) -> Option<u16> {
        Some(self.form.u16(self.bytes(tag).get(..2)?.try_into().ok()?))
    }

    /// First value of a string, trimmed; empty when absent.
    fn text(&self, tag: Tag) -> &str {
        let first = self.bytes(tag).split(|&b| b == b'\\').next().unwrap_or_default();
        std::str::from_utf8(first).unwrap_or_default().trim_matches([' ', '\0'])
    }

    /// First value of a DS; `None` when absent or no number.
    fn ds(&self, tag: Tag) -> Option<f64> {
        self.text(tag).parse().ok().filter(|x: &f64| x.is_finite())
    }

    /// Bytes of the pixels, as far as the bound goes.
    fn expected(&self) -> Option<usize> {
        let pixels = u64::from(self.us(tags::ROWS)?) * u64::from(self.us(tags::COLUMNS)?);
        let bytes = u64::from(self.us(tags::BITS_ALLOCATED)? / 8);
        if pixels > MAX_PIXELS || bytes > 2 { None } else { usize::try_from(pixels * bytes).ok() }
    }

    fn image(
        &self,
        syntax: String,
        encoding: Encoding,
        start: u64,
        pixels: Option<(Element, Vec<u8>)>,
    ) -> Result<Image, PixelsError> {
        let unsuitable = |why: String| Err(PixelsError::Unsuitable(why));
        let Some((element, inflated)) = pixels else { return unsuitable("the object has no pixel data".into()) };
        let samples = self.us(tags::SAMPLES_PER_PIXEL).unwrap_or(1);
        let photometric = self.text(tags::PHOTOMETRIC_INTERPRETATION);
        let inverse = match photometric {
            _ if samples != 1 => return unsuitable(format!("{samples} samples per pixel: not a grey image")),
            "MONOCHROME1" => true,
            "MONOCHROME2" => false,
            "" => return Err(undecodable("Photometric Interpretation is missing")),
            _ => return unsuitable("its Photometric Interpretation is no grey one".into()),
        };
        match self.text(tags::NUMBER_OF_FRAMES).parse::<i64>() {
            Ok(n) if n > 1 => return unsuitable(format!("{n} frames")),
            // Absent or nonsense: one frame, which the length of the pixels must bear out.
            _ => {}
        }
        let (Some(rows), Some(columns)) = (self.us(tags::ROWS), self.us(tags::COLUMNS)) else {
            return Err(undecodable("Rows or Columns is missing"));
        };
        if rows == 0 || columns == 0 {
            return Err(undecodable(format!("{columns} × {rows} pixels")));
        }
        if u64::from(rows) * u64::from(columns) > MAX_PIXELS {
            let most = MAX_PIXELS / 1_000_000;
            return Err(undecodable(format!(
                "it claims {columns} × {rows} pixels; more than {most} million are not read"
            )));
        }
        let Some(allocated) = self.us(tags::BITS_ALLOCATED) else {
            return Err(undecodable("Bits Allocated is missing"));
        };
        let stored = self.us(tags::BITS_STORED).unwrap_or(allocated);
        let high = self.us(tags::HIGH_BIT).unwrap_or(stored.saturating_sub(1));
        let signed = self.us(tags::PIXEL_REPRESENTATION) == Some(1);
        // Implicit VR with big endian pixels: a private transfer syntax of GE.
        let big = (self.form.big || syntax == "1.2.840.113619.5.2") && !encoding.encapsulated;
        let layout = Layout::new(allocated, stored, high, signed, big)?;
        let (rows, columns) = (usize::from(rows), usize::from(columns));
        let mut source = source(&element, inflated, encoding, start, (rows * columns * layout.bytes) as u64)?;
        if let Source::File { swapped, .. } = &mut source {
            // OW are words, of which big endian turns the bytes round (PS3.5 7.3), whatever the bits of a pixel.
            *swapped = big && layout.bytes == 1 && element.vr == Some(*b"OW");
        }
        let modality = self.modality(signed)?;
        Ok(Image {
            columns,
            rows,
            padding: self.padding(signed),
            voi: self.voi(&modality, signed),
            modality,
            // Both say the same: INVERSE belongs to MONOCHROME1 (PS3.3 C.8.11.3.1.2). Together they turn the image once.
            inverse: inverse || self.text(tags::PRESENTATION_LUT_SHAPE) == "INVERSE",
            source,
            layout,
            syntax,
        })
    }

    /// PS3.3 C.7.5.1.1.2. The range limit counts only beside the value; which of the two is larger is not said.
    fn padding(&self, signed: bool) -> Option<Padding> {
        let number = |tag| self.us(tag).map(|v| if signed { i32::from(v as i16) } else { i32::from(v) });
        let value = number(tags::PIXEL_PADDING_VALUE)?;
        let limit = number(tags::PIXEL_PADDING_RANGE_LIMIT).unwrap_or(value);
        Some(Padding { low: value.min(limit), high: value.max(limit) })
    }

    fn lut(&self, sequence: Tag, signed: bool) -> Option<Table> {
        let (mut descriptor, mut data) = (Vec::new(), Vec::new());
        first_item(self.bytes(sequence), self.form, |tag, bytes| match tag {
            tags::LUT_DESCRIPTOR => descriptor = bytes.to_vec(),
            tags::LUT_DATA => data = bytes.to_vec(),
            _ => {}
        });
        Table::new(&descriptor, &data, self.form, signed)
    }

    /// PS3.3 C.11.1: a LUT or a rescale, never both.
    fn modality(&self, signed: bool) -> Result<Modality, PixelsError> {
        let sequence = self.bytes(tags::MODALITY_LUT_SEQUENCE);
        let item = sequence.first_chunk().is_some_and(|&b| self.form.tag(b) == Tag(0xFFFE, 0xE000));
        if item {
            // A broken LUT might have turned the image: no guess.
            if let Some(table) = self.lut(tags::MODALITY_LUT_SEQUENCE, signed) {
                return Ok(Modality::Table(table));
            }
            return Err(undecodable("its Modality LUT is broken"));
        }
        let slope = self.ds(tags::RESCALE_SLOPE).filter(|&s| s != 0.0).unwrap_or(1.0);
        Ok(Modality::Linear { slope, intercept: self.ds(tags::RESCALE_INTERCEPT).unwrap_or(0.0) })
    }

    fn voi(&self, modality: &Modality, signed: bool) -> Voi {
        // Raw detector data: a VOI transform, if any, is not meant for them.
        if self.text(tags::SOP_CLASS_UID) == uids::DIGITAL_X_RAY_IMAGE_STORAGE_FOR_PROCESSING {
            return Voi::None;
        }
        let negative = match modality {
            Modality::Linear { intercept, slope } => signed || *intercept < 0.0 || *slope < 0.0,
            Modality::Table(_) => false,
        };
        if let Some(table) = self.lut(tags::VOILUT_SEQUENCE, negative) {
            return Voi::Table(table);
        }
        let (Some(center), Some(width)) = (self.ds(tags::WINDOW_CENTER), self.ds(tags::WINDOW_WIDTH)) else {
            return Voi::None;
        };
        let function = match self.text(tags::VOILUT_FUNCTION) {
            "LINEAR_EXACT" => Function::LinearExact,
            "SIGMOID" => Function::Sigmoid,
            _ => Function::Linear,
        };
        Voi::Window { center, width, function }
    }
}

/// Where the pixels are, and that there are enough of them. `start` is where the data set begins in the file.
fn source(
    element: &Element,
    inflated: Vec<u8>,
    encoding: Encoding,
    start: u64,
    expected: u64,
) -> Result<Source, PixelsError> {
    let offset = start + element.offset + u64::from(element.header_len);
    match (encoding.encapsulated, element.undefined) {
        (true, true) => return Ok(Source::Fragments { offset, length: element.value_len }),
        (true, false) => return Err(undecodable("pixels without fragments in a compressed transfer syntax")),
        (false, true) => return Err(undecodable("pixels in fragments in an uncompressed transfer syntax")),
        (false, false) => {}
    }
    if element.value_len < expected {
        let there = element.value_len;
        return Err(undecodable(format!("{there} bytes of pixels, where Rows and Columns ask for {expected}")));
    }
    Ok(if encoding.deflated { Source::Memory(inflated) } else { Source::File { offset, swapped: false } })
}

//! One element encoding → another, on bytes: headers are written anew, values are copied (and swapped, from big endian).
//!
//! Group lengths (gggg,0000) are left out: they would be wrong, and are retired (PS3.5 section 7.2). Sequences of defined length
//! stay so, with the new length. All reading is on slices: no length reaches beyond what is there.

use super::native::{self, Image};
use super::{TranscodeError, cannot};
use crate::dataset::Form;
use crate::dataset::walk::MAX_DEPTH;
use dicom_core::Tag;
use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry, VirtualVr};
use dicom_core::header::VR;
use dicom_dictionary_std::StandardDataDictionary;

const ITEM: Tag = Tag(0xFFFE, 0xE000);
const ITEM_END: Tag = Tag(0xFFFE, 0xE00D);
const SEQUENCE_END: Tag = Tag(0xFFFE, 0xE0DD);
const PIXEL_DATA: Tag = Tag(0x7FE0, 0x0010);
const UNDEFINED: u32 = u32::MAX;

/// A data set in `from`, little endian with explicit or implicit VR. `codec`: the transfer syntax in which its pixel data
/// are encapsulated; they come out native.
///
/// # Errors
/// [`TranscodeError::Cannot`]
pub fn recode(data: &[u8], from: Form, explicit: bool, codec: Option<&str>) -> Result<Vec<u8>, TranscodeError> {
    let mut recoder =
        Recoder { out: Vec::with_capacity(data.len()), image: Image { frames: 1, ..Image::default() }, codec, at: 0 };
    recoder.elements(data, from, explicit, 0, false)?;
    Ok(recoder.out)
}

struct Recoder<'a> {
    out: Vec<u8>,
    image: Image,
    codec: Option<&'a str>,
    /// Bytes read, for messages.
    at: usize,
}

#[derive(Clone, Copy)]
struct Header {
    tag: Tag,
    vr: Option<[u8; 2]>,
    /// `None`: undefined.
    length: Option<usize>,
    size: usize,
}

fn long(vr: [u8; 2]) -> bool {
    !matches!(
        &vr,
        b"AE"
            | b"AS"
            | b"AT"
            | b"CS"
            | b"DA"
            | b"DS"
            | b"DT"
            | b"FD"
            | b"FL"
            | b"IS"
            | b"LO"
            | b"LT"
            | b"PN"
            | b"SH"
            | b"SL"
            | b"SS"
            | b"ST"
            | b"TM"
            | b"UI"
            | b"UL"
            | b"US"
    )
}

fn header(data: &[u8], form: Form) -> Option<Header> {
    let (first, after) = data.split_first_chunk::<8>()?;
    let [t0, t1, t2, t3, a, b, c, d] = *first;
    let tag = form.tag([t0, t1, t2, t3]);
    let defined = |length: u32| if length == UNDEFINED { None } else { Some(length as usize) };
    if !form.explicit || tag.0 == 0xFFFE {
        return Some(Header { tag, vr: None, length: defined(form.u32([a, b, c, d])), size: 8 });
    }
    let vr = [a, b];
    if !vr.iter().all(u8::is_ascii_uppercase) {
        return None;
    }
    if long(vr) {
        Some(Header { tag, vr: Some(vr), length: defined(form.u32(*after.first_chunk()?)), size: 12 })
    } else {
        Some(Header { tag, vr: Some(vr), length: Some(form.u16([c, d]).into()), size: 8 })
    }
}

impl Recoder<'_> {
    fn broken(&self) -> TranscodeError {
        cannot(format!("the data set is broken near byte {}", self.at))
    }

    fn header(&mut self, data: &[u8], form: Form) -> Result<Header, TranscodeError> {
        let header = header(data, form).ok_or_else(|| self.broken())?;
        self.at += header.size;
        Ok(header)
    }

    /// Elements to the end of `data`, or to an item delimiter. Returns the bytes read, delimiter included.
    fn elements(
        &mut self,
        data: &[u8],
        form: Form,
        explicit: bool,
        depth: usize,
        delimited: bool,
    ) -> Result<usize, TranscodeError> {
        if depth > MAX_DEPTH {
            return Err(cannot("its sequences are nested too deeply"));
        }
        let mut rest = data;
        while !rest.is_empty() {
            let header = self.header(rest, form)?;
            rest = &rest[header.size..];
            if header.tag == ITEM_END && delimited {
                self.put(ITEM_END, None, 0, explicit)?;
                return Ok(data.len() - rest.len());
            }
            if header.tag.0 == 0xFFFE {
                return Err(self.broken());
            }
            let vr = header.vr.unwrap_or_else(|| self.vr_of(header.tag, header.length));
            let read = match header.length {
                // PS3.5 A.4: in an encapsulated transfer syntax, Pixel Data has undefined length. What this is, nobody knows.
                Some(_) if header.tag == PIXEL_DATA && depth == 0 && self.codec.is_some() => {
                    return Err(cannot("its pixel data are not encapsulated, as its transfer syntax demands"));
                }
                Some(length) => {
                    let value = rest.get(..length).ok_or_else(|| self.broken())?;
                    self.element(header.tag, vr, value, form, explicit, depth)?;
                    length
                }
                None if header.tag == PIXEL_DATA && depth == 0 && vr != *b"SQ" && form.explicit => {
                    self.encapsulated(rest, form, explicit)?
                }
                None if vr == *b"SQ" => {
                    self.put(header.tag, Some(vr), UNDEFINED, explicit)?;
                    self.sequence(rest, form, explicit, depth, true)?
                }
                // what is inside is implicit VR in any case (PS3.5 section 6.2.2)
                None if vr == *b"UN" => {
                    self.put(header.tag, Some(vr), UNDEFINED, explicit)?;
                    self.sequence(rest, Form::IMPLICIT, false, depth, true)?
                }
                None => return Err(cannot(format!("{} is encapsulated within the data set", header.tag))),
            };
            rest = &rest[read..];
        }
        if delimited { Err(self.broken()) } else { Ok(data.len()) }
    }

    fn element(
        &mut self,
        tag: Tag,
        vr: [u8; 2],
        value: &[u8],
        form: Form,
        explicit: bool,
        depth: usize,
    ) -> Result<(), TranscodeError> {
        if tag.1 == 0x0000 {
            self.at += value.len();
            return Ok(());
        }
        if vr == *b"SQ" {
            let length_at = self.put(tag, Some(vr), 0, explicit)?;
            self.sequence(value, form, explicit, depth, false)?;
            return self.patch(length_at);
        }
        self.at += value.len();
        let swapped;
        let value = if form.big {
            swapped = swap(vr, value).ok_or_else(|| self.broken())?;
            &swapped
        } else {
            value
        };
        if depth == 0 {
            // Extended Offset Table and its lengths belong to encapsulated pixel data (PS3.3 C.7.6.3)
            if self.codec.is_some() && matches!(tag, Tag(0x7FE0, 0x0001..=0x0003)) {
                return Ok(());
            }
            self.note(tag, value)?;
            // Planar Configuration: the codecs give colour by pixel
            if tag == Tag(0x0028, 0x0006) && self.codec.is_some() {
                return self.whole(tag, vr, &[0, 0], explicit);
            }
        }
        self.whole(tag, vr, value, explicit)
    }

    /// Keeps what decoding asks for.
    fn note(&mut self, tag: Tag, value: &[u8]) -> Result<(), TranscodeError> {
        let number = || value.first_chunk().map_or(0, |n| u16::from_le_bytes(*n));
        let text = || String::from_utf8_lossy(value).trim_matches(['\0', ' ']).to_owned();
        match tag {
            Tag(0x0028, 0x0002) => self.image.samples = number(),
            Tag(0x0028, 0x0004) => self.image.photometric = text(),
            Tag(0x0028, 0x0008) if !text().is_empty() => {
                self.image.frames = text().parse().map_err(|_| cannot("its Number of Frames is no number"))?;
            }
            Tag(0x0028, 0x0010) => self.image.rows = number(),
            Tag(0x0028, 0x0011) => self.image.columns = number(),
            Tag(0x0028, 0x0100) => self.image.bits_allocated = number(),
            Tag(0x0028, 0x0101) => self.image.bits_stored = number(),
            Tag(0x0028, 0x0103) => self.image.signed = number() == 1,
            _ => {}
        }
        Ok(())
    }

    /// Items to the end of `data`, or to a sequence delimiter. Returns the bytes read, delimiter included.
    fn sequence(
        &mut self,
        data: &[u8],
        form: Form,
        explicit: bool,
        depth: usize,
        delimited: bool,
    ) -> Result<usize, TranscodeError> {
        let mut rest = data;
        while !rest.is_empty() {
            let header = self.header(rest, form)?;
            rest = &rest[header.size..];
            if header.tag == SEQUENCE_END && delimited {
                self.put(SEQUENCE_END, None, 0, explicit)?;
                return Ok(data.len() - rest.len());
            }
            if header.tag != ITEM {
                return Err(self.broken());
            }
            let read = match header.length {
                Some(length) => {
                    let item = rest.get(..length).ok_or_else(|| self.broken())?;
                    let length_at = self.put(ITEM, None, 0, explicit)?;
                    self.elements(item, form, explicit, depth + 1, false)?;
                    self.patch(length_at)?;
                    length
                }
                None => {
                    self.put(ITEM, None, UNDEFINED, explicit)?;
                    self.elements(rest, form, explicit, depth + 1, true)?
                }
            };
            rest = &rest[read..];
        }
        if delimited { Err(self.broken()) } else { Ok(data.len()) }
    }

    /// Encapsulated pixel data (PS3.5 A.4): Basic Offset Table, fragments, delimiter. Returns the bytes read.
    fn encapsulated(&mut self, data: &[u8], form: Form, explicit: bool) -> Result<usize, TranscodeError> {
        let Some(codec) = self.codec else {
            return Err(cannot("its pixel data are encapsulated, which its transfer syntax does not allow"));
        };
        let mut items: Vec<&[u8]> = Vec::new();
        let mut rest = data;
        loop {
            let header = self.header(rest, form)?;
            rest = &rest[header.size..];
            let length = header.length.ok_or_else(|| self.broken())?;
            match header.tag {
                SEQUENCE_END => break,
                ITEM => {
                    let (item, after) = rest.split_at_checked(length).ok_or_else(|| self.broken())?;
                    self.at += length;
                    items.push(item);
                    rest = after;
                }
                _ => return Err(self.broken()),
            }
        }
        let (offsets, fragments) = items.split_first().ok_or_else(|| self.broken())?;
        let mut pixels = native::decode(codec, &self.image, offsets, fragments)?;
        if pixels.len() % 2 == 1 {
            pixels.push(0);
        }
        // PS3.5 A.2: OW where samples have more than 8 bits; A.1: OW in implicit VR
        let vr = if explicit && self.image.bits_allocated <= 8 { *b"OB" } else { *b"OW" };
        self.whole(PIXEL_DATA, vr, &pixels, explicit)?;
        Ok(data.len() - rest.len())
    }

    fn whole(&mut self, tag: Tag, vr: [u8; 2], value: &[u8], explicit: bool) -> Result<(), TranscodeError> {
        let length = u32::try_from(value.len()).map_err(|_| self.broken())?;
        // a value too long for a 16-bit length goes as UN (PS3.5 section 6.2.2)
        let vr = if length > 0xFFFE && !long(vr) { *b"UN" } else { vr };
        self.put(tag, Some(vr), length, explicit)?;
        self.out.extend_from_slice(value);
        Ok(())
    }

    /// Writes a header; returns where its 32-bit length stands.
    fn put(&mut self, tag: Tag, vr: Option<[u8; 2]>, length: u32, explicit: bool) -> Result<usize, TranscodeError> {
        self.out.extend_from_slice(&tag.0.to_le_bytes());
        self.out.extend_from_slice(&tag.1.to_le_bytes());
        match vr {
            Some(vr) if explicit => {
                self.out.extend_from_slice(&vr);
                if !long(vr) {
                    let length = u16::try_from(length).map_err(|_| self.broken())?;
                    self.out.extend_from_slice(&length.to_le_bytes());
                    return Ok(self.out.len());
                }
                self.out.extend_from_slice(&[0, 0]);
            }
            _ => {}
        }
        self.out.extend_from_slice(&length.to_le_bytes());
        Ok(self.out.len() - 4)
    }

    /// Sets a length to what was written since.
    fn patch(&mut self, length_at: usize) -> Result<(), TranscodeError> {
        let length = u32::try_from(self.out.len() - length_at - 4).ok().filter(|&length| length != UNDEFINED);
        let length = length.ok_or_else(|| cannot("a sequence becomes too long"))?;
        self.out[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
        Ok(())
    }

    /// The VR that implicit VR does not tell (PS3.5 A.1, PS3.6).
    fn vr_of(&self, tag: Tag, length: Option<usize>) -> [u8; 2] {
        if tag.1 == 0x0000 {
            return *b"UL";
        }
        if tag.0 % 2 == 1 {
            // private: creators are LO, the rest is not known
            return if (0x0010..=0x00FF).contains(&tag.1) && length.is_some() { *b"LO" } else { *b"UN" };
        }
        let vr = match StandardDataDictionary.by_tag(tag).map(|entry| entry.vr()) {
            Some(VirtualVr::Exact(vr)) => vr,
            Some(VirtualVr::Xs) => {
                if self.image.signed {
                    VR::SS
                } else {
                    VR::US
                }
            }
            Some(VirtualVr::Ox | VirtualVr::Px | VirtualVr::Lt) => VR::OW,
            _ => VR::UN,
        };
        vr.to_bytes()
    }
}

/// From big to little endian, in the units of the VR (PS3.5 section 7.3). `None`: the length is no multiple of the unit.
fn swap(vr: [u8; 2], value: &[u8]) -> Option<Vec<u8>> {
    let unit = match &vr {
        b"US" | b"SS" | b"OW" | b"AT" => 2,
        b"UL" | b"SL" | b"FL" | b"OF" | b"OL" => 4,
        b"FD" | b"OD" | b"SV" | b"UV" | b"OV" => 8,
        _ => return Some(value.to_vec()),
    };
    if !value.len().is_multiple_of(unit) {
        return None;
    }
    let mut swapped = value.to_vec();
    swapped.chunks_exact_mut(unit).for_each(<[u8]>::reverse);
    Some(swapped)
}

#[cfg(test)]
mod tests;

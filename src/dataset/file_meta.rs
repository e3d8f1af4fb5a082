//! The preamble and the file meta group of a DICOM file (PS3.10 7.1).

use super::DatasetError;
use super::encoding::{Form, header};
use super::text::trim_uid;
use dicom_core::Tag;
use std::io::{Read, Seek, SeekFrom};

/// Implementation Class UID of radroute (a UUID as of PS3.5 B.2).
pub const IMPLEMENTATION_CLASS_UID: &str = "2.25.9883660461299996911345914159937102564";
/// Implementation Version Name: 1 to 16 characters (PS3.7 D.3.3.2.3).
pub const IMPLEMENTATION_VERSION_NAME: &str = concat!("RADROUTE_", env!("CARGO_PKG_VERSION"));
const _: () = assert!(IMPLEMENTATION_VERSION_NAME.len() <= 16);

/// No file meta group is larger: what is, is none.
const MOST: u64 = 1 << 20;

/// What the file meta group says that anybody asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileMeta {
    /// (0002,0002) Media Storage SOP Class UID.
    pub sop_class_uid: String,
    /// (0002,0003) Media Storage SOP Instance UID.
    pub sop_instance_uid: String,
    /// (0002,0010) Transfer Syntax UID.
    pub transfer_syntax_uid: String,
    /// (0002,0016) Source Application Entity Title: who wrote the file.
    pub source_ae: String,
    /// (0002,0017) Sending Application Entity Title: the calling AE of the association that brought it.
    pub sending_ae: String,
    /// (0002,0018) Receiving Application Entity Title: the called AE of that association.
    pub receiving_ae: String,
}

/// Reads the preamble and the file meta group from where `reader` stands (the start of the file). Returns what it says and
/// where the data set begins, in bytes from there.
///
/// # Errors
/// No DICOM prefix, lengths beyond 1 MiB or beyond the file, no transfer syntax.
pub fn read_file_meta<R: Read + Seek>(reader: &mut R) -> Result<(FileMeta, u64), DatasetError> {
    let short = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::UnexpectedEof => DatasetError::FileMeta("it ends within the file meta group"),
        _ => DatasetError::Io(e),
    };
    let start = reader.stream_position()?;
    let mut reader = std::io::BufReader::with_capacity(1024, reader);
    let mut preamble = [0; 132];
    reader.read_exact(&mut preamble).map_err(short)?;
    if &preamble[128..] != b"DICM" {
        return Err(DatasetError::FileMeta("the letters DICM are missing after 128 bytes"));
    }
    let form = Form { explicit: true, big: false };
    let mut meta = FileMeta::default();
    let mut pos: u64 = 132;
    loop {
        let mut first = [0; 8];
        // A file may end behind its meta group: the data set is then empty.
        if !read_or_end(&mut reader, &mut first)? || first[..2] != [2, 0] {
            break;
        }
        let h = header(form, first, pos, |_| {
            let mut more = [0; 4];
            reader.read_exact(&mut more).map_err(short)?;
            Ok(more)
        })?;
        let length = u64::from(h.length.ok_or(DatasetError::FileMeta("an element of undefined length in it"))?);
        pos += u64::from(h.header_len) + length;
        if pos > MOST {
            return Err(DatasetError::FileMeta("its file meta group is larger than 1 MiB"));
        }
        let field = match h.tag {
            Tag(2, 0x0002) => &mut meta.sop_class_uid,
            Tag(2, 0x0003) => &mut meta.sop_instance_uid,
            Tag(2, 0x0010) => &mut meta.transfer_syntax_uid,
            Tag(2, 0x0016) => &mut meta.source_ae,
            Tag(2, 0x0017) => &mut meta.sending_ae,
            Tag(2, 0x0018) => &mut meta.receiving_ae,
            _ => {
                reader.seek_relative(length as i64)?;
                continue;
            }
        };
        if length > 256 {
            return Err(DatasetError::FileMeta("a UID or AE title in it is longer than 256 bytes"));
        }
        let mut value = vec![0; length as usize];
        reader.read_exact(&mut value).map_err(short)?;
        *field = trim_uid(&value);
    }
    if meta.transfer_syntax_uid.is_empty() {
        return Err(DatasetError::FileMeta("it has no transfer syntax"));
    }
    let whole = reader.seek(SeekFrom::End(0))?.saturating_sub(start);
    if pos > whole {
        return Err(DatasetError::FileMeta("it ends within the file meta group"));
    }
    reader.seek(SeekFrom::Start(start + pos))?;
    Ok((meta, pos))
}

/// Fills `buf`; `false` when the stream ends before that.
fn read_or_end(reader: &mut impl Read, buf: &mut [u8]) -> Result<bool, DatasetError> {
    match reader.read_exact(buf) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
        Err(e) => Err(DatasetError::Io(e)),
    }
}

/// Preamble and file meta group with the given contents; empty AE titles are left out. Values beyond 64 bytes are cut,
/// since none of these may be longer (PS3.5 6.2).
pub fn write_file_meta(meta: &FileMeta) -> Vec<u8> {
    let mut body = Vec::with_capacity(512);
    let mut long = |element: u16, vr: &[u8; 2], value: &[u8]| {
        body.extend_from_slice(&[2, 0]);
        body.extend_from_slice(&element.to_le_bytes());
        body.extend_from_slice(vr);
        let pad = if vr == b"UI" { 0 } else { b' ' };
        let value = &value[..value.len().min(64)];
        let padded = (value.len() + value.len() % 2) as u32;
        if vr == b"OB" {
            body.extend_from_slice(&[0, 0]);
            body.extend_from_slice(&padded.to_le_bytes());
        } else {
            body.extend_from_slice(&(padded as u16).to_le_bytes());
        }
        body.extend_from_slice(value);
        if value.len() % 2 == 1 {
            body.push(pad);
        }
    };
    long(0x0001, b"OB", &[0, 1]);
    long(0x0002, b"UI", meta.sop_class_uid.as_bytes());
    long(0x0003, b"UI", meta.sop_instance_uid.as_bytes());
    long(0x0010, b"UI", meta.transfer_syntax_uid.as_bytes());
    long(0x0012, b"UI", IMPLEMENTATION_CLASS_UID.as_bytes());
    long(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME.as_bytes());
    for (element, title) in [(0x0016, &meta.source_ae), (0x0017, &meta.sending_ae), (0x0018, &meta.receiving_ae)] {
        if !title.is_empty() {
            long(element, b"AE", title.as_bytes());
        }
    }
    let mut out = vec![0; 128];
    out.extend_from_slice(b"DICM\x02\0\0\0UL\x04\0");
    out.extend_from_slice(&(body.len() as u32).to_le_bytes());
    out.append(&mut body);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn sample() -> FileMeta {
        FileMeta {
            sop_class_uid: "1.2.840.10008.5.1.4.1.1.1".into(),
            sop_instance_uid: "2.25.77".into(),
            transfer_syntax_uid: "1.2.840.10008.1.2.1".into(),
            source_ae: "RADROUTE".into(),
            sending_ae: "XRAY1".into(),
            receiving_ae: "RADROUTE".into(),
        }
    }

    #[test]
    fn what_is_written_is_read_and_dicom_object_agrees() {
        let mut bytes = write_file_meta(&sample());
        let offset = bytes.len() as u64;
        bytes.extend_from_slice(b"\x08\x00\x60\x00CS\x02\0DX");
        let mut file = Cursor::new(&bytes);
        assert_eq!(read_file_meta(&mut file).unwrap(), (sample(), offset));
        assert_eq!(file.position(), offset);
        let object = dicom_object::from_reader(&bytes[..]).unwrap();
        assert_eq!(object.meta().media_storage_sop_instance_uid(), "2.25.77");
        assert_eq!(object.meta().implementation_class_uid(), IMPLEMENTATION_CLASS_UID);
    }

    #[test]
    fn broken_groups_are_errors() {
        let bytes = write_file_meta(&sample());
        assert!(read_file_meta(&mut Cursor::new(&bytes[..100])).is_err());
        assert!(read_file_meta(&mut Cursor::new(&bytes[..150])).is_err());
        assert!(read_file_meta(&mut Cursor::new(&bytes[..bytes.len() - 3])).is_err());
        let mut wrong = bytes.clone();
        wrong[128] = b'X';
        assert!(read_file_meta(&mut Cursor::new(&wrong)).is_err());
        // (0002,0001) OB claims 2 GiB
        let mut lying = bytes.clone();
        lying[152..156].copy_from_slice(&0x7FFF_FFFFu32.to_le_bytes());
        assert!(read_file_meta(&mut Cursor::new(&lying)).is_err());
    }

    #[test]
    fn an_empty_data_set_is_let_be() {
        let bytes = write_file_meta(&sample());
        assert_eq!(read_file_meta(&mut Cursor::new(&bytes)).unwrap().1, bytes.len() as u64);
    }
}

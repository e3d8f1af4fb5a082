//! From UIDs and patient to names and groups that cannot be turned back.
//!
//! SHA-256 over a random salt of 32 bytes and the identifier. Without the salt nobody can try identifiers one by one; it
//! stays in the state folder and goes with `radroute harvest clear`.

use crate::dataset::walk::{MAX_INFLATED, walk};
use crate::dataset::{DatasetError, Encoding};
use dicom_core::Tag;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::path::Path;

/// Bytes of a salt.
pub(super) const SALT: usize = 32;
/// Patient ID is LO, 64 characters at most (PS3.5 6.2), in any character set.
const PATIENT_ID: usize = 256;

/// Whose image it is. Only hashes of it are written down.
#[derive(Clone, Debug)]
pub struct Origin {
    /// (0008,0018)
    pub sop_instance_uid: String,
    /// (0010,0020) as encoded; `None` where it is absent or empty.
    pub patient_id: Option<Vec<u8>>,
    /// (0020,000D)
    pub study_instance_uid: String,
}

impl Origin {
    /// What a thumbnail is called: 32 hex digits.
    pub(super) fn name(&self, salt: &[u8; SALT]) -> String {
        hash(salt, b"image", self.sop_instance_uid.as_bytes(), 16)
    }

    /// Which images belong together: those of a patient, or where there is no Patient ID those of a study. 16 hex digits.
    pub(super) fn group(&self, salt: &[u8; SALT]) -> String {
        match (&self.patient_id, self.study_instance_uid.as_str()) {
            (Some(id), _) => hash(salt, b"patient", id, 8),
            (None, "") => hash(salt, b"alone", self.sop_instance_uid.as_bytes(), 8),
            (None, study) => hash(salt, b"study", study.as_bytes(), 8),
        }
    }
}

/// The first `bytes` of a hash in hex digits. `what` keeps apart what is equal and means something else.
fn hash(salt: &[u8; SALT], what: &[u8], identifier: &[u8], bytes: usize) -> String {
    let digest =
        Sha256::new().chain_update(salt).chain_update(what).chain_update([0]).chain_update(identifier).finalize();
    digest.iter().take(bytes).map(|b| format!("{b:02x}")).collect()
}

/// Patient ID (0010,0020) of a DICOM file whose data set begins at `offset`; `None` where it is absent or empty.
///
/// # Errors
/// The file cannot be read, or is no whole data set.
pub fn patient_id(file: &Path, offset: u64, transfer_syntax_uid: &str) -> Result<Option<Vec<u8>>, DatasetError> {
    let mut reader = File::open(file)?;
    let length = reader.metadata()?.len().saturating_sub(offset);
    reader.seek(SeekFrom::Start(offset))?;
    let wants = |tag: Tag| if tag == Tag(0x0010, 0x0020) { PATIENT_ID } else { 0 };
    let mut found = None;
    walk(&mut reader, length, Encoding::of(transfer_syntax_uid), MAX_INFLATED, wants, |_, value| {
        found = value.map(|v| v.bytes.trim_ascii_end().to_vec()).or(found.take());
    })?;
    let id = found.map(|mut id| {
        while id.last().is_some_and(|b| *b == 0 || b.is_ascii_whitespace()) {
            id.pop();
        }
        id
    });
    Ok(id.filter(|id| !id.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(sop: &str, patient: Option<&str>, study: &str) -> Origin {
        Origin {
            sop_instance_uid: sop.into(),
            patient_id: patient.map(|p| p.as_bytes().to_vec()),
            study_instance_uid: study.into(),
        }
    }

    #[test]
    fn a_patient_is_a_group_over_studies_and_a_study_where_there_is_none() {
        let salt = [7; SALT];
        let group = |o: Origin| o.group(&salt);
        assert_eq!(group(origin("1", Some("P"), "9.1")), group(origin("2", Some("P"), "9.2")));
        assert_ne!(group(origin("1", Some("P"), "9.1")), group(origin("1", Some("Q"), "9.1")));
        assert_eq!(group(origin("1", None, "9.1")), group(origin("2", None, "9.1")));
        assert_ne!(group(origin("1", None, "9.1")), group(origin("1", Some("9.1"), "9.1")));
        assert_ne!(group(origin("1", None, "")), group(origin("2", None, "")), "strangers are no group");
    }

    #[test]
    fn names_depend_on_instance_and_salt_alone() {
        let (a, b) = (origin("1.2.3", Some("P"), "9"), origin("1.2.3", None, "8"));
        assert_eq!(a.name(&[1; SALT]), b.name(&[1; SALT]));
        assert_ne!(a.name(&[1; SALT]), a.name(&[2; SALT]));
        assert_eq!(a.name(&[1; SALT]).len(), 32);
        assert!(!a.name(&[1; SALT]).starts_with(&a.group(&[1; SALT])));
    }

    #[test]
    fn the_patient_id_of_the_samples_is_found_and_of_a_file_cut_short_is_an_error() {
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/knee-1.dcm");
        let (meta, offset) = crate::dataset::file_meta::read_file_meta(&mut File::open(&data).unwrap()).unwrap();
        let id = patient_id(&data, offset, &meta.transfer_syntax_uid).unwrap().unwrap();
        assert!(!id.is_empty() && !id.ends_with(b" "));
        let folder = tempfile::tempdir().unwrap();
        let cut = folder.path().join("cut");
        let bytes = std::fs::read(&data).unwrap();
        std::fs::write(&cut, &bytes[..bytes.len() - 9]).unwrap();
        assert!(patient_id(&cut, offset, &meta.transfer_syntax_uid).is_err());
    }
}

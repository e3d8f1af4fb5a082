//! What becomes of an instance: the seam between the wire and what keeps it.

use crate::dataset::{DatasetError, Facts};
use crate::dimse::status;
use crate::ledger::{Event, Source};
use std::fs::File;
use std::future::Future;
use std::io::{Read, Seek, SeekFrom};

/// What the C-STORE-RQ and the association say about the instance that follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    /// Affected SOP Class UID; the abstract syntax of its presentation context.
    pub sop_class_uid: String,
    /// Affected SOP Instance UID; [`valid_uid`](crate::dimse::command::valid_uid) holds.
    pub sop_instance_uid: String,
    /// As negotiated.
    pub transfer_syntax_uid: String,
    /// Who sends it.
    pub source: Source,
}

/// An instance is not kept: the C-STORE is answered with a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// DIMSE status.
    pub status: u16,
    /// For the peer, as Error Comment (0000,0902); nothing of our insides.
    pub comment: &'static str,
    /// For the administrator: log and ledger.
    pub why: String,
}

impl Refusal {
    /// A refusal.
    pub fn new(status: u16, comment: &'static str, why: impl ToString) -> Refusal {
        Refusal { status, comment, why: why.to_string() }
    }
}

/// Keeps instances. One serves all associations of a listener, each on a thread of its own: what is called for one may block it.
pub trait Deposit: Send + Sync + 'static {
    /// An instance that is being received; dropping it leaves nothing behind.
    type Open: Send;

    /// An instance is about to come.
    fn begin(&self, announced: &Announced) -> impl Future<Output = Result<Self::Open, Refusal>> + Send;

    /// Takes the next bytes of its data set.
    fn write(&self, open: &mut Self::Open, bytes: &[u8]) -> impl Future<Output = Result<(), Refusal>> + Send;

    /// It is whole. Returns once it may be answered with the status returned: 0000 or a warning.
    fn finish(&self, open: Self::Open, announced: &Announced) -> impl Future<Output = Result<u16, Refusal>> + Send;

    /// An association that brought instances was released: nothing more of its series is under way.
    fn released(&self, association: &str) -> impl Future<Output = ()> + Send;

    /// Something worth keeping for the audit.
    fn tell(&self, event: Event) -> impl Future<Output = ()> + Send;
}

/// Reads a received data set to its end: broken ones are refused with C000, those that are not what was announced with A900.
///
/// # Errors
/// The refusal.
pub fn inspect(file: &mut File, dataset_offset: u64, announced: &Announced) -> Result<Facts, Refusal> {
    let facts = read_facts(file, dataset_offset, &announced.transfer_syntax_uid).map_err(|error| {
        if error.is_io() {
            Refusal::new(status::PROCESSING_FAILURE, "processing failure", error)
        } else {
            Refusal::new(status::CANNOT_UNDERSTAND, "the data set cannot be read", error)
        }
    })?;
    let same = |name: &str, there: &str, told: &str| {
        if there == told {
            return Ok(());
        }
        let there = if crate::dimse::command::valid_uid(there) { there } else { "empty or no UID" };
        let why = format!("{name} of the data set ({there}) is not the one announced ({told})");
        Err(Refusal::new(status::DATA_SET_MISMATCH, "the data set is not the instance announced", why))
    };
    same("SOP Class UID", &facts.sop_class_uid, &announced.sop_class_uid)?;
    same("SOP Instance UID", &facts.sop_instance_uid, &announced.sop_instance_uid)?;
    Ok(facts)
}

fn read_facts(file: &mut (impl Read + Seek), offset: u64, transfer_syntax_uid: &str) -> Result<Facts, DatasetError> {
    let end = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(offset))?;
    Facts::read(file, end.saturating_sub(offset), transfer_syntax_uid)
}

//! What the ledger takes and gives.

use crate::dataset::{Facts, Overlay};
use crate::verdict::{Look, Verdict};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Milliseconds since 1970-01-01 UTC.
pub type Millis = i64;
/// Row of an instance as received: the same SOP Instance UID received twice has two.
pub type InstanceId = i64;
/// Row of a delivery.
pub type DeliveryId = i64;

/// The current time.
pub fn now() -> Millis {
    chrono::Utc::now().timestamp_millis()
}

/// Who sent it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Calling AE title.
    pub calling_ae: String,
    /// Called AE title.
    pub called_ae: String,
    /// The peer's address; `None` where it is not known (an orphan of another program's).
    pub peer: Option<IpAddr>,
    /// Identifier of the association, unique over restarts.
    pub association: String,
}

/// A spooled, durable instance about to be entered.
#[derive(Clone, Debug)]
pub struct NewInstance {
    /// Name in the spool.
    pub spool_name: String,
    /// Size of the file, bytes.
    pub file_size: u64,
    /// Where the data set begins in the file.
    pub dataset_offset: u64,
    /// From the header.
    pub facts: Facts,
    /// From the association.
    pub source: Source,
    /// When the last byte was here.
    pub received_at: Millis,
    /// From the first byte to the last, milliseconds.
    pub receive_ms: f32,
    /// Sync, rename and directory sync, milliseconds.
    pub sync_ms: f32,
    /// Quiet time after which the series settles, milliseconds.
    pub settle: Millis,
    /// The longest a series may stay open after its first undecided instance, milliseconds.
    pub settle_max: Millis,
    /// Adopted from the spool at start, not received now.
    pub adopted: bool,
}

/// An instance as the stages need it.
#[derive(Clone, Debug)]
pub struct InstanceRow {
    /// Row.
    pub id: InstanceId,
    /// Name in the spool.
    pub spool_name: String,
    /// Size of the file.
    pub file_size: u64,
    /// Where the data set begins in the file.
    pub dataset_offset: u64,
    /// From the header.
    pub facts: Facts,
    /// Who sent it.
    pub source: Source,
    /// When.
    pub received_at: Millis,
    /// What looking gave, once it has.
    pub look: Option<Look>,
    /// Its series has a verdict and its deliveries are entered.
    pub decided: bool,
    /// Its file is still in the spool.
    pub present: bool,
}

/// A series that is due for its verdict.
#[derive(Clone, Debug)]
pub struct SeriesJob {
    /// (0020,000E); for an object without one, its SOP Instance UID stands in.
    pub series_instance_uid: String,
    /// (0020,000D)
    pub study_instance_uid: String,
    /// The verdict it has already: latecomers inherit it.
    pub verdict: Option<Verdict>,
    /// Undecided instances, all looked at.
    pub undecided: Vec<InstanceRow>,
    /// What the series of this study chose by routes so far (default destinations not counted), without duplicates.
    pub study_chosen: Vec<String>,
    /// What this series chose by routes so far.
    pub series_chosen: Vec<String>,
    /// Other, already decided instances of the study that are still in the spool, with the destinations that they have.
    pub study_instances: Vec<(InstanceRow, Vec<String>)>,
}

/// A series' verdict with all that follows from it.
#[derive(Clone, Debug)]
pub struct Decision {
    /// As in the job.
    pub series_instance_uid: String,
    /// As in the job.
    pub study_instance_uid: String,
    /// The verdict.
    pub verdict: Verdict,
    /// What it rests on, for the audit, as a JSON object: scores, model, tags found, mode.
    pub evidence: serde_json::Value,
    /// What this series chose by routes (default destinations not counted).
    pub chosen: Vec<String>,
    /// One for every undecided instance of the job.
    pub instances: Vec<DecidedInstance>,
    /// Destinations added to earlier instances of the study.
    pub added: Vec<(InstanceId, Vec<String>)>,
    /// When.
    pub now: Millis,
}

/// What was decided for one instance.
#[derive(Clone, Debug)]
pub struct DecidedInstance {
    /// Row.
    pub id: InstanceId,
    /// What is spliced in as it leaves; `None`: it leaves as it came.
    pub overlay: Option<Overlay>,
    /// Why it leaves as it came although the verdict writes (signed, not editable, …).
    pub untouched: Option<String>,
    /// Where it goes.
    pub destinations: Vec<String>,
    /// Names of the routes that matched (`default` where none did).
    pub routes: Vec<String>,
}

/// One delivery that is due.
#[derive(Clone, Debug)]
pub struct DeliveryJob {
    /// Row.
    pub id: DeliveryId,
    /// What is to be delivered.
    pub instance: InstanceRow,
    /// Spliced in as it leaves.
    pub overlay: Option<Overlay>,
    /// Attempts so far.
    pub attempts: u32,
    /// When the delivery was entered (for `max_age`).
    pub queued_at: Millis,
}

/// How an attempt ended.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Row.
    pub id: DeliveryId,
    /// How.
    pub outcome: Outcome,
    /// C-STORE status, where one came.
    pub status: Option<u16>,
    /// Plain words for the audit: what the destination said, or the network.
    pub detail: String,
    /// Both AE titles and the address: `CALLING→CALLED@host:port`.
    pub peer: String,
    /// Transfer syntax that went out.
    pub transfer_syntax_uid: String,
    /// Bytes of the data set that went out.
    pub bytes: u64,
    /// It went out with the correction of its overlay.
    pub corrected: bool,
    /// Opening the file to the response, milliseconds.
    pub send_ms: f32,
    /// When.
    pub now: Millis,
}

/// Where a delivery goes from an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The destination has it.
    Delivered,
    /// Again at the given time.
    Retry(Millis),
    /// Will not get better by itself.
    Dead,
}

/// State of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// Waits for its (next) attempt.
    Queued,
    /// The destination has it.
    Delivered,
    /// Dead letter: waits for an administrator.
    Dead,
    /// Given up by an administrator.
    Dropped,
}

/// A line of `radroute queue list`.
#[derive(Clone, Debug, Serialize)]
pub struct QueueRow {
    /// Row.
    pub id: DeliveryId,
    /// Destination.
    pub destination: String,
    /// (0008,0018)
    pub sop_instance_uid: String,
    /// (0020,000E)
    pub series_instance_uid: String,
    /// (0020,000D)
    pub study_instance_uid: String,
    /// State.
    pub state: DeliveryState,
    /// Attempts so far.
    pub attempts: u32,
    /// When the next is due.
    pub next_at: Millis,
    /// When it was entered.
    pub queued_at: Millis,
    /// What the last attempt said.
    pub last_error: String,
}

/// How much waits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Instances that were not looked at yet.
    pub unlooked: u64,
    /// Instances without a verdict yet.
    pub undecided: u64,
    /// Deliveries that are due or will be, by destination; those with none are left out.
    pub queued: Vec<(String, u64)>,
}

/// A delivery as `radroute audit` shows it.
#[derive(Clone, Debug, Serialize)]
pub struct DeliveryLife {
    /// Destination.
    pub destination: String,
    /// State.
    pub state: DeliveryState,
    /// Attempts so far.
    pub attempts: u32,
    /// When it ended.
    pub ended_at: Option<Millis>,
    /// What the last attempt said.
    pub detail: String,
}

/// An instance with everything that became of it.
#[derive(Clone, Debug)]
pub struct InstanceLife {
    /// The row.
    pub row: InstanceRow,
    /// The verdict of its series.
    pub verdict: Option<Verdict>,
    /// What is spliced in.
    pub overlay: Option<Overlay>,
    /// Its deliveries.
    pub deliveries: Vec<DeliveryLife>,
}

/// An event: a row of the ledger and a line of the log.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub at: Millis,
    /// `association`, `rejected`, `received`, `adopted`, `looked`, `verdict`, `correction`, `routed`, `unrouted`, `delivered`,
    /// `retry`, `dead`, `dropped`, `removed`, `missing`, `refused` (a C-STORE answered with a failure), …
    pub kind: String,
    /// (0008,0018) or empty.
    #[serde(default)]
    pub sop_instance_uid: String,
    /// (0020,000E) or empty.
    #[serde(default)]
    pub series_instance_uid: String,
    /// (0020,000D) or empty.
    #[serde(default)]
    pub study_instance_uid: String,
    /// Who sent it, where known.
    pub source: Option<Source>,
    /// What there is to say, as JSON: no patient data beyond UIDs.
    #[serde(default)]
    pub detail: serde_json::Value,
}

impl Event {
    /// An event of now that belongs to no object and no association.
    pub fn new(kind: &str, detail: serde_json::Value) -> Event {
        Event {
            at: now(),
            kind: kind.to_owned(),
            sop_instance_uid: String::new(),
            series_instance_uid: String::new(),
            study_instance_uid: String::new(),
            source: None,
            detail,
        }
    }
}

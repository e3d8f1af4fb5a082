//! The tables of `config.toml`: one serde struct each, unknown keys are errors. What the keys mean to an administrator is
//! said in the shipped `config.toml`.

use crate::anatomy::Region;
use crate::route::{By, Match};
use crate::verdict::{Kind, Mode};
use bytesize::ByteSize;
use ipnet::IpNet;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The whole file.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Config {
    pub node: Node,
    #[serde(default)]
    pub listen: Listen,
    #[serde(default)]
    pub peer: Vec<Peer>,
    #[serde(default)]
    pub limits: Limits,
    #[serde(default)]
    pub classify: Classify,
    #[serde(default)]
    pub destination: Vec<Destination>,
    #[serde(default)]
    pub route: Vec<Route>,
    #[serde(default)]
    pub routing: Routing,
    #[serde(default)]
    pub retention: Retention,
    #[serde(default)]
    pub harvest: Harvest,
    #[serde(default)]
    pub metrics: Metrics,
    #[serde(default)]
    pub log: Log,
}

/// `[node]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Node {
    pub ae_title: String,
    pub state_dir: PathBuf,
    /// Further called AE titles that are accepted; empty: only `ae_title`. `["*"]`: any.
    #[serde(default)]
    pub also_called: Vec<String>,
}

/// `[listen]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)]
pub struct Listen {
    pub address: SocketAddr,
    pub max_associations: usize,
    pub max_associations_per_peer: usize,
}

/// `[[peer]]`: both given must match; none of the tables: anyone may send.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Peer {
    pub ae_title: Option<String>,
    pub network: Option<IpNet>,
}

/// `[limits]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)]
pub struct Limits {
    #[serde(with = "humantime_serde")]
    pub artim: Duration,
    #[serde(with = "humantime_serde")]
    pub idle: Duration,
    /// The longest a started PDU may take to arrive or to be taken.
    #[serde(with = "humantime_serde")]
    pub pdu: Duration,
    pub max_pdu: u32,
    pub max_instance: ByteSize,
    pub min_free_disk: ByteSize,
    /// How long SIGTERM waits for what is on the wire.
    #[serde(with = "humantime_serde")]
    pub drain: Duration,
}

/// `[classify]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)]
pub struct Classify {
    pub model: PathBuf,
    pub device: DeviceChoice,
    pub precision: PrecisionChoice,
    pub mode: Mode,
    #[serde(with = "humantime_serde")]
    pub settle: Duration,
    #[serde(with = "humantime_serde")]
    pub settle_max: Duration,
    /// Which regions may correct a tag.
    pub regions: Vec<Region>,
    /// Modalities in which Secondary Capture counts as a radiograph.
    pub secondary_capture: Vec<String>,
    /// Also write the defined term where the tag is a synonym.
    pub normalise_synonyms: bool,
    /// Terms that the site takes as one with a region, such as `PELVIS = ["HIP"]`.
    pub same_as: BTreeMap<Region, Vec<String>>,
    /// The parts next door to a region, in place of [`Region::neighbours`]; a tag that names one is left alone.
    pub neighbours: BTreeMap<Region, Vec<String>>,
    /// Objects that are never looked at: any of these matching.
    pub exempt: Vec<Match>,
}

/// `classify.device`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum DeviceChoice {
    Auto,
    Cpu,
    Cuda,
}

/// `classify.precision`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum PrecisionChoice {
    /// Whole numbers where the model card allows it and the CPU is quicker so.
    Auto,
    F32,
    Int8,
}

/// `[[destination]]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Destination {
    pub name: String,
    pub ae_title: String,
    /// host:port; resolved at every connection.
    pub address: String,
    /// The calling AE title towards it; default: ours.
    pub calling_ae_title: Option<String>,
    #[serde(default = "default_destination_associations")]
    pub max_associations: usize,
    /// Instances that may wait for their responses at once, where it grants such a window (PS3.7 D.3.3.3); 1: it is not asked.
    #[serde(default = "default_outstanding")]
    pub max_outstanding: u16,
    /// Deliver the object as it came, without the correction.
    #[serde(default)]
    pub as_received: bool,
    #[serde(default)]
    pub retry: Retry,
    #[serde(with = "humantime_serde", default = "default_timeout")]
    pub timeout: Duration,
}

fn default_destination_associations() -> usize {
    2
}

fn default_outstanding() -> u16 {
    8
}

fn default_timeout() -> Duration {
    Duration::from_secs(60)
}

/// `[destination.retry]`: exponential backoff with jitter.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)]
pub struct Retry {
    #[serde(with = "humantime_serde")]
    pub first: Duration,
    #[serde(with = "humantime_serde")]
    pub most: Duration,
    /// A dead letter after this; absent: without end.
    #[serde(with = "humantime_serde")]
    pub max_age: Option<Duration>,
}

/// `[[route]]`: the keys of [`Match`], written out so that unknown ones are errors (serde's `flatten` cannot tell), where
/// the instances go, and whether the search ends here.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Route {
    pub name: String,
    pub to: Vec<String>,
    #[serde(default)]
    pub r#final: bool,
    #[serde(default)]
    pub region: Vec<Region>,
    #[serde(default)]
    pub verdict: Vec<Kind>,
    #[serde(default)]
    pub modality: Vec<String>,
    #[serde(default)]
    pub sop_class: Vec<String>,
    #[serde(default)]
    pub calling_ae: Vec<String>,
    #[serde(default)]
    pub called_ae: Vec<String>,
    #[serde(default)]
    pub station_name: Vec<String>,
    #[serde(default)]
    pub institution_name: Vec<String>,
    #[serde(default)]
    pub study_description: Vec<String>,
    #[serde(default)]
    pub body_part_examined: Vec<String>,
}

impl Route {
    /// What it matches on.
    pub fn matches(&self) -> Match {
        Match {
            region: self.region.clone(),
            verdict: self.verdict.clone(),
            modality: self.modality.clone(),
            sop_class: self.sop_class.clone(),
            calling_ae: self.calling_ae.clone(),
            called_ae: self.called_ae.clone(),
            station_name: self.station_name.clone(),
            institution_name: self.institution_name.clone(),
            study_description: self.study_description.clone(),
            body_part_examined: self.body_part_examined.clone(),
        }
    }
}

/// `[routing]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)]
pub struct Routing {
    pub by: By,
    pub default: Vec<String>,
}

/// `[retention]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)]
pub struct Retention {
    #[serde(with = "humantime_serde")]
    pub delivered: Duration,
}

/// `[harvest]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)]
pub struct Harvest {
    pub enabled: bool,
    /// The most thumbnails that are kept, of all tags together.
    pub max_images: usize,
}

/// `[metrics]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)]
pub struct Metrics {
    /// None: no figures are served.
    pub listen: Option<SocketAddr>,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)]
pub struct Log {
    pub format: LogFormat,
    /// tracing filter, such as `info` or `radroute=debug`.
    pub level: String,
}

/// `log.format`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum LogFormat {
    Text,
    Json,
}

impl Default for Listen {
    fn default() -> Self {
        Listen { address: SocketAddr::from(([0, 0, 0, 0], 11112)), max_associations: 64, max_associations_per_peer: 32 }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            artim: Duration::from_secs(30),
            idle: Duration::from_secs(300),
            pdu: Duration::from_secs(60),
            max_pdu: 131_072,
            max_instance: ByteSize::gib(2),
            min_free_disk: ByteSize::gib(1),
            drain: Duration::from_secs(30),
        }
    }
}

impl Default for Classify {
    fn default() -> Self {
        Classify {
            model: PathBuf::from("weights/radroute.safetensors"),
            device: DeviceChoice::Auto,
            precision: PrecisionChoice::Auto,
            mode: Mode::Correct,
            settle: Duration::from_secs(2),
            settle_max: Duration::from_secs(60),
            regions: Region::ALL.to_vec(),
            secondary_capture: ["CR", "DX", "RG"].map(String::from).to_vec(),
            normalise_synonyms: false,
            same_as: BTreeMap::new(),
            neighbours: BTreeMap::new(),
            exempt: Vec::new(),
        }
    }
}

impl Default for Retry {
    fn default() -> Self {
        Retry { first: Duration::from_secs(5), most: Duration::from_secs(600), max_age: None }
    }
}

impl Default for Routing {
    fn default() -> Self {
        Routing { by: By::Study, default: Vec::new() }
    }
}

impl Default for Retention {
    fn default() -> Self {
        Retention { delivered: Duration::from_secs(24 * 3600) }
    }
}

impl Default for Harvest {
    fn default() -> Self {
        Harvest { enabled: false, max_images: 5000 }
    }
}

impl Default for Log {
    fn default() -> Self {
        Log { format: LogFormat::Text, level: "info".into() }
    }
}

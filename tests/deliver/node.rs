//! The deliver stage on a ledger and a spool of its own, and instances to put into them.

use dicom_core::{DataElement, PrimitiveValue, VR, dicom_value};
use dicom_dictionary_std::tags;
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};
use radroute::config::Config;
use radroute::dataset::file_meta::read_file_meta;
use radroute::dataset::splice::Splice;
use radroute::dataset::{Edit, Facts, Overlay};
use radroute::deliver::Deliver;
use radroute::ledger::{self, *};
use radroute::spool::{Note, PREAMBLE, Spool};
use radroute::verdict::{Kind, Look, Verdict};
use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::sync::{Notify, watch};

pub const DX: &str = "1.2.840.10008.5.1.4.1.1.1.1";
pub const IMPLICIT: &str = "1.2.840.10008.1.2";
pub const EXPLICIT: &str = "1.2.840.10008.1.2.1";
pub const DEFLATED: &str = "1.2.840.10008.1.2.1.99";
pub const JPEG_LOSSLESS: &str = "1.2.840.10008.1.2.4.70";
pub const RLE: &str = "1.2.840.10008.1.2.5";

/// A DICOM file, in memory.
#[derive(Clone)]
pub struct Sample {
    pub uid: String,
    pub file: Vec<u8>,
    pub offset: usize,
    pub transfer_syntax: String,
}

/// A small grey radiograph, `bits` of 8 or 12, with a nested sequence, private elements and text beyond ASCII.
pub fn radiograph(number: u32, bits: u16) -> Sample {
    let (rows, columns) = (61u16, 47u16);
    let uid = format!("2.25.4711.{number}");
    let of = |x: u32, y: u32| (x * 7 + y * 13 + x * y / 5 + number * 31) % (1 << bits);
    let pixels: Vec<u32> = (0..u32::from(rows))
        .flat_map(|y| (0..u32::from(columns)).map(move |x| (x, y)))
        .map(|(x, y)| of(x, y))
        .collect();
    let mut item = InMemDicomObject::new_empty();
    item.put(DataElement::new(tags::CODE_VALUE, VR::SH, "T-D1213"));
    item.put(DataElement::new(tags::CODING_SCHEME_DESIGNATOR, VR::SH, "SRT"));
    let mut object = InMemDicomObject::new_empty();
    let text = [
        (tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 100"),
        (tags::SOP_CLASS_UID, VR::UI, DX),
        (tags::SOP_INSTANCE_UID, VR::UI, &uid),
        (tags::STUDY_INSTANCE_UID, VR::UI, "2.25.4711"),
        (tags::SERIES_INSTANCE_UID, VR::UI, "2.25.4711.0"),
        (tags::MODALITY, VR::CS, "DX"),
        (tags::INSTITUTION_NAME, VR::LO, "Müller, Zürich"),
        (tags::BODY_PART_EXAMINED, VR::CS, "HAND"),
        (tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2"),
        (tags::PIXEL_SPACING, VR::DS, "0.1\\0.10 "),
    ];
    for (tag, vr, value) in text {
        object.put(DataElement::new(tag, vr, value));
    }
    object.put(DataElement::new(
        tags::ANATOMIC_REGION_SEQUENCE,
        VR::SQ,
        dicom_core::value::DataSetSequence::from(vec![item]),
    ));
    let allocated = if bits > 8 { 16 } else { 8 };
    let numbers = [
        (tags::SAMPLES_PER_PIXEL, 1),
        (tags::ROWS, rows),
        (tags::COLUMNS, columns),
        (tags::BITS_ALLOCATED, allocated),
        (tags::BITS_STORED, bits),
        (tags::HIGH_BIT, bits - 1),
        (tags::PIXEL_REPRESENTATION, 0),
        (tags::SMALLEST_IMAGE_PIXEL_VALUE, 3),
    ];
    for (tag, value) in numbers {
        object.put(DataElement::new(tag, VR::US, PrimitiveValue::from(value)));
    }
    object.put(DataElement::new(dicom_core::Tag(0x0029, 0x0010), VR::LO, "RADROUTE TEST"));
    object.put(DataElement::new(dicom_core::Tag(0x0029, 0x1001), VR::UN, dicom_value!(U8, [1, 2, 3, 4])));
    object.put(DataElement::new(dicom_core::Tag(0x0018, 0x9074), VR::DT, "20260101"));
    object.put(DataElement::new(tags::EXPOSURE_TIME_INMS, VR::FD, PrimitiveValue::from(12.5f64)));
    let value = if bits > 8 {
        PrimitiveValue::U16(pixels.iter().map(|&p| p as u16).collect())
    } else {
        let mut bytes: Vec<u8> = pixels.iter().map(|&p| p as u8).collect();
        bytes.resize(bytes.len().next_multiple_of(2), 0);
        PrimitiveValue::U8(bytes.into())
    };
    object.put(DataElement::new(tags::PIXEL_DATA, if bits > 8 { VR::OW } else { VR::OB }, value));
    let meta = FileMetaTableBuilder::new()
        .transfer_syntax(EXPLICIT)
        .media_storage_sop_class_uid(DX)
        .media_storage_sop_instance_uid(uid.as_str());
    let mut file = Vec::new();
    object.with_meta(meta).unwrap().write_all(&mut file).unwrap();
    Sample::read(file)
}

impl Sample {
    pub fn read(file: Vec<u8>) -> Sample {
        let (meta, offset) = read_file_meta(&mut Cursor::new(&file)).unwrap();
        Sample { uid: meta.sop_instance_uid, file, offset: offset as usize, transfer_syntax: meta.transfer_syntax_uid }
    }

    pub fn open(path: &Path) -> Sample {
        Sample::read(std::fs::read(path).unwrap())
    }

    pub fn data_set(&self) -> &[u8] {
        &self.file[self.offset..]
    }

    /// The same through one of dcmtk's converters.
    pub fn through(&self, tool: &str, options: &[&str]) -> Sample {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        std::fs::write(&from, &self.file).unwrap();
        let done = Command::new(format!("/usr/bin/{tool}")).args(options).arg(&from).arg(&to).output().unwrap();
        assert!(done.status.success(), "{tool}: {}", String::from_utf8_lossy(&done.stderr));
        Sample::open(&to)
    }

    /// HAND becomes KNEE.
    pub fn overlay(&self) -> Overlay {
        let inflated;
        let data: &[u8] = if self.transfer_syntax == DEFLATED {
            let mut all = Vec::new();
            flate2::read::DeflateDecoder::new(self.data_set()).read_to_end(&mut all).unwrap();
            inflated = all;
            &inflated
        } else {
            self.data_set()
        };
        let at = data.windows(4).position(|w| w == b"HAND").unwrap();
        Overlay {
            edits: vec![Edit { offset: at as u64, remove: 4, insert: b"KNEE".to_vec() }],
            changes: BTreeMap::from([("0018,0015".into(), ("HAND".into(), "KNEE".into()))]),
        }
    }

    /// The data set as it must leave.
    pub fn corrected(&self) -> Vec<u8> {
        let length = self.data_set().len() as u64;
        let mut splice =
            Splice::new(Cursor::new(&self.file), self.offset as u64, length, &self.transfer_syntax, &self.overlay())
                .unwrap();
        let mut out = Vec::new();
        splice.read_to_end(&mut out).unwrap();
        out
    }
}

/// A destination for the configuration; `more` are further keys of its table.
pub fn destination(name: &str, port: u16, more: &str) -> String {
    format!(
        "[[destination]]\nname = \"{name}\"\nae_title = \"ARCHIVE\"\naddress = \"127.0.0.1:{port}\"\ntimeout = \"5s\"\n{more}\n{}",
        if more.contains("[destination.retry]") {
            ""
        } else {
            "[destination.retry]\nfirst = \"200ms\"\nmost = \"400ms\"\n"
        }
    )
}

pub fn config(destinations: &[String]) -> Arc<Config> {
    let text = format!(
        "[node]\nae_title = \"RADROUTE\"\nstate_dir = \"state\"\n[limits]\ndrain = \"10s\"\n{}",
        destinations.concat()
    );
    Arc::new(toml::from_str(&text).unwrap())
}

/// The stage, running.
pub struct Node {
    pub ledger: Ledger,
    pub spool: Spool,
    pub config: watch::Sender<Arc<Config>>,
    notify: Arc<Notify>,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
    folder: Option<TempDir>,
}

impl Node {
    pub fn start(config: Arc<Config>) -> Node {
        let folder = tempfile::tempdir().unwrap();
        let mut node = Node::open(folder.path(), config);
        node.folder = Some(folder);
        node
    }

    /// On the state of an earlier one.
    pub fn open(state: &Path, config: Arc<Config>) -> Node {
        let ledger = Ledger::open(&state.join("ledger.sqlite")).unwrap();
        let spool = Spool::open(state).unwrap();
        let (config, config_rx) = watch::channel(config);
        let (stop, stop_rx) = watch::channel(false);
        let notify = Arc::new(Notify::new());
        let deliver = Deliver::new(config_rx, ledger.clone(), spool.clone(), notify.clone());
        let task = tokio::spawn(deliver.run(stop_rx));
        Node { ledger, spool, config, notify, stop, task, folder: None }
    }

    /// SIGTERM, and all is closed.
    pub async fn close(self) -> Option<TempDir> {
        let Node { ledger, spool, stop, task, folder, .. } = self;
        stop.send(true).unwrap();
        task.await.unwrap();
        ledger.close().await.unwrap();
        drop(spool);
        folder
    }

    /// SIGTERM and a new start, on the same state.
    pub async fn restart(self, config: Arc<Config>) -> Node {
        let folder = self.close().await.unwrap();
        let mut node = Node::open(folder.path(), config);
        node.folder = Some(folder);
        node
    }

    pub async fn stop(self) -> Ledger {
        self.stop.send(true).unwrap();
        self.task.await.unwrap();
        self.ledger
    }

    /// Received, looked at, decided.
    pub async fn put(&self, sample: &Sample, overlay: Option<Overlay>, destinations: &[&str]) -> InstanceId {
        let mut incoming = self.spool.begin(0).unwrap();
        incoming.write(&sample.file[PREAMBLE..]).unwrap();
        let spooled = incoming.commit(&Note::default()).unwrap();
        let now = ledger::now();
        let facts = Facts {
            sop_class_uid: DX.into(),
            sop_instance_uid: sample.uid.clone(),
            study_instance_uid: format!("{}.1", sample.uid),
            series_instance_uid: format!("{}.2", sample.uid),
            transfer_syntax_uid: sample.transfer_syntax.clone(),
            ..Facts::default()
        };
        let source =
            Source { calling_ae: "XRAY1".into(), called_ae: "RADROUTE".into(), peer: None, association: "a".into() };
        let new = NewInstance {
            spool_name: spooled.name,
            file_size: spooled.size,
            dataset_offset: sample.offset as u64,
            facts,
            source,
            received_at: now,
            receive_ms: 1.0,
            sync_ms: 1.0,
            settle: 0,
            settle_max: 0,
            adopted: false,
        };
        let id = self.ledger.received(new).await.unwrap();
        self.ledger.looked(id, Look::Exempt { reason: "a test".into() }, now).await.unwrap();
        for job in self.ledger.due_series(Millis::MAX, 100).await.unwrap() {
            let chosen: Vec<String> = destinations.iter().map(|d| d.to_string()).collect();
            let instances = job.undecided.iter().map(|row| DecidedInstance {
                id: row.id,
                overlay: overlay.clone(),
                untouched: None,
                destinations: chosen.clone(),
                routes: vec!["default".into()],
            });
            let decision = Decision {
                series_instance_uid: job.series_instance_uid.clone(),
                study_instance_uid: job.study_instance_uid.clone(),
                verdict: Verdict { kind: Kind::Exempt, region: None, write: None, reason: "a test".into() },
                instances: instances.collect(),
                evidence: serde_json::Value::Null,
                chosen,
                added: Vec::new(),
                now: ledger::now(),
            };
            self.ledger.decided(decision).await.unwrap();
        }
        self.notify.notify_one();
        id
    }

    pub async fn delivery(&self, sample: &Sample, destination: &str) -> DeliveryLife {
        let lives = self.ledger.instances_of(&sample.uid).await.unwrap();
        lives[0].deliveries.iter().find(|d| d.destination == destination).unwrap().clone()
    }

    /// Waits until a delivery is as wanted; the limit is there to fail, not to measure.
    pub async fn until(
        &self,
        sample: &Sample,
        destination: &str,
        wanted: impl Fn(&DeliveryLife) -> bool,
    ) -> DeliveryLife {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let life = self.delivery(sample, destination).await;
            if wanted(&life) {
                return life;
            }
            assert!(Instant::now() < until, "{} in {}: {life:?}", sample.uid, sample.transfer_syntax);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn state(&self, sample: &Sample, destination: &str, state: DeliveryState) -> DeliveryLife {
        self.until(sample, destination, |life| life.state == state).await
    }

    pub async fn kinds(&self, sample: &Sample) -> Vec<String> {
        self.ledger.events_of(&sample.uid).await.unwrap().into_iter().map(|event| event.kind).collect()
    }
}

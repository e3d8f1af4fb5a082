//! Spool and ledger after crashes, and retention: nothing is lost, nothing is brought back, nothing holds the rest up.

use radroute::config::Config;
use radroute::ledger::{
    Attempt, DecidedInstance, Decision, DeliveryState, InstanceId, Ledger, NewInstance, Outcome, Source, now,
};
use radroute::spool::{Note, PREAMBLE, Spool};
use radroute::upkeep::{self, Reconciled, UpkeepError};
use radroute::verdict::{Kind, Look, Verdict};
use std::path::{Path, PathBuf};

const SERIES: &str = "1.2.3.4";
const STUDY: &str = "1.2.3";

struct Bench {
    spool: Spool,
    ledger: Ledger,
    config: Config,
    state: PathBuf,
    _folder: tempfile::TempDir,
}

fn bench() -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    std::fs::create_dir(&state).unwrap();
    let text = "[node]\nae_title = \"R\"\nstate_dir = \"state\"\n[routing]\ndefault = [\"a\"]\n\
                [[destination]]\nname = \"a\"\nae_title = \"A\"\naddress = \"127.0.0.1:1\"\n";
    let config = Config::parse(text).map_err(|problems| format!("{problems:?}")).unwrap().config;
    let ledger = Ledger::open(&state.join("ledger.sqlite")).unwrap();
    Bench { spool: Spool::open(&state).unwrap(), ledger, config, state, _folder: folder }
}

impl Bench {
    /// Bytes behind a preamble.
    fn spooled(&self, bytes: &[u8]) -> String {
        let mut incoming = self.spool.begin(0).unwrap();
        incoming.write(bytes).unwrap();
        incoming.commit(&note()).unwrap().name
    }

    async fn received(&self, name: &str) -> InstanceId {
        let mut facts =
            radroute::dataset::Facts { sop_instance_uid: format!("1.2.{}", name.len()), ..Default::default() };
        facts.series_instance_uid = SERIES.into();
        facts.study_instance_uid = STUDY.into();
        let source = Source { calling_ae: "X".into(), called_ae: "R".into(), peer: None, association: "1".into() };
        let new = NewInstance {
            spool_name: name.into(),
            file_size: 1,
            dataset_offset: 0,
            facts,
            source,
            received_at: now() - 60_000,
            receive_ms: 0.0,
            sync_ms: 0.0,
            settle: 0,
            settle_max: 0,
            adopted: false,
        };
        self.ledger.received(new).await.unwrap()
    }

    /// Looked at, decided, and delivered to `a` a minute ago.
    async fn delivered(&self, id: InstanceId) {
        self.ledger.looked(id, Look::Exempt { reason: "no".into() }, now()).await.unwrap();
        let verdict = Verdict { kind: Kind::Exempt, region: None, write: None, reason: "no".into() };
        let one = DecidedInstance {
            id,
            overlay: None,
            untouched: None,
            destinations: vec!["a".into()],
            routes: vec!["default".into()],
        };
        let decision = Decision {
            series_instance_uid: SERIES.into(),
            study_instance_uid: STUDY.into(),
            verdict,
            evidence: serde_json::Value::Null,
            chosen: Vec::new(),
            instances: vec![one],
            added: Vec::new(),
            now: now(),
        };
        self.ledger.decided(decision).await.unwrap();
        let job = self.ledger.due_deliveries("a", now(), 10, &[]).await.unwrap();
        let attempt = Attempt {
            id: job.iter().find(|j| j.instance.id == id).unwrap().id,
            outcome: Outcome::Delivered,
            status: Some(0),
            detail: String::new(),
            peer: String::new(),
            transfer_syntax_uid: String::new(),
            bytes: 0,
            corrected: false,
            send_ms: 0.0,
            now: now() - 60_000,
        };
        self.ledger.attempted(vec![attempt]).await.unwrap();
    }

    async fn reconcile(&self) -> Reconciled {
        upkeep::reconcile(&self.spool, &self.ledger, &self.config, false).await.unwrap()
    }
}

fn note() -> Note {
    Note { received_at: 7, receive_ms: 2.5, peer: Some("192.0.2.7".parse().unwrap()), association: "one".into() }
}

fn sample() -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/elbow-1.dcm")).unwrap()
}

#[tokio::test]
async fn a_file_without_a_row_is_adopted_once_as_it_was_received_and_a_broken_one_is_put_aside() {
    let b = bench();
    b.spooled(&sample()[PREAMBLE..]);
    let broken = b.spooled(b"no DICOM at all");
    drop(b.spool.begin(0).unwrap());
    let found = b.reconcile().await;
    assert_eq!((found.adopted, found.quarantined, found.missing), (1, 1, 0));
    let rows = b.ledger.unlooked(10, &[]).await.unwrap();
    assert_eq!(rows.len(), 1);
    let events = b.ledger.events_of(&rows[0].facts.sop_instance_uid).await.unwrap();
    let adopted = events.iter().find(|e| e.kind == "adopted").unwrap();
    let (source, noted) = (adopted.source.as_ref().unwrap(), note());
    assert_eq!((source.peer, &source.association), (noted.peer, &noted.association));
    assert_eq!(adopted.at, noted.received_at);
    assert_eq!(adopted.detail["receive_ms"], noted.receive_ms);
    assert!(!b.spool.scan().unwrap().contains(&broken));
    assert_eq!(std::fs::read_dir(b.state.join("spool/quarantine")).unwrap().count(), 1, "put aside, not deleted");
    assert_eq!(b.reconcile().await, Reconciled::default(), "a second time there is nothing to do");
}

#[tokio::test]
async fn what_was_not_finished_is_swept_what_is_torn_is_put_aside_and_what_is_foreign_is_taken_in() {
    let b = bench();
    let [unfinished, empty, torn, foreign] = [(); 4].map(|()| b.spooled(&sample()[PREAMBLE..]));
    let change = |name: &str, to: &dyn Fn(&mut Vec<u8>)| {
        let path = b.spool.path(name).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        to(&mut bytes);
        std::fs::write(&path, bytes).unwrap();
    };
    change(&unfinished, &|bytes| bytes[8] = 1);
    change(&empty, &Vec::clear);
    // Pixels that did not reach the disk: as a data set it is sound.
    change(&torn, &|bytes| bytes.last_mut().into_iter().for_each(|last| *last ^= 1));
    change(&foreign, &|bytes| bytes[..PREAMBLE].fill(0));
    let found = b.reconcile().await;
    assert_eq!(found, Reconciled { swept: 2, adopted: 1, quarantined: 1, missing: 0 });
    assert!(b.state.join(format!("spool/quarantine/{torn}.dcm")).exists());
    assert_eq!(b.spool.scan().unwrap(), [foreign]);
}

#[tokio::test]
async fn a_row_without_its_file_is_missing_and_its_delivery_a_dead_letter() {
    let b = bench();
    let (kept, gone) = (b.spooled(&sample()), b.spooled(&sample()));
    b.received(&kept).await;
    b.received(&gone).await;
    b.spool.remove(&gone).unwrap();
    assert_eq!(b.reconcile().await.missing, 1);
    let rows: Vec<_> = b.ledger.spool_names().await.unwrap().into_iter().map(|(_, name)| name).collect();
    assert_eq!(rows, [kept]);
}

#[tokio::test]
async fn an_empty_spool_under_a_full_ledger_is_a_disk_that_is_not_mounted() {
    let b = bench();
    for _ in 0..12 {
        let name = b.spooled(b"x");
        b.received(&name).await;
        b.spool.remove(&name).unwrap();
    }
    let refused = upkeep::reconcile(&b.spool, &b.ledger, &b.config, false).await;
    assert!(matches!(refused, Err(UpkeepError::Empty { rows: 12 })), "{refused:?}");
    assert_eq!(b.ledger.spool_names().await.unwrap().len(), 12, "nothing was given up");
    let accepted = upkeep::reconcile(&b.spool, &b.ledger, &b.config, true).await.unwrap();
    assert_eq!(accepted.missing, 12);
}

#[tokio::test]
async fn retention_takes_what_is_delivered_and_old_and_a_crash_in_between_brings_nothing_back() {
    let b = bench();
    let (old, open) = (b.spooled(&sample()), b.spooled(&sample()));
    let delivered = b.received(&old).await;
    b.delivered(delivered).await;
    b.received(&open).await;
    // The crash: the row is given up, the file is still there.
    assert_eq!(b.ledger.remove(vec![delivered], now()).await.unwrap(), vec![old.clone()]);
    assert!(b.spool.path(&old).unwrap().exists());
    assert_eq!(b.reconcile().await, Reconciled::default(), "not adopted again");
    assert!(!b.spool.path(&old).unwrap().exists());
    assert!(b.spool.path(&open).unwrap().exists());
    let life = b.ledger.instances_of(STUDY).await.unwrap();
    assert_eq!(life[0].deliveries[0].state, DeliveryState::Delivered);
}

#[tokio::test]
async fn a_file_that_cannot_be_removed_holds_no_other_up() {
    let b = bench();
    let (stuck, fine) = (b.spooled(&sample()), b.spooled(&sample()));
    for name in [&stuck, &fine] {
        let id = b.received(name).await;
        b.delivered(id).await;
    }
    // A folder of the same name: unlinking it fails for root too.
    let path = b.spool.path(&stuck).unwrap();
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert_eq!(upkeep::remove_expired(&b.spool, &b.ledger, now()).await.unwrap(), 2);
    assert!(!b.spool.path(&fine).unwrap().exists());
    assert_eq!(b.ledger.to_unlink().await.unwrap(), [stuck]);
    std::fs::remove_dir(&path).unwrap();
    assert_eq!(upkeep::remove_expired(&b.spool, &b.ledger, now()).await.unwrap(), 0);
    assert!(b.ledger.to_unlink().await.unwrap().is_empty());
}

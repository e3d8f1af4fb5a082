use super::*;
use crate::anatomy::Region;
use crate::dataset::Facts;
use crate::ledger::{Decision, InstanceRow, Source};
use crate::verdict::{Kind, Look, Verdict};
use std::path::PathBuf;

const SITE: &str = r#"
[node]
ae_title = "RADROUTE"
state_dir = "state"

[[destination]]
name = "archive"
ae_title = "ARCHIVE"
address = "127.0.0.1:11113"

[[destination]]
name = "knees"
ae_title = "KNEES"
address = "127.0.0.1:11114"

[[route]]
name = "knee"
region = ["KNEE"]
to = ["knees"]

[routing]
default = ["archive"]
"#;

fn config(mode: &str) -> Config {
    let text = SITE.replace("[[route]]", &format!("[classify]\nmode = \"{mode}\"\n\n[[route]]"));
    Config::parse(&text).unwrap().config
}

/// A spool of one folder that goes with it.
struct Bench {
    spool: Spool,
    _folder: tempfile::TempDir,
}

fn bench() -> Bench {
    let folder = tempfile::tempdir().unwrap();
    Bench { spool: Spool::open(folder.path()).unwrap(), _folder: folder }
}

fn name(n: u8) -> String {
    format!("0193f5a2c7d1-7f3a09c4d5e6f7{n:02x}")
}

impl Bench {
    fn path(&self, n: u8) -> PathBuf {
        self.spool.path(&name(n)).unwrap()
    }

    /// An instance with its file.
    fn instance(&self, n: u8, tag: &str, look: Look) -> InstanceRow {
        let mut bytes = b"\x08\0\x16\0UI\x1A\x001.2.840.10008.5.1.4.1.1.1\0".to_vec();
        if !tag.is_empty() {
            bytes.extend_from_slice(b"\x18\0\x15\0CS");
            bytes.extend_from_slice(&(tag.len() as u16).to_le_bytes());
            bytes.extend_from_slice(tag.as_bytes());
        }
        std::fs::write(self.path(n), &bytes).unwrap();
        InstanceRow {
            id: i64::from(n),
            spool_name: name(n),
            file_size: bytes.len() as u64,
            dataset_offset: 0,
            facts: Facts {
                sop_instance_uid: format!("1.1.{n}"),
                series_instance_uid: "1.1".into(),
                study_instance_uid: "1".into(),
                transfer_syntax_uid: "1.2.840.10008.1.2.1".into(),
                body_part_examined: tag.into(),
                number_of_frames: 1,
                ..Facts::default()
            },
            source: Source {
                calling_ae: "XRAY1".into(),
                called_ae: "RADROUTE".into(),
                peer: None,
                association: "a1".into(),
            },
            received_at: 0,
            look: Some(look),
            decided: false,
            present: true,
        }
    }

    fn decide(&self, job: &SeriesJob, config: &Config) -> Result<Decision, String> {
        self.decide_or(job, config, None)
    }

    fn decide_or(&self, job: &SeriesJob, config: &Config, given_up: Option<&str>) -> Result<Decision, String> {
        let thresholds = Region::ALL.map(|r| (r.term().to_string(), Threshold { accept: 0.9, reject: 0.3 }));
        decision::decide(job, config, &thresholds.into(), "0123456789abcdef", &self.spool, given_up)
    }
}

fn shows(region: Region) -> Look {
    let scores = Region::ALL.map(|r| (r.term().to_string(), if r == region { 0.97 } else { 0.01 })).into();
    Look::Scored { scores, model: "0".repeat(16), decode_ms: 1.0, classify_ms: 1.0 }
}

fn job(undecided: Vec<InstanceRow>, verdict: Option<Verdict>) -> SeriesJob {
    SeriesJob {
        series_instance_uid: "1.1".into(),
        study_instance_uid: "1".into(),
        verdict,
        undecided,
        study_chosen: vec![],
        series_chosen: vec![],
        study_instances: vec![],
    }
}

fn of(study: &str, series: &str) -> SeriesJob {
    SeriesJob { series_instance_uid: series.into(), study_instance_uid: study.into(), ..job(vec![], None) }
}

#[test]
fn of_each_study_one_series_has_its_turn_and_those_that_wait_have_none() {
    let jobs = || vec![of("1", "1.1"), of("1", "1.2"), of("2", "2.1"), of("1", "1.3")];
    let uids = |jobs: Vec<SeriesJob>| jobs.into_iter().map(|j| j.series_instance_uid).collect::<Vec<_>>();
    let mut pauses = Pauses::default();
    assert_eq!(uids(turn(jobs(), &pauses)), ["1.1", "2.1"]);
    pauses.failed(&pauses::key(&of("1", "1.1")), "the disk", Instant::now());
    assert_eq!(uids(turn(jobs(), &pauses)), ["1.2", "2.1"]);
}

#[test]
fn a_latecomer_that_shows_something_else_leaves_as_it_came_and_changes_no_verdict() {
    let b = bench();
    let first = b.decide(&job(vec![b.instance(1, "CHEST ", shows(Region::Knee))], None), &config("correct")).unwrap();
    assert_eq!(first.verdict.write, Some(Region::Knee));
    assert!(first.instances[0].overlay.is_some());
    let late = vec![b.instance(2, "CHEST ", shows(Region::Hand)), b.instance(3, "CHEST ", shows(Region::Knee))];
    let second = b.decide(&job(late, Some(first.verdict.clone())), &config("correct")).unwrap();
    assert_eq!(second.verdict, first.verdict);
    assert!(second.instances[0].overlay.is_none());
    assert!(second.instances[0].untouched.as_deref().unwrap().contains("HAND is seen"));
    assert!(second.instances[1].overlay.is_some() && second.instances[1].untouched.is_none());
}

#[test]
fn a_reload_to_observe_and_back_freezes_no_series() {
    let b = bench();
    let one = |n| b.instance(n, "CHEST ", shows(Region::Knee));
    let first = b.decide(&job(vec![one(1)], None), &config("correct")).unwrap().verdict;
    let observed = b.decide(&job(vec![one(2)], Some(first.clone())), &config("observe")).unwrap();
    assert_eq!(observed.verdict, first);
    assert!(observed.instances[0].overlay.is_none());
    assert!(observed.instances[0].untouched.as_deref().unwrap().contains("mode observe"));
    let back = b.decide(&job(vec![one(3)], Some(observed.verdict)), &config("correct")).unwrap();
    assert!(back.instances[0].overlay.is_some());
}

#[test]
fn mode_fill_fills_a_whole_series_or_none_of_it() {
    let b = bench();
    let two = |tag| vec![b.instance(1, "", shows(Region::Knee)), b.instance(2, tag, shows(Region::Knee))];
    for (tag, filled) in [("CHEST ", false), ("L KNEE", false), ("KNEE", true), ("", true)] {
        let found = b.decide(&job(two(tag), None), &config("fill")).unwrap();
        assert_eq!(found.instances[0].overlay.is_some(), filled, "{tag:?}");
        assert_eq!(found.instances[1].overlay.is_some(), tag.is_empty(), "{tag:?}");
    }
}

#[test]
fn a_code_in_the_file_that_contradicts_leaves_the_whole_series_alone() {
    let b = bench();
    let mut rows = vec![b.instance(1, "", shows(Region::Knee)), b.instance(2, "", shows(Region::Knee))];
    // The ledger does not know of it; the file has it.
    let mut bytes = std::fs::read(b.path(2)).unwrap();
    bytes.extend_from_slice(b"\x08\0\x18\x22SQ\0\0\x08\0\0\0\xFE\xFF\0\xE0\0\0\0\0");
    std::fs::write(b.path(2), &bytes).unwrap();
    rows[1].file_size = bytes.len() as u64;
    let found = b.decide(&job(rows, None), &config("fill")).unwrap();
    assert_eq!((found.verdict.kind, found.verdict.write), (Kind::Exempt, None));
    assert!(found.verdict.reason.contains("Anatomic Region Sequence"), "{}", found.verdict.reason);
    assert!(found.instances.iter().all(|i| i.overlay.is_none()));
}

#[test]
fn a_file_that_is_missing_or_cannot_be_read_holds_nothing_back() {
    let b = bench();
    let rows = || vec![b.instance(1, "CHEST ", shows(Region::Knee)), b.instance(2, "CHEST ", shows(Region::Knee))];
    let missing = rows();
    std::fs::remove_file(b.path(2)).unwrap();
    let found = b.decide(&job(missing, None), &config("correct")).unwrap();
    assert!(found.verdict.write.is_none() && found.verdict.reason.contains("missing"), "{}", found.verdict.reason);
    assert_eq!(found.instances.len(), 2);

    let unreadable = rows();
    std::fs::remove_file(b.path(2)).unwrap();
    std::fs::create_dir(b.path(2)).unwrap();
    let job = |verdict| job(unreadable.clone(), verdict);
    b.decide(&job(None), &config("correct")).unwrap_err();
    let found = b.decide_or(&job(None), &config("correct"), Some("the disk")).unwrap();
    assert!(found.verdict.write.is_none() && found.verdict.reason.contains("the disk"));
    assert!(found.instances.iter().all(|i| i.overlay.is_none() && i.destinations == ["knees"]));
    let written =
        Verdict { kind: Kind::Corrected, region: Some(Region::Knee), write: Some(Region::Knee), reason: "seen".into() };
    let found = b.decide_or(&job(Some(written.clone())), &config("correct"), Some("the disk")).unwrap();
    assert_eq!(found.verdict, written);
    assert!(found.instances.iter().all(|i| i.overlay.is_none() && i.untouched.is_some()));
}

#[test]
fn destinations_that_are_gone_do_not_stand_in_the_way_of_the_default() {
    let b = bench();
    let rows = vec![b.instance(1, "HAND", shows(Region::Hand))];
    let study = |chosen: &[&str]| SeriesJob {
        study_chosen: chosen.iter().map(|s| s.to_string()).collect(),
        series_chosen: chosen.iter().map(|s| s.to_string()).collect(),
        ..job(rows.clone(), None)
    };
    for (chosen, to) in [(&["old"][..], "archive"), (&["old", "knees"], "knees"), (&[], "archive")] {
        let found = b.decide(&study(chosen), &config("correct")).unwrap();
        assert_eq!(found.instances[0].destinations, [to], "{chosen:?}");
    }
}

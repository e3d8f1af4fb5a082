//! The spool from outside: what a crash, a full disk and a hostile name may and may not do.

use radroute::spool::{Condition, Note, PREAMBLE, Spool, SpoolError};
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

const OURS: &str = "0193f5a2c7d1-7f3a09c4d5e6f708";

/// A spool whose files are all there is to see: those made ahead are left out.
fn in_use(spool: &Spool) -> usize {
    spool.scan().unwrap().len()
}

fn note() -> Note {
    Note {
        received_at: 1_764_000_000_000,
        receive_ms: 2.5,
        peer: Some("192.0.2.7".parse().unwrap()),
        association: "one".into(),
    }
}

fn spooled(spool: &Spool, bytes: &[u8]) -> String {
    let mut incoming = spool.begin(0).unwrap();
    incoming.write(bytes).unwrap();
    incoming.commit(&note()).unwrap().name
}

/// A file made ahead: the first `.dcm` with nothing in it.
fn empty(state: &Path) -> Option<PathBuf> {
    let folders = fs::read_dir(state.join("spool")).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir());
    let mut files = folders.flat_map(|f| fs::read_dir(f).unwrap().map(|e| e.unwrap().path()));
    files.find(|p| fs::metadata(p).unwrap().len() == 0)
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + i / 251) as u8).collect()
}

#[test]
fn what_is_written_in_pieces_of_any_size_comes_back_whole_and_sealed() {
    let state = tempfile::tempdir().unwrap();
    let spool = Spool::open(state.path()).unwrap();
    for (len, piece) in [(0, 1), (1, 1), (100_000, 7), (262_144, 262_144), (1_000_000, 16_378), (3_000_001, 700_000)] {
        let bytes = pattern(len);
        let mut incoming = spool.begin(0).unwrap();
        for piece in bytes.chunks(piece) {
            incoming.write(piece).unwrap();
        }
        assert_eq!((incoming.len(), incoming.is_empty()), ((PREAMBLE + len) as u64, len == 0));
        let spooled = incoming.commit(&note()).unwrap();
        assert_eq!(spooled.size, (PREAMBLE + len) as u64);
        let mut back = Vec::new();
        spool.open_file(&spooled.name).unwrap().read_to_end(&mut back).unwrap();
        assert!(back[PREAMBLE..] == bytes, "{len} bytes in pieces of {piece}");
        assert_eq!(spool.condition(&spooled.name).unwrap(), Condition::Whole(note()));
    }
    assert_eq!(in_use(&spool), 6);
}

#[test]
fn what_is_inspected_is_the_whole_file_and_what_is_refused_leaves_no_trace() {
    let state = tempfile::tempdir().unwrap();
    let spool = Spool::open(state.path()).unwrap();
    for refuses in [false, true] {
        let mut incoming = spool.begin(0).unwrap();
        incoming.write(b"head").unwrap();
        incoming.write(&pattern(600_000)).unwrap();
        let committed = incoming
            .commit_if(&note(), |file| {
                let mut bytes = Vec::new();
                file.seek(SeekFrom::Start(PREAMBLE as u64 + 1)).unwrap();
                file.read_to_end(&mut bytes).unwrap();
                if refuses { Err("refused") } else { Ok(bytes) }
            })
            .unwrap();
        let Ok((spooled, seen)) = committed else {
            assert!(refuses);
            continue;
        };
        assert!(!refuses && seen[..3] == *b"ead" && seen[3..] == pattern(600_000));
        assert_eq!(spooled.size, PREAMBLE as u64 + 600_004);
    }
    assert_eq!(in_use(&spool), 1);
}

#[test]
fn an_instance_dropped_before_commit_leaves_no_trace() {
    let state = tempfile::tempdir().unwrap();
    let spool = Spool::open(state.path()).unwrap();
    let mut incoming = spool.begin(0).unwrap();
    incoming.write(&pattern(600_000)).unwrap();
    assert_eq!(in_use(&spool), 1);
    drop(incoming);
    assert_eq!(in_use(&spool), 0);
    assert!(empty(state.path()).is_some(), "files were made ahead");
    drop(spool);
    assert_eq!(empty(state.path()), None, "none is left");
}

#[test]
fn a_crash_while_receiving_leaves_a_file_that_says_that_it_is_unfinished() {
    let state = tempfile::tempdir().unwrap();
    let spool = Spool::open(state.path()).unwrap();
    let mut incoming = spool.begin(0).unwrap();
    incoming.write(&pattern(600_000)).unwrap();
    // What stands on the disk now is what a kill leaves; of a power cut the name alone may be left.
    let name = spool.scan().unwrap().pop().unwrap();
    assert!(fs::metadata(spool.path(&name).unwrap()).unwrap().len() > 500_000);
    assert_eq!(spool.condition(&name).unwrap(), Condition::Unfinished);
    drop(incoming);
    fs::write(spool.path(&name).unwrap(), b"").unwrap();
    assert_eq!(spool.condition(&name).unwrap(), Condition::Unfinished);
}

#[test]
fn a_crash_before_the_ledger_leaves_a_whole_file_that_is_found_again() {
    let state = tempfile::tempdir().unwrap();
    let name = spooled(&Spool::open(state.path()).unwrap(), b"whole");
    let spool = Spool::open(state.path()).unwrap();
    assert_eq!(spool.scan().unwrap(), std::slice::from_ref(&name));
    assert_eq!(spool.condition(&name).unwrap(), Condition::Whole(note()));
    assert_eq!(fs::read(spool.path(&name).unwrap()).unwrap()[PREAMBLE..], *b"whole");
}

#[test]
fn what_is_not_to_the_bit_what_was_sealed_is_torn() {
    let state = tempfile::tempdir().unwrap();
    let spool = Spool::open(state.path()).unwrap();
    let name = spooled(&spool, &pattern(20_000));
    let path = spool.path(&name).unwrap();
    let whole = fs::read(&path).unwrap();
    // A power cut: blocks that were not written are zeros, or the end is missing.
    let mut zeros = whole.clone();
    zeros[8192..12_288].fill(0);
    let longer = [&whole[..], &[0]].concat();
    for torn in [&zeros[..], &whole[..12_288], &whole[..PREAMBLE], &longer] {
        fs::write(&path, torn).unwrap();
        assert_eq!(spool.condition(&name).unwrap(), Condition::Torn);
    }
    let mut foreign = whole.clone();
    foreign[..PREAMBLE].fill(0);
    for foreign in [&foreign[..], &whole[..PREAMBLE - 1]] {
        fs::write(&path, foreign).unwrap();
        assert_eq!(spool.condition(&name).unwrap(), Condition::Foreign);
    }
    fs::write(&path, &whole).unwrap();
    assert_eq!(spool.condition(&name).unwrap(), Condition::Whole(note()));
}

#[test]
fn files_made_ahead_are_used_one_by_one_and_never_twice() {
    let state = tempfile::tempdir().unwrap();
    let spool = Spool::open(state.path()).unwrap();
    let threads: Vec<_> = (0..4)
        .map(|n: u8| {
            let spool = spool.clone();
            std::thread::spawn(move || (0..20u8).map(|i| (spooled(&spool, &[n, i]), [n, i])).collect::<Vec<_>>())
        })
        .collect();
    let all: Vec<_> = threads.into_iter().flat_map(|t| t.join().unwrap()).collect();
    assert_eq!(in_use(&spool), 80);
    for (name, bytes) in all {
        assert_eq!(fs::read(spool.path(&name).unwrap()).unwrap()[PREAMBLE..], bytes);
    }
}

#[test]
fn a_disk_that_is_too_full_is_told_before_the_first_byte() {
    let state = tempfile::tempdir().unwrap();
    let spool = Spool::open(state.path()).unwrap();
    let e = spool.begin(u64::MAX).unwrap_err();
    assert!(matches!(e, SpoolError::Full { free, wanted: u64::MAX, .. } if free > 0), "{e}");
    assert!(e.to_string().contains("limits.min_free_disk"));
    assert_eq!(in_use(&spool), 0);
}

#[test]
fn no_name_from_outside_reaches_a_path() {
    let state = tempfile::tempdir().unwrap();
    let spool = Spool::open(state.path()).unwrap();
    fs::write(state.path().join("precious.dcm"), b"precious").unwrap();
    for name in [
        "../../precious",
        "../precious",
        "/etc/hostname",
        "..",
        "",
        "1.2.3",
        "7f/0193f5a2c7d1-7f3a09c4d5e6f708",
        "lock",
    ] {
        assert!(matches!(spool.path(name), Err(SpoolError::Name(_))), "{name:?}");
        assert!(matches!(spool.open_file(name), Err(SpoolError::Name(_))), "{name:?}");
        assert!(matches!(spool.remove(name), Err(SpoolError::Name(_))), "{name:?}");
        assert!(matches!(spool.quarantine(name), Err(SpoolError::Name(_))), "{name:?}");
    }
    assert!(state.path().join("precious.dcm").exists());
    assert!(spool.path(OURS).unwrap().ends_with(format!("spool/7f/{OURS}.dcm")));
}

#[test]
fn removing_twice_is_no_error_and_quarantine_keeps_the_bytes() {
    let state = tempfile::tempdir().unwrap();
    let spool = Spool::open(state.path()).unwrap();
    let names = ["one", "two"].map(|text| spooled(&spool, text.as_bytes()));
    spool.remove(&names[0]).unwrap();
    spool.remove(&names[0]).unwrap();
    let kept = spool.quarantine(&names[1]).unwrap();
    assert_eq!(fs::read(&kept).unwrap()[PREAMBLE..], *b"two");
    assert!(kept.starts_with(state.path().join("spool/quarantine")));
    assert!(spool.scan().unwrap().is_empty());
}

#[test]
fn of_many_files_those_that_are_gone_are_named_and_the_others_told() {
    let state = tempfile::tempdir().unwrap();
    let spool = Spool::open(state.path()).unwrap();
    // In two folders.
    let names: Vec<String> = (0..6).map(|n| format!("0193f5a2c7{n:02x}-{:02x}3a09c4d5e6f708", n % 2)).collect();
    for (n, name) in names.iter().enumerate() {
        let path = spool.path(name).unwrap();
        match n {
            0 => {}                             // gone already
            1 => fs::create_dir(path).unwrap(), // cannot be unlinked, by root neither
            _ => fs::write(path, b"x").unwrap(),
        }
    }
    let (mut gone, errors) = spool.remove_all([names.clone(), vec!["../precious".into()]].concat());
    gone.sort();
    assert_eq!(gone, [&names[..1], &names[2..]].concat());
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(names[2..].iter().all(|name| !spool.path(name).unwrap().exists()));
    assert!(spool.path(&names[1]).unwrap().exists());
}

#[test]
fn a_file_in_the_wrong_folder_or_with_a_foreign_name_is_not_taken_for_an_instance() {
    let state = tempfile::tempdir().unwrap();
    let spool = Spool::open(state.path()).unwrap();
    for (folder, file) in
        [("80", format!("{OURS}.dcm")), ("7f", "1.2.3.dcm".into()), ("7f", format!("{OURS}.tmp")), ("7f", OURS.into())]
    {
        fs::write(state.path().join("spool").join(folder).join(file), b"x").unwrap();
    }
    assert!(spool.scan().unwrap().is_empty());
    fs::write(state.path().join(format!("spool/7f/{OURS}.dcm")), b"x").unwrap();
    assert_eq!(spool.scan().unwrap(), [OURS]);
}

#[test]
fn a_second_daemon_on_the_same_state_folder_is_refused_until_the_first_has_gone() {
    let state = tempfile::tempdir().unwrap();
    let first = Spool::open(state.path()).unwrap();
    let clone = first.clone();
    let e = Spool::open(state.path()).unwrap_err();
    assert!(e.to_string().contains(&format!("process {}", std::process::id())), "{e}");
    drop(first);
    assert!(matches!(Spool::open(state.path()), Err(SpoolError::Locked { .. })));
    drop(clone);
    Spool::open(state.path()).unwrap();
}

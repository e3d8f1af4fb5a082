//! The spool from outside: what a crash, a full disk and a hostile name may and may not do.

use radroute::spool::{Spool, SpoolError};
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

const OURS: &str = "0193f5a2c7d1-7f3a09c4d5e6f708";

fn parts(state: &Path) -> Vec<PathBuf> {
    fs::read_dir(state.join("spool/incoming")).unwrap().map(|e| e.unwrap().path()).collect()
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + i / 251) as u8).collect()
}

#[tokio::test]
async fn what_is_written_in_pieces_of_any_size_comes_back_whole() {
    let state = tempfile::tempdir().unwrap();
    let spool = Spool::open(state.path()).unwrap();
    for (len, piece) in [(0, 1), (1, 1), (100_000, 7), (262_144, 262_144), (1_000_000, 16_378), (3_000_001, 700_000)] {
        let bytes = pattern(len);
        let mut incoming = spool.begin(0).await.unwrap();
        for piece in bytes.chunks(piece) {
            incoming.write(piece).await.unwrap();
        }
        assert_eq!((incoming.len(), incoming.is_empty()), (len as u64, len == 0));
        let spooled = incoming.commit().await.unwrap();
        assert_eq!(spooled.size, len as u64);
        let mut back = Vec::new();
        spool.open_file(&spooled.name).unwrap().read_to_end(&mut back).unwrap();
        assert!(back == bytes, "{len} bytes in pieces of {piece}");
    }
    assert!(parts(state.path()).is_empty());
    assert_eq!(spool.scan().unwrap().len(), 6);
}

#[tokio::test]
async fn inspecting_sees_all_that_was_written_and_does_not_disturb_what_follows() {
    let state = tempfile::tempdir().unwrap();
    let spool = Spool::open(state.path()).unwrap();
    let mut incoming = spool.begin(0).await.unwrap();
    incoming.write(b"head").await.unwrap();
    let seen = incoming
        .inspect(|file| {
            let mut text = String::new();
            file.seek(SeekFrom::Start(1)).unwrap();
            file.read_to_string(&mut text).unwrap();
            text
        })
        .await
        .unwrap();
    assert_eq!(seen, "ead");
    incoming.write(b" and tail").await.unwrap();
    let name = incoming.commit().await.unwrap().name;
    assert_eq!(fs::read(spool.path(&name).unwrap()).unwrap(), b"head and tail");
}

#[tokio::test]
async fn an_instance_dropped_before_commit_leaves_no_trace() {
    let state = tempfile::tempdir().unwrap();
    let spool = Spool::open(state.path()).unwrap();
    let mut incoming = spool.begin(0).await.unwrap();
    incoming.write(&pattern(600_000)).await.unwrap();
    assert_eq!(parts(state.path()).len(), 1);
    drop(incoming);
    assert!(parts(state.path()).is_empty());
    assert!(spool.scan().unwrap().is_empty());
}

#[tokio::test]
async fn a_crash_while_receiving_leaves_a_temporary_file_that_the_next_start_sweeps() {
    let state = tempfile::tempdir().unwrap();
    drop(Spool::open(state.path()).unwrap());
    let incoming = state.path().join("spool/incoming");
    fs::write(incoming.join(format!("{OURS}.part")), b"half").unwrap();
    fs::write(incoming.join("notes.txt"), b"an administrator's").unwrap();
    fs::write(incoming.join("x.part"), b"somebody's").unwrap();
    let spool = Spool::open(state.path()).unwrap();
    assert_eq!(spool.sweep().unwrap(), 1);
    assert_eq!(spool.sweep().unwrap(), 0);
    assert_eq!(parts(state.path()).len(), 2, "what is not ours stays");
}

#[tokio::test]
async fn a_crash_between_rename_and_ledger_leaves_a_whole_file_that_is_found_again() {
    let state = tempfile::tempdir().unwrap();
    let name = {
        let spool = Spool::open(state.path()).unwrap();
        let mut incoming = spool.begin(0).await.unwrap();
        incoming.write(b"whole").await.unwrap();
        incoming.commit().await.unwrap().name
    };
    let spool = Spool::open(state.path()).unwrap();
    assert_eq!(spool.sweep().unwrap(), 0);
    assert_eq!(spool.scan().unwrap(), std::slice::from_ref(&name));
    assert_eq!(fs::read(spool.path(&name).unwrap()).unwrap(), b"whole");
}

#[tokio::test]
async fn a_crash_between_the_directory_syncs_may_leave_a_file_in_both_places_and_the_whole_one_stays() {
    let state = tempfile::tempdir().unwrap();
    let spool = Spool::open(state.path()).unwrap();
    let mut incoming = spool.begin(0).await.unwrap();
    incoming.write(b"whole").await.unwrap();
    let name = incoming.commit().await.unwrap().name;
    fs::hard_link(spool.path(&name).unwrap(), state.path().join(format!("spool/incoming/{name}.part"))).unwrap();
    assert_eq!(spool.sweep().unwrap(), 1);
    assert_eq!(fs::read(spool.path(&name).unwrap()).unwrap(), b"whole");
}

#[tokio::test]
async fn a_disk_that_is_too_full_is_told_before_the_first_byte() {
    let state = tempfile::tempdir().unwrap();
    let spool = Spool::open(state.path()).unwrap();
    let e = spool.begin(u64::MAX).await.unwrap_err();
    assert!(matches!(e, SpoolError::Full { free, wanted: u64::MAX, .. } if free > 0), "{e}");
    assert!(e.to_string().contains("limits.min_free_disk"));
    assert!(parts(state.path()).is_empty());
}

#[tokio::test]
async fn no_name_from_outside_reaches_a_path() {
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

#[tokio::test]
async fn removing_twice_is_no_error_and_quarantine_keeps_the_bytes() {
    let state = tempfile::tempdir().unwrap();
    let spool = Spool::open(state.path()).unwrap();
    let mut names = Vec::new();
    for text in ["one", "two"] {
        let mut incoming = spool.begin(0).await.unwrap();
        incoming.write(text.as_bytes()).await.unwrap();
        names.push(incoming.commit().await.unwrap().name);
    }
    spool.remove(&names[0]).unwrap();
    spool.remove(&names[0]).unwrap();
    let kept = spool.quarantine(&names[1]).unwrap();
    assert_eq!(fs::read(&kept).unwrap(), b"two");
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

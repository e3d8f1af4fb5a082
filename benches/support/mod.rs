//! What the ledger's benchmarks share: folders to work in, and instances as they come.
#![allow(dead_code)]

pub mod archive;
pub mod life;

use radroute::dataset::Facts;
use radroute::ledger::{Millis, NewInstance, Source};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Where there is memory that looks like a disk.
const MEMORY: &str = "/dev/shm";

/// A folder that goes with the value: on the disk of the build folder, or in memory.
pub fn folder(medium: &str) -> TempDir {
    let on_disk = || PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let parent = if medium == "memory" && Path::new(MEMORY).is_dir() { PathBuf::from(MEMORY) } else { on_disk() };
    tempfile::Builder::new().prefix("radroute-bench-").tempdir_in(parent).expect("a folder to work in")
}

/// Runs a benchmark in the folder given, or in one on the disk that goes with it.
pub fn run<F: Future<Output = Result<(), archive::Failure>>>(
    folder: Option<&Path>,
    work: impl FnOnce(PathBuf) -> F,
) -> Result<(), archive::Failure> {
    let scratch = self::folder("disk");
    let folder = folder.unwrap_or(scratch.path()).to_owned();
    std::fs::create_dir_all(&folder)?;
    tokio::runtime::Runtime::new()?.block_on(work(folder))
}

/// The `n`th instance: four to a series, two series to a study; UIDs made of random numbers, as the worst case for an index.
pub fn instance(n: u64, association: &str, received_at: Millis) -> NewInstance {
    NewInstance {
        spool_name: format!("{received_at:012x}-{:016x}", mixed(n)),
        file_size: 15_002_048,
        dataset_offset: 392,
        facts: Facts {
            sop_class_uid: "1.2.840.10008.5.1.4.1.1.1.1".into(),
            sop_instance_uid: uid(3, n),
            series_instance_uid: uid(2, n / 4),
            study_instance_uid: uid(1, n / 8),
            transfer_syntax_uid: "1.2.840.10008.1.2.1".into(),
            modality: "DX".into(),
            body_part_examined: "HAND".into(),
            station_name: "ROOM2".into(),
            institution_name: "St. Elsewhere".into(),
            study_description: "Extremities, both".into(),
            number_of_frames: 1,
            ..Facts::default()
        },
        source: Source {
            calling_ae: "XRAY1".into(),
            called_ae: "RADROUTE".into(),
            peer: Some([10, 1, 2, 3].into()),
            association: association.into(),
        },
        received_at,
        receive_ms: 21.5,
        sync_ms: 4.25,
        settle: 2_000,
        settle_max: 60_000,
        adopted: false,
    }
}

/// A UID out of a UUID (PS3.5 B.2): its digits say nothing of when it was made.
pub fn uid(kind: u64, n: u64) -> String {
    let wide = u128::from(mixed(kind << 56 | n)) << 64 | u128::from(mixed(n << 8 | kind));
    format!("2.25.{wide}")
}

/// The finaliser of MurmurHash3 over 64 bits: a permutation, so that no two numbers give the same name.
pub fn mixed(n: u64) -> u64 {
    let n = (n ^ n >> 33).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
    let n = (n ^ n >> 33).wrapping_mul(0xC4CE_B9FE_1A85_EC53);
    n ^ n >> 33
}

//! kill -9 while forwarding: nothing lost, and for each kill at most one instance arrives twice.

use crate::node::*;
use crate::receivers::{self, answering};
use radroute::ledger::DeliveryState;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const STATE: &str = "RADROUTE_TEST_KILL_STATE";
const PORT: &str = "RADROUTE_TEST_KILL_PORT";

/// Not a test of its own: what the killed child runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_delivers_until_it_is_killed() {
    let (Ok(state), Ok(port)) = (std::env::var(STATE), std::env::var(PORT)) else { return };
    let _node = Node::open(Path::new(&state), config(&[destination("archive", port.parse().unwrap(), "")]));
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_most_one_extra_delivery_for_each_kill() {
    if !receivers::pynetdicom() {
        return;
    }
    const KILLS: usize = 5;
    let archive = answering(None, "0000", &[]);
    let folder = tempfile::tempdir().unwrap();
    let samples: Vec<Sample> = (0..150).map(|number| radiograph(number, 12)).collect();
    // entered while the destination is not served
    let node = Node::open(folder.path(), config(&[]));
    for sample in &samples {
        node.put(sample, None, &["archive"]).await;
    }
    node.close().await;
    let mut begun = 0;
    for round in 1..=KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "kill::child_delivers_until_it_is_killed"])
            .env(STATE, folder.path())
            .env(PORT, archive.port.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // in the middle of it, at some other moment each time
        while archive.log().len() < begun + 8 {
            assert!(child.try_wait().unwrap().is_none());
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        tokio::time::sleep(Duration::from_millis(5 * round as u64)).await;
        child.kill().unwrap();
        child.wait().unwrap();
        // what was on the wire may still be written down
        tokio::time::sleep(Duration::from_millis(200)).await;
        begun = archive.log().len();
    }
    let node = Node::open(folder.path(), config(&[destination("archive", archive.port, "")]));
    for sample in &samples {
        node.state(sample, "archive", DeliveryState::Delivered).await;
        assert!(Sample::open(&archive.file(&sample.uid).unwrap()).data_set() == sample.data_set());
    }
    let extra = archive.log().len() - samples.len();
    assert!(extra <= KILLS, "{extra} extra deliveries for {KILLS} kills");
    node.stop().await;
}

//! kill -9 while forwarding: nothing lost, and for each kill at most one instance arrives twice, or as many as the window has.

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
    kills(5, 150, 8, 5, 1, &[]).await;
}

/// One that takes 0.4 s for a response, with two associations.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_most_one_extra_delivery_with_a_slow_destination() {
    kills(3, 14, 3, 100, 1, &["--sleep", "0.4"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_most_a_window_of_extra_deliveries_for_each_kill() {
    kills(3, 100, 12, 7, 3, &["--window", "3", "--sleep", "0.01"]).await;
}

/// Kills the sender `kills` times, after another `begun` C-STOREs and `pause` ms times the round; `doubt` may be repeated each time.
async fn kills(kills: usize, samples: u32, begun: usize, pause: u64, doubt: usize, options: &[&str]) {
    if !receivers::pynetdicom() {
        return;
    }
    let archive = answering(None, "0000", options);
    let folder = tempfile::tempdir().unwrap();
    let samples: Vec<Sample> = (0..samples).map(|number| radiograph(number, 12)).collect();
    // entered while the destination is not served
    let node = Node::open(folder.path(), config(&[]));
    for sample in &samples {
        node.put(sample, None, &["archive"]).await;
    }
    node.close().await;
    let mut before = 0;
    for round in 1..=kills {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "kill::child_delivers_until_it_is_killed"])
            .env(STATE, folder.path())
            .env(PORT, archive.port.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // in the middle of it, at some other moment each time
        while archive.log().len() < before + begun {
            assert!(child.try_wait().unwrap().is_none());
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        tokio::time::sleep(Duration::from_millis(pause * round as u64)).await;
        child.kill().unwrap();
        child.wait().unwrap();
        // what was on the wire may still be written down
        tokio::time::sleep(Duration::from_millis(200)).await;
        before = archive.log().len();
    }
    let node = Node::open(folder.path(), config(&[destination("archive", archive.port, "")]));
    for sample in &samples {
        node.state(sample, "archive", DeliveryState::Delivered).await;
        assert!(Sample::open(&archive.file(&sample.uid).unwrap()).data_set() == sample.data_set());
    }
    let extra = archive.log().len() - samples.len();
    assert!(extra <= kills * doubt, "{extra} extra deliveries for {kills} kills");
    node.stop().await;
}

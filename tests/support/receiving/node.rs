//! The receiving stage in this process: a real listener, spool and ledger in a folder of its own.

use super::wait_until;
use radroute::config::Config;
use radroute::ledger::{InstanceLife, Ledger};
use radroute::look;
use radroute::receive::{Listener, Router};
use radroute::spool::Spool;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::runtime::Runtime;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinHandle;

pub struct Node {
    pub addr: SocketAddr,
    pub wake: Arc<Notify>,
    runtime: Runtime,
    ledger: Ledger,
    spool: Spool,
    config: watch::Sender<Arc<Config>>,
    stop: Option<oneshot::Sender<()>>,
    task: Option<JoinHandle<()>>,
    dir: tempfile::TempDir,
}

impl Node {
    /// Starts with the defaults as changed by `change`; disk space is not watched and associations are let go quickly.
    pub fn start(change: impl FnOnce(&mut Config)) -> Node {
        let dir = tempfile::tempdir().unwrap();
        let mut config: Config = toml::from_str("[node]\nae_title = \"RADROUTE\"\nstate_dir = \".\"\n").unwrap();
        config.listen.address = SocketAddr::from(([127, 0, 0, 1], 0));
        config.limits.min_free_disk = bytesize::ByteSize::b(0);
        config.limits.artim = std::time::Duration::from_secs(10);
        change(&mut config);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let _in_runtime = runtime.enter();
        let ledger = Ledger::open(&dir.path().join("ledger.db")).unwrap();
        let spool = Spool::open(dir.path()).unwrap();
        let (config, configs) = watch::channel(Arc::new(config));
        let wake = Arc::new(Notify::new());
        let exempt = Arc::new(look::exempt(configs.clone()));
        let router = Router::new(configs.clone(), ledger.clone(), spool.clone(), wake.clone(), wake.clone(), exempt);
        let listener = runtime.block_on(Listener::bind(configs, Arc::new(router))).unwrap();
        let addr = listener.local_addr();
        let (stop, stopped) = oneshot::channel();
        let task = runtime.spawn(listener.run(async move { drop(stopped.await) }));
        drop(_in_runtime);
        Node { addr, wake, runtime, ledger, spool, config, stop: Some(stop), task: Some(task), dir }
    }

    /// Reloads the configuration.
    pub fn reload(&self, change: impl FnOnce(&mut Config)) {
        let mut config = Config::clone(&self.config.borrow());
        change(&mut config);
        self.config.send_replace(Arc::new(config));
    }

    /// Begins to stop.
    pub fn begin_to_stop(&mut self) {
        drop(self.stop.take());
    }

    /// Stops and waits for it.
    pub fn stop(&mut self) {
        self.begin_to_stop();
        if let Some(task) = self.task.take() {
            self.runtime.block_on(async { tokio::time::timeout(super::PATIENCE, task).await }).unwrap().unwrap();
        }
    }

    /// The ledger goes away under the running node.
    pub fn close_ledger(&self) {
        self.runtime.block_on(self.ledger.close()).unwrap();
    }

    /// Rows of a SOP Instance, series or study.
    pub fn instances(&self, uid: &str) -> Vec<InstanceLife> {
        self.runtime.block_on(self.ledger.instances_of(uid)).unwrap()
    }

    /// Has the stage behind been woken since the last time this was asked?
    pub fn woken(&self) -> bool {
        self.runtime.block_on(async {
            tokio::time::timeout(std::time::Duration::from_millis(1), self.wake.notified()).await.is_ok()
        })
    }

    /// The file of a row, as spooled.
    pub fn file(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.spool.path(name).unwrap()).unwrap()
    }

    /// Every file below the spool but its lock and what was made ahead: whole ones and parts.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        collect(&self.dir.path().join("spool"), &mut files);
        files.retain(|path| path.file_name().is_some_and(|name| name != "lock"));
        files.retain(|path| std::fs::metadata(path).is_ok_and(|file| file.len() > 0));
        files
    }

    /// Every file in the whole state folder and beside it, for tests of names that lead elsewhere.
    pub fn state_dir(&self) -> &Path {
        self.dir.path()
    }

    /// Details of all events of a kind, oldest first.
    pub fn events(&self, kind: &str) -> Vec<serde_json::Value> {
        let ledger = rusqlite::Connection::open(self.dir.path().join("ledger.db")).unwrap();
        let mut query = ledger.prepare("SELECT detail FROM event WHERE kind = ?1 ORDER BY id").unwrap();
        let rows = query.query_map([kind], |row| row.get::<_, String>(0)).unwrap();
        rows.map(|detail| serde_json::from_str(&detail.unwrap()).unwrap()).collect()
    }

    /// Waits for an event of a kind; gives the first.
    pub fn event(&self, kind: &str) -> serde_json::Value {
        wait_until(kind, || !self.events(kind).is_empty());
        self.events(kind).remove(0)
    }

    /// Nothing was kept and nothing is left.
    pub fn assert_empty(&self) {
        assert_eq!(self.files(), Vec::<PathBuf>::new());
        assert!(self.events("received").is_empty());
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.stop();
        }
    }
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { collect(&path, files) } else { files.push(path) }
    }
}

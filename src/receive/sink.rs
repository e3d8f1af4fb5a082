//! A small archive: what it is sent goes into a folder as `<SOP Instance UID>.dcm`. For trying things with, for the demo and for
//! tests; it can be told to refuse or to be slow. Nothing is synced: it is not for keeping.

use super::deposit::{Announced, Deposit, Refusal, inspect};
use super::listener::Listener;
use crate::config::Config;
use crate::dataset::Facts;
use crate::dataset::file_meta::{FileMeta, write_file_meta};
use crate::dimse::command::valid_uid;
use crate::dimse::status;
use crate::ledger::Event;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

/// What is called for an instance that was kept.
pub type OnStored = Arc<dyn Fn(&Stored) + Send + Sync>;

/// How the sink behaves.
#[derive(Clone)]
pub struct Options {
    /// Where it listens; port 0: any.
    pub listen: SocketAddr,
    /// Where files go; made if it is not there.
    pub dir: PathBuf,
    /// Its AE title; `None`: any is accepted.
    pub ae_title: Option<String>,
    /// The status of every C-STORE that went well so far. A failure keeps nothing.
    pub status: u16,
    /// Waited before each answer.
    pub delay: Duration,
    /// Called for every instance kept.
    pub on_stored: Option<OnStored>,
}

impl Options {
    /// An obliging sink.
    pub fn new(listen: SocketAddr, dir: impl Into<PathBuf>) -> Options {
        Options {
            listen,
            dir: dir.into(),
            ae_title: None,
            status: status::SUCCESS,
            delay: Duration::ZERO,
            on_stored: None,
        }
    }
}

/// An instance that the sink kept.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Where.
    pub path: PathBuf,
    /// Size of its data set, bytes.
    pub bytes: u64,
    /// From its header.
    pub facts: Facts,
    /// Who sent it.
    pub calling_ae: String,
}

/// A running sink.
pub struct Sink {
    address: SocketAddr,
    counts: Arc<Counts>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Counts {
    stored: AtomicU64,
    refused: AtomicU64,
    next: AtomicU64,
}

impl Sink {
    /// Starts it on the current tokio runtime.
    ///
    /// # Errors
    /// The folder cannot be made, the address not be bound.
    pub async fn start(options: Options) -> io::Result<Sink> {
        std::fs::create_dir_all(&options.dir)?;
        let counts = Arc::new(Counts::default());
        let (_, config) = watch::channel(Arc::new(config(&options)?));
        let folder = Arc::new(Folder { options, counts: Arc::clone(&counts) });
        let listener = Listener::bind(config, folder).await?;
        let address = listener.local_addr();
        let (stop, stopped) = oneshot::channel();
        // a sink dropped without stop() stops as well
        let task = tokio::spawn(listener.run(async move { drop(stopped.await) }));
        Ok(Sink { address, counts, stop, task })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// How many instances were kept; the same one sent twice counts twice.
    pub fn stored(&self) -> u64 {
        self.counts.stored.load(Ordering::Relaxed)
    }

    /// How many were refused.
    pub fn refused(&self) -> u64 {
        self.counts.refused.load(Ordering::Relaxed)
    }

    /// Stops; what is on the wire may end.
    pub async fn stop(self) {
        drop(self.stop);
        let _ = self.task.await;
    }
}

/// The listener's configuration: defaults but for address, AE title and time to drain.
fn config(options: &Options) -> io::Result<Config> {
    let mut config: Config =
        toml::from_str("[node]\nae_title = \"SINK\"\nstate_dir = \".\"\n").map_err(io::Error::other)?;
    match &options.ae_title {
        Some(title) => config.node.ae_title.clone_from(title),
        None => config.node.also_called = vec!["*".to_owned()],
    }
    config.listen.address = options.listen;
    config.limits.drain = Duration::from_secs(2);
    Ok(config)
}

struct Folder {
    options: Options,
    counts: Arc<Counts>,
}

/// A file that is being written; removed when dropped.
struct Part {
    path: PathBuf,
    file: Option<io::BufWriter<std::fs::File>>,
    dataset_offset: u64,
    bytes: u64,
}

impl Drop for Part {
    fn drop(&mut self) {
        // renamed by then if all went well
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Folder {
    fn create(&self, announced: &Announced) -> io::Result<Part> {
        let number = self.counts.next.fetch_add(1, Ordering::Relaxed);
        let path = self.options.dir.join(format!(".{}-{number}.part", std::process::id()));
        let file = std::fs::File::create(&path)?;
        let mut part = Part { path, file: None, dataset_offset: 0, bytes: 0 };
        let meta = write_file_meta(&FileMeta {
            sop_class_uid: announced.sop_class_uid.clone(),
            sop_instance_uid: announced.sop_instance_uid.clone(),
            transfer_syntax_uid: announced.transfer_syntax_uid.clone(),
            source_ae: String::new(),
            sending_ae: announced.source.calling_ae.clone(),
            receiving_ae: announced.source.called_ae.clone(),
        });
        part.dataset_offset = meta.len() as u64;
        part.file.insert(io::BufWriter::with_capacity(1 << 18, file)).write_all(&meta)?;
        Ok(part)
    }

    fn answer(&self) -> Result<u16, Refusal> {
        let status = self.options.status;
        if status == status::SUCCESS || status & 0xF000 == 0xB000 {
            return Ok(status);
        }
        Err(Refusal::new(status, "as it was told to answer", "the sink was told to answer so"))
    }

    fn keep(&self, mut part: Part, announced: &Announced) -> Result<u16, Refusal> {
        let writer = part.file.take().ok_or_else(|| failure("no file"))?;
        drop(writer.into_inner().map_err(|error| failure(error.error()))?);
        let mut file = std::fs::File::open(&part.path).map_err(failure)?;
        let facts = inspect(&mut file, part.dataset_offset, announced)?;
        let status = self.answer()?;
        let path = file_name(&self.options.dir, &announced.sop_instance_uid).ok_or_else(|| failure("no UID"))?;
        std::fs::rename(&part.path, &path).map_err(failure)?;
        self.counts.stored.fetch_add(1, Ordering::Relaxed);
        if let Some(on_stored) = &self.options.on_stored {
            on_stored(&Stored { path, bytes: part.bytes, facts, calling_ae: announced.source.calling_ae.clone() });
        }
        Ok(status)
    }
}

/// A name only from what is strictly a UID: digits and dots, no empty component, so no way out of the folder.
fn file_name(dir: &Path, sop_instance_uid: &str) -> Option<PathBuf> {
    valid_uid(sop_instance_uid).then(|| dir.join(format!("{sop_instance_uid}.dcm")))
}

fn failure(error: impl ToString) -> Refusal {
    Refusal::new(status::PROCESSING_FAILURE, "processing failure", error)
}

impl Deposit for Folder {
    type Open = Part;

    async fn begin(&self, announced: &Announced) -> Result<Part, Refusal> {
        self.create(announced).map_err(failure)
    }

    async fn write(&self, open: &mut Part, bytes: &[u8]) -> Result<(), Refusal> {
        open.bytes += bytes.len() as u64;
        // into the page cache, never synced: short enough for where it runs
        open.file.as_mut().map_or(Ok(()), |file| file.write_all(bytes)).map_err(failure)
    }

    async fn finish(&self, open: Part, announced: &Announced) -> Result<u16, Refusal> {
        tokio::time::sleep(self.options.delay).await;
        let answer = self.keep(open, announced);
        if answer.is_err() {
            self.counts.refused.fetch_add(1, Ordering::Relaxed);
        }
        answer
    }

    async fn released(&self, _association: &str) {}

    async fn tell(&self, _event: Event) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_file_name_leads_out_of_the_folder() {
        let dir = Path::new("d");
        assert_eq!(file_name(dir, "1.2.3"), Some(PathBuf::from("d/1.2.3.dcm")));
        for uid in ["", "..", "../../x", "1/2", "/etc/passwd", "1..2", ".", "1.2\0"] {
            assert_eq!(file_name(dir, uid), None, "{uid}");
        }
    }
}

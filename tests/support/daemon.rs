//! The real binary under test: a site of its own (folder, configuration, model), started, signalled, killed and questioned.
#![allow(dead_code)]

use serde_json::Value;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

/// The binary that cargo has built for this test.
pub const RADROUTE: &str = env!("CARGO_BIN_EXE_radroute");
/// How long anything may take before a test gives up: an end to hanging, no claim about speed.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// A folder with a configuration; tables are TOML lines, changed by the tests.
pub struct Site {
    pub dir: tempfile::TempDir,
    pub state_dir: PathBuf,
    pub node: String,
    pub listen: String,
    pub limits: String,
    pub classify: String,
    pub routing: String,
    pub log_format: String,
    /// Whole tables: `[[destination]]`, `[[route]]`, `[[peer]]`, `[retention]`, …
    pub tables: String,
}

/// The shipped weights, or those that `RADROUTE_TEST_MODEL` names. `None`, with a message, where there are none.
pub fn model() -> Option<PathBuf> {
    let given = std::env::var_os("RADROUTE_TEST_MODEL").map(PathBuf::from);
    let path = given.unwrap_or_else(|| root().join("weights/radroute.safetensors"));
    if path.exists() {
        return Some(path);
    }
    skipped(&format!("no weights at {}", path.display()));
    None
}

/// Says that a test, or a part of one, does not run here. Goes past the capture of the test harness, so that it is seen.
pub fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}

/// The root of the repository.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

impl Site {
    /// A site with short waits and the shipped weights; `None` where there are no weights.
    pub fn new() -> Option<Site> {
        let model = model()?;
        let dir = tempfile::Builder::new().prefix("radroute-test-").tempdir().unwrap();
        Some(Site {
            state_dir: dir.path().join("state"),
            dir,
            node: String::new(),
            listen: "address = \"127.0.0.1:0\"\n".into(),
            limits: "min_free_disk = \"1 MiB\"\n".into(),
            classify: format!("model = {:?}\ndevice = \"cpu\"\nsettle = \"300ms\"\n", model.display().to_string()),
            routing: String::new(),
            log_format: "json".into(),
            tables: String::new(),
        })
    }

    /// One destination called `archive` that takes everything, tried again quickly.
    pub fn with_archive(port: u16) -> Option<Site> {
        let mut site = Site::new()?;
        site.destination("archive", port, "");
        site.routing = "default = [\"archive\"]\n".into();
        Some(site)
    }

    /// Adds a destination whose AE title is its name in capitals.
    pub fn destination(&mut self, name: &str, port: u16, more: &str) {
        let ae = name.to_uppercase();
        self.tables += &format!(
            "[[destination]]\nname = \"{name}\"\nae_title = \"{ae}\"\naddress = \"127.0.0.1:{port}\"\n{more}\n\
             [destination.retry]\nfirst = \"200ms\"\nmost = \"1s\"\n\n"
        );
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes the configuration and returns its path.
    pub fn write(&self) -> PathBuf {
        let text = format!(
            "[node]\nae_title = \"RADROUTE\"\nstate_dir = {:?}\n{}\n[listen]\n{}\n[limits]\n{}\n[classify]\n{}\n[routing]\n{}\n\
             [log]\nformat = \"{}\"\n\n{}",
            self.state_dir.display().to_string(),
            self.node,
            self.listen,
            self.limits,
            self.classify,
            self.routing,
            self.log_format,
            self.tables
        );
        let path = self.path("config.toml");
        std::fs::write(&path, text).unwrap();
        path
    }

    /// `radroute serve`, waited for until it is ready.
    pub fn start(&self) -> Router {
        self.start_with(|_| {})
    }

    /// The same with a changed environment.
    pub fn start_with(&self, change: impl FnOnce(&mut Command)) -> Router {
        let mut router = self.spawn(change);
        let begun = Instant::now();
        loop {
            if let Some(port) = router.listening() {
                router.port = port;
                return router;
            }
            if let Some(status) = router.child.try_wait().unwrap() {
                panic!("radroute ended at its start with {status}:\n{}", router.log_text());
            }
            assert!(begun.elapsed() < PATIENCE, "radroute does not become ready:\n{}", router.log_text());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// `radroute serve`, not waited for: it may be anywhere in its start.
    pub fn spawn(&self, change: impl FnOnce(&mut Command)) -> Router {
        let config = self.write();
        let log = self.path("log");
        let seen = std::fs::metadata(&log).map_or(0, |m| m.len());
        let out = OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let mut command = Command::new(RADROUTE);
        command.args(["serve", "--config"]).arg(&config).env_remove("RUST_LOG").env_remove("NOTIFY_SOCKET");
        command.stdin(Stdio::null()).stdout(File::create(self.path("stdout")).unwrap()).stderr(out);
        change(&mut command);
        Router { child: command.spawn().unwrap(), port: 0, log, starts_at: seen }
    }

    /// Any other command with this site's configuration.
    pub fn run(&self, args: &[&str]) -> Output {
        let config = self.write();
        Command::new(RADROUTE).args(args).arg("--config").arg(config).env_remove("RUST_LOG").output().unwrap()
    }

    /// The same, which has to succeed; the JSON values on standard output.
    pub fn json(&self, args: &[&str]) -> Vec<Value> {
        let output = self.run(args);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "radroute {args:?}: {}\n{out}\n{err}", output.status);
        values(&out)
    }

    /// All files below the spool that are complete, and those that are not.
    pub fn spool_files(&self) -> (Vec<PathBuf>, Vec<PathBuf>) {
        let mut all = Vec::new();
        files(&self.state_dir.join("spool"), &mut all);
        // What was made ahead is empty. The ninth byte of a preamble says whether the file is only begun: 1.
        all.into_iter()
            .filter(|p| p.file_name().is_some_and(|n| n != "lock"))
            .filter(|p| std::fs::metadata(p).is_ok_and(|m| m.len() > 0))
            .partition(|p| std::fs::read(p).is_ok_and(|bytes| !bytes.starts_with(b"RADROUTE\x01")))
    }
}

/// JSON values: one array, one object, or one a line.
pub fn values(text: &str) -> Vec<Value> {
    match serde_json::from_str(text) {
        Ok(Value::Array(all)) => all,
        Ok(one) => vec![one],
        Err(_) => text
            .lines()
            .filter(|l| !l.trim().is_empty())
            .map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("not JSON ({e}): {l}")))
            .collect(),
    }
}

/// All files below a folder.
pub fn files(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) { files(&entry.path(), into) } else { into.push(entry.path()) }
    }
}

/// A running router; killed when dropped, its log shown when the test fails.
pub struct Router {
    pub child: Child,
    pub port: u16,
    log: PathBuf,
    starts_at: u64,
}

impl Router {
    fn listening(&self) -> Option<u16> {
        let text = self.log_text();
        let line = text.lines().find(|l| l.contains("radroute is ready"))?;
        let address = line.split("127.0.0.1:").nth(1)?;
        address.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok()
    }

    /// What this run has logged so far.
    pub fn log_text(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(bytes.get(self.starts_at as usize..).unwrap_or_default()).into_owned()
    }

    /// The same as JSON, a value a line.
    pub fn log_lines(&self) -> Vec<Value> {
        let text = self.log_text();
        // The last line may still be on its way.
        let complete = text.rfind('\n').map_or("", |end| &text[..end]);
        complete
            .lines()
            .map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("log line is no JSON ({e}): {l}")))
            .collect()
    }

    /// Log lines of one kind of event.
    pub fn events(&self, kind: &str) -> Vec<Value> {
        self.log_lines().into_iter().filter(|l| l["event"] == kind).collect()
    }

    pub fn signal(&self, name: &str) {
        let status = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", self.child.id())).status().unwrap();
        assert!(status.success(), "kill -{name}");
    }

    /// kill -9, reaped.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; the exit status.
    pub fn stop(mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait_exit()
    }

    /// Waits for the end of the process.
    pub fn wait_exit(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "radroute does not end:\n{}", self.log_text());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The most memory that the process has ever had resident, bytes.
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|l| l.starts_with("VmHWM:")).expect("VmHWM");
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let text = self.log_text();
            let lines: Vec<&str> = text.lines().collect();
            eprintln!("── the router's log, its last lines ──\n{}", lines[lines.len().saturating_sub(60)..].join("\n"));
        }
    }
}

/// Polls until it holds; fails with `what` when it does not for a long time.
pub fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(25));
    }
}

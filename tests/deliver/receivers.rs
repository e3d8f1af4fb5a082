//! Real C-STORE SCPs: dcmtk's storescp, pynetdicom, and what of them is not installed.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub use crate::local::{free_port, python};

pub struct Receiver {
    child: Child,
    pub port: u16,
    pub folder: TempDir,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn installed(program: impl AsRef<Path>, args: &[&str]) -> bool {
    let program = program.as_ref();
    let found = Command::new(program)
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success());
    if !found {
        eprintln!("skipped: {} {} does not run here", program.display(), args.join(" "));
    }
    found
}

pub fn dcmtk() -> bool {
    ["storescp", "dcmcjpeg", "dcmdjpeg", "dcmcrle", "dcmconv", "dcmdump"]
        .iter()
        .all(|tool| installed(format!("/usr/bin/{tool}"), &["--version"]))
}

pub fn pynetdicom() -> bool {
    installed(python(), &["-c", "import pynetdicom"])
}

fn start(mut command: Command, port: u16, folder: TempDir, listens: impl Fn(&Receiver) -> bool) -> Receiver {
    let out = std::fs::File::create(folder.path().join("out")).unwrap();
    let child = command
        .env("TCP_NODELAY", "1")
        .stdout(out.try_clone().unwrap())
        .stderr(out)
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let receiver = Receiver { child, port, folder };
    let until = Instant::now() + Duration::from_secs(30);
    while !listens(&receiver) {
        assert!(Instant::now() < until, "the receiver does not listen: {}", receiver.said());
        std::thread::sleep(Duration::from_millis(30));
    }
    receiver
}

/// `storescp -v +B` with further options; on a port of its own, or on `port`.
pub fn storescp(port: Option<u16>, options: &[&str]) -> Receiver {
    let folder = tempfile::tempdir().unwrap();
    let port = port.unwrap_or_else(free_port);
    std::fs::create_dir(folder.path().join("received")).unwrap();
    let mut command = Command::new("/usr/bin/storescp");
    command
        .args(["-v", "-aet", "ARCHIVE", "+B", "-od"])
        .arg(folder.path().join("received"))
        .args(options)
        .arg(port.to_string());
    start(command, port, folder, |_| TcpStream::connect(("127.0.0.1", port)).is_ok())
}

/// `scp.py`, which answers `statuses`.
pub fn answering(port: Option<u16>, statuses: &str, options: &[&str]) -> Receiver {
    let folder = tempfile::tempdir().unwrap();
    let port = port.unwrap_or_else(free_port);
    let received = folder.path().join("received");
    std::fs::create_dir(&received).unwrap();
    let mut command = Command::new(python());
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/deliver/scp.py")).arg(port.to_string());
    command.arg(received).arg(statuses).args(options);
    // a mere connection would count as an association for a while
    start(command, port, folder, |receiver| receiver.said().contains("listening"))
}

/// Orthanc, with its REST interface on the second port.
pub fn orthanc() -> Option<(Receiver, u16)> {
    if !installed("/usr/sbin/Orthanc", &["--version"]) {
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let (port, http) = (free_port(), free_port());
    let settings = serde_json::json!({
        "DicomAet": "ARCHIVE", "DicomPort": port, "HttpPort": http, "RemoteAccessAllowed": false, "HttpServerEnabled": true,
        "StorageDirectory": folder.path().join("store"), "IndexDirectory": folder.path().join("store"),
        "DicomAlwaysAllowStore": true, "DicomCheckCalledAet": true, "Plugins": [], "AuthenticationEnabled": false,
    });
    let path = folder.path().join("orthanc.json");
    std::fs::write(&path, settings.to_string()).unwrap();
    let mut command = Command::new("/usr/sbin/Orthanc");
    command.arg(path);
    let listens = |_: &Receiver| [port, http].iter().all(|&port| TcpStream::connect(("127.0.0.1", port)).is_ok());
    Some((start(command, port, folder, listens), http))
}

/// The body of a GET, from 127.0.0.1.
pub fn get(port: u16, path: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let body = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
    assert!(answer.starts_with(b"HTTP/1.") && answer[9..].starts_with(b"200"), "{path}");
    answer.split_off(body)
}

impl Receiver {
    /// What it printed.
    pub fn said(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("out")).unwrap_or_default()
    }

    /// How many associations storescp took; the probe for its port counts as one.
    pub fn associations(&self) -> usize {
        self.said().matches("Association Acknowledged").count()
    }

    /// Each C-STORE that `scp.py` got: UID and status.
    pub fn log(&self) -> Vec<(String, String)> {
        let log = std::fs::read_to_string(self.folder.path().join("received/log")).unwrap_or_default();
        log.lines().filter_map(|line| line.split_once(' ')).map(|(uid, status)| (uid.into(), status.into())).collect()
    }

    /// The received file with this SOP Instance UID.
    pub fn file(&self, uid: &str) -> Option<PathBuf> {
        let of = |path: &Path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            name.split('.').next().is_some() && (name.ends_with(&format!(".{uid}")) || name == format!("{uid}.dcm"))
        };
        std::fs::read_dir(self.folder.path().join("received")).unwrap().map(|e| e.unwrap().path()).find(|path| of(path))
    }

    pub fn received(&self) -> usize {
        let entries = std::fs::read_dir(self.folder.path().join("received")).unwrap();
        entries.filter(|e| e.as_ref().unwrap().file_name() != "log").count()
    }
}

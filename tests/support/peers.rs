//! Real peers: dcmtk's tools, dicom3tools, pynetdicom and Orthanc, each found or the test skipped.
#![allow(dead_code)]

#[path = "local.rs"]
mod local;

pub use local::free_port;

use super::daemon::{skipped, wait_for};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// A tool of the system's packages; plain names on PATH may be others' (pynetdicom ships a `storescu` too).
pub fn tool(name: &str) -> Option<PathBuf> {
    let found =
        ["/usr/bin", "/usr/sbin", "/usr/local/bin"].iter().map(|d| Path::new(d).join(name)).find(|p| p.exists());
    if found.is_none() {
        skipped(&format!("{name} is not installed"));
    }
    found
}

/// A Python with pynetdicom.
pub fn python() -> Option<PathBuf> {
    let python = local::python();
    let probe = Command::new(&python).args(["-c", "import pynetdicom, pydicom"]).stderr(Stdio::null()).status();
    if probe.is_ok_and(|s| s.success()) {
        return Some(python);
    }
    skipped(&format!("no Python with pynetdicom ({})", python.display()));
    None
}

/// A process that ends with the test.
pub struct Guard(pub Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn listening(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

/// dcmtk's storescp, which writes into `dir` exactly what it reads.
pub fn storescp(port: u16, dir: &Path) -> Option<Guard> {
    let tool = tool("storescp")?;
    std::fs::create_dir_all(dir).unwrap();
    let mut command = Command::new(tool);
    command.args(["+xa", "+B", "-aet", "STORESCP", "-od"]).arg(dir).arg(port.to_string());
    let child = command.env("TCP_NODELAY", "1").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let guard = Guard(child);
    wait_for("storescp listens", || listening(port));
    Some(guard)
}

/// A storage SCP of pynetdicom, which writes into `dir` exactly what it reads.
pub fn pynetdicom_scp(port: u16, dir: &Path) -> Option<Guard> {
    let python = python()?;
    std::fs::create_dir_all(dir).unwrap();
    let script = r#"
import sys
from pynetdicom import AE, evt, AllStoragePresentationContexts, ALL_TRANSFER_SYNTAXES
def store(event):
    path = "%s/%s.dcm" % (sys.argv[2], event.request.AffectedSOPInstanceUID)
    with open(path, "wb") as f:
        f.write(event.encoded_dataset(include_meta=False))
    return 0
ae = AE("PYSCP")
for context in AllStoragePresentationContexts:
    ae.add_supported_context(context.abstract_syntax, ALL_TRANSFER_SYNTAXES)
ae.start_server(("127.0.0.1", int(sys.argv[1])), evt_handlers=[(evt.EVT_C_STORE, store)])
"#;
    let child = Command::new(python).args(["-c", script, &port.to_string()]).arg(dir).spawn().unwrap();
    let guard = Guard(child);
    wait_for("pynetdicom listens", || listening(port));
    Some(guard)
}

/// Sends files with pynetdicom; (path, status) of each in order. Stops at the first that gets no answer.
pub fn pynetdicom_send(port: u16, files: &[PathBuf]) -> Option<Vec<(PathBuf, u16)>> {
    let python = python()?;
    let script = r#"
import sys
import time
from pydicom import dcmread
from pynetdicom import AE
files = sys.argv[2:]
ae = AE("PYSCU")
wanted = set()
for f in files:
    d = dcmread(f, stop_before_pixels=True)
    wanted.add((d.SOPClassUID, d.file_meta.TransferSyntaxUID))
for c, t in sorted(wanted):
    ae.add_requested_context(c, t)
assoc = ae.associate("127.0.0.1", int(sys.argv[1]), ae_title="RADROUTE")
assert assoc.is_established, "no association"
for f in files:
    # Its reactor may still be on its way to the pause that send_c_store believes it in, and then takes a quick response itself.
    time.sleep(0.02)
    answer = assoc.send_c_store(f)
    if "Status" not in answer:
        break
    print("%04x %s" % (answer.Status, f), flush=True)
if assoc.is_established:
    assoc.release()
"#;
    let output = Command::new(python).args(["-c", script, &port.to_string()]).args(files).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "pynetdicom: {}", String::from_utf8_lossy(&output.stderr));
    let line = |l: &str| (PathBuf::from(&l[5..]), u16::from_str_radix(&l[..4], 16).unwrap());
    Some(text.lines().map(line).collect())
}

/// dcmtk's dcmsend: files as they are, never decompressed.
pub fn dcmsend(port: u16, files: &[PathBuf]) -> Option<Output> {
    let mut command = Command::new(tool("dcmsend")?);
    command.args(["-v", "-dn", "-aet", "DCMSEND", "-aec", "RADROUTE", "127.0.0.1", &port.to_string()]).args(files);
    Some(command.env("TCP_NODELAY", "1").output().unwrap())
}

/// dcmtk's storescu, proposing the given transfer syntax option (such as `-xe`).
pub fn storescu(port: u16, option: &str, files: &[PathBuf]) -> Option<Output> {
    let mut command = Command::new(tool("storescu")?);
    command
        .args(["-v", "-R", option, "-aet", "STORESCU", "-aec", "RADROUTE", "127.0.0.1", &port.to_string()])
        .args(files);
    Some(command.env("TCP_NODELAY", "1").output().unwrap())
}

/// Orthanc with its REST interface.
pub struct Orthanc {
    _guard: Guard,
    pub port: u16,
    http: u16,
}

impl Orthanc {
    pub fn start(dir: &Path) -> Option<Orthanc> {
        let tool = tool("Orthanc")?;
        std::fs::create_dir_all(dir).unwrap();
        let (port, http) = (free_port(), free_port());
        let config = serde_json::json!({
            "Name": "test", "DicomAet": "ORTHANC", "DicomPort": port, "HttpPort": http,
            "StorageDirectory": dir.join("db"), "IndexDirectory": dir.join("db"), "Plugins": [],
            "RemoteAccessAllowed": false, "AuthenticationEnabled": false, "DicomAlwaysAllowStore": true,
            "DicomCheckCalledAet": false, "UnknownSopClassAccepted": true, "ConcurrentJobs": 1,
        });
        let file = dir.join("orthanc.json");
        std::fs::write(&file, config.to_string()).unwrap();
        let log = std::fs::File::create(dir.join("log")).unwrap();
        let mut command = Command::new(tool);
        command.arg(&file).stdout(log.try_clone().unwrap()).stderr(log).env("TCP_NODELAY", "1");
        let orthanc = Orthanc { _guard: Guard(command.spawn().unwrap()), port, http };
        wait_for("Orthanc listens", || listening(http) && listening(port));
        Some(orthanc)
    }

    fn get(&self, path: &str) -> Vec<u8> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.http)).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|w| w == b"\r\n\r\n").expect("an HTTP answer") + 4;
        let head = String::from_utf8_lossy(&answer[..end]).into_owned();
        assert!(head.lines().next().is_some_and(|l| l.contains(" 200 ")), "GET {path}: {head}");
        assert!(!head.to_lowercase().contains("transfer-encoding: chunked"), "{head}");
        answer.split_off(end)
    }

    /// The files of all stored instances.
    pub fn instances(&self) -> Vec<Vec<u8>> {
        let list: Vec<String> = serde_json::from_slice(&self.get("/instances")).unwrap();
        list.iter().map(|id| self.get(&format!("/instances/{id}/file"))).collect()
    }
}

/// What dciodvfy complains of in a file: errors and warnings, without what differs by nature from file to file.
pub fn dciodvfy(file: &Path) -> Option<Vec<String>> {
    Some(complaints(Command::new(tool("dciodvfy")?).arg(file)))
}

/// What dcentvfy complains of in a set of files.
pub fn dcentvfy(files: &[PathBuf]) -> Option<Vec<String>> {
    Some(complaints(Command::new(tool("dcentvfy")?).args(files)))
}

fn complaints(command: &mut Command) -> Vec<String> {
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let mut lines: Vec<String> =
        text.lines().filter(|l| l.starts_with("Error") || l.starts_with("Warning")).map(str::to_string).collect();
    lines.sort();
    lines
}

/// dcmdump reads the file without a complaint; its text.
pub fn dcmdump(file: &Path) -> Option<String> {
    let output = Command::new(tool("dcmdump")?).arg("+L").arg(file).output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !err.contains("E:") && !err.contains("W:"), "dcmdump {}: {err}", file.display());
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

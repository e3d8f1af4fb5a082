//! An archive that does as it is told: keeps every byte, counts every delivery, and can refuse, fail, wait or be gone.
#![allow(dead_code)]

use super::objects::{EXPLICIT, Object};
use super::wire::{PATIENCE, Pdu, ae, command, item, items, number, of_command, pdv, read_pdu, string, write_pdu};
use std::io::Result;
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// One C-STORE that was answered.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub uid: String,
    pub calling: String,
    pub transfer_syntax: String,
    pub dataset: Vec<u8>,
    pub status: u16,
    /// Which association of this archive brought it.
    pub association: usize,
}

impl Delivery {
    pub fn object(&self) -> Object {
        Object::parse(&self.dataset, &self.transfer_syntax).unwrap_or_else(|e| panic!("{}: {e}", self.uid))
    }
}

/// What the archive does; change it while it runs.
#[derive(Clone, Debug)]
pub struct Manner {
    /// Answers every C-STORE with this.
    pub status: u16,
    /// Before every answer.
    pub delay: Duration,
    /// Rejects associations: (result, source, reason).
    pub reject: Option<(u8, u8, u8)>,
    /// Transfer syntaxes that it takes; empty: the first proposed.
    pub takes: Vec<String>,
    /// Holds every answer back until it is set to false.
    pub gate: bool,
}

impl Default for Manner {
    fn default() -> Self {
        Manner { status: 0, delay: Duration::ZERO, reject: None, takes: Vec::new(), gate: false }
    }
}

#[derive(Default)]
struct Shared {
    manner: Mutex<Manner>,
    changed: Condvar,
    deliveries: Mutex<Vec<Delivery>>,
    associations: AtomicUsize,
    open: AtomicUsize,
    most_open: AtomicUsize,
    closed: AtomicBool,
}

/// A listening archive; gone when dropped.
pub struct Archive {
    pub port: u16,
    shared: Arc<Shared>,
}

impl Archive {
    pub fn start() -> Archive {
        Archive::on(0, Manner::default())
    }

    /// On a given port (0: any).
    pub fn on(port: u16, manner: Manner) -> Archive {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared { manner: Mutex::new(manner), ..Shared::default() });
        let archive = Archive { port, shared: shared.clone() };
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.closed.load(Ordering::SeqCst) {
                    break;
                }
                let (Ok(stream), shared) = (stream, shared.clone()) else { continue };
                std::thread::spawn(move || {
                    let open = shared.open.fetch_add(1, Ordering::SeqCst) + 1;
                    shared.most_open.fetch_max(open, Ordering::SeqCst);
                    let _ = serve(stream, &shared);
                    shared.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        archive
    }

    pub fn set(&self, change: impl FnOnce(&mut Manner)) {
        change(&mut self.shared.manner.lock().unwrap());
        self.shared.changed.notify_all();
    }

    /// Every C-STORE answered so far.
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.shared.deliveries.lock().unwrap().clone()
    }

    /// Those answered with success.
    pub fn stored(&self) -> Vec<Delivery> {
        self.deliveries().into_iter().filter(|d| d.status == 0).collect()
    }

    /// SOP Instance UIDs answered with success, sorted, without doubles.
    pub fn uids(&self) -> Vec<String> {
        let mut uids: Vec<String> = self.stored().into_iter().map(|d| d.uid).collect();
        uids.sort();
        uids.dedup();
        uids
    }

    pub fn associations(&self) -> usize {
        self.shared.associations.load(Ordering::SeqCst)
    }

    /// The most connections that were open at the same time.
    pub fn most_open(&self) -> usize {
        self.shared.most_open.load(Ordering::SeqCst)
    }
}

impl Drop for Archive {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        self.set(|m| m.gate = false);
        // Wakes the accepting thread, which then ends and closes the port.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn serve(mut stream: TcpStream, shared: &Shared) -> Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE * 4))?;
    let request = read_pdu(&mut stream)?;
    if request.kind != 1 || request.body.len() < 68 {
        return Ok(());
    }
    let association = shared.associations.fetch_add(1, Ordering::SeqCst) + 1;
    let manner = shared.manner.lock().unwrap().clone();
    if let Some((result, source, reason)) = manner.reject {
        return write_pdu(&mut stream, 3, &[0, result, source, reason]);
    }
    let calling = String::from_utf8_lossy(&request.body[20..36]).trim().to_string();
    let (answer, contexts) = accept(&request, &manner);
    write_pdu(&mut stream, 2, &answer)?;
    let (mut rq, mut dataset) = (Vec::new(), Vec::new());
    loop {
        let pdu = read_pdu(&mut stream)?;
        match pdu.kind {
            4 => {}
            5 => return write_pdu(&mut stream, 6, &[0; 4]),
            _ => return Ok(()),
        }
        let mut bytes = pdu.body.as_slice();
        while bytes.len() >= 6 {
            let length = u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize;
            let (context, flags, data) = (bytes[4], bytes[5], &bytes[6..4 + length]);
            bytes = &bytes[4 + length..];
            if flags & 1 == 1 {
                rq.extend(data)
            } else {
                dataset.extend(data)
            }
            let no_dataset = number(&rq, 0x0800) == Some(0x0101);
            if flags & 2 == 2 && (flags & 1 == 0 || no_dataset) {
                let syntax = contexts.iter().find(|(id, _)| *id == context).map(|(_, t)| t.clone()).unwrap_or_default();
                let (rq, dataset) = (std::mem::take(&mut rq), std::mem::take(&mut dataset));
                let status = if no_dataset {
                    0
                } else {
                    answer_store(
                        shared,
                        Delivery {
                            uid: string(&rq, 0x1000),
                            calling: calling.clone(),
                            transfer_syntax: syntax,
                            dataset,
                            status: 0,
                            association,
                        },
                    )
                };
                let kind = number(&rq, 0x0100).unwrap_or(0) | 0x8000;
                let response = command(&[
                    (0x0002, of_command(&rq, 0x0002).unwrap_or_default()),
                    (0x0100, kind.to_le_bytes().to_vec()),
                    (0x0120, of_command(&rq, 0x0110).unwrap_or_default()),
                    (0x0800, vec![1, 1]),
                    (0x0900, status.to_le_bytes().to_vec()),
                    (0x1000, of_command(&rq, 0x1000).unwrap_or_default()),
                ]);
                write_pdu(&mut stream, 4, &pdv(context, 3, &response))?;
            }
        }
    }
}

/// Waits as told, decides the status and keeps what came. It counts once it is here, whether or not the answer arrives.
fn answer_store(shared: &Shared, mut delivery: Delivery) -> u16 {
    let manner = shared.manner.lock().unwrap();
    let manner = shared.changed.wait_while(manner, |m| m.gate).unwrap().clone();
    std::thread::sleep(manner.delay);
    delivery.status = manner.status;
    shared.deliveries.lock().unwrap().push(delivery);
    manner.status
}

type Contexts = Vec<(u8, String)>;

fn accept(request: &Pdu, manner: &Manner) -> (Vec<u8>, Contexts) {
    let mut answer = vec![0, 1, 0, 0];
    answer.extend(&request.body[4..36]);
    answer.extend([0; 32]);
    answer.extend(item(0x10, b"1.2.840.10008.3.1.1.1"));
    let mut contexts = Vec::new();
    for (kind, body) in items(&request.body[68..]) {
        if kind != 0x20 {
            continue;
        }
        let proposed: Vec<String> = items(&body[4..])
            .into_iter()
            .filter(|(kind, _)| *kind == 0x40)
            .map(|(_, t)| String::from_utf8_lossy(&t).trim_end_matches('\0').to_string())
            .collect();
        let taken = proposed.iter().find(|t| manner.takes.is_empty() || manner.takes.contains(t));
        let mut context = vec![body[0], 0, if taken.is_some() { 0 } else { 4 }, 0];
        context.extend(item(0x40, taken.map_or(EXPLICIT, |t| t).as_bytes()));
        answer.extend(item(0x21, &context));
        contexts.extend(taken.map(|t| (body[0], t.clone())));
    }
    let mut user = item(0x51, &65_536u32.to_be_bytes());
    user.extend(item(0x52, b"1.2.826.0.1.3680043.10.2"));
    user.extend(item(0x55, b"TESTARCHIVE"));
    answer.extend(item(0x50, &user));
    debug_assert_eq!(ae("X").len(), 16);
    (answer, contexts)
}

//! The DICOM upper layer by hand: a modality that can misbehave in any way, and the reading that the test archive shares.
//!
//! Deliberately shares no code with radroute or dicom-rs.
#![allow(dead_code)]

use super::objects::{Object, SOP_CLASS, VERIFICATION, even};
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Long enough for anything on a busy machine, short enough that a hang fails the test.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The answer to A-ASSOCIATE-RQ when it is no acceptance.
#[derive(Debug, PartialEq, Eq)]
pub struct Rejected {
    pub result: u8,
    pub source: u8,
    pub reason: u8,
}

/// One PDU: its type and what follows the length.
pub struct Pdu {
    pub kind: u8,
    pub body: Vec<u8>,
}

pub fn write_pdu(stream: &mut TcpStream, kind: u8, body: &[u8]) -> Result<()> {
    let mut out = vec![kind, 0];
    out.extend((body.len() as u32).to_be_bytes());
    out.extend(body);
    stream.write_all(&out)
}

pub fn read_pdu(stream: &mut TcpStream) -> Result<Pdu> {
    let mut head = [0; 6];
    stream.read_exact(&mut head)?;
    let length = u32::from_be_bytes(head[2..6].try_into().unwrap()) as usize;
    if length > 64 << 20 {
        return Err(Error::new(ErrorKind::InvalidData, format!("a PDU of {length} bytes")));
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(Pdu { kind: head[0], body })
}

pub fn item(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![kind, 0];
    out.extend((body.len() as u16).to_be_bytes());
    out.extend(body);
    out
}

/// The items of a variable part: (type, body).
pub fn items(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut out = Vec::new();
    while bytes.len() >= 4 {
        let length = usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
        let Some(body) = bytes.get(4..4 + length) else { break };
        out.push((bytes[0], body.to_vec()));
        bytes = &bytes[4 + length..];
    }
    out
}

pub fn ae(title: &str) -> Vec<u8> {
    format!("{title:<16}").into_bytes()
}

/// A command set: group length first, Implicit VR Little Endian.
pub fn command(elements: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (element, value) in elements {
        body.extend([0, 0]);
        body.extend(element.to_le_bytes());
        body.extend((value.len() as u32).to_le_bytes());
        body.extend(value);
    }
    let mut out = vec![0, 0, 0, 0, 4, 0, 0, 0];
    out.extend((body.len() as u32).to_le_bytes());
    out.extend(body);
    out
}

/// The value of an element of a command set.
pub fn of_command(bytes: &[u8], element: u16) -> Option<Vec<u8>> {
    let mut at = 0;
    while at + 8 <= bytes.len() {
        let found = u16::from_le_bytes([bytes[at + 2], bytes[at + 3]]);
        let length = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().unwrap()) as usize;
        let value = bytes.get(at + 8..at + 8 + length)?;
        if found == element {
            return Some(value.to_vec());
        }
        at += 8 + length;
    }
    None
}

pub fn number(bytes: &[u8], element: u16) -> Option<u16> {
    of_command(bytes, element).and_then(|v| v.get(..2).map(|v| u16::from_le_bytes([v[0], v[1]])))
}

pub fn string(bytes: &[u8], element: u16) -> String {
    of_command(bytes, element)
        .map(|v| String::from_utf8_lossy(&v).trim_end_matches(['\0', ' ']).to_string())
        .unwrap_or_default()
}

/// One PDV in a P-DATA PDU of its own.
pub fn pdv(context: u8, flags: u8, data: &[u8]) -> Vec<u8> {
    let mut out = ((data.len() + 2) as u32).to_be_bytes().to_vec();
    out.extend([context, flags]);
    out.extend(data);
    out
}

/// A modality.
pub struct Modality {
    pub stream: TcpStream,
    /// (id, abstract syntax, transfer syntax) of the accepted presentation contexts.
    pub accepted: Vec<(u8, String, String)>,
    pub max_pdu: usize,
    next_message: u16,
}

impl Modality {
    /// Associates with `contexts` (abstract syntax, transfer syntax), one presentation context each.
    pub fn associate(
        port: u16,
        calling: &str,
        called: &str,
        contexts: &[(&str, &str)],
    ) -> Result<std::result::Result<Modality, Rejected>> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        write_pdu(&mut stream, 1, &associate_rq(calling, called, contexts))?;
        let answer = read_pdu(&mut stream)?;
        match answer.kind {
            2 => {}
            3 => return Ok(Err(Rejected { result: answer.body[1], source: answer.body[2], reason: answer.body[3] })),
            other => {
                return Err(Error::new(ErrorKind::InvalidData, format!("PDU {other} in answer to A-ASSOCIATE-RQ")));
            }
        }
        let (mut accepted, mut max_pdu) = (Vec::new(), 16384);
        for (kind, body) in items(&answer.body[68..]) {
            if kind == 0x21 && body[2] == 0 {
                let index = usize::from(body[0] / 2);
                let syntax = items(&body[4..]).remove(0).1;
                accepted.push((
                    body[0],
                    contexts[index].0.to_string(),
                    String::from_utf8_lossy(&syntax).trim_end_matches('\0').to_string(),
                ));
            } else if kind == 0x50 {
                for (kind, body) in items(&body) {
                    if kind == 0x51 {
                        max_pdu = u32::from_be_bytes(body[..4].try_into().unwrap()) as usize;
                    }
                }
            }
        }
        let max_pdu = if max_pdu == 0 { 131_072 } else { max_pdu };
        Ok(Ok(Modality { stream, accepted, max_pdu, next_message: 1 }))
    }

    /// The same, for what has to be accepted.
    pub fn connect(port: u16, calling: &str, contexts: &[(&str, &str)]) -> Result<Modality> {
        Modality::associate(port, calling, "RADROUTE", contexts)?
            .map_err(|r| Error::new(ErrorKind::ConnectionRefused, format!("{r:?}")))
    }

    /// Ready for one object.
    pub fn for_object(port: u16, calling: &str, object: &Object) -> Result<Modality> {
        Modality::connect(port, calling, &[(&object.text(SOP_CLASS), &object.transfer_syntax)])
    }

    pub fn context(&self, sop_class: &str, transfer_syntax: &str) -> u8 {
        let found = self.accepted.iter().find(|(_, a, t)| a == sop_class && t == transfer_syntax);
        found.unwrap_or_else(|| panic!("no context for {sop_class} in {transfer_syntax}: {:?}", self.accepted)).0
    }

    pub fn store_command(&mut self, sop_class: &str, uid: &str) -> Vec<u8> {
        let message = self.next_message;
        self.next_message += 1;
        command(&[
            (0x0002, even(sop_class.as_bytes(), 0)),
            (0x0100, vec![1, 0]),
            (0x0110, message.to_le_bytes().to_vec()),
            (0x0700, vec![0, 0]),
            (0x0800, vec![1, 0]),
            (0x1000, even(uid.as_bytes(), 0)),
        ])
    }

    /// C-STORE; the status.
    pub fn store(&mut self, object: &Object) -> Result<u16> {
        let (sop_class, uid) = (object.text(SOP_CLASS), object.uid());
        let context = self.context(&sop_class, &object.transfer_syntax);
        self.store_as(context, &sop_class, &uid, &object.dataset())
    }

    /// C-STORE of any bytes under any name; the status.
    pub fn store_as(&mut self, context: u8, sop_class: &str, uid: &str, dataset: &[u8]) -> Result<u16> {
        let command = self.store_command(sop_class, uid);
        write_pdu(&mut self.stream, 4, &pdv(context, 3, &command))?;
        let chunk = (self.max_pdu - 6).min(65_536) & !1;
        let mut rest = dataset;
        loop {
            let (now, later) = rest.split_at(rest.len().min(chunk));
            write_pdu(&mut self.stream, 4, &pdv(context, if later.is_empty() { 2 } else { 0 }, now))?;
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        self.status()
    }

    /// The status of the next response.
    pub fn status(&mut self) -> Result<u16> {
        let response = self.response()?;
        number(&response, 0x0900).ok_or_else(|| Error::new(ErrorKind::InvalidData, "a response without a status"))
    }

    /// The command set of the next response.
    pub fn response(&mut self) -> Result<Vec<u8>> {
        let mut command = Vec::new();
        loop {
            let pdu = read_pdu(&mut self.stream)?;
            if pdu.kind != 4 {
                return Err(Error::new(
                    ErrorKind::ConnectionAborted,
                    format!("PDU {} instead of a response", pdu.kind),
                ));
            }
            let mut bytes = pdu.body.as_slice();
            while bytes.len() >= 6 {
                let length = u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize;
                command.extend(&bytes[6..4 + length]);
                if bytes[5] & 3 == 3 {
                    return Ok(command);
                }
                bytes = &bytes[4 + length..];
            }
        }
    }

    /// C-ECHO under the given message identifier; (message identifier being responded to, status).
    pub fn echo(&mut self, message: u16) -> Result<(u16, u16)> {
        let context = self.accepted.iter().find(|(_, a, _)| a == VERIFICATION).expect("Verification accepted").0;
        let echo = command(&[
            (0x0002, even(VERIFICATION.as_bytes(), 0)),
            (0x0100, vec![0x30, 0]),
            (0x0110, message.to_le_bytes().to_vec()),
            (0x0800, vec![1, 1]),
        ]);
        write_pdu(&mut self.stream, 4, &pdv(context, 3, &echo))?;
        let response = self.response()?;
        assert_eq!(number(&response, 0x0100), Some(0x8030), "a C-ECHO-RSP");
        Ok((number(&response, 0x0120).unwrap(), number(&response, 0x0900).unwrap()))
    }

    /// A-RELEASE, waiting for the answer.
    pub fn release(mut self) -> Result<()> {
        write_pdu(&mut self.stream, 5, &[0; 4])?;
        let answer = read_pdu(&mut self.stream)?;
        if answer.kind == 6 {
            Ok(())
        } else {
            Err(Error::new(ErrorKind::InvalidData, format!("PDU {} in answer to A-RELEASE-RQ", answer.kind)))
        }
    }

    /// Waits until the other side has closed or aborted; fails if it does neither for a long time.
    pub fn wait_closed(mut self) -> Result<()> {
        loop {
            match read_pdu(&mut self.stream) {
                Ok(pdu) if pdu.kind == 7 => return Ok(()),
                Ok(_) => {}
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Err(e),
                Err(_) => return Ok(()),
            }
        }
    }
}

/// Sends objects over one association and releases it; the statuses.
pub fn send(port: u16, calling: &str, objects: &[Object]) -> Result<Vec<u16>> {
    let mut contexts: Vec<(String, String)> =
        objects.iter().map(|o| (o.text(SOP_CLASS), o.transfer_syntax.clone())).collect();
    contexts.sort();
    contexts.dedup();
    let contexts: Vec<(&str, &str)> = contexts.iter().map(|(a, t)| (a.as_str(), t.as_str())).collect();
    let mut modality = Modality::connect(port, calling, &contexts)?;
    let statuses = objects.iter().map(|o| modality.store(o)).collect::<Result<Vec<u16>>>()?;
    modality.release()?;
    Ok(statuses)
}

/// The body of an A-ASSOCIATE-RQ.
pub fn associate_rq(calling: &str, called: &str, contexts: &[(&str, &str)]) -> Vec<u8> {
    let mut body = vec![0, 1, 0, 0];
    body.extend(ae(called));
    body.extend(ae(calling));
    body.extend([0; 32]);
    body.extend(item(0x10, b"1.2.840.10008.3.1.1.1"));
    for (i, (abstract_syntax, transfer_syntax)) in contexts.iter().enumerate() {
        let mut context = vec![2 * i as u8 + 1, 0, 0, 0];
        context.extend(item(0x30, abstract_syntax.as_bytes()));
        context.extend(item(0x40, transfer_syntax.as_bytes()));
        body.extend(item(0x20, &context));
    }
    let mut user = item(0x51, &131_072u32.to_be_bytes());
    user.extend(item(0x52, b"1.2.826.0.1.3680043.10.1"));
    user.extend(item(0x55, b"TEST"));
    body.extend(item(0x50, &user));
    body
}

//! PDUs on a byte stream, within their time: reading into one buffer that is used again and again, writing in one call.

use dicom_ul::pdu::{AbortRQServiceProviderReason as Reason, AbortRQSource, Pdu, write_pdu};
use std::io;
use std::ops::Range;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};

/// PDU types (PS3.8 section 9.3).
#[allow(missing_docs)]
pub mod pdu_type {
    pub const ASSOCIATE_RQ: u8 = 0x01;
    pub const P_DATA: u8 = 0x04;
    pub const RELEASE_RQ: u8 = 0x05;
    pub const RELEASE_RP: u8 = 0x06;
    pub const ABORT: u8 = 0x07;
}

/// PDU type, reserved byte, length.
const HEADER: usize = 6;
/// The buffer at first: room for every A-ASSOCIATE-RQ that is usual.
const FIRST: usize = 16 * 1024;
/// The longest A-ASSOCIATE-RQ body: 128 presentation contexts, each with all transfer syntaxes there are, have 300 KB.
const MAX_ASSOCIATE: usize = 512 * 1024;
/// The longest body of the PDUs whose length the standard fixes at 4; some senders add to them.
const MAX_SMALL: usize = 1024;
/// What a P-DATA-TF body may have beyond the length we announced: some senders do not count a PDV's header.
const SLACK: usize = 64;

/// Why there is no next PDU, or why one could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The peer closed the connection between two PDUs.
    #[error("the peer closed the connection")]
    Closed,
    /// The peer closed the connection within a PDU.
    #[error("the peer closed the connection within a PDU")]
    Cut,
    /// Nothing came in time.
    #[error("nothing came for {} s", .0.as_secs())]
    Idle(Duration),
    /// A PDU began and did not end in time.
    #[error("a PDU took longer than {} s to arrive", .0.as_secs())]
    Slow(Duration),
    /// The peer does not read what we write.
    #[error("the peer did not take our answer within {} s", .0.as_secs())]
    NotTaken(Duration),
    /// A PDU longer than allowed.
    #[error("a PDU of type {pdu_type:02X} with {length} bytes, where at most {most} are allowed")]
    TooLong {
        /// PDU type.
        pdu_type: u8,
        /// Its length field.
        length: usize,
        /// What is allowed.
        most: usize,
    },
    /// A PDU of no known type.
    #[error("a PDU of unknown type {0:02X}")]
    Unknown(u8),
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
}

/// Reads PDUs. Reading may be cancelled at any await and taken up again.
#[derive(Debug)]
pub struct PduReader<R> {
    from: R,
    buffer: Vec<u8>,
    /// What is in the buffer and not yet given out.
    filled: Range<usize>,
    /// The PDU given out last: gone when the next is asked for.
    given: usize,
    /// When the PDU that is arriving began.
    began: Option<Instant>,
    max_pdu: usize,
}

impl<R: AsyncRead + Unpin> PduReader<R> {
    /// `max_pdu`: the longest P-DATA-TF body that we announce.
    pub fn new(from: R, max_pdu: u32) -> PduReader<R> {
        let max_pdu = usize::try_from(max_pdu).unwrap_or(usize::MAX);
        PduReader { from, buffer: vec![0; FIRST], filled: 0..0, given: 0, began: None, max_pdu }
    }

    /// Makes room for several P-DATA-TF PDUs in one read: called once the association stands.
    pub fn widen(&mut self) {
        let whole = self.max_pdu + SLACK + HEADER;
        self.buffer.resize(self.buffer.len().max((2 * whole).min(512 * 1024)).max(whole), 0);
    }

    /// The next PDU: its type and its body. Waits until `idle_until` for its first byte (`idle` is for the error alone) and
    /// `pdu` from there for its last.
    ///
    /// # Errors
    /// Any [`WireError`] about reading.
    pub async fn next(&mut self, idle_until: Instant, idle: Duration, pdu: Duration) -> Result<(u8, &[u8]), WireError> {
        self.filled.start += std::mem::take(&mut self.given);
        loop {
            let have = self.filled.len();
            let missing = self.missing()?;
            if missing == 0 {
                break;
            }
            self.make_room(have + missing);
            let until = match self.began {
                Some(began) => began + pdu,
                None if have == 0 => idle_until,
                None => *self.began.insert(Instant::now()) + pdu,
            };
            // A byte now and then would always be there in time; a first one that came after the last look at the clock still counts.
            if self.began.is_some() && until <= Instant::now() {
                return Err(WireError::Slow(pdu));
            }
            let read = timeout_at(until, self.from.read(&mut self.buffer[self.filled.end..])).await;
            match read {
                Err(_) if self.began.is_some() => return Err(WireError::Slow(pdu)),
                Err(_) => return Err(WireError::Idle(idle)),
                Ok(Err(error)) => return Err(error.into()),
                Ok(Ok(0)) if have == 0 => return Err(WireError::Closed),
                Ok(Ok(0)) => return Err(WireError::Cut),
                Ok(Ok(n)) => {
                    self.began.get_or_insert_with(Instant::now);
                    self.filled.end += n;
                }
            }
        }
        self.began = None;
        let pdu = &self.buffer[self.filled.clone()];
        let length = body_length(pdu).unwrap_or(0);
        self.given = HEADER + length;
        Ok((pdu[0], &pdu[HEADER..HEADER + length]))
    }

    /// How many bytes of the next PDU are missing at least; 0: it is whole.
    fn missing(&self) -> Result<usize, WireError> {
        let pdu = &self.buffer[self.filled.clone()];
        let Some(length) = body_length(pdu) else { return Ok(HEADER - pdu.len()) };
        let most = match pdu[0] {
            pdu_type::P_DATA => self.max_pdu + SLACK,
            0x01 | 0x02 => MAX_ASSOCIATE,
            0x03 | 0x05..=0x07 => MAX_SMALL,
            unknown => return Err(WireError::Unknown(unknown)),
        };
        if length > most {
            return Err(WireError::TooLong { pdu_type: pdu[0], length, most });
        }
        Ok((HEADER + length).saturating_sub(pdu.len()))
    }

    /// Room for `whole` bytes from the first that is not yet given out, and for reading on.
    fn make_room(&mut self, whole: usize) {
        if self.filled.is_empty() {
            self.filled = 0..0;
        }
        if self.filled.start + whole > self.buffer.len() {
            self.buffer.copy_within(self.filled.clone(), 0);
            self.filled = 0..self.filled.len();
            if whole > self.buffer.len() {
                self.buffer.resize(whole, 0);
            }
        }
    }

    /// Reads and throws away what comes until the peer closes, at most until `until`: a socket closed with bytes unread
    /// would take our last PDU with it.
    pub async fn linger(&mut self, until: Instant) {
        while Instant::now() < until
            && let Ok(Ok(1..)) = timeout_at(until, self.from.read(&mut self.buffer)).await
        {}
    }
}

/// The body's length, once the header is here.
fn body_length(pdu: &[u8]) -> Option<usize> {
    let header = pdu.first_chunk::<HEADER>()?;
    usize::try_from(u32::from_be_bytes([header[2], header[3], header[4], header[5]])).ok()
}

/// Writes `bytes` (whole PDUs) in one call.
///
/// # Errors
/// [`WireError::NotTaken`] after `within`, [`WireError::Io`].
pub async fn write(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8], within: Duration) -> Result<(), WireError> {
    match timeout(within, async {
        to.write_all(bytes).await?;
        to.flush().await
    })
    .await
    {
        Ok(done) => Ok(done?),
        Err(_) => Err(WireError::NotTaken(within)),
    }
}

/// The bytes of a PDU.
///
/// # Errors
/// Values that the PDU cannot hold.
pub fn encode(pdu: &Pdu) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    write_pdu(&mut bytes, pdu).map_err(io::Error::other)?;
    Ok(bytes)
}

/// The bytes of an A-ABORT PDU of the service provider.
pub fn abort(reason: Reason) -> Vec<u8> {
    // type, reserved, length 4; two reserved, source 2 (service provider), reason: PS3.8 table 9-26
    let reason = match reason {
        Reason::ReasonNotSpecified => 0,
        Reason::UnrecognizedPdu => 1,
        Reason::UnexpectedPdu => 2,
        Reason::Reserved => 3,
        Reason::UnrecognizedPduParameter => 4,
        Reason::UnexpectedPduParameter => 5,
        Reason::InvalidPduParameter => 6,
    };
    vec![pdu_type::ABORT, 0, 0, 0, 0, 4, 0, 0, 2, reason]
}

/// Who aborted and why, from the body of an A-ABORT PDU.
pub fn read_abort(body: &[u8]) -> AbortRQSource {
    match body {
        [_, _, 0, ..] => AbortRQSource::ServiceUser,
        [_, _, 2, reason, ..] => AbortRQSource::ServiceProvider(match reason {
            1 => Reason::UnrecognizedPdu,
            2 => Reason::UnexpectedPdu,
            4 => Reason::UnrecognizedPduParameter,
            5 => Reason::UnexpectedPduParameter,
            6 => Reason::InvalidPduParameter,
            _ => Reason::ReasonNotSpecified,
        }),
        _ => AbortRQSource::Reserved,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::duplex;

    const LONG: Duration = Duration::from_secs(100);

    fn p_data(length: usize) -> Vec<u8> {
        let mut pdu = vec![4, 0];
        pdu.extend_from_slice(&(length as u32).to_be_bytes());
        pdu.extend((0..length).map(|n| n as u8));
        pdu
    }

    async fn all(reader: &mut PduReader<impl AsyncRead + Unpin>) -> (Vec<(u8, Vec<u8>)>, WireError) {
        let mut pdus = Vec::new();
        loop {
            match reader.next(Instant::now() + LONG, LONG, LONG).await {
                Ok((kind, body)) => pdus.push((kind, body.to_vec())),
                Err(error) => return (pdus, error),
            }
        }
    }

    #[tokio::test]
    async fn pdus_come_out_whole_however_they_are_cut() {
        let lengths = [0, 1, 4096, 3, 4096 + SLACK, 20, 4000, 17];
        let bytes: Vec<u8> = lengths.iter().flat_map(|&n| p_data(n)).collect();
        for piece in [1, 5, 6, 7, 1000, 100_000] {
            let (ours, mut theirs) = duplex(piece);
            let sent = bytes.clone();
            tokio::spawn(async move { theirs.write_all(&sent).await.unwrap() });
            let mut reader = PduReader::new(ours, 4096);
            if piece > 6 {
                reader.widen();
            }
            let (pdus, end) = all(&mut reader).await;
            assert!(matches!(end, WireError::Closed), "{end}");
            assert_eq!(pdus, lengths.map(|n| (4, p_data(n)[6..].to_vec())));
        }
    }

    #[tokio::test]
    async fn what_is_too_long_or_unknown_is_refused_from_its_header() {
        for (header, unknown) in [
            ([4, 0, 0, 0, 0x11, 0], false),
            ([4, 0, 0xFF, 0xFF, 0xFF, 0xFF], false),
            ([1, 0, 0, 0x10, 0, 0], false),
            ([5, 0, 0x7F, 0xFF, 0xFF, 0xFF], false),
            ([0, 0, 0, 0, 0, 0], true),
            ([b'G', b'E', b'T', b' ', b'/', b' '], true),
        ] {
            let (ours, mut theirs) = duplex(100);
            theirs.write_all(&header).await.unwrap();
            let mut reader = PduReader::new(ours, 4096);
            let (pdus, error) = all(&mut reader).await;
            assert!(pdus.is_empty());
            assert!(if unknown {
                matches!(error, WireError::Unknown(_))
            } else {
                matches!(error, WireError::TooLong { .. })
            });
            assert!(reader.buffer.len() <= FIRST, "nothing is reserved on the peer's word");
        }
    }

    #[tokio::test]
    async fn idle_and_slow_peers_are_told_apart() {
        let (ours, mut theirs) = duplex(100);
        let mut reader = PduReader::new(ours, 4096);
        let short = Duration::from_millis(20);
        let error = reader.next(Instant::now() + short, short, LONG).await.unwrap_err();
        assert!(matches!(error, WireError::Idle(_)));
        // a PDU of 4096 bytes
        theirs.write_all(&[4, 0, 0, 0, 16, 0]).await.unwrap();
        // a byte every now and then does not put the end off
        tokio::spawn(async move {
            while theirs.write_all(&[0]).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        let error = reader.next(Instant::now() + LONG, LONG, Duration::from_millis(40)).await.unwrap_err();
        assert!(matches!(error, WireError::Slow(_)), "{error}");
    }

    #[tokio::test]
    async fn a_connection_closed_within_a_pdu_is_cut() {
        let (ours, mut theirs) = duplex(100);
        theirs.write_all(&[5, 0, 0, 0, 0, 4, 0]).await.unwrap();
        drop(theirs);
        let (_, error) = all(&mut PduReader::new(ours, 4096)).await;
        assert!(matches!(error, WireError::Cut));
    }

    #[tokio::test]
    async fn a_peer_that_does_not_read_is_given_up() {
        let (mut ours, _theirs) = duplex(10);
        let error = write(&mut ours, &[0; 100], Duration::from_millis(20)).await.unwrap_err();
        assert!(matches!(error, WireError::NotTaken(_)));
    }

    #[test]
    fn aborts_are_those_of_dicom_ul() {
        for reason in
            [Reason::ReasonNotSpecified, Reason::UnrecognizedPdu, Reason::UnexpectedPdu, Reason::InvalidPduParameter]
        {
            let source = AbortRQSource::ServiceProvider(reason.clone());
            let bytes = abort(reason);
            assert_eq!(bytes, encode(&Pdu::AbortRQ { source: source.clone() }).unwrap());
            assert_eq!(read_abort(&bytes[6..]), source);
        }
        assert_eq!(read_abort(&[]), AbortRQSource::Reserved);
    }
}

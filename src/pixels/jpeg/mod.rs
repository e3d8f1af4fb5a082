//! The processes of JPEG (ITU-T T.81) that no kept library reads, or none reads fast; one component.
//!
//! ```text
//! head        markers before the scan: frame, tables, restarts
//! table       Huffman tables as look-ups
//! bits        entropy-coded bits: stuffing and restarts out, codes read
//! lossless    process 14: a line of samples at a time
//! sequential  processes 1, 2 and 4 (8 or 12 bits): a row of blocks at a time, no finer than wanted
//! write       bits for images to measure and to test with
//! ```

mod bits;
mod head;
pub mod lossless;
pub mod sequential;
mod table;
pub(super) mod write;

/// Why there are no samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JpegError {
    /// A stream of a form that the decoder does not read.
    #[error("a JPEG stream of another form: {0}")]
    Other(&'static str),
    /// A stream that contradicts the standard or itself.
    #[error("its JPEG stream is damaged: {0}")]
    Broken(&'static str),
}

impl From<JpegError> for std::io::Error {
    fn from(e: JpegError) -> std::io::Error {
        std::io::Error::new(std::io::ErrorKind::InvalidData, e)
    }
}

/// Decoded bytes, given out as they are asked for.
#[derive(Default)]
struct Pieces {
    bytes: Vec<u8>,
    given: usize,
}

impl Pieces {
    /// How many were copied; `more` decodes the next ones into a buffer that is used again, and leaves it empty after the last.
    fn give(
        &mut self,
        into: &mut [u8],
        more: impl FnOnce(&mut Vec<u8>) -> Result<(), JpegError>,
    ) -> Result<usize, JpegError> {
        if self.given == self.bytes.len() {
            self.given = 0;
            self.bytes.clear();
            if let Err(error) = more(&mut self.bytes) {
                self.bytes.clear();
                return Err(error);
            }
        }
        let n = into.len().min(self.bytes.len() - self.given);
        into[..n].copy_from_slice(&self.bytes[self.given..self.given + n]);
        self.given += n;
        Ok(n)
    }
}

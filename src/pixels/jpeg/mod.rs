//! The processes of JPEG (ITU-T T.81) that no kept library reads, or none reads fast; one component.
//!
//! ```text
//! head        markers before the scan: frame, tables, restarts
//! table       Huffman tables as look-ups
//! bits        entropy-coded bits: stuffing and restarts out, codes read
//! lossless    process 14: a line of samples at a time
//! sequential  processes 1, 2 and 4 (8 or 12 bits): a row of blocks at a time, no finer than wanted
//! ```

mod bits;
mod head;
pub mod lossless;
pub mod sequential;
mod table;

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

//! Another form of an instance for a destination that refuses its transfer syntax: native Explicit or Implicit VR Little
//! Endian, with the same UIDs and the same pixel values.
//!
//! No object is built and no text is decoded: `recode` copies every value's bytes and writes other headers around them,
//! so that nothing is lost to a character set or to a value that breaks its VR. `native` decodes compressed
//! pixel data, with dicom-rs' codecs where they read it, which are told the truth about the image first. What is not certain to come out right
//! is refused: the instance then is a dead letter that says why.

mod native;
mod recode;

use super::contexts::{EXPLICIT_VR_LE, IMPLICIT_VR_LE};
use super::sender::Item;
use crate::dataset::Encoding;
use flate2::read::DeflateDecoder;
use std::io::{self, Read};
use tokio::sync::Semaphore;

/// The largest data set that is decoded, bytes: it is held in memory.
pub const MOST_ENCODED: u64 = 256 << 20;
/// The largest that may come out, bytes.
pub const MOST_DECODED: u64 = 512 << 20;

/// How many are decoded at a time in the whole process.
static AT_A_TIME: Semaphore = Semaphore::const_new(2);

/// Why an instance cannot take another form.
#[derive(Debug, thiserror::Error)]
pub enum TranscodeError {
    /// Its file cannot be read.
    #[error("the file cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It will never work.
    #[error("{0}")]
    Cannot(String),
}

fn cannot(why: impl Into<String>) -> TranscodeError {
    TranscodeError::Cannot(why.into())
}

/// The data set of `item`, overlay applied, in the native transfer syntax `to` ([`EXPLICIT_VR_LE`] or [`IMPLICIT_VR_LE`]).
/// Works off the async threads; a decoder that panics on hostile data is an error like any other.
///
/// # Errors
/// [`TranscodeError`]
pub async fn native(item: Item, to: &'static str) -> Result<Vec<u8>, TranscodeError> {
    let _permit = AT_A_TIME.acquire().await.map_err(|e| TranscodeError::Io(io::Error::other(e)))?;
    let from = item.need.transfer_syntax.clone();
    let work = tokio::task::spawn_blocking(move || {
        let mut data = Vec::new();
        item.open()?.take(MOST_ENCODED + 1).read_to_end(&mut data)?;
        convert(data, &from, to)
    });
    work.await
        .unwrap_or_else(|e| Err(cannot(if e.is_panic() { "the decoder failed on its pixel data" } else { "stopped" })))
}

/// A whole data set from one transfer syntax to a native one.
///
/// # Errors
/// [`TranscodeError::Cannot`]
pub fn convert(mut data: Vec<u8>, from: &str, to: &str) -> Result<Vec<u8>, TranscodeError> {
    if data.len() as u64 > MOST_ENCODED {
        return Err(cannot(format!("it has more than {MOST_ENCODED} bytes, too many to decode in memory")));
    }
    let explicit = match to {
        EXPLICIT_VR_LE => true,
        IMPLICIT_VR_LE => false,
        _ => return Err(cannot("only the uncompressed little endian transfer syntaxes are written")),
    };
    if !native::known(from) {
        return Err(cannot("this transfer syntax is not decoded here"));
    }
    let encoding = Encoding::of(from);
    if encoding.deflated {
        let mut inflated = Vec::new();
        let packed = std::mem::take(&mut data);
        DeflateDecoder::new(packed.as_slice())
            .take(MOST_DECODED + 1)
            .read_to_end(&mut inflated)
            .map_err(|e| cannot(format!("the deflated data set is damaged: {e}")))?;
        if inflated.len() as u64 > MOST_DECODED {
            return Err(cannot(format!("it inflates to more than {MOST_DECODED} bytes")));
        }
        data = inflated;
    }
    let codec = encoding.encapsulated.then_some(from);
    recode::recode(&data, encoding.form, explicit, codec)
}

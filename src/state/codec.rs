//! The one encoding of what travels through the log: a version byte, then bincode's standard configuration.
//! Decoding is bounded and takes every byte, so that neither a long nor a cut entry passes for another one.

use bincode::config::{self, Configuration, Limit, LittleEndian, Varint};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::limits::MAX_ENTRY_BYTES;

/// The version that this binary writes. A reader refuses any other.
pub const VERSION: u8 = 1;

/// Why bytes are not a value.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("empty: not even a version byte")]
    Empty,
    #[error("written in version {found}, this binary reads version {VERSION}: run the release that wrote it")]
    Version { found: u8 },
    #[error("{length} bytes, more than the {MAX_ENTRY_BYTES} allowed")]
    TooLong { length: usize },
    #[error("{count} bytes too many")]
    Trailing { count: usize },
    #[error("does not decode: {0}")]
    Decode(#[from] bincode::error::DecodeError),
    #[error("does not encode: {0}")]
    Encode(#[from] bincode::error::EncodeError),
}

/// What decoding may claim. bincode charges a small integer as eight bytes though it takes one, so a bound equal to the
/// length would refuse entries that were written; this one cannot.
const MAX_CLAIMED_BYTES: usize = 16 * MAX_ENTRY_BYTES;

fn configuration() -> Configuration<LittleEndian, Varint, Limit<MAX_CLAIMED_BYTES>> {
    config::standard().with_limit::<MAX_CLAIMED_BYTES>()
}

/// Encodes `value`; refuses what [`decode`] would refuse.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![VERSION];
    bincode::serde::encode_into_std_write(value, &mut bytes, configuration())?;
    match bytes.len() {
        length if length > MAX_ENTRY_BYTES => Err(Error::TooLong { length }),
        _ => Ok(bytes),
    }
}

fn body(bytes: &[u8]) -> Result<&[u8], Error> {
    if bytes.len() > MAX_ENTRY_BYTES {
        return Err(Error::TooLong { length: bytes.len() });
    }
    match bytes.split_first() {
        None => Err(Error::Empty),
        Some((&VERSION, body)) => Ok(body),
        Some((&found, _)) => Err(Error::Version { found }),
    }
}

/// Decodes what stands first, and returns the bytes behind it.
pub fn decode_front<'b, T: Deserialize<'b>>(bytes: &'b [u8]) -> Result<(T, &'b [u8]), Error> {
    let body = body(bytes)?;
    let (value, taken) = bincode::serde::borrow_decode_from_slice(body, configuration())?;
    Ok((value, body.get(taken..).unwrap_or_default()))
}

/// Decodes what [`encode`] wrote.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    let body = body(bytes)?;
    let (value, taken) = bincode::serde::decode_from_slice(body, configuration())?;
    match body.len().saturating_sub(taken) {
        0 => Ok(value),
        count => Err(Error::Trailing { count }),
    }
}

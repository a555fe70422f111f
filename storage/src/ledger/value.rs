//! Values are a version byte, a checksum and JSON: small, readable, and able to change. The
//! checksum is there because the engine compares its own only after a crash.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::LedgerError;

const VERSION: u8 = 2;
/// Without a checksum.
const VERSION_1: u8 = 1;

pub(super) fn to_bytes<T: Serialize>(value: &T) -> Result<Vec<u8>, LedgerError> {
    let text = serde_json::to_vec(value)
        .map_err(|source| LedgerError::Value { key: String::new(), source })?;
    let mut bytes = vec![VERSION];
    bytes.extend_from_slice(&crc32c::crc32c(&text).to_le_bytes());
    bytes.extend_from_slice(&text);
    Ok(bytes)
}

pub(super) fn from_bytes<T: DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<T, LedgerError> {
    let (version, rest) = bytes.split_first().unwrap_or((&0, &[]));
    let text = match *version {
        VERSION => match rest.split_first_chunk() {
            Some((sum, text)) if u32::from_le_bytes(*sum) == crc32c::crc32c(text) => text,
            Some(_) | None => return Err(LedgerError::Damaged { key: key.to_owned() }),
        },
        VERSION_1 => rest,
        version => {
            let (key, known) = (key.to_owned(), VERSION);
            return Err(LedgerError::Version { key, version, known });
        }
    };
    serde_json::from_slice(text)
        .map_err(|source| LedgerError::Value { key: key.to_owned(), source })
}

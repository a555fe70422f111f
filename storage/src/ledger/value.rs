//! Values are a version byte and JSON: small, readable, and able to change.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::LedgerError;

const VERSION: u8 = 1;

pub(super) fn to_bytes<T: Serialize>(value: &T) -> Result<Vec<u8>, LedgerError> {
    let mut bytes = vec![VERSION];
    serde_json::to_writer(&mut bytes, value)
        .map_err(|source| LedgerError::Value { key: String::new(), source })?;
    Ok(bytes)
}

pub(super) fn from_bytes<T: DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<T, LedgerError> {
    let (version, text) = bytes.split_first().unwrap_or((&0, &[]));
    if *version != VERSION {
        let (key, known) = (key.to_owned(), VERSION);
        return Err(LedgerError::Version { key, version: *version, known });
    }
    serde_json::from_slice(text)
        .map_err(|source| LedgerError::Value { key: key.to_owned(), source })
}

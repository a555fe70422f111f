//! What each key of a provider has been used for, in buckets of time.

use std::collections::BTreeMap;

use redb::{ReadableTable, TableDefinition};

use super::value::{from_bytes, to_bytes};
use super::{Ledger, LedgerError};

/// By key, and the first second of the bucket.
pub(super) const USAGE: TableDefinition<'_, (&str, u64), &[u8]> = TableDefinition::new("usage");

/// What one key was used for in one bucket of time.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Usage {
    /// Units of its quota that may be spent by now: never less than were.
    pub units: u64,
    /// Calls by method and outcome.
    pub calls: BTreeMap<String, BTreeMap<String, u64>>,
    /// The last call, seconds since 1970-01-01 UTC.
    pub last: u64,
}

/// Usage of a key in the bucket that begins at a second.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyUsage {
    /// The key's name, never its value.
    pub key: String,
    /// The first second of the bucket.
    pub start: u64,
    /// What it was used for.
    pub usage: Usage,
}

impl Ledger {
    /// Stores what a key may have been used for: before it is.
    pub fn set_usage(&self, row: &KeyUsage) -> Result<(), LedgerError> {
        self.write(|transaction| {
            let mut table = transaction.open_table(USAGE)?;
            let bytes = to_bytes(&row.usage)?;
            table.insert((row.key.as_str(), row.start), bytes.as_slice())?;
            Ok(())
        })
    }

    /// The usage of all keys, by key and time.
    pub fn usage(&self) -> Result<Vec<KeyUsage>, LedgerError> {
        let table = self.read()?.open_table(USAGE)?;
        let mut rows = Vec::new();
        for entry in table.iter()? {
            let (at, bytes) = entry?;
            let (key, start) = at.value();
            let usage = from_bytes(key, bytes.value())?;
            rows.push(KeyUsage { key: key.to_owned(), start, usage });
        }
        Ok(rows)
    }

    /// Forgets the usage in buckets that began before a second.
    pub fn forget_usage(&self, before: u64) -> Result<(), LedgerError> {
        self.write(|transaction| {
            let mut table = transaction.open_table(USAGE)?;
            table.retain(|(_, start), _| start >= before)?;
            Ok(())
        })
    }
}

//! The open ledger: its tables, and the transactions that change them.

use std::path::{Path, PathBuf};

use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};

use crate::disk::Disk;
use crate::model::ChainName;

use super::backend::Backend;
use super::value::{from_bytes, to_bytes};
use super::{ChainFacts, Cursor, LedgerError, Part};

/// The ledger's file in the data folder.
pub const FILE_NAME: &str = "ledger.redb";

const CACHE_BYTES: usize = 16 << 20;
const INSTANCE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("instance");
const CHAINS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("chains");
const PARTS: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("parts");
const CURSORS: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("cursors");
const PARKED: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("parked");
const EPOCH: &str = "epoch";

/// The open ledger.
pub struct Ledger {
    database: Database,
}

impl Ledger {
    /// Opens or makes the ledger of a data folder.
    pub fn open(disk: &dyn Disk, data_dir: &Path) -> Result<Ledger, LedgerError> {
        let path = data_dir.join(FILE_NAME);
        if let Some(backend) = Backend::open(disk, &path)? {
            return Ledger::with_backend(backend, path);
        }
        // A crash while redb lays out a new file would leave one that never opens.
        let temporary = path.with_extension("tmp");
        drop(Ledger::with_backend(Backend::create(disk, &temporary)?, temporary.clone())?);
        disk.rename(&temporary, &path)?;
        disk.sync_folder(data_dir)?;
        Ledger::with_backend(Backend::existing(disk, &path)?, path)
    }

    fn with_backend(backend: Backend, path: PathBuf) -> Result<Ledger, LedgerError> {
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES);
        let database = builder
            .create_with_backend(backend)
            .map_err(|source| LedgerError::Open { path, source: Box::new(source) })?;
        let ledger = Ledger { database };
        ledger.write(|transaction| {
            transaction.open_table(INSTANCE)?;
            transaction.open_table(CHAINS)?;
            transaction.open_table(PARTS)?;
            transaction.open_table(CURSORS)?;
            transaction.open_table(PARKED)?;
            Ok(())
        })?;
        Ok(ledger)
    }

    fn write<T>(
        &self,
        act: impl FnOnce(&redb::WriteTransaction) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        transaction.set_two_phase_commit(true);
        let result = act(&transaction)?;
        transaction.commit()?;
        Ok(result)
    }

    /// Counts this start of the instance: the number of starts so far.
    pub fn next_epoch(&self) -> Result<u64, LedgerError> {
        self.write(|transaction| {
            let mut table = transaction.open_table(INSTANCE)?;
            let last: Option<u64> = match table.get(EPOCH)? {
                Some(found) => Some(from_bytes(EPOCH, found.value())?),
                None => None,
            };
            let epoch = last.unwrap_or(0) + 1;
            table.insert(EPOCH, to_bytes(&epoch)?.as_slice())?;
            Ok(epoch)
        })
    }

    /// All chains that this folder holds.
    pub fn chains(&self) -> Result<Vec<ChainFacts>, LedgerError> {
        let table = self.database.begin_read()?.open_table(CHAINS)?;
        let mut chains = Vec::new();
        for entry in table.iter()? {
            let (name, bytes) = entry?;
            chains.push(from_bytes(name.value(), bytes.value())?);
        }
        Ok(chains)
    }

    /// What is known of a chain.
    pub fn chain(&self, name: &ChainName) -> Result<Option<ChainFacts>, LedgerError> {
        let table = self.database.begin_read()?.open_table(CHAINS)?;
        let found = table.get(name.as_str())?;
        found.map(|bytes| from_bytes(name.as_str(), bytes.value())).transpose()
    }

    /// Stores what is known of a chain.
    pub fn set_chain(&self, facts: &ChainFacts) -> Result<(), LedgerError> {
        self.write(|transaction| {
            let mut table = transaction.open_table(CHAINS)?;
            table.insert(facts.name.as_str(), to_bytes(facts)?.as_slice())?;
            Ok(())
        })
    }

    /// Records sealed parts and what a restart has to replay after them, together.
    pub fn add_parts(&self, facts: &ChainFacts, parts: &[Part]) -> Result<(), LedgerError> {
        self.write(|transaction| {
            let mut table = transaction.open_table(PARTS)?;
            for part in parts {
                let bytes = to_bytes(part)?;
                table.insert((facts.name.as_str(), part.path.as_str()), bytes.as_slice())?;
            }
            let mut chains = transaction.open_table(CHAINS)?;
            chains.insert(facts.name.as_str(), to_bytes(facts)?.as_slice())?;
            Ok(())
        })
    }

    /// Forgets parts, so that their blocks count as unsealed.
    pub fn remove_parts(&self, facts: &ChainFacts, parts: &[Part]) -> Result<(), LedgerError> {
        self.write(|transaction| {
            let mut table = transaction.open_table(PARTS)?;
            for part in parts {
                table.remove((facts.name.as_str(), part.path.as_str()))?;
            }
            let mut chains = transaction.open_table(CHAINS)?;
            chains.insert(facts.name.as_str(), to_bytes(facts)?.as_slice())?;
            Ok(())
        })
    }

    /// A chain's parts, by path.
    pub fn parts(&self, chain: &ChainName) -> Result<Vec<Part>, LedgerError> {
        let table = self.database.begin_read()?.open_table(PARTS)?;
        let mut parts = Vec::new();
        for entry in table.range((chain.as_str(), "")..)? {
            let (key, bytes) = entry?;
            if key.value().0 != chain.as_str() {
                break;
            }
            parts.push(from_bytes(key.value().1, bytes.value())?);
        }
        Ok(parts)
    }

    /// An exporter's cursor on a chain.
    pub fn cursor(&self, exporter: &str, chain: &ChainName) -> Result<Option<Cursor>, LedgerError> {
        let table = self.database.begin_read()?.open_table(CURSORS)?;
        let found = table.get((exporter, chain.as_str()))?;
        found.map(|bytes| from_bytes(exporter, bytes.value())).transpose()
    }

    /// Moves an exporter's cursor.
    pub fn set_cursor(
        &self,
        exporter: &str,
        chain: &ChainName,
        cursor: Cursor,
    ) -> Result<(), LedgerError> {
        self.write(|transaction| {
            let mut table = transaction.open_table(CURSORS)?;
            table.insert((exporter, chain.as_str()), to_bytes(&cursor)?.as_slice())?;
            Ok(())
        })
    }

    /// All cursors: exporter, chain, position.
    pub fn cursors(&self) -> Result<Vec<(String, String, Cursor)>, LedgerError> {
        let table = self.database.begin_read()?.open_table(CURSORS)?;
        let mut cursors = Vec::new();
        for entry in table.iter()? {
            let (key, bytes) = entry?;
            let (exporter, chain) = key.value();
            let cursor = from_bytes(exporter, bytes.value())?;
            cursors.push((exporter.to_owned(), chain.to_owned(), cursor));
        }
        Ok(cursors)
    }

    /// Sets a row aside that a sink will never take.
    pub fn park(&self, exporter: &str, event_id: &str, reason: &str) -> Result<(), LedgerError> {
        self.write(|transaction| {
            let mut table = transaction.open_table(PARKED)?;
            table.insert((exporter, event_id), to_bytes(&reason)?.as_slice())?;
            Ok(())
        })
    }

    /// Rows that were set aside for an exporter: identity and reason.
    pub fn parked(&self, exporter: &str) -> Result<Vec<(String, String)>, LedgerError> {
        let table = self.database.begin_read()?.open_table(PARKED)?;
        let mut parked = Vec::new();
        for entry in table.range((exporter, "")..)? {
            let (key, bytes) = entry?;
            let (name, event_id) = key.value();
            if name != exporter {
                break;
            }
            parked.push((event_id.to_owned(), from_bytes(event_id, bytes.value())?));
        }
        Ok(parked)
    }
}

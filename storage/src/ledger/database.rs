//! The open ledger: its tables, and the transactions that change them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};

use crate::disk::Disk;
use crate::model::{ChainName, Lsn};

use super::backend::Backend;
use super::usage::USAGE;
use super::value::{from_bytes, to_bytes};
use super::{ChainFacts, Cursor, Descent, LedgerError, Part, Quarantine, Way};

/// The ledger's file in the data folder.
pub const FILE_NAME: &str = "ledger.redb";

const CACHE_BYTES: usize = 16 << 20;
pub(super) const INSTANCE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("instance");
pub(super) const CHAINS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("chains");
pub(super) const PARTS: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("parts");
pub(super) const CURSORS: TableDefinition<'_, (&str, &str), &[u8]> =
    TableDefinition::new("cursors");
pub(super) const PARKED: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("parked");
pub(super) const QUARANTINE: TableDefinition<'_, (&str, &str), &[u8]> =
    TableDefinition::new("quarantine");
const EPOCH: &str = "epoch";
const HOME: &str = "home";
const DESCENT: &str = "descent";

/// The open ledger.
pub struct Ledger {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    /// Empty only while it is opened anew after the disk failed.
    database: RwLock<Option<Database>>,
}

impl Ledger {
    /// Opens or makes the ledger of a data folder.
    pub fn open(disk: &Arc<dyn Disk>, data_dir: &Path) -> Result<Ledger, LedgerError> {
        let path = data_dir.join(FILE_NAME);
        if Backend::open(disk.as_ref(), &path)?.is_none() {
            // A crash while redb lays out a new file would leave one that never opens.
            let temporary = path.with_extension("tmp");
            let backend = Backend::create(disk.as_ref(), &temporary)?;
            drop(open_database(backend, &temporary)?);
            disk.rename(&temporary, &path)?;
            disk.sync_folder(data_dir)?;
        }
        let database = open_database(Backend::existing(disk.as_ref(), &path)?, &path)?;
        let database = RwLock::new(Some(database));
        let ledger = Ledger { disk: disk.clone(), path, database };
        ledger.write(|transaction| {
            transaction.open_table(INSTANCE)?;
            transaction.open_table(CHAINS)?;
            transaction.open_table(PARTS)?;
            transaction.open_table(CURSORS)?;
            transaction.open_table(PARKED)?;
            transaction.open_table(QUARANTINE)?;
            transaction.open_table(USAGE)?;
            Ok(())
        })?;
        Ok(ledger)
    }

    /// Opens the ledger and reads all of it: the engine's pages and every value. The engine trusts
    /// its own pages, and may panic over what it finds there.
    pub fn open_whole(disk: &Arc<dyn Disk>, data_dir: &Path) -> Result<Ledger, LedgerError> {
        let read = || Ledger::open(disk, data_dir).and_then(|l| l.check().map(|()| l));
        let read = std::panic::catch_unwind(std::panic::AssertUnwindSafe(read));
        read.unwrap_or_else(|_| Err(LedgerError::Nonsense { path: data_dir.join(FILE_NAME) }))
    }

    fn check(&self) -> Result<(), LedgerError> {
        {
            let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
            let database = database.as_mut().ok_or(LedgerError::Closed)?;
            let open =
                |source| LedgerError::Open { path: self.path.clone(), source: Box::new(source) };
            database.check_integrity().map_err(open)?;
        }
        self.instance::<u64>(EPOCH)?;
        self.descent()?;
        self.usage()?;
        for facts in self.chains()? {
            self.parts(&facts.name)?;
            self.quarantined(&facts.name)?;
        }
        for (exporter, _, _) in self.cursors()? {
            self.parked(&exporter)?;
        }
        Ok(())
    }

    pub(super) fn write<T>(
        &self,
        act: impl FnOnce(&redb::WriteTransaction) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let result = {
            let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
            let database = database.as_ref().ok_or(LedgerError::Closed)?;
            write_to(database, act)
        };
        if result.as_ref().is_err_and(LedgerError::is_of_disk) {
            self.reopen();
        }
        result
    }

    pub(super) fn read(&self) -> Result<redb::ReadTransaction, LedgerError> {
        {
            let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(database) = database.as_ref() {
                return Ok(database.begin_read()?);
            }
        }
        self.reopen();
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        Ok(database.as_ref().ok_or(LedgerError::Closed)?.begin_read()?)
    }

    /// redb refuses everything after a failed call of the disk; what it had made durable is in
    /// its file, and is opened again.
    fn reopen(&self) {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        drop(database.take());
        let backend = Backend::existing(self.disk.as_ref(), &self.path).map_err(LedgerError::from);
        match backend.and_then(|backend| open_database(backend, &self.path)) {
            Ok(opened) => *database = Some(opened),
            Err(error) => tracing::warn!(%error, "the ledger does not open yet"),
        }
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
        let table = self.read()?.open_table(CHAINS)?;
        let mut chains = Vec::new();
        for entry in table.iter()? {
            let (name, bytes) = entry?;
            chains.push(from_bytes(name.value(), bytes.value())?);
        }
        Ok(chains)
    }

    /// What is known of a chain.
    pub fn chain(&self, name: &ChainName) -> Result<Option<ChainFacts>, LedgerError> {
        let table = self.read()?.open_table(CHAINS)?;
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

    /// Puts parts in place of others and sets what a restart has to replay, together: nobody sees
    /// both or neither.
    pub fn change_parts(
        &self,
        facts: &ChainFacts,
        removed: &[Part],
        added: &[Part],
    ) -> Result<(), LedgerError> {
        self.write(|transaction| {
            let mut table = transaction.open_table(PARTS)?;
            for part in removed {
                table.remove((facts.name.as_str(), part.path.as_str()))?;
            }
            for part in added {
                let bytes = to_bytes(part)?;
                table.insert((facts.name.as_str(), part.path.as_str()), bytes.as_slice())?;
            }
            let mut chains = transaction.open_table(CHAINS)?;
            chains.insert(facts.name.as_str(), to_bytes(facts)?.as_slice())?;
            Ok(())
        })
    }

    /// Remembers a damaged place; whether it was not known before.
    pub fn quarantine(&self, chain: &ChainName, found: &Quarantine) -> Result<bool, LedgerError> {
        let key = format!("{:020} {}", found.first.0, found.file);
        self.write(|transaction| {
            let mut table = transaction.open_table(QUARANTINE)?;
            if table.get((chain.as_str(), key.as_str()))?.is_some() {
                return Ok(false);
            }
            let bytes = to_bytes(found)?;
            table.insert((chain.as_str(), key.as_str()), bytes.as_slice())?;
            Ok(true)
        })
    }

    /// All damaged places of a chain that were found, in order of the log.
    pub fn quarantined(&self, chain: &ChainName) -> Result<Vec<Quarantine>, LedgerError> {
        self.list(QUARANTINE, chain.as_str())
    }

    pub(super) fn set_instance<T: serde::Serialize>(
        &self,
        key: &str,
        value: &T,
    ) -> Result<(), LedgerError> {
        self.write(|transaction| {
            let mut table = transaction.open_table(INSTANCE)?;
            table.insert(key, to_bytes(value)?.as_slice())?;
            Ok(())
        })
    }

    pub(super) fn instance<T: serde::de::DeserializeOwned>(
        &self,
        key: &str,
    ) -> Result<Option<T>, LedgerError> {
        let table = self.read()?.open_table(INSTANCE)?;
        let found = table.get(key)?;
        found.map(|bytes| from_bytes(key, bytes.value())).transpose()
    }

    /// Says where the folder comes from; `chains` is the last record of each.
    pub fn set_descent(
        &self,
        way: Way,
        from: String,
        at: u64,
        chains: BTreeMap<ChainName, Lsn>,
    ) -> Result<(), LedgerError> {
        let mut exporters = Vec::new();
        for (exporter, chain, cursor) in self.cursors()? {
            exporters.extend(chain.parse().map(|chain| (exporter, chain, cursor.exported)));
        }
        let before = self.descent()?.map(Box::new);
        self.set_instance(DESCENT, &Descent { way, from, at, chains, exporters, before })
    }

    /// Where the folder comes from, when it did not begin empty.
    pub fn descent(&self) -> Result<Option<Descent>, LedgerError> {
        self.instance(DESCENT)
    }

    /// Remembers the file that the ledger is in, by what tells it from its copies.
    pub fn set_home(&self, home: &str) -> Result<(), LedgerError> {
        self.set_instance(HOME, &home)
    }

    /// The file that the ledger was in when it was opened last.
    pub fn home(&self) -> Result<Option<String>, LedgerError> {
        self.instance(HOME)
    }

    /// The number of starts so far.
    pub fn epoch(&self) -> Result<u64, LedgerError> {
        Ok(self.instance(EPOCH)?.unwrap_or(0))
    }

    /// Values under all keys that begin with a name.
    fn list<T: serde::de::DeserializeOwned>(
        &self,
        table: TableDefinition<'_, (&'static str, &'static str), &'static [u8]>,
        name: &str,
    ) -> Result<Vec<T>, LedgerError> {
        let table = self.read()?.open_table(table)?;
        let mut found = Vec::new();
        for entry in table.range((name, "")..)? {
            let (key, bytes) = entry?;
            if key.value().0 != name {
                break;
            }
            found.push(from_bytes(key.value().1, bytes.value())?);
        }
        Ok(found)
    }

    /// A chain's parts, by path.
    pub fn parts(&self, chain: &ChainName) -> Result<Vec<Part>, LedgerError> {
        self.list(PARTS, chain.as_str())
    }

    /// An exporter's cursor on a chain.
    pub fn cursor(&self, exporter: &str, chain: &ChainName) -> Result<Option<Cursor>, LedgerError> {
        let table = self.read()?.open_table(CURSORS)?;
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
        let table = self.read()?.open_table(CURSORS)?;
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

    /// Lets a row go that was set aside; whether it was.
    pub fn unpark(&self, exporter: &str, event_id: &str) -> Result<bool, LedgerError> {
        self.write(|transaction| {
            let mut table = transaction.open_table(PARKED)?;
            let was_there = table.remove((exporter, event_id))?.is_some();
            Ok(was_there)
        })
    }

    /// Rows that were set aside for an exporter: identity and reason.
    pub fn parked(&self, exporter: &str) -> Result<Vec<(String, String)>, LedgerError> {
        let table = self.read()?.open_table(PARKED)?;
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

pub(super) fn open_database(backend: Backend, path: &Path) -> Result<Database, LedgerError> {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
        .create_with_backend(backend)
        .map_err(|source| LedgerError::Open { path: path.to_owned(), source: Box::new(source) })
}

pub(super) fn write_to<T>(
    database: &Database,
    act: impl FnOnce(&redb::WriteTransaction) -> Result<T, LedgerError>,
) -> Result<T, LedgerError> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    transaction.set_two_phase_commit(true);
    let result = act(&transaction)?;
    transaction.commit()?;
    Ok(result)
}

//! The open index: what is looked up, and how blocks go into it.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use alloy_primitives::{Address, B256};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable};

use crate::model::{Block, Lsn};

use super::{IndexError, Place, Touch, keys};

const CACHE_BYTES: u64 = 32 << 20;
/// Keyspaces, and write buffers of each: one is filled while another is written.
const KEYSPACES: u64 = 5;
const MEMTABLES: u64 = 2;
const INDEXED: &[u8] = b"indexed";

/// How an index is kept.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// At most this is in memory per keyspace before it is written out.
    pub memtable_bytes: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options { memtable_bytes: 16 << 20 }
    }
}

/// The open index of one chain.
pub struct Index {
    database: Database,
    blocks: Keyspace,
    numbers: Keyspace,
    transactions: Keyspace,
    addresses: Keyspace,
    facts: Keyspace,
    folder: PathBuf,
    indexed: AtomicU64,
    memtable_bytes: u64,
}

/// Bytes that an index has in memory, and has at most.
#[derive(Clone, Copy, Debug)]
pub struct IndexMemory {
    /// Of pages that were read.
    pub pages: u64,
    /// At most.
    pub pages_max: u64,
    /// Of what is in its journal and not in its tables yet.
    pub unwritten: u64,
    /// At most.
    pub unwritten_max: u64,
}

impl Index {
    /// Opens the index; a folder that does not open is set aside and a new one begun.
    pub fn open(folder: &Path, options: Options) -> Result<Index, IndexError> {
        // The engine's own assertions may not hold for a journal that is torn.
        let reason = if has_foreign_folder(folder) {
            "a foreign folder is among those of its engine".to_owned()
        } else {
            match std::panic::catch_unwind(|| Index::try_open(folder, options)) {
                Ok(Ok(index)) => return Ok(index),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "the engine panicked".to_owned(),
            }
        };
        tracing::warn!(
            reason, folder = %folder.display(),
            "the index does not open: it is set aside and made again"
        );
        Index::begin_anew(folder, options)
    }

    /// Sets what is there aside, under `index.damaged`, and begins an empty index.
    pub fn begin_anew(folder: &Path, options: Options) -> Result<Index, IndexError> {
        set_aside(folder, &folder.with_extension("damaged"))
            .map_err(|source| IndexError::SetAside { folder: folder.to_owned(), source })?;
        Index::try_open(folder, options)
    }

    fn try_open(folder: &Path, options: Options) -> Result<Index, IndexError> {
        let failed = |source| IndexError::Engine { folder: folder.to_owned(), source };
        let database = Database::builder(folder)
            .cache_size(CACHE_BYTES)
            .worker_threads(1)
            .open()
            .map_err(failed)?;
        let keyspace = |name| {
            let bytes = options.memtable_bytes;
            let options = || KeyspaceCreateOptions::default().max_memtable_size(bytes);
            database.keyspace(name, options).map_err(failed)
        };
        let (blocks, numbers) = (keyspace("blocks")?, keyspace("numbers")?);
        let (transactions, addresses) = (keyspace("transactions")?, keyspace("addresses")?);
        let facts = keyspace("facts")?;
        let indexed = facts.get(INDEXED).map_err(failed)?;
        let indexed = indexed.and_then(|bytes| keys::read_lsn(&bytes)).unwrap_or_default();
        Ok(Index {
            blocks,
            numbers,
            transactions,
            addresses,
            facts,
            folder: folder.to_owned(),
            indexed: AtomicU64::new(indexed.0),
            memtable_bytes: options.memtable_bytes,
            database,
        })
    }

    fn failed(&self) -> impl FnOnce(fjall::Error) -> IndexError {
        let folder = self.folder.clone();
        move |source| IndexError::Engine { folder, source }
    }

    /// All records up to this one are indexed.
    pub fn indexed(&self) -> Lsn {
        Lsn(self.indexed.load(Ordering::Acquire))
    }

    /// Bytes that it has in memory.
    pub fn memory(&self) -> IndexMemory {
        IndexMemory {
            pages: self.database.cache_size(),
            pages_max: CACHE_BYTES,
            unwritten: self.database.write_buffer_size(),
            unwritten_max: KEYSPACES * MEMTABLES * self.memtable_bytes,
        }
    }

    /// Bytes that its files take on the disk; the engine's journal is longer than what it holds.
    pub fn file_bytes(&self) -> u64 {
        allocated_bytes(&self.folder)
    }

    /// Indexes blocks of the log, and remembers that everything up to `upto` is indexed.
    pub fn insert(&self, blocks: &[(Lsn, &Block)], upto: Lsn) -> Result<(), IndexError> {
        let mut batch = self.database.batch();
        let (mut transactions, mut touches) = (Vec::new(), Vec::new());
        for (lsn, block) in blocks {
            let header = &block.header;
            batch.insert(&self.blocks, header.hash.0, lsn.0.to_be_bytes());
            batch.insert(&self.numbers, header.number.to_be_bytes(), lsn.0.to_be_bytes());
            for (at, transaction) in block.transactions.iter().enumerate() {
                let place = Place { lsn: *lsn, at: at as u32 }.to_bytes();
                transactions.push((transaction.hash.0, place));
                touches.extend(Touch::of(block, at).map(|touch| (touch.key(), *lsn)));
            }
        }
        // In order of their keys the engine finds each one's place near that of the last. Of equal
        // keys the latest comes last, and holds.
        transactions.sort_unstable();
        touches.sort_unstable();
        for (hash, place) in transactions {
            batch.insert(&self.transactions, hash, place);
        }
        for (key, lsn) in touches {
            batch.insert(&self.addresses, key, lsn.0.to_be_bytes());
        }
        batch.insert(&self.facts, INDEXED, upto.0.to_be_bytes());
        batch.commit().map_err(self.failed())?;
        self.indexed.store(upto.0, Ordering::Release);
        Ok(())
    }

    /// The last record that holds a block of this hash.
    pub fn block_by_hash(&self, hash: B256) -> Result<Option<Lsn>, IndexError> {
        let found = self.blocks.get(hash.0).map_err(self.failed())?;
        Ok(found.and_then(|bytes| keys::read_lsn(&bytes)))
    }

    /// The last record that holds a block of this number.
    pub fn block_by_number(&self, number: u64) -> Result<Option<Lsn>, IndexError> {
        let found = self.numbers.get(number.to_be_bytes()).map_err(self.failed())?;
        Ok(found.and_then(|bytes| keys::read_lsn(&bytes)))
    }

    /// The last place of a transaction.
    pub fn transaction(&self, hash: B256) -> Result<Option<Place>, IndexError> {
        let found = self.transactions.get(hash.0).map_err(self.failed())?;
        Ok(found.and_then(|bytes| Place::from_bytes(&bytes)))
    }

    /// Transactions that an address took part in, newest first, of blocks before `before`: some
    /// `limit` of them, and of each block all, so that a reader goes on before the last one.
    pub fn by_address(
        &self,
        address: Address,
        before: u64,
        limit: usize,
    ) -> Result<Vec<(Touch, Lsn)>, IndexError> {
        let Some((from, to)) = Touch::range(address, before) else { return Ok(Vec::new()) };
        let snapshot = self.database.snapshot();
        let mut found: Vec<(Touch, Lsn)> = Vec::new();
        for entry in snapshot.range(&self.addresses, from..to) {
            let (key, value) = entry.into_inner().map_err(self.failed())?;
            let Some(touch) = Touch::from_key(&key) else { continue };
            let last = found.last().map(|(last, _)| last.block_number);
            if found.len() >= limit && last != Some(touch.block_number) {
                break;
            }
            found.extend(keys::read_lsn(&value).map(|lsn| (touch, lsn)));
        }
        Ok(found)
    }

    /// Makes the index durable, so that a restart has less to replay.
    pub fn persist(&self) -> Result<(), IndexError> {
        self.database.persist(PersistMode::SyncData).map_err(self.failed())
    }
}

fn allocated_bytes(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(facts) if facts.is_dir() => allocated_bytes(&entry.path()),
            Ok(facts) => facts.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}

/// Whether a folder is among the engine's whose name is no number: it would end the process there,
/// by a panic that nobody can catch.
fn has_foreign_folder(folder: &Path) -> bool {
    let mut entries = std::fs::read_dir(folder.join("keyspaces")).into_iter().flatten().flatten();
    entries.any(|entry| {
        let is_number = entry.file_name().to_str().is_some_and(|name| name.parse::<u64>().is_ok());
        !is_number && entry.file_type().is_ok_and(|kind| kind.is_dir())
    })
}

/// Removes an earlier folder that was set aside, and sets this one aside.
fn set_aside(folder: &Path, aside: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(aside) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    #[expect(clippy::disallowed_methods, reason = "the engine's folder is not on our disk trait")]
    match std::fs::rename(folder, aside) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

//! One chain's store: the log, the state that follows from it, the index and the parts.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tokio::sync::watch;

use crate::disk::Disk;
use crate::index::{self, Index};
use crate::ledger::{ChainFacts, Ledger};
use crate::model::{ChainName, Lsn};
use crate::parquet::{Grid, PartReader};
use crate::wal::{self, Log, Writer};

use super::begin::facts_of;
use super::lookup::ReadAhead;
use super::recent::RecentBlocks;
use super::replaced::Replaced;
use super::replay::replay;
use super::{ChainState, DataDir, StoreError};

/// How a chain is kept.
#[derive(Clone, Copy, Debug)]
pub struct ChainOptions {
    /// The grid of its parts.
    pub grid: Grid,
    /// How its log is kept.
    pub wal: wal::Options,
    /// How lookups by hash and address are kept, if at all; `open_index` opens what they need.
    pub index: Option<index::Options>,
}

impl Default for ChainOptions {
    fn default() -> ChainOptions {
        let index = Some(index::Options::default());
        ChainOptions { grid: Grid { blocks: 1_000 }, wal: wal::Options::default(), index }
    }
}

/// What only the committing and the sealing thread touch.
pub(super) struct Core {
    pub(super) writer: Writer,
    /// The state with the events that are being written.
    pub(super) ahead: ChainState,
}

/// One chain's store, shared by all who read and write it.
pub struct Chain {
    pub(super) name: ChainName,
    #[expect(clippy::struct_field_names, reason = "the field's name for it")]
    pub(super) chain_id: u64,
    pub(super) options: ChainOptions,
    pub(super) data_dir: PathBuf,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) log: Arc<Log>,
    pub(super) core: Mutex<Core>,
    /// What readers see: never ahead of what is durable.
    pub(super) state: RwLock<ChainState>,
    pub(super) index: RwLock<Option<Arc<Index>>>,
    pub(super) index_folder: PathBuf,
    pub(super) recent: RecentBlocks,
    pub(super) parts: PartReader,
    pub(super) read_ahead: ReadAhead,
    pub(super) replaced: Replaced,
    pub(super) files: Mutex<()>,
    pub(super) durable: watch::Sender<Lsn>,
    pub(super) sealed: watch::Sender<Lsn>,
    pub(super) paused: watch::Sender<Option<String>>,
}

impl Chain {
    /// Opens a chain of a data folder, which holds nothing of a new one until its first block
    /// comes; its index is opened by who needs it.
    pub fn open(
        data_dir: &DataDir,
        name: &ChainName,
        chain_id: u64,
        options: ChainOptions,
    ) -> Result<Chain, StoreError> {
        let ledger = data_dir.ledger().clone();
        let facts = super::damage::drop_lost_parts(data_dir, facts_of(data_dir, name, chain_id)?)?;
        let mut acknowledged = facts.sealed;
        for (_, chain, cursor) in ledger.cursors()? {
            if chain == name.as_str() {
                acknowledged = acknowledged.max(cursor.exported);
            }
        }
        if let Some(descent) = ledger.descent()? {
            acknowledged = acknowledged.max(descent.chains.get(name).copied().unwrap_or_default());
        }
        let folder = data_dir.wal_folder(name);
        let writer = wal::open(data_dir.disk(), &folder, chain_id, options.wal, acknowledged)?;
        let state = replay(writer.log(), &ledger, &facts, ledger.parts(name)?)?;
        let chain = Chain {
            name: name.clone(),
            chain_id,
            options,
            data_dir: data_dir.path().to_owned(),
            disk: data_dir.disk().clone(),
            ledger,
            durable: watch::Sender::new(writer.log().durable()),
            sealed: watch::Sender::new(facts.sealed),
            paused: watch::Sender::new(None),
            log: writer.log().clone(),
            core: Mutex::new(Core { writer, ahead: state.clone() }),
            state: RwLock::new(state),
            index: RwLock::default(),
            index_folder: data_dir.index_folder(name),
            recent: RecentBlocks::default(),
            parts: PartReader::new(data_dir.disk().clone(), data_dir.path().to_owned()),
            read_ahead: ReadAhead::default(),
            replaced: Replaced::default(),
            files: Mutex::default(),
        };
        chain.note_holes()?;
        Ok(chain)
    }

    /// Name in paths, topics and metrics.
    pub fn name(&self) -> &ChainName {
        &self.name
    }

    /// EIP-155 id.
    pub fn chain_id(&self) -> u64 {
        self.chain_id
    }

    /// The readable log.
    pub fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// Tells of every move of the last durable record.
    pub fn durable(&self) -> watch::Receiver<Lsn> {
        self.durable.subscribe()
    }

    /// Tells of every sealed run: the last record that parts were made from.
    pub fn sealed(&self) -> watch::Receiver<Lsn> {
        self.sealed.subscribe()
    }

    /// Looks at the state.
    pub fn with_state<T>(&self, look: impl FnOnce(&ChainState) -> T) -> T {
        look(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lets nothing more into the log for a reason, or lets it in again (INV-10).
    pub fn pause(&self, reason: Option<String>) {
        self.paused.send_if_modified(|paused| {
            let before = std::mem::replace(paused, reason);
            before != *paused
        });
    }

    /// Why nothing more is let into the log.
    pub fn paused(&self) -> Option<String> {
        self.paused.borrow().clone()
    }

    /// What the ledger has to know of the chain when it stands like this.
    pub(super) fn facts(&self, state: &ChainState, sealed: Lsn) -> ChainFacts {
        ChainFacts {
            name: self.name.clone(),
            chain_id: self.chain_id,
            replay_from: state.replay_from(),
            sealed: sealed.max(*self.sealed.borrow()),
            anchor: state.anchor(),
            forgotten: state.forgotten().clone(),
            partial: state.partial().clone(),
        }
    }
}

//! The index follows the log: it can be made again at any time, and its failure stops lookups,
//! never capture (INV-3).

use std::fmt;
use std::sync::{Arc, PoisonError};

use crate::index::Index;
use crate::model::{Block, Lsn, Op};
use crate::wal;

use super::{Chain, StoreError};

/// Records that may be durable and not indexed without anybody being told.
const LAG_MAX: u64 = 1_000;

/// How far lookups by hash and address have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookups {
    /// There are none.
    Off,
    /// The index is not open yet.
    Opening,
    /// The index is made again, or catches up: of so many records so many are in it.
    Behind {
        /// Records in it.
        indexed: Lsn,
        /// Records of the log.
        durable: Lsn,
    },
    /// They find everything.
    Ready,
}

impl fmt::Display for Lookups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lookups::Off => f.write_str("off"),
            Lookups::Opening => f.write_str("opening"),
            Lookups::Behind { indexed, durable } => {
                write!(f, "rebuilding, {} %", indexed.0 * 100 / durable.0.max(1))
            }
            Lookups::Ready => f.write_str("ready"),
        }
    }
}

impl Chain {
    /// The index, where one is kept and open.
    pub fn index(&self) -> Option<Arc<Index>> {
        self.index.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How far lookups have come.
    pub fn lookups(&self) -> Lookups {
        let durable = self.log.durable();
        match self.index() {
            _ if self.options.index.is_none() => Lookups::Off,
            None => Lookups::Opening,
            Some(index) if index.indexed().0 + LAG_MAX < durable.0 => {
                Lookups::Behind { indexed: index.indexed(), durable }
            }
            Some(_) => Lookups::Ready,
        }
    }

    /// An index in which what is not found is not there.
    pub(super) fn whole_index(&self) -> Result<Option<Arc<Index>>, StoreError> {
        match self.lookups() {
            Lookups::Off => Ok(None),
            Lookups::Ready => Ok(self.index()),
            lookups @ (Lookups::Opening | Lookups::Behind { .. }) => {
                Err(StoreError::Lookups { lookups })
            }
        }
    }

    /// Opens the index, where one is kept and not open yet: the engine reads its journal again,
    /// which takes time after much was written.
    pub fn open_index(&self) -> Result<(), StoreError> {
        if self.index().is_some() {
            return Ok(());
        }
        self.reopen_index()
    }

    /// Indexes what is durable and not indexed yet, up to `limit` records; whether more is left.
    pub fn index_some(&self, limit: usize) -> Result<bool, StoreError> {
        let Some(index) = self.index() else { return Ok(false) };
        let durable = self.log.durable();
        // A log that is shorter than the index says was replaced: the index begins anew.
        let indexed = if index.indexed() > durable { Lsn::ZERO } else { index.indexed() };
        let first = indexed.next().max(self.log.first());
        let upto = Lsn(durable.0.min(first.0 + limit as u64 - 1));
        let mut blocks: Vec<(Lsn, Arc<Block>)> = Vec::new();
        for lsn in (first.0..=upto.0).map(Lsn) {
            let head = match self.head(lsn) {
                Ok(head) => head,
                Err(StoreError::Log(wal::Error::Lost { .. } | wal::Error::Damaged { .. })) => {
                    continue;
                }
                Err(error) => return Err(error),
            };
            if head.op == Op::Applied {
                blocks.extend(self.block_of(&head)?.map(|block| (lsn, block)));
            }
        }
        let borrowed: Vec<(Lsn, &Block)> =
            blocks.iter().map(|(lsn, block)| (*lsn, block.as_ref())).collect();
        if upto >= first {
            index.insert(&borrowed, upto)?;
        }
        Ok(upto < durable)
    }

    /// Sets the index aside and begins a new one: the engine failed, or does not answer any more.
    pub fn begin_index_anew(&self) -> Result<(), StoreError> {
        let Some(options) = self.options.index else { return Ok(()) };
        let index = Index::begin_anew(&self.index_folder, options)?;
        *self.index.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(index));
        Ok(())
    }

    /// Opens the index again as it is on disk: after the disk was full the engine refuses all.
    pub fn reopen_index(&self) -> Result<(), StoreError> {
        let Some(options) = self.options.index else { return Ok(()) };
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        // The engine holds a lock on its folder.
        drop(index.take());
        *index = Some(Arc::new(Index::open(&self.index_folder, options)?));
        Ok(())
    }
}

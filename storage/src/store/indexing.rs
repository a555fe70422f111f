//! The index follows the log: it can be made again at any time, and its failure stops lookups,
//! never capture (INV-3).

use std::sync::{Arc, PoisonError};

use crate::index::Index;
use crate::model::{Block, Lsn, Op};
use crate::wal;

use super::{Chain, StoreError};

impl Chain {
    /// The index, where one is kept.
    pub fn index(&self) -> Option<Arc<Index>> {
        self.index.read().unwrap_or_else(PoisonError::into_inner).clone()
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
        let index = Index::begin_anew(&self.index_folder)?;
        *self.index.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(index));
        Ok(())
    }

    /// Opens the index again as it is on disk: after the disk was full the engine refuses all.
    pub fn reopen_index(&self) -> Result<(), StoreError> {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        // The engine holds a lock on its folder.
        drop(index.take());
        *index = Some(Arc::new(Index::open(&self.index_folder)?));
        Ok(())
    }
}

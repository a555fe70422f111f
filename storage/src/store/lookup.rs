//! Reading: events by record, blocks by number and hash, transactions by hash and address.

use std::sync::Arc;

use alloy_primitives::{Address, B256};

use crate::index::{Index, Place, Touch};
use crate::model::{Block, EventHead, Lsn, Op, OwnedEvent};
use crate::wal;

use super::{Chain, StoreError};

impl Chain {
    /// An event with its block; for `Reverted` the block that was taken back.
    pub fn read(&self, lsn: Lsn) -> Result<OwnedEvent, StoreError> {
        let head = self.log.head(lsn)?;
        let block = match head.op {
            Op::Applied => self.block_at(lsn)?,
            Op::Reverted => {
                let applied = self.applied_before(&head)?;
                applied.map(|lsn| self.block_at(lsn)).transpose()?.flatten()
            }
            Op::Finalized => None,
        };
        Ok(OwnedEvent { head, block })
    }

    /// The block of a record, without reading the log when it was written lately.
    pub fn block_at(&self, lsn: Lsn) -> Result<Option<Arc<Block>>, wal::Error> {
        // INV-4: a block may be in memory before it is durable.
        let recent = self.recent.find(lsn).filter(|_| lsn <= self.log.durable());
        match recent {
            Some(block) => Ok(Some(block)),
            None => Ok(self.log.read(lsn)?.block),
        }
    }

    /// The record that applied a block which a later record reverted.
    fn applied_before(&self, reverted: &EventHead) -> Result<Option<Lsn>, StoreError> {
        let known = self.with_state(|state| {
            let events = state.events_of(reverted.block.number).iter().rev();
            let is_it = |head: &&EventHead| {
                head.op == Op::Applied && head.block == reverted.block && head.lsn < reverted.lsn
            };
            events.into_iter().find(is_it).map(|head| head.lsn)
        });
        if known.is_some() {
            return Ok(known);
        }
        // Sealed since: the index knows the last place of the hash, the log all others.
        let mut lsn = reverted.lsn;
        while lsn > self.log.first() {
            lsn = Lsn(lsn.0 - 1);
            let head = self.log.head(lsn)?;
            if head.op == Op::Applied && head.block == reverted.block {
                return Ok(Some(lsn));
            }
        }
        Ok(None)
    }

    /// The canonical block of a number.
    pub fn block_by_number(&self, number: u64) -> Result<Option<OwnedEvent>, StoreError> {
        let (unsealed, is_sealed) = self.with_state(|state| {
            (state.canonical(number).map(|head| head.lsn), state.sealed().contains(number))
        });
        let indexed = || match &self.index {
            Some(index) if is_sealed => index.block_by_number(number),
            Some(_) | None => Ok(None),
        };
        let lsn = match unsealed {
            Some(lsn) => Some(lsn),
            None => indexed()?,
        };
        lsn.map(|lsn| self.read(lsn)).transpose()
    }

    /// A block by its hash, canonical or orphaned.
    pub fn block_by_hash(&self, hash: B256) -> Result<Option<OwnedEvent>, StoreError> {
        let unsealed = self.with_state(|state| {
            let mut events = state.unsealed_events();
            events.find(|head| head.op == Op::Applied && head.block.hash == hash).map(|h| h.lsn)
        });
        let lsn = match (unsealed, &self.index) {
            (Some(lsn), _) => Some(lsn),
            (None, Some(index)) => index.block_by_hash(hash)?,
            (None, None) => None,
        };
        lsn.map(|lsn| self.read(lsn)).transpose()
    }

    /// A transaction of a canonical block: the block's event and the position in it.
    pub fn transaction(&self, hash: B256) -> Result<Option<(OwnedEvent, usize)>, StoreError> {
        let Some(index) = &self.index else { return Ok(None) };
        let Some(Place { lsn, at }) = index.transaction(hash)? else { return Ok(None) };
        let event = self.read(lsn)?;
        Ok(self.is_canonical(&event.head).then_some((event, at as usize)))
    }

    /// Transactions of canonical blocks that an address took part in, newest first.
    pub fn by_address(
        &self,
        address: Address,
        before: u64,
        limit: usize,
    ) -> Result<Vec<(Touch, B256)>, StoreError> {
        let Some(index) = &self.index else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for (touch, lsn) in index.by_address(address, before, limit)? {
            let event = self.read(lsn)?;
            let hash = event.block.as_ref().and_then(|block| {
                block.transactions.get(touch.transaction_index as usize).map(|t| t.hash)
            });
            if let Some(hash) = hash.filter(|_| self.is_canonical(&event.head)) {
                found.push((touch, hash));
            }
        }
        Ok(found)
    }

    fn is_canonical(&self, head: &EventHead) -> bool {
        let number = head.block.number;
        self.with_state(|state| match state.canonical(number) {
            Some(known) => known.block == head.block,
            None => state.sealed().contains(number),
        })
    }

    /// The index, where one is kept.
    pub fn index(&self) -> Option<&Index> {
        self.index.as_ref()
    }

    /// Indexes what is durable and not indexed yet, up to `limit` records; whether more is left.
    pub fn index_some(&self, limit: usize) -> Result<bool, StoreError> {
        let Some(index) = &self.index else { return Ok(false) };
        let durable = self.log.durable();
        // A log that is shorter than the index says was replaced: the index begins anew.
        let indexed = if index.indexed() > durable { Lsn::ZERO } else { index.indexed() };
        let first = indexed.next().max(self.log.first());
        let upto = Lsn(durable.0.min(first.0 + limit as u64 - 1));
        let mut blocks: Vec<(Lsn, Arc<Block>)> = Vec::new();
        for lsn in first.0..=upto.0 {
            if self.log.head(Lsn(lsn))?.op == Op::Applied {
                blocks.extend(self.block_at(Lsn(lsn))?.map(|block| (Lsn(lsn), block)));
            }
        }
        let borrowed: Vec<(Lsn, &Block)> =
            blocks.iter().map(|(lsn, block)| (*lsn, block.as_ref())).collect();
        if upto >= first {
            index.insert(&borrowed, upto)?;
        }
        Ok(upto < durable)
    }
}

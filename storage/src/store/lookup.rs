//! Reading: events by record, blocks by number and hash, transactions by hash and address.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use alloy_primitives::{Address, B256};

use crate::index::{Place, Touch};
use crate::ledger::Part;
use crate::model::{Block, BlockRange, EventHead, Lsn, Op, OwnedEvent};
use crate::parquet::PartError;
use crate::tables::{Table, read_events};
use crate::wal;

use super::{Chain, StoreError};

/// Blocks that are read from parts at once by who reads on and on.
const AHEAD_BLOCKS: u64 = 16;
/// Such readers that are served at the same time.
const READERS: usize = 3;

/// What was read from parts last, by some readers.
#[derive(Default)]
pub(super) struct ReadAhead {
    runs: Mutex<VecDeque<Run>>,
}

/// What of a block was read already.
enum Ahead {
    Block(Arc<Block>),
    /// Its number was read, and has another canonical block.
    Other,
    NotRead,
}

struct Run {
    range: BlockRange,
    blocks: Vec<(Lsn, Arc<Block>)>,
}

impl Chain {
    /// An event with its block; for `Reverted` the block that was taken back.
    pub fn read(&self, lsn: Lsn) -> Result<OwnedEvent, StoreError> {
        let head = self.head(lsn)?;
        let block = match head.op {
            Op::Applied => self.block_of(&head)?,
            Op::Reverted => match self.applied_before(&head)? {
                Some(applied) => self.block_of(&applied)?,
                None => None,
            },
            Op::Finalized => None,
        };
        Ok(OwnedEvent { head, block })
    }

    /// An event's small facts: from the log, and where it is damaged, from parts.
    pub fn head(&self, lsn: Lsn) -> Result<EventHead, StoreError> {
        let error = match self.log.head(lsn) {
            Err(error @ (wal::Error::Lost { .. } | wal::Error::Damaged { .. })) => error,
            result => return Ok(result?),
        };
        let parts = self.with_state(|state| state.parts().clone());
        let is_it = |part: &&Part| {
            let is_events = part.table == Table::ChainEvents;
            is_events && part.first_lsn <= lsn && lsn <= part.last_lsn
        };
        for part in parts.iter().filter(is_it) {
            let rows = self.parts.rows(part, part.range, None)?;
            let events = read_events(&rows)
                .map_err(|source| PartError::Rows { path: part.path.clone(), source })?;
            if let Some(head) = events.into_iter().find(|head| head.lsn == lsn) {
                return Ok(head);
            }
        }
        Err(error.into())
    }

    /// An event, or `None` where damage or retention took it.
    pub fn read_if_there(&self, lsn: Lsn) -> Result<Option<OwnedEvent>, StoreError> {
        match self.read(lsn) {
            Ok(event) => Ok(Some(event)),
            Err(StoreError::Log(
                wal::Error::Lost { .. } | wal::Error::Damaged { .. } | wal::Error::Unknown { .. },
            )) if lsn <= self.log.durable() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The block that a record applied: from memory, the log or parts. `None` when it is in none
    /// of them: then it was lost, and is fetched again, or retention removed it.
    pub fn block_of(&self, head: &EventHead) -> Result<Option<Arc<Block>>, StoreError> {
        // INV-4: a block may be in memory before it is durable.
        let recent = self.recent.find(head.lsn).filter(|_| head.lsn <= self.log.durable());
        if recent.is_some() {
            return Ok(recent);
        }
        match self.log.read(head.lsn) {
            Ok(OwnedEvent { block: Some(block), .. }) => return Ok(Some(block)),
            Ok(_) | Err(wal::Error::Unknown { .. }) => {}
            Err(error) => self.found_damage(head, error)?,
        }
        self.block_in_parts(head)
    }

    /// The block of a record that parts hold.
    pub fn block_in_parts(&self, head: &EventHead) -> Result<Option<Arc<Block>>, StoreError> {
        let number = head.block.number;
        match self.read_ahead.find(head) {
            Ahead::Block(block) => return Ok(Some(block)),
            Ahead::Other => return Ok(None),
            Ahead::NotRead => {}
        }
        // A block without some of its rows would be another block.
        if self.with_state(|state| state.partial().contains(number)) {
            return Ok(None);
        }
        let whole = |table: &Table| !matches!(table, Table::ChainEvents | Table::Verification);
        let parts: Vec<Part> = self.with_state(|state| {
            let tables = Table::ALL.into_iter().filter(whole);
            tables.filter_map(|table| state.part_of(table, number).cloned()).collect()
        });
        let Some(last) = parts.iter().map(|part| part.range.last).min() else { return Ok(None) };
        let count = if self.read_ahead.is_next(number) { AHEAD_BLOCKS } else { 1 };
        let range = BlockRange { first: number, last: last.min(number + count - 1) };
        let part_of = |table| parts.iter().find(|part| part.table == table);
        if part_of(Table::Blocks).is_none() {
            return Ok(None);
        }
        let blocks = match self.parts.blocks(&part_of, range) {
            Ok(blocks) => blocks,
            Err(PartError::Disk(error)) if !error.is_missing() && !error.is_unreadable() => {
                return Err(error.into());
            }
            Err(error) => {
                self.found_damaged_part(&parts, &error)?;
                return Ok(None);
            }
        };
        let blocks = blocks.into_iter().map(|(lsn, block)| (lsn, Arc::new(block))).collect();
        self.read_ahead.keep(Run { range, blocks });
        match self.read_ahead.find(head) {
            Ahead::Block(block) => Ok(Some(block)),
            Ahead::Other | Ahead::NotRead => Ok(None),
        }
    }

    /// The event that applied a block which a later record reverted.
    fn applied_before(&self, reverted: &EventHead) -> Result<Option<EventHead>, StoreError> {
        let is_it = |head: &EventHead| {
            head.op == Op::Applied && head.block == reverted.block && head.lsn < reverted.lsn
        };
        let known = self.with_state(|state| {
            let mut events = state.events_of(reverted.block.number).iter().rev();
            events.find(|head| is_it(head)).copied()
        });
        if known.is_some() {
            return Ok(known);
        }
        // Sealed since: the index knows the last place of the hash, the log all others.
        let mut lsn = reverted.lsn;
        while lsn > self.log.first() {
            lsn = Lsn(lsn.0 - 1);
            match self.head(lsn) {
                Ok(head) if is_it(&head) => return Ok(Some(head)),
                Ok(_)
                | Err(StoreError::Log(wal::Error::Lost { .. } | wal::Error::Damaged { .. })) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// The canonical block of a number.
    pub fn block_by_number(&self, number: u64) -> Result<Option<OwnedEvent>, StoreError> {
        let lsn = self.canonical_lsn(number)?;
        Ok(lsn.map(|lsn| self.read_if_there(lsn)).transpose()?.flatten())
    }

    /// The record that applied the canonical block of a number.
    fn canonical_lsn(&self, number: u64) -> Result<Option<Lsn>, StoreError> {
        let (unsealed, part) = self.with_state(|state| {
            let part = state.part_of(Table::Blocks, number).cloned();
            (state.canonical(number).map(|head| head.lsn), part)
        });
        Ok(match (unsealed, part) {
            (Some(lsn), _) => Some(lsn),
            (None, Some(part)) => match self.index() {
                Some(index) if index.indexed() >= part.last_lsn => index.block_by_number(number)?,
                // While the index is made again, the part itself says it.
                Some(_) | None => {
                    let range = BlockRange { first: number, last: number };
                    let rows = self.parts.rows(&part, range, Some("lsn"))?;
                    crate::parquet::lsns_of(&rows).first().copied()
                }
            },
            (None, None) => None,
        })
    }

    /// A block by its hash, canonical or orphaned.
    pub fn block_by_hash(&self, hash: B256) -> Result<Option<OwnedEvent>, StoreError> {
        let unsealed = self.with_state(|state| {
            let mut events = state.unsealed_events();
            events.find(|head| head.op == Op::Applied && head.block.hash == hash).map(|h| h.lsn)
        });
        let known = match unsealed {
            Some(lsn) => Some(lsn),
            None => self.index().map(|index| index.block_by_hash(hash)).transpose()?.flatten(),
        };
        let lsn = match known {
            Some(lsn) => Some(lsn),
            None => self.whole_index()?.and(None),
        };
        Ok(lsn.map(|lsn| self.read_if_there(lsn)).transpose()?.flatten())
    }

    /// A transaction of a canonical block: the block's event and the position in it.
    pub fn transaction(&self, hash: B256) -> Result<Option<(OwnedEvent, usize)>, StoreError> {
        let found = self.index().map(|index| index.transaction(hash)).transpose()?.flatten();
        let Some(Place { lsn, at }) = found else { return self.whole_index().map(|_| None) };
        let Some(event) = self.read_if_there(lsn)? else { return Ok(None) };
        Ok(self.is_canonical(&event.head)?.then_some((event, at as usize)))
    }

    /// Transactions of canonical blocks that an address took part in, newest first: at least
    /// `limit` where there are so many, and of each block all.
    pub fn by_address(
        &self,
        address: Address,
        before: u64,
        limit: usize,
    ) -> Result<Vec<(Touch, B256)>, StoreError> {
        let Some(index) = self.whole_index()? else { return Ok(Vec::new()) };
        let (mut found, mut before) = (Vec::new(), before);
        while found.len() < limit {
            let touches = index.by_address(address, before, limit - found.len())?;
            let Some((last, _)) = touches.last() else { break };
            before = last.block_number;
            for of_record in touches.chunk_by(|(_, one), (_, other)| one == other) {
                let Some((_, lsn)) = of_record.first() else { continue };
                let Some(event) = self.read_if_there(*lsn)? else { continue };
                let Some(block) = &event.block else { continue };
                if self.is_canonical(&event.head)? {
                    found.extend(of_record.iter().filter_map(|(touch, _)| {
                        let at = touch.transaction_index as usize;
                        Some((*touch, block.transactions.get(at)?.hash))
                    }));
                }
            }
        }
        Ok(found)
    }

    /// Whether the block that a record applied is its number's still: an orphan of a number that is
    /// sealed stays in the log.
    pub fn is_canonical(&self, head: &EventHead) -> Result<bool, StoreError> {
        let number = head.block.number;
        match self.with_state(|state| state.canonical(number).copied()) {
            Some(known) => Ok(known.block == head.block),
            None => Ok(self.canonical_lsn(number)? == Some(head.lsn)),
        }
    }
}

impl ReadAhead {
    /// The block of an event, when its number was read.
    fn find(&self, head: &EventHead) -> Ahead {
        let runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        let run = runs.iter().find(|run| run.range.contains(head.block.number));
        let Some(run) = run else { return Ahead::NotRead };
        let found = run.blocks.iter().find(|(lsn, _)| *lsn == head.lsn);
        found.map_or(Ahead::Other, |(_, block)| Ahead::Block(block.clone()))
    }

    /// Whether somebody who reads on comes to this number.
    fn is_next(&self, number: u64) -> bool {
        let runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        runs.iter().any(|run| run.range.last + 1 == number)
    }

    fn keep(&self, run: Run) {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        runs.retain(|known| known.range.last + 1 != run.range.first);
        runs.push_back(run);
        while runs.len() > READERS {
            runs.pop_front();
        }
    }

    /// Parts were replaced.
    pub(super) fn forget(&self) {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

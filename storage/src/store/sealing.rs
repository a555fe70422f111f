//! Sealing final blocks of a chain, and merging the small parts of dates that are over.

use std::sync::PoisonError;

use crate::ledger::Part;
use crate::model::{BlockRange, EventHead, Lane, Lsn};
use crate::parquet::{BlockReadError, MergeRequest, SealRequest, Sealable, merge, plan, seal};
use crate::tables::Table;

use super::{Chain, ChainState, StoreError};

impl Chain {
    /// The next run that can be sealed. `flush` also takes runs that end at a block of history
    /// after which nothing more was asked for.
    pub fn next_sealable(&self, flush: bool) -> Option<Sealable> {
        self.with_state(|state| {
            let is_there =
                |head: &&EventHead| state.is_final(head) && !state.is_lost(head.block.number);
            let finals: Vec<EventHead> = state.unsealed().filter(is_there).copied().collect();
            let is_closed = |last: u64| {
                let is_history = state.canonical(last).is_some_and(|h| h.lane == Lane::Backfill);
                state.sealed().contains(last + 1) || (flush && is_history)
            };
            plan(&finals, self.options.grid, is_closed).into_iter().next()
        })
    }

    /// Seals one run; the parts count, in the ledger and for readers, when this returns.
    pub fn seal(&self, sealable: &Sealable) -> Result<Vec<Part>, StoreError> {
        let (blocks, events) = self.with_state(|state| {
            let numbers = || sealable.range.numbers();
            let blocks: Vec<EventHead> =
                numbers().filter_map(|number| state.canonical(number).copied()).collect();
            let mut events: Vec<EventHead> =
                numbers().flat_map(|number| state.events_of(number)).copied().collect();
            events.sort_by_key(|head| head.lsn);
            (blocks, events)
        });
        let request = SealRequest {
            data_dir: &self.data_dir,
            chain_id: self.chain_id,
            sealable,
            blocks: &blocks,
            events: &events,
            read: &|head| self.block_of(head).map_err(|error| -> BlockReadError { error.into() }),
        };
        let parts = seal(self.disk.as_ref(), &request)?;
        // The committing thread waits meanwhile: its own view moves in the same step.
        let mut core = self.core.lock().unwrap_or_else(PoisonError::into_inner);
        let mut after = self.with_state(Clone::clone);
        after.seal(parts.clone());
        let last = parts.iter().map(|part| part.last_lsn).max().unwrap_or_default();
        let facts = self.facts(&after, last);
        self.ledger.change_parts(&facts, &[], &parts)?;
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = after;
        core.ahead.seal(parts.clone());
        drop(core);
        self.parts.forget();
        self.sealed.send_replace(facts.sealed);
        Ok(parts)
    }

    /// The next parts that become one: small neighbours of a date that is over.
    pub fn next_mergeable(&self, target_bytes: u64) -> Option<BlockRange> {
        self.with_state(|state| plan_merge(state, target_bytes))
    }

    /// Makes one part per table of the parts of a range; readers keep the files that they have.
    pub fn merge(&self, range: BlockRange) -> Result<(), StoreError> {
        let _held = self.hold_files();
        let is_in = |part: &Part| range.first <= part.range.first && part.range.last <= range.last;
        let before: Vec<Part> = self
            .with_state(|state| state.parts().iter().filter(|part| is_in(part)).cloned().collect());
        let request = MergeRequest {
            data_dir: &self.data_dir,
            chain_id: self.chain_id,
            tables: &Table::ALL,
            range,
            parts: &before,
            reader: &self.parts,
        };
        let merged = merge(self.disk.as_ref(), &request)?;
        let mut core = self.core.lock().unwrap_or_else(PoisonError::into_inner);
        let mut after = self.with_state(Clone::clone);
        // Damage or retention may have taken some of them meanwhile.
        if before.iter().all(|part| after.parts().contains(part)) {
            after.merge_parts(&before, merged.clone());
            self.ledger.change_parts(&self.facts(&after, Lsn::ZERO), &before, &merged)?;
            *self.state.write().unwrap_or_else(PoisonError::into_inner) = after;
            core.ahead.merge_parts(&before, merged);
            self.replaced.doom(&before);
        } else {
            self.replaced.doom(&merged);
        }
        drop(core);
        self.replaced.sweep(self.disk.as_ref(), &self.data_dir)?;
        Ok(())
    }
}

/// Neighbouring runs of a date after which another is sealed, from the lowest: together at most
/// `target_bytes` in all tables, and at least two.
fn plan_merge(state: &ChainState, target_bytes: u64) -> Option<BlockRange> {
    let runs: Vec<&Part> = state.parts().iter().filter(|p| p.table == Table::Blocks).collect();
    let last_date = runs.iter().map(|part| part.date).max()?;
    let bytes = |range: BlockRange| -> u64 {
        let tables = Table::ALL.into_iter().filter_map(|t| state.part_of(t, range.first));
        tables.map(|part| part.file_bytes).sum()
    };
    let mut group: Option<(BlockRange, i32, u64, usize)> = None;
    for run in runs.into_iter().filter(|run| run.date < last_date) {
        let size = bytes(run.range);
        let joined = group.filter(|(range, date, total, _)| {
            *date == run.date && range.last + 1 == run.range.first && total + size <= target_bytes
        });
        match (joined, group) {
            (Some((range, date, total, count)), _) => {
                let range = BlockRange { first: range.first, last: run.range.last };
                group = Some((range, date, total + size, count + 1));
            }
            (None, Some((range, _, _, count))) if count > 1 => return Some(range),
            (None, _) => group = Some((run.range, run.date, size, 1)),
        }
    }
    group.filter(|(_, _, _, count)| *count > 1).map(|(range, _, _, _)| range)
}

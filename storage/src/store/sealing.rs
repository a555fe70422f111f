//! Sealing final blocks of a chain, and noticing parts that are gone.

use std::sync::PoisonError;

use crate::ledger::{ChainFacts, Part};
use crate::model::{BlockRanges, EventHead, Lane, Lsn};
use crate::parquet::{SealRequest, Sealable, plan, seal};

use super::{Chain, DataDir, StoreError};

impl Chain {
    /// The next run that can be sealed. `flush` also takes runs that end at a block of history
    /// after which nothing more was asked for.
    pub fn next_sealable(&self, flush: bool) -> Option<Sealable> {
        self.with_state(|state| {
            let finals: Vec<EventHead> =
                state.unsealed().filter(|head| state.is_final(head)).copied().collect();
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
            read: &|lsn| self.block_at(lsn),
        };
        let parts = seal(self.disk.as_ref(), &request)?;
        // The committing thread waits meanwhile: its own view moves in the same step.
        let mut core = self.core.lock().unwrap_or_else(PoisonError::into_inner);
        let mut after = self.with_state(Clone::clone);
        after.seal(parts.clone());
        let last = parts.iter().map(|part| part.last_lsn).max().unwrap_or_default();
        let facts = ChainFacts {
            name: self.name.clone(),
            chain_id: self.chain_id,
            replay_from: after.replay_from(),
            sealed: last.max(*self.sealed.borrow()),
            anchor: after.anchor(),
        };
        self.ledger.add_parts(&facts, &parts)?;
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = after;
        core.ahead.seal(parts.clone());
        drop(core);
        self.sealed.send_replace(facts.sealed);
        Ok(parts)
    }
}

/// Parts whose files are missing or of another length are forgotten, with all of their run, and
/// the log is replayed from its start: they are sealed again (INV-3).
pub(super) fn drop_lost_parts(
    data_dir: &DataDir,
    mut facts: ChainFacts,
) -> Result<ChainFacts, StoreError> {
    let parts = data_dir.ledger().parts(&facts.name)?;
    let mut lost_runs = BlockRanges::default();
    for part in &parts {
        let path = data_dir.path().join(&part.path);
        let size = match data_dir.disk().open(&path, crate::disk::Mode::Read) {
            Ok(file) => file.size()?,
            Err(error) if error.is_missing() => 0,
            Err(error) => return Err(error.into()),
        };
        if size != part.file_bytes {
            tracing::warn!(path = part.path, "a part is gone or cut: its run is sealed again");
            lost_runs.insert(part.range);
        }
    }
    let lost: Vec<Part> =
        parts.into_iter().filter(|part| lost_runs.contains(part.range.first)).collect();
    if !lost.is_empty() {
        facts.replay_from = Lsn(1);
        data_dir.ledger().remove_parts(&facts, &lost)?;
    }
    Ok(facts)
}

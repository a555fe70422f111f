//! Where a chain stands after its log: a pure fold over events, checked before each is written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use alloy_primitives::B256;

use crate::ledger::{Anchor, Part};
use crate::model::{
    BlockRange, BlockRanges, BlockRef, EventHead, Lane, Lsn, Op, Origin, Verified, seconds_of,
};
use crate::tables::Table;

use super::Violation;

/// Where a chain stands.
#[derive(Clone, Debug, Default)]
pub struct ChainState {
    /// The last event that is in it.
    last: Lsn,
    /// The parts, and the blocks in them.
    parts: Arc<Vec<Part>>,
    sealed: BlockRanges,
    /// At the borders of parts: number to hash, and number to the hash that it names as parent.
    edge_hashes: BTreeMap<u64, B256>,
    edge_parents: BTreeMap<u64, B256>,
    /// All events about unsealed numbers.
    events: BTreeMap<u64, Vec<EventHead>>,
    /// Canonical unsealed blocks.
    canonical: BTreeMap<u64, EventHead>,
    /// Numbers of those whose content cannot be read: they are fetched again.
    lost: BTreeSet<u64>,
    /// Blocks that were applied and whose retraction is lost: it is told again.
    stale: Vec<BlockRef>,
    /// Blocks that retention removed: nobody misses them.
    forgotten: BlockRanges,
    /// Blocks of which retention removed rows: they cannot be given back whole.
    partial: BlockRanges,
    /// Numbers that damage was found at; they are fetched when they are missing.
    damaged: BlockRanges,
    /// The highest block of the live lane.
    head: Option<EventHead>,
    /// The highest final block of the live lane.
    anchor: Option<Anchor>,
}

impl ChainState {
    /// The state before the log is replayed: what is sealed.
    pub(super) fn new(parts: Vec<Part>, anchor: Option<Anchor>) -> ChainState {
        let mut state = ChainState { anchor, ..ChainState::default() };
        state.seal(parts);
        state.head = anchor.as_ref().map(anchored);
        state
    }

    /// Blocks that retention removed, and those of which it removed rows.
    pub(super) fn forgets(&mut self, forgotten: BlockRanges, partial: BlockRanges) {
        (self.forgotten, self.partial) = (forgotten, partial);
    }

    /// Blocks of which retention removed rows: they cannot be given back whole.
    pub fn partial(&self) -> &BlockRanges {
        &self.partial
    }

    fn add_edges(&mut self, part: &Part) {
        self.edge_hashes.insert(part.range.first, part.first_hash);
        self.edge_hashes.insert(part.range.last, part.last_hash);
        self.edge_parents.insert(part.range.first, part.parent_hash);
    }

    /// Everything up to a record is in it, sealed or replayed.
    pub(super) fn reaches(&mut self, lsn: Lsn) {
        self.last = self.last.max(lsn);
    }

    /// The last event that is in it.
    pub fn last(&self) -> Lsn {
        self.last
    }

    /// The highest block of the live lane, where capture goes on; for readers, see `latest`.
    pub fn head(&self) -> Option<&EventHead> {
        self.head.as_ref()
    }

    /// The highest final block of the live lane; for readers, see `latest_final`.
    pub fn finalized(&self) -> Option<BlockRef> {
        self.anchor.map(|anchor| anchor.block)
    }

    pub(super) fn anchor(&self) -> Option<Anchor> {
        self.anchor
    }

    /// The canonical, unsealed block of a number.
    pub fn canonical(&self, number: u64) -> Option<&EventHead> {
        self.canonical.get(&number)
    }

    /// Canonical unsealed blocks in order.
    pub fn unsealed(&self) -> impl DoubleEndedIterator<Item = &EventHead> {
        self.canonical.values()
    }

    /// Events about unsealed numbers, in order of number.
    pub fn unsealed_events(&self) -> impl Iterator<Item = &EventHead> {
        self.events.values().flatten()
    }

    /// Events about one unsealed number, in order of the log.
    pub fn events_of(&self, number: u64) -> &[EventHead] {
        self.events.get(&number).map_or(&[], Vec::as_slice)
    }

    /// The parts.
    pub fn parts(&self) -> &Arc<Vec<Part>> {
        &self.parts
    }

    /// Blocks in parts.
    pub fn sealed(&self) -> &BlockRanges {
        &self.sealed
    }

    /// All canonical blocks that are in the log or in parts.
    pub fn captured(&self) -> BlockRanges {
        let mut captured = self.sealed.clone();
        for number in self.canonical.keys().filter(|number| !self.lost.contains(number)) {
            captured.insert(BlockRange { first: *number, last: *number });
        }
        captured
    }

    /// Whether the canonical block of a number is there.
    pub fn has(&self, number: u64) -> bool {
        (self.canonical.contains_key(&number) && !self.lost.contains(&number))
            || self.sealed.contains(number)
    }

    /// Whether the content of a canonical block is lost, and due to be fetched again.
    pub fn is_lost(&self, number: u64) -> bool {
        self.lost.contains(&number)
    }

    /// Blocks that were applied, are not canonical, and whose retraction is due.
    pub fn stale(&self) -> &[BlockRef] {
        &self.stale
    }

    /// Blocks that retention removed.
    pub fn forgotten(&self) -> &BlockRanges {
        &self.forgotten
    }

    /// Numbers that damage was found at.
    pub fn damaged(&self) -> &BlockRanges {
        &self.damaged
    }

    /// Damage was found at some numbers.
    pub(super) fn damage(&mut self, ranges: &[BlockRange]) {
        for range in ranges {
            self.damaged.insert(*range);
        }
    }

    /// The content of an unsealed record cannot be read.
    pub(super) fn lose(&mut self, number: u64, lsn: Lsn) {
        if self.canonical.get(&number).is_some_and(|head| head.lsn == lsn) {
            self.lost.insert(number);
        }
    }

    /// The part of a table that holds a number.
    pub fn part_of(&self, table: Table, number: u64) -> Option<&Part> {
        let after =
            self.parts.partition_point(|part| (part.table, part.range.first) <= (table, number));
        let part = self.parts.get(after.checked_sub(1)?)?;
        (part.table == table && part.range.contains(number)).then_some(part)
    }

    /// Whether a canonical block can no longer be reverted.
    pub fn is_final(&self, head: &EventHead) -> bool {
        head.lane == Lane::Backfill
            || self.anchor.is_some_and(|anchor| head.block.number <= anchor.block.number)
    }

    /// The lowest record that a restart has to replay.
    pub(super) fn replay_from(&self) -> Lsn {
        self.unsealed_events().map(|head| head.lsn).min().unwrap_or_else(|| self.last.next())
    }

    /// The canonical hash of a number: of every unsealed block, and at the borders of parts.
    pub fn hash_at(&self, number: u64) -> Option<B256> {
        let unsealed = self.canonical.get(&number).map(|head| head.block.hash);
        unsealed.or_else(|| self.edge_hashes.get(&number).copied())
    }

    fn parent_named_by(&self, number: u64) -> Option<B256> {
        let unsealed = self.canonical.get(&number).map(|head| head.parent_hash);
        unsealed.or_else(|| self.edge_parents.get(&number).copied())
    }

    /// Whether an event may follow.
    pub fn check(&self, event: &EventHead) -> Result<(), Violation> {
        let block = event.block;
        match (event.op, event.lane) {
            (Op::Applied, Lane::Live) => self.check_on_top(event),
            (Op::Applied, Lane::Backfill) => self.check_history(event),
            (Op::Reverted, _) if self.may_take_back(block) => Ok(()),
            (Op::Reverted, _) => match &self.head {
                Some(head) if head.block != block => Err(Violation::NotHead { block }),
                Some(head) if self.is_final(head) => Err(Violation::Final { block }),
                Some(_) => Ok(()),
                None => Err(Violation::NotHead { block }),
            },
            (Op::Finalized, _) => {
                let is_canonical = self.hash_at(block.number) == Some(block.hash);
                let is_above = self.anchor.is_none_or(|at| block.number > at.block.number);
                let is_live = self.head.is_some_and(|head| block.number <= head.block.number);
                if is_canonical && is_above && is_live {
                    return Ok(());
                }
                Err(Violation::NotFinalizable { block })
            }
        }
    }

    fn check_on_top(&self, event: &EventHead) -> Result<(), Violation> {
        let block = event.block;
        match &self.head {
            Some(head) => {
                let follows =
                    block.number == head.block.number + 1 && event.parent_hash == head.block.hash;
                if follows {
                    return Ok(());
                }
                // What damage took out of the live lane comes back below the head.
                if block.number <= head.block.number && !self.has(block.number) {
                    return self.check_history(event);
                }
                Err(Violation::NotOnTop { block, head: head.block })
            }
            None => self.check_history(event),
        }
    }

    /// Whether a block can be taken back that is not the head: its retraction was lost, or what
    /// stood on it was, and what is fetched in its place stands on another block. Finality above
    /// says nothing of it: what would link the two is not there.
    fn may_take_back(&self, block: BlockRef) -> bool {
        let is_below_hole = self.head.is_some_and(|head| block.number < head.block.number)
            && !self.has(block.number + 1)
            && self.finalized() != Some(block)
            && self
                .canonical
                .get(&block.number)
                .is_some_and(|known| known.block == block && known.lane == Lane::Live);
        is_below_hole || self.stale.contains(&block)
    }

    /// A piece of history must be new, and link to what is captured on either side; in place of
    /// a lost block only the same comes back.
    fn check_history(&self, event: &EventHead) -> Result<(), Violation> {
        let block = event.block;
        if self.has(block.number) {
            return Err(Violation::Known { block });
        }
        if let Some(lost) = self.canonical.get(&block.number).filter(|lost| lost.block != block) {
            return Err(Violation::NotTheLost { block, lost: lost.block });
        }
        let before = block.number.checked_sub(1).and_then(|number| self.hash_at(number));
        if let Some(neighbour) = before.filter(|hash| *hash != event.parent_hash) {
            return Err(Violation::NotLinked { block, neighbour });
        }
        let after = self.parent_named_by(block.number + 1);
        if let Some(neighbour) = after.filter(|hash| *hash != block.hash) {
            return Err(Violation::NotLinked { block, neighbour });
        }
        Ok(())
    }

    /// Takes in a checked event.
    pub fn apply(&mut self, event: EventHead) {
        let number = event.block.number;
        self.last = self.last.max(event.lsn);
        let is_sealed = self.sealed.contains(number);
        if !is_sealed {
            // Nearly all numbers have one.
            self.events.entry(number).or_insert_with(|| Vec::with_capacity(1)).push(event);
        }
        match (event.op, event.lane) {
            (Op::Applied, lane) => {
                if lane == Lane::Live {
                    self.displace(&event);
                    let is_higher = |head: &EventHead| number >= head.block.number;
                    if self.head.as_ref().is_none_or(is_higher) {
                        self.head = Some(event);
                    }
                }
                if !is_sealed {
                    self.canonical.insert(number, event);
                    self.lost.remove(&number);
                }
            }
            (Op::Reverted, _) if self.stale.contains(&event.block) => {
                self.stale.retain(|block| *block != event.block);
            }
            (Op::Reverted, _) => {
                if self.canonical.get(&number).is_some_and(|head| head.block == event.block) {
                    self.canonical.remove(&number);
                    self.lost.remove(&number);
                }
                if self.head.is_some_and(|head| head.block == event.block) {
                    self.head = self.live_below(number);
                }
            }
            (Op::Finalized, _) => self.finalize(&event),
        }
    }

    /// Where records are lost, retractions may be among them: what a live block does not stand
    /// on was orphaned. Without damage nothing is displaced, since each event was checked.
    fn displace(&mut self, event: &EventHead) {
        let number = event.block.number;
        let is_other = |head: &EventHead| head.lane == Lane::Live;
        let known = self.canonical.get(&number).filter(|head| is_other(head)).copied();
        let is_same = known.is_some_and(|known| known.block == event.block);
        let mut displaced: Vec<EventHead> = Vec::new();
        // The same block again is one that was lost and came back.
        if known.is_some() && !is_same {
            displaced.extend(self.canonical.range(number..).map(|(_, head)| *head));
        }
        let below = number.checked_sub(1).and_then(|below| self.canonical.get(&below));
        displaced.extend(below.filter(|head| head.block.hash != event.parent_hash));
        for head in displaced.into_iter().filter(is_other) {
            self.canonical.remove(&head.block.number);
            self.lost.remove(&head.block.number);
            self.stale.push(head.block);
            if self.head.is_some_and(|top| top.block == head.block) {
                self.head = None;
            }
        }
        if self.head.is_none() {
            self.head = self.live_below(number);
        }
    }

    /// What stands below the final block and is no ancestor of it was orphaned, and its retraction
    /// is among the records that are lost. For when all records were read.
    pub(super) fn leave_orphans(&mut self) {
        let Some(anchor) = self.anchor else { return };
        let mut due = anchor.block;
        loop {
            let known = self.canonical.get(&due.number).copied();
            let ancestor = known.filter(|head| head.block == due);
            if let Some(orphan) = known.filter(|head| head.block != due && head.lane == Lane::Live)
            {
                self.canonical.remove(&due.number);
                self.lost.remove(&due.number);
                self.stale.push(orphan.block);
            }
            // Of the final block itself the parent is known although it is not there.
            let is_first = due == anchor.block;
            let parent = ancestor.map(|head| head.parent_hash);
            let Some(hash) = parent.or(is_first.then_some(anchor.parent_hash)) else { break };
            let Some(number) = due.number.checked_sub(1) else { break };
            due = BlockRef { number, hash };
        }
        if self.head.is_some_and(|head| self.stale.contains(&head.block)) {
            self.head = self.live_below(u64::MAX);
        }
    }

    /// The highest block of the live lane below a number.
    fn live_below(&self, number: u64) -> Option<EventHead> {
        let mut below = self.canonical.range(..number).rev().map(|(_, head)| *head);
        let unsealed = below.find(|head| head.lane == Lane::Live);
        let anchor = self.anchor.as_ref().filter(|anchor| anchor.block.number < number);
        match (unsealed, anchor) {
            (Some(head), Some(anchor)) if head.block.number < anchor.block.number => {
                Some(anchored(anchor))
            }
            (Some(head), _) => Some(head),
            (None, anchor) => anchor.map(anchored),
        }
    }

    fn finalize(&mut self, event: &EventHead) {
        let is_above = self.anchor.is_none_or(|at| event.block.number > at.block.number);
        if !is_above {
            return;
        }
        if let Some(head) = self.canonical.get(&event.block.number) {
            // Another one there was orphaned, and its retraction is lost.
            let head = if head.block == event.block { head } else { event };
            self.anchor = Some(Anchor {
                block: head.block,
                parent_hash: head.parent_hash,
                timestamp: head.timestamp,
                lsn: head.lsn,
            });
        }
    }

    /// Moves a sealed run out of the unsealed part.
    pub(super) fn seal(&mut self, parts: Vec<Part>) {
        for part in parts.iter().filter(|part| part.table == Table::Blocks) {
            self.add_edges(part);
            self.sealed.insert(part.range);
            self.partial.remove(part.range);
            for number in part.range.numbers() {
                self.events.remove(&number);
                self.canonical.remove(&number);
                self.lost.remove(&number);
            }
        }
        self.stale.retain(|block| !self.sealed.contains(block.number));
        let parts = self.parts.iter().cloned().chain(parts);
        self.set_parts(parts.collect());
    }

    /// Retention removed parts; blocks whose rows of `blocks` are gone are forgotten.
    pub(super) fn forget_parts(&mut self, removed: &[Part]) {
        for part in removed {
            match part.table {
                Table::Blocks => {
                    self.sealed.remove(part.range);
                    self.forgotten.insert(part.range);
                }
                Table::Transactions | Table::Logs | Table::Withdrawals | Table::Traces => {
                    self.partial.insert(part.range);
                }
                Table::ChainEvents | Table::Verification => {}
            }
        }
        let kept = self.parts.iter().filter(|part| !removed.contains(part)).cloned();
        self.set_parts(kept.collect());
    }

    /// Puts parts in place of others that hold the same rows.
    pub(super) fn merge_parts(&mut self, removed: &[Part], added: Vec<Part>) {
        let kept = self.parts.iter().filter(|part| !removed.contains(part)).cloned();
        self.set_parts(kept.chain(added).collect());
    }

    /// Puts other parts in place of the parts; a snapshot keeps the list that it has.
    pub(super) fn set_parts(&mut self, mut parts: Vec<Part>) {
        parts.sort_by_key(|part| (part.table, part.range.first));
        self.parts = Arc::new(parts);
    }
}

/// A final block as the event that applied it.
fn anchored(anchor: &Anchor) -> EventHead {
    EventHead {
        lsn: anchor.lsn,
        op: Op::Applied,
        lane: Lane::Live,
        block: anchor.block,
        parent_hash: anchor.parent_hash,
        // Earlier versions took every number for seconds.
        timestamp: seconds_of(anchor.timestamp),
        verified: Verified::default(),
        origin: Origin::default(),
    }
}

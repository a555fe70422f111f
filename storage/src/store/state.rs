//! Where a chain stands after its log: a pure fold over events, checked before each is written.

use std::collections::BTreeMap;
use std::sync::Arc;

use alloy_primitives::B256;

use crate::ledger::{Anchor, Part};
use crate::model::{BlockRange, BlockRanges, BlockRef, EventHead, Lane, Lsn, Op};
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
        state.head = anchor.map(|anchor| EventHead {
            lsn: anchor.lsn,
            op: Op::Applied,
            lane: Lane::Live,
            block: anchor.block,
            parent_hash: anchor.parent_hash,
            timestamp: anchor.timestamp,
            verified: crate::model::Verified::default(),
        });
        state
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

    /// The highest block of the live lane.
    pub fn head(&self) -> Option<&EventHead> {
        self.head.as_ref()
    }

    /// The highest final block of the live lane.
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
        for number in self.canonical.keys() {
            captured.insert(BlockRange { first: *number, last: *number });
        }
        captured
    }

    /// Whether the canonical block of a number is there.
    pub fn has(&self, number: u64) -> bool {
        self.canonical.contains_key(&number) || self.sealed.contains(number)
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
                Err(Violation::NotOnTop { block, head: head.block })
            }
            None => self.check_history(event),
        }
    }

    /// A piece of history must be new, and link to what is captured on either side.
    fn check_history(&self, event: &EventHead) -> Result<(), Violation> {
        let block = event.block;
        if self.has(block.number) {
            return Err(Violation::Known { block });
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
            self.events.entry(number).or_default().push(event);
        }
        match (event.op, event.lane) {
            (Op::Applied, lane) => {
                if !is_sealed {
                    self.canonical.insert(number, event);
                }
                if lane == Lane::Live {
                    self.head = Some(event);
                }
            }
            (Op::Reverted, _) => {
                if !is_sealed {
                    self.canonical.remove(&number);
                }
                self.head = number.checked_sub(1).and_then(|below| self.live_at(below));
            }
            (Op::Finalized, _) => self.finalize(&event),
        }
    }

    /// The block below a reverted one, when it is of the live lane.
    fn live_at(&self, number: u64) -> Option<EventHead> {
        let unsealed = self.canonical.get(&number).copied();
        let anchored = || {
            let anchor = self.anchor.filter(|anchor| anchor.block.number == number)?;
            Some(EventHead {
                lsn: anchor.lsn,
                op: Op::Applied,
                lane: Lane::Live,
                block: anchor.block,
                parent_hash: anchor.parent_hash,
                timestamp: anchor.timestamp,
                verified: crate::model::Verified::default(),
            })
        };
        unsealed.filter(|head| head.lane == Lane::Live).or_else(anchored)
    }

    fn finalize(&mut self, event: &EventHead) {
        let is_above = self.anchor.is_none_or(|at| event.block.number > at.block.number);
        if !is_above {
            return;
        }
        if let Some(head) = self.canonical.get(&event.block.number) {
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
            for number in part.range.numbers() {
                self.events.remove(&number);
                self.canonical.remove(&number);
            }
        }
        Arc::make_mut(&mut self.parts).extend(parts);
    }
}

//! What capture has to do so that nothing is missing: a pure function of the chain's state.

use crate::model::{BlockRange, BlockRanges, BlockRef, Lane};

use super::ChainState;

/// The next thing to mend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repair {
    /// A block whose retraction was lost: it is taken back.
    TakeBack(BlockRef),
    /// Blocks that are missing: they are fetched.
    Fetch {
        /// The blocks.
        range: BlockRange,
        /// How they come in.
        lane: Lane,
    },
}

impl ChainState {
    /// What is missing between a number, or the lowest block that is there, and the highest one,
    /// whichever lane it came by (INV-11); what retention removed is not missed.
    pub fn gaps(&self, first: Option<u64>) -> Vec<BlockRange> {
        let mut known = self.captured();
        for range in self.forgotten().iter() {
            known.insert(range);
        }
        let lowest = known.iter().next().map(|range| range.first);
        let head = self.latest().map(|block| block.number);
        let range = first.or(lowest).zip(head).and_then(|(a, b)| BlockRange::new(a, b));
        range.map(|range| known.missing(range)).unwrap_or_default()
    }

    /// The next thing to mend: from a configured start on all that is missing, without one what
    /// damage took; nobody asked for the rest. Before the live lane begins only what damage took
    /// below other history, which is final: where the live lane begins is the follower's choice.
    /// No provider has what is in `holes`.
    pub fn next_repair(&self, first: Option<u64>, holes: &BlockRanges) -> Option<Repair> {
        if let Some(block) = self.stale().first() {
            return Some(Repair::TakeBack(*block));
        }
        let mut known = self.captured();
        for range in self.forgotten().iter().chain(holes.iter()) {
            known.insert(range);
        }
        let (head, first) = match self.head() {
            Some(head) => (head.block.number, first),
            None => (self.latest()?.number, None),
        };
        let below_head = |range: BlockRange| BlockRange::new(range.first, range.last.min(head));
        let damaged = self.damaged().iter().flat_map(|range| known.missing(range));
        let wanted = first.and_then(|first| BlockRange::new(first, head));
        let wanted = wanted.map(|range| known.missing(range)).unwrap_or_default();
        let gap = wanted.into_iter().chain(damaged).filter_map(below_head);
        let gap = gap.min_by_key(|range| range.first)?;
        let last_final = self.finalized().map(|block| block.number);
        if last_final.is_some_and(|last| gap.first <= last) {
            let last = last_final.map_or(gap.last, |last| gap.last.min(last));
            let range = BlockRange { first: gap.first, last };
            return Some(Repair::Fetch { range, lane: Lane::Backfill });
        }
        // Above what is final only damage makes gaps, in the live lane.
        let is_live = |number| self.canonical(number).is_some_and(|head| head.lane == Lane::Live);
        let is_in_live_lane = self.unsealed().take_while(|head| head.block.number < gap.first);
        let is_in_live_lane =
            is_in_live_lane.map(|head| head.block.number).any(is_live) || last_final.is_some();
        let lane = if is_in_live_lane { Lane::Live } else { Lane::Backfill };
        Some(Repair::Fetch { range: gap, lane })
    }
}

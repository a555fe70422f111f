//! The ends of what is captured, whichever lane it came by: the `latest` and the last final block
//! of readers. Capture goes by the ends of its own lane, `head` and `finalized`.

use crate::model::{BlockRef, Lane};

use super::ChainState;

impl ChainState {
    /// The highest canonical block that is durable, followed live or fetched by a backfill.
    pub fn latest(&self) -> Option<BlockRef> {
        let live = self.head().map(|head| head.block);
        let unsealed = self.unsealed().next_back().map(|head| head.block);
        higher([live, unsealed, self.last_sealed()])
    }

    /// The highest canonical block that can no longer be reverted. Backfills fetch final blocks
    /// only, and only final blocks are sealed.
    pub fn latest_final(&self) -> Option<BlockRef> {
        let settled = higher([self.finalized(), self.last_sealed()]);
        let is_above = |number| settled.is_none_or(|block| number > block.number);
        let mut above = self.unsealed().rev().take_while(|head| is_above(head.block.number));
        let history = above.find(|head| head.lane == Lane::Backfill);
        history.map(|head| head.block).or(settled)
    }

    fn last_sealed(&self) -> Option<BlockRef> {
        let number = self.sealed().iter().next_back()?.last;
        Some(BlockRef { number, hash: self.hash_at(number)? })
    }
}

fn higher<const N: usize>(ends: [Option<BlockRef>; N]) -> Option<BlockRef> {
    ends.into_iter().flatten().max_by_key(|block| block.number)
}

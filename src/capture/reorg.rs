//! A parent that does not match: what to take back and what to fetch, as a pure function.

use alloy_primitives::B256;
use headwater_storage::model::BlockRef;

/// A new block's place: its number and the parent that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Height.
    pub number: u64,
    /// The block below.
    pub parent_hash: B256,
}

/// What to do next about the lowest new block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Its parent is ours: take back everything above, then apply the new blocks.
    Fork {
        /// The height of the last common block; `None` when all of ours goes.
        common: Option<u64>,
    },
    /// Its parent is another one: fetch the block below too.
    FetchBelow {
        /// The height to fetch.
        number: u64,
    },
    /// Below is final: that cannot be.
    PastFinality {
        /// The final block that the new chain does not have.
        known: BlockRef,
    },
}

/// Looks at the lowest new block. `known` gives our canonical hash of a height, `finalized` our
/// final block.
pub fn next_step(
    lowest: Link,
    known: impl Fn(u64) -> Option<B256>,
    finalized: Option<BlockRef>,
) -> Step {
    let Some(below) = lowest.number.checked_sub(1) else {
        return match finalized {
            Some(known) => Step::PastFinality { known },
            None => Step::Fork { common: None },
        };
    };
    if let Some(known) = finalized.filter(|at| lowest.number <= at.number) {
        return Step::PastFinality { known };
    }
    match known(below) {
        Some(hash) if hash == lowest.parent_hash => Step::Fork { common: Some(below) },
        Some(_) => match finalized.filter(|at| below <= at.number) {
            Some(known) => Step::PastFinality { known },
            None => Step::FetchBelow { number: below },
        },
        // Below the first block that we ever had.
        None => Step::Fork { common: None },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(byte: u8) -> B256 {
        B256::repeat_byte(byte)
    }

    /// Ours: blocks 10 to 14 with hashes 10 to 14; final up to `last`.
    fn step(number: u64, parent: u8, last: Option<u64>) -> Step {
        let known = |height: u64| (10..=14).contains(&height).then(|| hash(height as u8));
        let finalized = last.map(|number| BlockRef { number, hash: hash(number as u8) });
        next_step(Link { number, parent_hash: hash(parent) }, known, finalized)
    }

    #[test]
    fn the_plan_walks_down_to_the_fork_and_never_past_finality() {
        let known = |number| BlockRef { number, hash: hash(number as u8) };
        assert_eq!(step(15, 14, Some(11)), Step::Fork { common: Some(14) });
        assert_eq!(step(15, 99, Some(11)), Step::FetchBelow { number: 14 });
        assert_eq!(step(13, 12, Some(11)), Step::Fork { common: Some(12) });
        assert_eq!(step(13, 99, Some(11)), Step::FetchBelow { number: 12 });
        assert_eq!(step(12, 11, Some(11)), Step::Fork { common: Some(11) });
        assert_eq!(step(12, 99, Some(11)), Step::PastFinality { known: known(11) });
        assert_eq!(step(11, 10, Some(11)), Step::PastFinality { known: known(11) });
        assert_eq!(step(11, 99, None), Step::FetchBelow { number: 10 });
        assert_eq!(step(10, 99, None), Step::Fork { common: None });
        assert_eq!(step(0, 0, None), Step::Fork { common: None });
    }
}

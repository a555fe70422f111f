//! Blocks that no provider has, or gives as they are: they are listed and asked for again later,
//! and what lies behind them is not kept waiting (INV-11).

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use headwater_storage::model::{BlockRange, BlockRanges};

use crate::clock;

/// How long what nobody has is not asked for.
const AGAIN_AFTER: Duration = Duration::from_mins(10);
/// The same of what some provider has, and gave wrong or not whole: it may be mended.
const MENDED_AFTER: Duration = Duration::from_mins(1);
/// Ranges that are remembered one by one.
const HOLES_MAX: usize = 1_000;

/// A range that no provider has, or gives as it is.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Hole {
    /// The lowest number.
    pub first: u64,
    /// The highest number.
    pub last: u64,
    /// In the words of the provider that was asked last.
    pub reason: String,
}

/// What cannot be had from any provider at the moment.
#[derive(Default)]
pub struct Holes {
    inner: Mutex<Vec<(Hole, Instant)>>,
}

impl Holes {
    fn with<T>(&self, act: impl FnOnce(&mut Vec<(Hole, Instant)>) -> T) -> T {
        act(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The blocks of a range cannot be had. `is_absence`: nobody has them, and more than a moment
    /// passes until somebody may. One that goes on from the last with a like reason is one with it.
    pub(super) fn add(&self, range: BlockRange, reason: String, is_absence: bool) {
        let now = clock::now();
        let until = now + if is_absence { AGAIN_AFTER } else { MENDED_AFTER };
        self.with(|holes| {
            let joined = holes.iter_mut().find(|(hole, _)| {
                hole.last.checked_add(1) == Some(range.first) && is_like(hole, range, &reason)
            });
            if let Some((hole, again)) = joined {
                hole.last = range.last;
                *again = until;
                return;
            }
            // What was asked for again is known anew.
            let is_over = |hole: &Hole| hole.first <= range.last && range.first <= hole.last;
            holes.retain(|(hole, again)| *again > now || !is_over(hole));
            if holes.len() >= HOLES_MAX {
                holes.remove(0);
            }
            let hole = Hole { first: range.first, last: range.last, reason };
            holes.push((hole, until));
        });
    }

    /// What is captured is no hole any more.
    pub(super) fn trim(&self, captured: &BlockRanges) {
        self.with(|holes| {
            holes.retain_mut(|(hole, _)| {
                let all = BlockRange { first: hole.first, last: hole.last };
                let missing = captured.missing(all);
                let ends = missing.first().zip(missing.last());
                let ends = ends.map(|(lowest, highest)| (lowest.first, highest.last));
                ends.is_some_and(|ends| {
                    (hole.first, hole.last) = ends;
                    true
                })
            });
        });
    }

    /// The numbers that are not asked for at the moment.
    pub fn numbers(&self) -> BlockRanges {
        let now = clock::now();
        self.with(|holes| {
            let mut numbers = BlockRanges::default();
            for (hole, _) in holes.iter().filter(|(_, until)| *until > now) {
                numbers.insert(BlockRange { first: hole.first, last: hole.last });
            }
            numbers
        })
    }

    /// What is known of them.
    pub fn list(&self) -> Vec<Hole> {
        self.with(|holes| holes.iter().map(|(hole, _)| hole.clone()).collect())
    }
}

/// Whether two reasons say the same of different blocks: all but numbers and hashes is equal.
fn is_like(hole: &Hole, range: BlockRange, reason: &str) -> bool {
    let words = |text: &str, first: u64| -> String {
        let text = text.replace(&first.to_string(), "N");
        let words = text.split(' ').map(|word| if word.contains("0x") { "H" } else { word });
        words.collect::<Vec<_>>().join(" ")
    };
    words(&hole.reason, hole.first) == words(reason, range.first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_with_the_same_reason_are_one_hole() {
        let holes = Holes::default();
        let one = |number| BlockRange { first: number, last: number };
        holes.add(one(7), "block 7: root says 0xab, not 0xcd".to_owned(), false);
        holes.add(one(8), "block 8: root says 0xef, not 0x12".to_owned(), false);
        holes.add(one(9), "block 9: null".to_owned(), true);
        holes.add(one(20), "block 20: null".to_owned(), true);
        let list: Vec<_> = holes.list().iter().map(|hole| (hole.first, hole.last)).collect();
        assert_eq!(list, [(7, 8), (9, 9), (20, 20)]);
        assert_eq!(holes.numbers().count(), 4);
        let mut captured = BlockRanges::default();
        captured.insert(BlockRange { first: 8, last: 9 });
        holes.trim(&captured);
        let list: Vec<_> = holes.list().iter().map(|hole| (hole.first, hole.last)).collect();
        assert_eq!(list, [(7, 7), (20, 20)]);
    }
}

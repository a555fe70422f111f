//! Blocks that no provider has: they are listed and asked for again later, and what lies behind
//! them is not kept waiting (INV-11).

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use headwater_storage::model::{BlockRange, BlockRanges};

use crate::clock;

/// How long what nobody has is not asked for.
const AGAIN_AFTER: Duration = Duration::from_mins(10);
/// Ranges that are remembered one by one.
const HOLES_MAX: usize = 1_000;

/// A range that no provider has.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Hole {
    /// The lowest number.
    pub first: u64,
    /// The highest number.
    pub last: u64,
    /// In the words of the provider that was asked last.
    pub reason: String,
}

/// What no provider has.
#[derive(Default)]
pub struct Holes {
    inner: Mutex<Vec<(Hole, Instant)>>,
}

impl Holes {
    fn with<T>(&self, act: impl FnOnce(&mut Vec<(Hole, Instant)>) -> T) -> T {
        act(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Nobody has the blocks of a range.
    pub(super) fn add(&self, range: BlockRange, reason: String) {
        let hole = Hole { first: range.first, last: range.last, reason };
        self.with(|holes| {
            if holes.len() >= HOLES_MAX {
                holes.remove(0);
            }
            holes.push((hole, clock::now() + AGAIN_AFTER));
        });
    }

    /// The numbers that are not asked for at the moment.
    pub fn numbers(&self) -> BlockRanges {
        let now = clock::now();
        self.with(|holes| {
            holes.retain(|(_, until)| *until > now);
            let mut numbers = BlockRanges::default();
            for (hole, _) in holes.iter() {
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

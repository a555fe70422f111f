//! What is here of blocks that are not whole yet, so that it is not asked for again.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::clock;

use super::Fetched;
use super::assemble::Body;

/// Blocks that are remembered.
const BLOCKS_MAX: usize = 16;
/// How long a block without its receipts counts: near the head another one may take its place.
const NEAR_HEAD: Duration = Duration::from_secs(10);
/// The same of history, which does not change: no longer than memory is well used so.
const OF_HISTORY: Duration = Duration::from_mins(2);
/// How far below the highest head that was heard of a block is new.
const FRESH_BLOCKS: u64 = 2;
/// How long receipts of a new block that are not there are only waited for. Nodes index a block
/// after they announce it, mostly within two seconds.
const ABSENT_PATIENCE: Duration = Duration::from_secs(5);
/// The same where the answer is an error, or a list that is not whole.
const FAILED_PATIENCE: Duration = Duration::from_secs(2);

/// Blocks of which something is here.
#[derive(Default)]
pub(super) struct Late {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// The highest head that was heard of.
    head: u64,
    blocks: BTreeMap<u64, Part>,
}

struct Part {
    /// When the rest was missed first.
    since: Instant,
    /// Until when what is here counts.
    until: Instant,
    what: What,
}

/// What is here of a block.
#[derive(Clone)]
pub(super) enum What {
    /// Nothing that is proved.
    Nothing,
    /// Everything but its receipts.
    Body(Box<Body>),
    /// Everything but its traces.
    Untraced(Fetched),
}

impl Late {
    fn with<T>(&self, act: impl FnOnce(&mut Inner) -> T) -> T {
        act(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A provider has this head.
    pub(super) fn saw_head(&self, number: u64) {
        self.with(|inner| inner.head = inner.head.max(number));
    }

    /// Whether a block is so new that providers may not have all of it yet.
    pub(super) fn is_fresh(&self, number: u64) -> bool {
        self.with(|inner| number.saturating_add(FRESH_BLOCKS) >= inner.head)
    }

    /// What is here of a block and still counts.
    pub(super) fn what(&self, number: u64) -> What {
        let now = clock::now();
        self.with(|inner| match inner.blocks.get(&number) {
            Some(part) if part.until > now => part.what.clone(),
            Some(_) | None => What::Nothing,
        })
    }

    /// Keeps what is here of a block of which the rest was missed; gives back how long that is so.
    pub(super) fn keep(&self, number: u64, what: What, is_history: bool) -> Duration {
        let now = clock::now();
        let until = now + if is_history { OF_HISTORY } else { NEAR_HEAD };
        self.with(|inner| {
            if !inner.blocks.contains_key(&number) && inner.blocks.len() >= BLOCKS_MAX {
                let oldest = inner.blocks.iter().min_by_key(|(_, part)| part.since);
                let oldest = oldest.map(|(number, _)| *number);
                oldest.and_then(|oldest| inner.blocks.remove(&oldest));
            }
            let part = inner.blocks.entry(number);
            let part = part.or_insert(Part { since: now, until, what: What::Nothing });
            // What is kept already keeps its age.
            let is_more = match (&part.what, &what) {
                (_, What::Nothing) => false,
                (What::Body(_), What::Body(_)) | (What::Untraced(_), What::Untraced(_)) => {
                    part.until <= now
                }
                (_, What::Body(_) | What::Untraced(_)) => true,
            };
            if is_more {
                (part.what, part.until) = (what, until);
            }
            now.saturating_duration_since(part.since)
        })
    }

    /// A block is whole, or is to be asked for anew.
    pub(super) fn forget(&self, number: u64) {
        self.with(|inner| inner.blocks.remove(&number));
    }

    /// What is here does not count any more, for it may be of another fork.
    pub(super) fn drop_part(&self, number: u64) {
        self.with(|inner| {
            if let Some(part) = inner.blocks.get_mut(&number) {
                part.what = What::Nothing;
            }
        });
    }
}

/// How long the receipts of a new block are only waited for.
pub(super) fn patience(is_absent: bool) -> Duration {
    if is_absent { ABSENT_PATIENCE } else { FAILED_PATIENCE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_near_the_highest_head_is_new() {
        let late = Late::default();
        assert!(late.is_fresh(7), "nothing is known of the head");
        late.saw_head(100);
        late.saw_head(50);
        assert!(late.is_fresh(98) && late.is_fresh(101) && !late.is_fresh(97));
    }

    #[test]
    fn a_bounded_number_of_blocks_is_remembered_and_the_oldest_forgotten() {
        let late = Late::default();
        for number in 0..=BLOCKS_MAX as u64 {
            late.keep(number, What::Nothing, true);
        }
        let count = late.with(|inner| (inner.blocks.len(), inner.blocks.contains_key(&0)));
        assert_eq!(count, (BLOCKS_MAX, false));
        late.forget(5);
        assert!(!late.with(|inner| inner.blocks.contains_key(&5)));
    }
}

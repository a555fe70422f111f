//! What a provider can do, as far as is known: every key of it profits from what one has learned.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::clock;

use super::key::Preset;
use super::wanted::TRACES;
use super::{Cause, Endpoint};

/// Calls that go in one request at most.
const BATCH_MAX: usize = 100;
/// How long what was learned of a provider counts: it may get better.
const AGAIN_SECS: u64 = 600;
/// Blocks in a row whose receipts came by a longer way until that way is taken first.
const ROUNDS_MAX: u32 = 3;

/// How the receipts of a block are asked for, the shortest way first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReceiptsBy {
    /// `eth_getBlockReceipts`, in one request with the block.
    Pair,
    /// `eth_getBlockReceipts` alone, by number.
    Number,
    /// The same, by hash as a text.
    Hash,
    /// The same, by hash in an object.
    HashObject,
    /// `eth_getTransactionReceipt` for each transaction.
    Each,
}

impl ReceiptsBy {
    /// The word in texts and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            ReceiptsBy::Pair => "with the block",
            ReceiptsBy::Number => "by number",
            ReceiptsBy::Hash => "by hash",
            ReceiptsBy::HashObject => "by hash as an object",
            ReceiptsBy::Each => "one by one",
        }
    }

    /// The method.
    pub fn method(self) -> &'static str {
        match self {
            ReceiptsBy::Each => "eth_getTransactionReceipt",
            ReceiptsBy::Pair | ReceiptsBy::Number | ReceiptsBy::Hash | ReceiptsBy::HashObject => {
                "eth_getBlockReceipts"
            }
        }
    }

    /// The way to take after this one failed. The second form of a hash helps only who did not
    /// understand the first, a request without the block not who does not take a number, and no
    /// form of the method who does not have it.
    pub fn after(self, cause: &Cause) -> Option<ReceiptsBy> {
        let (lacks, misreads) = (*cause == Cause::MethodMissing, *cause == Cause::InvalidParams);
        match self {
            ReceiptsBy::Each => None,
            _ if lacks => Some(ReceiptsBy::Each),
            // What is too large for a request by itself is as large by hash.
            ReceiptsBy::Number if *cause == Cause::TooBig => Some(ReceiptsBy::Each),
            ReceiptsBy::Pair if misreads => Some(ReceiptsBy::Hash),
            ReceiptsBy::Pair => Some(ReceiptsBy::Number),
            ReceiptsBy::Number => Some(ReceiptsBy::Hash),
            ReceiptsBy::Hash if misreads => Some(ReceiptsBy::HashObject),
            ReceiptsBy::Hash | ReceiptsBy::HashObject => Some(ReceiptsBy::Each),
        }
    }
}

/// Something that was learned at a time, in seconds since 1970-01-01 UTC, and is forgotten.
#[derive(Clone, Copy, Debug)]
struct Learned<T> {
    value: T,
    at: u64,
}

/// By which way receipts come, lately.
#[derive(Clone, Copy, Debug)]
struct Ways {
    first: Learned<ReceiptsBy>,
    /// Blocks in a row that came by a longer way.
    rounds: u32,
}

/// What a provider can do.
pub(super) struct Capabilities {
    provider: String,
    /// Calls in one request at most as its preset has it, and as was learned; 1: no batches.
    batch_most: usize,
    batch_max: Mutex<Learned<usize>>,
    ways: Mutex<Ways>,
    finalized_tag: AtomicBool,
    /// The place in [`TRACES`] of the way to ask for traces that is not known to be missing.
    traces: AtomicUsize,
    /// When the last way was found missing, seconds since 1970-01-01 UTC.
    traces_lost: AtomicU64,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Capabilities {
    pub(super) fn new(provider: &str, preset: Preset) -> Capabilities {
        let batch_most = if preset.takes_batches() { BATCH_MAX } else { 1 };
        Capabilities {
            provider: provider.to_owned(),
            batch_most,
            batch_max: Mutex::new(Learned { value: batch_most, at: 0 }),
            ways: Mutex::new(Ways { first: Learned { value: ReceiptsBy::Pair, at: 0 }, rounds: 0 }),
            finalized_tag: AtomicBool::new(true),
            traces: AtomicUsize::new(0),
            traces_lost: AtomicU64::new(0),
        }
    }

    pub(super) fn batch_max(&self) -> usize {
        self.batch_max_at(clock::unix_seconds())
    }

    /// What was refused is tried again later, twice as many calls each time.
    fn batch_max_at(&self, now: u64) -> usize {
        let mut known = locked(&self.batch_max);
        if known.value < self.batch_most && now.abs_diff(known.at) >= AGAIN_SECS {
            *known = Learned { value: (known.value * 2).min(self.batch_most), at: now };
        }
        known.value
    }

    pub(super) fn receipts_by(&self) -> ReceiptsBy {
        self.receipts_by_at(clock::unix_seconds())
    }

    fn receipts_by_at(&self, now: u64) -> ReceiptsBy {
        let mut ways = locked(&self.ways);
        if ways.first.value != ReceiptsBy::Pair && now.abs_diff(ways.first.at) >= AGAIN_SECS {
            *ways = Ways { first: Learned { value: ReceiptsBy::Pair, at: now }, rounds: 0 };
        }
        ways.first.value
    }

    pub(super) fn block_receipts(&self) -> bool {
        self.receipts_by() != ReceiptsBy::Each
    }

    pub(super) fn finalized_tag(&self) -> bool {
        self.finalized_tag.load(Ordering::Relaxed)
    }

    pub(super) fn traces(&self) -> Option<&'static [&'static str]> {
        self.traces_at(clock::unix_seconds())
    }

    /// The way to ask for traces at a time; where all were missing they are tried again later, for
    /// without them nothing goes on.
    fn traces_at(&self, now: u64) -> Option<&'static [&'static str]> {
        let at = self.traces.load(Ordering::Acquire);
        let is_over = now.abs_diff(self.traces_lost.load(Ordering::Acquire)) >= AGAIN_SECS;
        if at >= TRACES.len() && is_over {
            self.traces.store(0, Ordering::Release);
            return TRACES.first().copied();
        }
        TRACES.get(at).copied()
    }

    /// The way to ask for traces that has this method is missing: the next one is taken.
    pub(super) fn lacks_trace_method(&self, method: &'static str) {
        let Some(at) = TRACES.iter().position(|methods| methods.contains(&method)) else { return };
        self.traces_lost.store(clock::unix_seconds(), Ordering::Release);
        if self.traces.compare_exchange(at, at + 1, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            tracing::info!(provider = self.provider, "has no {method}");
        }
    }

    /// A batch of so many calls was refused: half of it is tried next, down to no batches.
    pub(super) fn batch_refused(&self, calls: usize) {
        let (max, provider) = ((calls / 2).max(1), &self.provider);
        let mut known = locked(&self.batch_max);
        if known.value <= max {
            return;
        }
        *known = Learned { value: max, at: clock::unix_seconds() };
        drop(known);
        if max == 1 {
            tracing::info!(provider, "takes no batches: single requests");
        } else {
            tracing::info!(provider, calls, max, "takes no batch of so many calls");
        }
    }

    pub(super) fn lacks_block_receipts(&self) {
        self.take_first(ReceiptsBy::Each);
    }

    fn take_first(&self, way: ReceiptsBy) {
        let mut ways = locked(&self.ways);
        let before = ways.first.value;
        if before >= way {
            return;
        }
        *ways = Ways { first: Learned { value: way, at: clock::unix_seconds() }, rounds: 0 };
        drop(ways);
        tracing::info!(
            provider = self.provider,
            "receipts are asked for {} at first",
            way.as_str()
        );
    }

    /// Receipts came by the way that is taken first.
    pub(super) fn receipts_came(&self) {
        locked(&self.ways).rounds = 0;
    }

    /// Receipts came by a longer way than the first. `is_certain`: the shorter ones are not taken
    /// there at all; otherwise they may have failed for this block alone.
    pub(super) fn receipts_came_round(&self, way: ReceiptsBy, is_certain: bool) {
        let mut ways = locked(&self.ways);
        ways.rounds = ways.rounds.saturating_add(1);
        let is_usual = is_certain || ways.rounds >= ROUNDS_MAX;
        drop(ways);
        if is_usual {
            self.take_first(way);
        }
    }

    pub(super) fn lacks_finalized_tag(&self) {
        if self.finalized_tag.swap(false, Ordering::Relaxed) {
            tracing::info!(provider = self.provider, "knows no finalized tag");
        }
    }
}

/// What an endpoint learns of the ways to receipts.
impl Endpoint {
    /// The way to receipts that is taken first.
    pub fn receipts_by(&self) -> ReceiptsBy {
        let shortest = if self.takes_batches() { ReceiptsBy::Pair } else { ReceiptsBy::Number };
        self.can.receipts_by().max(shortest)
    }

    /// Receipts came by the way that is taken first.
    pub fn receipts_came(&self) {
        self.can.receipts_came();
    }

    /// Receipts came by a longer way: where the shorter ones are not taken at all, or fail block
    /// after block, it is the first for a while.
    pub fn receipts_came_round(&self, way: ReceiptsBy, is_certain: bool) {
        self.can.receipts_came_round(way, is_certain);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{DEBUG_TRACE_BLOCK, TRACE_BLOCK};
    use super::*;

    #[test]
    fn ways_to_traces_that_are_missing_are_tried_again_only_where_none_is_left() {
        let can = Capabilities::new("p", Preset::Generic);
        let now = clock::unix_seconds();
        assert_eq!(can.traces_at(now), Some(TRACES[0]));
        can.lacks_trace_method(TRACE_BLOCK);
        assert_eq!(can.traces_at(now + 10_000), Some(TRACES[1]), "it has a way");
        can.lacks_trace_method(DEBUG_TRACE_BLOCK);
        assert_eq!(can.traces_at(now), None);
        assert_eq!(can.traces_at(now + 10_000), Some(TRACES[0]));
    }

    #[test]
    fn half_of_a_batch_that_was_refused_is_tried_down_to_none() {
        let can = Capabilities::new("p", Preset::Generic);
        for expected in [50, 25, 12, 6, 3, 1] {
            can.batch_refused(can.batch_max());
            assert_eq!(can.batch_max(), expected);
        }
        can.batch_refused(50);
        assert_eq!(can.batch_max(), 1, "what is known already");
    }

    #[test]
    fn what_was_refused_is_tried_again_in_steps() {
        let can = Capabilities::new("p", Preset::Generic);
        let now = clock::unix_seconds();
        can.batch_refused(2);
        assert_eq!(can.batch_max_at(now + AGAIN_SECS - 10), 1);
        assert_eq!(can.batch_max_at(now + AGAIN_SECS + 10), 2);
        assert_eq!(can.batch_max_at(now + AGAIN_SECS + 20), 2);
        assert_eq!(can.batch_max_at(now + 2 * AGAIN_SECS + 20), 4);
    }

    #[test]
    fn a_longer_way_is_the_first_when_the_shorter_ones_fail_for_good_and_only_for_a_while() {
        let can = Capabilities::new("p", Preset::Generic);
        let now = clock::unix_seconds();
        can.receipts_came_round(ReceiptsBy::Each, false);
        can.receipts_came_round(ReceiptsBy::Each, false);
        can.receipts_came();
        can.receipts_came_round(ReceiptsBy::Each, false);
        assert_eq!(can.receipts_by_at(now), ReceiptsBy::Pair, "some blocks only");
        can.receipts_came_round(ReceiptsBy::Hash, true);
        assert_eq!(can.receipts_by_at(now), ReceiptsBy::Hash, "it takes no number");
        for _ in 0..3 {
            can.receipts_came_round(ReceiptsBy::Each, false);
        }
        assert_eq!(can.receipts_by_at(now), ReceiptsBy::Each, "nor lists");
        assert!(!can.block_receipts());
        assert_eq!(can.receipts_by_at(now + AGAIN_SECS + 10), ReceiptsBy::Pair, "the floor again");
    }

    #[test]
    fn each_way_that_failed_has_one_behind_it_until_the_last() {
        use ReceiptsBy::{Each, Hash, HashObject, Number, Pair};
        let walk = |cause: Cause| {
            let mut ways = vec![Pair];
            while let Some(next) = ways.last().and_then(|way| way.after(&cause)) {
                ways.push(next);
            }
            ways
        };
        assert_eq!(walk(Cause::Wrong), [Pair, Number, Hash, Each]);
        assert_eq!(walk(Cause::InvalidParams), [Pair, Hash, HashObject, Each]);
        assert_eq!(walk(Cause::TooBig), [Pair, Number, Each]);
        assert_eq!(walk(Cause::MethodMissing), [Pair, Each]);
    }
}

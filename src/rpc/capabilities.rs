//! What a provider can do, as far as is known: every key of it profits from what one has learned.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use crate::clock;

use super::key::Preset;
use super::wanted::TRACES;

/// Calls that go in one request at most.
const BATCH_MAX: usize = 100;
/// How long a provider without traces is not asked for them.
const TRACES_AGAIN_SECS: u64 = 600;

/// What a provider can do.
pub(super) struct Capabilities {
    provider: String,
    /// Calls in one request at most; 1 where batches are not taken.
    batch_max: AtomicUsize,
    block_receipts: AtomicBool,
    finalized_tag: AtomicBool,
    /// The place in [`TRACES`] of the way to ask for traces that is not known to be missing.
    traces: AtomicUsize,
    /// When the last way was found missing, seconds since 1970-01-01 UTC.
    traces_lost: AtomicU64,
}

impl Capabilities {
    pub(super) fn new(provider: &str, preset: Preset) -> Capabilities {
        Capabilities {
            provider: provider.to_owned(),
            batch_max: AtomicUsize::new(if preset.takes_batches() { BATCH_MAX } else { 1 }),
            block_receipts: AtomicBool::new(true),
            finalized_tag: AtomicBool::new(true),
            traces: AtomicUsize::new(0),
            traces_lost: AtomicU64::new(0),
        }
    }

    pub(super) fn batch_max(&self) -> usize {
        self.batch_max.load(Ordering::Relaxed)
    }

    pub(super) fn block_receipts(&self) -> bool {
        self.block_receipts.load(Ordering::Relaxed)
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
        let is_over = now.abs_diff(self.traces_lost.load(Ordering::Acquire)) >= TRACES_AGAIN_SECS;
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
        if self.batch_max.fetch_min(max, Ordering::Relaxed) <= max {
            return;
        }
        if max == 1 {
            tracing::info!(provider, "takes no batches: single requests");
        } else {
            tracing::info!(provider, calls, max, "takes no batch of so many calls");
        }
    }

    pub(super) fn lacks_block_receipts(&self) {
        if self.block_receipts.swap(false, Ordering::Relaxed) {
            tracing::info!(
                provider = self.provider,
                "has no eth_getBlockReceipts: single receipts"
            );
        }
    }

    pub(super) fn lacks_finalized_tag(&self) {
        if self.finalized_tag.swap(false, Ordering::Relaxed) {
            tracing::info!(provider = self.provider, "knows no finalized tag");
        }
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
}

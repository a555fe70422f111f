//! What a provider can do, as far as is known: every key of it profits from what one has learned.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::key::Preset;
use super::wanted::TRACES;

/// Calls that go in one request at most.
const BATCH_MAX: usize = 100;

/// What a provider can do.
pub(super) struct Capabilities {
    provider: String,
    /// Calls in one request at most; 1 where batches are not taken.
    batch_max: AtomicUsize,
    block_receipts: AtomicBool,
    finalized_tag: AtomicBool,
    /// The place in [`TRACES`] of the way to ask for traces that is not known to be missing.
    traces: AtomicUsize,
}

impl Capabilities {
    pub(super) fn new(provider: &str, preset: Preset) -> Capabilities {
        Capabilities {
            provider: provider.to_owned(),
            batch_max: AtomicUsize::new(if preset.takes_batches() { BATCH_MAX } else { 1 }),
            block_receipts: AtomicBool::new(true),
            finalized_tag: AtomicBool::new(true),
            traces: AtomicUsize::new(0),
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
        TRACES.get(self.traces.load(Ordering::Relaxed)).copied()
    }

    /// The way to ask for traces that has this method is missing: the next one is taken.
    pub(super) fn lacks_trace_method(&self, method: &'static str) {
        let Some(at) = TRACES.iter().position(|methods| methods.contains(&method)) else { return };
        let next = at + 1;
        if self.traces.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
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

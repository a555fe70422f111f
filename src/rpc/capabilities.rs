//! What a provider can do, as far as is known: every key of it profits from what one has learned.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::key::Preset;
use super::wanted::TRACES;

/// What a provider can do.
pub(super) struct Capabilities {
    provider: String,
    batches: AtomicBool,
    block_receipts: AtomicBool,
    finalized_tag: AtomicBool,
    /// The place in [`TRACES`] of the way to ask for traces that is not known to be missing.
    traces: AtomicUsize,
}

impl Capabilities {
    pub(super) fn new(provider: &str, preset: Preset) -> Capabilities {
        Capabilities {
            provider: provider.to_owned(),
            batches: AtomicBool::new(preset.takes_batches()),
            block_receipts: AtomicBool::new(true),
            finalized_tag: AtomicBool::new(true),
            traces: AtomicUsize::new(0),
        }
    }

    pub(super) fn batches(&self) -> bool {
        self.batches.load(Ordering::Relaxed)
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

    pub(super) fn lacks_batches(&self) {
        if self.batches.swap(false, Ordering::Relaxed) {
            tracing::info!(provider = self.provider, "takes no batches: single requests");
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

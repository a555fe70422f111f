//! What a provider can do, as far as is known: every key of it profits from what one has learned.

use std::sync::atomic::{AtomicBool, Ordering};

use super::key::Preset;

/// What a provider can do.
pub(super) struct Capabilities {
    provider: String,
    batches: AtomicBool,
    block_receipts: AtomicBool,
    finalized_tag: AtomicBool,
}

impl Capabilities {
    pub(super) fn new(provider: &str, preset: Preset) -> Capabilities {
        Capabilities {
            provider: provider.to_owned(),
            batches: AtomicBool::new(preset.takes_batches()),
            block_receipts: AtomicBool::new(true),
            finalized_tag: AtomicBool::new(true),
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

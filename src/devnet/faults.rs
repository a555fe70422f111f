//! Faults on request: how often each happens, in thousandths of the requests.

use serde::{Deserialize, Serialize};

use super::ReceiptFaults;

/// How often each fault happens, in thousandths, and what the provider cannot do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// HTTP 429 with `Retry-After: 1`.
    pub throttle: u32,
    /// A log or a transaction is changed, so that a root does not come out.
    pub wrong_root: u32,
    /// The header names another parent.
    pub wrong_parent: u32,
    /// The last receipt is left out.
    pub missing_receipts: u32,
    /// The receipts of the block below, as when the chain moves between two calls.
    pub other_receipts: u32,
    /// `null` for a block that is there.
    pub null: u32,
    /// The answer takes `stall_ms`.
    pub stall: u32,
    /// Milliseconds of a stall.
    pub stall_ms: u64,
    /// The connection is cut in the middle of the answer.
    pub cut: u32,
    /// The answer never ends.
    pub endless: u32,
    /// HTTP 503.
    pub unavailable: u32,
    /// The latest block is one of an orphaned fork, as behind a URL with several nodes.
    pub old_fork: u32,
    /// Blocks below this one are no longer there.
    pub pruned_below: u64,
    /// Blocks that it is behind: what is above is not there.
    pub lag: u64,
    /// Subscriptions stand, and nothing is announced.
    pub silent: bool,
    /// Heads are announced, and the latest is called, that many blocks too high.
    pub announce_above: u64,
    /// The finalized block is one that nobody has, as high as the head.
    pub wrong_final: u32,
    /// Batches are refused.
    pub no_batches: bool,
    /// Batches of more calls are refused; 0: all are taken.
    pub batch_max: usize,
    /// `eth_getBlockReceipts` does not exist.
    pub no_block_receipts: bool,
    /// The first trace of a block moves another value.
    pub wrong_traces: u32,
    /// `trace_block` does not exist.
    pub no_trace_block: bool,
    /// `debug_traceBlockByNumber` does not exist.
    pub no_debug_trace: bool,
    /// The `finalized` and `safe` tags are not known.
    pub no_tags: bool,
    /// What is wrong with receipts.
    pub receipts: ReceiptFaults,
}

/// Dice that fall the same way for the same seed (splitmix64).
#[derive(Clone, Debug)]
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Whether something that happens so often in a thousand happens now.
    pub(super) fn happens(&mut self, thousandths: u32) -> bool {
        thousandths > 0 && self.next() % 1_000 < u64::from(thousandths)
    }
}

//! What is asked for, and the calls that it takes at a provider.

use super::Endpoint;

/// Something that several providers can give, each by the calls that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Calls of these methods, the same everywhere.
    Calls(&'static [&'static str]),
    /// A block with its receipts.
    Block,
    /// A block without its receipts.
    Body,
    /// The receipts of a block.
    Receipts,
    /// The traces of a block.
    Traces,
    /// The word that there is a new one, pushed.
    Announcement,
}

/// The floor (INV-12).
const BLOCK: &[&str] = &["eth_getBlockByNumber", "eth_getBlockReceipts"];
const BODY: &[&str] = &["eth_getBlockByNumber"];
const RECEIPTS: &[&str] = &["eth_getBlockReceipts"];
/// Where they come one by one: as many as mainnet's blocks have on average (DESIGN.md section 9).
const SINGLE_RECEIPTS: &[&str] = &["eth_getTransactionReceipt"; 174];
const BLOCK_WITH_SINGLE_RECEIPTS: &[&str] = &{
    let mut calls = ["eth_getTransactionReceipt"; 1 + SINGLE_RECEIPTS.len()];
    calls[0] = "eth_getBlockByNumber";
    calls
};
const ANNOUNCEMENT: &[&str] = &["newHeads"];
/// The ways to ask for traces, the first that a provider has is taken.
pub(super) const TRACES: [&[&str]; 2] = [&[TRACE_BLOCK], &[DEBUG_TRACE_BLOCK]];
/// Traces as `OpenEthereum` gives them.
pub const TRACE_BLOCK: &str = "trace_block";
/// Traces as go-ethereum gives them, with `callTracer`.
pub const DEBUG_TRACE_BLOCK: &str = "debug_traceBlockByNumber";

impl Wanted {
    /// The calls that it takes at an endpoint; `None` where it cannot be had there.
    pub(super) fn methods(self, endpoint: &Endpoint) -> Option<&'static [&'static str]> {
        match self {
            Wanted::Calls(methods) => Some(methods),
            Wanted::Block if endpoint.has_block_receipts() => Some(BLOCK),
            Wanted::Block => Some(BLOCK_WITH_SINGLE_RECEIPTS),
            Wanted::Body => Some(BODY),
            Wanted::Receipts if endpoint.has_block_receipts() => Some(RECEIPTS),
            Wanted::Receipts => Some(SINGLE_RECEIPTS),
            Wanted::Traces => endpoint.trace_methods(),
            Wanted::Announcement => endpoint.announcer().map(|_| ANNOUNCEMENT),
        }
    }

    /// The method that errors name when nobody can be asked.
    pub(super) fn name(self) -> &'static str {
        match self {
            Wanted::Calls(methods) => methods.first().copied().unwrap_or("none"),
            Wanted::Block | Wanted::Body => "eth_getBlockByNumber",
            Wanted::Receipts => "eth_getBlockReceipts",
            Wanted::Traces => TRACE_BLOCK,
            Wanted::Announcement => "newHeads",
        }
    }
}

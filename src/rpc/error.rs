//! Errors by their cause: what to do follows from it.

use std::time::Duration;

/// Why a provider did not give what was asked, and so what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Too many requests: wait this long, ask another meanwhile.
    Throttled {
        /// What `Retry-After` or the body says.
        after: Option<Duration>,
    },
    /// The quota is spent: rest until it is reset.
    QuotaSpent {
        /// How long that is, where we keep the account ourselves.
        until: Option<Duration>,
    },
    /// The key or the caller is refused.
    Refused,
    /// The method does not exist there, or is switched off.
    MethodMissing,
    /// The method does not take these parameters there.
    InvalidParams,
    /// The provider does not take batches, or none of this size.
    BatchRefused,
    /// The range holds too many blocks or results: ask for less.
    RangeTooWide {
        /// Blocks that are allowed at once, where the provider says so.
        blocks: Option<u64>,
    },
    /// The answer is larger than the provider gives.
    TooBig,
    /// The block is not there yet.
    BlockMissing,
    /// The block is so old that the provider no longer has it.
    Pruned,
    /// Two answers are of two forks: the chain moved between them.
    Moved,
    /// The answer is no JSON-RPC, or not of the expected shape.
    Malformed,
    /// The answer is wrong: proved so.
    Wrong,
    /// No answer: connection, timeout, server error.
    Unavailable,
    /// Nobody was asked: every provider rests after a failure, or what is left is for the head.
    Resting,
    /// Another error of the provider.
    Other,
}

impl Cause {
    /// What an error of one call means when it is the answer to a batch.
    pub(super) fn of_batch(self) -> Cause {
        match self {
            Cause::Other | Cause::MethodMissing | Cause::InvalidParams => Cause::BatchRefused,
            Cause::Throttled { .. }
            | Cause::QuotaSpent { .. }
            | Cause::Refused
            | Cause::BatchRefused
            | Cause::RangeTooWide { .. }
            | Cause::TooBig
            | Cause::BlockMissing
            | Cause::Pruned
            | Cause::Moved
            | Cause::Malformed
            | Cause::Wrong
            | Cause::Unavailable
            | Cause::Resting => self,
        }
    }

    /// The word in metrics and in the API.
    pub fn as_str(&self) -> &'static str {
        match self {
            Cause::Throttled { .. } => "throttled",
            Cause::QuotaSpent { .. } => "quota_spent",
            Cause::Refused => "refused",
            Cause::MethodMissing => "method_missing",
            Cause::InvalidParams => "invalid_params",
            Cause::BatchRefused => "batch_refused",
            Cause::RangeTooWide { .. } => "range_too_wide",
            Cause::TooBig => "too_big",
            Cause::BlockMissing => "block_missing",
            Cause::Pruned => "pruned",
            Cause::Moved => "moved",
            Cause::Malformed => "malformed",
            Cause::Wrong => "wrong",
            Cause::Unavailable => "unavailable",
            Cause::Resting => "resting",
            Cause::Other => "other",
        }
    }
}

/// A failed request. Its text never holds a key or a full URL (INV-9).
#[derive(Clone, Debug, thiserror::Error)]
#[error("{provider}: {} ({method}): {reason}", cause.as_str())]
pub struct RpcError {
    /// Which provider, by name.
    pub provider: String,
    /// Which method.
    pub method: &'static str,
    /// Why.
    pub cause: Cause,
    /// In the provider's words, keys removed.
    pub reason: String,
}

impl RpcError {
    /// Whether the block is not there, as opposed to: cannot be had now.
    pub fn is_absence(&self) -> bool {
        matches!(self.cause, Cause::BlockMissing | Cause::Pruned)
    }
}

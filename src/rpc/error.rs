//! Errors by their cause: what to do follows from it.

use std::time::Duration;

/// Why a provider did not give what was asked, and so what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Too many requests: wait this long, ask another meanwhile.
    Throttled {
        /// What `Retry-After` says.
        after: Option<Duration>,
    },
    /// The quota is spent: rest until it is reset.
    QuotaSpent,
    /// The key or the caller is refused.
    Refused,
    /// The method does not exist there.
    MethodMissing,
    /// The method does not take these parameters there.
    InvalidParams,
    /// The provider does not take batches.
    BatchRefused,
    /// The block is not there yet.
    BlockMissing,
    /// Two answers are of two forks: the chain moved between them.
    Moved,
    /// The answer is no JSON-RPC, or not of the expected shape.
    Malformed,
    /// The answer is wrong: proved so.
    Wrong,
    /// No answer: connection, timeout, server error.
    Unavailable,
    /// Nobody was asked: every provider rests after a failure.
    Resting,
    /// Another error of the provider.
    Other,
}

impl Cause {
    /// The word in metrics and in the API.
    pub fn as_str(&self) -> &'static str {
        match self {
            Cause::Throttled { .. } => "throttled",
            Cause::QuotaSpent => "quota_spent",
            Cause::Refused => "refused",
            Cause::MethodMissing => "method_missing",
            Cause::InvalidParams => "invalid_params",
            Cause::BatchRefused => "batch_refused",
            Cause::BlockMissing => "block_missing",
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

/// What the provider put into `error`.
#[derive(Clone, Debug, serde::Deserialize)]
pub struct ErrorObject {
    /// JSON-RPC error code.
    #[serde(default)]
    pub code: i64,
    /// Free text.
    #[serde(default)]
    pub message: String,
}

/// The cause that a JSON-RPC error means.
pub(super) fn classify(error: &ErrorObject) -> Cause {
    let text = error.message.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    match error.code {
        -32601 => Cause::MethodMissing,
        429 => Cause::Throttled { after: None },
        402 => Cause::QuotaSpent,
        401 | 403 => Cause::Refused,
        _ if says(&["daily request count", "quota", "monthly capacity", "credits"]) => {
            Cause::QuotaSpent
        }
        -32005 | -32007 | -32016 | -32097 if says(&["limit", "rate", "exceeded", "requests"]) => {
            Cause::Throttled { after: None }
        }
        _ if says(&["rate limit", "too many requests", "compute units per second"]) => {
            Cause::Throttled { after: None }
        }
        _ if says(&["batch"]) => Cause::BatchRefused,
        _ if says(&[
            "method not found",
            "does not exist/is not available",
            "unsupported method",
        ]) =>
        {
            Cause::MethodMissing
        }
        _ if says(&["invalid api key", "unauthorized", "invalid project id", "forbidden"]) => {
            Cause::Refused
        }
        _ if says(&["header not found", "block not found", "unknown block"]) => Cause::BlockMissing,
        -32602 => Cause::InvalidParams,
        _ if says(&["unknown tag", "block tag", "invalid block"]) => Cause::InvalidParams,
        _ => Cause::Other,
    }
}

/// The cause that an HTTP status means; `None` when the body decides.
pub(super) fn classify_status(status: u16, after: Option<Duration>) -> Option<Cause> {
    match status {
        429 => Some(Cause::Throttled { after }),
        402 => Some(Cause::QuotaSpent),
        401 | 403 => Some(Cause::Refused),
        200..=299 | 400 | 404 | 405 | 413 => None,
        _ => Some(Cause::Unavailable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause(code: i64, message: &str) -> Cause {
        classify(&ErrorObject { code, message: message.to_owned() })
    }

    #[test]
    fn errors_are_told_apart_by_code_and_words() {
        let throttled = Cause::Throttled { after: None };
        assert_eq!(cause(-32601, "the method eth_x does not exist"), Cause::MethodMissing);
        assert_eq!(cause(-32005, "project ID request rate exceeded"), throttled);
        assert_eq!(cause(-32005, "daily request count exceeded"), Cause::QuotaSpent);
        assert_eq!(cause(-32600, "batch requests are not allowed"), Cause::BatchRefused);
        assert_eq!(cause(-32000, "header not found"), Cause::BlockMissing);
        assert_eq!(cause(-32002, "invalid project id"), Cause::Refused);
        assert_eq!(cause(-32000, "something else"), Cause::Other);
        assert_eq!(classify_status(503, None), Some(Cause::Unavailable));
        assert_eq!(classify_status(200, None), None);
    }
}

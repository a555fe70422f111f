//! Errors by their cause: what to do follows from it.

use std::time::Duration;

use serde_json::Value;

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

/// What the provider put into `error`.
#[derive(Clone, Debug, Default, serde::Deserialize)]
pub struct ErrorObject {
    /// JSON-RPC error code.
    #[serde(default)]
    pub code: i64,
    /// Free text.
    #[serde(default)]
    pub message: String,
    /// More of it: Infura's 402.
    #[serde(default)]
    pub details: Option<String>,
    /// Whatever belongs to the code: Infura's `rate`, geth's ranges.
    #[serde(default)]
    pub data: Option<Value>,
}

/// Words, all in lower case, that tell a cause. The first line that has one decides.
const WORDS: [(&[&str], Cause); 12] = [
    (
        &["daily request count", "daily credit", "quota", "monthly capacity", "credits exhausted"],
        Cause::QuotaSpent { until: None },
    ),
    (
        &[
            "rate limit",
            "rate exceeded",
            "too many requests",
            "over rate",
            "compute units per second",
            "throughput",
            "rate-limited",
            "request limit",
        ],
        Cause::Throttled { after: None },
    ),
    (
        &[
            "block range",
            "blocks range",
            "query returned more than",
            "exceeds max results",
            "exceeds limit of",
            "max range",
            "maximum is set to",
            "range is too",
            "must be smaller than size",
            "number of requested blocks",
            "limited to a",
        ],
        Cause::RangeTooWide { blocks: None },
    ),
    (&["response size", "response is too", "response too", "content too large"], Cause::TooBig),
    (&["batch"], Cause::BatchRefused),
    (
        &[
            "method not found",
            "does not exist/is not available",
            "unsupported method",
            "method not supported",
            "not whitelisted",
            "method is not",
        ],
        Cause::MethodMissing,
    ),
    (
        &[
            "invalid api key",
            "unauthorized",
            "invalid project id",
            "project id",
            "forbidden",
            "access denied",
            "must be authenticated",
        ],
        Cause::Refused,
    ),
    (
        &["pruned", "missing trie node", "history has been", "historical state", "not available"],
        Cause::Pruned,
    ),
    (
        &["header not found", "block not found", "unknown block", "finalized block not found"],
        Cause::BlockMissing,
    ),
    (&["unknown tag", "block tag", "invalid block"], Cause::InvalidParams),
    (&["timeout", "timed out", "internal error", "temporarily"], Cause::Unavailable),
    (&["parse error", "invalid json"], Cause::Malformed),
];

/// The cause that a JSON-RPC error means.
pub(super) fn classify(error: &ErrorObject) -> Cause {
    let details = error.details.as_deref().unwrap_or_default();
    let text = format!("{} {details}", error.message).to_lowercase();
    match error.code {
        -32601 => return Cause::MethodMissing,
        402 => return Cause::QuotaSpent { until: None },
        401 | 403 => return Cause::Refused,
        _ => {}
    }
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let found = WORDS.iter().find(|(words, _)| has(words)).map(|(_, cause)| cause.clone());
    match found {
        Some(Cause::Throttled { .. }) => Cause::Throttled { after: error.backoff() },
        Some(Cause::RangeTooWide { .. }) => {
            Cause::RangeTooWide { blocks: error.range().or_else(|| blocks_in(&text)) }
        }
        Some(cause) => cause,
        None if matches!(error.code, 429 | -32016 | -32097) => {
            Cause::Throttled { after: error.backoff() }
        }
        None if error.code == -32602 => Cause::InvalidParams,
        // `limit exceeded` is how a method that is switched off answers (BNB Smart Chain).
        None if error.code == -32005 && text.trim() == "limit exceeded" => Cause::MethodMissing,
        None if error.code == -32005 => Cause::Throttled { after: error.backoff() },
        None => Cause::Other,
    }
}

impl ErrorObject {
    /// Seconds that Infura asks to wait; 0 says nothing.
    fn backoff(&self) -> Option<Duration> {
        let seconds = self.data.as_ref()?.get("rate")?.get("backoff_seconds")?.as_f64()?;
        (seconds > 0.0).then(|| Duration::from_secs_f64(seconds.min(3_600.0)))
    }

    /// Blocks of the range that `data` or the words between brackets offer.
    fn range(&self) -> Option<u64> {
        let hex = |text: &str| u64::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok();
        let data = self.data.as_ref().and_then(|data| {
            let from = hex(data.get("from")?.as_str()?)?;
            let to = hex(data.get("to")?.as_str()?)?;
            Some((from, to))
        });
        let (from, to) = data.or_else(|| {
            let (_, rest) = self.message.split_once('[')?;
            let (from, to) = rest.split_once(']')?.0.split_once(',')?;
            Some((hex(from)?, hex(to)?))
        })?;
        Some(to.checked_sub(from)? + 1)
    }
}

/// The first number in a text that is about blocks: `10,000`, `10k` and `1_000` are read.
fn blocks_in(text: &str) -> Option<u64> {
    if !["block", "range", "maximum", "smaller"].iter().any(|word| text.contains(word)) {
        return None;
    }
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != ',' && c != '_');
    words.into_iter().find_map(|word| {
        let word: String = word.chars().filter(|c| *c != ',' && *c != '_').collect();
        let (digits, scale) = word.strip_suffix('k').map_or((&*word, 1), |digits| (digits, 1_000));
        digits.parse::<u64>().ok().map(|number| number * scale)
    })
}

/// The cause that an HTTP status means; `None` when the body decides.
pub(super) fn classify_status(status: u16, after: Option<Duration>) -> Option<Cause> {
    match status {
        429 => Some(Cause::Throttled { after }),
        402 => Some(Cause::QuotaSpent { until: None }),
        401 | 403 => Some(Cause::Refused),
        200..=299 | 400 | 404 | 405 | 413 => None,
        _ => Some(Cause::Unavailable),
    }
}

/// The cause of an answer that is no result: the status, made clearer by the body if it says more.
pub(super) fn classify_answer(status: u16, after: Option<Duration>, body: &str) -> Option<Cause> {
    let by_status = classify_status(status, after);
    let is_plain = matches!(by_status, None | Some(Cause::Unavailable));
    let said = error_in(body).map(|error| classify(&error));
    match (by_status, said) {
        (None, _) => None,
        (Some(Cause::Throttled { after: None }), Some(Cause::Throttled { after })) => {
            Some(Cause::Throttled { after })
        }
        // Infura says with 429 that the day is over.
        (Some(Cause::Throttled { .. }), Some(Cause::QuotaSpent { until })) => {
            Some(Cause::QuotaSpent { until })
        }
        (Some(_), Some(said)) if is_plain && said != Cause::Other => Some(said),
        (by_status, _) => by_status,
    }
}

/// The cause that an answer with an error has, by its HTTP status, if known, and its body.
pub fn cause_of(status: Option<u16>, body: &str) -> Option<Cause> {
    let by_status = status.and_then(|status| classify_answer(status, None, body));
    by_status.or_else(|| error_in(body).map(|error| classify(&error)))
}

/// The error that a body holds, of one call or of the first of a batch.
fn error_in(body: &str) -> Option<ErrorObject> {
    let value: Value = serde_json::from_str(body).ok()?;
    let one = value.get(0).unwrap_or(&value);
    serde_json::from_value(one.get("error")?.clone()).ok()
}

//! The cause that a provider's words, code and HTTP status mean.
//!
//! Each cause is only for texts that really say it. That a provider does not have a block is said
//! by words about blocks, headers, state or history; a service that is not available has said
//! nothing about any block.

use std::time::Duration;

use serde_json::Value;

use crate::rpc::Cause;

use super::envelope::plain;
use super::error_object::ErrorObject;

/// Words, all in lower case, that tell a cause. The first line that has one decides.
const WORDS: [(&[&str], Cause); 12] = [
    (
        &["daily request count", "daily credit", "quota", "monthly capacity", "credits exhausted"],
        Cause::QuotaSpent { until: None },
    ),
    (
        &[
            "batch request",
            "batched request",
            "batch call",
            "batch size",
            "batch limit",
            "batch item",
            "batch of",
            "batch is too",
            "batch too",
            "batch not",
            "batches",
            "batching",
            "in batch",
            "in a batch",
            "no batch",
        ],
        Cause::BatchRefused,
    ),
    (
        &[
            "rate limit",
            "rate-limit",
            "ratelimit",
            "rate exceeded",
            "request limit",
            "too many requests",
            "too many concurrent",
            "too many connections",
            "over rate",
            "throughput",
            "throttl",
            "slow down",
            "compute units per second",
            "requests per second",
            "calls per second",
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
    (
        &[
            "response size",
            "response is too",
            "response too",
            "response exceed",
            "content too large",
            "payload too large",
            "entity too large",
        ],
        Cause::TooBig,
    ),
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
        &[
            "pruned",
            "missing trie node",
            "history has been",
            "historical state",
            "historical data",
            "archive",
        ],
        Cause::Pruned,
    ),
    (&["unknown tag", "block tag", "invalid block"], Cause::InvalidParams),
    (
        &[
            "header not found",
            "unknown block",
            "unknown header",
            "no such block",
            "could not find block",
            "cannot find block",
            "resource not found",
            "block out of range",
            "block number out of range",
            "block is out of range",
            // Avalanche, above its last accepted block.
            "cannot query unfinalized data",
            "after last accepted block",
        ],
        Cause::BlockMissing,
    ),
    (
        &[
            "timeout",
            "timed out",
            "internal error",
            "temporarily",
            "maintenance",
            "overloaded",
            "bad gateway",
            "try again later",
            "shutting down",
            "not available",
            "unavailable",
        ],
        Cause::Unavailable,
    ),
    (&["parse error", "invalid json"], Cause::Malformed),
];

/// The cause that a JSON-RPC error means.
pub(super) fn classify(error: &ErrorObject) -> Cause {
    match error.code {
        -32601 => return Cause::MethodMissing,
        402 => return Cause::QuotaSpent { until: None },
        401 | 403 => return Cause::Refused,
        _ => {}
    }
    let text = error.lower();
    let said = by_words(error, &text).or_else(|| by_words(error, &error.lower_data()));
    if let Some(cause) = said {
        return cause;
    }
    match error.code {
        429 | -32007 | -32016 | -32097 => Cause::Throttled { after: error.backoff() },
        -32602 => Cause::InvalidParams,
        // `limit exceeded` is how a method that is switched off answers (BNB Smart Chain).
        -32005 if text.trim() == "limit exceeded" => Cause::MethodMissing,
        -32005 => Cause::Throttled { after: error.backoff() },
        // EIP-1474: method not supported, resource not found, resource unavailable.
        -32004 => Cause::MethodMissing,
        -32001 if has_word(&text, &["block", "header"]) => Cause::BlockMissing,
        -32002 | 500..=599 => Cause::Unavailable,
        413 => Cause::TooBig,
        _ => Cause::Other,
    }
}

fn by_words(error: &ErrorObject, text: &str) -> Option<Cause> {
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let found = WORDS.iter().find(|(words, _)| has(words)).map(|(_, cause)| cause.clone());
    match found {
        // A quota of each second or minute is a pace.
        Some(Cause::QuotaSpent { .. }) if has(&["per second", "per minute"]) => {
            Some(Cause::Throttled { after: error.backoff() })
        }
        Some(Cause::Throttled { .. }) => Some(Cause::Throttled { after: error.backoff() }),
        Some(Cause::RangeTooWide { .. }) => {
            Some(Cause::RangeTooWide { blocks: error.range().or_else(|| blocks_in(text)) })
        }
        Some(Cause::Unavailable) | None => absence(text).or(found),
        Some(cause) => Some(cause),
    }
}

/// Whether a block is said not to be there: it takes a word for what is not there, and one for what
/// it is of.
fn absence(text: &str) -> Option<Cause> {
    let is_gone = ["not available", "unavailable", "no longer"].iter().any(|w| text.contains(w));
    let is_missing = ["not found", "not be found", "does not exist", "doesn't exist"];
    let is_missing = is_missing.iter().any(|word| text.contains(word));
    if is_gone && has_word(text, &["state", "states", "trie", "history", "historical"]) {
        return Some(Cause::Pruned);
    }
    let is_of_block = has_word(text, &["block", "blocks", "header", "headers"]);
    ((is_gone || is_missing) && is_of_block).then_some(Cause::BlockMissing)
}

/// Whether one of these words stands in a text, not only its letters within others.
fn has_word(text: &str, words: &[&str]) -> bool {
    let is_inside = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(|c| !is_inside(c)).any(|word| words.contains(&word))
}

/// The cause of what is no answer at all: it says nothing about what was asked for.
pub(super) fn classify_nothing(said: &ErrorObject) -> Cause {
    match classify(said) {
        cause @ (Cause::Throttled { .. }
        | Cause::QuotaSpent { .. }
        | Cause::Refused
        | Cause::BatchRefused
        | Cause::TooBig
        | Cause::Unavailable) => cause,
        Cause::MethodMissing
        | Cause::InvalidParams
        | Cause::RangeTooWide { .. }
        | Cause::BlockMissing
        | Cause::Pruned
        | Cause::Moved
        | Cause::Malformed
        | Cause::Wrong
        | Cause::Resting
        | Cause::Other => Cause::Malformed,
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
fn classify_status(status: u16, after: Option<Duration>) -> Option<Cause> {
    match status {
        429 => Some(Cause::Throttled { after }),
        402 => Some(Cause::QuotaSpent { until: None }),
        401 | 403 | 407 => Some(Cause::Refused),
        200..=299 | 400 | 404 | 405 | 413 => None,
        _ => Some(Cause::Unavailable),
    }
}

/// The cause of an answer with a status and an error, where the status says anything.
pub(super) fn classify_answer(
    status: u16,
    after: Option<Duration>,
    said: Option<&ErrorObject>,
) -> Option<Cause> {
    let by_status = classify_status(status, after);
    let said = said.map(classify);
    match (by_status, said) {
        (None, _) => None,
        (Some(Cause::Throttled { after: None }), Some(Cause::Throttled { after })) => {
            Some(Cause::Throttled { after })
        }
        // Infura says with 429 that the day is over, others with 403 that it was too much.
        (Some(Cause::Throttled { .. } | Cause::Refused), Some(Cause::QuotaSpent { until })) => {
            Some(Cause::QuotaSpent { until })
        }
        (Some(Cause::Refused), Some(said @ Cause::Throttled { .. })) => Some(said),
        (Some(Cause::Unavailable), Some(said)) if said != Cause::Other => Some(said),
        (by_status, _) => by_status,
    }
}

/// The cause of an answer that is no JSON-RPC, by its status and the words that it has.
pub(super) fn classify_page(
    status: u16,
    after: Option<Duration>,
    is_batch: bool,
    said: &ErrorObject,
) -> Cause {
    match status {
        // Nothing is served under this path, whatever the page says.
        300..=399 | 404 | 405 | 410 => Cause::Refused,
        413 if is_batch => Cause::BatchRefused,
        413 => Cause::TooBig,
        408 => Cause::Unavailable,
        400..=499 => classify_answer(status, after, Some(said)).unwrap_or_else(|| {
            let cause = classify_nothing(said);
            if cause == Cause::Malformed { Cause::Other } else { cause }
        }),
        _ => classify_status(status, after).unwrap_or_else(|| classify_nothing(said)),
    }
}

/// The cause that an answer with an error has, by its HTTP status, if known, and its body.
pub fn cause_of(status: Option<u16>, body: &str) -> Option<Cause> {
    let said = error_in(body);
    let by_status = status.and_then(|status| classify_answer(status, None, said.as_ref()));
    by_status.or_else(|| said.as_ref().map(classify))
}

/// The error that a body holds, of one call or of the first of a batch.
fn error_in(body: &str) -> Option<ErrorObject> {
    let value: Value = serde_json::from_str(plain(body)).ok()?;
    let one = value.get(0).unwrap_or(&value);
    one.get("error").map(ErrorObject::of)
}

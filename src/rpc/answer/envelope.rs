//! The envelope of an answer, read straight from the response's bytes into the wanted type.

use serde::Deserialize;

use super::error::ErrorObject;

/// One answer.
#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de>"))]
pub struct Reply<T> {
    /// The position of the call; `null` when the provider did not read that far.
    #[serde(default)]
    pub id: Option<u64>,
    /// What was asked for; `None` for `null`.
    #[serde(default = "none")]
    pub result: Option<T>,
    /// Why there is nothing.
    #[serde(default)]
    pub error: Option<ErrorObject>,
}

fn none<T>() -> Option<T> {
    None
}

/// Either a list of answers, or one for the whole batch.
#[derive(Debug)]
pub enum BatchReply<T> {
    /// One answer per call, in any order.
    Many(Vec<Reply<T>>),
    /// The batch as such was answered.
    One(Reply<T>),
}

/// Reads the answer to one call.
pub fn parse_single<'de, T: Deserialize<'de>>(body: &'de str) -> serde_json::Result<Reply<T>> {
    serde_json::from_str(body)
}

/// Reads the answer to a batch.
pub fn parse_batch<'de, T: Deserialize<'de>>(body: &'de str) -> serde_json::Result<BatchReply<T>> {
    if body.trim_start().starts_with('[') {
        return serde_json::from_str(body).map(BatchReply::Many);
    }
    serde_json::from_str(body).map(BatchReply::One)
}

//! From answers to results: an error gets its cause, an answer of a batch its call.

use bytes::Bytes;
use headwater_storage::foreign::WORDS_CHARS_MAX;

use crate::rpc::{Call, Cause, Endpoint, RpcError};

use super::classify::{classify, classify_nothing};
use super::envelope::{BatchReply, Reply, Said, plain};

/// What each call of a batch got.
type Sorted<T> = Vec<Result<Option<T>, RpcError>>;

impl Endpoint {
    /// An answer's bytes as text, without a byte order mark.
    pub fn text<'a>(&self, method: &'static str, body: &'a Bytes) -> Result<&'a str, RpcError> {
        let text = std::str::from_utf8(body).map(plain);
        text.map_err(|error| self.error(method, Cause::Malformed, &error.to_string()))
    }

    /// The error for an answer that is not of the expected shape.
    pub fn malformed(&self, method: &'static str, error: &serde_json::Error) -> RpcError {
        self.error(method, Cause::Malformed, &error.to_string())
    }

    /// What an answer holds.
    pub fn take<T>(&self, method: &'static str, reply: Reply<T>) -> Result<Option<T>, RpcError> {
        match reply.said {
            Said::Result(result) => Ok(Some(result)),
            Said::Null => Ok(None),
            Said::Error(error) => {
                let shown = self.redactor().excerpt(&error.reason(), WORDS_CHARS_MAX);
                Err(self.error(method, classify(&error), &shown))
            }
            Said::Nothing(said, text) => {
                let shown = self.redactor().excerpt(&text, WORDS_CHARS_MAX);
                let reason = format!("neither result nor error: {shown}");
                Err(self.error(method, classify_nothing(&said), &reason))
            }
            Said::Malformed(reason) => Err(self.error(method, Cause::Malformed, &reason)),
        }
    }

    /// Answers of a batch by the positions of its calls.
    pub fn sort<T>(&self, calls: &[Call], reply: BatchReply<T>) -> Result<Sorted<T>, RpcError> {
        let replies = match reply {
            BatchReply::Many(replies) => replies,
            BatchReply::One(reply) => return Err(self.one_for_all(calls, Some(reply))),
        };
        let mut sorted: Vec<Option<Result<Option<T>, RpcError>>> =
            calls.iter().map(|_| None).collect();
        let mut stray = None;
        for reply in replies {
            let at = reply.id.and_then(|id| usize::try_from(id).ok());
            let Some((call, place)) = at.and_then(|at| calls.get(at).zip(sorted.get_mut(at)))
            else {
                stray = Some(reply);
                continue;
            };
            // Of two answers to one call a result counts.
            if !matches!(place, Some(Ok(_))) {
                *place = Some(self.take(call.method, reply));
            }
        }
        if sorted.iter().all(Option::is_none) {
            return Err(self.one_for_all(calls, stray));
        }
        // An error without an id is that of who got no answer of its own.
        let stray = stray.and_then(|reply| self.take("none", reply).err());
        let missing = |(call, answer): (&Call, Option<_>)| {
            answer.unwrap_or_else(|| {
                if let Some(error) = &stray {
                    Err(RpcError { method: call.method, ..error.clone() })
                } else {
                    let reason = "an answer of the batch is missing";
                    Err(self.error(call.method, Cause::Malformed, reason))
                }
            })
        };
        Ok(calls.iter().zip(sorted).map(missing).collect())
    }

    /// The error when no call of a batch has an answer of its own.
    fn one_for_all<T>(&self, calls: &[Call], reply: Option<Reply<T>>) -> RpcError {
        let method = calls.first().map_or("none", |call| call.method);
        let said = match reply {
            None => Some("no answer at all"),
            Some(Reply { said: Said::Result(_) | Said::Null | Said::Malformed(_), .. }) => {
                Some("no answer has the id of its call")
            }
            Some(Reply { said: Said::Error(_) | Said::Nothing(..), .. }) => None,
        };
        if let Some(reason) = said {
            return self.error(method, Cause::BatchRefused, &format!("{reason}, for a batch"));
        }
        let taken = reply.map(|reply| self.take(method, reply));
        let Some(Err(mut error)) = taken else {
            return self.error(method, Cause::BatchRefused, "no answer for a batch");
        };
        error.cause = error.cause.of_batch();
        error
    }
}

//! An HTTP answer that holds no answer to a call: a page, a text, nothing, an error's status.

use std::time::Duration;

use headwater_storage::foreign::{REASON_CHARS_MAX, WORDS_CHARS_MAX, excerpt};
use reqwest::StatusCode;
use serde_json::value::RawValue;

use crate::rpc::Cause;
use crate::secrets::Redactor;

use super::classify::{classify, classify_answer, classify_nothing, classify_page};
use super::envelope::{BatchReply, Reply, Said, parse_batch, parse_single, plain};
use super::error_object::ErrorObject;

/// A body of at most so many bytes is looked into before its caller reads it: larger ones are
/// blocks, and what is wrong with them shows when they are read.
const LOOK_BYTES_MAX: usize = 4_096;

/// What is known of an answer beside its body.
pub(in crate::rpc) struct Http<'a> {
    pub(in crate::rpc) status: StatusCode,
    /// What `Retry-After` says.
    pub(in crate::rpc) after: Option<Duration>,
    /// Whether a batch was asked for.
    pub(in crate::rpc) is_batch: bool,
    /// Takes keys out of a text, before it is cut: a part of a key is one too.
    pub(in crate::rpc) redactor: &'a Redactor,
}

impl Http<'_> {
    /// Why this body is no answer, and the provider's words; `None` where its caller can read it.
    pub(in crate::rpc) fn fault(&self, body: &[u8]) -> Option<(Cause, String)> {
        let (cause, reason) = self.look(body)?;
        let is_pace = cause == Cause::Throttled { after: None };
        Some((if is_pace { Cause::Throttled { after: self.after } } else { cause }, reason))
    }

    fn look(&self, body: &[u8]) -> Option<(Cause, String)> {
        let is_well = self.status.is_success();
        let first = first_of(body);
        if is_well && matches!(first, Some(b'{' | b'[')) && body.len() > LOOK_BYTES_MAX {
            return None;
        }
        let text = String::from_utf8_lossy(body);
        let text = plain(&text);
        match self.read(text) {
            Some(reply) if is_well => match reply.said {
                Said::Nothing(said, text) => {
                    let cause = classify_nothing(&said);
                    Some((cause, self.text("neither result nor error", &text)))
                }
                Said::Result(_) | Said::Null | Said::Error(_) | Said::Malformed(_) => None,
            },
            Some(Reply { said: Said::Error(error), .. }) => {
                let by_status = classify_answer(self.code(), self.after, Some(&error));
                let cause = by_status.unwrap_or_else(|| self.of_all(classify(&error)));
                let shown = self.redactor.excerpt(&error.reason(), WORDS_CHARS_MAX);
                Some((cause, format!("HTTP {}: {shown}", self.status)))
            }
            Some(Reply { said: Said::Nothing(said, text), .. }) => Some(self.page(&said, &text)),
            Some(Reply { said: Said::Result(_) | Said::Null | Said::Malformed(_), .. }) => {
                let cause = classify_answer(self.code(), self.after, None)?;
                Some((cause, self.text("", text)))
            }
            None => {
                Some(self.page(&ErrorObject::of(&excerpt(text, REASON_CHARS_MAX).into()), text))
            }
        }
    }

    /// The answer that stands for the whole body; `None` where it is no JSON-RPC.
    fn read<'a>(&self, text: &'a str) -> Option<Reply<&'a RawValue>> {
        if !text.starts_with(['{', '[']) {
            return None;
        }
        if !self.is_batch {
            return parse_single(text).ok();
        }
        match parse_batch(text).ok()? {
            BatchReply::One(reply) => Some(reply),
            // Each is its call's, and read where the batch is.
            BatchReply::Many(_) => Some(Reply { id: None, said: Said::Null }),
        }
    }

    fn code(&self) -> u16 {
        self.status.as_u16()
    }

    /// What an error means that one answer gives for all calls.
    fn of_all(&self, cause: Cause) -> Cause {
        if self.is_batch { cause.of_batch() } else { cause }
    }

    /// What is no JSON-RPC at all.
    fn page(&self, said: &ErrorObject, text: &str) -> (Cause, String) {
        let cause = classify_page(self.code(), self.after, self.is_batch, said);
        let hint = match self.code() {
            300..=399 => "a redirect that is not followed; check `url`, its scheme and host",
            404 | 405 | 410 => "no JSON-RPC is served there; check `url`, its path and key",
            _ if text.starts_with('<') => "a page instead of JSON-RPC; check `url`",
            _ => "no JSON-RPC",
        };
        (cause, self.text(hint, text))
    }

    /// Status, hint and the start of the body.
    fn text(&self, hint: &str, body: &str) -> String {
        let status = self.status;
        let shown = self.redactor.excerpt(body, WORDS_CHARS_MAX);
        match (hint.is_empty(), shown.is_empty()) {
            (true, true) => format!("HTTP {status}: the answer is empty"),
            (false, true) => format!("HTTP {status}: the answer is empty ({hint})"),
            (true, false) => format!("HTTP {status}: {shown}"),
            (false, false) => format!("HTTP {status}: {hint}: {shown}"),
        }
    }
}

/// The first byte of a body that is neither white space nor a byte order mark.
fn first_of(body: &[u8]) -> Option<u8> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    body.iter().copied().find(|byte| !byte.is_ascii_whitespace())
}

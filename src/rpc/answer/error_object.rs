//! What a provider says instead of a result, in whatever form it does.
//!
//! JSON-RPC wants an object with `code` and `message`. Proxies and gateways in front of nodes put a
//! text, a number or `true` there, write the code as text, call the message otherwise, or answer
//! with an object of their own that has neither `result` nor `error`.

use std::time::Duration;

use headwater_storage::foreign::start_of;
use serde::de::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// Where the code stands.
const CODES: [&str; 4] = ["code", "statusCode", "status_code", "status"];
/// Where words stand, the most telling first.
const WORDS: [&str; 12] = [
    "message",
    "msg",
    "error_message",
    "errorMessage",
    "error",
    "errors",
    "detail",
    "details",
    "reason",
    "description",
    "error_description",
    "title",
];

/// Bytes of words that are kept.
const WORDS_BYTES_MAX: usize = 16 << 10;

/// What the provider put into `error`, or said in its place.
#[derive(Clone, Debug, Default)]
pub(in crate::rpc) struct ErrorObject {
    /// The JSON-RPC error code, or an HTTP status; 0 for none.
    pub(in crate::rpc) code: i64,
    /// Free text.
    pub(in crate::rpc) message: String,
    /// More of it: Infura's 402.
    details: String,
    /// Whatever belongs to the code: Infura's `rate`, geth's ranges.
    data: Option<Value>,
}

impl<'de> Deserialize<'de> for ErrorObject {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<ErrorObject, D::Error> {
        Value::deserialize(from).map(|value| ErrorObject::of(&value))
    }
}

impl ErrorObject {
    /// What any value says; nothing where it is `null`, a boolean, empty or 0.
    pub(super) fn of(value: &Value) -> ErrorObject {
        match value {
            Value::Null | Value::Bool(_) => ErrorObject::default(),
            Value::Number(_) => {
                ErrorObject { code: code(value).unwrap_or(0), ..ErrorObject::default() }
            }
            Value::String(text) => {
                ErrorObject { message: words_of(text), ..ErrorObject::default() }
            }
            Value::Array(list) => list.first().map(ErrorObject::of).unwrap_or_default(),
            Value::Object(map) => {
                let said = ErrorObject::of_map(map);
                let is_said = |value: &Value| !ErrorObject::of(value).is_empty();
                if said.is_empty() && map.values().any(is_said) {
                    // Its words stand under a name that is not known: all of it is shown.
                    return ErrorObject { message: words_of(&value.to_string()), ..said };
                }
                said
            }
        }
    }

    fn of_map(map: &Map<String, Value>) -> ErrorObject {
        let inner = map.get("error").map(ErrorObject::of).unwrap_or_default();
        let mut words = WORDS.iter().filter_map(|key| words(map.get(*key)?));
        let message = words.next().unwrap_or_default();
        let mut details: Vec<String> = words.filter(|words| *words != message).collect();
        details.dedup();
        let codes = CODES.iter().filter_map(|key| code(map.get(*key)?));
        let code = codes.chain([inner.code]).find(|code| *code != 0).unwrap_or(0);
        let data = map.get("data").filter(|data| !data.is_null()).cloned();
        ErrorObject { code, message, details: details.join("; "), data: data.or(inner.data) }
    }

    /// Whether it says nothing, so that it is no error beside a result.
    pub(super) fn is_empty(&self) -> bool {
        self.code == 0 && self.message.is_empty() && self.details.is_empty() && self.data.is_none()
    }

    /// Its words in lower case.
    pub(super) fn lower(&self) -> String {
        format!("{} {}", self.message, self.details).to_lowercase()
    }

    /// The words in `data`, in lower case: some clients say only there what happened.
    pub(super) fn lower_data(&self) -> String {
        self.data.as_ref().and_then(words).unwrap_or_default().to_lowercase()
    }

    /// What an error shows of it.
    pub(in crate::rpc) fn reason(&self) -> String {
        let data = self.data.as_ref().and_then(words).unwrap_or_default();
        let parts = [&self.message, &self.details, &data];
        let said: Vec<&str> =
            parts.iter().map(|part| part.trim()).filter(|part| !part.is_empty()).collect();
        match (said.join(": "), self.code) {
            (said, 0) => said,
            (said, code) if said.is_empty() => format!("error {code} without words"),
            (said, code) => format!("{said} ({code})"),
        }
    }

    /// Seconds that Infura asks to wait; 0 says nothing.
    pub(super) fn backoff(&self) -> Option<Duration> {
        let seconds = self.data.as_ref()?.get("rate")?.get("backoff_seconds")?.as_f64()?;
        (seconds > 0.0).then(|| Duration::from_secs_f64(seconds.min(3_600.0)))
    }

    /// Blocks of the range that `data` or the words between brackets offer.
    pub(super) fn range(&self) -> Option<u64> {
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
        to.checked_sub(from)?.checked_add(1)
    }
}

/// A code, as a number or as text.
fn code(value: &Value) -> Option<i64> {
    let whole = |number: f64| (number.fract() == 0.0 && number.abs() < 1e15).then_some(number);
    match value {
        Value::Number(number) => {
            number.as_i64().or_else(|| whole(number.as_f64()?).map(|number| number as i64))
        }
        Value::String(text) => {
            let text = text.trim();
            text.parse().ok().or_else(|| whole(text.parse().ok()?).map(|number| number as i64))
        }
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// As much of a text as is looked at.
fn words_of(text: &str) -> String {
    start_of(text.trim(), WORDS_BYTES_MAX).to_owned()
}

/// The words of a value: its text, or that of what it holds.
fn words(value: &Value) -> Option<String> {
    let said = match value {
        Value::String(text) => words_of(text),
        Value::Array(_) => ErrorObject::of(value).message,
        Value::Object(map) => ErrorObject::of_map(map).message,
        Value::Null | Value::Bool(_) | Value::Number(_) => return None,
    };
    Some(said).filter(|said| !said.is_empty())
}

//! The envelope of an answer, read straight from the response's bytes into the wanted type.
//!
//! What is as it should be is read once. What is not is read again, to tell which field of which
//! call is malformed, or what the provider says instead.

use std::fmt;
use std::marker::PhantomData;

use headwater_storage::foreign::REASON_CHARS_MAX;
use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::error_object::ErrorObject;

/// One answer.
#[derive(Debug)]
pub struct Reply<T> {
    /// The position of the call; `None` where there is no number that could be one.
    pub(super) id: Option<u64>,
    /// What it says.
    pub(super) said: Said<T>,
}

/// What an answer says.
#[derive(Debug)]
pub(super) enum Said<T> {
    /// What was asked for.
    Result(T),
    /// `"result": null`: it is not there.
    Null,
    /// Why there is nothing.
    Error(ErrorObject),
    /// Neither a result nor an error, so no answer: the object's own words, and its text.
    Nothing(ErrorObject, String),
    /// A result of the wrong shape: where, and what is wrong.
    Malformed(String),
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
    let body = plain(body);
    if let Ok(reply) = serde_json::from_str(body) {
        return Ok(reply);
    }
    // The call may have been answered as a batch of one.
    let list = serde_json::from_str::<Vec<&RawValue>>(body).unwrap_or_default();
    if let [only] = list.as_slice() { read_again(only.get()) } else { read_again(body) }
}

/// Reads the answer to a batch: a list, or one answer a line.
pub fn parse_batch<'de, T: Deserialize<'de>>(body: &'de str) -> serde_json::Result<BatchReply<T>> {
    let body = plain(body);
    if body.starts_with('[') {
        if let Ok(replies) = serde_json::from_str(body) {
            return Ok(BatchReply::Many(replies));
        }
        let replies: Vec<&RawValue> = serde_json::from_str(body)?;
        let replies = replies.into_iter().map(|reply| read_again(reply.get()));
        return replies.collect::<Result<_, _>>().map(BatchReply::Many);
    }
    let lines = serde_json::Deserializer::from_str(body).into_iter::<&RawValue>();
    let mut replies = Vec::new();
    for line in lines {
        let line = line?.get();
        replies.push(serde_json::from_str(line).or_else(|_| read_again(line))?);
    }
    match (replies.pop(), replies.is_empty()) {
        (Some(only), true) => Ok(BatchReply::One(only)),
        (Some(last), false) => {
            replies.push(last);
            Ok(BatchReply::Many(replies))
        }
        (None, _) => Err(de::Error::custom("the answer is empty")),
    }
}

/// A body without a byte order mark and the white space around it.
pub(super) fn plain(body: &str) -> &str {
    body.trim_start_matches('\u{feff}').trim()
}

/// Reads an answer that is not as it should be, to tell what is wrong with it.
fn read_again<'de, T: Deserialize<'de>>(text: &'de str) -> serde_json::Result<Reply<T>> {
    if !text.starts_with('{') {
        return Ok(Reply { id: None, said: nothing(text)? });
    }
    let members: Members<&RawValue> = serde_json::from_str(text)?;
    let said = match (members.error, members.result) {
        (Some(error), _) if error.is_object() && is_error(&error) => {
            Said::Error(ErrorObject::of(&error))
        }
        // The words may stand beside it.
        (Some(error), _) if is_error(&error) => {
            Said::Error(ErrorObject::of(&serde_json::from_str(text)?))
        }
        (_, Some(Some(result))) => read_result(result.get()),
        (_, Some(None)) => Said::Null,
        (_, None) => nothing(text)?,
    };
    Ok(Reply { id: members.id, said })
}

/// What a text says that is no answer; a syntax error is told as such.
fn nothing<T>(text: &str) -> serde_json::Result<Said<T>> {
    let value: Value = serde_json::from_str(text)?;
    let start = text.chars().take(REASON_CHARS_MAX).collect();
    Ok(Said::Nothing(ErrorObject::of(&value), start))
}

/// Whether the value of `error` says anything: some servers put `{}` or 0 beside a result.
fn is_error(error: &Value) -> bool {
    !ErrorObject::of(error).is_empty()
}

/// Reads a result, and where that fails says at which field.
fn read_result<'de, T: Deserialize<'de>>(text: &'de str) -> Said<T> {
    let mut reader = serde_json::Deserializer::from_str(text);
    match serde_path_to_error::deserialize(&mut reader) {
        Ok(result) => Said::Result(result),
        Err(error) => {
            let path = error.path().to_string();
            let reason = error.inner().to_string();
            let reason = reason.rsplit_once(" at line ").map_or(&*reason, |(reason, _)| reason);
            Said::Malformed(match path.as_str() {
                "." => format!("the result: {reason}"),
                path => format!("{path}: {reason}"),
            })
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Reply<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let Members { id, result, error } = Members::deserialize(from)?;
        let said = match (error.filter(is_error), result) {
            (Some(error @ Value::Object(_)), _) => Said::Error(ErrorObject::of(&error)),
            (None, Some(Some(result))) => Said::Result(result),
            (None, Some(None)) => Said::Null,
            (_, _) => return Err(de::Error::custom("not as it should be")),
        };
        Ok(Reply { id, said })
    }
}

/// What an answer has, of a key that comes twice the last one.
struct Members<T> {
    id: Option<u64>,
    /// `Some(None)` is an explicit `null`.
    #[expect(clippy::option_option, reason = "absent and null are two things here")]
    result: Option<Option<T>>,
    error: Option<Value>,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Members<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(MembersVisitor(PhantomData))
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Key {
    Id,
    Result,
    Error,
    #[serde(other)]
    Other,
}

struct MembersVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for MembersVisitor<T> {
    type Value = Members<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON-RPC answer")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<T>, A::Error> {
        let mut members = Members { id: None, result: None, error: None };
        while let Some(key) = map.next_key()? {
            match key {
                Key::Id => members.id = map.next_value::<Id>()?.0,
                Key::Result => members.result = Some(map.next_value()?),
                Key::Error => members.error = Some(map.next_value()?),
                Key::Other => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(members)
    }
}

/// The id of an answer: ours are positions, and come back as number, text or not at all.
struct Id(Option<u64>);

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Id, D::Error> {
        from.deserialize_any(IdVisitor)
    }
}

struct IdVisitor;

/// A whole number that a double holds.
fn whole(number: f64) -> Option<u64> {
    ((0.0..1e15).contains(&number) && number.fract() == 0.0).then_some(number as u64)
}

impl<'de> Visitor<'de> for IdVisitor {
    type Value = Id;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an id")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Id, E> {
        Ok(Id(Some(number)))
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Id, E> {
        Ok(Id(None))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Id, E> {
        Ok(Id(whole(number)))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Id, E> {
        let text = text.trim();
        Ok(Id(text.parse().ok().or_else(|| whole(text.parse().ok()?))))
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Id, E> {
        Ok(Id(None))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Id, E> {
        Ok(Id(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Id, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Id(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Id, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Id(None))
    }
}

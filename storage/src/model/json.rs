//! JSON-RPC values as they are written: quantities, data, lists; what is odd is kept as it came.
//!
//! A field *as told* is in no root and no hash: whatever form it has, the block is good, so it is
//! kept as it came and counts as not given. All others enter a proof or say where the object
//! stands, and a form that cannot be understood is an error that names the field. Which fields are
//! as told stands beside each in its object's list.

use std::borrow::Cow;

use alloy_primitives::{Address, B256, Bytes, FixedBytes, U256};
use arrayvec::ArrayVec;
use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::exact::{exact_double, exact_value};
pub use super::scalar::Scalar;
use super::scalar::ScalarSeed;

/// Fields that a provider gave and we do not know, or whose form was not canonical.
pub type Extra = Option<Box<serde_json::Map<String, Value>>>;

/// The original of a value that was understood but is not canonical.
pub type Odd = Option<Value>;

/// A value of a JSON-RPC object.
pub trait JsonField: Sized {
    /// Reads the value of the key that was just read.
    fn read<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(Self, Odd), A::Error>;
    /// The same of a field that is as told: a form that cannot be understood is odd, not an error.
    fn read_told<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(Self, Odd), A::Error> {
        Self::read(map)
    }
    /// Writes the canonical form.
    fn write(&self, out: &mut String);
}

macro_rules! scalar_fields {
    ($($ty:ty),*) => {$(
        impl JsonField for $ty {
            fn read<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(Self, Odd), A::Error> {
                map.next_value_seed(ScalarSeed::<$ty>::proof()).map(or_default)
            }
            fn read_told<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(Self, Odd), A::Error> {
                map.next_value_seed(ScalarSeed::<$ty>::told()).map(or_default)
            }
            fn write(&self, out: &mut String) {
                out.push('"');
                self.write_hex(out);
                out.push('"');
            }
        }
        impl JsonField for Option<$ty> {
            fn read<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(Self, Odd), A::Error> {
                map.next_value_seed(ScalarSeed::<$ty>::optional())
            }
            fn read_told<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(Self, Odd), A::Error> {
                map.next_value_seed(ScalarSeed::<$ty>::told())
            }
            fn write(&self, out: &mut String) {
                match self {
                    Some(value) => value.write(out),
                    None => out.push_str("null"),
                }
            }
        }
    )*};
}
scalar_fields!(u64, u128, U256, B256, FixedBytes<8>, Address, Bytes);

/// The value that stands where there must be one, and what came instead.
fn or_default<T: Default>((value, odd): (Option<T>, Odd)) -> (T, Odd) {
    match value {
        Some(value) => (value, odd),
        None => (T::default(), Some(odd.unwrap_or(Value::Null))),
    }
}

impl JsonField for Option<bool> {
    fn read<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(Self, Odd), A::Error> {
        match Self::read_told(map)? {
            (None, Some(odd)) => Err(de::Error::custom(format_args!("{odd} is no boolean"))),
            read => Ok(read),
        }
    }
    fn read_told<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(Self, Odd), A::Error> {
        map.next_value_seed(BoolSeed)
    }
    fn write(&self, out: &mut String) {
        out.push_str(match self {
            Some(true) => "true",
            Some(false) => "false",
            None => "null",
        });
    }
}

/// Reads a boolean, or what stands for one: `"0x1"`, `"true"`, 1.
struct BoolSeed;

impl<'de> DeserializeSeed<'de> for BoolSeed {
    type Value = (Option<bool>, Odd);
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for BoolSeed {
    type Value = (Option<bool>, Odd);

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a boolean")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok((Some(value), None))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok((None, None))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        let meant = if text.eq_ignore_ascii_case("true") {
            Some(true)
        } else if text.eq_ignore_ascii_case("false") {
            Some(false)
        } else {
            u64::from_text(text).and_then(|(number, _)| bit(number))
        };
        Ok((meant, Some(Value::from(text))))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
        Ok((bit(number), Some(Value::from(number))))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
        Ok((None, Some(Value::from(number))))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Self::Value, E> {
        exact_double::<E>(number)?;
        Ok((None, Some(Value::from(number))))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        Ok((None, Some(Value::deserialize(MapAccessDeserializer::new(map))?)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        Ok((None, Some(Value::deserialize(SeqAccessDeserializer::new(seq))?)))
    }
}

fn bit(number: u64) -> Option<bool> {
    (number < 2).then_some(number == 1)
}

impl JsonField for Vec<B256> {
    fn read<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(Self, Odd), A::Error> {
        Option::<Vec<B256>>::read(map).map(or_default)
    }
    fn read_told<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(Self, Odd), A::Error> {
        Option::<Vec<B256>>::read_told(map).map(or_default)
    }
    fn write(&self, out: &mut String) {
        write_list(self, out, JsonField::write);
    }
}

/// Reads a value from its text, so that an error is that of its key; `None` for `null`.
pub(super) struct RawSeed<F>(pub(super) F);

impl<'de, T, F> DeserializeSeed<'de> for RawSeed<F>
where
    F: FnOnce(&'de RawValue) -> serde_json::Result<T>,
{
    type Value = Option<T>;
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Option<T>, D::Error> {
        let raw = Option::<&RawValue>::deserialize(from)?;
        raw.map(self.0).transpose().map_err(de::Error::custom)
    }
}

/// A list of hashes from its text.
fn hashes(raw: &RawValue) -> serde_json::Result<(Vec<B256>, Odd)> {
    let texts: Vec<Cow<'_, str>> = serde_json::from_str(raw.get())?;
    let mut list = Vec::with_capacity(texts.len());
    let mut canonical = true;
    for (place, text) in texts.iter().enumerate() {
        let no_hash = || de::Error::custom(format_args!("[{place}]: {text:?} is no hash"));
        let (hash, plain) = B256::from_text(text).ok_or_else(no_hash)?;
        list.push(hash);
        canonical &= plain;
    }
    Ok((list, original(raw, canonical)?))
}

/// What a list is, where it is not `null`.
pub(super) fn some_or_null<T>(read: Option<(T, Odd)>) -> (Option<T>, Odd) {
    match read {
        Some((list, odd)) => (Some(list), odd),
        None => (None, None),
    }
}

impl JsonField for Option<Vec<B256>> {
    fn read<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(Self, Odd), A::Error> {
        map.next_value_seed(RawSeed(hashes)).map(some_or_null)
    }
    fn read_told<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(Self, Odd), A::Error> {
        let told = |raw: &'de RawValue| match hashes(raw) {
            Ok((list, odd)) => Ok((Some(list), odd)),
            Err(_) => Ok((None, original(raw, false)?)),
        };
        let read = map.next_value_seed(RawSeed(told))?;
        Ok(read.unwrap_or_default())
    }
    fn write(&self, out: &mut String) {
        match self {
            Some(list) => write_list(list, out, JsonField::write),
            None => out.push_str("null"),
        }
    }
}

/// Topics of a log at most (`LOG4`).
const TOPICS_MAX: usize = 4;

/// The topics of a log.
pub type Topics = ArrayVec<B256, TOPICS_MAX>;

/// Reads a list of topics, or `null`.
struct TopicsSeed;

impl<'de> DeserializeSeed<'de> for TopicsSeed {
    type Value = (Topics, Odd);
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for TopicsSeed {
    type Value = (Topics, Odd);

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "at most {TOPICS_MAX} topics")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let (mut topics, mut odd) = (Topics::new(), Vec::new());
        while let Some((topic, original)) = seq.next_element_seed(ScalarSeed::<B256>::proof())? {
            let topic = topic.ok_or_else(|| de::Error::custom("a topic is null"))?;
            let place = topics.len();
            topics.try_push(topic).map_err(|_| de::Error::invalid_length(place + 1, &self))?;
            odd.extend(original.map(|original| (place, original)));
        }
        if odd.is_empty() {
            return Ok((topics, None));
        }
        let mut originals: Vec<Value> = topics.iter().map(|t| Value::from(t.to_string())).collect();
        for (place, original) in odd {
            originals.splice(place..=place, [original]);
        }
        Ok((topics, Some(Value::Array(originals))))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok((Topics::new(), Some(Value::Null)))
    }
}

impl JsonField for Topics {
    fn read<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(Self, Odd), A::Error> {
        map.next_value_seed(TopicsSeed)
    }
    fn write(&self, out: &mut String) {
        write_list(self, out, JsonField::write);
    }
}

/// The original of a list that is not canonical.
pub(super) fn original<E: de::Error>(raw: &RawValue, canonical: bool) -> Result<Odd, E> {
    if canonical {
        return Ok(None);
    }
    exact_value(raw.get()).map(Some)
}

/// `[` items `]`.
pub(super) fn write_list<T>(list: &[T], out: &mut String, write: impl Fn(&T, &mut String)) {
    out.push('[');
    for (position, item) in list.iter().enumerate() {
        if position > 0 {
            out.push(',');
        }
        write(item, out);
    }
    out.push(']');
}

/// Reads any text as the value that it is.
pub fn parse_value(text: &str) -> Result<Value, serde_json::Error> {
    Value::deserialize(&mut serde_json::Deserializer::from_str(text))
}

//! JSON-RPC values as they are written: quantities, data, lists; what is odd is kept as it came.
//!
//! A value is *canonical* when writing it again gives the same text (Ethereum JSON-RPC
//! "Hex value encoding": quantities without leading zeros, lower case, `0x` in front). Anything
//! else that can still be understood is taken, and its original is kept as [`Odd`].

use std::fmt::Write as _;
use std::marker::PhantomData;

use alloy_primitives::{Address, B256, Bytes, FixedBytes, U256};
use arrayvec::ArrayVec;
use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

/// Fields that a provider gave and we do not know, or whose form was not canonical.
pub type Extra = Option<Box<serde_json::Map<String, Value>>>;

/// The original of a value that was understood but is not canonical.
pub type Odd = Option<Value>;

/// A value of a JSON-RPC object.
pub trait JsonField: Sized {
    /// Reads the value of the key that was just read.
    fn read<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(Self, Odd), A::Error>;
    /// Writes the canonical form.
    fn write(&self, out: &mut String);
}

/// A value that is one hex string.
pub trait Scalar: Sized + Default {
    /// The value, and whether the text is canonical.
    fn from_text(text: &str) -> Option<(Self, bool)>;
    /// The value of a plain JSON number.
    fn from_number(number: u64) -> Option<Self>;
    /// Writes the canonical text without quotes.
    fn write_hex(&self, out: &mut String);
}

/// The digits after `0x`, and whether they are lower case.
fn digits(text: &str) -> Option<(&str, bool)> {
    let digits = text.strip_prefix("0x")?;
    Some((digits, !digits.bytes().any(|b| b.is_ascii_uppercase())))
}

macro_rules! quantity {
    ($($ty:ty),*) => {$(
        impl Scalar for $ty {
            fn from_text(text: &str) -> Option<(Self, bool)> {
                let Some((digits, lower)) = digits(text) else {
                    return Some((text.parse().ok()?, false));
                };
                if digits.is_empty() {
                    return Some((0, false));
                }
                let canonical = lower && (digits.len() == 1 || !digits.starts_with('0'));
                let value = <$ty>::from_str_radix(digits, 16).ok()?;
                // The tables hold 64-bit quantities as signed: a larger one is kept as it came.
                Some((value, canonical && i64::try_from(value).is_ok()))
            }
            fn from_number(number: u64) -> Option<Self> {
                Self::try_from(number).ok()
            }
            fn write_hex(&self, out: &mut String) {
                let _infallible = write!(out, "{self:#x}");
            }
        }
    )*};
}
quantity!(u64, u128);

impl Scalar for U256 {
    fn from_text(text: &str) -> Option<(Self, bool)> {
        let Some((digits, lower)) = digits(text) else {
            return Some((text.parse().ok()?, false));
        };
        let mut padded = [b'0'; 64];
        let start = 64_usize.checked_sub(digits.len())?;
        padded.get_mut(start..)?.copy_from_slice(digits.as_bytes());
        let mut bytes = [0_u8; 32];
        const_hex::decode_to_slice(padded, &mut bytes).ok()?;
        let short = digits.len() == 1 || !(digits.is_empty() || digits.starts_with('0'));
        Some((U256::from_be_bytes(bytes), lower && short))
    }
    fn from_number(number: u64) -> Option<Self> {
        Some(U256::from(number))
    }
    fn write_hex(&self, out: &mut String) {
        let _infallible = write!(out, "{self:#x}");
    }
}

impl<const N: usize> Scalar for FixedBytes<N> {
    fn from_text(text: &str) -> Option<(Self, bool)> {
        let (digits, lower) = digits(text)?;
        let mut bytes = [0_u8; N];
        const_hex::decode_to_slice(digits, &mut bytes).ok()?;
        Some((FixedBytes(bytes), lower))
    }
    fn from_number(_: u64) -> Option<Self> {
        None
    }
    fn write_hex(&self, out: &mut String) {
        write_bytes(self.as_slice(), out);
    }
}

impl Scalar for Address {
    fn from_text(text: &str) -> Option<(Self, bool)> {
        let (bytes, lower) = FixedBytes::<20>::from_text(text)?;
        Some((Address(bytes), lower))
    }
    fn from_number(_: u64) -> Option<Self> {
        None
    }
    fn write_hex(&self, out: &mut String) {
        write_bytes(self.as_slice(), out);
    }
}

impl Scalar for Bytes {
    fn from_text(text: &str) -> Option<(Self, bool)> {
        let Some((digits, lower)) = digits(text) else {
            return text.is_empty().then(|| (Bytes::new(), false));
        };
        Some((const_hex::decode(digits).ok()?.into(), lower))
    }
    fn from_number(_: u64) -> Option<Self> {
        None
    }
    fn write_hex(&self, out: &mut String) {
        write_bytes(self, out);
    }
}

fn write_bytes(bytes: &[u8], out: &mut String) {
    out.push_str("0x");
    out.push_str(&const_hex::encode(bytes));
}

/// Reads a hex string, or what stands for one.
pub(super) struct ScalarSeed<T>(pub(super) PhantomData<T>);

impl<'de, T: Scalar> DeserializeSeed<'de> for ScalarSeed<T> {
    /// `None` is JSON `null`.
    type Value = (Option<T>, Odd);

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<T: Scalar> Visitor<'_> for ScalarSeed<T> {
    type Value = (Option<T>, Odd);

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a hex string")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        match T::from_text(text) {
            Some((value, true)) => Ok((Some(value), None)),
            Some((value, false)) => Ok((Some(value), Some(Value::from(text)))),
            None => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
        }
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
        match T::from_number(number) {
            Some(value) => Ok((Some(value), Some(Value::from(number)))),
            None => Err(E::invalid_value(de::Unexpected::Unsigned(number), &self)),
        }
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok((None, None))
    }
}

macro_rules! scalar_fields {
    ($($ty:ty),*) => {$(
        impl JsonField for $ty {
            fn read<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(Self, Odd), A::Error> {
                match map.next_value_seed(ScalarSeed::<$ty>(PhantomData))? {
                    (Some(value), odd) => Ok((value, odd)),
                    (None, _) => Ok((Self::default(), Some(Value::Null))),
                }
            }
            fn write(&self, out: &mut String) {
                out.push('"');
                self.write_hex(out);
                out.push('"');
            }
        }
        impl JsonField for Option<$ty> {
            fn read<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(Self, Odd), A::Error> {
                map.next_value_seed(ScalarSeed::<$ty>(PhantomData))
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

impl JsonField for Option<bool> {
    fn read<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(Self, Odd), A::Error> {
        Ok((map.next_value()?, None))
    }
    fn write(&self, out: &mut String) {
        out.push_str(match self {
            Some(true) => "true",
            Some(false) => "false",
            None => "null",
        });
    }
}

impl JsonField for Vec<B256> {
    fn read<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(Self, Odd), A::Error> {
        let (list, odd) = Option::<Vec<B256>>::read(map)?;
        match list {
            Some(list) => Ok((list, odd)),
            None => Ok((Vec::new(), Some(Value::Null))),
        }
    }
    fn write(&self, out: &mut String) {
        write_list(self, out, JsonField::write);
    }
}

impl JsonField for Option<Vec<B256>> {
    fn read<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(Self, Odd), A::Error> {
        let Some(raw) = map.next_value::<Option<&RawValue>>()? else { return Ok((None, None)) };
        let texts: Vec<&str> = serde_json::from_str(raw.get()).map_err(de::Error::custom)?;
        let mut list = Vec::with_capacity(texts.len());
        let mut canonical = true;
        for text in texts {
            let (hash, plain) =
                B256::from_text(text).ok_or_else(|| de::Error::custom("a hash is malformed"))?;
            list.push(hash);
            canonical &= plain;
        }
        Ok((Some(list), original(raw, canonical)?))
    }
    fn write(&self, out: &mut String) {
        write_list(self.as_deref().unwrap_or_default(), out, JsonField::write);
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
        while let Some((topic, original)) =
            seq.next_element_seed(ScalarSeed::<B256>(PhantomData))?
        {
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
    serde_json::from_str(raw.get()).map(Some).map_err(E::custom)
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

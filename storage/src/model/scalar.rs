//! Values that are one hex string: quantities and data, and what is taken in their place.
//!
//! A value is *canonical* when writing it again gives the same text (Ethereum JSON-RPC
//! "Hex value encoding": quantities without leading zeros, lower case, `0x` in front). Other forms
//! that can mean one thing only are taken, and given back as they came: upper-case digits, `0X`,
//! leading zeros, decimal text, JSON numbers, data without `0x`. What could mean several things is
//! an error that names its field.

use std::fmt::Write as _;
use std::marker::PhantomData;

use alloy_primitives::{Address, Bytes, FixedBytes, U256};
use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Unexpected, Visitor};
use serde_json::Value;

use super::exact::exact_double;
use super::json::Odd;

/// A value that is one hex string.
pub trait Scalar: Sized + Default {
    /// The value, and whether the text is canonical.
    fn from_text(text: &str) -> Option<(Self, bool)>;
    /// The value of a plain JSON number.
    fn from_number(number: u64) -> Option<Self>;
    /// Writes the canonical text without quotes.
    fn write_hex(&self, out: &mut String);
    /// Whether a text stands for none, where there need not be one.
    fn is_none(_text: &str) -> bool {
        false
    }
}

/// The digits after `0x`, and whether all of it is lower case.
fn digits(text: &str) -> Option<(&str, bool)> {
    let (digits, is_lower) = match text.strip_prefix("0x") {
        Some(digits) => (digits, true),
        None => (text.strip_prefix("0X")?, false),
    };
    // The readers of digits below would take a second prefix or a sign.
    let is_plain = !matches!(digits.as_bytes(), [b'+' | b'-', ..] | [_, b'x' | b'X', ..]);
    is_plain.then(|| (digits, is_lower && !digits.bytes().any(|b| b.is_ascii_uppercase())))
}

/// A text of decimal digits only: the readers would take signs, prefixes and underscores.
fn decimal(text: &str) -> Option<&str> {
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then_some(text)
}

macro_rules! quantity {
    ($($ty:ty),*) => {$(
        impl Scalar for $ty {
            fn from_text(text: &str) -> Option<(Self, bool)> {
                let Some((digits, lower)) = digits(text) else {
                    return Some((decimal(text)?.parse().ok()?, false));
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
            return Some((decimal(text)?.parse().ok()?, false));
        };
        let short = digits.len() == 1 || !(digits.is_empty() || digits.starts_with('0'));
        let digits = if digits.len() > 64 { digits.trim_start_matches('0') } else { digits };
        let mut padded = [b'0'; 64];
        let start = 64_usize.checked_sub(digits.len())?;
        padded.get_mut(start..)?.copy_from_slice(digits.as_bytes());
        let mut bytes = [0_u8; 32];
        const_hex::decode_to_slice(padded, &mut bytes).ok()?;
        Some((U256::from_be_bytes(bytes), lower && short))
    }
    fn from_number(number: u64) -> Option<Self> {
        Some(U256::from(number))
    }
    fn write_hex(&self, out: &mut String) {
        let _infallible = write!(out, "{self:#x}");
    }
}

/// Bytes of a header's nonce: the only data that some clients give as a quantity.
const NONCE_BYTES: usize = 8;

impl<const N: usize> Scalar for FixedBytes<N> {
    fn from_text(text: &str) -> Option<(Self, bool)> {
        let (digits, lower) = digits(text).unwrap_or((text, false));
        let mut bytes = [0_u8; N];
        if const_hex::decode_to_slice(digits, &mut bytes).is_ok() {
            return Some((FixedBytes(bytes), lower));
        }
        if N != NONCE_BYTES {
            return None;
        }
        let (number, _) = u64::from_text(text)?;
        Self::from_number(number).map(|bytes| (bytes, false))
    }
    fn from_number(number: u64) -> Option<Self> {
        (N == NONCE_BYTES).then(|| FixedBytes::left_padding_from(&number.to_be_bytes()))
    }
    fn write_hex(&self, out: &mut String) {
        write_bytes(self.as_slice(), out);
    }
    fn is_none(text: &str) -> bool {
        matches!(text, "" | "0x")
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
    fn is_none(text: &str) -> bool {
        FixedBytes::<20>::is_none(text)
    }
}

impl Scalar for Bytes {
    fn from_text(text: &str) -> Option<(Self, bool)> {
        // Old Ganache gives no data as the quantity 0.
        if matches!(text, "" | "0x0") {
            return Some((Bytes::new(), false));
        }
        let (digits, lower) = digits(text).unwrap_or((text, false));
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

/// What a field may hold instead of its value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bound {
    /// It enters a proof, or says where the object stands: `null` at most.
    Proof,
    /// The same, where there need not be one: `""` and `"0x"` for none too.
    Optional,
    /// It is as told: whatever it is, it is kept.
    Told,
}

/// Reads a hex string, or what stands for one.
pub(super) struct ScalarSeed<T> {
    bound: Bound,
    read: PhantomData<T>,
}

impl<T> ScalarSeed<T> {
    /// Of a field that enters a proof.
    pub(super) fn proof() -> ScalarSeed<T> {
        ScalarSeed { bound: Bound::Proof, read: PhantomData }
    }

    /// The same, of one that need not be there.
    pub(super) fn optional() -> ScalarSeed<T> {
        ScalarSeed { bound: Bound::Optional, read: PhantomData }
    }

    /// Of a field that is as told.
    pub(super) fn told() -> ScalarSeed<T> {
        ScalarSeed { bound: Bound::Told, read: PhantomData }
    }

    /// An impossible form: kept where the field is as told.
    fn refuse<E: de::Error>(
        &self,
        found: Unexpected<'_>,
        original: Value,
    ) -> Result<(Option<T>, Odd), E>
    where
        T: Scalar,
    {
        match self.bound {
            Bound::Told => Ok((None, Some(original))),
            Bound::Proof | Bound::Optional => Err(E::invalid_value(found, self)),
        }
    }
}

impl<'de, T: Scalar> DeserializeSeed<'de> for ScalarSeed<T> {
    /// `None` is JSON `null`, or what stands for none.
    type Value = (Option<T>, Odd);

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de, T: Scalar> Visitor<'de> for ScalarSeed<T> {
    type Value = (Option<T>, Odd);

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a hex string")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        match T::from_text(text) {
            Some((value, true)) => Ok((Some(value), None)),
            Some((value, false)) => Ok((Some(value), Some(Value::from(text)))),
            None if self.bound != Bound::Proof && T::is_none(text) => {
                Ok((None, Some(Value::from(text))))
            }
            None => self.refuse(Unexpected::Str(text), Value::from(text)),
        }
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
        match T::from_number(number) {
            Some(value) => Ok((Some(value), Some(Value::from(number)))),
            None => self.refuse(Unexpected::Unsigned(number), Value::from(number)),
        }
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
        self.refuse(Unexpected::Signed(number), Value::from(number))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Self::Value, E> {
        exact_double::<E>(number)?;
        self.refuse(Unexpected::Float(number), Value::from(number))
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Self::Value, E> {
        self.refuse(Unexpected::Bool(value), Value::from(value))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok((None, None))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        let original = Value::deserialize(MapAccessDeserializer::new(map))?;
        self.refuse(Unexpected::Map, original)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        let original = Value::deserialize(SeqAccessDeserializer::new(seq))?;
        self.refuse(Unexpected::Seq, original)
    }
}

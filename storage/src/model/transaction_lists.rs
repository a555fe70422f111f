//! The lists inside a transaction: access lists and authorizations.
//!
//! The usual form is read from borrowed texts; a list that has it not is read once more by what its
//! items hold, and its original is kept.

use serde::de::{self, MapAccess};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::exact::exact_value;
use super::json::{JsonField, Odd, RawSeed, Scalar, original, some_or_null, write_list};
use super::{AccessListItem, Authorization, B256};

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AccessListText<'a> {
    address: &'a str,
    #[serde(borrow)]
    storage_keys: Vec<&'a str>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct AuthorizationText<'a> {
    chain_id: &'a str,
    address: &'a str,
    nonce: &'a str,
    #[serde(borrow, alias = "v")]
    y_parity: &'a str,
    r: &'a str,
    s: &'a str,
}

/// Reads one scalar of a nested object and remembers whether all were canonical.
fn scalar<T: Scalar, E: de::Error>(text: &str, canonical: &mut bool) -> Result<T, E> {
    let (value, plain) =
        T::from_text(text).ok_or_else(|| E::custom(format_args!("`{text}` is malformed")))?;
    *canonical &= plain;
    Ok(value)
}

fn quoted<T: Scalar>(key: &str, value: &T, out: &mut String) {
    out.push_str(key);
    value.write_hex(out);
    out.push('"');
}

/// An item of a list whose form is unusual.
struct Item<'a>(&'a Map<String, Value>);

impl Item<'_> {
    /// The value of the first of these keys that is there.
    fn scalar<T: Scalar, E: de::Error>(&self, keys: &[&str]) -> Result<T, E> {
        let found = keys.iter().find_map(|key| self.0.get(*key));
        let key = keys.first().copied().unwrap_or_default();
        let value = found.ok_or_else(|| E::custom(format_args!("`{key}` is missing")))?;
        read(value).ok_or_else(|| E::custom(format_args!("`{key}` is malformed: {value}")))
    }

    fn storage_keys<E: de::Error>(&self) -> Result<Vec<B256>, E> {
        let keys = match self.0.get("storageKeys") {
            None | Some(Value::Null) => return Ok(Vec::new()),
            Some(Value::Array(keys)) => keys,
            Some(other) => {
                return Err(E::custom(format_args!("`storageKeys` is no list: {other}")));
            }
        };
        let hash = |value| {
            let malformed = || E::custom(format_args!("`storageKeys` has no hash: {value}"));
            read(value).ok_or_else(malformed)
        };
        keys.iter().map(hash).collect()
    }
}

fn read<T: Scalar>(value: &Value) -> Option<T> {
    match value {
        Value::String(text) => T::from_text(text).map(|(value, _)| value),
        Value::Number(number) => T::from_number(number.as_u64()?),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Reads a list whose form is unusual, by its items, and keeps its original.
fn unusual<T>(
    raw: &RawValue,
    item: impl Fn(&Item<'_>) -> serde_json::Result<T>,
) -> serde_json::Result<(Vec<T>, Odd)> {
    let list: Vec<Map<String, Value>> = serde_json::from_str(raw.get())?;
    let read = |(place, map): (usize, &Map<String, Value>)| {
        item(&Item(map)).map_err(|error| de::Error::custom(format_args!("[{place}]: {error}")))
    };
    let read = list.iter().enumerate().map(read).collect::<serde_json::Result<_>>()?;
    Ok((read, Some(exact_value(raw.get())?)))
}

fn access_list(raw: &RawValue) -> serde_json::Result<(Vec<AccessListItem>, Odd)> {
    let Ok(texts) = serde_json::from_str::<Vec<AccessListText<'_>>>(raw.get()) else {
        return unusual(raw, |item| {
            let (address, storage_keys) = (item.scalar(&["address"])?, item.storage_keys()?);
            Ok(AccessListItem { address, storage_keys })
        });
    };
    let mut canonical = true;
    let mut list = Vec::with_capacity(texts.len());
    for text in texts {
        let keys = text.storage_keys.iter().map(|key| scalar(key, &mut canonical));
        let storage_keys = keys.collect::<Result<_, serde_json::Error>>()?;
        list.push(AccessListItem { address: scalar(text.address, &mut canonical)?, storage_keys });
    }
    Ok((list, original(raw, canonical)?))
}

impl JsonField for Option<Vec<AccessListItem>> {
    fn read<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(Self, Odd), A::Error> {
        map.next_value_seed(RawSeed(access_list)).map(some_or_null)
    }

    fn write(&self, out: &mut String) {
        let Some(list) = self else { return out.push_str("null") };
        write_list(list, out, |item, out| {
            quoted("{\"address\":\"", &item.address, out);
            out.push_str(",\"storageKeys\":");
            item.storage_keys.write(out);
            out.push('}');
        });
    }
}

fn authorizations(raw: &RawValue) -> serde_json::Result<(Vec<Authorization>, Odd)> {
    let Ok(texts) = serde_json::from_str::<Vec<AuthorizationText<'_>>>(raw.get()) else {
        return unusual(raw, |item| {
            Ok(Authorization {
                chain_id: item.scalar(&["chainId"])?,
                address: item.scalar(&["address"])?,
                nonce: item.scalar(&["nonce"])?,
                y_parity: item.scalar(&["yParity", "v"])?,
                r: item.scalar(&["r"])?,
                s: item.scalar(&["s"])?,
            })
        });
    };
    let mut canonical = true;
    let mut list = Vec::with_capacity(texts.len());
    for text in texts {
        list.push(Authorization {
            chain_id: scalar(text.chain_id, &mut canonical)?,
            address: scalar(text.address, &mut canonical)?,
            nonce: scalar(text.nonce, &mut canonical)?,
            y_parity: scalar(text.y_parity, &mut canonical)?,
            r: scalar(text.r, &mut canonical)?,
            s: scalar(text.s, &mut canonical)?,
        });
    }
    // Providers differ in extra keys here: whatever does not come back the same is kept.
    let mut again = String::new();
    Some(list.clone()).write(&mut again);
    let same = super::json::parse_value(&again).ok() == super::json::parse_value(raw.get()).ok();
    Ok((list, original(raw, canonical && same)?))
}

impl JsonField for Option<Vec<Authorization>> {
    fn read<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(Self, Odd), A::Error> {
        map.next_value_seed(RawSeed(authorizations)).map(some_or_null)
    }

    fn write(&self, out: &mut String) {
        let Some(list) = self else { return out.push_str("null") };
        write_list(list, out, |item, out| {
            quoted("{\"chainId\":\"", &item.chain_id, out);
            quoted(",\"address\":\"", &item.address, out);
            quoted(",\"nonce\":\"", &item.nonce, out);
            quoted(",\"yParity\":\"", &item.y_parity, out);
            quoted(",\"r\":\"", &item.r, out);
            quoted(",\"s\":\"", &item.s, out);
            out.push('}');
        });
    }
}

//! Parameters of calls: quantities, hashes, and what names a block.

use headwater_storage::model::{Address, B256};
use serde_json::Value;

use super::error::CallError;

/// The parameters of a call.
pub(super) struct Params(Vec<Value>);

/// What names a block (EIP-1898).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BlockId {
    Number(u64),
    Hash(B256),
    Latest,
    Final,
}

fn wrong(place: usize, value: &Value, due: &str) -> CallError {
    let shown: String = value.to_string().chars().take(80).collect();
    CallError::Argument { place, problem: format!("`{shown}` is not {due}") }
}

impl Params {
    /// A list; an object with names is none of Ethereum's.
    pub(super) fn new(value: Option<Value>) -> Result<Params, CallError> {
        match value {
            None | Some(Value::Null) => Ok(Params(Vec::new())),
            Some(Value::Array(list)) => Ok(Params(list)),
            Some(Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_)) => {
                Err(CallError::Request("`params` is not a list"))
            }
        }
    }

    /// The parameter in a place, `null` being none.
    pub(super) fn get(&self, place: usize) -> Option<&Value> {
        self.0.get(place).filter(|value| !value.is_null())
    }

    pub(super) fn required(&self, place: usize) -> Result<&Value, CallError> {
        let problem = || "it is missing".to_owned();
        self.get(place).ok_or_else(|| CallError::Argument { place, problem: problem() })
    }

    pub(super) fn hash(&self, place: usize) -> Result<B256, CallError> {
        hash(place, self.required(place)?)
    }

    pub(super) fn block(&self, place: usize) -> Result<BlockId, CallError> {
        block(place, self.required(place)?)
    }

    /// A position in a block.
    pub(super) fn position(&self, place: usize) -> Result<usize, CallError> {
        let value = self.required(place)?;
        let number = value.as_str().and_then(quantity);
        let position = number.and_then(|number| usize::try_from(number).ok());
        position.ok_or_else(|| wrong(place, value, "a quantity such as 0x1"))
    }

    /// A switch that is off where it is not given.
    pub(super) fn flag(&self, place: usize) -> Result<bool, CallError> {
        let Some(value) = self.get(place) else { return Ok(false) };
        value.as_bool().ok_or_else(|| wrong(place, value, "true or false"))
    }
}

/// `0x` and hex digits.
fn quantity(text: &str) -> Option<u64> {
    let digits = text.strip_prefix("0x")?;
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    u64::from_str_radix(digits, 16).ok().filter(|_| is_plain)
}

pub(super) fn hash(place: usize, value: &Value) -> Result<B256, CallError> {
    let text = value.as_str().filter(|text| text.len() == 66 && text.starts_with("0x"));
    let hash = text.and_then(|text| text.parse().ok());
    hash.ok_or_else(|| wrong(place, value, "a hash: 0x and 64 hex digits"))
}

pub(super) fn address(place: usize, value: &Value) -> Result<Address, CallError> {
    let text = value.as_str().filter(|text| text.len() == 42 && text.starts_with("0x"));
    let address = text.and_then(|text| text.parse().ok());
    address.ok_or_else(|| wrong(place, value, "an address: 0x and 40 hex digits"))
}

/// A tag, a number, a hash, or an object with one of the two.
pub(super) fn block(place: usize, value: &Value) -> Result<BlockId, CallError> {
    let due = "a block: a quantity, a hash, `earliest`, `latest`, `safe` or `finalized`";
    if let Some(object) = value.as_object() {
        return match (object.get("blockHash"), object.get("blockNumber")) {
            (Some(value), None) => Ok(BlockId::Hash(hash(place, value)?)),
            (None, Some(value)) if !value.is_object() => block(place, value),
            (Some(_) | None, _) => Err(wrong(place, value, due)),
        };
    }
    let text = value.as_str().ok_or_else(|| wrong(place, value, due))?;
    match text {
        // What is pending is nowhere here; nodes without it give the latest.
        "latest" | "pending" => Ok(BlockId::Latest),
        // What is safe lies between the two, and is not known here.
        "safe" | "finalized" => Ok(BlockId::Final),
        "earliest" => Ok(BlockId::Number(0)),
        _ if text.len() == 66 => Ok(BlockId::Hash(hash(place, value)?)),
        _ => quantity(text).map(BlockId::Number).ok_or_else(|| wrong(place, value, due)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn blocks_are_named_as_the_specification_says() {
        let hash = B256::repeat_byte(7);
        let cases = [
            (json!("0x10"), BlockId::Number(16)),
            (json!("0x0"), BlockId::Number(0)),
            (json!("earliest"), BlockId::Number(0)),
            (json!("latest"), BlockId::Latest),
            (json!("pending"), BlockId::Latest),
            (json!("safe"), BlockId::Final),
            (json!("finalized"), BlockId::Final),
            (json!(hash.to_string()), BlockId::Hash(hash)),
            (json!({ "blockHash": hash, "requireCanonical": true }), BlockId::Hash(hash)),
            (json!({ "blockNumber": "0x10" }), BlockId::Number(16)),
            (json!({ "blockNumber": "latest" }), BlockId::Latest),
        ];
        for (value, expected) in cases {
            assert_eq!(block(0, &value).unwrap(), expected, "{value}");
        }
    }

    #[test]
    fn what_names_no_block_is_told_with_its_place() {
        let wrong = [
            json!(16),
            json!("16"),
            json!("0x"),
            json!("0x+1"),
            json!("0x10000000000000000"),
            json!("head"),
            json!(true),
            json!({}),
            json!({ "blockNumber": { "blockNumber": "0x1" } }),
            json!({ "blockHash": "0x1" }),
            json!(format!("0x{}", "z".repeat(64))),
        ];
        for value in wrong {
            let error = block(1, &value).unwrap_err().to_string();
            assert!(error.starts_with("invalid argument 1: "), "{value}: {error}");
        }
    }
}

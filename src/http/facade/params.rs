//! Parameters of calls: quantities, hashes, and what names a block.

use headwater_storage::model::{Address, B256, Bytes};
use serde_json::Value;

use super::error::CallError;

/// The parameters of a call.
pub(super) struct Params(Vec<Value>);

/// What names a block of the canonical chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Height {
    Number(u64),
    Latest,
    Final,
}

/// What names a block (EIP-1898).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BlockId {
    Height(Height),
    /// Of whichever fork.
    Hash(B256),
    /// Refused where it is not in the canonical chain.
    CanonicalHash(B256),
}

/// How many parameters a method takes; of one that is not answered nothing is said.
fn arguments_max(method: &str) -> usize {
    match method {
        "web3_clientVersion"
        | "net_version"
        | "net_listening"
        | "net_peerCount"
        | "eth_accounts"
        | "eth_blobBaseFee"
        | "eth_blockNumber"
        | "eth_chainId"
        | "eth_gasPrice"
        | "eth_hashrate"
        | "eth_maxPriorityFeePerGas"
        | "eth_mining"
        | "eth_newBlockFilter"
        | "eth_syncing" => 0,
        "web3_sha3"
        | "eth_getFilterChanges"
        | "eth_getFilterLogs"
        | "eth_newFilter"
        | "eth_uninstallFilter"
        | "eth_getRawTransactionByHash"
        | "eth_getLogs"
        | "eth_getBlockReceipts"
        | "eth_getBlockTransactionCountByNumber"
        | "eth_getBlockTransactionCountByHash"
        | "eth_getUncleCountByBlockNumber"
        | "eth_getUncleCountByBlockHash"
        | "eth_getTransactionByHash"
        | "eth_getTransactionReceipt"
        | "eth_unsubscribe"
        | "trace_block"
        | "trace_transaction" => 1,
        "eth_getBlockByNumber"
        | "eth_getBlockByHash"
        | "eth_getTransactionByBlockNumberAndIndex"
        | "eth_getTransactionByBlockHashAndIndex"
        | "eth_getRawTransactionByBlockNumberAndIndex"
        | "eth_getRawTransactionByBlockHashAndIndex"
        | "eth_subscribe" => 2,
        "eth_feeHistory" => 3,
        _ => usize::MAX,
    }
}

pub(super) fn wrong(place: usize, value: &Value, due: &str) -> CallError {
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
                Err(CallError::NoList)
            }
        }
    }

    /// Refuses more parameters than a method takes: what they should say would not be heard.
    pub(super) fn fit(&self, method: &str) -> Result<(), CallError> {
        self.at_most(arguments_max(method))
    }

    pub(super) fn at_most(&self, max: usize) -> Result<(), CallError> {
        let found = self.0.len();
        if found > max { Err(CallError::Arguments { found, max }) } else { Ok(()) }
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

    /// A block by number, tag or hash.
    pub(super) fn block(&self, place: usize) -> Result<BlockId, CallError> {
        block(place, self.required(place)?)
    }

    /// A block by number or tag, where a hash is another method's.
    pub(super) fn height(&self, place: usize) -> Result<BlockId, CallError> {
        height(place, self.required(place)?).map(BlockId::Height)
    }

    /// A block by hash, where a number is another method's.
    pub(super) fn block_hash(&self, place: usize) -> Result<BlockId, CallError> {
        self.hash(place).map(BlockId::Hash)
    }

    /// A position in a block.
    pub(super) fn position(&self, place: usize) -> Result<usize, CallError> {
        let value = self.required(place)?;
        let number = value.as_str().and_then(quantity);
        let position = number.and_then(|number| usize::try_from(number).ok());
        position.ok_or_else(|| wrong(place, value, "a quantity such as 0x1"))
    }

    /// How many, as a quantity or a plain number: clients write both.
    pub(super) fn count(&self, place: usize) -> Result<u64, CallError> {
        let value = self.required(place)?;
        let count = value.as_str().and_then(quantity).or_else(|| value.as_u64());
        count.ok_or_else(|| wrong(place, value, "a quantity such as 0x4, or a number"))
    }

    /// The id of a filter.
    pub(super) fn filter_id(&self, place: usize) -> Result<u128, CallError> {
        let value = self.required(place)?;
        let digits = value.as_str().and_then(|text| text.strip_prefix("0x"));
        let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let id = digits.and_then(|digits| u128::from_str_radix(digits, 16).ok());
        id.ok_or_else(|| wrong(place, value, "the id of a filter, as it was given"))
    }

    /// Bytes.
    pub(super) fn bytes(&self, place: usize) -> Result<Bytes, CallError> {
        let value = self.required(place)?;
        let text = value.as_str().filter(|text| text.starts_with("0x"));
        let bytes = text.and_then(|text| text.parse().ok());
        bytes.ok_or_else(|| wrong(place, value, "bytes: 0x and two hex digits for each"))
    }

    /// A switch.
    pub(super) fn flag(&self, place: usize) -> Result<bool, CallError> {
        let value = self.required(place)?;
        value.as_bool().ok_or_else(|| wrong(place, value, "true or false"))
    }
}

/// `0x` and hex digits without leading zeros. The specification writes the digits in lower case;
/// clients take both, and both say the same.
fn quantity(text: &str) -> Option<u64> {
    let digits = text.strip_prefix("0x")?;
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_short = digits == "0" || !digits.starts_with('0');
    u64::from_str_radix(digits, 16).ok().filter(|_| is_plain && is_short)
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

/// A tag or a number; as in go-ethereum numbers end at 2^63 - 1.
pub(super) fn height(place: usize, value: &Value) -> Result<Height, CallError> {
    let due = "a block number: `earliest`, `latest`, `safe`, `finalized`, or a quantity below 2^63 \
               without leading zeros, such as 0x1b4";
    let text = value.as_str().ok_or_else(|| wrong(place, value, due))?;
    match text {
        // What is pending is nowhere here; nodes without it give the latest.
        "latest" | "pending" => Ok(Height::Latest),
        // What is safe lies between the two, and is not known here.
        "safe" | "finalized" => Ok(Height::Final),
        "earliest" => Ok(Height::Number(0)),
        _ => {
            let number = quantity(text).filter(|number| i64::try_from(*number).is_ok());
            number.map(Height::Number).ok_or_else(|| wrong(place, value, due))
        }
    }
}

/// A tag, a number, a hash, or an object with a number or a hash (EIP-1898).
pub(super) fn block(place: usize, value: &Value) -> Result<BlockId, CallError> {
    let Some(object) = value.as_object() else {
        return match value.as_str() {
            Some(text) if text.len() == 66 => hash(place, value).map(BlockId::Hash),
            Some(_) | None => height(place, value).map(BlockId::Height),
        };
    };
    let given = |key: &str| object.get(key).filter(|value| !value.is_null());
    let needs_canonical = match given("requireCanonical") {
        None => false,
        Some(flag) => flag.as_bool().ok_or_else(|| wrong(place, flag, "true or false"))?,
    };
    match (given("blockHash"), given("blockNumber")) {
        (Some(value), None) if needs_canonical => hash(place, value).map(BlockId::CanonicalHash),
        (Some(value), None) => hash(place, value).map(BlockId::Hash),
        (None, Some(value)) => height(place, value).map(BlockId::Height),
        (Some(_), Some(_)) | (None, None) => {
            Err(wrong(place, value, "an object with either `blockHash` or `blockNumber`"))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn blocks_are_named_as_the_specification_says() {
        let hash = B256::repeat_byte(7);
        let number = |number| BlockId::Height(Height::Number(number));
        let (latest, last_final) =
            (BlockId::Height(Height::Latest), BlockId::Height(Height::Final));
        let cases = [
            (json!("0x10"), number(16)),
            (json!("0xAb"), number(0xab)),
            (json!("0x0"), number(0)),
            (json!("0x7fffffffffffffff"), number(i64::MAX as u64)),
            (json!("earliest"), number(0)),
            (json!("latest"), latest),
            (json!("pending"), latest),
            (json!("safe"), last_final),
            (json!("finalized"), last_final),
            (json!(hash.to_string()), BlockId::Hash(hash)),
            (json!({ "blockHash": hash }), BlockId::Hash(hash)),
            (json!({ "blockHash": hash, "blockNumber": null }), BlockId::Hash(hash)),
            (json!({ "blockHash": hash, "requireCanonical": false }), BlockId::Hash(hash)),
            (json!({ "blockHash": hash, "requireCanonical": true }), BlockId::CanonicalHash(hash)),
            (json!({ "blockNumber": "0x10", "requireCanonical": true }), number(16)),
            (json!({ "blockNumber": "latest" }), latest),
        ];
        for (value, expected) in cases {
            assert_eq!(block(0, &value).unwrap(), expected, "{value}");
        }
    }

    #[test]
    fn what_names_no_block_is_told_with_its_place() {
        let hash = B256::repeat_byte(7).to_string();
        let heights = [
            json!(16),
            json!(16.5),
            json!(-1),
            json!("16"),
            json!("+5"),
            json!("-0x1"),
            json!(""),
            json!(" 0x1"),
            json!("0x"),
            json!("0x+1"),
            json!("0x-1"),
            json!("0x 1"),
            json!("0x1_0"),
            json!("0X1"),
            json!("0x01"),
            json!("0x00"),
            json!("0xg"),
            json!("0x8000000000000000"),
            json!("0xffffffffffffffff"),
            json!("0x10000000000000000"),
            json!("head"),
            json!("Latest"),
            json!(true),
            json!(["0x1"]),
        ];
        let objects = [
            json!({}),
            json!({ "blockNumber": { "blockNumber": "0x1" } }),
            json!({ "blockNumber": hash }),
            json!({ "blockNumber": "0x1", "blockHash": hash }),
            json!({ "blockHash": "0x1" }),
            json!({ "blockHash": hash, "requireCanonical": "true" }),
            json!(format!("0x{}", "z".repeat(64))),
        ];
        for value in &heights {
            let error = height(1, value).unwrap_err().to_string();
            assert!(error.starts_with("invalid argument 1: "), "{value}: {error}");
        }
        assert!(height(1, &json!(hash)).is_err(), "a hash is no number");
        for value in heights.iter().chain(&objects) {
            let error = block(1, value).unwrap_err().to_string();
            assert!(error.starts_with("invalid argument 1: "), "{value}: {error}");
        }
    }

    #[test]
    fn parameters_are_as_many_as_a_method_takes() {
        let params = |count: usize| Params(vec![Value::Null; count]);
        for (method, max) in [("eth_blockNumber", 0), ("eth_getLogs", 1), ("eth_getBlockByHash", 2)]
        {
            assert!(params(max).fit(method).is_ok(), "{method}");
            let error = params(max + 1).fit(method).unwrap_err().to_string();
            assert!(error.contains(&format!("at most {max}")), "{method}: {error}");
        }
    }
}

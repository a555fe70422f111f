//! Bodies of JSON-RPC calls that are anything.

use serde_json::{Value, json};

use super::answer::Request;
use super::filter::{Filter, Span};
use super::params::Params;
use super::read::Question;

const METHODS: [&str; 8] = [
    "eth_getBlockByNumber",
    "eth_getBlockByHash",
    "eth_getBlockReceipts",
    "eth_getLogs",
    "eth_getTransactionByHash",
    "eth_getTransactionByBlockNumberAndIndex",
    "trace_block",
    "eth_subscribe",
];

/// A value of any form that parameters have, and of some that they have not.
fn value(bytes: &mut impl Iterator<Item = u8>, depth: u8) -> Value {
    let kind = if depth == 0 { 5 } else { 9 };
    match bytes.next().unwrap_or(0) % kind {
        0 => Value::Null,
        1 => json!(bytes.next().is_some_and(|byte| byte % 2 == 0)),
        2 => json!(i64::from(bytes.next().unwrap_or(0)) - 100),
        3 => json!(format!("0x{}", "f".repeat(usize::from(bytes.next().unwrap_or(0)) % 70))),
        4 => json!(
            ["latest", "earliest", "pending", "safe", "+5", "0x", "\u{202e}"]
                [usize::from(bytes.next().unwrap_or(0)) % 7]
        ),
        5 | 6 => {
            let count = bytes.next().unwrap_or(0) % 5;
            (0..count).map(|_| value(bytes, depth - 1)).collect()
        }
        _ => {
            const KEYS: [&str; 6] =
                ["fromBlock", "toBlock", "blockHash", "address", "topics", "requireCanonical"];
            let count = bytes.next().unwrap_or(0) % 4;
            let pairs = (0..count).map(|_| {
                let key = KEYS[usize::from(bytes.next().unwrap_or(0)) % KEYS.len()];
                (key.to_owned(), value(bytes, depth - 1))
            });
            Value::Object(pairs.collect())
        }
    }
}

#[test]
fn any_call_is_understood_or_refused() {
    bolero::check!().with_type::<Vec<u8>>().for_each(|bytes| {
        if let Ok(call) = serde_json::from_slice(bytes) {
            drop(Request::read(call));
        }
        let mut bytes = bytes.iter().copied();
        let method = METHODS[usize::from(bytes.next().unwrap_or(0)) % METHODS.len()];
        let params = value(&mut bytes, 4);
        for one in params.as_array().into_iter().flatten() {
            drop(Filter::read(0, one).map(|filter| filter.to_sql()));
            drop(Span::read(0, one));
        }
        let call = json!({ "id": 1, "method": method, "params": params });
        let Ok(request) = Request::read(call) else { return };
        let Ok(params) = request.params else { return };
        drop(params.fit(method));
        drop(Question::of(method, &params));
        drop(Params::new(Some(Value::Null)));
    });
}

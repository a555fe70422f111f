//! Traces of a devnet's block: each transaction's own call, and one call within it per log.
//!
//! Nothing is executed here: the inner calls are made up from the logs, so that they are the same
//! at each asking. Both forms that nodes give tell the same.

use serde_json::{Map, Value, json};

use super::node::Built;

/// What a transaction did.
struct Traced<'a> {
    transaction: &'a Value,
    receipt: &'a Value,
    /// The contracts that its outermost call calls.
    called: Vec<&'a str>,
}

const INNER_GAS: &str = "0x7530";
const INNER_GAS_USED: &str = "0x1388";
/// `transfer(address,uint256)`.
const INNER_INPUT: &str = "0xa9059cbb";

impl<'a> Traced<'a> {
    fn of(block: &'a Built) -> impl Iterator<Item = Traced<'a>> {
        block.transactions.iter().zip(&block.receipts).map(|(transaction, receipt)| {
            let logs = receipt.get("logs").and_then(Value::as_array);
            let called = logs.into_iter().flatten().filter_map(|log| log.get("address")?.as_str());
            Traced { transaction, receipt, called: called.collect() }
        })
    }

    fn field(&self, name: &str) -> Value {
        self.transaction.get(name).cloned().unwrap_or(Value::Null)
    }

    fn of_receipt(&self, name: &str) -> Value {
        self.receipt.get(name).cloned().unwrap_or(Value::Null)
    }

    fn is_creation(&self) -> bool {
        self.field("to").is_null()
    }

    fn error(&self) -> Option<Value> {
        (self.of_receipt("status") == "0x0").then(|| json!("execution reverted"))
    }

    /// Who makes the inner calls.
    fn contract(&self) -> Value {
        if self.is_creation() { self.of_receipt("contractAddress") } else { self.field("to") }
    }
}

/// The answer of `trace_block`.
pub(super) fn trace_block(block: &Built) -> Value {
    let mut list = Vec::new();
    for traced in Traced::of(block) {
        let place = |address: Vec<usize>| {
            json!({
                "blockHash": block.hash,
                "blockNumber": number(&block.header),
                "transactionHash": traced.field("hash"),
                "transactionPosition": number_of(&traced.field("transactionIndex")),
                "traceAddress": address,
            })
        };
        let (what, result) = if traced.is_creation() {
            let action = json!({
                "from": traced.field("from"), "gas": traced.field("gas"),
                "value": traced.field("value"), "init": traced.field("input"),
                "creationMethod": "create",
            });
            let result = json!({
                "address": traced.of_receipt("contractAddress"), "code": "0x6000",
                "gasUsed": traced.of_receipt("gasUsed"),
            });
            (json!({ "type": "create", "action": action }), result)
        } else {
            let action = json!({
                "callType": "call", "from": traced.field("from"), "gas": traced.field("gas"),
                "input": traced.field("input"), "to": traced.field("to"),
                "value": traced.field("value"),
            });
            let result = json!({ "gasUsed": traced.of_receipt("gasUsed"), "output": "0x" });
            (json!({ "type": "call", "action": action }), result)
        };
        let mut outer = merged(place(Vec::new()), what);
        outer.insert("subtraces".to_owned(), traced.called.len().into());
        match traced.error() {
            Some(error) => outer.insert("error".to_owned(), error),
            None => outer.insert("result".to_owned(), result),
        };
        list.push(Value::from(outer));
        for (at, called) in traced.called.iter().enumerate() {
            let inner = json!({
                "type": "call",
                "subtraces": 0,
                "action": {
                    "callType": "call", "from": traced.contract(), "to": called,
                    "gas": INNER_GAS, "input": INNER_INPUT, "value": "0x0",
                },
                "result": { "gasUsed": INNER_GAS_USED, "output": "0x01" },
            });
            list.push(Value::from(merged(place(vec![at]), inner)));
        }
    }
    list.into()
}

/// The answer of `debug_traceBlockByNumber` with `callTracer`.
pub(super) fn call_frames(block: &Built) -> Value {
    let frame = |traced: &Traced<'_>| {
        let kind = if traced.is_creation() { "CREATE" } else { "CALL" };
        let calls = traced.called.iter().map(|called| {
            json!({
                "from": traced.contract(), "gas": INNER_GAS, "gasUsed": INNER_GAS_USED,
                "to": called, "input": INNER_INPUT, "output": "0x01", "value": "0x0",
                "type": "CALL",
            })
        });
        let calls: Vec<Value> = calls.collect();
        let mut frame = json!({
            "from": traced.field("from"), "gas": traced.field("gas"),
            "gasUsed": traced.of_receipt("gasUsed"), "to": traced.contract(),
            "input": traced.field("input"), "value": traced.field("value"), "type": kind,
        });
        if let Some(object) = frame.as_object_mut() {
            if !calls.is_empty() {
                object.insert("calls".to_owned(), calls.into());
            }
            match traced.error() {
                Some(error) => object.insert("error".to_owned(), error),
                None => object.insert(
                    "output".to_owned(),
                    if traced.is_creation() { json!("0x6000") } else { json!("0x") },
                ),
            };
        }
        json!({ "txHash": traced.field("hash"), "result": frame })
    };
    Traced::of(block).map(|traced| frame(&traced)).collect::<Vec<Value>>().into()
}

fn number(header: &Value) -> u64 {
    header.get("number").map_or(0, number_of)
}

/// The number of a quantity.
fn number_of(value: &Value) -> u64 {
    let digits = value.as_str().and_then(|text| text.strip_prefix("0x"));
    digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or(0)
}

fn merged(first: Value, second: Value) -> Map<String, Value> {
    let entries = [first, second].into_iter().filter_map(|value| match value {
        Value::Object(entries) => Some(entries),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            None
        }
    });
    entries.flatten().collect()
}

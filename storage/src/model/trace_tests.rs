//! Both forms of traces are read into the same, whatever a node puts into them.

use serde_json::{Value, json};

use super::*;

/// `trace_block` in the form of <https://openethereum.github.io/JSONRPC-trace-module>,
/// with a call that fails within one that does not, a self-destruct and a reward.
fn flat() -> Value {
    let place = |address: Value| {
        json!({
            "blockHash": format!("0x{}", "ab".repeat(32)), "blockNumber": 3_068_185,
            "subtraces": 0, "traceAddress": address,
            "transactionHash": format!("0x{}", "cd".repeat(32)), "transactionPosition": 2,
        })
    };
    let with = |place: Value, more: Value| {
        let mut all = place;
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    let call = |kind: &str, to: &str| {
        json!({
            "callType": kind, "from": format!("0x{}", "01".repeat(20)), "gas": "0x4dc",
            "input": "0x0102", "to": to, "value": "0x10",
        })
    };
    let other = format!("0x{}", "02".repeat(20));
    json!([
        with(place(json!([])), json!({
            "type": "call", "action": call("call", &other), "subtraces": 3,
            "result": { "gasUsed": "0x2", "output": "0x07" },
        })),
        with(place(json!([0])), json!({
            "type": "call", "action": call("delegatecall", &other), "error": "Reverted",
            "result": null,
        })),
        with(place(json!([1])), json!({
            "type": "create",
            "action": {
                "from": other, "gas": "0x5", "init": "0x60", "value": "0x0",
                "creationMethod": "create2",
            },
            "result": { "address": other, "code": "0x61", "gasUsed": "0x1" },
        })),
        with(place(json!([2])), json!({
            "type": "suicide",
            "action": { "address": other, "balance": "0x3", "refundAddress": other },
            "result": null,
        })),
        {
            "type": "reward", "blockHash": format!("0x{}", "ab".repeat(32)),
            "blockNumber": 3_068_185, "subtraces": 0, "traceAddress": [],
            "transactionHash": null, "transactionPosition": null, "result": null,
            "action": { "author": other, "rewardType": "block", "value": "0x1bc16d674ec80000" },
        },
    ])
}

/// The same transaction as go-ethereum's `callTracer` gives it.
fn nested() -> Value {
    let (one, other) = (format!("0x{}", "01".repeat(20)), format!("0x{}", "02".repeat(20)));
    let call = |kind: &str| {
        json!({
            "from": one, "gas": "0x4dc", "to": other, "input": "0x0102", "value": "0x10",
            "type": kind,
        })
    };
    let with = |call: Value, more: Value| {
        let mut all = call;
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    let calls = json!([
        with(call("DELEGATECALL"), json!({ "error": "Reverted" })),
        {
            "from": other, "gas": "0x5", "gasUsed": "0x1", "to": other, "input": "0x60",
            "output": "0x61", "value": "0x0", "type": "CREATE2",
        },
        { "from": other, "to": other, "value": "0x3", "input": "0x", "type": "SELFDESTRUCT" },
    ]);
    let outer = json!({ "gasUsed": "0x2", "output": "0x07", "calls": calls });
    let empty = json!({ "txHash": format!("0x{}", "00".repeat(32)), "result": call("CALL") });
    json!([empty, empty, {
        "txHash": format!("0x{}", "cd".repeat(32)), "result": with(call("CALL"), outer),
    }])
}

#[test]
fn both_forms_of_the_same_calls_are_read_alike() {
    let flat: Vec<Trace> = read_trace_block(&flat().to_string())
        .unwrap()
        .into_iter()
        .map(|claimed| claimed.trace)
        .collect();
    let frames = read_call_frames(&nested().to_string()).unwrap();
    let nested: Vec<Trace> = frames.into_iter().map(|claimed| claimed.trace).skip(2).collect();
    assert_eq!(flat[..4], nested[..]);
    let reward = &flat[4];
    assert_eq!((reward.kind, reward.transaction_index), (TraceKind::BlockReward, None));
    assert_eq!(reward.to, Some(Address::repeat_byte(2)));
    assert_eq!(reward.value, Some(U256::from(2_000_000_000_000_000_000_u64)));
    assert_eq!(
        trace_tree(&flat).unwrap(),
        [(3, true), (0, false), (0, true), (0, true), (0, true)]
    );
}

#[test]
fn what_is_not_known_is_kept() {
    let text = json!([{
        "type": "call", "traceAddress": [], "transactionPosition": 0, "vmTrace": { "a": [1] },
        "action": {
            "callType": "authcall", "from": null, "gas": "0xffffffffffffffff", "odd": "1",
        },
    }]);
    let read = read_trace_block(&text.to_string()).unwrap().remove(0);
    assert_eq!(read.trace.kind, TraceKind::Other);
    assert_eq!(read.trace.gas, Some(i64::MAX as u64), "what a column holds");
    let extra = Value::Object(*read.trace.extra.unwrap());
    assert_eq!(
        extra,
        json!({
            "type": "call", "callType": "authcall", "gas": "0xffffffffffffffff", "odd": "1",
            "vmTrace": { "a": [1] },
        })
    );
}

#[test]
fn quantities_that_no_column_holds_are_given_back_where_they_stood() {
    let large = "0xffffffffffffffff";
    let mut told = flat();
    told[0]["action"]["gas"] = json!(large);
    told[0]["result"]["gasUsed"] = json!(large);
    let mut block = Block::default();
    (block.header.hash, block.header.number) = (B256::repeat_byte(0xab), 3_068_185);
    let transaction = Transaction { hash: B256::repeat_byte(0xcd), ..Transaction::default() };
    block.transactions = vec![Transaction::default(), Transaction::default(), transaction];
    block.add_traces(read_trace_block(&told.to_string()).unwrap()).unwrap();
    assert_eq!(block.traces_to_json(None).unwrap(), told);
}

#[test]
fn deep_calls_are_read_to_the_depth_that_the_evm_allows() {
    let nested = |depth: usize| {
        let open = r#"{"type":"CALL","calls":["#.repeat(depth);
        format!(r#"[{{"result":{open}{{"type":"CALL"}}{}}}]"#, "]}".repeat(depth))
    };
    let deepest = read_call_frames(&nested(1_024)).unwrap();
    assert_eq!(deepest.len(), 1_025);
    assert_eq!(deepest[1_024].trace.trace_address.len(), 1_024);
    let error = read_call_frames(&nested(100_000)).unwrap_err().to_string();
    assert!(error.contains("deeper than 1025"), "{error}");
    // Nested otherwise than calls are.
    let strange = format!(r#"[{{"result":{{"x":{}1{}}}}}]"#, "[".repeat(9_999), "]".repeat(9_999));
    assert!(read_call_frames(&strange).is_err());
}

#[test]
fn a_transaction_that_could_not_be_traced_is_an_error_that_names_it() {
    let text = r#"[{"result":{"type":"CALL"}},{"error":"execution timeout"}]"#;
    let error = read_call_frames(text).unwrap_err().to_string();
    assert!(error.contains("transaction 1: execution timeout"), "{error}");
}

#[test]
fn traces_that_stand_elsewhere_are_not_taken() {
    let read = || read_trace_block(&flat().to_string()).unwrap();
    let mut block = Block::default();
    block.header.hash = B256::repeat_byte(0xab);
    let transaction = Transaction { hash: B256::repeat_byte(0xcd), ..Transaction::default() };
    block.transactions = vec![Transaction::default(), Transaction::default(), transaction];
    block.clone().add_traces(read()).unwrap();
    let refused = |block: &Block| block.clone().add_traces(read()).unwrap_err().to_string();
    let mut other = block.clone();
    other.header.hash = B256::ZERO;
    assert!(refused(&other).contains("`blockHash`"));
    let mut other = block.clone();
    other.transactions[2].hash = B256::ZERO;
    assert!(refused(&other).contains("`transactionHash`"));
    block.transactions.pop();
    assert!(refused(&block).contains("`transactionPosition`"));
}

#[test]
fn traces_are_given_back_as_they_were_told() {
    let told = flat();
    let mut block = Block::default();
    (block.header.hash, block.header.number) = (B256::repeat_byte(0xab), 3_068_185);
    let transaction = Transaction { hash: B256::repeat_byte(0xcd), ..Transaction::default() };
    block.transactions = vec![Transaction::default(), Transaction::default(), transaction];
    assert_eq!(block.traces_to_json(None), None, "none were captured");
    block.add_traces(read_trace_block(&told.to_string()).unwrap()).unwrap();
    assert_eq!(block.traces_to_json(None).unwrap(), told);
    assert_eq!(block.traces_to_json(Some(2)).unwrap().as_array().unwrap().len(), 4);
    assert_eq!(block.traces_to_json(Some(0)), Some(json!([])));
}

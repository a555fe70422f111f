//! What clients ask a node at start: raw transactions, fees, filters, and what there is not.

use std::collections::BTreeSet;

use alloy_primitives::keccak256;
use headwater::devnet::DevnetConfig;
use serde_json::{Value, json};

use crate::facade::{Listener, call, code, facade, post, result, small};
use crate::harness::{Appliance, Chain, config};
use crate::traces::traced;

fn number(value: &Value) -> u128 {
    let text = value.as_str().unwrap_or_else(|| panic!("{value} is no quantity"));
    u128::from_str_radix(text.strip_prefix("0x").unwrap(), 16).unwrap()
}

fn numbers(list: &Value) -> Vec<u128> {
    list.as_array().unwrap().iter().map(number).collect()
}

/// A chain of so many blocks, and an appliance that has all of them.
async fn level(folder: &std::path::Path, blocks: u64) -> (Chain, Appliance) {
    let mut chain = Chain::new(small());
    chain.node.mine(blocks).unwrap();
    let (theirs, _) = chain.provider().await;
    let appliance = Appliance::start(&config(folder, &[theirs], "")).await;
    appliance.follows(&chain).await;
    (chain, appliance)
}

#[tokio::test(flavor = "multi_thread")]
async fn raw_transactions_hash_to_their_hashes() {
    let folder = tempfile::tempdir().unwrap();
    let (chain, appliance) = level(folder.path(), 12).await;
    let ours = facade(&appliance);
    let mut types = BTreeSet::new();
    for height in 1..=12 {
        let block = chain.node.by_number(height).unwrap();
        for (at, transaction) in block.transactions.iter().enumerate() {
            let (hash, at) = (&transaction["hash"], format!("{at:#x}"));
            let raw = result(&ours, "eth_getRawTransactionByHash", json!([hash])).await;
            let bytes = const_hex::decode(raw.as_str().unwrap()).unwrap();
            assert_eq!(json!(keccak256(&bytes)), *hash);
            let kind = number(&transaction["type"]);
            assert!(kind == 0 || u128::from(bytes[0]) == kind, "{transaction}");
            types.insert(kind);
            for (way, name) in
                [("Number", format!("{height:#x}")), ("Hash", block.hash.to_string())]
            {
                let method = format!("eth_getRawTransactionByBlock{way}AndIndex");
                assert_eq!(result(&ours, &method, json!([name, at])).await, raw);
                assert_eq!(result(&ours, &method, json!([name, "0xff"])).await, Value::Null);
            }
        }
    }
    assert!(types.len() >= 4 && types.contains(&3), "types {types:?}");
    let nothing = json!([format!("0x{}", "5".repeat(64))]);
    assert_eq!(result(&ours, "eth_getRawTransactionByHash", nothing).await, Value::Null);
}

/// What a block's transactions paid the proposer for each unit of gas, and how much gas they took,
/// by the node's receipts; the lowest first.
fn paid(chain: &Chain, height: u64) -> Vec<(u128, u128)> {
    let block = chain.node.by_number(height).unwrap();
    let base_fee = number(&block.header["baseFeePerGas"]);
    let of = |receipt: &Value| {
        let price = number(&receipt["effectiveGasPrice"]);
        (price.saturating_sub(base_fee), number(&receipt["gasUsed"]))
    };
    let mut paid: Vec<(u128, u128)> = block.receipts.iter().map(of).collect();
    paid.sort_unstable();
    paid
}

/// EIP-1559, written down again.
fn next_base_fee(header: &Value) -> u128 {
    let [fee, used, limit] =
        ["baseFeePerGas", "gasUsed", "gasLimit"].map(|key| number(&header[key]));
    let target = limit / 2;
    let change = |gas: u128| fee * gas / target / 8;
    if used > target { fee + change(used - target).max(1) } else { fee - change(target - used) }
}

#[tokio::test(flavor = "multi_thread")]
async fn fees_are_those_of_the_blocks() {
    let folder = tempfile::tempdir().unwrap();
    let (chain, appliance) = level(folder.path(), 34).await;
    let ours = facade(&appliance);
    for (asked, first, last) in [
        (json!(["0x5", "latest", [0, 25, 50, 99.5, 100]]), 30, 34),
        (json!([5, "0x14", [0, 25, 50, 99.5, 100]]), 16, 20),
        (json!(["0x400", "0x7", [50]]), 0, 7),
        (json!(["0x1", "finalized"]), chain.node.finalized(), chain.node.finalized()),
    ] {
        let history = result(&ours, "eth_feeHistory", asked.clone()).await;
        assert_eq!(number(&history["oldestBlock"]), first.into(), "{asked}");
        let headers: Vec<Value> = (first..=last)
            .map(|height| chain.node.by_number(height).unwrap().header.clone())
            .collect();
        let mut fees: Vec<u128> = headers.iter().map(|h| number(&h["baseFeePerGas"])).collect();
        fees.push(next_base_fee(headers.last().unwrap()));
        assert_eq!(numbers(&history["baseFeePerGas"]), fees, "{asked}");
        let ones = vec![1; headers.len() + 1];
        assert_eq!(numbers(&history["baseFeePerBlobGas"]), ones, "no blob gas is in excess");
        for (at, header) in headers.iter().enumerate() {
            let ratio = |part: &str, whole: u128| number(&header[part]) as f64 / whole as f64;
            let gas = ratio("gasUsed", number(&header["gasLimit"]));
            assert!((history["gasUsedRatio"][at].as_f64().unwrap() - gas).abs() < 1e-12);
            let blobs = ratio("blobGasUsed", 9 * 131_072);
            assert!((history["blobGasUsedRatio"][at].as_f64().unwrap() - blobs).abs() < 1e-12);
        }
        let Some(percentiles) = asked[2].as_array() else {
            assert_eq!(history.get("reward"), None, "none were asked for");
            continue;
        };
        for (at, height) in (first..=last).enumerate() {
            let paid = paid(&chain, height);
            let used = number(&headers[at]["gasUsed"]) as f64;
            let reward = |percentile: &Value| {
                let due = (used * percentile.as_f64().unwrap() / 100.0).floor();
                let mut gas = 0;
                let reached = paid.iter().find(|(_, more)| {
                    gas += more;
                    gas as f64 >= due
                });
                reached.or(paid.last()).map_or(0, |(tip, _)| *tip)
            };
            let expected: Vec<u128> = percentiles.iter().map(reward).collect();
            assert_eq!(numbers(&history["reward"][at]), expected, "block {height}");
        }
    }
    let mut tips: Vec<u128> = Vec::new();
    for height in 15..=34 {
        let paid = paid(&chain, height).into_iter().map(|(tip, _)| tip);
        tips.extend(paid.filter(|tip| *tip >= 2).take(3));
    }
    tips.sort_unstable();
    let tip = tips[(tips.len() - 1) * 60 / 100];
    let base_fee = number(&chain.node.by_number(34).unwrap().header["baseFeePerGas"]);
    let ask = async |method: &str| number(&result(&ours, method, json!([])).await);
    assert_eq!(ask("eth_maxPriorityFeePerGas").await, tip);
    assert_eq!(ask("eth_gasPrice").await, base_fee + tip);
    assert_eq!(ask("eth_blobBaseFee").await, 1);
    for wrong in
        [json!(["0x1", "0x23"]), json!(["0x0", "latest"]), json!(["0x1", "latest", [9, 1]])]
    {
        assert_eq!(code(&ours, "eth_feeHistory", wrong).await, -32602);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_of_fees_has_no_holes() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(small());
    chain.node.mine(20).unwrap();
    let (theirs, _) = chain.provider().await;
    let path = config(folder.path(), &[theirs], "");
    let text = std::fs::read_to_string(&path).unwrap().replace("start = 0", "start = 6");
    std::fs::write(&path, text).unwrap();
    let appliance = Appliance::start(&path).await;
    appliance.follows(&chain).await;
    let ours = facade(&appliance);
    let history = result(&ours, "eth_feeHistory", json!(["0xf", "latest", [50]])).await;
    assert_eq!(history["oldestBlock"], "0x6");
    for beyond in [json!(["0x10", "latest"]), json!(["0x400", "0x8", [50]]), json!(["0x1", "0x5"])]
    {
        assert_eq!(code(&ours, "eth_feeHistory", beyond.clone()).await, 4444, "{beyond}");
    }
    // A price is made of the blocks that are there.
    let price = result(&ours, "eth_gasPrice", json!([])).await;
    let header = &chain.node.by_number(20).unwrap().header;
    assert!(number(&price) > number(&header["baseFeePerGas"]), "{price}");
}

/// The logs of a block that an address wrote, as a filter gives them.
fn logs_from(chain: &Chain, hash: &str, address: &Value, is_removed: bool) -> Vec<Value> {
    let block = chain.node.by_hash(hash.parse().unwrap()).unwrap();
    let logs = block.receipts.iter().flat_map(|receipt| receipt["logs"].as_array().unwrap());
    let mut logs: Vec<Value> = logs.filter(|log| log["address"] == *address).cloned().collect();
    for log in &mut logs {
        log["removed"] = json!(is_removed);
    }
    logs
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_tell_what_changed_and_what_a_reorg_took_back() {
    let folder = tempfile::tempdir().unwrap();
    let (chain, appliance) = level(folder.path(), 10).await;
    let ours = facade(&appliance);
    let mut socket = Listener::connect(&appliance).await;
    let block = chain.node.by_number(10).unwrap();
    let logs = block.receipts.iter().flat_map(|receipt| receipt["logs"].as_array().unwrap());
    let address = logs.last().unwrap()["address"].clone();
    let wish = json!([{ "address": address, "fromBlock": "0x2", "toBlock": "latest" }]);
    let of_logs = result(&ours, "eth_newFilter", wish.clone()).await;
    let of_blocks = result(&ours, "eth_newBlockFilter", json!([])).await;
    // An id is the node's, whichever way it is asked by.
    let of_both = socket.ask("eth_newFilter", wish.clone()).await["result"].clone();
    let changes = async |id: &Value| result(&ours, "eth_getFilterChanges", json!([id])).await;
    assert_eq!(changes(&of_logs).await, json!([]), "what was before is no change");
    chain.node.mine(2).unwrap();
    appliance.follows(&chain).await;
    let (first, second) = (chain.hash(11), chain.hash(12));
    assert_eq!(changes(&of_blocks).await, json!([first, second]));
    let mut expected = logs_from(&chain, &first, &address, false);
    expected.extend(logs_from(&chain, &second, &address, false));
    assert!(!expected.is_empty());
    assert_eq!(changes(&of_logs).await, json!(expected));
    assert_eq!(changes(&of_logs).await, json!([]));
    let all = result(&ours, "eth_getLogs", wish.clone()).await;
    assert_eq!(result(&ours, "eth_getFilterLogs", json!([of_logs])).await, all);
    assert_eq!(code(&ours, "eth_getFilterLogs", json!([of_blocks])).await, -32000);
    // Two blocks are taken back, the newest first, and three come in their place.
    chain.node.reorg(2).unwrap();
    appliance.follows(&chain).await;
    let new: Vec<String> = (11..=chain.node.head()).map(|height| chain.hash(height)).collect();
    assert_eq!(changes(&of_blocks).await, json!(new));
    let mut after = logs_from(&chain, &second, &address, true);
    after.extend(logs_from(&chain, &first, &address, true));
    after.extend(new.iter().flat_map(|hash| logs_from(&chain, hash, &address, false)));
    assert_eq!(changes(&of_logs).await, json!(after));
    expected.extend(after);
    let told = socket.ask("eth_getFilterChanges", json!([of_both])).await;
    assert_eq!(told["result"], json!(expected), "all of it, for who did not ask in between");
    assert_eq!(result(&ours, "eth_uninstallFilter", json!([of_logs])).await, true);
    assert_eq!(result(&ours, "eth_uninstallFilter", json!([of_logs])).await, false);
    let gone = call(&ours, "eth_getFilterChanges", json!([of_logs])).await;
    assert!(gone["error"]["message"].as_str().unwrap().contains("filter not found"), "{gone}");
    for id in [json!(5), json!("5"), json!("0x"), json!("0xg"), json!(null)] {
        assert_eq!(code(&ours, "eth_getFilterChanges", json!([id])).await, -32602);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_keeps_a_thousand_filters() {
    let folder = tempfile::tempdir().unwrap();
    let (chain, appliance) = level(folder.path(), 2).await;
    let ours = facade(&appliance);
    let first = json!([result(&ours, "eth_newBlockFilter", json!([])).await]);
    let of_address = json!([{ "address": format!("0x{}", "20".repeat(20)) }]);
    let one = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_newFilter", "params": of_address });
    let installed = post(&ours, json!(vec![one; 999]).to_string()).await;
    let installed: Vec<Value> = serde_json::from_str(&installed).unwrap();
    let ids: BTreeSet<&str> = installed.iter().filter_map(|one| one["result"].as_str()).collect();
    assert_eq!(ids.len(), 999);
    let refused = call(&ours, "eth_newBlockFilter", json!([])).await;
    assert_eq!(refused["error"]["code"], -32005, "{refused}");
    assert!(refused["error"]["message"].as_str().unwrap().contains("at most 1000"), "{refused}");
    chain.node.mine(1).unwrap();
    appliance.follows(&chain).await;
    let changes = result(&ours, "eth_getFilterChanges", first.clone()).await;
    assert_eq!(changes, json!([chain.hash(3)]), "the others go on");
    assert_eq!(result(&ours, "eth_uninstallFilter", first).await, true);
    result(&ours, "eth_newBlockFilter", json!([])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_there_is_not_is_said_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let (chain, appliance) = level(folder.path(), 3).await;
    let ours = facade(&appliance);
    for (method, expected) in [
        ("eth_accounts", json!([])),
        ("eth_mining", json!(false)),
        ("eth_hashrate", json!("0x0")),
        ("net_listening", json!(true)),
        ("net_peerCount", json!("0x0")),
    ] {
        assert_eq!(result(&ours, method, json!([])).await, expected, "{method}");
    }
    let hash = json!(keccak256(b"headwater"));
    let bytes = json!([const_hex::encode_prefixed("headwater")]);
    assert_eq!(result(&ours, "web3_sha3", bytes).await, hash);
    assert_eq!(code(&ours, "web3_sha3", json!(["headwater"])).await, -32602);
    let zero = format!("0x{}", "0".repeat(40));
    let transaction = chain.node.by_number(1).unwrap().transactions[0]["hash"].clone();
    for (method, params, words) in [
        ("eth_call", json!([{ "to": zero }, "latest"]), "this needs a node with state"),
        ("eth_estimateGas", json!([{ "to": zero }]), "Headwater keeps no state"),
        ("eth_getBalance", json!([zero, "latest"]), "Headwater keeps no state"),
        ("eth_getCode", json!([zero, "latest"]), "Headwater keeps no state"),
        ("eth_getStorageAt", json!([zero, "0x0", "latest"]), "Headwater keeps no state"),
        ("eth_getTransactionCount", json!([zero, "latest"]), "Headwater keeps no state"),
        ("eth_getProof", json!([zero, [], "latest"]), "Headwater keeps no state"),
        ("eth_createAccessList", json!([{ "to": zero }]), "Headwater keeps no state"),
        ("eth_sendRawTransaction", json!(["0x00"]), "Headwater sends no transactions"),
        ("eth_sendTransaction", json!([{ "to": zero }]), "Headwater sends no transactions"),
        ("eth_newPendingTransactionFilter", json!([]), "no pending transactions are kept here"),
        ("trace_block", json!(["0x1"]), "traces are off for this chain: set traces = true"),
        ("trace_transaction", json!([transaction]), "set traces = true"),
        ("debug_traceTransaction", json!([transaction]), "trace_transaction"),
        ("eth_protocolVersion", json!([]), "does not exist/is not available"),
    ] {
        let answer = call(&ours, method, params).await;
        assert_eq!(answer["error"]["code"], -32601, "{method}: {answer}");
        let text = answer["error"]["message"].as_str().unwrap();
        assert!(text.contains(method) && text.contains(words), "{method}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_belong_to_a_chain() {
    let folder = tempfile::tempdir().unwrap();
    let another = DevnetConfig { chain_id: 1_338, ..small() };
    let (mut one, mut other) = (Chain::new(small()), Chain::new(another));
    one.node.mine(3).unwrap();
    other.node.mine(3).unwrap();
    let (theirs, _) = one.provider().await;
    let path = traced(folder.path(), &[theirs], "");
    let (elsewhere, _) = other.provider().await;
    let text = std::fs::read_to_string(&path).unwrap();
    let more = format!(
        "[[chain]]\nname = \"second\"\nchain_id = 1338\nstart = 0\npoll_ms = 20\n\
         [[chain.provider]]\nname = \"q\"\nurl = \"{elsewhere}\"\n"
    );
    std::fs::write(&path, format!("{text}{more}")).unwrap();
    let appliance = Appliance::start(&path).await;
    appliance.follows(&one).await;
    let (ours, second) = (facade(&appliance), format!("{}/rpc/second", appliance.url));
    let id = json!([result(&ours, "eth_newBlockFilter", json!([])).await]);
    assert_eq!(code(&second, "eth_getFilterChanges", id.clone()).await, -32000);
    assert_eq!(result(&second, "eth_uninstallFilter", id.clone()).await, false);
    assert_eq!(result(&ours, "eth_uninstallFilter", id).await, true);
}

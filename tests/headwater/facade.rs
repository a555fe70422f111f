//! `/rpc/{chain}`: what a node answers, from what is captured; and nodes that feed each other.

use std::collections::BTreeSet;
use std::fs;

use futures::{SinkExt, StreamExt};
use headwater::devnet::DevnetConfig;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::data;
use crate::harness::{Appliance, Chain, config, until};
use crate::traces::traced;

pub(crate) fn small() -> DevnetConfig {
    DevnetConfig { transactions: 6, finality: 8, ..DevnetConfig::default() }
}

pub(crate) async fn post(url: &str, body: String) -> String {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    client.post(url).body(body).send().await.unwrap().text().await.unwrap()
}

/// The answer to one call.
pub(crate) async fn call(url: &str, method: &str, params: Value) -> Value {
    let body = json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": params });
    let answer: Value = serde_json::from_str(&post(url, body.to_string()).await).unwrap();
    assert_eq!((&answer["id"], &answer["jsonrpc"]), (&json!(7), &json!("2.0")), "{answer}");
    answer
}

pub(crate) async fn result(url: &str, method: &str, params: Value) -> Value {
    let answer = call(url, method, params.clone()).await;
    assert!(answer.get("result").is_some(), "{method} {params}: {answer}");
    answer["result"].clone()
}

pub(crate) async fn code(url: &str, method: &str, params: Value) -> i64 {
    let answer = call(url, method, params.clone()).await;
    answer["error"]["code"].as_i64().unwrap_or_else(|| panic!("{method} {params}: {answer}"))
}

pub(crate) fn facade(appliance: &Appliance) -> String {
    format!("{}/rpc/devnet", appliance.url)
}

/// Waits until so many blocks are in parts, and all of them can be looked up.
async fn seals(appliance: &Appliance, blocks: u64) {
    until("parts", async || {
        let (_, view) = appliance.get("/v1/chains/devnet").await;
        let is_indexed = view["indexed_lsn"] == view["durable_lsn"];
        (view["sealed_blocks"].as_u64()? >= blocks && is_indexed).then_some(())
    })
    .await;
}

/// Every answer about a block is the one of the node that it came from.
async fn is_same(ours: &str, theirs: &str, block: &Value) {
    let (number, hash) = (&block["number"], &block["hash"]);
    let both = [
        ("eth_getBlockByNumber", json!([number, true])),
        ("eth_getBlockByNumber", json!([number, false])),
        ("eth_getBlockByHash", json!([hash, true])),
        ("eth_getBlockByHash", json!([hash, false])),
        ("eth_getBlockReceipts", json!([number])),
        ("trace_block", json!([number])),
    ];
    for (method, params) in both {
        let expected = result(theirs, method, params.clone()).await;
        assert_eq!(result(ours, method, params.clone()).await, expected, "{method} {params}");
    }
    let receipts = result(theirs, "eth_getBlockReceipts", json!([number])).await;
    for named in [json!({ "blockHash": hash }), json!({ "blockNumber": number }), json!(hash)] {
        assert_eq!(result(ours, "eth_getBlockReceipts", json!([named])).await, receipts);
    }
    let list = block["transactions"].as_array().unwrap();
    let count = json!(format!("{:#x}", list.len()));
    for (way, name) in [("Number", number), ("Hash", hash)] {
        let method = format!("eth_getBlockTransactionCountBy{way}");
        assert_eq!(result(ours, &method, json!([name])).await, count);
        let method = format!("eth_getUncleCountByBlock{way}");
        assert_eq!(result(ours, &method, json!([name])).await, "0x0");
        let method = format!("eth_getTransactionByBlock{way}AndIndex");
        assert_eq!(result(ours, &method, json!([name, "0x1"])).await, list[1]);
        assert_eq!(result(ours, &method, json!([name, "0xff"])).await, Value::Null);
    }
    let traces = result(theirs, "trace_block", json!([number])).await;
    for (transaction, receipt) in list.iter().zip(receipts.as_array().unwrap()) {
        let hash = json!([transaction["hash"]]);
        assert_eq!(result(ours, "eth_getTransactionByHash", hash.clone()).await, *transaction);
        assert_eq!(result(ours, "eth_getTransactionReceipt", hash.clone()).await, *receipt);
        let of_it = |trace: &&Value| trace["transactionHash"] == transaction["hash"];
        let expected: Vec<Value> =
            traces.as_array().unwrap().iter().filter(of_it).cloned().collect();
        assert!(!expected.is_empty());
        assert_eq!(result(ours, "trace_transaction", hash).await, json!(expected));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_answers_what_the_node_answered_from_the_log_and_from_parts() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(small());
    chain.node.mine(34).unwrap();
    let (theirs, _) = chain.provider().await;
    let appliance =
        Appliance::start(&traced(folder.path(), std::slice::from_ref(&theirs), "")).await;
    appliance.follows(&chain).await;
    let orphan = chain.hash(34);
    chain.node.reorg(2).unwrap();
    appliance.follows(&chain).await;
    seals(&appliance, 20).await;
    let ours = facade(&appliance);
    for number in [1, 9, 10, 25, 33, chain.node.head()] {
        let block = result(&theirs, "eth_getBlockByNumber", json!([format!("{number:#x}"), true]));
        is_same(&ours, &theirs, &block.await).await;
    }
    let head = json!(format!("{:#x}", chain.node.head()));
    assert_eq!(result(&ours, "eth_blockNumber", json!([])).await, head);
    assert_eq!(result(&ours, "eth_chainId", json!([])).await, "0x539");
    assert_eq!(result(&ours, "net_version", json!([])).await, "1337");
    assert_eq!(result(&ours, "eth_syncing", json!([])).await, false);
    for (tag, number) in [
        ("latest", chain.node.head()),
        ("pending", chain.node.head()),
        ("safe", chain.node.finalized()),
        ("finalized", chain.node.finalized()),
        ("earliest", 0),
    ] {
        let block = result(&ours, "eth_getBlockByNumber", json!([tag, false])).await;
        assert_eq!(block["hash"], chain.hash(number), "{tag}");
    }
    let block = result(&ours, "eth_getBlockByHash", json!([orphan, true])).await;
    assert_eq!(block, result(&theirs, "eth_getBlockByHash", json!([orphan, true])).await);
    let lost = &block["transactions"][0]["hash"];
    let found = result(&ours, "eth_getTransactionByHash", json!([lost])).await;
    assert_eq!(found, Value::Null, "it is in no canonical block");
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_blocks_are_given_as_the_node_gave_them_and_logs_are_found() {
    let Some(data) = data::chain_data() else { return };
    let replay = Some(data.join("rpc/ethereum"));
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(DevnetConfig { finality: 8, replay, ..DevnetConfig::default() });
    chain.node.mine(60).unwrap();
    let (theirs, _) = chain.provider().await;
    let path = config(folder.path(), std::slice::from_ref(&theirs), "");
    let appliance = Appliance::start(&path).await;
    appliance.follows(&chain).await;
    seals(&appliance, 40).await;
    let ours = facade(&appliance);
    let mut types = BTreeSet::new();
    for number in 0..=chain.node.head() {
        for full in [true, false] {
            let params = json!([format!("{number:#x}"), full]);
            let expected = result(&theirs, "eth_getBlockByNumber", params.clone()).await;
            assert_eq!(result(&ours, "eth_getBlockByNumber", params).await, expected, "{number}");
            for transaction in expected["transactions"].as_array().unwrap() {
                types.extend(transaction["type"].as_str().map(str::to_owned));
            }
        }
        let params = json!([format!("{number:#x}")]);
        let expected = result(&theirs, "eth_getBlockReceipts", params.clone()).await;
        assert_eq!(result(&ours, "eth_getBlockReceipts", params).await, expected, "{number}");
    }
    assert!(types.len() >= 3, "types {types:?}");
    let all = logs_of(&theirs, chain.node.head()).await;
    let span = json!({ "fromBlock": "0x0", "toBlock": "latest" });
    assert_eq!(result(&ours, "eth_getLogs", json!([span])).await, json!(all));
    let mut filter = span.clone();
    filter["topics"] = json!([all[all.len() / 2]["topics"][0]]);
    let expected: Vec<&Value> = all.iter().filter(|log| wants(&filter, log)).collect();
    assert!(expected.len() > 1);
    assert_eq!(result(&ours, "eth_getLogs", json!([filter])).await, json!(expected));
}

/// All logs of the chain, in order, by the node's receipts.
async fn logs_of(theirs: &str, head: u64) -> Vec<Value> {
    let mut logs = Vec::new();
    for number in 0..=head {
        let receipts = result(theirs, "eth_getBlockReceipts", json!([format!("{number:#x}")]));
        for receipt in receipts.await.as_array().unwrap() {
            logs.extend(receipt["logs"].as_array().unwrap().iter().cloned());
        }
    }
    logs
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_those_of_the_receipts_that_a_filter_wants() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(small());
    chain.node.mine(34).unwrap();
    let (theirs, _) = chain.provider().await;
    let appliance =
        Appliance::start(&config(folder.path(), std::slice::from_ref(&theirs), "")).await;
    appliance.follows(&chain).await;
    seals(&appliance, 20).await;
    let ours = facade(&appliance);
    let all = logs_of(&theirs, chain.node.head()).await;
    assert!(all.len() > 50);
    let (one, other) = (&all[3], &all[all.len() - 4]);
    let topics = |log: &Value| log["topics"].as_array().unwrap().clone();
    let deep = all.iter().find(|log| topics(log).len() > 1).expect("a log with two topics");
    let filters = [
        json!({}),
        json!({ "address": one["address"] }),
        json!({ "address": [one["address"], other["address"]] }),
        json!({ "topics": [topics(one)[0]] }),
        json!({ "topics": [[topics(one)[0], topics(other)[0]]] }),
        json!({ "topics": [null, topics(deep)[1]] }),
        json!({ "address": deep["address"], "topics": topics(deep) }),
        json!({ "topics": [null, null] }),
        json!({ "address": "0x00000000000000000000000000000000000000ff" }),
    ];
    // Parts alone, across the border, the log alone, everything.
    let ranges = [("0x2", "0xb"), ("0xf", "0x21"), ("0x20", "latest"), ("earliest", "0x22")];
    for filter in &filters {
        for (from, to) in ranges {
            let mut object = filter.clone();
            object["fromBlock"] = json!(from);
            object["toBlock"] = json!(to);
            let number = |text: &str, none| {
                u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap_or(none)
            };
            let range = number(from, 0)..=number(to, u64::MAX);
            let is_in =
                |log: &Value| range.contains(&number(log["blockNumber"].as_str().unwrap(), 0));
            let expected: Vec<&Value> =
                all.iter().filter(|log| is_in(log) && wants(filter, log)).collect();
            let found = result(&ours, "eth_getLogs", json!([object])).await;
            assert_eq!(found, json!(expected), "{object}");
        }
    }
    let hash = &one["blockHash"];
    let of_block = result(&ours, "eth_getLogs", json!([{ "blockHash": hash }])).await;
    let expected: Vec<&Value> = all.iter().filter(|log| log["blockHash"] == *hash).collect();
    assert_eq!(of_block, json!(expected));
    let of_head = result(&ours, "eth_getLogs", json!([{}])).await;
    let head = json!(format!("{:#x}", chain.node.head()));
    let expected: Vec<&Value> = all.iter().filter(|log| log["blockNumber"] == head).collect();
    assert_eq!(of_head, json!(expected));
}

/// What a filter says, read by another reader than the product's.
fn wants(filter: &Value, log: &Value) -> bool {
    let one_of = |wanted: &Value, value: &Value| match wanted {
        Value::Null => !value.is_null(),
        Value::Array(list) => list.contains(value),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => wanted == value,
    };
    let is_from = filter.get("address").is_none_or(|wanted| one_of(wanted, &log["address"]));
    let places = filter.get("topics").and_then(Value::as_array).cloned().unwrap_or_default();
    is_from
        && places.iter().enumerate().all(|(place, wanted)| one_of(wanted, &log["topics"][place]))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_here_is_an_error_and_what_is_not_yet_is_null() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(small());
    chain.node.mine(20).unwrap();
    let (theirs, _) = chain.provider().await;
    let path = config(folder.path(), std::slice::from_ref(&theirs), "");
    let text = fs::read_to_string(&path).unwrap().replace("start = 0", "start = 6");
    fs::write(&path, text).unwrap();
    let appliance = Appliance::start(&path).await;
    appliance.follows(&chain).await;
    let ours = facade(&appliance);
    let nothing = json!(format!("0x{}", "5".repeat(64)));
    for (method, params) in [
        ("eth_getBlockByNumber", json!(["0x15", true])),
        ("eth_getBlockReceipts", json!(["0x15"])),
        ("eth_getBlockByHash", json!([nothing, true])),
        ("eth_getTransactionByHash", json!([nothing])),
        ("eth_getTransactionReceipt", json!([nothing])),
    ] {
        assert_eq!(result(&ours, method, params).await, Value::Null, "{method}");
    }
    for (method, params, expected) in [
        ("eth_getBlockByNumber", json!(["0x5", true]), 4444),
        ("eth_getBlockByNumber", json!(["earliest", true]), 4444),
        ("eth_getBlockReceipts", json!(["0x5"]), 4444),
        ("eth_getLogs", json!([{ "fromBlock": "0x5", "toBlock": "0x7" }]), 4444),
        ("eth_getLogs", json!([{ "blockHash": nothing }]), -32602),
        ("trace_block", json!(["0x7"]), -32601),
        ("eth_call", json!([{}, "latest"]), -32601),
        ("eth_subscribe", json!(["newHeads"]), -32601),
        ("eth_getBlockByNumber", json!([]), -32602),
        ("eth_getBlockByNumber", json!([5, true]), -32602),
        ("eth_getBlockByNumber", json!(["0x7", "yes"]), -32602),
        ("eth_getBlockByNumber", json!({ "number": "0x7" }), -32602),
        ("eth_getTransactionReceipt", json!(["0x7"]), -32602),
    ] {
        assert_eq!(code(&ours, method, params.clone()).await, expected, "{method} {params}");
    }
    let errors = [("{", -32700), ("[]", -32600), ("7", -32600), (r#"{"id":1,"method":7}"#, -32600)];
    for (body, expected) in errors {
        let answer: Value = serde_json::from_str(&post(&ours, body.to_owned()).await).unwrap();
        assert_eq!(answer["error"]["code"], expected, "{body}");
        assert_eq!(answer["id"], Value::Null);
    }
    let batch = json!([
        { "jsonrpc": "2.0", "id": "a", "method": "eth_chainId" },
        { "jsonrpc": "2.0", "method": "eth_chainId" },
        5,
        { "jsonrpc": "2.0", "id": null, "method": "eth_blockNumber", "params": [] },
    ]);
    let answers: Value = serde_json::from_str(&post(&ours, batch.to_string()).await).unwrap();
    let ids: Vec<&Value> = answers.as_array().unwrap().iter().map(|one| &one["id"]).collect();
    assert_eq!(ids, [&json!("a"), &Value::Null, &Value::Null], "a notification has no answer");
    let silent = json!({ "jsonrpc": "2.0", "method": "eth_chainId" }).to_string();
    assert_eq!(post(&ours, silent).await, "");
    let many = json!(vec![json!({ "id": 1, "method": "eth_chainId" }); 1_001]).to_string();
    let answer: Value = serde_json::from_str(&post(&ours, many).await).unwrap();
    assert_eq!(answer["error"]["code"], -32600);
    let (status, answer) = appliance.get("/rpc/devnet").await;
    assert_eq!((status, &answer["error"]["code"]), (400, &json!("invalid_argument")), "{answer}");
    let elsewhere = format!("{}/rpc/ethereum", appliance.url);
    let answer: Value = serde_json::from_str(&post(&elsewhere, "{}".to_owned()).await).unwrap();
    assert_eq!(answer["error"]["code"], "unknown_chain");
}

/// A connection that subscribes, and what it is told.
pub(crate) struct Listener(
    tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>,
);

impl Listener {
    pub(crate) async fn connect(appliance: &Appliance) -> Listener {
        let url = facade(appliance).replace("http://", "ws://");
        Listener(tokio_tungstenite::connect_async(url).await.unwrap().0)
    }

    async fn next(&mut self) -> Value {
        loop {
            let next = tokio::time::timeout(std::time::Duration::from_mins(1), self.0.next());
            let message = next.await.expect("it is told something").unwrap().unwrap();
            if let Message::Text(text) = message {
                return serde_json::from_str(&text).unwrap();
            }
        }
    }

    /// The answer to a call.
    pub(crate) async fn ask(&mut self, method: &str, params: Value) -> Value {
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        self.0.send(Message::text(call.to_string())).await.unwrap();
        self.next().await
    }

    /// The next news of a subscription.
    pub(crate) async fn news(&mut self, of: &Value) -> Value {
        let told = self.next().await;
        assert_eq!(told["method"], "eth_subscription", "{told}");
        assert_eq!(told["params"]["subscription"], *of, "{told}");
        told["params"]["result"].clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribers_are_told_of_heads_and_logs_and_of_what_is_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(small());
    chain.node.mine(10).unwrap();
    let (theirs, _) = chain.provider().await;
    let appliance =
        Appliance::start(&config(folder.path(), std::slice::from_ref(&theirs), "")).await;
    appliance.follows(&chain).await;
    let (mut heads, mut logs) =
        (Listener::connect(&appliance).await, Listener::connect(&appliance).await);
    let of_heads = heads.ask("eth_subscribe", json!(["newHeads"])).await["result"].clone();
    let all = logs_of(&theirs, 10).await;
    let wanted = all.last().unwrap()["address"].clone();
    let of_logs =
        logs.ask("eth_subscribe", json!(["logs", { "address": wanted }])).await["result"].clone();
    assert_eq!(heads.ask("eth_blockNumber", json!([])).await["result"], "0xa");
    let refused = heads.ask("eth_subscribe", json!(["newPendingTransactions"])).await;
    assert_eq!(refused["error"]["code"], -32601);
    chain.node.mine(2).unwrap();
    appliance.follows(&chain).await;
    let is_wanted = |log: &Value| log["address"] == wanted;
    for number in 11..=12 {
        let head = heads.news(&of_heads).await;
        assert_eq!(head["hash"], chain.hash(number));
        assert!(head.get("transactions").is_none(), "{head}");
    }
    let before: Vec<Value> = logs_of(&theirs, 12).await.into_iter().filter(is_wanted).collect();
    let of_block = |list: &[Value], hash: &str| -> Vec<Value> {
        list.iter().filter(|log| log["blockHash"] == hash).cloned().collect()
    };
    let (first, second) = (chain.hash(11), chain.hash(12));
    let mut expected = of_block(&before, &first);
    expected.extend(of_block(&before, &second));
    // Two blocks are taken back, the newest first, and three come in their place.
    chain.node.reorg(2).unwrap();
    appliance.follows(&chain).await;
    for hash in [&second, &first] {
        expected.extend(of_block(&before, hash).into_iter().map(|mut log| {
            log["removed"] = json!(true);
            log
        }));
    }
    let head = chain.node.head();
    for number in 11..=head {
        assert_eq!(heads.news(&of_heads).await["hash"], chain.hash(number));
    }
    let after: Vec<Value> = logs_of(&theirs, head).await.into_iter().filter(is_wanted).collect();
    for number in 11..=head {
        expected.extend(of_block(&after, &chain.hash(number)));
    }
    assert!(expected.len() > 3, "{expected:?}");
    for log in expected {
        assert_eq!(logs.news(&of_logs).await, log);
    }
    assert_eq!(heads.ask("eth_unsubscribe", json!([of_heads])).await["result"], true);
    assert_eq!(heads.ask("eth_unsubscribe", json!([of_heads])).await["result"], false);
    chain.node.mine(1).unwrap();
    appliance.follows(&chain).await;
    assert_eq!(heads.ask("eth_chainId", json!([])).await["result"], "0x539", "and nothing before");
}

/// Blocks whose receipts a node got from its provider.
async fn receipts_bought(appliance: &Appliance) -> u64 {
    let (_, view) = appliance.get("/v1/providers").await;
    view["providers"][0]["calls"]["eth_getBlockReceipts"]["answered"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_asks_the_provider_once() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let mut chain = Chain::new(small());
    chain.node.mine(40).unwrap();
    let (url, _) = chain.provider().await;
    let first = Appliance::start(&traced(folders[0].path(), &[url], "")).await;
    first.follows(&chain).await;
    seals(&first, 20).await;
    let bought = receipts_bought(&first).await;
    // The other has no provider but the first, which announces heads to it.
    let path = traced(folders[1].path(), &[facade(&first)], "");
    let text = fs::read_to_string(&path).unwrap();
    let plain = format!("url = \"{}\"\n", facade(&first));
    let announced = plain.replace("url", "ws_url").replace("http://", "ws://");
    fs::write(&path, text.replace(&plain, &format!("{plain}{announced}"))).unwrap();
    let second = Appliance::start(&path).await;
    second.follows(&chain).await;
    second.has_the_chain(&chain).await;
    assert!(bought >= 40, "{bought}");
    assert_eq!(receipts_bought(&first).await, bought, "what the first has is not asked for again");
    for _ in 0..10 {
        chain.node.mine(1).unwrap();
        second.follows(&chain).await;
    }
    chain.node.reorg(3).unwrap();
    second.follows(&chain).await;
    second.has_the_chain(&chain).await;
    let traces = second.sql("select count(*) as n from traces").await;
    assert_eq!(traces, first.sql("select count(*) as n from traces").await);
    until("the announcer", async || {
        let (_, view) = second.get("/v1/chains/devnet").await;
        (view["capture"]["announced_by"] == "p0").then_some(())
    })
    .await;
    let proved = second
        .sql(
            "select distinct provider, verified from verification \
         where block_number > 0",
        )
        .await;
    assert_eq!(proved.len(), 1, "all came from the first, and were proved again: {proved:?}");
}

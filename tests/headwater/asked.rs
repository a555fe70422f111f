//! What `/rpc/{chain}` refuses, and a folder that a backfill filled: the same answers as of one
//! that was followed.

use std::fs;

use serde_json::{Value, json};

use crate::facade::{Listener, call, code, facade, post, result, small};
use crate::harness::{Appliance, Chain, config, nobody, program, until};

/// Filters of no range that ends in a chain of 20 blocks, and what is said of each.
fn ranges_elsewhere(hash: &str) -> Vec<(Value, &'static str)> {
    vec![
        (json!({ "fromBlock": "0x13", "toBlock": "0x15" }), "beyond current head block 20"),
        (json!({ "toBlock": "0x15" }), "beyond current head block 20"),
        (json!({ "fromBlock": "earliest", "toBlock": "0xffff" }), "beyond current head block 20"),
        (json!({ "fromBlock": "0xff", "toBlock": "0xfff" }), "beyond current head block 20"),
        (json!({ "fromBlock": "0x1", "toBlock": "0x7fffffffffffffff" }), "head block 20"),
        (json!({ "fromBlock": "0x15" }), "`fromBlock` 21 (0x15) is above `toBlock` 20"),
        (json!({ "fromBlock": "0x15", "toBlock": "latest" }), "is above"),
        (json!({ "fromBlock": "0x9", "toBlock": "0x8" }), "is above"),
        (json!({ "fromBlock": "0xff", "toBlock": "0x8" }), "is above"),
        (json!({ "fromBlock": "latest", "toBlock": "finalized" }), "is above"),
        (json!({ "fromBlock": "-0x1" }), "`\"-0x1\"` is not a block number"),
        (json!({ "fromBlock": -1 }), "`-1` is not"),
        (json!({ "fromBlock": 1, "toBlock": 2 }), "`1` is not"),
        (json!({ "fromBlock": "1" }), "is not a block number"),
        (json!({ "toBlock": "0x010" }), "is not a block number"),
        (json!({ "toBlock": "0xffffffffffffffffffffffff" }), "is not a block number"),
        (json!({ "blockHash": hash, "fromBlock": "0x1" }), "beside"),
        (json!({ "fromBlock": hash }), "blockHash"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_of_logs_that_do_not_end_in_the_chain_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(small());
    chain.node.mine(20).unwrap();
    let (theirs, _) = chain.provider().await;
    let appliance = Appliance::start(&config(folder.path(), &[theirs], "")).await;
    appliance.follows(&chain).await;
    let ours = facade(&appliance);
    let hash = chain.hash(3);
    for (filter, words) in ranges_elsewhere(&hash) {
        let answer = call(&ours, "eth_getLogs", json!([filter])).await;
        assert_eq!(answer["error"]["code"], -32602, "{filter}: {answer}");
        let text = answer["error"]["message"].as_str().unwrap();
        assert!(text.starts_with("eth_getLogs: ") && text.contains(words), "{filter}: {text}");
    }
    for filter in [
        json!({ "fromBlock": "0x14" }),
        json!({ "fromBlock": "0x14", "toBlock": "0x14" }),
        json!({ "fromBlock": null, "toBlock": null, "blockHash": null }),
        json!({ "fromBlock": "earliest", "toBlock": "latest" }),
        json!({ "fromBlock": "finalized" }),
        json!({ "fromBlock": "0xA", "toBlock": "0x14" }),
    ] {
        assert!(result(&ours, "eth_getLogs", json!([filter])).await.is_array());
    }
    // In a batch the refusal says which call it is about.
    let batch = json!([
        { "jsonrpc": "2.0", "id": 1, "method": "eth_blockNumber", "params": [] },
        { "jsonrpc": "2.0", "id": 2, "method": "eth_getBlockByNumber", "params": ["0x01", false] },
        { "jsonrpc": "2.0", "id": 3, "method": "eth_getLogs", "params": [{ "toBlock": "0x15" }] },
    ]);
    let answers: Value = serde_json::from_str(&post(&ours, batch.to_string()).await).unwrap();
    assert_eq!(answers[0]["result"], "0x14");
    for (at, method) in [(1, "eth_getBlockByNumber: "), (2, "eth_getLogs: ")] {
        let text = answers[at]["error"]["message"].as_str().unwrap();
        assert!(text.starts_with(method), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_to_logs_are_about_blocks_to_come() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(small());
    chain.node.mine(20).unwrap();
    let (theirs, _) = chain.provider().await;
    let appliance = Appliance::start(&config(folder.path(), &[theirs], "")).await;
    appliance.follows(&chain).await;
    let hash = chain.hash(3);
    let mut listener = Listener::connect(&appliance).await;
    for filter in [
        json!({ "fromBlock": "0x9", "toBlock": "0x8" }),
        json!({ "fromBlock": "-0x1" }),
        json!({ "toBlock": "0xffffffffffffffffffffffff" }),
        json!({ "toBlock": "0x18" }),
        json!({ "blockHash": hash }),
    ] {
        let answer = listener.ask("eth_subscribe", json!(["logs", filter])).await;
        assert_eq!(answer["error"]["code"], -32602, "{filter}: {answer}");
        let text = answer["error"]["message"].as_str().unwrap();
        assert!(text.starts_with("eth_subscribe: "), "{text}");
    }
    let span = json!({ "fromBlock": "0x16", "toBlock": "0x16" });
    let id = listener.ask("eth_subscribe", json!(["logs", span])).await["result"].clone();
    chain.node.mine(3).unwrap();
    appliance.follows(&chain).await;
    let numbers = async |listener: &mut Listener| listener.news(&id).await["blockNumber"].clone();
    assert_eq!(numbers(&mut listener).await, "0x16", "not of the block before");
    let answer = loop {
        // Nothing of the block after comes before this answer.
        let told = listener.ask("eth_unsubscribe", json!([id])).await;
        if told.get("id").is_some() {
            break told;
        }
        assert_eq!(told["params"]["result"]["blockNumber"], "0x16", "{told}");
    };
    assert_eq!(answer["result"], true);
}

/// Calls whose parameters are of another form than the specification's.
fn misread(hash: &str) -> Vec<(&'static str, Value)> {
    vec![
        ("eth_getBlockByHash", json!(["0x1", false])),
        ("eth_getBlockByHash", json!(["latest", false])),
        ("eth_getBlockByHash", json!([{ "blockHash": hash }, false])),
        ("eth_getBlockByHash", json!([hash])),
        ("eth_getBlockByHash", json!([hash.trim_start_matches("0x"), false])),
        ("eth_getBlockByHash", json!([format!("{hash}00"), false])),
        ("eth_getBlockByNumber", json!([hash, false])),
        ("eth_getBlockByNumber", json!([{ "blockNumber": "0x7" }, false])),
        ("eth_getBlockByNumber", json!(["0x7"])),
        ("eth_getBlockByNumber", json!(["0x7", null])),
        ("eth_getBlockByNumber", json!([null, false])),
        ("eth_getBlockByNumber", json!(["0x7", "false"])),
        ("eth_getBlockByNumber", json!(["0x7", 0])),
        ("eth_getBlockByNumber", json!(["0x7", false, true])),
        ("eth_getBlockByNumber", json!(["0x7", false, null])),
        ("eth_getBlockByNumber", json!(["0x07", false])),
        ("eth_getBlockByNumber", json!(["0x", false])),
        ("eth_getBlockByNumber", json!(["0x+7", false])),
        ("eth_getBlockByNumber", json!(["+7", false])),
        ("eth_getBlockByNumber", json!(["7", false])),
        ("eth_getBlockByNumber", json!([7, false])),
        ("eth_getBlockByNumber", json!(["LATEST", false])),
        ("eth_getBlockByNumber", json!(["0xffffffffffffffff", false])),
        ("eth_getBlockByNumber", json!({ "block": "0x7", "hydrated": false })),
        ("eth_getBlockReceipts", json!([])),
        ("eth_getBlockReceipts", json!(["0x7", true])),
        ("eth_getBlockReceipts", json!([{ "blockHash": hash, "blockNumber": "0x7" }])),
        ("eth_getBlockReceipts", json!([{ "blockHash": hash, "requireCanonical": 1 }])),
        ("eth_getBlockTransactionCountByHash", json!(["0x7"])),
        ("eth_getBlockTransactionCountByNumber", json!([hash])),
        ("eth_getUncleCountByBlockHash", json!(["0x7"])),
        ("eth_getUncleCountByBlockNumber", json!([hash])),
        ("eth_getTransactionByBlockHashAndIndex", json!(["0x7", "0x0"])),
        ("eth_getTransactionByBlockNumberAndIndex", json!([hash, "0x0"])),
        ("eth_getTransactionByBlockNumberAndIndex", json!(["0x7", "0x00"])),
        ("eth_getTransactionByBlockNumberAndIndex", json!(["0x7", 0])),
        ("eth_getTransactionByBlockNumberAndIndex", json!(["0x7"])),
        ("eth_getTransactionByHash", json!([hash, true])),
        ("eth_getTransactionReceipt", json!(["0x1"])),
        ("eth_blockNumber", json!(["latest"])),
        ("eth_chainId", json!([null])),
        ("net_version", json!({})),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_are_read_as_the_specification_writes_them() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(small());
    chain.node.mine(20).unwrap();
    let (theirs, _) = chain.provider().await;
    let appliance = Appliance::start(&config(folder.path(), &[theirs], "")).await;
    appliance.follows(&chain).await;
    let orphan = chain.hash(20);
    chain.node.reorg(1).unwrap();
    appliance.follows(&chain).await;
    let ours = facade(&appliance);
    let hash = chain.hash(7);
    let upper = format!("0x{}", hash.trim_start_matches("0x").to_uppercase());
    for (method, params) in misread(&hash) {
        let answer = call(&ours, method, params.clone()).await;
        assert_eq!(answer["error"]["code"], -32602, "{method} {params}: {answer}");
        let text = answer["error"]["message"].as_str().unwrap();
        assert!(text.starts_with(&format!("{method}: ")), "{method} {params}: {text}");
    }
    let block = result(&ours, "eth_getBlockByNumber", json!(["0x7", false])).await;
    for name in [&hash, &upper] {
        assert_eq!(result(&ours, "eth_getBlockByHash", json!([name, false])).await, block);
    }
    let of_orphan = |flag| json!([{ "blockHash": orphan, "requireCanonical": flag }]);
    assert!(result(&ours, "eth_getBlockReceipts", of_orphan(false)).await.is_array());
    let refused = call(&ours, "eth_getBlockReceipts", of_orphan(true)).await;
    assert_eq!(refused["error"]["code"], -32000, "{refused}");
    let canonical = json!([{ "blockHash": hash, "requireCanonical": true }]);
    assert!(result(&ours, "eth_getBlockReceipts", canonical).await.is_array());
    let unknown = format!("0x{}", "5".repeat(64));
    for canonical in [true, false] {
        let params = json!([{ "blockHash": unknown, "requireCanonical": canonical }]);
        assert_eq!(result(&ours, "eth_getBlockReceipts", params).await, Value::Null);
    }
    for path in ["+5", "-5", "0x+5", "0x"] {
        let (status, answer) = appliance.get(&format!("/v1/chains/devnet/blocks/{path}")).await;
        assert_eq!((status, &answer["error"]["code"]), (400, &json!("invalid_argument")), "{path}");
    }
}

/// `headwater backfill` with a configuration; all of it has to come.
async fn backfill(path: &std::path::Path, range: &str) {
    let mut command = program();
    command.args(["backfill", range, "--config"]).arg(path);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// The head and the last final block that the API tells, and the gaps.
async fn ends(appliance: &Appliance) -> (Value, Value, Value) {
    let (_, view) = appliance.get("/v1/chains/devnet").await;
    (view["head"]["number"].clone(), view["finalized"]["number"].clone(), view["gaps"].clone())
}

/// Every way to the head of a folder that has blocks 0 to 30 but for those from 10 on below 20.
async fn answers_of_a_backfilled_folder(appliance: &Appliance, chain: &Chain) {
    let ours = facade(appliance);
    let gaps = json!([{ "first": 10, "last": 19 }]);
    assert_eq!(ends(appliance).await, (json!(30), json!(30), gaps));
    assert_eq!(result(&ours, "eth_blockNumber", json!([])).await, "0x1e");
    for tag in ["latest", "pending", "safe", "finalized", "0x1e"] {
        let block = result(&ours, "eth_getBlockByNumber", json!([tag, false])).await;
        assert_eq!(block["hash"], chain.hash(30), "{tag}");
    }
    for path in ["head", "finalized"] {
        let (status, view) = appliance.get(&format!("/v1/chains/devnet/blocks/{path}")).await;
        assert_eq!((status, &view["block"]["hash"]), (200, &json!(chain.hash(30))), "{path}");
        assert_eq!((&view["final"], &view["canonical"]), (&json!(true), &json!(true)));
    }
    assert_eq!(result(&ours, "eth_getBlockByNumber", json!(["0x1f", false])).await, Value::Null);
    assert_eq!(result(&ours, "eth_getBlockReceipts", json!(["0x7fff"])).await, Value::Null);
    assert_eq!(code(&ours, "eth_getBlockByNumber", json!(["0xa", false])).await, 4444, "a gap");
    for (first, last) in [("0x0", "0x9"), ("0x14", "latest"), ("0x14", "finalized")] {
        let params = json!([{ "fromBlock": first, "toBlock": last }]);
        assert!(!result(&ours, "eth_getLogs", params).await.as_array().unwrap().is_empty());
    }
    for (first, last, expected) in [
        ("0x0", "latest", 4444),
        ("0x9", "0xa", 4444),
        ("0x14", "0x1f", -32602),
        ("0x1f", "latest", -32602),
    ] {
        let params = json!([{ "fromBlock": first, "toBlock": last }]);
        assert_eq!(code(&ours, "eth_getLogs", params).await, expected, "{first} {last}");
    }
    let rows = appliance.sql("select max(block_number) as n, count(*) as c from blocks").await;
    assert_eq!((&rows[0]["n"], &rows[0]["c"]), (&json!(30), &json!(21)));
    let (_, metrics) = appliance.text("/metrics").await;
    let line = "headwater_durable_block{chain=\"devnet\"} 30";
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_a_backfill_filled_has_a_head() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(small());
    chain.node.mine(38).unwrap();
    assert_eq!(chain.node.finalized(), 30);
    let (theirs, _) = chain.provider().await;
    let path = config(folder.path(), &[theirs], "");
    let started_late = |path: &std::path::Path, text: &str| {
        fs::write(path, text.replace("start = 0", "start = \"latest\"")).unwrap();
    };
    started_late(&path, &fs::read_to_string(&path).unwrap());
    backfill(&path, "0:10").await;
    backfill(&path, "20:31").await;
    chain.unplug();
    started_late(&path, &fs::read_to_string(config(folder.path(), &[nobody()], "")).unwrap());
    for _ in 0..2 {
        let appliance = Appliance::start(&path).await;
        until("the gauges", async || {
            let (_, metrics) = appliance.text("/metrics").await;
            metrics.contains("headwater_durable_block{").then_some(())
        })
        .await;
        answers_of_a_backfilled_folder(&appliance, &chain).await;
        assert_eq!(result(&facade(&appliance), "eth_syncing", json!([])).await, false);
        drop(appliance);
    }
    // The provider comes back at a higher block: the head moves on.
    let (theirs, _) = chain.provider().await;
    started_late(&path, &fs::read_to_string(config(folder.path(), &[theirs], "")).unwrap());
    let appliance = Appliance::start(&path).await;
    appliance.follows(&chain).await;
    let ours = facade(&appliance);
    assert_eq!(result(&ours, "eth_blockNumber", json!([])).await, "0x26");
    let block = result(&ours, "eth_getBlockByNumber", json!(["finalized", false])).await;
    assert_eq!(block["hash"], chain.hash(30), "history is final, what is followed is not yet");
}

//! Traces: captured with each block by the method that a provider has, compared, kept and told on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use headwater::devnet::{DevnetConfig, Faults};
use serde_json::Value;

use crate::harness::{Appliance, Chain, config, file_sink, program, until};

fn small() -> DevnetConfig {
    DevnetConfig { transactions: 6, finality: 8, ..DevnetConfig::default() }
}

/// A configuration of a chain with traces.
pub(crate) fn traced(folder: &Path, urls: &[String], exporters: &str) -> std::path::PathBuf {
    let path = config(folder, urls, exporters);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("poll_ms = 20\n", "poll_ms = 20\ntraces = true\n")).unwrap();
    path
}

/// What `trace_block` gives.
async fn told_by_node(url: &str, number: u64) -> Value {
    let call = serde_json::json!({
        "jsonrpc": "2.0", "id": 1, "method": "trace_block", "params": [format!("{number:#x}")],
    });
    let answer = reqwest::Client::new().post(url).body(call.to_string()).send().await.unwrap();
    let answer: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    answer["result"].clone()
}

/// The traces of the canonical blocks, as the chain itself gives them: number, places, senders,
/// recipients, values.
async fn expected(url: &str, head: u64) -> Vec<Value> {
    let mut found = Vec::new();
    for number in 0..=head {
        let answer = told_by_node(url, number).await;
        for trace in answer.as_array().unwrap() {
            let to = trace["action"].get("to").unwrap_or(&trace["result"]["address"]);
            found.push(serde_json::json!([
                number,
                trace["transactionPosition"],
                trace["traceAddress"],
                trace["type"],
                trace["action"]["from"],
                to,
            ]));
        }
    }
    found
}

async fn captured(appliance: &Appliance) -> Vec<Value> {
    let columns = [
        "block_number",
        "transaction_index",
        "trace_address",
        "trace_type",
        "from_address",
        "to_address",
    ];
    let statement =
        format!("select {} from traces order by block_number, trace_index", columns.join(", "));
    let rows = appliance.sql(&statement).await;
    rows.iter().map(|row| columns.map(|column| row[column].clone()).to_vec().into()).collect()
}

/// The keys of the traces that a sink holds in the end.
fn told(sink: &Path) -> BTreeSet<String> {
    let (mut known, mut held) = (BTreeSet::new(), BTreeSet::new());
    for line in fs::read_to_string(sink).unwrap().lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        if row["table"] != "traces" || !known.insert(row["event_id"].to_string()) {
            continue;
        }
        let key = row["key"].to_string();
        match row["op"].as_str().unwrap() {
            "applied" => assert!(held.insert(key)),
            "reverted" => assert!(held.remove(&key)),
            other => panic!("{other}: {row}"),
        }
    }
    held
}

/// Of a block and of a transaction, as the node tells them.
async fn api_gives_them(appliance: &Appliance, url: &str) {
    let (_, block) = appliance.get("/v1/chains/devnet/blocks/50?traces=true").await;
    let transaction = block["block"]["transactions"][0]["hash"].as_str().unwrap();
    let (_, one) = appliance.get(&format!("/v1/chains/devnet/transactions/{transaction}")).await;
    let first = one["traces"].as_array().unwrap();
    assert!(first.len() < block["traces"].as_array().unwrap().len());
    for (at, trace) in first.iter().enumerate() {
        assert_eq!(*trace, block["traces"][at], "those of the first transaction come first");
    }
    let answer = told_by_node(url, 50).await;
    let (ours, theirs) = (block["traces"].as_array().unwrap(), answer.as_array().unwrap());
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(theirs) {
        for field in ["result", "traceAddress", "transactionHash", "subtraces", "type"] {
            assert_eq!(ours[field], theirs[field], "{field}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn traces_come_with_their_blocks_through_reorgs_parts_and_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(small());
    chain.node.mine(40).unwrap();
    let (url, provider) = chain.provider().await;
    // Its traces come by the other method.
    provider.set_faults(Faults { no_trace_block: true, ..Faults::default() });
    let sink = folder.path().join("sink.ndjson");
    let path = traced(folder.path(), std::slice::from_ref(&url), &file_sink(&sink));
    let appliance = Appliance::start(&path).await;
    appliance.follows(&chain).await;
    chain.node.reorg(4).unwrap();
    appliance.follows(&chain).await;
    appliance.kill();
    provider.set_faults(Faults::default());
    let appliance = Appliance::start(&path).await;
    chain.node.mine(20).unwrap();
    appliance.follows(&chain).await;
    until("parts", async || {
        let (_, view) = appliance.get("/v1/chains/devnet").await;
        (view["sealed_blocks"].as_u64()? >= 50).then_some(())
    })
    .await;
    let expected = expected(&url, chain.node.head()).await;
    assert!(expected.len() > 400, "{}", expected.len());
    assert_eq!(captured(&appliance).await, expected);
    let marks = appliance
        .sql(
            "select count(*) n from blocks b join verification v on b.block_hash = v.block_hash \
             where b.transaction_count > 0 and v.verified not like '%traces%'",
        )
        .await;
    assert_eq!(marks[0]["n"], 0, "each is marked: its traces fit");
    api_gives_them(&appliance, &url).await;
    let parts = folder.path().join("data/parts/traces");
    assert!(parts.is_dir(), "they are sealed");
    appliance.exported().await;
    assert_eq!(appliance.terminate().code(), Some(0));
    let told = told(&sink);
    assert_eq!(told.len(), expected.len(), "the sink has each once, and none of an orphaned block");
    let verified = program()
        .args(["verify", "--json", "--data-dir"])
        .arg(folder.path().join("data"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert!(verified.status.success(), "{text}");
    // A run whose traces are lost is no whole one.
    let data = folder.path().join("data");
    fs::write(data.join("ledger.redb"), "gone").unwrap();
    let dates = fs::read_dir(parts.join("chain_id=1337")).unwrap();
    let lost = dates
        .map(|date| date.unwrap().path().join("traces-000000000010-000000000019.parquet"))
        .find(|file| file.exists());
    fs::remove_file(lost.unwrap()).unwrap();
    let repaired = program().args(["repair", "--data-dir"]).arg(&data).output().unwrap();
    let text = String::from_utf8_lossy(&repaired.stdout).into_owned();
    let of_run = |line: &str| line.contains("000000000010-000000000019.parquet is no part");
    assert_eq!(text.lines().filter(|line| of_run(line)).count(), 6, "{text}");
    let appliance = Appliance::start(&path).await;
    until("what is missing", async || {
        let rows = appliance.sql("select count(distinct block_number) n from traces").await;
        let with_transactions = chain.node.head();
        (rows[0]["n"].as_u64()? == with_transactions).then_some(())
    })
    .await;
    assert_eq!(captured(&appliance).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn traces_come_from_who_has_them_and_lies_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(small());
    let (without, poor) = chain.provider().await;
    let (lying, liar) = chain.provider().await;
    let (honest, _) = chain.provider().await;
    let none = Faults { no_trace_block: true, no_debug_trace: true, ..Faults::default() };
    poor.set_faults(none);
    liar.set_faults(Faults { wrong_traces: 500, ..Faults::default() });
    chain.node.mine(30).unwrap();
    let path = traced(folder.path(), &[without, lying, honest.clone()], "");
    let appliance = Appliance::start(&path).await;
    appliance.follows(&chain).await;
    chain.node.mine(10).unwrap();
    appliance.follows(&chain).await;
    assert_eq!(captured(&appliance).await, expected(&honest, chain.node.head()).await);
    let by_none = "select count(*) as n from verification \
         where verified like '%traces%' and provider = 'p0'";
    assert_eq!(appliance.sql(by_none).await[0]["n"], 0, "who gave the traces is kept");
    let log = fs::read_to_string(folder.path().join("log")).unwrap();
    assert!(log.contains("has another value"), "the lie is named: {log}");
    let (_, view) = appliance.get("/v1/providers").await;
    let methods: BTreeMap<&str, &Value> = view["providers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|endpoint| (endpoint["name"].as_str().unwrap(), &endpoint["trace_method"]))
        .collect();
    assert_eq!(methods["p2"], "trace_block");
    assert!(methods["p0"].is_null(), "{methods:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_whose_providers_give_no_traces_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(small());
    let (url, provider) = chain.provider().await;
    let none = Faults { no_trace_block: true, no_debug_trace: true, ..Faults::default() };
    provider.set_faults(none);
    chain.node.mine(3).unwrap();
    let path = traced(folder.path(), &[url], "");
    let checked = program().args(["check", "--config"]).arg(&path).output().unwrap();
    let text = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(text.contains("has neither trace_block nor debug_traceBlockByNumber"), "{text}");
    assert!(!checked.status.success());
    let appliance = Appliance::start(&path).await;
    until("the problem", async || {
        let (_, view) = appliance.get("/v1/chains/devnet").await;
        let problem = view["capture"]["problem"].as_str()?;
        problem.contains("remove `traces = true`").then_some(())
    })
    .await;
}

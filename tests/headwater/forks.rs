//! A chain that changes its rules, and chains that count time in another unit than seconds.

use std::path::Path;

use headwater::devnet::{DevnetConfig, Fork, TimeUnit};
use serde_json::{Value, json};

use crate::harness::{Appliance, Chain, config, program, until};

/// Who tells of plain transfers since Amsterdam (EIP-7708).
const SYSTEM: &str = "0xfffffffffffffffffffffffffffffffffffffffe";

fn number(value: &Value) -> u64 {
    u64::from_str_radix(value.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
}

/// Waits until parts hold so many blocks.
async fn has_sealed(appliance: &Appliance, blocks: u64) {
    until("parts", async || {
        let (_, view) = appliance.get("/v1/chains/devnet").await;
        (view["sealed_blocks"].as_u64()? >= blocks).then_some(())
    })
    .await;
}

async fn facade(appliance: &Appliance, method: &str, params: Value) -> Value {
    let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("{}/rpc/devnet", appliance.url);
    let answer = client.post(url).header("content-type", "application/json");
    let answer = answer.body(request.to_string()).send().await.unwrap().text().await.unwrap();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert!(answer["result"].is_object() || answer["result"].is_array(), "{method}: {answer}");
    answer["result"].clone()
}

/// What was captured is given back as the node gives it, from the log and from parts.
async fn gives_back(appliance: &Appliance, chain: &Chain) {
    for at in 0..=chain.node.head() {
        let built = chain.node.by_number(at).unwrap();
        let block = facade(appliance, "eth_getBlockByNumber", json!([format!("{at:#x}"), true]));
        let told: Value = serde_json::from_str(&built.full).unwrap();
        assert_eq!(block.await, told, "block {at}");
        let receipts = facade(appliance, "eth_getBlockReceipts", json!([format!("{at:#x}")]));
        assert_eq!(receipts.await, Value::from(built.receipts.clone()), "receipts of block {at}");
    }
}

/// `headwater verify` on a folder: log and parts agree, and all marks come out again.
fn verifies(data: &Path, blocks: u64) {
    let mut command = program();
    let output = command.arg("verify").arg("--data-dir").arg(data).arg("--json").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
    let told: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    let report = &told["report"];
    assert_eq!((&report["blocks"], &report["proved"]), (&json!(blocks), &json!(blocks)), "{text}");
    assert_eq!(report["wrong"], json!([]), "{text}");
    assert!(report["compared"].as_u64() > Some(10), "log and parts were compared: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_becomes_amsterdam_is_followed_and_proved() {
    const FIRST: u64 = 15;
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(DevnetConfig {
        transactions: 7,
        finality: 8,
        fork: Fork::Amsterdam,
        fork_block: FIRST,
        ..DevnetConfig::default()
    });
    chain.node.mine(50).unwrap();
    let (url, _) = chain.provider().await;
    let appliance = Appliance::start(&config(folder.path(), &[url], "")).await;
    appliance.follows(&chain).await;
    chain.node.reorg(3).unwrap();
    appliance.follows(&chain).await;
    appliance.has_the_chain(&chain).await;
    has_sealed(&appliance, 40).await;
    let rows = appliance
        .sql(
            "select block_number, to_hex0x(block_access_list_hash) as access, slot_number, \
             gas_used, (select max(receipt_cumulative_gas_used) from transactions t \
             where t.block_number = b.block_number) as receipts, verified_header, \
             verified_transactions, verified_receipts from blocks b order by block_number",
        )
        .await;
    let mut refunds = 0;
    for (at, row) in (0..).zip(&rows) {
        let header = &chain.node.by_number(at).unwrap().header;
        assert_eq!(row["verified_header"], true, "block {at}");
        assert_eq!(row["verified_transactions"], true, "block {at}");
        assert_eq!(row["verified_receipts"], true, "block {at}");
        assert_eq!(header.get("slotNumber").is_some(), at >= FIRST);
        assert_eq!(row["access"], header["blockAccessListHash"], "block {at}");
        let slot = header.get("slotNumber").map(number);
        assert_eq!(row["slot_number"].as_u64(), slot, "block {at}");
        let (gas, receipts) = (row["gas_used"].as_u64(), row["receipts"].as_u64());
        refunds += u64::from(gas > receipts && receipts.is_some());
    }
    assert!(refunds > 5, "EIP-7778: the block has more gas than its last receipt");
    let transfers = format!(
        "select min(block_number) as first, count(*) as n from logs \
         where to_hex0x(address) = '{SYSTEM}'"
    );
    let transfers = appliance.sql(&transfers).await;
    assert!(transfers[0]["first"].as_u64() >= Some(FIRST), "{transfers:?}");
    assert!(transfers[0]["n"].as_u64() > Some(10), "EIP-7708: {transfers:?}");
    gives_back(&appliance, &chain).await;
    assert_eq!(appliance.terminate().code(), Some(0));
    verifies(&folder.path().join("data"), chain.node.head() + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_counts_finer_than_seconds_has_the_right_times_everywhere() {
    for unit in [TimeUnit::Milliseconds, TimeUnit::Microseconds, TimeUnit::Nanoseconds] {
        let folder = tempfile::tempdir().unwrap();
        let mut chain = Chain::new(DevnetConfig {
            transactions: 3,
            finality: 8,
            // Twelve blocks a day: parts of several dates.
            timestamp_step: 7_200,
            timestamp_unit: unit,
            ..DevnetConfig::default()
        });
        chain.node.mine(40).unwrap();
        let (url, _) = chain.provider().await;
        let appliance = Appliance::start(&config(folder.path(), &[url], "")).await;
        appliance.follows(&chain).await;
        has_sealed(&appliance, 20).await;
        // The chain begins 30 days ago at midnight, in seconds.
        for table in ["blocks", "transactions", "logs", "chain_events", "verification"] {
            let statement = format!(
                "select count(*) as n, count(*) filter (where date <> \
                 cast(block_timestamp as date)) as elsewhere, min(block_timestamp) > now() - \
                 interval '32 days' and max(block_timestamp) < now() as is_right from {table}"
            );
            let rows = appliance.sql(&statement).await;
            assert!(rows[0]["n"].as_u64() > Some(20), "{table}: {rows:?}");
            assert_eq!(rows[0]["elsewhere"], 0, "{unit:?} {table}: {rows:?}");
            assert_eq!(rows[0]["is_right"], true, "{unit:?} {table}: {rows:?}");
        }
        gives_back(&appliance, &chain).await;
        assert_eq!(appliance.terminate().code(), Some(0));
        verifies(&folder.path().join("data"), chain.node.head() + 1);
    }
}

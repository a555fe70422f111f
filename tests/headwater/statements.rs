//! What people ask in SQL beside the plain tables: fees, numbers and hashes as they write them, and
//! what is missing.

use std::path::Path;

use alloy_primitives::U256;
use headwater::devnet::DevnetConfig;
use serde_json::{Value, json};

use crate::harness::{Appliance, Chain, config, program};

fn number(text: &Value) -> u128 {
    u128::from_str_radix(text.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn fees_are_those_of_the_receipts_and_values_are_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(DevnetConfig { transactions: 9, finality: 5, ..Default::default() });
    chain.node.mine(30).unwrap();
    let (url, _) = chain.provider().await;
    let appliance = Appliance::start(&config(folder.path(), &[url], "")).await;
    appliance.follows(&chain).await;
    let (mut fees, mut burned, mut value, mut largest) = (0, 0, U256::ZERO, U256::ZERO);
    for at in 0..=30 {
        let built = chain.node.by_number(at).unwrap();
        let base = number(&built.header["baseFeePerGas"]);
        for (transaction, receipt) in built.transactions.iter().zip(&built.receipts) {
            let gas = number(&receipt["gasUsed"]);
            fees += gas * number(&receipt["effectiveGasPrice"]);
            burned += gas * base;
            let sent: U256 = transaction["value"].as_str().unwrap().parse().unwrap();
            value += sent;
            largest = largest.max(sent);
        }
    }
    let rows = appliance
        .sql(
            "select cast(sum(fee_wei) as text) as fees, cast(sum(base_fee_wei) as text) as burned, \
             cast(sum(tip_wei) as text) as tips from fees",
        )
        .await;
    let due = [fees, burned, fees - burned].map(|wei| wei.to_string());
    assert_eq!(rows, [json!({ "fees": due[0], "burned": due[1], "tips": due[2] })]);
    let rows = appliance.sql("select sum(value) as v, max(value) as m from transactions").await;
    assert_eq!(rows, [json!({ "v": value.to_string(), "m": largest.to_string() })]);
    let rows = appliance.sql("select chain, provider, requests > 0 as asked from providers").await;
    assert_eq!(rows, [json!({ "chain": "devnet", "provider": "p0", "asked": true })]);
    let last = chain.node.by_number(29).unwrap().transactions[3].clone();
    let rows = appliance
        .sql(&format!(
            "select transaction_index as i from transactions where transaction_hash = {} \
             and from_address in ({}) and value = {}",
            quoted(&last["hash"]),
            quoted(&last["from"]),
            quoted(&last["value"])
        ))
        .await;
    assert_eq!(rows, [json!({ "i": 3 })]);
    let (status, body) =
        appliance.post_sql("json", "select 1 from logs where address = '0x12'").await;
    let text = String::from_utf8(body).unwrap();
    assert_eq!(status, 400, "{text}");
    assert!(text.contains("20 bytes"), "{text}");
}

fn quoted(value: &Value) -> String {
    format!("'{}'", value.as_str().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_over_blocks_that_are_not_there_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(DevnetConfig { transactions: 2, finality: 5, ..Default::default() });
    chain.node.mine(60).unwrap();
    let (url, _) = chain.provider().await;
    let data = folder.path().join("data");
    for range in ["0:10", "20:30"] {
        let mut command = program();
        command.args(["backfill", range, "--rpc", &url, "--data-dir"]).arg(&data);
        assert!(command.output().unwrap().status.success());
    }
    let answer: Value =
        serde_json::from_str(&ask(&data, &["--json", "select count(*) as n from blocks"])).unwrap();
    assert_eq!(answer["gaps"][0]["first"], 10, "{answer}");
    assert_eq!(answer["gaps"][0]["last"], 19, "{answer}");
    assert_eq!(answer["rows"][0]["n"], 20);
    let within = "select count(*) as n from blocks where block_number between 22 and 25";
    let answer: Value = serde_json::from_str(&ask(&data, &["--json", within])).unwrap();
    assert_eq!(answer.get("gaps"), None, "{answer}");
    let text = ask(&data, &["select max(block_number) from logs"]);
    assert!(text.contains("not captured: ") && text.contains(" 10 to 19"), "{text}");
    let rows: Value = serde_json::from_str(&ask(&data, &["--json", "select * from gaps"])).unwrap();
    assert_eq!(rows["rows"][0]["first_block"], 10, "{rows}");
    assert_eq!(rows["rows"][0]["blocks"], 10, "{rows}");
    let rows: Value =
        serde_json::from_str(&ask(&data, &["--json", "select * from chains"])).unwrap();
    let row = &rows["rows"][0];
    assert_eq!(
        (&row["first_block"], &row["last_block"], &row["blocks"]),
        (&json!(0), &json!(29), &json!(20))
    );
}

fn ask(data: &Path, args: &[&str]) -> String {
    let output = program().arg("sql").args(args).arg("--data-dir").arg(data).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{error}");
    String::from_utf8(output.stdout).unwrap()
}

//! The request and response pairs of ethereum/execution-apis, on the chain that they were made on:
//! followed from a node, filled by a backfill with the node at the same block, and with it away.
//!
//! Of most blocks the receipts were not recorded: they are made of what the pairs say of them, and
//! only the links are proved. `ops/servers/prove/rpc_compat.py` does the same beside geth, with
//! everything proved.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::routing::post;
use headwater::supervisor::Supervisor;
use serde_json::{Value, json};

use crate::data;
use crate::harness::{Appliance, nobody, program, until};

/// The methods that are answered here. Of the others the pairs ask for state, which is not kept,
/// or change it.
const SERVED: [&str; 17] = [
    "eth_getBlockByNumber",
    "eth_getBlockByHash",
    "eth_getBlockReceipts",
    "eth_getTransactionByHash",
    "eth_getTransactionByBlockHashAndIndex",
    "eth_getTransactionByBlockNumberAndIndex",
    "eth_getTransactionReceipt",
    "eth_getLogs",
    "eth_getBlockTransactionCountByHash",
    "eth_getBlockTransactionCountByNumber",
    "eth_getUncleCountByBlockHash",
    "eth_getUncleCountByBlockNumber",
    "eth_chainId",
    "eth_blockNumber",
    "eth_syncing",
    "net_version",
    "web3_clientVersion",
];
const HEAD: u64 = 54;

/// A request, and what every client answers.
struct Pair {
    name: String,
    request: String,
    response: Value,
}

/// The pairs of the methods that are answered here.
fn pairs(suite: &Path) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for method in SERVED {
        let Ok(folder) = fs::read_dir(suite.join("tests").join(method)) else { continue };
        let mut files: Vec<PathBuf> = folder.map(|file| file.unwrap().path()).collect();
        files.sort();
        for file in files {
            let name = format!("{method}/{}", file.file_name().unwrap().to_string_lossy());
            let mut request = None;
            for line in fs::read_to_string(&file).unwrap().lines() {
                if let Some(text) = line.strip_prefix(">> ") {
                    request = Some(text.to_owned());
                }
                if let Some(text) = line.strip_prefix("<< ") {
                    let request = request.take().unwrap();
                    let response = serde_json::from_str(text).unwrap();
                    pairs.push(Pair { name: name.clone(), request, response });
                }
            }
        }
    }
    pairs
}

/// A node that has the chain: blocks and receipts by number.
struct Node {
    blocks: BTreeMap<u64, (Value, Value)>,
    chain_id: Value,
}

impl Node {
    /// Blocks as geth gave them; the genesis block is among the pairs alone.
    fn read(recorded: &Path, pairs: &[Pair]) -> Node {
        let told = |name: &str| {
            let pair = pairs.iter().find(|pair| pair.name == name).unwrap();
            pair.response["result"].clone()
        };
        let genesis = told("eth_getBlockByNumber/get-genesis.io");
        let mut blocks = BTreeMap::from([(0, (genesis, json!([])))]);
        for folder in fs::read_dir(recorded).unwrap() {
            let folder = folder.unwrap().path();
            let read = |name: &str| -> Option<Value> {
                Some(serde_json::from_str(&data::read_gz(&folder.join(name))?).unwrap())
            };
            let name = folder.file_name().unwrap().to_string_lossy().into_owned();
            let number = name.split('-').next().unwrap().parse().unwrap();
            let mut block = read("block.json.gz").unwrap();
            // Most were recorded before geth gave it.
            let timestamp = block["timestamp"].clone();
            for transaction in block["transactions"].as_array_mut().unwrap() {
                transaction["blockTimestamp"] = timestamp.clone();
            }
            let receipts = read("receipts.json.gz").unwrap_or_else(|| receipts(&block, pairs));
            blocks.insert(number, (block, receipts));
        }
        assert_eq!(blocks.keys().copied().collect::<Vec<_>>(), (0..=HEAD).collect::<Vec<_>>());
        Node { blocks, chain_id: told("eth_chainId/get-chain-id.io") }
    }

    fn answer(&self, call: &Value) -> Value {
        let asked = call["params"][0].as_str().unwrap_or_default();
        let number = match asked {
            "latest" | "safe" | "finalized" => Some(HEAD),
            text => u64::from_str_radix(text.trim_start_matches("0x"), 16).ok(),
        };
        let found = number.and_then(|number| self.blocks.get(&number));
        let result = match call["method"].as_str().unwrap() {
            "eth_chainId" => self.chain_id.clone(),
            "eth_getBlockByNumber" => found.map(|(block, _)| block.clone()).unwrap_or_default(),
            "eth_getBlockReceipts" => found.map(|(_, list)| list.clone()).unwrap_or_default(),
            method => {
                let error = json!({ "code": -32601, "message": format!("no method {method}") });
                return json!({ "jsonrpc": "2.0", "id": call["id"], "error": error });
            }
        };
        json!({ "jsonrpc": "2.0", "id": call["id"], "result": result })
    }
}

/// The receipts of a block as far as the pairs tell of them: whole ones, and logs.
fn receipts(block: &Value, pairs: &[Pair]) -> Value {
    let told = |method: &str| {
        let of_method = |pair: &&Pair| pair.name.starts_with(&format!("{method}/"));
        pairs.iter().filter(of_method).map(|pair| &pair.response["result"]).collect::<Vec<_>>()
    };
    let (receipts, logs) = (told("eth_getTransactionReceipt"), told("eth_getLogs"));
    let of_transaction = |transaction: &Value| {
        let hash = &transaction["hash"];
        if let Some(whole) = receipts.iter().find(|receipt| receipt["transactionHash"] == *hash) {
            return (*whole).clone();
        }
        let all = logs.iter().filter_map(|list| list.as_array()).flatten();
        let of_it = all.filter(|log| log["transactionHash"] == *hash);
        let place = |log: &Value| log["logIndex"].as_str().unwrap().to_owned();
        let logs: BTreeMap<String, Value> = of_it.map(|log| (place(log), log.clone())).collect();
        json!({
            "transactionHash": hash,
            "transactionIndex": transaction["transactionIndex"],
            "blockHash": block["hash"],
            "blockNumber": block["number"],
            "from": transaction["from"],
            "to": transaction["to"],
            "cumulativeGasUsed": "0x0",
            "gasUsed": "0x0",
            "contractAddress": null,
            "logs": logs.into_values().collect::<Vec<_>>(),
            "logsBloom": format!("0x{}", "00".repeat(256)),
            "status": "0x1",
            "type": transaction["type"],
        })
    };
    block["transactions"].as_array().unwrap().iter().map(of_transaction).collect::<Vec<_>>().into()
}

async fn serve(node: Node, tasks: &mut Supervisor) -> String {
    let node = Arc::new(node);
    let answer = move |body: String| async move {
        let body: Value = serde_json::from_str(&body).unwrap();
        match body.as_array() {
            Some(calls) => {
                let answers: Vec<Value> = calls.iter().map(|call| node.answer(call)).collect();
                Value::from(answers).to_string()
            }
            None => node.answer(&body).to_string(),
        }
    };
    let router = axum::Router::new().route("/", post(answer));
    let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await;
    let listener = listener.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tasks.spawn("node", async move { axum::serve(listener, router).await });
    url
}

fn config(folder: &Path, url: &str, chain_id: &Value, start: &str) -> PathBuf {
    let id = u64::from_str_radix(chain_id.as_str().unwrap().trim_start_matches("0x"), 16).unwrap();
    let path = folder.join("headwater.toml");
    let text = format!(
        "data_dir = {:?}\n[http]\nlisten = \"127.0.0.1:0\"\n[[chain]]\nname = \"hive\"\n\
         chain_id = {id}\nstart = {start}\npoll_ms = 20\npart_blocks = 10\nverify = \"links\"\n\
         [[chain.provider]]\nname = \"p0\"\nurl = \"{url}\"\n",
        folder.join("data")
    );
    fs::write(&path, text).unwrap();
    path
}

/// Waits until all blocks are here and final.
async fn has_all(appliance: &Appliance) {
    until("the chain", async || {
        let (_, view) = appliance.get("/v1/chains/hive").await;
        let is_there = [&view["head"], &view["finalized"]].iter().all(|end| end["number"] == HEAD);
        let is_indexed = view["indexed_lsn"] == view["durable_lsn"];
        (is_there && is_indexed && view["captured_blocks"] == HEAD + 1).then_some(())
    })
    .await;
}

/// What differs from the pairs. Codes of errors are compared, their messages are a client's own.
async fn differences(appliance: &Appliance, pairs: &[Pair]) -> Vec<String> {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("{}/rpc/hive", appliance.url);
    let mut found = Vec::new();
    for Pair { name, request, response } in pairs {
        let answer = client.post(&url).body(request.clone()).send().await.unwrap();
        let mut answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        let mut expected = response.clone();
        for side in [&mut answer, &mut expected] {
            if let Some(error) = side.get_mut("error").and_then(Value::as_object_mut) {
                error.retain(|key, _| key == "code");
            }
        }
        if answer != expected {
            found.push(format!("{name}: {request}\n  expected {expected}\n  answered {answer}"));
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pairs_of_execution_apis_are_answered_followed_backfilled_and_alone() {
    let Some(folder) = data::chain_data() else { return };
    let suite = folder.join("rpc-compat");
    let pairs = pairs(&suite);
    assert!(pairs.len() >= 58, "{} pairs", pairs.len());
    let node = Node::read(&folder.join("rpc/hive-testchain"), &pairs);
    let chain_id = node.chain_id.clone();
    let mut tasks = Supervisor::default();
    let url = serve(node, &mut tasks).await;

    let followed = tempfile::tempdir().unwrap();
    let appliance = Appliance::start(&config(followed.path(), &url, &chain_id, "0")).await;
    has_all(&appliance).await;
    let wrong = differences(&appliance, &pairs).await;
    assert!(wrong.is_empty(), "followed:\n{}", wrong.join("\n"));
    drop(appliance);

    let filled = tempfile::tempdir().unwrap();
    let path = config(filled.path(), &url, &chain_id, "\"latest\"");
    let mut command = program();
    command.args(["backfill", "0:55", "--config"]).arg(&path);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{output:?}");
    let appliance = Appliance::start(&path).await;
    has_all(&appliance).await;
    let wrong = differences(&appliance, &pairs).await;
    assert!(wrong.is_empty(), "backfilled, the node at the same block:\n{}", wrong.join("\n"));
    drop(appliance);

    drop(tasks);
    let path = config(filled.path(), &nobody(), &chain_id, "\"latest\"");
    let appliance = Appliance::start(&path).await;
    has_all(&appliance).await;
    let wrong = differences(&appliance, &pairs).await;
    assert!(wrong.is_empty(), "backfilled, the node away:\n{}", wrong.join("\n"));
}

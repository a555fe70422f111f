//! Heads as clients saw them on Polygon, Sepolia and mainnet, reorgs and all, played to the
//! appliance by a provider that only knows what was recorded.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::routing::post;
use headwater::supervisor::Supervisor;
use serde_json::{Value, json};

use crate::data;
use crate::harness::{Appliance, until};

/// A recording: blocks by hash, and the heads in the order in which they were seen.
struct Recording {
    blocks: HashMap<String, Value>,
    heads: Vec<String>,
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap()
}

fn number(block: &Value) -> u64 {
    u64::from_str_radix(text(block, "number").trim_start_matches("0x"), 16).unwrap()
}

fn read(path: &Path) -> Recording {
    let mut recording = Recording { blocks: HashMap::new(), heads: Vec::new() };
    for line in data::read_gz(path).unwrap().lines() {
        let call: Value = serde_json::from_str(line).unwrap();
        let method = call["request"]["method"].as_str().unwrap_or_default();
        let block = &call["response"]["result"];
        if !method.starts_with("eth_getBlockBy") || block.is_null() {
            continue;
        }
        let hash = text(block, "hash").to_owned();
        let is_new = recording.blocks.insert(hash.clone(), block.clone()).is_none();
        if is_new && method.ends_with("Number") {
            recording.heads.push(hash);
        }
    }
    recording
}

impl Recording {
    /// The chain that ends in a block, by height, as far down as it was recorded.
    fn chain(&self, head: &str) -> BTreeMap<u64, String> {
        let mut chain = BTreeMap::new();
        let mut hash = head;
        while let Some(block) = self.blocks.get(hash) {
            chain.insert(number(block), hash.to_owned());
            hash = text(block, "parentHash");
        }
        chain
    }

    /// Receipts were not recorded: none has logs, so only the links can be proved.
    fn receipts(block: &Value) -> Value {
        let transactions = block["transactions"].as_array().unwrap();
        let receipt = |transaction: &Value| {
            json!({
                "transactionHash": transaction["hash"],
                "transactionIndex": transaction["transactionIndex"],
                "blockHash": block["hash"],
                "blockNumber": block["number"],
                "from": transaction["from"],
                "to": transaction["to"],
                "cumulativeGasUsed": "0x0",
                "gasUsed": "0x0",
                "contractAddress": null,
                "logs": [],
                "logsBloom": format!("0x{}", "00".repeat(256)),
                "status": "0x1",
                "type": transaction.get("type").cloned().unwrap_or_else(|| json!("0x0")),
            })
        };
        transactions.iter().map(receipt).collect::<Vec<_>>().into()
    }

    fn answer(&self, head: &str, chain_id: u64, call: &Value) -> Value {
        let asked = call["params"][0].as_str().unwrap_or_default();
        let chain = self.chain(head);
        let hash = match asked {
            "latest" => Some(head),
            "finalized" => None,
            hex => {
                let number = u64::from_str_radix(hex.trim_start_matches("0x"), 16);
                number.ok().and_then(|number| chain.get(&number)).map(String::as_str)
            }
        };
        let block = hash.and_then(|hash| self.blocks.get(hash));
        let result = match call["method"].as_str().unwrap() {
            "eth_chainId" => json!(format!("{chain_id:#x}")),
            "eth_getBlockByNumber" => block.cloned().unwrap_or_default(),
            "eth_getBlockReceipts" => block.map(Recording::receipts).unwrap_or_default(),
            method => panic!("{method} was not expected"),
        };
        json!({ "jsonrpc": "2.0", "id": call["id"], "result": result })
    }
}

/// Serves a recording up to a head that can be moved.
async fn serve(
    recording: Arc<Recording>,
    head: Arc<Mutex<String>>,
    chain_id: u64,
    tasks: &mut Supervisor,
) -> String {
    let answer = move |body: String| async move {
        let head = head.lock().unwrap().clone();
        let body: Value = serde_json::from_str(&body).unwrap();
        let answer = |call: &Value| recording.answer(&head, chain_id, call);
        match body.as_array() {
            Some(calls) => Value::from(calls.iter().map(answer).collect::<Vec<_>>()).to_string(),
            None => answer(&body).to_string(),
        }
    };
    let router = axum::Router::new().route("/", post(answer));
    let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await;
    let listener = listener.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tasks.spawn("recording", async move { axum::serve(listener, router).await });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_heads_with_their_reorgs_play_through() {
    let Some(folder) = data::chain_data() else { return };
    let mut reorgs = 0;
    for file in fs::read_dir(folder.join("head-following")).unwrap() {
        let file = file.unwrap().path();
        let recording = Arc::new(read(&file));
        let first = recording.heads[0].clone();
        let start = number(&recording.blocks[&first]);
        let head = Arc::new(Mutex::new(first.clone()));
        let chain_id = 137;
        let mut tasks = Supervisor::default();
        let url = serve(recording.clone(), head.clone(), chain_id, &mut tasks).await;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("headwater.toml");
        let config = format!(
            "data_dir = {:?}\n[http]\nlisten = \"127.0.0.1:0\"\n[[chain]]\nname = \"devnet\"\n\
             chain_id = {chain_id}\nstart = {start}\npoll_ms = 5\nverify = \"links\"\n\
             confirmations = 64\n[[chain.provider]]\nname = \"p0\"\nurl = \"{url}\"\n",
            folder.path().join("data")
        );
        fs::write(&path, config).unwrap();
        let appliance = Appliance::start(&path).await;
        let (mut reverted, mut before) = (0_usize, BTreeMap::new());
        for hash in &recording.heads {
            head.lock().unwrap().clone_from(hash);
            let since = headwater::clock::now();
            until("a recorded head", async || {
                let (_, view) = appliance.get("/v1/chains/devnet").await;
                assert!(since.elapsed().as_secs() < 10, "{hash} of {}: {view}", file.display());
                (view["head"]["hash"].as_str()? == hash).then_some(())
            })
            .await;
            let chain = recording.chain(hash);
            let gone = |(number, hash): &(&u64, &String)| chain.get(number) != Some(hash);
            let lost = before.iter().filter(gone).count();
            reorgs += usize::from(lost > 0);
            reverted += lost;
            before = chain;
        }
        let rows = appliance
            .sql("select block_number as n, to_hex0x(block_hash) as h from blocks order by 1")
            .await;
        let found: BTreeMap<u64, String> = rows
            .iter()
            .map(|row| (row["n"].as_u64().unwrap(), row["h"].as_str().unwrap().to_owned()))
            .collect();
        let expected: BTreeMap<u64, String> = before
            .into_iter()
            .filter(|(number, _)| *number >= *found.keys().next().unwrap())
            .collect();
        assert_eq!(found, expected, "{}", file.display());
        let rows =
            appliance.sql("select count(*) as n from chain_events where op = 'reverted'").await;
        assert_eq!(rows[0]["n"], reverted, "{}", file.display());
        eprintln!(
            "{}: {} heads, {reverted} blocks taken back",
            file.file_name().unwrap().to_string_lossy(),
            recording.heads.len()
        );
    }
    assert!(reorgs >= 5, "{reorgs} recorded reorgs");
}

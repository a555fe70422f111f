//! What an operator tells exporters: pause, resume, rewind, replay, drop, explain, check; and what
//! they are configured to leave out.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Output;

use headwater::devnet::DevnetConfig;
use serde_json::Value;

use crate::harness::{
    Appliance, Chain, canonical, config, file_sink, fold, nobody, program, until,
};

fn command(arguments: &[&str], data: &Path) -> Output {
    let mut command = program();
    command.arg("exporters").args(arguments).arg("--json").arg("--data-dir").arg(data);
    command.output().unwrap()
}

/// `headwater exporters ...` on a data folder, running or stopped.
fn exporters(arguments: &[&str], data: &Path) -> Value {
    let output = command(arguments, data);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {error}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn lines(sink: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(sink).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Identities in order; finality may move at any time, so `chain_events` are left out.
fn ids(sink: &Path) -> Vec<String> {
    let rows = lines(sink).into_iter().filter(|row| row["table"] != "chain_events");
    rows.map(|row| row["event_id"].as_str().unwrap().to_owned()).collect()
}

fn chain() -> Chain {
    Chain::new(DevnetConfig { transactions: 4, finality: 8, ..DevnetConfig::default() })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_exporter_stays_so_until_it_is_resumed_and_a_rewind_sends_again() {
    let folder = tempfile::tempdir().unwrap();
    let (sink, data) = (folder.path().join("sink.ndjson"), folder.path().join("data"));
    let mut chain = chain();
    chain.node.mine(20).unwrap();
    let (url, _) = chain.provider().await;
    let config = config(folder.path(), &[url], &file_sink(&sink));
    let appliance = Appliance::start(&config).await;
    appliance.follows(&chain).await;
    appliance.exported().await;

    let view = exporters(&["pause", "file"], &data);
    assert_eq!(view["exporters"][0]["state"], "paused");
    let rows = ids(&sink).len();
    chain.node.reorg(5).unwrap();
    appliance.follows(&chain).await;
    assert!(appliance.terminate().success());
    let view = exporters(&["list"], &data);
    assert_eq!(view["exporters"][0]["state"], "paused", "a stopped node says so too: {view}");
    let appliance = Appliance::start(&config).await;
    chain.node.mine(3).unwrap();
    appliance.follows(&chain).await;
    let (_, view) = appliance.get("/v1/exporters").await;
    assert_eq!(view["exporters"][0]["state"], "paused", "a restart changes nothing: {view}");
    assert_eq!(ids(&sink).len(), rows, "nothing was sent");

    exporters(&["resume", "file"], &data);
    appliance.exported().await;
    assert_eq!(fold(&sink), canonical(&chain));
    let before = ids(&sink);
    exporters(&["rewind", "file", "--to-block", "15"], &data);
    appliance.exported().await;
    let after = ids(&sink);
    let again: BTreeSet<&String> = after[before.len()..].iter().collect();
    let of_block = |number: u64, id: &str| {
        let rows = lines(&sink);
        let is_it = |row: &&Value| row["event_id"] == id && row["table"] == "blocks";
        rows.iter().filter(is_it).any(|row| row["row"]["block_number"] == number)
    };
    assert!(again.iter().any(|id| of_block(15, id)) && !again.iter().any(|id| of_block(3, id)));
    assert!(again.iter().all(|id| before.contains(id)), "under the same identities (INV-7)");
    assert_eq!(fold(&sink), canonical(&chain));

    // Of a stopped node the ledger is changed.
    assert!(appliance.terminate().success());
    exporters(&["rewind", "file", "--to-lsn", "0"], &data);
    let appliance = Appliance::start(&config).await;
    appliance.exported().await;
    let all: BTreeSet<String> = before.iter().cloned().collect();
    let again: BTreeSet<String> = ids(&sink)[after.len()..].iter().cloned().collect();
    assert_eq!(again, all, "everything came again");
    let refused = command(&["rewind", "file", "--to-block", "99999"], &data);
    let error = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && error.contains("no block 99999"), "{error}");
    let unknown = command(&["pause", "fil"], &data);
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("no exporter `fil`"));
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.post(format!("{}/v1/exporters/file/pause", appliance.url)).body("{}");
    assert_eq!(request.send().await.unwrap().status(), 401, "an order needs the token");
}

#[tokio::test(flavor = "multi_thread")]
async fn reorgs_of_all_depths_reach_a_sink_that_was_away() {
    let folder = tempfile::tempdir().unwrap();
    let (sink, data) = (folder.path().join("sink.ndjson"), folder.path().join("data"));
    let mut chain =
        Chain::new(DevnetConfig { transactions: 1, finality: 100, ..DevnetConfig::default() });
    chain.node.mine(80).unwrap();
    let (url, _) = chain.provider().await;
    let config = config(folder.path(), &[url], &file_sink(&sink));
    let appliance = Appliance::start(&config).await;
    appliance.follows(&chain).await;
    appliance.exported().await;
    exporters(&["pause", "file"], &data);
    for depth in [1, 2, 3, 5, 8, 13, 21, 34, 55, 64, 1, 64] {
        chain.node.reorg(depth).unwrap();
        appliance.follows(&chain).await;
    }
    exporters(&["resume", "file"], &data);
    appliance.exported().await;
    assert_eq!(fold(&sink), canonical(&chain), "every retraction was told, in order (INV-8)");
}

#[tokio::test(flavor = "multi_thread")]
async fn parked_rows_are_listed_replayed_and_dropped_and_never_undo_a_reorg() {
    let folder = tempfile::tempdir().unwrap();
    let (sink, data) = (folder.path().join("sink.ndjson"), folder.path().join("data"));
    let mut chain = chain();
    chain.node.mine(10).unwrap();
    let (url, _) = chain.provider().await;
    let narrow = format!("{}tables = [\"blocks\", \"chain_events\"]\n", file_sink(&sink));
    let urls = [url];
    let path = config(folder.path(), &urls, &format!("{narrow}row_bytes_max = 1000\n"));
    let appliance = Appliance::start(&path).await;
    appliance.follows(&chain).await;
    chain.node.reorg(3).unwrap();
    appliance.follows(&chain).await;
    appliance.exported().await;
    let parked = exporters(&["parked", "file"], &data)["parked"].as_array().unwrap().clone();
    let (_, view) = appliance.get("/v1/exporters").await;
    assert_eq!(view["exporters"][0]["parked"], parked.len(), "{view}");
    assert!(parked.len() > 15, "every block is too long: {parked:?}");
    assert!(parked[0]["reason"].as_str().unwrap().contains("`row_bytes_max` is 1000"));
    assert!(lines(&sink).iter().all(|row| row["table"] == "chain_events"), "the rest went on");

    // Still refused: they stay.
    let answer = exporters(&["replay", "file"], &data);
    let tried = answer["exporters"][0]["rows"].as_array().unwrap();
    assert!(tried.iter().any(|row| row["outcome"].as_str().unwrap().contains("row_bytes_max")));
    assert!(appliance.terminate().success());

    config(folder.path(), &urls, &narrow);
    let appliance = Appliance::start(&path).await;
    appliance.exported().await;
    let (_, view) = appliance.get("/v1/exporters").await;
    let left = exporters(&["parked", "file"], &data)["parked"].as_array().unwrap().len();
    assert_eq!(view["exporters"][0]["parked"], left, "a restart does not forget them: {view}");
    exporters(&["rewind", "file", "--to-lsn", "0"], &data);
    appliance.exported().await;
    let aside = exporters(&["parked", "file"], &data)["parked"].as_array().unwrap().clone();
    let sent = ids(&sink);
    let is_sent = |row: &Value| sent.iter().any(|id| row["event_id"] == id.as_str());
    assert_eq!(aside.len(), left, "{view}");
    assert!(!aside.iter().any(is_sent), "a rewind leaves them out");
    let one = parked.iter().find(|row| row["event_id"] == "devnet:1:blocks:0").unwrap();
    let id = one["event_id"].as_str().unwrap();
    let answer = exporters(&["drop", "file", "--row", id], &data);
    assert_eq!(answer["exporters"][0]["rows"][0]["outcome"], "dropped", "{answer}");
    let answer = exporters(&["replay", "file"], &data);
    let rows = answer["exporters"][0]["rows"].as_array().unwrap();
    assert!(rows.iter().all(|row| row["outcome"] == "sent" || row["outcome"] == "obsolete"));
    let mut expected = canonical(&chain);
    expected.remove(&0);
    assert_eq!(fold(&sink), expected, "all but the one that was dropped; no orphan came back");
    assert_eq!(exporters(&["parked", "file"], &data)["parked"].as_array().unwrap().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_wants_only_what_is_final_sees_no_reorg_and_every_block_once() {
    let folder = tempfile::tempdir().unwrap();
    let sink = folder.path().join("sink.ndjson");
    let mut chain = chain();
    chain.node.mine(10).unwrap();
    let (url, _) = chain.provider().await;
    let sinks = format!("{}finalized = true\n", file_sink(&sink));
    let config = config(folder.path(), &[url], &sinks);
    let mut appliance = Appliance::start(&config).await;
    for turn in 0..8 {
        appliance.follows(&chain).await;
        chain.node.reorg(1 + turn % 7).unwrap();
        appliance.follows(&chain).await;
        chain.node.mine(5).unwrap();
        if turn == 4 {
            drop(appliance);
            appliance = Appliance::start(&config).await;
        }
    }
    appliance.follows(&chain).await;
    let last = chain.node.finalized();
    let blocks = || {
        let rows = lines(&sink).into_iter().filter(|row| row["table"] == "blocks");
        rows.map(|row| (row["row"]["block_number"].as_u64().unwrap(), row["event_id"].to_string()))
            .collect::<BTreeSet<_>>()
    };
    until("all that is final", async || (blocks().len() as u64 == last + 1).then_some(())).await;
    assert!(lines(&sink).iter().all(|row| row["op"] != "reverted"), "nothing is taken back");
    let numbers: Vec<u64> = blocks().into_iter().map(|(number, _)| number).collect();
    assert_eq!(numbers, (0..=last).collect::<Vec<u64>>(), "each once, none that is not final");
    let expected: BTreeSet<_> =
        canonical(&chain).into_iter().filter(|(number, _)| *number <= last).collect();
    assert_eq!(fold(&sink).into_iter().collect::<BTreeSet<_>>(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_gets_the_contracts_topics_and_blocks_that_it_wants() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut chain = chain();
    chain.node.mine(20).unwrap();
    let contract = {
        let logs =
            (1..=20).flat_map(|number| chain.node.by_number(number).unwrap().receipts.clone());
        let mut logs = logs.flat_map(|receipt| receipt["logs"].as_array().unwrap().clone());
        logs.next().unwrap()
    };
    let (address, topic) = (contract["address"].as_str().unwrap(), &contract["topics"][0]);
    let sink = |name: &str, keys: &str| {
        let path = folder.path().join(name);
        format!("[[exporter]]\nname = \"{name}\"\nkind = \"memory\"\npath = {path:?}\n{keys}\n")
    };
    let sinks = [
        sink("all", ""),
        sink("one", &format!("addresses = [\"{address}\"]\ntables = [\"logs\", \"transactions\"]")),
        sink("topic", &format!("topics = [{topic}]\ntables = [\"logs\"]")),
        sink("none", &format!("topics = [\"0x{}\"]\ntables = [\"logs\"]", "11".repeat(32))),
        sink("late", "start = 12"),
    ];
    let (url, _) = chain.provider().await;
    let urls = [url];
    let path = config(folder.path(), &urls, &sinks.concat());
    let appliance = Appliance::start(&path).await;
    appliance.follows(&chain).await;
    appliance.exported().await;
    let rows = |name: &str| lines(&folder.path().join(name));
    let all = rows("all");
    let matching = |wanted: &dyn Fn(&Value) -> bool| -> Vec<Value> {
        all.iter().filter(|row| wanted(row)).cloned().collect()
    };
    let of_contract = |row: &Value| match row["table"].as_str().unwrap() {
        "logs" => row["row"]["address"] == address,
        "transactions" => ["from_address", "to_address", "receipt_contract_address"]
            .iter()
            .any(|column| row["row"][column] == address),
        _ => false,
    };
    let sorted = |mut rows: Vec<Value>| {
        rows.sort_by_key(|row| row["event_id"].to_string());
        rows
    };
    let one = matching(&of_contract);
    assert!(one.iter().any(|row| row["table"] == "logs") && one.len() < all.len());
    assert_eq!(sorted(rows("one")), sorted(one), "same rows, same identities");
    let of_topic = |row: &Value| row["table"] == "logs" && row["row"]["topic0"] == *topic;
    assert_eq!(rows("topic"), matching(&of_topic));
    assert_eq!(rows("none"), Vec::<Value>::new());
    let late = |row: &Value| row["row"]["block_number"].as_u64().unwrap() >= 12;
    assert_eq!(rows("late"), matching(&late));

    let explained = exporters(&["explain", "one", "--block", "7"], &data);
    let explained = explained["records"].as_array().unwrap();
    let of_block = |row: &Value| row["row"]["block_number"] == 7 && of_contract(row);
    assert_eq!(sorted(explained.clone()), sorted(matching(&of_block)), "exactly what it got");
    assert!(appliance.terminate().success());
    config(folder.path(), &urls, &sink("new", "start = \"latest\""));
    let appliance = Appliance::start(&path).await;
    appliance.exported().await;
    assert_eq!(rows("new"), Vec::<Value>::new(), "what was there before it");
    chain.node.mine(2).unwrap();
    appliance.follows(&chain).await;
    appliance.exported().await;
    let new = rows("new");
    let blocks = new.iter().filter(|row| row["table"] == "blocks");
    let numbers: Vec<u64> =
        blocks.map(|row| row["row"]["block_number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [21, 22]);
}

#[tokio::test(flavor = "multi_thread")]
async fn check_says_which_sink_answers_and_a_wrong_start_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let broker = nobody();
    let dead = format!(
        "[[exporter]]\nname = \"dead\"\nkind = \"kafka\"\nbrokers = [{:?}]\n",
        broker.trim_start_matches("http://")
    );
    let sinks = format!("{}{dead}", file_sink(&folder.path().join("sink")));
    let path = config(folder.path(), &[nobody()], &sinks);
    let check = |name: &[&str]| {
        let mut command = program();
        command.args(["exporters", "check"]).args(name).arg("--config").arg(&path);
        command.output().unwrap()
    };
    let output = check(&[]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("file (memory): ready"), "{text}");
    assert!(text.contains("dead (kafka): 127.0.0.1") && !output.status.success(), "{text}");
    assert!(check(&["file"]).status.success());
    config(folder.path(), &[nobody()], &format!("{sinks}start = \"soon\"\n"));
    let error = String::from_utf8_lossy(&check(&[]).stderr).into_owned();
    assert!(error.contains("write \"earliest\", \"latest\" or a block"), "{error}");
}

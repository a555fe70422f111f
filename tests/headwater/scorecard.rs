//! `headwater check --deep`: what differs, what lacks and what is wrong is told, with what to do.

use std::net::SocketAddr;
use std::path::Path;

use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use headwater::devnet::{DevnetConfig, Faults};
use headwater::supervisor::Supervisor;
use serde_json::{Value, json};

use crate::harness::{Chain, config, nobody, program};

fn small() -> DevnetConfig {
    DevnetConfig { transactions: 5, finality: 8, ..DevnetConfig::default() }
}

/// What a provider makes of an answer: the method, and the result that is changed.
type Odd = fn(&str, &mut Value);

/// A provider that asks another one, and changes what it gives.
#[derive(Clone)]
struct Proxy {
    client: reqwest::Client,
    upstream: String,
    odd: Odd,
}

impl Proxy {
    /// Its URL, and the task that is it.
    async fn start(upstream: &str, odd: Odd) -> (String, Supervisor) {
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let proxy = Proxy { client, upstream: upstream.to_owned(), odd };
        let router = axum::Router::new().route("/", post(Proxy::answer)).with_state(proxy);
        let mut tasks = Supervisor::default();
        tasks.spawn("proxy", async move { axum::serve(listener, router).await });
        (url, tasks)
    }

    async fn answer(State(proxy): State<Proxy>, body: Bytes) -> String {
        let asked: Value = serde_json::from_slice(&body).unwrap();
        let request = proxy.client.post(&proxy.upstream).body(body);
        let text = request.send().await.unwrap().text().await.unwrap();
        let mut given: Value = serde_json::from_str(&text).unwrap();
        let change = |call: &Value, answer: &mut Value| {
            if let Some(result) = answer.get_mut("result") {
                (proxy.odd)(call["method"].as_str().unwrap(), result);
            }
        };
        match (&asked, &mut given) {
            (Value::Array(calls), Value::Array(answers)) => {
                calls.iter().zip(answers).for_each(|(call, answer)| change(call, answer));
            }
            (call, answer) => change(call, answer),
        }
        given.to_string()
    }
}

/// Exit code and output of `check --deep`.
async fn check(config: &Path, more: &[&str]) -> (Option<i32>, String) {
    let mut command = program();
    command.args(["check", "--deep", "--config"]).arg(config).args(more);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

/// The scorecard of the one chain, with the exit code.
async fn card(config: &Path, more: &[&str]) -> (Option<i32>, Value) {
    let (code, text) = check(config, &[&["--json"], more].concat()).await;
    let report: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    (code, report["scorecard"].clone())
}

fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

fn method<'a>(key: &'a Value, name: &str) -> &'a Value {
    let methods = key["methods"].as_array().unwrap();
    methods.iter().find(|method| method["name"] == name).unwrap()
}

/// Fields that no root covers: one that follows from proved data, and others that do not.
fn odd_fields(method: &str, result: &mut Value) {
    match method {
        "eth_getBlockByNumber" => {
            let Some(block) = result.as_object_mut() else { return };
            block.remove("size");
            let parent = block["parentHash"].as_str().unwrap().to_uppercase().replace("0X", "0x");
            block.insert("parentHash".to_owned(), parent.into());
            block.insert("l1\u{202e}Field".to_owned(), "0x1".into());
        }
        "eth_getBlockReceipts" => {
            for receipt in result.as_array_mut().into_iter().flatten() {
                receipt["gasUsed"] = receipt["cumulativeGasUsed"].clone();
                for log in receipt["logs"].as_array_mut().unwrap() {
                    log["blockTimestamp"] = "0x0".into();
                }
            }
        }
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_that_differ_are_named_with_an_example_and_with_what_becomes_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(small());
    chain.node.mine(120).unwrap();
    let (honest, _) = chain.provider().await;
    let (odd, _tasks) = Proxy::start(&honest, odd_fields).await;
    let path = config(folder.path(), &[honest, odd], "");
    let (code, text) = check(&path, &["--seed", "5"]).await;
    assert_eq!(code, Some(0), "odd fields that are put right or kept can be lived with: {text}");
    has(
        &text,
        &[
            "(--seed 5 picks the same)",
            "p0   120   6/6",
            "p1   120   6/6",
            "differs: size, not given by all, in 6 places: size of block ",
            "differs: receipts[].gasUsed, another value",
            "differs: receipts[].logs[].blockTimestamp, ",
            "p1: gasUsed is wrong there and put right here: tell the provider",
            "p0 and p1 differ in receipts[].gasUsed: put right here",
        ],
    );
    assert!(text.is_ascii(), "names that a provider makes up move no terminal: {text}");
    has(&text, &["differs: l1\\u{202e}Field, not given by all"]);
    let (code, card) = card(&path, &["--seed", "5", "--blocks", "9"]).await;
    assert_eq!(code, Some(0), "{card}");
    assert_eq!(card["blocks"].as_array().unwrap().len(), 9, "{card}");
    assert_eq!(card["keys"][1]["mended"], json!(["gasUsed"]), "{card}");
    assert_eq!(card["keys"][0]["mended"], json!([]), "{card}");
    let differences = card["differences"].as_array().unwrap();
    let of = |path: &str| differences.iter().find(|found| found["path"] == path).unwrap();
    assert_eq!(of("size")["kind"], "absent", "{card}");
    assert_eq!(of("size")["places"], 9, "{card}");
    assert_eq!(of("size")["values"][1], json!({ "keys": ["p1"], "value": null }), "{card}");
    assert_eq!(of("parentHash")["kind"], "form", "{card}");
    assert_eq!(of("receipts[].gasUsed")["kind"], "value", "{card}");
    let told = card["what_to_do"].as_array().unwrap();
    let told = told.iter().any(|line| {
        let line = line.as_str().unwrap();
        line.contains("size") && line.contains("as told, not proved")
    });
    assert!(told, "{card}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_key_lacks_is_told_with_what_it_costs() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(small());
    chain.node.mine(120).unwrap();
    let (whole, _) = chain.provider().await;
    let (poor, provider) = chain.provider().await;
    let (middling, other) = chain.provider().await;
    provider.set_faults(Faults {
        no_batches: true,
        no_block_receipts: true,
        no_trace_block: true,
        no_debug_trace: true,
        no_tags: true,
        pruned_below: 60,
        ..Faults::default()
    });
    other.set_faults(Faults { batch_max: 30, lag: 7, ..Faults::default() });
    let path = config(folder.path(), &[whole, poor, middling], "");
    let (code, text) = check(&path, &["--seed", "2"]).await;
    assert_eq!(code, Some(0), "all of them can be used: {text}");
    has(
        &text,
        &[
            "p1: has no eth_getBlockReceipts: a block of 5 transactions costs 6 requests",
            "p1: takes no batches: costs 6 requests a block instead of 1",
            "p1: does not know the tag `finalized`",
            "p1: receipts reach back 60 blocks, to block 60: history before it must come from p0",
            "p1 lacks batches of 2: no list of answers",
            "p2 lacks batches of 50: ",
            "p2: its head is 7 blocks behind another's",
            "the first block",
            "block 60",
        ],
    );
    let (_, card) = card(&path, &["--seed", "2"]).await;
    assert_eq!(card["blocks"][0], 113, "blocks that all have: {card}");
    let [whole, poor, middling] = [0, 1, 2].map(|at| &card["keys"][at]);
    assert_eq!((&whole["batches"]["max"], &middling["batches"]["max"]), (&json!(100), &json!(10)));
    assert_eq!(poor["batches"]["max"], 0, "{card}");
    for name in ["eth_getBlockByHash", "eth_getBlockReceipts by hash", "trace_block"] {
        assert_eq!(method(whole, name)["outcome"], "works", "{name}: {whole}");
    }
    for name in ["eth_getBlockReceipts", "trace_block", "debug_traceBlockByNumber", "tag safe"] {
        assert_eq!(method(poor, name)["outcome"], "fails", "{name}: {poor}");
    }
    assert_eq!(method(poor, "eth_getTransactionReceipt")["outcome"], "works", "{poor}");
    assert_eq!(method(whole, "newHeads over WebSocket")["outcome"], "not_asked", "{whole}");
    assert_eq!(poor["receipts_by"], "eth_getTransactionReceipt", "{poor}");
    assert_eq!(
        (&poor["reach"]["oldest"], &poor["reach"]["newest_missing"]),
        (&json!(60), &json!(59))
    );
    assert_eq!(
        (&whole["reach"]["oldest"], &whole["reach"]["newest_missing"]),
        (&json!(1), &json!(null))
    );
    let old =
        poor["blocks"].as_array().unwrap().iter().filter(|it| it["number"].as_u64() < Some(60));
    assert!(old.clone().count() > 0, "the seed picks a pruned one: {poor}");
    for block in old {
        assert_eq!(block["roots"]["header"], "not_there", "{block}");
        assert!(block["problem"].as_str().unwrap().contains("pruned history"), "{block}");
    }
    let calls = |key: &Value| key["calls"].as_u64().unwrap();
    assert!(calls(whole) > 160 && calls(whole) < 250, "{}", calls(whole));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_data_makes_a_key_unusable_also_on_a_chain_that_nobody_knows() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(small());
    chain.node.mine(40).unwrap();
    let (honest, _) = chain.provider().await;
    let (lying, liar) = chain.provider().await;
    let path = config(folder.path(), &[honest, lying], "");
    // Each at its first sight may be the property of an unknown chain; the other key shows that it
    // is none.
    for (fault, what) in [
        (Faults { wrong_root: 1_000, ..Faults::default() }, "receipts and transactions of block"),
        (Faults { wrong_parent: 1_000, ..Faults::default() }, "header of block"),
    ] {
        liar.set_faults(fault);
        let (code, text) = check(&path, &[]).await;
        assert_eq!(code, Some(10), "{text}");
        has(&text, &["p1: cannot be used for capture: ", what, "as another key gives it"]);
        assert!(!text.contains("p0: cannot"), "{text}");
    }
    liar.set_faults(Faults { missing_receipts: 1_000, ..Faults::default() });
    let (_, text) = check(&path, &[]).await;
    has(
        &text,
        &["p1: receipts of block ", " came only by a way round, after eth_getBlockReceipts: "],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_cannot_be_asked_ends_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(small());
    let mut other = Chain::new(DevnetConfig { chain_id: 5_000, ..small() });
    chain.node.mine(40).unwrap();
    other.node.mine(900).unwrap();
    let (foreign, foreigner) = other.provider().await;
    let (busy, provider) = chain.provider().await;
    provider.set_faults(Faults { throttle: 30, unavailable: 30, cut: 30, ..Faults::default() });
    let path = config(folder.path(), &[foreign, nobody(), busy], "");
    let asked = foreigner.counts().values().map(|count| count.calls).sum::<u64>();
    assert_eq!(asked, 0);
    let (code, card) = card(&path, &["--seed", "9"]).await;
    assert_eq!(code, Some(10), "{card}");
    let asked = foreigner.counts().values().map(|count| count.calls).sum::<u64>();
    assert!(asked < 5, "of another chain nothing is asked: {asked}");
    let [foreign, away, busy] = [0, 1, 2].map(|at| &card["keys"][at]);
    assert!(foreign["problems"][0].as_str().unwrap().contains("serves chain id 5000"), "{card}");
    assert!(away["problems"][0].as_str().unwrap().contains("unavailable"), "{card}");
    assert_eq!(card["blocks"][0], 40, "the chain that the configuration names: {card}");
    let mut blocks = busy["blocks"].as_array().unwrap().iter();
    let proved = blocks.any(|block| block["roots"]["receipts"] == "holds");
    assert!(proved, "{busy}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_seed_asks_for_the_same_blocks() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(DevnetConfig { transactions: 1, ..small() });
    chain.node.mine(700).unwrap();
    let (url, _) = chain.provider().await;
    let path = config(folder.path(), &[url], "");
    let (_, first) = card(&path, &[]).await;
    let seed = first["seed"].as_u64().unwrap().to_string();
    let (_, second) = card(&path, &["--seed", &seed]).await;
    assert_eq!(first["blocks"], second["blocks"], "the seed is told");
    let (code, text) = check(&path, &["--seed", &seed]).await;
    assert_eq!(code, Some(0), "{text}");
    has(&text, &["scorecard of blocks 700 699 "]);
}

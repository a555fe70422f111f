//! What the commands do: the demo, backfill, SQL and status, running and stopped.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use headwater::devnet::{DevnetConfig, Faults};
use serde_json::Value;

use crate::harness::{Appliance, Chain, config, program, until};

fn good(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

fn sql(data_dir: &Path, statement: &str) -> Vec<Value> {
    let text = good(program().args(["sql", "--json", "--data-dir"]).arg(data_dir).arg(statement));
    let answer: Value = serde_json::from_str(&text).unwrap();
    answer["rows"].as_array().unwrap().clone()
}

#[test]
fn the_demo_ends_by_itself_and_goes_on_where_it_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("demo");
    let demo = || {
        let mut command = program();
        command.args(["demo", "--listen", "127.0.0.1:0", "--block-time", "50ms", "--for", "3s"]);
        good(command.arg("--data-dir").arg(&data))
    };
    let text = demo();
    for word in ["API at http://127.0.0.1:", "curl", "sql", "status", "captured", "reorgs"] {
        assert!(text.contains(word), "`{word}` is not in: {text}");
    }
    let count = "select count(*) as n, min(block_number) as first, max(block_number) as last, \
                 count(distinct block_number) as numbers from blocks";
    let first = sql(&data, count).remove(0);
    assert!(first["n"].as_u64().unwrap() > 10, "{first}");
    demo();
    let second = sql(&data, count).remove(0);
    assert!(second["n"].as_u64() > first["n"].as_u64(), "{second}");
    for row in [first, second] {
        let last = row["last"].as_u64().unwrap();
        let expected = (Some(0), Some(last + 1), Some(last + 1));
        let got = (row["first"].as_u64(), row["n"].as_u64(), row["numbers"].as_u64());
        assert_eq!(got, expected, "every number once");
    }
}

fn backfill(url: &str, range: &str, data: &Path) -> Output {
    let mut command = program();
    command.args(["backfill", range, "--rpc", url, "--data-dir"]).arg(data).output().unwrap()
}

fn requests(output: &Output) -> u64 {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find(|line| line.contains("are captured")).unwrap();
    let words: Vec<&str> = line.split(' ').collect();
    let at = words.iter().position(|word| *word == "requests;").unwrap();
    words[at - 1].parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_backfill_fetches_only_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("d");
    let mut chain =
        Chain::new(DevnetConfig { transactions: 2, finality: 10, ..DevnetConfig::default() });
    chain.node.mine(260).unwrap();
    let (url, _) = chain.provider().await;
    let part = backfill(&url, "100:150", &data);
    assert_eq!(part.status.code(), Some(0), "{}", String::from_utf8_lossy(&part.stderr));
    // Killed in the middle of it.
    let mut child = program()
        .args(["backfill", "0:200", "--rpc", &url, "--per-second", "100", "--data-dir"])
        .arg(&data)
        .spawn()
        .unwrap();
    tokio::time::sleep(Duration::from_millis(900)).await;
    child.kill().unwrap();
    child.wait().unwrap();
    let before = sql(&data, "select count(*) as n from blocks")[0]["n"].as_u64().unwrap();
    assert!((50..200).contains(&before), "{before}");
    let rest = backfill(&url, "0:200", &data);
    assert_eq!(rest.status.code(), Some(0));
    let most = 2 * (200 - before) + 4;
    assert!(requests(&rest) <= most, "{} requests for {} blocks", requests(&rest), 200 - before);
    let again = backfill(&url, "0:200", &data);
    assert!(requests(&again) <= 4, "nothing is fetched twice");
    let rows =
        sql(&data, "select block_number as n, to_hex0x(block_hash) as h from blocks order by 1");
    assert_eq!(rows.len(), 200);
    for (number, row) in rows.iter().enumerate() {
        assert_eq!(row["h"], chain.hash(number as u64));
    }
    let answer = good(program().args(["sql", "--json", "--data-dir"]).arg(&data).arg("select 1"));
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["lsn"]["devnet"], 200, "an answer names its record when all is sealed too");
    // What is not final yet is left to `run`, and said.
    let young = backfill(&url, "240:255", &data);
    assert_eq!(young.status.code(), Some(7));
    assert!(String::from_utf8_lossy(&young.stdout).contains("not final"));
}

/// A node that has 48 blocks, 40 of them in parts.
struct Standing {
    folder: tempfile::TempDir,
    chain: Chain,
    appliance: Appliance,
}

impl Standing {
    async fn new() -> Standing {
        let folder = tempfile::tempdir().unwrap();
        let mut chain =
            Chain::new(DevnetConfig { transactions: 7, finality: 5, ..DevnetConfig::default() });
        chain.node.mine(47).unwrap();
        let (url, _) = chain.provider().await;
        let appliance = Appliance::start(&config(folder.path(), &[url], "")).await;
        appliance.follows(&chain).await;
        until("parts", async || {
            let (_, view) = appliance.get("/v1/chains/devnet").await;
            (view["sealed_blocks"].as_u64()? >= 40).then_some(())
        })
        .await;
        Standing { folder, chain, appliance }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A transaction of a block in a part, and one of a block in the tail.
    fn transactions(&self) -> [Value; 2] {
        [3, 46].map(|number| self.chain.node.by_number(number).unwrap().transactions[1].clone())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_over_parts_and_tail_answers_running_and_stopped_alike() {
    let standing = Standing::new().await;
    let [old, young] = standing.transactions();
    let statements = [
        "select count(*) as n, sum(gas_used) as gas from blocks".to_owned(),
        "select kind, count(*) as n from transactions group by kind order by kind".to_owned(),
        "select count(*) as n from logs where block_number between 35 and 45".to_owned(),
        format!(
            "select block_number, to_hex0x(from_address) as f, uint256_text(value) as v from \
             transactions where transaction_hash in (X'{}', from_hex0x('{}'))",
            old["hash"].as_str().unwrap().trim_start_matches("0x"),
            young["hash"].as_str().unwrap()
        ),
        "select op, count(*) as n from chain_events where op = 'applied' group by op".to_owned(),
        "select count(*) as n from withdrawals where block_number % 4 = 0".to_owned(),
    ];
    let mut running = Vec::new();
    for statement in &statements {
        let rows = standing.appliance.sql(statement).await;
        assert_eq!(rows, sql(&standing.data(), statement), "by HTTP and by the command");
        running.push(rows);
    }
    assert_eq!(running[0][0]["n"], 48);
    assert_eq!(running[3].len(), 2, "one from a part, one from the tail: {:?}", running[3]);
    assert_eq!(running[5][0]["n"], 22);
    let data = standing.data();
    assert_eq!(standing.appliance.terminate().code(), Some(0));
    for (statement, rows) in statements.iter().zip(running) {
        assert_eq!(sql(&data, statement), rows, "{statement}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_come_in_every_form() {
    let standing = Standing::new().await;
    for format in ["json", "ndjson", "csv", "arrow", "table"] {
        let (status, body) = standing.appliance.post_sql(format, "select 7 as seven").await;
        assert_eq!(status, 200);
        let has = |text: &[u8]| body.windows(text.len()).any(|window| window == text);
        assert!(has(b"seven"), "{format}: {}", String::from_utf8_lossy(&body));
        if format == "arrow" {
            let reader = arrow::ipc::reader::StreamReader::try_new(body.as_slice(), None).unwrap();
            assert_eq!(reader.map(|batch| batch.unwrap().num_rows()).sum::<usize>(), 1);
        }
    }
    // A sum has room, and JSON's numbers end at 2^53.
    let sums = "select sum(x) as total, sum(y) as small, sum(x) / 4 as part from \
                (values (9223372036854775807, 1), (9223372036854775807, 2)) as v(x, y)";
    let line = r#"{"total":"18446744073709551614","small":3,"part":"4611686018427387903.5000"}"#;
    for (format, expected) in [
        ("json", line),
        ("ndjson", line),
        ("csv", "18446744073709551614,3,4611686018427387903.5000"),
        ("table", "18446744073709551614  3      4611686018427387903.5000"),
    ] {
        let (status, body) = standing.appliance.post_sql(format, sums).await;
        let text = String::from_utf8(body).unwrap();
        assert!(status == 200 && text.contains(expected), "{format}: {text}");
    }
    let (status, body) = standing
        .appliance
        .post_sql("json", "select max(gas_used) * 9223372036854775807 from blocks")
        .await;
    let error: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(status, 400, "{error}");
    assert_eq!(error["error"]["code"], "overflow");
    let (_, body) = standing.appliance.post_sql("json", "select 1 as one").await;
    let answer: Value = serde_json::from_slice(&body).unwrap();
    assert!(answer["lsn"]["devnet"].as_u64().unwrap() >= 48, "it says where it was cut: {answer}");
    let data = standing.data();
    let table = good(program().args(["sql", "--data-dir"]).arg(&data).arg("select 1 as one"));
    assert!(table.contains("one\n---\n1"), "{table}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_gives_back_the_providers_objects() {
    let standing = Standing::new().await;
    let (chain, appliance) = (&standing.chain, &standing.appliance);
    for (block, number) in [("3", 3), ("0x3", 3), ("head", 47), ("finalized", 42)] {
        let path = format!("/v1/chains/devnet/blocks/{block}?receipts=true");
        let (status, body) = appliance.get(&path).await;
        assert_eq!(status, 200, "{body}");
        let built = chain.node.by_number(number).unwrap();
        let expected: Value = serde_json::from_str(&built.full).unwrap();
        assert_eq!(body["block"], expected, "field by field");
        assert_eq!(body["receipts"], Value::from(built.receipts.clone()));
        assert_eq!(body["canonical"], true);
    }
    let (status, body) =
        appliance.get(&format!("/v1/chains/devnet/blocks/{}", chain.hash(3))).await;
    assert_eq!((status, body["block"]["number"].as_str()), (200, Some("0x3")));
    for transaction in standing.transactions() {
        let hash = transaction["hash"].as_str().unwrap();
        let (status, body) = appliance.get(&format!("/v1/chains/devnet/transactions/{hash}")).await;
        assert_eq!(status, 200, "{body}");
        assert_eq!(body["transaction"], transaction);
        assert_eq!(body["receipt"]["transactionHash"], hash);
        let from = transaction["from"].as_str().unwrap();
        let path = format!("/v1/chains/devnet/addresses/{from}/transactions");
        let (_, body) = appliance.get(&path).await;
        let list = body["transactions"].as_array().unwrap();
        assert!(list.iter().any(|row| row["transaction_hash"] == hash), "{body}");
        assert_eq!(pages(appliance, &path).await, *list, "page by page, what is there at once");
    }
}

/// All of a list that is given in pages, by the smallest.
async fn pages(appliance: &Appliance, path: &str) -> Vec<Value> {
    let (mut rows, mut before) = (Vec::new(), String::new());
    loop {
        let (status, body) = appliance.get(&format!("{path}?limit=1{before}")).await;
        assert_eq!(status, 200, "{body}");
        let page = body["transactions"].as_array().unwrap();
        assert!(page.iter().all(|row| row["block_number"] == page[0]["block_number"]), "{body}");
        rows.extend_from_slice(page);
        let Some(next) = body["next_before"].as_u64() else { return rows };
        before = format!("&before={next}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn status_tells_of_a_running_and_of_a_stopped_node() {
    let standing = Standing::new().await;
    let data = standing.data();
    let status = |how: &str| {
        let mut command = program();
        command.args(["status", how, "--data-dir"]).arg(&data).output().unwrap()
    };
    assert_eq!(status("--quick").status.code(), Some(0));
    let shown: Value = serde_json::from_slice(&status("--json").stdout).unwrap();
    assert_eq!(shown["chains"][0]["captured_blocks"], 48);
    assert_eq!(standing.appliance.terminate().code(), Some(0), "SIGTERM is a good end");
    assert_eq!(status("--quick").status.code(), Some(10), "stopped is not ready");
    let shown: Value = serde_json::from_slice(&status("--json").stdout).unwrap();
    assert_eq!(shown["chains"][0]["captured_blocks"], 48);
    let text = good(program().args(["status", "--data-dir"]).arg(&data));
    assert!(text.contains("stopped") && text.contains("48 blocks: 0..=47"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn run_needs_no_configuration_file() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut chain = Chain::new(DevnetConfig::default());
    chain.node.mine(5).unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = free.local_addr().unwrap();
    drop(free);
    let mut child = program()
        .args(["run", "--rpc", &format!("http://{listen}"), "--listen", "127.0.0.1:0"])
        .arg("--data-dir")
        .arg(&data)
        .spawn()
        .unwrap();
    // The provider is away: it waits for it, and says so where one asks.
    let ask = |path: &'static str| {
        let data = data.clone();
        async move {
            let text = std::fs::read_to_string(data.join("http.address")).ok()?;
            let url = format!("http://{}{path}", text.trim());
            let answer = reqwest::get(url).await.ok()?;
            Some((answer.status().as_u16(), answer.text().await.ok()?))
        }
    };
    // Before the first answer fails the reason is that it is being asked.
    until("the reason", async || {
        let (status, body) = ask("/readyz").await?;
        assert_eq!(status, 503);
        body.contains("does not answer").then_some(())
    })
    .await;
    let (url, _) = chain.provider_at(listen).await;
    until("the head", async || {
        let (_, body) = ask("/v1/chains/devnet").await?;
        body.contains(&chain.hash(5)).then_some(())
    })
    .await;
    assert!(url.contains("127.0.0.1"));
    child.kill().unwrap();
    child.wait().unwrap();
}

/// A configuration whose provider has three keys, with limits.
fn keyed(folder: &Path, url: &str, extra: &str) -> std::path::PathBuf {
    let path = config(folder, &[], "");
    let mut text = std::fs::read_to_string(&path).unwrap();
    let mut keys = Vec::new();
    for key in 1..=3 {
        let file = folder.join(format!("key-{key}"));
        std::fs::write(&file, format!("planted-{key}\n")).unwrap();
        keys.push(format!("\"file:{}\"", file.display()));
    }
    write!(
        text,
        "[[chain.provider]]\nname = \"metered\"\nurl = \"{url}/v3/{{key}}\"\nkeys = [{}]\n{extra}",
        keys.join(", ")
    )
    .unwrap();
    std::fs::write(&path, text).unwrap();
    path
}

fn backfill_with(config: &Path, args: &[&str]) -> (Option<i32>, String) {
    let output = program().arg("backfill").args(args).arg("--config").arg(config).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_takes_many_ranges_dates_and_a_configuration_and_says_before_what_it_costs() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain =
        Chain::new(DevnetConfig { transactions: 2, finality: 10, ..DevnetConfig::default() });
    chain.node.mine(120).unwrap();
    let (url, provider) = chain.provider().await;
    let extra = "preset = \"alchemy\"\nlimits = { per_second = 10000, per_month = 30000 }\n";
    let path = keyed(folder.path(), &url, extra);

    let (code, text) = backfill_with(&path, &["0:20", "40:+5", "-30:-20", "--dry-run"]);
    assert_eq!(code, Some(0), "{text}");
    let shown = [
        "35 final blocks of chain devnet to download: 70 requests",
        "metered (3 keys): 40 compute units a block, 3000 compute units a day are 75 blocks",
        "1400 compute units for all",
        "the quotas allow it in 0.5 days",
        "never: the head takes all that the keys allow",
        "on disk",
    ];
    for part in shown {
        assert!(text.contains(part), "{part} is not in: {text}");
    }
    assert!(!text.contains("planted"), "no key is shown: {text}");
    assert!(!folder.path().join("data").exists(), "nothing was stored");

    let (code, text) = backfill_with(&path, &["0:20", "40:+5", "-30:-20"]);
    assert_eq!(code, Some(0), "{text}");
    let data = folder.path().join("data");
    let rows =
        sql(&data, "select block_number as n, to_hex0x(block_hash) as h from blocks order by 1");
    let expected: Vec<u64> = (0..20).chain(40..45).chain(91..101).collect();
    let found: Vec<u64> = rows.iter().map(|row| row["n"].as_u64().unwrap()).collect();
    assert_eq!(found, expected);
    assert!(rows.iter().all(|row| row["h"] == chain.hash(row["n"].as_u64().unwrap())));
    let counts = provider.counts();
    assert_eq!(counts.len(), 3, "all keys were used: {counts:?}");
    assert!(counts.values().all(|count| count.most_at_once == 1), "one worker each: {counts:?}");
    // What is there is not fetched again, and not counted again.
    let (_, text) = backfill_with(&path, &["0:20", "--dry-run"]);
    assert!(text.contains("0 final blocks of chain devnet to download"), "{text}");
    let (code, text) = backfill_with(&path, &["0:20", "--chain", "elsewhere"]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("no chain `elsewhere`"), "{text}");
    // The ledger knows what the keys were used for.
    let output = program().args(["providers", "--data-dir"]).arg(&data).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("key-2 from 20") && text.contains("answered"), "{text}");

    // All blocks of today: the devnet's clock is ours.
    let today = headwater_storage::model::date_text(headwater_storage::model::date_of(
        headwater::clock::unix_seconds(),
    ));
    let (code, text) = backfill_with(&path, &[&format!("{today}:"), "--dry-run"]);
    assert_eq!(code, Some(0), "without an end it is what there is: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_that_nobody_has_are_a_gap_and_what_lies_behind_them_is_fetched() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain =
        Chain::new(DevnetConfig { transactions: 2, finality: 10, ..DevnetConfig::default() });
    chain.node.mine(150).unwrap();
    let (url, provider) = chain.provider().await;
    provider.set_faults(Faults { pruned_below: 70, ..Faults::default() });
    let appliance = Appliance::start(&config(folder.path(), &[url], "")).await;
    appliance.follows(&chain).await;
    until("what can be had", async || {
        let (_, view) = appliance.get("/v1/chains/devnet").await;
        (view["captured_blocks"] == 81 && view["holes"] != serde_json::json!([])).then_some(())
    })
    .await;
    let (_, view) = appliance.get("/v1/chains/devnet/gaps").await;
    assert_eq!(view["gaps"], serde_json::json!([{ "first": 0, "last": 69 }]), "{view}");
    assert_eq!(view["holes"][0]["last"], 69, "{view}");
    assert!(view["holes"][0]["reason"].as_str().unwrap().contains("pruned"), "{view}");
    chain.node.mine(5).unwrap();
    appliance.follows(&chain).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn check_asks_every_key_and_says_how_long_they_last() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(DevnetConfig { transactions: 2, ..DevnetConfig::default() });
    chain.node.mine(120).unwrap();
    let (url, provider) = chain.provider().await;
    provider.set_faults(Faults { no_batches: true, ..Faults::default() });
    let ws = url.replace("http://", "ws://");
    let extra = format!("ws_url = \"{ws}/{{key}}\"\nlimits = {{ per_day = 1000000 }}\n");
    let path = keyed(folder.path(), &url, &extra);
    let check = |path: &Path| {
        let output = program().args(["check", "--config"]).arg(path).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    let (code, text) = check(&path);
    assert_eq!(code, Some(0), "{text}");
    let shown = [
        "chain devnet: head 120",
        "metered/key-3: answers; has eth_getBlockReceipts, the finalized tag, new heads over",
        "metered (3 keys): 3 requests a block, 3000000 requests a day are 1000000 blocks",
        "the head takes 86400 blocks a day, 9 % of what the keys allow",
    ];
    for part in shown {
        assert!(text.contains(part), "{part} is not in: {text}");
    }
    let wrong = std::fs::read_to_string(&path).unwrap().replace("chain_id = 1337", "chain_id = 1");
    std::fs::write(&path, wrong).unwrap();
    let (code, text) = check(&path);
    assert_eq!(code, Some(10), "{text}");
    assert!(text.contains("serves chain id 1337, but chain_id is 1"), "{text}");
    assert!(!text.contains("planted"), "{text}");
}

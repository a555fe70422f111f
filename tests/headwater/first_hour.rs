//! The first hour with the program: wrong settings, flags, history, and what is read by people.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use clap::CommandFactory;
use headwater::cli::Args;
use headwater::devnet::{DevNode, DevnetConfig, Faults};
use serde_json::{Value, json};

use crate::harness::{Appliance, Chain, config, program, until};

fn run(args: &[&str]) -> (Option<i32>, String) {
    said(program().args(args))
}

fn said(command: &mut Command) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.code(), String::from_utf8([stdout, stderr].concat()).unwrap())
}

/// A chain of 121 blocks with a provider, and a configuration of it.
async fn standing(folder: &Path) -> (Chain, String) {
    let mut chain =
        Chain::new(DevnetConfig { transactions: 2, finality: 10, ..DevnetConfig::default() });
    chain.node.mine(120).unwrap();
    let (url, _) = chain.provider().await;
    config(folder, std::slice::from_ref(&url), "");
    (chain, url)
}

/// The configuration without a line.
fn without(folder: &Path, line: &str) {
    let path = folder.join("headwater.toml");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(line));
    fs::write(&path, text.replace(line, "")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn check_names_what_the_folder_holds_and_what_is_wrong_with_an_exporter() {
    let folder = tempfile::tempdir().unwrap();
    let (chain, _) = standing(folder.path()).await;
    let path = folder.path().join("headwater.toml");
    let at = path.to_str().unwrap();
    let (code, text) = run(&["backfill", "0:20", "--config", at]);
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = run(&["check", "--config", at]);
    assert_eq!(code, Some(0), "{text}");
    let good = fs::read_to_string(&path).unwrap();
    fs::write(&path, good.replace("name = \"devnet\"", "name = \"other\"")).unwrap();
    let (code, text) = run(&["check", "--config", at]);
    assert_eq!(code, Some(10), "{text}");
    assert!(text.contains("holds chain id 1337 as `devnet`: call `other` so"), "{text}");
    fs::write(&path, good.replace("chain_id = 1337", "chain_id = 7")).unwrap();
    let (code, text) = run(&["check", "--config", at]);
    assert_eq!(code, Some(10), "{text}");
    assert!(text.contains("set chain_id = 1337"), "{text}");
    let bad = "[[exporter]]\nname = \"x\"\nkind = \"hdfs\"\nurl = \"http://lake\"\n";
    fs::write(&path, format!("{good}{bad}")).unwrap();
    let (code, text) = run(&["check", "--config", at]);
    assert_eq!(code, Some(10), "{text}");
    assert!(text.contains("exporter `x`") && text.contains("is not hdfs://"), "{text}");
    let lake = folder.path().join("lake");
    let bad = bad.replace("http://lake", &format!("file://{}", lake.display()));
    fs::write(&path, format!("{good}{bad}")).unwrap();
    let (code, text) = run(&["check", "--config", at]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("exporter x (hdfs): its settings can be used"), "{text}");
    drop(chain);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_asks_again_where_it_is_throttled() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain =
        Chain::new(DevnetConfig { transactions: 2, finality: 10, ..DevnetConfig::default() });
    chain.node.mine(60).unwrap();
    let (url, provider) = chain.provider().await;
    let path = config(folder.path(), &[url], "");
    provider.set_faults(Faults { throttle: 1_000, ..Faults::default() });
    let child = program()
        .args(["backfill", "0:20", "--config"])
        .arg(&path)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    provider.set_faults(Faults::default());
    let output = tokio::task::spawn_blocking(|| child.wait_with_output()).await.unwrap().unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("20 of 20 blocks"), "{text}");
}

/// What is decided of a flag where a configuration is given.
#[derive(Clone, Copy, PartialEq)]
enum Decision {
    /// It goes before the configuration.
    Honoured,
    /// It is an error.
    Refused,
}

/// Each command with `--config`, each of its flags, and values that it takes.
const WITH_CONFIG: [(&str, &str, &[&str], Decision); 22] = [
    ("run", "rpc", &["http://127.0.0.1:1"], Decision::Refused),
    ("run", "ws", &["ws://127.0.0.1:1"], Decision::Refused),
    ("run", "data-dir", &["d"], Decision::Honoured),
    ("run", "listen", &["127.0.0.1:0"], Decision::Honoured),
    ("run", "name", &["n"], Decision::Refused),
    ("run", "start", &["5"], Decision::Refused),
    ("run", "traces", &[], Decision::Refused),
    ("run", "allow-remote", &[], Decision::Honoured),
    ("backfill", "rpc", &["http://127.0.0.1:1"], Decision::Refused),
    ("backfill", "chain", &["devnet"], Decision::Honoured),
    ("backfill", "data-dir", &["d"], Decision::Honoured),
    ("backfill", "name", &["n"], Decision::Refused),
    ("backfill", "window", &["2"], Decision::Honoured),
    ("backfill", "per-second", &["2"], Decision::Refused),
    ("backfill", "traces", &[], Decision::Honoured),
    ("backfill", "dry-run", &[], Decision::Honoured),
    ("check", "deep", &[], Decision::Honoured),
    ("check", "blocks", &["2", "--deep"], Decision::Honoured),
    ("check", "seed", &["2", "--deep"], Decision::Honoured),
    ("check", "json", &[], Decision::Honoured),
    ("exporters check", "apply", &[], Decision::Honoured),
    ("exporters check", "json", &[], Decision::Honoured),
];

/// Commands with their flags, those of commands below commands too.
fn flags(command: &clap::Command, path: &str, found: &mut Vec<(String, Vec<String>)>) {
    let known = ["help", "version", "log-format"];
    let all = command.get_arguments().filter_map(clap::Arg::get_long);
    let all = all.filter(|name| !known.contains(name)).map(str::to_owned).collect();
    found.push((path.to_owned(), all));
    for below in command.get_subcommands() {
        let path = format!("{path} {}", below.get_name());
        flags(below, path.trim(), found);
    }
}

#[test]
fn each_flag_beside_a_configuration_is_honoured_or_refused() {
    let mut commands = Vec::new();
    flags(&Args::command(), "", &mut commands);
    for (path, names) in commands.iter().filter(|(_, names)| names.iter().any(|n| n == "config")) {
        for name in names.iter().filter(|name| *name != "config") {
            let decided = WITH_CONFIG.iter().find(|(of, flag, _, _)| of == path && flag == name);
            let Some((_, _, values, decision)) = decided else {
                panic!("decide what `headwater {path} --config C --{name}` does, and test it");
            };
            let mut line: Vec<&str> = vec!["headwater"];
            line.extend(path.split(' '));
            if path == "backfill" {
                line.push("0:5");
            }
            line.extend(["--config", "c.toml"]);
            let flag = format!("--{name}");
            line.push(&flag);
            line.extend(*values);
            let parsed = Args::command().try_get_matches_from(&line);
            match decision {
                Decision::Honoured => assert!(parsed.is_ok(), "{line:?}: {parsed:?}"),
                Decision::Refused => {
                    let error = parsed.expect_err("refused").to_string();
                    let words = ["--config", flag.as_str(), "cannot be used with"];
                    assert!(words.iter().all(|word| error.contains(word)), "{line:?}: {error}");
                }
            }
        }
    }
    // Two ways to name one thing.
    for line in [
        "status --data-dir d --url u",
        "status --quick --json",
        "sql --file f 1",
        "sql --json --format csv 1",
        "verify --data-dir d --url u",
        "backup b --data-dir d --url u",
        "exporters pause x --data-dir d --url u",
        "backfill 0:5 --rpc u --chain c",
        "check --config c --seed 5",
    ] {
        let words = ["headwater"].into_iter().chain(line.split(' '));
        assert!(Args::command().try_get_matches_from(words).is_err(), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn run_goes_on_from_a_backfill_and_fills_what_lies_between() {
    let folder = tempfile::tempdir().unwrap();
    let (chain, _) = standing(folder.path()).await;
    let path = folder.path().join("headwater.toml");
    without(folder.path(), "start = 0\n");
    let (code, text) = run(&["backfill", "5:20", "--config", path.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{text}");
    let appliance = Appliance::start(&path).await;
    appliance.follows(&chain).await;
    let view = until("history", async || {
        let (_, view) = appliance.get("/v1/chains/devnet").await;
        (view["captured_blocks"] == 116 && view["gaps"] == json!([])).then_some(view)
    })
    .await;
    assert_eq!(view["history"]["first"], 5, "{view}");
    assert_eq!(view["history"]["what"], "complete from block 5 on", "{view}");
    let status = run(&["status", "--url", appliance.url.trim_start_matches("http://")]).1;
    assert!(status.contains("history    complete from block 5 on"), "{status}");
    assert!(status.contains(" kB") || status.contains(" MB"), "sizes for people: {status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_at_the_head_is_kept_and_says_what_to_set() {
    let folder = tempfile::tempdir().unwrap();
    let (chain, _) = standing(folder.path()).await;
    let path = folder.path().join("headwater.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("start = 0\n", "start = \"latest\"\n")).unwrap();
    run(&["backfill", "5:20", "--config", path.to_str().unwrap()]);
    let appliance = Appliance::start(&path).await;
    appliance.follows(&chain).await;
    let (_, view) = appliance.get("/v1/chains/devnet").await;
    let what = view["history"]["what"].as_str().unwrap();
    assert!(what.contains("not filled") && what.contains("set `start = 5`"), "{what}");
}

async fn post(appliance: &Appliance, path: &str, token: &str, body: Value) -> (u16, Value) {
    let request = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = request.post(format!("{}{path}", appliance.url)).body(body.to_string());
    let request = request.header("content-type", "application/json");
    let response = request.bearer_auth(token).send().await.unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_str(&response.text().await.unwrap()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_node_takes_backfills_by_http_and_by_the_command() {
    let folder = tempfile::tempdir().unwrap();
    let (chain, url) = standing(folder.path()).await;
    let path = folder.path().join("headwater.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("start = 0\n", "start = \"latest\"\n")).unwrap();
    let appliance = Appliance::start(&path).await;
    appliance.follows(&chain).await;
    let data = folder.path().join("data");
    let token = fs::read_to_string(data.join("admin.token")).unwrap().trim().to_owned();
    let orders = "/v1/chains/devnet/backfills";
    let (status, body) = post(&appliance, orders, "wrong", json!({ "ranges": ["0:5"] })).await;
    assert_eq!(status, 401, "{body}");
    let (status, body) = post(&appliance, orders, &token, json!({ "ranges": ["7:5"] })).await;
    assert_eq!(status, 400, "{body}");
    let (status, body) = post(&appliance, orders, &token, json!({ "ranges": ["0:30"] })).await;
    assert_eq!((status, &body["id"]), (200, &json!(1)), "{body}");
    until("the backfill", async || {
        let (_, body) = appliance.get(orders).await;
        let one = &body["backfills"][0];
        (one["state"] == "done" && one["done_blocks"] == 30).then_some(())
    })
    .await;
    // What is paused waits; what is over is over.
    let (status, _) = post(&appliance, &format!("{orders}/1/pause"), &token, json!({})).await;
    assert_eq!(status, 400);
    let (status, _) = post(&appliance, &format!("{orders}/9/pause"), &token, json!({})).await;
    assert_eq!(status, 400);
    let folder_text = data.to_str().unwrap();
    let (code, text) = run(&["backfill", "30:40", "--data-dir", folder_text]);
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("as backfill 2 of chain devnet") && text.contains("done: 10/10"),
        "{text}"
    );
    let (code, text) = run(&["backfill", "40:45", "--rpc", &url, "--data-dir", folder_text]);
    assert_eq!(code, Some(0), "{text}");
    let (code, text) =
        run(&["backfill", "40:45", "--window", "2", "--config", path.to_str().unwrap()]);
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("leave --window out"), "{text}");
    let n = appliance.sql("select count(*) as n from blocks where block_number < 45").await;
    assert_eq!(n[0]["n"], 45);
    assert_eq!(appliance.terminate().code(), Some(0));
    let (code, text) = run(&["backfill", "40:45", "--data-dir", folder_text]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("no node runs on") && text.contains("--rpc"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_that_is_interrupted_says_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let (chain, url) = standing(folder.path()).await;
    let data = folder.path().join("d");
    let child = program()
        .args(["backfill", "0:100", "--rpc", &url, "--per-second", "20", "--data-dir"])
        .arg(&data)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until("the first blocks", async || {
        let segments = fs::read_dir(data.join("chains/devnet/wal")).ok()?;
        (segments.count() > 0).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let kill = format!("kill -INT {}", child.id());
    assert!(Command::new("sh").arg("-c").arg(kill).status().unwrap().success());
    let output = tokio::task::spawn_blocking(|| child.wait_with_output()).await.unwrap().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(7), "{text}");
    let (code, answer) = run(&[
        "sql",
        "--json",
        "--data-dir",
        data.to_str().unwrap(),
        "select count(*) as n, max(block_number) as last from blocks",
    ]);
    assert_eq!(code, Some(0), "{answer}");
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let (n, last) = (&answer["rows"][0]["n"], answer["rows"][0]["last"].as_u64().unwrap());
    assert!(text.contains(&format!("{n} of 100 blocks of 0..=99 are captured")), "{text}");
    assert!(text.contains(&format!("interrupted: {}..=99 are still missing", last + 1)), "{text}");
    drop(chain);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_end_is_no_failure_of_a_dry_run() {
    let folder = tempfile::tempdir().unwrap();
    let (chain, url) = standing(folder.path()).await;
    let data = folder.path().join("d");
    let dry = |range: &str| {
        let folder = data.to_str().unwrap();
        run(&["backfill", range, "--dry-run", "--rpc", &url, "--data-dir", folder])
    };
    let (code, text) = dry("5:");
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = dry("5:121");
    assert_eq!(code, Some(7), "what is not final is left: {text}");
    let now = headwater::clock::unix_seconds();
    let day = headwater_storage::model::date_text(headwater_storage::model::date_of(now));
    let (code, text) = dry(&format!("1970-01-01T00:00:{day}T00:00Z"));
    assert_eq!(code, Some(0), "times of day are taken: {text}");
    drop(chain);
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_come_from_files_and_from_standard_input() {
    let folder = tempfile::tempdir().unwrap();
    let (chain, url) = standing(folder.path()).await;
    let data = folder.path().join("d");
    let at = data.to_str().unwrap();
    run(&["backfill", "0:5", "--rpc", &url, "--data-dir", at]);
    let file = folder.path().join("count.sql");
    fs::write(&file, "select count(*) as n\nfrom blocks -- all\n").unwrap();
    let expected = "n\n-\n5";
    let (code, text) = run(&["sql", "-f", file.to_str().unwrap(), "--data-dir", at]);
    assert!(code == Some(0) && text.contains(expected), "{text}");
    let input = fs::File::open(&file).unwrap();
    let (code, text) = said(program().args(["sql", "-", "--data-dir", at]).stdin(input));
    assert!(code == Some(0) && text.contains(expected), "{text}");
    let (code, text) = run(&["sql", "-f", "none.sql", "--data-dir", at]);
    assert!(code == Some(2) && text.contains("cannot read none.sql"), "{text}");
    drop(chain);
}

#[test]
fn many_blocks_at_once_are_not_stamped_into_the_future() {
    let blocks = 500;
    let config = DevnetConfig { blocks, transactions: 0, ..DevnetConfig::default() };
    let node = DevNode::new(config).unwrap();
    node.mine(blocks).unwrap();
    let built = node.by_number(blocks).unwrap();
    let head: Value = serde_json::from_str(&built.full).unwrap();
    let time = u64::from_str_radix(&head["timestamp"].as_str().unwrap()[2..], 16).unwrap();
    let now = headwater::clock::unix_seconds();
    assert!(time <= now && now - time < 120, "{time} is about {now}");
}

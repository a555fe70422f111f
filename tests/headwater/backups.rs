//! Backups of a running and of a stopped node, their way back, copied folders, and repair.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use headwater::devnet::DevnetConfig;
use serde_json::{Value, json};

use crate::harness::{Appliance, Chain, config, file_sink, program, until};

fn small() -> DevnetConfig {
    DevnetConfig { transactions: 3, finality: 8, ..DevnetConfig::default() }
}

fn headwater(args: &[&str]) -> Output {
    program().args(args).output().unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Runs a command that must succeed and prints JSON.
fn answer(args: &[&str]) -> Value {
    let output = headwater(args);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{args:?}: {error}");
    serde_json::from_slice(&output.stdout).expect(&error)
}

/// The rows of a sink that is a file.
fn rows(sink: &Path) -> Vec<Value> {
    let text = fs::read_to_string(sink).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// `sha256sum -c` of everything that the manifest names, as anybody can do it.
fn foreign_check(backup: &Path) {
    let manifest: Value =
        serde_json::from_slice(&fs::read(backup.join("MANIFEST.json")).unwrap()).unwrap();
    let files = manifest["files"].as_array().unwrap();
    let line = |file: &Value| {
        format!("{}  {}\n", file["sha256"].as_str().unwrap(), file["path"].as_str().unwrap())
    };
    let sums: String = files.iter().map(line).collect();
    let list = backup.parent().unwrap().join("sums");
    fs::write(&list, sums).unwrap();
    let check =
        Command::new("sha256sum").args(["--quiet", "-c"]).arg(&list).current_dir(backup).status();
    assert!(check.unwrap().success());
    fs::remove_file(list).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_node_is_backed_up_and_the_restored_one_says_what_it_repeats() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    fs::create_dir_all(&first).unwrap();
    fs::create_dir_all(&second).unwrap();
    let (backups, sink) = (folder.path().join("backups"), folder.path().join("sink.ndjson"));
    let mut chain = Chain::new(small());
    chain.node.mine(50).unwrap();
    let (url, _) = chain.provider().await;
    let path = config(&first, std::slice::from_ref(&url), &file_sink(&sink));
    let appliance = Appliance::start(&path).await;
    appliance.follows(&chain).await;
    appliance.exported().await;

    // Nobody changes anything without the token.
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let admin = format!("{}/v1/admin/backup", appliance.url);
    let order = json!({ "to": backups }).to_string();
    let refused = client.post(&admin).body(order.clone()).send().await.unwrap();
    assert_eq!(refused.status(), 401);
    let wrong = client.post(&admin).header("authorization", "Bearer nonsense").body(order);
    assert_eq!(wrong.send().await.unwrap().status(), 401);
    assert!(!backups.exists());
    let token = first.join("data/admin.token");
    let mode = Command::new("stat").args(["-c", "%a"]).arg(&token).output().unwrap();
    assert_eq!(mode.stdout, b"600\n");

    let data = first.join("data");
    let made = answer(&["backup", text(&backups), "--data-dir", text(&data), "--json"]);
    let backup = PathBuf::from(made["path"].as_str().unwrap());
    let cut = made["chains"][0]["lsn"].as_u64().unwrap();
    assert!(made["linked_files"].as_u64().unwrap() > 5, "{made}");
    foreign_check(&backup);
    // It goes on, reorganises, exports, and is gone with its disk.
    chain.node.mine(9).unwrap();
    chain.node.reorg(3).unwrap();
    appliance.follows(&chain).await;
    appliance.exported().await;
    appliance.kill();
    fs::remove_dir_all(&data).unwrap();
    let before = rows(&sink);

    let restored = second.join("data");
    answer(&["restore", text(&backup), "--data-dir", text(&restored), "--json"]);
    let output = headwater(&["restore", text(&backup), "--data-dir", text(&restored)]);
    assert_eq!(output.status.code(), Some(4), "it is not empty any more");
    answer(&["verify", "--data-dir", text(&restored), "--json"]);
    let path = config(&second, &[url], &file_sink(&sink));
    let appliance = Appliance::start(&path).await;
    appliance.follows(&chain).await;
    appliance.has_the_chain(&chain).await;
    appliance.exported().await;
    let (_, status) = appliance.get("/v1/status").await;
    assert_eq!(status["descent"]["way"], "restored", "{status}");
    assert_eq!(status["descent"]["chains"]["devnet"], cut);
    let repeats = status["exporters"][0]["repeats_after_lsn"].as_u64().unwrap();
    assert!(repeats <= cut);
    let log = fs::read_to_string(second.join("log")).unwrap();
    assert!(log.contains("may have been sent before by another node"), "{log}");
    let shown = headwater(&["status", "--data-dir", text(&restored)]).stdout;
    assert!(String::from_utf8(shown).unwrap().contains("restored from the backup"));

    // Behind the cut every row has an identity that the first node never used, and its key.
    let ids = |rows: &[Value]| -> BTreeSet<String> {
        rows.iter().map(|row| row["event_id"].as_str().unwrap().to_owned()).collect()
    };
    let after = rows(&sink).split_off(before.len());
    let new: Vec<Value> =
        after.iter().filter(|row| row["lsn"].as_u64().unwrap() > cut).cloned().collect();
    assert!(!new.is_empty() && ids(&new).is_disjoint(&ids(&before)));
    let is_old = |row: &&Value| row["lsn"].as_u64().unwrap() <= cut;
    for row in after.iter().filter(is_old) {
        assert!(row["lsn"].as_u64().unwrap() > repeats, "only what was not known as exported");
        assert!(before.contains(row), "and it is the same");
    }
    assert_eq!(appliance.terminate().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_node_is_backed_up_and_damage_in_a_backup_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(small());
    chain.node.mine(40).unwrap();
    let (url, _) = chain.provider().await;
    let path = config(folder.path(), &[url], "");
    let appliance = Appliance::start(&path).await;
    appliance.follows(&chain).await;
    until("parts", async || {
        let (_, view) = appliance.get("/v1/chains/devnet").await;
        (view["sealed_blocks"].as_u64()? >= 30).then_some(())
    })
    .await;
    assert_eq!(appliance.terminate().code(), Some(0));
    let (data, backups) = (folder.path().join("data"), folder.path().join("backups"));
    let backup = |extra: &str| {
        answer(&["backup", text(&backups), "--data-dir", text(&data), "--json", extra])
    };
    let first = backup("--copy");
    let second = until("another second", async || {
        let output =
            headwater(&["backup", text(&backups), "--data-dir", text(&data), "--json", "--copy"]);
        serde_json::from_slice::<Value>(&output.stdout).ok()
    });
    let second = second.await;
    assert_eq!((&first["linked_files"], &second["linked_files"]), (&json!(0), &json!(0)));
    assert!(second["reused_files"].as_u64().unwrap() > 10, "{second}");
    let damaged = PathBuf::from(first["path"].as_str().unwrap());
    assert_eq!(answer(&["restore", text(&damaged), "--verify", "--json"])["files"], first["files"]);

    // A bad sector of the backup takes both backups that share the file; the node has its own.
    let part = fs::read_dir(damaged.join("parts/blocks/chain_id=1337")).unwrap().next().unwrap();
    let part = fs::read_dir(part.unwrap().path()).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&part).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&part, bytes).unwrap();
    let output = headwater(&["restore", text(&damaged), "--verify"]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(11), "{error}");
    assert!(error.contains(part.file_name().unwrap().to_str().unwrap()), "{error}");
    let to = folder.path().join("restored");
    let output = headwater(&["restore", text(&damaged), "--data-dir", text(&to)]);
    assert_eq!(output.status.code(), Some(11));
    let output = headwater(&["status", "--data-dir", text(&to)]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("not finished"));
    let args = ["restore", text(&damaged), "--data-dir", text(&to), "--keep-going", "--verify"];
    let output = headwater(&args);
    assert_eq!(output.status.code(), Some(11), "what is missing is told");
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.contains("missing"), "{shown}");
    // A backup is not run.
    let output = headwater(&["status", "--data-dir", text(&damaged)]);
    assert_eq!(output.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&output.stderr).contains("is a backup"));
    // The folder of backups lies elsewhere.
    let inside = data.join("backups");
    let output = headwater(&["backup", text(&inside), "--data-dir", text(&data)]);
    assert_eq!(output.status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_with_a_copied_folder_say_so_and_use_other_identities() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    fs::create_dir_all(&first).unwrap();
    fs::create_dir_all(&second).unwrap();
    let sink = folder.path().join("sink.ndjson");
    let mut chain = Chain::new(small());
    chain.node.mine(30).unwrap();
    let (url, _) = chain.provider().await;
    let path = config(&first, std::slice::from_ref(&url), &file_sink(&sink));
    let appliance = Appliance::start(&path).await;
    appliance.follows(&chain).await;
    appliance.exported().await;
    assert_eq!(appliance.terminate().code(), Some(0));
    let copied = Command::new("cp").arg("-a").arg(first.join("data")).arg(&second).status();
    assert!(copied.unwrap().success());
    // Both go on, to the same sink.
    let original = Appliance::start(&path).await;
    let copy = config(&second, &[url], &file_sink(&sink));
    let copy = Appliance::start(&copy).await;
    chain.node.mine(5).unwrap();
    for appliance in [&original, &copy] {
        appliance.follows(&chain).await;
        appliance.exported().await;
    }
    let (_, status) = original.get("/v1/status").await;
    assert_eq!(status["descent"], Value::Null, "the first one is where it was: {status}");
    let (_, status) = copy.get("/v1/status").await;
    assert_eq!(status["descent"]["way"], "copied", "{status}");
    let parted = status["descent"]["chains"]["devnet"].as_u64().unwrap();
    assert_eq!(status["exporters"][0]["repeats_after_lsn"], parted);
    copy.kill();
    original.kill();
    let mut seen = BTreeSet::new();
    let mut keys = Vec::new();
    for row in rows(&sink) {
        let id = row["event_id"].as_str().unwrap().to_owned();
        assert!(seen.insert(id), "no two rows of the two nodes have the same identity: {row}");
        if row["lsn"].as_u64().unwrap() > parted && row["table"] == "blocks" {
            keys.push(row["key"].as_str().unwrap().to_owned());
        }
    }
    let distinct: BTreeSet<&String> = keys.iter().collect();
    assert_eq!((keys.len(), distinct.len()), (10, 5), "each block from both, under one key");
    // A second start is no news.
    let again = Appliance::start(&path).await;
    let (_, status) = again.get("/v1/status").await;
    assert_eq!((&status["descent"], &status["epoch"]), (&Value::Null, &json!(3)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_whose_ledger_is_destroyed_is_repaired_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(small());
    chain.node.mine(45).unwrap();
    let (url, _) = chain.provider().await;
    let sink = folder.path().join("sink.ndjson");
    let path = config(folder.path(), &[url], &file_sink(&sink));
    let appliance = Appliance::start(&path).await;
    appliance.follows(&chain).await;
    appliance.exported().await;
    until("parts", async || {
        let (_, view) = appliance.get("/v1/chains/devnet").await;
        (view["sealed_blocks"].as_u64()? >= 30).then_some(())
    })
    .await;
    assert_eq!(appliance.terminate().code(), Some(0));
    let data = folder.path().join("data");
    let (data, ledger) = (text(&data), data.join("ledger.redb"));
    assert_eq!(answer(&["repair", "--data-dir", data, "--json"])["findings"], json!([]));
    let mut bytes = fs::read(&ledger).unwrap();
    let quarter = bytes.len() / 4;
    bytes[quarter..].fill(0x5a);
    fs::write(&ledger, bytes).unwrap();

    let output = program().arg("run").arg("--config").arg(&path).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(4), "{error}");
    assert!(error.contains("headwater repair"), "it says what to do: {error}");
    let plan = answer(&["repair", "--data-dir", data, "--dry-run", "--json"]);
    assert_eq!(plan["is_ledger_new"], true);
    assert!(!Path::new(data).join("quarantine").exists(), "nothing was done");
    let done = answer(&["repair", "--data-dir", data, "--json"]);
    assert!(done["findings"].to_string().contains("no cursors are known"), "{done}");
    answer(&["verify", "--data-dir", data, "--json"]);
    let appliance = Appliance::start(&path).await;
    chain.node.mine(5).unwrap();
    appliance.follows(&chain).await;
    appliance.has_the_chain(&chain).await;
    let (_, status) = appliance.get("/v1/status").await;
    assert_eq!(status["descent"]["way"], "repaired", "{status}");
    assert_eq!(status["exporters"][0]["repeats_after_lsn"], 0);
    assert_eq!(status["chains"][0]["gaps"], json!([]));
    let output = headwater(&["repair", "--data-dir", data]);
    assert_eq!(output.status.code(), Some(4), "not while a node runs");
    // A second time: both ledgers that were set aside are kept.
    assert_eq!(appliance.terminate().code(), Some(0));
    fs::write(&ledger, "nonsense").unwrap();
    answer(&["repair", "--data-dir", data, "--json"]);
    let aside = fs::read_dir(Path::new(data).join("quarantine")).unwrap();
    let aside = aside.filter(|entry| {
        entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("ledger.redb")
    });
    assert_eq!(aside.count(), 2);
}

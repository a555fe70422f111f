//! Each wrong input gets an error that names what, where and the fix, and a documented code.

use std::fs;
use std::path::Path;
use std::process::Output;

use headwater::devnet::DevnetConfig;
use serde_json::Value;

use crate::harness::{Appliance, Chain, config, nobody, program, until};

fn run(args: &[&str]) -> Output {
    program().args(args).output().unwrap()
}

/// Runs a command that must fail: its exit code, and words that its error must have.
fn fails(args: &[&str], code: i32, words: &[&str]) {
    let output = run(args);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {error}");
    for word in words {
        assert!(error.contains(word), "`{word}` is not in: {error}");
    }
    assert!(!error.contains("panicked"), "{error}");
}

fn run_config(path: &Path, code: i32, words: &[&str]) {
    fails(&["run", "--config", path.to_str().unwrap()], code, words);
}

#[test]
fn wrong_configurations_are_named_with_their_fix() {
    let folder = tempfile::tempdir().unwrap();
    let path = config(folder.path(), &[nobody()], "");
    let good = fs::read_to_string(&path).unwrap();
    let broken = |from: &str, to: &str, words: &[&str]| {
        assert!(good.contains(from));
        fs::write(&path, good.replace(from, to)).unwrap();
        run_config(&path, 3, words);
    };
    broken("poll_ms", "pol_ms", &["headwater.toml", "line 8", "pol_ms", "did you mean `poll_ms`?"]);
    broken("chain_id = 1337", "chain_id = \"x\"", &["headwater.toml", "chain_id", "line 6"]);
    broken("127.0.0.1:0", "0.0.0.0:0", &["allow_remote"]);
    broken("http://", "ftp://", &["p0", "http"]);
    let sink = "[[exporter]]\nname = \"x\"\nkind = \"kafkaa\"\n";
    fs::write(&path, format!("{good}{sink}")).unwrap();
    run_config(&path, 3, &["kafkaa", "kafka, scylla, hdfs, azure_tables, memory"]);
    let sink = "[[exporter]]\nname = \"x\"\nkind = \"kafka\"\nbrokerz = []\n";
    fs::write(&path, format!("{good}{sink}")).unwrap();
    run_config(&path, 3, &["exporter `x`", "brokerz", "brokers"]);
    let sink = "[[exporter]]\nname = \"x\"\nkind = \"scylla\"\nnodes = [\"127.0.0.1:9042\"]\n";
    fs::write(&path, format!("{good}{sink}")).unwrap();
    run_config(&path, 3, &["exporter `x`", "datacenter"]);
    let sink = "[[exporter]]\nname = \"x\"\nkind = \"azure_tables\"\naccount = \"a\"\n";
    fs::write(&path, format!("{good}{sink}")).unwrap();
    run_config(&path, 3, &["exporter `x`", "exactly one of `key`, `sas`"]);
    let lake = "[[exporter]]\nname = \"x\"\nkind = \"hdfs\"\nurl = \"hdfs://127.0.0.1:9";
    fs::write(&path, format!("{good}{lake}\"\n")).unwrap();
    run_config(&path, 3, &["exporter `x`", "names no folder", "hdfs://127.0.0.1:9/lake"]);
    fs::write(&path, format!("{good}{lake}/lake\"\nlanes = [\"live\"]\n")).unwrap();
    run_config(&path, 3, &["exporter `x`", "whole parts", "remove `lanes`"]);
    fs::write(&path, format!("{good}{sink}key = \"vault:a-key\"\n")).unwrap();
    run_config(&path, 3, &["exporter `x` needs a section [vault]"]);
    run_config(&folder.path().join("none.toml"), 3, &["none.toml", "No such file"]);
    fails(&["run"], 2, &["--config", "--rpc"]);
    fails(&["backfill", "7:5", "--rpc", &nobody()], 2, &["7:5", "0:1000"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_of_another_chain_is_named_and_nothing_is_captured() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(DevnetConfig { chain_id: 5, ..DevnetConfig::default() });
    chain.node.mine(3).unwrap();
    let (url, _) = chain.provider().await;
    let appliance = Appliance::start(&config(folder.path(), std::slice::from_ref(&url), "")).await;
    let body = until("the reason", async || {
        let (status, body) = appliance.get("/readyz").await;
        let reason = body["reasons"][0]["reason"].as_str()?.to_owned();
        (status == 503 && reason.contains("chain id")).then_some(reason)
    });
    let reason = body.await;
    assert!(reason.contains("p0") && reason.contains('5') && reason.contains("1337"), "{reason}");
    assert_eq!(appliance.sql("select count(*) as n from blocks").await[0]["n"], 0);
    drop(appliance);
    // Nothing was written of it: the right id is taken as if the wrong one had never been.
    let text = fs::read_to_string(folder.path().join("headwater.toml")).unwrap();
    let right = text.replace("chain_id = 1337", "chain_id = 5");
    let path = folder.path().join("right.toml");
    fs::write(&path, &right).unwrap();
    let appliance = Appliance::start(&path).await;
    appliance.follows(&chain).await;
    drop(appliance);
    // A folder that holds another chain under the same name.
    let path = folder.path().join("other.toml");
    fs::write(&path, &text).unwrap();
    run_config(&path, 3, &["devnet", "1337", "set chain_id = 5"]);
    fails(&["backfill", "0:2", "--config", path.to_str().unwrap()], 3, &["set chain_id = 5"]);
    let dry = ["backfill", "0:2", "--dry-run", "--config", path.to_str().unwrap()];
    fails(&dry, 3, &["chain"]);
    // The same chain under another name, or twice: both would write the same parts.
    fs::write(&path, right.replace("name = \"devnet\"", "name = \"other\"")).unwrap();
    run_config(&path, 3, &["chain id 5 as `devnet`", "call `other` so"]);
    let again = format!(
        "{right}[[chain]]\nname = \"other\"\nchain_id = 5\n[[chain.provider]]\nname = \"p\"\n\
         url = \"{url}\"\n"
    );
    fs::write(&path, again).unwrap();
    run_config(&path, 3, &["`devnet` and `other` have the same chain_id 5"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_away_at_the_start_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let url = nobody();
    let appliance = Appliance::start(&config(folder.path(), std::slice::from_ref(&url), "")).await;
    let reason = until("the reason", async || {
        let (status, body) = appliance.get("/readyz").await;
        assert_eq!(status, 503);
        let reason = body["reasons"][0]["reason"].as_str()?.to_owned();
        reason.contains("p0").then_some(reason)
    });
    let reason = reason.await;
    assert!(reason.contains("connect"), "{reason}");
    assert_eq!(appliance.text("/livez").await, (200, "ok\n".to_owned()));
    // Then it comes.
    let mut chain = Chain::new(DevnetConfig::default());
    chain.node.mine(3).unwrap();
    chain.provider_at(url.trim_start_matches("http://").parse().unwrap()).await;
    appliance.follows(&chain).await;
    assert_eq!(appliance.get("/readyz").await.0, 200);
    // And goes again, and comes back with more.
    chain.unplug();
    chain.node.reorg(2).unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    chain.provider_at(url.trim_start_matches("http://").parse().unwrap()).await;
    appliance.follows(&chain).await;
    appliance.has_the_chain(&chain).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_folder_has_one_owner_and_a_known_format() {
    let folder = tempfile::tempdir().unwrap();
    let path = config(folder.path(), &[nobody()], "");
    let appliance = Appliance::start(&path).await;
    run_config(&path, 4, &["data", "in use by another headwater"]);
    // The port is taken too, and told before the folder.
    let listen = appliance.url.trim_start_matches("http://");
    let taken = fs::read_to_string(&path).unwrap().replace("127.0.0.1:0", listen);
    let other = folder.path().join("taken.toml");
    fs::write(&other, taken).unwrap();
    run_config(&other, 5, &[listen, "--listen"]);
    assert_eq!(appliance.terminate().code(), Some(0));

    fs::write(folder.path().join("data/FORMAT"), "headwater data folder, format 99\n").unwrap();
    run_config(&path, 4, &["format 99", "newer headwater"]);
    let foreign = folder.path().join("foreign");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("photo.jpg"), "x").unwrap();
    let dir = foreign.to_str().unwrap();
    fails(&["status", "--data-dir", dir], 4, &["no data folder", dir]);
    let demo = ["demo", "--listen", "127.0.0.1:0", "--for", "1s", "--data-dir"];
    fails(&[&demo[..], &[dir]].concat(), 4, &["not empty", "empty folder"]);
    assert!(foreign.join("photo.jpg").exists());
    fails(&["status", "--url", &nobody()], 9, &["no node answers", "--data-dir"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_requests_have_a_status_and_two_stable_words() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(DevnetConfig { finality: 4, ..DevnetConfig::default() });
    chain.node.mine(12).unwrap();
    let (url, _) = chain.provider().await;
    let path = config(folder.path(), &[url], "[query]\nrows_max = 20\ntimeout_secs = 2\n");
    let appliance = Appliance::start(&path).await;
    appliance.follows(&chain).await;
    let nothing = format!("0x{}", "ab".repeat(32));
    for (path, status, code) in [
        ("/v1/chains/mainnet".to_owned(), 404, "unknown_chain"),
        ("/v1/chains/devnet/blocks/99".to_owned(), 404, "unknown_block"),
        (format!("/v1/chains/devnet/blocks/{nothing}"), 404, "unknown_block"),
        ("/v1/chains/devnet/blocks/latestt".to_owned(), 400, "invalid_argument"),
        ("/v1/chains/devnet/blocks/head?receipts=maybe".to_owned(), 400, "invalid_argument"),
        (format!("/v1/chains/devnet/transactions/{nothing}"), 404, "unknown_transaction"),
        ("/v1/chains/devnet/transactions/0x12".to_owned(), 400, "invalid_argument"),
        ("/v1/chains/devnet/addresses/0x12/transactions".to_owned(), 400, "invalid_argument"),
        ("/v2".to_owned(), 404, "unknown_path"),
    ] {
        let (got, body) = appliance.get(&path).await;
        assert_eq!((got, body["error"]["code"].as_str()), (status, Some(code)), "{path}: {body}");
        assert!(body["error"]["message"].as_str().is_some_and(|text| text.len() > 10));
    }
    for (statement, status, code) in [
        ("selec 1", 400, "invalid_sql"),
        ("select nothing from blocks", 400, "invalid_sql"),
        ("select * from nowhere", 400, "invalid_sql"),
        ("select 1; select 2", 400, "invalid_sql"),
        ("", 400, "invalid_sql"),
        ("delete from blocks", 403, "read_only"),
        ("insert into blocks select * from blocks", 403, "read_only"),
        ("create table t as select 1", 403, "read_only"),
        ("drop table blocks", 403, "read_only"),
        ("set datafusion.execution.batch_size = 1", 403, "read_only"),
        ("copy blocks to '/tmp/x.parquet'", 403, "read_only"),
        ("create external table t stored as csv location '/etc/passwd'", 403, "read_only"),
        ("select * from transactions", 422, "too_many_rows"),
        (
            "select count(*) from transactions a, transactions b, transactions c, transactions d, \
             transactions e where a.value < b.value and c.value < d.value and e.value < a.value",
            504,
            "timeout",
        ),
    ] {
        let (got, body) = appliance.post_sql("json", statement).await;
        let body: Value = serde_json::from_slice(&body).unwrap();
        let found = (got, body["error"]["code"].as_str());
        assert_eq!(found, (status, Some(code)), "bounds are kept (INV-10): {body}");
    }
    let (got, body) = appliance.post_sql("xlsx", "select 1").await;
    assert_eq!(got, 400, "{}", String::from_utf8_lossy(&body));
    fails(&["sql", "--url", &appliance.url, "selec 1"], 8, &["selec"]);
    fails(&["sql", "--url", &appliance.url, "drop table blocks"], 8, &["read"]);
    assert_eq!(appliance.sql("select count(*) as n from blocks").await[0]["n"], 13, "all is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_shown_nowhere() {
    const SECRET: &str = "s3cr3t-k3y-0123456789";
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("key"), format!("{SECRET}\n")).unwrap();
    let url = format!("{}/v3/{{key}}", nobody());
    let path = config(folder.path(), &[url], "");
    let text = fs::read_to_string(&path).unwrap();
    let keys = format!("keys = [\"file:{}\"]\n", folder.path().join("key").display());
    fs::write(&path, text + &keys).unwrap();
    let appliance = Appliance::start(&path).await;
    until("an error", async || {
        let (_, body) = appliance.get("/readyz").await;
        body["reasons"][0]["reason"].as_str().filter(|text| text.contains("p0")).map(drop)
    })
    .await;
    for path in ["/readyz", "/v1/status", "/v1/chains", "/metrics", "/v1/exporters"] {
        assert!(!appliance.text(path).await.1.contains(SECRET), "{path} (INV-9)");
    }
    drop(appliance);
    let log = fs::read_to_string(folder.path().join("log")).unwrap();
    assert!(log.contains("p0") && !log.contains(SECRET), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_and_cut_files_in_the_data_folder_are_left_alone_or_mended() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(DevnetConfig { finality: 8, ..DevnetConfig::default() });
    chain.node.mine(40).unwrap();
    let (url, _) = chain.provider().await;
    let path = config(folder.path(), &[url], "");
    let appliance = Appliance::start(&path).await;
    appliance.follows(&chain).await;
    let parts = folder.path().join("data/parts/blocks/chain_id=1337");
    let date = until("parts", async || {
        let mut dates = fs::read_dir(&parts).ok()?;
        let date = dates.next()?.ok()?.path();
        (fs::read_dir(&date).ok()?.count() >= 3).then_some(date)
    });
    let date = date.await;
    assert_eq!(appliance.terminate().code(), Some(0));
    let wal = folder.path().join("data/chains/devnet/wal");
    let foreign = [
        date.join("notes.txt"),
        wal.join("notes.txt"),
        wal.join("12.wal"),
        folder.path().join("data/notes.txt"),
    ];
    for path in &foreign {
        fs::write(path, "mine").unwrap();
    }
    // What a full disk or a bad copy leaves: an empty part, half a part, half of the log.
    let mut found: Vec<_> =
        fs::read_dir(&date).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.extension().is_some_and(|end| end == "parquet"));
    found.sort();
    fs::write(&found[0], "").unwrap();
    let half = fs::read(&found[1]).unwrap();
    fs::write(&found[1], &half[..half.len() / 2]).unwrap();
    let mut segments: Vec<_> =
        fs::read_dir(&wal).unwrap().map(|entry| entry.unwrap().path()).collect();
    segments.retain(|path| path.file_name().unwrap().len() == 24);
    segments.sort();
    let bytes = fs::read(&segments[0]).unwrap();
    let written = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    fs::write(&segments[0], &bytes[..written / 2]).unwrap();

    let appliance = Appliance::start(&path).await;
    chain.node.mine(3).unwrap();
    appliance.follows(&chain).await;
    until("everything to be there again", async || {
        let (_, view) = appliance.get("/v1/chains/devnet").await;
        (view["gaps"].as_array()?.is_empty() && view["sealed_blocks"].as_u64()? >= 30).then_some(())
    })
    .await;
    appliance.has_the_chain(&chain).await;
    for path in &foreign {
        assert_eq!(fs::read_to_string(path).unwrap(), "mine", "{}", path.display());
    }
    assert_eq!(appliance.terminate().code(), Some(0));
}

#[test]
fn a_folder_without_permission_is_named() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    let folder = tempfile::tempdir().unwrap();
    let path = config(folder.path(), &[nobody()], "");
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    mode(folder.path(), 0o755).unwrap();
    mode(&data, 0o555).unwrap();
    let mut command = program();
    // The rights of root are not asked for.
    if rustix::process::geteuid().is_root() {
        command.uid(65_534);
    }
    let output = command.arg("run").arg("--config").arg(&path).output();
    mode(&data, 0o755).unwrap();
    let Ok(output) = output else {
        println!("SKIPPED: nobody may not run the program where it was built");
        return;
    };
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(4), "{error}");
    assert!(error.contains("data") && error.contains("Permission denied"), "{error}");
}

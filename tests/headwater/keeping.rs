//! What is kept: folders of earlier formats, what damage took, what a trimmed log still tells.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use headwater::devnet::{DevnetConfig, Fork};
use serde_json::Value;

use crate::harness::{
    Appliance, Chain, canonical, config, file_sink, fold, nobody, program, until,
};

fn small() -> DevnetConfig {
    DevnetConfig { transactions: 3, finality: 8, ..DevnetConfig::default() }
}

/// Adds keys to the chain of a configuration.
fn with_keys(path: &Path, keys: &str) {
    let text = fs::read_to_string(path).unwrap();
    fs::write(path, text.replace("part_blocks = 10\n", &format!("part_blocks = 10\n{keys}")))
        .unwrap();
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|end| end == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn flip(path: &Path, offset: u64) {
    let mut bytes = fs::read(path).unwrap();
    bytes[usize::try_from(offset).unwrap()] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_format_1_goes_on_in_place() {
    goes_on_in_place("format-1.tar.gz").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_format_2_with_a_trimmed_log_goes_on_in_place() {
    goes_on_in_place("format-2.tar.gz").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_format_3_with_traces_goes_on_in_place() {
    goes_on_in_place("format-3.tar.gz").await;
}

/// Columns that were added are null in the rows of older parts, and filled in those of today.
async fn has_columns_of_today(appliance: &Appliance, before: u64) {
    let statement = format!(
        "select count(*) filter (where in_root is null) as old, \
         count(*) filter (where in_root) as new, \
         count(*) filter (where in_root is null and block_number > {before}) as wrong, \
         count(*) filter (where not in_root) as outside"
    );
    for table in ["transactions", "logs"] {
        let rows = appliance.sql(&format!("{statement} from {table}")).await;
        let count = |name: &str| rows[0][name].as_u64().unwrap();
        assert!(count("old") > 0 && count("new") > 0, "{table}: {rows:?}");
        assert_eq!((count("wrong"), count("outside")), (0, 0), "{table}");
        let all = appliance.sql(&format!("select * from {table} where in_root is null")).await;
        assert_eq!(all.len() as u64, count("old"), "{table}: a filter on a part without it");
    }
    let amsterdam = "select min(block_number) as first, count(*) as n from blocks where ";
    for column in ["block_access_list_hash", "slot_number"] {
        let rows = appliance.sql(&format!("{amsterdam} {column} is not null")).await;
        assert_eq!(rows[0]["first"], before + 1, "{column}");
    }
}

async fn goes_on_in_place(golden: &str) {
    let folder = tempfile::tempdir().unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(golden);
    let unpacked =
        Command::new("tar").arg("-xzf").arg(&golden).current_dir(folder.path()).status().unwrap();
    assert!(unpacked.success());
    // The same chain goes on from its journal.
    let journal = Some(folder.path().join("journal"));
    let of_chain = DevnetConfig { seed: 7, journal, ..small() };
    let before = Chain::new(of_chain.clone()).node.head();
    assert!(before >= 70, "the journal was read");
    // What comes is of a fork that the older versions did not know.
    let (fork, fork_block) = (Fork::Amsterdam, before + 1);
    let mut chain = Chain::new(DevnetConfig { fork, fork_block, ..of_chain });
    chain.node.mine(12).unwrap();
    let (url, _) = chain.provider().await;
    let sink = folder.path().join("sink.ndjson");
    let path = config(folder.path(), &[url], &file_sink(&sink));
    if golden.ends_with("format-3.tar.gz") {
        with_keys(&path, "traces = true\n");
    }
    let appliance = Appliance::start(&path).await;
    appliance.follows(&chain).await;
    chain.node.reorg(3).unwrap();
    appliance.follows(&chain).await;
    appliance.has_the_chain(&chain).await;
    appliance.exported().await;
    has_columns_of_today(&appliance, before).await;
    let (_, status) = appliance.get("/v1/status").await;
    assert_eq!(status["chains"][0]["damages"].as_array().unwrap().len(), 0, "{status}");
    assert_eq!(appliance.terminate().code(), Some(0));
    assert_eq!(fold(&sink), canonical(&chain), "the sink goes on where it was");
    let format = fs::read_to_string(folder.path().join("data/FORMAT")).unwrap();
    assert_eq!(format, "headwater data folder, format 3\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_in_the_log_the_parts_and_the_index_is_mended_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(small());
    chain.node.mine(60).unwrap();
    let (url, _) = chain.provider().await;
    let path = config(folder.path(), &[url], "");
    let appliance = Appliance::start(&path).await;
    appliance.follows(&chain).await;
    chain.node.reorg(2).unwrap();
    appliance.follows(&chain).await;
    // Finality is the record after the blocks of the reorg: without one behind it, damage in the
    // last blocks is a torn write that nobody was told of.
    until("parts and finality", async || {
        let (_, view) = appliance.get("/v1/chains/devnet").await;
        let is_final = view["finalized"]["number"].as_u64()? == chain.node.finalized();
        (view["sealed_blocks"].as_u64()? >= 40 && is_final).then_some(())
    })
    .await;
    appliance.kill();
    let data = folder.path().join("data");
    // The log: a record near its end, which no part holds.
    let log = files(&data.join("chains"), "wal").remove(0);
    let bytes = fs::read(&log).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() - 3_000;
    // Inside a payload: the zeros between frames belong to nobody.
    let inside = bytes[..end].windows(16).rposition(|window| !window.contains(&0)).unwrap();
    flip(&log, inside as u64 + 8);
    // A part of which the log still has the blocks, and the whole index.
    let part = files(&data.join("parts/transactions"), "parquet").remove(1);
    flip(&part, 2_000);
    fs::write(files(&data.join("chains/devnet/index"), "jnl").remove(0), "nonsense").unwrap();
    fs::write(data.join("chains/devnet/index/version"), "nonsense").unwrap();

    let appliance = Appliance::start(&path).await;
    chain.node.mine(5).unwrap();
    appliance.follows(&chain).await;
    let mended = until("the damage to be found and mended", async || {
        let (_, view) = appliance.get("/v1/chains/devnet").await;
        let damages = view["damages"].as_array()?.clone();
        let is_mended = damages.iter().all(|place| place["is_mended"] == true);
        let of = |kind: &str| damages.iter().any(|p| p["file"].as_str().unwrap().contains(kind));
        (of(".wal") && of(".parquet") && is_mended && view["gaps"] == serde_json::json!([]))
            .then_some(damages)
    });
    let mended = mended.await;
    assert!(mended.iter().all(|place| place["first"].as_u64().unwrap() > 0), "{mended:?}");
    appliance.has_the_chain(&chain).await;
    let (_, metrics) = appliance.text("/metrics").await;
    assert!(metrics.contains("headwater_damaged_places{chain=\"devnet\"}"), "{metrics}");
    let aside = fs::read_dir(data.join("quarantine")).unwrap().count();
    assert!(aside >= 1, "the damaged part is kept");
    let log = fs::read_to_string(folder.path().join("log")).unwrap();
    assert!(
        log.contains("damage is set aside") && log.contains("the index does not open"),
        "{log}"
    );
    everything_is_proved_again(&appliance, &chain, &data).await;
    // Nothing of it is left after a restart.
    assert_eq!(appliance.terminate().code(), Some(0));
    let appliance = Appliance::start(&path).await;
    appliance.follows(&chain).await;
    appliance.has_the_chain(&chain).await;
}

/// By the running node, and from its folder; and each block says what was proved.
async fn everything_is_proved_again(appliance: &Appliance, chain: &Chain, data: &Path) {
    let data = data.to_str().unwrap().to_owned();
    let verify = |args: &[&str]| {
        let output = program().arg("verify").args(args).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        let report: Value = serde_json::from_slice(&output.stdout).expect(&error);
        (output.status.code(), report["report"].clone())
    };
    let (code, report) = verify(&["--json", "--url", &appliance.url]);
    assert_eq!((code, &report["missing"]), (Some(0), &serde_json::json!([])), "{report}");
    assert_eq!(report["proved"], chain.node.head() + 1, "{report}");
    let (code, report) = verify(&["5:9", "--json", "--data-dir", &data]);
    assert_eq!((code, &report["blocks"]), (Some(0), &4.into()), "{report}");
    let (code, report) = verify(&["90:100", "--json", "--data-dir", &data]);
    assert_eq!((code, &report["blocks"]), (Some(11), &0.into()), "what is not there: {report}");
    let rows = appliance
        .sql(
            "select count(*) as n, count(distinct block_number) as numbers, min(provider) as p, \
             min(verified_at) > '2025-01-01' as is_dated from verification \
             where verified like 'header+%transactions+receipts%'",
        )
        .await;
    let height = chain.node.head() + 1;
    let expected = serde_json::json!({
        "n": height, "numbers": height, "p": "p0", "is_dated": true
    });
    assert_eq!(rows[0], expected, "what was proved, by whom and when (INV-2)");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exporter_behind_a_trimmed_log_gets_the_same_rows_and_every_retraction() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(small());
    chain.node.mine(20).unwrap();
    let (url, _) = chain.provider().await;
    let early = folder.path().join("early.ndjson");
    let late = folder.path().join("late.ndjson");
    let path = config(folder.path(), std::slice::from_ref(&url), &file_sink(&early));
    with_keys(&path, "log_keep_bytes = 0\nlog_segment_bytes = 16384\n");
    let appliance = Appliance::start(&path).await;
    appliance.follows(&chain).await;
    for _ in 0..6 {
        chain.node.mine(9).unwrap();
        appliance.follows(&chain).await;
        chain.node.reorg(3).unwrap();
        appliance.follows(&chain).await;
    }
    let wal = folder.path().join("data/chains/devnet/wal");
    until("the log to be trimmed", async || (files(&wal, "trim").len() >= 3).then_some(())).await;
    // A sink that has nothing comes, and the chain reorganises again.
    appliance.kill();
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text + &file_sink(&late).replace("\"file\"", "\"late\"")).unwrap();
    let appliance = Appliance::start(&path).await;
    chain.node.reorg(2).unwrap();
    appliance.follows(&chain).await;
    chain.node.mine(3).unwrap();
    appliance.follows(&chain).await;
    appliance.exported().await;
    assert_eq!(appliance.terminate().code(), Some(0));
    assert_eq!(fold(&late), canonical(&chain), "it converges (INV-8)");
    // What was under way when it was killed was sent again.
    let rows = |path: &Path| -> Vec<String> {
        let mut seen = BTreeSet::new();
        let text = fs::read_to_string(path).unwrap();
        let lines = text.lines().filter(|line| seen.insert((*line).to_owned()));
        lines.map(str::to_owned).collect()
    };
    let (early, late) = (rows(&early), rows(&late));
    assert!(late.iter().any(|row| row.contains("\"op\":\"reverted\"")), "retractions are there");
    assert!(early == late, "{} and {} rows: the same, in the same order", early.len(), late.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn at_its_quota_a_node_forgets_and_then_waits_and_goes_on_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(small());
    chain.node.mine(40).unwrap();
    let (url, _) = chain.provider().await;
    let limits = |quota: u64| format!("[disk]\nquota_bytes = {quota}\nmin_free_bytes = 1\n");
    let path = config(folder.path(), &[url], "");
    with_keys(&path, "log_segment_bytes = 65536\n");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.clone() + &limits(1_000_000)).unwrap();
    let appliance = Appliance::start(&path).await;
    let reason = until("the pause", async || {
        chain.node.mine(3).unwrap();
        let (status, body) = appliance.get("/readyz").await;
        let reason = body["reasons"][0]["reason"].as_str()?.to_owned();
        (status == 503 && reason.contains("the disk is full")).then_some(reason)
    });
    let reason = reason.await;
    assert!(reason.contains("disk.quota_bytes = 1000000"), "{reason}");
    // Queries go on, nothing is asked of providers, and nothing that counted is lost.
    let rows = appliance.sql("select count(*) as n from blocks").await;
    let before = rows[0]["n"].as_u64().unwrap();
    assert!(before > 40, "it captured until then");
    let (_, status) = appliance.get("/v1/status").await;
    assert_eq!(status["disk"]["step"], "pause", "{status}");
    // What was under way when it paused comes to its end, and what is sealed then may be forgotten
    // and make room once more: it is the same pause where no block came in it.
    until("a pause of two seconds", async || {
        let (_, before) = appliance.get("/v1/status").await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let (_, after) = appliance.get("/v1/status").await;
        let is_same = |at: &str| before.pointer(at).unwrap() == after.pointer(at).unwrap();
        let is_pause = after["disk"]["step"] == "pause" && is_same("/disk/step");
        let is_rest = is_pause && is_same("/chains/0/head");
        assert!(!is_rest || is_same("/chains/0/providers/0/requests"), "no call is paid for");
        is_rest.then_some(())
    })
    .await;
    assert_eq!(appliance.terminate().code(), Some(0));
    fs::write(&path, text + &limits(1 << 30)).unwrap();
    let appliance = Appliance::start(&path).await;
    appliance.follows(&chain).await;
    appliance.has_the_chain(&chain).await;
    let rows = appliance.sql("select count(*) as n from blocks").await;
    assert!(rows[0]["n"].as_u64().unwrap() >= before);
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_waits_for_who_is_required_and_what_it_took_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(small());
    chain.node.mine(60).unwrap();
    let (url, _) = chain.provider().await;
    let asleep = format!(
        "[[exporter]]\nname = \"asleep\"\nkind = \"kafka\"\nbrokers = [\"{}\"]\nrequired = true\n",
        nobody().trim_start_matches("http://")
    );
    let path = config(folder.path(), std::slice::from_ref(&url), &asleep);
    with_keys(&path, "log_keep_bytes = 0\nlog_segment_bytes = 16384\n");
    let data = folder.path().join("data");
    let parts = |table: &str| files(&data.join("parts").join(table), "parquet").len();
    let appliance = Appliance::start(&path).await;
    appliance.follows(&chain).await;
    until("parts", async || (parts("logs") >= 5).then_some(())).await;
    assert_eq!(appliance.terminate().code(), Some(0));

    // The rule says that all logs go; somebody who is required has not had them.
    let text = fs::read_to_string(&path).unwrap();
    let rule =
        |keep: &str| text.replace("part_blocks = 10\n", &format!("part_blocks = 10\n{keep}"));
    fs::write(&path, rule("keep = { logs = { bytes = 1 } }\n")).unwrap();
    let appliance = Appliance::start(&path).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(parts("logs") >= 5, "they wait for it");
    assert_eq!(appliance.terminate().code(), Some(0));

    // Nobody is required any more; an exporter that comes too late is told.
    let late = folder.path().join("late.ndjson");
    let relaxed = rule("keep = { logs = { bytes = 1 } }\n").replace(&asleep, "");
    fs::write(&path, &relaxed).unwrap();
    let appliance = Appliance::start(&path).await;
    until("the logs to go", async || (parts("logs") == 0).then_some(())).await;
    assert!(parts("blocks") >= 5, "the rule is about logs");
    let rows = appliance.sql("select count(*) as n from blocks").await;
    assert_eq!(rows[0]["n"], chain.node.head() + 1);
    let (status, _) = appliance.get("/v1/chains/devnet/blocks/3").await;
    assert_eq!(status, 404, "a block without its logs is no block");
    assert_eq!(appliance.terminate().code(), Some(0));
    fs::write(&path, relaxed.clone() + &file_sink(&late)).unwrap();
    let appliance = Appliance::start(&path).await;
    appliance.exported().await;
    let (_, view) = appliance.get("/v1/exporters").await;
    assert!(view["exporters"][0]["left_out"].as_u64().unwrap() >= 40, "{view}");
    let (_, metrics) = appliance.text("/metrics").await;
    assert!(metrics.contains("headwater_export_left_out_records_total"), "{metrics}");
    let log = fs::read_to_string(folder.path().join("log")).unwrap();
    assert!(log.contains("before this exporter had them"), "{log}");
    assert_eq!(appliance.terminate().code(), Some(0));

    everything_old_goes(&path, &data, &chain).await;
}

/// With the segments of the log that it came from; it is no gap.
async fn everything_old_goes(path: &Path, data: &Path, chain: &Chain) {
    let tables = ["blocks", "transactions", "logs", "withdrawals", "chain_events", "verification"];
    let all: Vec<String> =
        tables.iter().map(|table| format!("{table} = {{ bytes = 1 }}")).collect();
    let all = format!("keep = {{ {} }}", all.join(", "));
    fs::write(
        path,
        fs::read_to_string(path).unwrap().replace("keep = { logs = { bytes = 1 } }", &all),
    )
    .unwrap();
    let wal = data.join("chains/devnet/wal");
    let first = || {
        let names = fs::read_dir(&wal).unwrap().map(|entry| entry.unwrap().file_name());
        names.min().unwrap().into_string().unwrap()
    };
    assert!(first().starts_with("00000000000000000001."), "{}", first());
    let appliance = Appliance::start(path).await;
    chain.node.mine(5).unwrap();
    appliance.follows(chain).await;
    until("the log's old end to go", async || {
        (!first().starts_with("00000000000000000001.")).then_some(())
    })
    .await;
    let (_, view) = appliance.get("/v1/chains/devnet").await;
    assert_eq!(view["gaps"], serde_json::json!([]), "what was removed by rule is not missed");
    assert!(view["captured"][0]["first"].as_u64().unwrap() > 40, "{view}");
    appliance.exported().await;
    appliance.kill();
    let appliance = Appliance::start(path).await;
    chain.node.reorg(2).unwrap();
    appliance.follows(chain).await;
}

//! A lake of files: every sealed block is there once, in whole files, whatever happens to the node,
//! to the chain and to the parts here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Output;

use headwater::devnet::DevnetConfig;
use headwater_storage::disk::RealDisk;
use headwater_storage::ledger::Part;
use headwater_storage::model::BlockRanges;
use headwater_storage::parquet::read_part_facts;
use headwater_storage::tables::Table;

use crate::harness::{Appliance, Chain, config, program, until};

/// Twelve blocks a day.
fn chain() -> Chain {
    let timestamp_step = 7_200;
    Chain::new(DevnetConfig { transactions: 3, finality: 8, timestamp_step, ..Default::default() })
}

fn sink(lake: &Path) -> String {
    format!(
        "[[exporter]]\nname = \"lake\"\nkind = \"hdfs\"\nurl = \"{}\"\nmax_wait_secs = 1\n\
         takeover_secs = 1\n",
        lake.display()
    )
}

fn order(arguments: &[&str], data: &Path) -> Output {
    let mut command = program();
    command.arg("exporters").args(arguments).arg("--data-dir").arg(data).arg("--json");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// All files below a folder that readers see.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with('_') {
            continue;
        }
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

/// What the lake holds, read file by file; its folder is called `parts`, as in a data folder.
fn parts(folder: &Path) -> BTreeMap<Table, Vec<Part>> {
    let mut parts: BTreeMap<Table, Vec<Part>> = BTreeMap::new();
    for path in files(&folder.join("parts")) {
        let name = path.strip_prefix(folder).unwrap().to_str().unwrap();
        let part = read_part_facts(&RealDisk, folder, name).unwrap();
        let part = part.unwrap_or_else(|| panic!("{name} is not what it is called"));
        parts.entry(part.table).or_default().push(part);
    }
    for (table, parts) in &mut parts {
        parts.sort_by_key(|part| part.range.first);
        let mut seen = BlockRanges::default();
        for part in parts {
            assert_eq!(seen.missing(part.range), [part.range], "{table:?}: a block is there twice");
            seen.insert(part.range);
        }
    }
    parts
}

/// The first and the last block in a file's name.
fn range_of(path: &Path) -> Option<(u64, u64)> {
    let mut names = path.file_stem()?.to_str()?.rsplit('-');
    let last = names.next()?.parse().ok()?;
    Some((names.next()?.parse().ok()?, last))
}

/// The last block that is sealed here.
fn sealed(data: &Path) -> Option<u64> {
    let names = files(&data.join("parts/blocks")).into_iter();
    names.filter_map(|path| Some(range_of(&path)?.1)).max()
}

/// Waits until the lake has what is sealed, and compares it with SQL.
async fn holds_the_chain(appliance: &Appliance, folder: &Path, upto: u64) {
    let data = folder.join("data");
    let last = until("the lake", async || {
        let blocks = parts(folder).remove(&Table::Blocks)?;
        let last = blocks.last()?.range.last;
        (last >= upto && Some(last) == sealed(&data)).then_some(last)
    });
    let last = last.await;
    let (_, status) = appliance.get("/v1/chains/devnet").await;
    let head = status["head"]["number"].as_u64().unwrap();
    until("the lag to be what is not sealed", async || {
        let (_, view) = appliance.get("/v1/exporters").await;
        (view["exporters"][0]["lag"].as_u64()? == head - last).then_some(())
    })
    .await;
    let held = parts(folder);
    let blocks = &held[&Table::Blocks];
    let numbers: u64 = blocks.iter().map(|part| part.range.len()).sum();
    assert_eq!((blocks[0].range.first, numbers), (0, last + 1), "no holes");
    for pair in blocks.windows(2) {
        assert_eq!(pair[0].last_hash, pair[1].parent_hash, "runs link");
    }
    for table in [Table::Blocks, Table::Transactions, Table::Logs, Table::Withdrawals] {
        let name = table.name();
        let count = format!("select count(*) as n from {name} where block_number <= {last}");
        let wanted = appliance.sql(&count).await[0]["n"].as_u64().unwrap();
        let rows: u64 = held.get(&table).into_iter().flatten().map(|part| part.rows).sum();
        assert_eq!(rows, wanted, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lake_has_every_sealed_block_once_over_kills_and_reorgs() {
    let folder = tempfile::tempdir().unwrap();
    let lake = folder.path().join("parts");
    let mut chain = chain();
    chain.node.mine(40).unwrap();
    let (url, _) = chain.provider().await;
    let config = config(folder.path(), &[url], &sink(&lake));
    let appliance = Appliance::start(&config).await;
    holds_the_chain(&appliance, folder.path(), 29).await;
    appliance.kill();
    for turn in 0..4 {
        chain.node.reorg(5).unwrap();
        chain.node.mine(17).unwrap();
        let appliance = Appliance::start(&config).await;
        appliance.follows(&chain).await;
        if turn % 2 == 0 {
            // Whatever it was doing there: files are whole, and no block is there twice.
            parts(folder.path());
            appliance.kill();
        } else {
            assert!(appliance.terminate().success());
        }
        parts(folder.path());
    }
    let appliance = Appliance::start(&config).await;
    holds_the_chain(&appliance, folder.path(), 99).await;
    until("its gauge, which counts blocks", async || {
        let (_, metrics) = appliance.text("/metrics").await;
        assert!(!metrics.contains("headwater_export_lag_records{"), "{metrics}");
        metrics.contains("headwater_export_lag_blocks{").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_merged_meanwhile_and_what_vanished_there_comes() {
    let folder = tempfile::tempdir().unwrap();
    let (lake, data) = (folder.path().join("parts"), folder.path().join("data"));
    let mut chain = chain();
    chain.node.mine(24).unwrap();
    let (url, _) = chain.provider().await;
    let config = config(folder.path(), &[url], &sink(&lake));
    let appliance = Appliance::start(&config).await;
    holds_the_chain(&appliance, folder.path(), 11).await;
    order(&["pause", "lake"], &data);
    let before = files(&lake).len();
    // Three days and more: cells of ten blocks and dates of twelve cross each other.
    chain.node.mine(48).unwrap();
    appliance.follows(&chain).await;
    until("a merged part", async || {
        let crosses = |path: &PathBuf| {
            range_of(path).is_some_and(|(first, last)| first > 23 && first / 10 != last / 10)
        };
        files(&data.join("parts/blocks")).iter().any(crosses).then_some(())
    })
    .await;
    assert_eq!(files(&lake).len(), before, "it is paused");
    let (_, view) = appliance.get("/v1/exporters").await;
    assert!(view["exporters"][0]["lag"].as_u64().unwrap() >= 48, "and falls behind: {view}");
    order(&["resume", "lake"], &data);
    holds_the_chain(&appliance, folder.path(), 47).await;

    let gone = files(&lake).into_iter().find(|path| path.to_string_lossy().contains("/logs/"));
    let gone = gone.unwrap();
    let whole = std::fs::read(&gone).unwrap();
    std::fs::remove_file(&gone).unwrap();
    order(&["rewind", "lake", "--to-block", "0"], &data);
    let back = until("the file", async || std::fs::read(&gone).ok()).await;
    assert_eq!(back.len(), whole.len());
    holds_the_chain(&appliance, folder.path(), 47).await;
    let explained = order(&["explain", "lake", "--block", "3"], &data);
    let explained: serde_json::Value = serde_json::from_slice(&explained.stdout).unwrap();
    let record = &explained["records"][0];
    assert_eq!((&record["table"], &record["is_held"]), (&"blocks".into(), &true.into()));
    let place = record["file"].as_str().unwrap();
    assert!(Path::new(place).is_file(), "{place}");
}

/// The newest manifests of a lake.
fn manifests(lake: &Path) -> Vec<serde_json::Value> {
    let dates = std::fs::read_dir(lake.join("_headwater/manifest/chain_id=1337")).unwrap();
    let newest = |date: PathBuf| {
        let versions = std::fs::read_dir(date).unwrap();
        let last = versions.map(|version| version.unwrap().path()).max().unwrap();
        serde_json::from_slice(&std::fs::read(last).unwrap()).unwrap()
    };
    dates.map(|date| newest(date.unwrap().path())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_says_that_retention_took_rows_before_they_went() {
    let folder = tempfile::tempdir().unwrap();
    let (lake, data) = (folder.path().join("parts"), folder.path().join("data"));
    let mut chain = chain();
    chain.node.mine(40).unwrap();
    let (url, _) = chain.provider().await;
    let path = config(folder.path(), &[url], "");
    let text = std::fs::read_to_string(&path).unwrap();
    let keep = "part_blocks = 10\nlog_keep_bytes = 0\nkeep = { logs = { bytes = 1 } }\n";
    let text = text.replace("part_blocks = 10\n", keep);
    std::fs::write(&path, &text).unwrap();
    let appliance = Appliance::start(&path).await;
    appliance.follows(&chain).await;
    until("the logs to be forgotten", async || {
        let gone = files(&data.join("parts/logs")).is_empty();
        (gone && sealed(&data)? >= 23).then_some(())
    })
    .await;
    assert!(appliance.terminate().success());
    std::fs::write(&path, text + &sink(&lake)).unwrap();
    let appliance = Appliance::start(&path).await;
    until("the lake", async || {
        let last = parts(folder.path()).remove(&Table::Blocks)?.last()?.range.last;
        (Some(last) == sealed(&data)).then_some(())
    })
    .await;
    assert!(!parts(folder.path()).contains_key(&Table::Logs), "they were gone");
    let runs: Vec<_> = manifests(&lake)
        .iter()
        .flat_map(|manifest| manifest["runs"].as_array().unwrap().clone())
        .collect();
    assert!(!runs.is_empty() && runs.iter().all(|run| run["is_partial"] == true), "{runs:?}");
    let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
    assert!(log.contains("retention took rows of a table before they went"), "{log}");
    assert!(appliance.terminate().success());
}

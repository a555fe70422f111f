//! `cargo bench -p headwater-exporters --bench sinks`: real blocks into real servers.
//!
//! `HEADWATER_CQL=127.0.0.1:9042`: the exporter against a bare loop over the driver with the same
//! rows, grouped the same way, bound before the clock starts.
//! `HEADWATER_KAFKA=127.0.0.1:9092`: records a second without compression, to be compared with
//! librdkafka's `examples/rdkafka_performance -P` with as many records of the same mean size.
//! `HEADWATER_AZURE_TABLES=http://127.0.0.1:10002/devstoreaccount1`: entities a second.
//! `HEADWATER_HDFS=hdfs://127.0.0.1:9000/bench` and `HEADWATER_HDFS_SHELL="hdfs dfs"`: a run of six
//! files of 128 MiB against `-put` of the same files, less the time that the shell takes for `-ls`.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a program for people"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use headwater_exporters::azure_tables::{AzureTables, AzureTablesConfig};
use headwater_exporters::encode::Filter;
use headwater_exporters::hdfs::{Hdfs, HdfsConfig};
use headwater_exporters::kafka::{Kafka, KafkaConfig};
use headwater_exporters::parts::{PartExporter, PartFile, PartRun};
use headwater_exporters::scylla::{SOURCES, Scylla, ScyllaConfig};
use headwater_exporters::{Batch, Exporter, Mark, Scope, azure_tables};
use headwater_storage::model::{
    B256, Block, BlockParts, BlockRange, BlockRef, Branches, ChainName, EventHead, Lane, Linked,
    Lsn, Op, Origin, OwnedEvent, Receipt, Verified,
};
use headwater_storage::parquet::PartName;
use headwater_storage::tables::Table;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::frame::response::result::{ColumnType, NativeType};
use scylla::statement::batch::{Batch as Statements, BatchType};
use scylla::statement::prepared::PreparedStatement;
use scylla::value::{CqlDate, CqlTimestamp, CqlValue, CqlVarint, MaybeUnset};
use serde_json::Value;

/// Blocks of a batch, as the runner cuts them.
const BATCH_BLOCKS: usize = 64;
const BATCHES: usize = 4;
const REQUESTS: usize = 128;
const ROWS_MAX: usize = 200;
const LARGE: u64 = 128 << 20;

type Bound = Vec<MaybeUnset<CqlValue>>;

fn unpack(path: &Path) -> Option<String> {
    let mut text = String::new();
    let file = std::fs::File::open(path).ok()?;
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).ok()?;
    Some(text)
}

/// Recorded mainnet blocks with their receipts.
fn recorded() -> Vec<Arc<Block>> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let data = std::env::var_os("HEADWATER_CHAIN_DATA").map_or_else(beside, PathBuf::from);
    let Ok(entries) = std::fs::read_dir(data.join("rpc/ethereum")) else { return Vec::new() };
    let mut folders: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    folders.sort();
    let load = |folder: PathBuf| {
        let block = unpack(&folder.join("block.json.gz"))?;
        let receipts = unpack(&folder.join("receipts.json.gz"))?;
        let parts: BlockParts = serde_json::from_str(&block).ok()?;
        let receipts: Vec<Linked<Receipt>> = serde_json::from_str(&receipts).ok()?;
        parts.join(Some(receipts)).ok().map(Arc::new)
    };
    folders.into_iter().filter_map(load).filter(|block| !block.transactions.is_empty()).collect()
}

fn batches(blocks: &[Arc<Block>], tables: &[Table]) -> Vec<Batch> {
    let chain: ChainName = "bench".parse().expect("a name");
    let event = |(at, block): (usize, &Arc<Block>)| OwnedEvent {
        head: EventHead {
            lsn: Lsn(at as u64 + 1),
            op: Op::Applied,
            lane: Lane::Live,
            block: BlockRef { number: block.header.number, hash: block.header.hash },
            parent_hash: block.header.parent_hash,
            timestamp: block.header.timestamp,
            verified: Verified::HEADER,
            origin: Origin::default(),
        },
        block: Some(block.clone()),
    };
    let events: Vec<OwnedEvent> = blocks.iter().enumerate().map(event).collect();
    let batch = |events: &[OwnedEvent]| Batch {
        chain: chain.clone(),
        chain_id: 1,
        branches: Branches::default(),
        tables: tables.to_vec(),
        filter: Filter::default(),
        upto: events.last().map(|event| Mark::of(&event.head, 0)),
        events: events.to_vec(),
        parked: BTreeSet::new(),
    };
    events.chunks(BATCH_BLOCKS).take(BATCHES).map(batch).collect()
}

fn scope(tables: &[Table]) -> Scope {
    Scope { chains: vec!["bench".parse().expect("a name")], tables: tables.to_vec() }
}

fn rate(what: &str, count: usize, blocks: usize, taken: Duration) -> f64 {
    let rate = count as f64 / taken.as_secs_f64();
    println!(
        "{what}: {count} in {:.2} s, {rate:.0}/s, {:.1} blocks/s",
        taken.as_secs_f64(),
        blocks as f64 / taken.as_secs_f64()
    );
    rate
}

#[tokio::main]
async fn main() {
    let blocks = recorded();
    if blocks.is_empty() {
        println!("SKIPPED: no recorded chain data; set HEADWATER_CHAIN_DATA");
        return;
    }
    match std::env::var("HEADWATER_CQL") {
        Ok(node) => cql(&node, &blocks).await,
        Err(_) => println!("SKIPPED: CQL; set HEADWATER_CQL"),
    }
    match std::env::var("HEADWATER_KAFKA") {
        Ok(broker) => kafka(&broker, &blocks).await,
        Err(_) => println!("SKIPPED: Kafka; set HEADWATER_KAFKA"),
    }
    match std::env::var("HEADWATER_AZURE_TABLES") {
        Ok(endpoint) => azure(&endpoint, &blocks).await,
        Err(_) => println!("SKIPPED: Azure Tables; set HEADWATER_AZURE_TABLES"),
    }
    match (std::env::var("HEADWATER_HDFS"), std::env::var("HEADWATER_HDFS_SHELL")) {
        (Ok(url), Ok(shell)) => hdfs(&url, &shell).await,
        _ => println!("SKIPPED: HDFS; set HEADWATER_HDFS and HEADWATER_HDFS_SHELL"),
    }
}

/// A run of large files.
fn large_run(folder: &Path, round: u64) -> PartRun {
    let range = BlockRange { first: round * 1000, last: round * 1000 + 999 };
    let files = Table::ALL.into_iter().map(|table| {
        let name = PartName { table, chain_id: 1, date: 20_000, range }.path();
        let place = folder.join(table.name());
        let mut state = round + table as u64 + 1;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state.to_le_bytes()
        };
        let bytes: Vec<u8> = (0..LARGE / 8).flat_map(|_| next()).collect();
        std::fs::write(&place, &bytes).expect("written");
        PartFile {
            table,
            name: name.trim_start_matches("parts/").to_owned(),
            place,
            rows: 1,
            bytes: LARGE,
            crc32c: crc32c::crc32c(&bytes),
        }
    });
    let hash = B256::ZERO;
    PartRun {
        chain: "bench".parse().expect("a name"),
        chain_id: 1,
        date: 20_000,
        range,
        parent_hash: hash,
        first_hash: hash,
        last_hash: hash,
        is_partial: false,
        files: files.collect(),
    }
}

async fn hdfs(url: &str, shell: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = url.trim_start_matches("hdfs://").split_once('/').map_or("", |(_, path)| path);
    let command = |words: &[String]| {
        let mut all = shell.split(' ').map(str::to_owned).chain(words.iter().cloned());
        let started = Instant::now();
        let mut command = std::process::Command::new(all.next().expect("a shell"));
        let quiet = std::process::Stdio::null;
        let status = command.args(all).stdout(quiet()).stderr(quiet()).status();
        assert!(status.expect("it runs").success(), "{words:?}");
        started.elapsed().as_secs_f64()
    };
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    command(&words(&["-rm", "-r", "-f", "-skipTrash", &format!("/{path}")]));
    command(&words(&["-mkdir", "-p", &format!("/{path}/put")]));
    let lake = |more: &str| {
        let config: HdfsConfig =
            toml::from_str(&format!("url = \"{url}/lake\"\nuser = \"root\"\n{more}"))
                .expect("keys");
        Hdfs::open("bench", config).expect("a sink")
    };
    let (plain, read_back) = (lake("read_back = false"), lake(""));
    read_back.check().await.expect("a cluster");
    let mut round = 0;
    for _ in 0..3 {
        let start = command(&words(&["-ls", "/"]));
        let mut seconds = Vec::new();
        for exporter in [&plain, &read_back] {
            let run = large_run(folder.path(), round);
            round += 1;
            let started = Instant::now();
            exporter.export(&run).await.expect("exported");
            seconds.push(started.elapsed().as_secs_f64());
        }
        let files = Table::ALL.map(|table| folder.path().join(table.name()).display().to_string());
        for threads in ["1", "4"] {
            let options = words(&["-put", "-f", "-t", threads]);
            let target = [format!("/{path}/put")];
            let all: Vec<String> = options.iter().chain(&files).chain(&target).cloned().collect();
            seconds.push(command(&all) - start);
        }
        let total = (LARGE * Table::ALL.len() as u64) as f64 / 1e6;
        let [ours, ours_read, one, four] = seconds[..] else { continue };
        println!(
            "hdfs: {total:.0} MB: {:.0} MB/s, read back {:.0} MB/s; -put {:.0}, with 4 threads \
             {:.0} ({start:.1} s of start taken off); to the faster -put {:.2}, read back {:.2}",
            total / ours,
            total / ours_read,
            total / one,
            total / four,
            one.min(four) / ours,
            one.min(four) / ours_read,
        );
    }
    plain.close().await;
    read_back.close().await;
}

async fn cql(node: &str, blocks: &[Arc<Block>]) {
    let batches = batches(blocks, SOURCES);
    let count: usize = batches.iter().map(|batch| batch.events.len()).sum();
    let session = SessionBuilder::new().known_node(node).build().await.expect("a server");
    let mut ratios = Vec::new();
    for round in 0..3 {
        for keyspace in ["bench_ours", "bench_bare"] {
            let drop = format!("DROP KEYSPACE IF EXISTS {keyspace}");
            session.query_unpaged(drop, ()).await.expect("dropped");
        }
        let ours = exporter(node, "bench_ours").await;
        let bare = exporter(node, "bench_bare").await;
        let rows: Vec<Vec<Piece>> = bound(&session, &bare, &batches).await;
        let total: usize = rows.iter().flatten().map(|piece| piece.1.len()).sum();
        let mut take_bare = None;
        let mut take_ours = None;
        // The order changes, so that neither has the warmer server.
        for is_bare in [round % 2 == 0, round % 2 != 0] {
            let started = Instant::now();
            if is_bare {
                for pieces in &rows {
                    send(&session, pieces).await;
                }
                take_bare = Some(started.elapsed());
            } else {
                for batch in &batches {
                    ours.export(batch).await.expect("exported");
                }
                take_ours = Some(started.elapsed());
            }
        }
        let bare = rate("CQL, bare loop, rows", total, count, take_bare.expect("measured"));
        let ours = rate("CQL, exporter, rows", total, count, take_ours.expect("measured"));
        println!("CQL: the exporter does {:.0} % of the bare loop", 100.0 * ours / bare);
        ratios.push(ours / bare);
    }
    ratios.sort_by(f64::total_cmp);
    println!("CQL: median {:.0} %", 100.0 * ratios.get(1).expect("three rounds"));
}

async fn exporter(node: &str, keyspace: &str) -> Scylla {
    let text = format!(
        "nodes = [\"{node}\"]\ndatacenter = \"datacenter1\"\nkeyspace = \"{keyspace}\"\n\
         requests = {REQUESTS}\n"
    );
    let config: ScyllaConfig = toml::from_str(&text).expect("keys");
    let exporter = Scylla::open("bench", config, &scope(SOURCES)).expect("a sink");
    exporter.check().await.expect("tables");
    exporter
}

/// Rows of one partition.
type Piece = (PreparedStatement, Vec<Bound>);

/// The rows that the exporter explains, bound for the driver, by batch and partition.
async fn bound(session: &Session, exporter: &Scylla, batches: &[Batch]) -> Vec<Vec<Piece>> {
    let mut prepared: BTreeMap<String, PreparedStatement> = BTreeMap::new();
    let mut all = Vec::new();
    for batch in batches {
        let mut pieces: Vec<(bytes_of::Key, Piece)> = Vec::new();
        for row in exporter.explain(batch) {
            let text = row["statement"].as_str().expect("a statement").to_owned();
            if !prepared.contains_key(&text) {
                let statement = session.prepare(text.as_str()).await.expect("prepared");
                prepared.insert(text.clone(), statement);
            }
            let statement = prepared.get(&text).expect("prepared");
            let specs = statement.get_variable_col_specs();
            let values = row["values"].as_object().expect("values");
            let last = [&row["timestamp"], &row["ttl"]];
            // Names of columns are in the statement's order, JSON's are not.
            let value = |(at, spec): (usize, &scylla::frame::response::result::ColumnSpec<'_>)| {
                let given = values.get(spec.name());
                let value = given.unwrap_or_else(|| last[usize::from(at + 1 == specs.len())]);
                converted(value, spec.typ())
            };
            let row: Bound = specs.iter().enumerate().map(value).collect();
            let key = bytes_of::key(&text, statement, &row);
            match pieces.last_mut() {
                Some((last, (_, rows))) if *last == key && rows.len() < ROWS_MAX => rows.push(row),
                _ => pieces.push((key, (statement.clone(), vec![row]))),
            }
        }
        all.push(pieces.into_iter().map(|(_, piece)| piece).collect());
    }
    all
}

mod bytes_of {
    //! What tells one partition from another.

    use scylla::statement::prepared::PreparedStatement;

    pub(super) type Key = (String, Vec<u8>);

    pub(super) fn key(text: &str, statement: &PreparedStatement, row: &super::Bound) -> Key {
        let key = statement.compute_partition_key(row).expect("a partition key");
        (text.to_owned(), key.to_vec())
    }
}

fn unhex(text: &Value) -> Vec<u8> {
    const_hex::decode(text.as_str().expect("hex")).expect("hex")
}

fn converted(value: &Value, kind: &ColumnType<'_>) -> MaybeUnset<CqlValue> {
    if value.is_null() {
        return MaybeUnset::Unset;
    }
    let number = || value.as_i64().expect("a number");
    let text = || value.as_str().expect("a text").to_owned();
    MaybeUnset::Set(match kind {
        ColumnType::Native(NativeType::BigInt) => CqlValue::BigInt(number()),
        ColumnType::Native(NativeType::Int) => CqlValue::Int(number() as i32),
        ColumnType::Native(NativeType::Timestamp) => CqlValue::Timestamp(CqlTimestamp(number())),
        ColumnType::Native(NativeType::Blob) => CqlValue::Blob(unhex(value)),
        ColumnType::Native(NativeType::Boolean) => {
            CqlValue::Boolean(value.as_bool().expect("a truth"))
        }
        ColumnType::Native(NativeType::Varint) => {
            let number: alloy_primitives::U256 = text().parse().expect("a number");
            let mut bytes = vec![0];
            bytes.extend_from_slice(&number.to_be_bytes::<32>());
            CqlValue::Varint(CqlVarint::from_signed_bytes_be(bytes))
        }
        ColumnType::Native(NativeType::Date) => {
            let days = headwater_storage::model::parse_date(&text()).expect("a date");
            CqlValue::Date(CqlDate((i64::from(days) + (1 << 31)) as u32))
        }
        ColumnType::Collection { .. } => {
            let items = value.as_array().expect("a list");
            CqlValue::List(items.iter().map(|item| CqlValue::Blob(unhex(item))).collect())
        }
        _ => CqlValue::Text(text()),
    })
}

async fn send(session: &Session, pieces: &[Piece]) {
    let mut waiting = pieces.iter();
    let mut flying = FuturesUnordered::new();
    loop {
        while flying.len() < REQUESTS {
            let Some((statement, rows)) = waiting.next() else { break };
            flying.push(async move {
                if let [row] = rows.as_slice() {
                    session.execute_unpaged(statement, row).await.expect("written");
                    return;
                }
                let mut batch = Statements::new(BatchType::Unlogged);
                for _ in rows {
                    batch.append_statement(statement.clone());
                }
                session.batch(&batch, rows.as_slice()).await.expect("written");
            });
        }
        if flying.next().await.is_none() {
            return;
        }
    }
}

async fn kafka(broker: &str, blocks: &[Arc<Block>]) {
    let tables = [Table::Blocks, Table::Transactions, Table::Logs];
    let batches = batches(blocks, &tables);
    let count: usize = batches.iter().map(|batch| batch.events.len()).sum();
    let rows = batches.iter().flat_map(Batch::rows).map(|row| row.json.len());
    let sizes: Vec<usize> = rows.collect();
    let (total, bytes) = (sizes.len(), sizes.iter().sum::<usize>());
    println!("Kafka: {total} records of {} bytes in the mean", bytes / total);
    for (exactly, compression) in [(false, "none"), (false, "zstd"), (true, "none")] {
        let text = format!(
            "brokers = [\"{broker}\"]\nprefix = \"bench{}-{exactly}-{compression}.\"\n\
             exactly_once = {exactly}\nsettings = {{ \"compression.type\" = \"{compression}\" }}\n",
            std::process::id()
        );
        let config: KafkaConfig = toml::from_str(&text).expect("keys");
        let exporter = Kafka::open("bench", config, &scope(&tables)).expect("a sink");
        exporter.check().await.expect("topics");
        let started = Instant::now();
        for batch in &batches {
            exporter.export(batch).await.expect("exported");
        }
        let what = format!("Kafka, exactly once {exactly}, compression {compression}, records");
        rate(&what, total, count, started.elapsed());
        exporter.close().await;
    }
}

async fn azure(endpoint: &str, blocks: &[Arc<Block>]) {
    let tables = azure_tables::SOURCES;
    let batches = batches(blocks, tables);
    let count: usize = batches.iter().map(|batch| batch.events.len()).sum();
    let run = Instant::now().elapsed().as_nanos() + u128::from(std::process::id());
    let text = format!(
        "account = \"devstoreaccount1\"\nendpoint = \"{endpoint}\"\nprefix = \"bench{run}\"\n\
         key = \"Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/\
         K1SZFPTOtr/KBHBeksoGMGw==\"\n"
    );
    let config: AzureTablesConfig = toml::from_str(&text).expect("keys");
    let exporter = AzureTables::open("bench", config, &scope(tables)).expect("a sink");
    exporter.check().await.expect("tables");
    let total: usize = batches.iter().map(|batch| exporter.explain(batch).len()).sum();
    let started = Instant::now();
    for batch in &batches {
        exporter.export(batch).await.expect("exported");
    }
    rate("Azure Tables, entities", total, count, started.elapsed());
}

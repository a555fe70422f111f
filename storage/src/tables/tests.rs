//! The tables keep every recorded block without loss, and their columns do not change by accident.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::TimestampMicrosecondType;
use serde_json::Value;

use super::*;
use crate::model::{Block, Lsn, Verified};
use crate::testing;

fn stored(block: Block) -> StoredBlock {
    let verified = Verified::HEADER.with(Verified::TRANSACTIONS);
    let origin = crate::model::Origin::default();
    StoredBlock { lsn: Lsn(7), verified, origin, block: Arc::new(block) }
}

fn through_tables(block: Block) -> Block {
    let stored = [stored(block)];
    let rows = Table::ALL.map(|table| table.rows(&stored));
    let [blocks, transactions, logs, withdrawals, traces, _, _] = rows;
    read_blocks(&blocks, &transactions, &logs, &withdrawals, &traces).unwrap().remove(0)
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn every_recorded_block_comes_back_from_the_tables_as_the_same_json() {
    let Some(data) = testing::chain_data() else { return };
    let folders = testing::block_folders(&data);
    let mut not_json_rpc = Vec::new();
    for folder in &folders {
        let block_text = testing::read_gz(&folder.join("block.json.gz")).unwrap();
        let receipts_text = testing::read_gz(&folder.join("receipts.json.gz"));
        let block = match testing::parse(&block_text, receipts_text.as_deref()) {
            Ok(block) => block,
            Err(error) => {
                not_json_rpc.push(format!("{}: {error}", folder.display()));
                continue;
            }
        };
        let again = through_tables(block.clone());
        assert_eq!(json(&again.to_json()), json(&block_text), "{}", folder.display());
        let receipts = again.receipts_to_json();
        assert_eq!(receipts.is_some(), receipts_text.is_some(), "{}", folder.display());
        if let (Some(again), Some(text)) = (receipts, receipts_text) {
            assert_eq!(json(&again), json(&text), "{}", folder.display());
        }
        assert_eq!(again, block, "{}", folder.display());
    }
    eprintln!("{} recorded blocks came back whole", folders.len() - not_json_rpc.len());
    eprintln!("not JSON-RPC, so not read: {not_json_rpc:#?}");
    // Dumps of a protobuf stream give the timestamp as a calendar date: no node answers that.
    assert!(not_json_rpc.iter().all(|line| line.contains("Z\", expected a hex string")));
    assert!(not_json_rpc.len() <= 11 && folders.len() > 800, "the recorded data are there");
}

#[test]
fn traces_come_back_from_the_table_as_they_were() {
    let mut block = testing::small_block(5, crate::model::B256::ZERO, 1);
    block.traces = testing::traces();
    assert_eq!(through_tables(block.clone()), block);
}

/// The golden block with another time, which its logs repeat.
fn timed(timestamp: u64) -> (Value, Value) {
    let text = include_str!("../codec/golden-v1.json");
    let (block, receipts) = text.split_once("\n---\n").unwrap();
    let (mut block, mut receipts) = (json(block), json(receipts));
    let quantity = Value::from(format!("{timestamp:#x}"));
    block["timestamp"] = quantity.clone();
    for receipt in receipts.as_array_mut().unwrap() {
        for log in receipt["logs"].as_array_mut().unwrap() {
            log["blockTimestamp"] = quantity.clone();
        }
    }
    (block, receipts)
}

#[test]
fn times_of_every_unit_come_back_and_the_tables_have_the_right_time() {
    let seconds = 1_763_712_345_u64;
    for (timestamp, micros) in [
        (0, 0),
        (seconds, seconds * 1_000_000),
        (seconds * 1_000 + 678, seconds * 1_000_000 + 678_000),
        (seconds * 1_000_000 + 678_901, seconds * 1_000_000 + 678_901),
        (seconds * 1_000_000_000 + 678_901_234, seconds * 1_000_000 + 678_901),
        // More than a signed column holds.
        (10_000_000_000_000_000_001, 10_000_000_000_000_000),
    ] {
        let (block_json, receipts_json) = timed(timestamp);
        let block = testing::parse(&block_json.to_string(), Some(&receipts_json.to_string()));
        let block = block.unwrap();
        assert_eq!(block.header.timestamp, timestamp, "it is in the hash as it is");
        let again = through_tables(block.clone());
        assert_eq!(again, block, "{timestamp}");
        assert_eq!(json(&again.to_json()), block_json);
        assert_eq!(json(&again.receipts_to_json().unwrap()), receipts_json);
        let mut bytes = Vec::new();
        let version = crate::codec::encode_block(&block, &mut bytes);
        assert_eq!(crate::codec::decode_block(version, &bytes.into()).unwrap(), block);
        let stored = [stored(block)];
        for table in Table::ALL.into_iter().filter(|table| *table != Table::ChainEvents) {
            let rows = table.rows(&stored);
            let times = rows.column_by_name("block_timestamp").unwrap();
            let times = times.as_primitive::<TimestampMicrosecondType>();
            assert!(times.values().iter().all(|time| *time == micros.cast_signed()), "{table:?}");
        }
        let logs: Vec<Value> = read_logs(&Table::Logs.rows(&stored))
            .unwrap()
            .iter()
            .map(|(links, log)| {
                let mut text = String::new();
                log.write_json(links, &mut text);
                json(&text)
            })
            .collect();
        let told: Vec<Value> =
            receipts_json.as_array().unwrap().iter().fold(Vec::new(), |all, receipt| {
                [all, receipt["logs"].as_array().unwrap().clone()].concat()
            });
        assert!(!told.is_empty());
        assert_eq!(logs, told, "{timestamp}: as eth_getLogs gives them from parts");
    }
}

/// What an older version logged: it took every number for seconds, and kept none beside.
#[test]
fn times_that_were_logged_as_seconds_are_right_once_they_are_read() {
    let timestamp = 1_763_712_345_678_901_234_u64;
    let (block_json, receipts_json) = timed(1);
    let parse = |block: &Value, receipts: &Value| {
        testing::parse(&block.to_string(), Some(&receipts.to_string())).unwrap()
    };
    let mut old = parse(&block_json, &receipts_json);
    old.header.timestamp = timestamp;
    let mut bytes = Vec::new();
    let version = crate::codec::encode_block(&old, &mut bytes);
    let read = crate::codec::decode_block(version, &bytes.into()).unwrap();
    let (block_json, receipts_json) = timed(timestamp);
    assert_eq!(read, parse(&block_json, &receipts_json));
    assert_eq!(through_tables(read.clone()), read);
}

/// What an older version sealed of a chain that counts milliseconds: a time in the year 57,860.
#[test]
fn times_that_were_sealed_as_seconds_come_back_as_they_are_in_the_log() {
    let timestamp = 1_763_712_345_678_u64;
    let (block_json, receipts_json) = timed(timestamp);
    let block = testing::parse(&block_json.to_string(), Some(&receipts_json.to_string())).unwrap();
    let mut old = block.clone();
    old.header.extra = None;
    old.header.set(crate::model::HeaderKey::timestamp);
    for receipt in old.receipts.iter_mut().flatten() {
        for log in receipt.logs.list_mut() {
            log.extra = None;
            log.set(crate::model::LogKey::block_timestamp);
        }
    }
    let rows = Table::ALL.map(|table| {
        let rows = table.rows(&[stored(old.clone())]);
        let place = rows.schema().index_of("block_timestamp").unwrap();
        let mut columns = rows.columns().to_vec();
        let times = vec![timestamp.cast_signed() * 1_000_000; rows.num_rows()];
        columns[place] = Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC"));
        RecordBatch::try_new(rows.schema(), columns).unwrap()
    });
    let [blocks, transactions, logs, withdrawals, traces, _, _] = rows;
    let read = read_blocks(&blocks, &transactions, &logs, &withdrawals, &traces).unwrap();
    assert_eq!(read, [block]);
}

/// Polygon's state-sync transaction before PIP-74 is a provider's word, whatever the block's marks.
#[test]
fn a_row_says_whether_it_is_in_a_root() {
    use crate::model::{Address, BlockRef, Log, Logs, Receipt, Transaction};
    let mut block = testing::small_block(16, crate::model::B256::ZERO, 1);
    let BlockRef { number, hash } = block.block_ref();
    let mut key = b"matic-bor-receipt-".to_vec();
    key.extend(number.to_be_bytes());
    key.extend(hash);
    block.transactions.push(Transaction {
        hash: alloy_primitives::keccak256(&key),
        to: Some(Address::ZERO),
        ..Transaction::default()
    });
    let receipts = block.receipts.as_mut().unwrap();
    let logs = Logs::new(vec![Log { log_index: 1, ..Log::default() }]);
    receipts.push(Receipt { logs, ..Receipt::default() });
    let stored = [stored(block)];
    for table in [Table::Transactions, Table::Logs] {
        let rows = table.rows(&stored);
        let in_root = rows.column_by_name("in_root").unwrap().as_boolean();
        let in_root: Vec<Option<bool>> = in_root.iter().collect();
        assert_eq!(in_root, [Some(true), Some(false)], "{table:?}");
    }
}

/// A change of this text is a change of what users query: raise `LAYOUT_VERSION`, tell them.
#[test]
fn the_columns_are_those_of_the_snapshot() {
    let mut found = String::new();
    for table in Table::ALL {
        writeln!(found, "{} sorted by {}", table.name(), table.sort_columns().join(", ")).unwrap();
        for field in table.schema().fields() {
            let null = if field.is_nullable() { "null" } else { "not null" };
            let finer = field.metadata().get(TYPE_KEY).map(|kind| format!(" {kind}"));
            let finer = finer.unwrap_or_default();
            writeln!(found, "  {} {} {null}{finer}", field.name(), field.data_type()).unwrap();
        }
    }
    let snapshot = concat!(env!("CARGO_MANIFEST_DIR"), "/src/tables/schema.snapshot");
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(snapshot, &found).unwrap();
    }
    assert_eq!(found, std::fs::read_to_string(snapshot).unwrap());
}

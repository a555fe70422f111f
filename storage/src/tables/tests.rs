//! The tables keep every recorded block without loss, and their columns do not change by accident.

use std::fmt::Write as _;
use std::sync::Arc;

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

//! Names come back from their text, the plan cuts at cells, dates and ends, and parts of before a
//! column was added are read and merged as those of today.

use std::path::Path;
use std::sync::Arc;

use alloy_primitives::B256;
use arrow::array::{Array, RecordBatch};

use super::writer::PartWriter;
use super::*;
use crate::disk::{Disk, SimulatedDisk};
use crate::ledger::Part;
use crate::model::{
    Block, BlockRange, BlockRef, EventHead, Lane, Lsn, Op, Origin, Verified, date_text,
};
use crate::tables::{StoredBlock, Table};
use crate::testing::small_block;

#[test]
fn a_part_s_path_comes_back_as_its_name() {
    for (date, text) in [(0, "1970-01-01"), (20_779, "2026-11-22"), (11_016, "2000-02-29")] {
        assert_eq!(date_text(date), text);
        let range = BlockRange { first: 1000, last: 1999 };
        let name = PartName { table: Table::ChainEvents, chain_id: 1, date, range };
        assert_eq!(PartName::parse(&name.path()), Some(name));
    }
    assert_eq!(PartName::parse("parts/blocks/chain_id=1/date=x/blocks-1-2.parquet"), None);
}

fn heads(numbers: impl IntoIterator<Item = u64>, block_time: u64) -> Vec<EventHead> {
    let head = |number| EventHead {
        lsn: Lsn(number + 1),
        op: Op::Applied,
        lane: Lane::Live,
        block: BlockRef { number, hash: alloy_primitives::B256::ZERO },
        parent_hash: alloy_primitives::B256::ZERO,
        timestamp: number * block_time,
        verified: Verified::default(),
        origin: crate::model::Origin::default(),
    };
    numbers.into_iter().map(head).collect()
}

fn planned(numbers: impl IntoIterator<Item = u64>, flush: bool) -> Vec<(u64, u64)> {
    // 100 s a block: the dates change after blocks 863, 1727, ...
    let plan = plan(&heads(numbers, 100), Grid { blocks: 500 }, |_| flush);
    plan.iter().map(|sealable| (sealable.range.first, sealable.range.last)).collect()
}

#[test]
fn the_plan_cuts_at_cells_dates_gaps_and_ends() {
    assert_eq!(planned(0..499, false), []);
    assert_eq!(planned(0..500, false), [(0, 499)]);
    assert_eq!(planned(3..1200, false), [(3, 499), (500, 863), (864, 999)]);
    assert_eq!(planned((3..20).chain(30..40), false), []);
    assert_eq!(planned((3..20).chain(30..40), true), [(3, 19), (30, 39)]);
    assert_eq!(planned([], true), []);
}

/// Columns that parts of layout 1 do not have.
const ADDED: [&str; 3] = ["block_access_list_hash", "slot_number", "in_root"];

/// The parts of some blocks, one per table that has rows.
fn sealed(disk: &dyn Disk, blocks: &[StoredBlock], is_old: bool) -> Vec<Part> {
    let (first, last) = (&blocks[0].block, &blocks[blocks.len() - 1].block);
    let range = BlockRange { first: first.header.number, last: last.header.number };
    let one = |table: Table| {
        let part = Part {
            path: PartName { table, chain_id: 7, date: 3, range }.path(),
            table,
            range,
            date: 3,
            rows: 0,
            file_bytes: 0,
            crc32c: 0,
            parent_hash: first.header.parent_hash,
            first_hash: first.header.hash,
            last_hash: last.header.hash,
            first_lsn: Lsn(range.first),
            last_lsn: Lsn(range.last),
        };
        let rows = table.rows(blocks);
        let schema = rows.schema();
        let is_there = |at: &usize| !(is_old && ADDED.contains(&schema.field(*at).name().as_str()));
        let columns: Vec<usize> = (0..rows.num_columns()).filter(is_there).collect();
        let mut writer = PartWriter::new(disk, Path::new("/data"), 7, part);
        writer.write(&rows.project(&columns).unwrap()).unwrap();
        writer.finish().unwrap()
    };
    Table::ALL.into_iter().filter_map(one).collect()
}

#[test]
fn parts_of_before_a_column_was_added_are_read_and_merged_with_those_of_today() {
    let disk: Arc<dyn Disk> = Arc::new(SimulatedDisk::new());
    let mut parent = B256::ZERO;
    let mut next = |number: u64| -> StoredBlock {
        let mut block: Block = small_block(number, parent, 1);
        parent = block.header.hash;
        if number == 2 {
            // As a version captured it that did not know these fields.
            let hash = B256::repeat_byte(2).to_string();
            let text = format!("{{\"blockAccessListHash\":\"{hash}\",\"slotNumber\":\"0x14\"}}");
            block.header.extra = serde_json::from_str(&text).ok();
        }
        if number >= 4 {
            block.header.block_access_list_hash = Some(B256::repeat_byte(number as u8));
            block.header.slot_number = Some(number * 10);
        }
        let (verified, origin) = (Verified::default(), Origin::default());
        StoredBlock { lsn: Lsn(number), verified, origin, block: Arc::new(block) }
    };
    let blocks: Vec<StoredBlock> = (0..8).map(&mut next).collect();
    let (old, new) = blocks.split_at(4);
    let mut parts = sealed(disk.as_ref(), old, true);
    parts.extend(sealed(disk.as_ref(), new, false));
    let reader = PartReader::new(disk.clone(), "/data".into());
    let read = |parts: &[Part], range: BlockRange| -> Vec<Block> {
        let of = |table| parts.iter().find(|p| p.table == table && p.range.contains(range.first));
        let found = reader.blocks(&of, range).unwrap();
        found.into_iter().map(|(_, block)| block).collect()
    };
    let mut told: Vec<Block> = blocks.iter().map(|stored| stored.block.as_ref().clone()).collect();
    told[2].header.block_access_list_hash = Some(B256::repeat_byte(2));
    told[2].header.slot_number = Some(20);
    assert!(told[2].header.extra.is_some());
    assert_eq!(read(&parts, BlockRange { first: 0, last: 3 }), told[..4]);
    assert_eq!(read(&parts, BlockRange { first: 1, last: 2 }), told[1..3]);

    let range = BlockRange { first: 0, last: 7 };
    let request = MergeRequest {
        data_dir: Path::new("/data"),
        chain_id: 7,
        tables: &Table::ALL,
        range,
        parts: &parts,
        reader: &reader,
    };
    let merged = merge(disk.as_ref(), &request).unwrap();
    assert_eq!(read(&merged, range), told);
    for (table, column) in [
        (Table::Blocks, "block_access_list_hash"),
        (Table::Blocks, "slot_number"),
        (Table::Transactions, "in_root"),
        (Table::Logs, "in_root"),
    ] {
        let part = merged.iter().find(|part| part.table == table).unwrap();
        let rows: RecordBatch = reader.rows(part, range, None).unwrap();
        assert_eq!(rows.schema(), table.schema());
        let nulls = rows.column_by_name(column).unwrap().logical_nulls().unwrap();
        let is_null: Vec<bool> = (0..rows.num_rows()).map(|at| nulls.is_null(at)).collect();
        assert_eq!(is_null, [[true; 4], [false; 4]].concat(), "{table:?}.{column}");
    }
}

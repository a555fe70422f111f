//! `logs`: one row per log.

use alloy_primitives::B256;
use arrow::array::RecordBatch;

use super::StoredBlock;
use super::columns::Columns;
use super::read::{ReadError, Row, extra_text};
use super::value::Time;
use crate::model::{Block, Log, LogLinks, Topics};

struct Item<'a> {
    block: &'a Block,
    at: usize,
    log: &'a Log,
}

const TOPICS: [&str; 4] = ["topic0", "topic1", "topic2", "topic3"];

pub(super) fn rows(blocks: &[StoredBlock]) -> RecordBatch {
    let items: Vec<Item<'_>> = blocks
        .iter()
        .flat_map(|stored| {
            let block = stored.block.as_ref();
            block.logs().map(move |(at, log)| Item { block, at, log })
        })
        .collect();
    let mut columns = Columns::new(items.len());
    columns.add("block_number", items.iter().map(|i| i.block.header.number));
    columns.add("block_hash", items.iter().map(|i| i.block.header.hash));
    columns.add("block_timestamp", items.iter().map(|i| Time(i.block.header.timestamp)));
    columns.add("transaction_index", items.iter().map(|i| i.at as u64));
    let hash = |i: &Item<'_>| i.block.transactions.get(i.at).map_or(B256::ZERO, |t| t.hash);
    columns.add("transaction_hash", items.iter().map(hash));
    columns.add("log_index", items.iter().map(|i| i.log.log_index));
    columns.add("address", items.iter().map(|i| i.log.address));
    for (position, name) in TOPICS.into_iter().enumerate() {
        columns.add(name, items.iter().map(|i| i.log.topics.get(position).copied()));
    }
    columns.add("data", items.iter().map(|i| &i.log.data));
    columns.add("removed", items.iter().map(|i| i.log.removed));
    columns.add("json_fields", items.iter().map(|i| u64::from(i.log.present)));
    columns.add("extra", items.iter().map(|i| extra_text(&i.log.extra)));
    columns.add("in_root", items.iter().map(|i| Some(!i.block.is_outside_roots(i.at))));
    columns.batch()
}

/// Where the log stands.
pub(super) fn links(row: &Row<'_>) -> Result<LogLinks, ReadError> {
    let time: Time = row.required("block_timestamp")?;
    Ok(LogLinks {
        transaction_hash: row.required("transaction_hash")?,
        transaction_index: row.required("transaction_index")?,
        block_hash: row.required("block_hash")?,
        block_number: row.required("block_number")?,
        block_timestamp: time.0,
    })
}

/// The log, and its transaction's position.
pub(super) fn log(row: &Row<'_>) -> Result<(usize, Log), ReadError> {
    let mut topics = Topics::new();
    for name in TOPICS {
        topics.extend(row.required::<Option<B256>>(name)?);
    }
    let mut log = Log {
        address: row.required("address")?,
        topics,
        data: row.bytes("data")?,
        log_index: row.required("log_index")?,
        removed: row.required("removed")?,
        present: row.fields("json_fields")?,
        extra: None,
    };
    row.restore("extra", &mut log)?;
    let at: u64 = row.required("transaction_index")?;
    Ok((usize::try_from(at).unwrap_or(usize::MAX), log))
}

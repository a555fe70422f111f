//! `chain_events`: one row per event of the log, in its order.

use arrow::array::RecordBatch;

use super::columns::Columns;
use super::value::Seconds;
use crate::model::EventHead;

/// The rows of `chain_events`.
pub fn rows(events: &[EventHead]) -> RecordBatch {
    let mut columns = Columns::new(events.len());
    columns.add("lsn", events.iter().map(|e| e.lsn.0));
    columns.add("op", events.iter().map(|e| e.op.as_str()));
    columns.add("lane", events.iter().map(|e| e.lane.as_str()));
    columns.add("block_number", events.iter().map(|e| e.block.number));
    columns.add("block_hash", events.iter().map(|e| e.block.hash));
    columns.add("parent_hash", events.iter().map(|e| e.parent_hash));
    columns.add("block_timestamp", events.iter().map(|e| Seconds(e.timestamp)));
    columns.add("verified", events.iter().map(|e| Some(e.verified.to_string())));
    columns.batch()
}

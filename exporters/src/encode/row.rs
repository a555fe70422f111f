//! One row of one table as a sink gets it: its identity is a pure function of the log (INV-7).

use std::fmt::Write as _;

use arrow::array::RecordBatch;
use headwater_storage::model::{Branches, ChainName, Lsn, Op, OwnedEvent};
use headwater_storage::tables::{StoredBlock, Table, event_rows};

use super::{Filter, json};

/// A row with its identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The table.
    pub table: Table,
    /// `<chain>:<lsn>:<table>:<row>`; the same row has the same id in every retry. Behind the end
    /// of a backup that was restored, or of a folder that was copied, it is
    /// `<chain>~<seconds since 1970-01-01 UTC>:...`, since another node may have used the number.
    pub event_id: String,
    /// The primary key, `:` between its columns; a reverted row has the key of the applied one.
    pub key: String,
    /// What happened to it.
    pub op: Op,
    /// The record that it comes from.
    pub lsn: Lsn,
    /// The columns as a JSON object, with `chain_id`, `op` and `lsn`.
    pub json: String,
}

/// The log that an event is in.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The chain.
    pub chain: &'a ChainName,
    /// EIP-155 id.
    pub chain_id: u64,
    /// Where it parted from those of other nodes.
    pub branches: &'a Branches,
    /// What of it goes.
    pub filter: &'a Filter,
}

/// The rows that an event means for a table: all rows of an applied or reverted block; for
/// `chain_events` the event itself.
pub fn rows_of_event(source: Source<'_>, event: &OwnedEvent, table: Table) -> Vec<Row> {
    let Source { chain, chain_id, branches, filter } = source;
    let head = event.head;
    let branch = branches.of(head.lsn).map_or(String::new(), |at| format!("~{at}"));
    let batch = match (table, &event.block) {
        (Table::ChainEvents, _) => event_rows(&[head]),
        (_, Some(block)) => table.rows(&[StoredBlock::new(&head, block.clone())]),
        (_, None) => return Vec::new(),
    };
    let row = |at| Row {
        table,
        event_id: format!("{chain}{branch}:{}:{}:{at}", head.lsn, table.name()),
        key: key(&batch, table, at),
        op: head.op,
        lsn: head.lsn,
        json: object(&batch, at, chain_id, &head),
    };
    // The number in the identity counts all rows, whatever is filtered.
    (0..batch.num_rows()).filter(|at| filter.keeps(table, &batch, *at)).map(row).collect()
}

fn key(batch: &RecordBatch, table: Table, at: usize) -> String {
    let mut key = String::new();
    for name in table.key() {
        let schema = batch.schema_ref();
        let Some((position, field)) = schema.column_with_name(name) else { continue };
        if !key.is_empty() {
            key.push(':');
        }
        let mut text = String::new();
        json::write_value(field, batch.column(position), at, &mut text);
        key.push_str(text.trim_matches('"'));
    }
    key
}

fn object(
    batch: &RecordBatch,
    at: usize,
    chain_id: u64,
    head: &headwater_storage::model::EventHead,
) -> String {
    let mut out = String::with_capacity(1024);
    json::write_row(batch, at, &mut out);
    let has = |name| batch.schema_ref().column_with_name(name).is_some();
    let _infallible = write!(out, ",\"chain_id\":{chain_id}");
    if !has("op") {
        let _infallible = write!(out, ",\"op\":\"{}\"", head.op.as_str());
    }
    if !has("lsn") {
        let _infallible = write!(out, ",\"lsn\":{}", head.lsn);
    }
    out.push('}');
    out
}

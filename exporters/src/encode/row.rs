//! Rows of one table as a sink gets them: their identity is a pure function of the log (INV-7).

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use headwater_storage::model::{Branches, ChainName, EventHead, Lsn, Op, OwnedEvent};
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

/// The rows that an event means for a table, as columns.
pub struct TableRows {
    /// The table.
    pub table: Table,
    /// The event.
    pub head: EventHead,
    /// All of its rows, with `chain_id`, `op` and `lsn`.
    pub columns: RecordBatch,
    /// Those that go.
    pub picked: Vec<Picked>,
}

/// A row that goes.
pub struct Picked {
    /// Its place among the columns.
    pub at: usize,
    /// Its identity.
    pub event_id: String,
    /// Its primary key.
    pub key: String,
}

/// The rows that an event means for a table: all rows of an applied or reverted block; for
/// `chain_events` the event itself. `None` where there is nothing of it.
pub fn rows_of_event(source: Source<'_>, event: &OwnedEvent, table: Table) -> Option<TableRows> {
    let Source { chain, chain_id, branches, filter } = source;
    let head = event.head;
    let branch = branches.of(head.lsn).map_or(String::new(), |at| format!("~{at}"));
    let columns = match (table, &event.block) {
        (Table::ChainEvents, _) => event_rows(&[head]),
        (_, Some(block)) => table.rows(&[StoredBlock::new(&head, block.clone())]),
        (_, None) => return None,
    };
    let columns = with_event(table, &columns, chain_id, &head);
    let pick = |at| Picked {
        at,
        event_id: format!("{chain}{branch}:{}:{}:{at}", head.lsn, table.name()),
        key: key(&columns, table, at),
    };
    // The number in the identity counts all rows, whatever is filtered.
    let kept = (0..columns.num_rows()).filter(|at| filter.keeps(table, &columns, *at));
    let picked = kept.map(pick).collect();
    Some(TableRows { table, head, columns, picked })
}

impl TableRows {
    /// The rows as text.
    pub fn into_rows(self) -> impl Iterator<Item = Row> {
        let TableRows { table, head, columns, picked } = self;
        picked.into_iter().map(move |Picked { at, event_id, key }| {
            let mut json = String::with_capacity(1024);
            json::write_row(&columns, at, &mut json);
            json.push('}');
            Row { table, event_id, key, op: head.op, lsn: head.lsn, json }
        })
    }
}

/// The columns that a sink gets of a table: those of the table, and of the event.
pub fn sink_schema(table: Table) -> SchemaRef {
    let mut fields: Vec<Arc<Field>> = table.schema().fields().iter().cloned().collect();
    let has = |fields: &[Arc<Field>], name: &str| fields.iter().any(|field| field.name() == name);
    for (name, kind) in
        [("chain_id", DataType::Int64), ("op", DataType::Utf8), ("lsn", DataType::Int64)]
    {
        if !has(&fields, name) {
            fields.push(Arc::new(Field::new(name, kind, false)));
        }
    }
    Arc::new(Schema::new(fields))
}

/// The rows of a table with the columns of their event.
fn with_event(table: Table, rows: &RecordBatch, chain_id: u64, head: &EventHead) -> RecordBatch {
    let (schema, count) = (sink_schema(table), rows.num_rows());
    let number = |value: u64| -> ArrayRef {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        Arc::new(Int64Array::from(vec![value; count]))
    };
    let mut arrays = rows.columns().to_vec();
    for field in schema.fields().iter().skip(arrays.len()) {
        arrays.push(match field.name().as_str() {
            "chain_id" => number(chain_id),
            "op" => Arc::new(StringArray::from(vec![head.op.as_str(); count])),
            _ => number(head.lsn.0),
        });
    }
    RecordBatch::try_new(schema.clone(), arrays).unwrap_or_else(|_| RecordBatch::new_empty(schema))
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

//! Building a batch: every column is named, typed and filled in one line.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, Schema};

use super::value::Value;

/// Version of the columns; a change of name, type or meaning raises it, and so does a new column,
/// which stands behind the others and is null in the rows of older parts. Version 2 added
/// `block_access_list_hash` and `slot_number` to `blocks`, `in_root` to `transactions` and `logs`.
pub const LAYOUT_VERSION: u32 = 2;

/// Columns so far.
pub(super) struct Columns {
    rows: usize,
    fields: Vec<Field>,
    arrays: Vec<ArrayRef>,
}

impl Columns {
    pub(super) fn new(rows: usize) -> Columns {
        Columns { rows, fields: Vec::new(), arrays: Vec::new() }
    }

    /// Adds a column.
    pub(super) fn add<V: Value>(&mut self, name: &str, values: impl ExactSizeIterator<Item = V>) {
        debug_assert_eq!(values.len(), self.rows, "one value a row");
        self.fields.push(V::field(name));
        self.arrays.push(V::array(values));
    }

    pub(super) fn batch(self) -> RecordBatch {
        let schema = Arc::new(Schema::new(self.fields));
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        RecordBatch::try_new_with_options(schema.clone(), self.arrays, &options)
            .unwrap_or_else(|_| RecordBatch::new_empty(schema))
    }
}

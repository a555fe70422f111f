//! Rows back to blocks: the proof that the tables lose nothing.

use std::collections::BTreeMap;

use alloy_primitives::{B256, Bytes};
use arrow::array::{Array, RecordBatch};

use super::value::Value;
use super::{Table, blocks, logs, traces, transactions, withdrawals};
use crate::model::{Block, Extra, Log, LogLinks, Object, restore_extra};

/// Why rows give no blocks.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A column is missing, has another type, or holds no value.
    #[error("column `{column}`, row {row}: there is no value of the expected type")]
    Column {
        /// The column.
        column: String,
        /// The row.
        row: usize,
    },
    /// The kept fields are no JSON object.
    #[error("column `{column}`, row {row}: the kept fields cannot be read")]
    Extra {
        /// The column.
        column: String,
        /// The row.
        row: usize,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A row belongs to a block that is not among the rows of `blocks`.
    #[error("a row of `{table}` belongs to block {block_hash}, which is missing")]
    Orphan {
        /// The table.
        table: &'static str,
        /// The missing block.
        block_hash: B256,
    },
}

/// The text of the kept fields.
pub(super) fn extra_text(extra: &Extra) -> Option<String> {
    extra.as_ref().map(|kept| serde_json::Value::Object((**kept).clone()).to_string())
}

/// One row of a batch.
pub(super) struct Row<'a> {
    batch: &'a RecordBatch,
    at: usize,
}

impl Row<'_> {
    pub(super) fn missing(&self, name: &str) -> ReadError {
        ReadError::Column { column: name.to_owned(), row: self.at }
    }

    fn array(&self, name: &str) -> Result<&dyn Array, ReadError> {
        let array = self.batch.column_by_name(name);
        array.map(AsRef::as_ref).ok_or_else(|| self.missing(name))
    }

    /// A value; an `Option` reads null as none.
    pub(super) fn required<V: Value>(&self, name: &str) -> Result<V, ReadError> {
        V::read(self.array(name)?, self.at).ok_or_else(|| self.missing(name))
    }

    /// A value of a column that parts from before it was added do not have.
    pub(super) fn added<V>(&self, name: &str) -> Result<Option<V>, ReadError>
    where
        Option<V>: Value,
    {
        let column = self.batch.column_by_name(name);
        column.map_or(Ok(None), |_| self.required(name))
    }

    /// A value by its own reader.
    pub(super) fn with<T>(
        &self,
        name: &str,
        read: impl FnOnce(&dyn Array, usize) -> Option<T>,
    ) -> Result<Option<T>, ReadError> {
        Ok(read(self.array(name)?, self.at))
    }

    pub(super) fn bytes(&self, name: &str) -> Result<Bytes, ReadError> {
        Ok(self.required::<Option<Bytes>>(name)?.unwrap_or_default())
    }

    pub(super) fn fields(&self, name: &str) -> Result<u32, ReadError> {
        let bits: u64 = self.required(name)?;
        u32::try_from(bits).map_err(|_| self.missing(name))
    }

    /// Kept fields as they are.
    pub(super) fn kept(&self, name: &str) -> Result<Extra, ReadError> {
        let Some(text) = self.required::<Option<String>>(name)? else { return Ok(None) };
        let kept = serde_json::from_str(&text);
        kept.map(Some).map_err(|source| ReadError::Extra {
            column: name.to_owned(),
            row: self.at,
            source,
        })
    }

    /// Gives an object its kept fields.
    pub(super) fn restore<T: Object>(&self, name: &str, object: &mut T) -> Result<(), ReadError> {
        let Some(text) = self.required::<Option<String>>(name)? else { return Ok(()) };
        restore_extra(object, &text).map_err(|source| ReadError::Extra {
            column: name.to_owned(),
            row: self.at,
            source,
        })
    }
}

pub(super) fn rows_of(batch: &RecordBatch) -> impl Iterator<Item = Row<'_>> {
    (0..batch.num_rows()).map(move |at| Row { batch, at })
}

/// Blocks from the rows of the five tables, in the order of the rows of `blocks`.
pub fn read_blocks(
    block_rows: &RecordBatch,
    transaction_rows: &RecordBatch,
    log_rows: &RecordBatch,
    withdrawal_rows: &RecordBatch,
    trace_rows: &RecordBatch,
) -> Result<Vec<Block>, ReadError> {
    let mut found = Found::default();
    for row in rows_of(block_rows) {
        found.add_block(&row)?;
    }
    for row in rows_of(transaction_rows) {
        let block = found.block(&row, Table::Transactions)?;
        block.transactions.push(transactions::transaction(&row)?);
        if let Some(receipt) = transactions::receipt(&row)? {
            block.receipts.get_or_insert_default().push(receipt);
        }
    }
    for row in rows_of(log_rows) {
        let block = found.block(&row, Table::Logs)?;
        let (at, log): (usize, Log) = logs::log(&row)?;
        let receipt = block.receipts.as_mut().and_then(|receipts| receipts.get_mut(at));
        receipt.ok_or_else(|| row.missing("transaction_index"))?.logs.list_mut().push(log);
    }
    for row in rows_of(withdrawal_rows) {
        let withdrawal = withdrawals::withdrawal(&row)?;
        let block = found.block(&row, Table::Withdrawals)?;
        block.withdrawals.get_or_insert_default().push(withdrawal);
    }
    for row in rows_of(trace_rows) {
        let trace = traces::trace(&row)?;
        found.block(&row, Table::Traces)?.traces.push(trace);
    }
    // Earlier versions kept no time beside the columns.
    found.blocks.iter_mut().for_each(Block::settle_times);
    Ok(found.blocks)
}

/// Logs from rows of `logs`, in their order, and where each stands.
pub fn read_logs(rows: &RecordBatch) -> Result<Vec<(LogLinks, Log)>, ReadError> {
    rows_of(rows).map(|row| Ok((logs::links(&row)?, logs::log(&row)?.1))).collect()
}

#[derive(Default)]
struct Found {
    blocks: Vec<Block>,
    by_hash: BTreeMap<B256, usize>,
}

impl Found {
    fn add_block(&mut self, row: &Row<'_>) -> Result<(), ReadError> {
        let header = blocks::header(row)?;
        let receipts = row.required::<Option<u64>>("receipt_count")?.map(|_| Vec::new());
        let withdrawals = row.required::<Option<u64>>("withdrawal_count")?.map(|_| Vec::new());
        self.by_hash.insert(header.hash, self.blocks.len());
        let (transactions, traces) = (Vec::new(), Vec::new());
        self.blocks.push(Block { header, transactions, receipts, withdrawals, traces });
        Ok(())
    }

    fn block(&mut self, row: &Row<'_>, table: Table) -> Result<&mut Block, ReadError> {
        let block_hash: B256 = row.required("block_hash")?;
        let at = self.by_hash.get(&block_hash).copied();
        let block = at.and_then(|at| self.blocks.get_mut(at));
        block.ok_or(ReadError::Orphan { table: table.name(), block_hash })
    }
}

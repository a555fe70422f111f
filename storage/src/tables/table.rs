//! A table by its name: key, order and columns.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, RecordBatch, new_null_array};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;

use crate::model::{Block, EventHead, Lsn, Origin, Verified};

use super::{blocks, event_rows, logs, traces, transactions, verification, withdrawals};

/// A table by its name.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Table {
    /// One row per block.
    Blocks,
    /// One row per transaction, its receipt included.
    Transactions,
    /// One row per log.
    Logs,
    /// One row per withdrawal.
    Withdrawals,
    /// One row per call, creation, self-destruct or reward, where traces are captured.
    Traces,
    /// One row per event of the log: applied, reverted, finalized.
    ChainEvents,
    /// One row per block: what was proved, by whom it was given, and when.
    Verification,
}

impl Table {
    /// All tables.
    pub const ALL: [Table; 7] = [
        Table::Blocks,
        Table::Transactions,
        Table::Logs,
        Table::Withdrawals,
        Table::Traces,
        Table::ChainEvents,
        Table::Verification,
    ];

    /// The name in SQL, folders and topics.
    pub fn name(self) -> &'static str {
        match self {
            Table::Blocks => "blocks",
            Table::Transactions => "transactions",
            Table::Logs => "logs",
            Table::Withdrawals => "withdrawals",
            Table::Traces => "traces",
            Table::ChainEvents => "chain_events",
            Table::Verification => "verification",
        }
    }

    /// The table of a name.
    pub fn from_name(name: &str) -> Option<Table> {
        Table::ALL.into_iter().find(|table| table.name() == name)
    }

    /// The columns that name a row, in order; they are the key of a topic's records.
    pub fn key(self) -> &'static [&'static str] {
        match self {
            Table::Blocks | Table::Verification => &["block_hash"],
            Table::Transactions => &["block_hash", "transaction_index"],
            Table::Logs => &["block_hash", "log_index"],
            Table::Withdrawals => &["block_hash", "withdrawal_index"],
            Table::Traces => &["block_hash", "trace_index"],
            Table::ChainEvents => &["lsn"],
        }
    }

    /// Columns whose values are looked up one by one: they get bloom filters.
    pub fn bloom_columns(self) -> &'static [&'static str] {
        match self {
            Table::Blocks => &["block_hash"],
            Table::Transactions | Table::Traces => {
                &["transaction_hash", "from_address", "to_address"]
            }
            Table::Logs => &["transaction_hash", "address"],
            Table::Withdrawals => &["address"],
            Table::ChainEvents | Table::Verification => &[],
        }
    }

    /// Columns by which the rows are sorted.
    pub fn sort_columns(self) -> &'static [&'static str] {
        match self {
            Table::Blocks | Table::Verification => &["block_number"],
            Table::Transactions => &["block_number", "transaction_index"],
            Table::Logs => &["block_number", "transaction_index", "log_index"],
            Table::Withdrawals => &["block_number", "withdrawal_index"],
            Table::Traces => &["block_number", "trace_index"],
            Table::ChainEvents => &["lsn"],
        }
    }

    /// Names and types of the columns.
    pub fn schema(self) -> SchemaRef {
        static SCHEMAS: LazyLock<Vec<SchemaRef>> = LazyLock::new(|| {
            Table::ALL
                .into_iter()
                .map(|table| match table {
                    Table::ChainEvents => event_rows(&[]).schema(),
                    Table::Blocks
                    | Table::Transactions
                    | Table::Logs
                    | Table::Withdrawals
                    | Table::Traces
                    | Table::Verification => table.rows(&[]).schema(),
                })
                .collect()
        });
        let schema = SCHEMAS.get(self as usize).cloned();
        schema.unwrap_or_else(|| Arc::new(Schema::empty()))
    }

    /// The rows of blocks, in the order of the blocks; none for `chain_events`.
    pub fn rows(self, blocks: &[StoredBlock]) -> RecordBatch {
        match self {
            Table::Blocks => blocks::rows(blocks),
            Table::Transactions => transactions::rows(blocks),
            Table::Logs => logs::rows(blocks),
            Table::Withdrawals => withdrawals::rows(blocks),
            Table::Traces => traces::rows(blocks),
            Table::ChainEvents => event_rows(&[]),
            Table::Verification => verification::rows(blocks),
        }
    }
}

impl Table {
    /// Rows of a part with the columns of today: what was added after the part was written is null.
    pub fn complete(self, rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let schema = self.schema();
        if rows.schema_ref().fields() == schema.fields() {
            return Ok(rows.clone());
        }
        let column = |name: &str, kind| -> ArrayRef {
            let there = rows.column_by_name(name).cloned();
            there.unwrap_or_else(|| new_null_array(kind, rows.num_rows()))
        };
        let fields = schema.fields().iter();
        let columns = fields.map(|field| column(field.name(), field.data_type())).collect();
        RecordBatch::try_new(schema, columns)
    }
}

/// A block as it stands in the log.
#[derive(Clone, Debug)]
pub struct StoredBlock {
    /// Its record.
    pub lsn: Lsn,
    /// What was proved.
    pub verified: Verified,
    /// By whom it was given, and when it was proved.
    pub origin: Origin,
    /// The block.
    pub block: Arc<Block>,
}

impl StoredBlock {
    /// A block under the event that it is told with.
    pub fn new(head: &EventHead, block: Arc<Block>) -> StoredBlock {
        let EventHead { lsn, verified, origin, .. } = *head;
        StoredBlock { lsn, verified, origin, block }
    }
}

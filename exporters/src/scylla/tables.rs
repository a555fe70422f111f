//! The tables at the sink: one for each question.

use headwater_storage::model::Op;
use headwater_storage::tables::Table;

/// Blocks whose numbers share a partition of the tables by number.
pub(super) const BUCKET_BLOCKS: i64 = 10_000;

/// A table at the sink.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) name: &'static str,
    /// Where its rows come from.
    pub(super) source: Table,
    /// Events whose rows go.
    pub(super) ops: &'static [Op],
    pub(super) partition: &'static [&'static str],
    /// In order; `true`: the greatest first.
    pub(super) clustering: &'static [(&'static str, bool)],
    pub(super) others: Others,
    /// Columns of the source that are an `address`; a row goes for each that is another one.
    pub(super) addresses: &'static [&'static str],
    /// Rows of blocks that were taken back expire. Not those that several blocks share.
    pub(super) expires: bool,
}

/// Columns beside the key.
#[derive(Debug)]
pub(super) enum Others {
    /// All of the source.
    All,
    /// These.
    Some(&'static [&'static str]),
}

const CHANGES: &[Op] = &[Op::Applied, Op::Reverted];
const PARTIES: &[&str] = &["from_address", "to_address", "receipt_contract_address"];

/// The tables that can go to this sink.
pub const SOURCES: &[Table] =
    &[Table::Blocks, Table::Transactions, Table::Logs, Table::Withdrawals, Table::ChainEvents];

pub(super) const TARGETS: &[Target] = &[
    Target {
        name: "canonical",
        source: Table::ChainEvents,
        ops: CHANGES,
        partition: &["chain_id", "bucket"],
        clustering: &[("block_number", true)],
        others: Others::Some(&["block_hash", "op", "parent_hash", "block_timestamp", "lsn"]),
        addresses: &[],
        expires: false,
    },
    Target {
        name: "finalized",
        source: Table::ChainEvents,
        ops: &[Op::Finalized],
        partition: &["chain_id"],
        clustering: &[],
        others: Others::Some(&["block_number", "block_hash", "block_timestamp", "lsn"]),
        addresses: &[],
        expires: false,
    },
    Target {
        name: "blocks_by_number",
        source: Table::Blocks,
        ops: CHANGES,
        partition: &["chain_id", "bucket"],
        clustering: &[("block_number", true), ("block_hash", false)],
        others: Others::All,
        addresses: &[],
        expires: true,
    },
    Target {
        name: "block_by_hash",
        source: Table::Blocks,
        ops: CHANGES,
        partition: &["chain_id", "block_hash"],
        clustering: &[],
        others: Others::All,
        addresses: &[],
        expires: true,
    },
    Target {
        name: "transaction_by_hash",
        source: Table::Transactions,
        ops: CHANGES,
        partition: &["chain_id", "transaction_hash"],
        clustering: &[("block_hash", false)],
        others: Others::All,
        addresses: &[],
        expires: true,
    },
    Target {
        name: "transactions_by_block",
        source: Table::Transactions,
        ops: CHANGES,
        partition: &["chain_id", "block_hash"],
        clustering: &[("transaction_index", false)],
        others: Others::Some(&["block_number", "transaction_hash"]),
        addresses: &[],
        expires: true,
    },
    Target {
        name: "transactions_by_address",
        source: Table::Transactions,
        ops: CHANGES,
        partition: &["chain_id", "address", "date"],
        clustering: &[("block_number", true), ("transaction_index", true), ("block_hash", false)],
        others: Others::Some(&[
            "transaction_hash",
            "block_timestamp",
            "kind",
            "from_address",
            "to_address",
            "receipt_contract_address",
            "value",
            "receipt_status",
            "in_root",
        ]),
        addresses: PARTIES,
        expires: true,
    },
    Target {
        name: "transaction_dates_by_address",
        source: Table::Transactions,
        ops: CHANGES,
        partition: &["chain_id", "address"],
        clustering: &[("date", true)],
        others: Others::Some(&[]),
        addresses: PARTIES,
        expires: false,
    },
    Target {
        name: "logs_by_address",
        source: Table::Logs,
        ops: CHANGES,
        partition: &["chain_id", "address", "date"],
        clustering: &[
            ("topic0", false),
            ("block_number", true),
            ("log_index", true),
            ("block_hash", false),
        ],
        others: Others::Some(&[
            "topic1",
            "topic2",
            "topic3",
            "data",
            "transaction_hash",
            "transaction_index",
            "block_timestamp",
            "in_root",
        ]),
        addresses: &["address"],
        expires: true,
    },
    Target {
        name: "log_dates_by_address",
        source: Table::Logs,
        ops: CHANGES,
        partition: &["chain_id", "address"],
        clustering: &[("date", true)],
        others: Others::Some(&[]),
        addresses: &["address"],
        expires: false,
    },
    Target {
        name: "withdrawals_by_address",
        source: Table::Withdrawals,
        ops: CHANGES,
        partition: &["chain_id", "address", "date"],
        clustering: &[("block_number", true), ("withdrawal_index", true), ("block_hash", false)],
        others: Others::Some(&["validator_index", "amount", "block_timestamp"]),
        addresses: &["address"],
        expires: true,
    },
];

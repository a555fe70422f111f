//! The tables at the sink, and in which partition a row is.

use headwater_storage::model::Op;
use headwater_storage::tables::Table;

use crate::BatchSize;

use super::encode::Cells;

/// The tables that can go to this sink.
pub const SOURCES: &[Table] = &[Table::Blocks, Table::Transactions, Table::ChainEvents];

/// A request takes 100 entities of one partition, and tables by hash have 256 partitions: batches
/// of the usual size would fill a few places of each (decision 0024).
pub const BATCH_SIZE: BatchSize = BatchSize { records: 256, bytes: 4 << 20 };

/// A table at the sink.
pub(super) struct Target {
    /// Behind the prefix.
    pub(super) name: &'static str,
    /// Where its rows come from.
    pub(super) source: Table,
    /// Events whose rows go.
    pub(super) ops: &'static [Op],
    /// Partition and row keys of a row: one, or one for each of its addresses, or none.
    pub(super) keys: fn(&Cells<'_>) -> Vec<(String, String)>,
    /// Columns; `None`: all of the source.
    pub(super) columns: Option<&'static [&'static str]>,
}

const CHANGES: &[Op] = &[Op::Applied, Op::Reverted];
/// Which keys rows have: another number is another layout of the same tables.
pub(super) const LAYOUT: u64 = 2;
/// The name of the table of cursors.
pub(super) const CURSORS: &str = "Cursors";

pub(super) const TARGETS: &[Target] = &[
    Target {
        name: "Canonical",
        source: Table::ChainEvents,
        ops: CHANGES,
        keys: |row| {
            let (chain, number) = (row.number("chain_id"), row.number("block_number"));
            vec![(format!("{chain}-{:010}", number / 10_000), format!("{number:016}"))]
        },
        columns: Some(&[
            "block_number",
            "block_hash",
            "op",
            "parent_hash",
            "block_timestamp",
            "lsn",
        ]),
    },
    Target {
        name: "Finalized",
        source: Table::ChainEvents,
        ops: &[Op::Finalized],
        keys: |row| vec![(row.number("chain_id").to_string(), "finalized".to_owned())],
        columns: Some(&["block_number", "block_hash", "block_timestamp", "lsn"]),
    },
    Target {
        name: "Blocks",
        source: Table::Blocks,
        ops: CHANGES,
        keys: |row| {
            let (chain, number) = (row.number("chain_id"), row.number("block_number"));
            let hash = row.hex("block_hash").unwrap_or_default();
            vec![(format!("{chain}-{:010}", number / 1_000), format!("{number:016}-{hash}"))]
        },
        columns: None,
    },
    Target {
        name: "BlocksByHash",
        source: Table::Blocks,
        ops: CHANGES,
        keys: |row| by_first_byte(row, "block_hash", false),
        columns: Some(&["block_number", "block_timestamp"]),
    },
    Target {
        name: "Transactions",
        source: Table::Transactions,
        ops: CHANGES,
        keys: |row| {
            let (chain, number) = (row.number("chain_id"), row.number("block_number"));
            let hash = row.hex("block_hash").unwrap_or_default();
            let index = row.number("transaction_index");
            let rest = format!("{number:016}-{hash}-{index:06}");
            vec![(format!("{chain}-{:012}", number / 10), rest)]
        },
        columns: None,
    },
    Target {
        name: "TransactionsByHash",
        source: Table::Transactions,
        ops: CHANGES,
        keys: |row| by_first_byte(row, "transaction_hash", true),
        columns: Some(&["block_number", "block_hash", "transaction_index"]),
    },
    Target {
        name: "TransactionsByAddress",
        source: Table::Transactions,
        ops: CHANGES,
        keys: by_address,
        columns: Some(&[
            "block_number",
            "block_hash",
            "block_timestamp",
            "transaction_index",
            "transaction_hash",
            "kind",
            "from_address",
            "to_address",
            "receipt_contract_address",
            "value",
            "receipt_status",
            "in_root",
        ]),
    },
    Target {
        name: "Contracts",
        source: Table::Transactions,
        ops: CHANGES,
        keys: |row| by_first_byte(row, "receipt_contract_address", true),
        columns: Some(&[
            "block_number",
            "block_hash",
            "block_timestamp",
            "transaction_hash",
            "from_address",
            "receipt_contract_address",
            "receipt_status",
        ]),
    },
];

/// 256 partitions by the first byte of a hash or address: entities of one go together, and none of
/// them has to take everything.
fn partition_of(row: &Cells<'_>, key: &str) -> String {
    format!("{}-{}", row.number("chain_id"), key.get(2..4).unwrap_or_default())
}

fn by_first_byte(row: &Cells<'_>, column: &str, is_in_many: bool) -> Vec<(String, String)> {
    let Some(hash) = row.hex(column) else { return Vec::new() };
    let block = row.hex("block_hash").filter(|_| is_in_many);
    let rest = block.map_or_else(|| hash.clone(), |block| format!("{hash}-{block}"));
    vec![(partition_of(row, &hash), rest)]
}

/// Numbers from the top down, so that an address's newest come first.
fn by_address(row: &Cells<'_>) -> Vec<(String, String)> {
    let hash = row.hex("block_hash").unwrap_or_default();
    let number = 9_999_999_999_999_999 - row.number("block_number");
    let index = 999_999 - row.number("transaction_index");
    let parties = ["from_address", "to_address", "receipt_contract_address"];
    let mut addresses: Vec<String> = parties.iter().filter_map(|name| row.hex(name)).collect();
    addresses.sort_unstable();
    addresses.dedup();
    let key = |address: String| {
        (partition_of(row, &address), format!("{address}-{number:016}-{index:06}-{hash}"))
    };
    addresses.into_iter().map(key).collect()
}

/// The tables that are filled from those that are wanted; `Canonical` decides, so it always is.
pub(super) fn targets(tables: &[Table]) -> Vec<&'static Target> {
    let is_wanted = |source| source == Table::ChainEvents || tables.contains(&source);
    TARGETS.iter().filter(|target| is_wanted(target.source)).collect()
}

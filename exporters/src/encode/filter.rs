//! Which rows a sink wants, by contract and topic.

use std::collections::BTreeSet;

use arrow::array::{Array, AsArray, RecordBatch};
use headwater_storage::model::{Address, B256};
use headwater_storage::tables::Table;

/// Contracts and topics; what is empty lets everything through. Other tables than `logs`,
/// `transactions` and `traces` are not filtered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Logs of these contracts; transactions and calls from or to them, or that made them.
    pub addresses: BTreeSet<Address>,
    /// Logs whose first topic is one of these.
    pub topics: BTreeSet<B256>,
}

impl Filter {
    /// Whether a row of a table goes.
    pub fn keeps(&self, table: Table, rows: &RecordBatch, at: usize) -> bool {
        let addresses: &[&str] = match table {
            Table::Logs => &["address"],
            Table::Traces => &["from_address", "to_address"],
            Table::Transactions => &["from_address", "to_address", "receipt_contract_address"],
            Table::Blocks | Table::Withdrawals | Table::ChainEvents | Table::Verification => {
                return true;
            }
        };
        let has_address = self.addresses.is_empty()
            || addresses.iter().any(|column| {
                let address = value(rows, column, at).and_then(|v| Address::try_from(v).ok());
                address.is_some_and(|address| self.addresses.contains(&address))
            });
        let has_topic = self.topics.is_empty() || table != Table::Logs || {
            let topic = value(rows, "topic0", at).and_then(|value| B256::try_from(value).ok());
            topic.is_some_and(|topic| self.topics.contains(&topic))
        };
        has_address && has_topic
    }
}

fn value<'a>(rows: &'a RecordBatch, column: &str, at: usize) -> Option<&'a [u8]> {
    let array = rows.column_by_name(column)?.as_fixed_size_binary_opt()?;
    array.is_valid(at).then(|| array.value(at))
}

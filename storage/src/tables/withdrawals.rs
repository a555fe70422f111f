//! `withdrawals`: one row per validator withdrawal.

use arrow::array::RecordBatch;

use super::StoredBlock;
use super::columns::Columns;
use super::read::{ReadError, Row, extra_text};
use super::value::Time;
use crate::model::{Block, Withdrawal};

pub(super) fn rows(blocks: &[StoredBlock]) -> RecordBatch {
    let items: Vec<(&Block, &Withdrawal)> = blocks
        .iter()
        .flat_map(|stored| {
            let block = stored.block.as_ref();
            block.withdrawals.iter().flatten().map(move |withdrawal| (block, withdrawal))
        })
        .collect();
    let mut columns = Columns::new(items.len());
    columns.add("block_number", items.iter().map(|(b, _)| b.header.number));
    columns.add("block_hash", items.iter().map(|(b, _)| b.header.hash));
    columns.add("block_timestamp", items.iter().map(|(b, _)| Time(b.header.timestamp)));
    columns.add("withdrawal_index", items.iter().map(|(_, w)| w.index));
    columns.add("validator_index", items.iter().map(|(_, w)| w.validator_index));
    columns.add("address", items.iter().map(|(_, w)| w.address));
    columns.add("amount", items.iter().map(|(_, w)| w.amount));
    columns.add("json_fields", items.iter().map(|(_, w)| u64::from(w.present)));
    columns.add("extra", items.iter().map(|(_, w)| extra_text(&w.extra)));
    columns.batch()
}

pub(super) fn withdrawal(row: &Row<'_>) -> Result<Withdrawal, ReadError> {
    let mut withdrawal = Withdrawal {
        index: row.required("withdrawal_index")?,
        validator_index: row.required("validator_index")?,
        address: row.required("address")?,
        amount: row.required("amount")?,
        present: row.fields("json_fields")?,
        extra: None,
    };
    row.restore("extra", &mut withdrawal)?;
    Ok(withdrawal)
}

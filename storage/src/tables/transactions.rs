//! `transactions`: one row per transaction with its receipt.

use arrow::array::RecordBatch;

use super::StoredBlock;
use super::columns::Columns;
use super::read::{ReadError, Row, extra_text};
use super::value::{Time, read_access_list, read_authorizations, read_hashes};
use crate::model::{Block, Receipt, Transaction};

struct Item<'a> {
    block: &'a Block,
    at: usize,
    transaction: &'a Transaction,
    receipt: Option<&'a Receipt>,
}

pub(super) fn rows(blocks: &[StoredBlock]) -> RecordBatch {
    let items: Vec<Item<'_>> = blocks
        .iter()
        .flat_map(|stored| {
            let block = stored.block.as_ref();
            block.transactions.iter().enumerate().map(move |(at, transaction)| {
                let receipt = block.receipt(at);
                Item { block, at, transaction, receipt }
            })
        })
        .collect();
    let mut columns = Columns::new(items.len());
    place(&mut columns, &items);
    body(&mut columns, &items);
    receipts(&mut columns, &items);
    let transactions = || items.iter().map(|item| item.transaction);
    columns.add("json_fields", transactions().map(|t| u64::from(t.present)));
    columns.add("extra", transactions().map(|t| extra_text(&t.extra)));
    let receipt = |item: &Item<'_>| item.receipt.map(|r| u64::from(r.present));
    columns.add("receipt_json_fields", items.iter().map(receipt));
    columns.add("receipt_extra", items.iter().map(|i| extra_text(&i.receipt?.extra)));
    columns.add("in_root", items.iter().map(|i| Some(!i.block.is_outside_roots(i.at))));
    columns.batch()
}

fn place(columns: &mut Columns, items: &[Item<'_>]) {
    columns.add("block_number", items.iter().map(|i| i.block.header.number));
    columns.add("block_hash", items.iter().map(|i| i.block.header.hash));
    columns.add("block_timestamp", items.iter().map(|i| Time(i.block.header.timestamp)));
    columns.add("transaction_index", items.iter().map(|i| i.at as u64));
    columns.add("transaction_hash", items.iter().map(|i| i.transaction.hash));
}

fn body(columns: &mut Columns, items: &[Item<'_>]) {
    let each = || items.iter().map(|item| item.transaction);
    columns.add("transaction_type", each().map(|t| t.transaction_type));
    columns.add("kind", each().map(|t| t.kind().as_str()));
    columns.add("from_address", each().map(|t| t.from));
    columns.add("to_address", each().map(|t| t.to));
    columns.add("value", each().map(|t| t.value));
    columns.add("nonce", each().map(|t| t.nonce));
    columns.add("gas", each().map(|t| t.gas));
    columns.add("gas_price", each().map(|t| t.gas_price));
    columns.add("max_fee_per_gas", each().map(|t| t.max_fee_per_gas));
    columns.add("max_priority_fee_per_gas", each().map(|t| t.max_priority_fee_per_gas));
    columns.add("max_fee_per_blob_gas", each().map(|t| t.max_fee_per_blob_gas));
    columns.add("input", each().map(|t| &t.input));
    columns.add("signature_chain_id", each().map(|t| t.chain_id));
    columns.add("v", each().map(|t| t.v));
    columns.add("y_parity", each().map(|t| t.y_parity));
    columns.add("r", each().map(|t| t.r));
    columns.add("s", each().map(|t| t.s));
    columns.add("access_list", each().map(|t| t.access_list.as_ref()));
    columns.add("blob_versioned_hashes", each().map(|t| t.blob_versioned_hashes.as_ref()));
    columns.add("authorization_list", each().map(|t| t.authorization_list.as_ref()));
}

fn receipts(columns: &mut Columns, items: &[Item<'_>]) {
    let each = || items.iter().map(|item| item.receipt);
    columns.add("receipt_status", each().map(|r| r?.status));
    columns.add("receipt_gas_used", each().map(|r| Some(r?.gas_used)));
    columns.add("receipt_cumulative_gas_used", each().map(|r| Some(r?.cumulative_gas_used)));
    columns.add("receipt_effective_gas_price", each().map(|r| r?.effective_gas_price));
    columns.add("receipt_contract_address", each().map(|r| r?.contract_address));
    columns.add("receipt_root", each().map(|r| r?.root));
    columns.add("receipt_blob_gas_used", each().map(|r| r?.blob_gas_used));
    columns.add("receipt_blob_gas_price", each().map(|r| r?.blob_gas_price));
    columns.add("receipt_logs_bloom", each().map(|r| Some(r?.logs_bloom.clone())));
}

pub(super) fn transaction(row: &Row<'_>) -> Result<Transaction, ReadError> {
    let mut transaction = Transaction {
        hash: row.required("transaction_hash")?,
        transaction_type: row.required("transaction_type")?,
        nonce: row.required("nonce")?,
        from: row.required("from_address")?,
        to: row.required("to_address")?,
        value: row.required("value")?,
        gas: row.required("gas")?,
        gas_price: row.required("gas_price")?,
        max_fee_per_gas: row.required("max_fee_per_gas")?,
        max_priority_fee_per_gas: row.required("max_priority_fee_per_gas")?,
        max_fee_per_blob_gas: row.required("max_fee_per_blob_gas")?,
        input: row.bytes("input")?,
        chain_id: row.required("signature_chain_id")?,
        v: row.required("v")?,
        y_parity: row.required("y_parity")?,
        r: row.required("r")?,
        s: row.required("s")?,
        access_list: row.with("access_list", read_access_list)?,
        blob_versioned_hashes: row.with("blob_versioned_hashes", read_hashes)?,
        authorization_list: row.with("authorization_list", read_authorizations)?,
        present: row.fields("json_fields")?,
        extra: None,
    };
    row.restore("extra", &mut transaction)?;
    Ok(transaction)
}

/// The receipt without its logs, where one was stored.
pub(super) fn receipt(row: &Row<'_>) -> Result<Option<Receipt>, ReadError> {
    let Some(present) = row.required::<Option<u64>>("receipt_json_fields")? else {
        return Ok(None);
    };
    let mut receipt = Receipt {
        cumulative_gas_used: row.required("receipt_cumulative_gas_used")?,
        gas_used: row.required("receipt_gas_used")?,
        contract_address: row.required("receipt_contract_address")?,
        logs: crate::model::Receipt::default().logs,
        logs_bloom: row.bytes("receipt_logs_bloom")?,
        status: row.required("receipt_status")?,
        root: row.required("receipt_root")?,
        effective_gas_price: row.required("receipt_effective_gas_price")?,
        blob_gas_used: row.required("receipt_blob_gas_used")?,
        blob_gas_price: row.required("receipt_blob_gas_price")?,
        present: u32::try_from(present).unwrap_or_default(),
        extra: None,
    };
    row.restore("receipt_extra", &mut receipt)?;
    Ok(Some(receipt))
}

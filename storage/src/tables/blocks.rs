//! `blocks`: one row per block.

use arrow::array::RecordBatch;

use super::StoredBlock;
use super::columns::Columns;
use super::read::{ReadError, Row};
use super::value::{Time, read_hashes};
use crate::model::{Header, Verified};

/// `Some(true)` when proved; a block of which a proof failed is never stored.
fn proved(stored: &StoredBlock, proof: Verified) -> Option<bool> {
    stored.verified.has(proof).then_some(true)
}

pub(super) fn rows(blocks: &[StoredBlock]) -> RecordBatch {
    let mut columns = Columns::new(blocks.len());
    let headers = || blocks.iter().map(|stored| &stored.block.header);
    columns.add("block_number", headers().map(|h| h.number));
    columns.add("block_hash", headers().map(|h| h.hash));
    columns.add("parent_hash", headers().map(|h| h.parent_hash));
    columns.add("block_timestamp", headers().map(|h| Time(h.timestamp)));
    columns.add("miner", headers().map(|h| h.miner));
    columns.add("gas_limit", headers().map(|h| h.gas_limit));
    columns.add("gas_used", headers().map(|h| h.gas_used));
    columns.add("base_fee_per_gas", headers().map(|h| h.base_fee_per_gas));
    let count = |len: usize| len as u64;
    columns.add("transaction_count", blocks.iter().map(|b| count(b.block.transactions.len())));
    let receipts = |b: &StoredBlock| b.block.receipts.as_ref().map(|list| count(list.len()));
    columns.add("receipt_count", blocks.iter().map(receipts));
    let withdrawals = |b: &StoredBlock| b.block.withdrawals.as_ref().map(|list| count(list.len()));
    columns.add("withdrawal_count", blocks.iter().map(withdrawals));
    columns.add("size", headers().map(|h| h.size));
    columns.add("extra_data", headers().map(|h| &h.extra_data));
    columns.add("logs_bloom", headers().map(|h| &h.logs_bloom));
    columns.add("transactions_root", headers().map(|h| h.transactions_root));
    columns.add("state_root", headers().map(|h| h.state_root));
    columns.add("receipts_root", headers().map(|h| h.receipts_root));
    columns.add("withdrawals_root", headers().map(|h| h.withdrawals_root));
    columns.add("requests_hash", headers().map(|h| h.requests_hash));
    columns.add("parent_beacon_block_root", headers().map(|h| h.parent_beacon_block_root));
    columns.add("blob_gas_used", headers().map(|h| h.blob_gas_used));
    columns.add("excess_blob_gas", headers().map(|h| h.excess_blob_gas));
    columns.add("difficulty", headers().map(|h| h.difficulty));
    columns.add("total_difficulty", headers().map(|h| h.total_difficulty));
    columns.add("mix_hash", headers().map(|h| h.mix_hash));
    columns.add("nonce", headers().map(|h| h.nonce));
    columns.add("sha3_uncles", headers().map(|h| h.sha3_uncles));
    columns.add("uncles", headers().map(|h| Some(&h.uncles)));
    columns.add("verified_header", blocks.iter().map(|b| proved(b, Verified::HEADER)));
    columns.add("verified_parent", blocks.iter().map(|b| proved(b, Verified::PARENT)));
    columns.add("verified_transactions", blocks.iter().map(|b| proved(b, Verified::TRANSACTIONS)));
    columns.add("verified_receipts", blocks.iter().map(|b| proved(b, Verified::RECEIPTS)));
    columns.add("verified_withdrawals", blocks.iter().map(|b| proved(b, Verified::WITHDRAWALS)));
    columns.add("lsn", blocks.iter().map(|b| b.lsn.0));
    columns.add("json_fields", headers().map(|h| u64::from(h.present)));
    columns.add("extra", headers().map(|h| super::read::extra_text(&h.extra)));
    columns.add("block_access_list_hash", headers().map(|h| h.block_access_list_hash));
    columns.add("slot_number", headers().map(|h| h.slot_number));
    columns.batch()
}

pub(super) fn header(row: &Row<'_>) -> Result<Header, ReadError> {
    let mut header = Header {
        hash: row.required("block_hash")?,
        parent_hash: row.required("parent_hash")?,
        sha3_uncles: row.required("sha3_uncles")?,
        miner: row.required("miner")?,
        state_root: row.required("state_root")?,
        transactions_root: row.required("transactions_root")?,
        receipts_root: row.required("receipts_root")?,
        logs_bloom: row.bytes("logs_bloom")?,
        difficulty: row.required("difficulty")?,
        number: row.required("block_number")?,
        gas_limit: row.required("gas_limit")?,
        gas_used: row.required("gas_used")?,
        timestamp: row.required::<Time>("block_timestamp")?.0,
        extra_data: row.bytes("extra_data")?,
        mix_hash: row.required("mix_hash")?,
        nonce: row.required("nonce")?,
        base_fee_per_gas: row.required("base_fee_per_gas")?,
        withdrawals_root: row.required("withdrawals_root")?,
        blob_gas_used: row.required("blob_gas_used")?,
        excess_blob_gas: row.required("excess_blob_gas")?,
        parent_beacon_block_root: row.required("parent_beacon_block_root")?,
        requests_hash: row.required("requests_hash")?,
        total_difficulty: row.required("total_difficulty")?,
        size: row.required("size")?,
        uncles: row.with("uncles", read_hashes)?.unwrap_or_default(),
        block_access_list_hash: row.added("block_access_list_hash")?,
        slot_number: row.added("slot_number")?,
        present: row.fields("json_fields")?,
        extra: None,
    };
    row.restore("extra", &mut header)?;
    Ok(header)
}

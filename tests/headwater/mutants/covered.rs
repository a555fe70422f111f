//! What the marks of a block cover, written down a second time: all else is set to one value, so
//! that two blocks are equal where what is covered is.

use headwater_storage::model::{
    Address, Block, Header, Receipt, Transaction, Verified, Withdrawal,
};
use serde_json::Value;

/// Ethereum's own types of transactions.
const ETHEREUM_MAX: u64 = 4;
const DEPOSIT: u64 = 0x7e;
const INTERNAL: u64 = 0x6a;
const FEE_CURRENCY: u64 = 0x7b;

/// Leaves what the marks cover.
pub(super) fn covered(block: &mut Block, marks: Verified) {
    let last = block.transactions.len().checked_sub(1);
    let outside = last.filter(|last| block.is_outside_roots(*last));
    let is_arbitrum = block.transactions.first().is_some_and(|t| t.transaction_type == INTERNAL);
    let kinds: Vec<Transaction> = block.transactions.clone();
    for (position, receipt) in block.receipts.iter_mut().flatten().enumerate() {
        let transaction = &kinds[position];
        let is_told = outside == Some(position) || !marks.has(Verified::RECEIPTS);
        if is_told {
            *receipt = Receipt::default();
        } else {
            of_receipt(receipt, transaction, marks, is_arbitrum);
        }
    }
    for (position, transaction) in block.transactions.iter_mut().enumerate() {
        let is_told = outside == Some(position) || !marks.has(Verified::TRANSACTIONS);
        if is_told {
            *transaction = Transaction::default();
        } else {
            of_transaction(transaction, marks, is_arbitrum);
        }
    }
    of_header(&mut block.header, marks);
    let withdrawals = block.withdrawals.take().unwrap_or_default();
    if marks.has(Verified::WITHDRAWALS) {
        let plain = |withdrawal| Withdrawal { present: 0, extra: None, ..withdrawal };
        block.withdrawals = Some(withdrawals.into_iter().map(plain).collect());
    }
}

/// The fields in `extra` that a rule names.
fn keep_extra(extra: &mut headwater_storage::model::Extra, names: &[&str]) {
    if let Some(map) = extra {
        map.retain(|name, _| names.contains(&name.as_str()));
        // Forms of the same value.
        for value in map.values_mut() {
            let text = value.to_string().trim_matches('"').to_lowercase().replace("true", "1");
            let number = match text.strip_prefix("0x") {
                Some(digits) => u128::from_str_radix(digits, 16).ok(),
                None => text.parse().ok(),
            };
            *value = Value::from(number.map_or(text, |number| number.to_string()));
        }
        if map.is_empty() {
            *extra = None;
        }
    }
}

fn of_header(header: &mut Header, marks: Verified) {
    if !marks.has(Verified::HEADER) {
        *header = Header::default();
        return;
    }
    header.present = 0;
    header.extra = None;
    header.total_difficulty = None;
    header.size = None;
    header.uncles.clear();
}

fn of_transaction(transaction: &mut Transaction, marks: Verified, is_arbitrum: bool) {
    let kind = transaction.transaction_type;
    transaction.present = 0;
    if kind > ETHEREUM_MAX && kind != FEE_CURRENCY {
        of_system(transaction);
        return;
    }
    // Celo's: as type 2, with a token.
    let names: &[&str] = if kind == FEE_CURRENCY { &["feeCurrency"] } else { &[] };
    keep_extra(&mut transaction.extra, names);
    if kind == FEE_CURRENCY {
        transaction.gas_price = None;
    }
    if !marks.has(Verified::SENDERS) {
        transaction.from = Address::ZERO;
    }
    if kind == 0 {
        transaction.chain_id = None;
        transaction.y_parity = None;
    } else {
        let parity = transaction.y_parity.or(transaction.v).map(|v| v % 27 % 2);
        transaction.y_parity = parity;
        transaction.v = None;
        transaction.access_list.get_or_insert_default();
    }
    if kind >= 2 && (is_arbitrum || !marks.has(Verified::HEADER)) {
        transaction.gas_price = None;
    }
    if kind >= 2 {
        transaction.max_fee_per_gas.get_or_insert_default();
        transaction.max_priority_fee_per_gas.get_or_insert_default();
    }
    if kind == 3 {
        transaction.blob_versioned_hashes.get_or_insert_default();
        transaction.max_fee_per_blob_gas.get_or_insert_default();
    }
    if kind == 4 {
        transaction.authorization_list.get_or_insert_default();
    }
    let has_no_price = kind < 2 && transaction.gas_price == Some(0);
    if has_no_price {
        transaction.gas_price = None;
    }
    if transaction.chain_id == Some(0) {
        transaction.chain_id = None;
    }
}

/// A transaction that the chain makes.
fn of_system(transaction: &mut Transaction) {
    (transaction.v, transaction.y_parity, transaction.gas_price) = (None, None, None);
    if transaction.transaction_type != DEPOSIT {
        transaction.extra = None;
        return;
    }
    transaction.chain_id = None;
    transaction.nonce = 0;
    // Absent, null and zero are one.
    let is_zero = |value: &Value| {
        value.is_null() || *value == "0x0" || *value == "0x" || *value == false || *value == 0
    };
    if let Some(map) = &mut transaction.extra {
        map.retain(|_, value| !is_zero(value));
    }
    keep_extra(&mut transaction.extra, &["mint", "sourceHash", "isSystemTx"]);
}

fn of_receipt(
    receipt: &mut Receipt,
    transaction: &Transaction,
    marks: Verified,
    is_arbitrum: bool,
) {
    let kind = transaction.transaction_type;
    receipt.present = 0;
    let is_ethereum = kind <= ETHEREUM_MAX && marks.has(Verified::TRANSACTIONS);
    let is_priced = is_ethereum && !is_arbitrum && marks.has(Verified::HEADER);
    if !is_priced {
        receipt.effective_gas_price = None;
    }
    if !is_ethereum || kind != 3 {
        receipt.blob_gas_used = None;
    }
    receipt.blob_gas_price = None;
    if !is_ethereum || !marks.has(Verified::SENDERS) || receipt.status == Some(0) {
        receipt.contract_address = None;
    }
    if kind == DEPOSIT {
        let is_there = |name: &str| {
            let value = receipt.extra.as_ref().and_then(|map| map.get(name));
            value.is_some_and(|value| value.is_string() || value.is_u64())
        };
        let has_version = is_there("depositReceiptVersion") && is_there("depositNonce");
        let names: &[&str] = &["depositNonce", "depositReceiptVersion"];
        keep_extra(&mut receipt.extra, if has_version { names } else { &[] });
    } else {
        let names: &[&str] = if kind == FEE_CURRENCY { &["baseFee"] } else { &[] };
        keep_extra(&mut receipt.extra, names);
    }
    for log in receipt.logs.list_mut() {
        log.present = 0;
        log.extra = None;
        log.removed = None;
    }
}

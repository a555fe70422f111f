//! Fields that no root covers and that follow from what is proved: where an answer says otherwise,
//! they are put right.
//!
//! | field | follows from |
//! |---|---|
//! | `logIndex` | counting the block's logs |
//! | receipt `gasUsed` | the difference of `cumulativeGasUsed` |
//! | `effectiveGasPrice`, `gasPrice` of EIP-1559 | the fees that are signed, and the base fee |
//! | receipt `contractAddress` | Keccak-256 of sender and nonce |
//! | receipt `blobGasUsed` | the number of blobs (EIP-4844) |
//! | receipt `logsBloom`, where it is missing | the logs |
//! | `v`, `yParity`, `chainId` | each other, as far as they were signed |
//! | fields of another type of transactions | there are none |
//! | log `removed` | a receipt's log is there |
//!
//! As told, and covered by no mark: `totalDifficulty`, `size`, `uncles` (but whether there are
//! any), `blockTimestamp` of transactions and logs, `blobGasPrice`, `from` without
//! `verify = "senders"` (and so `contractAddress`), fields that rollups add (`l1Fee` ...), and
//! everything in `extra` that no rule of the chain names.

use alloy_primitives::Address;
use headwater_storage::model::{Block, Receipt, ReceiptKey, Transaction, Verified};

use super::receipt::bloom_of;
use super::rules::kind;
use super::transaction::parity;

/// Gas of a blob (EIP-4844).
const BLOB_GAS: u64 = 131_072;

/// Which fields were put right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mended(u32);

impl Mended {
    const NAMES: [&'static str; 11] = [
        "logIndex",
        "gasUsed",
        "effectiveGasPrice",
        "contractAddress",
        "gasPrice",
        "v",
        "yParity",
        "chainId",
        "blobGasUsed",
        "removed",
        "fields of another type",
    ];

    fn add(&mut self, name: &str) {
        if let Some(at) = Self::NAMES.iter().position(|known| *known == name) {
            self.0 |= 1 << at;
        }
    }

    /// Sets a field to what it must be; whether it had another value is remembered.
    fn set<T: PartialEq>(&mut self, name: &str, field: &mut T, value: T) {
        if *field != value {
            *field = value;
            self.add(name);
        }
    }

    /// Sets a field to what it must be; that it was missing is no fault.
    fn fill<T: PartialEq>(&mut self, name: &str, field: &mut Option<T>, value: T) {
        if field.as_ref().is_some_and(|field| *field != value) {
            self.add(name);
        }
        *field = Some(value);
    }

    /// Clears a field that cannot be there.
    fn clear<T>(&mut self, name: &str, field: &mut Option<T>) {
        if field.take().is_some() {
            self.add(name);
        }
    }

    /// The names of the fields.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let named = Self::NAMES.into_iter().enumerate();
        named.filter(move |(at, _)| self.0 & (1 << at) != 0).map(|(_, name)| name)
    }

    /// Whether nothing was put right.
    pub fn is_none(self) -> bool {
        self.0 == 0
    }
}

/// Filters that were left out follow from the logs; the root proves them.
pub(super) fn fill_blooms(block: &mut Block) {
    for receipt in block.receipts.iter_mut().flatten() {
        if receipt.logs_bloom.is_empty() && !receipt.has(ReceiptKey::logs_bloom) {
            receipt.logs_bloom = bloom_of(receipt).to_vec().into();
        }
    }
}

/// Puts right what follows from what is proved.
pub(super) fn mend(block: &mut Block, verified: Verified) -> Mended {
    let mut mended = Mended::default();
    count_logs(block, &mut mended);
    if verified.has(Verified::TRANSACTIONS) {
        mend_transactions(block, verified, &mut mended);
    }
    if verified.has(Verified::RECEIPTS) {
        mend_receipts(block, verified, &mut mended);
    }
    mended
}

/// The position of a log in its block is counted, over receipts outside of the roots too.
fn count_logs(block: &mut Block, mended: &mut Mended) {
    let receipts = block.receipts.iter_mut().flatten();
    let logs = receipts.flat_map(|receipt| receipt.logs.list_mut().iter_mut());
    for (at, log) in logs.enumerate() {
        mended.set("logIndex", &mut log.log_index, at as u64);
        if log.removed == Some(true) {
            mended.set("removed", &mut log.removed, Some(false));
        }
    }
}

fn mend_transactions(block: &mut Block, verified: Verified, mended: &mut Mended) {
    let fees = Fees::of(block, verified);
    let outside = outside_roots(block);
    for (position, transaction) in block.transactions.iter_mut().enumerate() {
        if transaction.transaction_type > kind::ETHEREUM_MAX || outside == Some(position) {
            continue;
        }
        mend_signature(transaction, mended);
        drop_foreign_fields(transaction, mended);
        if transaction.transaction_type > 1
            && let Some(price) = fees.price_of(transaction)
        {
            mended.fill("gasPrice", &mut transaction.gas_price, price);
        }
    }
}

/// A block has at most one transaction outside of the roots, the last.
fn outside_roots(block: &Block) -> Option<usize> {
    block.transactions.len().checked_sub(1).filter(|last| block.is_outside_roots(*last))
}

/// `v`, `yParity` and `chainId` repeat each other.
fn mend_signature(transaction: &mut Transaction, mended: &mut Mended) {
    let signed = parity(transaction);
    if transaction.transaction_type == 0 {
        // EIP-155: the chain is in `v`; before it, in nothing.
        let chain = transaction.v.filter(|v| *v >= 35).map(|v| (v - 35) / 2);
        if transaction.chain_id.is_some() && transaction.chain_id != chain {
            mended.set("chainId", &mut transaction.chain_id, chain);
        }
        if transaction.y_parity.is_some() {
            let parity = transaction.v.map(|v| if v >= 35 { (v - 35) % 2 } else { v % 27 });
            mended.set("yParity", &mut transaction.y_parity, parity);
        }
    } else {
        for (name, field) in [("v", &mut transaction.v), ("yParity", &mut transaction.y_parity)] {
            if field.is_some() {
                mended.set(name, field, Some(signed));
            }
        }
    }
}

/// A transaction has no fields of a later type.
fn drop_foreign_fields(transaction: &mut Transaction, mended: &mut Mended) {
    let name = "fields of another type";
    let kind = transaction.transaction_type;
    if kind < 1 {
        mended.clear(name, &mut transaction.access_list);
    }
    if kind < 2 {
        mended.clear(name, &mut transaction.max_fee_per_gas);
        mended.clear(name, &mut transaction.max_priority_fee_per_gas);
    }
    if kind != 3 {
        mended.clear(name, &mut transaction.max_fee_per_blob_gas);
        mended.clear(name, &mut transaction.blob_versioned_hashes);
    }
    if kind != 4 {
        mended.clear(name, &mut transaction.authorization_list);
    }
}

/// How gas is paid for in a block.
struct Fees {
    base: Option<u128>,
    /// Arbitrum takes the base fee alone, whatever is offered.
    is_arbitrum: bool,
}

impl Fees {
    fn of(block: &Block, verified: Verified) -> Fees {
        let first = block.transactions.first().map(|first| first.transaction_type);
        Fees {
            base: block.header.base_fee_per_gas.filter(|_| verified.has(Verified::HEADER)),
            is_arbitrum: first == Some(kind::ARBITRUM_INTERNAL),
        }
    }

    /// Wei per gas that a transaction of one of Ethereum's types pays (EIP-1559).
    fn price_of(&self, transaction: &Transaction) -> Option<u128> {
        if self.is_arbitrum || transaction.transaction_type > kind::ETHEREUM_MAX {
            return None;
        }
        if transaction.transaction_type < 2 {
            return transaction.gas_price;
        }
        let most = transaction.max_fee_per_gas.unwrap_or_default();
        let tip = transaction.max_priority_fee_per_gas.unwrap_or_default();
        Some(most.min(self.base?.saturating_add(tip)))
    }
}

fn mend_receipts(block: &mut Block, verified: Verified, mended: &mut Mended) {
    let fees = Fees::of(block, verified);
    let outside = outside_roots(block);
    let has_transactions = verified.has(Verified::TRANSACTIONS);
    let mut before = 0_u64;
    let pairs = block.transactions.iter().zip(block.receipts.iter_mut().flatten());
    for (position, (transaction, receipt)) in pairs.enumerate() {
        if outside == Some(position) {
            continue;
        }
        if let Some(used) = receipt.cumulative_gas_used.checked_sub(before) {
            mended.set("gasUsed", &mut receipt.gas_used, used);
        }
        before = receipt.cumulative_gas_used;
        if !has_transactions || transaction.transaction_type > kind::ETHEREUM_MAX {
            continue;
        }
        if let Some(price) = fees.price_of(transaction) {
            mended.fill("effectiveGasPrice", &mut receipt.effective_gas_price, price);
        }
        if let Some(blobs) = &transaction.blob_versioned_hashes {
            let used = BLOB_GAS.saturating_mul(blobs.len() as u64);
            mended.fill("blobGasUsed", &mut receipt.blob_gas_used, used);
        }
        mend_contract(transaction, receipt, mended);
    }
}

/// The address of a contract follows from who made it and how many transactions it had sent; a
/// deployment that failed made none, though some clients name it.
fn mend_contract(transaction: &Transaction, receipt: &mut Receipt, mended: &mut Mended) {
    let address: Option<Address> =
        transaction.to.is_none().then(|| transaction.from.create(transaction.nonce));
    let has_failed = receipt.status == Some(0);
    if has_failed && receipt.contract_address.is_none() {
        return;
    }
    match address {
        Some(address) => mended.fill("contractAddress", &mut receipt.contract_address, address),
        None => mended.clear("contractAddress", &mut receipt.contract_address),
    }
}

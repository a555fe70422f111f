//! Fields that no root covers and that follow from what is proved: where an answer says otherwise,
//! they are put right.
//!
//! | field | follows from |
//! |---|---|
//! | `logIndex` | counting the block's logs |
//! | receipt `gasUsed` | the difference of `cumulativeGasUsed` |
//! | `effectiveGasPrice`, `gasPrice` of EIP-1559 | the fees that are signed, and the base fee |
//! | receipt `contractAddress` | Keccak-256 of sender and nonce |
//! | receipt `blobGasUsed` of a blob transaction | the number of blobs (EIP-4844) |
//! | receipt `logsBloom`, where it is missing | the logs |
//! | `v`, `yParity`, `chainId` | each other, as far as they were signed |
//! | fields of another type of transactions | there are none |
//! | signature and price of a deposit | there are none |
//! | all but data and chain of Arbitrum's type 0x6a | they are the same in every one |
//! | log `removed` | a receipt's log is there |
//!
//! As told, and covered by no mark: `totalDifficulty`, `size`, `uncles` (but whether there are
//! any), `blockTimestamp` of transactions and logs, `blobGasPrice`, `from` without
//! `verify = "senders"` (and so `contractAddress`), fields that rollups add (`l1Fee` ...), and
//! everything in `extra` that no rule of the chain names.

use alloy_primitives::{Address, U256, address};
use headwater_storage::model::{
    Block, LogKey, Receipt, ReceiptKey, Transaction, TransactionKey, Verified,
};

use super::receipt::bloom_of;
use super::rules::kind;
use super::transaction::parity;

/// Who starts Arbitrum's blocks (`ArbosAddress`, OffchainLabs/go-ethereum `core/types`).
const ARBITRUM_SYSTEM: Address = address!("00000000000000000000000000000000000a4b05");
/// Gas of a blob (EIP-4844).
const BLOB_GAS: u64 = 131_072;

/// Which fields were put right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mended(u32);

impl Mended {
    const NAMES: [&'static str; 17] = [
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
        "from",
        "to",
        "value",
        "gas",
        "nonce",
        "r and s",
    ];

    fn add(&mut self, name: &str) {
        if let Some(at) = Self::NAMES.iter().position(|known| *known == name) {
            self.0 |= 1 << at;
        }
    }

    /// Sets a field to what it must be; whether it had another value is remembered, and told, so
    /// that the original of that value is forgotten too.
    #[must_use]
    fn set<T: PartialEq>(&mut self, name: &str, field: &mut T, value: T) -> bool {
        let is_other = *field != value;
        if is_other {
            *field = value;
            self.add(name);
        }
        is_other
    }

    /// Sets a field to what it must be; that it was missing is no fault.
    #[must_use]
    fn fill<T: PartialEq>(&mut self, name: &str, field: &mut Option<T>, value: T) -> bool {
        if field.as_ref() == Some(&value) {
            return false;
        }
        if field.replace(value).is_some() {
            self.add(name);
        }
        true
    }

    /// Clears a field that cannot be there.
    #[must_use]
    fn clear<T>(&mut self, name: &str, field: &mut Option<T>) -> bool {
        let was_there = field.take().is_some();
        if was_there {
            self.add(name);
        }
        was_there
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
            receipt.derived(ReceiptKey::logs_bloom);
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
        if mended.set("logIndex", &mut log.log_index, at as u64) | log.lacks(LogKey::log_index) {
            log.derived(LogKey::log_index);
        }
        if log.removed == Some(true) && mended.set("removed", &mut log.removed, Some(false)) {
            log.corrected(LogKey::removed);
        }
    }
}

fn mend_transactions(block: &mut Block, verified: Verified, mended: &mut Mended) {
    let fees = Fees::of(block, verified);
    let outside = outside_roots(block);
    for (position, transaction) in block.transactions.iter_mut().enumerate() {
        if outside == Some(position) {
            continue;
        }
        match transaction.transaction_type {
            0..=kind::ETHEREUM_MAX | kind::CELO_FEE_CURRENCY => {
                mend_signature(transaction, mended);
            }
            kind::ARBITRUM_INTERNAL => mend_internal(transaction, mended),
            kind::DEPOSIT => mend_unsigned(transaction, mended),
            _ => continue,
        }
        drop_foreign_fields(transaction, mended);
        if transaction.transaction_type > 1
            && let Some(price) = fees.price_of(transaction)
            && mended.fill("gasPrice", &mut transaction.gas_price, price)
        {
            transaction.derived(TransactionKey::gas_price);
        }
    }
}

/// A block has at most one transaction outside of the roots, the last.
fn outside_roots(block: &Block) -> Option<usize> {
    block.transactions.len().checked_sub(1).filter(|last| block.is_outside_roots(*last))
}

/// Sets fields of a transaction to what they must be.
macro_rules! mend_fields {
    ($mended:ident, $transaction:ident, $( $field:ident = $value:expr, $name:literal; )*) => { $(
        if $mended.set($name, &mut $transaction.$field, $value) {
            $transaction.derived(TransactionKey::$field);
        }
    )* };
}

/// `v`, `yParity` and `chainId` repeat each other.
fn mend_signature(transaction: &mut Transaction, mended: &mut Mended) {
    let signed = parity(transaction);
    let (v, has_parity) = (transaction.v, transaction.y_parity.is_some());
    if transaction.transaction_type == 0 {
        // EIP-155: the chain is in `v`; before it, in nothing.
        let chain = v.filter(|v| *v >= 35).map(|v| (v - 35) / 2);
        if transaction.chain_id.is_some() {
            mend_fields!(mended, transaction, chain_id = chain, "chainId";);
        }
        if has_parity {
            let parity = v.map(|v| if v >= 35 { (v - 35) % 2 } else { v % 27 });
            mend_fields!(mended, transaction, y_parity = parity, "yParity";);
        }
        return;
    }
    if v.is_some() {
        mend_fields!(mended, transaction, v = Some(signed), "v";);
    }
    if has_parity {
        mend_fields!(mended, transaction, y_parity = Some(signed), "yParity";);
    }
}

/// Arbitrum starts a block with a call of its own, by the system's account to itself: the hash
/// covers the chain and the data, and all else is the same in every one.
fn mend_internal(transaction: &mut Transaction, mended: &mut Mended) {
    mend_unsigned(transaction, mended);
    mend_fields!(mended, transaction,
        from = ARBITRUM_SYSTEM, "from";
        to = Some(ARBITRUM_SYSTEM), "to";
        value = U256::ZERO, "value";
        gas = 0, "gas";
        nonce = 0, "nonce";
    );
}

/// Who makes a transaction by the chain's rules pays no gas and signs nothing.
fn mend_unsigned(transaction: &mut Transaction, mended: &mut Mended) {
    mend_fields!(mended, transaction, r = U256::ZERO, "r and s"; s = U256::ZERO, "r and s";);
    if transaction.v.is_some() {
        mend_fields!(mended, transaction, v = Some(0), "v";);
    }
    if transaction.y_parity.is_some() {
        mend_fields!(mended, transaction, y_parity = Some(0), "yParity";);
    }
    if transaction.gas_price.is_some() {
        mend_fields!(mended, transaction, gas_price = Some(0), "gasPrice";);
    }
}

/// A transaction has no fields of another type.
fn drop_foreign_fields(transaction: &mut Transaction, mended: &mut Mended) {
    let kind = transaction.transaction_type;
    let has_access_list = matches!(kind, 1..=4 | kind::CELO_FEE_CURRENCY);
    let has_dynamic_fee = matches!(kind, 2..=4 | kind::CELO_FEE_CURRENCY);
    macro_rules! clear_unless {
        ($($belongs:expr => $field:ident,)*) => { $(
            if !$belongs && mended.clear("fields of another type", &mut transaction.$field) {
                transaction.corrected(TransactionKey::$field);
            }
        )* };
    }
    clear_unless! {
        has_access_list => access_list,
        has_dynamic_fee => max_fee_per_gas,
        has_dynamic_fee => max_priority_fee_per_gas,
        kind == 3 => max_fee_per_blob_gas,
        kind == 3 => blob_versioned_hashes,
        kind == 4 => authorization_list,
    }
}

/// How gas is paid for in a block.
struct Fees {
    /// A chain whose headers are not Ethereum's may have its own rules here too: Kaia takes the
    /// base fee from legacy transactions, Polygon zkEVM a part of the price.
    is_known: bool,
    base: Option<u128>,
    /// Arbitrum takes the base fee alone, whatever is offered.
    is_arbitrum: bool,
}

impl Fees {
    fn of(block: &Block, verified: Verified) -> Fees {
        let first = block.transactions.first().map(|first| first.transaction_type);
        Fees {
            is_known: verified.has(Verified::HEADER),
            base: block.header.base_fee_per_gas,
            is_arbitrum: first == Some(kind::ARBITRUM_INTERNAL),
        }
    }

    /// Wei per gas that a transaction of one of Ethereum's types pays (EIP-1559).
    fn price_of(&self, transaction: &Transaction) -> Option<u128> {
        let is_other = self.is_arbitrum || transaction.transaction_type > kind::ETHEREUM_MAX;
        if is_other || !self.is_known {
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
        if let Some(used) = receipt.cumulative_gas_used.checked_sub(before)
            && mended.set("gasUsed", &mut receipt.gas_used, used)
                | receipt.lacks(ReceiptKey::gas_used)
        {
            receipt.derived(ReceiptKey::gas_used);
        }
        before = receipt.cumulative_gas_used;
        if !has_transactions || transaction.transaction_type > kind::ETHEREUM_MAX {
            continue;
        }
        if let Some(price) = fees.price_of(transaction)
            && mended.fill("effectiveGasPrice", &mut receipt.effective_gas_price, price)
        {
            receipt.derived(ReceiptKey::effective_gas_price);
        }
        if let Some(blobs) = &transaction.blob_versioned_hashes {
            let used = BLOB_GAS.saturating_mul(blobs.len() as u64);
            if mended.fill("blobGasUsed", &mut receipt.blob_gas_used, used) {
                receipt.derived(ReceiptKey::blob_gas_used);
            }
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
        Some(address) => {
            if mended.fill("contractAddress", &mut receipt.contract_address, address) {
                receipt.derived(ReceiptKey::contract_address);
            }
        }
        None => {
            if mended.clear("contractAddress", &mut receipt.contract_address) {
                receipt.corrected(ReceiptKey::contract_address);
            }
        }
    }
}

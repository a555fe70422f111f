//! What of a block a proof is about.

use std::fmt;

/// What of a block a proof is about: what does not come out is told by it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Aspect {
    /// The header's hash.
    Header,
    /// The header's hash, in blocks with a field that this program does not know.
    HeaderField(String),
    /// The transactions' root.
    Transactions,
    /// Hashes of transactions of a type, and so the root of blocks that have one.
    TransactionType(u64),
    /// Transactions of a known type, of providers that leave out what their hashes are made of.
    TransactionFields(u64),
    /// The receipts' root.
    Receipts,
    /// Receipts of transactions of a type, and so the root of blocks that have one.
    ReceiptType(u64),
    /// Receipts from before Byzantium that have a status in place of the state root.
    OldReceipts,
    /// The withdrawals' root.
    Withdrawals,
    /// The withdrawals, of providers that leave the list out.
    WithdrawalsList,
}

impl fmt::Display for Aspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Aspect::Header => f.write_str("header"),
            Aspect::HeaderField(name) => write!(f, "header field {name}"),
            Aspect::Transactions => f.write_str("transactions"),
            Aspect::TransactionType(kind) => write!(f, "transactions of type {kind:#x}"),
            Aspect::TransactionFields(kind) => {
                write!(f, "fields of transactions of type {kind:#x} that are left out")
            }
            Aspect::Receipts => f.write_str("receipts"),
            Aspect::ReceiptType(kind) => write!(f, "receipts of type {kind:#x}"),
            Aspect::OldReceipts => f.write_str("receipts with a status before Byzantium"),
            Aspect::Withdrawals => f.write_str("withdrawals"),
            Aspect::WithdrawalsList => f.write_str("withdrawals that are left out"),
        }
    }
}

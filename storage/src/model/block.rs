//! A block with its transactions, receipts, logs and withdrawals, without loss.

use std::collections::HashMap;

use alloy_primitives::{Address, B256};
use serde::de::{Deserializer, MapAccess, Visitor};

use super::json::{JsonField, write_list};
use super::object::{Linked, Object, keep, write_key};
use super::{
    BlockRef, ClaimedTrace, Header, HeaderLinks, LogLinks, Receipt, ReceiptLinks, Trace,
    Transaction, TransactionLinks, Withdrawal, WithdrawalLinks,
};

/// A block as a provider gave it, receipts included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Block {
    /// The header and what JSON-RPC puts beside it.
    pub header: Header,
    /// Transactions in order.
    pub transactions: Vec<Transaction>,
    /// Receipts in the same order, where known.
    pub receipts: Option<Vec<Receipt>>,
    /// Withdrawals in order; none before Shanghai.
    pub withdrawals: Option<Vec<Withdrawal>>,
    /// Traces in order; none where they were not asked for.
    pub traces: Vec<Trace>,
}

/// Why a block and its receipts do not fit together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// A field that only repeats where the object stands says something else.
    #[error("{object} {position} of block {block} stands elsewhere by its `{field}`")]
    Elsewhere {
        /// `transaction`, `receipt`, `log` or `trace`.
        object: &'static str,
        /// Position in the block, for a log the receipt's.
        position: usize,
        /// The block.
        block: BlockRef,
        /// The field that differs.
        field: &'static str,
    },
    /// There must be one receipt per transaction.
    #[error("block {block} has {transactions} transactions but {receipts} receipts")]
    Count {
        /// The block.
        block: BlockRef,
        /// Transactions.
        transactions: usize,
        /// Receipts.
        receipts: usize,
    },
}

/// `eth_getBlockBy...` as read: the block without receipts, and the links that it claims.
#[derive(Debug, Default)]
pub struct BlockParts {
    header: Header,
    transactions: Vec<Linked<Transaction>>,
    withdrawals: Option<Vec<Withdrawal>>,
}

impl BlockParts {
    /// The block that this is a part of.
    pub fn block_ref(&self) -> BlockRef {
        BlockRef { number: self.header.number, hash: self.header.hash }
    }

    /// Joins the receipts to the block after comparing every link.
    pub fn join(self, receipts: Option<Vec<Linked<Receipt>>>) -> Result<Block, LinkError> {
        let block_ref = self.block_ref();
        let mut block = Block {
            header: self.header,
            transactions: Vec::with_capacity(self.transactions.len()),
            receipts: None,
            withdrawals: self.withdrawals,
            traces: Vec::new(),
        };
        block.settle_times();
        for (position, mut transaction) in self.transactions.into_iter().enumerate() {
            let expected = block.transaction_links(position);
            if transaction.value.is_state_sync(block_ref) {
                transaction.value.keep_differing(&transaction.links, &expected);
                block.transactions.push(transaction.value);
                continue;
            }
            let told = TransactionLinks {
                block_timestamp: transaction.links.block_timestamp,
                ..expected.clone()
            };
            let differing = transaction.value.differing(&transaction.links, &told);
            transaction.value.keep_differing(&told, &expected);
            if let Some(field) = differing {
                let object = "transaction";
                return Err(LinkError::Elsewhere { object, position, block: block_ref, field });
            }
            block.transactions.push(transaction.value);
        }
        if let Some(receipts) = receipts {
            block.add_receipts(receipts)?;
        }
        Ok(block)
    }
}

impl Block {
    /// Number and hash.
    pub fn block_ref(&self) -> BlockRef {
        BlockRef { number: self.header.number, hash: self.header.hash }
    }

    /// Whether a transaction and its receipt are in no root of the header, so that no proof of the
    /// block covers them: Polygon's state-sync transactions.
    pub fn is_outside_roots(&self, position: usize) -> bool {
        let block = self.block_ref();
        self.transactions.get(position).is_some_and(|transaction| transaction.is_state_sync(block))
    }

    /// Takes receipts in, after comparing every link.
    pub fn add_receipts(&mut self, receipts: Vec<Linked<Receipt>>) -> Result<(), LinkError> {
        if receipts.len() != self.transactions.len() {
            let (transactions, receipts) = (self.transactions.len(), receipts.len());
            return Err(LinkError::Count { block: self.block_ref(), transactions, receipts });
        }
        let receipts = self.in_order(receipts);
        let mut list = Vec::with_capacity(receipts.len());
        for (position, receipt) in receipts.into_iter().enumerate() {
            list.push(self.settle(position, receipt)?);
        }
        self.receipts = Some(list);
        self.settle_times();
        Ok(())
    }

    /// Receipts in the order of their transactions: some providers give them in another.
    fn in_order(&self, mut receipts: Vec<Linked<Receipt>>) -> Vec<Linked<Receipt>> {
        let is_of = |(transaction, receipt): (&Transaction, &Linked<Receipt>)| {
            let hash = receipt.links.transaction_hash;
            hash.is_zero() || hash == transaction.hash
        };
        if self.transactions.iter().zip(&receipts).all(is_of) {
            return receipts;
        }
        let places = self.transactions.iter().enumerate().map(|(at, of)| (of.hash, at));
        let places: HashMap<B256, usize> = places.collect();
        receipts.sort_by_key(|receipt| places.get(&receipt.links.transaction_hash).copied());
        receipts
    }

    /// Takes traces in, after comparing where each says that it stands.
    pub fn add_traces(&mut self, traces: Vec<ClaimedTrace>) -> Result<(), LinkError> {
        let mut list = Vec::with_capacity(traces.len());
        for (position, claimed) in traces.into_iter().enumerate() {
            let at = claimed.trace.transaction_index.map(usize::try_from);
            let of = at.and_then(|at| self.transactions.get(at.ok()?)).map(|of| of.hash);
            let elsewhere = |field| {
                let (object, block) = ("trace", self.block_ref());
                Err(LinkError::Elsewhere { object, position, block, field })
            };
            if claimed.block_hash.is_some_and(|hash| hash != self.header.hash) {
                return elsewhere("blockHash");
            }
            if claimed.trace.transaction_index.is_some() != of.is_some() {
                return elsewhere("transactionPosition");
            }
            if claimed.transaction_hash.is_some_and(|hash| of != Some(hash)) {
                return elsewhere("transactionHash");
            }
            list.push(claimed.trace);
        }
        self.traces = list;
        Ok(())
    }

    /// The receipt of a transaction, where known.
    pub fn receipt(&self, position: usize) -> Option<&Receipt> {
        self.receipts.as_ref()?.get(position)
    }

    /// All logs in order with their transaction's position.
    pub fn logs(&self) -> impl Iterator<Item = (usize, &super::Log)> {
        let receipts = self.receipts.iter().flatten().enumerate();
        receipts.flat_map(|(at, receipt)| receipt.logs.iter().map(move |log| (at, log)))
    }

    fn settle(&self, position: usize, mut read: Linked<Receipt>) -> Result<Receipt, LinkError> {
        let expected = self.receipt_links(position);
        let block = self.block_ref();
        let is_deployment = expected.to.is_none();
        if is_deployment && read.links.to.is_some_and(|to| is_no_recipient(to, &read.value)) {
            read.links.to = None;
        }
        if self.is_outside_roots(position) {
            read.value.keep_differing(&read.links, &expected);
        } else if let Some(field) = read.value.differing(&read.links, &expected) {
            return Err(LinkError::Elsewhere { object: "receipt", position, block, field });
        }
        let expected = self.log_links(position);
        match read.value.logs.settle(&expected) {
            None => Ok(read.value),
            Some((_, field)) => Err(LinkError::Elsewhere { object: "log", position, block, field }),
        }
    }

    fn transaction_links(&self, position: usize) -> TransactionLinks {
        TransactionLinks {
            block_hash: self.header.hash,
            block_number: self.header.number,
            transaction_index: position as u64,
            block_timestamp: self.header.timestamp,
        }
    }

    fn receipt_links(&self, position: usize) -> ReceiptLinks {
        let transaction = self.transactions.get(position);
        ReceiptLinks {
            transaction_hash: transaction.map(|t| t.hash).unwrap_or_default(),
            transaction_index: position as u64,
            block_hash: self.header.hash,
            block_number: self.header.number,
            from: transaction.map(|t| t.from).unwrap_or_default(),
            to: transaction.and_then(|t| t.to),
            transaction_type: transaction.map(|t| t.transaction_type).unwrap_or_default(),
        }
    }

    /// The block as `eth_getBlockByNumber(n, true)` gives it.
    pub fn to_json(&self) -> String {
        let mut out = String::with_capacity(1024 + self.transactions.len() * 1024);
        let positions: Vec<usize> = (0..self.transactions.len()).collect();
        self.write_json(&mut out, |out| {
            write_list(&positions, out, |at, out| self.write_transaction(*at, out));
        });
        out
    }

    /// The block as `eth_getBlockByNumber(n, false)` gives it: transactions by hash.
    pub fn to_json_with_hashes(&self) -> String {
        let mut out = String::with_capacity(2048 + self.transactions.len() * 72);
        let hashes: Vec<B256> = self.transactions.iter().map(|t| t.hash).collect();
        self.write_json(&mut out, |out| hashes.write(out));
        out
    }

    /// The header as `eth_subscribe("newHeads")` gives it.
    pub fn header_to_json(&self) -> String {
        let mut out = String::with_capacity(2048);
        out.push('{');
        self.header.write_entries(&HeaderLinks::default(), &mut out);
        out.push('}');
        out
    }

    fn write_json(&self, out: &mut String, write_transactions: impl FnOnce(&mut String)) {
        out.push('{');
        self.header.write_entries(&HeaderLinks::default(), out);
        write_key("transactions", out);
        write_transactions(out);
        if let Some(withdrawals) = &self.withdrawals {
            write_key("withdrawals", out);
            write_list(withdrawals, out, |withdrawal, out| {
                out.push('{');
                withdrawal.write_entries(&WithdrawalLinks::default(), out);
                out.push('}');
            });
        }
        out.push('}');
    }

    /// Where the logs of a transaction stand.
    pub fn log_links(&self, position: usize) -> LogLinks {
        LogLinks {
            transaction_hash: self.transactions.get(position).map(|t| t.hash).unwrap_or_default(),
            transaction_index: position as u64,
            block_hash: self.header.hash,
            block_number: self.header.number,
            block_timestamp: self.header.timestamp,
        }
    }

    /// The transaction as `eth_getTransactionByHash` gives it.
    pub fn transaction_to_json(&self, position: usize) -> String {
        let mut out = String::with_capacity(1024);
        self.write_transaction(position, &mut out);
        out
    }

    /// The receipts as `eth_getBlockReceipts` gives them, where known.
    pub fn receipts_to_json(&self) -> Option<String> {
        let receipts = self.receipts.as_ref()?;
        let positions: Vec<usize> = (0..receipts.len()).collect();
        let mut out = String::with_capacity(1024 + receipts.len() * 2048);
        write_list(&positions, &mut out, |at, out| out.push_str(&self.receipt_text(*at)));
        Some(out)
    }

    /// The receipt as `eth_getTransactionReceipt` gives it, where known.
    pub fn receipt_to_json(&self, position: usize) -> Option<String> {
        self.receipt(position).map(|_| self.receipt_text(position))
    }

    fn receipt_text(&self, position: usize) -> String {
        let mut out = String::with_capacity(2048);
        if let Some(receipt) = self.receipt(position) {
            let links = self.receipt_links(position);
            receipt.write_json(&links, self.header.timestamp, &mut out);
        }
        out
    }

    fn write_transaction(&self, position: usize, out: &mut String) {
        let Some(transaction) = self.transactions.get(position) else { return };
        out.push('{');
        transaction.write_entries(&self.transaction_links(position), out);
        out.push('}');
    }
}

/// What some providers give as the recipient of a deployment, which has none: nothing, or what was
/// made.
fn is_no_recipient(to: Address, receipt: &Receipt) -> bool {
    to.is_zero() || receipt.contract_address == Some(to)
}

impl<'de> serde::Deserialize<'de> for BlockParts {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(BlockVisitor)
    }
}

struct BlockVisitor;

impl<'de> Visitor<'de> for BlockVisitor {
    type Value = BlockParts;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a block object with full transactions")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<BlockParts, A::Error> {
        BlockParts::read_map(map)
    }
}

impl BlockParts {
    /// Reads a block object's entries; for visitors that have met a map already.
    pub fn read_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<BlockParts, A::Error> {
        let mut parts = BlockParts::default();
        while let Some(key) = map.next_key::<&str>()? {
            match key {
                "transactions" => parts.transactions = map.next_value()?,
                "withdrawals" => {
                    let read: Option<Vec<Linked<Withdrawal>>> = map.next_value()?;
                    parts.withdrawals =
                        read.map(|list| list.into_iter().map(|item| item.value).collect());
                }
                _ => {
                    let mut links = HeaderLinks::default();
                    if !parts.header.read_entry(&mut links, key, &mut map)? {
                        keep(parts.header.extra_mut(), key, map.next_value()?);
                    }
                }
            }
        }
        parts.header.settle_twice_given();
        Ok(parts)
    }
}

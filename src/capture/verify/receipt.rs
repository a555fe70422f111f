//! Receipts as they enter the trie, and their root.

use alloy::rlp::{Encodable, Header as RlpHeader, list_length};
use alloy_primitives::B256;
use headwater_storage::model::{Block, Log, Receipt, Transaction};

use super::transaction::DEPOSIT;
use super::{EMPTY_ROOT, EncodedItems, Mismatch, compare, ordered_root};

/// Whether the root was proved; `false` where it cannot be: no receipts, or of a kind that does
/// not say all that goes into them.
pub fn prove(block: &Block) -> Result<bool, Mismatch> {
    if block.transactions.is_empty() {
        compare(block, "the receipts root", block.header.receipts_root, EMPTY_ROOT)?;
        return Ok(true);
    }
    let Some(receipts) = &block.receipts else { return Ok(false) };
    let mut items = EncodedItems::default();
    for (position, (transaction, receipt)) in block.transactions.iter().zip(receipts).enumerate() {
        if block.is_outside_roots(position) {
            continue;
        }
        let Some(outcome) = Outcome::of(receipt) else { return Ok(false) };
        let deposit = Deposit::of(transaction, receipt);
        items.add(|out| encode(transaction, receipt, &outcome, &deposit, out));
    }
    let claimed = block.header.receipts_root;
    let computed = ordered_root(&items);
    // Arbitrum before Nitro keeps more in a receipt than it tells.
    if claimed != computed && is_before_nitro(receipts) {
        return Ok(false);
    }
    compare(block, "the receipts root", claimed, computed)?;
    Ok(true)
}

/// The status (EIP-658), or the state root of before Byzantium.
enum Outcome {
    Status(u64),
    Root(B256),
}

impl Outcome {
    fn of(receipt: &Receipt) -> Option<Outcome> {
        match (receipt.root, receipt.status) {
            (Some(root), None) => Some(Outcome::Root(root)),
            (_, Some(status)) => Some(Outcome::Status(status)),
            (None, None) => None,
        }
    }

    fn field(&self) -> &dyn Encodable {
        match self {
            Outcome::Status(status) => status,
            Outcome::Root(root) => root,
        }
    }
}

/// OP-stack: a deposit's nonce enters the root only together with the receipt's version.
struct Deposit {
    fields: Vec<u64>,
}

impl Deposit {
    fn of(transaction: &Transaction, receipt: &Receipt) -> Deposit {
        let number = |key: &str| {
            let text = receipt.extra.as_ref()?.get(key)?.as_str()?;
            u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
        };
        let pair = number("depositNonce").zip(number("depositReceiptVersion"));
        let pair = pair.filter(|_| transaction.transaction_type == DEPOSIT);
        Deposit { fields: pair.map(|(nonce, version)| vec![nonce, version]).unwrap_or_default() }
    }
}

fn is_before_nitro(receipts: &[Receipt]) -> bool {
    let has = |receipt: &Receipt, key| receipt.extra.as_ref().is_some_and(|e| e.contains_key(key));
    receipts.iter().any(|receipt| has(receipt, "l1BlockNumber") && !has(receipt, "gasUsedForL1"))
}

fn log_payload(log: &Log) -> usize {
    log.address.length() + list_length::<B256, B256>(&log.topics) + log.data.length()
}

fn list(payload_length: usize) -> RlpHeader {
    RlpHeader { list: true, payload_length }
}

fn encode(
    transaction: &Transaction,
    receipt: &Receipt,
    outcome: &Outcome,
    deposit: &Deposit,
    out: &mut Vec<u8>,
) {
    if let Some(kind) = u8::try_from(transaction.transaction_type).ok().filter(|kind| *kind != 0) {
        out.push(kind);
    }
    let log_bytes = |log: &Log| {
        let payload = log_payload(log);
        list(payload).length() + payload
    };
    let logs: usize = receipt.logs.iter().map(log_bytes).sum();
    let payload = outcome.field().length()
        + receipt.cumulative_gas_used.length()
        + receipt.logs_bloom.length()
        + list(logs).length()
        + logs
        + deposit.fields.iter().map(Encodable::length).sum::<usize>();
    list(payload).encode(out);
    outcome.field().encode(out);
    receipt.cumulative_gas_used.encode(out);
    receipt.logs_bloom.encode(out);
    list(logs).encode(out);
    for log in receipt.logs.iter() {
        list(log_payload(log)).encode(out);
        log.address.encode(out);
        alloy::rlp::encode_list::<B256, B256>(&log.topics, out);
        log.data.encode(out);
    }
    for field in &deposit.fields {
        field.encode(out);
    }
}

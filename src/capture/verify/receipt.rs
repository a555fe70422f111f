//! Receipts as they enter the trie, and their root.

use alloy::rlp::{Encodable, Header as RlpHeader, list_length};
use alloy_primitives::{B256, Bloom};
use headwater_storage::model::{Block, Log, Receipt, Transaction};

use super::prover::{Prover, Word, types_of};
use super::rules::{is_before_byzantium, kind};
use super::{Aspect, EMPTY_ROOT, EncodedItems, Mismatch, compare, extra, ordered_root};

/// Whether the root is proved; `false` where it cannot be: no receipts, or of a kind that does not
/// say all that goes into them.
pub(super) fn prove(prover: &Prover, word: Word<'_>, block: &Block) -> Result<bool, Mismatch> {
    if block.transactions.is_empty() {
        let root = compare(block, "the receipts root", block.header.receipts_root, EMPTY_ROOT);
        // Chains with roots of their own have Ethereum's for none: nothing is learned from that.
        return if root.is_ok() { Ok(true) } else { prover.judge(word, &[Aspect::Receipts], root) };
    }
    let Some(receipts) = &block.receipts else { return Ok(false) };
    let compared = compare_root(block, receipts);
    let mut aspects = Vec::with_capacity(6);
    let is_old = compared.is_err()
        && is_before_byzantium(prover.chain_id(), &block.header)
        && receipts.iter().any(|receipt| receipt.root.is_none() && receipt.status.is_some());
    if is_old {
        // What the root does not prove, the header's filter does in part.
        compare_bloom(block, receipts)?;
        aspects.push(Aspect::OldReceipts);
    }
    aspects.extend(types_of(block).into_iter().map(Aspect::ReceiptType));
    aspects.push(Aspect::Receipts);
    prover.judge(word, &aspects, compared)
}

fn compare_root(block: &Block, receipts: &[Receipt]) -> Result<(), Mismatch> {
    let by_status = root(block, receipts, Outcome::of)?;
    let claimed = block.header.receipts_root;
    if by_status == claimed {
        return Ok(());
    }
    // Some clients give both before Byzantium; the state root is what counted.
    if receipts.iter().any(|receipt| receipt.root.is_some() && receipt.status.is_some()) {
        let by_root = |receipt: &Receipt| receipt.root.map(Outcome::Root);
        if root(block, receipts, by_root).is_ok_and(|computed| computed == claimed) {
            return Ok(());
        }
    }
    compare(block, "the receipts root", claimed, by_status)
}

/// The root of a block's receipts.
fn root(
    block: &Block,
    receipts: &[Receipt],
    outcome_of: impl Fn(&Receipt) -> Option<Outcome>,
) -> Result<B256, Mismatch> {
    let mut items = EncodedItems::default();
    for (position, (transaction, receipt)) in block.transactions.iter().zip(receipts).enumerate() {
        if block.is_outside_roots(position) {
            continue;
        }
        let Some(outcome) = outcome_of(receipt) else {
            return Err(Mismatch::Outcome { block: block.block_ref(), position });
        };
        let added = Added::of(transaction, receipt);
        items.add(|out| encode(transaction, receipt, &outcome, &added, out));
    }
    Ok(ordered_root(&items))
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

/// What a chain adds to a receipt behind the logs. OP stack: a deposit's nonce, which enters the
/// root only together with the receipt's version. Celo: the base fee in the token of the fees
/// (CIP-64).
struct Added {
    fields: Vec<u128>,
}

impl Added {
    fn of(transaction: &Transaction, receipt: &Receipt) -> Added {
        let number = |key| extra::<u128>(&receipt.extra, key);
        let fields = match transaction.transaction_type {
            kind::DEPOSIT => number("depositNonce").zip(number("depositReceiptVersion")),
            kind::CELO_FEE_CURRENCY => {
                return Added { fields: number("baseFee").into_iter().collect() };
            }
            _ => None,
        };
        Added { fields: fields.map(|(nonce, version)| vec![nonce, version]).unwrap_or_default() }
    }
}

/// Whether the filter of a block's logs is the header's.
fn compare_bloom(block: &Block, receipts: &[Receipt]) -> Result<(), Mismatch> {
    let mut bloom = Bloom::ZERO;
    for (position, receipt) in receipts.iter().enumerate() {
        if !block.is_outside_roots(position) {
            bloom |= bloom_of(receipt);
        }
    }
    if bloom.as_slice() == block.header.logs_bloom.as_ref() {
        return Ok(());
    }
    Err(Mismatch::Bloom { block: block.block_ref() })
}

/// The filter of a receipt's logs (yellow paper 4.4.3).
pub(super) fn bloom_of(receipt: &Receipt) -> Bloom {
    let mut bloom = Bloom::ZERO;
    for log in receipt.logs.iter() {
        bloom.accrue_raw_log(log.address, &log.topics);
    }
    bloom
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
    added: &Added,
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
        + added.fields.iter().map(Encodable::length).sum::<usize>();
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
    for field in &added.fields {
        field.encode(out);
    }
}

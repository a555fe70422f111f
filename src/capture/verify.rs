//! Is the block right? Its header, transactions, receipts and withdrawals are hashed again (INV-2).
//!
//! A proof has three outcomes: it holds, it fails (the block is refused), or it cannot be made
//! under the rules that we know (the mark stays off). The third is never an error.

mod header;
mod receipt;
mod sender;
mod trace;
mod transaction;

use alloy::rlp::Encodable;
use alloy_primitives::{Address, B256, b256, keccak256};
use alloy_trie::root::ordered_trie_root_with_encoder;
use headwater_storage::model::{Block, BlockRef, Header, HeaderKey, Verified, Withdrawal};

pub use header::header_hash;
pub use receipt::prove as prove_receipts;
pub use sender::prove as prove_senders;
pub use trace::prove as prove_traces;
pub use transaction::prove as prove_transactions;

/// Root of a trie without entries.
const EMPTY_ROOT: B256 = b256!("56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421");
/// Hash of an empty list of ommers.
const EMPTY_OMMERS: B256 =
    b256!("1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347");

/// How much is proved of a chain's blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Depth {
    /// Hashes, links and roots.
    #[default]
    Roots,
    /// The same, and who signed each transaction.
    Senders,
    /// Links only, for chains whose headers hash by rules of their own.
    Links,
}

/// What is wrong with a block: both sides of the comparison that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// Another block than the one that was asked for.
    #[error("asked for block {asked}, got {got}")]
    Number {
        /// What was asked for.
        asked: u64,
        /// What came.
        got: u64,
    },
    /// A root or hash does not come out again.
    #[error("block {block}: {what} says {claimed}, computed {computed}")]
    Hash {
        /// The block.
        block: BlockRef,
        /// Which root or hash.
        what: &'static str,
        /// What the block says.
        claimed: B256,
        /// What comes out.
        computed: B256,
    },
    /// A transaction does not hash to its hash.
    #[error("block {block}: transaction {position} says {claimed}, computed {computed}")]
    Transaction {
        /// The block.
        block: BlockRef,
        /// Position in the block.
        position: usize,
        /// What it says.
        claimed: B256,
        /// What comes out.
        computed: B256,
    },
    /// A transaction is not signed by its sender.
    #[error("block {block}: transaction {position} is from {claimed}, signed by {computed}")]
    Sender {
        /// The block.
        block: BlockRef,
        /// Position in the block.
        position: usize,
        /// What it says.
        claimed: Address,
        /// Who signed.
        computed: Address,
    },
    /// A transaction's outermost trace is not the transaction's.
    #[error("block {block}: the outermost trace of transaction {position} has another {what}")]
    Trace {
        /// The block.
        block: BlockRef,
        /// Position of the transaction.
        position: usize,
        /// What differs.
        what: &'static str,
    },
    /// The header has a root of withdrawals but there is no list, or the other way round.
    #[error("block {block}: the header's withdrawals root and the list do not go together")]
    Withdrawals {
        /// The block.
        block: BlockRef,
    },
}

/// Proves what can be proved of a block by itself; the parent link is the log's to prove.
pub fn verify(block: &Block, depth: Depth) -> Result<Verified, Mismatch> {
    Ok(verify_body(block, depth)?.with(verify_receipts(block, depth)?))
}

/// The same, of all but receipts and traces.
pub fn verify_body(block: &Block, depth: Depth) -> Result<Verified, Mismatch> {
    if depth == Depth::Links {
        return Ok(Verified::default());
    }
    let mut verified = Verified::default();
    let header = &block.header;
    if let Some(computed) = header_hash(header) {
        compare(block, "the header's hash", header.hash, computed)?;
        verified = verified.with(Verified::HEADER);
    }
    if header.has(HeaderKey::uncles) && header.uncles.is_empty() {
        compare(block, "the ommers' hash", header.sha3_uncles, EMPTY_OMMERS)?;
    }
    if prove_transactions(block)? {
        verified = verified.with(Verified::TRANSACTIONS);
    }
    if prove_withdrawals(block)? {
        verified = verified.with(Verified::WITHDRAWALS);
    }
    if depth == Depth::Senders && prove_senders(block)? {
        verified = verified.with(Verified::SENDERS);
    }
    Ok(verified)
}

/// The same, of receipts and traces.
pub fn verify_receipts(block: &Block, depth: Depth) -> Result<Verified, Mismatch> {
    if depth == Depth::Links {
        return Ok(Verified::default());
    }
    let mut verified = Verified::default();
    if prove_receipts(block)? {
        verified = verified.with(Verified::RECEIPTS);
    }
    if prove_traces(block)? {
        verified = verified.with(Verified::TRACES);
    }
    Ok(verified)
}

fn compare(
    block: &Block,
    what: &'static str,
    claimed: B256,
    computed: B256,
) -> Result<(), Mismatch> {
    if claimed == computed {
        return Ok(());
    }
    Err(Mismatch::Hash { block: block.block_ref(), what, claimed, computed })
}

/// Root of a trie over items that were encoded one after the other.
fn ordered_root(items: &EncodedItems) -> B256 {
    ordered_trie_root_with_encoder(&items.ends, |item, out| {
        let (start, end) = *item;
        out.extend_from_slice(items.bytes.get(start..end).unwrap_or_default());
    })
}

/// Items encoded into one buffer.
#[derive(Default)]
struct EncodedItems {
    bytes: Vec<u8>,
    ends: Vec<(usize, usize)>,
}

impl EncodedItems {
    /// Adds what `encode` appends, and hands it back.
    fn add(&mut self, encode: impl FnOnce(&mut Vec<u8>)) -> &[u8] {
        let start = self.bytes.len();
        encode(&mut self.bytes);
        self.ends.push((start, self.bytes.len()));
        self.bytes.get(start..).unwrap_or_default()
    }
}

/// Whether the block is of an OP-stack chain: its first transaction is a deposit.
fn is_op_stack(block: &Block) -> bool {
    block.transactions.first().is_some_and(|t| t.transaction_type == transaction::DEPOSIT)
}

fn prove_withdrawals(block: &Block) -> Result<bool, Mismatch> {
    let mismatch = || Mismatch::Withdrawals { block: block.block_ref() };
    match (block.header.withdrawals_root, &block.withdrawals) {
        // Some providers leave the list out: nothing to prove, and nothing proved.
        (_, None) => Ok(false),
        (None, Some(list)) if list.is_empty() => Ok(false),
        (None, Some(_)) => Err(mismatch()),
        // Since Isthmus the root is that of a contract's storage, and the list stays empty.
        (Some(root), Some(list)) if list.is_empty() && root != EMPTY_ROOT && is_op_stack(block) => {
            Ok(false)
        }
        (Some(root), Some(list)) => {
            let mut items = EncodedItems::default();
            for withdrawal in list {
                items.add(|out| encode_withdrawal(withdrawal, out));
            }
            compare(block, "the withdrawals root", root, ordered_root(&items))?;
            Ok(true)
        }
    }
}

/// EIP-4895.
fn encode_withdrawal(withdrawal: &Withdrawal, out: &mut Vec<u8>) {
    let fields: [&dyn Encodable; 4] =
        [&withdrawal.index, &withdrawal.validator_index, &withdrawal.address, &withdrawal.amount];
    alloy::rlp::encode_list::<_, dyn Encodable>(&fields, out);
}

/// Hash of the RLP list of fields.
fn hash_of_list(fields: &[&dyn Encodable]) -> B256 {
    let mut out = Vec::with_capacity(1024);
    alloy::rlp::encode_list::<_, dyn Encodable>(fields, &mut out);
    keccak256(&out)
}

/// A field that is kept as it came, as bytes.
fn extra_bytes(header: &Header, key: &str) -> Option<Vec<u8>> {
    const_hex::decode(header.extra.as_ref()?.get(key)?.as_str()?).ok()
}

#[cfg(test)]
mod header_tests;

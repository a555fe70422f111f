//! Is the block right? Its header, transactions, receipts and withdrawals are hashed again (INV-2).
//!
//! A proof has three outcomes: it holds, it fails (the block is refused), or it cannot be made
//! under the rules that we know (the mark stays off). The third is never an error.

mod aspect;
mod derived;
mod doubts;
mod header;
mod prover;
mod receipt;
mod rules;
mod sender;
mod trace;
mod transaction;

use alloy::rlp::Encodable;
use alloy_primitives::{Address, B256, b256, keccak256};
use alloy_trie::root::ordered_trie_root_with_encoder;
use headwater_storage::model::json::Scalar;
use headwater_storage::model::{
    Block, BlockRef, Extra, HeaderKey, Transaction, Verified, Withdrawal,
};

pub use aspect::Aspect;
pub use derived::Mended;
pub use header::header_hash;
pub use prover::{Prover, Unprovable, is_newer};
pub use trace::prove as prove_traces;
pub use transaction::envelope;

use prover::Word;

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
    /// A transaction of a type that this program cannot hash.
    #[error(
        "block {block}: transaction {position} has type {kind:#x}, which this version cannot hash"
    )]
    TransactionType {
        /// The block.
        block: BlockRef,
        /// Position in the block.
        position: usize,
        /// EIP-2718 type.
        kind: u64,
    },
    /// A transaction outside of the roots where the chain has none.
    #[error(
        "block {block}: transaction {position} is a state-sync transaction, which is in no root; \
         only the last one of a Polygon block before PIP-74 may be"
    )]
    StateSync {
        /// The block.
        block: BlockRef,
        /// Position in the block.
        position: usize,
    },
    /// A receipt has neither a status nor a state root.
    #[error("block {block}: receipt {position} has neither `status` nor `root`")]
    Outcome {
        /// The block.
        block: BlockRef,
        /// Position in the block.
        position: usize,
    },
    /// The logs do not give the header's filter.
    #[error("block {block}: the receipts' logs do not give the header's `logsBloom`")]
    Bloom {
        /// The block.
        block: BlockRef,
    },
    /// The header's time is of no unit.
    #[error(
        "block {block}: `timestamp` {timestamp} is no time between 1970 and 9999 in seconds, nor \
         since 2000 in milliseconds, microseconds or nanoseconds"
    )]
    Time {
        /// The block.
        block: BlockRef,
        /// What it says.
        timestamp: u64,
    },
    /// The header has a field of a later fork without those of the forks before it.
    #[error("block {block}: the header has fields of a fork without those of the forks before")]
    Hole {
        /// The block.
        block: BlockRef,
    },
    /// It may be the chain's property, which is not decided yet.
    #[error("{mismatch}. If {aspect} cannot be proved on this chain: {waits}")]
    Doubtful {
        /// What did not come out.
        mismatch: Box<Mismatch>,
        /// What it is about.
        aspect: String,
        /// What is waited for.
        waits: &'static str,
    },
    /// It came out before on this chain, which is not in the table of rules.
    #[error(
        "{mismatch}. Earlier blocks of this chain came out: where its rules have changed, \
         `verify = \"links\"` keeps blocks without these proofs"
    )]
    Changed {
        /// What did not come out.
        mismatch: Box<Mismatch>,
    },
    /// The header has a root of withdrawals but there is no list, or the other way round.
    #[error("block {block}: the header's withdrawals root and the list do not go together")]
    Withdrawals {
        /// The block.
        block: BlockRef,
    },
}

impl Prover {
    /// Proves what can be proved of a block by itself, and puts right what follows from that; the
    /// parent link is the log's to prove. `provider` is who gave it; nobody in particular where
    /// what is stored is proved again.
    pub fn prove(
        &self,
        block: &mut Block,
        provider: Option<&str>,
    ) -> Result<(Verified, Mended), Mismatch> {
        let body = self.prove_body(block, provider)?;
        self.prove_receipts(block, body, provider)
    }

    /// The same, of all but receipts and traces.
    pub fn prove_body(
        &self,
        block: &mut Block,
        provider: Option<&str>,
    ) -> Result<Verified, Mismatch> {
        if block.header.time_micros().is_none() {
            let (block, timestamp) = (block.block_ref(), block.header.timestamp);
            return Err(Mismatch::Time { block, timestamp });
        }
        if self.depth() == Depth::Links {
            return Ok(Verified::default());
        }
        let word = Word { block: block.block_ref(), provider };
        let mut verified = Verified::default();
        if self.prove_header(word, block)? {
            verified = verified.with(Verified::HEADER);
        }
        transaction::mend_deployments(block);
        if transaction::prove(self, word, block)? {
            verified = verified.with(Verified::TRANSACTIONS);
        }
        let withdrawals = self.compare_withdrawals(block);
        if withdrawals != Ok(false) {
            let compared = withdrawals.map(drop);
            let aspects: &[Aspect] = match block.withdrawals {
                Some(_) => &[Aspect::Withdrawals],
                None => &[Aspect::WithdrawalsList],
            };
            // Nothing is learned from a list without entries, or that was left out.
            let is_empty = block.withdrawals.as_ref().is_none_or(Vec::is_empty);
            let is_plain = compared.is_ok() && is_empty;
            if is_plain || self.judge(word, aspects, compared)? {
                verified = verified.with(Verified::WITHDRAWALS);
            }
        }
        if self.depth() == Depth::Senders && sender::prove(block)? {
            verified = verified.with(Verified::SENDERS);
        }
        Ok(verified)
    }

    /// The same, of receipts and traces; `body` is what was proved of the rest.
    pub fn prove_receipts(
        &self,
        block: &mut Block,
        body: Verified,
        provider: Option<&str>,
    ) -> Result<(Verified, Mended), Mismatch> {
        if self.depth() == Depth::Links {
            return Ok((body, Mended::default()));
        }
        let word = Word { block: block.block_ref(), provider };
        let mut verified = body;
        derived::fill_blooms(block);
        if receipt::prove(self, word, block)? {
            verified = verified.with(Verified::RECEIPTS);
        }
        let mended = derived::mend(block, verified);
        if prove_traces(block)? {
            verified = verified.with(Verified::TRACES);
        }
        Ok((verified, mended))
    }

    fn prove_header(&self, word: Word<'_>, block: &Block) -> Result<bool, Mismatch> {
        let header = &block.header;
        let compared = match header::matching_hash(header) {
            Some(computed) => compare(block, "the header's hash", header.hash, computed),
            None => Err(Mismatch::Hole { block: word.block }),
        };
        let mut aspects = Vec::with_capacity(2);
        if compared.is_err() {
            aspects.extend(header::unknown_fields(header).map(Aspect::HeaderField));
        }
        // Of a chain that is seen first, rather the whole header than one of its fields.
        aspects.insert(0, Aspect::Header);
        let is_proved = self.judge(word, &aspects, compared)?;
        let has_ommers = header.sha3_uncles != EMPTY_OMMERS;
        if header.has(HeaderKey::uncles) && has_ommers == header.uncles.is_empty() && is_proved {
            let (claimed, computed) = (header.sha3_uncles, EMPTY_OMMERS);
            let what = "the ommers' hash";
            return Err(Mismatch::Hash { block: word.block, what, claimed, computed });
        }
        Ok(is_proved)
    }

    /// Whether the withdrawals come out; `Ok(false)`: there is nothing to prove.
    fn compare_withdrawals(&self, block: &Block) -> Result<bool, Mismatch> {
        let mismatch = || Mismatch::Withdrawals { block: block.block_ref() };
        let is_empty = block.withdrawals.as_ref().is_none_or(Vec::is_empty);
        match (block.header.withdrawals_root, &block.withdrawals) {
            (None, None) => Ok(false),
            (None, Some(list)) if list.is_empty() => Ok(false),
            (Some(EMPTY_ROOT), _) if is_empty => Ok(true),
            (Some(_), _) if is_empty && self.is_of_rollup(block) => Ok(false),
            (None, Some(_)) | (Some(_), None) => Err(mismatch()),
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

    /// Since Isthmus the root of an OP-stack block is that of a contract's storage, and the list
    /// stays empty. Whose block it is follows from the chain, and from its first transaction, a
    /// deposit that hashes to its hash; the others need not, they may be newer than this program.
    fn is_of_rollup(&self, block: &Block) -> bool {
        let first = block.transactions.first();
        let is_deposit = |first: &&Transaction| first.transaction_type == rules::kind::DEPOSIT;
        rules::may_be_op_stack(self.chain_id())
            && first.filter(is_deposit).is_some_and(transaction::comes_out)
    }
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

/// EIP-4895.
fn encode_withdrawal(withdrawal: &Withdrawal, out: &mut Vec<u8>) {
    let fields: [&dyn Encodable; 4] =
        [&withdrawal.index, &withdrawal.validator_index, &withdrawal.address, &withdrawal.amount];
    alloy::rlp::encode_list::<_, dyn Encodable>(&fields, out);
}

/// A field that is kept as it came, in whatever form.
fn extra<T: Scalar>(extra: &Extra, key: &str) -> Option<T> {
    let value = extra.as_ref()?.get(key)?;
    match value.as_u64() {
        Some(number) => T::from_number(number),
        None => T::from_text(value.as_str()?).map(|(value, _)| value),
    }
}

/// Hash of the RLP list of fields.
fn hash_of_list(fields: &[&dyn Encodable]) -> B256 {
    let mut out = Vec::with_capacity(1024);
    alloy::rlp::encode_list::<_, dyn Encodable>(fields, &mut out);
    keccak256(&out)
}

#[cfg(test)]
mod header_tests;

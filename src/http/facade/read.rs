//! Calls that are answered from one block.

use std::fmt::LowerHex;
use std::sync::Arc;

use headwater_storage::model::{B256, Block, BlockRef, Transaction};
use headwater_storage::store::Chain;

use crate::capture::verify::envelope;

use super::error::CallError;
use super::params::{BlockId, Height, Params};

/// What is asked of one block.
#[derive(Clone, Copy, Debug)]
pub(super) enum Question {
    /// The block, with transactions or their hashes.
    Block(BlockId, Transactions),
    /// How many transactions it has.
    TransactionCount(BlockId),
    /// How many uncles.
    UncleCount(BlockId),
    /// All of its receipts.
    Receipts(BlockId),
    /// All of its traces.
    Traces(BlockId),
    /// A transaction by its position.
    TransactionAt(BlockId, usize),
    /// The bytes of a transaction by its position.
    RawAt(BlockId, usize),
    /// A transaction by its hash.
    Transaction(B256),
    /// The bytes of a transaction by its hash.
    Raw(B256),
    /// A transaction's receipt.
    Receipt(B256),
    /// A transaction's traces.
    TransactionTraces(B256),
}

/// How a block gives its transactions.
#[derive(Clone, Copy, Debug)]
pub(super) enum Transactions {
    Full,
    Hashes,
}

impl Question {
    /// What a method asks; `None` for one that asks nothing of this kind.
    pub(super) fn of(method: &str, params: &Params) -> Result<Option<Question>, CallError> {
        let question = match method {
            "eth_getBlockByNumber" => Question::Block(params.height(0)?, form(params)?),
            "eth_getBlockByHash" => Question::Block(params.block_hash(0)?, form(params)?),
            "eth_getBlockTransactionCountByNumber" => Question::TransactionCount(params.height(0)?),
            "eth_getBlockTransactionCountByHash" => {
                Question::TransactionCount(params.block_hash(0)?)
            }
            "eth_getUncleCountByBlockNumber" => Question::UncleCount(params.height(0)?),
            "eth_getUncleCountByBlockHash" => Question::UncleCount(params.block_hash(0)?),
            "eth_getBlockReceipts" => Question::Receipts(params.block(0)?),
            "trace_block" => Question::Traces(params.block(0)?),
            "eth_getTransactionByBlockNumberAndIndex" => {
                Question::TransactionAt(params.height(0)?, params.position(1)?)
            }
            "eth_getTransactionByBlockHashAndIndex" => {
                Question::TransactionAt(params.block_hash(0)?, params.position(1)?)
            }
            "eth_getRawTransactionByBlockNumberAndIndex" => {
                Question::RawAt(params.height(0)?, params.position(1)?)
            }
            "eth_getRawTransactionByBlockHashAndIndex" => {
                Question::RawAt(params.block_hash(0)?, params.position(1)?)
            }
            "eth_getRawTransactionByHash" => Question::Raw(params.hash(0)?),
            "eth_getTransactionByHash" => Question::Transaction(params.hash(0)?),
            "eth_getTransactionReceipt" => Question::Receipt(params.hash(0)?),
            "trace_transaction" => Question::TransactionTraces(params.hash(0)?),
            _ => return Ok(None),
        };
        Ok(Some(question))
    }

    /// The result as JSON; reads the disk.
    pub(super) fn answer(self, chain: &Chain) -> Result<String, CallError> {
        let text = match self {
            Question::Block(id, form) => find(chain, id)?.map(|block| match form {
                Transactions::Full => block.to_json(),
                Transactions::Hashes => block.to_json_with_hashes(),
            }),
            Question::TransactionCount(id) => {
                find(chain, id)?.map(|block| quantity(block.transactions.len() as u64))
            }
            Question::UncleCount(id) => {
                find(chain, id)?.map(|block| quantity(block.header.uncles.len() as u64))
            }
            Question::Receipts(id) => match find(chain, id)? {
                Some(block) => Some(receipts(chain, &block)?),
                None => None,
            },
            Question::Traces(id) => match find(chain, id)? {
                Some(block) => Some(traces(chain, &block, None)?),
                None => None,
            },
            Question::TransactionAt(id, position) => find(chain, id)?
                .filter(|block| position < block.transactions.len())
                .map(|block| block.transaction_to_json(position)),
            Question::RawAt(id, position) => match find(chain, id)? {
                Some(block) => block.transactions.get(position).map(raw).transpose()?,
                None => None,
            },
            Question::Raw(hash) => match transaction(chain, hash)? {
                Some((block, at)) => block.transactions.get(at).map(raw).transpose()?,
                None => None,
            },
            Question::Transaction(hash) => {
                transaction(chain, hash)?.map(|(block, at)| block.transaction_to_json(at))
            }
            Question::Receipt(hash) => match transaction(chain, hash)? {
                Some((block, at)) => {
                    let receipt = block.receipt_to_json(at);
                    Some(receipt.ok_or_else(|| no_receipts(chain, &block))?)
                }
                None => None,
            },
            Question::TransactionTraces(hash) => match transaction(chain, hash)? {
                Some((block, at)) => Some(traces(chain, &block, Some(at as u64))?),
                None => None,
            },
        };
        Ok(text.unwrap_or_else(|| "null".to_owned()))
    }
}

pub(super) fn quantity(number: impl LowerHex) -> String {
    format!("\"{number:#x}\"")
}

fn raw(transaction: &Transaction) -> Result<String, CallError> {
    let bytes = envelope(transaction).ok_or(CallError::NoRawForm { hash: transaction.hash })?;
    Ok(format!("\"{}\"", const_hex::encode_prefixed(bytes)))
}

fn form(params: &Params) -> Result<Transactions, CallError> {
    Ok(if params.flag(1)? { Transactions::Full } else { Transactions::Hashes })
}

/// What tags stand for at one moment: the ends of all that is captured, whichever lane it came by.
pub(super) struct Ends {
    latest: Option<BlockRef>,
    last_final: Option<BlockRef>,
    /// The highest number that was ever here: retention may have removed the blocks at the end.
    highest: Option<u64>,
}

impl Ends {
    pub(super) fn of(chain: &Chain) -> Ends {
        chain.with_state(|state| {
            let latest = state.latest();
            let forgotten = state.forgotten().iter().next_back().map(|range| range.last);
            let highest = latest.map(|block| block.number).max(forgotten);
            Ends { latest, last_final: state.latest_final(), highest }
        })
    }

    /// The highest canonical block.
    pub(super) fn latest(&self) -> Result<BlockRef, CallError> {
        self.latest.ok_or(CallError::NoSuchTag { tag: "latest" })
    }

    /// The number that a height stands for.
    pub(super) fn number(&self, height: Height) -> Result<u64, CallError> {
        match height {
            Height::Number(number) => Ok(number),
            Height::Latest => Ok(self.latest()?.number),
            Height::Final => {
                let block = self.last_final.ok_or(CallError::NoSuchTag { tag: "finalized" })?;
                Ok(block.number)
            }
        }
    }
}

/// A block; `None` where there is none of that name, as far as this chain's head.
pub(super) fn find(chain: &Chain, id: BlockId) -> Result<Option<Arc<Block>>, CallError> {
    match id {
        BlockId::Height(height) => of_height(chain, height),
        BlockId::Hash(hash) | BlockId::CanonicalHash(hash) => {
            let Some(event) = chain.block_by_hash(hash)? else { return Ok(None) };
            if matches!(id, BlockId::CanonicalHash(_)) && !chain.is_canonical(&event.head)? {
                return Err(CallError::NotCanonical { hash });
            }
            let number = event.head.block.number;
            let lost = || not_here(chain, format!("block {number} is"));
            event.block.ok_or_else(lost).map(Some)
        }
    }
}

fn of_height(chain: &Chain, height: Height) -> Result<Option<Arc<Block>>, CallError> {
    let ends = Ends::of(chain);
    let number = ends.number(height)?;
    match chain.block_by_number(number)?.and_then(|event| event.block) {
        Some(block) => Ok(Some(block)),
        None if ends.highest.is_some_and(|highest| number > highest) => Ok(None),
        None => Err(not_here(chain, format!("block {number} is"))),
    }
}

fn transaction(chain: &Chain, hash: B256) -> Result<Option<(Arc<Block>, usize)>, CallError> {
    let found = chain.transaction(hash)?;
    Ok(found.and_then(|(event, at)| Some((event.block?, at))))
}

pub(super) fn not_here(chain: &Chain, what: String) -> CallError {
    CallError::NotHere { what, chain: chain.name().to_string() }
}

pub(super) fn no_receipts(chain: &Chain, block: &Block) -> CallError {
    not_here(chain, format!("the receipts of block {} are", block.header.number))
}

fn receipts(chain: &Chain, block: &Block) -> Result<String, CallError> {
    block.receipts_to_json().ok_or_else(|| no_receipts(chain, block))
}

/// Traces; an empty list only of a block in which nothing happened.
fn traces(chain: &Chain, block: &Block, of: Option<u64>) -> Result<String, CallError> {
    match block.traces_to_json(of) {
        Some(list) => Ok(list.to_string()),
        None if block.transactions.is_empty() => Ok("[]".to_owned()),
        None => Err(not_here(chain, format!("the traces of block {} are", block.header.number))),
    }
}

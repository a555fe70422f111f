//! One block, right, from whichever provider can give it: two calls in one request.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use headwater_storage::model::{
    Block, BlockParts, BlockRef, Linked, Origin, Provider, Receipt, Verified,
};

use crate::clock;
use crate::rpc::{Call, Cause, Endpoint, Pool, RpcError, parse_batch, parse_single};
use crate::supervisor::on_cpu;
use crate::telemetry::metrics;

use super::assemble::{AssembleError, Piece, assemble};
use super::status::CaptureError;
use super::verify::Depth;

/// Receipts that are asked for in one batch where `eth_getBlockReceipts` is missing.
const RECEIPTS_PER_BATCH: usize = 100;

/// Finality by depth where no provider knows the `finalized` tag.
const CONFIRMATIONS: u64 = 64;

/// A block that was proved as far as it can be by itself.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The block.
    pub block: Arc<Block>,
    /// What was proved.
    pub verified: Verified,
    /// Who gave it.
    pub provider: String,
    /// When its last byte was here.
    pub answered: Instant,
}

impl Fetched {
    /// Who gave it, and when.
    pub fn origin(&self) -> Origin {
        let provider = Provider::named(&self.provider);
        Origin { provider, at_micros: clock::unix_micros() }
    }
}

/// The little of a header that following needs.
#[derive(Clone, Copy, Debug, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct HeaderAnswer {
    hash: alloy_primitives::B256,
    number: alloy_primitives::U64,
}

/// Where blocks come from.
#[derive(Clone)]
pub struct Source {
    pool: Pool,
    depth: Depth,
}

impl Source {
    /// Blocks of a chain from its providers.
    pub fn new(pool: Pool, depth: Depth) -> Source {
        Source { pool, depth }
    }

    /// The providers.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The head of the chain.
    pub async fn latest(&self) -> Result<BlockRef, RpcError> {
        let answer: Option<HeaderAnswer> = self.pool.ask(&Call::header("latest")).await?;
        let header = answer.ok_or_else(|| self.pool.nobody("eth_getBlockByNumber"))?;
        Ok(BlockRef { number: header.number.to(), hash: header.hash })
    }

    /// The height up to which blocks are final, under a head at `latest`: by the configured
    /// depth, else by the `finalized` tag, else, where no provider knows the tag, by a safe depth.
    pub async fn finalized(
        &self,
        latest: u64,
        confirmations: Option<u64>,
    ) -> Result<Option<u64>, RpcError> {
        if let Some(depth) = confirmations {
            return Ok(latest.checked_sub(depth));
        }
        let mut last = self.pool.nobody("eth_getBlockByNumber");
        for endpoint in self.pool.order() {
            if !endpoint.has_finalized_tag() {
                continue;
            }
            match endpoint.single::<HeaderAnswer>(&Call::header("finalized")).await {
                Ok(answer) => return Ok(answer.map(|header| header.number.to())),
                // How some nodes say that nothing is final yet.
                Err(error) if error.cause == Cause::BlockMissing => return Ok(None),
                Err(error)
                    if matches!(error.cause, Cause::InvalidParams | Cause::MethodMissing) =>
                {
                    endpoint.lacks_finalized_tag();
                }
                Err(error) => {
                    endpoint.failed(&error);
                    last = error;
                }
            }
        }
        if self.pool.endpoints().iter().any(|endpoint| endpoint.has_finalized_tag()) {
            return Err(last);
        }
        Ok(latest.checked_sub(CONFIRMATIONS))
    }

    /// Asks every provider for its chain id; one that serves another chain is named.
    pub async fn check_chain_id(&self, expected: u64) -> Result<(), CaptureError> {
        let mut last = Ok(());
        let mut is_known = false;
        for endpoint in self.pool.endpoints() {
            match endpoint.single::<alloy_primitives::U64>(&Call::chain_id()).await {
                Ok(Some(found)) if found.to::<u64>() == expected => is_known = true,
                Ok(Some(found)) => {
                    let (provider, found) = (endpoint.name().to_owned(), found.to());
                    return Err(CaptureError::ChainId { provider, found, expected });
                }
                Ok(None) => {}
                Err(error) => {
                    endpoint.failed(&error);
                    last = Err(error.into());
                }
            }
        }
        if is_known { Ok(()) } else { last }
    }

    /// The chain id that some provider gives.
    pub async fn chain_id(&self) -> Result<Option<u64>, RpcError> {
        let answer: Option<alloy_primitives::U64> = self.pool.ask(&Call::chain_id()).await?;
        Ok(answer.map(|id| id.to()))
    }

    /// The block of a number: wrong data is refused and asked of the next provider.
    pub async fn block(&self, number: u64) -> Result<Fetched, RpcError> {
        let mut last = self.pool.nobody("eth_getBlockByNumber");
        for endpoint in self.pool.order() {
            match fetch(&endpoint, Wish { number, depth: self.depth }).await {
                Ok(fetched) => return Ok(fetched),
                Err(error) => {
                    let is_new = endpoint.failed(&error);
                    if error.cause == Cause::Wrong {
                        metrics::refused(self.pool.chain(), endpoint.name());
                    }
                    if error.cause == Cause::Wrong && is_new {
                        tracing::warn!(
                            chain = %self.pool.chain(), provider = error.provider, number,
                            reason = error.reason, "refused a block"
                        );
                    }
                    last = error;
                }
            }
        }
        Err(last)
    }
}

/// The block that is asked for, and how much of it is to be proved.
#[derive(Clone, Copy)]
struct Wish {
    number: u64,
    depth: Depth,
}

/// What the first request gave.
enum First {
    Whole(Fetched),
    WithoutReceipts(Box<BlockParts>),
    NoBatches,
}

async fn fetch(endpoint: &Arc<Endpoint>, wish: Wish) -> Result<Fetched, RpcError> {
    if endpoint.takes_batches() && endpoint.has_block_receipts() {
        match in_one_request(endpoint, wish).await? {
            First::Whole(fetched) => return Ok(fetched),
            First::WithoutReceipts(parts) => {
                endpoint.lacks_block_receipts();
                return with_receipts(endpoint, wish, *parts).await;
            }
            First::NoBatches => endpoint.lacks_batches(),
        }
    }
    let body = endpoint.single_raw(&Call::block(wish.number)).await?;
    let parts = parse_block(endpoint, wish.number, &body)?;
    with_receipts(endpoint, wish, parts).await
}

/// Block and receipts in one HTTP batch.
async fn in_one_request(endpoint: &Arc<Endpoint>, wish: Wish) -> Result<First, RpcError> {
    let calls = [Call::block(wish.number), Call::block_receipts(wish.number)];
    let body = match endpoint.batch_raw(&calls).await {
        Ok(body) => body,
        Err(error) if error.cause == Cause::BatchRefused => return Ok(First::NoBatches),
        Err(error) => return Err(error),
    };
    let answered = clock::now();
    let endpoint = endpoint.clone();
    on_cpu(move || read_batch(&endpoint, wish, &calls, &body, answered)).await
}

fn read_batch(
    endpoint: &Endpoint,
    wish: Wish,
    calls: &[Call],
    body: &Bytes,
    answered: Instant,
) -> Result<First, RpcError> {
    let method = "eth_getBlockByNumber";
    let text = endpoint.text(method, body)?;
    let reply = parse_batch::<Piece>(text).map_err(|error| endpoint.malformed(method, &error))?;
    let answers = match endpoint.sort(calls, reply) {
        Ok(answers) => answers,
        Err(error) if error.cause == Cause::BatchRefused => return Ok(First::NoBatches),
        Err(error) => return Err(error),
    };
    let mut answers = answers.into_iter();
    let parts = match answers.next().transpose()?.flatten() {
        Some(Piece::Block(parts)) => parts,
        Some(Piece::Receipts(_)) => {
            return Err(endpoint.error(method, Cause::Malformed, "receipts instead of a block"));
        }
        None => return Err(not_there(endpoint, wish.number)),
    };
    match answers.next().transpose().map(Option::flatten) {
        Ok(Some(Piece::Receipts(receipts))) => {
            finish(endpoint, wish, *parts, receipts, answered).map(First::Whole)
        }
        Ok(Some(Piece::Block(_))) => {
            let method = "eth_getBlockReceipts";
            Err(endpoint.error(method, Cause::Malformed, "a block instead of receipts"))
        }
        Ok(None) => Err(not_there(endpoint, wish.number)),
        Err(error) if error.cause == Cause::MethodMissing => Ok(First::WithoutReceipts(parts)),
        Err(error) => Err(error),
    }
}

fn not_there(endpoint: &Endpoint, number: u64) -> RpcError {
    let reason = format!("block {number} or its receipts are not there (null)");
    endpoint.error("eth_getBlockByNumber", Cause::BlockMissing, &reason)
}

fn parse_block(endpoint: &Endpoint, number: u64, body: &Bytes) -> Result<BlockParts, RpcError> {
    let method = "eth_getBlockByNumber";
    let text = endpoint.text(method, body)?;
    let reply = parse_single::<BlockParts>(text);
    let reply = reply.map_err(|error| endpoint.malformed(method, &error))?;
    endpoint.take(method, reply)?.ok_or_else(|| not_there(endpoint, number))
}

fn finish(
    endpoint: &Endpoint,
    wish: Wish,
    parts: BlockParts,
    receipts: Vec<Linked<Receipt>>,
    answered: Instant,
) -> Result<Fetched, RpcError> {
    let (block, verified) =
        assemble(wish.number, parts, receipts, wish.depth).map_err(|error| {
            let cause = match &error {
                AssembleError::OtherBlock { .. } => Cause::Moved,
                AssembleError::Link(_)
                | AssembleError::Mismatch(_)
                | AssembleError::Topics { .. } => Cause::Wrong,
            };
            endpoint.error("eth_getBlockByNumber", cause, &error.to_string())
        })?;
    Ok(Fetched { block, verified, provider: endpoint.name().to_owned(), answered })
}

/// The receipts of a block that is here, by the best way that the provider has.
async fn with_receipts(
    endpoint: &Arc<Endpoint>,
    wish: Wish,
    parts: BlockParts,
) -> Result<Fetched, RpcError> {
    let mut receipts = None;
    if endpoint.has_block_receipts() {
        let call = Call::block_receipts(wish.number);
        let body = endpoint.single_raw(&call).await?;
        let text = endpoint.text(call.method, &body)?;
        let reply = parse_single(text).map_err(|error| endpoint.malformed(call.method, &error))?;
        match endpoint.take::<Vec<Linked<Receipt>>>(call.method, reply) {
            Ok(list) => receipts = Some(list.ok_or_else(|| not_there(endpoint, wish.number))?),
            Err(error) if error.cause == Cause::MethodMissing => endpoint.lacks_block_receipts(),
            Err(error) => return Err(error),
        }
    }
    let receipts = match receipts {
        Some(receipts) => receipts,
        None => single_receipts(endpoint, wish, &parts).await?,
    };
    let answered = clock::now();
    let endpoint = endpoint.clone();
    on_cpu(move || finish(&endpoint, wish, parts, receipts, answered)).await
}

/// `eth_getTransactionReceipt` for each transaction, in batches where they are taken.
async fn single_receipts(
    endpoint: &Arc<Endpoint>,
    wish: Wish,
    parts: &BlockParts,
) -> Result<Vec<Linked<Receipt>>, RpcError> {
    let calls: Vec<Call> = parts.transaction_hashes().map(Call::receipt).collect();
    let mut receipts = Vec::with_capacity(calls.len());
    for chunk in calls.chunks(RECEIPTS_PER_BATCH) {
        if endpoint.takes_batches() {
            if let Some(answers) = batch_of_receipts(endpoint, chunk).await? {
                for answer in answers {
                    receipts.push(answer?.ok_or_else(|| not_there(endpoint, wish.number))?);
                }
                continue;
            }
            endpoint.lacks_batches();
        }
        for call in chunk {
            let body = endpoint.single_raw(call).await?;
            let text = endpoint.text(call.method, &body)?;
            let reply = parse_single(text);
            let reply = reply.map_err(|error| endpoint.malformed(call.method, &error))?;
            let receipt = endpoint.take(call.method, reply)?;
            receipts.push(receipt.ok_or_else(|| not_there(endpoint, wish.number))?);
        }
    }
    Ok(receipts)
}

type ReceiptAnswers = Vec<Result<Option<Linked<Receipt>>, RpcError>>;

/// The answers to a batch, in order; `None` when the provider takes no batches.
async fn batch_of_receipts(
    endpoint: &Endpoint,
    calls: &[Call],
) -> Result<Option<ReceiptAnswers>, RpcError> {
    let method = "eth_getTransactionReceipt";
    let sorted = match endpoint.batch_raw(calls).await {
        Ok(body) => {
            let text = endpoint.text(method, &body)?;
            let reply = parse_batch(text).map_err(|error| endpoint.malformed(method, &error))?;
            endpoint.sort(calls, reply)
        }
        Err(error) => Err(error),
    };
    match sorted {
        Ok(answers) => Ok(Some(answers)),
        Err(error) if error.cause == Cause::BatchRefused => Ok(None),
        Err(error) => Err(error),
    }
}

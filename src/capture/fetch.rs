//! The calls that bring one block from one provider: two, in one request where it takes batches.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use headwater_storage::model::{BlockParts, Linked, Receipt};

use crate::clock;
use crate::rpc::{Call, Cause, Endpoint, RpcError, parse_batch, parse_single};
use crate::supervisor::on_cpu;

use super::Fetched;
use super::assemble::{AssembleError, Piece, assemble};
use super::verify::Depth;

/// Receipts that are asked for in one batch where `eth_getBlockReceipts` is missing.
const RECEIPTS_PER_BATCH: usize = 100;

/// The block that is asked for, and how much of it is to be proved.
#[derive(Clone, Copy)]
pub(super) struct Wish {
    pub(super) number: u64,
    pub(super) depth: Depth,
}

/// What the first request gave.
enum First {
    Whole(Fetched),
    WithoutReceipts(Box<BlockParts>),
    NoBatches,
}

/// The whole block.
pub(super) async fn fetch(endpoint: &Arc<Endpoint>, wish: Wish) -> Result<Fetched, RpcError> {
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
    // One after the other: receipts of a block that is not there may be the dearer call.
    let body = endpoint.single_raw(&Call::block(wish.number)).await?;
    let parts = parse_block(endpoint, wish.number, &body)?;
    with_receipts(endpoint, wish, parts).await
}

fn parse_receipts(
    endpoint: &Endpoint,
    number: u64,
    body: &Bytes,
) -> Result<Vec<Linked<Receipt>>, RpcError> {
    let method = "eth_getBlockReceipts";
    let text = endpoint.text(method, body)?;
    let reply = parse_single(text).map_err(|error| endpoint.malformed(method, &error))?;
    endpoint.take(method, reply)?.ok_or_else(|| not_there(endpoint, number))
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

pub(super) fn parse_block(
    endpoint: &Endpoint,
    number: u64,
    body: &Bytes,
) -> Result<BlockParts, RpcError> {
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
pub(super) async fn with_receipts(
    endpoint: &Arc<Endpoint>,
    wish: Wish,
    parts: BlockParts,
) -> Result<Fetched, RpcError> {
    let mut receipts = None;
    if endpoint.has_block_receipts() {
        let body = endpoint.single_raw(&Call::block_receipts(wish.number)).await?;
        match parse_receipts(endpoint, wish.number, &body) {
            Ok(list) => receipts = Some(list),
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

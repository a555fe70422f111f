//! The calls that bring one block from one provider: two, in one request where it takes batches.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use headwater_storage::model::{BlockParts, Linked, Receipt};

use crate::clock;
use crate::rpc::{Call, Cause, Endpoint, RpcError, parse_batch, parse_single};
use crate::supervisor::on_cpu;

use super::Fetched;
use super::assemble::{AssembleError, Body, Piece, Whole};
use super::source::together;
use super::verify::Prover;

/// The block that is asked for, and how much of it is to be proved.
#[derive(Clone)]
pub(super) struct Wish {
    pub(super) number: u64,
    pub(super) prover: Arc<Prover>,
    /// Whether it is asked for to see whether it is there.
    pub(super) is_question: bool,
}

/// What the first request gave.
enum First {
    Whole(Fetched),
    WithoutReceipts(Box<Body>),
    NoBatches,
}

/// Why a block is not whole, and the proved part of it that came all the same.
pub(super) struct Failed {
    pub(super) error: RpcError,
    pub(super) known: Option<Box<Body>>,
}

impl Failed {
    /// Only what is proved is of use to others.
    fn of(error: RpcError, body: Box<Body>) -> Failed {
        Failed { error, known: Some(body).filter(|body| body.is_proved()) }
    }

    /// Whether it says that a block is not there to who asked just that.
    pub(super) fn is_answer_to(&self, wish: &Wish) -> bool {
        wish.is_question && self.known.is_none() && self.error.cause == Cause::BlockMissing
    }
}

impl From<RpcError> for Failed {
    fn from(error: RpcError) -> Failed {
        Failed { error, known: None }
    }
}

/// The whole block, or what is left of it where a part is known.
pub(super) async fn fetch(
    endpoint: &Arc<Endpoint>,
    wish: &Wish,
    known: Option<Box<Body>>,
) -> Result<Fetched, Failed> {
    let body = match known {
        Some(body) => body,
        // A question is cheap: the receipts of a block that is not there may be the dearer call.
        None if !wish.is_question && endpoint.takes_batches() && endpoint.has_block_receipts() => {
            match in_one_request(endpoint, wish).await? {
                First::Whole(fetched) => return Ok(fetched),
                First::WithoutReceipts(body) => body,
                First::NoBatches => {
                    endpoint.batch_refused(2);
                    body(endpoint, wish).await?
                }
            }
        }
        None => body(endpoint, wish).await?,
    };
    with_receipts(endpoint, wish, body).await
}

/// A block from one and its receipts from another, asked at the same time.
pub(super) async fn fetch_from_two(
    of_body: &Arc<Endpoint>,
    of_receipts: &Arc<Endpoint>,
    wish: &Wish,
) -> Result<Fetched, Failed> {
    let (body, receipts) = tokio::join!(body(of_body, wish), block_receipts(of_receipts, wish));
    let lacks_method = |error: &RpcError| error.cause == Cause::MethodMissing;
    if receipts.as_ref().is_err_and(lacks_method) {
        of_receipts.lacks_block_receipts();
    }
    let (body, (receipts, answered)) = match (body, receipts) {
        (Ok(body), Ok(receipts)) => (body, receipts),
        (Ok(body), Err(error)) => return Err(Failed::of(error, body)),
        (Err(error), receipts) => {
            // The caller hears of one failure.
            if let Err(error) = receipts {
                of_receipts.failed(&error);
            }
            return Err(error.into());
        }
    };
    let (endpoint, wish) = (of_receipts.clone(), wish.clone());
    on_cpu(move || finish(&endpoint, &wish, body, receipts, answered)).await
}

/// All receipts of a block in one call, and when they came.
async fn block_receipts(
    endpoint: &Arc<Endpoint>,
    wish: &Wish,
) -> Result<(Vec<Linked<Receipt>>, Instant), RpcError> {
    let answer = endpoint.single_raw(&Call::block_receipts(wish.number)).await?;
    let answered = clock::now();
    let (endpoint, number) = (endpoint.clone(), wish.number);
    let parse = move || parse_receipts(&endpoint, number, &answer);
    on_cpu(parse).await.map(|receipts| (receipts, answered))
}

/// The block without its receipts.
async fn body(endpoint: &Arc<Endpoint>, wish: &Wish) -> Result<Box<Body>, RpcError> {
    let answer = endpoint.single_raw(&Call::block(wish.number)).await?;
    let (endpoint, wish) = (endpoint.clone(), wish.clone());
    on_cpu(move || {
        let parts = parse_block(&endpoint, wish.number, &answer)?;
        let body = Body::new(wish.number, parts, &wish.prover, endpoint.provider());
        body.map_err(|error| misfit(&endpoint, &error))
    })
    .await
}

/// Whose fault it is that pieces do not fit.
fn misfit(endpoint: &Endpoint, error: &AssembleError) -> RpcError {
    let cause = match error {
        AssembleError::OtherBlock { .. } => Cause::Moved,
        AssembleError::Link(_) | AssembleError::Mismatch(_) => Cause::Wrong,
    };
    endpoint.error("eth_getBlockByNumber", cause, &error.to_string())
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
async fn in_one_request(endpoint: &Arc<Endpoint>, wish: &Wish) -> Result<First, Failed> {
    let calls = [Call::block(wish.number), Call::block_receipts(wish.number)];
    let body = match endpoint.batch_raw(&calls).await {
        Ok(body) => body,
        Err(error) if error.cause == Cause::BatchRefused => return Ok(First::NoBatches),
        Err(error) => return Err(error.into()),
    };
    let answered = clock::now();
    let (endpoint, wish) = (endpoint.clone(), wish.clone());
    on_cpu(move || read_batch(&endpoint, &wish, &calls, &body, answered)).await
}

fn read_batch(
    endpoint: &Endpoint,
    wish: &Wish,
    calls: &[Call],
    body: &Bytes,
    answered: Instant,
) -> Result<First, Failed> {
    let method = "eth_getBlockByNumber";
    let text = endpoint.text(method, body)?;
    let reply = parse_batch::<Piece>(text).map_err(|error| endpoint.malformed(method, &error))?;
    let answers = match endpoint.sort(calls, reply) {
        Ok(answers) => answers,
        Err(error) if error.cause == Cause::BatchRefused => return Ok(First::NoBatches),
        Err(error) => return Err(error.into()),
    };
    let mut answers = answers.into_iter();
    let parts = match answers.next().transpose()?.flatten() {
        Some(Piece::Block(parts)) => parts,
        Some(Piece::Receipts(_)) => {
            let reason = "receipts instead of a block";
            return Err(endpoint.error(method, Cause::Malformed, reason).into());
        }
        None => return Err(not_there(endpoint, wish.number).into()),
    };
    let body = Body::new(wish.number, *parts, &wish.prover, endpoint.provider());
    let body = body.map_err(|error| misfit(endpoint, &error))?;
    let method = "eth_getBlockReceipts";
    let error = match answers.next().transpose().map(Option::flatten) {
        Ok(Some(Piece::Receipts(receipts))) => {
            return finish(endpoint, wish, body, receipts, answered).map(First::Whole);
        }
        Ok(Some(Piece::Block(_))) => {
            endpoint.error(method, Cause::Malformed, "a block instead of receipts")
        }
        Ok(None) => not_there(endpoint, wish.number),
        Err(error) if error.cause == Cause::MethodMissing => {
            endpoint.lacks_block_receipts();
            return Ok(First::WithoutReceipts(body));
        }
        Err(error) => error,
    };
    Err(Failed::of(error, body))
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
    wish: &Wish,
    body: Box<Body>,
    receipts: Vec<Linked<Receipt>>,
    answered: Instant,
) -> Result<Fetched, Failed> {
    let provider = together(body.provider(), endpoint.provider());
    let whole = body.with_receipts(receipts, &wish.prover, endpoint.provider());
    let Whole { block, verified, mended } =
        whole.map_err(|(error, body)| Failed::of(misfit(endpoint, &error), body))?;
    endpoint.has_mended(mended.names());
    Ok(Fetched { block, verified, provider, answered })
}

/// The receipts of a block that is here, by the best way that the provider has.
async fn with_receipts(
    endpoint: &Arc<Endpoint>,
    wish: &Wish,
    body: Box<Body>,
) -> Result<Fetched, Failed> {
    let receipts = match receipts(endpoint, wish, &body).await {
        Ok(receipts) => receipts,
        Err(error) => return Err(Failed::of(error, body)),
    };
    let answered = clock::now();
    let (endpoint, wish) = (endpoint.clone(), wish.clone());
    on_cpu(move || finish(&endpoint, &wish, body, receipts, answered)).await
}

async fn receipts(
    endpoint: &Arc<Endpoint>,
    wish: &Wish,
    body: &Body,
) -> Result<Vec<Linked<Receipt>>, RpcError> {
    if endpoint.has_block_receipts() {
        match block_receipts(endpoint, wish).await {
            Err(error) if error.cause == Cause::MethodMissing => endpoint.lacks_block_receipts(),
            result => return result.map(|(receipts, _)| receipts),
        }
    }
    single_receipts(endpoint, wish, body).await
}

/// `eth_getTransactionReceipt` for each transaction, in batches where they are taken.
async fn single_receipts(
    endpoint: &Arc<Endpoint>,
    wish: &Wish,
    body: &Body,
) -> Result<Vec<Linked<Receipt>>, RpcError> {
    let calls: Vec<Call> = body.transaction_hashes().map(Call::receipt).collect();
    let mut receipts = Vec::with_capacity(calls.len());
    let mut rest = calls.as_slice();
    while let Some((call, others)) = rest.split_first() {
        let size = endpoint.batch_max().min(rest.len());
        if size < 2 {
            let body = endpoint.single_raw(call).await?;
            let text = endpoint.text(call.method, &body)?;
            let reply = parse_single(text);
            let reply = reply.map_err(|error| endpoint.malformed(call.method, &error))?;
            let receipt = endpoint.take(call.method, reply)?;
            receipts.push(receipt.ok_or_else(|| not_there(endpoint, wish.number))?);
            rest = others;
            continue;
        }
        let (chunk, behind) = rest.split_at(size);
        let Some(answers) = batch_of_receipts(endpoint, chunk).await? else {
            endpoint.batch_refused(size);
            continue;
        };
        for answer in answers {
            receipts.push(answer?.ok_or_else(|| not_there(endpoint, wish.number))?);
        }
        rest = behind;
    }
    Ok(receipts)
}

type ReceiptAnswers = Vec<Result<Option<Linked<Receipt>>, RpcError>>;

/// The answers to a batch, in order; `None` when the provider takes no such batch.
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
        Err(error) if matches!(error.cause, Cause::BatchRefused | Cause::TooBig) => Ok(None),
        Err(error) => Err(error),
    }
}

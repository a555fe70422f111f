//! The calls that bring one block from one provider: two, in one request where it takes batches.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use headwater_storage::model::{BlockParts, Linked, Receipt};
use serde_json::value::RawValue;

use crate::clock;
use crate::rpc::{
    BatchReply, Call, Cause, Endpoint, ReceiptsBy, RpcError, parse_batch, parse_single,
};
use crate::supervisor::on_cpu;

use super::Fetched;
use super::assemble::{AssembleError, Body, Piece, Whole};
use super::receipts::{self, Step, Told, along_ways, in_order, is_of_way, list};
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
    WithoutReceipts(Box<Body>, Vec<Told>),
    NoBatches,
}

/// Why a block is not whole, and what came of it all the same.
pub(super) struct Failed {
    pub(super) error: RpcError,
    pub(super) rest: Option<Box<Rest>>,
}

/// A block that lacks its receipts.
pub(super) struct Rest {
    pub(super) body: Box<Body>,
    /// How they were asked for in vain.
    pub(super) told: Vec<Told>,
}

impl Failed {
    /// The block is here, its receipts are not.
    pub(super) fn of_receipts(error: RpcError, body: Box<Body>, told: Vec<Told>) -> Failed {
        Failed { error, rest: Some(Box::new(Rest { body, told })) }
    }

    /// Whether it says that a block is not there to who asked just that.
    pub(super) fn is_answer_to(&self, wish: &Wish) -> bool {
        wish.is_question && self.rest.is_none() && self.error.cause == Cause::BlockMissing
    }
}

impl From<RpcError> for Failed {
    fn from(error: RpcError) -> Failed {
        Failed { error, rest: None }
    }
}

/// The whole block, or what is left of it where a part is known.
pub(super) async fn fetch(
    endpoint: &Arc<Endpoint>,
    wish: &Wish,
    known: Option<Box<Body>>,
) -> Result<Fetched, Failed> {
    let first = endpoint.receipts_by();
    let mut step = Step::at(first.max(ReceiptsBy::Number));
    let mut told = Vec::new();
    let body = match known {
        Some(body) => body,
        // A question is cheap: the receipts of a block that is not there may be the dearer call.
        None if !wish.is_question && first == ReceiptsBy::Pair => {
            match in_one_request(endpoint, wish).await? {
                First::Whole(fetched) => {
                    endpoint.receipts_came();
                    return Ok(fetched);
                }
                First::WithoutReceipts(body, of_pair) => {
                    let last = of_pair.last();
                    let next = last.and_then(|told| told.step.after(&told.error.cause));
                    step = next.unwrap_or(step);
                    told = of_pair;
                    body
                }
                First::NoBatches => {
                    endpoint.batch_refused(2);
                    body(endpoint, wish).await?
                }
            }
        }
        None => body(endpoint, wish).await?,
    };
    along_ways(endpoint, wish, body, step, is_of_way).await.map_err(|mut failed| {
        if let Some(rest) = &mut failed.rest {
            told.append(&mut rest.told);
            rest.told = told;
        }
        failed
    })
}

/// A block from one and its receipts from another, asked at the same time.
pub(super) async fn fetch_from_two(
    of_body: &Arc<Endpoint>,
    of_receipts: &Arc<Endpoint>,
    wish: &Wish,
) -> Result<Fetched, Failed> {
    let call = Call::block_receipts(wish.number);
    let (body, receipts) = tokio::join!(body(of_body, wish), list(of_receipts, &call));
    let answered = clock::now();
    let body = match body {
        Ok(body) => body,
        Err(error) => {
            // The caller hears of one failure.
            if let Err(error) = receipts {
                of_receipts.failed(&error);
            }
            return Err(error.into());
        }
    };
    let result = match receipts {
        Ok(receipts) => {
            let (endpoint, wish) = (of_receipts.clone(), wish.clone());
            on_cpu(move || finish(&endpoint, &wish, body, receipts, answered)).await
        }
        Err(error) => Err((error, body)),
    };
    result.map_err(|(error, body)| {
        if error.cause == Cause::MethodMissing {
            of_receipts.lacks_block_receipts();
        }
        let step = Step::at(ReceiptsBy::Number);
        let told = Told { endpoint: of_receipts.clone(), step, error: error.clone() };
        Failed::of_receipts(error, body, vec![told])
    })
}

/// The block without its receipts.
async fn body(endpoint: &Arc<Endpoint>, wish: &Wish) -> Result<Box<Body>, RpcError> {
    let answer = endpoint.single_raw(&Call::block(wish.number)).await?;
    let (endpoint, wish) = (endpoint.clone(), wish.clone());
    on_cpu(move || new_body(&endpoint, &wish, parse_block(&endpoint, wish.number, &answer)?)).await
}

/// Whose fault it is that pieces do not fit.
fn misfit(endpoint: &Endpoint, method: &'static str, error: &AssembleError) -> RpcError {
    let cause = match error {
        AssembleError::OtherBlock { .. } => Cause::Moved,
        AssembleError::Link(_) | AssembleError::Mismatch(_) => Cause::Wrong,
    };
    endpoint.error(method, cause, &error.to_string())
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
    endpoint: &Arc<Endpoint>,
    wish: &Wish,
    calls: &[Call],
    body: &Bytes,
    answered: Instant,
) -> Result<First, Failed> {
    let method = "eth_getBlockByNumber";
    let text = endpoint.text(method, body)?;
    let reply = match parse_batch::<Piece>(text) {
        Ok(reply) => reply,
        // One of the two may be right: what is wrong with the other is said of that one.
        Err(error) => match parse_batch::<&RawValue>(text) {
            Ok(reply) => return read_apart(endpoint, wish, calls, reply),
            Err(_) => return Err(endpoint.malformed(method, &error).into()),
        },
    };
    let answers = match endpoint.sort(calls, reply) {
        Ok(answers) => answers,
        Err(error) if error.cause == Cause::BatchRefused => return Ok(First::NoBatches),
        Err(error) => return Err(error.into()),
    };
    let mut answers = answers.into_iter();
    let parts = match answers.next().transpose()?.flatten() {
        Some(Piece::Block(parts)) => *parts,
        Some(Piece::Receipts(_)) => {
            let reason = "receipts instead of a block";
            return Err(endpoint.error(method, Cause::Malformed, reason).into());
        }
        None => return Err(not_there(endpoint, wish.number).into()),
    };
    let body = new_body(endpoint, wish, parts)?;
    let method = ReceiptsBy::Pair.method();
    let (error, body) = match answers.next().transpose().map(Option::flatten) {
        Ok(Some(Piece::Receipts(receipts))) => {
            match finish(endpoint, wish, body, receipts, answered) {
                Ok(fetched) => return Ok(First::Whole(fetched)),
                Err(failed) => failed,
            }
        }
        Ok(Some(Piece::Block(_))) => {
            (endpoint.error(method, Cause::Malformed, "a block instead of receipts"), body)
        }
        Ok(None) => (receipts::not_there(endpoint, method), body),
        Err(error) => (error, body),
    };
    without_receipts(endpoint, error, body)
}

/// The same for an answer that does not read as one: block and receipts are read apart.
fn read_apart(
    endpoint: &Arc<Endpoint>,
    wish: &Wish,
    calls: &[Call],
    reply: BatchReply<&RawValue>,
) -> Result<First, Failed> {
    let mut answers = endpoint.sort(calls, reply)?.into_iter();
    let method = "eth_getBlockByNumber";
    let text = answers.next().transpose()?.flatten();
    let text = text.ok_or_else(|| not_there(endpoint, wish.number))?;
    let parts = serde_json::from_str(text.get());
    let parts: BlockParts = parts.map_err(|error| endpoint.malformed(method, &error))?;
    let body = new_body(endpoint, wish, parts)?;
    let method = ReceiptsBy::Pair.method();
    let error = match answers.next().transpose().map(Option::flatten) {
        Ok(Some(text)) => match serde_json::from_str::<Vec<Linked<Receipt>>>(text.get()) {
            Ok(_) => endpoint.error(method, Cause::Malformed, "the answer reads only in part"),
            Err(error) => endpoint.malformed(method, &error),
        },
        Ok(None) => receipts::not_there(endpoint, method),
        Err(error) => error,
    };
    without_receipts(endpoint, error, body)
}

/// A pair without its second half: where that is because of the pair, the walk goes on.
fn without_receipts(
    endpoint: &Arc<Endpoint>,
    error: RpcError,
    body: Box<Body>,
) -> Result<First, Failed> {
    if error.cause == Cause::MethodMissing {
        endpoint.lacks_block_receipts();
    }
    let (step, is_of_way) = (Step::at(ReceiptsBy::Pair), is_of_way(&error.cause));
    let told = vec![Told { endpoint: endpoint.clone(), step, error: error.clone() }];
    if is_of_way {
        return Ok(First::WithoutReceipts(body, told));
    }
    Err(Failed::of_receipts(error, body, told))
}

fn not_there(endpoint: &Endpoint, number: u64) -> RpcError {
    let reason = format!("block {number} is not there (null)");
    endpoint.error("eth_getBlockByNumber", Cause::BlockMissing, &reason)
}

fn new_body(endpoint: &Endpoint, wish: &Wish, parts: BlockParts) -> Result<Box<Body>, RpcError> {
    let body = Body::new(wish.number, parts, &wish.prover, endpoint.provider());
    body.map_err(|error| misfit(endpoint, "eth_getBlockByNumber", &error))
}

fn parse_block(endpoint: &Endpoint, number: u64, body: &Bytes) -> Result<BlockParts, RpcError> {
    let method = "eth_getBlockByNumber";
    let text = endpoint.text(method, body)?;
    let reply = parse_single::<BlockParts>(text);
    let reply = reply.map_err(|error| endpoint.malformed(method, &error))?;
    endpoint.take(method, reply)?.ok_or_else(|| not_there(endpoint, number))
}

/// A block with its receipts, proved; what they do not fit to is given back.
pub(super) fn finish(
    endpoint: &Endpoint,
    wish: &Wish,
    body: Box<Body>,
    receipts: Vec<Linked<Receipt>>,
    answered: Instant,
) -> Result<Fetched, (RpcError, Box<Body>)> {
    let method = ReceiptsBy::Pair.method();
    let count = body.transaction_hashes().count();
    if receipts.is_empty() && count > 0 {
        // How some nodes say that they do not have them yet.
        let reason = format!("[] (of {count} transactions)");
        return Err((endpoint.error(method, Cause::BlockMissing, &reason), body));
    }
    let provider = together(body.provider(), endpoint.provider());
    let receipts = in_order(&body, receipts);
    let whole = body.with_receipts(receipts, &wish.prover, endpoint.provider());
    let Whole { block, verified, mended } =
        whole.map_err(|(error, body)| (misfit(endpoint, method, &error), body))?;
    endpoint.has_mended(mended.names());
    Ok(Fetched { block, verified, provider, answered })
}

//! The traces of a block that is here: asked for where they can be had, by what is there.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use headwater_storage::model::{
    Block, ClaimedTrace, LinkError, Verified, read_call_frames, read_trace_block, trace_tree,
};
use serde_json::value::RawValue;

use crate::clock;
use crate::rpc::{
    Call, Cause, DEBUG_TRACE_BLOCK, Endpoint, Pool, Purpose, RpcError, TRACE_BLOCK, Wanted,
    parse_single,
};
use crate::supervisor::on_cpu;

use super::Fetched;
use super::source::together;
use super::verify::{Depth, Mismatch, prove_traces};

/// How often everybody is asked for traces of a block that is there: they may come later.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(300);

/// Why traces do not fit their block.
#[derive(Debug, thiserror::Error)]
enum TraceError {
    /// There are none.
    #[error("no traces of a block with transactions")]
    None,
    /// One stands elsewhere.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// They say something else than transactions and receipts.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
}

/// Whether there is anything to trace: transactions, or, before the Merge, a reward. No node traces
/// a genesis.
pub(super) fn can_have_traces(block: &Block) -> bool {
    let has_reward = !block.header.difficulty.is_zero();
    block.header.number > 0 && (has_reward || !block.transactions.is_empty())
}

/// Adds the traces to a block; `note` is told of failures.
pub(super) async fn add_traces(
    pool: &Pool,
    purpose: Purpose,
    depth: Depth,
    fetched: &mut Fetched,
    note: &(dyn Fn(&Endpoint, &RpcError) + Sync),
) -> Result<(), RpcError> {
    let mut tries = 1;
    loop {
        let error = match once(pool, purpose, depth, fetched, note).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if !error.is_absence() || tries >= TRIES {
            return Err(error);
        }
        tries += 1;
        tokio::time::sleep(PAUSE).await;
    }
}

/// Asks one provider after the other.
async fn once(
    pool: &Pool,
    purpose: Purpose,
    depth: Depth,
    fetched: &mut Fetched,
    note: &(dyn Fn(&Endpoint, &RpcError) + Sync),
) -> Result<(), RpcError> {
    let mut turn = pool.turn(purpose, Wanted::Traces);
    let mut last = None;
    while let Some(asked) = turn.next().await {
        let endpoint = &asked.endpoint;
        match from(endpoint, depth, fetched).await {
            Ok(()) => return Ok(()),
            Err(error) => {
                note(endpoint, &error);
                turn.failed(&error);
                last = Some(error);
            }
        }
    }
    if pool.endpoints().iter().all(|endpoint| endpoint.trace_method().is_none()) {
        return Err(nobody_traces(pool));
    }
    Err(last.unwrap_or_else(|| turn.nobody()))
}

fn nobody_traces(pool: &Pool) -> RpcError {
    let reason = format!(
        "no provider has {TRACE_BLOCK} or {DEBUG_TRACE_BLOCK}: remove `traces = true` of the \
         chain, or add a provider that has one"
    );
    let provider = pool.chain().to_string();
    RpcError { provider, method: TRACE_BLOCK, cause: Cause::MethodMissing, reason }
}

/// Learns how an endpoint gives traces; one that gives none is no error.
pub(super) async fn probe_traces(
    endpoint: &Arc<Endpoint>,
    depth: Depth,
    mut fetched: Fetched,
) -> Result<(), RpcError> {
    match from(endpoint, depth, &mut fetched).await {
        Err(error) if error.cause == Cause::MethodMissing => Ok(()),
        result => result,
    }
}

/// The traces as one endpoint gives them, by the first method that it has.
async fn from(
    endpoint: &Arc<Endpoint>,
    depth: Depth,
    fetched: &mut Fetched,
) -> Result<(), RpcError> {
    let number = fetched.block.header.number;
    let mut last = None;
    while let Some(method) = endpoint.trace_method() {
        let call = match method {
            TRACE_BLOCK => Call::trace_block(number),
            _ => Call::debug_trace_block(number),
        };
        match ask(endpoint, &call, depth, fetched).await {
            Err(error) if is_not_given(&error) => {
                endpoint.lacks_trace_method(method);
                last = Some(RpcError { cause: Cause::MethodMissing, ..error });
            }
            result => return result,
        }
    }
    Err(last
        .unwrap_or_else(|| endpoint.error(TRACE_BLOCK, Cause::MethodMissing, "it gives no traces")))
}

/// Whether a provider says that it has no such method, or not for this key: plans exclude traces
/// in words of their own, which name the method.
fn is_not_given(error: &RpcError) -> bool {
    let is_about_it = || error.reason.contains(error.method);
    match error.cause {
        Cause::MethodMissing => true,
        Cause::Pruned
        | Cause::Refused
        | Cause::InvalidParams
        | Cause::Unavailable
        | Cause::Other => is_about_it(),
        Cause::Throttled { .. }
        | Cause::QuotaSpent { .. }
        | Cause::BatchRefused
        | Cause::RangeTooWide { .. }
        | Cause::TooBig
        | Cause::BlockMissing
        | Cause::Moved
        | Cause::Resting
        | Cause::Malformed
        | Cause::Wrong => false,
    }
}

async fn ask(
    endpoint: &Arc<Endpoint>,
    call: &Call,
    depth: Depth,
    fetched: &mut Fetched,
) -> Result<(), RpcError> {
    let body = endpoint.single_raw(call).await?;
    fetched.answered = clock::now();
    let provider = endpoint.provider();
    let (endpoint, method) = (endpoint.clone(), call.method);
    // It is there and back: only one has it, so that it is not copied.
    let mut block = Arc::unwrap_or_clone(std::mem::take(&mut fetched.block));
    let (block, proved) = on_cpu(move || {
        let read = read(&endpoint, method, &body);
        let proved = read.and_then(|traces| {
            fit(&mut block, traces, depth).map_err(|error| {
                let cause = match &error {
                    TraceError::None => Cause::BlockMissing,
                    // Another block's, when the chain moves between two calls.
                    TraceError::Link(_) => Cause::Moved,
                    TraceError::Mismatch(_) => Cause::Wrong,
                };
                endpoint.error(method, cause, &error.to_string())
            })
        });
        if proved.is_err() {
            block.traces.clear();
        }
        (block, proved)
    })
    .await;
    fetched.block = Arc::new(block);
    fetched.verified = fetched.verified.with(proved?);
    fetched.provider = together(&fetched.provider, provider);
    Ok(())
}

fn read(
    endpoint: &Endpoint,
    method: &'static str,
    body: &Bytes,
) -> Result<Vec<ClaimedTrace>, RpcError> {
    let malformed = |error: serde_json::Error| endpoint.malformed(method, &error);
    let text = endpoint.text(method, body)?;
    let found = endpoint.take(method, parse_single::<&RawValue>(text).map_err(malformed)?)?;
    let found = found.ok_or_else(|| {
        endpoint.error(method, Cause::BlockMissing, "the block's traces are not there (null)")
    })?;
    match method {
        TRACE_BLOCK => read_trace_block(found.get()).map_err(malformed),
        _ => read_call_frames(found.get()).map_err(malformed),
    }
}

/// Puts traces into their block, and proves what can be proved of them.
fn fit(block: &mut Block, traces: Vec<ClaimedTrace>, depth: Depth) -> Result<Verified, TraceError> {
    if traces.is_empty() && (0..block.transactions.len()).any(|at| !block.is_outside_roots(at)) {
        return Err(TraceError::None);
    }
    let said: Vec<Option<u64>> = traces.iter().map(|claimed| claimed.subtraces).collect();
    block.add_traces(traces)?;
    if depth == Depth::Links || !prove_traces(block)? {
        return Ok(Verified::default());
    }
    // A call of which some are missing that it made.
    let tree = trace_tree(&block.traces).unwrap_or_default();
    let is_whole = tree.iter().zip(&said).all(|((made, _), said)| said.is_none_or(|n| n == *made));
    Ok(if is_whole { Verified::TRACES } else { Verified::default() })
}

#[cfg(test)]
mod tests {
    use headwater_storage::model::{Transaction, U256};

    use super::*;
    use crate::rpc::cause_of;

    #[test]
    fn what_cannot_have_traces_is_not_asked_for_them() {
        let mut block = Block::default();
        block.header.difficulty = U256::from(17_179_869_184_u64);
        assert!(!can_have_traces(&block), "a genesis");
        block.header.number = 1;
        assert!(can_have_traces(&block), "the miner's reward");
        block.header.difficulty = U256::ZERO;
        assert!(!can_have_traces(&block));
        block.transactions.push(Transaction::default());
        assert!(can_have_traces(&block));
    }

    #[test]
    fn a_plan_without_traces_is_no_missing_block() {
        let said = |message: &str| {
            let body = format!("{{\"error\":{{\"code\":-32600,\"message\":\"{message}\"}}}}");
            let cause = cause_of(None, &body).unwrap();
            let (provider, reason) = ("p".to_owned(), message.to_owned());
            is_not_given(&RpcError { provider, method: TRACE_BLOCK, cause, reason })
        };
        assert!(said("trace_block is not available on the Free tier - upgrade for access"));
        assert!(said("Unsupported method: trace_block on OPT_MAINNET"));
        assert!(said("trace_block requires a paid plan"));
        assert!(!said("required historical state unavailable (reexec=128)"));
        assert!(!said("missing trie node 1234 (path ) state 0xab is not available"));
    }
}

//! The receipts of a block that is here, by one way after the other until they come whole.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::sync::Arc;

use headwater_storage::model::{B256, Linked, Receipt};

use crate::clock;
use crate::rpc::{
    Call, Cause, Endpoint, HashForm, ReceiptsBy, RpcError, parse_batch, parse_single,
};
use crate::supervisor::on_cpu;

use super::Fetched;
use super::assemble::Body;
use super::fetch::{Failed, Wish, finish};

type Receipts = Vec<Linked<Receipt>>;

/// What is known of the ways that were tried before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Before {
    /// None was.
    #[default]
    Nothing,
    /// Each of them is not taken there, whatever the block.
    NotTaken,
    /// One of them failed, perhaps for this block alone.
    Failed,
}

/// Where a walk along the ways stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) way: ReceiptsBy,
    pub(super) before: Before,
}

impl Step {
    /// The first.
    pub(super) fn at(way: ReceiptsBy) -> Step {
        Step { way, before: Before::Nothing }
    }

    /// The one to take after a failure of this.
    pub(super) fn after(self, cause: &Cause) -> Option<Step> {
        let is_certain = matches!(cause, Cause::MethodMissing | Cause::InvalidParams);
        let failed = if is_certain { Before::NotTaken } else { Before::Failed };
        Some(Step { way: self.way.after(cause)?, before: self.before.max(failed) })
    }
}

/// Who did not give receipts by which way, and why.
#[derive(Clone)]
pub(super) struct Told {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) step: Step,
    pub(super) error: RpcError,
}

/// All that was tried for the receipts of one block.
#[derive(Default)]
pub(super) struct Tried {
    pub(super) told: Vec<Told>,
}

impl Tried {
    /// Whether all that was said is that they are not there.
    pub(super) fn is_absent(&self) -> bool {
        self.told.iter().all(|told| told.error.is_absence())
    }

    /// Where to go on at a provider: behind what it was asked for in vain.
    pub(super) fn next_at(&self, endpoint: &Endpoint) -> Option<Step> {
        let mut told = self.told.iter().rev();
        match told.find(|told| told.endpoint.provider() == endpoint.provider()) {
            Some(told) => {
                let cause = &told.error.cause;
                told.step.after(cause).filter(|_| may_come_otherwise(cause))
            }
            None => Some(Step::at(endpoint.receipts_by().max(ReceiptsBy::Number))),
        }
    }

    /// One error for all of it. What a provider could not say now weighs most, for nothing follows
    /// from it; then what is wrong with what came; then that nothing came.
    pub(super) fn error(&self) -> Option<RpcError> {
        let weight = |error: &RpcError| match speaks_of_block(&error.cause) {
            true if error.is_absence() => 1,
            true => 2,
            false if is_not_taken(&error.cause) => 0,
            false => 3,
        };
        // The first of the heaviest: by the shortest way.
        let heaviest = self.told.iter().rev().max_by_key(|told| weight(&told.error))?;
        Some(RpcError { reason: self.to_string(), ..heaviest.error.clone() })
    }
}

impl std::fmt::Display for Tried {
    /// `receipts null from one (by number, by hash); 9 instead of 10 from other (by number)`
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut groups: Vec<(&str, &str, String)> = Vec::new();
        for told in &self.told {
            let (name, what, way) = (told.endpoint.name(), &told.error.reason, told.step.way);
            match groups.iter_mut().find(|(n, w, _)| *n == name && w == what) {
                Some((.., ways)) if ways.contains(way.as_str()) => {}
                Some((.., ways)) => write!(ways, ", {}", way.as_str())?,
                None => groups.push((name, what, way.as_str().to_owned())),
            }
        }
        for (at, (name, what, ways)) in groups.iter().enumerate() {
            let start = match at {
                0 if what.starts_with("receipt") => "",
                0 => "receipts ",
                _ => "; ",
            };
            write!(f, "{start}{what} from {name} ({ways})")?;
        }
        Ok(())
    }
}

/// Whether a failure says something of the block that was asked for, and not only of who was asked
/// or how. Only such answers tell that a block cannot be had.
pub(super) fn speaks_of_block(cause: &Cause) -> bool {
    match cause {
        Cause::BlockMissing
        | Cause::Pruned
        | Cause::TooBig
        | Cause::Moved
        | Cause::Malformed
        | Cause::Wrong
        | Cause::Other => true,
        Cause::Throttled { .. }
        | Cause::QuotaSpent { .. }
        | Cause::Refused
        | Cause::MethodMissing
        | Cause::InvalidParams
        | Cause::BatchRefused
        | Cause::RangeTooWide { .. }
        | Cause::Unavailable
        | Cause::Resting => false,
    }
}

/// Whether it is the way that failed, at once and at every block: no reason to ask another provider
/// first.
pub(super) fn is_of_way(cause: &Cause) -> bool {
    is_not_taken(cause) || *cause == Cause::TooBig
}

fn is_not_taken(cause: &Cause) -> bool {
    matches!(cause, Cause::MethodMissing | Cause::InvalidParams | Cause::BatchRefused)
}

/// Whether another way may do better at the same provider.
pub(super) fn may_come_otherwise(cause: &Cause) -> bool {
    is_of_way(cause) || speaks_of_block(cause)
}

/// Walks along the ways from a step on, as long as `goes_on` says after a failure.
pub(super) async fn along_ways(
    endpoint: &Arc<Endpoint>,
    wish: &Wish,
    mut body: Box<Body>,
    mut step: Step,
    goes_on: fn(&Cause) -> bool,
) -> Result<Fetched, Failed> {
    let mut told = Vec::new();
    loop {
        let error = match by(endpoint, wish, body, step.way).await {
            Ok(fetched) => {
                match step.before {
                    Before::Nothing => endpoint.receipts_came(),
                    Before::NotTaken => endpoint.receipts_came_round(step.way, true),
                    Before::Failed => endpoint.receipts_came_round(step.way, false),
                }
                return Ok(fetched);
            }
            Err((error, back)) => {
                body = back;
                error
            }
        };
        if error.cause == Cause::MethodMissing && step.way != ReceiptsBy::Each {
            endpoint.lacks_block_receipts();
        }
        let next = step.after(&error.cause).filter(|_| goes_on(&error.cause));
        told.push(Told { endpoint: endpoint.clone(), step, error: error.clone() });
        match next {
            Some(next) => step = next,
            None => return Err(Failed::of_receipts(error, body, told)),
        }
    }
}

/// The block with its receipts by one way; what they did not come to is given back.
async fn by(
    endpoint: &Arc<Endpoint>,
    wish: &Wish,
    body: Box<Body>,
    way: ReceiptsBy,
) -> Result<Fetched, (RpcError, Box<Body>)> {
    let receipts = match way {
        ReceiptsBy::Pair | ReceiptsBy::Number => {
            list(endpoint, &Call::block_receipts(wish.number)).await
        }
        ReceiptsBy::Hash => {
            list(endpoint, &Call::block_receipts_by_hash(body.hash(), HashForm::Text)).await
        }
        ReceiptsBy::HashObject => {
            list(endpoint, &Call::block_receipts_by_hash(body.hash(), HashForm::Object)).await
        }
        ReceiptsBy::Each => one_by_one(endpoint, &body).await,
    };
    let receipts = match receipts {
        Ok(receipts) => receipts,
        Err(error) => return Err((error, body)),
    };
    let answered = clock::now();
    let endpoint = endpoint.clone();
    let wish = wish.clone();
    on_cpu(move || finish(&endpoint, &wish, body, receipts, answered)).await
}

/// All receipts of a block in one call.
pub(super) async fn list(endpoint: &Arc<Endpoint>, call: &Call) -> Result<Receipts, RpcError> {
    let answer = endpoint.single_raw(call).await?;
    let (endpoint, method) = (endpoint.clone(), call.method);
    on_cpu(move || {
        let reply = parse_single(endpoint.text(method, &answer)?);
        let reply = reply.map_err(|error| endpoint.malformed(method, &error))?;
        endpoint.take(method, reply)?.ok_or_else(|| not_there(&endpoint, method))
    })
    .await
}

/// `null` for receipts.
pub(super) fn not_there(endpoint: &Endpoint, method: &'static str) -> RpcError {
    endpoint.error(method, Cause::BlockMissing, "null")
}

/// Receipts in the order of their transactions, where they are one of each: the transaction's hash
/// in a receipt says which it is, and the receipts' root proves it.
pub(super) fn in_order(body: &Body, receipts: Receipts) -> Receipts {
    let of = |receipt: &Linked<Receipt>| receipt.links.transaction_hash;
    let is_in_order = body.transaction_hashes().eq(receipts.iter().map(of));
    if is_in_order || receipts.iter().any(|receipt| of(receipt).is_zero()) {
        return receipts;
    }
    let places: HashMap<B256, usize> =
        body.transaction_hashes().enumerate().map(|(at, hash)| (hash, at)).collect();
    let mut found: Vec<usize> =
        receipts.iter().filter_map(|receipt| places.get(&of(receipt)).copied()).collect();
    found.sort_unstable();
    if !found.iter().copied().eq(0..places.len()) || receipts.len() != places.len() {
        return receipts;
    }
    let mut receipts = receipts;
    receipts.sort_by_key(|receipt| places.get(&of(receipt)).copied());
    receipts
}

/// `eth_getTransactionReceipt` for each transaction, in batches where they are taken. What was too
/// large in a batch is asked for in a smaller one, and what failed in one is asked for alone.
async fn one_by_one(endpoint: &Arc<Endpoint>, body: &Body) -> Result<Receipts, RpcError> {
    let calls: Vec<Call> = body.transaction_hashes().map(Call::receipt).collect();
    let mut receipts: Vec<Option<Linked<Receipt>>> = calls.iter().map(|_| None).collect();
    let mut open = VecDeque::from([(0..calls.len()).collect::<Vec<usize>>()]);
    while let Some(mut places) = open.pop_front() {
        let size = endpoint.batch_max().min(places.len());
        if size < places.len().min(2) {
            // No batches: each alone.
            open.extend(places.split_off(1).into_iter().map(|at| vec![at]));
        } else if size < places.len() {
            open.push_front(places.split_off(size));
        }
        let asked: Vec<Call> = places.iter().filter_map(|at| calls.get(*at).cloned()).collect();
        let answers = match asked.as_slice() {
            [] => continue,
            [call] => vec![alone(endpoint, call).await],
            many => {
                let Some(answers) = batch(endpoint, many).await? else {
                    endpoint.batch_refused(places.len());
                    open.push_front(places);
                    continue;
                };
                answers
            }
        };
        let (mut too_big, count) = (Vec::new(), places.len());
        for (at, answer) in places.into_iter().zip(answers) {
            match answer {
                Ok(Some(receipt)) => {
                    if let Some(place) = receipts.get_mut(at) {
                        *place = Some(receipt);
                    }
                }
                Ok(None) => return Err(not_there(endpoint, ReceiptsBy::Each.method())),
                Err(error) if error.cause == Cause::TooBig && count > 1 => too_big.push(at),
                Err(error) if speaks_of_block(&error.cause) && count > 1 => {
                    open.push_back(vec![at]);
                }
                Err(error) => return Err(error),
            }
        }
        // Where none fitted half as many may.
        if too_big.len() == count {
            open.push_front(too_big.split_off(count / 2));
        }
        open.push_front(too_big);
    }
    let whole: Option<Receipts> = receipts.into_iter().collect();
    whole.ok_or_else(|| not_there(endpoint, ReceiptsBy::Each.method()))
}

type Answer = Result<Option<Linked<Receipt>>, RpcError>;

async fn alone(endpoint: &Endpoint, call: &Call) -> Answer {
    let body = endpoint.single_raw(call).await?;
    let reply = parse_single(endpoint.text(call.method, &body)?);
    endpoint.take(call.method, reply.map_err(|error| endpoint.malformed(call.method, &error))?)
}

/// The answers to a batch, in order; `None` when the provider takes no such batch.
async fn batch(endpoint: &Endpoint, calls: &[Call]) -> Result<Option<Vec<Answer>>, RpcError> {
    let method = ReceiptsBy::Each.method();
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

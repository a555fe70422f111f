//! The chain as its providers have it, together: heads, finality, and blocks that are right.

use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater_storage::model::{Block, BlockRef, Origin, Provider, Verified, seconds_of};

use crate::clock;
use crate::rpc::{Call, Cause, Claim, Endpoint, Pool, Purpose, RpcError, Wanted};

use super::fetch::{Wish, fetch};
use super::late::Late;
use super::status::{CaptureError, NotHad, Says};
use super::traces::{can_have_traces, probe_traces};
use super::verify::Prover;

/// Finality by depth where no provider knows the `finalized` tag.
const CONFIRMATIONS: u64 = 64;

/// A block that was proved as far as it can be by itself.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The block.
    pub block: Arc<Block>,
    /// What was proved.
    pub verified: Verified,
    /// Who gave it: block, receipts, traces; `one+other` where they are not the same.
    pub provider: String,
    /// When its last byte was here.
    pub answered: Instant,
}

/// Who gave a block, with who gave one more part of it.
pub(super) fn together(known: &str, other: &str) -> String {
    if known.split('+').any(|name| name == other) {
        known.to_owned()
    } else {
        format!("{known}+{other}")
    }
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
pub(super) struct HeaderAnswer {
    hash: alloy_primitives::B256,
    number: alloy_primitives::U64,
    timestamp: alloy_primitives::U64,
}

impl HeaderAnswer {
    /// As the head of who names it.
    pub(super) fn claim(&self) -> Claim {
        Claim { number: self.number.to(), time: seconds_of(self.timestamp.to()) }
    }
}

impl From<HeaderAnswer> for BlockRef {
    fn from(answer: HeaderAnswer) -> BlockRef {
        BlockRef { number: answer.number.to(), hash: answer.hash }
    }
}

/// Where blocks come from.
#[derive(Clone)]
pub struct Source {
    pub(super) pool: Pool,
    pub(super) prover: Arc<Prover>,
    pub(super) purpose: Purpose,
    pub(super) has_traces: bool,
    pub(super) late: Arc<Late>,
}

pub(super) const HEADER: Wanted = Wanted::Calls(&["eth_getBlockByNumber"]);

impl Source {
    /// Blocks of a chain from its providers.
    pub fn new(pool: Pool, prover: Arc<Prover>) -> Source {
        Source { pool, prover, purpose: Purpose::Head, has_traces: false, late: Arc::default() }
    }

    /// The same, with the traces of each block.
    #[must_use]
    pub fn with_traces(self, has_traces: bool) -> Source {
        Source { has_traces, ..self }
    }

    /// What is asked for a block.
    pub fn wanted(&self) -> &'static [Wanted] {
        if self.has_traces { &[Wanted::Block, Wanted::Traces] } else { &[Wanted::Block] }
    }

    /// The same, for history: asked for where it is cheapest, after the head.
    #[must_use]
    pub fn for_history(&self) -> Source {
        Source { purpose: Purpose::History, ..self.clone() }
    }

    /// Who proves its blocks.
    pub fn prover(&self) -> &Arc<Prover> {
        &self.prover
    }

    /// The providers.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// A provider named a head that nobody has.
    pub fn doubt(&self, provider: &str) {
        if let Some(endpoint) = self.pool.endpoints().iter().find(|e| e.name() == provider) {
            tracing::debug!(chain = %self.pool.chain(), provider, "names a head that nobody has");
            endpoint.doubt();
        }
    }

    /// How long to wait between questions, so that the quotas last until they reset.
    pub fn poll_min(&self) -> Duration {
        self.pool.poll_min(HEADER)
    }

    /// The block of a number if it is there: the block itself is the question, its receipts follow.
    pub async fn next(&self, number: u64) -> Result<Option<Fetched>, NotHad> {
        let wish = Wish { number, prover: self.prover.clone(), is_question: true };
        match self.ask_for(&wish).await {
            Err(not_had) if not_had.says == Says::NotThere => Ok(None),
            result => result.map(Some),
        }
    }

    /// The height up to which blocks are final, under a head at `latest`: by the configured
    /// depth, else by the `finalized` tag, else, where no provider knows the tag, by a safe depth.
    ///
    /// `is_ours` says whether a block is ours, where we have one of its height. Who calls another
    /// one final is not believed; of one that cannot be compared two providers are asked, where
    /// there are two, and the lower one counts.
    pub async fn finalized(
        &self,
        latest: u64,
        confirmations: Option<u64>,
        is_ours: &(dyn Fn(BlockRef) -> Option<bool> + Sync),
    ) -> Result<Option<u64>, RpcError> {
        if let Some(depth) = confirmations {
            return Ok(latest.checked_sub(depth));
        }
        let mut turn = self.pool.turn(self.purpose, HEADER);
        let (mut last, mut is_doubtful, mut lowest) = (None, false, None::<u64>);
        while let Some(asked) = turn.next().await {
            let endpoint = &asked.endpoint;
            if !endpoint.has_finalized_tag() {
                continue;
            }
            match endpoint.single::<HeaderAnswer>(&Call::header("finalized")).await {
                Ok(Some(answer)) => {
                    let block = BlockRef::from(answer);
                    let (provider, chain) = (endpoint.name(), self.pool.chain());
                    match (is_ours(block), lowest) {
                        (Some(true), _) => return Ok(Some(block.number)),
                        (Some(false), _) => {
                            tracing::warn!(%chain, provider, %block,
                                "calls a block final that is another than ours");
                            is_doubtful = true;
                        }
                        (None, Some(known)) => return Ok(Some(known.min(block.number))),
                        (None, None) => lowest = Some(block.number),
                    }
                    turn.answered(endpoint.provider());
                }
                Ok(None) => return Ok(None),
                // How some nodes say that nothing is final yet.
                Err(error) if error.cause == Cause::BlockMissing => return Ok(None),
                Err(error)
                    if matches!(error.cause, Cause::InvalidParams | Cause::MethodMissing) =>
                {
                    endpoint.lacks_finalized_tag();
                }
                Err(error) => {
                    endpoint.failed(&error);
                    turn.failed(&error);
                    last = Some(error);
                }
            }
        }
        // Where somebody was not believed, whose fork it is shows when blocks are compared.
        if lowest.is_some() || is_doubtful {
            return Ok(lowest);
        }
        if self.pool.endpoints().iter().any(|endpoint| endpoint.has_finalized_tag()) {
            return Err(last.unwrap_or_else(|| turn.nobody()));
        }
        Ok(latest.checked_sub(CONFIRMATIONS))
    }

    /// Asks every provider for its chain id, with one key each; one that serves another chain is
    /// named.
    pub async fn check_chain_id(&self, expected: u64) -> Result<(), CaptureError> {
        let mut last = Ok(());
        let mut known: Vec<&str> = Vec::new();
        for endpoint in self.pool.endpoints() {
            if known.contains(&endpoint.provider()) {
                continue;
            }
            match endpoint.single::<alloy_primitives::U64>(&Call::chain_id()).await {
                Ok(Some(found)) if found.to::<u64>() == expected => known.push(endpoint.provider()),
                Ok(Some(found)) => {
                    let (provider, found) = (endpoint.name().to_owned(), found.to());
                    return Err(CaptureError::ChainId { provider, found, expected });
                }
                Ok(None) => last = Err(names_no_chain(endpoint).into()),
                Err(error) => {
                    endpoint.failed(&error);
                    last = Err(error.into());
                }
            }
        }
        if known.is_empty() { last } else { Ok(()) }
    }

    /// Asks one key for everything that capture needs, and learns what its provider can do; gives
    /// its head.
    pub async fn probe(
        &self,
        endpoint: &Arc<Endpoint>,
        expected: u64,
    ) -> Result<u64, CaptureError> {
        let found: Option<alloy_primitives::U64> = endpoint.single(&Call::chain_id()).await?;
        let found = found.ok_or_else(|| names_no_chain(endpoint))?.to();
        if found != expected {
            let provider = endpoint.name().to_owned();
            return Err(CaptureError::ChainId { provider, found, expected });
        }
        let head: Option<HeaderAnswer> = endpoint.single(&Call::header("latest")).await?;
        let head = head.ok_or_else(|| self.pool.nobody("eth_getBlockByNumber"))?;
        if let Some(fault) = endpoint.names_head_alone(head.claim()) {
            let method = "eth_getBlockByNumber";
            return Err(endpoint.error(method, Cause::Wrong, &fault.to_string()).into());
        }
        let number = head.number.to();
        let wish = Wish { number, prover: self.prover.clone(), is_question: false };
        let fetched = fetch(endpoint, &wish, None).await.map_err(|failed| failed.error)?;
        self.late.saw_head(number);
        if self.has_traces && can_have_traces(&fetched.block) {
            probe_traces(endpoint, self.prover.depth(), fetched).await?;
        }
        match endpoint.single::<HeaderAnswer>(&Call::header("finalized")).await {
            Ok(_) => {}
            Err(error) if error.is_absence() => {}
            Err(error) if matches!(error.cause, Cause::InvalidParams | Cause::MethodMissing) => {
                endpoint.lacks_finalized_tag();
            }
            Err(error) => return Err(error.into()),
        }
        Ok(number)
    }

    /// The time of a block, seconds since 1970-01-01 UTC; `None` where there is none.
    pub async fn time_of(&self, number: u64) -> Result<Option<u64>, RpcError> {
        let call = Call::header(&format!("{number:#x}"));
        let answer: Option<HeaderAnswer> = match self.pool.ask(&call).await {
            Err(error) if error.is_absence() => None,
            answer => answer?,
        };
        Ok(answer.map(|header| seconds_of(header.timestamp.to())))
    }

    /// The first block of a time or after it, of those before `end`; `end` where all are older.
    pub async fn block_at(&self, time: u64, end: u64) -> Result<u64, RpcError> {
        let (mut older, mut newer) = (0, end);
        while older < newer {
            let middle = older + (newer - older) / 2;
            match self.time_of(middle).await? {
                Some(found) if found >= time => newer = middle,
                // What is not there any more is old.
                Some(_) | None => older = middle + 1,
            }
        }
        Ok(newer)
    }

    /// The chain id that some provider gives.
    pub async fn chain_id(&self) -> Result<Option<u64>, RpcError> {
        let answer: Option<alloy_primitives::U64> = self.pool.ask(&Call::chain_id()).await?;
        Ok(answer.map(|id| id.to()))
    }

    /// The block of a number: wrong data is refused and asked of the next provider.
    pub async fn block(&self, number: u64) -> Result<Fetched, NotHad> {
        self.ask_for(&Wish { number, prover: self.prover.clone(), is_question: false }).await
    }
}

/// A `null` where a chain id belongs.
fn names_no_chain(endpoint: &Endpoint) -> RpcError {
    let reason = "answers `null` instead of a chain id: check its `url`";
    endpoint.error("eth_chainId", Cause::Malformed, reason)
}

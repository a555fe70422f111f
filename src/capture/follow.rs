//! Following the head: every number is fetched, in order, and reorgs are taken back.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use headwater_storage::model::{BlockRange, BlockRef, ChainEvent, Lane, Verified};
use headwater_storage::store::{AppendError, Appender, Chain};

use crate::clock;
use crate::rpc::{Cause, RpcError};
use crate::supervisor::Shutdown;
use crate::telemetry::metrics;

use super::reorg::{Link, Step, next_step};
use super::status::{CaptureError, ChainStatus};
use super::{ChainConfig, Fetched, Source, Start};

const POLL_FIRST: Duration = Duration::from_millis(500);
const POLL_MIN: Duration = Duration::from_millis(50);
const POLL_MAX: Duration = Duration::from_secs(3);
const PAUSE_AFTER_ERROR: Duration = Duration::from_secs(1);
const PAUSE_WHEN_HALTED: Duration = Duration::from_secs(30);
/// Blocks that are fetched before the head is looked at again.
const STEP_BLOCKS: u64 = 64;
/// Blocks that share a sync while catching up.
const GROUP_BLOCKS: usize = 16;

/// Follows the head of one chain.
pub struct Follower {
    /// What to follow.
    pub config: ChainConfig,
    /// Where blocks come from.
    pub source: Source,
    /// Where they go.
    pub chain: Arc<Chain>,
    /// How they go there.
    pub appender: Appender,
    /// How it stands.
    pub status: Arc<ChainStatus>,
}

/// What a step found.
enum Moved {
    /// There may be more at once.
    Yes,
    /// Everything is here.
    No,
}

impl Follower {
    /// Follows until shutdown; only an error after which the process must end is returned.
    pub async fn run(self, mut shutdown: Shutdown) -> Result<(), CaptureError> {
        let mut is_checked = false;
        // The head that is here, with all that was final under it.
        let mut settled = None;
        while !shutdown.is_requested() {
            let step = async {
                if !is_checked {
                    self.source.check_chain_id(self.config.chain_id).await?;
                    is_checked = true;
                }
                self.step(&mut settled).await
            };
            let result = tokio::select! {
                result = step => result,
                () = shutdown.requested() => break,
            };
            let pause = match result {
                Ok(Moved::Yes) => Duration::ZERO,
                Ok(Moved::No) => self.poll(),
                Err(error) if error.is_fatal() => return Err(error),
                Err(error) => self.pause_after(&error),
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = shutdown.requested() => {}
            }
        }
        Ok(())
    }

    /// How long to wait after an error, which is logged when it is new.
    fn pause_after(&self, error: &CaptureError) -> Duration {
        let is_halted = matches!(error, CaptureError::PastFinality { .. });
        let is_new = self.status.waits(error);
        let chain = &self.config.name;
        match (is_halted, is_new) {
            (true, true) => tracing::error!(%chain, %error, "capture of a chain has stopped"),
            (false, true) => tracing::warn!(%chain, %error, "capture waits"),
            (_, false) => tracing::debug!(%chain, %error, "capture still waits"),
        }
        if is_halted { PAUSE_WHEN_HALTED } else { PAUSE_AFTER_ERROR }
    }

    /// A quarter of the block time, as the last two blocks show it.
    fn poll(&self) -> Duration {
        if let Some(configured) = self.config.poll() {
            return configured;
        }
        let gap = self.chain.with_state(|state| {
            let mut last = state.unsealed().rev().map(|head| head.timestamp);
            Some(last.next()?.saturating_sub(last.next()?))
        });
        let quarter = |seconds| Duration::from_secs(seconds) / 4;
        gap.map_or(POLL_FIRST, quarter).clamp(POLL_MIN, POLL_MAX)
    }

    async fn step(&self, settled: &mut Option<BlockRef>) -> Result<Moved, CaptureError> {
        // Before anything is asked: what cannot be kept is not paid for (INV-10, INV-12).
        if let Some(reason) = self.chain.paused() {
            return Err(AppendError::Paused { reason }.into());
        }
        let latest = self.source.latest().await?;
        self.status.saw_head(latest.number);
        metrics::set_chain(metrics::HEAD_BLOCK, &self.config.name, latest.number);
        let head = self.chain.with_state(|state| state.head().copied());
        // One call less for each poll that finds the same head (INV-12).
        let finalized = if *settled == Some(latest) {
            None
        } else {
            self.source.finalized(latest.number, self.config.confirmations).await?
        };
        let moved = match head {
            None => {
                let first = self.first_block(latest, finalized);
                self.catch_up(first, latest.number, finalized).await?
            }
            Some(head) if latest.number > head.block.number => {
                self.catch_up(head.block.number + 1, latest.number, finalized).await?
            }
            Some(_) => self.compare(latest).await?,
        };
        self.finalize(finalized).await?;
        let head = self.chain.with_state(|state| state.head().map(|head| head.block));
        *settled = head.filter(|head| *head == latest);
        if self.status.goes_on() {
            tracing::info!(chain = %self.config.name, head = latest.number, "capture goes on");
        }
        Ok(moved)
    }

    /// Where the live lane begins: above what is final, the rest is history.
    fn first_block(&self, latest: BlockRef, finalized: Option<u64>) -> u64 {
        let wanted = match self.config.start {
            Start::Latest => latest.number,
            // A short history is fetched in order with the rest.
            Start::Block(number) => match finalized {
                Some(last) if last > number + STEP_BLOCKS => last + 1,
                Some(_) | None => number,
            },
        };
        let all = BlockRange { first: wanted, last: u64::MAX - 1 };
        let missing = self.chain.with_state(|state| state.captured().missing(all));
        missing.first().map_or(wanted, |range| range.first)
    }

    /// Fetches the numbers up to the head, several at a time, and applies them in order.
    async fn catch_up(
        &self,
        first: u64,
        last: u64,
        finalized: Option<u64>,
    ) -> Result<Moved, CaptureError> {
        let Some(range) = BlockRange::new(first, last.min(first + STEP_BLOCKS - 1)) else {
            return Ok(Moved::No);
        };
        let fetches = range.numbers().map(|number| self.source.block(number));
        let fetched = futures::stream::iter(fetches).buffered(self.config.window.get());
        let mut groups = std::pin::pin!(fetched.ready_chunks(GROUP_BLOCKS));
        while let Some(group) = groups.next().await {
            for (at, result) in split_good(group) {
                match result {
                    Ok(blocks) => {
                        if let Some(odd) = self.apply(blocks, finalized).await? {
                            self.reorganise(odd).await?;
                            return Ok(Moved::Yes);
                        }
                    }
                    // The head that was announced is not there yet, or gone again.
                    Err(error) if error.cause == Cause::BlockMissing => {
                        tracing::debug!(chain = %self.config.name, at, %error, "not there yet");
                        return Ok(Moved::No);
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(if range.last < last { Moved::Yes } else { Moved::No })
    }

    /// Applies blocks that follow each other; gives back the first that does not.
    async fn apply(
        &self,
        blocks: Vec<Fetched>,
        finalized: Option<u64>,
    ) -> Result<Option<Fetched>, CaptureError> {
        let mut head = self.chain.with_state(|state| state.head().map(|head| head.block));
        let mut events = Vec::with_capacity(blocks.len() + 1);
        let mut odd = None;
        let mut last_final = None;
        let started: Vec<_> = blocks.iter().map(|fetched| fetched.answered).collect();
        for fetched in blocks {
            let block = fetched.block.block_ref();
            let parent_hash = fetched.block.header.parent_hash;
            let follows =
                head.is_none_or(|head| head.number + 1 == block.number && head.hash == parent_hash);
            if !follows {
                odd = Some(fetched);
                break;
            }
            if finalized.is_some_and(|number| block.number <= number) {
                last_final = Some(block);
            }
            let proved = if head.is_some() { Verified::PARENT } else { Verified::default() };
            events.push(applied(&fetched, proved));
            head = Some(block);
        }
        events.extend(last_final.map(ChainEvent::Finalized));
        if !events.is_empty() {
            self.appender.append(&events).await?;
            for answered in started {
                metrics::captured(&self.config.name, clock::now() - answered);
            }
        }
        Ok(odd)
    }

    /// The provider's head is not above ours: the same, behind, or on another fork.
    async fn compare(&self, latest: BlockRef) -> Result<Moved, CaptureError> {
        let known = self.chain.with_state(|state| state.hash_at(latest.number));
        match known {
            Some(hash) if hash != latest.hash => {
                let fetched = match self.source.block(latest.number).await {
                    Ok(fetched) => fetched,
                    Err(error) if error.cause == Cause::BlockMissing => return Ok(Moved::No),
                    Err(error) => return Err(error.into()),
                };
                if Some(fetched.block.header.hash) == known {
                    return Ok(Moved::No);
                }
                self.reorganise(fetched).await?;
                Ok(Moved::Yes)
            }
            // The same, or so far behind that its height is sealed: it lags.
            Some(_) | None => Ok(Moved::No),
        }
    }

    /// Walks down from a block that does not fit until the fork, then takes back and applies.
    async fn reorganise(&self, lowest: Fetched) -> Result<(), CaptureError> {
        let mut fresh = vec![lowest];
        let common = loop {
            let Some(lowest) = fresh.last() else { return Ok(()) };
            let header = &lowest.block.header;
            let link = Link { number: header.number, parent_hash: header.parent_hash };
            let step = self.chain.with_state(|state| {
                next_step(link, |number| state.hash_at(number), state.finalized())
            });
            match step {
                Step::Fork { common } => break common,
                Step::FetchBelow { number } => {
                    let below = self.source.block(number).await?;
                    if below.block.header.hash != link.parent_hash {
                        return Err(CaptureError::Moved { number });
                    }
                    fresh.push(below);
                }
                Step::PastFinality { known } => {
                    return Err(CaptureError::PastFinality { number: link.number - 1, known });
                }
            }
        };
        let reverted: Vec<BlockRef> = self.chain.with_state(|state| {
            let above = state.unsealed().rev().filter(|head| head.lane == Lane::Live);
            let above = above.map(|head| head.block);
            above.take_while(|block| common.is_none_or(|common| block.number > common)).collect()
        });
        tracing::info!(
            chain = %self.config.name, depth = reverted.len(), fork = common, new = fresh.len(),
            "reorg"
        );
        let mut events: Vec<ChainEvent> =
            reverted.iter().map(|block| ChainEvent::Reverted(*block)).collect();
        for (at, fetched) in fresh.iter().rev().enumerate() {
            let has_parent = common.is_some() || at > 0;
            let proved = if has_parent { Verified::PARENT } else { Verified::default() };
            events.push(applied(fetched, proved));
        }
        self.appender.append(&events).await?;
        self.status.reverted(reverted.len() as u64);
        metrics::reverted(&self.config.name, reverted.len());
        Ok(())
    }

    /// Marks the highest block that is final and not marked yet.
    async fn finalize(&self, finalized: Option<u64>) -> Result<(), CaptureError> {
        let Some(number) = finalized else { return Ok(()) };
        let block = self.chain.with_state(|state| {
            let head = state.head()?.block.number;
            let highest = state.canonical(number.min(head)).filter(|h| h.lane == Lane::Live)?;
            let is_new = state.finalized().is_none_or(|at| highest.block.number > at.number);
            is_new.then_some(highest.block)
        });
        if let Some(block) = block {
            self.appender.append(&[ChainEvent::Finalized(block)]).await?;
        }
        Ok(())
    }
}

fn applied(fetched: &Fetched, proved: Verified) -> ChainEvent {
    let verified = fetched.verified.with(proved);
    let (block, origin) = (fetched.block.clone(), fetched.origin());
    ChainEvent::Applied { block, lane: Lane::Live, verified, origin }
}

/// Good blocks up to the first failure as one group, then the failure.
fn split_good(
    group: Vec<Result<Fetched, RpcError>>,
) -> Vec<(usize, Result<Vec<Fetched>, RpcError>)> {
    let mut good = Vec::with_capacity(group.len());
    for (at, result) in group.into_iter().enumerate() {
        match result {
            Ok(fetched) => good.push(fetched),
            Err(error) => return vec![(0, Ok(good)), (at, Err(error))],
        }
    }
    vec![(0, Ok(good))]
}

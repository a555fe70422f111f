//! Walking history: final blocks, several at a time, only what is missing, around what nobody has.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesOrdered;
use headwater_storage::model::{B256, BlockRange, BlockRef, ChainEvent, Lane, Verified};
use headwater_storage::store::{AppendError, Appender, Chain, ChainState, Violation};

use crate::rpc::RpcError;
use crate::supervisor::Shutdown;

use super::room::Room;
use super::status::{CaptureError, ChainStatus};
use super::{Fetched, Holes, Source};

const PAUSE_AFTER_ERROR: Duration = Duration::from_secs(1);
/// How often everybody is asked for a block until it counts as had by nobody.
const TRIES: u32 = 3;
/// Blocks that share a sync.
const GROUP_BLOCKS: usize = 32;

/// How far a backfill has come.
#[derive(Debug, Default)]
pub struct Progress {
    /// Blocks to fetch.
    pub total: AtomicU64,
    /// Blocks that are durable.
    pub done: AtomicU64,
}

/// Fetches the missing blocks of a range that is final.
pub struct Backfill {
    /// The blocks.
    pub ranges: Vec<BlockRange>,
    /// How they come in: history, or the live lane that is mended.
    pub lane: Lane,
    /// Blocks that are fetched at the same time.
    pub window: usize,
    /// Bytes that they may take, about.
    pub window_bytes: u64,
    /// Where blocks come from.
    pub source: Source,
    /// Where they go.
    pub chain: Arc<Chain>,
    /// How they go there.
    pub appender: Appender,
    /// How it stands.
    pub status: Arc<ChainStatus>,
    /// What nobody has.
    pub holes: Arc<Holes>,
    /// How far it has come.
    pub progress: Arc<Progress>,
}

impl Backfill {
    /// What is missing and can be had.
    fn missing(&self) -> Vec<BlockRange> {
        let mut known = self.chain.with_state(ChainState::captured);
        for hole in self.holes.numbers().iter() {
            known.insert(hole);
        }
        self.ranges.iter().flat_map(|range| known.missing(*range)).collect()
    }

    /// Fetches until nothing is missing but what nobody has, or until shutdown; errors pause, and
    /// only one after which the process must end is returned.
    pub async fn run(self, mut shutdown: Shutdown) -> Result<(), CaptureError> {
        let total = self.missing().iter().map(BlockRange::len).sum();
        self.progress.total.store(total, Ordering::Relaxed);
        // How often the lowest missing block was asked of everybody.
        let mut tries = 0;
        while let Some(range) = self.missing().first().copied() {
            let result = tokio::select! {
                result = self.walk(range) => result,
                () = shutdown.requested() => return Ok(()),
            };
            let error = match result {
                Ok(()) => {
                    tries = 0;
                    self.status.goes_on();
                    continue;
                }
                Err(error) if error.is_fatal() => return Err(error),
                Err(error) => error,
            };
            let lowest = self.missing().first().map(|missing| missing.first);
            tries = if lowest == Some(range.first) { tries + 1 } else { 1 };
            if error.is_absence() && tries >= TRIES && lowest.is_some() {
                tokio::select! {
                    () = self.leave_hole(&error) => {}
                    () = shutdown.requested() => return Ok(()),
                }
                tries = 0;
                continue;
            }
            if self.status.waits(&error) {
                tracing::warn!(chain = %self.chain.name(), %error, "backfill waits");
            }
            tokio::select! {
                () = tokio::time::sleep(PAUSE_AFTER_ERROR) => {}
                () = shutdown.requested() => return Ok(()),
            }
        }
        Ok(())
    }

    /// Nobody has the lowest missing block: finds how far that goes, and leaves it for later. Who
    /// forgets old blocks forgets all below one, so the end is found by halving.
    async fn leave_hole(&self, error: &CaptureError) {
        let Some(range) = self.missing().first().copied() else { return };
        // The lowest is not there; `above` is, or lies behind the range.
        let (mut below, mut above) = (range.first, range.last.saturating_add(1));
        if matches!(self.source.block(range.last).await, Err(error) if error.is_absence()) {
            below = range.last;
        }
        while above - below > 1 {
            let middle = below + (above - below) / 2;
            match self.source.block(middle).await {
                Ok(_) => above = middle,
                Err(error) if error.is_absence() => below = middle,
                Err(_) => tokio::time::sleep(PAUSE_AFTER_ERROR).await,
            }
        }
        let hole = BlockRange { first: range.first, last: below };
        tracing::warn!(
            chain = %self.chain.name(), range = %hole, %error,
            "no provider has these blocks: they stay a gap, and are asked for again later"
        );
        self.holes.add(hole, error.to_string());
    }

    async fn walk(&self, range: BlockRange) -> Result<(), CaptureError> {
        if let Some(reason) = self.chain.paused() {
            return Err(AppendError::Paused { reason }.into());
        }
        let mut room = Room::new(self.window, self.window_bytes);
        let mut numbers = range.numbers();
        let mut fetches = FuturesOrdered::new();
        let mut arrived: VecDeque<Result<Fetched, RpcError>> = VecDeque::new();
        loop {
            // What has come while the last group was appended shares a sync.
            let (group, failure) = next_group(&mut arrived);
            let appended = group.len();
            let mut append = std::pin::pin!(self.append(group));
            let mut is_appended = false;
            while !is_appended || (arrived.is_empty() && failure.is_none()) {
                let held = if is_appended { 0 } else { appended };
                while failure.is_none()
                    && room.is_there(fetches.len() + arrived.len(), held)
                    && let Some(number) = numbers.next()
                {
                    fetches.push_back(self.source.block(number));
                }
                tokio::select! {
                    result = append.as_mut(), if !is_appended => {
                        result?;
                        is_appended = true;
                    }
                    Some(result) = fetches.next(), if !fetches.is_empty() => {
                        if let Ok(fetched) = &result {
                            room.saw(&fetched.block);
                        }
                        arrived.push_back(result);
                    }
                    else => return Ok(()),
                }
            }
            if let Some(error) = failure {
                return Err(error.into());
            }
        }
    }

    async fn append(&self, blocks: Vec<Fetched>) -> Result<(), AppendError> {
        let first = blocks.first().map(|fetched| fetched.block.header.number);
        let Some(first) = first else { return Ok(()) };
        let below = first.checked_sub(1);
        let mut has_parent =
            self.chain.with_state(|state| below.and_then(|n| state.hash_at(n)).is_some());
        let count = blocks.len() as u64;
        let mut events = Vec::with_capacity(blocks.len());
        for fetched in blocks {
            let proved = if has_parent { Verified::PARENT } else { Verified::default() };
            let verified = fetched.verified.with(proved);
            let (lane, origin) = (self.lane, fetched.origin());
            events.push(ChainEvent::Applied { block: fetched.block, lane, verified, origin });
            has_parent = true;
        }
        match self.appender.append(&events).await {
            Err(AppendError::Violation(Violation::NotLinked { block, neighbour }))
                if self.lane == Lane::Live =>
            {
                self.take_back(block, neighbour).await?;
                return Ok(());
            }
            // A block whose content is lost was orphaned, and the word of that is lost too.
            Err(AppendError::Violation(Violation::NotTheLost { lost, .. }))
                if self.lane == Lane::Live =>
            {
                self.appender.append(&[ChainEvent::Reverted(lost)]).await?;
                return Ok(());
            }
            result => result?,
        };
        self.progress.done.fetch_add(count, Ordering::Relaxed);
        Ok(())
    }

    /// What is fetched in a place where damage was does not stand on the block below it: that
    /// one was orphaned, and the word of it is lost.
    async fn take_back(&self, above: BlockRef, hash: B256) -> Result<(), AppendError> {
        let below = above.number.checked_sub(1).map(|number| BlockRef { number, hash });
        match below {
            Some(block) => self.appender.append(&[ChainEvent::Reverted(block)]).await.map(drop),
            None => Ok(()),
        }
    }
}

/// Blocks that are appended together, and the failure that stands behind them.
fn next_group(
    arrived: &mut VecDeque<Result<Fetched, RpcError>>,
) -> (Vec<Fetched>, Option<RpcError>) {
    let mut group = Vec::new();
    while group.len() < GROUP_BLOCKS {
        match arrived.pop_front() {
            Some(Ok(fetched)) => group.push(fetched),
            Some(Err(error)) => return (group, Some(error)),
            None => break,
        }
    }
    (group, None)
}

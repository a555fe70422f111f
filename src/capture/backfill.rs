//! Walking history: final blocks, several at a time, only what is missing, around what cannot be
//! had: it becomes a gap with its reason, and the rest goes on.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::FuturesOrdered;
use headwater_storage::model::{
    B256, BlockRange, BlockRanges, BlockRef, ChainEvent, Lane, Verified,
};
use headwater_storage::store::{AppendError, Appender, Chain, ChainState, Violation};

use crate::clock;
use crate::supervisor::Shutdown;

use super::room::Room;
use super::status::{CaptureError, ChainStatus, NotHad, Says};
use super::{Fetched, Holes, Source};

const PAUSE_AFTER_ERROR: Duration = Duration::from_secs(1);
/// How often everybody is asked for a block until it counts as had by nobody.
const TRIES: u32 = 3;
/// The same where an answer was wrong, or an error that says nothing of whether the block is there.
const TRIES_OF_FAILED: u32 = 5;
/// The pause before what failed is asked for once more, doubled each time, at most.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// How long a provider that cannot be asked is waited for before others' word counts alone.
const AWAY_MAX: Duration = Duration::from_mins(2);
/// So many blocks in a row that nobody has: their end is looked for by halving.
const ABSENT_MAX: usize = 8;
/// Failures of one walk that are remembered; it ends there (INV-10).
const FAILED_MAX: usize = 256;
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
    /// What is missing and not given up.
    fn missing(&self, given_up: &BlockRanges) -> Vec<BlockRange> {
        let mut known = self.chain.with_state(ChainState::captured);
        for hole in self.holes.numbers().iter().chain(given_up.iter()) {
            known.insert(hole);
        }
        self.ranges.iter().flat_map(|range| known.missing(*range)).collect()
    }

    /// Fetches until nothing is missing but what cannot be had, or until shutdown; errors pause,
    /// and only one after which the process must end is returned.
    pub async fn run(self, mut shutdown: Shutdown) -> Result<(), CaptureError> {
        let mut failing = Failing::default();
        let missing = self.missing(&failing.given_up);
        self.progress.total.store(missing.iter().map(BlockRange::len).sum(), Ordering::Relaxed);
        loop {
            let missing = self.missing(&failing.given_up);
            self.holes.trim(&self.chain.with_state(ChainState::captured));
            if missing.is_empty() {
                self.status.goes_on();
                return Ok(());
            }
            let pass = async {
                let walked = self.walk(&missing, &mut failing).await;
                self.judge(walked, &mut failing).await
            };
            let result = tokio::select! {
                result = pass => result,
                () = shutdown.requested() => return Ok(()),
            };
            let pause = match result {
                Ok(None) => {
                    self.status.goes_on();
                    continue;
                }
                Ok(Some(pause)) => pause,
                Err(error) if error.is_fatal() => return Err(error),
                Err(error) => {
                    if self.status.waits(&error) {
                        tracing::warn!(chain = %self.chain.name(), %error, "backfill waits");
                    }
                    PAUSE_AFTER_ERROR
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = shutdown.requested() => return Ok(()),
            }
        }
    }

    /// What follows from a walk: how long to wait until the next, where blocks failed; those that
    /// failed often enough are given up.
    async fn judge(
        &self,
        walked: Result<Walked, CaptureError>,
        failing: &mut Failing,
    ) -> Result<Option<Duration>, CaptureError> {
        let walked = walked?;
        let Some(first) = walked.failed.first() else { return Ok(None) };
        // Where nothing at all came, does anybody answer? Only then the failures are the blocks'.
        if !walked.has_come {
            self.source.latest().await?;
        }
        let error = CaptureError::from(first.clone());
        failing.passes = if walked.has_come { 0 } else { failing.passes.saturating_add(1) };
        let is_run = walked.failed.iter().rev().take_while(|f| is_absent(f)).count() >= ABSENT_MAX;
        let mut lost = Vec::new();
        for not_had in walked.failed {
            if failing.is_lost(&not_had) {
                lost.push(not_had);
            }
        }
        if let Some(lowest) = lost.iter().find(|not_had| is_run && is_absent(not_had)) {
            self.leave_run(lowest, failing).await;
        }
        self.leave(&lost, failing);
        if self.status.waits(&error) {
            tracing::warn!(chain = %self.chain.name(), %error, "backfill asks again for blocks");
        }
        let pause = PAUSE_AFTER_ERROR.saturating_mul(1 << failing.passes.saturating_sub(1).min(5));
        Ok(Some(pause.min(PAUSE_MAX)))
    }

    /// Leaves blocks that cannot be had for later.
    fn leave(&self, lost: &[NotHad], failing: &mut Failing) {
        for not_had in lost {
            if failing.given_up.contains(not_had.number) {
                continue;
            }
            let range = BlockRange { first: not_had.number, last: not_had.number };
            failing.give_up(range);
            self.holes.add(range, not_had.to_string(), is_absent(not_had));
        }
        if let Some(first) = lost.first() {
            tracing::warn!(
                chain = %self.chain.name(), blocks = lost.len(), error = %first,
                "blocks cannot be had: they stay gaps, and are asked for again later"
            );
        }
    }

    /// Nobody has a block and those behind it: finds how far that goes, and leaves it for later.
    /// Who forgets old blocks forgets all below one, so the end is found by halving.
    async fn leave_run(&self, lowest: &NotHad, failing: &mut Failing) {
        let missing = self.missing(&failing.given_up);
        let Some(range) = missing.iter().find(|range| range.contains(lowest.number)) else {
            return;
        };
        // The lowest is not there; `above` is, or lies behind the range.
        let (mut below, mut above) = (lowest.number, range.last.saturating_add(1));
        if matches!(self.source.block(range.last).await, Err(not_had) if is_absent(&not_had)) {
            below = range.last;
        }
        while above - below > 1 {
            let middle = below + (above - below) / 2;
            match self.source.block(middle).await {
                Err(not_had) if is_absent(&not_had) => below = middle,
                Err(not_had) if not_had.says == Says::OfProviders => {
                    tokio::time::sleep(PAUSE_AFTER_ERROR).await;
                }
                // There, although it may be wrong.
                Ok(_) | Err(_) => above = middle,
            }
        }
        let hole = BlockRange { first: lowest.number, last: below };
        tracing::warn!(
            chain = %self.chain.name(), range = %hole, error = %lowest,
            "no provider has these blocks: they stay a gap, and are asked for again later"
        );
        failing.give_up(hole);
        self.holes.add(hole, lowest.to_string(), true);
    }

    /// Fetches what is missing, in order, around what fails. It ends where providers are away, and
    /// where nobody has a block after the other.
    async fn walk(
        &self,
        missing: &[BlockRange],
        failing: &mut Failing,
    ) -> Result<Walked, CaptureError> {
        if let Some(reason) = self.chain.paused() {
            return Err(AppendError::Paused { reason }.into());
        }
        let mut room = Room::new(self.window, self.window_bytes);
        let mut numbers = missing.iter().flat_map(BlockRange::numbers);
        let mut fetches = FuturesOrdered::new();
        let mut arrived: VecDeque<Result<Fetched, NotHad>> = VecDeque::new();
        let mut walked = Walked::default();
        loop {
            // What has come while the last group was appended shares a sync.
            let group = next_group(&mut arrived, &mut walked);
            walked.has_come |= !group.is_empty();
            failing.came(&group);
            let appended = group.len();
            let mut append = std::pin::pin!(self.append(group));
            let mut is_appended = false;
            while !is_appended || (arrived.is_empty() && !walked.is_over()) {
                let held = if is_appended { 0 } else { appended };
                while !walked.is_over()
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
                    else => return Ok(walked),
                }
            }
            match walked.away.take() {
                Some(not_had) => return Err(not_had.into()),
                None if walked.is_over() => return Ok(walked),
                None => {}
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

/// What came of a walk.
#[derive(Default)]
struct Walked {
    has_come: bool,
    /// What did not come, in order.
    failed: Vec<NotHad>,
    /// Blocks in a row, up to the last, that nobody has.
    absent: usize,
    /// Providers are away.
    away: Option<NotHad>,
}

impl Walked {
    fn is_over(&self) -> bool {
        let is_full = self.failed.len() >= FAILED_MAX;
        self.away.is_some() || self.absent >= ABSENT_MAX || is_full
    }

    fn failed(&mut self, not_had: NotHad) {
        if not_had.says == Says::OfProviders {
            self.away = Some(not_had);
            return;
        }
        self.absent = if is_absent(&not_had) { self.absent + 1 } else { 0 };
        self.failed.push(not_had);
    }
}

/// What failed in the walks so far.
#[derive(Default)]
struct Failing {
    /// How often each block was asked for, and since when.
    tries: BTreeMap<u64, (u32, Instant)>,
    given_up: BlockRanges,
    /// Walks in a row by which nothing came.
    passes: u32,
}

impl Failing {
    fn came(&mut self, group: &[Fetched]) {
        if !self.tries.is_empty() {
            for fetched in group {
                self.tries.remove(&fetched.block.header.number);
            }
        }
    }

    /// A block failed once more: whether that was often enough.
    fn is_lost(&mut self, not_had: &NotHad) -> bool {
        let now = clock::now();
        let (tries, since) = self.tries.entry(not_had.number).or_insert((0, now));
        // One who has it may be away.
        if not_had.says != Says::OfSome || now.saturating_duration_since(*since) >= AWAY_MAX {
            *tries += 1;
        }
        *tries >= if is_absent(not_had) { TRIES } else { TRIES_OF_FAILED }
    }

    fn give_up(&mut self, range: BlockRange) {
        self.given_up.insert(range);
        self.tries.retain(|number, _| !range.contains(*number));
    }
}

/// Whether nobody has a block, of those who could be asked.
fn is_absent(not_had: &NotHad) -> bool {
    not_had.is_absence() && !not_had.has_body && not_had.says != Says::OfProviders
}

/// Blocks that follow each other and are appended together; failures go to what was walked.
fn next_group(
    arrived: &mut VecDeque<Result<Fetched, NotHad>>,
    walked: &mut Walked,
) -> Vec<Fetched> {
    let mut group: Vec<Fetched> = Vec::new();
    while group.len() < GROUP_BLOCKS && !walked.is_over() {
        let last = group.last().map(|fetched| fetched.block.header.number);
        match arrived.pop_front() {
            Some(Ok(fetched)) => {
                let number = fetched.block.header.number;
                if last.is_some_and(|last| last + 1 != number) {
                    arrived.push_front(Ok(fetched));
                    break;
                }
                walked.absent = 0;
                group.push(fetched);
            }
            Some(Err(not_had)) => walked.failed(not_had),
            None => break,
        }
    }
    group
}

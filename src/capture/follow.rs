//! Following the head: every number is fetched, in order, and reorgs are taken back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt;
use headwater_storage::model::{BlockRange, BlockRef, ChainEvent, Lane, Verified};
use headwater_storage::store::{AppendError, Appender, Chain};

use crate::clock;
use crate::rpc::Heads;
use crate::supervisor::Shutdown;
use crate::telemetry::metrics;

use super::look::{Look, MISSES_MAX, Memory, STREAK_MAX, UNFOUNDED_MAX};
use super::reorg::{Link, Step, next_step};
use super::status::{CaptureError, ChainStatus, NotHad};
use super::{ChainConfig, Fetched, Source, Start};

const PAUSE_AFTER_ERROR: Duration = Duration::from_secs(1);
const PAUSE_WHEN_HALTED: Duration = Duration::from_secs(30);
/// Blocks that are fetched before the head is looked at again.
const STEP_BLOCKS: u64 = 64;
/// Blocks that share a sync while catching up.
const GROUP_BLOCKS: usize = 16;
/// How long blocks that are under way behind one that failed are waited for.
const UNDER_WAY_MAX: Duration = Duration::from_secs(1);

/// Follows the head of one chain.
pub struct Follower {
    /// What to follow.
    pub config: ChainConfig,
    /// Where blocks come from.
    pub source: Source,
    /// Who announces them.
    pub heads: Heads,
    /// Where they go.
    pub chain: Arc<Chain>,
    /// How they go there.
    pub appender: Appender,
    /// How it stands.
    pub status: Arc<ChainStatus>,
}

/// What a step found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moved {
    /// There may be more at once.
    Yes,
    /// Everything is here.
    No,
}

impl Follower {
    /// Follows until shutdown; only an error after which the process must end is returned.
    pub async fn run(mut self, mut shutdown: Shutdown) -> Result<(), CaptureError> {
        let mut is_checked = false;
        let mut memory = Memory::default();
        while !shutdown.is_requested() {
            let step = async {
                if !is_checked {
                    self.source.check_chain_id(self.config.chain_id).await?;
                    is_checked = true;
                }
                self.step(&mut memory).await
            };
            let result = tokio::select! {
                result = step => result,
                () = shutdown.requested() => break,
            };
            self.tell_if_overdue();
            let pause = match result {
                Ok(Moved::Yes) => Duration::ZERO,
                Ok(Moved::No) => self.pause(&memory),
                Err(error) if error.is_fatal() => return Err(error),
                Err(error) => self.pause_after(&error),
            };
            memory.is_timed_out = tokio::select! {
                () = tokio::time::sleep(pause) => true,
                () = self.heads.changed() => false,
                () = shutdown.requested() => false,
            };
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

    /// Whether we know another block of its height.
    pub(super) fn is_another(&self, block: BlockRef) -> bool {
        let known = self.chain.with_state(|state| state.hash_at(block.number));
        known.is_some_and(|hash| hash != block.hash)
    }

    async fn step(&self, memory: &mut Memory) -> Result<Moved, CaptureError> {
        // Before anything is asked: what cannot be kept is not paid for (INV-10, INV-12).
        if let Some(reason) = self.chain.paused() {
            return Err(AppendError::Paused { reason }.into());
        }
        self.status.announced_by(self.heads.provider());
        let look = self.look(memory);
        match look {
            Look::Again(_) | Look::Beyond | Look::Rest => self.hear(),
            Look::Announced(_) | Look::Next(_) | Look::Everywhere | Look::Wait => {
                memory.stuck = None;
            }
        }
        memory.is_resting = look == Look::Everywhere;
        let moved = match look {
            // Nothing was announced for long, or another announces from now on: everybody is asked
            // once what was missed.
            Look::Wait => {
                memory.misses = MISSES_MAX;
                memory.is_quiet = memory.is_timed_out;
                return Ok(Moved::Yes);
            }
            Look::Again(number) => self.ask_again(number, memory).await?,
            Look::Beyond => self.look_beyond(memory).await?,
            Look::Rest => Moved::No,
            Look::Next(number) => self.next(number, memory).await?,
            Look::Announced(head) if self.cannot_be(head) => {
                memory.misses += 1;
                Moved::No
            }
            Look::Announced(head) => {
                self.status.saw_head(head.number);
                let moved = self.go_to(head, memory).await?;
                self.judge(head, memory);
                moved
            }
            Look::Everywhere => {
                let (latest, provider) = self.source.survey(self.ours()).await?;
                let ours = self.ours().map(|(block, _)| block);
                // A chain that rests is asked less and less.
                let is_higher = ours.is_none_or(|ours| ours.number < latest.number);
                let is_over = is_higher || self.heads.is_alive();
                memory.misses = if is_over { 0 } else { memory.misses + 1 };
                memory.streak = 0;
                // It announced nothing for long, and there was something.
                let is_news = ours.is_some_and(|ours| ours.number < latest.number);
                if std::mem::take(&mut memory.is_quiet) && is_news {
                    self.heads.stalled();
                }
                self.status.saw_head(latest.number);
                let before = memory.misses;
                let moved = self.go_to(latest, memory).await?;
                if memory.misses > before && is_higher {
                    // Not even who said so has it.
                    self.source.doubt(&provider);
                }
                moved
            }
        };
        if memory.stuck.is_none() && self.status.goes_on() {
            let head = self.chain.with_state(|state| state.head().map(|head| head.block.number));
            tracing::info!(chain = %self.config.name, head, "capture goes on");
        }
        Ok(moved)
    }

    /// Whether an announced head came, and how soon; who announces what nobody has is left.
    fn judge(&self, head: BlockRef, memory: &mut Memory) {
        let (ours, known) = self.chain.with_state(|state| {
            (state.head().map(|head| head.block.number), state.hash_at(head.number))
        });
        if known == Some(head.hash)
            && let Some(taken) = self.heads.since(head)
        {
            metrics::head_durable(&self.config.name, taken);
        }
        let is_in_vain = ours.is_some_and(|ours| ours < head.number) && memory.misses > 0;
        memory.unfounded = if is_in_vain { memory.unfounded + 1 } else { 0 };
        if memory.unfounded >= UNFOUNDED_MAX {
            memory.unfounded = 0;
            self.heads.stalled();
        }
    }

    /// Asks for the next number: when it is there, it is applied.
    async fn next(&self, number: u64, memory: &mut Memory) -> Result<Moved, CaptureError> {
        let fetched = match self.source.next(number).await {
            Ok(Some(fetched)) => fetched,
            Ok(None) => {
                memory.misses += 1;
                memory.streak = 0;
                self.status.missed("nobody has it".to_owned());
                return Ok(Moved::No);
            }
            Err(not_had) => return self.without(not_had, memory),
        };
        let was_asked_for = memory.misses > 0;
        memory.streak = if was_asked_for { 0 } else { memory.streak + 1 };
        memory.misses = 0;
        let block = fetched.block.block_ref();
        self.status.saw_head(number);
        self.saw(&fetched, was_asked_for, memory);
        let finalized = self.finalized(block, memory).await?;
        if let Some(odd) = self.apply(vec![fetched], finalized).await? {
            self.reorganise(odd).await?;
            return Ok(Moved::Yes);
        }
        self.finalize(finalized).await?;
        Ok(Moved::No)
    }

    fn saw(&self, fetched: &Fetched, is_fresh: bool, memory: &mut Memory) {
        metrics::set_chain(metrics::HEAD_BLOCK, &self.config.name, fetched.block.header.number);
        // A block whose time fits no unit was refused.
        let time = fetched.block.header.time_micros().unwrap_or_default();
        memory.schedule.saw(time, clock::unix_micros(), is_fresh);
    }

    /// Takes everything up to a head that somebody has.
    async fn go_to(&self, latest: BlockRef, memory: &mut Memory) -> Result<Moved, CaptureError> {
        metrics::set_chain(metrics::HEAD_BLOCK, &self.config.name, latest.number);
        let head = self.chain.with_state(|state| state.head().copied());
        let finalized = self.finalized(latest, memory).await?;
        let moved = match head {
            None => {
                let first = self.first_block(latest, finalized);
                self.catch_up(first, latest.number, finalized, memory).await?
            }
            Some(head) if latest.number > head.block.number => {
                let first = head.block.number + 1;
                self.catch_up(first, latest.number, finalized, memory).await?
            }
            Some(_) => self.compare(latest, memory).await?,
        };
        self.finalize(finalized).await?;
        let head = self.chain.with_state(|state| state.head().map(|head| head.block));
        memory.has_settled |= head == Some(latest);
        if moved == Moved::Yes {
            // There is more: no use in asking for one number.
            memory.streak = STREAK_MAX;
        }
        Ok(moved)
    }

    /// What is final under a head: asked for once in so many blocks, and when the chain rests
    /// (INV-12).
    async fn finalized(
        &self,
        head: BlockRef,
        memory: &mut Memory,
    ) -> Result<Option<u64>, CaptureError> {
        let every = self.config.finalized_every.get();
        // By what is here: a head may be announced that nobody has.
        let ours = self.chain.with_state(|state| state.head().map(|head| head.block.number));
        let at = ours.unwrap_or(head.number);
        let is_due = memory.asked_final.is_none_or(|last| at.abs_diff(last) >= every);
        let is_free = self.config.confirmations.is_some();
        let is_news = memory.asked_final != Some(at);
        let is_wanted = is_due || is_free || (memory.is_resting && is_news);
        if !is_wanted {
            return Ok(None);
        }
        memory.asked_final = Some(at);
        let is_ours = |block: BlockRef| {
            let known = self.chain.with_state(|state| state.hash_at(block.number));
            known.map(|hash| hash == block.hash)
        };
        let answer = self.source.finalized(at, self.config.confirmations, &is_ours).await;
        // What failed is asked again while the chain rests; new blocks do not wait for it.
        if answer.is_err() && memory.is_resting {
            memory.asked_final = None;
        }
        Ok(answer?)
    }

    /// Where the live lane begins: above what is final, the rest is history.
    fn first_block(&self, latest: BlockRef, finalized: Option<u64>) -> u64 {
        let wanted = match self.config.start {
            Start::Onward | Start::Latest => latest.number,
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
    pub(super) async fn catch_up(
        &self,
        first: u64,
        last: u64,
        finalized: Option<u64>,
        memory: &mut Memory,
    ) -> Result<Moved, CaptureError> {
        let Some(range) = BlockRange::new(first, last.min(first + STEP_BLOCKS - 1)) else {
            return Ok(Moved::No);
        };
        memory.kept.drop_below(first);
        let (kept, is_open) = (memory.kept.clone(), AtomicBool::new(true));
        let used = AtomicBool::new(false);
        let one = async |number| match kept.take(number) {
            Some(fetched) => {
                used.store(true, Ordering::Relaxed);
                Ok(fetched)
            }
            None => self.source.block(number).await,
        };
        let numbers = range.numbers().take_while(|_| is_open.load(Ordering::Relaxed));
        let fetched = futures::stream::iter(numbers.map(one)).buffered(self.config.window.get());
        let mut groups = std::pin::pin!(fetched.ready_chunks(GROUP_BLOCKS));
        while let Some(group) = groups.next().await {
            let (blocks, failure, behind) = split_good(group);
            for fetched in &blocks {
                self.saw(fetched, false, memory);
                memory.misses = 0;
            }
            if let Some(odd) = self.apply(blocks, finalized).await? {
                let had_kept = kept.clear() || used.load(Ordering::Relaxed);
                // What was kept may be of a fork that is gone: it is asked for anew.
                if !had_kept {
                    self.reorganise(odd).await?;
                }
                return Ok(Moved::Yes);
            }
            let Some(not_had) = failure else { continue };
            // What is under way and comes soon is not asked for again.
            is_open.store(false, Ordering::Relaxed);
            let keep = |result: Result<Fetched, NotHad>| {
                if let Ok(fetched) = result {
                    kept.add(fetched, self.config.window_bytes);
                }
            };
            behind.into_iter().for_each(keep);
            let rest = groups.for_each(async |group| group.into_iter().for_each(keep));
            let _some_took_long = tokio::time::timeout(UNDER_WAY_MAX, rest).await;
            return self.without(not_had, memory);
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
            self.status.has(head.map(|head| head.number));
            for answered in started {
                metrics::captured(&self.config.name, clock::now() - answered);
            }
        }
        Ok(odd)
    }

    /// A head that is not above ours: the same, behind, or on another fork. A fork that does not
    /// grow is believed when it is seen twice: behind one URL may be several nodes.
    pub(super) async fn compare(
        &self,
        latest: BlockRef,
        memory: &mut Memory,
    ) -> Result<Moved, CaptureError> {
        if !self.is_another(latest) {
            return Ok(Moved::No);
        }
        if memory.doubted != Some(latest) {
            memory.doubted = Some(latest);
            memory.misses = MISSES_MAX;
            self.status.disagreed();
            metrics::disagreed(&self.config.name);
            return Ok(Moved::No);
        }
        let fetched = match self.source.block(latest.number).await {
            Ok(fetched) => fetched,
            Err(not_had) if not_had.is_absence() => return Ok(Moved::No),
            Err(not_had) => return Err(not_had.into()),
        };
        if fetched.block.block_ref() != latest {
            return Ok(Moved::No);
        }
        self.reorganise(fetched).await?;
        Ok(Moved::Yes)
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

/// Good blocks up to the first failure, the failure, and what came behind it.
fn split_good(
    group: Vec<Result<Fetched, NotHad>>,
) -> (Vec<Fetched>, Option<NotHad>, Vec<Result<Fetched, NotHad>>) {
    let mut good = Vec::with_capacity(group.len());
    let mut group = group.into_iter();
    for result in group.by_ref() {
        match result {
            Ok(fetched) => good.push(fetched),
            Err(error) => return (good, Some(error), group.collect()),
        }
    }
    (good, None, Vec::new())
}

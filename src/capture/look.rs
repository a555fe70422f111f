//! Where to look for the next block, and when: what is asked costs, and what is not asked is late.

use std::sync::Arc;
use std::time::Duration;

use headwater_storage::model::BlockRef;

use crate::clock;

use super::Follower;
use super::schedule::Schedule;
use super::stuck::{Kept, Stuck};

/// Every so many questions in vain every provider is asked for its head.
pub(super) const MISSES_MAX: u32 = 4;
/// Blocks that were there at the first question, one after the other, after which the head is
/// asked for: there may be many more.
pub(super) const STREAK_MAX: u32 = 3;
/// How long an announced block is asked for again, first and at most: some providers announce
/// before they have it.
const ANNOUNCED_FIRST: Duration = Duration::from_millis(25);
const ANNOUNCED_MAX: Duration = Duration::from_secs(1);
/// How often an announced head is asked for until who announces it is left.
pub(super) const UNFOUNDED_MAX: u32 = 12;
/// While heads are announced, block times without one after which they are asked for.
const QUIET_BLOCKS: u32 = 4;
const QUIET_MIN: Duration = Duration::from_secs(4);

/// Where to look for something new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// A head that was announced.
    Announced(BlockRef),
    /// The next number: one call, which is the block itself when it is there.
    Next(u64),
    /// The head of every provider.
    Everywhere,
    /// Nowhere: somebody announces.
    Wait,
    /// Once more the next number, which is there and did not come.
    Again(u64),
    /// How far the head is above that.
    Beyond,
    /// Nowhere until then.
    Rest,
}

/// What is remembered between steps.
#[derive(Default)]
pub(super) struct Memory {
    pub(super) schedule: Schedule,
    /// Questions in vain since the last new block.
    pub(super) misses: u32,
    /// Blocks in a row that were there at the first question.
    pub(super) streak: u32,
    /// Whether everything up to a head has been here once.
    pub(super) has_settled: bool,
    /// The height at which was asked last what is final.
    pub(super) asked_final: Option<u64>,
    /// How often an announced head was asked for in vain.
    pub(super) unfounded: u32,
    /// Whether the last wait ended by itself.
    pub(super) is_timed_out: bool,
    /// Whether nothing was announced for long.
    pub(super) is_quiet: bool,
    /// Whether everybody was asked because nothing new came.
    pub(super) is_resting: bool,
    /// A head of another fork that is not higher than ours, and was seen once.
    pub(super) doubted: Option<BlockRef>,
    /// The next block, where it is there and does not come.
    pub(super) stuck: Option<Stuck>,
    /// What came of the blocks behind it.
    pub(super) kept: Arc<Kept>,
}

impl Follower {
    /// How long to wait when everything is here.
    pub(super) fn pause(&self, memory: &Memory) -> Duration {
        let block_time = memory.schedule.block_time();
        if let Some(block_time) = block_time {
            self.source.pool().follow(block_time);
            self.status.keeps_time(block_time);
        }
        if let Some(stuck) = &memory.stuck {
            return stuck.wait(self.look_every(memory));
        }
        let wait = match self.pending() {
            Some(_) => {
                let doubled = ANNOUNCED_FIRST.saturating_mul(1 << memory.misses.min(8));
                return doubled.min(ANNOUNCED_MAX);
            }
            None if self.heads.is_alive() => {
                block_time.map_or(QUIET_MIN, |time| (time * QUIET_BLOCKS).max(QUIET_MIN))
            }
            None => match self.config.poll() {
                Some(configured) => return configured,
                None => memory.schedule.wait(clock::unix_micros(), memory.misses),
            },
        };
        wait.max(self.source.poll_min())
    }

    /// The announced head, while it is higher than ours.
    fn pending(&self) -> Option<BlockRef> {
        let ours = self.chain.with_state(|state| state.head().map(|head| head.block.number));
        self.heads.last().filter(|head| ours.is_none_or(|ours| head.number > ours))
    }

    /// Where to look next.
    pub(super) fn look(&self, memory: &Memory) -> Look {
        let head = self.chain.with_state(|state| state.head().map(|head| head.block));
        let is_next = |number| head.is_none_or(|head| head.number + 1 == number);
        if let Some(stuck) = memory.stuck.as_ref().filter(|stuck| is_next(stuck.number)) {
            let every = self.look_every(memory);
            if stuck.is_due() {
                return Look::Again(stuck.number);
            }
            let is_look_due = every.is_some_and(|every| stuck.is_look_due(every));
            return if is_look_due { Look::Beyond } else { Look::Rest };
        }
        let Some(head) = head else { return Look::Everywhere };
        let is_in_vain = memory.misses > 0 && memory.misses.is_multiple_of(MISSES_MAX);
        if is_in_vain || memory.streak >= STREAK_MAX || !memory.has_settled {
            return Look::Everywhere;
        }
        match self.heads.last() {
            Some(announced) if announced.number > head.number => Look::Announced(announced),
            // Of the same height and another: two forks, or one of them is late.
            Some(announced)
                if self.heads.is_alive()
                    && memory.doubted != Some(announced)
                    && self.is_another(announced) =>
            {
                Look::Announced(announced)
            }
            Some(_) | None if self.heads.is_alive() && memory.misses == 0 => Look::Wait,
            Some(_) | None => Look::Next(head.number + 1),
        }
    }
}

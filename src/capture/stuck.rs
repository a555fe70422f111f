//! A block that does not come although it is there: it is asked for again less and less often,
//! what came of the blocks behind it is kept, and the head is looked at meanwhile.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::clock;

use super::follow::Moved;
use super::look::{Memory, STREAK_MAX};
use super::room::weight;
use super::status::{CaptureError, NotHad, Says};
use super::{Fetched, Follower};

/// The pauses before a block is asked for again that may only be late: doubled up to a second.
const LATE_FIRST: Duration = Duration::from_millis(250);
const LATE_MAX: Duration = Duration::from_secs(1);
/// The same once every provider was asked in every way (INV-12).
const STUCK_FIRST: Duration = Duration::from_secs(1);
const STUCK_MAX: Duration = Duration::from_secs(30);
/// The same where not every provider could be asked.
const AWAY_MAX: Duration = Duration::from_secs(5);
/// How often the head is looked at meanwhile: once a block, within these bounds.
const LOOK_MIN: Duration = Duration::from_secs(1);
const LOOK_MAX: Duration = Duration::from_secs(10);

/// The next block, which does not come.
#[derive(Clone, Debug)]
pub(super) struct Stuck {
    pub(super) number: u64,
    /// How often it was asked for while it may only have been late, and after that.
    late: u32,
    tries: u32,
    again_at: Instant,
    /// When the head was looked at last, and whether nobody answered then.
    looked_at: Instant,
    was_away: bool,
}

impl Stuck {
    fn new(number: u64) -> Stuck {
        let now = clock::now();
        Stuck { number, late: 0, tries: 0, again_at: now, looked_at: now, was_away: false }
    }

    /// It was asked for in vain.
    fn failed(&mut self, says: Says, now: Instant) {
        let pause = if says == Says::NotYet {
            self.late = self.late.saturating_add(1);
            doubled(LATE_FIRST, self.late).min(LATE_MAX)
        } else {
            self.tries = self.tries.saturating_add(1);
            // One who has it may be back soon.
            let most = if says == Says::OfSome { AWAY_MAX } else { STUCK_MAX };
            doubled(STUCK_FIRST, self.tries).min(most)
        };
        self.again_at = now + pause;
    }

    /// Whether it is to be asked for again.
    pub(super) fn is_due(&self) -> bool {
        clock::now() >= self.again_at
    }

    /// Whether the head is to be looked at.
    pub(super) fn is_look_due(&self, every: Duration) -> bool {
        clock::now() >= self.looked_at + every
    }

    /// How long nothing is to be done, where the head is looked at so often.
    pub(super) fn wait(&self, every: Option<Duration>) -> Duration {
        let next = every.map_or(self.again_at, |every| self.again_at.min(self.looked_at + every));
        next.saturating_duration_since(clock::now())
    }
}

fn doubled(first: Duration, tries: u32) -> Duration {
    first.saturating_mul(1 << tries.saturating_sub(1).min(10))
}

/// Blocks behind one that does not come, as far as their bytes allow.
#[derive(Default)]
pub(super) struct Kept {
    inner: Mutex<BTreeMap<u64, Fetched>>,
}

impl Kept {
    fn with<T>(&self, act: impl FnOnce(&mut BTreeMap<u64, Fetched>) -> T) -> T {
        act(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Keeps a block unless all together would be larger; the first always is.
    pub(super) fn add(&self, fetched: Fetched, bytes_max: u64) {
        self.with(|blocks| {
            let bytes: u64 = blocks.values().map(|kept| weight(&kept.block)).sum();
            if blocks.is_empty() || bytes + weight(&fetched.block) <= bytes_max {
                blocks.insert(fetched.block.header.number, fetched);
            }
        });
    }

    /// Takes the block of a number out.
    pub(super) fn take(&self, number: u64) -> Option<Fetched> {
        self.with(|blocks| blocks.remove(&number))
    }

    /// Forgets what lies below a number.
    pub(super) fn drop_below(&self, number: u64) {
        self.with(|blocks| *blocks = blocks.split_off(&number));
    }

    /// Forgets all: whether there was something.
    pub(super) fn clear(&self) -> bool {
        self.with(|blocks| {
            let had_some = !blocks.is_empty();
            blocks.clear();
            had_some
        })
    }
}

impl Follower {
    /// Tells now and then that a block is missing that is there by what a provider said.
    pub(super) fn tell_if_overdue(&self) {
        self.status.has(self.chain.with_state(|state| state.head().map(|head| head.block.number)));
        if let Some(reason) = self.status.is_overdue_news() {
            tracing::warn!(chain = %self.config.name, %reason, "capture is behind");
        }
    }

    /// What follows from the failure of a block that is next: it is not there yet, it does not come
    /// although it is there, or providers are away.
    pub(super) fn without(
        &self,
        not_had: NotHad,
        memory: &mut Memory,
    ) -> Result<Moved, CaptureError> {
        memory.streak = 0;
        if not_had.says == Says::OfProviders {
            return Err(not_had.into());
        }
        if not_had.is_absence() && !not_had.has_body {
            // The head that was announced is not there yet, or gone again.
            tracing::debug!(chain = %self.config.name, %not_had, "not there yet");
            memory.misses += 1;
            self.status.missed(not_had.reason());
            return Ok(Moved::No);
        }
        self.stand_before(&not_had, memory);
        Ok(Moved::No)
    }

    /// While a block does not come, heads that are announced show how far it is above ours.
    pub(super) fn hear(&self) {
        if let Some(announced) = self.heads.last().filter(|_| self.heads.is_alive()) {
            self.status.saw_head(announced.number);
        }
    }

    /// How often the head is looked at while a block does not come; not where heads are announced.
    pub(super) fn look_every(&self, memory: &Memory) -> Option<Duration> {
        if self.heads.is_alive() {
            return None;
        }
        let block_time = memory.schedule.block_time().unwrap_or(LOOK_MIN);
        Some(block_time.clamp(LOOK_MIN, LOOK_MAX).max(self.source.poll_min()))
    }

    /// The next block was asked for in vain, and is there: it is asked for again later.
    fn stand_before(&self, not_had: &NotHad, memory: &mut Memory) {
        let number = not_had.number;
        let known = memory.stuck.take().filter(|stuck| stuck.number == number);
        let mut stuck = known.unwrap_or_else(|| Stuck::new(number));
        stuck.failed(not_had.says, clock::now());
        if self.status.stuck(not_had, stuck.again_at) {
            let chain = &self.config.name;
            tracing::warn!(%chain, error = %not_had, "capture waits for a block");
        }
        memory.stuck = Some(stuck);
    }

    /// Asks once more for the block that does not come.
    pub(super) async fn ask_again(
        &self,
        number: u64,
        memory: &mut Memory,
    ) -> Result<Moved, CaptureError> {
        match self.source.block(number).await {
            Ok(fetched) => {
                memory.kept.add(fetched, u64::MAX);
                (memory.stuck, memory.misses) = (None, 0);
                let moved = self.catch_up(number, number, None, memory).await?;
                // Where nobody announces, the head is asked for: there may be many more.
                if self.heads.is_alive() {
                    return Ok(moved);
                }
                memory.streak = STREAK_MAX;
                Ok(Moved::Yes)
            }
            Err(not_had) => {
                // What is gone is of another fork, or was another node's.
                memory.stuck = memory.stuck.take().filter(|_| not_had.says != Says::NotThere);
                self.without(not_had, memory)
            }
        }
    }

    /// Looks how far the head is above the block that does not come; a chain that became shorter
    /// is another one.
    pub(super) async fn look_beyond(&self, memory: &mut Memory) -> Result<Moved, CaptureError> {
        let ours = self.ours().map(|(block, _)| block);
        let found = self.source.survey(self.ours()).await;
        if let Some(stuck) = &mut memory.stuck {
            let now = clock::now();
            stuck.looked_at = now;
            let is_back = std::mem::replace(&mut stuck.was_away, found.is_err()) && found.is_ok();
            if is_back {
                // It was not the block.
                stuck.again_at = now;
            }
        }
        let latest = match found {
            Ok((latest, _)) => latest,
            Err(error) => {
                tracing::debug!(chain = %self.config.name, %error, "the head is not known");
                return Ok(Moved::No);
            }
        };
        self.status.saw_head(latest.number);
        match ours {
            Some(ours) if latest.number <= ours.number => self.compare(latest, memory).await,
            Some(_) | None => Ok(Moved::No),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_late_is_asked_for_within_a_second_and_what_is_stuck_less_and_less() {
        let mut stuck = Stuck::new(7);
        let now = clock::now();
        let mut pauses = |says: Says, times: usize| -> Vec<u64> {
            let mut pause = || {
                stuck.failed(says, now);
                (stuck.again_at - now).as_millis() as u64
            };
            (0..times).map(|_| pause()).collect()
        };
        assert_eq!(pauses(Says::NotYet, 5), [250, 500, 1_000, 1_000, 1_000]);
        let grown = [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000];
        assert_eq!(pauses(Says::OfBlock, 7), grown);
        assert_eq!(pauses(Says::OfSome, 1), [5_000], "one was not asked");
    }
}

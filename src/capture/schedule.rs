//! When to ask for the next block: chains have slots, and providers have each block a little
//! later; asking earlier costs and gives nothing (INV-12).

use std::collections::VecDeque;
use std::time::Duration;

const POLL_MIN: Duration = Duration::from_millis(50);
const POLL_MAX: Duration = Duration::from_secs(3);
/// Before anything is known of the chain.
const POLL_FIRST: Duration = Duration::from_millis(500);
/// A chain whose blocks come this late has no rhythm.
const SLOT_MAX: Duration = Duration::from_mins(1);

/// Blocks that the rhythm is taken from.
const BLOCKS: usize = 33;

/// What was seen of a chain's rhythm.
#[derive(Clone, Debug, Default)]
pub(super) struct Schedule {
    /// Times of the last blocks, in microseconds.
    times: VecDeque<u64>,
    /// How long after its own time a block can be had, smoothed; in seconds.
    delay: Option<f64>,
}

impl Schedule {
    /// A block of a time was had at `now_micros` (both in microseconds since 1970-01-01);
    /// `is_fresh`: it was not there a moment before.
    pub(super) fn saw(&mut self, time_micros: u64, now_micros: u64, is_fresh: bool) {
        // A reorg: what is above is gone.
        while self.times.back().is_some_and(|last| *last > time_micros) {
            self.times.pop_back();
        }
        self.times.push_back(time_micros);
        if self.times.len() > BLOCKS {
            self.times.pop_front();
        }
        let delay = seconds(now_micros) - seconds(time_micros);
        let is_likely = (0.0..SLOT_MAX.as_secs_f64()).contains(&delay);
        match self.delay {
            None if is_likely && is_fresh => self.delay = Some(delay),
            Some(known) if is_likely && is_fresh => {
                self.delay = Some(known * 0.8 + delay * 0.2);
            }
            // It was there at the first question: the next comes a little sooner.
            Some(known) => self.delay = Some(known * 0.98),
            None => {}
        }
    }

    /// Time between blocks: the middle one of the last, or where several share a second their mean.
    pub(super) fn block_time(&self) -> Option<Duration> {
        let between = |(a, b): (&u64, &u64)| b.saturating_sub(*a);
        let mut gaps: Vec<u64> =
            self.times.iter().zip(self.times.iter().skip(1)).map(between).collect();
        gaps.sort_unstable();
        let middle = *gaps.get(gaps.len() / 2)?;
        let mean = seconds(gaps.iter().sum()) / gaps.len() as f64;
        let seconds = if mean < 1.5 { mean } else { seconds(middle) };
        (seconds > 0.0).then(|| Duration::from_secs_f64(seconds).min(SLOT_MAX))
    }

    /// How long to wait before the next question, after so many in vain.
    pub(super) fn wait(&self, now_micros: u64, misses: u32) -> Duration {
        let Some(block_time) = self.block_time() else { return POLL_FIRST };
        let between = (block_time / 16).clamp(POLL_MIN, POLL_MAX);
        let Some(last) = self.times.back().filter(|_| misses == 0) else {
            // In vain: a missed slot, or a chain that rests. Twice as long each time.
            return between.saturating_mul(1 << misses.saturating_sub(4).min(6)).min(POLL_MAX);
        };
        let slot = block_time.as_secs_f64();
        let due = seconds(*last) + slot + self.delay.unwrap_or(0.0);
        let wait = due - seconds(now_micros);
        // A clock that is wrong, ours or the chain's, costs half a slot at most.
        Duration::from_secs_f64(wait.clamp(0.0, slot * 1.5)).max(POLL_MIN)
    }
}

fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    #[test]
    fn it_asks_once_a_slot_when_the_block_is_likely_to_be_there() {
        let mut schedule = Schedule::default();
        assert_eq!(schedule.wait(0, 0), POLL_FIRST);
        for slot in 0..50 {
            let time = 1_000 + slot * 12;
            schedule.saw(time * SECOND, time * SECOND + 2 * SECOND, true);
        }
        assert_eq!(schedule.block_time(), Some(Duration::from_secs(12)));
        let last = 1_000 + 49 * 12;
        let wait = schedule.wait((last + 2) * SECOND, 0).as_secs_f64();
        assert!((11.9..12.1).contains(&wait), "{wait}: 12 s after the last");
        assert_eq!(schedule.wait(last * SECOND, 1), Duration::from_millis(750));
        schedule.saw((last + 12) * SECOND, (last + 14) * SECOND, false);
        let sooner = schedule.wait((last + 14) * SECOND, 0).as_secs_f64();
        assert!((11.9..wait).contains(&sooner), "{sooner}: it was there at the first question");
        assert_eq!(schedule.wait(last * SECOND, 40), POLL_MAX);
        // Late already.
        assert_eq!(schedule.wait((last + 30) * SECOND, 0), POLL_MIN);
    }

    #[test]
    fn a_fast_chain_and_a_clock_that_is_wrong_do_no_harm() {
        let mut schedule = Schedule::default();
        schedule.saw(100 * SECOND, 5 * SECOND, true);
        schedule.saw(100 * SECOND, 5 * SECOND, true);
        assert_eq!(schedule.block_time(), None, "nothing is known of a chain within one second");
        for block in 0..40 {
            schedule.saw((101 + block / 4) * SECOND, 5 * SECOND, true);
        }
        let block_time = schedule.block_time().unwrap().as_secs_f64();
        assert!((0.2..0.3).contains(&block_time), "four blocks a second: {block_time}");
        let wait = schedule.wait(5 * SECOND, 0).as_secs_f64();
        assert!(wait <= block_time * 1.5, "our clock is behind");
        assert_eq!(schedule.wait(5 * SECOND, 3), POLL_MIN);
    }

    #[test]
    fn a_chain_that_counts_finer_than_seconds_has_its_own_rhythm() {
        let mut schedule = Schedule::default();
        for block in 0..40 {
            let time = 1_000 * SECOND + block * 250_000;
            schedule.saw(time, time + 100_000, true);
        }
        assert_eq!(schedule.block_time(), Some(Duration::from_millis(250)));
        let last = 1_000 * SECOND + 39 * 250_000;
        let wait = schedule.wait(last + 100_000, 0).as_secs_f64();
        assert!((0.24..0.26).contains(&wait), "{wait}");
    }

    #[test]
    fn missed_slots_and_reorgs_do_not_change_the_slot() {
        let mut schedule = Schedule::default();
        for slot in (0..60).filter(|slot| slot % 7 != 0) {
            schedule.saw((1_000 + slot * 12) * SECOND, 0, false);
        }
        schedule.saw((1_000 + 57 * 12) * SECOND, 0, false);
        schedule.saw((1_000 + 58 * 12) * SECOND, 0, false);
        assert_eq!(schedule.block_time(), Some(Duration::from_secs(12)));
    }
}

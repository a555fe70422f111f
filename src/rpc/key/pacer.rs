//! How fast a key may be used: so many calls a second, so many a day (INV-12).

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use super::Limits;

const SECONDS_PER_DAY: u64 = 86_400;

/// The pace of one key.
pub(super) struct Pacer {
    limiter: Option<DefaultDirectRateLimiter>,
    per_day: Option<u64>,
    today: Mutex<Day>,
}

#[derive(Default)]
struct Day {
    number: u64,
    used: u64,
}

impl Pacer {
    pub(super) fn new(limits: Limits) -> Pacer {
        let limiter = limits.per_second.map(|n| RateLimiter::direct(Quota::per_second(n)));
        Pacer { limiter, per_day: limits.per_day, today: Mutex::default() }
    }

    /// Waits until so many calls may be made.
    pub(super) async fn wait(&self, calls: usize) {
        let Some(limiter) = &self.limiter else { return };
        // One by one: a batch larger than the burst still goes, at the pace.
        for _ in 0..calls {
            limiter.until_ready().await;
        }
    }

    /// Counts calls against the day at a time (seconds since the epoch); `Err` is how long to
    /// rest until the UTC day ends.
    pub(super) fn spend(&self, calls: usize, now: u64) -> Result<(), Duration> {
        let mut today = self.today.lock().unwrap_or_else(PoisonError::into_inner);
        if today.number != now / SECONDS_PER_DAY {
            *today = Day { number: now / SECONDS_PER_DAY, used: 0 };
        }
        let after = today.used + calls as u64;
        if self.per_day.is_some_and(|limit| after > limit) {
            return Err(Duration::from_secs(SECONDS_PER_DAY - now % SECONDS_PER_DAY));
        }
        today.used = after;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spent_day_rests_until_midnight() {
        let pacer = Pacer::new(Limits { per_second: None, per_day: Some(5) });
        assert_eq!(pacer.spend(3, 86_400), Ok(()));
        assert_eq!(pacer.spend(2, 86_401), Ok(()));
        assert_eq!(pacer.spend(1, 86_402), Err(Duration::from_secs(86_398)));
        assert_eq!(pacer.spend(1, 2 * 86_400), Ok(()));
    }
}

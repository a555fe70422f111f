//! Which endpoint to ask first: a pure function of what each did lately.

use std::time::{Duration, Instant};

use super::Cause;

const REST_FIRST: Duration = Duration::from_millis(500);
const REST_MAX: Duration = Duration::from_secs(30);
const REST_REFUSED: Duration = Duration::from_mins(1);
const REST_WRONG: Duration = Duration::from_secs(10);
const REST_QUOTA: Duration = Duration::from_mins(15);

/// What an endpoint did lately.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Health {
    /// Failures since the last success.
    pub(super) failures: u32,
    /// Not asked before.
    pub(super) rests_until: Option<Instant>,
    /// Smoothed seconds of an answer.
    pub(super) latency_secs: f64,
}

impl Health {
    pub(super) fn succeeded(&mut self, taken: Duration) {
        let seconds = taken.as_secs_f64();
        let is_first = self.latency_secs == 0.0;
        self.latency_secs =
            if is_first { seconds } else { self.latency_secs * 0.8 + seconds * 0.2 };
        self.failures = 0;
        self.rests_until = None;
    }

    pub(super) fn failed(&mut self, cause: &Cause, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        let doubled = REST_FIRST.saturating_mul(1 << self.failures.saturating_sub(1).min(6));
        let rest = match cause {
            Cause::Throttled { after } => after.unwrap_or(doubled).min(REST_REFUSED),
            Cause::QuotaSpent => REST_QUOTA,
            Cause::Refused => REST_REFUSED,
            Cause::Wrong => REST_WRONG,
            Cause::Moved
            | Cause::Unavailable
            | Cause::Malformed
            | Cause::Resting
            | Cause::Other => doubled.min(REST_MAX),
            // The endpoint is well, it only cannot do this.
            Cause::MethodMissing
            | Cause::InvalidParams
            | Cause::BatchRefused
            | Cause::BlockMissing => {
                self.failures = 0;
                return;
            }
        };
        self.rests_until = Some(now + rest);
    }

    pub(super) fn is_resting(&self, now: Instant) -> bool {
        self.rests_until.is_some_and(|until| until > now)
    }
}

/// Positions of the endpoints in the order to ask them: those that rest are left out.
pub(super) fn order(healths: &[Health], now: Instant) -> Vec<usize> {
    let mut awake: Vec<usize> = (0..healths.len())
        .filter(|at| healths.get(*at).is_some_and(|health| !health.is_resting(now)))
        .collect();
    let rank = |at: &usize| {
        let health = healths.get(*at).copied().unwrap_or_default();
        // Latencies within 50 ms are alike: the order of the configuration decides.
        (health.failures, (health.latency_secs * 20.0) as u64, *at)
    };
    awake.sort_by_key(rank);
    awake
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any instant does")]
    fn the_healthy_and_fast_come_first_and_the_resting_not_at_all() {
        let now = Instant::now();
        let mut healths = [Health::default(); 4];
        healths[0].succeeded(Duration::from_millis(400));
        healths[1].succeeded(Duration::from_millis(20));
        healths[2].failed(&Cause::Refused, now);
        healths[3].failed(&Cause::Unavailable, now);
        assert_eq!(order(&healths, now), [1, 0]);
        assert_eq!(order(&healths, now + Duration::from_secs(1)), [1, 0, 3]);
        assert_eq!(order(&healths, now + Duration::from_secs(61)), [1, 0, 2, 3]);
        healths[1].failed(&Cause::BlockMissing, now);
        assert_eq!(order(&healths, now), [1, 0]);
    }
}

//! The devnet meters its keys as providers do, and refuses by itself: who thinks that a client
//! keeps to its limits can compare.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// What a key may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeyLimits {
    /// Calls in any second; more are answered with 429.
    pub per_second: Option<u64>,
    /// Calls until `devnet_setLimits` is called again; more are answered with 402.
    pub per_day: Option<u64>,
}

/// What a key did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct KeyCount {
    /// HTTP requests that came.
    pub requests: u64,
    /// Calls that came, each of a batch by itself.
    pub calls: u64,
    /// Most calls in any second.
    pub most_in_a_second: u64,
    /// Calls that were refused because the second was full.
    pub throttled: u64,
    /// Calls that were refused because the day was.
    pub spent: u64,
    /// Requests that were under way at the same time at most.
    pub most_at_once: u64,
    #[serde(skip)]
    at_once: u64,
    #[serde(skip)]
    second: VecDeque<(Instant, u64)>,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Throttled,
    Spent,
}

/// The meter of a provider.
#[derive(Debug, Default)]
pub(super) struct Meter {
    pub(super) limits: KeyLimits,
    pub(super) keys: BTreeMap<String, KeyCount>,
}

impl Meter {
    /// Counts a request with so many calls.
    pub(super) fn begin(&mut self, key: &str, calls: u64, now: Instant) -> Result<(), Refusal> {
        let limits = self.limits;
        let count = self.keys.entry(key.to_owned()).or_default();
        count.at_once += 1;
        count.most_at_once = count.most_at_once.max(count.at_once);
        let second = Duration::from_secs(1);
        while count.second.front().is_some_and(|(at, _)| now.duration_since(*at) >= second) {
            count.second.pop_front();
        }
        let inside: u64 = count.second.iter().map(|(_, calls)| calls).sum();
        if limits.per_second.is_some_and(|most| inside + calls > most) {
            count.throttled += calls;
            return Err(Refusal::Throttled);
        }
        if limits.per_day.is_some_and(|most| count.calls + calls > most) {
            count.spent += calls;
            return Err(Refusal::Spent);
        }
        count.second.push_back((now, calls));
        count.most_in_a_second = count.most_in_a_second.max(inside + calls);
        count.requests += 1;
        count.calls += calls;
        Ok(())
    }

    pub(super) fn end(&mut self, key: &str) {
        if let Some(count) = self.keys.get_mut(key) {
            count.at_once = count.at_once.saturating_sub(1);
        }
    }
}

//! Heads that cannot be right: they are named, and not followed.

use std::sync::PoisonError;

use crate::clock;
use crate::telemetry::metrics;

use super::Endpoint;

/// Blocks a second, where the chain's rhythm is not known yet: no chain has as many.
const RATE_MAX: u64 = 1_000;
/// The same at least, where it is known: a chain that rested may hurry.
const RATE_MIN: u64 = 10;
/// Seconds by which clocks and the times of blocks may be wrong.
const SLACK_SECS: u64 = 3_600;
/// Blocks that a head may go down by a reorg, or from one node behind a URL to another.
const BACK_BLOCKS: u64 = 128;

/// A head as a provider names it, or as we have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Its number.
    pub number: u64,
    /// Its time, seconds since 1970-01-01 UTC.
    pub time: u64,
}

/// What cannot be right about a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadFault {
    /// So many blocks cannot have been made since.
    #[error(
        "names block {number} as its head, and by the time that has passed no block above {most} \
         can be there: it is not followed; check `url`"
    )]
    Above {
        /// Its head.
        number: u64,
        /// The highest that can be.
        most: u64,
    },
    /// It had more before.
    #[error(
        "its head went back from block {from} to {to}: it is not followed until it is higher; ask \
         who runs it whether it was reset"
    )]
    Back {
        /// The highest that it named.
        from: u64,
        /// What it names now.
        to: u64,
    },
    /// It is of a time that is not there yet.
    #[error(
        "the time of its head {number} is {secs} s ahead of this machine's clock: it is not \
         followed; check the clock here (timedatectl), then the provider"
    )]
    Future {
        /// Its head.
        number: u64,
        /// How far ahead.
        secs: u64,
    },
}

impl HeadFault {
    /// The word in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            HeadFault::Above { .. } => "above",
            HeadFault::Back { .. } => "back",
            HeadFault::Future { .. } => "future",
        }
    }
}

/// What is known when a head is judged.
#[derive(Clone, Copy, Debug)]
pub struct Judging<'a> {
    /// Our own head, which is proved.
    pub ours: Option<Claim>,
    /// What the other providers name.
    pub others: &'a [Claim],
    /// Seconds between blocks, once they are known.
    pub block_secs: Option<f64>,
    /// Seconds since 1970-01-01 UTC.
    pub now: u64,
}

impl Judging<'_> {
    /// The highest block that can be there when another was there at its time.
    fn most(&self, known: Claim) -> u64 {
        let known_rate = self.block_secs.map(|secs| ((4.0 / secs.max(0.001)) as u64).max(RATE_MIN));
        let passed = self.now.saturating_sub(known.time).saturating_add(SLACK_SECS);
        known.number.saturating_add(passed.saturating_mul(known_rate.unwrap_or(RATE_MAX)))
    }

    /// What cannot be right; `highest` is what the same provider named before.
    pub fn fault(&self, claim: Claim, highest: Option<u64>) -> Option<HeadFault> {
        let Claim { number, time } = claim;
        let secs = time.saturating_sub(self.now);
        // No chain is older than clocks.
        let always = Claim { number: 0, time: 0 };
        let by_ours = self.ours.unwrap_or(always);
        let mut most = self.most(by_ours);
        if self.ours.is_none() {
            // One of the others may be wrong itself.
            let mut bounds: Vec<u64> = self.others.iter().map(|other| self.most(*other)).collect();
            bounds.sort_unstable();
            most = most.min(bounds.get(1).copied().unwrap_or(most));
        }
        if number > most {
            return Some(HeadFault::Above { number, most });
        }
        if secs > SLACK_SECS {
            return Some(HeadFault::Future { number, secs });
        }
        let from = highest.filter(|from| number.saturating_add(BACK_BLOCKS) < *from)?;
        Some(HeadFault::Back { from, to: number })
    }
}

/// What an endpoint named as its head.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct NamedHead {
    pub(super) last: Option<u64>,
    /// The highest that could be right.
    highest: Option<u64>,
    pub(super) fault: Option<HeadFault>,
}

impl Endpoint {
    /// Judges a head that it names, and remembers what cannot be right about it.
    pub fn names_head(&self, claim: Claim, judging: &Judging<'_>) -> Option<HeadFault> {
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        let fault = judging.fault(claim, named.highest);
        let is_new = fault.map(HeadFault::as_str) != named.fault.map(HeadFault::as_str);
        if !matches!(fault, Some(HeadFault::Above { .. } | HeadFault::Future { .. })) {
            named.highest = named.highest.max(Some(claim.number));
        }
        named.last = Some(claim.number);
        named.fault = fault;
        drop(named);
        let found = fault?;
        metrics::head_refused(self.name(), found.as_str());
        if is_new {
            tracing::warn!(provider = self.name(), "{found}");
        }
        fault
    }

    /// What cannot be right about the head that it names.
    pub fn head_fault(&self) -> Option<HeadFault> {
        self.named.lock().unwrap_or_else(PoisonError::into_inner).fault
    }

    /// The same judgement of a head by itself.
    pub fn names_head_alone(&self, claim: Claim) -> Option<HeadFault> {
        let now = clock::unix_seconds();
        self.names_head(claim, &Judging { ours: None, others: &[], block_secs: None, now })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn at(number: u64, ago: u64) -> Claim {
        Claim { number, time: NOW - ago }
    }

    fn judging(ours: Option<Claim>, others: &[Claim]) -> Judging<'_> {
        Judging { ours, others, block_secs: Some(12.0), now: NOW }
    }

    #[test]
    fn a_head_above_what_time_allows_cannot_be() {
        let ours = Some(at(20_000_000, 12));
        let fault = |claim| judging(ours, &[]).fault(claim, None);
        assert_eq!(fault(at(20_000_001, 0)), None);
        assert_eq!(fault(at(20_030_000, 0)), None, "we may have been away");
        assert!(matches!(fault(at(21_000_000, 0)), Some(HeadFault::Above { .. })));
        assert!(matches!(fault(at(u64::MAX, 0)), Some(HeadFault::Above { .. })));
        let long_ago = Some(at(20_000_000, 40 * 86_400));
        assert_eq!(judging(long_ago, &[]).fault(at(21_000_000, 0), None), None);
    }

    #[test]
    fn without_a_head_of_ours_two_others_count() {
        let (good, liar) = (at(20_000_000, 0), at(u64::MAX, 0));
        let fault = |claim, others: &[Claim]| judging(None, others).fault(claim, None);
        assert!(fault(liar, &[]).is_some(), "no chain is as old");
        let boast = at(30_000_000, 0);
        assert_eq!(fault(boast, &[good]), None, "one of the two is wrong");
        assert!(fault(boast, &[good, at(20_000_001, 0)]).is_some());
        assert_eq!(fault(good, &[liar, at(5, 0)]), None, "no liar takes an honest one out");
    }

    #[test]
    fn a_head_of_tomorrow_and_one_that_goes_back_cannot_be() {
        let ours = Some(at(1_000, 12));
        let ahead = Claim { number: 1_001, time: NOW + 7_200 };
        let fault = judging(ours, &[]).fault(ahead, None);
        assert_eq!(fault, Some(HeadFault::Future { number: 1_001, secs: 7_200 }));
        let fault = |number| judging(ours, &[]).fault(at(number, 0), Some(1_001));
        assert_eq!(fault(990), None, "a reorg, or another node behind the same URL");
        assert_eq!(fault(100), Some(HeadFault::Back { from: 1_001, to: 100 }));
    }
}

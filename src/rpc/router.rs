//! Whom to ask: a pure function of how each endpoint does, what is left of its quota and what the
//! wish costs there.

use std::time::{Duration, Instant};

use super::Cause;

const REST_FIRST: Duration = Duration::from_millis(500);
const REST_MAX: Duration = Duration::from_secs(30);
const REST_REFUSED: Duration = Duration::from_mins(1);
const REST_WRONG: Duration = Duration::from_secs(10);
const REST_QUOTA: Duration = Duration::from_mins(15);
/// Keys below this part of their quota are kept for when no other is left.
const NEARLY_SPENT: f64 = 0.02;
/// A block comes from two endpoints where that costs no more than this part of what one takes: it
/// is one request more.
const SPLIT_BELOW: f64 = 0.9;
/// History waits for a place rather than to pay more than so many times what it costs there.
const DEAR: f64 = 5.0;

/// What an endpoint did lately: the circuit breaker's memory.
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
            Cause::QuotaSpent { until } => until.unwrap_or(REST_QUOTA),
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
            | Cause::RangeTooWide { .. }
            | Cause::TooBig
            | Cause::Pruned
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

/// What somebody is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Purpose {
    /// The head of the chain: as soon as possible.
    #[default]
    Head,
    /// History: as cheap as possible, from what the head does not need.
    History,
}

/// What is known of an endpoint at a moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    /// It is left alone after a failure.
    pub(super) is_resting: bool,
    /// Failures since the last success; above 0 the next request is a probe.
    pub(super) failures: u32,
    /// Its head is far behind ours.
    pub(super) is_behind: bool,
    /// Smoothed seconds of an answer.
    pub(super) latency_secs: f64,
    /// Workers that may still enter.
    pub(super) free: usize,
    /// Workers inside.
    pub(super) inside: usize,
    /// Seconds in which what is left of the quota, spread until its reset, comes to what the wish
    /// takes: it rises as the quota goes down, and falls towards the reset.
    pub(super) cost: f64,
    /// How often the wish can still be fulfilled there before the quota resets.
    pub(super) times_left: f64,
    /// How often the heads of other chains could fulfil it with what they need until then.
    pub(super) times_claimed: f64,
    /// The same of those that need less than this chain's head, and so go before it.
    pub(super) times_claimed_before: f64,
    /// Whether a head, of any chain, waits for a place there.
    pub(super) is_awaited: bool,
    /// The part of the quota that is left, of 1.
    pub(super) part_left: f64,
}

/// What the head needs before history may take anything.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Needs {
    /// Whether a head is followed at all.
    pub(super) is_following: bool,
    /// Blocks that are due until the quotas reset.
    pub(super) blocks: f64,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// Ask this one.
    Ask(usize),
    /// Somebody will be free.
    Wait,
    /// Everybody rests or has nothing left.
    Nobody,
    /// What is left is for the head, or for heads of other chains.
    Kept,
}

/// Whom to ask.
pub(super) fn choose(purpose: Purpose, needs: Needs, endpoints: &[Facts]) -> Choice {
    let awake = || {
        let all = endpoints.iter().enumerate();
        all.filter(|(_, facts)| !facts.is_resting && facts.times_left >= 1.0)
    };
    let places = |facts: &Facts| if facts.failures > 0 { 1 } else { facts.free + facts.inside };
    let free = |facts: &Facts| match facts.failures {
        0 => facts.free,
        // Half open: one request shows whether it is well again.
        _ => usize::from(facts.inside == 0 && facts.free > 0),
    };
    if awake().next().is_none() {
        return Choice::Nobody;
    }
    let spare = |facts: &Facts| match purpose {
        // A fast chain would leave nothing to a slow one.
        Purpose::Head => facts.times_left - facts.times_claimed_before,
        Purpose::History => facts.times_left - facts.times_claimed,
    };
    let has_spare = |facts: &Facts| spare(facts) >= 1.0;
    if !awake().any(|(_, facts)| has_spare(facts)) {
        return Choice::Kept;
    }
    if purpose == Purpose::History {
        let times: f64 = awake().map(|(_, facts)| spare(facts).max(0.0)).sum();
        if times - 1.0 < needs.blocks {
            return Choice::Kept;
        }
        // A spare place for the head, where there is more than one.
        let all: usize = awake().map(|(_, facts)| places(facts)).sum();
        let free: usize = awake().map(|(_, facts)| free(facts)).sum();
        if needs.is_following && all > 1 && free < 2 {
            return Choice::Wait;
        }
    }
    let well = awake().filter(|(_, facts)| facts.failures == 0 && has_spare(facts));
    let dear = DEAR * well.map(|(_, facts)| facts.cost).fold(f64::INFINITY, f64::min);
    // Heads go before.
    let is_open = |facts: &Facts| {
        let is_left = purpose == Purpose::History && (facts.is_awaited || facts.cost > dear);
        free(facts) > 0 && has_spare(facts) && !is_left
    };
    // Numbers in order of weight; the smallest wins, and among equals the first in the
    // configuration.
    let rank = |facts: &Facts| {
        let is_last = u64::from(facts.part_left < NEARLY_SPENT);
        // Latencies within 50 ms are alike, and so is wear within a hundredth.
        let slowness = (facts.latency_secs * 20.0) as u64;
        let wear = 100 - (facts.part_left * 100.0) as u64;
        let cost = (facts.cost * 1e6) as u64;
        let doubt = u64::from(facts.failures) + u64::from(facts.is_behind);
        match purpose {
            Purpose::Head => [doubt, is_last, slowness, cost, wear],
            Purpose::History => [u64::from(facts.failures), is_last, cost, wear, slowness],
        }
    };
    let best = awake().filter(|(_, facts)| is_open(facts)).min_by_key(|(_, facts)| rank(facts));
    best.map_or(Choice::Wait, |(at, _)| Choice::Ask(at))
}

/// Whom history asks for a block and whom for its receipts, where it is cheaper to ask two.
pub(super) fn split(
    needs: Needs,
    whole: &[Facts],
    body: &[Facts],
    receipts: &[Facts],
) -> Option<[usize; 2]> {
    let best = |facts: &[Facts]| match choose(Purpose::History, needs, facts) {
        Choice::Ask(at) => facts.get(at).map(|facts| (at, facts.cost)),
        Choice::Wait | Choice::Nobody | Choice::Kept => None,
    };
    let ((_, whole), (first, body), (second, receipts)) =
        (best(whole)?, best(body)?, best(receipts)?);
    (first != second && body + receipts < whole * SPLIT_BELOW).then_some([first, second])
}

/// Whether the head may ask a second endpoint before the first has answered: nobody's quota
/// suffers from it.
pub(super) fn may_hedge(facts: &Facts, needs: Needs) -> bool {
    facts.times_left.is_infinite() || facts.times_left > 2.0 * needs.blocks.max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain() -> Facts {
        Facts {
            is_resting: false,
            failures: 0,
            is_behind: false,
            latency_secs: 0.1,
            free: 1,
            inside: 0,
            cost: 0.0,
            times_left: f64::INFINITY,
            times_claimed: 0.0,
            times_claimed_before: 0.0,
            is_awaited: false,
            part_left: 1.0,
        }
    }

    fn metered(part_left: f64, cost: f64) -> Facts {
        Facts { cost, part_left, times_left: part_left / cost, ..plain() }
    }

    const NO_HEAD: Needs = Needs { is_following: false, blocks: 0.0 };
    const HEAD: Needs = Needs { is_following: true, blocks: 100.0 };

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any instant does")]
    fn a_failure_rests_an_endpoint_as_long_as_its_cause_says() {
        let now = Instant::now();
        let rests = |cause: &Cause, failures: u32| {
            let mut health = Health { failures, ..Health::default() };
            health.failed(cause, now);
            health.rests_until.map(|until| until - now)
        };
        let seconds = |n| Some(Duration::from_secs(n));
        assert_eq!(rests(&Cause::Throttled { after: seconds(3) }, 0), seconds(3));
        assert_eq!(rests(&Cause::Throttled { after: None }, 1), seconds(1));
        assert_eq!(rests(&Cause::QuotaSpent { until: seconds(777) }, 0), seconds(777));
        assert_eq!(rests(&Cause::QuotaSpent { until: None }, 0), Some(REST_QUOTA));
        assert_eq!(rests(&Cause::Refused, 0), Some(REST_REFUSED));
        assert_eq!(rests(&Cause::Unavailable, 40), Some(REST_MAX));
        assert_eq!(rests(&Cause::BlockMissing, 5), None, "it is well");
    }

    #[test]
    fn the_head_asks_the_fastest_and_history_the_cheapest() {
        let fast = Facts { latency_secs: 0.02, ..metered(0.5, 1e-4) };
        let cheap = Facts { latency_secs: 0.4, ..metered(0.5, 1e-5) };
        let all = [fast, cheap];
        assert_eq!(choose(Purpose::Head, HEAD, &all), Choice::Ask(0));
        assert_eq!(choose(Purpose::History, HEAD, &all), Choice::Ask(1));
        assert_eq!(choose(Purpose::History, NO_HEAD, &[cheap, plain()]), Choice::Ask(1));
        let busy = |facts| Facts { free: 0, inside: 1, ..facts };
        assert_eq!(choose(Purpose::History, NO_HEAD, &[fast, busy(cheap)]), Choice::Wait);
        assert_eq!(choose(Purpose::History, NO_HEAD, &[fast, busy(plain())]), Choice::Wait);
        let broken = Facts { failures: 1, ..busy(cheap) };
        assert_eq!(choose(Purpose::History, NO_HEAD, &[fast, broken]), Choice::Ask(0));
        let much = Facts { cost: 4e-5, ..fast };
        assert_eq!(choose(Purpose::History, NO_HEAD, &[much, busy(cheap)]), Choice::Ask(0));
    }

    #[test]
    fn wear_is_balanced_and_a_key_is_left_before_its_quota_ends() {
        let keys = [metered(0.40, 1e-5), metered(0.60, 1e-5), metered(0.50, 1e-5)];
        assert_eq!(choose(Purpose::History, NO_HEAD, &keys), Choice::Ask(1));
        assert_eq!(choose(Purpose::Head, NO_HEAD, &keys), Choice::Ask(1));
        let slow = Facts { latency_secs: 3.0, ..metered(0.5, 1e-4) };
        let keys = [metered(0.01, 1e-5), slow];
        assert_eq!(choose(Purpose::Head, NO_HEAD, &keys), Choice::Ask(1));
        let spent = Facts { times_left: 0.0, ..metered(0.0, 1e-5) };
        assert_eq!(choose(Purpose::Head, NO_HEAD, &[spent]), Choice::Nobody);
        assert_eq!(choose(Purpose::Head, NO_HEAD, &[spent, keys[0]]), Choice::Ask(1));
    }

    #[test]
    fn a_key_in_use_is_left_to_its_worker_and_a_spare_is_kept_for_the_head() {
        let busy = Facts { free: 0, inside: 1, ..plain() };
        assert_eq!(choose(Purpose::Head, HEAD, &[busy, plain()]), Choice::Ask(1));
        assert_eq!(choose(Purpose::Head, HEAD, &[busy, busy]), Choice::Wait);
        assert_eq!(choose(Purpose::History, HEAD, &[busy, plain()]), Choice::Wait, "the spare");
        assert_eq!(choose(Purpose::History, NO_HEAD, &[busy, plain()]), Choice::Ask(1));
        assert_eq!(choose(Purpose::History, HEAD, &[plain(), plain()]), Choice::Ask(0));
        assert_eq!(choose(Purpose::History, HEAD, &[plain()]), Choice::Ask(0), "the only one");
        let awaited = Facts { is_awaited: true, ..plain() };
        assert_eq!(choose(Purpose::History, HEAD, &[awaited, plain()]), Choice::Ask(1));
        assert_eq!(choose(Purpose::History, NO_HEAD, &[awaited]), Choice::Wait, "heads go before");
        assert_eq!(choose(Purpose::Head, HEAD, &[awaited]), Choice::Ask(0));
    }

    #[test]
    fn history_takes_each_part_of_a_block_where_it_is_cheapest() {
        let parts = |whole: [f64; 2], body: [f64; 2], receipts: [f64; 2]| {
            let [whole, body, receipts] =
                [whole, body, receipts].map(|costs| costs.map(|cost| metered(0.5, cost)));
            split(NO_HEAD, &whole, &body, &receipts)
        };
        let (infura, alchemy) = (0.08, 0.02);
        let receipts = [1.0, 0.02];
        assert_eq!(parts([1.08, 0.04], [infura, alchemy], receipts), None);
        // Half of Alchemy's is used up: what is left of it is dearer.
        assert_eq!(parts([1.08, 0.32], [infura, 0.16], [1.0, 0.16]), Some([0, 1]));
        assert_eq!(parts([0.2, 0.2], [0.1, 0.09], [0.1, 0.11]), None, "it is one request more");
        let own = [plain(), metered(0.5, 0.1)];
        assert_eq!(split(NO_HEAD, &own, &own, &own), None, "it costs nothing");
        let busy = [plain(), metered(0.5, 0.1)].map(|facts| Facts { free: 0, inside: 1, ..facts });
        assert_eq!(split(NO_HEAD, &busy, &busy, &busy), None);
    }

    #[test]
    fn what_the_head_needs_until_the_reset_is_not_spent_on_history() {
        let key = Facts { times_left: 101.0, ..metered(0.5, 1e-4) };
        assert_eq!(choose(Purpose::History, HEAD, &[key]), Choice::Ask(0));
        let key = Facts { times_left: 100.5, ..key };
        assert_eq!(choose(Purpose::History, HEAD, &[key]), Choice::Kept);
        assert_eq!(choose(Purpose::Head, HEAD, &[key]), Choice::Ask(0));
        assert!(!may_hedge(&key, HEAD));
        assert!(may_hedge(&plain(), HEAD));
    }

    #[test]
    fn what_heads_of_other_chains_need_is_not_spent_on_history() {
        let key = Facts { times_left: 50.0, times_claimed: 49.0, ..metered(0.5, 1e-4) };
        assert_eq!(choose(Purpose::History, NO_HEAD, &[key]), Choice::Ask(0));
        let key = Facts { times_claimed: 49.5, ..key };
        assert_eq!(choose(Purpose::History, NO_HEAD, &[key]), Choice::Kept);
        assert_eq!(choose(Purpose::Head, NO_HEAD, &[key]), Choice::Ask(0));
        assert_eq!(choose(Purpose::History, NO_HEAD, &[key, plain()]), Choice::Ask(1));
    }

    #[test]
    fn a_head_that_needs_much_leaves_others_what_they_need() {
        let key = Facts { times_left: 50.0, times_claimed_before: 49.0, ..metered(0.5, 1e-4) };
        assert_eq!(choose(Purpose::Head, HEAD, &[key]), Choice::Ask(0));
        let key = Facts { times_left: 49.9, ..key };
        assert_eq!(choose(Purpose::Head, HEAD, &[key]), Choice::Kept);
        let dear = Facts { latency_secs: 3.0, ..metered(0.5, 1e-4) };
        assert_eq!(choose(Purpose::Head, HEAD, &[key, dear]), Choice::Ask(1));
        let own = Facts { times_claimed_before: 49.0, ..plain() };
        assert_eq!(choose(Purpose::Head, HEAD, &[own]), Choice::Ask(0), "it has no quota");
    }

    #[test]
    fn the_resting_are_not_asked_and_the_broken_only_once_at_a_time() {
        let rests = Facts { is_resting: true, failures: 1, ..plain() };
        assert_eq!(choose(Purpose::Head, NO_HEAD, &[rests]), Choice::Nobody);
        let probed = Facts { failures: 2, free: 5, inside: 1, ..plain() };
        assert_eq!(choose(Purpose::Head, NO_HEAD, &[probed]), Choice::Wait);
        let probed = Facts { inside: 0, ..probed };
        assert_eq!(choose(Purpose::Head, NO_HEAD, &[probed]), Choice::Ask(0));
        let slow = Facts { latency_secs: 2.0, ..plain() };
        assert_eq!(choose(Purpose::Head, NO_HEAD, &[probed, slow]), Choice::Ask(1));
        let late = Facts { is_behind: true, ..plain() };
        assert_eq!(choose(Purpose::Head, NO_HEAD, &[late, slow]), Choice::Ask(1));
        assert_eq!(choose(Purpose::History, NO_HEAD, &[late, slow]), Choice::Ask(0));
    }
}

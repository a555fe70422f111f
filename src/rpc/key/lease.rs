//! Units are taken from the ledger in bulk before they are used, so that a crash counts too many
//! and never too few (INV-12).

use std::collections::{BTreeMap, VecDeque};

use headwater_storage::ledger::Usage;

use super::Window;

/// Parts of a quota that one lease takes: what a crash may waste.
const LEASES_PER_QUOTA: u64 = 200;
/// Minutes over which the rate is taken that the forecast goes by.
const RATE_MINUTES: u64 = 10;

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::rpc) enum Outcome {
    /// With an answer.
    Answered,
    /// With an error, by its cause.
    Failed(&'static str),
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Outcome::Answered => "answered",
            Outcome::Failed(cause) => cause,
        }
    }
}

/// What one key may use, and has used: plain state, without time or disk of its own.
#[derive(Debug, Default)]
pub(super) struct Account {
    pub(super) quota: Option<u64>,
    pub(super) window: Window,
    /// Units by bucket, without the present one.
    past: BTreeMap<u64, u64>,
    /// The present bucket.
    pub(super) bucket: u64,
    /// Units that were used in it.
    pub(super) used: u64,
    /// Units that the ledger says may be used in it.
    leased: u64,
    calls: BTreeMap<String, BTreeMap<String, u64>>,
    last: u64,
    /// Units by minute, for the rate.
    minutes: VecDeque<(u64, u64)>,
}

/// Whether units may be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// They are counted.
    Yes,
    /// The ledger has to know of so many first.
    AfterLease(u64),
    /// The quota is spent until that second.
    SpentUntil(u64),
}

impl Account {
    pub(super) fn new(quota: Option<u64>, window: Window) -> Account {
        Account { quota, window, ..Account::default() }
    }

    /// What the ledger knows from before.
    pub(super) fn load(&mut self, bucket: u64, usage: &Usage, now: u64) {
        if bucket == self.window.bucket(now) {
            self.bucket = bucket;
            // All of an old lease counts: nobody knows how much of it was used.
            (self.used, self.leased) = (usage.units, usage.units);
            self.calls.clone_from(&usage.calls);
        } else {
            self.past.insert(bucket, usage.units);
        }
        self.last = self.last.max(usage.last);
    }

    /// Goes to the bucket of a time. A clock that goes back stays in the bucket it was in.
    fn turn(&mut self, now: u64) {
        let bucket = self.window.bucket(now);
        if bucket > self.bucket {
            if self.used > 0 {
                self.past.insert(self.bucket, self.used);
            }
            let start = self.window.start(now);
            self.past.retain(|bucket, _| *bucket >= start);
            (self.bucket, self.used, self.leased) = (bucket, 0, 0);
            self.calls.clear();
        }
    }

    fn used_before(&self) -> u64 {
        self.past.values().sum()
    }

    /// Units that are left at a time; `None` without a quota.
    pub(super) fn left(&mut self, now: u64) -> Option<u64> {
        self.turn(now);
        let used = self.used + self.used_before();
        self.quota.map(|quota| quota.saturating_sub(used))
    }

    /// The second at which something comes back.
    pub(super) fn resets_at(&self, now: u64) -> u64 {
        let oldest = self.past.keys().next().copied();
        self.window.resets_at(oldest.unwrap_or_else(|| self.window.bucket(now)))
    }

    pub(super) fn take(&mut self, units: u64, now: u64) -> Taken {
        self.turn(now);
        if let Some(quota) = self.quota {
            let room = quota.saturating_sub(self.used_before());
            if self.used + units > room {
                return Taken::SpentUntil(self.resets_at(now));
            }
            if self.used + units > self.leased {
                let lease = units.max(quota / LEASES_PER_QUOTA);
                return Taken::AfterLease((self.used + lease).min(room));
            }
        }
        self.used += units;
        let minute = now / 60;
        match self.minutes.back_mut() {
            Some((last, sum)) if *last == minute => *sum += units,
            Some(_) | None => self.minutes.push_back((minute, units)),
        }
        while self.minutes.front().is_some_and(|(first, _)| *first + RATE_MINUTES < minute) {
            self.minutes.pop_front();
        }
        self.last = self.last.max(now);
        Taken::Yes
    }

    pub(super) fn leased(&mut self, units: u64) {
        self.leased = self.leased.max(units);
    }

    /// What was leased is given back to the ledger: whoever wants more asks anew.
    pub(super) fn settled(&mut self) {
        self.leased = self.used;
    }

    /// Gives units back that the provider does not count.
    pub(super) fn refund(&mut self, units: u64) {
        self.used = self.used.saturating_sub(units);
    }

    pub(super) fn count(&mut self, method: &str, outcome: Outcome) {
        if let Some(by_outcome) = self.calls.get_mut(method) {
            *by_outcome.entry(outcome.as_str().to_owned()).or_default() += 1;
            return;
        }
        let first = BTreeMap::from([(outcome.as_str().to_owned(), 1)]);
        self.calls.insert(method.to_owned(), first);
    }

    /// What the ledger is to hold when so many units are leased; without, what was used.
    pub(super) fn usage(&self, leased: Option<u64>) -> Usage {
        let units = leased.unwrap_or(self.used);
        Usage { units, calls: self.calls.clone(), last: self.last }
    }

    /// What the ledger holds of the lease at the moment.
    pub(super) fn lease(&self) -> u64 {
        self.leased.max(self.used)
    }

    /// Units a second, lately.
    pub(super) fn rate(&self, now: u64) -> f64 {
        let Some((first, _)) = self.minutes.front() else { return 0.0 };
        let units: u64 = self.minutes.iter().map(|(_, units)| units).sum();
        let seconds = now.saturating_sub(first * 60).max(60);
        units as f64 / seconds as f64
    }

    /// The second at which the quota ends at the present rate, if it does before it resets.
    pub(super) fn ends_at(&mut self, now: u64) -> Option<u64> {
        let left = self.left(now)?;
        let rate = self.rate(now);
        if rate <= 0.0 {
            return (left == 0).then_some(now);
        }
        let end = now + (left as f64 / rate) as u64;
        (end < self.resets_at(now)).then_some(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    /// Takes units, with the lease that is asked for.
    fn take(account: &mut Account, units: u64, now: u64) -> Taken {
        match account.take(units, now) {
            Taken::AfterLease(lease) => {
                account.leased(lease);
                account.take(units, now)
            }
            taken @ (Taken::Yes | Taken::SpentUntil(_)) => taken,
        }
    }

    #[test]
    fn a_spent_day_rests_until_midnight() {
        let mut account = Account::new(Some(5), Window::UtcDay);
        assert_eq!(take(&mut account, 3, DAY), Taken::Yes);
        assert_eq!(take(&mut account, 2, DAY + 1), Taken::Yes);
        assert_eq!(take(&mut account, 1, DAY + 2), Taken::SpentUntil(2 * DAY));
        assert_eq!(take(&mut account, 1, 2 * DAY), Taken::Yes);
        assert_eq!(account.left(2 * DAY), Some(4));
    }

    #[test]
    fn a_rolling_day_gives_back_hour_by_hour() {
        let mut account = Account::new(Some(10), Window::RollingDay);
        assert_eq!(take(&mut account, 6, DAY), Taken::Yes);
        assert_eq!(take(&mut account, 4, DAY + 3_600), Taken::Yes);
        assert_eq!(take(&mut account, 1, DAY + 7_200), Taken::SpentUntil(2 * DAY + 3_600));
        assert_eq!(take(&mut account, 7, 2 * DAY + 3_600), Taken::SpentUntil(2 * DAY + 7_200));
        assert_eq!(take(&mut account, 6, 2 * DAY + 3_600), Taken::Yes);
    }

    #[test]
    fn a_crash_counts_what_was_leased_and_a_clock_that_goes_back_gives_nothing() {
        let mut account = Account::new(Some(2_000), Window::UtcDay);
        assert_eq!(account.take(1, DAY + 50), Taken::AfterLease(10));
        account.leased(10);
        assert_eq!(account.take(1, DAY + 50), Taken::Yes);
        let at_crash = account.usage(Some(account.lease()));
        assert_eq!(at_crash.units, 10);
        let at_rest = account.usage(None);
        assert_eq!(at_rest.units, 1);

        let mut again = Account::new(Some(2_000), Window::UtcDay);
        again.load(DAY, &at_crash, DAY + 60);
        assert_eq!(again.left(DAY + 60), Some(1_990));
        assert_eq!(again.left(5), Some(1_990), "yesterday is over");
        let mut tomorrow = Account::new(Some(2_000), Window::UtcDay);
        tomorrow.load(DAY, &at_crash, 2 * DAY);
        assert_eq!(take(&mut tomorrow, 2_000, 2 * DAY), Taken::Yes);
    }

    #[test]
    fn the_forecast_goes_by_the_rate() {
        let mut account = Account::new(Some(1_000), Window::UtcDay);
        assert_eq!(account.ends_at(DAY), None);
        assert_eq!(take(&mut account, 600, DAY), Taken::Yes);
        assert_eq!(account.ends_at(DAY + 60), Some(DAY + 60 + 40), "10 a second, 400 left");
        let mut slow = Account::new(Some(1_000_000), Window::UtcDay);
        assert_eq!(take(&mut slow, 60, DAY), Taken::Yes);
        assert_eq!(slow.ends_at(DAY + 60), None, "it resets before");
    }
}

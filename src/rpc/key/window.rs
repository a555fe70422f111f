//! When a quota begins anew: at midnight UTC, after 24 hours, on the first of the month.

use headwater_storage::model::{date_of, date_text, parse_date};

const DAY_SECS: u64 = 86_400;
const HOUR_SECS: u64 = 3_600;

/// The time that a quota is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// From midnight to midnight, UTC.
    #[default]
    UtcDay,
    /// Any 24 hours. Counted in whole hours: what was used comes back up to an hour late.
    RollingDay,
    /// From the first of a month to the next, UTC.
    Month,
}

impl Window {
    /// The first second of the bucket that a time falls in; usage is counted in buckets.
    pub(super) fn bucket(self, now: u64) -> u64 {
        match self {
            Window::UtcDay | Window::Month => now - now % DAY_SECS,
            Window::RollingDay => now - now % HOUR_SECS,
        }
    }

    /// The first bucket that counts at a time.
    pub(super) fn start(self, now: u64) -> u64 {
        match self {
            Window::UtcDay => now - now % DAY_SECS,
            Window::RollingDay => self.bucket(now).saturating_sub(DAY_SECS),
            Window::Month => month_start(now),
        }
    }

    /// When what was used in a bucket no longer counts.
    pub(super) fn resets_at(self, bucket: u64) -> u64 {
        match self {
            Window::UtcDay => bucket - bucket % DAY_SECS + DAY_SECS,
            Window::RollingDay => bucket + DAY_SECS + HOUR_SECS,
            // The longest month has 31 days.
            Window::Month => month_start(month_start(bucket) + 32 * DAY_SECS),
        }
    }

    /// Seconds that what is left has to last, where something comes back in so many.
    pub(super) fn lasts(self, resets_in: u64) -> u64 {
        match self {
            Window::UtcDay | Window::Month => resets_in,
            // What comes back next is an hour's use, not the quota.
            Window::RollingDay => DAY_SECS,
        }
    }

    /// Days that one quota has to last.
    pub(in crate::rpc) fn days(self) -> f64 {
        match self {
            Window::UtcDay | Window::RollingDay => 1.0,
            Window::Month => 30.0,
        }
    }
}

fn month_start(now: u64) -> u64 {
    let date = date_text(date_of(now));
    let first = date.get(..7).and_then(|month| parse_date(&format!("{month}-01")));
    first.and_then(|days| u64::try_from(days).ok()).unwrap_or(0) * DAY_SECS
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds of a date.
    fn at(date: &str) -> u64 {
        u64::try_from(parse_date(date).unwrap()).unwrap() * DAY_SECS
    }

    #[test]
    fn every_window_has_its_boundary() {
        let noon = at("2024-02-29") + 12 * HOUR_SECS + 5;
        assert_eq!(Window::UtcDay.start(noon), at("2024-02-29"));
        assert_eq!(Window::UtcDay.resets_at(Window::UtcDay.bucket(noon)), at("2024-03-01"));
        let last = at("2024-03-01") - 1;
        assert_eq!(Window::UtcDay.start(last), at("2024-02-29"));
        assert_eq!(Window::UtcDay.start(last + 1), at("2024-03-01"));

        assert_eq!(Window::Month.start(noon), at("2024-02-01"));
        assert_eq!(Window::Month.resets_at(Window::Month.bucket(noon)), at("2024-03-01"));
        let december = at("2025-12-31");
        assert_eq!(Window::Month.resets_at(december), at("2026-01-01"));
        assert_eq!(Window::Month.start(at("2026-01-01")), at("2026-01-01"));

        // 24 hours ago is still counted, 25 hours ago no more.
        let bucket = Window::RollingDay.bucket(noon);
        assert_eq!(bucket, at("2024-02-29") + 12 * HOUR_SECS);
        assert!(Window::RollingDay.start(noon + DAY_SECS) <= bucket);
        assert!(Window::RollingDay.start(noon + DAY_SECS + HOUR_SECS) > bucket);
        let resets = Window::RollingDay.resets_at(bucket);
        assert_eq!(Window::RollingDay.start(resets), bucket + HOUR_SECS);
        assert!(Window::RollingDay.start(resets - 1) <= bucket);
    }
}

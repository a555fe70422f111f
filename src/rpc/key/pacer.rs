//! How fast a key may be used: so many units in any second (INV-12).
//!
//! A token bucket lets its burst and its refill through in the same second, twice what the
//! provider allows; so what went out in the last second is kept and counted.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::clock;

/// A second, and what two requests may come closer to each other on their way.
const WINDOW: Duration = Duration::from_millis(1_100);

/// The pace of one key.
pub(super) struct Pacer {
    most: Option<u64>,
    /// When units went out, and how many.
    sent: Mutex<VecDeque<(Instant, u64)>>,
}

impl Pacer {
    pub(super) fn new(per_second: Option<NonZeroU32>) -> Pacer {
        Pacer { most: per_second.map(|most| u64::from(most.get())), sent: Mutex::default() }
    }

    /// The same after a restart: nobody knows what the last second of the process before was used
    /// for.
    pub(super) fn after_restart(per_second: Option<NonZeroU32>) -> Pacer {
        let pacer = Pacer::new(per_second);
        pacer.send(pacer.most.unwrap_or(0), clock::now());
        pacer
    }

    /// Waits until so many units may be used. What takes more than a second allows goes alone.
    pub(super) async fn wait(&self, units: u64) {
        while let Some(rest) = self.send(units, clock::now()) {
            tokio::time::sleep(rest).await;
        }
    }

    /// Counts units that go out now, or says how long to wait first.
    fn send(&self, units: u64, now: Instant) -> Option<Duration> {
        let most = self.most?;
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        while sent.front().is_some_and(|(at, _)| now.duration_since(*at) >= WINDOW) {
            sent.pop_front();
        }
        let inside: u64 = sent.iter().map(|(_, units)| units).sum();
        match sent.front() {
            Some((first, _)) if inside + units > most => Some(*first + WINDOW - now),
            Some(_) | None => {
                sent.push_back((now, units));
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_second_has_more_than_is_allowed() {
        let pacer = Pacer::new(NonZeroU32::new(10));
        let mut now = clock::now();
        let mut sent = Vec::new();
        for _ in 0..40 {
            while let Some(rest) = pacer.send(3, now) {
                now += rest;
            }
            sent.push(now);
        }
        for first in &sent {
            let second = sent.iter().filter(|at| {
                at.checked_duration_since(*first).is_some_and(|d| d < Duration::from_secs(1))
            });
            assert!(second.count() <= 3, "3 times 3 of 10");
        }
        assert_eq!(pacer.send(50, now + WINDOW), None, "alone");
        assert!(pacer.send(1, now + WINDOW).is_some());
        let again = Pacer::after_restart(NonZeroU32::new(10));
        assert!(again.send(1, clock::now()).is_some(), "the second before counts");
        assert_eq!(Pacer::after_restart(None).send(9, now), None);
        assert_eq!(Pacer::new(None).send(u64::MAX, now), None);
    }
}

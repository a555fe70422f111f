//! How many requests a sink is given at once: additive increase, multiplicative decrease, as TCP
//! does it (RFC 5681). One more after each round that it took, half after it was too much; what
//! was in flight by then says nothing about the half, and is not heard.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The width of one sink, kept over its batches.
pub(crate) struct Width {
    max: usize,
    state: Mutex<State>,
}

struct State {
    now: usize,
    /// Taken one after the other at this width.
    taken: usize,
    /// How often it was halved.
    round: u64,
}

/// Under which width a request was sent.
#[derive(Clone, Copy)]
pub(crate) struct Round(u64);

impl Width {
    /// As wide as the configuration allows, until the sink says otherwise.
    pub(crate) fn new(max: usize) -> Width {
        Width { max, state: Mutex::new(State { now: max, taken: 0, round: 0 }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Requests at once.
    pub(crate) fn now(&self) -> usize {
        self.state().now
    }

    /// A request is sent.
    pub(crate) fn sent(&self) -> Round {
        Round(self.state().round)
    }

    /// The sink took it.
    pub(crate) fn took(&self, Round(round): Round) {
        let mut state = self.state();
        if round < state.round {
            return;
        }
        state.taken += 1;
        if state.taken >= state.now {
            state.now = (state.now + 1).min(self.max);
            state.taken = 0;
        }
    }

    /// The sink asked to wait, or did not answer in time.
    pub(crate) fn too_much(&self, Round(round): Round, sink: &str, reason: &str) {
        let mut state = self.state();
        if round < state.round || state.now == 1 {
            return;
        }
        *state = State { now: state.now / 2, taken: 0, round: state.round + 1 };
        tracing::info!(sink, reason, requests = state.now, "too much for the sink: fewer at once");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sink_finds_what_it_can_take() {
        // It takes twelve at once, and refuses what is more.
        let width = Width::new(64);
        let mut refused = 0;
        for _ in 0..200 {
            let rounds: Vec<Round> = (0..width.now()).map(|_| width.sent()).collect();
            for (place, round) in rounds.into_iter().enumerate() {
                if place < 12 {
                    width.took(round);
                } else {
                    refused += 1;
                    width.too_much(round, "it", "busy");
                }
            }
        }
        assert!((6..=13).contains(&width.now()), "{}", width.now());
        assert!((25..150).contains(&refused), "{refused}: 72 at first, then one in seven rounds");
    }

    #[test]
    fn it_is_halved_once_for_all_that_was_in_flight() {
        let width = Width::new(16);
        let rounds: Vec<Round> = (0..16).map(|_| width.sent()).collect();
        for round in &rounds {
            width.too_much(*round, "it", "busy");
        }
        assert_eq!(width.now(), 8);
        for round in rounds {
            width.took(round);
        }
        assert_eq!(width.now(), 8, "what was sent before says nothing about the half");
        for _ in 0..8 {
            width.took(width.sent());
        }
        assert_eq!(width.now(), 9);
    }

    #[test]
    fn it_stays_between_one_and_what_is_allowed() {
        let width = Width::new(2);
        for _ in 0..10 {
            width.too_much(width.sent(), "it", "busy");
        }
        assert_eq!(width.now(), 1);
        for _ in 0..10 {
            width.took(width.sent());
        }
        assert_eq!(width.now(), 2);
    }
}

//! How many workers may use a key at the same time: one for a metered key; more where the provider
//! bears it, fewer after it said that it does not.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// Lets a limited number in, and adapts the limit: one more after as many answers as there were
/// workers, half as many after a throttled one (AIMD).
pub(in crate::rpc) struct Gate {
    most: usize,
    state: Mutex<State>,
    /// Told when somebody leaves.
    freed: Arc<Notify>,
}

struct State {
    limit: f64,
    inside: usize,
}

/// The right to use a key; it ends when this is dropped.
pub(in crate::rpc) struct Pass {
    gate: Arc<Gate>,
}

impl Gate {
    pub(in crate::rpc) fn new(most: usize, freed: Arc<Notify>) -> Gate {
        let most = most.max(1);
        Gate { most, state: Mutex::new(State { limit: most as f64, inside: 0 }), freed }
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many more may enter.
    pub(in crate::rpc) fn free(&self) -> usize {
        self.with(|state| (state.limit as usize).saturating_sub(state.inside))
    }

    /// How many are inside.
    pub(in crate::rpc) fn inside(&self) -> usize {
        self.with(|state| state.inside)
    }

    /// How many may be inside at the moment, at least one.
    pub(in crate::rpc) fn limit(&self) -> usize {
        self.with(|state| state.limit as usize)
    }

    pub(in crate::rpc) fn enter(self: &Arc<Gate>) -> Option<Pass> {
        self.with(|state| {
            let is_free = state.inside < state.limit as usize;
            state.inside += usize::from(is_free);
            is_free.then(|| Pass { gate: self.clone() })
        })
    }

    pub(in crate::rpc) fn succeeded(&self) {
        let most = self.most as f64;
        self.with(|state| state.limit = (state.limit + 1.0 / state.limit).min(most));
    }

    pub(in crate::rpc) fn throttled(&self) {
        self.with(|state| state.limit = (state.limit / 2.0).max(1.0));
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.gate.with(|state| state.inside -= 1);
        self.gate.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metered_key_has_one_worker() {
        let gate = Arc::new(Gate::new(1, Arc::default()));
        let pass = gate.enter().unwrap();
        assert!(gate.enter().is_none());
        gate.throttled();
        drop(pass);
        assert!(gate.enter().is_some(), "one is always let in");
    }

    #[test]
    fn throttling_halves_and_answers_bring_one_more() {
        let gate = Arc::new(Gate::new(8, Arc::default()));
        let passes: Vec<Pass> = std::iter::from_fn(|| gate.enter()).collect();
        assert_eq!(passes.len(), 8);
        gate.throttled();
        gate.throttled();
        assert_eq!(gate.limit(), 2);
        assert_eq!(gate.free(), 0, "those inside are not thrown out");
        drop(passes);
        assert_eq!(gate.free(), 2);
        for _ in 0..3 {
            gate.succeeded();
        }
        assert_eq!(gate.limit(), 3);
        for _ in 0..100 {
            gate.succeeded();
        }
        assert_eq!(gate.limit(), 8);
    }
}

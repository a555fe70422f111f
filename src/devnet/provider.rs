//! A way to ask the chain, with faults of its own: a chain can have an honest and a lying provider.

use std::sync::{Arc, Mutex, PoisonError};

use super::DevNode;
use super::faults::{Dice, Faults};

/// A way to ask the chain.
pub struct Provider {
    /// The chain.
    pub chain: Arc<DevNode>,
    state: Mutex<(Faults, Dice)>,
}

impl Provider {
    pub(super) fn new(chain: Arc<DevNode>) -> Provider {
        let dice = Dice(chain.config().seed);
        Provider { chain, state: Mutex::new((Faults::default(), dice)) }
    }

    fn with<T>(&self, act: impl FnOnce(&mut (Faults, Dice)) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sets how often faults happen.
    pub fn set_faults(&self, faults: Faults) {
        self.with(|state| state.0 = faults);
    }

    /// How often faults happen.
    pub fn faults(&self) -> Faults {
        self.with(|state| state.0)
    }

    /// Whether something that happens so often in a thousand happens now.
    pub(super) fn happens(&self, thousandths: u32) -> bool {
        self.with(|state| state.1.happens(thousandths))
    }
}

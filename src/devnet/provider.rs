//! A way to ask the chain, with faults of its own: a chain can have an honest and a lying provider.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::clock;

use super::faults::{Dice, Faults};
use super::meter::{Meter, Refusal};
use super::{DevNode, KeyCount, KeyLimits};

/// A way to ask the chain.
pub struct Provider {
    /// The chain.
    pub chain: Arc<DevNode>,
    state: Mutex<(Faults, Dice)>,
    meter: Mutex<Meter>,
}

/// A request that is under way, in the count of its key.
pub(super) struct UnderWay<'a> {
    provider: &'a Provider,
    key: &'a str,
}

impl Provider {
    pub(super) fn new(chain: Arc<DevNode>) -> Provider {
        let dice = Dice(chain.config().seed);
        Provider { chain, state: Mutex::new((Faults::default(), dice)), meter: Mutex::default() }
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

    fn meter<T>(&self, act: impl FnOnce(&mut Meter) -> T) -> T {
        act(&mut self.meter.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sets what each key may do, and begins to count anew.
    pub fn set_limits(&self, limits: KeyLimits) {
        self.meter(|meter| *meter = Meter { limits, ..Meter::default() });
    }

    /// What each key did: the last part of the path that it asked at is its name.
    pub fn counts(&self) -> BTreeMap<String, KeyCount> {
        self.meter(|meter| meter.keys.clone())
    }

    /// Counts a request with so many calls until what is given back is dropped.
    pub(super) fn begin<'a>(
        &'a self,
        key: &'a str,
        calls: u64,
    ) -> (UnderWay<'a>, Result<(), Refusal>) {
        let counted = self.meter(|meter| meter.begin(key, calls, clock::now()));
        (UnderWay { provider: self, key }, counted)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.provider.meter(|meter| meter.end(self.key));
    }
}

//! Where a block came from: which provider, and when it was proved.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// Bytes of a provider's name that the log keeps.
pub const PROVIDER_BYTES_MAX: usize = 24;

/// Different names that one process keeps; more than that are not told apart.
const NAMES_MAX: usize = 4_096;

/// The name of a provider; none for blocks that were made here or logged by format 1.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Provider(Option<&'static str>);

impl Provider {
    /// A provider by its name, of which the first 24 bytes count.
    pub fn named(name: &str) -> Provider {
        static NAMES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
        let mut end = name.len().min(PROVIDER_BYTES_MAX);
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        let name = name.get(..end).unwrap_or_default();
        if name.is_empty() {
            return Provider(None);
        }
        let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = names.get(name) {
            return Provider(Some(*known));
        }
        if names.len() >= NAMES_MAX {
            return Provider(Some("other"));
        }
        // Never freed, and bounded: heads of events are copied by the million and stay small.
        let kept: &'static str = Box::leak(name.to_owned().into_boxed_str());
        names.insert(kept);
        Provider(Some(kept))
    }

    /// The name, where there is one.
    pub fn name(self) -> Option<&'static str> {
        self.0
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.unwrap_or("-"))
    }
}

/// Where a block came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Who gave it.
    pub provider: Provider,
    /// When it was proved, microseconds since 1970-01-01 UTC; 0 when that is not known.
    pub at_micros: u64,
}

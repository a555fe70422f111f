//! Where a log went its own way from another node's that has the same beginning.

use std::sync::Arc;

use super::Lsn;

/// Records behind which a chain's log is another one than before, since its folder was restored,
/// copied or repaired: the same number may mean another event in the log of another node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Branches(Arc<Vec<(Lsn, u64)>>);

impl Branches {
    /// From the last record that both have, and when the ways parted (seconds since 1970-01-01
    /// UTC), the latest first.
    pub fn new(latest_first: Vec<(Lsn, u64)>) -> Branches {
        Branches(Arc::new(latest_first))
    }

    /// When the log parted from the last other one that does not have this record; `None` for the
    /// records of the first log.
    pub fn of(&self, lsn: Lsn) -> Option<u64> {
        self.0.iter().find(|(last, _)| lsn > *last).map(|(_, at)| *at)
    }
}

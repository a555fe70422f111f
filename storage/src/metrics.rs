//! Names of this crate's metrics, and how they are recorded.

use std::time::Duration;

use crate::model::ChainName;

/// Seconds that one group commit took, write and sync: histogram by chain.
pub const WAL_COMMIT_SECONDS: &str = "headwater_wal_commit_seconds";

pub(crate) fn commit_seconds(chain: &ChainName, taken: Duration) {
    metrics::histogram!(WAL_COMMIT_SECONDS, "chain" => chain.to_string())
        .record(taken.as_secs_f64());
}

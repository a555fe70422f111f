//! `[query]`: bounds of a statement (INV-10).

/// `[query]`.
#[derive(Clone, Copy, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueryConfig {
    /// Bytes of memory that all running statements share.
    pub memory_bytes: usize,
    /// Bytes that statements may spill to disk.
    pub spill_bytes: u64,
    /// Seconds that a statement may run.
    pub timeout_secs: u64,
    /// Rows that an answer may have.
    pub rows_max: usize,
    /// Statements that run at the same time.
    pub concurrency: usize,
}

impl Default for QueryConfig {
    fn default() -> QueryConfig {
        QueryConfig {
            memory_bytes: 256 << 20,
            spill_bytes: 1 << 30,
            timeout_secs: 60,
            rows_max: 1_000_000,
            concurrency: 4,
        }
    }
}

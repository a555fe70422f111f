//! Keys of `kind = "memory"`.

use std::path::PathBuf;

/// Keys of `kind = "memory"`.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryConfig {
    /// A file that gets one JSON line per row, synced before a batch is acknowledged.
    pub path: Option<PathBuf>,
    /// Bytes of a row as JSON that it takes; longer ones are refused.
    pub row_bytes_max: Option<usize>,
}

//! Why a part cannot be sealed or read.

use crate::disk::DiskError;
use crate::model::{BlockRange, Lsn};
use crate::tables::ReadError;

/// Why a block that is to be sealed cannot be read.
pub type BlockReadError = Box<dyn std::error::Error + Send + Sync>;

/// Why a part cannot be sealed or read. Nothing of an unsealed one is in the manifest, and the next
/// try starts anew.
#[derive(Debug, thiserror::Error)]
pub enum PartError {
    /// The disk said no.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The blocks cannot be read from the log.
    #[error("blocks {range} cannot be read for sealing")]
    Log {
        /// The blocks.
        range: BlockRange,
        /// Why.
        #[source]
        source: BlockReadError,
    },
    /// A record that should be a block is none.
    #[error("record {lsn} holds no block")]
    NoBlock {
        /// The record.
        lsn: Lsn,
    },
    /// The rows of a part are no blocks.
    #[error("the part {path} holds no whole blocks")]
    Rows {
        /// The part of `blocks`.
        path: String,
        /// Why.
        #[source]
        source: ReadError,
    },
    /// The Parquet writer or reader failed.
    #[error("the part {path} cannot be written or read")]
    Parquet {
        /// The part.
        path: String,
        /// Why.
        #[source]
        source: parquet::errors::ParquetError,
    },
    /// What was read back is not what was written.
    #[error("the part {path} reads back wrong: {what}")]
    ReadBack {
        /// The part.
        path: String,
        /// What differs.
        what: &'static str,
    },
}

//! One sealed file in the manifest.

use alloy_primitives::B256;

use crate::model::{BlockRange, Lsn};
use crate::tables::Table;

/// One Parquet file: final blocks of one range, table and UTC date.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Part {
    /// Path below the data folder, `/` between names.
    pub path: String,
    /// The table.
    pub table: Table,
    /// Its blocks.
    pub range: BlockRange,
    /// UTC date of all its blocks, days since 1970-01-01.
    pub date: i32,
    /// Rows.
    pub rows: u64,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// CRC-32C (Castagnoli) of the file.
    pub crc32c: u32,
    /// Hash of the first block's parent.
    pub parent_hash: B256,
    /// Hash of the first block.
    pub first_hash: B256,
    /// Hash of the last block.
    pub last_hash: B256,
    /// The lowest record that it was made from.
    pub first_lsn: Lsn,
    /// The highest record that it was made from.
    pub last_lsn: Lsn,
}

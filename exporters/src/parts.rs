//! The trait of sinks that take sealed parts as files, and what they are given.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use headwater_storage::model::{B256, BlockRange, ChainName};
use headwater_storage::tables::Table;

use crate::ExportError;

/// Blocks that become one file per table, on one side of a UTC date's border.
#[derive(Clone, Debug)]
pub struct PartRun {
    /// The chain.
    pub chain: ChainName,
    /// EIP-155 id.
    pub chain_id: u64,
    /// UTC date of all its blocks, days since 1970-01-01.
    pub date: i32,
    /// The blocks.
    pub range: BlockRange,
    /// Hash of the first block's parent.
    pub parent_hash: B256,
    /// Hash of the first block.
    pub first_hash: B256,
    /// Hash of the last block.
    pub last_hash: B256,
    /// Retention removed rows of a table before they went.
    pub is_partial: bool,
    /// One file per table that has rows.
    pub files: Vec<PartFile>,
}

/// One file of a run.
#[derive(Clone, Debug)]
pub struct PartFile {
    /// The table.
    pub table: Table,
    /// Its name below the lake, `/` between folders.
    pub name: String,
    /// Where its bytes are now.
    pub place: PathBuf,
    /// Rows.
    pub rows: u64,
    /// Bytes.
    pub bytes: u64,
    /// CRC-32C (Castagnoli) of the bytes.
    pub crc32c: u32,
}

/// What a sink holds of one date of a chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeldDate {
    /// Its runs, in order.
    pub runs: Vec<HeldRun>,
    /// Runs that go next, with exactly these blocks.
    pub due: Vec<Due>,
}

/// A run that is not held, and whose files may be there in part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// The blocks.
    pub range: BlockRange,
    /// It was never held; otherwise files of it have gone.
    pub is_begun: bool,
}

/// A run that a sink holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldRun {
    /// The blocks.
    pub range: BlockRange,
    /// Hash of the first block.
    pub first_hash: B256,
    /// Hash of the last block.
    pub last_hash: B256,
}

/// How large files should be.
#[derive(Clone, Copy, Debug)]
pub struct SizeRule {
    /// Bytes of the largest file of a run.
    pub target_bytes: u64,
    /// A run that cannot become that large goes after this time.
    pub wait: Duration,
}

/// A sink of files. When a run goes, retry, and the ledger's cursor are the runner's.
#[async_trait]
pub trait PartExporter: Send + Sync {
    /// Connects, and says what is missing there and `check` would make.
    async fn missing(&self) -> Result<Vec<String>, ExportError>;

    /// Connects, makes what is missing, and proves that files can be written, renamed and removed.
    async fn check(&self) -> Result<(), ExportError>;

    /// What is held of a date: what was written down there, as far as its files are there. It is
    /// looked up anew.
    async fn held(&self, chain_id: u64, date: i32) -> Result<HeldDate, ExportError>;

    /// Returns when every file of a run is held durably under its name (INV-5). The same run may
    /// come again; it may be dropped at any await. At no moment does anybody see a file under its
    /// name that is not whole, or a block in two files of a table.
    async fn export(&self, run: &PartRun) -> Result<(), ExportError>;

    /// Takes back a run that was begun and of which the rows are no longer here.
    async fn abandon(&self, chain_id: u64, date: i32, range: BlockRange)
    -> Result<(), ExportError>;

    /// How large its files should be.
    fn size_rule(&self) -> SizeRule;

    /// Where a file of this name lies.
    fn place_of(&self, name: &str) -> String;

    /// Lets go of connections.
    async fn close(&self);
}

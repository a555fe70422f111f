//! What a restart must know of a chain.

use alloy_primitives::B256;

use crate::model::{BlockRange, BlockRanges, BlockRef, ChainName, Lsn};

/// What a restart must know of a chain before it reads the log.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ChainFacts {
    /// Name in paths, topics and metrics.
    pub name: ChainName,
    /// EIP-155 id.
    pub chain_id: u64,
    /// Records before this one are all sealed: a restart replays from here.
    pub replay_from: Lsn,
    /// The last record that parts were sealed from.
    pub sealed: Lsn,
    /// The highest final block that was sealed, with its parent and time.
    pub anchor: Option<Anchor>,
    /// Blocks that retention removed: they are no gap.
    #[serde(default)]
    pub forgotten: BlockRanges,
    /// Blocks of which retention removed rows of other tables than `blocks`: they cannot be given
    /// back whole.
    #[serde(default)]
    pub partial: BlockRanges,
}

/// A final block that later blocks link to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Anchor {
    /// The block.
    pub block: BlockRef,
    /// Its parent.
    pub parent_hash: B256,
    /// Its time, seconds since the epoch.
    pub timestamp: u64,
    /// Its record.
    pub lsn: Lsn,
}

/// A damaged place: of the log, where records cannot be read, or a part.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Quarantine {
    /// The first record that is lost.
    pub first: Lsn,
    /// The last.
    pub last: Lsn,
    /// The file, as a path below the data folder.
    pub file: String,
    /// Where in the file the damage begins.
    pub offset: u64,
    /// What is wrong there.
    pub damage: String,
    /// The block, when the record's head could be read.
    pub block: Option<BlockRef>,
    /// Numbers that are missing because of it, as far as that is known; they are fetched again.
    pub blocks: Vec<BlockRange>,
    /// When it was found, seconds since 1970-01-01 UTC.
    pub found_at: u64,
}

//! What a restart must know of a chain.

use alloy_primitives::B256;

use crate::model::{BlockRef, ChainName, Lsn};

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

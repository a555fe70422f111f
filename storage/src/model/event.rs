//! What happens to a chain, in the order of its log.

use std::sync::Arc;

use alloy_primitives::B256;

use super::{Block, BlockRef, Lane, Lsn, Origin, Verified};

/// Kind of an event, as in the log, in topics' `op` header and in the `chain_events` table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Op {
    /// A block became canonical.
    Applied = 1,
    /// The highest canonical block was orphaned.
    Reverted = 2,
    /// A canonical block and all before it can no longer be reverted.
    Finalized = 3,
}

impl Op {
    /// `applied`, `reverted` or `finalized`.
    pub fn as_str(self) -> &'static str {
        match self {
            Op::Applied => "applied",
            Op::Reverted => "reverted",
            Op::Finalized => "finalized",
        }
    }

    /// The kind that a byte of the log names.
    pub fn from_byte(byte: u8) -> Option<Op> {
        [Op::Applied, Op::Reverted, Op::Finalized].into_iter().find(|op| *op as u8 == byte)
    }
}

/// The small facts of an event: enough to follow the chain without its blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventHead {
    /// Record number.
    pub lsn: Lsn,
    /// What happened.
    pub op: Op,
    /// How the block came in.
    pub lane: Lane,
    /// To which block.
    pub block: BlockRef,
    /// The block before it.
    pub parent_hash: B256,
    /// The block's time, whole seconds since the epoch whatever its header counts in.
    pub timestamp: u64,
    /// What was proved.
    pub verified: Verified,
    /// By whom it was given, and when it was proved.
    pub origin: Origin,
}

/// An event to be appended.
#[derive(Clone, Debug)]
pub enum ChainEvent {
    /// A verified block, the next one on top of the canonical chain, or a piece of history.
    Applied {
        /// The block.
        block: Arc<Block>,
        /// How it came in.
        lane: Lane,
        /// What was proved.
        verified: Verified,
        /// By whom it was given, and when it was proved.
        origin: Origin,
    },
    /// The highest canonical block is orphaned.
    Reverted(BlockRef),
    /// This canonical block and all before it are final.
    Finalized(BlockRef),
}

impl ChainEvent {
    /// Which block.
    pub fn block_ref(&self) -> BlockRef {
        match self {
            ChainEvent::Applied { block, .. } => block.block_ref(),
            ChainEvent::Reverted(block) | ChainEvent::Finalized(block) => *block,
        }
    }
}

/// An event as read back.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnedEvent {
    /// The small facts.
    pub head: EventHead,
    /// The block, for `Applied`, and for `Reverted` where the log still has it.
    pub block: Option<Arc<Block>>,
}

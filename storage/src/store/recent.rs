//! Blocks that were written lately: the index, the sealer, exporters and queries read them next.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use crate::model::{Block, Lsn};
use crate::wal::Record;

/// Bytes of encoded blocks that are kept at most; in memory they take about as much again.
pub(super) const BYTES_MAX: u64 = 48 << 20;

/// The last blocks by record.
#[derive(Default)]
pub(super) struct RecentBlocks {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    blocks: VecDeque<(Lsn, u64, Arc<Block>)>,
    bytes: u64,
}

impl RecentBlocks {
    pub(super) fn insert(&self, lsn: Lsn, record: &Record) {
        let Some(block) = record.block() else { return };
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        // A failed write gives its numbers to others.
        while kept.blocks.back().is_some_and(|(known, _, _)| *known >= lsn) {
            let stale = kept.blocks.pop_back().map_or(0, |(_, bytes, _)| bytes);
            kept.bytes -= stale;
        }
        kept.bytes += record.raw_bytes();
        kept.blocks.push_back((lsn, record.raw_bytes(), block.clone()));
        while kept.bytes > BYTES_MAX {
            let Some((_, bytes, _)) = kept.blocks.pop_front() else { break };
            kept.bytes -= bytes;
        }
    }

    /// Bytes of what is kept, encoded.
    pub(super) fn bytes(&self) -> u64 {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).bytes
    }

    pub(super) fn find(&self, lsn: Lsn) -> Option<Arc<Block>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.blocks.binary_search_by_key(&lsn, |(known, _, _)| *known).ok()?;
        kept.blocks.get(at).map(|(_, _, block)| block.clone())
    }
}

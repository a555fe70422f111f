//! Rows of blocks that are not in parts yet, built once per block and kept while they are due.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use arrow::array::RecordBatch;
use headwater_storage::model::{EventHead, Lsn};
use headwater_storage::store::{Chain, StoreError};
use headwater_storage::tables::{StoredBlock, Table};

/// Bytes of rows that are kept at most; beyond it they are built for each statement.
pub(super) const BYTES_MAX: usize = 96 << 20;

/// Rows of one chain's unsealed blocks.
#[derive(Default)]
pub(super) struct TailCache {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    rows: HashMap<(Lsn, Table), RecordBatch>,
    bytes: usize,
}

impl TailCache {
    /// The rows of some unsealed blocks.
    pub(super) fn rows(
        &self,
        chain: &Chain,
        table: Table,
        heads: &[EventHead],
    ) -> Result<Vec<RecordBatch>, StoreError> {
        let mut batches = Vec::with_capacity(heads.len());
        for head in heads {
            let rows = match self.find(head.lsn, table) {
                Some(rows) => rows,
                None => self.build(chain, table, head)?,
            };
            if rows.num_rows() > 0 {
                batches.push(rows);
            }
        }
        Ok(batches)
    }

    /// Forgets rows of blocks that are not due any more: those of parts, and those of other forks.
    pub(super) fn keep(&self, due: &[EventHead]) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let due: HashSet<Lsn> = due.iter().map(|head| head.lsn).collect();
        kept.rows.retain(|(lsn, _), _| due.contains(lsn));
        kept.bytes = kept.rows.values().map(RecordBatch::get_array_memory_size).sum();
    }

    /// Bytes of the rows that are kept.
    pub(super) fn bytes(&self) -> usize {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).bytes
    }

    fn find(&self, lsn: Lsn, table: Table) -> Option<RecordBatch> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.rows.get(&(lsn, table)).cloned()
    }

    fn build(
        &self,
        chain: &Chain,
        table: Table,
        head: &EventHead,
    ) -> Result<RecordBatch, StoreError> {
        let Some(block) = chain.block_of(head)? else { return Ok(table.rows(&[])) };
        let stored = StoredBlock::new(head, block);
        let rows = table.rows(&[stored]);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.bytes > BYTES_MAX {
            *kept = Kept::default();
        }
        kept.bytes += rows.get_array_memory_size();
        kept.rows.insert((head.lsn, table), rows.clone());
        Ok(rows)
    }
}

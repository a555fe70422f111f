//! A chain as of one record: what a query sees, whatever happens meanwhile.

use std::path::PathBuf;
use std::sync::Arc;

use crate::ledger::Part;
use crate::model::{BlockRange, ChainName, EventHead, Lsn};

use super::Chain;

/// A chain as of one record.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The chain.
    pub chain: ChainName,
    /// EIP-155 id.
    pub chain_id: u64,
    /// The record; nothing later is in it.
    pub lsn: Lsn,
    /// Where the parts' paths start.
    pub data_dir: PathBuf,
    /// Sealed parts.
    pub parts: Arc<Vec<Part>>,
    /// Canonical blocks that are not in parts, in order.
    pub tail: Vec<EventHead>,
    /// Events about numbers that are not in parts, in order of the log.
    pub events: Vec<EventHead>,
}

impl Chain {
    /// The chain as of its last durable record.
    pub fn snapshot(&self) -> Snapshot {
        // One look at the state: a block is in the tail or in a part, never in both or neither.
        let (lsn, tail, mut events, parts) = self.with_state(|state| {
            let tail = state.unsealed().copied().collect();
            let events: Vec<EventHead> = state.unsealed_events().copied().collect();
            (state.last(), tail, events, state.parts().clone())
        });
        events.sort_by_key(|head| head.lsn);
        self.replaced.lent(&parts);
        Snapshot {
            chain: self.name.clone(),
            chain_id: self.chain_id,
            lsn,
            data_dir: self.data_dir.clone(),
            parts,
            tail,
            events,
        }
    }
}

impl Snapshot {
    /// The part of a table that could hold a block's rows.
    pub fn parts_of(
        &self,
        table: crate::tables::Table,
        range: BlockRange,
    ) -> impl Iterator<Item = &Part> {
        let overlaps = move |part: &&Part| {
            part.table == table && part.range.first <= range.last && range.first <= part.range.last
        };
        self.parts.iter().filter(overlaps)
    }
}

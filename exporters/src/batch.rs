//! What an exporter is given: consecutive events of one chain.

use std::collections::BTreeSet;

use headwater_storage::model::{Branches, ChainName, OwnedEvent};
use headwater_storage::tables::Table;

use crate::Mark;
use crate::encode::{Filter, Row, Source, TableRows, rows_of_event};

/// How much of the log is a batch: a constant of a kind of sink, as batches that come again must be
/// the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchSize {
    /// A batch never crosses a multiple of so many records.
    pub records: u64,
    /// Bytes of the log, unless a single record is larger.
    pub bytes: u64,
}

/// Consecutive events of one chain's log, with the tables that the sink takes.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The chain.
    pub chain: ChainName,
    /// EIP-155 id.
    pub chain_id: u64,
    /// Where its log parted from those of other nodes.
    pub branches: Branches,
    /// Tables that are wanted.
    pub tables: Vec<Table>,
    /// Contracts and topics that are wanted.
    pub filter: Filter,
    /// The events in order of the log.
    pub events: Vec<OwnedEvent>,
    /// Rows that were parked: they are left out.
    pub parked: BTreeSet<String>,
    /// Where the sink is when it holds the batch; `None` for rows that are sent once more.
    pub upto: Option<Mark>,
}

impl Batch {
    /// All rows, in order of the log, then of `tables`, then of the row.
    pub fn rows(&self) -> impl Iterator<Item = Row> + '_ {
        self.events.iter().flat_map(|event| self.rows_of(event))
    }

    /// The rows of one of its events.
    pub fn rows_of<'a>(&'a self, event: &'a OwnedEvent) -> impl Iterator<Item = Row> + 'a {
        self.tables_of(event).flat_map(TableRows::into_rows)
    }

    /// The rows of one of its events as columns.
    pub fn tables_of<'a>(&'a self, event: &'a OwnedEvent) -> impl Iterator<Item = TableRows> + 'a {
        let Batch { chain, chain_id, branches, filter, .. } = self;
        let source = Source { chain, chain_id: *chain_id, branches, filter };
        self.tables.iter().filter_map(move |table| {
            let mut rows = rows_of_event(source, event, *table)?;
            rows.picked.retain(|row| !self.parked.contains(&row.event_id));
            Some(rows)
        })
    }
}

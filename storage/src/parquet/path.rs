//! Where a part lies: the only place that makes and parses these names.

use crate::model::{BlockRange, date_text, parse_date};
use crate::tables::Table;

/// A part's name: table, chain, date and blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartName {
    /// The table.
    pub table: Table,
    /// EIP-155 id.
    pub chain_id: u64,
    /// UTC date in days since 1970-01-01.
    pub date: i32,
    /// The blocks.
    pub range: BlockRange,
}

/// The folder of a table's parts for one chain and date, below the data folder.
pub fn folder_of(table: Table, chain_id: u64, date: i32) -> String {
    format!("parts/{}/chain_id={chain_id}/date={}", table.name(), date_text(date))
}

impl PartName {
    /// `parts/blocks/chain_id=1/date=2026-11-22/blocks-000000001000-000000001999.parquet`.
    pub fn path(&self) -> String {
        let folder = folder_of(self.table, self.chain_id, self.date);
        let BlockRange { first, last } = self.range;
        format!("{folder}/{}-{first:012}-{last:012}.parquet", self.table.name())
    }

    /// The name in a path below the data folder.
    pub fn parse(path: &str) -> Option<PartName> {
        let mut names = path.strip_prefix("parts/")?.split('/');
        let table = Table::from_name(names.next()?)?;
        let chain_id = names.next()?.strip_prefix("chain_id=")?.parse().ok()?;
        let date = parse_date(names.next()?.strip_prefix("date=")?)?;
        let stem = names.next()?.strip_suffix(".parquet")?.strip_prefix(table.name())?;
        let (first, last) = stem.strip_prefix('-')?.split_once('-')?;
        let range = BlockRange::new(first.parse().ok()?, last.parse().ok()?)?;
        Some(PartName { table, chain_id, date, range })
    }
}

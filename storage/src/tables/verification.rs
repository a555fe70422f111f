//! `verification`: one row per block: what was proved of it, by whom it was given, and when.

use arrow::array::RecordBatch;

use super::StoredBlock;
use super::columns::Columns;
use super::value::{Micros, Time};

pub(super) fn rows(blocks: &[StoredBlock]) -> RecordBatch {
    let mut columns = Columns::new(blocks.len());
    let headers = || blocks.iter().map(|stored| &stored.block.header);
    let origins = || blocks.iter().map(|stored| stored.origin);
    columns.add("block_number", headers().map(|h| h.number));
    columns.add("block_hash", headers().map(|h| h.hash));
    columns.add("block_timestamp", headers().map(|h| Time(h.timestamp)));
    columns.add("verified", blocks.iter().map(|b| Some(b.verified.to_string())));
    columns.add("provider", origins().map(|o| o.provider.name().map(str::to_owned)));
    let at = |micros: u64| Micros(Some(micros).filter(|micros| *micros > 0));
    columns.add("verified_at", origins().map(|o| at(o.at_micros)));
    columns.add("lsn", blocks.iter().map(|b| b.lsn.0));
    columns.batch()
}

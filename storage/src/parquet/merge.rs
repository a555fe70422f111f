//! Merging: neighbouring parts of one date become one, with the same rows in the same order.

use std::path::Path;

use crate::disk::Disk;
use crate::ledger::Part;
use crate::model::BlockRange;
use crate::tables::Table;

use super::writer::PartWriter;
use super::{PartError, PartName, PartReader};

/// What becomes one part per table.
pub struct MergeRequest<'a> {
    /// The data folder.
    pub data_dir: &'a Path,
    /// EIP-155 id.
    pub chain_id: u64,
    /// The blocks.
    pub range: BlockRange,
    /// All parts of the range, of one date, without holes between them.
    pub parts: &'a [Part],
    /// Reads them.
    pub reader: &'a PartReader,
}

/// Writes the merged parts; when this returns they are whole, durable and under their final
/// names, and nobody knows of them yet.
pub fn merge(disk: &dyn Disk, request: &MergeRequest<'_>) -> Result<Vec<Part>, PartError> {
    let mut merged = Vec::new();
    for table in Table::ALL {
        let mut parts: Vec<&Part> =
            request.parts.iter().filter(|part| part.table == table).collect();
        parts.sort_by_key(|part| part.range.first);
        let Some(facts) = merged_facts(request, table) else { continue };
        let mut writer = PartWriter::new(disk, request.data_dir, request.chain_id, facts);
        for part in parts {
            request.reader.each_batch(part, &mut |rows| writer.write(rows))?;
        }
        merged.extend(writer.finish()?);
    }
    Ok(merged)
}

/// What is known of a merged part before its rows. Facts of the range come from the parts of
/// `blocks`, which every run has.
fn merged_facts(request: &MergeRequest<'_>, table: Table) -> Option<Part> {
    let runs = || request.parts.iter().filter(|part| part.table == Table::Blocks);
    let first = runs().min_by_key(|part| part.range.first)?;
    let last = runs().max_by_key(|part| part.range.last)?;
    let (range, date) = (request.range, first.date);
    Some(Part {
        path: PartName { table, chain_id: request.chain_id, date, range }.path(),
        table,
        range,
        rows: 0,
        file_bytes: 0,
        crc32c: 0,
        last_hash: last.last_hash,
        first_lsn: runs().map(|part| part.first_lsn).min()?,
        last_lsn: runs().map(|part| part.last_lsn).max()?,
        ..first.clone()
    })
}

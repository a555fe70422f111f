//! Merging: neighbouring parts of one date become one, with the same rows in the same order.

use std::path::Path;

use alloy_primitives::B256;
use arrow::array::{Array, AsArray};
use parquet::errors::ParquetError;

use crate::disk::Disk;
use crate::ledger::Part;
use crate::model::BlockRange;
use crate::tables::Table;

use super::writer::PartWriter;
use super::{PartError, PartName, PartReader};

/// What becomes one part per table.
pub struct MergeRequest<'a> {
    /// The folder that the parts' paths start from.
    pub data_dir: &'a Path,
    /// EIP-155 id.
    pub chain_id: u64,
    /// The tables.
    pub tables: &'a [Table],
    /// The blocks.
    pub range: BlockRange,
    /// All parts that hold rows of the range, of one date, without holes between them.
    pub parts: &'a [Part],
    /// Reads them.
    pub reader: &'a PartReader,
}

/// Writes the merged parts; when this returns they are whole, durable and under their final
/// names, and nobody knows of them yet.
pub fn merge(disk: &dyn Disk, request: &MergeRequest<'_>) -> Result<Vec<Part>, PartError> {
    let mut merged = Vec::new();
    for table in request.tables {
        let mut parts: Vec<&Part> =
            request.parts.iter().filter(|part| part.table == *table).collect();
        parts.sort_by_key(|part| part.range.first);
        let Some(facts) = merged_facts(request, *table)? else { continue };
        let mut writer = PartWriter::new(disk, request.data_dir, request.chain_id, facts);
        for part in parts {
            request.reader.each_batch(part, request.range, &mut |rows| writer.write(rows))?;
        }
        merged.extend(writer.finish()?);
    }
    Ok(merged)
}

/// What is known of a merged part before its rows. Facts of the range come from the parts of
/// `blocks`, which every run has.
fn merged_facts(request: &MergeRequest<'_>, table: Table) -> Result<Option<Part>, PartError> {
    let runs = || request.parts.iter().filter(|part| part.table == Table::Blocks);
    let (range, chain_id) = (request.range, request.chain_id);
    let Some((date, edges)) = edges(request.reader, request.parts, range)? else { return Ok(None) };
    Ok(Some(Part {
        path: PartName { table, chain_id, date, range }.path(),
        table,
        range,
        date,
        rows: 0,
        file_bytes: 0,
        crc32c: 0,
        parent_hash: edges.parent_hash,
        first_hash: edges.first_hash,
        last_hash: edges.last_hash,
        first_lsn: runs().map(|part| part.first_lsn).min().unwrap_or_default(),
        last_lsn: runs().map(|part| part.last_lsn).max().unwrap_or_default(),
    }))
}

/// The hashes that link a run to its neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edges {
    /// Of the first block's parent.
    pub parent_hash: B256,
    /// Of the first block.
    pub first_hash: B256,
    /// Of the last block.
    pub last_hash: B256,
}

/// The date and the edges of a range, from the parts of `blocks` that hold it.
pub fn edges(
    reader: &PartReader,
    parts: &[Part],
    range: BlockRange,
) -> Result<Option<(i32, Edges)>, PartError> {
    let part_of = |number| {
        parts.iter().find(|part| part.table == Table::Blocks && part.range.contains(number))
    };
    let (Some(first), Some(last)) = (part_of(range.first), part_of(range.last)) else {
        return Ok(None);
    };
    let mut edges = Edges {
        parent_hash: first.parent_hash,
        first_hash: first.first_hash,
        last_hash: last.last_hash,
    };
    if first.range.first < range.first {
        edges.parent_hash = hash_in(reader, first, range.first, "parent_hash")?;
        edges.first_hash = hash_in(reader, first, range.first, "block_hash")?;
    }
    if range.last < last.range.last {
        edges.last_hash = hash_in(reader, last, range.last, "block_hash")?;
    }
    Ok(Some((first.date, edges)))
}

/// A hash that a part of `blocks` has in the row of a number.
fn hash_in(reader: &PartReader, part: &Part, number: u64, column: &str) -> Result<B256, PartError> {
    let rows = reader.rows(part, BlockRange { first: number, last: number }, Some(column))?;
    let cells = rows.columns().first().and_then(|cells| cells.as_fixed_size_binary_opt());
    let cell = cells.filter(|cells| !cells.is_empty()).map(|cells| cells.value(0));
    cell.and_then(|cell| B256::try_from(cell).ok()).ok_or_else(|| PartError::Parquet {
        path: part.path.clone(),
        source: ParquetError::General(format!("it has no block {number}")),
    })
}

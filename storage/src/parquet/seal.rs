//! Sealing: a run of final blocks becomes one part per table.

use std::path::Path;
use std::sync::Arc;

use crate::disk::Disk;
use crate::ledger::Part;
use crate::model::{Block, EventHead};
use crate::tables::{StoredBlock, Table, event_rows};

use super::writer::PartWriter;
use super::{BlockReadError, PartError, PartName, Sealable};

/// Blocks that are decoded at a time.
const CHUNK_BLOCKS: usize = 32;

/// What becomes one part per table.
pub struct SealRequest<'a> {
    /// The data folder.
    pub data_dir: &'a Path,
    /// EIP-155 id.
    pub chain_id: u64,
    /// The run of blocks.
    pub sealable: &'a Sealable,
    /// Its canonical blocks in order.
    pub blocks: &'a [EventHead],
    /// All events about its numbers, in order of the log.
    pub events: &'a [EventHead],
    /// Gives the block of a record.
    pub read: &'a ReadBlock<'a>,
}

/// Gives the block of a record.
pub type ReadBlock<'a> = dyn Fn(&EventHead) -> Result<Option<Arc<Block>>, BlockReadError> + 'a;

/// Writes the parts; when this returns they are whole, durable and under their final names.
pub fn seal(disk: &dyn Disk, request: &SealRequest<'_>) -> Result<Vec<Part>, PartError> {
    let mut writers = Vec::new();
    for table in Table::ALL {
        let part = part_of(request, table);
        writers.push(PartWriter::new(disk, request.data_dir, request.chain_id, part));
    }
    for heads in request.blocks.chunks(CHUNK_BLOCKS) {
        let mut stored = Vec::with_capacity(heads.len());
        for head in heads {
            stored.push(read_block(request, head)?);
        }
        for writer in &mut writers {
            writer.write(&writer.part().table.rows(&stored))?;
        }
    }
    let mut parts = Vec::new();
    for mut writer in writers {
        if writer.part().table == Table::ChainEvents {
            writer.write(&event_rows(request.events))?;
        }
        parts.extend(writer.finish()?);
    }
    Ok(parts)
}

fn read_block(request: &SealRequest<'_>, head: &EventHead) -> Result<StoredBlock, PartError> {
    let range = request.sealable.range;
    let block = (request.read)(head).map_err(|source| PartError::Log { range, source })?;
    let block = block.ok_or(PartError::NoBlock { lsn: head.lsn })?;
    Ok(StoredBlock::new(head, block))
}

/// What is known of a part before its rows.
fn part_of(request: &SealRequest<'_>, table: Table) -> Part {
    let Sealable { range, date } = *request.sealable;
    let (first, last) = (request.blocks.first(), request.blocks.last());
    let lsns = || request.events.iter().chain(request.blocks).map(|head| head.lsn);
    Part {
        path: PartName { table, chain_id: request.chain_id, date, range }.path(),
        table,
        range,
        date,
        rows: 0,
        file_bytes: 0,
        crc32c: 0,
        parent_hash: first.map(|head| head.parent_hash).unwrap_or_default(),
        first_hash: first.map(|head| head.block.hash).unwrap_or_default(),
        last_hash: last.map(|head| head.block.hash).unwrap_or_default(),
        first_lsn: lsns().min().unwrap_or_default(),
        last_lsn: lsns().max().unwrap_or_default(),
    }
}

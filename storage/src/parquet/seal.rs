//! Sealing: temporary name, sync, read back, rename, sync of the folder; then the manifest.

use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::reader::{FileReader, SerializedFileReader};

use parquet::schema::types::ColumnPath;

use crate::disk::{self, Disk, Mode};
use crate::ledger::Part;
use crate::model::{Block, EventHead, Lsn};
use crate::tables::{LAYOUT_VERSION, StoredBlock, Table, event_rows};
use crate::wal;

use super::sink::Sink;
use super::{PartError, PartName, Sealable};

/// Blocks that are decoded at a time.
const CHUNK_BLOCKS: usize = 32;
const ROW_GROUP_ROWS: usize = 256 << 10;
const ZSTD_LEVEL: i32 = 1;

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
pub type ReadBlock<'a> = dyn Fn(Lsn) -> Result<Option<Arc<Block>>, wal::Error> + 'a;

/// Writes the parts; when this returns they are whole, durable and under their final names.
pub fn seal(disk: &dyn Disk, request: &SealRequest<'_>) -> Result<Vec<Part>, PartError> {
    let mut writers = Vec::new();
    for table in Table::ALL {
        writers.push(PartWriter::new(disk, request, table));
    }
    for heads in request.blocks.chunks(CHUNK_BLOCKS) {
        let mut stored = Vec::with_capacity(heads.len());
        for head in heads {
            stored.push(read_block(request, head)?);
        }
        for writer in writers.iter_mut().filter(|writer| writer.table != Table::ChainEvents) {
            writer.write(&writer.table.rows(&stored))?;
        }
    }
    let mut parts = Vec::new();
    for mut writer in writers {
        if writer.table == Table::ChainEvents {
            writer.write(&event_rows(request.events))?;
        }
        parts.extend(writer.finish()?);
    }
    Ok(parts)
}

fn read_block(request: &SealRequest<'_>, head: &EventHead) -> Result<StoredBlock, PartError> {
    let range = request.sealable.range;
    let block = (request.read)(head.lsn).map_err(|source| PartError::Log { range, source })?;
    let block = block.ok_or(PartError::NoBlock { lsn: head.lsn })?;
    Ok(StoredBlock { lsn: head.lsn, verified: head.verified, block })
}

struct PartWriter<'a> {
    disk: &'a dyn Disk,
    request: &'a SealRequest<'a>,
    table: Table,
    path: String,
    rows: u64,
    writer: Option<ArrowWriter<Sink>>,
}

impl<'a> PartWriter<'a> {
    fn new(disk: &'a dyn Disk, request: &'a SealRequest<'a>, table: Table) -> PartWriter<'a> {
        let name = PartName {
            table,
            chain_id: request.chain_id,
            date: request.sealable.date,
            range: request.sealable.range,
        };
        PartWriter { disk, request, table, path: name.path(), rows: 0, writer: None }
    }

    fn failed(&self) -> impl FnOnce(parquet::errors::ParquetError) -> PartError {
        let path = self.path.clone();
        move |source| PartError::Parquet { path, source }
    }

    fn temporary(&self) -> std::path::PathBuf {
        self.request.data_dir.join(&self.path).with_extension("parquet.tmp")
    }

    /// A table without rows gets no file.
    fn write(&mut self, rows: &RecordBatch) -> Result<(), PartError> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let mut writer = match self.writer.take() {
            Some(writer) => writer,
            None => self.open(rows)?,
        };
        writer.write(rows).map_err(self.failed())?;
        self.rows += rows.num_rows() as u64;
        self.writer = Some(writer);
        Ok(())
    }

    fn open(&self, rows: &RecordBatch) -> Result<ArrowWriter<Sink>, PartError> {
        let temporary = self.temporary();
        if let Some(folder) = temporary.parent() {
            self.disk.create_folder(folder)?;
        }
        let file = self.disk.open(&temporary, Mode::Create)?;
        let properties = self.properties();
        ArrowWriter::try_new(Sink::new(file), rows.schema(), Some(properties))
            .map_err(self.failed())
    }

    /// Bloom filters start at their largest and are folded to what the rows need.
    fn properties(&self) -> WriterProperties {
        let schema = self.table.schema();
        let sorting = self.table.sort_columns().iter().filter_map(|name| {
            let column_idx = i32::try_from(schema.index_of(name).ok()?).ok()?;
            Some(SortingColumn { column_idx, descending: false, nulls_first: false })
        });
        let level = ZstdLevel::try_new(ZSTD_LEVEL).unwrap_or_default();
        let mut properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(level))
            .set_statistics_enabled(EnabledStatistics::Page)
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
            .set_sorting_columns(Some(sorting.collect()))
            .set_created_by(format!("headwater {}", env!("CARGO_PKG_VERSION")))
            .set_key_value_metadata(Some(self.footer_facts()));
        for name in self.table.bloom_columns() {
            let column = ColumnPath::from(*name);
            properties = properties
                .set_column_bloom_filter_enabled(column.clone(), true)
                .set_column_bloom_filter_max_ndv(column, ROW_GROUP_ROWS as u64);
        }
        properties.build()
    }

    /// Facts that are known before the first row, so that the file is a function of the log.
    fn footer_facts(&self) -> Vec<KeyValue> {
        let part = self.part(0, 0);
        let facts = [
            ("headwater.table", self.table.name().to_owned()),
            ("headwater.layout_version", LAYOUT_VERSION.to_string()),
            ("headwater.chain_id", self.request.chain_id.to_string()),
            ("headwater.first_block", part.range.first.to_string()),
            ("headwater.last_block", part.range.last.to_string()),
            ("headwater.first_hash", part.first_hash.to_string()),
            ("headwater.last_hash", part.last_hash.to_string()),
            ("headwater.parent_hash", part.parent_hash.to_string()),
            ("headwater.first_lsn", part.first_lsn.to_string()),
            ("headwater.last_lsn", part.last_lsn.to_string()),
        ];
        facts.into_iter().map(|(key, value)| KeyValue::new(key.to_owned(), value)).collect()
    }

    fn part(&self, file_bytes: u64, crc32c: u32) -> Part {
        let first = self.request.blocks.first();
        let last = self.request.blocks.last();
        let lsns = || {
            let events = self.request.events.iter().map(|head| head.lsn);
            events.chain(self.request.blocks.iter().map(|head| head.lsn))
        };
        Part {
            path: self.path.clone(),
            table: self.table,
            range: self.request.sealable.range,
            date: self.request.sealable.date,
            rows: self.rows,
            file_bytes,
            crc32c,
            parent_hash: first.map(|head| head.parent_hash).unwrap_or_default(),
            first_hash: first.map(|head| head.block.hash).unwrap_or_default(),
            last_hash: last.map(|head| head.block.hash).unwrap_or_default(),
            first_lsn: lsns().min().unwrap_or_default(),
            last_lsn: lsns().max().unwrap_or_default(),
        }
    }

    fn finish(mut self) -> Result<Option<Part>, PartError> {
        let Some(writer) = self.writer.take() else { return Ok(None) };
        let sink = writer.into_inner().map_err(self.failed())?;
        let (file_bytes, crc32c) = sink.finish()?;
        let part = self.part(file_bytes, crc32c);
        let temporary = self.temporary();
        self.read_back(&part, disk::read_file(self.disk, &temporary)?)?;
        let path = self.request.data_dir.join(&self.path);
        self.disk.rename(&temporary, &path)?;
        let mut folder = path.parent();
        // New folders must be durable too, up to the data folder.
        while let Some(at) = folder {
            self.disk.sync_folder(at)?;
            folder = at.parent().filter(|_| at != self.request.data_dir);
        }
        Ok(Some(part))
    }

    /// What is on the disk is what was meant, before anything depends on it.
    fn read_back(&self, part: &Part, bytes: Vec<u8>) -> Result<(), PartError> {
        let wrong = |what| PartError::ReadBack { path: self.path.clone(), what };
        if bytes.len() as u64 != part.file_bytes {
            return Err(wrong("its length"));
        }
        if crc32c::crc32c(&bytes) != part.crc32c {
            return Err(wrong("its checksum"));
        }
        let reader = SerializedFileReader::new(bytes::Bytes::from(bytes)).map_err(self.failed())?;
        let rows = reader.metadata().file_metadata().num_rows();
        if u64::try_from(rows).ok() != Some(part.rows) {
            return Err(wrong("its number of rows"));
        }
        Ok(())
    }
}

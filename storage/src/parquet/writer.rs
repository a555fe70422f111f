//! Writing one part: temporary name, sync, read back, rename, sync of the folder.

use std::path::Path;

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::schema::types::ColumnPath;

use crate::disk::{self, Disk, Mode};
use crate::ledger::Part;
use crate::tables::{LAYOUT_VERSION, Table};

use super::PartError;
use super::read::PartFile;
use super::sink::Sink;

const ROW_GROUP_ROWS: usize = 256 << 10;
/// A lookup reads one page of each column: wide ones are cut by bytes, narrow ones by rows
/// (decision 0025).
const PAGE_ROWS: usize = 8 << 10;
const PAGE_BYTES: usize = 128 << 10;
const ZSTD_LEVEL: i32 = 1;

/// A part that is being written.
pub(super) struct PartWriter<'a> {
    disk: &'a dyn Disk,
    data_dir: &'a Path,
    chain_id: u64,
    part: Part,
    writer: Option<ArrowWriter<Sink>>,
}

/// Columns that mostly go up by little: their differences are stored.
const RISING: [&str; 10] = [
    "block_number",
    "block_timestamp",
    "transaction_index",
    "log_index",
    "trace_index",
    "withdrawal_index",
    "validator_index",
    "receipt_cumulative_gas_used",
    "transaction_count",
    "lsn",
];
/// Columns of transactions that no compression makes smaller.
const RANDOM: [&str; 3] = ["transaction_hash", "r", "s"];
/// Numbers that have few values: these get a dictionary.
const FEW: [&str; 11] = [
    "transaction_type",
    "signature_chain_id",
    "v",
    "y_parity",
    "receipt_status",
    "status",
    "subtraces",
    "json_fields",
    "receipt_json_fields",
    "receipt_blob_gas_used",
    "receipt_blob_gas_price",
];

/// How the parts of a table are written, whatever their rows: what was measured is in
/// `ops/decisions/0009-encodings.md`. Only encodings that every reader of the field knows are used.
/// Bloom filters start at their largest and are folded to what the rows need.
pub fn writer_properties(table: Table) -> WriterPropertiesBuilder {
    let schema = table.schema();
    let sorting = table.sort_columns().iter().filter_map(|name| {
        let column_idx = i32::try_from(schema.index_of(name).ok()?).ok()?;
        Some(SortingColumn { column_idx, descending: false, nulls_first: false })
    });
    let level = ZstdLevel::try_new(ZSTD_LEVEL).unwrap_or_default();
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_data_page_size_limit(PAGE_BYTES)
        .set_sorting_columns(Some(sorting.collect()))
        .set_created_by(format!("headwater {}", env!("CARGO_PKG_VERSION")));
    for field in schema.fields() {
        let (name, column) = (field.name().as_str(), ColumnPath::from(field.name().as_str()));
        let has_dictionary = *field.data_type() == DataType::Utf8 || FEW.contains(&name);
        properties = properties.set_column_dictionary_enabled(column.clone(), has_dictionary);
        if RISING.contains(&name) {
            properties =
                properties.set_column_encoding(column.clone(), Encoding::DELTA_BINARY_PACKED);
        }
        // Bounds of hashes and of what nobody compares prune nothing.
        if matches!(field.data_type(), DataType::FixedSizeBinary(_) | DataType::Binary) {
            properties = properties.set_column_statistics_enabled(column, EnabledStatistics::None);
        }
    }
    if table == Table::Transactions {
        for name in RANDOM {
            let column = ColumnPath::from(name);
            properties = properties.set_column_compression(column, Compression::UNCOMPRESSED);
        }
    }
    for name in table.bloom_columns() {
        let column = ColumnPath::from(*name);
        properties = properties
            .set_column_bloom_filter_enabled(column.clone(), true)
            .set_column_bloom_filter_max_ndv(column, ROW_GROUP_ROWS as u64);
    }
    properties
}

impl<'a> PartWriter<'a> {
    /// A part of which all is known but its rows and bytes.
    pub(super) fn new(
        disk: &'a dyn Disk,
        data_dir: &'a Path,
        chain_id: u64,
        part: Part,
    ) -> PartWriter<'a> {
        PartWriter { disk, data_dir, chain_id, part, writer: None }
    }

    /// What is known of it.
    pub(super) fn part(&self) -> &Part {
        &self.part
    }

    fn failed(&self) -> impl FnOnce(parquet::errors::ParquetError) -> PartError {
        let path = self.part.path.clone();
        move |source| PartError::Parquet { path, source }
    }

    fn temporary(&self) -> std::path::PathBuf {
        self.data_dir.join(&self.part.path).with_extension("parquet.tmp")
    }

    /// A table without rows gets no file.
    pub(super) fn write(&mut self, rows: &RecordBatch) -> Result<(), PartError> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let mut writer = match self.writer.take() {
            Some(writer) => writer,
            None => self.open(rows)?,
        };
        writer.write(rows).map_err(self.failed())?;
        self.part.rows += rows.num_rows() as u64;
        self.writer = Some(writer);
        Ok(())
    }

    fn open(&self, rows: &RecordBatch) -> Result<ArrowWriter<Sink>, PartError> {
        let temporary = self.temporary();
        if let Some(folder) = temporary.parent() {
            self.disk.create_folder(folder)?;
        }
        let file = self.disk.open(&temporary, Mode::Create)?;
        let properties = writer_properties(self.part.table)
            .set_key_value_metadata(Some(self.footer_facts()))
            .build();
        ArrowWriter::try_new(Sink::new(file), rows.schema(), Some(properties))
            .map_err(self.failed())
    }

    /// Facts that are known before the first row, so that the file is a function of the log.
    fn footer_facts(&self) -> Vec<KeyValue> {
        let part = &self.part;
        let facts = [
            ("headwater.table", part.table.name().to_owned()),
            ("headwater.layout_version", LAYOUT_VERSION.to_string()),
            ("headwater.chain_id", self.chain_id.to_string()),
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

    /// Makes it durable under its final name; without rows there is none.
    pub(super) fn finish(mut self) -> Result<Option<Part>, PartError> {
        let Some(writer) = self.writer.take() else { return Ok(None) };
        let sink = writer.into_inner().map_err(self.failed())?;
        let (file_bytes, crc32c) = sink.finish()?;
        (self.part.file_bytes, self.part.crc32c) = (file_bytes, crc32c);
        let temporary = self.temporary();
        self.read_back(&temporary)?;
        let path = self.data_dir.join(&self.part.path);
        self.disk.rename(&temporary, &path)?;
        let mut folder = path.parent();
        // New folders must be durable too, up to the data folder.
        while let Some(at) = folder {
            self.disk.sync_folder(at)?;
            folder = at.parent().filter(|_| at != self.data_dir);
        }
        Ok(Some(self.part))
    }

    /// What is on the disk is what was meant, before anything depends on it.
    fn read_back(&self, path: &Path) -> Result<(), PartError> {
        let part = &self.part;
        let wrong = |what| PartError::ReadBack { path: part.path.clone(), what };
        let (bytes, crc32c) = disk::checksum(self.disk, path)?;
        if bytes != part.file_bytes {
            return Err(wrong("its length"));
        }
        if crc32c != part.crc32c {
            return Err(wrong("its checksum"));
        }
        let file = PartFile(self.disk.open(path, Mode::Read)?.into());
        let reader = SerializedFileReader::new(file).map_err(self.failed())?;
        let rows = reader.metadata().file_metadata().num_rows();
        if u64::try_from(rows).ok() != Some(part.rows) {
            return Err(wrong("its number of rows"));
        }
        Ok(())
    }
}

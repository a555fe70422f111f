//! Reading blocks back from parts: only the pages that hold them.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{AsArray, BooleanArray, RecordBatch, RecordBatchReader};
use arrow::compute::concat_batches;
use arrow::datatypes::Int64Type;
use arrow::error::ArrowError;
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::arrow::arrow_reader::{
    ArrowPredicateFn, ArrowReaderBuilder, ArrowReaderMetadata, ArrowReaderOptions,
    ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowFilter, RowSelection,
    RowSelector,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::PageIndexPolicy;
use parquet::file::reader::{ChunkReader, Length};

use crate::disk::{Disk, DiskError, File, Mode, read_twice};
use crate::ledger::Part;
use crate::model::{Block, BlockRange, Lsn};
use crate::tables::{Table, read_blocks};

use super::PartError;

/// Footers that are kept, so that a lookup reads only pages.
const FOOTERS_MAX: usize = 64;
const BATCH_ROWS: usize = 8 << 10;
const NUMBER: &str = "block_number";

/// Reads parts of one data folder.
pub struct PartReader {
    disk: Arc<dyn Disk>,
    data_dir: PathBuf,
    footers: Mutex<VecDeque<(String, ArrowReaderMetadata)>>,
}

/// The parts that hold the rows of some blocks; a table without rows has none.
pub type PartOf<'a> = dyn Fn(Table) -> Option<&'a Part> + Sync + 'a;

impl PartReader {
    /// Reads parts below a data folder.
    pub fn new(disk: Arc<dyn Disk>, data_dir: PathBuf) -> PartReader {
        PartReader { disk, data_dir, footers: Mutex::default() }
    }

    /// The blocks of a range that lies in one part per table, with the records they came from.
    pub fn blocks(
        &self,
        part_of: &PartOf<'_>,
        range: BlockRange,
    ) -> Result<Vec<(Lsn, Block)>, PartError> {
        let rows = |table: Table| match part_of(table) {
            Some(part) => self.rows(part, range, None),
            None => Ok(RecordBatch::new_empty(table.schema())),
        };
        let rest = || -> Result<[RecordBatch; 4], PartError> {
            Ok([
                rows(Table::Logs)?,
                rows(Table::Blocks)?,
                rows(Table::Withdrawals)?,
                rows(Table::Traces)?,
            ])
        };
        // A caller waits for this: transactions take about as long as all the rest.
        let (transactions, rest) = std::thread::scope(|scope| {
            let rest = scope.spawn(rest);
            (rows(Table::Transactions), rest.join())
        });
        let rest = rest.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        let [logs, blocks, withdrawals, traces] = &rest;
        let lsns = lsns_of(blocks);
        let found = read_blocks(blocks, &transactions?, logs, withdrawals, traces);
        let path = || part_of(Table::Blocks).map_or(String::new(), |part| part.path.clone());
        let found = found.map_err(|source| PartError::Rows { path: path(), source })?;
        Ok(lsns.into_iter().zip(found).collect())
    }

    /// The records that a part of `blocks` was made from.
    pub fn lsns(&self, part: &Part) -> Result<Vec<Lsn>, PartError> {
        Ok(lsns_of(&self.rows(part, part.range, Some("lsn"))?))
    }

    /// The rows of a part that belong to blocks of a range: one column, or all of today's.
    pub fn rows(
        &self,
        part: &Part,
        range: BlockRange,
        column: Option<&str>,
    ) -> Result<RecordBatch, PartError> {
        let arrow = |error: ArrowError| PartError::Parquet {
            path: part.path.clone(),
            source: ParquetError::ArrowError(error.to_string()),
        };
        let reader = self.reader(part, range, column)?;
        let schema = reader.schema();
        let batches = reader.collect::<Result<Vec<RecordBatch>, ArrowError>>().map_err(arrow)?;
        let schema = batches.first().map_or(schema, RecordBatch::schema);
        let rows = concat_batches(&schema, &batches).map_err(arrow)?;
        match column {
            Some(_) => Ok(rows),
            None => part.table.complete(&rows).map_err(arrow),
        }
    }

    /// Hands the rows of a part that belong to blocks of a range on, some at a time.
    pub(super) fn each_batch(
        &self,
        part: &Part,
        range: BlockRange,
        take: &mut dyn FnMut(&RecordBatch) -> Result<(), PartError>,
    ) -> Result<(), PartError> {
        for batch in self.reader(part, range, None)? {
            let batch = batch.and_then(|rows| part.table.complete(&rows));
            let batch = batch.map_err(|error| PartError::Parquet {
                path: part.path.clone(),
                source: ParquetError::ArrowError(error.to_string()),
            })?;
            take(&batch)?;
        }
        Ok(())
    }

    /// Reads only the pages that can hold blocks of a range.
    fn reader(
        &self,
        part: &Part,
        range: BlockRange,
        column: Option<&str>,
    ) -> Result<ParquetRecordBatchReader, PartError> {
        let file = PartFile(self.disk.open(&self.data_dir.join(&part.path), Mode::Read)?.into());
        let footer = self.footer(part, &file)?;
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, footer);
        let schema = builder.parquet_schema();
        let projection = match column {
            Some(name) => ProjectionMask::columns(schema, [name]),
            None => ProjectionMask::all(),
        };
        let numbers = ProjectionMask::columns(schema, [NUMBER]);
        let is_wanted = move |number: i64| u64::try_from(number).is_ok_and(|n| range.contains(n));
        let wanted = ArrowPredicateFn::new(numbers, move |rows: RecordBatch| {
            let numbers = rows.column(0).as_primitive::<Int64Type>();
            Ok(BooleanArray::from_unary(numbers, is_wanted))
        });
        let builder = builder.with_projection(projection).with_batch_size(BATCH_ROWS);
        let is_whole = range.first <= part.range.first && part.range.last <= range.last;
        let builder = if is_whole {
            builder
        } else {
            let builder = match pages_of(&builder, range) {
                Some(pages) => builder.with_row_selection(pages),
                None => builder,
            };
            builder.with_row_filter(RowFilter::new(vec![Box::new(wanted)]))
        };
        builder.build().map_err(|source| PartError::Parquet { path: part.path.clone(), source })
    }

    fn footer(&self, part: &Part, file: &PartFile) -> Result<ArrowReaderMetadata, PartError> {
        {
            let footers = self.footers.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, footer)) = footers.iter().find(|(path, _)| *path == part.path) {
                return Ok(footer.clone());
            }
        }
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
        let footer = ArrowReaderMetadata::load(file, options)
            .map_err(|source| PartError::Parquet { path: part.path.clone(), source })?;
        let mut footers = self.footers.lock().unwrap_or_else(PoisonError::into_inner);
        footers.push_back((part.path.clone(), footer.clone()));
        while footers.len() > FOOTERS_MAX {
            footers.pop_front();
        }
        Ok(footer)
    }

    /// Forgets the footers, since parts were replaced under the same names.
    pub fn forget(&self) {
        self.footers.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// The rows of the pages that can hold blocks of a range, by the bounds that the page index has;
/// `None` without an index.
fn pages_of<T>(builder: &ArrowReaderBuilder<T>, range: BlockRange) -> Option<RowSelection> {
    let metadata = builder.metadata();
    let (bounds, places) = (metadata.column_index()?, metadata.offset_index()?);
    let groups: Vec<usize> = (0..metadata.num_row_groups()).collect();
    let numbers =
        StatisticsConverter::try_new(NUMBER, builder.schema(), builder.parquet_schema()).ok()?;
    let first = numbers.data_page_mins(bounds, places, &groups).ok()?;
    let last = numbers.data_page_maxes(bounds, places, &groups).ok()?;
    let rows = numbers.data_page_row_counts(places, metadata.row_groups(), &groups).ok()??;
    let (first, last) =
        (first.as_primitive_opt::<Int64Type>()?, last.as_primitive_opt::<Int64Type>()?);
    let pages = first.iter().zip(last.iter()).zip(rows.iter());
    let selectors = pages.map(|((first, last), rows)| {
        let rows = usize::try_from(rows?).ok()?;
        let may_hold = match (first, last) {
            (Some(first), Some(last)) => {
                u64::try_from(first).ok()? <= range.last
                    && range.first <= u64::try_from(last).ok()?
            }
            _ => true,
        };
        Some(if may_hold { RowSelector::select(rows) } else { RowSelector::skip(rows) })
    });
    Some(selectors.collect::<Option<Vec<RowSelector>>>()?.into())
}

/// The `lsn` column of rows.
pub fn lsns_of(rows: &RecordBatch) -> Vec<Lsn> {
    integers_of(rows, "lsn").into_iter().map(Lsn).collect()
}

/// A column of whole numbers; what is null or negative counts as 0.
pub fn integers_of(rows: &RecordBatch, column: &str) -> Vec<u64> {
    let column = rows.column_by_name(column).and_then(|c| c.as_primitive_opt::<Int64Type>());
    let values = column.into_iter().flatten();
    values.map(|value| value.and_then(|value| u64::try_from(value).ok()).unwrap_or(0)).collect()
}

/// The values of a column of texts.
pub fn texts_of(rows: &RecordBatch, column: &str) -> Vec<String> {
    let column = rows.column_by_name(column).and_then(|c| c.as_string_opt::<i32>());
    column.into_iter().flatten().map(|text| text.unwrap_or_default().to_owned()).collect()
}

/// Our file as Parquet's reader wants it.
pub(super) struct PartFile(pub(super) Arc<dyn File>);

/// What is left of a file from an offset on.
pub(super) struct Rest {
    file: Arc<dyn File>,
    at: u64,
}

impl Read for Rest {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = read_twice(self.file.as_ref(), buffer, self.at).map_err(DiskError::into_io)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Length for PartFile {
    fn len(&self) -> u64 {
        self.0.size().unwrap_or(0)
    }
}

impl ChunkReader for PartFile {
    type T = Rest;

    fn get_read(&self, start: u64) -> Result<Rest, ParquetError> {
        Ok(Rest { file: self.0.clone(), at: start })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let size = self.0.size().map_err(|error| ParquetError::External(Box::new(error)))?;
        if start.saturating_add(length as u64) > size {
            return Err(ParquetError::EOF(format!("{length} bytes at {start} of {size}")));
        }
        let mut bytes = vec![0; length];
        let read = read_twice(self.0.as_ref(), &mut bytes, start);
        let read = read.map_err(|error| ParquetError::External(Box::new(error)))?;
        bytes.truncate(read);
        Ok(bytes.into())
    }
}

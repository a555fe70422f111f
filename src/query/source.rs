//! What a statement reads: the chains as of one record each. The node answers from here what a
//! worker asks.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use arrow::array::{Date32Array, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use headwater_storage::ledger::Part;
use headwater_storage::model::{BlockRange, EventHead, Lsn, date_of};
use headwater_storage::store::{Chain, Snapshot, StoreError};
use headwater_storage::tables::{StoredBlock, Table, event_rows};

use super::about::ProviderRow;
use super::tail::TailCache;
use super::wire::{Extent, Gap, PartFile, Question};

/// Gaps that an answer names at most.
const GAPS_MAX: usize = 100;

/// One chain as of one record.
pub(super) struct Source {
    snapshot: Snapshot,
    chain: Arc<Chain>,
    tail: Arc<TailCache>,
}

/// Why a worker cannot be answered.
#[derive(Debug, thiserror::Error)]
pub(super) enum SourceError {
    #[error("the store cannot be read: {0}")]
    Store(#[from] StoreError),
    #[error("rows cannot be written: {0}")]
    Rows(#[from] ArrowError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The columns that parts have in their folders' names.
pub(super) fn folder_fields() -> Vec<FieldRef> {
    vec![
        Arc::new(Field::new("chain_id", DataType::Int64, false)),
        Arc::new(Field::new("date", DataType::Date32, false)),
    ]
}

/// The columns of a table's files, then those of their folders.
pub(super) fn schema_of(table: Table) -> SchemaRef {
    let mut fields: Vec<FieldRef> = table.schema().fields().iter().cloned().collect();
    fields.extend(folder_fields());
    Arc::new(Schema::new(fields))
}

pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Says how the providers stand.
pub(super) type Providers = Arc<dyn Fn() -> Vec<ProviderRow> + Send + Sync>;

/// The chains of a statement, and their providers.
pub(super) struct Sources(Vec<Source>, Providers);

impl Sources {
    pub(super) fn new(chains: &[(Arc<Chain>, Arc<TailCache>)], providers: Providers) -> Sources {
        let source = |(chain, tail): &(Arc<Chain>, Arc<TailCache>)| {
            let snapshot = chain.snapshot();
            tail.keep(&snapshot.tail);
            Source { snapshot, chain: chain.clone(), tail: tail.clone() }
        };
        Sources(chains.iter().map(source).collect(), providers)
    }

    /// Each chain as of which record.
    pub(super) fn lsn(&self) -> BTreeMap<String, u64> {
        self.0.iter().map(|one| (one.snapshot.chain.to_string(), one.snapshot.lsn.0)).collect()
    }

    /// Answers a worker's question: what it is told of files, and rows as an Arrow IPC stream.
    pub(super) fn answer(&self, question: &Question) -> Result<(Extent, Vec<u8>), SourceError> {
        let (extent, rows, schema) = match question {
            Question::Scan { table, numbers, columns } => {
                let mut schema = schema_of(*table);
                let mut rows = Vec::new();
                for source in &self.0 {
                    rows.extend(source.tail(*table, *numbers)?);
                }
                if let Some(columns) = columns {
                    schema = Arc::new(schema.project(columns)?);
                    let project = |batch: RecordBatch| batch.project(columns);
                    rows = rows.into_iter().map(project).collect::<Result<_, _>>()?;
                }
                (self.extent(*table, *numbers), rows, schema)
            }
            Question::About(table) => {
                (Extent::default(), vec![table.rows(&self.0, &(self.1)())?], table.schema())
            }
            Question::Records(records) => {
                (Extent::default(), self.records(records)?, schema_of(Table::Blocks))
            }
        };
        let mut out = Vec::new();
        let mut writer = StreamWriter::try_new(&mut out, &schema)?;
        for batch in &rows {
            writer.write(batch)?;
        }
        writer.finish()?;
        drop(writer);
        Ok((extent, out))
    }

    fn extent(&self, table: Table, numbers: BlockRange) -> Extent {
        let files = self.0.iter().flat_map(|source| {
            source.snapshot.parts_of(table, numbers).map(move |part| source.file(part))
        });
        let gaps: BTreeSet<Gap> =
            self.0.iter().flat_map(|source| source.gaps(numbers)).take(GAPS_MAX).collect();
        Extent { files: files.collect(), gaps: gaps.into_iter().collect() }
    }

    /// Rows of blocks by chain and record, those that the log still has.
    fn records(&self, records: &[(i64, i64)]) -> Result<Vec<RecordBatch>, SourceError> {
        let mut rows = Vec::with_capacity(records.len());
        for (chain_id, lsn) in records {
            let of_chain = |source: &&Source| signed(source.snapshot.chain_id) == *chain_id;
            let Some(source) = self.0.iter().find(of_chain) else { continue };
            let lsn = Lsn(u64::try_from(*lsn).unwrap_or_default());
            let event = source.chain.read_if_there(lsn)?;
            let Some((head, Some(block))) = event.map(|event| (event.head, event.block)) else {
                continue;
            };
            let batch = Table::Blocks.rows(&[StoredBlock::new(&head, block)]);
            rows.push(source.with_folder(Table::Blocks, &[head], &batch)?);
        }
        Ok(rows)
    }
}

impl Source {
    pub(super) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    pub(super) fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Rows that are not in parts.
    fn tail(&self, table: Table, numbers: BlockRange) -> Result<Vec<RecordBatch>, SourceError> {
        let wanted = |head: &&EventHead| numbers.contains(head.block.number);
        if table == Table::ChainEvents {
            let events: Vec<EventHead> =
                self.snapshot.events.iter().filter(wanted).copied().collect();
            if events.is_empty() {
                return Ok(Vec::new());
            }
            return Ok(vec![self.with_folder(table, &events, &event_rows(&events))?]);
        }
        let mut rows = Vec::new();
        for head in self.snapshot.tail.iter().filter(wanted) {
            for batch in self.tail.rows(&self.chain, table, &[*head])? {
                rows.push(self.with_folder(table, &[*head], &batch)?);
            }
        }
        Ok(rows)
    }

    /// Adds the columns that parts have in their folders' names.
    fn with_folder(
        &self,
        table: Table,
        heads: &[EventHead],
        batch: &RecordBatch,
    ) -> Result<RecordBatch, ArrowError> {
        let rows = batch.num_rows();
        let chain_id = Int64Array::from_value(signed(self.snapshot.chain_id), rows);
        let date = match heads {
            [one] => Date32Array::from_value(date_of(one.timestamp), rows),
            many => many.iter().map(|head| Some(date_of(head.timestamp))).collect(),
        };
        let mut columns = batch.columns().to_vec();
        columns.push(Arc::new(chain_id));
        columns.push(Arc::new(date));
        RecordBatch::try_new(schema_of(table), columns)
    }

    fn file(&self, part: &Part) -> PartFile {
        let path = std::path::absolute(&self.snapshot.data_dir)
            .unwrap_or_else(|_| self.snapshot.data_dir.clone())
            .join(&part.path);
        PartFile {
            path: path.to_string_lossy().into_owned(),
            bytes: part.file_bytes,
            chain_id: signed(self.snapshot.chain_id),
            date: part.date,
        }
    }

    /// What of a range, between the first and the last block that are here, is not.
    pub(super) fn gaps(&self, numbers: BlockRange) -> Vec<Gap> {
        let missing = self.chain.with_state(|state| {
            let captured = state.captured();
            let first = captured.iter().next()?.first.max(numbers.first);
            let last = state.latest()?.number.min(numbers.last);
            Some(captured.missing(BlockRange::new(first, last)?))
        });
        let gap = |range: BlockRange| Gap {
            chain: self.snapshot.chain.to_string(),
            first: range.first,
            last: range.last,
        };
        missing.unwrap_or_default().into_iter().map(gap).collect()
    }
}

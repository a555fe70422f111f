//! One table over a snapshot: a scan of the parts beside the rows of the tail.

use std::sync::Arc;

use arrow::array::{Date32Array, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::DFSchema;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::scalar::ScalarValue;
use headwater_storage::ledger::Part;
use headwater_storage::model::{BlockRange, EventHead, date_of};
use headwater_storage::store::{Chain, Snapshot};
use headwater_storage::tables::{Table, event_rows};

use super::prune::block_numbers;
use super::tail::TailCache;

pub(super) type Source = (Arc<Snapshot>, Arc<Chain>, Arc<TailCache>);

/// One table over snapshots of some chains.
pub(super) struct SnapshotTable {
    pub(super) table: Table,
    /// The columns of the files, then those of their folders.
    schema: SchemaRef,
    pub(super) sources: Vec<Source>,
}

impl std::fmt::Debug for SnapshotTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotTable").field("table", &self.table).finish_non_exhaustive()
    }
}

fn folder_fields() -> Vec<FieldRef> {
    vec![
        Arc::new(Field::new("chain_id", DataType::Int64, false)),
        Arc::new(Field::new("date", DataType::Date32, false)),
    ]
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl SnapshotTable {
    pub(super) fn new(table: Table, sources: Vec<Source>) -> SnapshotTable {
        let mut fields: Vec<FieldRef> = table.schema().fields().iter().cloned().collect();
        fields.extend(folder_fields());
        SnapshotTable { table, schema: Arc::new(Schema::new(fields)), sources }
    }

    /// Rows of the tail, one list per source.
    fn tail(&self, source: &Source, numbers: &BlockRange) -> Result<Vec<RecordBatch>> {
        let (snapshot, chain, cache) = source;
        let wanted = |head: &&EventHead| numbers.contains(head.block.number);
        let rows = if self.table == Table::ChainEvents {
            let events: Vec<EventHead> = snapshot.events.iter().filter(wanted).copied().collect();
            if events.is_empty() {
                Vec::new()
            } else {
                vec![(events[..].to_vec(), event_rows(&events))]
            }
        } else {
            let heads: Vec<EventHead> = snapshot.tail.iter().filter(wanted).copied().collect();
            let mut rows = Vec::new();
            for head in heads {
                let batches = cache
                    .rows(chain, self.table, &[head])
                    .map_err(|error| DataFusionError::External(Box::new(error)))?;
                rows.extend(batches.into_iter().map(|batch| (vec![head], batch)));
            }
            rows
        };
        rows.into_iter().map(|(heads, batch)| self.with_folder(snapshot, &heads, &batch)).collect()
    }

    /// Adds the columns that parts have in their folders' names.
    pub(super) fn with_folder(
        &self,
        snapshot: &Snapshot,
        heads: &[EventHead],
        batch: &RecordBatch,
    ) -> Result<RecordBatch> {
        let rows = batch.num_rows();
        let chain_id = Int64Array::from_value(signed(snapshot.chain_id), rows);
        let date = match heads {
            [one] => Date32Array::from_value(date_of(one.timestamp), rows),
            many => many.iter().map(|head| Some(date_of(head.timestamp))).collect(),
        };
        let mut columns = batch.columns().to_vec();
        columns.push(Arc::new(chain_id));
        columns.push(Arc::new(date));
        Ok(RecordBatch::try_new(self.schema.clone(), columns)?)
    }

    fn file(source: &Source, part: &Part) -> PartitionedFile {
        let (snapshot, _, _) = source;
        let path = std::path::absolute(&snapshot.data_dir)
            .unwrap_or_else(|_| snapshot.data_dir.clone())
            .join(&part.path);
        PartitionedFile::new(path.to_string_lossy(), part.file_bytes).with_partition_values(vec![
            ScalarValue::Int64(Some(signed(snapshot.chain_id))),
            ScalarValue::Date32(Some(part.date)),
        ])
    }

    fn scan_parts(
        &self,
        state: &dyn Session,
        files: Vec<PartitionedFile>,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = TableSchema::builder(self.table.schema())
            .with_table_partition_cols(folder_fields())
            .build();
        let mut options = state.table_options().parquet.clone();
        options.global = state.config_options().execution.parquet.clone();
        let mut source = ParquetSource::new(schema).with_table_parquet_options(options);
        if let Some(filter) = conjunction(filters.to_vec()) {
            let schema = DFSchema::try_from(self.schema.clone())?;
            source = source.with_predicate(state.create_physical_expr(filter, &schema)?);
        }
        let groups = FileGroup::new(files).split_files(state.config().target_partitions());
        let config =
            FileScanConfigBuilder::new(ObjectStoreUrl::local_filesystem(), Arc::new(source))
                .with_file_groups(groups)
                .with_projection_indices(projection.cloned())?
                .build();
        Ok(DataSourceExec::from_data_source(config))
    }
}

#[async_trait::async_trait]
impl TableProvider for SnapshotTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        // Files and row groups are skipped by them; rows are filtered again above.
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let numbers = block_numbers(filters);
        let range = BlockRange::new(*numbers.start(), *numbers.end());
        let mut plans = Vec::new();
        if let Some(range) = range {
            let files: Vec<PartitionedFile> = self
                .sources
                .iter()
                .flat_map(|source| {
                    source.0.parts_of(self.table, range).map(move |part| Self::file(source, part))
                })
                .collect();
            if !files.is_empty() {
                plans.push(self.scan_parts(state, files, projection, filters)?);
            }
            let mut tail = Vec::new();
            for source in &self.sources {
                tail.extend(self.tail(source, &range)?);
            }
            if !tail.is_empty() {
                let schema = self.schema.clone();
                plans.push(MemorySourceConfig::try_new_exec(&[tail], schema, projection.cloned())?);
            }
        }
        match plans.len() {
            0 => {
                let schema = match projection {
                    Some(columns) => Arc::new(self.schema.project(columns)?),
                    None => self.schema.clone(),
                };
                Ok(Arc::new(EmptyExec::new(schema)))
            }
            1 => Ok(plans.remove(0)),
            _ => UnionExec::try_new(plans),
        }
    }
}

//! One table over the node's chains: a scan of the parts beside the rows of the tail.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::DFSchema;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::Result;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::scalar::ScalarValue;
use headwater_storage::model::BlockRange;
use headwater_storage::tables::Table;

use crate::query::source::{folder_fields, schema_of};
use crate::query::wire::{PartFile, Question};

use super::node::Node;
use super::prune::block_numbers;

/// One table over the node's chains.
#[derive(Debug)]
pub(super) struct NodeTable {
    table: Table,
    /// The columns of the files, then those of their folders.
    schema: SchemaRef,
    node: Arc<Node>,
}

fn file(part: PartFile) -> PartitionedFile {
    PartitionedFile::new(part.path, part.bytes).with_partition_values(vec![
        ScalarValue::Int64(Some(part.chain_id)),
        ScalarValue::Date32(Some(part.date)),
    ])
}

impl NodeTable {
    pub(super) fn new(table: Table, node: Arc<Node>) -> NodeTable {
        NodeTable { table, schema: schema_of(table), node }
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
impl TableProvider for NodeTable {
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
        let schema = match projection {
            Some(columns) => Arc::new(self.schema.project(columns)?),
            None => self.schema.clone(),
        };
        let mut plans = Vec::new();
        if let Some(numbers) = range {
            let columns = projection.cloned();
            let scan = Question::Scan { table: self.table, numbers, columns };
            let (extent, tail) = self.node.ask(&scan)?;
            let files: Vec<PartitionedFile> = extent.files.into_iter().map(file).collect();
            if !files.is_empty() {
                plans.push(self.scan_parts(state, files, projection, filters)?);
            }
            if !tail.is_empty() {
                plans.push(MemorySourceConfig::try_new_exec(&[tail], schema.clone(), None)?);
            }
        }
        match plans.len() {
            0 => Ok(Arc::new(EmptyExec::new(schema))),
            1 => Ok(plans.remove(0)),
            _ => UnionExec::try_new(plans),
        }
    }
}

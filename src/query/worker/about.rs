//! Tables about the node itself, whose rows the node makes.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;

use crate::query::wire::{About, Question};

use super::node::Node;

/// A table about the node.
#[derive(Debug)]
pub(super) struct AboutTable {
    table: About,
    node: Arc<Node>,
}

impl AboutTable {
    pub(super) fn new(table: About, node: Arc<Node>) -> AboutTable {
        AboutTable { table, node }
    }
}

#[async_trait::async_trait]
impl TableProvider for AboutTable {
    fn schema(&self) -> SchemaRef {
        self.table.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (_, rows) = self.node.ask(&Question::About(self.table))?;
        Ok(MemorySourceConfig::try_new_exec(&[rows], self.schema(), projection.cloned())?)
    }
}

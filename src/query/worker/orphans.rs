//! Blocks that were applied and taken back, from the log, which keeps them: `orphaned_blocks`, and
//! with the canonical ones `blocks_all`.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::{Int64Type, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType, col, lit};
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::StreamExt;
use headwater_storage::model::{B256, Op};
use headwater_storage::tables::Table;

use crate::query::wire::Question;

use super::node::Node;
use super::table::NodeTable;

/// The statement behind `blocks_all`.
pub(super) const BLOCKS_ALL: &str = "select *, true as is_canonical from blocks \
     union all select *, false as is_canonical from orphaned_blocks";

/// Rows of `blocks` that were taken back.
#[derive(Debug)]
pub(super) struct OrphanedBlocks {
    blocks: NodeTable,
    events: NodeTable,
    node: Arc<Node>,
}

/// The last records that applied a block and took it back.
#[derive(Clone, Copy, Default)]
struct Fate {
    applied: i64,
    reverted: i64,
}

impl OrphanedBlocks {
    pub(super) fn new(node: Arc<Node>) -> OrphanedBlocks {
        OrphanedBlocks {
            blocks: NodeTable::new(Table::Blocks, node.clone()),
            events: NodeTable::new(Table::ChainEvents, node.clone()),
            node,
        }
    }

    /// Looks at events of one kind, those of the filters; parts are skipped by them, rows need not
    /// be.
    async fn look(
        &self,
        state: &dyn Session,
        filters: &[Expr],
        mut take: impl FnMut(i64, B256, i64, &str),
    ) -> Result<()> {
        let plan = self.events.scan(state, None, filters, None).await?;
        let mut rows = execute_stream(plan, state.task_ctx())?;
        while let Some(batch) = rows.next().await {
            let batch = batch?;
            let column = |name: &str| {
                let found = batch.column_by_name(name);
                found.ok_or_else(|| DataFusionError::Internal(format!("no column {name}")))
            };
            let (chains, lsns) = (column("chain_id")?, column("lsn")?);
            let (ops, hashes) = (column("op")?, column("block_hash")?);
            let (chains, lsns) =
                (chains.as_primitive::<Int64Type>(), lsns.as_primitive::<Int64Type>());
            let (ops, hashes) = (ops.as_string::<i32>(), hashes.as_fixed_size_binary());
            for row in 0..batch.num_rows() {
                let hash = B256::from_slice(hashes.value(row));
                take(chains.value(row), hash, lsns.value(row), ops.value(row));
            }
        }
        Ok(())
    }

    /// What became of each block that was ever taken back.
    async fn fates(
        &self,
        state: &dyn Session,
        filters: &[Expr],
    ) -> Result<HashMap<(i64, B256), Fate>> {
        let mut fates: HashMap<(i64, B256), Fate> = HashMap::new();
        let with = |op: &str| {
            let mut all = filters.to_vec();
            all.push(col("op").eq(lit(op)));
            all
        };
        self.look(state, &with(Op::Reverted.as_str()), |chain, hash, lsn, op| {
            if op == Op::Reverted.as_str() {
                let fate = fates.entry((chain, hash)).or_default();
                fate.reverted = fate.reverted.max(lsn);
            }
        })
        .await?;
        if fates.is_empty() {
            return Ok(fates);
        }
        self.look(state, &with(Op::Applied.as_str()), |chain, hash, lsn, op| {
            let fate = fates.get_mut(&(chain, hash)).filter(|_| op == Op::Applied.as_str());
            if let Some(fate) = fate {
                fate.applied = fate.applied.max(lsn);
            }
        })
        .await?;
        Ok(fates)
    }
}

#[async_trait::async_trait]
impl TableProvider for OrphanedBlocks {
    fn schema(&self) -> SchemaRef {
        self.blocks.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        // Only those that events have too; the rest is for who reads the rows.
        let known = self.events.schema();
        let is_known = |filter: &&Expr| {
            filter.column_refs().iter().all(|column| known.field_with_name(column.name()).is_ok())
        };
        let filters: Vec<Expr> = filters.iter().filter(is_known).cloned().collect();
        let fates = self.fates(state, &filters).await?;
        let mut orphans: Vec<(i64, i64)> = fates
            .iter()
            // What was applied again after it was taken back is no orphan.
            .filter(|(_, fate)| (1..fate.reverted).contains(&fate.applied))
            .map(|((chain, _), fate)| (*chain, fate.applied))
            .collect();
        orphans.sort_unstable();
        let (_, rows) = self.node.ask(&Question::Records(orphans))?;
        Ok(MemorySourceConfig::try_new_exec(&[rows], self.schema(), projection.cloned())?)
    }
}

//! One statement, from its text to the pieces of its answer.

use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::error::Result;
use datafusion::execution::context::{SQLOptions, SessionContext};
use datafusion::execution::memory_pool::{FairSpillPool, MemoryConsumer, MemoryPool};
use datafusion::execution::registry::FunctionRegistry;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::optimizer::{Analyzer, AnalyzerRule};
use datafusion::prelude::SessionConfig;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use futures::StreamExt;
use headwater_storage::tables::Table;

use crate::query::QueryError;
use crate::query::wire::{About, Order};

use super::about::AboutTable;
use super::node::{Node, Pieces};
use super::orphans::{BLOCKS_ALL, OrphanedBlocks};
use super::output::{Outcome, write};
use super::reason::{planning, running};
use super::table::NodeTable;
use super::words::{WordLists, Words};
use super::{exact, functions, limits};

/// Of the memory of a statement, what operators may have before they spill: the rest is for what
/// they make between times.
const POOL_OF_MEMORY: (usize, usize) = (3, 4);

/// The statement behind `fees`, in wei. The base fee is burned where a chain burns it; the tip is
/// what goes to who made the block.
const FEES: &str = "select t.chain_id, t.date, t.block_number, t.block_timestamp, \
     t.transaction_index, t.transaction_hash, t.from_address, t.to_address, t.receipt_gas_used, \
     t.receipt_effective_gas_price, b.base_fee_per_gas, \
     cast(t.receipt_gas_used as decimal(19, 0)) \
         * cast(t.receipt_effective_gas_price as decimal(19, 0)) as fee_wei, \
     cast(t.receipt_gas_used as decimal(19, 0)) * cast(b.base_fee_per_gas as decimal(19, 0)) \
         as base_fee_wei, \
     cast(t.receipt_gas_used as decimal(19, 0)) \
         * (cast(t.receipt_effective_gas_price as decimal(19, 0)) \
             - cast(coalesce(b.base_fee_per_gas, 0) as decimal(19, 0))) as tip_wei, \
     cast(t.receipt_blob_gas_used as decimal(19, 0)) \
         * cast(t.receipt_blob_gas_price as decimal(19, 0)) as blob_fee_wei \
     from transactions t join blocks b on t.chain_id = b.chain_id \
         and t.block_number = b.block_number";

/// Runs a statement and sends its answer.
pub(super) async fn run(
    node: &Arc<Node>,
    order: &Order,
    scratch: &Path,
) -> std::result::Result<(), QueryError> {
    limits::check(&order.sql, &GenericDialect {})?;
    let (times, of) = POOL_OF_MEMORY;
    let pool: Arc<dyn MemoryPool> = Arc::new(FairSpillPool::new(order.memory_bytes / of * times));
    let context = context(node, order, scratch, pool.clone()).await;
    let context = context.map_err(|error| running(&error))?;
    let (schema, batches, row_count) = gather(&context, order, &pool).await?;
    let gaps = node.take_gaps();
    let outcome = Outcome { schema, batches, row_count, lsn: &order.lsn, gaps: &gaps };
    let written = write(&outcome, order.form, &mut Pieces::new(node));
    written.map_err(|error| QueryError::Failed { reason: error.to_string() })
}

/// All rows of the answer, within their bounds.
async fn gather(
    context: &SessionContext,
    order: &Order,
    pool: &Arc<dyn MemoryPool>,
) -> std::result::Result<(SchemaRef, Vec<RecordBatch>, usize), QueryError> {
    let options =
        SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    let frame = context.sql_with_options(&order.sql, options).await;
    let frame = frame.map_err(|error| planning(&error))?;
    let mut rows = frame.execute_stream().await.map_err(|error| running(&error))?;
    let schema = rows.schema();
    let held = MemoryConsumer::new("the answer").register(pool);
    let (mut batches, mut count) = (Vec::new(), 0);
    while let Some(batch) = rows.next().await {
        let batch = batch.map_err(|error| running(&error))?;
        count += batch.num_rows();
        if count > order.rows_max {
            return Err(QueryError::Rows { rows_max: order.rows_max });
        }
        held.try_grow(batch_bytes(&batch)).map_err(|error| running(&error))?;
        batches.push(batch);
    }
    Ok((schema, batches, count))
}

/// Bytes of the rows alone, also where they share a buffer with others.
fn batch_bytes(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(|c| c.to_data().get_slice_memory_size().unwrap_or(0)).sum()
}

/// What is read of a statement in our way comes before the engine's own rules.
pub(super) fn session(config: SessionConfig, runtime: Arc<RuntimeEnv>) -> Result<SessionContext> {
    let mut rules: Vec<Arc<dyn AnalyzerRule + Send + Sync>> = vec![Arc::new(WordLists)];
    rules.extend(Analyzer::new().rules);
    let state = SessionStateBuilder::new_with_default_features()
        .with_config(config)
        .with_runtime_env(runtime)
        .with_analyzer_rules(rules)
        .build();
    let mut context = SessionContext::new_with_state(state);
    context.register_expr_planner(Arc::new(Words))?;
    functions::register(&context);
    exact::register(&context);
    Ok(context)
}

/// A session with our tables and functions.
async fn context(
    node: &Arc<Node>,
    order: &Order,
    scratch: &Path,
    pool: Arc<dyn MemoryPool>,
) -> Result<SessionContext> {
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(pool)
        .with_temp_file_path(scratch)
        .with_max_temp_directory_size(order.spill_bytes)
        .build_arc()?;
    let mut config = SessionConfig::new()
        .with_information_schema(true)
        .with_create_default_catalog_and_schema(true);
    config.options_mut().execution.parquet.pushdown_filters = true;
    config.options_mut().execution.parquet.reorder_filters = true;
    // Binary columns are what the files say, not views of another type.
    config.options_mut().execution.parquet.schema_force_view_types = false;
    config.options_mut().sql_parser.map_string_types_to_utf8view = false;
    let context = session(config, runtime)?;
    context.deregister_udtf("generate_series");
    context.deregister_udtf("range");
    for table in Table::ALL {
        let provider = Arc::new(NodeTable::new(table, node.clone()));
        context.register_table(table.name(), provider)?;
    }
    for table in About::ALL {
        context.register_table(table.name(), Arc::new(AboutTable::new(table, node.clone())))?;
    }
    let orphans = Arc::new(OrphanedBlocks::new(node.clone()));
    context.register_table("orphaned_blocks", orphans)?;
    let all = context.sql(BLOCKS_ALL).await?;
    context.register_table("blocks_all", all.into_view())?;
    let fees = context.sql(FEES).await?;
    context.register_table("fees", fees.into_view())?;
    Ok(context)
}

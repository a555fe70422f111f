//! Runs one read-only statement within its bounds.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::execution::context::{SQLOptions, SessionContext};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::prelude::SessionConfig;
use futures::StreamExt;
use headwater_storage::store::{Chain, Snapshot};
use headwater_storage::tables::Table;
use tokio::sync::Semaphore;

use super::orphans::{BLOCKS_ALL, OrphanedBlocks};
use super::table::SnapshotTable;
use super::tail::TailCache;
use super::{QueryConfig, QueryError, exact, functions};

/// Answers statements over some chains.
pub struct Engine {
    chains: Vec<(Arc<Chain>, Arc<TailCache>)>,
    config: QueryConfig,
    runtime: Arc<RuntimeEnv>,
    permits: Semaphore,
}

/// What a statement gave.
#[derive(Debug)]
pub struct Answer {
    /// Names and types of the columns.
    pub schema: SchemaRef,
    /// The rows.
    pub batches: Vec<RecordBatch>,
    /// Each chain as of which record.
    pub lsn: BTreeMap<String, u64>,
}

impl Answer {
    /// How many rows.
    pub fn row_count(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }
}

impl Engine {
    /// An engine over chains of one data folder; statements spill to `scratch`.
    pub fn new(
        chains: &[Arc<Chain>],
        config: QueryConfig,
        scratch: &Path,
    ) -> Result<Engine, QueryError> {
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(FairSpillPool::new(config.memory_bytes)))
            .with_temp_file_path(scratch)
            .with_max_temp_directory_size(config.spill_bytes)
            .build_arc()
            .map_err(|error| QueryError::running(&error))?;
        let chains = chains.iter().map(|chain| (chain.clone(), Arc::new(TailCache::default())));
        Ok(Engine {
            chains: chains.collect(),
            config,
            runtime,
            permits: Semaphore::new(config.concurrency.max(1)),
        })
    }

    /// Runs one statement.
    pub async fn run(&self, sql: &str) -> Result<Answer, QueryError> {
        let bound = Duration::from_secs(self.config.timeout_secs);
        let seconds = self.config.timeout_secs;
        let run = async {
            let _permit = self.permits.acquire().await;
            self.run_unbounded(sql).await
        };
        tokio::time::timeout(bound, run).await.unwrap_or(Err(QueryError::Timeout { seconds }))
    }

    async fn run_unbounded(&self, sql: &str) -> Result<Answer, QueryError> {
        let (context, lsn) = self.session().await?;
        let options = SQLOptions::new()
            .with_allow_ddl(false)
            .with_allow_dml(false)
            .with_allow_statements(false);
        let frame = context.sql_with_options(sql, options).await;
        let frame = frame.map_err(|error| QueryError::planning(&error))?;
        let mut rows = frame.execute_stream().await.map_err(|e| QueryError::running(&e))?;
        let schema = rows.schema();
        let (mut batches, mut count, mut bytes) = (Vec::new(), 0, 0);
        while let Some(batch) = rows.next().await {
            let batch = batch.map_err(|error| QueryError::running(&error))?;
            count += batch.num_rows();
            if count > self.config.rows_max {
                return Err(QueryError::Rows { rows_max: self.config.rows_max });
            }
            bytes += batch_bytes(&batch);
            if bytes > self.config.memory_bytes {
                let reason = format!("the answer itself has more than {bytes} bytes");
                return Err(QueryError::Memory { reason });
            }
            batches.push(batch);
        }
        Ok(Answer { schema, batches, lsn })
    }

    /// A session in which every table is cut at the same record of each chain.
    async fn session(&self) -> Result<(SessionContext, BTreeMap<String, u64>), QueryError> {
        let mut config = SessionConfig::new()
            .with_information_schema(true)
            .with_create_default_catalog_and_schema(true);
        config.options_mut().execution.parquet.pushdown_filters = true;
        config.options_mut().execution.parquet.reorder_filters = true;
        // Binary columns are what the files say, not views of another type.
        config.options_mut().execution.parquet.schema_force_view_types = false;
        config.options_mut().sql_parser.map_string_types_to_utf8view = false;
        let context = SessionContext::new_with_config_rt(config, self.runtime.clone());
        context.deregister_udtf("generate_series");
        context.deregister_udtf("range");
        functions::register(&context);
        exact::register(&context);
        let snapshots: Vec<(Arc<Snapshot>, Arc<Chain>, Arc<TailCache>)> = self
            .chains
            .iter()
            .map(|(chain, tail)| (Arc::new(chain.snapshot()), chain.clone(), tail.clone()))
            .collect();
        for table in Table::ALL {
            let provider = Arc::new(SnapshotTable::new(table, snapshots.clone()));
            context
                .register_table(table.name(), provider)
                .map_err(|error| QueryError::running(&error))?;
        }
        let failed = |error| QueryError::running(&error);
        let orphans = Arc::new(OrphanedBlocks::new(snapshots.clone()));
        context.register_table("orphaned_blocks", orphans).map_err(failed)?;
        let all = context.sql(BLOCKS_ALL).await.map_err(failed)?;
        context.register_table("blocks_all", all.into_view()).map_err(failed)?;
        let lsn = snapshots
            .iter()
            .map(|(snapshot, _, _)| (snapshot.chain.to_string(), snapshot.lsn.0))
            .collect();
        Ok((context, lsn))
    }
}

/// Bytes of the rows alone, also where they share a buffer with others.
fn batch_bytes(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(|c| c.to_data().get_slice_memory_size().unwrap_or(0)).sum()
}

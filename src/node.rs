//! The appliance: what a configuration becomes when it runs.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use headwater_exporters::{BuildError, Scope};
use headwater_storage::disk::RealDisk;
use headwater_storage::model::{BlockRange, ChainName};
use headwater_storage::parquet::Grid;
use headwater_storage::store::{
    AppendError, Appender, Chain, ChainOptions, Committer, DataDir, OpenError, StoreError,
};

use crate::capture::{Backfill, ChainConfig, ChainStatus, Follower, Progress, Source, Start};
use crate::config::Config;
use crate::exit::Exit;
use crate::forward::{ExportStatus, ExportView, Runner};
use crate::query::{Engine, QueryConfig, QueryError};
use crate::rpc::{Pool, PoolError};
use crate::supervisor::{Shutdown, Supervisor, on_cpu};
use crate::telemetry::metrics;

/// How the names of the tasks begin after whose failure the disk cannot be trusted.
pub const LOG_TASK: &str = "log of";
/// Records that the index takes in one step.
const INDEX_STEP: usize = 128;
const PAUSE_AFTER_ERROR: Duration = Duration::from_secs(5);
const GAUGES_EVERY: Duration = Duration::from_secs(2);

/// Why the appliance cannot start or had to end.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The data folder.
    #[error(transparent)]
    DataDir(#[from] OpenError),
    /// A chain's store.
    #[error("the store of chain `{chain}` failed")]
    Store {
        /// The chain.
        chain: ChainName,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] headwater_storage::ledger::LedgerError),
    /// A provider.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// An exporter.
    #[error(transparent)]
    Exporter(#[from] BuildError),
    /// The SQL engine.
    #[error(transparent)]
    Query(#[from] QueryError),
}

impl NodeError {
    /// The exit code.
    pub fn exit(&self) -> Exit {
        match self {
            NodeError::Store { source: StoreError::ChainId { .. }, .. }
            | NodeError::Pool(_)
            | NodeError::Exporter(_) => Exit::Config,
            NodeError::DataDir(_) | NodeError::Ledger(_) | NodeError::Store { .. } => Exit::DataDir,
            NodeError::Query(_) => Exit::Failure,
        }
    }
}

/// One chain of the appliance.
pub struct ChainNode {
    /// What was configured.
    pub config: ChainConfig,
    /// Its store.
    pub chain: Arc<Chain>,
    /// Where its blocks come from.
    pub source: Source,
    /// How its capture stands.
    pub status: Arc<ChainStatus>,
    /// Backfills that run; sealing waits for more while there are some.
    backfills: Arc<AtomicUsize>,
}

/// One exporter on one chain.
pub struct ExportNode {
    name: String,
    kind: String,
    chain: Arc<Chain>,
    status: Arc<ExportStatus>,
}

/// The appliance.
pub struct Node {
    /// The data folder, owned while this lives.
    pub data_dir: DataDir,
    /// Its chains.
    pub chains: Vec<ChainNode>,
    /// Its exporters.
    pub exporters: Vec<ExportNode>,
    /// Its SQL.
    pub engine: Engine,
}

impl Node {
    /// Opens everything that a configuration names; connects to nothing yet.
    pub fn open(config: &Config) -> Result<Node, NodeError> {
        let data_dir = DataDir::open(&config.data_dir)?;
        data_dir.ledger().next_epoch()?;
        let mut chains = Vec::new();
        for chain in &config.chain {
            chains.push(ChainNode::open(&data_dir, chain)?);
        }
        let stores: Vec<Arc<Chain>> = chains.iter().map(|node| node.chain.clone()).collect();
        let engine = engine(&data_dir, &stores, config.query)?;
        Ok(Node { data_dir, chains, exporters: Vec::new(), engine })
    }

    /// Opens a stopped node's folder with all chains that it holds, to be read.
    pub fn open_stopped(path: &Path) -> Result<Node, NodeError> {
        let data_dir = DataDir::open_existing(path)?;
        let mut chains = Vec::new();
        for facts in data_dir.ledger().chains()? {
            let config = ChainConfig::plain(facts.name, facts.chain_id, "http://127.0.0.1:1");
            chains.push(ChainNode::open(&data_dir, &config)?);
        }
        let stores: Vec<Arc<Chain>> = chains.iter().map(|node| node.chain.clone()).collect();
        let engine = engine(&data_dir, &stores, QueryConfig::default())?;
        Ok(Node { data_dir, chains, exporters: Vec::new(), engine })
    }

    /// Spawns capture, index, sealing, exporters and gauges.
    pub fn start(&mut self, config: &Config, supervisor: &mut Supervisor) -> Result<(), NodeError> {
        for node in &self.chains {
            let appender = node.keep(supervisor);
            node.capture(&appender, supervisor);
        }
        for exporter in &config.exporter {
            let chains: Vec<&ChainNode> =
                self.chains.iter().filter(|node| exporter.takes(node.chain.name())).collect();
            let scope = Scope {
                chains: chains.iter().map(|node| node.chain.name().clone()).collect(),
                tables: exporter.tables(),
            };
            for node in chains {
                let settings = exporter.settings.clone();
                let sink =
                    headwater_exporters::build(&exporter.name, &exporter.kind, settings, &scope)?;
                let status = Arc::new(ExportStatus::default());
                let runner = Runner {
                    name: exporter.name.clone(),
                    exporter: sink,
                    chain: node.chain.clone(),
                    ledger: self.data_dir.ledger().clone(),
                    tables: exporter.tables(),
                    lanes: exporter.lanes(),
                    status: status.clone(),
                };
                let name = format!("exporter {} of {}", exporter.name, node.chain.name());
                supervisor.spawn(name, runner.run(supervisor.shutdown()));
                self.exporters.push(ExportNode {
                    name: exporter.name.clone(),
                    kind: exporter.kind.clone(),
                    chain: node.chain.clone(),
                    status,
                });
            }
        }
        Ok(())
    }

    /// How every exporter stands.
    pub fn export_views(&self) -> Vec<ExportView> {
        let view = |node: &ExportNode| {
            let durable = node.chain.log().durable();
            node.status.view(&node.name, &node.kind, node.chain.name().as_str(), durable)
        };
        self.exporters.iter().map(view).collect()
    }

    /// The chain of a name.
    pub fn chain(&self, name: &str) -> Option<&ChainNode> {
        self.chains.iter().find(|node| node.chain.name().as_str() == name)
    }

    /// Keeps the gauges right until shutdown.
    pub async fn watch(self: Arc<Node>, mut shutdown: Shutdown) -> Result<(), std::io::Error> {
        loop {
            for node in &self.chains {
                node.set_gauges();
            }
            if let Ok((free, _)) = RealDisk::space(self.data_dir.path()) {
                metrics::set(metrics::DISK_FREE, free);
            }
            tokio::select! {
                () = tokio::time::sleep(GAUGES_EVERY) => {}
                () = shutdown.requested() => return Ok(()),
            }
        }
    }
}

impl ChainNode {
    fn open(data_dir: &DataDir, config: &ChainConfig) -> Result<ChainNode, NodeError> {
        let options = ChainOptions {
            grid: Grid { blocks: config.part_blocks.get() },
            ..ChainOptions::default()
        };
        let chain = Chain::open(data_dir, &config.name, config.chain_id, options)
            .map_err(|source| NodeError::Store { chain: config.name.clone(), source })?;
        let pool = Pool::new(&config.name, &config.provider)?;
        Ok(ChainNode {
            source: Source::new(pool, config.verify),
            config: config.clone(),
            chain: Arc::new(chain),
            status: Arc::default(),
            backfills: Arc::default(),
        })
    }

    /// Spawns the committer, the index and the sealer; gives the way into the log.
    pub fn keep(&self, supervisor: &mut Supervisor) -> Appender {
        let name = self.chain.name();
        let (appender, committer) = Committer::new(self.chain.clone());
        supervisor.spawn_thread(format!("{LOG_TASK} {name}"), move || committer.run());
        let indexing = index(self.chain.clone(), supervisor.shutdown());
        supervisor.spawn(format!("index of {name}"), indexing);
        let sealing = seal(self.chain.clone(), self.backfills.clone(), supervisor.shutdown());
        supervisor.spawn(format!("sealer of {name}"), sealing);
        appender
    }

    /// Spawns the follower, and the healing of what lies below it.
    fn capture(&self, appender: &Appender, supervisor: &mut Supervisor) {
        let name = self.chain.name();
        let follower = Follower {
            config: self.config.clone(),
            source: self.source.clone(),
            chain: self.chain.clone(),
            appender: appender.clone(),
            status: self.status.clone(),
        };
        supervisor.spawn(format!("capture of {name}"), follower.run(supervisor.shutdown()));
        if let Start::Block(first) = self.config.start {
            let heal = heal(self.healing(first, appender.clone()), supervisor.shutdown());
            supervisor.spawn(format!("history of {name}"), heal);
        }
    }

    fn healing(&self, first: u64, appender: Appender) -> Healing {
        Healing {
            first,
            window: self.config.window.get(),
            source: self.source.clone(),
            chain: self.chain.clone(),
            appender,
            backfills: self.backfills.clone(),
        }
    }

    /// A backfill of a final range, with its progress. From here on sealing takes whole cells only;
    /// who asked seals the rest.
    pub fn backfill(&self, range: BlockRange, appender: Appender) -> (Backfill, Arc<Progress>) {
        self.backfills.fetch_add(1, Ordering::AcqRel);
        let progress = Arc::new(Progress::default());
        let backfill = Backfill {
            range,
            window: self.config.window.get(),
            source: self.source.clone(),
            chain: self.chain.clone(),
            appender,
            status: self.status.clone(),
            progress: progress.clone(),
        };
        (backfill, progress)
    }

    /// What lies between the configured start and the head and is not captured (INV-11).
    pub fn gaps(&self) -> Vec<BlockRange> {
        self.chain.with_state(|state| {
            let captured = state.captured();
            let lowest = captured.iter().next().map(|range| range.first);
            let first = match self.config.start {
                Start::Latest => lowest,
                Start::Block(number) => Some(number),
            };
            let head = state.head().map(|head| head.block.number);
            let range = first.zip(head).and_then(|(first, last)| BlockRange::new(first, last));
            range.map(|range| captured.missing(range)).unwrap_or_default()
        })
    }

    fn set_gauges(&self) {
        let name = self.chain.name();
        let (head, finalized, parts) = self.chain.with_state(|state| {
            let bytes: u64 = state.parts().iter().map(|part| part.file_bytes).sum();
            (state.head().map(|head| head.block.number), state.finalized(), bytes)
        });
        metrics::set_chain(metrics::DURABLE_BLOCK, name, head.unwrap_or(0));
        metrics::set_chain(metrics::FINALIZED_BLOCK, name, finalized.map_or(0, |b| b.number));
        metrics::set_chain(metrics::DURABLE_LSN, name, self.chain.log().durable().0);
        let indexed = self.chain.index().map_or(0, |index| index.indexed().0);
        metrics::set_chain(metrics::INDEXED_LSN, name, indexed);
        metrics::set_chain(metrics::SEALED_LSN, name, self.chain.sealed().borrow().0);
        metrics::set_chain(metrics::WAL_BYTES, name, self.chain.log().file_bytes());
        metrics::set_chain(metrics::PART_BYTES, name, parts);
    }
}

/// An engine that spills into the data folder.
fn engine(
    data_dir: &DataDir,
    chains: &[Arc<Chain>],
    config: QueryConfig,
) -> Result<Engine, NodeError> {
    let scratch = data_dir.path().join("spill");
    RealDisk::scratch_folder(&scratch).map_err(OpenError::from)?;
    Ok(Engine::new(chains, config, &scratch)?)
}

/// Indexes what becomes durable.
async fn index(chain: Arc<Chain>, mut shutdown: Shutdown) -> Result<(), StoreError> {
    let mut durable = chain.durable();
    loop {
        durable.borrow_and_update();
        let indexing = chain.clone();
        let pause = match on_cpu(move || indexing.index_some(INDEX_STEP)).await {
            Ok(true) => continue,
            Ok(false) => Duration::MAX,
            // The index is rebuildable: its failure stops lookups, never capture (INV-3).
            Err(error) => {
                tracing::warn!(chain = %chain.name(), %error, "the index waits");
                PAUSE_AFTER_ERROR
            }
        };
        tokio::select! {
            changed = durable.changed() => if changed.is_err() { break },
            () = tokio::time::sleep(pause) => {}
            () = shutdown.requested() => break,
        }
    }
    let chain = chain.clone();
    on_cpu(move || chain.index().map_or(Ok(()), |index| Ok(index.persist()?))).await
}

/// Seals what became final. Whatever fails is tried again from the start, with new files.
async fn seal(
    chain: Arc<Chain>,
    backfills: Arc<AtomicUsize>,
    mut shutdown: Shutdown,
) -> Result<(), AppendError> {
    let mut durable = chain.durable();
    loop {
        durable.borrow_and_update();
        let flush = backfills.load(Ordering::Acquire) == 0;
        let sealing = chain.clone();
        let sealed = on_cpu(move || match sealing.next_sealable(flush) {
            Some(sealable) => sealing.seal(&sealable).map(|_| Some(sealable.range)),
            None => Ok(None),
        });
        let pause = match sealed.await {
            Ok(Some(range)) => {
                tracing::info!(chain = %chain.name(), %range, "sealed");
                continue;
            }
            Ok(None) => Duration::from_secs(1),
            Err(error) => {
                let error = crate::exit::chain_text(&error);
                tracing::warn!(chain = %chain.name(), error, "sealing waits");
                PAUSE_AFTER_ERROR
            }
        };
        tokio::select! {
            changed = durable.changed() => if changed.is_err() { return Ok(()) },
            () = tokio::time::sleep(pause) => {}
            () = shutdown.requested() => return Ok(()),
        }
    }
}

/// The history below the live lane, from the configured start.
struct Healing {
    first: u64,
    window: usize,
    source: Source,
    chain: Arc<Chain>,
    appender: Appender,
    backfills: Arc<AtomicUsize>,
}

/// Fetches what is missing between the start and the first live block.
async fn heal(
    healing: Healing,
    mut shutdown: Shutdown,
) -> Result<(), crate::capture::CaptureError> {
    let mut durable = healing.chain.durable();
    while !shutdown.is_requested() {
        let gap = healing.chain.with_state(|state| {
            let head = state.head()?.block.number;
            let range = BlockRange::new(healing.first, head)?;
            state.captured().missing(range).into_iter().next()
        });
        let Some(range) = gap else {
            tokio::select! {
                changed = durable.changed() => if changed.is_err() { return Ok(()) },
                () = shutdown.requested() => return Ok(()),
            }
            continue;
        };
        tracing::info!(chain = %healing.chain.name(), %range, "walking history");
        healing.backfills.fetch_add(1, Ordering::AcqRel);
        let backfill = Backfill {
            range,
            window: healing.window,
            source: healing.source.clone(),
            chain: healing.chain.clone(),
            appender: healing.appender.clone(),
            status: Arc::default(),
            progress: Arc::default(),
        };
        let result = backfill.run(shutdown.clone()).await;
        healing.backfills.fetch_sub(1, Ordering::AcqRel);
        result?;
    }
    Ok(())
}

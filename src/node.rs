//! The appliance: what a configuration becomes when it runs.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use headwater_exporters::{BuildError, Scope, Sink, batch_size_of};
use headwater_storage::disk::RealDisk;
use headwater_storage::ledger::ChainProofs;
use headwater_storage::model::{BlockRange, ChainName, Lane};
use headwater_storage::parquet::Grid;
use headwater_storage::store::{
    Appender, Chain, ChainOptions, Committer, DataDir, Kept, OpenError, StoreError,
};
use headwater_storage::wal;
use metrics_exporter_prometheus::PrometheusHandle;

use crate::capture::verify::is_newer;
use crate::capture::{Backfill, ChainConfig, ChainStatus, Follower, Holes, Progress, Source};
use crate::config::{Config, DiskConfig};
use crate::exit::Exit;
use crate::forward::{
    self, Export, ExportStatus, ExportView, ExporterConfig, Forwarder, PartRunner, Runner, Station,
};
use crate::keeper::{self, Forgetting, Healing, Space, SpaceView};
use crate::query::{Engine, QueryConfig};
use crate::rpc::{Keyring, Pool, PoolError};
use crate::secrets::Secrets;
use crate::supervisor::{Shutdown, Supervisor};
use crate::telemetry::metrics;

/// How the names of the tasks begin after whose failure the disk cannot be trusted.
pub const LOG_TASK: &str = "log of";
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
    /// The system.
    #[error("no threads for exporters")]
    Threads(#[from] std::io::Error),
}

impl NodeError {
    /// The exit code.
    pub fn exit(&self) -> Exit {
        match self {
            NodeError::Store {
                source: StoreError::ChainId { .. } | StoreError::ChainNamed { .. },
                ..
            }
            | NodeError::Pool(_)
            | NodeError::Exporter(_) => Exit::Config,
            NodeError::DataDir(_) | NodeError::Ledger(_) | NodeError::Store { .. } => Exit::DataDir,
            NodeError::Threads(_) => Exit::Failure,
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
    /// How the fetching of history stands.
    pub history: Arc<ChainStatus>,
    /// What no provider has.
    pub holes: Arc<Holes>,
    /// Backfills that run; sealing waits for more while there are some.
    backfills: Arc<AtomicUsize>,
}

/// The appliance.
pub struct Node {
    /// The data folder, owned while this lives.
    pub data_dir: DataDir,
    /// Its chains.
    pub chains: Vec<ChainNode>,
    /// Its exporters.
    pub exporters: Vec<Export>,
    /// Its SQL.
    pub engine: Engine,
    /// How its disk stands.
    pub space: Arc<Space>,
    keyring: Arc<Keyring>,
}

impl Node {
    /// Opens everything that a configuration names; connects to nothing yet.
    pub fn open(config: &Config) -> Result<Node, NodeError> {
        let data_dir = DataDir::open(&config.data_dir)?;
        keeper::warn_of_open_folder(data_dir.path());
        data_dir.ledger().next_epoch()?;
        let keyring = Keyring::new(Some(data_dir.ledger().clone()), config.secrets.clone());
        let mut chains = Vec::new();
        for chain in &config.chain {
            chains.push(ChainNode::open(&data_dir, chain, &keyring)?);
        }
        let ends =
            chains.iter().map(|node| (node.chain.name().clone(), node.chain.log().durable()));
        data_dir.settle(ends.collect())?;
        let stores: Vec<Arc<Chain>> = chains.iter().map(|node| node.chain.clone()).collect();
        let engine = engine(&data_dir, &stores, config.query)?;
        let space = Arc::new(Space::new(data_dir.path(), config.disk));
        Ok(Node { data_dir, chains, exporters: Vec::new(), engine, space, keyring })
    }

    /// Opens a stopped node's folder with all chains that it holds, to be read.
    pub fn open_stopped(path: &Path) -> Result<Node, NodeError> {
        Node::stopped(DataDir::open_existing(path)?)
    }

    /// The same, where the folder cannot be written, too: nothing of it changes then.
    pub fn open_to_read(path: &Path) -> Result<Node, NodeError> {
        Node::stopped(DataDir::open_to_read(path)?)
    }

    fn stopped(data_dir: DataDir) -> Result<Node, NodeError> {
        let keyring = Keyring::new(None, Secrets::default());
        let mut chains = Vec::new();
        for facts in data_dir.ledger().chains()? {
            let config = ChainConfig::plain(facts.name, facts.chain_id, "http://127.0.0.1:1");
            let node = ChainNode::open(&data_dir, &config, &keyring)?;
            // Nobody else does. Its engine writes when it opens.
            if !data_dir.is_read_only() {
                let opened = node.chain.open_index();
                opened.map_err(|source| NodeError::Store { chain: config.name, source })?;
            }
            chains.push(node);
        }
        let stores: Vec<Arc<Chain>> = chains.iter().map(|node| node.chain.clone()).collect();
        let engine = engine(&data_dir, &stores, QueryConfig::default())?;
        let space = Arc::new(Space::new(data_dir.path(), DiskConfig::default()));
        Ok(Node { data_dir, chains, exporters: Vec::new(), engine, space, keyring })
    }

    /// Spawns capture, index, sealing, exporters and gauges.
    pub fn start(&mut self, config: &Config, supervisor: &mut Supervisor) -> Result<(), NodeError> {
        let descent = self.data_dir.ledger().descent()?;
        if let Some(descent) = &descent {
            tracing::warn!(
                way = descent.way.as_str(),
                from = descent.from,
                at = descent.at,
                "this data folder did not begin empty: what its exporters send from there on may \
                 have been sent before by another node"
            );
        }
        for node in &self.chains {
            let appender = node.keep(supervisor);
            node.capture(&appender, supervisor);
        }
        for exporter in &config.exporter {
            self.forward(exporter, &config.secrets, supervisor)?;
        }
        self.forget(config, supervisor);
        Ok(())
    }

    /// Spawns an exporter, on each of its chains.
    fn forward(
        &mut self,
        exporter: &ExporterConfig,
        secrets: &Secrets,
        supervisor: &mut Supervisor,
    ) -> Result<(), NodeError> {
        let ledger = self.data_dir.ledger();
        let descent = ledger.descent()?;
        let chains: Vec<&ChainNode> =
            self.chains.iter().filter(|node| exporter.takes(node.chain.name())).collect();
        let names = chains.iter().map(|node| node.chain.name().clone());
        let tables = exporter.tables(chains.iter().any(|node| node.config.traces));
        let scope = Scope { chains: names.collect(), tables: tables.clone() };
        for (place, node) in chains.into_iter().enumerate() {
            let chain = node.chain.name();
            let sink = exporter.sink(exporter.settings.clone(), &scope, secrets)?;
            let status = Arc::new(ExportStatus::default());
            if let Some(descent) = &descent {
                status.repeats_after(descent.exported(&exporter.name, chain));
            }
            let station = Station {
                name: exporter.name.clone(),
                chain: node.chain.clone(),
                ledger: ledger.clone(),
                begin: exporter.start,
                status,
            };
            let (orders, hearing) = forward::orders();
            let task = format!("exporter {} of {chain}", exporter.name);
            let forwarder = match sink {
                Sink::Events(sink) => {
                    // Keys belong to the node, not to a chain: one of its sinks is told.
                    if place == 0 && sink.has_place_for_usage() {
                        let (name, shutdown) = (exporter.name.clone(), supervisor.shutdown());
                        let told =
                            forward::note_usage(name, sink.clone(), ledger.clone(), shutdown);
                        supervisor.spawn_aside(format!("usage for {}", exporter.name), told)?;
                    }
                    let branches = descent.as_ref().map(|descent| descent.branches(chain));
                    let runner = Arc::new(Runner {
                        station,
                        exporter: sink,
                        size: batch_size_of(&exporter.kind),
                        branches: branches.unwrap_or_default(),
                        tables: tables.clone(),
                        lanes: exporter.lanes(),
                        filter: exporter.filter(),
                        is_final_only: exporter.finalized,
                    });
                    let run = runner.clone().run(hearing, supervisor.shutdown());
                    supervisor.spawn_aside(task, run)?;
                    Forwarder::Events(runner)
                }
                Sink::Parts(sink) => {
                    let folder = format!("outbox/{}-{chain}", station.name);
                    let scratch = self.data_dir.path().join(folder);
                    RealDisk::scratch_folder(&scratch).map_err(OpenError::from)?;
                    let runner = Arc::new(PartRunner {
                        scratch,
                        known: Mutex::default(),
                        tables: tables.clone(),
                        station,
                        exporter: sink,
                    });
                    let run = runner.clone().run(hearing, supervisor.shutdown());
                    supervisor.spawn_aside(task, run)?;
                    Forwarder::Parts(runner)
                }
            };
            self.exporters.push(Export { kind: exporter.kind.clone(), forwarder, orders });
        }
        Ok(())
    }

    /// Spawns what forgets by rule, and what watches the disk.
    pub fn forget(&self, config: &Config, supervisor: &mut Supervisor) {
        let required: Vec<String> =
            config.exporter.iter().filter(|e| e.required).map(|e| e.name.clone()).collect();
        for node in &self.chains {
            let chain = node.chain.clone();
            let exporters =
                self.exporters.iter().filter(|e| Arc::ptr_eq(&e.station().chain, &chain));
            let forgetting = Forgetting {
                retention: node.config.retention(),
                merge_bytes: node.config.merge_bytes,
                exporters: exporters.map(|e| e.name().to_owned()).collect(),
                required: required.clone(),
                ledger: self.data_dir.ledger().clone(),
                space: self.space.clone(),
                chain,
            };
            let name = format!("keeper of {}", node.chain.name());
            supervisor.spawn(name, forgetting.run(supervisor.shutdown()));
        }
        let stores = self.chains.iter().map(|node| node.chain.clone()).collect();
        supervisor.spawn("keys", self.keyring.clone().run(supervisor.shutdown()));
        if config.vault.is_some() {
            let renewing = self.keyring.clone().renew(supervisor.shutdown());
            supervisor.spawn("keys of the vault", renewing);
        }
        let watch = keeper::watch_space(self.space.clone(), stores, supervisor.shutdown());
        supervisor.spawn("disk", watch);
    }

    /// How the disk stands.
    pub fn space_view(&self) -> SpaceView {
        self.space.view()
    }

    /// What is kept in memory.
    pub fn memory(&self) -> Vec<Kept> {
        let of_chains = self.chains.iter().flat_map(|node| node.chain.memory());
        of_chains.chain(self.engine.memory()).collect()
    }

    /// How every exporter stands.
    pub fn export_views(&self) -> Vec<ExportView> {
        self.exporters.iter().map(Export::view).collect()
    }

    /// The chain of a name.
    pub fn chain(&self, name: &str) -> Option<&ChainNode> {
        self.chains.iter().find(|node| node.chain.name().as_str() == name)
    }

    /// Keeps the gauges right until shutdown, and takes the samples of histograms together, which
    /// pile up otherwise where nobody scrapes.
    pub async fn watch(
        self: Arc<Node>,
        recorded: PrometheusHandle,
        mut shutdown: Shutdown,
    ) -> Result<(), std::io::Error> {
        loop {
            recorded.run_upkeep();
            for node in &self.chains {
                node.set_gauges();
            }
            self.exporters.iter().for_each(Export::set_lag);
            let space = self.space_view();
            metrics::set(metrics::DISK_FREE, space.free_bytes);
            metrics::set(metrics::DISK_FULL, space.seconds_until_full.unwrap_or(u64::MAX >> 12));
            tokio::select! {
                () = tokio::time::sleep(GAUGES_EVERY) => {}
                () = shutdown.requested() => return Ok(()),
            }
        }
    }
}

impl ChainNode {
    fn open(
        data_dir: &DataDir,
        config: &ChainConfig,
        keyring: &Keyring,
    ) -> Result<ChainNode, NodeError> {
        let options = ChainOptions {
            grid: Grid { blocks: config.part_blocks.get() },
            wal: wal::Options { segment_bytes: config.log_segment_bytes.get() },
            ..ChainOptions::default()
        };
        let chain = Chain::open(data_dir, &config.name, config.chain_id, options)
            .and_then(|chain| chain.sweep_parts().map(|()| chain))
            .map_err(|source| NodeError::Store { chain: config.name.clone(), source })?;
        let pool = Pool::new(&config.name, &config.provider, keyring)?;
        let ledger = data_dir.ledger().clone();
        let known = ledger.proofs(&config.name).map_err(|source| NodeError::Store {
            chain: config.name.clone(),
            source: source.into(),
        })?;
        let name = config.name.clone();
        let keep = move |proofs: &ChainProofs| {
            if let Err(error) = ledger.set_proofs(&name, proofs) {
                tracing::warn!(chain = %name, %error, "what was found out of proofs is not kept");
            }
        };
        let prover = config.prover().with_proofs(known).kept_by(keep);
        Ok(ChainNode {
            source: Source::new(pool, prover.into()).with_traces(config.traces),
            config: config.clone(),
            chain: Arc::new(chain),
            status: Arc::default(),
            history: Arc::default(),
            holes: Arc::default(),
            backfills: Arc::default(),
        })
    }

    /// Spawns the committer, the index and the sealer; gives the way into the log.
    pub fn keep(&self, supervisor: &mut Supervisor) -> Appender {
        let name = self.chain.name();
        let (appender, committer) = Committer::new(self.chain.clone());
        supervisor.spawn_thread(format!("{LOG_TASK} {name}"), move || committer.run());
        let watching = keeper::watch_log_file(self.chain.clone(), supervisor.shutdown());
        supervisor.spawn(format!("{LOG_TASK} {name}: its file"), watching);
        let indexing = keeper::index(self.chain.clone(), supervisor.shutdown());
        supervisor.spawn(format!("index of {name}"), indexing);
        let backfills = self.backfills.clone();
        let sealing = keeper::seal(self.chain.clone(), backfills, supervisor.shutdown());
        supervisor.spawn(format!("sealer of {name}"), sealing);
        appender
    }

    /// Spawns the follower, and the healing of what lies below it.
    fn capture(&self, appender: &Appender, supervisor: &mut Supervisor) {
        let name = self.chain.name();
        let subscription = self.source.pool().subscription();
        let follower = Follower {
            config: self.config.clone(),
            source: self.source.clone(),
            heads: subscription.heads(),
            chain: self.chain.clone(),
            appender: appender.clone(),
            status: self.status.clone(),
        };
        supervisor.spawn(format!("heads of {name}"), subscription.run(supervisor.shutdown()));
        supervisor.spawn(format!("capture of {name}"), follower.run(supervisor.shutdown()));
        let healing = Healing {
            first: self.config.start.number(),
            window: self.config.window.get(),
            window_bytes: self.config.window_bytes,
            source: self.source.for_history(),
            chain: self.chain.clone(),
            appender: appender.clone(),
            status: self.history.clone(),
            holes: self.holes.clone(),
            backfills: self.backfills.clone(),
        };
        let heal = keeper::heal(healing, supervisor.shutdown());
        supervisor.spawn(format!("history of {name}"), heal);
    }

    /// A backfill of final ranges, with its progress. From here on sealing takes whole cells only;
    /// who asked seals the rest.
    pub fn backfill(
        &self,
        ranges: Vec<BlockRange>,
        appender: Appender,
    ) -> (Backfill, Arc<Progress>) {
        self.backfills.fetch_add(1, Ordering::AcqRel);
        let progress = Arc::new(Progress::default());
        let backfill = Backfill {
            ranges,
            lane: Lane::Backfill,
            window: self.config.window.get(),
            window_bytes: self.config.window_bytes,
            source: self.source.for_history(),
            chain: self.chain.clone(),
            appender,
            status: self.history.clone(),
            holes: self.holes.clone(),
            progress: progress.clone(),
        };
        (backfill, progress)
    }

    /// What lies between the configured start and the head and is not captured (INV-11).
    pub fn gaps(&self) -> Vec<BlockRange> {
        self.chain.with_state(|state| state.gaps(self.config.start.number()))
    }

    fn set_gauges(&self) {
        let name = self.chain.name();
        let (head, finalized, parts) = self.chain.with_state(|state| {
            let bytes: u64 = state.parts().iter().map(|part| part.file_bytes).sum();
            (state.latest().map(|block| block.number), state.latest_final(), bytes)
        });
        metrics::set_chain(metrics::DURABLE_BLOCK, name, head.unwrap_or(0));
        metrics::set_chain(metrics::FINALIZED_BLOCK, name, finalized.map_or(0, |b| b.number));
        metrics::set_chain(metrics::DURABLE_LSN, name, self.chain.log().durable().0);
        let indexed = self.chain.index().map_or(0, |index| index.indexed().0);
        metrics::set_chain(metrics::INDEXED_LSN, name, indexed);
        metrics::set_chain(metrics::SEALED_LSN, name, self.chain.sealed().borrow().0);
        metrics::set_chain(metrics::WAL_BYTES, name, self.chain.log().file_bytes());
        metrics::set_chain(metrics::PART_BYTES, name, parts);
        let missing = self.gaps().iter().map(BlockRange::len).sum();
        metrics::set_chain(metrics::GAP_BLOCKS, name, missing);
        let unproved = self.source.prover().proofs().missing;
        metrics::set_chain(metrics::PROOFS_MISSING, name, unproved.len() as u64);
        let is_newer = unproved.iter().any(|missing| is_newer(&missing.what));
        metrics::set_chain(metrics::NEWER_BLOCKS, name, u64::from(is_newer));
        for endpoint in self.source.pool().status() {
            let key = &endpoint.use_of_key;
            metrics::set_key(metrics::KEY_USED, &endpoint.key, key.used);
            if let Some(left) = key.left {
                metrics::set_key(metrics::KEY_LEFT, &endpoint.key, left);
                let now = crate::clock::unix_seconds();
                let ends = key.ends_at.map_or(u64::MAX >> 12, |at| at.saturating_sub(now));
                metrics::set_key(metrics::KEY_ENDS, &endpoint.key, ends);
            }
        }
        let damages = self.chain.damages().unwrap_or_default();
        metrics::set_chain(metrics::DAMAGED_PLACES, name, damages.len() as u64);
    }
}

/// An engine that spills into the data folder.
fn engine(
    data_dir: &DataDir,
    chains: &[Arc<Chain>],
    config: QueryConfig,
) -> Result<Engine, NodeError> {
    if data_dir.is_read_only() {
        return Ok(Engine::new(chains, config, &std::env::temp_dir()));
    }
    let scratch = data_dir.path().join("spill");
    RealDisk::scratch_folder(&scratch).map_err(OpenError::from)?;
    Ok(Engine::new(chains, config, &scratch))
}

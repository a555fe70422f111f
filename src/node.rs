//! The appliance: what a configuration becomes when it runs.

mod backfills;
mod chain;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use headwater_exporters::{BuildError, Scope, Sink, batch_size_of};
use headwater_storage::disk::RealDisk;
use headwater_storage::model::ChainName;
use headwater_storage::store::{Chain, DataDir, Kept, OpenError, StoreError};
use metrics_exporter_prometheus::PrometheusHandle;

use crate::capture::{ChainConfig, Source};
use crate::config::{Config, DiskConfig};
use crate::exit::Exit;
use crate::forward::{
    self, Export, ExportStatus, ExportView, ExporterConfig, Forwarder, PartRunner, Runner, Station,
};
use crate::keeper::{self, Forgetting, Space, SpaceView};
use crate::query::{Engine, ProviderRow, QueryConfig};
use crate::rpc::{Keyring, PoolError};
use crate::secrets::Secrets;
use crate::supervisor::{Shutdown, Supervisor};
use crate::telemetry::metrics;

pub use backfills::{BackfillOrder, BackfillState, BackfillView, Backfills, NoBackfill};
pub use chain::{ChainNode, HistoryView};

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
            let mut node = ChainNode::open(&data_dir, chain, &keyring)?;
            node.go_on();
            chains.push(node);
        }
        let ends =
            chains.iter().map(|node| (node.chain.name().clone(), node.chain.log().durable()));
        data_dir.settle(ends.collect())?;
        let stores: Vec<Arc<Chain>> = chains.iter().map(|node| node.chain.clone()).collect();
        let sources: Vec<(String, Source)> = chains
            .iter()
            .map(|node| (node.chain.name().to_string(), node.source.clone()))
            .collect();
        let engine = engine(&data_dir, &stores, config.query)?
            .with_providers(move || provider_rows(&sources));
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

/// The providers as rows of a table.
fn provider_rows(sources: &[(String, Source)]) -> Vec<ProviderRow> {
    let of_chain = |(chain, source): &(String, Source)| {
        let chain = chain.clone();
        source.pool().status().into_iter().map(move |endpoint| ProviderRow {
            chain: chain.clone(),
            name: endpoint.name,
            requests: endpoint.requests,
            latency_ms: endpoint.latency_ms,
            blocks_behind: endpoint.blocks_behind,
            used: endpoint.use_of_key.used,
            left: endpoint.use_of_key.left,
            last_error: endpoint.last_error,
        })
    };
    sources.iter().flat_map(of_chain).collect()
}

//! One chain of the appliance: its store, its providers, and what runs on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use headwater_storage::ledger::ChainProofs;
use headwater_storage::model::{BlockRange, Lane};
use headwater_storage::parquet::Grid;
use headwater_storage::store::{Appender, Chain, ChainOptions, ChainState, Committer, DataDir};
use headwater_storage::wal;

use crate::capture::verify::is_newer;
use crate::capture::{
    Asked, Backfill, ChainConfig, ChainStatus, Follower, Holes, Progress, Source, Span, Start,
};
use crate::keeper::{self, Healing};
use crate::rpc::{Keyring, Pool, RpcError};
use crate::supervisor::Supervisor;
use crate::telemetry::metrics;

use super::{BackfillView, Backfills, LOG_TASK, NodeError};

/// From where on nothing may be missing, and how far that is.
#[derive(Clone, Debug, serde::Serialize)]
pub struct HistoryView {
    /// The block from which on everything is fetched; none where capture begins at the head.
    pub first: Option<u64>,
    /// Blocks between that, or the lowest block, and the head that are missing.
    pub missing_blocks: u64,
    /// What is being filled, or why not and what to set.
    pub what: String,
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
    /// Backfills that somebody asked for.
    pub orders: Arc<Backfills>,
    /// Backfills that run; sealing waits for more while there are some.
    backfills: Arc<AtomicUsize>,
}

impl ChainNode {
    pub(super) fn open(
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
            orders: Arc::default(),
            backfills: Arc::default(),
        })
    }

    /// Without a configured start capture goes on from what the folder holds: what is missing
    /// between that and the head is history.
    pub(super) fn go_on(&mut self) {
        let captured = self.chain.with_state(ChainState::captured);
        let Some(lowest) = captured.iter().next().map(|range| range.first) else { return };
        match self.config.start {
            Start::Onward => self.config.start = Start::Block(lowest),
            Start::Latest | Start::Block(_) => {}
        }
        tracing::info!(
            chain = %self.chain.name(), history = self.history_view().what, "history so far"
        );
    }

    /// From where on nothing may be missing, and how far that is.
    pub fn history_view(&self) -> HistoryView {
        let first = self.config.start.number();
        let gaps = self.gaps();
        let missing_blocks = gaps.iter().map(BlockRange::len).fold(0, u64::saturating_add);
        let lowest = self.chain.with_state(|state| {
            let captured = state.captured();
            captured.iter().next().map(|range| range.first)
        });
        let next = gaps.first().map(|range| format!("{missing_blocks} blocks, next {range}"));
        let what = match (first, lowest, next) {
            (None, _, Some(next)) => format!(
                "not filled, as capture begins at the head: {next}; to fill it, set `start = {}`, \
                 or run `headwater backfill`",
                lowest.unwrap_or(0)
            ),
            (None, _, None) => "none: capture begins at the head; set `start` for more".to_owned(),
            (Some(first), Some(lowest), next) if lowest < first => format!(
                "{} from `start = {first}` on; older blocks, from {lowest} on, are kept as they \
                 are: set `start = {lowest}` to fill up what is missing between them",
                next.map_or("complete".to_owned(), |next| format!("being filled: {next}"))
            ),
            (Some(first), _, Some(next)) => format!("being filled from block {first} on: {next}"),
            (Some(first), _, None) => format!("complete from block {first} on"),
        };
        HistoryView { first, missing_blocks, what }
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
    pub(super) fn capture(&self, appender: &Appender, supervisor: &mut Supervisor) {
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
        let begin = self.beginning(appender);
        let orders = self.orders.clone().run(begin, self.backfills.clone(), supervisor.shutdown());
        supervisor.spawn(format!("backfills of {name}"), orders);
    }

    /// What makes a backfill of ranges, beside the follower's and the healing's.
    fn beginning(&self, appender: &Appender) -> impl Fn(Vec<BlockRange>) -> Backfill + use<> {
        let (source, chain) = (self.source.for_history(), self.chain.clone());
        let (appender, holes) = (appender.clone(), self.holes.clone());
        let (window, window_bytes) = (self.config.window.get(), self.config.window_bytes);
        let status = self.orders.status().clone();
        move |ranges| Backfill {
            ranges,
            lane: Lane::Backfill,
            window,
            window_bytes,
            source: source.clone(),
            chain: chain.clone(),
            appender: appender.clone(),
            status: status.clone(),
            holes: holes.clone(),
            progress: Arc::default(),
        }
    }

    /// Takes an order: what it asks for in numbers, as of now.
    pub async fn order_backfill(&self, spans: &[Span]) -> Result<BackfillView, RpcError> {
        let asked = Asked::of(&self.source, self.config.confirmations, spans).await?;
        let id = self.orders.add(asked);
        Ok(self.orders.view(id, &self.chain).unwrap_or_default())
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

    pub(super) fn set_gauges(&self) {
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

//! The chain's state: the canonical blocks, the orphaned ones, and who listens.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use alloy::primitives::B256;
use serde_json::Value;
use tokio::sync::broadcast;

use crate::clock;

use super::DevnetConfig;
use super::faults::Dice;
use super::journal::{Journal, Recipe};
use super::replay::{Recorded, ReplayError};
use super::synthetic;
use super::transactions::Accounts;

/// Blocks that are kept ready; older ones are made again when they are asked for.
const READY_MAX: usize = 512;

const DAY_SECS: u64 = 86_400;

/// A block as its JSON-RPC answers.
#[derive(Debug)]
pub struct Built {
    /// Its hash.
    pub hash: B256,
    /// The header alone, as `newHeads` gives it.
    pub header: Value,
    /// With full transactions.
    pub full: String,
    /// With hashes of transactions.
    pub light: String,
    /// The transactions' hashes.
    pub hashes: Vec<B256>,
    /// The transactions.
    pub transactions: Vec<Value>,
    /// The receipts.
    pub receipts: Vec<Value>,
    /// The receipts as one answer.
    pub receipts_text: String,
}

impl Built {
    pub(super) fn new(head: Value, transactions: Vec<Value>, receipts: Vec<Value>) -> Built {
        let with = |transactions: Vec<Value>| {
            let mut block = head.clone();
            if let Some(object) = block.as_object_mut() {
                object.insert("transactions".to_owned(), transactions.into());
            }
            block.to_string()
        };
        let hash_of = |value: &Value| {
            let text = value.get("hash").and_then(Value::as_str);
            text.and_then(|text| text.parse().ok()).unwrap_or_default()
        };
        let hashes: Vec<B256> = transactions.iter().map(hash_of).collect();
        let light = hashes.iter().map(|hash| hash.to_string().into()).collect();
        Built {
            hash: hash_of(&head),
            full: with(transactions.clone()),
            light: with(light),
            hashes,
            receipts_text: Value::from(receipts.clone()).to_string(),
            header: head,
            transactions,
            receipts,
        }
    }
}

/// Why a devnet cannot start.
#[derive(Debug, thiserror::Error)]
pub enum DevnetError {
    /// The recorded blocks.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// The journal.
    #[error("the devnet's journal cannot be read or written")]
    Journal(#[source] std::io::Error),
    /// The address is in use.
    #[error("cannot listen on {address}: choose another --listen")]
    Listen {
        /// The address.
        address: String,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
}

/// A chain and its faults.
pub struct DevNode {
    config: DevnetConfig,
    accounts: Accounts,
    recorded: Option<Recorded>,
    state: Mutex<State>,
    heads: broadcast::Sender<Value>,
}

struct State {
    chain: Vec<Recipe>,
    orphans: HashMap<B256, Recipe>,
    places: HashMap<B256, (B256, usize)>,
    ready: HashMap<B256, Arc<Built>>,
    journal: Option<Journal>,
    dice: Dice,
    forks: u64,
}

impl DevNode {
    /// A chain with its genesis, or as its journal tells.
    pub fn new(config: DevnetConfig) -> Result<DevNode, DevnetError> {
        let recorded = config.replay.as_deref().map(Recorded::load).transpose()?;
        let opened = config.journal.as_deref().map(Journal::open).transpose();
        let (journal, chain) = match opened.map_err(DevnetError::Journal)? {
            Some((journal, chain)) => (Some(journal), chain),
            None => (None, Vec::new()),
        };
        let state = State {
            forks: chain.iter().map(|recipe| recipe.salt).max().unwrap_or(0),
            chain,
            orphans: HashMap::new(),
            places: HashMap::new(),
            ready: HashMap::new(),
            journal,
            dice: Dice(config.seed),
        };
        let node = DevNode {
            accounts: Accounts::new(config.chain_id, config.seed),
            recorded,
            state: Mutex::new(state),
            heads: broadcast::Sender::new(64),
            config,
        };
        if node.head() == 0 && node.recipe(0).is_none() {
            node.mine(1)?;
        }
        Ok(node)
    }

    /// What kind of chain it is.
    pub fn config(&self) -> &DevnetConfig {
        &self.config
    }

    /// Tells of each new head.
    pub fn heads(&self) -> broadcast::Receiver<Value> {
        self.heads.subscribe()
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The height of the head.
    pub fn head(&self) -> u64 {
        self.with(|state| state.chain.len().saturating_sub(1) as u64)
    }

    /// The height of the highest final block.
    pub fn finalized(&self) -> u64 {
        self.head().saturating_sub(self.config.finality)
    }

    fn recipe(&self, number: u64) -> Option<Recipe> {
        let at = usize::try_from(number).ok()?;
        self.with(|state| state.chain.get(at).copied())
    }

    /// The canonical block of a height.
    pub fn by_number(&self, number: u64) -> Option<Arc<Built>> {
        self.recipe(number).map(|recipe| self.ready(&recipe))
    }

    /// A block by hash, orphaned ones included.
    pub fn by_hash(&self, hash: B256) -> Option<Arc<Built>> {
        let recipe = self.with(|state| {
            let canonical = state.chain.iter().rev().find(|recipe| recipe.hash == hash);
            canonical.or_else(|| state.orphans.get(&hash)).copied()
        });
        recipe.map(|recipe| self.ready(&recipe))
    }

    /// A transaction of a canonical block that was made since the start.
    pub fn transaction(&self, hash: B256) -> Option<(Arc<Built>, usize)> {
        let (block, at) = self.with(|state| state.places.get(&hash).copied())?;
        let built = self.by_hash(block)?;
        Some((built, at))
    }

    fn build(&self, recipe: &Recipe) -> Built {
        let replayed = self.recorded.as_ref().filter(|_| recipe.number > 0);
        let replayed = replayed.and_then(|recorded| recorded.build(recipe));
        replayed.unwrap_or_else(|| synthetic::build(&self.accounts, recipe, &self.config))
    }

    fn ready(&self, recipe: &Recipe) -> Arc<Built> {
        if let Some(built) = self.with(|state| state.ready.get(&recipe.hash).cloned()) {
            return built;
        }
        let built = Arc::new(self.build(recipe));
        self.keep(&built);
        built
    }

    fn keep(&self, built: &Arc<Built>) {
        self.with(|state| {
            if state.ready.len() >= READY_MAX {
                state.ready.clear();
            }
            state.ready.insert(built.hash, built.clone());
            for (at, hash) in built.hashes.iter().enumerate() {
                state.places.insert(*hash, (built.hash, at));
            }
        });
    }

    /// Adds blocks on top.
    pub fn mine(&self, count: u64) -> Result<(), DevnetError> {
        for left in (0..count).rev() {
            let (number, parent, salt) = self
                .with(|state| (state.chain.len() as u64, state.chain.last().copied(), state.forks));
            let now = clock::unix_seconds();
            let timestamp = match (parent, self.config.timestamp_step) {
                // Many at once end now, and not in the future, where there is room behind.
                (Some(parent), 0) => now.saturating_sub(left).max(parent.timestamp + 1),
                (Some(parent), step) => parent.timestamp + step,
                (None, 0) => now.saturating_sub(self.config.blocks),
                (None, _) => (now - now % DAY_SECS).saturating_sub(30 * DAY_SECS),
            };
            let parent_hash = parent.map(|parent| parent.hash).unwrap_or_default();
            let mut recipe = Recipe { number, parent_hash, timestamp, salt, hash: B256::ZERO };
            let built = Arc::new(self.build(&recipe));
            recipe.hash = built.hash;
            self.keep(&built);
            let written = self.with(|state| {
                state.chain.push(recipe);
                state.journal.as_mut().map(|journal| journal.append(&recipe)).transpose()
            });
            written.map_err(DevnetError::Journal)?;
            // Nobody may be listening.
            drop(self.heads.send(built.header.clone()));
        }
        Ok(())
    }

    /// Orphans the last `depth` blocks, and mines one more than that on another fork.
    pub fn reorg(&self, depth: u64) -> Result<(), DevnetError> {
        self.with(|state| {
            let keep = state.chain.len().saturating_sub(usize::try_from(depth).unwrap_or(0)).max(1);
            for orphan in state.chain.split_off(keep) {
                state.orphans.insert(orphan.hash, orphan);
            }
            state.forks += 1;
        });
        self.mine(depth + 1)
    }

    /// The highest orphaned block.
    pub(super) fn highest_orphan(&self) -> Option<Arc<Built>> {
        let highest = self.with(|state| {
            state.orphans.values().max_by_key(|orphan| orphan.number).map(|orphan| orphan.hash)
        });
        self.by_hash(highest?)
    }

    /// A number below `bound`.
    pub(super) fn roll(&self, bound: u64) -> u64 {
        self.with(|state| state.dice.next()) % bound.max(1)
    }
}

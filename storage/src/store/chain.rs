//! One chain's store: the log, the state that follows from it, the index and the parts.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use alloy_primitives::{Address, B256};
use tokio::sync::watch;

use crate::disk::Disk;
use crate::index::{Index, Place, Touch};
use crate::ledger::{ChainFacts, Ledger};
use crate::model::{Block, ChainEvent, ChainName, EventHead, Lsn, Op, OwnedEvent};
use crate::parquet::Grid;
use crate::wal::{self, Log, Record, Writer};

use super::recent::RecentBlocks;
use super::{AppendError, ChainState, DataDir, StoreError, Violation};

/// How a chain is kept.
#[derive(Clone, Copy, Debug)]
pub struct ChainOptions {
    /// The grid of its parts.
    pub grid: Grid,
    /// How its log is kept.
    pub wal: wal::Options,
    /// Whether lookups by hash and address are kept.
    pub has_index: bool,
}

impl Default for ChainOptions {
    fn default() -> ChainOptions {
        ChainOptions { grid: Grid { blocks: 1_000 }, wal: wal::Options::default(), has_index: true }
    }
}

/// What only the committing and the sealing thread touch.
pub(super) struct Core {
    writer: Writer,
    /// The state with the events that are being written.
    pub(super) ahead: ChainState,
}

/// One chain's store, shared by all who read and write it.
pub struct Chain {
    pub(super) name: ChainName,
    #[expect(clippy::struct_field_names, reason = "the field's name for it")]
    pub(super) chain_id: u64,
    pub(super) options: ChainOptions,
    pub(super) data_dir: PathBuf,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) ledger: Arc<Ledger>,
    log: Arc<Log>,
    pub(super) core: Mutex<Core>,
    /// What readers see: never ahead of what is durable.
    pub(super) state: RwLock<ChainState>,
    index: Option<Index>,
    recent: RecentBlocks,
    durable: watch::Sender<Lsn>,
    pub(super) sealed: watch::Sender<Lsn>,
}

impl Chain {
    /// Opens a chain of a data folder, or begins it.
    pub fn open(
        data_dir: &DataDir,
        name: &ChainName,
        chain_id: u64,
        options: ChainOptions,
    ) -> Result<Chain, StoreError> {
        let ledger = data_dir.ledger().clone();
        let facts = match ledger.chain(name)? {
            Some(facts) if facts.chain_id != chain_id => {
                let (chain, found) = (name.clone(), facts.chain_id);
                return Err(StoreError::ChainId { chain, found, asked: chain_id });
            }
            Some(facts) => facts,
            None => {
                let facts = ChainFacts {
                    name: name.clone(),
                    chain_id,
                    replay_from: Lsn(1),
                    sealed: Lsn::ZERO,
                    anchor: None,
                };
                ledger.set_chain(&facts)?;
                facts
            }
        };
        let facts = super::sealing::drop_lost_parts(data_dir, facts)?;
        let mut acknowledged = facts.sealed;
        for (_, chain, cursor) in ledger.cursors()? {
            if chain == name.as_str() {
                acknowledged = acknowledged.max(cursor.exported);
            }
        }
        let folder = data_dir.wal_folder(name);
        let writer = wal::open(data_dir.disk(), &folder, chain_id, options.wal, acknowledged)?;
        let log = writer.log().clone();
        let state = replay(&log, &facts, ledger.parts(name)?)?;
        let index =
            if options.has_index { Some(Index::open(&data_dir.index_folder(name))?) } else { None };
        Ok(Chain {
            name: name.clone(),
            chain_id,
            options,
            data_dir: data_dir.path().to_owned(),
            disk: data_dir.disk().clone(),
            ledger,
            durable: watch::Sender::new(log.durable()),
            sealed: watch::Sender::new(facts.sealed),
            log,
            core: Mutex::new(Core { writer, ahead: state.clone() }),
            state: RwLock::new(state),
            index,
            recent: RecentBlocks::default(),
        })
    }

    /// Name in paths, topics and metrics.
    pub fn name(&self) -> &ChainName {
        &self.name
    }

    /// EIP-155 id.
    pub fn chain_id(&self) -> u64 {
        self.chain_id
    }

    /// The readable log.
    pub fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// Tells of every move of the last durable record.
    pub fn durable(&self) -> watch::Receiver<Lsn> {
        self.durable.subscribe()
    }

    /// Tells of every sealed run: the last record that parts were made from.
    pub fn sealed(&self) -> watch::Receiver<Lsn> {
        self.sealed.subscribe()
    }

    /// Looks at the state.
    pub fn with_state<T>(&self, look: impl FnOnce(&ChainState) -> T) -> T {
        look(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Writes groups of events, each whole or not at all, under one sync; the groups that do not
    /// follow from the chain's state are refused, the others are durable when this returns.
    pub fn commit(
        &self,
        groups: Vec<Vec<Record>>,
    ) -> Vec<Result<Option<RangeInclusive<Lsn>>, AppendError>> {
        let mut core = self.core.lock().unwrap_or_else(PoisonError::into_inner);
        let core = &mut *core;
        let mut next = core.writer.next_lsn();
        let mut placed = Vec::new();
        let mut heads: Vec<EventHead> = Vec::new();
        let mut results = Vec::with_capacity(groups.len());
        for group in groups {
            match place(&mut core.ahead, group, next) {
                Ok(group) => {
                    let after = Lsn(next.0 + group.len() as u64);
                    results.push(Ok((after > next).then(|| next..=Lsn(after.0 - 1))));
                    next = after;
                    heads.extend(group.iter().map(|(head, _)| *head));
                    placed.extend(group.into_iter().map(|(_, record)| record));
                }
                Err(violation) => {
                    core.ahead = self.with_state(ChainState::clone);
                    for head in &heads {
                        core.ahead.apply(*head);
                    }
                    results.push(Err(violation.into()));
                }
            }
        }
        for (head, record) in heads.iter().zip(&placed) {
            self.recent.insert(head.lsn, record);
        }
        let written = core.writer.append(&placed);
        self.follow(&heads);
        if let Err(error) = written {
            // A part of it may be durable: what comes next follows the log, not the request.
            core.ahead = self.with_state(ChainState::clone);
            let error = Arc::new(error);
            return results.into_iter().map(|_| Err(AppendError::Log(error.clone()))).collect();
        }
        results
    }

    /// Lets readers see the events that are durable now.
    fn follow(&self, heads: &[EventHead]) {
        let durable = self.log.durable();
        {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            for head in heads.iter().filter(|head| head.lsn <= durable) {
                state.apply(*head);
            }
        }
        self.durable.send_replace(durable);
    }

    /// Writes events as one group.
    pub fn append(
        &self,
        events: &[ChainEvent],
    ) -> Result<Option<RangeInclusive<Lsn>>, AppendError> {
        let records = events.iter().map(Record::new).collect();
        self.commit(vec![records]).pop().unwrap_or(Err(AppendError::Closed))
    }

    /// An event with its block; for `Reverted` the block that was taken back.
    pub fn read(&self, lsn: Lsn) -> Result<OwnedEvent, StoreError> {
        let head = self.log.head(lsn)?;
        let block = match head.op {
            Op::Applied => self.block_at(lsn)?,
            Op::Reverted => {
                let applied = self.applied_before(&head)?;
                applied.map(|lsn| self.block_at(lsn)).transpose()?.flatten()
            }
            Op::Finalized => None,
        };
        Ok(OwnedEvent { head, block })
    }

    /// The block of a record, without reading the log when it was written lately.
    pub fn block_at(&self, lsn: Lsn) -> Result<Option<Arc<Block>>, wal::Error> {
        // INV-4: a block may be in memory before it is durable.
        let recent = self.recent.find(lsn).filter(|_| lsn <= self.log.durable());
        match recent {
            Some(block) => Ok(Some(block)),
            None => Ok(self.log.read(lsn)?.block),
        }
    }

    /// The record that applied a block which a later record reverted.
    fn applied_before(&self, reverted: &EventHead) -> Result<Option<Lsn>, StoreError> {
        let known = self.with_state(|state| {
            let events = state.events_of(reverted.block.number).iter().rev();
            let is_it = |head: &&EventHead| {
                head.op == Op::Applied && head.block == reverted.block && head.lsn < reverted.lsn
            };
            events.into_iter().find(is_it).map(|head| head.lsn)
        });
        if known.is_some() {
            return Ok(known);
        }
        // Sealed since: the index knows the last place of the hash, the log all others.
        let mut lsn = reverted.lsn;
        while lsn > self.log.first() {
            lsn = Lsn(lsn.0 - 1);
            let head = self.log.head(lsn)?;
            if head.op == Op::Applied && head.block == reverted.block {
                return Ok(Some(lsn));
            }
        }
        Ok(None)
    }

    /// The canonical block of a number.
    pub fn block_by_number(&self, number: u64) -> Result<Option<OwnedEvent>, StoreError> {
        let (unsealed, is_sealed) = self.with_state(|state| {
            (state.canonical(number).map(|head| head.lsn), state.sealed().contains(number))
        });
        let indexed = || match &self.index {
            Some(index) if is_sealed => index.block_by_number(number),
            Some(_) | None => Ok(None),
        };
        let lsn = match unsealed {
            Some(lsn) => Some(lsn),
            None => indexed()?,
        };
        lsn.map(|lsn| self.read(lsn)).transpose()
    }

    /// A block by its hash, canonical or orphaned.
    pub fn block_by_hash(&self, hash: B256) -> Result<Option<OwnedEvent>, StoreError> {
        let unsealed = self.with_state(|state| {
            let mut events = state.unsealed_events();
            events.find(|head| head.op == Op::Applied && head.block.hash == hash).map(|h| h.lsn)
        });
        let lsn = match (unsealed, &self.index) {
            (Some(lsn), _) => Some(lsn),
            (None, Some(index)) => index.block_by_hash(hash)?,
            (None, None) => None,
        };
        lsn.map(|lsn| self.read(lsn)).transpose()
    }

    /// A transaction of a canonical block: the block's event and the position in it.
    pub fn transaction(&self, hash: B256) -> Result<Option<(OwnedEvent, usize)>, StoreError> {
        let Some(index) = &self.index else { return Ok(None) };
        let Some(Place { lsn, at }) = index.transaction(hash)? else { return Ok(None) };
        let event = self.read(lsn)?;
        Ok(self.is_canonical(&event.head).then_some((event, at as usize)))
    }

    /// Transactions of canonical blocks that an address took part in, newest first.
    pub fn by_address(
        &self,
        address: Address,
        before: u64,
        limit: usize,
    ) -> Result<Vec<(Touch, B256)>, StoreError> {
        let Some(index) = &self.index else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for (touch, lsn) in index.by_address(address, before, limit)? {
            let event = self.read(lsn)?;
            let hash = event.block.as_ref().and_then(|block| {
                block.transactions.get(touch.transaction_index as usize).map(|t| t.hash)
            });
            if let Some(hash) = hash.filter(|_| self.is_canonical(&event.head)) {
                found.push((touch, hash));
            }
        }
        Ok(found)
    }

    fn is_canonical(&self, head: &EventHead) -> bool {
        let number = head.block.number;
        self.with_state(|state| match state.canonical(number) {
            Some(known) => known.block == head.block,
            None => state.sealed().contains(number),
        })
    }

    /// The index, where one is kept.
    pub fn index(&self) -> Option<&Index> {
        self.index.as_ref()
    }

    /// Indexes what is durable and not indexed yet, up to `limit` records; whether more is left.
    pub fn index_some(&self, limit: usize) -> Result<bool, StoreError> {
        let Some(index) = &self.index else { return Ok(false) };
        let durable = self.log.durable();
        // A log that is shorter than the index says was replaced: the index begins anew.
        let indexed = if index.indexed() > durable { Lsn::ZERO } else { index.indexed() };
        let first = indexed.next().max(self.log.first());
        let upto = Lsn(durable.0.min(first.0 + limit as u64 - 1));
        let mut blocks: Vec<(Lsn, Arc<Block>)> = Vec::new();
        for lsn in first.0..=upto.0 {
            if self.log.head(Lsn(lsn))?.op == Op::Applied {
                blocks.extend(self.block_at(Lsn(lsn))?.map(|block| (Lsn(lsn), block)));
            }
        }
        let borrowed: Vec<(Lsn, &Block)> =
            blocks.iter().map(|(lsn, block)| (*lsn, block.as_ref())).collect();
        if upto >= first {
            index.insert(&borrowed, upto)?;
        }
        Ok(upto < durable)
    }
}

/// Numbers a group's records, checks that they follow, and takes them into the state.
fn place(
    ahead: &mut ChainState,
    group: Vec<Record>,
    first: Lsn,
) -> Result<Vec<(EventHead, Record)>, Violation> {
    let mut placed = Vec::with_capacity(group.len());
    for (record, lsn) in group.into_iter().zip(first.0..) {
        let head = record.head(Lsn(lsn));
        ahead.check(&head)?;
        let record = match (head.op, ahead.canonical(head.block.number)) {
            (Op::Reverted | Op::Finalized, Some(known)) => {
                record.placed(known.parent_hash, known.timestamp)
            }
            (Op::Applied | Op::Reverted | Op::Finalized, _) => record,
        };
        let head = record.head(Lsn(lsn));
        ahead.apply(head);
        placed.push((head, record));
    }
    Ok(placed)
}

/// The state after the log, from what is sealed on.
fn replay(
    log: &Log,
    facts: &ChainFacts,
    parts: Vec<crate::ledger::Part>,
) -> Result<ChainState, StoreError> {
    let mut state = ChainState::new(parts, facts.anchor);
    for lsn in facts.replay_from.max(log.first()).0..=log.durable().0 {
        state.apply(log.head(Lsn(lsn))?);
    }
    Ok(state)
}

//! The contract suite: what every sink must do, run against each of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use headwater_storage::model::{
    Address, B256, Block, BlockRef, Branches, ChainName, EventHead, Header, Lane, Log, Logs, Lsn,
    Op, Origin, OwnedEvent, Receipt, Trace, Transaction, U256, Verified,
};
use headwater_storage::tables::Table;

use crate::encode::{Filter, Row};
use crate::{Batch, Disposition, Exporter, Held, Mark};

/// A sink under test, and a way to see what it holds.
#[async_trait]
pub trait Harness: Send {
    /// A fresh connection to the same sink.
    async fn exporter(&mut self) -> Arc<dyn Exporter>;
    /// Everything that the sink holds.
    async fn holding(&mut self) -> Holding;
    /// The tables that it is given.
    fn tables(&self) -> Vec<Table> {
        Table::ALL.to_vec()
    }
}

/// What a sink holds.
pub enum Holding {
    /// A sink that keeps all rows: in order per key.
    Events(Vec<Seen>),
    /// A sink that keeps the canonical rows: table and key of each.
    State(BTreeSet<(String, String)>),
}

/// A row as the sink holds it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    /// The table's name.
    pub table: String,
    /// The row's identity.
    pub event_id: String,
    /// The primary key.
    pub key: String,
    /// What happened to it.
    pub op: String,
}

impl From<Row> for Seen {
    fn from(row: Row) -> Seen {
        Seen {
            table: row.table.name().to_owned(),
            event_id: row.event_id,
            key: row.key,
            op: row.op.as_str().to_owned(),
        }
    }
}

/// A clause of the contract that a sink broke.
#[derive(Debug, thiserror::Error)]
#[error("the contract is broken: {0}")]
pub struct Broken(String);

fn demand(is_kept: bool, clause: impl Into<String>) -> Result<(), Broken> {
    if is_kept { Ok(()) } else { Err(Broken(clause.into())) }
}

fn broken(error: impl std::fmt::Display) -> Broken {
    Broken(error.to_string())
}

/// A made-up block: the salt tells it from its sisters.
fn block(number: u64, salt: u64) -> Arc<Block> {
    let word = |kind: u8, at: u64| {
        let mut word = [kind; 32];
        word[8..16].copy_from_slice(&number.to_be_bytes());
        word[16..24].copy_from_slice(&salt.to_be_bytes());
        word[24..].copy_from_slice(&at.to_be_bytes());
        B256::from(word)
    };
    // Few addresses, so that rows of many blocks share what is kept by address.
    let address = |at: u64| Address::repeat_byte(u8::try_from((salt + at) % 5).unwrap_or(0) + 1);
    let count = 1 + salt % 3;
    let transaction = |at| Transaction {
        hash: word(0x77, at),
        from: address(at),
        to: (at != 1).then(|| address(at * 3)),
        value: U256::from(number) << (at * 100),
        ..Transaction::default()
    };
    let log = |at| Log {
        address: address(at),
        topics: (0..at % 5).map(|topic| B256::repeat_byte(0x10 + topic as u8)).collect(),
        log_index: at,
        ..Log::default()
    };
    let receipt = |at| Receipt {
        status: Some(1),
        contract_address: (at == 1).then(|| address(7)),
        logs: Logs::new(if at == 0 { (0..salt % 7).map(log).collect() } else { Vec::new() }),
        ..Receipt::default()
    };
    let trace = |at| Trace {
        transaction_index: Some(0),
        trace_address: (0..at).collect(),
        from: Some(address(at)),
        value: (at != 1).then(|| U256::from(at)),
        error: (at == 2).then(|| "Reverted".to_owned()),
        output: (at != 2).then(|| vec![1].into()),
        ..Trace::default()
    };
    let timestamp = 1_700_000_000 + number * 12;
    Arc::new(Block {
        header: Header { number, hash: word(0xb1, 0), timestamp, ..Header::default() },
        transactions: (0..count).map(transaction).collect(),
        receipts: Some((0..count).map(receipt).collect()),
        withdrawals: None,
        traces: (0..salt % 4).map(trace).collect(),
    })
}

fn event(lsn: Lsn, op: Op, block: &Arc<Block>) -> OwnedEvent {
    OwnedEvent {
        head: EventHead {
            lsn,
            op,
            lane: Lane::Live,
            block: BlockRef { number: block.header.number, hash: block.header.hash },
            parent_hash: B256::ZERO,
            timestamp: block.header.time_seconds(),
            verified: Verified::HEADER,
            origin: Origin::default(),
        },
        block: (op != Op::Finalized).then(|| block.clone()),
    }
}

fn batch(chain: &ChainName, events: Vec<OwnedEvent>) -> Batch {
    Batch {
        chain: chain.clone(),
        chain_id: 1,
        branches: Branches::default(),
        tables: Table::ALL.to_vec(),
        filter: Filter::default(),
        upto: events.last().map(|event| Mark::of(&event.head, 0)),
        events,
        parked: BTreeSet::new(),
    }
}

/// A made-up batch: blocks applied, the last one reverted, another applied, one finalized.
pub fn sample_batch(chain: &ChainName, first: Lsn) -> Batch {
    let (number, salt) = (1_000_000 + first.0 * 2, first.0 * 10);
    let (base, lost) = (block(number, salt), block(number + 1, salt + 1));
    let kept = block(number + 1, salt + 2);
    let steps = [
        (Op::Applied, base.clone()),
        (Op::Applied, lost.clone()),
        (Op::Reverted, lost),
        (Op::Applied, kept),
        (Op::Finalized, base),
    ];
    let events = (first.0..).zip(&steps).map(|(lsn, (op, block))| event(Lsn(lsn), *op, block));
    batch(chain, events.collect())
}

/// Numbers that look random, the same for every run of a seed (`SplitMix64`).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound.max(1)
    }
}

/// A chain that grows and reorganises, up to 64 deep; a block that was taken back may come again.
fn history(first: Lsn, records: usize, random: &mut Random) -> Vec<OwnedEvent> {
    let mut events: Vec<OwnedEvent> = Vec::new();
    let mut stack: Vec<Arc<Block>> = Vec::new();
    let mut lost: BTreeMap<u64, Arc<Block>> = BTreeMap::new();
    let mut lsn = first;
    let mut add = |op, block: &Arc<Block>, events: &mut Vec<OwnedEvent>| {
        events.push(event(lsn, op, block));
        lsn = lsn.next();
    };
    while events.len() < records {
        if random.below(12) == 0 {
            let depth = 1 + random.below(64).min(random.below(64));
            for _ in 0..depth {
                let Some(block) = stack.pop() else { break };
                add(Op::Reverted, &block, &mut events);
                lost.insert(block.header.number, block);
            }
        }
        let number = stack.len() as u64 + 1;
        let again = lost.remove(&number).filter(|_| random.below(4) == 0);
        let salt = first.0 * 1_000_000 + events.len() as u64;
        let block = again.unwrap_or_else(|| block(number, salt));
        add(Op::Applied, &block, &mut events);
        if random.below(20) == 0 {
            add(Op::Finalized, &block, &mut events);
        }
        stack.push(block);
    }
    events
}

/// The tables whose rows come and go with blocks.
const OF_BLOCKS: [&str; 5] = ["blocks", "transactions", "logs", "withdrawals", "traces"];

/// What a consumer has that drops known identities and applies the others in order.
fn fold<'a>(rows: impl IntoIterator<Item = &'a Seen>) -> BTreeSet<(String, String)> {
    let (mut known, mut canonical) = (BTreeSet::new(), BTreeSet::new());
    for row in rows {
        if !OF_BLOCKS.contains(&row.table.as_str()) || !known.insert(&row.event_id) {
            continue;
        }
        let key = (row.table.clone(), row.key.clone());
        match row.op.as_str() {
            "applied" => drop(canonical.insert(key)),
            "reverted" => drop(canonical.remove(&key)),
            _ => {}
        }
    }
    canonical
}

/// The suite's memory: what was exported, as the sink should hold it.
struct Model<'a> {
    harness: &'a mut dyn Harness,
    exported: Vec<Seen>,
}

impl Model<'_> {
    async fn export(&mut self, exporter: &dyn Exporter, batch: &Batch) -> Result<(), Broken> {
        let batch = Batch { tables: self.harness.tables(), ..batch.clone() };
        match exporter.export(&batch).await {
            Ok(()) => {}
            // As the runner does: a sink that knows where it is is not given what it has.
            Err(error) if error.disposition() == Disposition::Resume => {
                let held = exporter.resume(&batch.chain).await.map_err(broken)?;
                let upto = batch.upto.as_ref().map(|upto| upto.lsn);
                let has_it = matches!(&held, Held::Upto(mark) if Some(mark.lsn) >= upto);
                demand(has_it, format!("{error}, but it holds {held:?}"))?;
            }
            Err(error) => return Err(broken(error)),
        }
        self.exported.extend(batch.rows().map(Seen::from));
        Ok(())
    }

    /// The sink holds what was exported, no more, no less, in whatever form it holds it.
    async fn compare(&mut self, clause: &str) -> Result<(), Broken> {
        let expected = fold(&self.exported);
        let held = match self.harness.holding().await {
            Holding::State(held) => held,
            Holding::Events(seen) => {
                let (found, wanted): (BTreeSet<&Seen>, BTreeSet<&Seen>) =
                    (seen.iter().collect(), self.exported.iter().collect());
                let missing: Vec<_> = wanted.difference(&found).take(5).collect();
                demand(missing.is_empty(), format!("{clause}; missing {missing:?}"))?;
                let strange: Vec<_> = found.difference(&wanted).take(5).collect();
                demand(strange.is_empty(), format!("{clause}; never sent {strange:?}"))?;
                fold(&seen)
            }
        };
        let missing: Vec<_> = expected.difference(&held).take(5).collect();
        demand(missing.is_empty(), format!("{clause}; canonical, not there: {missing:?}"))?;
        let left: Vec<_> = held.difference(&expected).take(5).collect();
        demand(left.is_empty(), format!("{clause}; there, not canonical: {left:?}"))
    }
}

/// Runs every clause on a sink that holds nothing yet; the seed makes the histories.
pub async fn run(harness: &mut dyn Harness, chain: &ChainName, seed: u64) -> Result<(), Broken> {
    let mut model = Model { harness, exported: Vec::new() };
    let exporter = model.harness.exporter().await;
    exporter.check().await.map_err(broken)?;
    exporter.check().await.map_err(|error| broken(format!("a second check: {error}")))?;
    let missing = exporter.missing().await.map_err(broken)?;
    demand(missing.is_empty(), format!("nothing is missing after a check: {missing:?}"))?;

    let first = sample_batch(chain, Lsn(1));
    model.export(&*exporter, &first).await?;
    model.compare("every row arrives").await?;
    model.export(&*exporter, &first).await?;
    model.compare("a repeated batch changes nothing").await?;
    let explained = exporter.explain(&Batch { tables: model.harness.tables(), ..first.clone() });
    demand(!explained.is_empty(), "what goes can be explained")?;
    let empty = Batch { events: Vec::new(), ..first };
    model.export(&*exporter, &empty).await?;
    exporter.close().await;

    // A new connection goes on where the last one stopped.
    let exporter = model.harness.exporter().await;
    exporter.check().await.map_err(broken)?;
    let mut parked = sample_batch(chain, Lsn(100));
    let tables = model.harness.tables();
    let of_blocks = |row: &Row| row.table == Table::Transactions && row.lsn == Lsn(100);
    let left_out = Batch { tables, ..parked.clone() }.rows().find(of_blocks);
    parked.parked.extend(left_out.map(|row| row.event_id));
    model.export(&*exporter, &parked).await?;
    model.compare("a parked row is left out").await?;
    exporter.close().await;
    reorganise(&mut model, chain, seed).await
}

/// Histories with reorgs in batches of any size; batches come again, as after an outage, and the
/// exporter is left without a word, as in a crash.
async fn reorganise(model: &mut Model<'_>, chain: &ChainName, seed: u64) -> Result<(), Broken> {
    let mut random = Random(seed);
    let events = history(Lsn(1_000), 600, &mut random);
    let mut exporter = model.harness.exporter().await;
    exporter.check().await.map_err(broken)?;
    let (mut batches, mut rest) = (Vec::new(), events.as_slice());
    while !rest.is_empty() {
        let count = 1 + random.below(40).min(rest.len() as u64 - 1) as usize;
        let (events, others) = rest.split_at(count);
        batches.push(batch(chain, events.to_vec()));
        rest = others;
    }
    let mut at = 0;
    while let Some(batch) = batches.get(at) {
        model.export(&*exporter, batch).await?;
        at += 1;
        match random.below(16) {
            0 => exporter = model.harness.exporter().await,
            1 => at = at.saturating_sub(1 + random.below(2) as usize),
            2 => model.compare(&format!("after {at} batches of seed {seed}")).await?,
            _ => {}
        }
    }
    model.compare(&format!("after the history of seed {seed}")).await?;
    exporter.close().await;
    Ok(())
}

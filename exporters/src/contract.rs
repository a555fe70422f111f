//! The contract suite: what every sink must do, run against each of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use headwater_storage::model::{
    B256, Block, BlockRef, Branches, ChainName, EventHead, Header, Lane, Lsn, Op, OwnedEvent,
    Transaction, Verified,
};
use headwater_storage::tables::Table;

use crate::encode::{Filter, Row};
use crate::{Batch, Exporter, Mark};

/// A sink under test, and a way to see what it holds.
#[async_trait]
pub trait Harness: Send {
    /// A fresh connection to the same sink.
    async fn exporter(&mut self) -> Arc<dyn Exporter>;
    /// Everything that the sink holds: table, event id, key, op, in order per key.
    async fn received(&mut self) -> Vec<Seen>;
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

/// A made-up batch: blocks applied, the last one reverted, another applied, one finalized.
pub fn sample_batch(chain: &ChainName, first: Lsn) -> Batch {
    let block = |number: u64, salt: u8| {
        let transaction = Transaction { hash: B256::repeat_byte(salt), ..Transaction::default() };
        let hash = B256::repeat_byte(salt ^ 0xf0);
        Arc::new(Block {
            header: Header { number, hash, ..Header::default() },
            transactions: vec![transaction.clone(), transaction],
            receipts: None,
            withdrawals: None,
        })
    };
    let (base, lost, kept) = (block(1, 1), block(2, 2), block(2, 3));
    let steps = [
        (Op::Applied, base.clone()),
        (Op::Applied, lost.clone()),
        (Op::Reverted, lost),
        (Op::Applied, kept),
        (Op::Finalized, base),
    ];
    let event = |(at, (op, block)): (u64, (Op, Arc<Block>))| OwnedEvent {
        head: EventHead {
            lsn: Lsn(first.0 + at),
            op,
            lane: Lane::Live,
            block: BlockRef { number: block.header.number, hash: block.header.hash },
            parent_hash: B256::ZERO,
            timestamp: 0,
            verified: Verified::HEADER,
            origin: headwater_storage::model::Origin::default(),
        },
        block: (op != Op::Finalized).then_some(block),
    };
    let events: Vec<OwnedEvent> = (0..).zip(steps).map(event).collect();
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

/// Runs every clause.
pub async fn run(harness: &mut dyn Harness, chain: &ChainName) -> Result<(), Broken> {
    let exporter = harness.exporter().await;
    exporter.check().await.map_err(broken)?;
    exporter.check().await.map_err(|error| broken(format!("a second check: {error}")))?;

    let batch = sample_batch(chain, Lsn(1));
    exporter.export(&batch).await.map_err(broken)?;
    let expected: Vec<Seen> = batch.rows().map(Seen::from).collect();
    expect_all(&expected, &harness.received().await, "every row arrives")?;

    // The same batch again changes nothing but may double rows under the same identity.
    exporter.export(&batch).await.map_err(broken)?;
    let again = harness.received().await;
    expect_all(&expected, &again, "a repeated batch keeps every row")?;
    let ids: BTreeSet<&String> = again.iter().map(|row| &row.event_id).collect();
    demand(ids.len() == expected.len(), "a repeated batch makes no new identity")?;

    // A retraction has the key of what it takes back, and comes after it.
    let lost = |op: &str| {
        let rows = again.iter().enumerate();
        rows.filter(|(_, row)| row.table == "blocks" && row.op == op)
            .map(|(at, row)| (at, row.key.clone()))
            .next()
    };
    let reverted = lost("reverted").ok_or_else(|| broken("retractions are explicit"))?;
    let applied = again.iter().position(|row| row.op == "applied" && row.key == reverted.1);
    let is_after = applied.is_some_and(|at| at < reverted.0);
    demand(is_after, "a retraction comes after what it takes back, under the same key")?;

    exporter.export(&Batch { events: Vec::new(), ..batch.clone() }).await.map_err(broken)?;
    exporter.close().await;

    // A new connection goes on where the last one stopped.
    let exporter = harness.exporter().await;
    exporter.check().await.map_err(broken)?;
    let next = sample_batch(chain, Lsn(100));
    let mut parked = next.clone();
    let left_out = next.rows().next().map(|row| row.event_id).unwrap_or_default();
    parked.parked.insert(left_out.clone());
    exporter.export(&parked).await.map_err(broken)?;
    let after = harness.received().await;
    let mut expected: Vec<Seen> = expected;
    expected.extend(parked.rows().map(Seen::from));
    expect_all(&expected, &after, "rows of both connections are there")?;
    let is_left_out = after.iter().all(|row| row.event_id != left_out);
    demand(is_left_out, "a parked row is left out")?;
    exporter.close().await;
    Ok(())
}

fn expect_all(expected: &[Seen], found: &[Seen], clause: &str) -> Result<(), Broken> {
    let found: BTreeSet<&Seen> = found.iter().collect();
    let missing: Vec<&Seen> = expected.iter().filter(|row| !found.contains(row)).collect();
    demand(missing.is_empty(), format!("{clause}; missing {missing:?}"))
}

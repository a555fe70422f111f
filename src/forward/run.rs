//! The loop of one exporter on one chain: read, send, wait, move the cursor.

use std::sync::Arc;

use headwater_exporters::encode::Filter;
use headwater_exporters::{Batch, BatchSize, ExportError, Exporter, Held, Mark, failpoint};
use headwater_storage::ledger::Cursor;
use headwater_storage::model::{Branches, Lane, Lsn, Op, OwnedEvent};
use headwater_storage::store::StoreError;
use headwater_storage::tables::Table;
use tokio::sync::watch;

use crate::supervisor::{Shutdown, on_cpu};
use crate::telemetry::metrics;

use super::cut::{Position, cut};
use super::finality;
use super::order::{Hearing, Order, Ordered};
use super::resume::{Resumed, is_ours, mark_at, resume};
use super::station::{ForwardError, Station};
use super::status::ExportState;

/// One exporter on one chain.
pub struct Runner {
    /// Its name, chain, cursor and state.
    pub station: Station,
    /// The sink.
    pub exporter: Arc<dyn Exporter>,
    /// How batches are cut.
    pub size: BatchSize,
    /// Where its log parted from those of other nodes.
    pub branches: Branches,
    /// Tables that go.
    pub tables: Vec<Table>,
    /// Lanes that go.
    pub lanes: Vec<Lane>,
    /// Contracts and topics that go.
    pub filter: Filter,
    /// Only what can no longer be taken back goes.
    pub is_final_only: bool,
}

impl Runner {
    /// Forwards until shutdown.
    pub async fn run(
        self: Arc<Runner>,
        mut orders: Hearing,
        mut shutdown: Shutdown,
    ) -> Result<(), ForwardError> {
        let ended = shutdown.clone();
        let mut cursor = self.station.first_cursor().await?;
        let result = tokio::select! {
            result = self.forward(&mut cursor, &mut orders, ended) => result,
            () = shutdown.requested() => Ok(()),
        };
        self.exporter.close().await;
        self.station.leave(cursor, result).await
    }

    async fn forward(
        &self,
        cursor: &mut Cursor,
        orders: &mut Hearing,
        shutdown: Shutdown,
    ) -> Result<(), ForwardError> {
        let mut durable = self.station.chain.durable();
        let mut is_connected = false;
        self.station.show(cursor.exported);
        self.parked().await?;
        while !shutdown.is_requested() {
            let waited = if cursor.is_paused {
                self.station.status.set(ExportState::Paused, None);
                orders.unless_ordered(std::future::pending()).await
            } else if is_connected {
                self.step(cursor, &mut durable, orders, &mut is_connected).await?
            } else {
                match orders.unless_ordered(self.connect(*cursor)).await {
                    Ok(told) => {
                        (*cursor, is_connected) = (told, true);
                        self.station.show(cursor.exported);
                        self.station.save(*cursor).await?;
                        Ok(())
                    }
                    Err(ordered) => Err(ordered),
                }
            };
            if let Err(Ordered { order, answer }) = waited {
                // The sink is asked again where it is: it may have another place now.
                is_connected &= matches!(order, Order::Drop(_) | Order::Replay(_));
                let done = self.obey(cursor, order).await;
                // Who asked may have gone.
                let _heard = answer.send(done);
            }
        }
        Ok(())
    }

    /// Does what an operator says.
    async fn obey(
        &self,
        cursor: &mut Cursor,
        order: Order,
    ) -> Result<Vec<super::Unparked>, ForwardError> {
        let (exporter, chain) = (&self.station.name, self.station.chain.name());
        tracing::info!(exporter, %chain, ?order, "an order");
        match order {
            Order::Replay(rows) => self.replay(rows).await,
            Order::Drop(rows) => self.let_go(rows).await,
            order @ (Order::Pause | Order::Resume | Order::Rewind(_)) => {
                self.station.turn(cursor, &order).await?;
                Ok(Vec::new())
            }
        }
    }

    /// One batch, or a wait for the log.
    async fn step(
        &self,
        cursor: &mut Cursor,
        durable: &mut watch::Receiver<Lsn>,
        orders: &mut Hearing,
        is_connected: &mut bool,
    ) -> Result<Result<(), Ordered>, ForwardError> {
        let (exported, intent) = (cursor.exported, cursor.intent);
        let mut readable = *durable.borrow_and_update();
        if self.is_final_only {
            readable = finality::decided(&self.station.chain, readable);
        }
        let position = Position { exported, intent, durable: readable };
        let log = self.station.chain.log();
        let before = Lsn(log.first().0.saturating_sub(1));
        if exported < before {
            let (exporter, chain) = (&self.station.name, self.station.chain.name());
            tracing::warn!(
                exporter, %chain, from = exported.0, to = before.0,
                "records were forgotten before this exporter had them"
            );
            *cursor = Cursor { exported: before, intent: None, ..*cursor };
            return Ok(Ok(()));
        }
        let last = match cut(position, self.size, |lsn| log.weight(lsn)) {
            Ok(last) => last,
            Err(error) => {
                self.station.wait_for_store(&error.into()).await;
                return Ok(Ok(()));
            }
        };
        let Some(last) = last else {
            // The chain is here, so its sender is.
            return Ok(orders.unless_ordered(durable.changed()).await.map(|_changed| ()));
        };
        cursor.intent = Some(last);
        self.station.save(*cursor).await?;
        failpoint::reach("forward.intent");
        let batch = match self.read(cursor, last).await {
            // What was set aside before stays so until it is replayed or dropped.
            Ok(batch) => Batch { parked: self.parked().await?, ..batch },
            Err(error) => {
                self.station.wait_for_store(&error).await;
                return Ok(Ok(()));
            }
        };
        match orders.unless_ordered(self.send(batch)).await {
            Ok(is_delivered) => *is_connected = is_delivered,
            Err(ordered) => return Ok(Err(ordered)),
        }
        if !*is_connected {
            return Ok(Ok(()));
        }
        failpoint::reach("forward.exported");
        // INV-5: the sink holds it.
        *cursor = Cursor { exported: last, intent: None, ..*cursor };
        self.station.show(last);
        Ok(Ok(()))
    }

    async fn read(&self, cursor: &Cursor, last: Lsn) -> Result<Batch, StoreError> {
        let (chain, lanes) = (self.station.chain.clone(), self.lanes.clone());
        let (first, generation) = (cursor.exported.next(), cursor.generation);
        let (first_block, is_final_only) = (self.station.begin.first_block(), self.is_final_only);
        let read = on_cpu(move || {
            let upto = mark_at(&chain, last, generation)?;
            let (mut events, mut left_out) = (Vec::new(), 0);
            for lsn in first.0..=last.0 {
                // What damage or retention took comes again, or never does; the rest goes on.
                let Some(event) = chain.read_if_there(Lsn(lsn))? else {
                    left_out += 1;
                    continue;
                };
                if is_final_only && !finality::stands(&chain, &event.head)? {
                    continue;
                }
                if lanes.contains(&event.head.lane) && event.head.block.number >= first_block {
                    left_out += u64::from(event.block.is_none() && event.head.op != Op::Finalized);
                    events.push(event);
                }
            }
            Ok::<_, StoreError>((events, left_out, upto))
        });
        let (events, left_out, upto) = read.await?;
        if left_out > 0 {
            let (exporter, chain) = (&self.station.name, self.station.chain.name());
            tracing::warn!(
                exporter, %chain, first = first.0, last = last.0, records = left_out,
                "damage or retention took rows before this exporter had them"
            );
            self.station.status.left_out(left_out);
            metrics::export_left_out(&self.station.name, chain, left_out);
        }
        Ok(self.batch(events, Some(upto)))
    }

    /// What the sink gets of events.
    pub(super) fn batch(&self, events: Vec<OwnedEvent>, upto: Option<Mark>) -> Batch {
        Batch {
            chain: self.station.chain.name().clone(),
            chain_id: self.station.chain.chain_id(),
            branches: self.branches.clone(),
            tables: self.tables.clone(),
            filter: self.filter.clone(),
            events,
            parked: std::collections::BTreeSet::new(),
            upto,
        }
    }

    /// Whether its log was a beginning of another node's.
    fn has_parted(&self) -> bool {
        self.branches.of(self.station.chain.log().durable().next()).is_some()
    }

    /// Waits until the sink answers, and goes on where it says that it is, when it knows.
    async fn connect(&self, cursor: Cursor) -> Cursor {
        self.until_ready().await;
        let mut attempt = 0;
        loop {
            let error = match self.exporter.resume(self.station.chain.name()).await {
                Ok(Held::Unknown) => return cursor,
                Ok(Held::Nothing) => return self.begin_again(cursor),
                Ok(Held::Upto(mark)) => match self.weigh(cursor, &mark).await {
                    Ok(resumed) => return resumed,
                    Err(error) => error,
                },
                Err(error) => error,
            };
            self.station.pause(&error, &mut attempt).await;
        }
    }

    /// The sink lost what it had, or somebody made it anew: all of it goes again.
    fn begin_again(&self, cursor: Cursor) -> Cursor {
        let exported = self.station.beginning().min(cursor.exported);
        if exported < cursor.exported {
            let (exporter, chain) = (&self.station.name, self.station.chain.name());
            tracing::warn!(
                exporter, %chain, ledger = cursor.exported.0, from = exported.0,
                "the sink holds nothing: everything goes again"
            );
        }
        Cursor { exported, intent: None, ..cursor }
    }

    async fn weigh(&self, cursor: Cursor, mark: &Mark) -> Result<Cursor, ExportError> {
        let is_ours = loop {
            let (chain, mark) = (self.station.chain.clone(), mark.clone());
            match on_cpu(move || is_ours(&chain, &mark)).await {
                Ok(is_ours) => break is_ours,
                Err(error) => self.station.wait_for_store(&error).await,
            }
        };
        let (exporter, chain) = (&self.station.name, self.station.chain.name());
        let (sink, ledger, event) = (mark.lsn.0, cursor.exported.0, &mark.event);
        match resume(cursor, mark, is_ours) {
            Resumed::AsTheLedgerSays(cursor) => Ok(cursor),
            Resumed::AsTheSinkSays(cursor) => {
                tracing::info!(exporter, %chain, sink, ledger, "the sink knows where it is");
                Ok(cursor)
            }
            // What this log sends has names of its own since it parted from the other one.
            Resumed::OfAnotherLog(cursor) if self.has_parted() => {
                tracing::warn!(
                    exporter, %chain, sink, ledger, event,
                    "the sink's cursor is of another log: what comes now may be there already"
                );
                Ok(cursor)
            }
            Resumed::OfAnotherLog(_) => Err(ExportError::Refused {
                sink: "the sink".to_owned(),
                reason: format!(
                    "it holds another node's log up to record {sink} ({event}): give this exporter \
                     another name or `transactional_id`, and another `prefix` or `keyspace`"
                ),
            }),
        }
    }
}

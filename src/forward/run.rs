//! The loop of one exporter on one chain: read, send, wait, move the cursor.

use std::sync::Arc;
use std::time::Duration;

use headwater_exporters::encode::Filter;
use headwater_exporters::{Batch, ExportError, Exporter, Held, Mark, failpoint};
use headwater_storage::ledger::{Cursor, Ledger, LedgerError};
use headwater_storage::model::{Branches, Lane, Lsn, Op, OwnedEvent};
use headwater_storage::store::{Chain, StoreError, error_text};
use headwater_storage::tables::Table;
use tokio::sync::watch;

use crate::supervisor::{Shutdown, on_cpu};
use crate::telemetry::metrics;

use super::config::Begin;
use super::cut::{Position, cut};
use super::finality;
use super::order::{Hearing, Order, Ordered, before_block};
use super::resume::{Resumed, is_ours, mark_at, resume};
use super::send::RETRY_FIRST;
use super::status::{ExportState, ExportStatus};

const PAUSE_FOR_STORE: Duration = Duration::from_secs(5);

/// Why an exporter cannot even be run; sinks are never a reason (INV-6).
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// One exporter on one chain.
pub struct Runner {
    /// The exporter's name.
    pub name: String,
    /// The sink.
    pub exporter: Arc<dyn Exporter>,
    /// The chain.
    pub chain: Arc<Chain>,
    /// Where the cursor is.
    pub ledger: Arc<Ledger>,
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
    /// Where it begins.
    pub begin: Begin,
    /// How it stands.
    pub status: Arc<ExportStatus>,
}

impl Runner {
    /// Forwards until shutdown.
    pub async fn run(
        self: Arc<Runner>,
        mut orders: Hearing,
        mut shutdown: Shutdown,
    ) -> Result<(), ForwardError> {
        let ended = shutdown.clone();
        let mut cursor = self.first_cursor().await?;
        let result = tokio::select! {
            result = self.forward(&mut cursor, &mut orders, ended) => result,
            () = shutdown.requested() => Ok(()),
        };
        self.exporter.close().await;
        // A clean end leaves nothing to be sent again; on a full disk it is sent again.
        match self.store(cursor).await {
            Err(error) if error.is_of_disk() => result,
            stored => result.and(stored.map_err(ForwardError::from)),
        }
    }

    /// Where it stands, or where a sink begins that has nothing yet.
    async fn first_cursor(&self) -> Result<Cursor, ForwardError> {
        if let Some(cursor) = self.ledger.cursor(&self.name, self.chain.name())? {
            return Ok(cursor);
        }
        let cursor = Cursor { exported: self.beginning(), ..Cursor::default() };
        self.save(cursor).await?;
        Ok(cursor)
    }

    /// What lies before the first record that goes to a sink that has nothing yet.
    fn beginning(&self) -> Lsn {
        let durable = self.chain.log().durable();
        match self.begin {
            Begin::Earliest => Lsn::default(),
            Begin::Latest => durable,
            Begin::Block(number) => before_block(&self.chain, number).unwrap_or(durable),
        }
    }

    async fn forward(
        &self,
        cursor: &mut Cursor,
        orders: &mut Hearing,
        shutdown: Shutdown,
    ) -> Result<(), ForwardError> {
        let mut durable = self.chain.durable();
        let mut is_connected = false;
        self.show(cursor.exported);
        self.parked().await?;
        while !shutdown.is_requested() {
            let waited = if cursor.is_paused {
                self.status.set(ExportState::Paused, None);
                orders.unless_ordered(std::future::pending()).await
            } else if is_connected {
                self.step(cursor, &mut durable, orders, &mut is_connected).await?
            } else {
                match orders.unless_ordered(self.connect(*cursor)).await {
                    Ok(told) => {
                        (*cursor, is_connected) = (told, true);
                        self.show(cursor.exported);
                        self.save(*cursor).await?;
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
        tracing::info!(exporter = self.name, chain = %self.chain.name(), ?order, "an order");
        match order {
            Order::Pause => cursor.is_paused = true,
            Order::Resume => cursor.is_paused = false,
            Order::Rewind(exported) => {
                let generation = cursor.generation + 1;
                *cursor = Cursor { exported, intent: None, generation, ..*cursor };
            }
            Order::Replay(rows) => return self.replay(rows).await,
            Order::Drop(rows) => return self.let_go(rows).await,
        }
        self.show(cursor.exported);
        self.save(*cursor).await?;
        Ok(Vec::new())
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
            readable = finality::decided(&self.chain, readable);
        }
        let position = Position { exported, intent, durable: readable };
        let log = self.chain.log();
        let before = Lsn(log.first().0.saturating_sub(1));
        if exported < before {
            tracing::warn!(
                exporter = self.name, chain = %self.chain.name(), from = exported.0, to = before.0,
                "records were forgotten before this exporter had them"
            );
            *cursor = Cursor { exported: before, intent: None, ..*cursor };
            return Ok(Ok(()));
        }
        let last = match cut(position, |lsn| log.weight(lsn)) {
            Ok(last) => last,
            Err(error) => {
                self.wait_for_store(&error.into()).await;
                return Ok(Ok(()));
            }
        };
        let Some(last) = last else {
            // The chain is here, so its sender is.
            return Ok(orders.unless_ordered(durable.changed()).await.map(|_changed| ()));
        };
        cursor.intent = Some(last);
        self.save(*cursor).await?;
        failpoint::reach("forward.intent");
        let batch = match self.read(cursor, last).await {
            // What was set aside before stays so until it is replayed or dropped.
            Ok(batch) => Batch { parked: self.parked().await?, ..batch },
            Err(error) => {
                self.wait_for_store(&error).await;
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
        self.show(last);
        Ok(Ok(()))
    }

    /// One transaction holds both facts: what is acknowledged, and what is sent next.
    async fn save(&self, cursor: Cursor) -> Result<(), ForwardError> {
        loop {
            match self.store(cursor).await {
                // A full disk is waited for: the sink holds what it holds.
                Err(error) if error.is_of_disk() => {
                    self.status.set(ExportState::Retrying, Some(error_text(&error)));
                    tokio::time::sleep(RETRY_FIRST).await;
                }
                result => return Ok(result?),
            }
        }
    }

    async fn store(&self, cursor: Cursor) -> Result<(), LedgerError> {
        let (ledger, name) = (self.ledger.clone(), self.name.clone());
        let chain = self.chain.name().clone();
        on_cpu(move || ledger.set_cursor(&name, &chain, cursor)).await
    }

    fn show(&self, exported: Lsn) {
        self.status.exported(exported);
        let (name, chain) = (&self.name, self.chain.name());
        let lag = self.chain.log().durable().0.saturating_sub(exported.0);
        metrics::set_export(metrics::EXPORTED_LSN, name, chain, exported.0);
        metrics::set_export(metrics::EXPORT_LAG, name, chain, lag);
    }

    /// The disk does not give what it has: that is no reason to end, or to skip anything.
    async fn wait_for_store(&self, error: &StoreError) {
        let error = error_text(error);
        tracing::warn!(exporter = self.name, chain = %self.chain.name(), error, "cannot read");
        self.status.set(ExportState::Retrying, Some(error));
        tokio::time::sleep(PAUSE_FOR_STORE).await;
    }

    async fn read(&self, cursor: &Cursor, last: Lsn) -> Result<Batch, StoreError> {
        let (chain, lanes) = (self.chain.clone(), self.lanes.clone());
        let (first, generation) = (cursor.exported.next(), cursor.generation);
        let (first_block, is_final_only) = (self.begin.first_block(), self.is_final_only);
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
            let chain = self.chain.name();
            tracing::warn!(
                exporter = self.name, %chain, first = first.0, last = last.0, records = left_out,
                "damage or retention took rows before this exporter had them"
            );
            self.status.left_out(left_out);
            metrics::export_left_out(&self.name, chain, left_out);
        }
        Ok(self.batch(events, Some(upto)))
    }

    /// What the sink gets of events.
    pub(super) fn batch(&self, events: Vec<OwnedEvent>, upto: Option<Mark>) -> Batch {
        Batch {
            chain: self.chain.name().clone(),
            chain_id: self.chain.chain_id(),
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
        self.branches.of(self.chain.log().durable().next()).is_some()
    }

    /// Waits until the sink answers, and goes on where it says that it is, when it knows.
    async fn connect(&self, cursor: Cursor) -> Cursor {
        self.until_ready().await;
        let mut attempt = 0;
        loop {
            let error = match self.exporter.resume(self.chain.name()).await {
                Ok(Held::Unknown) => return cursor,
                Ok(Held::Nothing) => return self.begin_again(cursor),
                Ok(Held::Upto(mark)) => match self.weigh(cursor, &mark).await {
                    Ok(resumed) => return resumed,
                    Err(error) => error,
                },
                Err(error) => error,
            };
            self.pause(&error, &mut attempt).await;
        }
    }

    /// The sink lost what it had, or somebody made it anew: all of it goes again.
    fn begin_again(&self, cursor: Cursor) -> Cursor {
        let exported = self.beginning().min(cursor.exported);
        if exported < cursor.exported {
            tracing::warn!(
                exporter = self.name, chain = %self.chain.name(), ledger = cursor.exported.0,
                from = exported.0, "the sink holds nothing: everything goes again"
            );
        }
        Cursor { exported, intent: None, ..cursor }
    }

    async fn weigh(&self, cursor: Cursor, mark: &Mark) -> Result<Cursor, ExportError> {
        let is_ours = loop {
            let (chain, mark) = (self.chain.clone(), mark.clone());
            match on_cpu(move || is_ours(&chain, &mark)).await {
                Ok(is_ours) => break is_ours,
                Err(error) => self.wait_for_store(&error).await,
            }
        };
        let (exporter, chain) = (&self.name, self.chain.name());
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

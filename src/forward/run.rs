//! The loop of one exporter on one chain: read, send, wait, move the cursor.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use headwater_exporters::{Batch, Disposition, ExportError, Exporter, Mark, failpoint};
use headwater_storage::ledger::{Cursor, Ledger, LedgerError};
use headwater_storage::model::{Branches, Lane, Lsn, Op};
use headwater_storage::store::{Chain, StoreError, error_text};
use headwater_storage::tables::Table;

use crate::supervisor::{Shutdown, on_cpu};
use crate::telemetry::metrics;

use super::cut::{Position, cut};
use super::resume::{Resumed, is_ours, mark_at, resume};
use super::status::{ExportState, ExportStatus};

const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);
const PAUSE_FOR_STORE: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_secs(30);

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
    /// How it stands.
    pub status: Arc<ExportStatus>,
}

impl Runner {
    /// Forwards until shutdown.
    pub async fn run(self, mut shutdown: Shutdown) -> Result<(), ForwardError> {
        let ended = shutdown.clone();
        let mut cursor = self.ledger.cursor(&self.name, self.chain.name())?.unwrap_or_default();
        let result = tokio::select! {
            result = self.forward(&mut cursor, ended) => result,
            () = shutdown.requested() => Ok(()),
        };
        self.exporter.close().await;
        // A clean end leaves nothing to be sent again; on a full disk it is sent again.
        match self.store(cursor).await {
            Err(error) if error.is_of_disk() => result,
            stored => result.and(stored.map_err(ForwardError::from)),
        }
    }

    async fn forward(&self, cursor: &mut Cursor, shutdown: Shutdown) -> Result<(), ForwardError> {
        let mut durable = self.chain.durable();
        self.show(cursor.exported);
        self.until_ready().await;
        self.resume(cursor).await?;
        while !shutdown.is_requested() {
            let position = Position {
                exported: cursor.exported,
                intent: cursor.intent,
                durable: *durable.borrow_and_update(),
            };
            let log = self.chain.log();
            let before = Lsn(log.first().0.saturating_sub(1));
            if cursor.exported < before {
                tracing::warn!(
                    exporter = self.name, chain = %self.chain.name(), from = cursor.exported.0,
                    to = before.0, "records were forgotten before this exporter had them"
                );
                *cursor = Cursor { exported: before, intent: None, ..*cursor };
                continue;
            }
            let last = match cut(position, |lsn| log.weight(lsn)) {
                Ok(last) => last,
                Err(error) => {
                    self.wait_for_store(&error.into()).await;
                    continue;
                }
            };
            let Some(last) = last else {
                if durable.changed().await.is_err() {
                    return Ok(());
                }
                continue;
            };
            cursor.intent = Some(last);
            self.save(*cursor).await?;
            failpoint::reach("forward.intent");
            let batch = match self.read(cursor, last).await {
                Ok(batch) => batch,
                Err(error) => {
                    self.wait_for_store(&error).await;
                    continue;
                }
            };
            self.send(batch).await;
            failpoint::reach("forward.exported");
            // INV-5: the sink holds it.
            *cursor = Cursor { exported: last, intent: None, ..*cursor };
            self.show(last);
        }
        Ok(())
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
        let read = on_cpu(move || {
            let upto = mark_at(&chain, last, generation)?;
            let (mut events, mut left_out) = (Vec::new(), 0);
            for lsn in first.0..=last.0 {
                // What damage or retention took comes again, or never does; the rest goes on.
                let Some(event) = chain.read_if_there(Lsn(lsn))? else {
                    left_out += 1;
                    continue;
                };
                if lanes.contains(&event.head.lane) {
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
        Ok(Batch {
            chain: self.chain.name().clone(),
            chain_id: self.chain.chain_id(),
            branches: self.branches.clone(),
            tables: self.tables.clone(),
            events,
            parked: BTreeSet::new(),
            upto: Some(upto),
        })
    }

    /// Waits until the sink answers a check.
    async fn until_ready(&self) {
        let mut attempt = 0;
        loop {
            match self.exporter.check().await {
                Ok(()) => return self.status.set(ExportState::Running, None),
                Err(error) => self.pause(&error, &mut attempt).await,
            }
        }
    }

    /// Goes on where the sink says that it is, when it knows.
    async fn resume(&self, cursor: &mut Cursor) -> Result<(), ForwardError> {
        let mut attempt = 0;
        loop {
            let error = match self.exporter.resume(self.chain.name()).await {
                Ok(None) => return Ok(()),
                Ok(Some(mark)) => match self.weigh(*cursor, &mark).await {
                    Ok(resumed) => {
                        *cursor = resumed;
                        self.show(cursor.exported);
                        return self.save(*cursor).await;
                    }
                    Err(error) => error,
                },
                Err(error) => error,
            };
            self.pause(&error, &mut attempt).await;
        }
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
            Resumed::OfAnotherLog(cursor) if self.branches.of(cursor.exported.next()).is_some() => {
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
                     another name or `transactional_id`, and another `prefix`"
                ),
            }),
        }
    }

    /// Sends a batch until the sink holds it.
    async fn send(&self, mut batch: Batch) {
        let mut attempt = 0;
        loop {
            let error = match self.exporter.export(&batch).await {
                Ok(()) => {
                    metrics::export_batch(&self.name, &batch.chain, "delivered");
                    return self.status.set(ExportState::Running, None);
                }
                Err(error) => error,
            };
            match error.disposition() {
                Disposition::Retry => {
                    metrics::export_batch(&self.name, &batch.chain, "retried");
                    self.pause(&error, &mut attempt).await;
                }
                Disposition::Park => {
                    metrics::export_batch(&self.name, &batch.chain, "parked");
                    self.park(&mut batch, &error, &mut attempt).await;
                }
                Disposition::Stop => {
                    metrics::export_batch(&self.name, &batch.chain, "blocked");
                    self.pause(&error, &mut attempt).await;
                    self.until_ready().await;
                }
            }
        }
    }

    /// Sets a row aside, durably, and leaves it out of the batch.
    async fn park(&self, batch: &mut Batch, error: &ExportError, attempt: &mut u32) {
        let Some(event_id) = error.event_id().map(str::to_owned) else {
            return self.pause(error, attempt).await;
        };
        let (ledger, name) = (self.ledger.clone(), self.name.clone());
        let (id, reason) = (event_id.clone(), error.to_string());
        match on_cpu(move || ledger.park(&name, &id, &reason)).await {
            Ok(()) => {
                tracing::warn!(exporter = self.name, event_id, %error, "parked a row");
                self.status.parked();
                batch.parked.insert(event_id);
            }
            Err(failure) => {
                tracing::warn!(exporter = self.name, error = %failure, "cannot park a row");
                self.pause(error, attempt).await;
            }
        }
    }

    /// Says why it waits, once, and waits: 1 s doubling to 30 s, spread by the exporter's name.
    async fn pause(&self, error: &ExportError, attempt: &mut u32) {
        let is_blocked = error.disposition() == Disposition::Stop;
        let state = if is_blocked { ExportState::Blocked } else { ExportState::Retrying };
        if *attempt == 0 {
            let chain = self.chain.name();
            tracing::warn!(exporter = self.name, %chain, %error, "the exporter waits");
        }
        self.status.set(state, Some(error.to_string()));
        let doubled = RETRY_FIRST.saturating_mul(1 << (*attempt).min(5)).min(RETRY_MAX);
        let seed = self
            .name
            .bytes()
            .fold(*attempt, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
        let jitter = doubled.mul_f64(f64::from(seed % 100) / 400.0);
        *attempt = attempt.saturating_add(1);
        tokio::time::sleep(if is_blocked { LOOK_AGAIN } else { doubled + jitter }).await;
    }
}

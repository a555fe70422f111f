//! What every exporter has on a chain, whatever its sink takes: a name, a cursor in the ledger, and
//! a state that is shown.

use std::sync::Arc;
use std::time::Duration;

use headwater_exporters::{Disposition, ExportError};
use headwater_storage::ledger::{Cursor, Ledger, LedgerError};
use headwater_storage::model::Lsn;
use headwater_storage::store::{Chain, StoreError, error_text};

use crate::supervisor::on_cpu;
use crate::telemetry::metrics;

use super::config::Begin;
use super::order::{Order, before_block};
use super::status::{ExportState, ExportStatus};

const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// How often a sink that is away is asked for a sign of life.
pub(super) const PROBE_EVERY: Duration = Duration::from_secs(3);
const PAUSE_FOR_STORE: Duration = Duration::from_secs(5);

/// Why an exporter cannot even be run; sinks are never a reason (INV-6).
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// An exporter on a chain.
pub struct Station {
    /// The exporter's name.
    pub name: String,
    /// The chain.
    pub chain: Arc<Chain>,
    /// Where the cursor is.
    pub ledger: Arc<Ledger>,
    /// Where it begins.
    pub begin: Begin,
    /// How it stands.
    pub status: Arc<ExportStatus>,
}

impl Station {
    /// Where it stands, or where a sink begins that has nothing yet.
    pub(super) async fn first_cursor(&self) -> Result<Cursor, ForwardError> {
        if let Some(cursor) = self.ledger.cursor(&self.name, self.chain.name())? {
            return Ok(cursor);
        }
        let cursor = Cursor { exported: self.beginning(), ..Cursor::default() };
        self.save(cursor).await?;
        Ok(cursor)
    }

    /// What lies before the first record that goes to a sink that has nothing yet.
    pub(super) fn beginning(&self) -> Lsn {
        let durable = self.chain.log().durable();
        match self.begin {
            Begin::Earliest => Lsn::default(),
            Begin::Latest => durable,
            Begin::Block(number) => before_block(&self.chain, number).unwrap_or(durable),
        }
    }

    /// Does to the cursor what an order means; who ordered sees it done.
    pub(super) async fn turn(
        &self,
        cursor: &mut Cursor,
        order: &Order,
    ) -> Result<(), ForwardError> {
        order.turn(cursor);
        self.show(cursor.exported);
        if cursor.is_paused {
            self.status.set(ExportState::Paused, None);
        }
        self.save(*cursor).await
    }

    /// One transaction holds both facts: what is acknowledged, and what is sent next.
    pub(super) async fn save(&self, cursor: Cursor) -> Result<(), ForwardError> {
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

    /// A clean end leaves nothing to be sent again; on a full disk it is sent again.
    pub(super) async fn leave(
        &self,
        cursor: Cursor,
        result: Result<(), ForwardError>,
    ) -> Result<(), ForwardError> {
        match self.store(cursor).await {
            Err(error) if error.is_of_disk() => result,
            stored => result.and(stored.map_err(ForwardError::from)),
        }
    }

    async fn store(&self, cursor: Cursor) -> Result<(), LedgerError> {
        let (ledger, name) = (self.ledger.clone(), self.name.clone());
        let chain = self.chain.name().clone();
        on_cpu(move || ledger.set_cursor(&name, &chain, cursor)).await
    }

    /// Shows how far it is.
    pub(super) fn show(&self, exported: Lsn) {
        self.status.exported(exported);
        let (name, chain) = (&self.name, self.chain.name());
        metrics::set_export(metrics::EXPORTED_LSN, name, chain, exported.0);
    }

    /// The disk does not give what it has: that is no reason to end, or to skip anything.
    pub(super) async fn wait_for_store(&self, error: &StoreError) {
        let error = error_text(error);
        tracing::warn!(exporter = self.name, chain = %self.chain.name(), error, "cannot read");
        self.status.set(ExportState::Retrying, Some(error));
        tokio::time::sleep(PAUSE_FOR_STORE).await;
    }

    /// Waits after a failure, but no longer than until the sink answers again: after an outage of
    /// days nobody waits for half a minute more.
    pub(super) async fn pause_unless(
        &self,
        error: &ExportError,
        attempt: &mut u32,
        answers: impl Future<Output = ()>,
    ) {
        if error.disposition() != Disposition::Retry {
            return self.pause(error, attempt).await;
        }
        tokio::select! {
            () = self.pause(error, attempt) => {}
            () = answers => {}
        }
    }

    /// Says why it waits, once, and waits: 1 s doubling to 30 s, spread by the exporter's name.
    pub(super) async fn pause(&self, error: &ExportError, attempt: &mut u32) {
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

//! An exporter that runs, as the API sees it.

use std::sync::Arc;

use headwater_storage::ledger::LedgerError;
use headwater_storage::store::StoreError;

use super::order::{Order, Orders, Unparked};
use super::parked::lsn_of;
use super::{ExportView, ForwardError, Runner};

/// One exporter on one chain.
pub struct Export {
    /// The kind of sink.
    pub kind: String,
    /// What runs.
    pub runner: Arc<Runner>,
    /// The way to it.
    pub orders: Orders,
}

/// A row that was set aside.
#[derive(Clone, Debug, serde::Serialize)]
pub struct ParkedRow {
    /// Its identity.
    pub event_id: String,
    /// The sink's own words.
    pub reason: String,
}

impl Export {
    /// The exporter's name.
    pub fn name(&self) -> &str {
        &self.runner.name
    }

    /// The chain's name.
    pub fn chain(&self) -> &str {
        self.runner.chain.name().as_str()
    }

    /// How it stands.
    pub fn view(&self) -> ExportView {
        let durable = self.runner.chain.log().durable();
        self.runner.status.view(self.name(), &self.kind, self.chain(), durable)
    }

    /// Tells it what to do; `None` when it is busy with other orders.
    pub async fn order(&self, order: Order) -> Option<Result<Vec<Unparked>, ForwardError>> {
        self.orders.order(order).await
    }

    /// Its rows that are set aside.
    pub fn parked(&self) -> Result<Vec<ParkedRow>, LedgerError> {
        let rows = self.runner.ledger.parked(self.name())?.into_iter();
        let rows = rows.map(|(event_id, reason)| ParkedRow { event_id, reason });
        let name = self.runner.chain.name();
        Ok(rows.filter(|row| lsn_of(&row.event_id, name).is_some()).collect())
    }

    /// The exact records that its sink gets for the canonical block of a number; `None` when the
    /// block is not here.
    pub fn explain(&self, number: u64) -> Result<Option<Vec<serde_json::Value>>, StoreError> {
        let event = self.runner.chain.block_by_number(number)?;
        let records = |event| self.runner.exporter.explain(&self.runner.batch(vec![event], None));
        Ok(event.map(records))
    }
}

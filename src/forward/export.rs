//! An exporter that runs, as the API sees it.

use std::sync::Arc;

use headwater_exporters::ExportError;
use headwater_storage::ledger::LedgerError;
use headwater_storage::model::Lsn;
use headwater_storage::store::StoreError;
use serde_json::Value;

use crate::supervisor::on_cpu;
use crate::telemetry::metrics;

use super::order::{Order, Orders, Unparked};
use super::parked::lsn_of;
use super::{ExportView, ForwardError, PartRunner, Runner, Station};

/// What runs, by what its sink takes.
#[derive(Clone)]
pub enum Forwarder {
    /// Events of the log.
    Events(Arc<Runner>),
    /// Sealed parts.
    Parts(Arc<PartRunner>),
}

/// One exporter on one chain.
pub struct Export {
    /// The kind of sink.
    pub kind: String,
    /// What runs.
    pub forwarder: Forwarder,
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

/// Why it cannot be said what a sink gets of a block.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The sink, which alone knows.
    #[error(transparent)]
    Sink(#[from] ExportError),
}

impl Export {
    /// Its name, chain, cursor and state.
    pub fn station(&self) -> &Station {
        match &self.forwarder {
            Forwarder::Events(runner) => &runner.station,
            Forwarder::Parts(runner) => &runner.station,
        }
    }

    /// The exporter's name.
    pub fn name(&self) -> &str {
        &self.station().name
    }

    /// The chain's name.
    pub fn chain(&self) -> &str {
        self.station().chain.name().as_str()
    }

    /// How it stands.
    pub fn view(&self) -> ExportView {
        let durable = self.station().chain.log().durable();
        let view = self.station().status.view(self.name(), &self.kind, self.chain(), durable);
        match &self.forwarder {
            Forwarder::Events(_) => view,
            Forwarder::Parts(runner) => {
                ExportView { lag: runner.blocks_behind(Lsn(view.exported_lsn)), ..view }
            }
        }
    }

    /// Sets the gauge of its lag: a lake's is counted in blocks.
    pub fn set_lag(&self) {
        let gauge = match &self.forwarder {
            Forwarder::Events(_) => metrics::EXPORT_LAG,
            Forwarder::Parts(_) => metrics::EXPORT_LAG_BLOCKS,
        };
        metrics::set_export(gauge, self.name(), self.station().chain.name(), self.view().lag);
    }

    /// Tells it what to do; `None` when it is busy with other orders.
    pub async fn order(&self, order: Order) -> Option<Result<Vec<Unparked>, ForwardError>> {
        self.orders.order(order).await
    }

    /// Its rows that are set aside.
    pub fn parked(&self) -> Result<Vec<ParkedRow>, LedgerError> {
        let rows = self.station().ledger.parked(self.name())?.into_iter();
        let rows = rows.map(|(event_id, reason)| ParkedRow { event_id, reason });
        let name = self.station().chain.name();
        Ok(rows.filter(|row| lsn_of(&row.event_id, name).is_some()).collect())
    }

    /// The exact records that its sink gets for the canonical block of a number, or where the files
    /// lie that hold it; `None` when the block is not here.
    pub async fn explain(&self, number: u64) -> Result<Option<Vec<Value>>, ExplainError> {
        let runner = match &self.forwarder {
            Forwarder::Events(runner) => runner.clone(),
            Forwarder::Parts(runner) => return Ok(runner.explain(number).await?),
        };
        let explained = on_cpu(move || {
            let event = runner.station.chain.block_by_number(number)?;
            let records = |event| runner.exporter.explain(&runner.batch(vec![event], None));
            Ok::<_, StoreError>(event.map(records))
        });
        Ok(explained.await?)
    }
}

//! Sending to a sink: again and again, setting aside what it will never take.

use headwater_exporters::{Batch, Disposition, ExportError};

use crate::supervisor::on_cpu;
use crate::telemetry::metrics;

use super::Runner;
use super::station::PROBE_EVERY;
use super::status::ExportState;

impl Runner {
    /// Waits until the sink answers a check.
    pub(super) async fn until_ready(&self) {
        let mut attempt = 0;
        loop {
            match self.exporter.check().await {
                Ok(()) => return self.station.status.set(ExportState::Running, None),
                Err(error) => self.station.pause(&error, &mut attempt).await,
            }
        }
    }

    /// Returns when the sink answers a check again.
    async fn answers(&self) {
        loop {
            tokio::time::sleep(PROBE_EVERY).await;
            if self.exporter.check().await.is_ok() {
                return;
            }
        }
    }

    /// Sends a batch until the sink holds it; `false` when the sink has to be asked where it is.
    pub(super) async fn send(&self, mut batch: Batch) -> bool {
        let mut attempt = 0;
        loop {
            let error = match self.exporter.export(&batch).await {
                Ok(()) => {
                    metrics::export_batch(&self.station.name, &batch.chain, "delivered");
                    self.station.status.set(ExportState::Running, None);
                    return true;
                }
                Err(error) => error,
            };
            match error.disposition() {
                Disposition::Retry => {
                    metrics::export_batch(&self.station.name, &batch.chain, "retried");
                    self.station.pause_unless(&error, &mut attempt, self.answers()).await;
                }
                Disposition::Resume => {
                    let chain = &batch.chain;
                    let exporter = &self.station.name;
                    tracing::info!(exporter, %chain, %error, "it is looked for again");
                    return false;
                }
                Disposition::Park => {
                    metrics::export_batch(&self.station.name, &batch.chain, "parked");
                    self.park(&mut batch, &error, &mut attempt).await;
                }
                Disposition::Stop => {
                    metrics::export_batch(&self.station.name, &batch.chain, "blocked");
                    self.station.pause(&error, &mut attempt).await;
                    self.until_ready().await;
                }
            }
        }
    }

    /// Sets a row aside, durably, and leaves it out of the batch.
    async fn park(&self, batch: &mut Batch, error: &ExportError, attempt: &mut u32) {
        let Some(event_id) = error.event_id().map(str::to_owned) else {
            return self.station.pause(error, attempt).await;
        };
        let (ledger, name) = (self.station.ledger.clone(), self.station.name.clone());
        let (id, reason) = (event_id.clone(), error.to_string());
        match on_cpu(move || ledger.park(&name, &id, &reason)).await {
            Ok(()) => {
                tracing::warn!(exporter = self.station.name, event_id, %error, "parked a row");
                batch.parked.insert(event_id);
                self.station.status.parked(batch.parked.len() as u64);
            }
            Err(failure) => {
                tracing::warn!(exporter = self.station.name, error = %failure, "cannot park a row");
                self.station.pause(error, attempt).await;
            }
        }
    }
}

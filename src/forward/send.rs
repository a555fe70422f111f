//! Sending to a sink: again and again, setting aside what it will never take.

use std::time::Duration;

use headwater_exporters::{Batch, Disposition, ExportError};

use crate::supervisor::on_cpu;
use crate::telemetry::metrics;

use super::Runner;
use super::status::ExportState;

pub(super) const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_secs(30);

impl Runner {
    /// Waits until the sink answers a check.
    pub(super) async fn until_ready(&self) {
        let mut attempt = 0;
        loop {
            match self.exporter.check().await {
                Ok(()) => return self.status.set(ExportState::Running, None),
                Err(error) => self.pause(&error, &mut attempt).await,
            }
        }
    }

    /// Sends a batch until the sink holds it; `false` when the sink has to be asked where it is.
    pub(super) async fn send(&self, mut batch: Batch) -> bool {
        let mut attempt = 0;
        loop {
            let error = match self.exporter.export(&batch).await {
                Ok(()) => {
                    metrics::export_batch(&self.name, &batch.chain, "delivered");
                    self.status.set(ExportState::Running, None);
                    return true;
                }
                Err(error) => error,
            };
            match error.disposition() {
                Disposition::Retry => {
                    metrics::export_batch(&self.name, &batch.chain, "retried");
                    self.pause(&error, &mut attempt).await;
                }
                Disposition::Resume => {
                    let chain = &batch.chain;
                    tracing::info!(exporter = self.name, %chain, %error, "it is looked for again");
                    return false;
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
                batch.parked.insert(event_id);
                self.status.parked(batch.parked.len() as u64);
            }
            Err(failure) => {
                tracing::warn!(exporter = self.name, error = %failure, "cannot park a row");
                self.pause(error, attempt).await;
            }
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

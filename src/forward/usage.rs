//! Tells a sink what the providers' keys were used for, now and then.

use std::sync::Arc;
use std::time::Duration;

use headwater_exporters::Exporter;
use headwater_storage::ledger::{Ledger, LedgerError};

use crate::supervisor::{Shutdown, on_cpu};

const EVERY: Duration = Duration::from_secs(30);

/// Tells it until shutdown; what fails is told again.
pub async fn note_usage(
    name: String,
    exporter: Arc<dyn Exporter>,
    ledger: Arc<Ledger>,
    mut shutdown: Shutdown,
) -> Result<(), LedgerError> {
    let mut is_told = true;
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !shutdown.is_requested() {
        tokio::select! {
            _ = ticks.tick() => {}
            () = shutdown.requested() => return Ok(()),
        }
        let ledger = ledger.clone();
        let rows = on_cpu(move || ledger.usage()).await?;
        let noted = tokio::select! {
            noted = exporter.note_usage(&rows) => noted,
            () = shutdown.requested() => return Ok(()),
        };
        if let Err(error) = &noted
            && is_told
        {
            tracing::warn!(exporter = name, %error, "cannot tell what keys were used for");
        }
        is_told = noted.is_ok();
    }
    Ok(())
}

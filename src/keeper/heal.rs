//! What is missing between the start and the head is fetched: history that nobody had yet, and
//! what damage took (INV-3, INV-11).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use headwater_storage::model::ChainEvent;
use headwater_storage::store::{Appender, Chain, Repair};

use crate::capture::{Backfill, CaptureError, ChainStatus, Holes, Source};
use crate::supervisor::Shutdown;

const PAUSE_AFTER_ERROR: Duration = Duration::from_secs(1);
/// Damage can be found while nothing new comes.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Everything that is missing from the configured start on.
pub struct Healing {
    /// The configured start; by default the lowest block that is here.
    pub first: Option<u64>,
    /// Blocks that are fetched at the same time.
    pub window: usize,
    /// Bytes that they may take.
    pub window_bytes: u64,
    /// Where blocks come from.
    pub source: Source,
    /// Where they go.
    pub chain: Arc<Chain>,
    /// How they go there.
    pub appender: Appender,
    /// How it stands.
    pub status: Arc<ChainStatus>,
    /// What nobody has.
    pub holes: Arc<Holes>,
    /// Backfills that run; sealing waits for more while there are some.
    pub backfills: Arc<AtomicUsize>,
}

/// Mends until shutdown.
pub async fn heal(healing: Healing, mut shutdown: Shutdown) -> Result<(), CaptureError> {
    let mut durable = healing.chain.durable();
    while !shutdown.is_requested() {
        let holes = healing.holes.numbers();
        let repair = healing.chain.with_state(|state| state.next_repair(healing.first, &holes));
        match repair {
            Some(Repair::TakeBack(block)) => {
                tracing::warn!(chain = %healing.chain.name(), %block, "takes a lost fork back");
                match healing.appender.append(&[ChainEvent::Reverted(block)]).await {
                    Err(error) if error.is_fatal() => return Err(error.into()),
                    Err(_) => tokio::time::sleep(PAUSE_AFTER_ERROR).await,
                    Ok(_) => {}
                }
            }
            Some(Repair::Fetch { range, lane }) => {
                tracing::info!(chain = %healing.chain.name(), %range, "fetches what is missing");
                healing.backfills.fetch_add(1, Ordering::AcqRel);
                let backfill = Backfill {
                    ranges: vec![range],
                    lane,
                    window: healing.window,
                    window_bytes: healing.window_bytes,
                    source: healing.source.clone(),
                    chain: healing.chain.clone(),
                    appender: healing.appender.clone(),
                    status: healing.status.clone(),
                    holes: healing.holes.clone(),
                    progress: Arc::default(),
                };
                let result = backfill.run(shutdown.clone()).await;
                healing.backfills.fetch_sub(1, Ordering::AcqRel);
                result?;
            }
            None => {
                tokio::select! {
                    changed = durable.changed() => if changed.is_err() { return Ok(()) },
                    () = tokio::time::sleep(LOOK_AGAIN) => {}
                    () = shutdown.requested() => return Ok(()),
                }
            }
        }
    }
    Ok(())
}

//! The index follows the log, and is begun anew when its engine fails or is stuck.

use std::sync::Arc;
use std::time::Duration;

use headwater_storage::store::{Chain, StoreError, error_text};

use crate::supervisor::{Shutdown, on_cpu};

/// Records that the index takes in one step.
const STEP: usize = 128;
const PAUSE_AFTER_ERROR: Duration = Duration::from_secs(5);
/// A step that takes longer has met a stuck engine.
const STUCK_AFTER: Duration = Duration::from_mins(2);
/// Failures after which opening it again does not help.
const FAILURES_MAX: u32 = 3;

/// Indexes what becomes durable.
pub async fn index(chain: Arc<Chain>, mut shutdown: Shutdown) -> Result<(), StoreError> {
    let mut durable = chain.durable();
    let mut failures = 0;
    loop {
        durable.borrow_and_update();
        let indexing = chain.clone();
        let step = on_cpu(move || indexing.index_some(STEP));
        let pause = match tokio::time::timeout(STUCK_AFTER, step).await {
            Ok(Ok(has_more)) => {
                failures = 0;
                if has_more && !shutdown.is_requested() {
                    continue;
                }
                Duration::MAX
            }
            // The index can be made again: its failure stops lookups, never capture (INV-3).
            Ok(Err(error)) => {
                failures += 1;
                let error = error_text(&error);
                tracing::warn!(chain = %chain.name(), error, "the index waits");
                mend(&chain, failures >= FAILURES_MAX).await;
                PAUSE_AFTER_ERROR
            }
            Err(_) => {
                tracing::error!(chain = %chain.name(), "the index is stuck: it is begun anew");
                mend(&chain, true).await;
                PAUSE_AFTER_ERROR
            }
        };
        tokio::select! {
            changed = durable.changed() => if changed.is_err() { break },
            () = tokio::time::sleep(pause) => {}
            () = shutdown.requested() => break,
        }
    }
    on_cpu(move || chain.index().map_or(Ok(()), |index| Ok(index.persist()?))).await
}

/// After the disk failed the engine refuses everything: it is opened again, or begun anew.
async fn mend(chain: &Arc<Chain>, anew: bool) {
    let mending = chain.clone();
    let mended =
        on_cpu(move || if anew { mending.begin_index_anew() } else { mending.reopen_index() });
    if let Err(error) = mended.await {
        tracing::warn!(chain = %chain.name(), error = error_text(&error), "no index for now");
    }
}

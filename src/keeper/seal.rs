//! Final blocks become parts.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use headwater_storage::store::{AppendError, Chain, error_text};

use crate::supervisor::{Shutdown, on_cpu};

const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_AFTER_ERROR: Duration = Duration::from_secs(5);

/// Seals what became final. Whatever fails is tried again from the start, with new files.
pub async fn seal(
    chain: Arc<Chain>,
    backfills: Arc<AtomicUsize>,
    mut shutdown: Shutdown,
) -> Result<(), AppendError> {
    let mut durable = chain.durable();
    loop {
        durable.borrow_and_update();
        let flush = backfills.load(Ordering::Acquire) == 0;
        let sealing = chain.clone();
        let sealed = on_cpu(move || match sealing.next_sealable(flush) {
            Some(sealable) => sealing.seal(&sealable).map(|_| Some(sealable.range)),
            None => Ok(None),
        });
        let pause = match sealed.await {
            Ok(Some(range)) => {
                tracing::info!(chain = %chain.name(), %range, "sealed");
                continue;
            }
            Ok(None) => PAUSE,
            Err(error) => {
                let error = error_text(&error);
                tracing::warn!(chain = %chain.name(), error, "sealing waits");
                PAUSE_AFTER_ERROR
            }
        };
        tokio::select! {
            changed = durable.changed() => if changed.is_err() { return Ok(()) },
            () = tokio::time::sleep(pause) => {}
            () = shutdown.requested() => return Ok(()),
        }
    }
}

//! The file of the log that is written: somebody may remove it while it is open, and the system
//! goes on as if nothing was. The process ends instead.

use std::sync::Arc;
use std::time::Duration;

use headwater_storage::store::Chain;
use headwater_storage::wal;

use crate::supervisor::{Shutdown, on_cpu};

const EVERY: Duration = Duration::from_millis(500);

/// Looks until shutdown; its error is one after which the process must end.
pub async fn watch_log_file(chain: Arc<Chain>, mut shutdown: Shutdown) -> Result<(), wal::Error> {
    loop {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = shutdown.requested() => return Ok(()),
        }
        let looking = chain.clone();
        match on_cpu(move || looking.log().check_name()).await {
            Ok(()) => {}
            Err(error @ wal::Error::Unnamed { .. }) => return Err(error),
            Err(error) => {
                tracing::debug!(chain = %chain.name(), %error, "the log is not looked at");
            }
        }
    }
}

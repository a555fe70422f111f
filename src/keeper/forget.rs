//! Forgets by rule and merges small parts, now and then, and at once when space is short.

use std::sync::Arc;
use std::time::Duration;

use headwater_storage::ledger::{Ledger, LedgerError};
use headwater_storage::model::{Lsn, date_of};
use headwater_storage::store::{Chain, Passed, Retention, ScrubPosition, StoreError, error_text};

use crate::clock;
use crate::supervisor::{Shutdown, on_cpu};

use super::space::{Space, Step};

const EVERY: Duration = Duration::from_secs(10);
/// Bytes that are read again in each round: less than a megabyte a second.
const SCRUB_BYTES: u64 = 8 << 20;

/// What one chain forgets.
pub struct Forgetting {
    /// The chain.
    pub chain: Arc<Chain>,
    /// How long things are kept.
    pub retention: Retention,
    /// Bytes up to which neighbouring parts of a date become one.
    pub merge_bytes: u64,
    /// Exporters of the chain.
    pub exporters: Vec<String>,
    /// Those that hold parts until they have passed them.
    pub required: Vec<String>,
    /// Where their cursors are.
    pub ledger: Arc<Ledger>,
    /// How the disk stands.
    pub space: Arc<Space>,
}

impl Forgetting {
    /// Forgets until shutdown; an error waits for the next round.
    pub async fn run(self, mut shutdown: Shutdown) -> Result<(), StoreError> {
        let forgetting = Arc::new(self);
        let mut position = ScrubPosition::default();
        while !shutdown.is_requested() {
            let (round, mut at) = (forgetting.clone(), position.clone());
            let rounds = position.rounds;
            let done = on_cpu(move || {
                let done = round.round();
                let scrubbed = round.chain.scrub_some(&mut at, SCRUB_BYTES);
                (at, done.and(scrubbed))
            });
            let done = done.await;
            position = done.0;
            if position.rounds > rounds {
                tracing::debug!(chain = %forgetting.chain.name(), "everything was read again");
            }
            if let Err(error) = done.1 {
                let error = error_text(&error);
                tracing::warn!(chain = %forgetting.chain.name(), error, "forgetting waits");
            }
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = forgetting.space.is_short() => tokio::time::sleep(EVERY / 10).await,
                () = shutdown.requested() => {}
            }
        }
        Ok(())
    }

    fn round(&self) -> Result<(), StoreError> {
        self.chain.note_holes()?;
        while let Some(range) = self.chain.next_mergeable(self.merge_bytes) {
            self.chain.merge(range)?;
            tracing::info!(chain = %self.chain.name(), %range, "merged the parts of a date");
        }
        let mut retention = self.retention.clone();
        // Short of space: all that parts hold goes from the log, whatever it was meant to keep.
        if self.space.step() >= Step::Forget {
            retention.log_bytes = 0;
        }
        let today = date_of(clock::unix_seconds());
        let freed = self.chain.forget(&retention, today, self.passed()?)?;
        if freed > 0 {
            tracing::info!(chain = %self.chain.name(), bytes = freed, "forgot by rule");
        }
        Ok(())
    }

    fn passed(&self) -> Result<Passed, LedgerError> {
        let mut passed = Passed { required: Lsn(u64::MAX - 1), all: Lsn(u64::MAX - 1) };
        for name in &self.exporters {
            let cursor = self.ledger.cursor(name, self.chain.name())?.unwrap_or_default();
            passed.all = passed.all.min(cursor.exported);
            if self.required.contains(name) {
                passed.required = passed.required.min(cursor.exported);
            }
        }
        Ok(passed)
    }
}

//! The facade: one data folder, and in it one store per chain that appends, reads, seals and
//! gives snapshots cut at one record.

mod begin;
mod chain;
mod commit;
mod committer;
mod damage;
mod data_dir;
mod ends;
mod error;
mod excerpt;
mod forgetting;
mod indexing;
mod lookup;
mod lost_records;
mod memory;
mod recent;
mod repair;
mod replaced;
mod replay;
mod salvage;
mod scrub;
mod sealing;
mod snapshot;
mod state;

pub use chain::{Chain, ChainOptions};
pub use committer::{Appender, Committer};
pub use data_dir::{
    DataDir, FORMAT_FILE, FORMAT_VERSION, MANIFEST_FILE, OpenError, RESTORING_FILE, format_text,
};
pub use error::{AppendError, StoreError, Violation, error_text};
pub use excerpt::{Excerpt, ExcerptFile};
pub use forgetting::{Keep, Passed, Retention, plan_parts, plan_trim};
pub use indexing::Lookups;
pub use memory::Kept;
pub use repair::Repair;
pub use salvage::{SalvageError, SalvageReport, SalvageRequest, salvage, salvage_ledger};
pub use scrub::ScrubPosition;
pub use snapshot::Snapshot;
pub use state::ChainState;

#[cfg(test)]
mod tests;

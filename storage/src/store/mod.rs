//! The facade: one data folder, and in it one store per chain that appends, reads, seals and
//! gives snapshots cut at one record.

mod chain;
mod commit;
mod committer;
mod data_dir;
mod error;
mod lookup;
mod recent;
mod sealing;
mod snapshot;
mod state;

pub use chain::{Chain, ChainOptions};
pub use committer::{Appender, Committer};
pub use data_dir::{DataDir, FORMAT_VERSION, OpenError};
pub use error::{AppendError, StoreError, Violation};
pub use snapshot::Snapshot;
pub use state::ChainState;

#[cfg(test)]
mod tests;

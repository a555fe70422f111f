//! From the log to sinks: batches are cut, exported, and the cursor moves when the sink holds them.

mod config;
mod cut;
mod resume;
mod run;
mod status;

pub use config::ExporterConfig;
pub use cut::{Position, cut};
pub use resume::{Resumed, resume};
pub use run::{ForwardError, Runner};
pub use status::{ExportState, ExportStatus, ExportView};

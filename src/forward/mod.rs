//! From the log to sinks: batches are cut, exported, and the cursor moves when the sink holds them.

mod config;
mod cut;
mod export;
mod finality;
mod order;
mod parked;
mod parts;
mod plan;
mod renewed;
mod resume;
mod run;
mod send;
mod station;
mod status;
mod usage;

pub use config::{Begin, ExporterConfig};
pub use cut::{Position, cut};
pub use export::{ExplainError, Export, Forwarder, ParkedRow};
pub use order::{Hearing, Order, Orders, Unparked, before_block, orders};
pub use parts::PartRunner;
pub use resume::{Resumed, resume};
pub use run::Runner;
pub use station::{ForwardError, Station};
pub use status::{ExportState, ExportStatus, ExportView};
pub use usage::note_usage;

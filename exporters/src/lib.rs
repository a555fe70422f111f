//! The sinks that Headwater forwards to, and the contract that they all keep.

pub mod azure_tables;
pub mod batch;
mod clock;
pub mod contract;
pub mod encode;
pub mod error;
pub mod exporter;
pub mod failpoint;
pub mod hdfs;
pub mod kafka;
pub mod mark;
pub mod memory;
mod noted;
pub mod parts;
pub mod registry;
pub mod scylla;
mod width;

pub use batch::{Batch, BatchSize};
pub use error::{Disposition, ExportError};
pub use exporter::{Exporter, Held};
pub use mark::Mark;
pub use registry::{BuildError, Scope, Sink, batch_size_of, build, tables_of};

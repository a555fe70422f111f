//! `memory`: the reference sink. With `path` it keeps the rows in a file, one JSON line each.

mod config;
mod exporter;

pub use config::MemoryConfig;
pub use exporter::{Memory, Received};

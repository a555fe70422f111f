//! `scylla`: tables of ScyllaDB or Cassandra that each answer one question. Upserts with the log's
//! order as write timestamps, so that neither repetition nor order of arrival matters.

mod client;
mod config;
mod cursors;
mod encode;
mod exporter;
mod failure;
mod layout;
mod schema;
mod tables;
mod usage;
mod write;

pub use config::ScyllaConfig;
pub use exporter::Scylla;
pub use tables::SOURCES;

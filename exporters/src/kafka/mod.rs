//! `kafka`: an idempotent producer, one topic per table, at least once.

mod client;
mod config;
mod exporter;
mod topics;

pub use config::KafkaConfig;
pub use exporter::Kafka;

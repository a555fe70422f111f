//! `kafka`: one topic per table and chain; JSON or Avro; at least once by idempotent writes, or
//! exactly once by transactions that hold rows and cursor.

mod avro;
mod client;
mod config;
mod cursors;
mod exporter;
mod failure;
mod legacy;
mod message;
mod registry;
mod topics;
mod transaction;

pub use config::{KafkaConfig, PayloadFormat, RegistryConfig};
pub use exporter::Kafka;

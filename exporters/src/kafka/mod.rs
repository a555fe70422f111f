//! `kafka`: one topic per table and chain; at least once by idempotent writes, or exactly once by
//! transactions that hold rows and cursor.

mod client;
mod config;
mod cursors;
mod exporter;
mod failure;
mod topics;
mod transaction;

pub use config::KafkaConfig;
pub use exporter::Kafka;

use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::FutureRecord;

use crate::encode::Row;

/// A row as a record of a topic; `lsn` is that of the row, as text.
fn record<'a>(topic: &'a str, row: &'a Row, lsn: &'a str) -> FutureRecord<'a, str, str> {
    let headers = OwnedHeaders::new()
        .insert(Header { key: "event_id", value: Some(&row.event_id) })
        .insert(Header { key: "lsn", value: Some(lsn) })
        .insert(Header { key: "op", value: Some(row.op.as_str()) });
    FutureRecord::to(topic).key(row.key.as_str()).payload(row.json.as_str()).headers(headers)
}

//! Rows as records of topics: a file of its own, as both ways to send need it.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use arrow_avro::writer::Encoder;
use headwater_storage::model::{EventHead, Op, OwnedEvent};
use headwater_storage::tables::Table;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::FutureRecord;
use tokio::sync::Mutex;

use crate::encode::{Picked, json};
use crate::{Batch, BuildError, ExportError, Scope};

use super::KafkaConfig;
use super::avro;
use super::config::PayloadFormat;
use super::registry::Registry;
use super::topics::Names;

/// Rows of an event that go to a topic.
pub(super) struct Records {
    /// The topic.
    pub(super) topic: String,
    /// The table that they come from.
    pub(super) table: Table,
    /// The event.
    pub(super) head: EventHead,
    /// Their columns.
    pub(super) columns: RecordBatch,
    /// Those that go.
    pub(super) picked: Vec<Picked>,
}

/// A row as a record of a topic.
pub(super) struct Message {
    pub(super) topic: String,
    pub(super) event_id: String,
    pub(super) key: String,
    pub(super) lsn: String,
    pub(super) op: Op,
    pub(super) value: Vec<u8>,
}

impl Message {
    /// Bytes of key and value.
    pub(super) fn bytes(&self) -> usize {
        self.key.len() + self.value.len()
    }

    /// What librdkafka takes.
    pub(super) fn record(&self) -> FutureRecord<'_, str, [u8]> {
        let headers = OwnedHeaders::new()
            .insert(Header { key: "event_id", value: Some(&self.event_id) })
            .insert(Header { key: "lsn", value: Some(&self.lsn) })
            .insert(Header { key: "op", value: Some(self.op.as_str()) });
        let record = FutureRecord::to(&self.topic).key(self.key.as_str());
        record.payload(self.value.as_slice()).headers(headers)
    }
}

/// Makes messages of rows.
pub(super) enum Form {
    /// JSON objects.
    Json,
    /// Avro under ids of a registry; an encoder per topic, once its schema is known there.
    Avro { registry: Box<Registry>, encoders: Mutex<BTreeMap<String, Encoder>> },
}

impl Form {
    pub(super) fn new(name: &str, config: &KafkaConfig) -> Result<Form, BuildError> {
        let wrong = |reason| BuildError::Config { name: name.to_owned(), reason };
        match (config.format, &config.schema_registry) {
            (PayloadFormat::Json, None) => Ok(Form::Json),
            (PayloadFormat::Json, Some(_)) => {
                Err(wrong("`schema_registry` needs `format = \"avro\"`".to_owned()))
            }
            (PayloadFormat::Avro, None) => {
                Err(wrong("`format = \"avro\"` needs `schema_registry = { url = .. }`".to_owned()))
            }
            (PayloadFormat::Avro, Some(registry)) => {
                let registry = Box::new(Registry::new(registry.clone()).map_err(wrong)?);
                Ok(Form::Avro { registry, encoders: Mutex::default() })
            }
        }
    }

    /// The messages of an event, in order.
    pub(super) async fn messages(
        &self,
        names: &Names,
        batch: &Batch,
        event: &OwnedEvent,
    ) -> Result<Vec<Message>, ExportError> {
        let mut messages = Vec::new();
        for records in names.records(batch, event) {
            match self {
                Form::Json => messages.extend(in_json(records)),
                Form::Avro { registry, encoders } => {
                    let (topic, table) = (&records.topic, records.table);
                    let mut encoders = encoders.lock().await;
                    if !encoders.contains_key(topic) {
                        let encoder = prepare(registry, names, topic, table).await?;
                        encoders.insert(topic.clone(), encoder);
                    }
                    let encoder = encoders.get_mut(topic);
                    let values = encoder
                        .map_or(Ok(Vec::new()), |e| avro::encode(e, table, &records.columns));
                    let values = values.map_err(|error| refused(topic, &error))?;
                    messages.extend(framed(records, values));
                }
            }
        }
        Ok(messages)
    }

    /// Makes sure of the schemas that chains and tables need.
    pub(super) async fn check(&self, names: &Names, scope: &Scope) -> Result<(), ExportError> {
        let Form::Avro { registry, encoders } = self else { return Ok(()) };
        for (topic, table) in names.of(scope) {
            let encoder = prepare(registry, names, &topic, table).await?;
            encoders.lock().await.insert(topic, encoder);
        }
        Ok(())
    }

    /// Schemas that are not registered.
    pub(super) async fn missing(
        &self,
        names: &Names,
        scope: &Scope,
    ) -> Result<Vec<String>, ExportError> {
        let Form::Avro { registry, .. } = self else { return Ok(Vec::new()) };
        let mut missing = Vec::new();
        for (topic, table) in names.of(scope) {
            let schema = names.schema(table).map_err(|error| refused(&topic, &error))?;
            if registry.find(&subject(&topic), &schema).await?.is_none() {
                missing.push(format!("subject {} {schema}", subject(&topic)));
            }
        }
        Ok(missing)
    }
}

/// The subject of a topic's values.
fn subject(topic: &str) -> String {
    format!("{topic}-value")
}

fn refused(topic: &str, error: &avro::AvroError) -> ExportError {
    ExportError::Refused { sink: format!("the topic {topic}"), reason: error.to_string() }
}

async fn prepare(
    registry: &Registry,
    names: &Names,
    topic: &str,
    table: Table,
) -> Result<Encoder, ExportError> {
    let schema = names.schema(table).map_err(|error| refused(topic, &error))?;
    let id = registry.ensure(&subject(topic), &schema).await?;
    let encoder = avro::encoder(table, &names.columns(table), schema, id);
    encoder.map_err(|error| refused(topic, &error))
}

/// The rows that go, as JSON objects.
pub(super) fn in_json(records: Records) -> impl Iterator<Item = Message> {
    let Records { topic, head, columns, picked, .. } = records;
    picked.into_iter().map(move |Picked { at, event_id, key }| {
        let mut json = String::with_capacity(1024);
        json::write_row(&columns, at, &mut json);
        json.push('}');
        let (topic, lsn) = (topic.clone(), head.lsn.to_string());
        Message { topic, event_id, key, lsn, op: head.op, value: json.into_bytes() }
    })
}

/// The rows that go, with their bytes.
fn framed(records: Records, values: Vec<Vec<u8>>) -> Vec<Message> {
    let Records { topic, head, picked, .. } = records;
    let mut values: Vec<Option<Vec<u8>>> = values.into_iter().map(Some).collect();
    let message = |picked: Picked| {
        let value = values.get_mut(picked.at).and_then(Option::take)?;
        let (topic, lsn, op) = (topic.clone(), head.lsn.to_string(), head.op);
        Some(Message { topic, event_id: picked.event_id, key: picked.key, lsn, op, value })
    };
    picked.into_iter().filter_map(message).collect()
}

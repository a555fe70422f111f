//! Rows as records of topics: a file of its own, as both ways to send need it.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

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
use super::avro::{self, KEY_SCHEMA};
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
    pub(super) key: Vec<u8>,
    pub(super) lsn: String,
    pub(super) op: Op,
    pub(super) value: Vec<u8>,
    /// `1/3`: a piece of a value that is too large for one record.
    pub(super) part: Option<String>,
}

impl Message {
    /// The message, or its pieces in order.
    pub(super) fn split(self, bytes_max: Option<NonZeroUsize>) -> Vec<Message> {
        let Some(bytes_max) = bytes_max.filter(|max| self.value.len() > max.get()) else {
            return vec![self];
        };
        let count = self.value.len().div_ceil(bytes_max.get());
        let piece = |(at, value): (usize, &[u8])| Message {
            topic: self.topic.clone(),
            event_id: self.event_id.clone(),
            key: self.key.clone(),
            lsn: self.lsn.clone(),
            op: self.op,
            value: value.to_vec(),
            part: Some(format!("{}/{count}", at + 1)),
        };
        self.value.chunks(bytes_max.get()).enumerate().map(piece).collect()
    }

    /// Bytes of key and value.
    pub(super) fn bytes(&self) -> usize {
        self.key.len() + self.value.len()
    }

    /// What librdkafka takes.
    pub(super) fn record(&self) -> FutureRecord<'_, [u8], [u8]> {
        let mut headers = OwnedHeaders::new()
            .insert(Header { key: "event_id", value: Some(&self.event_id) })
            .insert(Header { key: "lsn", value: Some(&self.lsn) })
            .insert(Header { key: "op", value: Some(self.op.as_str()) });
        if let Some(part) = &self.part {
            headers = headers.insert(Header { key: "part", value: Some(part) });
        }
        let record = FutureRecord::to(&self.topic).key(self.key.as_slice());
        record.payload(self.value.as_slice()).headers(headers)
    }
}

/// Makes messages of rows.
pub(super) enum Form {
    /// JSON objects.
    Json,
    /// Avro under ids of a registry.
    Avro(Box<Avro>),
}

/// Avro, once the schemas of a topic are known in the registry.
pub(super) struct Avro {
    registry: Registry,
    has_keys: bool,
    encoders: Mutex<BTreeMap<String, Encoders>>,
}

/// Of a topic.
struct Encoders {
    value: Encoder,
    /// The id of keys; without it they are text.
    key: Option<u32>,
}

impl Form {
    pub(super) fn new(name: &str, config: &KafkaConfig) -> Result<Form, BuildError> {
        let wrong = |reason| BuildError::Config { name: name.to_owned(), reason };
        match (config.format, &config.schema_registry) {
            (PayloadFormat::Json, None) if config.avro_keys => {
                Err(wrong("`avro_keys` needs `format = \"avro\"`".to_owned()))
            }
            (PayloadFormat::Json, None) => Ok(Form::Json),
            (PayloadFormat::Json, Some(_)) => {
                Err(wrong("`schema_registry` needs `format = \"avro\"`".to_owned()))
            }
            (PayloadFormat::Avro, None) => {
                Err(wrong("`format = \"avro\"` needs `schema_registry = { url = .. }`".to_owned()))
            }
            (PayloadFormat::Avro, Some(registry)) => {
                let registry = Registry::new(registry.clone()).map_err(wrong)?;
                let (has_keys, encoders) = (config.avro_keys, Mutex::default());
                Ok(Form::Avro(Box::new(Avro { registry, has_keys, encoders })))
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
                Form::Avro(avro) => messages.extend(avro.framed(names, records).await?),
            }
        }
        Ok(messages)
    }

    /// Makes sure of the schemas that chains and tables need.
    pub(super) async fn check(&self, names: &Names, scope: &Scope) -> Result<(), ExportError> {
        let Form::Avro(avro) = self else { return Ok(()) };
        for (topic, table) in names.of(scope) {
            let encoders = avro.prepare(names, &topic, table).await?;
            avro.encoders.lock().await.insert(topic, encoders);
        }
        Ok(())
    }

    /// Schemas that are not registered.
    pub(super) async fn missing(
        &self,
        names: &Names,
        scope: &Scope,
    ) -> Result<Vec<String>, ExportError> {
        let Form::Avro(avro) = self else { return Ok(Vec::new()) };
        let mut missing = Vec::new();
        for (topic, table) in names.of(scope) {
            let schema = names.schema(table).map_err(|error| refused(&topic, &error))?;
            let of_key = avro.has_keys.then(|| (subject_of_keys(&topic), KEY_SCHEMA.to_owned()));
            for (subject, schema) in of_key.into_iter().chain([(subject(&topic), schema)]) {
                if avro.registry.find(&subject, &schema).await?.is_none() {
                    missing.push(format!("subject {subject} {schema}"));
                }
            }
        }
        Ok(missing)
    }
}

impl Avro {
    async fn prepare(
        &self,
        names: &Names,
        topic: &str,
        table: Table,
    ) -> Result<Encoders, ExportError> {
        let schema = names.schema(table).map_err(|error| refused(topic, &error))?;
        let id = self.registry.ensure(&subject(topic), &schema).await?;
        let value = avro::encoder(table, &names.columns(table), schema, id);
        let value = value.map_err(|error| refused(topic, &error))?;
        let key = if self.has_keys {
            Some(self.registry.ensure(&subject_of_keys(topic), KEY_SCHEMA).await?)
        } else {
            None
        };
        Ok(Encoders { value, key })
    }

    /// The rows that go, with their bytes.
    async fn framed(&self, names: &Names, records: Records) -> Result<Vec<Message>, ExportError> {
        let Records { topic, table, head, columns, picked } = records;
        let mut encoders = self.encoders.lock().await;
        if !encoders.contains_key(&topic) {
            let prepared = self.prepare(names, &topic, table).await?;
            encoders.insert(topic.clone(), prepared);
        }
        let Some(encoders) = encoders.get_mut(&topic) else { return Ok(Vec::new()) };
        let values = avro::encode(&mut encoders.value, table, &columns);
        let values = values.map_err(|error| refused(&topic, &error))?;
        let mut values: Vec<Option<Vec<u8>>> = values.into_iter().map(Some).collect();
        let message = |Picked { at, event_id, key }: Picked| {
            let value = values.get_mut(at).and_then(Option::take)?;
            let key = match encoders.key {
                Some(id) => avro::key(id, &key),
                None => key.into_bytes(),
            };
            let (topic, lsn) = (topic.clone(), head.lsn.to_string());
            Some(Message { topic, event_id, key, lsn, op: head.op, value, part: None })
        };
        Ok(picked.into_iter().filter_map(message).collect())
    }
}

/// The subject of a topic's values.
fn subject(topic: &str) -> String {
    format!("{topic}-value")
}

/// The subject of a topic's keys.
fn subject_of_keys(topic: &str) -> String {
    format!("{topic}-key")
}

fn refused(topic: &str, error: &avro::AvroError) -> ExportError {
    ExportError::Refused { sink: format!("the topic {topic}"), reason: error.to_string() }
}

/// The rows that go, as JSON objects.
pub(super) fn in_json(records: Records) -> impl Iterator<Item = Message> {
    let Records { topic, head, columns, picked, .. } = records;
    picked.into_iter().map(move |Picked { at, event_id, key }| {
        let mut json = String::with_capacity(1024);
        json::write_row(&columns, at, &mut json);
        json.push('}');
        let (topic, lsn) = (topic.clone(), head.lsn.to_string());
        let (key, value) = (key.into_bytes(), json.into_bytes());
        Message { topic, event_id, key, lsn, op: head.op, value, part: None }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_value_goes_in_pieces_that_are_the_whole() {
        let message = |length| Message {
            topic: "t".to_owned(),
            event_id: "e:1:logs:0".to_owned(),
            key: b"k".to_vec(),
            lsn: "1".to_owned(),
            op: Op::Applied,
            value: (0..length).map(|at| at as u8).collect(),
            part: None,
        };
        let pieces = |length, max| -> Vec<(Option<String>, usize)> {
            let split = message(length).split(NonZeroUsize::new(max));
            let whole: Vec<u8> = split.iter().flat_map(|piece| piece.value.clone()).collect();
            assert_eq!(whole, message(length).value);
            split.into_iter().map(|piece| (piece.part, piece.value.len())).collect()
        };
        assert_eq!(pieces(100, 0), [(None, 100)], "no limit");
        assert_eq!(pieces(100, 100), [(None, 100)]);
        let part = |text: &str, bytes| (Some(text.to_owned()), bytes);
        assert_eq!(pieces(250, 100), [part("1/3", 100), part("2/3", 100), part("3/3", 50)]);
    }
}

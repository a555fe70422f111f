//! Topics, made on request, and what goes into each.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use headwater_storage::model::{ChainName, OwnedEvent};
use headwater_storage::tables::Table;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::error::KafkaError;
use rdkafka::producer::Producer;
use rdkafka::types::RDKafkaErrorCode;

use crate::encode::sink_schema;
use crate::{Batch, ExportError, Scope};

use super::KafkaConfig;
use super::avro::{self, AvroError};
use super::client::{Client, Context, blocking};
use super::config::Layout;
use super::cursors;
use super::failure::failure;
use super::legacy;
use super::message::Records;

const METADATA_TIMEOUT: Duration = Duration::from_secs(10);

/// How topics are named.
#[derive(Clone, Debug)]
pub(super) struct Names {
    prefix: String,
    layout: Layout,
}

impl Names {
    pub(super) fn new(config: &KafkaConfig) -> Names {
        Names { prefix: config.prefix.clone(), layout: config.layout }
    }

    /// The records that an event's rows of a table become, by topic.
    pub(super) fn records(&self, batch: &Batch, event: &OwnedEvent) -> Vec<Records> {
        let rows = batch.tables_of(event).filter(|rows| !rows.picked.is_empty());
        let mut records = Vec::new();
        for rows in rows {
            match (self.layout, &event.block) {
                (Layout::Tables, _) => records.push(Records {
                    topic: self.topic(&batch.chain, rows.table),
                    table: rows.table,
                    head: rows.head,
                    columns: rows.columns,
                    picked: rows.picked,
                }),
                (Layout::Legacy, Some(block)) => {
                    records.extend(legacy::records(&self.prefix, block, rows));
                }
                (Layout::Legacy, None) => {}
            }
        }
        records
    }

    /// `<prefix><chain>.<table>`.
    fn topic(&self, chain: &ChainName, table: Table) -> String {
        format!("{}{chain}.{}", self.prefix, table.name())
    }

    /// The topics of all chains and tables.
    pub(super) fn of(&self, scope: &Scope) -> Vec<(String, Table)> {
        let legacy = |table: &Table| {
            let topics = legacy::topics(*table).into_iter();
            topics.map(|topic| (format!("{}{topic}", self.prefix), *table)).collect::<Vec<_>>()
        };
        let plain = |chain: &ChainName| {
            let topic = |table: &Table| (self.topic(chain, *table), *table);
            scope.tables.iter().map(topic).collect::<Vec<(String, Table)>>()
        };
        match self.layout {
            Layout::Tables => scope.chains.iter().flat_map(plain).collect(),
            Layout::Legacy => scope.tables.iter().flat_map(legacy).collect(),
        }
    }

    /// The Avro schema of a table's records.
    pub(super) fn schema(&self, table: Table) -> Result<String, AvroError> {
        match self.layout {
            Layout::Tables => avro::schema(table),
            Layout::Legacy => Ok(legacy::schema(table)),
        }
    }

    /// The columns of a table's records.
    pub(super) fn columns(&self, table: Table) -> SchemaRef {
        match self.layout {
            Layout::Tables => sink_schema(table),
            Layout::Legacy => legacy::columns(table),
        }
    }
}

/// Topics that must be there, and the number of partitions of those that are made.
fn wanted(config: &KafkaConfig, scope: &Scope) -> BTreeMap<String, i32> {
    let topics = Names::new(config).of(scope).into_iter();
    let mut wanted: BTreeMap<String, i32> =
        topics.map(|(topic, _)| (topic, config.partitions)).collect();
    if config.exactly_once {
        wanted.insert(cursors::topic(config), 1);
    }
    wanted
}

/// Proves that the broker answers and every topic is there; makes missing ones when allowed.
pub(super) async fn ensure(
    config: &KafkaConfig,
    scope: &Scope,
    client: &Client,
) -> Result<(), ExportError> {
    let sink = config.sink();
    let missing = missing(config, scope, client).await?;
    if missing.is_empty() {
        return Ok(());
    }
    if !config.create_topics {
        return Err(ExportError::Missing {
            sink,
            what: format!("the topics {}", missing.into_keys().collect::<Vec<_>>().join(", ")),
            fix: "create them or set `create_topics = true`".to_owned(),
        });
    }
    create(config, &sink, &missing).await
}

/// Topics that are not there, and the number of their partitions.
pub(super) async fn missing(
    config: &KafkaConfig,
    scope: &Scope,
    client: &Client,
) -> Result<BTreeMap<String, i32>, ExportError> {
    let existing = existing(client.clone(), &config.sink()).await?;
    let mut missing = wanted(config, scope);
    missing.retain(|topic, _| !existing.contains(topic));
    Ok(missing)
}

async fn existing(client: Client, sink: &str) -> Result<BTreeSet<String>, ExportError> {
    let asking = client.clone();
    let asked = blocking(move || {
        let metadata = asking.producer.client().fetch_metadata(None, METADATA_TIMEOUT)?;
        Ok(metadata.topics().iter().map(|topic| topic.name().to_owned()).collect())
    });
    let existing = asked.await.map_err(|error| failure(sink, &client, &error, None))?;
    client.forget_complaint();
    Ok(existing)
}

async fn create(
    config: &KafkaConfig,
    sink: &str,
    topics: &BTreeMap<String, i32>,
) -> Result<(), ExportError> {
    let unavailable = |error: KafkaError| ExportError::Unavailable {
        sink: sink.to_owned(),
        reason: error.to_string(),
    };
    let admin: AdminClient<Context> =
        config.plain().create_with_context(Context::default()).map_err(unavailable)?;
    let of_cursors = cursors::topic(config);
    let mut new = Vec::new();
    for (topic, partitions) in topics {
        let mut made =
            NewTopic::new(topic, *partitions, TopicReplication::Fixed(config.replication));
        if *topic == of_cursors {
            made = made.set("cleanup.policy", "compact");
        } else {
            for (key, value) in &config.topic_settings {
                made = made.set(key, value);
            }
        }
        new.push(made);
    }
    let options = AdminOptions::new().operation_timeout(Some(METADATA_TIMEOUT));
    for result in admin.create_topics(&new, &options).await.map_err(unavailable)? {
        match result {
            Ok(topic) => tracing::info!(topic, "made a topic"),
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, code)) => {
                let reason = format!("cannot make the topic {topic}: {code}");
                return Err(ExportError::Refused { sink: sink.to_owned(), reason });
            }
        }
    }
    Ok(())
}

//! Topics: one per table and chain, made on request.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use headwater_storage::model::ChainName;
use headwater_storage::tables::Table;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::error::KafkaError;
use rdkafka::producer::Producer;
use rdkafka::types::RDKafkaErrorCode;

use crate::{ExportError, Scope};

use super::KafkaConfig;
use super::client::{Client, Context, blocking};
use super::cursors;
use super::failure::failure;

const METADATA_TIMEOUT: Duration = Duration::from_secs(10);

/// `<prefix><chain>.<table>`.
pub(super) fn topic(prefix: &str, chain: &ChainName, table: Table) -> String {
    format!("{prefix}{chain}.{}", table.name())
}

/// The topic of each chain and table.
pub(super) fn of(prefix: &str, chains: &[ChainName], tables: &[Table]) -> Vec<(String, Table)> {
    let of_chain = |chain| tables.iter().map(move |table| (topic(prefix, chain, *table), *table));
    chains.iter().flat_map(of_chain).collect()
}

/// Topics that must be there, and the number of partitions of those that are made.
fn wanted(config: &KafkaConfig, scope: &Scope) -> BTreeMap<String, i32> {
    let topics = of(&config.prefix, &scope.chains, &scope.tables).into_iter();
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

//! Topics: one per table and chain, made on request.

use std::collections::BTreeSet;
use std::time::Duration;

use headwater_storage::model::ChainName;
use headwater_storage::tables::Table;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::error::KafkaError;
use rdkafka::producer::Producer;
use rdkafka::types::RDKafkaErrorCode;

use crate::{ExportError, Scope};

use super::KafkaConfig;
use super::client::{Client, Context};

const METADATA_TIMEOUT: Duration = Duration::from_secs(10);

/// `<prefix><chain>.<table>`.
pub(super) fn topic(prefix: &str, chain: &ChainName, table: Table) -> String {
    format!("{prefix}{chain}.{}", table.name())
}

fn wanted(config: &KafkaConfig, scope: &Scope) -> BTreeSet<String> {
    let pairs = scope.chains.iter().flat_map(|chain| {
        scope.tables.iter().map(move |table| topic(&config.prefix, chain, *table))
    });
    pairs.collect()
}

/// Proves that the broker answers and every topic is there; makes missing ones when allowed.
pub(super) async fn ensure(
    config: &KafkaConfig,
    scope: &Scope,
    client: &Client,
) -> Result<(), ExportError> {
    let sink = config.brokers.join(",");
    let existing = existing(client.clone(), &sink).await?;
    let missing: Vec<String> =
        wanted(config, scope).into_iter().filter(|topic| !existing.contains(topic)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !config.create_topics {
        return Err(ExportError::Missing {
            sink,
            what: format!("the topics {}", missing.join(", ")),
            fix: "create them or set `create_topics = true`".to_owned(),
        });
    }
    create(config, &sink, &missing).await
}

async fn existing(client: Client, sink: &str) -> Result<BTreeSet<String>, ExportError> {
    let asking = client.clone();
    let asked = tokio::task::spawn_blocking(move || {
        let metadata = asking.producer.client().fetch_metadata(None, METADATA_TIMEOUT)?;
        Ok(metadata.topics().iter().map(|topic| topic.name().to_owned()).collect())
    });
    let answer: Result<_, KafkaError> = match asked.await {
        Ok(answer) => answer,
        Err(_cancelled) => Err(KafkaError::Canceled),
    };
    let unavailable = |error: KafkaError| ExportError::Unavailable {
        sink: sink.to_owned(),
        reason: client.reason(&error),
    };
    answer.map_err(unavailable)
}

async fn create(config: &KafkaConfig, sink: &str, topics: &[String]) -> Result<(), ExportError> {
    let mut client: ClientConfig = config.client();
    for producer_only in
        ["enable.idempotence", "acks", "message.timeout.ms", "linger.ms", "compression.type"]
    {
        client.remove(producer_only);
    }
    client.remove("queue.buffering.max.messages").remove("queue.buffering.max.kbytes");
    let unavailable = |error: KafkaError| ExportError::Unavailable {
        sink: sink.to_owned(),
        reason: error.to_string(),
    };
    let admin: AdminClient<Context> =
        client.create_with_context(Context::default()).map_err(unavailable)?;
    let new: Vec<NewTopic<'_>> = topics
        .iter()
        .map(|topic| {
            let replication = TopicReplication::Fixed(config.replication);
            NewTopic::new(topic, config.partitions, replication)
        })
        .collect();
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

//! Sends a batch and waits for every delivery report.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::future_producer::Delivery;
use rdkafka::producer::{DeliveryFuture, FutureRecord, Producer, PurgeConfig};

use crate::encode::Row;
use crate::{Batch, BuildError, ExportError, Exporter, Scope};

use super::KafkaConfig;
use super::client::Client;
use super::topics;

/// How long to wait for room in the producer's own queue.
const QUEUE_FULL_PAUSE: Duration = Duration::from_millis(5);

/// The Kafka sink.
pub struct Kafka {
    config: KafkaConfig,
    scope: Scope,
    /// Made anew after a fatal error.
    client: Mutex<Option<Client>>,
}

impl Kafka {
    /// Checks the keys; connects to nothing yet.
    pub fn open(name: &str, config: KafkaConfig, scope: &Scope) -> Result<Kafka, BuildError> {
        let wrong = |reason| BuildError::Config { name: name.to_owned(), reason };
        if let Some(problem) = config.problem() {
            return Err(wrong(problem));
        }
        let client = Client::new(&config.client())
            .map_err(|error| wrong(format!("librdkafka refuses the settings: {error}")))?;
        Ok(Kafka { config, scope: scope.clone(), client: Mutex::new(Some(client)) })
    }

    fn sink(&self) -> String {
        self.config.brokers.join(",")
    }

    fn client(&self) -> Result<Client, ExportError> {
        let mut held = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = held.as_ref() {
            return Ok(client.clone());
        }
        let client = Client::new(&self.config.client()).map_err(|error| ExportError::Refused {
            sink: self.sink(),
            reason: error.to_string(),
        })?;
        *held = Some(client.clone());
        Ok(client)
    }

    /// A producer that met a fatal error never works again.
    fn forget_if_fatal(&self, client: &Client) {
        if let Some((code, reason)) = client.producer.client().fatal_error() {
            tracing::warn!(%code, reason, "the producer met a fatal error: a new one is made");
            *self.client.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    /// Hands a row to the producer; waits while its queue is full.
    async fn send(
        &self,
        client: &Client,
        topic: &str,
        row: &Row,
    ) -> Result<DeliveryFuture, KafkaError> {
        let lsn = row.lsn.to_string();
        let headers = OwnedHeaders::new()
            .insert(Header { key: "event_id", value: Some(&row.event_id) })
            .insert(Header { key: "lsn", value: Some(&lsn) })
            .insert(Header { key: "op", value: Some(row.op.as_str()) });
        let mut record = FutureRecord::to(topic).key(&row.key).payload(&row.json).headers(headers);
        loop {
            match client.producer.send_result(record) {
                Ok(delivery) => return Ok(delivery),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), again)) => {
                    record = again;
                    tokio::time::sleep(QUEUE_FULL_PAUSE).await;
                }
                Err((error, _)) => return Err(error),
            }
        }
    }

    fn failure(&self, client: &Client, error: &KafkaError, row: &str) -> ExportError {
        let sink = self.sink();
        let reason = client.reason(error);
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidMessageSize) => {
                ExportError::Row { sink, event_id: row.to_owned(), reason }
            }
            Some(
                RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownPartition,
            ) => ExportError::Missing {
                sink,
                what: format!("a topic ({reason})"),
                fix: "create it or set `create_topics = true`".to_owned(),
            },
            Some(
                RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::ClusterAuthorizationFailed
                | RDKafkaErrorCode::SaslAuthenticationFailed
                | RDKafkaErrorCode::Authentication,
            ) => ExportError::Refused { sink, reason },
            _ => ExportError::Unavailable { sink, reason },
        }
    }
}

#[async_trait]
impl Exporter for Kafka {
    async fn check(&self) -> Result<(), ExportError> {
        topics::ensure(&self.config, &self.scope, &self.client()?).await
    }

    async fn export(&self, batch: &Batch) -> Result<(), ExportError> {
        let client = self.client()?;
        let mut deliveries: Vec<(String, DeliveryFuture)> = Vec::new();
        for row in batch.rows() {
            let topic = topics::topic(&self.config.prefix, &batch.chain, row.table);
            match self.send(&client, &topic, &row).await {
                Ok(delivery) => deliveries.push((row.event_id, delivery)),
                Err(error) => {
                    self.forget_if_fatal(&client);
                    return Err(self.failure(&client, &error, &row.event_id));
                }
            }
        }
        // INV-5: the batch counts only after every delivery report.
        for (event_id, delivery) in deliveries {
            let report: Result<Delivery, KafkaError> = match delivery.await {
                Ok(Ok(delivery)) => Ok(delivery),
                Ok(Err((error, _))) => Err(error),
                Err(_cancelled) => Err(KafkaError::Canceled),
            };
            if let Err(error) = report {
                self.forget_if_fatal(&client);
                return Err(self.failure(&client, &error, &event_id));
            }
        }
        Ok(())
    }

    async fn close(&self) {
        let held = self.client.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(client) = held {
            // What was not acknowledged comes again after the next start.
            client.producer.purge(PurgeConfig::default().queue().inflight());
        }
    }
}

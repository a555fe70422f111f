//! What librdkafka's errors mean for an export: a file of its own, as both ways to send need it.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::ExportError;
use crate::error::words_of;

use super::client::Client;

/// What an error means; `row` is the row that it happened to.
pub(super) fn failure(
    sink: &str,
    client: &Client,
    error: &KafkaError,
    row: Option<&str>,
) -> ExportError {
    let sink = sink.to_owned();
    let complaint = client.complaint();
    let reason = match &complaint {
        Some(complaint) => format!("{error}; {}", words_of(&complaint.text)),
        None => words_of(&error.to_string()),
    };
    // A wrong password looks like an absent broker, but for what the client complained of.
    if complaint.is_some_and(|complaint| complaint.is_refusal()) {
        return ExportError::Refused { sink, reason };
    }
    match (error.rdkafka_error_code(), row) {
        (
            Some(RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidMessageSize),
            Some(event_id),
        ) => ExportError::Row { sink, event_id: event_id.to_owned(), reason },
        (
            Some(
                RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownPartition,
            ),
            _,
        ) => ExportError::Missing {
            sink,
            what: format!("a topic ({reason})"),
            fix: "create it or set `create_topics = true`".to_owned(),
        },
        (
            Some(
                RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::ClusterAuthorizationFailed
                | RDKafkaErrorCode::TransactionalIdAuthorizationFailed
                | RDKafkaErrorCode::SaslAuthenticationFailed
                | RDKafkaErrorCode::Authentication
                | RDKafkaErrorCode::SSL,
            ),
            _,
        ) => ExportError::Refused { sink, reason },
        _ => ExportError::Unavailable { sink, reason },
    }
}

/// Whether another producer has our transactional id, or the broker thinks so: a transaction that
/// outlives its time ends like this too.
pub(super) fn is_fenced(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::Fenced
                | RDKafkaErrorCode::ProducerFenced
                | RDKafkaErrorCode::InvalidProducerEpoch
        )
    )
}

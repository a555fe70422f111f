//! The compacted topic where rows and cursor are one transaction: a file of its own, as only
//! `exactly_once` needs it.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};

use crate::Mark;

use super::KafkaConfig;
use super::client::Context;

/// The only partition that is used, however many there are.
pub(super) const PARTITION: i32 = 0;
const POLL: Duration = Duration::from_millis(500);
const WATERMARKS_TIMEOUT: Duration = Duration::from_secs(10);
/// Polls in vain before it is given up: half a minute.
const IDLE_MAX: u32 = 60;

/// The topic.
pub(super) fn topic(config: &KafkaConfig) -> String {
    format!("{}headwater.cursors", config.prefix)
}

/// The key under which an exporter's position is.
pub(super) fn cursor_key(id: &str) -> String {
    format!("cursor:{id}")
}

/// The key under which it is written who exports.
pub(super) fn claim_key(id: &str) -> String {
    format!("claim:{id}")
}

/// Who exports under a transactional id.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Claim {
    /// A random name of the process.
    pub(super) instance: String,
    /// It ended, and said so.
    #[serde(default)]
    pub(super) is_released: bool,
}

/// What the topic says of one transactional id.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) claim: Option<Claim>,
    pub(super) cursor: Option<Mark>,
}

/// Reads what is committed of an id: up to the claim of an instance, or to the end. `None` when
/// that claim did not show up in time.
pub(super) fn read(
    config: &KafkaConfig,
    id: &str,
    upto: Option<&str>,
) -> Result<Option<Found>, KafkaError> {
    let consumer: BaseConsumer<Context> =
        config.consumer().create_with_context(Context::default())?;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&topic(config), PARTITION, Offset::Beginning)?;
    consumer.assign(&list)?;
    let (cursor_key, claim_key) = (cursor_key(id), claim_key(id));
    let mut found = Found::default();
    // While others write there is no end: who looks is content with what was there at first.
    let (_, end) = consumer.fetch_watermarks(&topic(config), PARTITION, WATERMARKS_TIMEOUT)?;
    let mut idle = 0;
    while idle < IDLE_MAX {
        let message = match consumer.poll(POLL) {
            Some(Ok(message)) => message,
            // Behind the end may lie what other transactions hold back: our claim is awaited.
            Some(Err(KafkaError::PartitionEOF(_))) if upto.is_none() => return Ok(Some(found)),
            Some(Err(KafkaError::PartitionEOF(_))) | None => {
                idle += 1;
                continue;
            }
            Some(Err(error)) => return Err(error),
        };
        let (key, value) = (message.key().unwrap_or_default(), message.payload());
        let value = value.unwrap_or_default();
        if key == cursor_key.as_bytes() {
            found.cursor = serde_json::from_slice(value).ok();
        } else if key == claim_key.as_bytes() {
            let claim: Option<Claim> = serde_json::from_slice(value).ok();
            let is_it = claim.as_ref().map(|claim| claim.instance.as_str()) == upto;
            found.claim = claim;
            if upto.is_some() && is_it {
                return Ok(Some(found));
            }
        }
        if upto.is_none() && message.offset() >= end {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

//! Keys of `kind = "kafka"`.

use std::collections::BTreeMap;
use std::fmt;

use rdkafka::ClientConfig;

/// Keys of `kind = "kafka"`.
#[derive(Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaConfig {
    /// `host:port` of some brokers.
    pub brokers: Vec<String>,
    /// In front of every topic's name.
    #[serde(default)]
    pub prefix: String,
    /// Make missing topics.
    #[serde(default = "yes")]
    pub create_topics: bool,
    /// Partitions of topics that are made.
    #[serde(default = "one")]
    pub partitions: i32,
    /// Replicas of topics that are made; -1 is the broker's default.
    #[serde(default = "broker_default")]
    pub replication: i32,
    /// How long one delivery may take before the whole batch is sent again.
    #[serde(default = "thirty")]
    pub delivery_timeout_secs: u32,
    /// Any librdkafka setting, for example `"security.protocol" = "SASL_SSL"`.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
}

fn yes() -> bool {
    true
}

fn one() -> i32 {
    1
}

fn broker_default() -> i32 {
    -1
}

fn thirty() -> u32 {
    30
}

/// Settings that would break the promises.
const OURS: [&str; 4] =
    ["enable.idempotence", "acks", "request.required.acks", "message.timeout.ms"];

impl KafkaConfig {
    /// What is wrong with the keys, if anything.
    pub(super) fn problem(&self) -> Option<String> {
        if self.brokers.is_empty() {
            return Some("`brokers` is empty: give at least one \"host:port\"".to_owned());
        }
        let ours = OURS.iter().find(|key| self.settings.contains_key(**key))?;
        Some(format!("`settings` must not change `{ours}`: delivery depends on it"))
    }

    /// The producer's settings.
    pub(super) fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client
            .set("bootstrap.servers", self.brokers.join(","))
            .set("client.id", "headwater")
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("compression.type", "zstd")
            .set("linger.ms", "5")
            .set("queue.buffering.max.messages", "100000")
            .set("queue.buffering.max.kbytes", "65536")
            .set("message.timeout.ms", (self.delivery_timeout_secs.max(1) * 1_000).to_string())
            .set("reconnect.backoff.max.ms", "5000");
        for (key, value) in &self.settings {
            client.set(key, value);
        }
        client
    }
}

/// Values of settings may be secrets: only their names are shown (INV-9).
impl fmt::Debug for KafkaConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaConfig")
            .field("brokers", &self.brokers)
            .field("prefix", &self.prefix)
            .field("settings", &self.settings.keys())
            .finish_non_exhaustive()
    }
}

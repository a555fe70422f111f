//! Keys of `kind = "kafka"`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use rdkafka::ClientConfig;
use secrecy::SecretString;

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
    /// Settings of topics of rows that are made, such as `"retention.ms" = "604800000"`.
    #[serde(default)]
    pub topic_settings: BTreeMap<String, String>,
    /// How long one delivery may take before the whole batch is sent again.
    #[serde(default = "thirty")]
    pub delivery_timeout_secs: u32,
    /// Of the values.
    #[serde(default)]
    pub format: PayloadFormat,
    /// Keys are Avro strings, too, under subjects `<topic>-key`; without it they are text.
    #[serde(default)]
    pub avro_keys: bool,
    /// Which topics there are, and what is in their records.
    #[serde(default)]
    pub layout: Layout,
    /// Where the schemas of Avro values are.
    pub schema_registry: Option<RegistryConfig>,
    /// Values that are longer go in pieces of so many bytes, each a record with the header `part`
    /// (`1/3`); without it a row that the brokers find too large is set aside.
    pub split_bytes: Option<std::num::NonZeroUsize>,
    /// Rows and cursor in one transaction: exactly once for who reads `read_committed`.
    #[serde(default)]
    pub exactly_once: bool,
    /// With `exactly_once`: by what the brokers know this exporter; a second node with the same one
    /// takes its place. By default `headwater-<exporter>`; the chain's name is put behind it.
    pub transactional_id: Option<String>,
    /// Any librdkafka setting, for example `"security.protocol" = "SASL_SSL"`.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
}

/// What values are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PayloadFormat {
    /// JSON objects.
    #[default]
    Json,
    /// Avro in Confluent framing.
    Avro,
}

/// Which topics there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// One per table and chain, with the table's columns.
    #[default]
    Tables,
    /// Those of the platform that Headwater replaces.
    Legacy,
}

/// `schema_registry`.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistryConfig {
    /// What stands in front of `/subjects`.
    pub url: String,
    /// For basic authentication.
    pub user: Option<String>,
    /// For basic authentication; may be a reference.
    #[serde(default, deserialize_with = "secret")]
    pub password: Option<SecretString>,
    /// A file with an authority that is trusted beside the system's, in PEM.
    pub certificate: Option<PathBuf>,
    /// Register schemas that are not there, where they are compatible.
    #[serde(default)]
    pub auto_register: bool,
}

fn secret<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<SecretString>, D::Error> {
    let text: Option<String> = serde::Deserialize::deserialize(from)?;
    Ok(text.map(SecretString::from))
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
const OURS: [&str; 7] = [
    "enable.idempotence",
    "acks",
    "request.required.acks",
    "message.timeout.ms",
    "transactional.id",
    "transaction.timeout.ms",
    "bootstrap.servers",
];
const PRODUCER_ONLY: [&str; 7] = [
    "enable.idempotence",
    "acks",
    "message.timeout.ms",
    "linger.ms",
    "compression.type",
    "queue.buffering.max.messages",
    "queue.buffering.max.kbytes",
];
/// The longest time that brokers allow a transaction, and so a delivery in it.
const TRANSACTION_SECS_MAX: u32 = 900;
/// A transaction may take so much longer than a delivery.
const TRANSACTION_SECS_MORE: u32 = 30;

impl KafkaConfig {
    /// What is wrong with the keys, if anything.
    pub(super) fn problem(&self) -> Option<String> {
        if self.brokers.is_empty() {
            return Some("`brokers` is empty: give at least one \"host:port\"".to_owned());
        }
        let longest = TRANSACTION_SECS_MAX - TRANSACTION_SECS_MORE;
        if self.exactly_once && self.delivery_timeout_secs > longest {
            return Some(format!(
                "`delivery_timeout_secs` is at most {longest} with `exactly_once`: brokers end \
                 transactions after {TRANSACTION_SECS_MAX} s"
            ));
        }
        if !self.exactly_once && self.transactional_id.is_some() {
            return Some("`transactional_id` needs `exactly_once = true`".to_owned());
        }
        let ours = OURS.iter().find(|key| self.settings.contains_key(**key))?;
        Some(format!("`settings` must not change `{ours}`: delivery depends on it"))
    }

    /// The sink in errors.
    pub(super) fn sink(&self) -> String {
        self.brokers.join(",")
    }

    /// How long one delivery or one commit may take.
    pub(super) fn delivery_timeout(&self) -> Duration {
        Duration::from_secs(u64::from(self.delivery_timeout_secs.max(1)))
    }

    /// The settings of a producer that sends in transactions.
    pub(super) fn transactional(&self, id: &str) -> ClientConfig {
        let mut client = self.producer();
        let secs = self.delivery_timeout_secs.max(1) + TRANSACTION_SECS_MORE;
        client.set("transactional.id", id);
        client.set("transaction.timeout.ms", (secs * 1_000).to_string());
        client
    }

    /// The settings of a client that sends nothing.
    pub(super) fn plain(&self) -> ClientConfig {
        let mut client = self.producer();
        for producer_only in PRODUCER_ONLY {
            client.remove(producer_only);
        }
        client
    }

    /// The settings of a reader of what is committed.
    pub(super) fn consumer(&self) -> ClientConfig {
        let mut client = self.plain();
        client
            .set("group.id", "headwater")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("isolation.level", "read_committed");
        client
    }

    /// The producer's settings.
    pub(super) fn producer(&self) -> ClientConfig {
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
            .set("message.timeout.ms", self.delivery_timeout().as_millis().to_string())
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

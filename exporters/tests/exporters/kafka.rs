//! Kafka on librdkafka's own mock cluster: the wire protocol without a broker.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use headwater_exporters::contract::{self, Harness, Holding, Seen};
use headwater_exporters::kafka::{Kafka, KafkaConfig};
use headwater_exporters::{Disposition, Exporter, Scope};
use headwater_storage::model::{ChainName, Lsn};
use headwater_storage::tables::Table;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::RDKafkaApiKey;
use rdkafka::types::RDKafkaRespErr;

type Mock = MockCluster<'static, DefaultProducerContext>;

fn chain() -> ChainName {
    "test".parse().unwrap()
}

fn scope() -> Scope {
    Scope { chains: vec![chain()], tables: Table::ALL.to_vec() }
}

fn config(brokers: &str) -> KafkaConfig {
    let text = format!("brokers = [\"{brokers}\"]\nprefix = \"hw.\"\ndelivery_timeout_secs = 2\n");
    toml::from_str(&text).unwrap()
}

/// `HEADWATER_KAFKA=127.0.0.1:9092`: a real broker; says that nothing is tested where there is
/// none.
fn broker() -> Option<String> {
    let address = std::env::var("HEADWATER_KAFKA").ok();
    if address.is_none() {
        println!("NOT RUN: no broker; set HEADWATER_KAFKA or run `make test-kafka`");
    }
    address
}

fn mock_cluster() -> Mock {
    let mock = MockCluster::new(1).unwrap();
    for table in Table::ALL {
        mock.create_topic(&format!("hw.test.{}", table.name()), 1, 1).unwrap();
    }
    mock
}

/// The mock's handle stays with the test: it cannot move between threads.
struct Cluster {
    brokers: String,
    prefix: String,
    is_exact: bool,
    split_bytes: Option<std::num::NonZeroUsize>,
}

impl Cluster {
    fn of(mock: &Mock) -> Cluster {
        let (brokers, prefix) = (mock.bootstrap_servers(), "hw.".to_owned());
        Cluster { brokers, prefix, is_exact: false, split_bytes: None }
    }
}

#[async_trait]
impl Harness for Cluster {
    async fn exporter(&mut self) -> Arc<dyn Exporter> {
        let mut config = config(&self.brokers);
        config.prefix.clone_from(&self.prefix);
        config.split_bytes = self.split_bytes;
        if self.is_exact {
            config.exactly_once = true;
            config.transactional_id = Some(format!("{}contract", self.prefix));
            config.delivery_timeout_secs = 20;
        }
        Arc::new(Kafka::open("kafka", config, &scope()).unwrap())
    }

    async fn holding(&mut self) -> Holding {
        let (brokers, prefix) = (self.brokers.clone(), self.prefix.clone());
        let read = tokio::task::spawn_blocking(move || read_all(&brokers, &prefix));
        Holding::Events(read.await.unwrap())
    }
}

fn read_all(brokers: &str, prefix: &str) -> Vec<Seen> {
    let mut seen = Vec::new();
    for table in Table::ALL {
        let topic = format!("{prefix}test.{}", table.name());
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("group.id", "contract")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "earliest")
            .set("isolation.level", "read_committed")
            .create()
            .unwrap();
        let mut list = rdkafka::TopicPartitionList::new();
        list.add_partition_offset(&topic, 0, rdkafka::Offset::Beginning).unwrap();
        consumer.assign(&list).unwrap();
        let mut value = Vec::new();
        while let Some(Ok(message)) = consumer.poll(Duration::from_secs(5)) {
            let find = |key: &str| {
                let found = message.headers().unwrap().iter().find(|header| header.key == key);
                Some(String::from_utf8(found?.value.unwrap().to_vec()).unwrap())
            };
            let header = |key: &str| find(key).unwrap();
            let key = String::from_utf8(message.key().unwrap().to_vec()).unwrap();
            value.extend(message.payload().unwrap());
            // Pieces of a value follow each other.
            if find("part").is_some_and(|part| part.split_once('/').is_none_or(|(at, of)| at != of))
            {
                continue;
            }
            let row: serde_json::Value =
                serde_json::from_slice(&std::mem::take(&mut value)).unwrap();
            assert_eq!(row["op"], header("op"), "the op is in the row and in the header");
            seen.push(Seen {
                table: table.name().to_owned(),
                event_id: header("event_id"),
                key,
                op: header("op"),
            });
        }
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_keeps_the_contract() {
    let mock = mock_cluster();
    contract::run(&mut Cluster::of(&mock), &chain(), 3).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_keeps_the_contract_with_large_rows_in_pieces() {
    let mock = mock_cluster();
    let split_bytes = std::num::NonZeroUsize::new(300);
    let mut cluster = Cluster { split_bytes, ..Cluster::of(&mock) };
    contract::run(&mut cluster, &chain(), 7).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_keeps_the_contract_on_a_real_broker_in_both_ways() {
    let Some(brokers) = broker() else { return };
    for (seed, is_exact) in [(4, false), (5, true), (6, true)] {
        let prefix = format!("contract-{}-{seed}.", std::process::id());
        let mut cluster = Cluster { brokers: brokers.clone(), prefix, is_exact, split_bytes: None };
        contract::run(&mut cluster, &chain(), seed).await.unwrap();
        if is_exact {
            let Holding::Events(rows) = cluster.holding().await else { continue };
            let ids: std::collections::BTreeSet<_> = rows.iter().map(|row| &row.event_id).collect();
            assert_eq!(ids.len(), rows.len(), "each once");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_topic_stops_and_a_too_large_row_is_parked() {
    let mock = mock_cluster();
    let exporter = Cluster::of(&mock).exporter().await;
    let batch = contract::sample_batch(&chain(), Lsn(1));
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    mock.request_errors(RDKafkaApiKey::Produce, &[refused; 20]);
    let error = exporter.export(&batch).await.unwrap_err();
    assert_eq!(error.disposition(), Disposition::Stop, "{error}");

    let mock = mock_cluster();
    let exporter = Cluster::of(&mock).exporter().await;
    let too_large = RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
    mock.request_errors(RDKafkaApiKey::Produce, &[too_large; 20]);
    let error = exporter.export(&batch).await.unwrap_err();
    assert_eq!(error.disposition(), Disposition::Park, "{error}");
    assert!(error.event_id().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absent_broker_is_retried_not_dropped() {
    let exporter = Kafka::open("kafka", config("127.0.0.1:1"), &scope()).unwrap();
    let batch = contract::sample_batch(&chain(), Lsn(1));
    let error = exporter.export(&batch).await.unwrap_err();
    assert_eq!(error.disposition(), Disposition::Retry, "{error}");
    exporter.close().await;
}

#[test]
fn settings_that_break_the_promise_are_refused() {
    let mut broken = config("127.0.0.1:1");
    broken.settings.insert("acks".to_owned(), "0".to_owned());
    let error = Kafka::open("kafka", broken, &scope()).err().unwrap();
    assert!(error.to_string().contains("must not change `acks`"), "{error}");
    let unknown: Result<KafkaConfig, _> = toml::from_str("brokers = []\nbrokr = 1");
    assert!(unknown.is_err());
}

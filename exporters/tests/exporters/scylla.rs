//! `scylla` on a real CQL server, `HEADWATER_CQL=127.0.0.1:9042`: started by `make test-scylla`.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use headwater_exporters::contract::{self, Harness, Holding};
use headwater_exporters::scylla::{SOURCES, Scylla, ScyllaConfig};
use headwater_exporters::{Disposition, Exporter, Held, Scope};
use headwater_storage::model::{ChainName, Lsn};
use headwater_storage::tables::Table;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::deserialize::row::DeserializeRow;

/// The server's address; says that nothing is tested where there is none.
fn server() -> Option<String> {
    let address = std::env::var("HEADWATER_CQL").ok();
    if address.is_none() {
        println!("NOT RUN: no CQL server; set HEADWATER_CQL or run `make test-scylla`");
    }
    address
}

fn chain() -> ChainName {
    "test".parse().unwrap()
}

fn open(node: &str, keyspace: &str, more: &str) -> Scylla {
    let text = format!(
        "nodes = [\"{node}\"]\ndatacenter = \"datacenter1\"\nkeyspace = \"{keyspace}\"\n{more}"
    );
    let config: ScyllaConfig = toml::from_str(&text).unwrap();
    let scope = Scope { chains: vec![chain()], tables: SOURCES.to_vec() };
    Scylla::open("cql", config, &scope).unwrap()
}

struct Cluster {
    node: String,
    keyspace: String,
    session: Session,
}

impl Cluster {
    /// A keyspace that is not there yet.
    async fn begin(node: &str, keyspace: &str) -> Cluster {
        let session = SessionBuilder::new().known_node(node).build().await.unwrap();
        session.query_unpaged(format!("DROP KEYSPACE IF EXISTS {keyspace}"), ()).await.unwrap();
        Cluster { node: node.to_owned(), keyspace: keyspace.to_owned(), session }
    }

    async fn rows<R: for<'f> DeserializeRow<'f, 'f>>(&self, what: &str, table: &str) -> Vec<R> {
        let asked = format!("SELECT {what} FROM {}.{table}", self.keyspace);
        let rows = self.session.query_unpaged(asked, ()).await.unwrap();
        rows.into_rows_result().unwrap().rows::<R>().unwrap().map(Result::unwrap).collect()
    }
}

/// Block, index, transaction.
type ByBlock = (Vec<u8>, i64, Vec<u8>);

fn hex(bytes: &[u8]) -> String {
    format!("0x{}", const_hex::encode(bytes))
}

#[async_trait]
impl Harness for Cluster {
    async fn exporter(&mut self) -> Arc<dyn Exporter> {
        Arc::new(open(&self.node, &self.keyspace, ""))
    }

    fn tables(&self) -> Vec<Table> {
        SOURCES.to_vec()
    }

    /// What a reader sees: rows of blocks that `canonical` names. Tables by other keys must agree.
    async fn holding(&mut self) -> Holding {
        let canonical: BTreeSet<Vec<u8>> = self
            .rows::<(Vec<u8>, String)>("block_hash, op", "canonical")
            .await
            .into_iter()
            .filter_map(|(hash, op)| (op == "applied").then_some(hash))
            .collect();
        let mut held = BTreeSet::new();
        for (hash,) in self.rows::<(Vec<u8>,)>("block_hash", "block_by_hash").await {
            if canonical.contains(&hash) {
                held.insert(("blocks".to_owned(), hex(&hash)));
            }
        }
        let numbered = self.rows::<(Vec<u8>,)>("block_hash", "blocks_by_number").await;
        let numbered = numbered.iter().filter(|(hash,)| canonical.contains(hash)).count();
        assert_eq!(numbered, held.len(), "by number and by hash are the same");

        let key = "block_hash, transaction_index, transaction_hash";
        let by_block = self.rows::<ByBlock>(key, "transactions_by_block").await;
        let by_hash = self.rows::<ByBlock>(key, "transaction_by_hash").await;
        let by_address = self.rows::<ByBlock>(key, "transactions_by_address").await;
        let all = |rows: Vec<ByBlock>| rows.into_iter().collect::<BTreeSet<ByBlock>>();
        let (by_block, by_hash, by_address) = (all(by_block), all(by_hash), all(by_address));
        let is_canonical = |row: &&ByBlock| canonical.contains(&row.0);
        assert!(by_hash.iter().filter(is_canonical).eq(by_block.iter().filter(is_canonical)));
        assert!(by_hash.iter().filter(is_canonical).eq(by_address.iter().filter(is_canonical)));
        for (hash, index, _) in by_hash.iter().filter(is_canonical) {
            held.insert(("transactions".to_owned(), format!("{}:{index}", hex(hash))));
        }
        for (hash, index) in
            self.rows::<(Vec<u8>, i64)>("block_hash, log_index", "logs_by_address").await
        {
            if canonical.contains(&hash) {
                held.insert(("logs".to_owned(), format!("{}:{index}", hex(&hash))));
            }
        }
        Holding::State(held)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn scylla_keeps_the_contract_whatever_the_history() {
    let Some(node) = server() else { return };
    let seeds = std::env::var("HEADWATER_SEEDS").ok().and_then(|text| text.parse().ok());
    for seed in 0..seeds.unwrap_or(3) {
        let mut cluster = Cluster::begin(&node, "contract").await;
        contract::run(&mut cluster, &chain(), seed).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_takes_over_and_the_first_waits_until_it_lets_go() {
    let Some(node) = server() else { return };
    let mut cluster = Cluster::begin(&node, "takeover").await;
    let (first, second) = (cluster.exporter().await, cluster.exporter().await);
    let batch = |lsn| contract::sample_batch(&chain(), Lsn(lsn));
    assert_eq!(first.resume(&chain()).await.unwrap(), Held::Nothing);
    first.export(&batch(1)).await.unwrap();
    // A mark with an event: another node's log is known by it.
    let Held::Upto(mark) = second.resume(&chain()).await.unwrap() else { panic!("it holds some") };
    assert_eq!(Some(mark), batch(1).upto);
    second.export(&batch(6)).await.unwrap();
    let error = first.export(&batch(11)).await.unwrap_err();
    assert_eq!(error.disposition(), Disposition::Stop, "{error}");
    assert!(error.to_string().contains("another node exports as `cql`"), "{error}");
    let error = first.check().await.unwrap_err();
    assert_eq!(error.disposition(), Disposition::Stop, "it does not take it back: {error}");
    second.export(&batch(11)).await.unwrap();
    second.close().await;
    first.check().await.unwrap();
    first.resume(&chain()).await.unwrap();
    first.export(&batch(16)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keyspace_that_is_dropped_is_named_made_again_and_known_to_be_empty() {
    let Some(node) = server() else { return };
    let cluster = Cluster::begin(&node, "dropped").await;
    let exporter = open(&node, "dropped", "");
    let batch = |lsn| contract::sample_batch(&chain(), Lsn(lsn));
    exporter.resume(&chain()).await.unwrap();
    exporter.export(&batch(1)).await.unwrap();
    cluster.session.query_unpaged("DROP KEYSPACE dropped", ()).await.unwrap();
    let error = exporter.export(&batch(6)).await.unwrap_err();
    assert_eq!(error.disposition(), Disposition::Stop, "{error}");
    assert!(error.to_string().contains("keyspace dropped does not exist"), "{error}");
    let told = exporter.missing().await.unwrap();
    assert!(told.first().unwrap().starts_with("CREATE KEYSPACE"), "{told:?}");
    exporter.check().await.unwrap();
    let error = exporter.export(&batch(6)).await.unwrap_err();
    assert_eq!(error.disposition(), Disposition::Resume, "what it wrote is not there: {error}");
    assert_eq!(exporter.resume(&chain()).await.unwrap(), Held::Nothing);
    exporter.export(&batch(1)).await.unwrap();

    // So it is with one table.
    cluster.session.query_unpaged("DROP TABLE dropped.block_by_hash", ()).await.unwrap();
    let error = exporter.export(&batch(6)).await.unwrap_err();
    assert_eq!(error.disposition(), Disposition::Stop, "{error}");
    exporter.check().await.unwrap();
    let error = exporter.export(&batch(6)).await.unwrap_err();
    assert_eq!(error.disposition(), Disposition::Resume, "{error}");
    assert_eq!(exporter.resume(&chain()).await.unwrap(), Held::Nothing);
    exporter.export(&batch(1)).await.unwrap();
    assert_eq!(cluster.rows::<(Vec<u8>,)>("block_hash", "block_by_hash").await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_schemas_datacenters_and_rows_are_told_apart() {
    let Some(node) = server() else { return };
    let cluster = Cluster::begin(&node, "wrong").await;
    let told = |error: headwater_exporters::ExportError| (error.disposition(), error.to_string());

    let exporter = open(&node, "wrong", "create_schema = false\n");
    let (disposition, words) = told(exporter.check().await.unwrap_err());
    assert_eq!(disposition, Disposition::Stop);
    assert!(words.contains("CREATE KEYSPACE") && words.contains("create_schema"), "{words}");

    let exporter = open(&node, "wrong", "");
    exporter.check().await.unwrap();
    exporter.resume(&chain()).await.unwrap();
    let mut large = contract::sample_batch(&chain(), Lsn(1));
    for event in &mut large.events {
        if let Some(block) = &mut event.block {
            let block = Arc::make_mut(block);
            block.header.extra_data = vec![7; 17 << 20].into();
        }
    }
    let (disposition, words) = told(exporter.export(&large).await.unwrap_err());
    assert_eq!(disposition, Disposition::Park, "{words}");
    assert!(words.contains("refuses the row test:") && words.contains("too big"), "{words}");

    for statement in [
        "DROP TABLE wrong.canonical",
        "CREATE TABLE wrong.canonical (chain_id bigint, bucket bigint, block_number bigint, \
         op blob, PRIMARY KEY ((chain_id, bucket), block_number))",
    ] {
        cluster.session.query_unpaged(statement, ()).await.unwrap();
    }
    let (disposition, words) = told(exporter.check().await.unwrap_err());
    assert_eq!(disposition, Disposition::Stop);
    assert!(words.contains("wrong.canonical.op is blob, not text"), "{words}");

    let text = format!("nodes = [\"{node}\"]\ndatacenter = \"elsewhere\"\n");
    let scope = Scope { chains: vec![chain()], tables: SOURCES.to_vec() };
    let exporter = Scylla::open("cql", toml::from_str(&text).unwrap(), &scope).unwrap();
    let (disposition, words) = told(exporter.check().await.unwrap_err());
    assert_eq!(disposition, Disposition::Stop);
    assert!(words.contains("set `datacenter` to one of datacenter1"), "{words}");
}

#[tokio::test]
async fn an_absent_cluster_is_retried_and_a_table_without_place_is_refused() {
    let exporter = open("127.0.0.1:1", "absent", "");
    let error = exporter.check().await.unwrap_err();
    assert_eq!(error.disposition(), Disposition::Retry, "{error}");
    let config = "nodes = [\"127.0.0.1:1\"]\ndatacenter = \"datacenter1\"\n";
    let scope = Scope { chains: vec![chain()], tables: vec![Table::Verification] };
    let refused = Scylla::open("cql", toml::from_str(config).unwrap(), &scope).err().unwrap();
    assert!(refused.to_string().contains("no place for verification"), "{refused}");
}

//! `azure_tables` on a real table service, `HEADWATER_AZURE_TABLES=http://127.0.0.1:10002/ACCOUNT`
//! with the emulators' well-known account: started by `make test-azure-tables`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use headwater_exporters::azure_tables::{AzureTables, AzureTablesConfig, SOURCES};
use headwater_exporters::contract::{self, Harness, Holding};
use headwater_exporters::{Disposition, ExportError, Exporter, Held, Scope};
use headwater_storage::model::{ChainName, Lsn};
use headwater_storage::tables::Table;
use hmac::{Hmac, Mac};
use serde_json::Value;
use sha2::Sha256;

const ACCOUNT: &str = "devstoreaccount1";
/// Of every emulator: <https://learn.microsoft.com/azure/storage/common/storage-connect-azurite>
const KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// The service's address; says that nothing is tested where there is none.
fn service() -> Option<String> {
    let address = std::env::var("HEADWATER_AZURE_TABLES").ok();
    if address.is_none() {
        println!(
            "NOT RUN: no table service; set HEADWATER_AZURE_TABLES or run `make test-azure-tables`"
        );
    }
    address
}

#[expect(clippy::disallowed_methods, reason = "a test's prefixes and signatures")]
fn now() -> SystemTime {
    SystemTime::now()
}

fn chain() -> ChainName {
    "test".parse().unwrap()
}

/// A prefix that no earlier run used.
fn fresh(name: &str) -> String {
    let since = now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    format!("{name}{}", since.as_micros())
}

fn open(endpoint: &str, prefix: &str, more: &str) -> AzureTables {
    let access = if more.contains("key =") || more.contains("sas =") {
        String::new()
    } else {
        format!("key = \"{KEY}\"\n")
    };
    let text = format!(
        "account = \"{ACCOUNT}\"\nendpoint = \"{endpoint}\"\nprefix = \"{prefix}\"\n{access}{more}"
    );
    let config: AzureTablesConfig = toml::from_str(&text).unwrap();
    let scope = Scope { chains: vec![chain()], tables: SOURCES.to_vec() };
    AzureTables::open("tables", config, &scope).unwrap()
}

struct Service {
    endpoint: String,
    prefix: String,
    http: reqwest::Client,
}

impl Service {
    fn begin(endpoint: &str, name: &str) -> Service {
        let http = reqwest::Client::new();
        Service { endpoint: endpoint.to_owned(), prefix: fresh(name), http }
    }

    /// A request, signed in the other way (`SharedKeyLite`).
    async fn ask(
        &self,
        verb: reqwest::Method,
        (path, query): (&str, &str),
        body: Option<&Value>,
    ) -> reqwest::Response {
        let date = httpdate::fmt_http_date(now());
        let mut mac = Hmac::<Sha256>::new_from_slice(&STANDARD.decode(KEY).unwrap()).unwrap();
        mac.update(format!("{date}\n/{ACCOUNT}/{ACCOUNT}/{path}").as_bytes());
        let signature = STANDARD.encode(mac.finalize().into_bytes());
        let asked = self
            .http
            .request(verb, format!("{}/{path}?{query}", self.endpoint))
            .header("x-ms-date", &date)
            .header("x-ms-version", "2020-12-06")
            .header("accept", "application/json;odata=nometadata")
            .header("authorization", format!("SharedKeyLite {ACCOUNT}:{signature}"));
        let asked = match body {
            Some(body) => asked
                .header("content-type", "application/json")
                .header("if-match", "*")
                .body(body.to_string()),
            None => asked,
        };
        asked.send().await.unwrap().error_for_status().unwrap()
    }

    async fn delete(&self, table: &str) {
        let path = format!("Tables('{}{table}')", self.prefix);
        self.ask(reqwest::Method::DELETE, (&path, ""), None).await;
    }

    /// The tables with its prefix.
    async fn tables(&self) -> Vec<String> {
        let answer = self.ask(reqwest::Method::GET, ("Tables", ""), None).await;
        let all: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        let names = all["value"].as_array().unwrap().iter().map(|row| text(row, "TableName"));
        names.filter_map(|name| name.strip_prefix(&self.prefix).map(str::to_owned)).collect()
    }

    /// All entities of a table, page by page.
    async fn rows(&self, table: &str) -> Vec<Value> {
        let (mut rows, mut next) = (Vec::new(), String::new());
        loop {
            let path = format!("{}{table}()", self.prefix);
            let answer = self.ask(reqwest::Method::GET, (&path, &next), None).await;
            let header = |name: &str| {
                let value = answer.headers().get(format!("x-ms-continuation-{name}"))?;
                Some(format!("{name}={}", value.to_str().unwrap()))
            };
            let parts = [header("NextPartitionKey"), header("NextRowKey")];
            next = parts.into_iter().flatten().collect::<Vec<_>>().join("&");
            let page: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
            rows.extend(page["value"].as_array().unwrap().iter().cloned());
            if next.is_empty() {
                return rows;
            }
        }
    }
}

fn text(row: &Value, name: &str) -> String {
    row[name].as_str().unwrap_or_default().to_owned()
}

#[async_trait]
impl Harness for Service {
    async fn exporter(&mut self) -> Arc<dyn Exporter> {
        Arc::new(open(&self.endpoint, &self.prefix, ""))
    }

    fn tables(&self) -> Vec<Table> {
        SOURCES.to_vec()
    }

    /// What a reader sees: entities of blocks that `Canonical` names. Other tables must agree.
    async fn holding(&mut self) -> Holding {
        let canonical: BTreeSet<String> = self
            .rows("Canonical")
            .await
            .iter()
            .filter(|row| row["op"] == "applied")
            .map(|row| text(row, "block_hash"))
            .collect();
        let mut held = BTreeSet::new();
        let is_canonical = |row: &&Value| canonical.contains(&text(row, "block_hash"));
        for row in self.rows("Blocks").await.iter().filter(is_canonical) {
            held.insert(("blocks".to_owned(), text(row, "block_hash")));
        }
        let by_hash = self.rows("BlocksByHash").await;
        let found = by_hash.iter().filter(|row| canonical.contains(&text(row, "RowKey")));
        assert_eq!(found.count(), held.len(), "by number and by hash are the same");
        let key = |row: &Value| {
            (text(row, "block_hash"), text(row, "transaction_index"), text(row, "RowKey"))
        };
        let whole: Vec<_> = self.rows("Transactions").await;
        let whole: Vec<_> = whole.iter().filter(is_canonical).map(key).collect();
        for (hash, index, _) in &whole {
            held.insert(("transactions".to_owned(), format!("{hash}:{index}")));
        }
        for table in ["TransactionsByHash", "TransactionsByAddress"] {
            let rows = self.rows(table).await;
            let pair = |row: &Value| (text(row, "block_hash"), text(row, "transaction_index"));
            let found: BTreeSet<_> = rows.iter().filter(is_canonical).map(pair).collect();
            let wanted: BTreeSet<_> =
                whole.iter().map(|(hash, index, _)| (hash.clone(), index.clone())).collect();
            assert_eq!(found, wanted, "{table} has the same");
        }
        Holding::State(held)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn azure_tables_keeps_the_contract_whatever_the_history() {
    let Some(endpoint) = service() else { return };
    let seeds = std::env::var("HEADWATER_SEEDS").ok().and_then(|text| text.parse().ok());
    for seed in 0..seeds.unwrap_or(2) {
        let mut service = Service::begin(&endpoint, "contract");
        contract::run(&mut service, &chain(), seed).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_later_of_two_processes_works_and_the_first_waits_until_it_lets_go() {
    let Some(endpoint) = service() else { return };
    let mut service = Service::begin(&endpoint, "takeover");
    let (first, second) = (service.exporter().await, service.exporter().await);
    let batch = |lsn| contract::sample_batch(&chain(), Lsn(lsn));
    first.check().await.unwrap();
    assert_eq!(first.resume(&chain()).await.unwrap(), Held::Nothing);
    first.export(&batch(1)).await.unwrap();
    let Held::Upto(mark) = second.resume(&chain()).await.unwrap() else { panic!("it holds some") };
    assert_eq!(Some(mark), batch(1).upto);
    second.export(&batch(6)).await.unwrap();
    let error = first.export(&batch(11)).await.unwrap_err();
    assert_eq!(error.disposition(), Disposition::Stop, "{error}");
    assert!(error.to_string().contains("another node exports as `tables`"), "{error}");
    assert_eq!(first.check().await.unwrap_err().disposition(), Disposition::Stop);
    second.close().await;
    first.check().await.unwrap();
    first.resume(&chain()).await.unwrap();
    first.export(&batch(16)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_service_refuses_is_told_apart() {
    let Some(endpoint) = service() else { return };
    let service = Service::begin(&endpoint, "refused");
    let told = |error: ExportError| (error.disposition(), error.to_string());
    let open = |more: &str| open(&endpoint, &service.prefix, more);

    let (disposition, words) = told(open("create_tables = false\n").check().await.unwrap_err());
    assert_eq!(disposition, Disposition::Stop);
    assert!(words.contains("TableNotFound") && words.contains("create_tables"), "{words}");
    let missing = open("").missing().await.unwrap();
    assert_eq!(missing.len(), 9, "{missing:?}");

    let wrong = open("key = \"d3Jvbmc=\"\n").check().await.unwrap_err();
    let (disposition, words) = told(wrong);
    assert_eq!(disposition, Disposition::Stop, "{words}");
    assert!(words.contains("look at `key`") && !words.contains("d3Jvbmc"), "{words}");

    let expired = "sas = \"sv=2020-12-06&ss=t&srt=sco&sp=raud&se=2020-01-01T00:00:00Z&sig=eA==\"\n";
    let (disposition, words) = told(open(expired).check().await.unwrap_err());
    assert_eq!(disposition, Disposition::Stop, "{words}");

    let exporter = open("");
    exporter.check().await.unwrap();
    exporter.resume(&chain()).await.unwrap();
    let mut large = contract::sample_batch(&chain(), Lsn(1));
    for event in &mut large.events {
        if let Some(block) = &mut event.block {
            let block = Arc::make_mut(block);
            block.header.extra_data = vec![7; 3 << 20].into();
        }
    }
    let (disposition, words) = told(exporter.export(&large).await.unwrap_err());
    assert_eq!(disposition, Disposition::Park, "{words}");
    assert!(words.contains("refuses the row test:"), "{words}");

    // What is longer than a property goes in several.
    let mut long = contract::sample_batch(&chain(), Lsn(11));
    for event in &mut long.events {
        if let Some(block) = &mut event.block {
            let block = Arc::make_mut(block);
            block.header.extra_data = vec![7; 100_000].into();
        }
    }
    exporter.export(&long).await.unwrap();
    let rows = service.rows("Blocks").await;
    let row = rows.iter().find(|row| row.get("extra_data_2").is_some()).unwrap();
    let bytes = |name: &str| STANDARD.decode(text(row, name)).unwrap().len();
    assert_eq!((bytes("extra_data"), bytes("extra_data_2")), (65_536, 34_464));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_deleted_is_made_and_filled_again() {
    let Some(endpoint) = service() else { return };
    let service = Service::begin(&endpoint, "deleted");
    let exporter = open(&endpoint, &service.prefix, "");
    exporter.check().await.unwrap();
    exporter.resume(&chain()).await.unwrap();
    exporter.export(&contract::sample_batch(&chain(), Lsn(1))).await.unwrap();
    service.delete("Transactions").await;
    let next = contract::sample_batch(&chain(), Lsn(6));
    let error = exporter.export(&next).await.unwrap_err();
    assert_eq!(error.disposition(), Disposition::Stop, "{error}");
    exporter.check().await.unwrap();
    let error = exporter.export(&next).await.unwrap_err();
    assert_eq!(error.disposition(), Disposition::Resume, "{error}");
    assert_eq!(exporter.resume(&chain()).await.unwrap(), Held::Nothing);
    exporter.export(&contract::sample_batch(&chain(), Lsn(1))).await.unwrap();
    assert!(!service.rows("Transactions").await.is_empty());
}

/// Its rows have keys that nobody would look for.
#[tokio::test(flavor = "multi_thread")]
async fn tables_of_another_layout_are_refused_until_they_are_gone() {
    let Some(endpoint) = service() else { return };
    let service = Service::begin(&endpoint, "layout");
    let exporter = open(&endpoint, &service.prefix, "");
    exporter.check().await.unwrap();
    exporter.resume(&chain()).await.unwrap();
    exporter.export(&contract::sample_batch(&chain(), Lsn(1))).await.unwrap();
    let mut cursor = service.rows("Cursors").await.remove(0);
    // As the first version wrote it.
    cursor.as_object_mut().unwrap().remove("layout").unwrap();
    let path = format!("{}Cursors(PartitionKey='test',RowKey='tables')", service.prefix);
    service.ask(reqwest::Method::PUT, (&path, ""), Some(&cursor)).await;
    let again = open(&endpoint, &service.prefix, "");
    let error = again.resume(&chain()).await.unwrap_err();
    assert_eq!(error.disposition(), Disposition::Stop, "{error}");
    assert!(error.to_string().contains("another `prefix`, or delete the tables"), "{error}");
    assert_eq!(again.check().await.unwrap_err().to_string(), error.to_string());
    assert_eq!(again.missing().await.unwrap_err().to_string(), error.to_string());
    for table in service.tables().await {
        service.delete(&table).await;
    }
    again.check().await.unwrap();
    assert_eq!(again.resume(&chain()).await.unwrap(), Held::Nothing);
}

#[tokio::test]
async fn an_absent_service_is_retried_and_a_table_without_place_is_refused() {
    let exporter = open("http://127.0.0.1:1/devstoreaccount1", "absent", "");
    let error = exporter.check().await.unwrap_err();
    assert_eq!(error.disposition(), Disposition::Retry, "{error}");
    let config = format!("account = \"{ACCOUNT}\"\nkey = \"{KEY}\"\n");
    let scope = Scope { chains: vec![chain()], tables: vec![Table::Logs] };
    let config = toml::from_str(&config).unwrap();
    let refused = AzureTables::open("tables", config, &scope).err().unwrap();
    assert!(refused.to_string().contains("no place for logs"), "{refused}");
}

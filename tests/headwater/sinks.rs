//! A sink that is away costs nobody else anything.

use headwater::devnet::DevnetConfig;
use serde_json::Value;

use crate::harness::{Appliance, Chain, canonical, config, file_sink, fold, nobody, until};

fn named<'a>(exporters: &'a Value, name: &str) -> &'a Value {
    let list = exporters["exporters"].as_array().unwrap();
    list.iter().find(|exporter| exporter["name"] == name).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_sink_slows_neither_capture_nor_another_sink_nor_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let sink = folder.path().join("sink.ndjson");
    let mut chain =
        Chain::new(DevnetConfig { transactions: 2, finality: 8, ..DevnetConfig::default() });
    chain.node.mine(20).unwrap();
    let (url, _) = chain.provider().await;
    let broker = nobody();
    let dead = format!(
        "[[exporter]]\nname = \"dead\"\nkind = \"kafka\"\nbrokers = [{:?}]\n",
        broker.trim_start_matches("http://")
    );
    let config = config(folder.path(), &[url], &format!("{dead}{}", file_sink(&sink)));
    let appliance = Appliance::start(&config).await;
    let retrying = until("the dead sink to be tried", async || {
        let (_, exporters) = appliance.get("/v1/exporters").await;
        let dead = named(&exporters, "dead").clone();
        (dead["state"] == "retrying").then_some(dead)
    });
    let reason = retrying.await["reason"].as_str().unwrap().to_owned();
    assert!(!reason.is_empty(), "it says why (INV-10)");
    for _ in 0..5 {
        chain.node.reorg(3).unwrap();
        appliance.follows(&chain).await;
    }
    appliance.has_the_chain(&chain).await;
    until("the other sink", async || {
        let (_, exporters) = appliance.get("/v1/exporters").await;
        (named(&exporters, "file")["lag"] == 0).then_some(())
    })
    .await;
    assert_eq!(fold(&sink), canonical(&chain), "the other sink has it all (INV-6)");
    let (_, exporters) = appliance.get("/v1/exporters").await;
    let dead = named(&exporters, "dead");
    assert_eq!(dead["exported_lsn"], 0, "nothing was delivered, so no cursor moved (INV-5)");
    assert!(dead["lag"].as_u64().unwrap() > 20);
    let (status, body) = appliance.get("/readyz").await;
    assert_eq!((status, body["degraded"][0]["exporter"].as_str()), (200, Some("dead")), "INV-6");
    assert_eq!(appliance.terminate().code(), Some(0), "it is no reason not to end");
}

//! `kill -9` of the real program, again and again, while the chain grows and reorganises.

use std::time::Duration;

use headwater::capture::verify::{Depth, Prover};
use headwater::devnet::DevnetConfig;
use headwater::node::Node;

use crate::harness::{Appliance, Chain, canonical, config, file_sink, fold, until};

/// `HEADWATER_KILLS` sets another number.
const KILLS: u64 = 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_index_and_deleted_parts_are_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut chain =
        Chain::new(DevnetConfig { transactions: 3, finality: 5, ..DevnetConfig::default() });
    chain.node.mine(40).unwrap();
    let (url, _) = chain.provider().await;
    let config = config(folder.path(), &[url], "");
    let is_whole = async |appliance: &Appliance| {
        appliance.follows(&chain).await;
        until("parts and index (INV-3)", async || {
            let (_, view) = appliance.get("/v1/chains/devnet").await;
            let is_indexed = view["indexed_lsn"] == view["durable_lsn"];
            (view["sealed_blocks"].as_u64()? >= 30 && is_indexed).then_some(())
        })
        .await;
        appliance.has_the_chain(&chain).await;
        let hash = chain.node.by_number(7).unwrap().hashes[0];
        let (status, _) = appliance.get(&format!("/v1/chains/devnet/transactions/{hash}")).await;
        assert_eq!(status, 200);
    };
    let appliance = Appliance::start(&config).await;
    is_whole(&appliance).await;
    appliance.kill();
    std::fs::remove_dir_all(data.join("chains/devnet/index")).unwrap();
    std::fs::remove_dir_all(data.join("parts")).unwrap();
    let appliance = Appliance::start(&config).await;
    is_whole(&appliance).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_20_times_it_has_every_block_once_and_the_sink_converges() {
    let folder = tempfile::tempdir().unwrap();
    let sink = folder.path().join("sink.ndjson");
    let mut chain =
        Chain::new(DevnetConfig { transactions: 4, finality: 12, ..DevnetConfig::default() });
    let (url, _) = chain.provider().await;
    let config = config(folder.path(), &[url], &file_sink(&sink));
    // The log is trimmed at every start, so that it dies in that too.
    let text = std::fs::read_to_string(&config).unwrap();
    let keys = "part_blocks = 10\nlog_keep_bytes = 0\nlog_segment_bytes = 32768\n";
    std::fs::write(&config, text.replace("part_blocks = 10\n", keys)).unwrap();
    let mut durable = 0;
    let kills = std::env::var("HEADWATER_KILLS").ok().and_then(|text| text.parse().ok());
    for round in 0..kills.unwrap_or(KILLS) {
        let appliance = Appliance::start(&config).await;
        // At another moment of the work each time.
        for step in 0..(3 + round % 7) {
            if (round + step).is_multiple_of(5) {
                chain.node.reorg(1 + round % 6).unwrap();
            } else {
                chain.node.mine(2).unwrap();
            }
            tokio::time::sleep(Duration::from_millis(13 + 7 * (round % 5))).await;
        }
        let (_, view) = appliance.get("/v1/chains/devnet").await;
        let told = view["durable_lsn"].as_u64().unwrap();
        assert!(told >= durable, "what was counted is still there (INV-1): {told} < {durable}");
        durable = told;
        appliance.kill();
    }
    let appliance = Appliance::start(&config).await;
    appliance.follows(&chain).await;
    appliance.has_the_chain(&chain).await;
    appliance.exported().await;
    assert_eq!(fold(&sink), canonical(&chain), "the sink converged (INV-8)");
    let (_, view) = appliance.get("/v1/chains/devnet").await;
    assert_eq!(view["gaps"].as_array().unwrap().len(), 0, "no gap (INV-11)");
    assert_eq!(appliance.terminate().code(), Some(0), "SIGTERM is a good end");

    let node = Node::open_stopped(&folder.path().join("data")).unwrap();
    for number in 0..=chain.node.head() {
        let event = node.chains[0].chain.block_by_number(number).unwrap().unwrap();
        let mut block = event.block.unwrap().as_ref().clone();
        assert_eq!(block.header.hash.to_string(), chain.hash(number));
        Prover::new(1337, Depth::Roots).prove(&mut block, None).unwrap();
    }
}

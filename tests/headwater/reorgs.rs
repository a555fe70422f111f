//! Reorgs of every depth, seen by SQL, by `chain_events` and by a sink.

use headwater::devnet::DevnetConfig;

use crate::harness::{Appliance, Chain, canonical, config, file_sink, fold};

const DEEPEST: u64 = 64;

#[tokio::test(flavor = "multi_thread")]
async fn reorgs_1_to_64_deep_leave_the_canonical_chain_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    let sink = folder.path().join("sink.ndjson");
    let mut chain =
        Chain::new(DevnetConfig { transactions: 3, finality: 70, ..DevnetConfig::default() });
    chain.node.mine(DEEPEST + 6).unwrap();
    let (url, _) = chain.provider().await;
    let config = config(folder.path(), &[url], &file_sink(&sink));
    let appliance = Appliance::start(&config).await;
    appliance.follows(&chain).await;
    for depth in 1..=DEEPEST {
        chain.node.reorg(depth).unwrap();
        appliance.follows(&chain).await;
    }
    appliance.has_the_chain(&chain).await;
    appliance.exported().await;
    assert_eq!(fold(&sink), canonical(&chain), "the sink converged (INV-8)");
    let reverted = "select count(*) as n, max(block_number) as highest from chain_events \
                    where op = 'reverted'";
    let rows = appliance.sql(reverted).await;
    assert_eq!(rows[0]["n"], (1..=DEEPEST).sum::<u64>(), "each orphan is taken back once");
    let (_, view) = appliance.get("/v1/chains/devnet").await;
    assert_eq!(view["gaps"].as_array().unwrap().len(), 0);
    // Every orphan is there with all of its columns, sealed heights and the tail alike.
    let all = "select is_canonical, count(*) as n, count(distinct block_hash) as hashes, \
               min(transaction_count) as t from blocks_all group by is_canonical order by 1";
    let rows = appliance.sql(all).await;
    let orphans = (1..=DEEPEST).sum::<u64>();
    let height = chain.node.head() + 1;
    let expected = [
        serde_json::json!({ "is_canonical": false, "n": orphans, "hashes": orphans, "t": 3 }),
        serde_json::json!({
            "is_canonical": true, "n": height, "hashes": height, "t": 0
        }),
    ];
    assert_eq!(rows, expected);
    let one = "select count(*) as n from blocks_all where block_number = 100 and not is_canonical";
    let of_events = "select count(*) as n from chain_events where block_number = 100 \
                     and op = 'reverted'";
    let rows = appliance.sql(one).await;
    assert_eq!(rows[0]["n"], DEEPEST + 70 - 100, "the fork is at 69");
    assert_eq!(rows, appliance.sql(of_events).await);
    // An orphan is known by its hash, and as one, also when its number is sealed.
    let orphans = "select block_hash from orphaned_blocks where block_number = 100";
    let orphans = appliance.sql(orphans).await;
    assert!(orphans.len() > 3, "{orphans:?}");
    for is_sealed in [false, true] {
        for orphan in &orphans {
            let hash = orphan["block_hash"].as_str().unwrap();
            let (status, body) = appliance.get(&format!("/v1/chains/devnet/blocks/{hash}")).await;
            assert_eq!((status, body["block"]["hash"].as_str()), (200, Some(hash)));
            let told = (body["canonical"].as_bool(), body["final"].as_bool());
            assert_eq!(told, (Some(false), Some(false)), "sealed: {is_sealed}, {hash}");
        }
        chain.node.mine(80).unwrap();
        appliance.follows(&chain).await;
        let sealed = crate::harness::until("the seal", async || {
            let (_, view) = appliance.get("/v1/chains/devnet").await;
            view["sealed_blocks"].as_u64().filter(|blocks| *blocks > 100)
        });
        sealed.await;
    }
    assert_eq!(appliance.terminate().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reorg_past_finality_stops_the_chain_with_an_alarm_and_keeps_its_data() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain =
        Chain::new(DevnetConfig { transactions: 1, finality: 4, ..DevnetConfig::default() });
    chain.node.mine(20).unwrap();
    let (url, _) = chain.provider().await;
    let appliance = Appliance::start(&config(folder.path(), &[url], "")).await;
    appliance.follows(&chain).await;
    let head = chain.hash(20);
    chain.node.reorg(10).unwrap();
    let alarm = crate::harness::until("the alarm", async || {
        let (_, view) = appliance.get("/v1/chains/devnet").await;
        view["capture"]["problem"].as_str().map(str::to_owned)
    });
    let alarm = alarm.await;
    assert!(alarm.contains("final"), "{alarm}");
    let rows = appliance.sql("select max(block_number) as n from blocks").await;
    assert_eq!(rows[0]["n"], 20);
    let (status, block) = appliance.get("/v1/chains/devnet/blocks/20").await;
    assert_eq!((status, block["block"]["hash"].as_str()), (200, Some(head.as_str())));
    let (status, _) = appliance.get("/readyz").await;
    assert_eq!(status, 503, "an alarm is not ready");
}

//! Several chains in one process: each with its own log, providers and failures.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use headwater::devnet::DevnetConfig;

use crate::harness::{Appliance, Chain, until};

const CHAINS: u64 = 10;

fn config(folder: &Path, urls: &[String]) -> PathBuf {
    let mut text =
        format!("data_dir = {:?}\n[http]\nlisten = \"127.0.0.1:0\"\n", folder.join("data"));
    for (at, url) in urls.iter().enumerate() {
        write!(
            text,
            "[[chain]]\nname = \"net{at}\"\nchain_id = {}\nstart = 0\npoll_ms = 50\n\
             part_blocks = 10\n[[chain.provider]]\nname = \"p{at}\"\nurl = \"{url}\"\n\
             timeout_secs = 2\n",
            1_000 + at
        )
        .unwrap();
    }
    let path = folder.join("headwater.toml");
    fs::write(&path, text).unwrap();
    path
}

/// Waits until a chain's head is here.
async fn follows(appliance: &Appliance, at: usize, chain: &Chain) {
    until("the head of a chain", async || {
        let (_, view) = appliance.get(&format!("/v1/chains/net{at}")).await;
        (view["head"]["hash"].as_str()? == chain.hash(chain.node.head())).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_chains_at_once_and_what_befalls_one_touches_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let mut chains = Vec::new();
    let mut urls = Vec::new();
    for at in 0..CHAINS {
        let config = DevnetConfig {
            chain_id: 1_000 + at,
            seed: at,
            transactions: 2,
            finality: 6,
            ..DevnetConfig::default()
        };
        let mut chain = Chain::new(config);
        chain.node.mine(20 + at).unwrap();
        urls.push(chain.provider().await.0);
        chains.push(chain);
    }
    let path = config(folder.path(), &urls);
    let appliance = Appliance::start(&path).await;
    for (at, chain) in chains.iter().enumerate() {
        follows(&appliance, at, chain).await;
    }
    // One loses its provider, one has a reorg past what was final; the others go on.
    chains[3].unplug();
    until("finality", async || {
        let (_, view) = appliance.get("/v1/chains/net4").await;
        (view["finalized"]["number"].as_u64()? >= 18).then_some(())
    })
    .await;
    chains[4].node.reorg(12).unwrap();
    for (at, chain) in chains.iter().enumerate().filter(|(at, _)| ![3, 4].contains(at)) {
        chain.node.mine(3).unwrap();
        chain.node.reorg(2).unwrap();
        follows(&appliance, at, chain).await;
    }
    until("both to be named", async || {
        let (status, view) = appliance.get("/readyz").await;
        let reasons = view["reasons"].as_array()?;
        let names: Vec<&str> = reasons.iter().filter_map(|r| r["chain"].as_str()).collect();
        (status == 503 && names == ["net3", "net4"]).then_some(())
    })
    .await;
    let rows = appliance
        .sql(
            "select chain_id, count(*) as n, max(block_number) + 1 as height from blocks \
              group by chain_id order by chain_id",
        )
        .await;
    assert_eq!(rows.len() as u64, CHAINS);
    for (at, row) in rows.iter().enumerate() {
        assert_eq!(row["n"], row["height"], "every number of chain {at} is there once");
    }
    // Killed and started again, all go on.
    appliance.kill();
    let appliance = Appliance::start(&path).await;
    for (at, chain) in chains.iter().enumerate().filter(|(at, _)| ![3, 4].contains(at)) {
        chain.node.mine(1).unwrap();
        follows(&appliance, at, chain).await;
    }
}

/// A key whose day is enough for a block each 12 s, and not for one each second.
#[tokio::test(flavor = "multi_thread")]
async fn a_fast_chain_leaves_a_slow_one_its_part_of_a_shared_key() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    fs::write(&key, "k1").unwrap();
    let (mut chains, mut urls) = (Vec::new(), Vec::new());
    for (chain_id, timestamp_step) in [(1_000, 1), (1_001, 12)] {
        let config =
            DevnetConfig { chain_id, timestamp_step, transactions: 1, ..DevnetConfig::default() };
        let mut chain = Chain::new(config);
        chain.node.mine(20).unwrap();
        urls.push(chain.provider().await.0 + "/v3/{key}");
        chains.push(chain);
    }
    let path = config(folder.path(), &urls);
    let text = fs::read_to_string(&path).unwrap();
    // The slow one needs 14,400 to 15,000 units until the end of 24 to 25 hours.
    let shared = format!(
        "timeout_secs = 2\nkeys = [\"file:{}\"]\n\
         limits = {{ per_day = 16000, day = \"rolling_day\" }}\n",
        key.display()
    );
    fs::write(&path, text.replace("timeout_secs = 2\n", &shared)).unwrap();
    let appliance = Appliance::start(&path).await;
    let [fast, slow] = [&chains[0], &chains[1]];
    follows(&appliance, 0, fast).await;
    follows(&appliance, 1, slow).await;
    fast.node.mine(2_000).unwrap();
    until("the fast chain to be told", async || {
        let (status, body) = appliance.text("/readyz").await;
        let is_told = body.contains("kept for heads of other chains, which need less");
        (status == 503 && is_told).then_some(())
    })
    .await;
    slow.node.mine(20).unwrap();
    follows(&appliance, 1, slow).await;
}

//! The head: announced, asked for, late, silent or contradicted, every number is there once.

use std::sync::Arc;
use std::time::Duration;

use headwater::devnet::{DevnetConfig, Faults, KeyLimits, Provider};

use crate::harness::{Appliance, Chain, announcing, config, until};

fn small() -> DevnetConfig {
    DevnetConfig { transactions: 3, finality: 8, ..DevnetConfig::default() }
}

/// Calls that a provider counted since its limits were set.
fn calls(providers: &[Arc<Provider>]) -> u64 {
    let counts = providers.iter().flat_map(|provider| provider.counts().into_values());
    counts.map(|count| count.calls).sum()
}

fn requests(providers: &[Arc<Provider>]) -> u64 {
    let counts = providers.iter().flat_map(|provider| provider.counts().into_values());
    counts.map(|count| count.requests).sum()
}

/// Blocks of a head run; `HEADWATER_HEADS` gives another number.
fn blocks() -> u64 {
    let number = std::env::var("HEADWATER_HEADS").ok().and_then(|text| text.parse().ok());
    number.unwrap_or(150)
}

/// Waits until somebody announces heads.
async fn is_announced(appliance: &Appliance) {
    until("an announcer", async || {
        let (_, view) = appliance.get("/v1/chains/devnet").await;
        view["capture"]["announced_by"].as_str().map(drop)
    })
    .await;
}

/// Mines one block after the other, each after the last is here; calls for a block.
async fn head_run(appliance: &Appliance, chain: &Chain, providers: &[Arc<Provider>]) -> f64 {
    for provider in providers {
        provider.set_limits(KeyLimits::default());
    }
    for _ in 0..blocks() {
        chain.node.mine(1).unwrap();
        appliance.follows(chain).await;
    }
    calls(providers) as f64 / blocks() as f64
}

#[tokio::test(flavor = "multi_thread")]
async fn an_announced_block_costs_two_calls_and_finality_one_in_32() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(small());
    chain.node.mine(10).unwrap();
    let (url, provider) = chain.provider().await;
    let appliance = Appliance::start(&announcing(folder.path(), &[url])).await;
    appliance.follows(&chain).await;
    is_announced(&appliance).await;
    let cost = head_run(&appliance, &chain, &[provider]).await;
    eprintln!("{cost:.3} calls a block");
    assert!(cost <= 2.05, "{cost} calls a block (INV-12)");
    let (_, view) = appliance.get("/v1/chains/devnet").await;
    let finalized = view["finalized"]["number"].as_u64().unwrap();
    assert!(finalized + 8 + 32 >= chain.node.head(), "finality is asked for: {view}");
    appliance.has_the_chain(&chain).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_run_with_faults_of_every_kind_has_no_gap_and_no_wrong_block() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(small());
    chain.node.mine(10).unwrap();
    let (mut urls, mut providers) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let (url, provider) = chain.provider().await;
        urls.push(url);
        providers.push(provider);
    }
    let appliance = Appliance::start(&announcing(folder.path(), &urls)).await;
    appliance.follows(&chain).await;
    is_announced(&appliance).await;
    for provider in &providers {
        // Nine kinds, together 5 in a hundred.
        provider.set_faults(Faults {
            throttle: 6,
            wrong_root: 6,
            wrong_parent: 6,
            missing_receipts: 6,
            other_receipts: 6,
            null: 6,
            stall: 6,
            stall_ms: 300,
            cut: 6,
            unavailable: 6,
            ..Faults::default()
        });
    }
    let cost = head_run(&appliance, &chain, &providers).await;
    let requests = requests(&providers) as f64 / blocks() as f64;
    eprintln!("{cost:.3} calls a block in {requests:.3} HTTP requests, with faults");
    // Of the two calls of a block one in twenty fails: 2 / 0.95 is 2.11, and one in 32 is for
    // finality.
    assert!(cost <= 2.2, "{cost} calls a block: those that failed are made again");
    assert!(requests <= 1.25, "{requests} requests a block: its calls go together");
    appliance.has_the_chain(&chain).await;
    let (_, view) = appliance.get("/v1/chains/devnet/gaps").await;
    assert_eq!(view["missing_blocks"], 0, "{view}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_honest_provider_of_three_is_enough() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(small());
    chain.node.mine(10).unwrap();
    let (first, lies) = chain.provider().await;
    let (second, lies_too) = chain.provider().await;
    let (honest, _) = chain.provider().await;
    lies.set_faults(Faults { wrong_root: 1_000, ..Faults::default() });
    lies_too.set_faults(Faults { missing_receipts: 1_000, ..Faults::default() });
    let appliance = Appliance::start(&announcing(folder.path(), &[first, second, honest])).await;
    for _ in 0..20 {
        chain.node.mine(2).unwrap();
        appliance.follows(&chain).await;
    }
    appliance.has_the_chain(&chain).await;
    // The first block has no receipts to leave out; without receipts a liar's block may be proved.
    let others = "select count(*) as n from verification \
         where block_number > 0 and provider not in ('p2', 'p1+p2')";
    assert_eq!(appliance.sql(others).await[0]["n"], 0, "nothing that is wrong came from anybody");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_announces_nothing_is_left_and_heads_are_asked_for_until_another_does() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(small());
    chain.node.mine(10).unwrap();
    let (silent, provider) = chain.provider().await;
    let (speaks, _) = chain.provider().await;
    provider.set_faults(Faults { silent: true, ..Faults::default() });
    let appliance = Appliance::start(&announcing(folder.path(), &[silent, speaks])).await;
    appliance.follows(&chain).await;
    for _ in 0..3 {
        chain.node.mine(1).unwrap();
        appliance.follows(&chain).await;
    }
    until("the other to announce", async || {
        chain.node.mine(1).unwrap();
        appliance.follows(&chain).await;
        let (_, view) = appliance.get("/v1/chains/devnet").await;
        (view["capture"]["announced_by"] == "p1").then_some(())
    })
    .await;
    appliance.has_the_chain(&chain).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_announces_heads_that_nobody_has_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(small());
    chain.node.mine(10).unwrap();
    let (boasts, provider) = chain.provider().await;
    let (speaks, _) = chain.provider().await;
    provider.set_faults(Faults { announce_above: 1_000_000, ..Faults::default() });
    // Its latest block is one that nobody has, too, and so is what is final there.
    let appliance = Appliance::start(&announcing(folder.path(), &[boasts, speaks])).await;
    is_announced(&appliance).await;
    until("the other to announce", async || {
        chain.node.mine(1).unwrap();
        appliance.follows(&chain).await;
        let (_, view) = appliance.get("/v1/chains/devnet").await;
        (view["capture"]["announced_by"] == "p1").then_some(())
    })
    .await;
    for _ in 0..40 {
        chain.node.mine(1).unwrap();
        appliance.follows(&chain).await;
    }
    let (_, view) = appliance.get("/v1/chains/devnet").await;
    assert!(view["finalized"]["number"].as_u64().unwrap() > 8, "finality goes on: {view}");
    appliance.has_the_chain(&chain).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_flips_between_two_heads_takes_nothing_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(small());
    chain.node.mine(20).unwrap();
    let (url, provider) = chain.provider().await;
    let appliance = Appliance::start(&config(folder.path(), &[url], "")).await;
    appliance.follows(&chain).await;
    chain.node.reorg(3).unwrap();
    appliance.follows(&chain).await;
    provider.set_faults(Faults { old_fork: 500, ..Faults::default() });
    let capture = until("the disagreement to be recorded", async || {
        chain.node.mine(1).unwrap();
        appliance.follows(&chain).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let (_, view) = appliance.get("/v1/chains/devnet").await;
        (view["capture"]["disagreements"].as_u64()? > 0).then(|| view["capture"].clone())
    })
    .await;
    assert_eq!(capture["reverted_blocks"], 3, "only the fork that grew: {capture}");
    appliance.has_the_chain(&chain).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_lags_is_asked_last() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(small());
    chain.node.mine(20).unwrap();
    let (late, provider) = chain.provider().await;
    let (fresh, _) = chain.provider().await;
    provider.set_faults(Faults { lag: 6, ..Faults::default() });
    let appliance = Appliance::start(&config(folder.path(), &[late, fresh], "")).await;
    appliance.follows(&chain).await;
    for _ in 0..10 {
        chain.node.mine(1).unwrap();
        appliance.follows(&chain).await;
    }
    let (_, view) = appliance.get("/v1/providers").await;
    assert!(view["providers"][0]["blocks_behind"].as_u64().unwrap() >= 5, "{view}");
    // Its view of the chain is behind, and never takes anything back.
    let (_, view) = appliance.get("/v1/chains/devnet").await;
    assert_eq!(view["capture"]["reverted_blocks"], 0, "{view}");
    appliance.has_the_chain(&chain).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_announcements_the_next_block_is_the_question() {
    let folder = tempfile::tempdir().unwrap();
    let config_of_chain = DevnetConfig { block_time: Duration::from_secs(1), ..small() };
    let mut chain = Chain::ticking(config_of_chain);
    let (url, provider) = chain.provider().await;
    let path = config(folder.path(), &[url], "");
    let text = std::fs::read_to_string(&path).unwrap().replace("poll_ms = 20\n", "");
    std::fs::write(&path, text).unwrap();
    let appliance = Appliance::start(&path).await;
    appliance.reaches(8).await;
    provider.set_limits(KeyLimits::default());
    let before = chain.node.head();
    appliance.reaches(before + 12).await;
    let cost = calls(&[provider]) as f64 / (chain.node.head() - before) as f64;
    eprintln!("{cost:.2} calls a block where heads are asked for");
    assert!(cost < 5.0, "{cost} calls a block: the chain's rhythm is followed");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_calls_another_block_final_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(small());
    chain.node.mine(40).unwrap();
    let (lying, liar) = chain.provider().await;
    let (honest, _) = chain.provider().await;
    let appliance = Appliance::start(&config(folder.path(), &[lying, honest], "")).await;
    appliance.follows(&chain).await;
    liar.set_faults(Faults { wrong_final: 1_000, ..Faults::default() });
    chain.node.mine(40).unwrap();
    appliance.follows(&chain).await;
    let finalized = until("finality", async || {
        let (_, view) = appliance.get("/v1/chains/devnet").await;
        view["finalized"]["number"].as_u64().filter(|number| *number >= 40)
    })
    .await;
    assert!(finalized <= chain.node.finalized(), "{finalized}");
    chain.node.reorg(6).unwrap();
    appliance.follows(&chain).await;
    appliance.has_the_chain(&chain).await;
    // Sooner or later it is the liar's turn to be asked.
    until("the lie to be told", async || {
        let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
        let is_told = log.contains("calls a block final that is another than ours");
        if !is_told {
            chain.node.mine(1).unwrap();
            appliance.follows(&chain).await;
        }
        is_told.then_some(())
    })
    .await;
}

/// However the last block was found: by its number, or by asking everybody for the head.
#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_rests_is_final_up_to_what_its_last_block_made_final() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(small());
    chain.node.mine(40).unwrap();
    let (url, _) = chain.provider().await;
    let appliance = Appliance::start(&config(folder.path(), &[url], "")).await;
    for round in 0..40 {
        appliance.follows(&chain).await;
        until("what is final under the last block", async || {
            let (_, view) = appliance.get("/v1/chains/devnet").await;
            (view["finalized"]["number"].as_u64()? == chain.node.finalized()).then_some(())
        })
        .await;
        // At another moment of its questions each time.
        tokio::time::sleep(Duration::from_millis(round * 13 % 100)).await;
        chain.node.mine(1).unwrap();
    }
}

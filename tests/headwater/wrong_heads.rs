//! Providers whose heads cannot be right: they are named, and others are followed.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use headwater::devnet::{DevnetConfig, Faults};
use headwater::supervisor::Supervisor;
use serde_json::Value;
use tokio::net::TcpListener;

use crate::harness::{Appliance, Chain, announcing, config, until};

const TWO_DAYS: u64 = 2 * 86_400;

fn small() -> DevnetConfig {
    DevnetConfig { transactions: 2, finality: 4, ..DevnetConfig::default() }
}

/// What is asked of a provider whose clock is two days ahead.
async fn ahead(State(upstream): State<Arc<String>>, body: Bytes) -> Vec<u8> {
    let asked: Value = serde_json::from_slice(&body).unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.post(upstream.as_str()).header("content-type", "application/json");
    let answer = request.body(body).send().await.unwrap().bytes().await.unwrap();
    let mut answer: Value = serde_json::from_slice(&answer).unwrap();
    if asked["params"][0] == "latest"
        && let Some(time) = answer["result"]["timestamp"].as_str()
    {
        let time = u64::from_str_radix(time.trim_start_matches("0x"), 16).unwrap();
        answer["result"]["timestamp"] = format!("{:#x}", time + TWO_DAYS).into();
    }
    answer.to_string().into_bytes()
}

/// A provider before another, whose clock is ahead.
async fn ahead_of(upstream: String, tasks: &mut Supervisor) -> String {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(ahead).with_state(Arc::new(upstream));
    tasks.spawn("ahead", async move { axum::serve(listener, router).await });
    url
}

/// What is said of a provider's head, once something is: in every place.
async fn told(appliance: &Appliance, words: &str, reason: &str) -> String {
    let problem = until("the head to be told", async || {
        let (_, view) = appliance.get("/v1/providers").await;
        let text = view["providers"][0]["head_problem"].as_str()?.to_owned();
        text.contains(words).then_some(text)
    })
    .await;
    let (_, status) = appliance.text("/v1/status").await;
    assert!(status.contains(words), "{status}");
    let (_, metrics) = appliance.text("/metrics").await;
    let is_counted = |line: &str| {
        line.starts_with("headwater_provider_heads_refused_total")
            && line.contains("provider=\"p0\"")
            && line.contains(&format!("reason=\"{reason}\""))
    };
    assert!(metrics.lines().any(is_counted), "{metrics}");
    problem
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_no_chain_can_have_is_named_and_not_followed() {
    for announces in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let mut chain = Chain::new(small());
        chain.node.mine(20).unwrap();
        let (boasts, provider) = chain.provider().await;
        let (honest, _) = chain.provider().await;
        provider.set_faults(Faults { announce_above: u64::MAX - 1_000, ..Faults::default() });
        let urls = [boasts, honest];
        let path = if announces {
            announcing(folder.path(), &urls)
        } else {
            config(folder.path(), &urls, "")
        };
        let appliance = Appliance::start(&path).await;
        appliance.follows(&chain).await;
        let problem = told(&appliance, "no block above", "above").await;
        assert!(problem.contains("not followed"), "{problem}");
        let (status, ready) = appliance.get("/readyz").await;
        assert_eq!(status, 200, "another is followed: {ready}");
        assert!(ready["degraded"].to_string().contains("provider p0"), "{ready}");
        for _ in 0..5 {
            chain.node.mine(1).unwrap();
            appliance.follows(&chain).await;
        }
        let (_, view) = appliance.get("/v1/chains/devnet").await;
        assert!(view["capture"]["provider_head"].as_u64().unwrap() < 1_000, "{view}");
        appliance.has_the_chain(&chain).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_nobody_else_a_head_that_cannot_be_is_why_the_node_is_not_ready() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(small());
    chain.node.mine(5).unwrap();
    let (boasts, provider) = chain.provider().await;
    provider.set_faults(Faults { announce_above: u64::MAX - 1_000, ..Faults::default() });
    let appliance = Appliance::start(&config(folder.path(), &[boasts], "")).await;
    told(&appliance, "no block above", "above").await;
    let ready = until("the reason", async || {
        let (status, text) = appliance.text("/readyz").await;
        (status == 503 && text.contains("no block above")).then_some(text)
    });
    ready.await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_of_tomorrow_is_named_and_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let mut tasks = Supervisor::default();
    let mut chain = Chain::new(small());
    chain.node.mine(20).unwrap();
    let (upstream, _) = chain.provider().await;
    let (honest, _) = chain.provider().await;
    let urls = [ahead_of(upstream, &mut tasks).await, honest];
    let appliance = Appliance::start(&config(folder.path(), &urls, "")).await;
    let problem = told(&appliance, "ahead of this machine's clock", "future").await;
    assert!(problem.contains("check the clock"), "{problem}");
    appliance.follows(&chain).await;
    appliance.has_the_chain(&chain).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_goes_back_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(small());
    chain.node.mine(300).unwrap();
    let (reset, provider) = chain.provider().await;
    let (honest, _) = chain.provider().await;
    let appliance = Appliance::start(&config(folder.path(), &[reset, honest], "")).await;
    appliance.follows(&chain).await;
    until("all of its history", async || {
        let (_, view) = appliance.get("/v1/chains/devnet").await;
        (view["captured_blocks"] == 301).then_some(())
    })
    .await;
    provider.set_faults(Faults { lag: 250, ..Faults::default() });
    told(&appliance, "went back from block", "back").await;
    chain.node.mine(2).unwrap();
    appliance.follows(&chain).await;
    let (_, view) = appliance.get("/v1/chains/devnet").await;
    assert_eq!(view["capture"]["reverted_blocks"], 0, "{view}");
    appliance.has_the_chain(&chain).await;
}

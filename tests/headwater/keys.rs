//! Keys: one worker each, none over its limits by the provider's own count, none ever shown.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::Duration;

use headwater::devnet::{DevnetConfig, Faults, KeyLimits};
use serde_json::Value;

use crate::harness::{Appliance, Chain, config, program, until};

fn small() -> DevnetConfig {
    DevnetConfig { transactions: 3, finality: 8, ..DevnetConfig::default() }
}

const SECRET: &str = "s3cr3t-k3y-0f-n0b0dy";

/// The configuration of a provider with keys in files, whose values are planted secrets.
fn keyed(folder: &Path, url: &str, keys: usize, limits: &str) -> std::path::PathBuf {
    let path = config(folder, &[], "");
    let mut text = fs::read_to_string(&path).unwrap();
    let mut list = Vec::new();
    for key in 1..=keys {
        let file = folder.join(format!("key{key}"));
        fs::write(&file, format!("{SECRET}-{key}\n")).unwrap();
        list.push(format!("\"file:{}\"", file.display()));
    }
    let list = list.join(", ");
    write!(
        text,
        "[[chain.provider]]\nname = \"metered\"\nurl = \"{url}/v3/{{key}}\"\nkeys = [{list}]\n\
         limits = {{ {limits} }}\ntimeout_secs = 2\n"
    )
    .unwrap();
    fs::write(&path, text).unwrap();
    path
}

async fn providers(appliance: &Appliance) -> Vec<Value> {
    let (status, view) = appliance.get("/v1/providers").await;
    assert_eq!(status, 200, "{view}");
    view["providers"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_key_exceeds_its_limits_by_the_providers_own_count_over_crashes_too() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(small());
    chain.node.mine(100).unwrap();
    let (url, provider) = chain.provider().await;
    provider.set_limits(KeyLimits { per_second: Some(20), per_day: Some(200_000) });
    // What the provider refuses on its own would be our fault.
    let path = keyed(folder.path(), &url, 3, "per_second = 20, per_day = 200000");
    let mut appliance = Appliance::start(&path).await;
    for round in 0..3 {
        chain.node.mine(8).unwrap();
        appliance.follows(&chain).await;
        if round == 1 {
            assert_eq!(appliance.terminate().code(), Some(0));
        } else {
            appliance.kill();
        }
        appliance = Appliance::start(&path).await;
    }
    appliance.follows(&chain).await;
    until("everything", async || {
        let (_, view) = appliance.get("/v1/chains/devnet").await;
        (view["gaps"] == serde_json::json!([])).then_some(())
    })
    .await;
    let counts = provider.counts();
    assert_eq!(counts.len(), 3, "every key was used: {counts:?}");
    let listed = providers(&appliance).await;
    for (key, count) in &counts {
        assert_eq!((count.throttled, count.spent), (0, 0), "{key}: {count:?}");
        assert!(count.most_in_a_second <= 20 && count.calls <= 200_000, "{key}: {count:?}");
        let number = key.rsplit('-').next().unwrap();
        let name = format!("metered/key{number}");
        assert!(count.most_at_once <= 2, "one worker, and one that was killed: {count:?}");
        let ours = listed.iter().find(|view| view["name"] == name.as_str()).unwrap();
        let used = ours["used"].as_u64().unwrap();
        assert!(used >= count.calls, "a crash counts too many, never too few: {ours} {count:?}");
    }
    let most = counts.values().map(|count| count.calls).max().unwrap();
    let least = counts.values().map(|count| count.calls).min().unwrap();
    assert!(most <= least * 2, "wear is balanced: {counts:?}");
    appliance.has_the_chain(&chain).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spent_day_pauses_capture_with_its_reason_and_the_rest_is_kept_for_the_head() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(small());
    chain.node.mine(10).unwrap();
    let (url, provider) = chain.provider().await;
    provider.set_limits(KeyLimits { per_second: None, per_day: Some(60) });
    let path = keyed(folder.path(), &url, 1, "per_day = 60");
    let appliance = Appliance::start(&path).await;
    chain.node.mine(200).unwrap();
    until("the quota to be spent", async || {
        let (_, view) = appliance.get("/v1/chains/devnet").await;
        let problem = view["capture"]["problem"].as_str()?.to_owned();
        problem.contains("quota").then_some(())
    })
    .await;
    let (status, reason) = appliance.text("/readyz").await;
    assert_eq!(status, 503);
    assert!(reason.contains("quota"), "{reason}");
    let view = providers(&appliance).await.remove(0);
    assert!(view["left"].as_u64().unwrap() <= 1, "{view}");
    assert!(view["resets_at"].as_u64().unwrap() > headwater::clock::unix_seconds(), "{view}");
    // After a crash the day is still spent.
    appliance.kill();
    let before = provider.counts().values().map(|count| count.calls).sum::<u64>();
    let appliance = Appliance::start(&path).await;
    until("capture to wait again", async || {
        let (_, view) = appliance.get("/v1/chains/devnet").await;
        view["capture"]["problem"].as_str()?.contains("quota").then_some(())
    })
    .await;
    let count = provider.counts().into_values().next().unwrap();
    assert!(count.calls <= before + 1 && count.spent == 0, "{count:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_key_rests_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(small());
    chain.node.mine(30).unwrap();
    let (url, provider) = chain.provider().await;
    // The provider allows less than was configured: it refuses, and capture slows down.
    provider.set_limits(KeyLimits { per_second: Some(15), per_day: None });
    let path = keyed(folder.path(), &url, 2, "per_second = 1000");
    let appliance = Appliance::start(&path).await;
    appliance.follows(&chain).await;
    chain.node.mine(30).unwrap();
    appliance.follows(&chain).await;
    let throttled: u64 = provider.counts().values().map(|count| count.throttled).sum();
    assert!(throttled > 0, "the provider refused what was configured: {:?}", provider.counts());
    for count in provider.counts().values() {
        assert_eq!(count.most_at_once, 1, "a key has one worker: {count:?}");
    }
    appliance.has_the_chain(&chain).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planted_secret_is_found_in_no_output() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(small());
    chain.node.mine(12).unwrap();
    let (url, provider) = chain.provider().await;
    provider.set_faults(Faults { cut: 100, unavailable: 100, null: 100, ..Faults::default() });
    let path = keyed(folder.path(), &url, 2, "per_second = 200, per_day = 100000");
    let appliance = Appliance::start(&path).await;
    appliance.follows(&chain).await;
    // Everything that goes wrong may print what it was about.
    chain.unplug();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let mut seen = Vec::new();
    for path in ["/v1/status", "/v1/providers", "/v1/chains/devnet", "/metrics", "/readyz"] {
        seen.push((path.to_owned(), appliance.text(path).await.1));
    }
    for args in [vec!["status"], vec!["status", "--json"], vec!["providers"]] {
        let output = program().args(&args).args(["--url", &appliance.url]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = [output.stdout, output.stderr].concat();
        seen.push((args.join(" "), String::from_utf8(text).unwrap()));
    }
    seen.push(("log".to_owned(), fs::read_to_string(folder.path().join("log")).unwrap()));
    for file in ["ledger.redb", "FORMAT"] {
        let bytes = fs::read(folder.path().join("data").join(file)).unwrap();
        seen.push((file.to_owned(), String::from_utf8_lossy(&bytes).into_owned()));
    }
    for (place, text) in &seen {
        assert!(!text.contains(SECRET), "{place}: {text}");
    }
    let (_, status) = &seen[1];
    assert!(status.contains("metered/key1"), "the key's name is shown: {status}");
}

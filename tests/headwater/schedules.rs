//! Whatever the providers do, in whatever order, with whatever restarts: the captured chain is the
//! canonical one, and no key is used beyond its limits by the providers' own count.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use headwater::devnet::{DevnetConfig, Faults, KeyLimits, Provider};

use crate::harness::{Appliance, Chain, canonical, config, file_sink, fold};

const PROVIDERS: usize = 3;
const KEYS: usize = 2;
const PER_SECOND: u64 = 60;
const PER_DAY: u64 = 1_000_000;
const STEPS: usize = 14;

/// Dice that fall the same way for the same seed (splitmix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    /// Faults of a provider: a few kinds, now and then; or the whole provider is away or lies.
    fn faults(&mut self) -> Faults {
        let mut faults = Faults { stall_ms: 300, ..Faults::default() };
        for _ in 0..self.roll(4) {
            let often = 50 + u32::try_from(self.roll(300)).unwrap();
            match self.roll(9) {
                0 => faults.throttle = often,
                1 => faults.wrong_root = often,
                2 => faults.wrong_parent = often,
                3 => faults.missing_receipts = often,
                4 => faults.other_receipts = often,
                5 => faults.null = often,
                6 => faults.stall = often,
                7 => faults.cut = often,
                _ => faults.unavailable = often,
            }
        }
        match self.roll(8) {
            0 => faults.unavailable = 1_000,
            1 => faults.wrong_root = 1_000,
            2 => faults.lag = self.roll(6),
            3 => faults.silent = true,
            _ => {}
        }
        faults
    }
}

/// Three providers with two keys each, metered; the first two announce heads.
fn keyed(folder: &Path, urls: &[String]) -> PathBuf {
    let path = config(folder, &[], &file_sink(&folder.join("sink.ndjson")));
    let text = fs::read_to_string(&path).unwrap();
    let (before, exporter) = text.split_once("[[exporter]]").unwrap();
    let mut text = before.to_owned();
    for (at, url) in urls.iter().enumerate() {
        let mut keys = Vec::new();
        for key in 0..KEYS {
            let file = folder.join(format!("key-{at}-{key}"));
            fs::write(&file, format!("secret{at}{key}\n")).unwrap();
            keys.push(format!("\"file:{}\"", file.display()));
        }
        let keys = keys.join(", ");
        write!(
            text,
            "[[chain.provider]]\nname = \"p{at}\"\nurl = \"{url}/{{key}}\"\nkeys = [{keys}]\n\
             limits = {{ per_second = {PER_SECOND}, per_day = {PER_DAY} }}\ntimeout_secs = 2\n"
        )
        .unwrap();
        if at < 2 {
            let ws = url.replace("http://", "ws://");
            writeln!(text, "ws_url = \"{ws}/{{key}}\"").unwrap();
        }
    }
    fs::write(&path, format!("{text}[[exporter]]{exporter}")).unwrap();
    path
}

async fn play(seed: u64) {
    let mut dice = Dice(seed);
    let folder = tempfile::tempdir().unwrap();
    let config = DevnetConfig { seed, transactions: 3, finality: 24, ..DevnetConfig::default() };
    let mut chain = Chain::new(config);
    chain.node.mine(5 + dice.roll(40)).unwrap();
    let (mut urls, mut providers) = (Vec::new(), Vec::new());
    for _ in 0..PROVIDERS {
        let (url, provider) = chain.provider().await;
        provider.set_limits(KeyLimits { per_second: Some(PER_SECOND), per_day: Some(PER_DAY) });
        urls.push(url);
        providers.push(provider);
    }
    let path = keyed(folder.path(), &urls);
    let mut appliance = Appliance::start(&path).await;
    for _ in 0..STEPS {
        match dice.roll(9) {
            0..3 => chain.node.mine(1 + dice.roll(8)).unwrap(),
            3 => {
                chain.node.mine(1).unwrap();
                chain.node.reorg(1 + dice.roll(6)).unwrap();
            }
            4 | 5 => {
                let at = usize::try_from(dice.roll(PROVIDERS as u64)).unwrap();
                providers[at].set_faults(dice.faults());
            }
            6 => {
                appliance.kill();
                appliance = Appliance::start(&path).await;
            }
            7 => {
                assert_eq!(appliance.terminate().code(), Some(0), "seed {seed}");
                appliance = Appliance::start(&path).await;
            }
            _ => tokio::time::sleep(std::time::Duration::from_millis(dice.roll(400))).await,
        }
    }
    // All is well again: everything comes together.
    for provider in &providers {
        provider.set_faults(Faults::default());
    }
    chain.node.mine(2).unwrap();
    appliance.follows(&chain).await;
    crate::harness::until("the gaps to heal", async || {
        let (_, view) = appliance.get("/v1/chains/devnet/gaps").await;
        (view["missing_blocks"] == 0).then_some(())
    })
    .await;
    appliance.has_the_chain(&chain).await;
    appliance.exported().await;
    assert_eq!(fold(&folder.path().join("sink.ndjson")), canonical(&chain), "seed {seed}");
    check_counts(&providers, seed);
}

/// What the providers counted themselves.
fn check_counts(providers: &[Arc<Provider>], seed: u64) {
    for provider in providers {
        for (key, count) in provider.counts() {
            assert_eq!((count.throttled, count.spent), (0, 0), "seed {seed}, {key}: {count:?}");
            assert!(count.most_in_a_second <= PER_SECOND, "seed {seed}, {key}: {count:?}");
        }
    }
}

/// `HEADWATER_SCHEDULE` replays one, `HEADWATER_SCHEDULES` plays so many.
#[tokio::test(flavor = "multi_thread")]
async fn any_schedule_of_answers_faults_and_restarts_ends_in_the_canonical_chain() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("HEADWATER_SCHEDULE") {
        return play(seed).await;
    }
    for seed in 0..number("HEADWATER_SCHEDULES").unwrap_or(4) {
        eprintln!("HEADWATER_SCHEDULE={seed}");
        play(seed).await;
    }
}

//! `[[chain.provider]]`: where a chain can be asked.

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroUsize};

use super::key::{Preset, Window};

/// `[[chain.provider]]`.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderConfig {
    /// Name in logs, metrics and the API.
    pub name: String,
    /// How it meters: `generic` (the default), `infura`, `alchemy`.
    #[serde(default)]
    pub preset: Preset,
    /// URL; `{key}` stands for one of `keys`.
    pub url: String,
    /// WebSocket URL, with `{key}` where `url` has it: new heads are announced there.
    pub ws_url: Option<String>,
    /// References to keys: `env:NAME`, `file:PATH`, or a range of them, `env:NAME_1-17`. Each key
    /// is an endpoint of its own.
    #[serde(default)]
    pub keys: Vec<String>,
    /// Limits per key, in the preset's units.
    #[serde(default)]
    pub limits: Limits,
    /// Units that a call of a method costs, where the preset says otherwise.
    #[serde(default)]
    pub costs: BTreeMap<String, u64>,
    /// Requests at the same time per key; 1 where there are `keys`, 64 otherwise.
    pub workers: Option<NonZeroUsize>,
    /// Seconds that one HTTP request may take.
    #[serde(default = "twenty")]
    pub timeout_secs: u64,
    /// Bytes that one answer may have; a larger one is refused and asked of another provider.
    #[serde(default = "quarter_gibibyte")]
    pub answer_bytes_max: usize,
}

/// Limits of one key, in its provider's units; each call of a batch counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Units a second.
    pub per_second: Option<NonZeroU32>,
    /// Units a day.
    pub per_day: Option<u64>,
    /// Which day: `utc_day` (the default) or `rolling_day`.
    #[serde(default)]
    pub day: Window,
    /// Units a month, UTC; instead of `per_day`.
    pub per_month: Option<u64>,
}

fn quarter_gibibyte() -> usize {
    256 << 20
}

fn twenty() -> u64 {
    20
}

impl ProviderConfig {
    /// A provider with a plain URL and no limits.
    pub fn plain(name: &str, url: &str) -> ProviderConfig {
        ProviderConfig {
            name: name.to_owned(),
            preset: Preset::default(),
            url: url.to_owned(),
            ws_url: None,
            keys: Vec::new(),
            limits: Limits::default(),
            costs: BTreeMap::new(),
            workers: None,
            timeout_secs: twenty(),
            answer_bytes_max: quarter_gibibyte(),
        }
    }
}

//! `[[chain.provider]]`: where a chain can be asked.

use std::num::NonZeroU32;

/// `[[chain.provider]]`.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderConfig {
    /// Name in logs, metrics and the API.
    pub name: String,
    /// URL; `{key}` stands for one of `keys`.
    pub url: String,
    /// WebSocket URL. Reserved: heads are polled.
    pub ws_url: Option<String>,
    /// References to keys: `env:NAME` or `file:PATH`. Each key is an endpoint of its own.
    #[serde(default)]
    pub keys: Vec<String>,
    /// Limits per key.
    #[serde(default)]
    pub limits: Limits,
    /// Seconds that one HTTP request may take.
    #[serde(default = "twenty")]
    pub timeout_secs: u64,
}

/// Limits of one key, in requests; each call of a batch counts.
#[derive(Clone, Copy, Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Requests a second.
    pub per_second: Option<NonZeroU32>,
    /// Requests a UTC day, counted from the start of the process.
    pub per_day: Option<u64>,
}

fn twenty() -> u64 {
    20
}

impl ProviderConfig {
    /// A provider with a plain URL and no limits.
    pub fn plain(name: &str, url: &str) -> ProviderConfig {
        ProviderConfig {
            name: name.to_owned(),
            url: url.to_owned(),
            ws_url: None,
            keys: Vec::new(),
            limits: Limits::default(),
            timeout_secs: twenty(),
        }
    }
}

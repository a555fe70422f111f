//! `[[chain]]`: what is captured.

use std::time::Duration;

use headwater_storage::model::ChainName;
use serde::de::{self, Deserializer};

use crate::rpc::ProviderConfig;

use super::verify::Depth;

/// `[[chain]]`.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainConfig {
    /// Name in paths, topics and metrics.
    pub name: ChainName,
    /// EIP-155 id; checked against every provider.
    pub chain_id: u64,
    /// Where capture begins when the folder holds nothing of the chain yet.
    #[serde(default)]
    pub start: Start,
    /// Finality by depth, for chains without the `finalized` tag.
    pub confirmations: Option<u64>,
    /// Milliseconds between polls of the head; by default a quarter of the block time.
    pub poll_ms: Option<u64>,
    /// What is proved of each block: `roots`, or `links` where headers hash otherwise.
    #[serde(default)]
    pub verify: Depth,
    /// Blocks of a part.
    #[serde(default = "thousand")]
    pub part_blocks: std::num::NonZeroU64,
    /// Blocks that are fetched at the same time.
    #[serde(default = "eight")]
    pub window: std::num::NonZeroUsize,
    /// Who can be asked.
    #[serde(default)]
    pub provider: Vec<ProviderConfig>,
}

fn thousand() -> std::num::NonZeroU64 {
    std::num::NonZeroU64::new(1_000).unwrap_or(std::num::NonZeroU64::MIN)
}

fn eight() -> std::num::NonZeroUsize {
    std::num::NonZeroUsize::new(8).unwrap_or(std::num::NonZeroUsize::MIN)
}

impl ChainConfig {
    /// A chain with one plain provider.
    pub fn plain(name: ChainName, chain_id: u64, url: &str) -> ChainConfig {
        ChainConfig {
            name,
            chain_id,
            start: Start::default(),
            confirmations: None,
            poll_ms: None,
            verify: Depth::default(),
            part_blocks: thousand(),
            window: eight(),
            provider: vec![ProviderConfig::plain("rpc", url)],
        }
    }

    /// The configured time between polls.
    pub fn poll(&self) -> Option<Duration> {
        self.poll_ms.map(Duration::from_millis)
    }
}

/// Where capture begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// At the head.
    #[default]
    Latest,
    /// At a block; what is final already is walked as history.
    Block(u64),
}

impl<'de> serde::Deserialize<'de> for Start {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Start, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Start;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("\"latest\" or a block number")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Start, E> {
                match text {
                    "latest" => Ok(Start::Latest),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Start, E> {
                let block = u64::try_from(number);
                block
                    .map(Start::Block)
                    .map_err(|_| E::invalid_value(de::Unexpected::Signed(number), &self))
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Start, E> {
                Ok(Start::Block(number))
            }
        }
        from.deserialize_any(Visitor)
    }
}

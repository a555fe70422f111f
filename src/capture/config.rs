//! `[[chain]]`: what is captured.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;
use std::time::Duration;

use headwater_storage::model::ChainName;
use headwater_storage::store::{Keep, Retention};
use headwater_storage::tables::Table;
use headwater_storage::wal::SEGMENT_BYTES;
use serde::de::{self, Deserializer};

use crate::rpc::ProviderConfig;

use super::verify::{Depth, Prover, Unprovable};

/// `[[chain]]`.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainConfig {
    /// Name in paths, topics and metrics.
    pub name: ChainName,
    /// EIP-155 id; checked against every provider.
    pub chain_id: u64,
    /// Where capture begins; by default with what the folder holds of the chain, or at the head.
    #[serde(default)]
    pub start: Start,
    /// Finality by depth, for chains without the `finalized` tag.
    pub confirmations: Option<u64>,
    /// Blocks after which is asked what is final; it is asked too when nothing new comes.
    #[serde(default = "thirty_two")]
    pub finalized_every: NonZeroU64,
    /// Milliseconds between questions for the next block, where nobody announces heads; by default
    /// they follow the chain's rhythm and what the quotas allow.
    pub poll_ms: Option<u64>,
    /// What is proved of each block: `roots`, or `links` where headers hash otherwise.
    #[serde(default)]
    pub verify: Depth,
    /// What becomes of blocks of which something cannot be proved by the rules that this program
    /// knows: `keep`, or `refuse`.
    #[serde(default)]
    pub unprovable: Unprovable,
    /// Whether the traces of each block are captured too.
    #[serde(default)]
    pub traces: bool,
    /// Blocks of a part.
    #[serde(default = "thousand")]
    pub part_blocks: NonZeroU64,
    /// Blocks that are fetched at the same time.
    #[serde(default = "eight")]
    pub window: std::num::NonZeroUsize,
    /// Bytes that blocks which are fetched at the same time may take, about; one always may.
    #[serde(default = "mebibytes")]
    pub window_bytes: u64,
    /// Bytes of the log whose blocks are kept although parts hold them.
    #[serde(default = "gibibyte")]
    pub log_keep_bytes: u64,
    /// Bytes of a new file of the log.
    #[serde(default = "segment")]
    pub log_segment_bytes: NonZeroU64,
    /// Bytes up to which the parts of a date that is over become one.
    #[serde(default = "mebibytes")]
    pub merge_bytes: u64,
    /// How long parts are kept, by table; for ever by default.
    #[serde(default)]
    pub keep: BTreeMap<Table, KeepConfig>,
    /// Who can be asked.
    #[serde(default)]
    pub provider: Vec<ProviderConfig>,
}

fn thousand() -> NonZeroU64 {
    NonZeroU64::new(1_000).unwrap_or(NonZeroU64::MIN)
}

fn thirty_two() -> NonZeroU64 {
    NonZeroU64::new(32).unwrap_or(NonZeroU64::MIN)
}

fn gibibyte() -> u64 {
    1 << 30
}

fn segment() -> NonZeroU64 {
    NonZeroU64::new(SEGMENT_BYTES).unwrap_or(NonZeroU64::MIN)
}

fn mebibytes() -> u64 {
    64 << 20
}

/// `keep = { logs = { days = 90 } }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeepConfig {
    /// UTC dates, counted back from today.
    pub days: Option<u32>,
    /// Bytes of all parts of the table.
    pub bytes: Option<u64>,
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
            finalized_every: thirty_two(),
            poll_ms: None,
            verify: Depth::default(),
            unprovable: Unprovable::default(),
            traces: false,
            part_blocks: thousand(),
            window: eight(),
            window_bytes: mebibytes(),
            log_keep_bytes: gibibyte(),
            log_segment_bytes: segment(),
            merge_bytes: mebibytes(),
            keep: BTreeMap::new(),
            provider: vec![ProviderConfig::plain("rpc", url)],
        }
    }

    /// Who proves its blocks, as long as nothing was found out of it yet.
    pub fn prover(&self) -> Prover {
        let names: BTreeSet<&str> = self.provider.iter().map(|it| it.name.as_str()).collect();
        let prover = Prover::new(self.chain_id, self.verify);
        prover.of_providers(names.len()).with_unprovable(self.unprovable)
    }

    /// How long things are kept.
    pub fn retention(&self) -> Retention {
        let keep = |keep: &KeepConfig| Keep { days_max: keep.days, bytes_max: keep.bytes };
        let parts = self.keep.iter().map(|(table, rule)| (*table, keep(rule))).collect();
        Retention { log_bytes: self.log_keep_bytes, parts }
    }

    /// The configured time between polls.
    pub fn poll(&self) -> Option<Duration> {
        self.poll_ms.map(Duration::from_millis)
    }
}

/// Where capture begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// With the lowest block that is captured already, or at the head.
    #[default]
    Onward,
    /// At the head.
    Latest,
    /// At a block; what is final already is walked as history.
    Block(u64),
}

impl Start {
    /// The configured block.
    pub fn number(self) -> Option<u64> {
        match self {
            Start::Onward | Start::Latest => None,
            Start::Block(number) => Some(number),
        }
    }
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

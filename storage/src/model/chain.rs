//! Names and positions: which chain, which block, which record of the log.

use std::fmt;
use std::str::FromStr;

use alloy_primitives::B256;

/// A record number of one chain's log; the first record is 1, and 0 means "before the first".
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(transparent)]
pub struct Lsn(pub u64);

impl Lsn {
    /// Before the first record.
    pub const ZERO: Lsn = Lsn(0);

    /// The record after this one.
    #[must_use]
    pub fn next(self) -> Lsn {
        Lsn(self.0.saturating_add(1))
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One block of one fork: a bare number names no block.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
)]
pub struct BlockRef {
    /// Height.
    pub number: u64,
    /// Keccak-256 of the header.
    pub hash: B256,
}

impl fmt::Display for BlockRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.number, self.hash)
    }
}

/// Block numbers `first..=last`; never empty.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct BlockRange {
    /// The lowest number.
    pub first: u64,
    /// The highest number, included.
    pub last: u64,
}

impl BlockRange {
    /// `first..=last`, or nothing when `last < first`.
    pub fn new(first: u64, last: u64) -> Option<BlockRange> {
        (first <= last).then_some(BlockRange { first, last })
    }

    /// How many blocks.
    #[allow(clippy::len_without_is_empty, reason = "a range is never empty")]
    pub fn len(&self) -> u64 {
        (self.last - self.first).saturating_add(1)
    }

    /// Whether `number` lies in it.
    pub fn contains(&self, number: u64) -> bool {
        (self.first..=self.last).contains(&number)
    }

    /// The numbers in order.
    pub fn numbers(&self) -> std::ops::RangeInclusive<u64> {
        self.first..=self.last
    }
}

impl fmt::Display for BlockRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..={}", self.first, self.last)
    }
}

/// How a block came into the log.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Lane {
    /// Following the head.
    #[default]
    Live,
    /// Walking history that is final already.
    Backfill,
}

impl Lane {
    /// `live` or `backfill`.
    pub fn as_str(self) -> &'static str {
        match self {
            Lane::Live => "live",
            Lane::Backfill => "backfill",
        }
    }
}

/// A chain's name in folders, topics, metrics and URLs: `[a-z0-9][a-z0-9-]{0,62}`.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct ChainName(String);

/// Why a text is no chain name.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{name}` is no chain name: use 1 to 63 of a-z, 0-9 and `-`, starting with a letter or digit"
)]
pub struct ChainNameError {
    /// The refused text.
    pub name: String,
}

impl ChainName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ChainName {
    type Err = ChainNameError;

    fn from_str(name: &str) -> Result<ChainName, ChainNameError> {
        let is_plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
        let starts_well = name.bytes().next().is_some_and(is_plain);
        let reads_well = name.bytes().all(|c| is_plain(c) || c == b'-');
        if starts_well && reads_well && name.len() <= 63 {
            return Ok(ChainName(name.to_owned()));
        }
        Err(ChainNameError { name: name.to_owned() })
    }
}

impl TryFrom<String> for ChainName {
    type Error = ChainNameError;

    fn try_from(name: String) -> Result<ChainName, ChainNameError> {
        name.parse()
    }
}

impl From<ChainName> for String {
    fn from(name: ChainName) -> String {
        name.0
    }
}

impl fmt::Display for ChainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

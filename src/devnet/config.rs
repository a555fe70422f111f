//! What kind of chain.

use std::path::PathBuf;
use std::time::Duration;

/// The rules of the synthetic blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Fork {
    /// As on Ethereum since May 2025.
    #[default]
    Prague,
    /// Access lists of blocks and slots in the header (EIP-7928, EIP-7843), logs of plain transfers
    /// (EIP-7708), refunds that are not in the block's gas (EIP-7778).
    Amsterdam,
}

/// What the timestamps of headers count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum TimeUnit {
    /// As Ethereum does.
    #[default]
    Seconds,
    /// As Hardhat can.
    Milliseconds,
    /// Between the two others.
    Microseconds,
    /// As `GoQuorum` does with Raft.
    Nanoseconds,
}

impl TimeUnit {
    /// How many there are in a second.
    pub(super) fn per_second(self) -> u64 {
        match self {
            TimeUnit::Seconds => 1,
            TimeUnit::Milliseconds => 1_000,
            TimeUnit::Microseconds => 1_000_000,
            TimeUnit::Nanoseconds => 1_000_000_000,
        }
    }
}

/// What kind of chain.
#[derive(Clone, Debug)]
pub struct DevnetConfig {
    /// EIP-155 id.
    pub chain_id: u64,
    /// The same seed gives the same accounts and forks.
    pub seed: u64,
    /// Time between blocks; zero mines on request only (`devnet_mine`).
    pub block_time: Duration,
    /// Seconds between the timestamps of blocks, from 30 days ago, midnight UTC, on; 0 takes the
    /// clock's.
    pub timestamp_step: u64,
    /// What the timestamps count.
    pub timestamp_unit: TimeUnit,
    /// The rules of synthetic blocks.
    pub fork: Fork,
    /// The first block under these rules; those before are of the first fork.
    pub fork_block: u64,
    /// Transactions of a synthetic block.
    pub transactions: usize,
    /// Blocks that will be mined at once after the first: it is stamped so long before, a second
    /// for each.
    pub blocks: u64,
    /// Blocks behind the head that are final.
    pub finality: u64,
    /// A reorg after every so many blocks; 0 for none.
    pub reorg_every: u64,
    /// The deepest of these reorgs.
    pub reorg_depth: u64,
    /// A folder of recorded blocks to replay instead of synthetic ones.
    pub replay: Option<PathBuf>,
    /// A file that lets the chain go on after a restart.
    pub journal: Option<PathBuf>,
}

impl Default for DevnetConfig {
    fn default() -> DevnetConfig {
        DevnetConfig {
            chain_id: 1337,
            seed: 1,
            block_time: Duration::from_secs(1),
            timestamp_step: 0,
            timestamp_unit: TimeUnit::default(),
            fork: Fork::default(),
            fork_block: 0,
            transactions: 12,
            blocks: 0,
            finality: 32,
            reorg_every: 0,
            reorg_depth: 1,
            replay: None,
            journal: None,
        }
    }
}

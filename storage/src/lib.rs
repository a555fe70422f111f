//! What Headwater keeps on disk: the log, the ledger, the index and the parts of each chain.

pub mod backup;
mod clock;
pub mod codec;
pub mod disk;
pub mod foreign;
pub mod index;
pub mod ledger;
pub mod metrics;
pub mod model;
pub mod parquet;
pub mod store;
pub mod tables;
pub mod wal;

#[cfg(test)]
mod testing;

//! The index: where a block or a transaction is. Rebuildable from the log (INV-3).
//!
//! Four keyspaces of one fjall database per chain: blocks by hash, canonical blocks by number,
//! transactions by hash, transactions by address. Deleting its folder costs time, never data.

mod database;
mod error;
mod keys;

pub use database::{Index, IndexMemory, Options};
pub use error::IndexError;
pub use keys::{Place, Role, Touch};

#[cfg(test)]
mod tests;

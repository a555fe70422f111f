//! The tables: one file each with its columns, names and types the same wherever a fact appears.
//!
//! Together they are lossless: [`read_blocks`] gives back the very blocks that were stored, and
//! these write the JSON-RPC objects that the provider gave.

mod blocks;
mod chain_events;
mod columns;
mod logs;
mod read;
mod table;
mod traces;
mod transactions;
mod value;
mod verification;
mod withdrawals;

pub use chain_events::{read_events, rows as event_rows};
pub use columns::LAYOUT_VERSION;
pub use read::{ReadError, read_blocks, read_logs};
pub use table::{StoredBlock, Table};
pub use value::{TYPE_KEY, TYPE_UINT256};

#[cfg(test)]
mod tests;

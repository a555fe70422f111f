//! A built-in EVM chain that speaks JSON-RPC: for the demo, for tests and for benchmarks.
//!
//! Blocks are synthetic, or recorded real ones re-linked into a chain of any length. All roots are
//! right. On request it reorganises, throttles, lies, stalls and cuts connections.

mod config;
mod faults;
mod journal;
mod meter;
mod node;
mod provider;
mod receipts;
mod replay;
mod rpc;
mod server;
mod synthetic;
mod traces;
mod transactions;

pub use config::{DevnetConfig, Fork, TimeUnit};
pub use faults::Faults;
pub use meter::{KeyCount, KeyLimits};
pub use node::{Built, DevNode, DevnetError};
pub use provider::Provider;
pub use receipts::{ListFault, ReceiptFaults, SingleFault};
pub use replay::Recorded;
pub use server::{Devnet, mine};

//! The local API: chains, blocks, transactions, JSON-RPC, SQL, exporters, health, metrics.

mod admin;
mod backfills;
mod blocks;
mod bounds;
mod chains;
mod door;
mod error;
mod exporters;
mod facade;
mod health;
mod providers;
mod server;
mod sql;
mod transactions;

pub use bounds::Busy;
pub use chains::{ChainView, StatusDocument};
pub use door::Stranger;
pub use error::{ApiError, HttpError};
pub use providers::{ProviderView, ProvidersDocument, UsageView};
pub use server::{ADDRESS_FILE, Server};

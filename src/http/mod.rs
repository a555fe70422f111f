//! The local API: chains, blocks, transactions, SQL, exporters, health, metrics.

mod admin;
mod blocks;
mod chains;
mod error;
mod exporters;
mod health;
mod providers;
mod server;
mod sql;
mod transactions;

pub use chains::{ChainView, StatusDocument};
pub use error::{ApiError, HttpError};
pub use providers::{ProviderView, ProvidersDocument, UsageView};
pub use server::{ADDRESS_FILE, Server};

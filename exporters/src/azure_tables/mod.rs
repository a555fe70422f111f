//! `azure_tables`: Azure Table storage by its REST interface; entity group transactions of one
//! partition each.

mod client;
mod config;
mod cursors;
mod encode;
mod exporter;
mod failure;
mod group;
mod signature;
mod tables;
#[cfg(test)]
mod tests;

pub use config::AzureTablesConfig;
pub use exporter::AzureTables;
pub use tables::{BATCH_SIZE, SOURCES};

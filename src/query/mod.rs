//! SQL over everything that is captured: sealed parts and the unsealed tail as one table per name,
//! each chain cut at one record. Statements run in processes of their own, so that whatever one
//! does ends with it (decision 0026).

mod about;
mod config;
mod engine;
mod error;
mod format;
mod process;
mod source;
mod tail;
mod wire;
mod worker;

pub use about::ProviderRow;
pub use config::QueryConfig;
pub use engine::{Answer, Engine};
pub use error::QueryError;
pub use format::Format;
pub use worker::run as run_worker;
